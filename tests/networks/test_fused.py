"""The fused norm against the layers in turn: by Triton's interpreter on a CPU."""

from __future__ import annotations

import copy
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import random_batch, small_task
from torch import Tensor, nn

from gancomp.engine.speed import channels_last
from gancomp.networks import fused
from gancomp.networks.fused import fuse, in_turn, norm_and_more, run, why_not
from gancomp.networks.layers import InstanceNorm2d
from gancomp.networks.resnet import ResidualBlock

pytest.importorskip("triton", reason="Triton is not installed here")
pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1",
    reason="where there is a GPU, test_gpu.py runs the kernels; with TRITON_INTERPRET=1 this does",
)


def interpreter_fails() -> bool:
    """Whether Triton's interpreter takes an array of one number for a number, and NumPy does not.

    So Triton 3.6, which comes with torch 2.11, on NumPy 2.5; compiled kernels are not concerned.
    """
    from triton.runtime import interpreter

    try:
        int(np.zeros(1))  # type: ignore[call-overload]  # what is asked here
    except TypeError:
        return "int(self.handle.data))" in inspect.getsource(interpreter)
    return False


interpreted = pytest.mark.skipif(
    interpreter_fails(), reason="this Triton's interpreter fails with this NumPy: take an older one"
)
# a tile has 32 positions of 64 channels, or more positions of fewer; pads of 1 and 3 are in use
CASES = [
    ((2, 5, 7, 9), 0.0, 1),
    ((1, 70, 6, 7), 0.2, 0),
    ((2, 3, 19, 23), 0.0, 3),
    ((3, 64, 8, 8), None, 0),
    ((1, 66, 5, 13), None, 2),
    ((1, 1, 2, 3), 0.2, 1),
]


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "interpreted", True)


