"""The adapter around people's own modules: names, maps, seeds, sizes, in-place layers."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gancomp.engine.graphs import why_not
from gancomp.engine.speed import channels_last, compilable
from gancomp.errors import ConfigError, GancompError
from gancomp.metrics.cost import measure_cost
from gancomp.networks.base import initialize
from gancomp.networks.own import OwnGenerator
from gancomp.networks.own_taps import evenly_spaced, matching
from gancomp.networks.own_trial import maps_of
from gancomp.networks.shapes import tap_sizes
from gancomp.own_code import forget_code, name_function, naming
from gancomp.registry import NETWORKS, build_network, generators
from gancomp.settings import NetworkSettings
from gancomp.tasks.base import like, new_network

FILE = Path(__file__).parents[1] / "own_generators.py"


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    forget_code()


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Plain(nn.Module):
    """In-place layers everywhere, a name of its own that means something to wrappers."""

    def __init__(self, ngf: int = 4, input_nc: int = 3, output_nc: int = 3) -> None:
        super().__init__()
        self.module = nn.Sequential(conv(input_nc, ngf), nn.ReLU(True), conv(ngf, ngf))
        self.norm = nn.BatchNorm2d(ngf)
        self.last = conv(ngf, output_nc)
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.module(x)
        y = self.norm(y)
        y += 1
        return torch.tanh(self.last(y.relu_()) * self.scale)


class Looks(Plain):
    """Looks at values, which the meta device has none of."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.abs().max().item() < 1e9 else x


class Views(Plain):
    """Takes its maps apart as if they were contiguous, as attention often does."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.module(x)
        n, c, h, w = y.shape
        return torch.tanh(self.last(y.view(n, c * h * w).softmax(1).view(n, c, h, w)))


class Square(Plain):
    """Of one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1, 4, 128, 128))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.last(self.module(x) + self.place))


class Tied(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.module[2].weight = nn.Parameter(torch.ones(4, 4, 3, 3))
        self.again = conv(4, 4)
        self.again.weight = self.module[2].weight


def own(make: Callable[..., Any], **settings: Any) -> OwnGenerator:
    network = build_network(name_function(make), **settings)
    assert isinstance(network, OwnGenerator)
    return network


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_state_has_the_names_of_the_module_itself_and_loads_back() -> None:
    network = own(Plain)
    names = list(network.module.state_dict())
    assert list(network.state_dict()) == names
    assert names[0] == "module.0.weight"
    other = own(Plain)
    initialize(other, torch.Generator().manual_seed(5))
    assert not torch.equal(other.state_dict()[names[0]], network.state_dict()[names[0]])
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.eval()(images(1, 3, 8, 8)), network.eval()(images(1, 3, 8, 8)))
    parent, twin = nn.ModuleList([network]), nn.ModuleList([own(Plain)])
    twin.load_state_dict(parent.state_dict())
    assert [f"0.{name}" for name in names] == list(parent.state_dict())
    with pytest.raises(RuntimeError, match="last.bias"):
        other.load_state_dict({k: v for k, v in network.state_dict().items() if k != "last.bias"})


def test_weights_are_the_code_s_own_under_the_seed_and_the_global_source_is_untouched() -> None:
    settings = NetworkSettings(arch=name_function(Plain), width=8, width_argument="ngf")
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, again = (new_network(settings, 0, "generator") for _ in range(2))
    other, role = new_network(settings, 1, "generator"), new_network(settings, 0, "student")
    assert torch.equal(torch.get_rng_state(), before)
    weight = first.state_dict()["last.weight"]
    assert torch.equal(weight, again.state_dict()["last.weight"])
    assert not torch.equal(weight, other.state_dict()["last.weight"])
    assert not torch.equal(weight, role.state_dict()["last.weight"])
    assert float(weight.abs().max()) <= (1 / (8 * 9)) ** 0.5  # torch's default, not CycleGAN's
    assert float(first.module.scale) == 2.0  # of no state dict, and wiped in between


