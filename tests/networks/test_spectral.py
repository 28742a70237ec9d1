"""Spectral norm against torch's own, in value and two gradients; what it keeps and when."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from gancomp.networks.spectral import (
    EPS,
    SpectralConv2d,
    SpectralEmbedding,
    SpectralLinear,
    SpectralNorm,
    largest_singular_value,
)

KINDS = ["conv", "pointwise", "linear", "embedding"]


def layers(kind: str, seed: int = 3) -> tuple[SpectralNorm, nn.Module]:
    """A layer of ours and torch's with the same weights and vectors, in training mode."""
    ours: SpectralNorm = {
        "conv": lambda: SpectralConv2d(3, 5, 3),
        "pointwise": lambda: SpectralConv2d(4, 3, 1, bias=False),
        "linear": lambda: SpectralLinear(6, 4),
        "embedding": lambda: SpectralEmbedding(7, 5),
    }[kind]()
    ours = ours.double()
    ours.draw(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for parameter in ours.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed + 1))
            parameter.add_(noise)
    plain: nn.Module = {
        "conv": lambda: nn.Conv2d(3, 5, 3, padding=1),
        "pointwise": lambda: nn.Conv2d(4, 3, 1, bias=False),
        "linear": lambda: nn.Linear(6, 4),
        "embedding": lambda: nn.Embedding(7, 5),
    }[kind]()
    theirs = spectral_norm(plain.double(), n_power_iterations=1, eps=EPS, dim=0)
    state = {"weight_orig": ours.weight.detach().clone(), "weight_u": ours.u0[0].clone()}
    state["weight_v"] = theirs.weight_v
    if "bias" in dict(ours.named_parameters()):
        state["bias"] = ours.bias.detach().clone()
    theirs.load_state_dict(state)
    return ours, theirs


def inputs_for(kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    if kind == "embedding":
        return torch.randint(7, (4,), generator=generator)
    shape = {"conv": (2, 3, 6, 5), "pointwise": (2, 4, 3, 3), "linear": (5, 6)}[kind]
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def value_and_gradients(layer: nn.Module, weight: Tensor, inputs: Tensor) -> list[Tensor]:
    """Output, first gradients, and gradients of the first ones' squares."""
    leaves = [weight]
    if inputs.is_floating_point():
        inputs = inputs.clone().requires_grad_()
        leaves.append(inputs)
    output = layer(inputs)
    first = torch.autograd.grad((output**3).sum(), leaves, create_graph=True)
    second = torch.autograd.grad(sum((item**2).sum() for item in first), leaves)
    return [output, *first, *second]


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_two_gradients_are_those_of_torchs_spectral_norm(kind: str) -> None:
    ours, theirs = layers(kind)
    inputs = inputs_for(kind)
    for _ in range(3):  # the vectors move on alike, too
        found = value_and_gradients(ours, ours.weight, inputs)
        wanted = value_and_gradients(theirs, theirs.weight_orig, inputs)
        assert len(found) == (3 if kind == "embedding" else 5)
        for one, other in zip(found, wanted, strict=True):
            assert other.abs().max() > 0
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(ours.u0[0], theirs.weight_u, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_at_rest_the_step_is_taken_but_nothing_is_kept(kind: str) -> None:
    ours, theirs = layers(kind)
    inputs = inputs_for(kind)
    ours.eval()
    before = copy.deepcopy(ours.state_dict())
    outputs = [ours(inputs) for _ in range(3)]
    torch.testing.assert_close(outputs[0], theirs(inputs), rtol=1e-10, atol=1e-12)
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())


def test_in_training_the_vector_and_the_value_are_kept() -> None:
    ours, _ = layers("linear")
    before = ours.u0.clone()
    value, left = largest_singular_value(ours.weight.detach(), before[0])
    ours(inputs_for("linear"))
    assert not torch.equal(ours.u0, before)
    assert torch.equal(ours.u0[0], left)
    assert torch.equal(ours.sv0, value[None])


def test_two_passes_before_one_backward_use_each_its_own_vectors() -> None:
    ours, theirs = layers("conv")
    inputs = inputs_for("conv")
    (ours(inputs).square().sum() + ours(2 * inputs).pow(3).sum()).backward()
    vectors, expected = [], torch.zeros_like(ours.weight)
    for scale, power in ((1, 2), (2, 3)):  # each pass by itself, its backward right behind it
        theirs.zero_grad()
        theirs(scale * inputs).pow(power).sum().backward()
        expected += theirs.weight_orig.grad
        vectors.append(theirs.weight_u.clone())
    assert not torch.equal(*vectors)
    torch.testing.assert_close(ours.weight.grad, expected, rtol=1e-10, atol=1e-10)


def test_after_many_passes_the_largest_singular_value_is_one() -> None:
    ours, _ = layers("conv")
    for _ in range(300):
        ours(inputs_for("conv"))
    matrix = ours.normalized_weight().detach().flatten(1)
    torch.testing.assert_close(torch.linalg.matrix_norm(matrix, 2).item(), 1.0, rtol=1e-6, atol=0)
    largest = torch.linalg.matrix_norm(ours.weight.detach().flatten(1), 2).item()
    torch.testing.assert_close(ours.sv0.item(), largest, rtol=1e-6, atol=0)


def test_a_layer_that_is_scaled_gives_the_same() -> None:
    ours, _ = layers("pointwise")
    ours.eval()
    before = ours(inputs_for("pointwise"))
    with torch.no_grad():
        ours.weight.mul_(17.0)
    torch.testing.assert_close(ours(inputs_for("pointwise")), before)


def test_channels_last_weights_give_the_same_value_and_vector() -> None:
    ours, _ = layers("conv")
    other = copy.deepcopy(ours).to(memory_format=torch.channels_last)
    assert not other.weight.is_contiguous()
    outputs = [layer(inputs_for("conv")) for layer in (ours, other)]
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(ours.u0, other.u0)
    assert outputs[1].is_contiguous(memory_format=torch.channels_last)
    assert other.normalized_weight().is_contiguous(memory_format=torch.channels_last)


def test_under_autocast_the_norm_is_computed_in_float32() -> None:
    ours, _ = layers("conv")
    ours = ours.float().eval()
    wanted = ours.normalized_weight()
    with torch.autocast("cpu", torch.bfloat16):
        found = ours.normalized_weight()
        output = ours(inputs_for("conv").float())
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)
    assert output.dtype == torch.bfloat16


def test_a_weight_of_zeros_stays_finite() -> None:
    value, left = largest_singular_value(torch.zeros(3, 4), torch.ones(3))
    assert value == 0
    assert bool(torch.isfinite(left).all())


def test_drawn_layers_are_orthogonal_and_the_same_for_the_same_seed() -> None:
    first, second = SpectralConv2d(2, 5, 3), SpectralConv2d(2, 5, 3)
    for layer in (first, second):
        layer.draw(torch.Generator().manual_seed(1))
    rows = first.weight.detach().flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(5), rtol=0, atol=1e-6)
    assert not first.bias.any()
    assert first.sv0.item() == 1.0
    assert all(
        torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items()
    )
