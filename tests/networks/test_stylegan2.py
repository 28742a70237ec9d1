"""StyleGAN2's generator: its size, names, layers, latents and precision."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from stylegan2_reference import (
    generate,
    generator_shapes,
    kernel_of,
    random_state,
    style_of,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gancomp.errors import ConfigError
from gancomp.metrics.cost import measure_cost
from gancomp.networks.base import initialize
from gancomp.networks.stylegan2 import StyleGAN2, stylegan2
from gancomp.networks.synthesis import Latents
from gancomp.registry import build_network

PUBLISHED = [  # resolution, width, parameters, billions of multiply-accumulates of convolutions
    (1024, 512, 30_370_060, "74.26"),
    (1024, 256, 11_064_988, "18.62"),
    (1024, 128, 5_392_036, "4.69"),
    (1024, 64, 3_550_456, "1.19"),
    (256, 512, 30_034_338, "45.12"),
    (256, 256, 10_931_682, "11.30"),
    (256, 128, 5_334_018, "2.84"),
]


def tiny(resolution: int = 32, width: int = 8) -> StyleGAN2:
    """A network with weights that all show in its images."""
    network = stylegan2(
        width, resolution=resolution, style_channels=6, mapping_layers=2, const_channels=10
    )
    shapes = generator_shapes(width, resolution, style=6, layers=2, const=10)
    network.load_state_dict(random_state(shapes))
    return network


def latents(network: StyleGAN2, count: int = 2, seed: int = 0, mixing: float = 0.0) -> Latents:
    generator = torch.Generator().manual_seed(seed)
    return network.draw_latents(count, generator, mixing=mixing)


def doubled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.double() for name, value in state.items()}


@pytest.mark.parametrize(("resolution", "width", "params", "gmacs"), PUBLISHED)
def test_size_and_cost_are_the_published_ones(
    resolution: int, width: int, params: int, gmacs: str
) -> None:
    with torch.device("meta"):
        network = stylegan2(width, resolution=resolution)
    cost = measure_cost(network, (1, 512))
    assert cost.params == params
    assert f"{cost.parts.convolutions / 1e9:.2f}" == gmacs
    assert cost.output == (1, 3, resolution, resolution)


def test_narrowing_the_constant_too_saves_what_is_published() -> None:
    with torch.device("meta"):
        network = stylegan2(256, resolution=1024, const_channels=256)
    assert sum(item.numel() for item in network.parameters()) == 10_339_740


@pytest.mark.parametrize(
    ("resolution", "width", "num_keys"), [(256, 512, 135), (256, 128, 135), (1024, 512, 171)]
)
def test_names_and_shapes_are_those_of_published_checkpoints(
    resolution: int, width: int, num_keys: int
) -> None:
    with torch.device("meta"):
        network = stylegan2(width, resolution=resolution)
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert found == generator_shapes(width, resolution)
    assert len(found) == num_keys


def test_image_equals_an_independent_forward_pass() -> None:
    network = tiny()
    given = latents(network)
    exact = doubled(network.state_dict())
    w = style_of(exact, given.z.double())
    noise = [item.double() for item in given.noise]
    expected = generate(exact, [w] * network.num_styles, noise)
    image = network.double()(given)
    assert (image - expected).abs().max() < 1e-10 * expected.abs().max()


def test_each_layer_follows_its_own_style_and_its_own_noise() -> None:
    network = tiny().double()
    generator = torch.Generator().manual_seed(3)
    styles = torch.randn(2, 8, 6, generator=generator, dtype=torch.float64)
    noise = tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in network.noise_shapes(2)
    )
    image = network.synthesize(styles, noise)
    expected = generate(network.state_dict(), list(styles.unbind(1)), list(noise))
    assert (image - expected).abs().max() < 1e-10 * expected.abs().max()


def test_which_outputs_depend_on_which_style() -> None:
    network = tiny().double()
    styles = torch.randn(1, 8, 6, dtype=torch.float64, requires_grad=True)
    outputs = dict(network._synthesis(styles, ()))
    first_style = {
        "conv1": {0},
        "to_rgb1": {0, 1},
        "convs.0": {0, 1},
        "convs.1": {0, 1, 2},
        "to_rgbs.0": {0, 1, 2, 3},
        "convs.2": {0, 1, 2, 3},
        "convs.3": {0, 1, 2, 3, 4},
        "to_rgbs.1": {0, 1, 2, 3, 4, 5},
        "convs.4": {0, 1, 2, 3, 4, 5},
        "convs.5": {0, 1, 2, 3, 4, 5, 6},
        "to_rgbs.2": {0, 1, 2, 3, 4, 5, 6, 7},
    }
    assert list(outputs) == list(first_style)
    for name, wanted in first_style.items():
        (gradient,) = torch.autograd.grad(outputs[name].square().sum(), styles, retain_graph=True)
        assert set(gradient[0].abs().sum(1).nonzero().flatten().tolist()) == wanted, name


def test_own_noise_is_used_where_none_is_given() -> None:
    network = tiny()
    given = latents(network)
    own = tuple(network.noises.buffers())
    assert [tuple(item.shape) for item in own] == network.noise_shapes(1)
    image = network(replace(given, noise=()))
    assert torch.equal(image, network(replace(given, noise=own)))
    assert not torch.equal(image, network(given))


def test_wrong_number_of_noise_maps_is_refused() -> None:
    network = tiny()
    with pytest.raises(ValueError, match="takes 7 maps of noise, 6 given"):
        network(replace(latents(network), noise=latents(network).noise[:6]))


def test_mixing_hands_the_layers_from_the_crossover_on_to_the_second_style() -> None:
    network = tiny()
    given = latents(network)
    other = torch.randn(2, 6)
    first, second = network.map(given.z), network.map(other)
    for crossover in range(1, network.num_styles):
        styles = network.styles(replace(given, mixed=other, crossover=crossover))
        assert all(torch.equal(styles[:, i], first) for i in range(crossover))
        assert all(torch.equal(styles[:, i], second) for i in range(crossover, 8))


@pytest.mark.parametrize("crossover", [0, 8, None])
def test_a_crossover_that_mixes_nothing_is_refused(crossover: int | None) -> None:
    network = tiny()
    with pytest.raises(ValueError, match="crossover"):
        network.styles(Latents(torch.zeros(1, 6), mixed=torch.zeros(1, 6), crossover=crossover))


def test_mixing_happens_as_often_as_asked_and_at_every_layer_but_the_first() -> None:
    network = tiny()
    generator = torch.Generator().manual_seed(0)
    drawn = [network.draw_latents(1, generator, mixing=0.9) for _ in range(600)]
    mixed = [item for item in drawn if item.mixed is not None]
    assert len(mixed) / 600 == pytest.approx(0.9, abs=0.05)  # four standard deviations
    assert {item.crossover for item in mixed} == set(range(1, 8))
    assert all((item.mixed is None) == (item.crossover is None) for item in drawn)


def test_latents_are_those_of_the_generator_and_whether_they_mix_changes_no_other_number() -> None:
    network = tiny()
    plain, again, mixed = latents(network), latents(network), latents(network, mixing=1.0)
    assert torch.equal(plain.z, again.z)
    assert torch.equal(plain.z, mixed.z)
    assert mixed.mixed is not None
    for a, b, shape in zip(plain.noise, mixed.noise, network.noise_shapes(2), strict=True):
        assert torch.equal(a, b)
        assert a.shape == shape
    assert not torch.equal(mixed.mixed, mixed.z)


def test_classes_are_refused() -> None:
    network = tiny()
    with pytest.raises(ConfigError, match="knows no classes"):
        network.draw_latents(1, torch.Generator(), classes=torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="knows no classes"):
        network(Latents(torch.zeros(1, 6), torch.zeros(1, dtype=torch.int64)))


def test_truncation_draws_styles_towards_the_average_the_network_brings() -> None:
    network = tiny()
    network.latent_avg = torch.arange(6.0)
    given = latents(network)
    styles = network.styles(given)
    half = network.styles(replace(given, truncation=0.5))
    assert torch.allclose(half, (styles + torch.arange(6.0)) / 2, rtol=1e-5, atol=1e-6)
    assert torch.equal(network.styles(replace(given, truncation=1.0)), styles)
    none = network.styles(replace(given, truncation=0.0))
    assert torch.equal(none, torch.arange(6.0).expand(2, 8, 6))


def test_truncation_estimates_the_average_where_none_is_known_and_again_after_training() -> None:
    network = tiny()
    given = replace(latents(network), truncation=0.0)
    average = network.styles(given)[0, 0]
    z = torch.randn(40_000, 6, generator=torch.Generator().manual_seed(9))
    spread = network.map(z)
    error = spread.std(0) / 100  # of the mean of 10,000
    assert ((average - spread.mean(0)).abs() < 5 * error).all()
    assert torch.equal(network.styles(given)[0, 0], average)
    assert "latent_avg" not in network.state_dict()
    with torch.no_grad():
        network.style[1].bias += 100
    assert not torch.allclose(network.styles(given)[0, 0], average)


def test_truncation_works_for_a_network_made_in_inference_mode() -> None:
    with torch.inference_mode():
        network = tiny()
        given = replace(latents(network), truncation=0.5)
        assert network(given).isfinite().all()


def test_a_state_with_and_without_an_average_style_is_complete() -> None:
    network = tiny()
    without = copy.deepcopy(network.state_dict())
    with_average = {**without, "latent_avg": torch.arange(6.0)}
    assert network.load_state_dict(with_average)
    assert network.latent_avg is not None
    assert network.latent_avg.tolist() == [0, 1, 2, 3, 4, 5]
    assert "latent_avg" in network.state_dict()
    assert "latent_avg" in copy.deepcopy(network).state_dict()
    assert network.load_state_dict(without)
    assert network.latent_avg is None
    with pytest.raises(RuntimeError, match="size mismatch"):
        network.load_state_dict({**without, "latent_avg": torch.zeros(5)})


def test_fresh_weights_are_complete_finite_and_those_of_the_seed() -> None:
    network = stylegan2(8, resolution=16, style_channels=6)
    network.latent_avg = torch.zeros(6)
    for tensor in [*network.parameters(), *network.buffers()]:
        tensor.data.fill_(float("nan"))
    initialize(network, torch.Generator().manual_seed(1))
    state = copy.deepcopy(network.state_dict())
    assert network.latent_avg is None
    for name, value in state.items():
        assert value.isfinite().all(), name
        if name.endswith("modulation.bias"):
            assert (value == 1).all()
        elif name.endswith((".bias", "noise.weight")):
            assert (value == 0).all()
        elif name.endswith("kernel"):
            assert torch.equal(value, kernel_of(4.0, value))
    initialize(network, torch.Generator().manual_seed(1))
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_building_draws_nothing_from_the_global_generator() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    stylegan2(8, resolution=16, style_channels=6)
    assert torch.equal(torch.get_rng_state(), before)


def test_taps_are_in_order_and_the_last_is_the_image() -> None:
    network = tiny()
    given = latents(network)
    names = [name for name, _ in network.walk(given)]
    assert tuple(names) == network.tap_names()
    image, taps = network(given, network.default_taps)
    assert {name: value.shape[1] for name, value in taps.items()} == network.tap_channels
    assert torch.equal(network(given, (names[-1],))[1][names[-1]], image)
    assert torch.equal(network.synthesize(network.styles(given), given.noise), image)


def test_settings_rebuild_the_network() -> None:
    network = tiny()
    rebuilt = build_network("stylegan2", **network.settings())
    rebuilt.load_state_dict(network.state_dict())
    given = latents(network)
    assert torch.equal(rebuilt(given), network(given))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "`width` 0"),
        ({"width": 8, "resolution": 48}, "`size` 48: stylegan2 knows 16, 32"),
        ({"width": 8, "resolution": 2048}, "`size` 2048"),
        ({"width": 8, "resolution": 1024}, "`width` 8: no channels .* 16 is the least"),
        ({"mapping_layers": 0}, "mapping_layers 0"),
        ({"style_channels": 0}, "style_channels 0"),
        ({"const_channels": 0}, "const_channels 0"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stylegan2(**settings)


def test_bfloat16_differs_little_and_keeps_channels_last_order() -> None:
    network = tiny(width=32).to(memory_format=torch.channels_last)
    given = latents(network, 4)
    exact = network(given)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = dict(network.walk(given))
    for name, value in outputs.items():
        if name == "styles":
            continue
        assert value.is_contiguous(memory_format=torch.channels_last), name
        rgb = name.startswith("to_rgb")
        assert value.dtype == (torch.float32 if rgb else torch.bfloat16), name
    error = (outputs["to_rgbs.2"] - exact).std() / exact.std()
    assert error < 0.02  # each of 7 layers rounds to 2^-9
    outputs["to_rgbs.2"].square().mean().backward()
    assert all(
        item.grad is not None and item.grad.isfinite().all() for item in network.parameters()
    )


class _Copies(TorchDispatchMode):
    """Counts the maps that were put into another memory order."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        copies = (torch.ops.aten.clone, torch.ops.aten._to_copy)
        if func.overloadpacket in copies and output.dim() == 4:
            orders = [
                maps.is_contiguous(memory_format=torch.channels_last) for maps in (args[0], output)
            ]
            self.count += orders[0] != orders[1]
        return output


def test_no_map_is_turned_into_another_order_in_channels_last() -> None:
    network = tiny(width=32).to(memory_format=torch.channels_last)
    given = latents(network, 4)
    with _Copies() as copies, torch.no_grad():
        network(given)
    assert copies.count == 0


def test_memory_order_and_precision_of_the_weights_do_not_change_the_image() -> None:
    network = tiny(width=32)
    given = latents(network)
    expected = network.double()(given)
    network.float()
    for order in (torch.contiguous_format, torch.channels_last):
        image = network.to(memory_format=order)(given)
        assert (image - expected).abs().max() < 1e-4 * expected.abs().max()


def test_gradient_reaches_every_weight() -> None:
    network = tiny()
    network(latents(network)).square().mean().backward()
    assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in network.parameters())
