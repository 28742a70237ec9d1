"""R1 and path lengths against finite differences and gradients taken by hand."""

import pytest
import torch
from stylegan2_reference import discriminator_shapes, generator_shapes, random_state
from torch import Tensor

from gancomp.losses.regularizers import path_length_penalty, path_lengths, r1_penalty
from gancomp.networks.stylegan2 import StyleGAN2, stylegan2
from gancomp.networks.stylegan2_discriminator import (
    StyleGAN2Discriminator,
    stylegan2_discriminator,
)

STEP = 1e-6  # of finite differences: errors of 1e-12 from the curvature, 1e-10 from rounding


def discriminator() -> StyleGAN2Discriminator:
    network = stylegan2_discriminator(4, resolution=16)
    network.load_state_dict(random_state(discriminator_shapes(4, 16)))
    return network.double()


def generator() -> StyleGAN2:
    network = stylegan2(4, resolution=16, style_channels=3, mapping_layers=2, const_channels=4)
    network.load_state_dict(random_state(generator_shapes(4, 16, style=3, layers=2, const=4)))
    return network.double()


def random(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.double()


def test_r1_of_a_quadratic_by_hand() -> None:
    images = torch.arange(1.0, 7).view(2, 3, 1, 1).requires_grad_()
    logits = images.square().sum((1, 2, 3))[:, None]
    # gradients 2x: 4 (1 + 4 + 9) and 4 (16 + 25 + 36), their mean
    penalty = r1_penalty(logits, images)
    assert penalty.item() == 182
    (gradient,) = torch.autograd.grad(penalty, images)
    assert torch.equal(gradient, 4 * images)  # of 4 x^2 / 2


def test_r1_of_what_does_not_depend_on_where_it_is_is_the_slope() -> None:
    weight = random(3, 4, 4)
    images = random(5, 3, 4, 4, seed=1).requires_grad_()
    penalty = r1_penalty((images * weight).sum((1, 2, 3))[:, None], images)
    assert torch.allclose(penalty, weight.square().sum())


def test_r1_of_a_discriminator_agrees_with_finite_differences() -> None:
    network = discriminator()
    images = random(1, 3, 16, 16)
    penalty = r1_penalty(network(images.requires_grad_()), images).item()
    images = images.detach()
    total = 0.0
    with torch.no_grad():
        for index in range(images.numel()):
            shift = torch.zeros(images.numel(), dtype=torch.float64)
            shift[index] = STEP
            ahead, behind = (
                network(images + sign * shift.view_as(images)).item() for sign in (1, -1)
            )
            total += ((ahead - behind) / (2 * STEP)) ** 2
    assert penalty == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(
    "name", ["convs.1.conv1.0.weight", "convs.2.skip.1.weight", "final_linear.0.bias"]
)
def test_gradient_of_r1_by_weights_agrees_with_finite_differences(name: str) -> None:
    network = discriminator()
    images = random(4, 3, 16, 16).requires_grad_()
    weight = network.get_parameter(name)
    # by the plain forward: a compiled network cannot be differentiated twice
    (gradient,) = torch.autograd.grad(r1_penalty(network.forward(images), images), weight)
    direction = random(*weight.shape, seed=3)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * STEP * direction
        values.append(r1_penalty(network(images), images).item())
        with torch.no_grad():
            weight -= sign * STEP * direction
    slope = (values[0] - values[1]) / (2 * STEP)
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_path_length_of_a_linear_generator_by_hand() -> None:
    styles = torch.zeros(1, 2, 3).requires_grad_()
    noise = torch.ones(1, 1, 2, 2)
    # image = 3 (sum of row 0) + 4 (first of row 1) at each of 4 pixels; noise / sqrt(4)
    image = (3 * styles[:, 0].sum(1) + 4 * styles[:, 1, 0]).view(1, 1, 1, 1).expand(1, 1, 2, 2)
    # gradient: row 0 is 6, 6, 6, row 1 is 8, 0, 0; the root of (108 + 64) / 2
    assert path_lengths(image, styles, noise).item() == pytest.approx(86**0.5, rel=1e-6)


def lengths_of(network: StyleGAN2, styles: Tensor, noise: Tensor) -> Tensor:
    return path_lengths(network.synthesize(styles), styles, noise)


def test_path_lengths_of_a_generator_agree_with_finite_differences() -> None:
    network = generator()
    styles, noise = random(2, 6, 3), random(2, 3, 16, 16, seed=1)
    lengths = lengths_of(network, styles.requires_grad_(), noise)
    styles = styles.detach()
    squares = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for row in range(6):
            for column in range(3):
                shift = torch.zeros_like(styles)
                shift[:, row, column] = STEP
                ahead, behind = (
                    network.synthesize(styles + shift),
                    network.synthesize(styles - shift),
                )
                slope = ((ahead - behind) * noise).sum((1, 2, 3)) / (2 * STEP) / 16
                squares += slope.square()
    assert torch.allclose(lengths, (squares / 6).sqrt(), rtol=1e-6)


@pytest.mark.parametrize("name", ["convs.0.conv.weight", "input.input", "style.1.weight"])
def test_gradient_of_the_path_penalty_by_weights_agrees_with_finite_differences(name: str) -> None:
    network = generator()
    z, noise = random(2, 3), random(2, 3, 16, 16, seed=1)
    mean = torch.tensor(0.3, dtype=torch.float64)
    weight = network.get_parameter(name)

    def penalty() -> Tensor:
        styles = network.map(z)[:, None].expand(-1, 6, -1)
        return path_length_penalty(lengths_of(network, styles, noise), mean)[0]

    (gradient,) = torch.autograd.grad(penalty(), weight)
    direction = random(*weight.shape, seed=3) * weight.detach().abs().mean()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * STEP * direction
        values.append(penalty().item())
        with torch.no_grad():
            weight -= sign * STEP * direction
    slope = (values[0] - values[1]) / (2 * STEP)
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_running_mean_moves_by_its_share_and_the_penalty_is_about_the_new_one() -> None:
    lengths = torch.tensor([1.0, 3.0], requires_grad=True)
    penalty, mean = path_length_penalty(lengths, torch.tensor(12.0), decay=0.2)
    assert mean.item() == pytest.approx(10.0)
    assert not mean.requires_grad
    assert penalty.item() == pytest.approx((81 + 49) / 2)
    (gradient,) = torch.autograd.grad(penalty, lengths)
    # the mean, 9.6 + 0.1 of each, follows: d_1 = -9, d_2 = -7, so -9 - 0.1 (-16) and -7 + 1.6
    assert torch.allclose(gradient, torch.tensor([-7.4, -5.4]))


def test_default_share_of_the_running_mean_is_a_hundredth() -> None:
    _, mean = path_length_penalty(torch.tensor([100.0]), torch.tensor(0.0))
    assert mean.item() == pytest.approx(1.0)


def test_both_are_in_float32_and_finite_under_autocast() -> None:
    judge, network = discriminator().float(), generator().float()
    images = random(4, 3, 16, 16).float().requires_grad_()
    styles = random(2, 6, 3).float().requires_grad_()
    exact = r1_penalty(judge(images), images)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = r1_penalty(judge(images), images)
        lengths = lengths_of(network, styles, torch.ones(2, 3, 16, 16))
    assert penalty.dtype == lengths.dtype == torch.float32
    assert penalty.item() == pytest.approx(exact.item(), rel=0.1)
    (penalty + lengths.sum()).backward()
    for item in [*judge.parameters(), *network.convs.parameters()]:
        assert item.grad is None or item.grad.isfinite().all()
