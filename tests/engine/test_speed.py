"""What `speed_up` does to a method: everything faster, nothing different."""

from __future__ import annotations

import copy
import ctypes
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from builders import random_batch, small_generator, small_method, small_task
from torch import Tensor, nn

from gancomp.config import read
from gancomp.engine import speed
from gancomp.engine.speed import (
    channels_last,
    compilable,
    compile_networks,
    give_back_memory,
    keep_freed_memory,
    speed_up,
)
from gancomp.errors import ConfigError
from gancomp.losses.perceptual import PerceptualFeatures
from gancomp.networks.base import TappedNetwork
from gancomp.networks.stylegan2 import STYLES_AVERAGED
from gancomp.options import all_options
from gancomp.registry import build_network
from gancomp.settings import FREE_ON_RESUME, RunSettings

CPU = torch.device("cpu")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.fx.GraphModule]]:
    """Compilation without a compiler: graphs are traced, noted, and run by torch as they are."""
    noted: list[torch.fx.GraphModule] = []
    original = nn.Module.compile

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        noted.append(graph)
        return graph.forward

    def compile_(module: nn.Module) -> None:
        original(module, backend=backend)

    monkeypatch.setattr(nn.Module, "compile", compile_)
    monkeypatch.setattr(speed, "why_no_compiler", lambda: None)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=8, suppress_errors=False):
        yield noted
    torch._dynamo.reset()


def networks() -> dict[str, TappedNetwork]:
    return {
        "generator": small_generator(),
        "unet": build_network("unet128", width=2),
        "discriminator": small_task().discriminator,
    }


def images_for(network: TappedNetwork) -> Tensor:
    return random_batch(1, size=128 if "unet" in network.arch else 32)["source"]


def results(network: TappedNetwork) -> list[Tensor]:
    """Each way of running it, and the gradients of one."""
    images, taps = images_for(network), network.default_taps
    with torch.no_grad():
        output, found = network.forward_with_taps(images, taps)
        all_of = [network(images), output, *found.values()]
        all_of += network.features(images, taps).values()
    gradients = torch.autograd.grad(
        network(images).square().sum(),
        [item for name, item in network.named_parameters() if name.endswith("weight")],
    )
    return [*all_of, *gradients]


def assert_close(found: list[Tensor], wanted: list[Tensor]) -> None:
    assert len(found) == len(wanted) > 5
    for one, other in zip(found, wanted, strict=True):
        # another layout has other sums: rounding relative to the largest number
        assert (one - other).abs().max() <= 1e-5 * (1 + other.abs().max())


@pytest.mark.parametrize("name", ["generator", "unet", "discriminator"])
def test_channels_last_changes_the_order_in_memory_and_no_value(name: str) -> None:
    network = networks()[name].eval()
    wanted, before = results(network), copy.deepcopy(network.state_dict())
    assert channels_last(network) is network
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
        if value.dim() == 4:
            assert value.is_contiguous(memory_format=torch.channels_last)
    assert_close(results(network), wanted)
    images = images_for(network).contiguous(memory_format=torch.channels_last)
    for tap, features in network.features(images, network.default_taps).items():
        assert features.is_contiguous(memory_format=torch.channels_last), tap


@pytest.mark.parametrize("name", ["generator", "discriminator"])
@pytest.mark.slow
def test_a_compiled_network_gives_the_same_whichever_way_it_is_run(
    name: str, graphs: list[torch.fx.GraphModule]
) -> None:
    network = networks()[name].eval()
    wanted, keys = results(network), list(network.state_dict())
    assert not graphs
    assert compile_networks([network], pytest.fail)
    assert_close(results(network), wanted)
    # forward, forward_with_taps, features, and forward with gradients: each one whole graph
    assert len(graphs) == 4
    assert list(network.state_dict()) == keys
    twin = copy.deepcopy(network)
    assert_close(results(twin), wanted)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert_close(results(network), wanted)
    images = images_for(network)
    assert torch.equal(twin(images), torch.zeros_like(twin(images)))


def test_a_compiled_network_sees_its_new_weights(graphs: list[torch.fx.GraphModule]) -> None:
    network = networks()["discriminator"]
    other = build_network("patchgan", **network.settings())
    wanted = results(other)
    compile_networks([network], pytest.fail)
    before = results(network)
    network.load_state_dict(other.state_dict())
    assert_close(results(network), wanted)
    assert not torch.allclose(before[0], wanted[0])
    assert graphs


@pytest.mark.slow
def test_a_compiled_network_estimates_its_average_style_outside_of_the_graphs(
    graphs: list[torch.fx.GraphModule],
) -> None:
    network = build_network("stylegan2", width=8, resolution=16, style_channels=8)
    drawn = network.draw_latents(2, torch.Generator().manual_seed(0), truncation=0.5)
    with torch.no_grad():
        wanted = copy.deepcopy(network)(drawn)
        compile_networks([network], pytest.fail)
        found = network(drawn)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert graphs
    assert network._estimate is not None
    shapes = [
        value.shape
        for graph in graphs
        for node in graph.graph.nodes
        if isinstance(value := node.meta.get("example_value"), Tensor)
    ]
    assert any(8 in shape for shape in shapes)
    assert not any(STYLES_AVERAGED in shape for shape in shapes)