def test_a_tap_keeps_its_value_though_the_next_layer_works_in_place() -> None:
    network = own(Plain).eval()
    inputs = images(2, 3, 8, 8)
    output, found = network.forward_with_taps(inputs, ["module.0", "norm"])
    body = network.module.module
    assert torch.equal(found["module.0"], body[0](inputs))
    assert torch.equal(found["norm"], network.module.norm(body(inputs)))
    assert torch.equal(output, network(inputs))
    assert list(network.features(inputs, ["norm"])) == ["norm"]
    found["norm"].sum().backward()
    assert body[0].weight.grad is not None
    assert network.module.last.weight.grad is None
    assert not any(module._forward_hooks for module in network.modules())


def test_hooks_are_gone_after_a_pass_that_failed_and_the_error_is_one_of_gancomp() -> None:
    network = own(Square)
    assert network.size_multiple == 128
    with pytest.raises(GancompError, match=r"fails on images of shape \[1, 3, 64, 64\]"):
        network.forward_with_taps(images(1, 3, 64, 64), ["norm"] and ["module.0"])
    assert not any(module._forward_hooks for module in network.modules())


def test_what_is_given_decides_the_factory_s_arguments() -> None:
    network = own(Plain, width=6, width_argument="ngf", in_channels=1, out_channels=2)
    assert network.settings() == {
        "width": 6,
        "in_channels": 1,
        "out_channels": 2,
        "width_argument": "ngf",
    }
    back = like(network, 0, "backward", in_channels=2, out_channels=1)
    assert back(images(1, 2, 8, 8)).shape == (1, 1, 8, 8)
    assert own(Plain).settings() == {"width": 4, "in_channels": 3, "out_channels": 3}
    rebuilt = build_network(network.arch, **network.settings(), taps=["norm"])
    assert rebuilt.default_taps == ("norm",)
    assert rebuilt.tap_channels == {"norm": 6}


def test_it_survives_copies_and_the_meta_device() -> None:
    network = own(Plain).eval()
    twin = copy.deepcopy(network)
    assert torch.equal(twin(images(1, 3, 8, 8)), network(images(1, 3, 8, 8)))
    assert tap_sizes(network, ["module.2"], (8, 12)) == [(8, 12)]
    with torch.device("meta"):
        built = own(Plain)
    assert next(built.parameters()).device.type == "cpu"
    assert measure_cost(network, (1, 3, 8, 8)).macs == 64 * 9 * (3 * 4 + 4 * 4 + 4 * 3)


def test_code_that_looks_at_values_is_counted_and_measured_on_the_cpu() -> None:
    network = own(Looks)
    assert network.needs_values
    assert not own(Plain).needs_values
    assert tap_sizes(network, ["module.2"], (8, 12)) == [(8, 12)]
    assert measure_cost(network, (1, 3, 8, 8)) == measure_cost(own(Plain), (1, 3, 8, 8))


def test_weights_stay_contiguous_where_channels_last_would_fail() -> None:
    network = own(Views)
    assert network.contiguous_only
    channels_last(nn.ModuleList([network]))
    assert network(images(2, 3, 16, 16)).shape == (2, 3, 16, 16)
    assert not own(Plain).contiguous_only


def test_it_is_neither_compiled_nor_replayed() -> None:
    network = own(Plain)
    assert compilable(nn.ModuleList([network])) == []
    assert "NVIDIA" in (why_not(network, torch.device("cpu")) or "")  # type: ignore[arg-type]
    network.replayable = True  # type: ignore[assignment]
    assert "code of your own" in (why_not(network, torch.device("cuda")) or "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "multiple", "taps"),
    [
        ("cut", 4, 4),
        ("pix2pixhd", 16, 4),
        ("ugatit", 4, 4),
        ("animegan", 1, 4),
        ("srvgg", 1, 4),
        ("rrdb", 4, 4),
    ],
)
def test_trial_passes_find_out_what_published_generators_need(
    name: str, multiple: int, taps: int
) -> None:
    spec = f"{FILE}:{name}"
    with naming(spec):
        network = build_network(spec)
    assert isinstance(network, OwnGenerator)
    assert network.size_multiple == multiple
    assert len(network.default_taps) == taps
    found = network.maps()
    positions = [item.position for item in found.maps if item.name in network.default_taps]
    assert positions == sorted(positions)
    assert 0.1 < positions[0] < 0.4
    assert 0.6 < positions[-1] < 0.95
    sizes = [item.size for item in found.maps if item.name in network.default_taps]
    assert all(
        8 * side >= whole
        for size in sizes
        for side, whole in zip(size, network.trial.size, strict=True)
    )


