"""StyleGAN2's discriminator: its size, names, layers and groups."""

from collections.abc import Callable

import pytest
import torch
from derivatives import assert_equal_to_second_order
from stylegan2_reference import (
    deviation_map,
    discriminator_shapes,
    judge,
    kernel_of,
    random_state,
)
from torch import Tensor
from torch.func import functional_call

from gancomp.errors import ConfigError
from gancomp.metrics.cost import measure_cost
from gancomp.networks.base import initialize
from gancomp.networks.stylegan2_discriminator import (
    StyleGAN2Discriminator,
    apart,
    stylegan2_discriminator,
    together,
    with_group_deviation,
)
from gancomp.registry import build_network


def tiny(resolution: int = 16, width: int = 6) -> StyleGAN2Discriminator:
    network = stylegan2_discriminator(width, resolution=resolution)
    network.load_state_dict(random_state(discriminator_shapes(width, resolution)))
    return network


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("resolution", "width", "params"),
    [
        (1024, 512, 29_012_513),
        (1024, 256, 7_256_081),
        (1024, 128, 1_815_497),
        (1024, 64, 454_613),
        (256, 512, 28_864_129),
        (256, 256, 7_219_009),
        (256, 128, 1_806_241),
    ],
)
def test_size_is_the_published_one(resolution: int, width: int, params: int) -> None:
    with torch.device("meta"):
        network = stylegan2_discriminator(width, resolution=resolution)
    cost = measure_cost(network, (1, 3, resolution, resolution))
    assert cost.params == params
    assert cost.output == (1, 1)
    assert 0 < cost.parts.filters < cost.parts.convolutions / 5


@pytest.mark.parametrize(("resolution", "width", "num_keys"), [(256, 512, 50), (1024, 256, 64)])
def test_names_and_shapes_are_those_of_published_checkpoints(
    resolution: int, width: int, num_keys: int
) -> None:
    with torch.device("meta"):
        network = stylegan2_discriminator(width, resolution=resolution)
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert found == discriminator_shapes(width, resolution)
    assert len(found) == num_keys


@pytest.mark.parametrize("count", [1, 3, 8])
def test_logits_equal_an_independent_forward_pass_to_second_order(count: int) -> None:
    network = tiny().double()
    state = network.state_dict()
    names = ("convs.0.0.weight", "convs.1.conv2.1.weight", "convs.2.skip.1.weight")

    def ours(images: Tensor, *weights: Tensor) -> Tensor:
        return functional_call(network, dict(zip(names, weights, strict=True)), (images,))

    def theirs(images: Tensor, *weights: Tensor) -> Tensor:
        return judge({**state, **dict(zip(names, weights, strict=True))}, images)

    inputs = [random(count, 3, 16, 16), *(state[name] for name in names)]
    assert_equal_to_second_order(ours, theirs, inputs, 1e-8)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 12])
def test_group_deviation_equals_a_loop_over_images(count: int) -> None:
    def literal(features: Tensor) -> Tensor:
        return torch.cat([features, deviation_map(features)], 1)

    assert_equal_to_second_order(with_group_deviation, literal, [random(count, 2, 3, 2)])


def test_group_deviation_by_hand() -> None:
    features = torch.tensor([0.0, 10, 2, 10, 0, 10, 2, 10]).view(8, 1, 1, 1)
    found = with_group_deviation(features)[:, 1].flatten()
    # images 0, 2, 4, 6 are one group: 0, 2, 0, 2 deviate by 1 from their mean, the others by none
    assert torch.allclose(found, torch.tensor([1, 1e-4]).repeat(4), atol=1e-6)


@pytest.mark.parametrize("count", [5, 6, 7, 10])
def test_a_batch_without_whole_groups_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"a batch of {count} images has no whole groups of 4"):
        tiny()(torch.zeros(count, 3, 16, 16))


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="takes RGB images of 16x16"):
        tiny()(torch.zeros(4, 3, 32, 32))


@pytest.mark.parametrize("count", [4, 8, 12])
def test_two_batches_in_one_pass_are_judged_as_in_two(count: int) -> None:
    network = tiny().double()
    reals, fakes = random(count, 3, 16, 16), 2 * random(count, 3, 16, 16, seed=1)

    def one_pass(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat(apart(network(together(first, second))))

    def two_passes(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([network(first), network(second)])

    assert_equal_to_second_order(one_pass, two_passes, [reals, fakes], 1e-8)
    mixed_up = torch.cat(network(torch.cat([reals, fakes])).chunk(2))
    if count > 4:
        assert not torch.allclose(mixed_up, two_passes(reals, fakes))


def test_batches_that_would_share_a_group_do_not_go_together() -> None:
    for first, second in ((2, 2), (6, 6), (4, 8), (0, 0)):
        with pytest.raises(ValueError, match="a multiple of 4"):
            together(torch.zeros(first, 3), torch.zeros(second, 3))


def test_taps_are_in_order_and_the_last_is_the_logits() -> None:
    network = tiny()
    images = random(4, 3, 16, 16).float()
    assert tuple(name for name, _ in network.walk(images)) == network.tap_names()
    assert network.tap_names() == ("convs.0", "convs.1", "convs.2", "final_conv", "final_linear")
    logits, taps = network.forward_with_taps(images, network.default_taps)
    assert logits.shape == (4, 1)
    assert {name: value.shape[1] for name, value in taps.items()} == network.tap_channels


def test_fresh_weights_are_complete_and_those_of_the_seed() -> None:
    network = stylegan2_discriminator(4, resolution=16)
    for tensor in [*network.parameters(), *network.buffers()]:
        tensor.data.fill_(float("nan"))
    initialize(network, torch.Generator().manual_seed(1))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for name, value in state.items():
        if name.endswith("bias"):
            assert (value == 0).all()
        elif name.endswith("kernel"):
            assert torch.equal(value, kernel_of(1.0, value))
        else:
            assert 0.5 < value.std() < 2
    initialize(network, torch.Generator().manual_seed(1))
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: stylegan2_discriminator(0), "`d_width` 0"),
        (lambda: stylegan2_discriminator(8, resolution=20), "`size` 20"),
        (lambda: stylegan2_discriminator(4, resolution=512), "`d_width` 4: .* 8 is the least"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(
    make: Callable[[], object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_settings_rebuild_the_network() -> None:
    network = tiny()
    rebuilt = build_network("stylegan2-discriminator", **network.settings())
    rebuilt.load_state_dict(network.state_dict())
    images = random(4, 3, 16, 16).float()
    assert torch.equal(rebuilt(images), network(images))


def test_bfloat16_differs_little_and_keeps_channels_last_order() -> None:
    network = tiny(32, 32).to(memory_format=torch.channels_last)
    images = random(4, 3, 32, 32).float().contiguous(memory_format=torch.channels_last)
    exact = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = dict(network.walk(images))
    for name, value in outputs.items():
        if name != "final_linear":
            assert value.dtype == torch.bfloat16, name
            assert value.is_contiguous(memory_format=torch.channels_last), name
    logits = outputs["final_linear"]
    assert logits.dtype == torch.float32
    assert (logits - exact).abs().max() < 0.05 * exact.abs().max()
    logits.square().mean().backward()
    assert all(
        item.grad is not None and item.grad.isfinite().all() for item in network.parameters()
    )