def test_a_compiled_vgg16_gives_the_same_maps(graphs: list[torch.fx.GraphModule]) -> None:
    shared = small_method().perceptual
    assert isinstance(shared, PerceptualFeatures)
    perceptual = copy.deepcopy(shared)  # other tests use it, too
    images = random_batch(1)["source"]
    wanted = perceptual(images)
    compile_networks([perceptual], pytest.fail)
    found = perceptual(images)
    assert list(found) == list(wanted)
    for tap, features in found.items():
        # compiled, wide convolutions are torch's own
        assert torch.allclose(features, wanted[tap], rtol=1e-4, atol=1e-5), tap
    assert len(graphs) == 1


def test_without_a_compiler_it_is_said_why_and_networks_stay_plain(
    graphs: list[torch.fx.GraphModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "why_no_compiler", lambda: "InvalidCxxCompiler: no C++")
    network, said = networks()["discriminator"], []
    assert not compile_networks([network], said.append)
    assert said == [
        "torch.compile does not work here (InvalidCxxCompiler: no C++); training goes on without it"
    ]
    results(network)
    assert graphs == []


def test_what_is_wrong_with_the_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(function: object) -> object:
        raise RuntimeError("no compiler here\nlook into " + "x" * 900)

    monkeypatch.setattr(torch, "compile", fail)
    assert speed.why_no_compiler() == "RuntimeError: no compiler here"
    monkeypatch.setattr(torch, "compile", lambda function: function)
    assert speed.why_no_compiler() is None


@pytest.mark.parametrize("name", ["dcd", "gan2g"])
def test_generators_discriminators_and_vgg16_are_compiled_and_nothing_else(name: str) -> None:
    method = small_method(name)
    found = compilable(method)
    wanted = [*method.generators().values(), method.task.discriminator]
    if name == "dcd":
        wanted += [method.task.backward_generator, method.task.backward_discriminator]
        wanted += [method.perceptual]
    assert {id(network) for network in found} >= {id(network) for network in wanted}
    assert len({id(network) for network in found}) == len(found)
    kinds = (TappedNetwork, PerceptualFeatures)
    assert all(isinstance(network, kinds) for network in found)
    if name == "dcd":
        assert len(found) == len(wanted) == 6


@pytest.mark.parametrize(
    ("compiled", "device", "wanted"),
    [
        ("auto", "cpu", False),
        ("auto", "cuda", True),
        ("on", "cpu", True),
        ("off", "cuda", False),
        ("off", "cpu", False),
    ],
)
def test_auto_compiles_on_a_gpu_only(
    compiled: str, device: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, asked = small_method(perceptual=False), []
    monkeypatch.setattr(speed, "compile_networks", lambda found, say: asked.extend(found))
    speed_up(method, torch.device(device), compiled=compiled, say=pytest.fail)
    assert asked == (compilable(method) if wanted else [])
    assert method.student.model[1].weight.is_contiguous(memory_format=torch.channels_last)


class Library:
    """Stands in for glibc."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.asked.append((option, value))
        return 1

    def malloc_trim(self, kept: int) -> int:
        self.asked.append((kept,))
        return 1


def test_memory_is_kept_and_given_back_where_the_c_library_is_glibc(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(keep_freed_memory(), bool)
    assert isinstance(give_back_memory(), bool)
    library = Library()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert keep_freed_memory()
    # M_MMAP_MAX and M_TRIM_THRESHOLD, as <malloc.h> numbers them
    assert library.asked == [(-4, 0), (-1, -1)]
    assert give_back_memory()
    assert library.asked[2:] == [(0,)]


def test_elsewhere_memory_is_left_to_the_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(sys, "platform", "linux")
    for musl in (lambda name: object(), missing):
        monkeypatch.setattr(ctypes, "CDLL", musl)
        assert keep_freed_memory() is give_back_memory() is False
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("looked for"))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is give_back_memory() is False


def test_memory_is_kept_by_a_training_on_the_cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr(speed, "keep_freed_memory", lambda: kept.append(True))
    for device in ("cuda", "cpu"):
        speed_up(nn.Linear(1, 1), torch.device(device), compiled="off", say=pytest.fail)
        assert len(kept) == (device == "cpu")


def test_compile_may_change_when_a_run_goes_on() -> None:
    assert read(RunSettings, {}).compile == "auto"
    for value in ("auto", "on", "off"):  # what older runs have recorded
        assert read(RunSettings, {"compile": value}).compile == value
    with pytest.raises(ConfigError, match=r"`compile` maybe.*auto, off, on, graphs"):
        read(RunSettings, {"compile": "maybe"})
    assert "compile" in FREE_ON_RESUME["run"]
    (option,) = [option for option in all_options() if option.flag == "--compile"]
    assert option.setting == "run.compile"
