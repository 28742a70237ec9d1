"""Compares a function with a reference to second order."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def to_second_order(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], seed: int = 7
) -> list[Tensor]:
    """The value of `function`, gradients by all inputs, and gradients of those.

    Each is projected on fixed random directions; the second gradients are also taken by the
    direction of the first, so that they check everything a penalty on gradients goes through.
    """
    generator = torch.Generator().manual_seed(seed)

    def random_like(value: Tensor) -> Tensor:
        return torch.randn(value.shape, generator=generator, dtype=value.dtype)

    leaves = [value.detach().clone().requires_grad_() for value in inputs]
    value = function(*leaves)
    direction = random_like(value).requires_grad_()
    first = torch.autograd.grad((value * direction).sum(), leaves, create_graph=True)
    probe = sum((gradient * random_like(gradient)).sum() for gradient in first)
    assert isinstance(probe, Tensor)
    second = torch.autograd.grad(probe, [*leaves, direction], materialize_grads=True)
    return [value.detach(), *(gradient.detach() for gradient in first), *second]


def assert_equal_to_second_order(
    function: Callable[..., Tensor],
    reference: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    tolerance: float = 1e-9,
) -> None:
    """Both give the same value, first and second gradients, relative to each one's size.

    The default tolerance is for float64, whose rounding is 1e-16 per operation.
    """
    pairs = zip(to_second_order(function, inputs), to_second_order(reference, inputs), strict=True)
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= tolerance * max(1.0, float(theirs.abs().max()))
