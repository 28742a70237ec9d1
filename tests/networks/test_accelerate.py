"""The fast way to run a generator against the network itself, and what it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gancomp.networks import winograd
from gancomp.networks.accelerate import (
    Convolution,
    Rewrites,
    TiledConvolution,
    accelerate,
    fold_batch_norm,
)
from gancomp.networks.base import TappedNetwork
from gancomp.networks.inference import run_generator
from gancomp.networks.layers import ImageConv2d, InstanceNorm2d
from gancomp.registry import build_network

PRUNED = [5, 9, 14, 3, 11, 2, 7, 13, 1, 6, 10]  # stem, two down, six blocks, two up
NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("mobile-resnet9", {"width": 4}),
    ("mobile-resnet6", {"width": 1}),
    ("mobile-resnet6", {"width": 7, "in_channels": 1, "out_channels": 5}),
    ("mobile-resnet6", {"width": 4, "norm": "batch"}),
    ("mobile-resnet6", {"width": 5, "channels": PRUNED}),
    ("resnet9", {"width": 3}),
    ("resnet6", {"width": 4, "norm": "batch", "dropout": 0.5}),
    ("unet128", {"width": 2}),
    ("unet128", {"width": 2, "norm": "instance"}),
]
SIZES = [(64, 64), (32, 48), (36, 20), (18, 27), (8, 8)]
STEPS = [
    Rewrites(tiled_head=head, fewer_products=fewer, in_place=place)
    for head, fewer, place in itertools.product((False, True), repeat=3)
]


def network_with(arch: str, gain: float = 0.3, **settings: Any) -> TappedNetwork:
    """Weights large enough that no term is lost beside another, and BatchNorms that have seen."""
    network = build_network(arch, **settings).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                values = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * gain
                tensor.copy_(values.abs() + 0.1 if "running_var" in name else values)
    return network


def at_work(network: TappedNetwork, channels: int) -> TappedNetwork:
    """In eval mode, with BatchNorms that know what comes: else the maps would vanish."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images((128, 128), 2, channels).float())
    return network.eval()


