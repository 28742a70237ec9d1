"""What holds for every network in the registry: taps, rebuilding, initial weights."""

import json
from typing import Any

import pytest
import torch
from lines import lines
from torch import nn

from gancomp.networks.base import TappedNetwork, draw_normal_weights, initialize
from gancomp.networks.synthesis import Latents, SynthesisDiscriminator, SynthesisGenerator
from gancomp.registry import build_network, network_parameters

SETTINGS = {"mobile-resnet9": {"dropout": 0.25}, "patchgan": {"norm": "batch", "layers": 2}}
SMALL = {  # those for synthesis are of one size each, which is large by default
    "two-branch-patchgan": {"in_channels": 3, "num_shared": 0},
    "stylegan2": {"resolution": 32, "style_channels": 8, "const_channels": 6},
    "stylegan2-discriminator": {"resolution": 32},
    "biggan": {"resolution": 32, "num_classes": 3},
    "biggan-discriminator": {"resolution": 32, "num_classes": 3},
}
ARCHS = sorted(lines("networks"))
pytestmark = pytest.mark.usefixtures("plug_ins")


def build(arch: str, **settings: object) -> TappedNetwork:
    return build_network(arch, **({"width": 4} | SMALL.get(arch, {}) | settings))


def images_for(network: TappedNetwork, batch: int = 1) -> Any:
    """Images, or what else the network takes."""
    generator = torch.Generator().manual_seed(7)
    if isinstance(network, SynthesisGenerator):
        return network.draw_latents(batch, generator)
    size = max(network.size_multiple, 32)
    images = torch.rand(batch, 3, size, size, generator=generator) * 2 - 1
    if isinstance(network, SynthesisDiscriminator):
        return network.question(images, torch.ones(batch, dtype=torch.int64))
    return images


def floating_part(given: Any) -> torch.Tensor:
    if isinstance(given, Latents):
        return given.z
    part: torch.Tensor = getattr(given, "images", given)
    return part


@pytest.mark.parametrize("arch", ARCHS)
def test_default_taps_have_the_declared_channels_and_come_in_forward_order(arch: str) -> None:
    network = build(arch).eval()
    output, taps = network.forward_with_taps(images_for(network), network.default_taps)
    assert tuple(taps) == network.default_taps == tuple(network.tap_channels)
    assert {name: value.shape[1] for name, value in taps.items()} == network.tap_channels
    torch.testing.assert_close(output, network(images_for(network)), rtol=0, atol=0)
    order = [name for name, _ in network.walk(images_for(network))]
    assert sorted(network.default_taps, key=order.index) == list(network.default_taps)


@pytest.mark.parametrize("arch", ARCHS)
def test_every_layer_can_be_tapped_and_no_later_layer_overwrites_it(arch: str) -> None:
    network = build(arch, **SETTINGS.get(arch, {})).eval()
    images = images_for(network)
    at_the_time = {name: value.clone() for name, value in network.walk(images)}
    output, taps = network.forward_with_taps(images, network.tap_names())
    assert set(at_the_time) == set(network.tap_names())
    assert len(at_the_time) >= 5
    for name, value in taps.items():
        assert torch.equal(value, at_the_time[name]), name
    assert torch.equal(output, taps[network.tap_names()[-1]])


@pytest.mark.parametrize("arch", ARCHS)
def test_a_loss_on_any_default_tap_reaches_the_first_layer_and_the_input(arch: str) -> None:
    network = build(arch).eval()
    images = images_for(network)
    leaf = floating_part(images).requires_grad_()
    first = next(network.parameters())
    _, taps = network.forward_with_taps(images, network.default_taps)
    for value in taps.values():
        for gradient in torch.autograd.grad(value.square().sum(), (first, leaf), retain_graph=True):
            assert gradient.abs().sum() > 0


@pytest.mark.parametrize("arch", ARCHS)
def test_features_equal_the_taps_of_a_full_pass(arch: str) -> None:
    network = build(arch).eval()
    images = images_for(network)
    _, taps = network.forward_with_taps(images, network.default_taps)
    features = network.features(images, network.default_taps)
    assert list(features) == list(taps)
    assert all(torch.equal(features[name], taps[name]) for name in taps)