def features_of(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # off center, as maps are: a variance by squares alone would lose its digits
    values = torch.randn(shape, generator=generator) * 2 + 5
    return values.contiguous(memory_format=torch.channels_last).requires_grad_()


def gradient_of(output: Tensor, features: Tensor) -> Tensor:
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(output, features, weights.to(output.dtype))
    return gradient


@interpreted
@pytest.mark.parametrize(("shape", "slope", "padding"), CASES)
def test_the_kernels_give_what_the_layers_in_turn_give(
    shape: tuple[int, ...], slope: float | None, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = features_of(shape)
    wanted = in_turn(features, 1e-5, slope, padding)
    monkeypatch.setattr(fused, "in_turn", None)  # nothing but the kernels is left
    found = norm_and_more(features, slope=slope, padding=padding)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    gradient = gradient_of(found, features)
    assert gradient.abs().max() > 0.01
    torch.testing.assert_close(gradient, gradient_of(wanted, features), rtol=0, atol=1e-4)


@interpreted
def test_statistics_of_bfloat16_are_those_of_float32() -> None:
    features = features_of((2, 66, 9, 11)).detach().bfloat16().requires_grad_()
    wanted = in_turn(features.float(), 1e-5, 0.2, 1)
    found = norm_and_more(features, slope=0.2, padding=1)
    assert found.dtype == torch.bfloat16
    # one unit in the last place of 8 bits: the interpreter cuts digits off instead of rounding
    torch.testing.assert_close(found.float(), wanted, rtol=2**-7, atol=2**-8)
    gradient = gradient_of(found, features)
    assert gradient.dtype == torch.bfloat16
    wanted = gradient_of(wanted, features)
    torch.testing.assert_close(gradient, wanted, rtol=2**-6, atol=2**-6)


@interpreted
def test_a_second_derivative_is_that_of_the_layers_in_turn() -> None:
    def second(one_kernel: bool) -> Tensor:
        features = features_of((1, 3, 5, 6))
        if one_kernel:
            output = norm_and_more(features, slope=0.2, padding=1)
        else:
            output = in_turn(features, 1e-5, 0.2, 1)
        (first,) = torch.autograd.grad(output.square().sum(), features, create_graph=True)
        (gradient,) = torch.autograd.grad(first.square().sum(), features)
        return gradient

    torch.testing.assert_close(second(True), second(False), rtol=1e-4, atol=1e-4)


def test_maps_of_another_order_or_size_and_every_cpu_take_the_layers_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused._Fused, "apply", None)
    ordered = features_of((2, 3, 4, 5)).detach()
    for features in (ordered.contiguous(), ordered.double()):
        found = norm_and_more(features, slope=0.0, padding=1)
        assert torch.equal(found, in_turn(features, 1e-5, 0.0, 1))
    with pytest.raises(ValueError, match="more than 1 position"):
        norm_and_more(ordered[:, :, :1, :1])
    monkeypatch.setattr(fused, "interpreted", False)
    assert torch.equal(norm_and_more(ordered), in_turn(ordered, 1e-5, None, 0))
    assert why_not(torch.device("cpu")) == "fused norms need an NVIDIA GPU"
    monkeypatch.setattr(fused, "KERNELS", "gancomp.networks.none")
    reason = str(why_not(torch.device("cuda")))
    assert reason.startswith("Triton's kernels do not run here (ModuleNotFoundError: ")


@interpreted
@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_a_fused_network_gives_the_same_maps_and_gradients(name: str) -> None:
    task = small_task()
    plain = channels_last(task.generator if name == "generator" else task.discriminator)
    other = copy.deepcopy(plain)
    fuse(other.modules())
    assert list(other.state_dict()) == list(plain.state_dict())
    images = random_batch(1, size=16)["source"]
    layers = [f"model.{index}" for index, _ in enumerate(plain.model)]
    norms = [
        tap
        for tap, layer in zip(layers, plain.model, strict=True)
        if isinstance(layer, InstanceNorm2d)
    ]
    results: list[list[Tensor]] = []
    for network in (plain, other):
        output, maps = network.forward_with_taps(images, norms[:1])
        weights = [item for key, item in network.named_parameters() if "weight" in key]
        gradients = torch.autograd.grad(output.square().mean(), weights)
        with torch.no_grad():
            every = network.features(images, layers)
        assert (list(maps), list(every)) == (norms[:1], layers)
        results.append([output, *maps.values(), *every.values(), *gradients])
    for wanted, found in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert len(network.features(images, layers[:2])) == 2


def test_what_is_fused_is_one_call_and_a_tap_within_is_not_fused_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[float | None, int]] = []

    def noted(features: Tensor, eps: float, *, slope: float | None, padding: int) -> Tensor:
        calls.append((slope, padding))
        return in_turn(features, eps, slope, padding)

    monkeypatch.setattr(fused, "norm_and_more", noted)
    block = ResidualBlock(4, 4, norm="instance", dropout=0.0, mobile=True)
    fuse(block.modules())
    block(torch.randn(1, 4, 6, 6))
    assert calls == [(None, 0), (0.0, 1), (None, 0), (None, 0)]
    layers = [InstanceNorm2d(4), nn.LeakyReLU(0.2), nn.Identity(), nn.ReflectionPad2d(2)]
    features = torch.randn(1, 4, 6, 6)
    for stops, wanted in (
        ((), [(0.2, 2)]),
        ((0,), [(None, 0)]),
        ((2,), [(0.2, 0)]),
    ):
        calls.clear()
        *_, (index, output) = run(layers, features, stops)
        assert (index, calls) == (3, wanted)
        assert torch.equal(output, nn.Sequential(*layers)(features))


@pytest.mark.slow
def test_the_kernels_compile_for_an_h100_on_a_machine_without_one() -> None:
    script = Path(__file__).parents[1] / "compile_kernels.py"
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == sorted(
        ["_finish", "_finish_gradient", "_gradient_sums", "_put_together", "_statistics"]
    )
