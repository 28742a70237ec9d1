"""BigGAN: counts, keys and shapes as published, and a second implementation of both networks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from biggan_reference import (
    D_ATTENTION,
    G_ATTENTION,
    discriminator_shapes,
    generate,
    generator_shapes,
    judge,
    random_state,
)
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.networks.attention import SelfAttention
from gancomp.networks.base import initialize
from gancomp.networks.biggan import BigGAN
from gancomp.networks.conditional_norm import StoredBatchNorm
from gancomp.networks.spectral import SpectralNorm
from gancomp.networks.synthesis import Latents
from gancomp.registry import build_network

PARAMS = {  # width -> generator and discriminator at 128 pixels with 1000 classes
    96: (70_433_988, 87_982_370),
    64: (31_978_628, 39_448_258),
    48: (18_383_460, 22_383_698),
    32: (8_543_300, 10_120_802),
    24: (5_031_348, 5_789_978),
}
RESOLUTIONS = (32, 64, 128, 256)
CLASSES = 6


def ghost(arch: str, **settings: object) -> Any:
    with torch.device("meta"):
        return build_network(arch, **settings)


def small(arch: str, resolution: int = 32, width: int = 2, seed: int = 0) -> Any:
    """In float64 and eval mode, with random weights and statistics."""
    shapes = generator_shapes if arch == "biggan" else discriminator_shapes
    network = ghost(arch, width=width, resolution=resolution, num_classes=CLASSES)
    state = random_state(shapes(width, resolution, CLASSES), seed, torch.float64)
    network.load_state_dict(state, assign=True)
    return network.eval()


def latents(network: BigGAN, count: int = 2, seed: int = 1) -> Latents:
    drawn = network.draw_latents(count, torch.Generator().manual_seed(seed))
    return Latents(drawn.z.double(), drawn.classes)


def labeled(resolution: int = 32, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    shape = (count, 3, resolution, resolution)
    images = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    return images, torch.randint(CLASSES, (count,), generator=generator)


@pytest.mark.parametrize("width", PARAMS)
def test_parameters_at_128_pixels_are_the_published_numbers(width: int) -> None:
    networks = ghost("biggan", width=width), ghost("biggan-discriminator", width=width)
    found = tuple(sum(item.numel() for item in network.parameters()) for network in networks)
    assert found == PARAMS[width]


def test_the_full_networks_have_the_published_keys_and_shapes() -> None:
    for arch, number in (("biggan", 166), ("biggan-discriminator", 88)):
        assert len(ghost(arch).state_dict()) == number
    generator = {key: tuple(value.shape) for key, value in ghost("biggan").state_dict().items()}
    for key, shape in {
        "shared.weight": (1000, 128),
        "linear.weight": (24576, 20),
        "linear.u0": (1, 24576),
        "linear.sv0": (1,),
        "blocks.0.0.conv1.weight": (1536, 1536, 3, 3),
        "blocks.4.0.conv_sc.weight": (96, 192, 1, 1),
        "blocks.1.0.bn1.gain.weight": (1536, 148),
        "blocks.1.0.bn2.stored_var": (768,),
        "blocks.3.1.theta.weight": (24, 192, 1, 1),
        "blocks.3.1.g.weight": (96, 192, 1, 1),
        "blocks.3.1.gamma": (),
        "output_layer.0.gain": (96,),
        "output_layer.2.weight": (3, 96, 3, 3),
    }.items():
        assert generator[key] == shape, key
    assert not {"shared.u0", "blocks.1.0.bn1.gain.bias"} & set(generator)
    judging = ghost("biggan-discriminator").state_dict()
    assert tuple(judging["embed.weight"].shape) == (1000, 1536)
    assert tuple(judging["embed.u0"].shape) == (1, 1000)
    assert tuple(judging["blocks.0.1.theta.weight"].shape) == (12, 96, 1, 1)
    assert "blocks.5.0.conv_sc.weight" not in judging


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("width", [3, 96])
def test_keys_and_shapes_are_those_of_the_layout_at_every_resolution(
    width: int, resolution: int
) -> None:
    for arch, shapes in (
        ("biggan", generator_shapes),
        ("biggan-discriminator", discriminator_shapes),
    ):
        network = ghost(arch, width=width, resolution=resolution, num_classes=CLASSES)
        found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        assert found == shapes(width, resolution, CLASSES)
        assert network.resolution == resolution


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_images_are_those_of_a_second_implementation(resolution: int) -> None:
    network = small("biggan", resolution)
    drawn = latents(network)
    images = network(drawn)
    wanted = generate(network.state_dict(), drawn.z, drawn.classes, resolution)
    assert images.shape == (2, 3, resolution, resolution)
    assert (
        network.latent_size == drawn.z.shape[1] == {32: 80, 64: 100, 128: 120, 256: 140}[resolution]
    )
    assert wanted.std() > 0.1
    torch.testing.assert_close(images, wanted, rtol=0, atol=1e-9)
    attended = f"blocks.{G_ATTENTION[resolution]}.1"
    assert attended in network.default_taps
    side = network.features(drawn, [attended])[attended].shape[-1]
    assert side == {32: 16, 64: 32, 128: 64, 256: 64}[resolution]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_logits_and_two_gradients_are_those_of_a_second_implementation(resolution: int) -> None:
    network = small("biggan-discriminator", resolution)
    images, classes = labeled(resolution, 1 if resolution > 64 else 3)
    weights = [network.linear.weight, network.embed.weight, network.blocks[1][0].conv1.weight]
    found = []
    for run in (
        lambda x: network.judge(x, classes),
        lambda x: judge(dict(network.state_dict(keep_vars=True)), x, classes, resolution),
    ):
        x = images.clone().requires_grad_()
        logits = run(x)
        (first,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        second = torch.autograd.grad(first.square().sum(), [x, *weights])
        found.append([logits, first, *second])
    assert found[0][0].shape == (len(images), 1)
    for ours, wanted in zip(*found, strict=True):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(ours, wanted, rtol=1e-7, atol=1e-7 * wanted.abs().max().item())
    assert f"blocks.{D_ATTENTION[resolution]}.1" in network.default_taps


def test_the_class_enters_the_logit_by_its_projection_alone() -> None:
    network = small("biggan-discriminator")
    images, classes = labeled()
    (summed,) = network.features(network.question(images, classes), ["sum"]).values()
    table = network.embed.normalized_weight()
    other = (classes + 1) % CLASSES
    difference = network.judge(images, classes) - network.judge(images, other)
    wanted = [(table[a] - table[b]) @ h for a, b, h in zip(classes, other, summed, strict=True)]
    torch.testing.assert_close(difference[:, 0], torch.stack(wanted))


@pytest.mark.parametrize("arch", ["biggan", "biggan-discriminator"])
def test_at_rest_nothing_in_a_network_moves(arch: str) -> None:
    network = small(arch)
    before = copy.deepcopy(network.state_dict())
    for _ in range(3):
        run(network).sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def run(network: Any) -> Tensor:
    if isinstance(network, BigGAN):
        output: Tensor = network(latents(network))
    else:
        output = network.judge(*labeled(network.resolution))
    return output


@pytest.mark.parametrize("arch", ["biggan", "biggan-discriminator"])
def test_in_training_every_vector_and_statistic_moves(arch: str) -> None:
    network = small(arch).train()
    before = copy.deepcopy(network.state_dict())
    run(network)
    single = {  # of one row, whose vector is 1 or -1 from the start
        key for key, value in before.items() if key.endswith("u0") and value.numel() == 1
    }
    moving = {key for key in before if key.endswith(("u0", "sv0", "stored_mean", "stored_var"))}
    for key, value in network.state_dict().items():
        if key not in single:
            assert torch.equal(value, before[key]) != (key in moving), key


@pytest.mark.parametrize("arch", ["biggan", "biggan-discriminator"])
def test_several_passes_in_training_have_one_backward(arch: str) -> None:
    network = small(arch).train()
    (run(network).sum() + run(network).square().sum()).backward()
    assert all(bool(item.grad.isfinite().all()) for item in network.parameters())
    assert any(bool(item.grad.any()) for item in network.parameters())


def test_every_parameter_of_both_networks_gets_a_gradient() -> None:
    generator, discriminator = small("biggan"), small("biggan-discriminator")
    drawn = latents(generator, 12)
    discriminator.judge(generator(drawn), drawn.classes).square().sum().backward()
    for network in (generator, discriminator):
        for name, item in network.named_parameters():
            assert item.grad is not None, name
            assert bool(item.grad.any()), name


@pytest.mark.parametrize("arch", ["biggan", "biggan-discriminator"])
def test_channels_last_and_bfloat16_give_nearly_the_same(arch: str) -> None:
    network = small(arch, width=8).float()
    given: Any = (
        network.draw_latents(2, torch.Generator().manual_seed(1)) if arch == "biggan" else None
    )
    if given is None:
        images, classes = labeled()
        given = network.question(images.float(), classes)
    wanted = network(given)
    ordered = copy.deepcopy(network).to(memory_format=torch.channels_last)
    torch.testing.assert_close(ordered(given), wanted, rtol=1e-3, atol=1e-3)
    layouts = [
        value.is_contiguous(memory_format=torch.channels_last)
        for name, value in ordered.walk(given)
        if name.startswith("blocks")
    ]
    assert layouts
    assert all(layouts)
    with torch.autocast("cpu", torch.bfloat16):
        rough = ordered(given)
    assert rough.dtype == (torch.bfloat16 if arch == "biggan" else torch.float32)
    assert (rough - wanted).abs().max() < 0.15 * (1 + wanted.abs().max())
    assert all(value.dtype == torch.float32 for value in ordered.state_dict().values())


@pytest.mark.parametrize("count", [1, 3])
def test_the_gradient_penalty_has_the_same_gradients_in_channels_last(count: int) -> None:
    network = small("biggan-discriminator").train()
    ordered = copy.deepcopy(network).to(memory_format=torch.channels_last)
    images, classes = labeled(count=count)
    found = []
    for judging in (network, ordered):
        leaf = images.clone().requires_grad_()
        logits = judging(judging.question(leaf, classes))
        (gradient,) = torch.autograd.grad(logits.sum(), leaf, create_graph=True)
        gradient.square().sum().backward()
        found.append([p.grad for n, p in judging.named_parameters() if n != "linear.bias"])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8 * one.abs().max().item())


@pytest.mark.parametrize("arch", ["biggan", "biggan-discriminator"])
def test_initial_weights_are_orthogonal_and_every_buffer_is_filled(arch: str) -> None:
    network = build_network(arch, width=4, resolution=32, num_classes=CLASSES)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(float("nan"))
    initialize(network, torch.Generator().manual_seed(0))
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())
    num_layers = 0
    for module in network.modules():
        if isinstance(module, SpectralNorm):
            num_layers += 1
            matrix = module.weight.detach().flatten(1)
            matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.T
            torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix)), rtol=0, atol=1e-5)
            assert getattr(module, "bias", None) is None or not module.bias.any()
            assert module.sv0 == 1
        elif isinstance(module, SelfAttention):
            assert module.gamma == 0
        elif isinstance(module, StoredBatchNorm):
            assert not module.stored_mean.any()
            assert bool((module.stored_var == 1).all())
    assert num_layers == {"biggan": 27, "biggan-discriminator": 16}[arch]
    vectors = torch.cat([item.flatten() for key, item in network.named_buffers() if "u0" in key])
    assert abs(vectors.mean()) < 5 / len(vectors) ** 0.5
    assert abs(vectors.std() - 1) < 5 / (2 * len(vectors)) ** 0.5
    if isinstance(network, BigGAN):
        assert bool((network.output_layer[0].gain == 1).all())
        table = network.shared.weight.detach()
        torch.testing.assert_close(table @ table.T, torch.eye(CLASSES), rtol=0, atol=1e-5)


def test_latents_are_normal_with_even_classes_and_follow_the_seed() -> None:
    network = ghost("biggan", width=1, num_classes=4)
    drawn, again = (network.draw_latents(4000, torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(drawn.z, again.z)
    assert torch.equal(drawn.classes, again.classes)
    assert drawn.z.shape == (4000, 120)
    assert abs(drawn.z.mean()) < 5 / 480_000**0.5
    assert abs(drawn.z.std() - 1) < 5 / 960_000**0.5
    assert drawn.classes.dtype == torch.int64
    # five standard deviations of a binomial count
    assert all(abs(count - 1000) < 5 * 750**0.5 for count in drawn.classes.bincount().tolist())
    assert not drawn.noise
    assert drawn.truncation is None


def test_truncated_latents_are_those_of_a_normal_cut_off() -> None:
    network = ghost("biggan", width=1, num_classes=4)
    drawn = network.draw_latents(4000, torch.Generator().manual_seed(2), truncation=0.5)
    assert drawn.z.abs().max() <= 0.5
    # standard deviation of N(0, 1) within +-0.5, by its closed form
    density, mass = 0.3520653267642995, 0.38292492254802624
    assert abs(drawn.z.std() - (1 - 2 * 0.5 * density / mass) ** 0.5) < 2e-3
    whole = network.draw_latents(4000, torch.Generator().manual_seed(2))
    kept = whole.z.abs() <= 0.5
    assert torch.equal(drawn.z[kept], whole.z[kept])
    assert torch.equal(drawn.classes, whole.classes)


def test_classes_can_be_chosen_and_others_than_the_networks_are_refused() -> None:
    network = ghost("biggan", width=1, num_classes=4)
    chosen = torch.tensor([3, 0, 3])
    drawn = network.draw_latents(3, torch.Generator().manual_seed(2), classes=chosen)
    assert torch.equal(drawn.classes, chosen)
    for wrong in (4, -1):
        with pytest.raises(ConfigError, match=rf"`classes` {wrong}: .* from 0 to 3"):
            network.draw_latents(1, torch.Generator(), classes=torch.tensor([wrong]))


@pytest.mark.parametrize("truncation", [0.0, -1.0, float("nan")])
def test_a_truncation_that_leaves_nothing_is_refused(truncation: float) -> None:
    with pytest.raises(ConfigError, match=r"`truncation` .*at least 0\.01"):
        ghost("biggan", width=1).draw_latents(1, torch.Generator(), truncation=truncation)


@pytest.mark.parametrize(
    ("arch", "settings", "message"),
    [
        ("biggan", {"resolution": 48}, r"`size` 48: .*32, 64, 128, 256"),
        ("biggan", {"width": 0}, r"`width` 0"),
        ("biggan", {"num_classes": 0}, r"num_classes 0"),
        ("biggan-discriminator", {"resolution": 512}, r"`size` 512: biggan-discriminator"),
        ("biggan-discriminator", {"width": 0}, r"`d_width` 0"),
    ],
)
def test_impossible_settings_are_refused(arch: str, settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network(arch, **settings)


def test_images_of_another_size_are_refused() -> None:
    network = small("biggan-discriminator")
    with pytest.raises(ValueError, match="32x32 images only"):
        network.judge(*labeled(64))