def test_features_stop_before_the_layers_nobody_asked_for() -> None:
    network = build("patchgan")

    def refuse(inputs: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the last convolution ran")

    network.model[11].forward = refuse
    maps = torch.zeros(1, 3, 32, 32)
    assert list(network.features(maps, network.default_taps)) == ["model.10"]
    with pytest.raises(AssertionError, match="ran"):
        network(maps)


def test_taps_come_in_the_order_asked_for() -> None:
    network = build("mobile-resnet9")
    taps = ("model.18", "model.9")
    _, found = network.forward_with_taps(images_for(network), taps)
    assert tuple(found) == tuple(network.features(images_for(network), taps)) == taps
    assert network.features(images_for(network), ()) == {}


@pytest.mark.parametrize("arch", ARCHS)
def test_one_forward_pass_serves_all_three_ways_of_running(arch: str) -> None:
    network = build(arch).eval()
    images, taps = images_for(network), network.default_taps[-1:]
    output, found = network(images, taps)
    assert torch.equal(output, network(images))
    assert list(found) == list(taps)
    only = network(images, taps, only_taps=True)
    assert list(only) == list(taps)
    assert torch.equal(only[taps[0]], found[taps[0]])
    assert network(images, (), only_taps=True) == {}


@pytest.mark.parametrize(
    ("run", "taps", "arguments"),
    [
        ("forward_with_taps", (), ()),
        ("forward_with_taps", ("model.4",), (("model.4",),)),
        ("features", ("model.4",), (("model.4",),)),
    ],
)
def test_every_way_of_running_goes_through_the_call_that_is_compiled(
    run: str, taps: tuple[str, ...], arguments: tuple[object, ...]
) -> None:
    network, calls = build("patchgan"), []
    network.register_forward_pre_hook(lambda module, args: calls.append(args[1:]))
    getattr(network, run)(images_for(network), taps)
    assert calls == [arguments]


@pytest.mark.parametrize("arch", ["mobile-resnet9", "unet128"])
def test_an_unknown_tap_is_refused_with_the_list_of_taps(arch: str) -> None:
    network = build(arch)
    known = network.default_taps[0]
    for ask in (network.forward_with_taps, network.features):
        with pytest.raises(ValueError, match=rf"{arch}.*'model\.99'.*{known}"):
            ask(images_for(network), ("model.99",))


@pytest.mark.parametrize("arch", ARCHS)
def test_settings_survive_json_and_rebuild_the_same_network(arch: str) -> None:
    network = build(arch, **SETTINGS.get(arch, {}))
    settings = json.loads(json.dumps(network.settings()))
    rebuilt = build_network(network.arch, **settings)
    assert rebuilt.settings() == network.settings()
    assert str(rebuilt) == str(network)
    assert network.width == (8 if arch == "agd" else 4)  # AGD has multiples of 8 only
    settings["width"] = 99
    network.settings()["width"] = 99
    assert network.settings()["width"] == 4


@pytest.mark.parametrize("arch", ARCHS)
def test_the_same_generator_seed_gives_the_same_weights(arch: str) -> None:
    first, second, other = build(arch), build(arch), build(arch)
    for network, seed in ((first, 5), (second, 5), (other, 6)):
        initialize(network, torch.Generator().manual_seed(seed))
    states = [network.state_dict() for network in (first, second, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize("arch", ARCHS)
def test_building_and_initializing_leave_the_global_rng_untouched(arch: str) -> None:
    state = torch.get_rng_state()
    network = build(arch, **({"norm": "batch"} if "norm" in network_parameters(arch) else {}))
    assert torch.equal(torch.get_rng_state(), state)
    initialize(network, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), state)


def test_building_does_not_depend_on_the_global_rng() -> None:
    weights = []
    state = torch.get_rng_state()
    for seed in (1, 2):
        torch.manual_seed(seed)
        weights.append(next(build("resnet9").parameters()).detach())
    torch.set_rng_state(state)
    assert torch.equal(*weights)


def test_initial_weights_follow_the_published_distributions() -> None:
    network = build_network("unet128", width=16, norm="batch")
    network.model.model[1].model[2].running_mean.fill_(3.0)
    initialize(network, torch.Generator().manual_seed(3))
    convs = torch.cat(
        [
            module.weight.flatten()
            for module in network.modules()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        ]
    )
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    scales = torch.cat([module.weight for module in norms])
    # five standard errors of the mean and of the standard deviation
    assert abs(convs.mean()) < 5 * 0.02 / len(convs) ** 0.5
    assert abs(convs.std() - 0.02) < 5 * 0.02 / (2 * len(convs)) ** 0.5
    assert abs(scales.mean() - 1) < 5 * 0.02 / len(scales) ** 0.5
    assert abs(scales.std() - 0.02) < 5 * 0.02 / (2 * len(scales)) ** 0.5
    assert all(not module.bias.any() and not module.running_mean.any() for module in norms)
    assert all(bool((module.running_var == 1).all()) for module in norms)
    assert not network.model.model[3].bias.any()


def test_gain_scales_the_convolutions() -> None:
    network = build("patchgan")
    initialize(network, torch.Generator().manual_seed(3))
    small = network.model[2].weight.clone()
    draw_normal_weights(network, torch.Generator().manual_seed(3), gain=0.2)
    torch.testing.assert_close(network.model[2].weight, 10 * small)


def test_under_the_meta_device_a_network_has_shapes_but_no_data() -> None:
    with torch.device("meta"):
        network = build("unet256")
    assert all(parameter.is_meta for parameter in network.parameters())