def images(shape: tuple[int, int], num: int = 1, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(num, channels, *shape, generator=generator, dtype=torch.double) * 2 - 1


def sizes_of(arch: str) -> list[tuple[int, int]]:
    return [(128, 128), (128, 256)] if arch.startswith("unet") else SIZES


def test_the_cases_cover_both_kinds_of_generator_and_of_norm() -> None:
    assert {arch.partition("net")[0] for arch, _ in NETWORKS} == {"mobile-res", "res", "u"}
    assert any(settings.get("norm") == "batch" for _, settings in NETWORKS)


@pytest.mark.parametrize(("arch", "settings"), NETWORKS)
@pytest.mark.parametrize("num", [1, 2])
def test_in_real_numbers_nothing_changes(arch: str, settings: dict[str, Any], num: int) -> None:
    # float64 stands for real numbers: what is left is rounding, far below any wrong term
    network = network_with(arch, **settings).double()
    fast = accelerate(network)
    for shape in sizes_of(arch):
        given = images(shape, num, settings.get("in_channels", 3))
        wanted, found = network(given), fast(given)
        assert found.shape == wanted.shape
        assert torch.allclose(found, wanted, atol=1e-9), (shape, (found - wanted).abs().max())


@pytest.mark.parametrize(("arch", "settings"), NETWORKS)
def test_in_float32_the_images_are_equal_to_1e_4(arch: str, settings: dict[str, Any]) -> None:
    # weights as they are drawn for training; maps of a few positions are left to float64, since
    # there the layers themselves are only good to some 1e-4
    network = at_work(build_network(arch, **settings), settings.get("in_channels", 3))
    for shape in [(128, 128)] if arch.startswith("unet") else [(64, 64), (32, 48), (256, 256)]:
        given = images(shape, 2, settings.get("in_channels", 3)).float()
        wanted, found = network(given), accelerate(network)(given)
        assert (found - wanted).abs().max() <= 1e-4, shape
        assert wanted.std() > 1e-3, "an image without contrast proves nothing"


@pytest.mark.parametrize("rewrites", STEPS)
def test_each_rewrite_alone_and_with_others_changes_nothing(rewrites: Rewrites) -> None:
    network = network_with("mobile-resnet6", width=4).double()
    given = images((32, 20), 2)
    found = accelerate(network, rewrites)(given)
    assert torch.allclose(found, network(given), atol=1e-9)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_wide_convolutions_with_fewer_products_give_the_same_images(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "LEAST_CHANNEL_PAIRS", 12 * 12)
    network = at_work(build_network("resnet6", width=3, norm=norm), 3)
    given = images((64, 64), 2).float()
    fast = accelerate(network)
    assert "fewer products" in fast.how
    assert "fewer products" not in accelerate(build_network("resnet6", width=2).eval()).how
    monkeypatch.setattr(nn.Conv2d, "forward", None)
    found = fast(given)
    monkeypatch.undo()
    assert (found - network(given)).abs().max() <= 1e-4


def test_the_images_given_stay_as_they_were() -> None:
    given = images((32, 32)).float()
    for layout in (torch.contiguous_format, torch.channels_last):
        kept = given.contiguous(memory_format=layout)
        accelerate(build_network("mobile-resnet6", width=4).eval())(kept)
        assert torch.equal(kept, given)


def test_the_network_stays_as_it_was() -> None:
    for arch in ("mobile-resnet6", "unet128"):
        network = network_with(arch, width=2)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        accelerate(network)(images((128, 128)).float())
        after = network.state_dict()
        assert list(after) == list(before)
        for name, tensor in before.items():
            assert torch.equal(after[name], tensor)
            assert after[name].stride() == tensor.stride()


def test_half_precision_runs_the_network_itself() -> None:
    network = build_network("mobile-resnet6", width=4).eval().bfloat16()
    given = images((32, 32)).bfloat16()
    assert torch.equal(accelerate(network)(given), network(given))
    assert accelerate(network).how == "eager"


def test_no_graph_is_recorded() -> None:
    fast = accelerate(build_network("mobile-resnet6", width=4).eval())
    assert not fast(images((32, 32)).float()).requires_grad


def test_a_network_in_training_mode_is_refused() -> None:
    network = build_network("mobile-resnet6", width=4)
    with pytest.raises(ValueError, match=r"training mode; call eval\(\)"):
        accelerate(network.train())


def change_in_place(network: TappedNetwork) -> None:
    with torch.no_grad():
        next(network.parameters()).mul_(2)


def load(network: TappedNetwork) -> None:
    network.load_state_dict(network.state_dict())


def replace(network: TappedNetwork) -> None:
    network.load_state_dict(network.state_dict(), assign=True)
    module = network.get_submodule("model.1")
    module.weight = nn.Parameter(torch.zeros_like(next(module.parameters())))


def optimize(network: TappedNetwork) -> None:
    network(images((32, 32)).float()).sum().backward()
    torch.optim.Adam(network.parameters(), fused=True).step()


def run_in_training_mode(network: TappedNetwork) -> None:
    network.train()(images((32, 32), 2).float())  # BatchNorm's statistics move


@pytest.mark.parametrize(
    "change", [change_in_place, load, replace, optimize, run_in_training_mode, nn.Module.double]
)
def test_weights_that_change_afterwards_are_noticed(change: Any) -> None:
    network = build_network("mobile-resnet6", width=4, norm="batch").eval()
    fast = accelerate(network)
    fast(images((32, 32)).float())
    change(network)
    with pytest.raises(RuntimeError, match="have changed since accelerate"):
        fast(images((32, 32)).float())


def test_weights_made_in_inference_mode_are_taken_too() -> None:
    with torch.inference_mode():
        network = build_network("mobile-resnet6", width=4).eval()
        given = images((32, 32)).float()
        assert torch.allclose(accelerate(network)(given), network(given), atol=1e-5)


def test_any_size_is_run_as_with_the_network() -> None:
    network = network_with("mobile-resnet6", width=4).double()
    for shape in ((30, 41), (5, 3)):
        given = images(shape)
        found = run_generator(accelerate(network), given)
        assert found.shape == given.shape
        assert torch.allclose(found, run_generator(network, given), atol=1e-9)


def test_what_the_network_cannot_take_the_fast_one_cannot_either() -> None:
    network = build_network("mobile-resnet6", width=4).eval()
    for run in (network, accelerate(network)):
        with pytest.raises((RuntimeError, ValueError)):
            run(images((4, 4)).float())  # a map of one position has no variance
        with pytest.raises(RuntimeError):
            run(images((32, 32), channels=5).float())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 4, 3, 2, 1),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1),
        nn.ConvTranspose2d(6, 6, 3, 2, 1, output_padding=1, bias=False),
    ],
)
def test_a_convolution_s_step_gives_what_it_and_its_norm_give(layer: Any) -> None:
    layer, maps = layer.double(), images((8, 6), channels=6)
    wanted = layer(maps)
    assert torch.allclose(Convolution(layer)(maps), wanted, atol=1e-12)
    norm = nn.BatchNorm2d(wanted.shape[1]).double().train()
    norm(wanted)
    norm.weight.data.copy_(torch.rand_like(norm.weight) - 0.5)
    assert torch.allclose(Convolution(layer, norm.eval())(maps), norm(wanted), atol=1e-12)
    instance = InstanceNorm2d(wanted.shape[1])
    step = Convolution(layer, instance)
    assert step.bias is None, "the norm takes it off again"
    assert torch.allclose(instance(step(maps)), instance(wanted), atol=1e-12)


def test_a_tiled_convolution_is_the_convolution() -> None:
    layer = ImageConv2d(4, 3, 7).double()
    maps = images((12, 18), channels=4)
    wanted = F.conv2d(maps, layer.weight, layer.bias)
    assert torch.allclose(TiledConvolution(layer)(maps), wanted, atol=1e-12)
    assert not TiledConvolution.fits(nn.Conv2d(4, 5, 7))
    assert not TiledConvolution.fits(nn.Conv2d(4, 3, 7, padding=3))


def test_a_folded_batch_norm_gives_what_the_two_layers_give() -> None:
    layer, norm = nn.Conv2d(3, 5, 3).double(), nn.BatchNorm2d(5).double()
    norm(layer(images((8, 8), 4)))
    weight, bias = fold_batch_norm(layer.weight, layer.bias, norm.eval(), transposed=False)
    given = images((8, 8))
    assert torch.allclose(F.conv2d(given, weight, bias), norm(layer(given)), atol=1e-12)