def test_chosen_maps_are_blocks_rather_than_the_layers_in_them() -> None:
    sys.path.append(str(FILE.parent))
    import own_generators

    module = own_generators.cut_resnet(ngf=4)
    found = maps_of(module, 3, (64, 64), on_meta=True)
    names = [item.name for item in evenly_spaced(found, (64, 64))]
    assert all(name.count(".") == 1 for name in names), names


def test_matching_maps_have_the_sizes_in_order_or_there_are_none() -> None:
    sys.path.append(str(FILE.parent))
    import own_generators

    found = maps_of(own_generators.cut(4), 3, (64, 64), on_meta=True)
    chosen = matching(found, [((64, 64), 0.2), ((16, 16), 0.5), ((32, 32), 0.9)])
    assert chosen is not None
    assert [item.size for item in chosen] == [(64, 64), (16, 16), (32, 32)]
    assert [item.position for item in chosen] == sorted(item.position for item in chosen)
    assert matching(found, [((16, 16), 0.1), ((7, 7), 0.5)]) is None


def test_modules_that_give_no_map_say_why() -> None:
    spec = f"{FILE}:ugatit"
    with naming(spec):
        network = build_network(spec, taps=["FC"])
        with pytest.raises(ConfigError, match=r"`taps` FC: .* gives a tensor of shape \[1, 16\]"):
            _ = network.default_taps
        with pytest.raises(ConfigError, match="did you mean UpBlock1_1"):
            _ = build_network(spec, taps=["UpBlock_1"]).default_taps
    assert "runs 9 times" in own_refused("pix2pixhd", "model.3")
    assert "does not run" in own_refused("srvgg", "body")


def own_refused(name: str, module: str) -> str:
    spec = f"{FILE}:{name}"
    with naming(spec):
        network = build_network(spec)
    assert isinstance(network, OwnGenerator)
    return network.maps().refused[module]


def test_tied_weights_fit_into_a_model_file(tmp_path: Path) -> None:
    from gancomp.export.model import open_model
    from gancomp.export.native import save_model

    network = own(Tied)
    described = dict.fromkeys(("task", "step", "method", "dataset"))
    save_model(tmp_path / "t.safetensors", network, role="teacher", input_size=32, **described)  # type: ignore[arg-type]
    loaded = open_model(tmp_path / "t.safetensors").network
    assert torch.equal(loaded.eval()(images(1, 3, 8, 8)), network.eval()(images(1, 3, 8, 8)))


def test_code_is_a_line_of_the_table_until_it_is_forgotten() -> None:
    spec = name_function(Plain)
    assert spec in NETWORKS
    assert spec in generators()
    forget_code()
    assert spec not in NETWORKS


def test_a_factory_of_layers_without_shapes_is_refused() -> None:
    with naming(name_function(without_shapes)), pytest.raises(ConfigError, match="has no shape"):
        build_network(name_function(without_shapes))


def without_shapes() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 1), nn.LazyConv2d(3, 1))


def test_a_size_that_the_code_fails_on_is_refused_in_one_line() -> None:
    spec = name_function(OneSize)
    with naming(spec):
        network = build_network(spec)
    assert isinstance(network, OwnGenerator)
    with pytest.raises(ConfigError, match=r"fails on images of `size` 32x32 .* 64x64 pixels"):
        network.maps((32, 32))


class OneSize(nn.Module):
    """Takes 64 pixels square alone: a weight for each column."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.columns = nn.Linear(64, 64)

    def forward(self, image: Tensor) -> Tensor:
        square = image if image.shape[2] == 64 else image[..., :0, :]
        return torch.tanh(self.columns(self.conv(square).view_as(image)))
