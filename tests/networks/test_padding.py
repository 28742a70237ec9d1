"""The reflection padding that keeps nothing, beside torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.networks.padding import ReflectionPad2d

PADDINGS = [1, 3, (0, 1, 2, 3), (3, 0, 0, 2), (4, 4, 3, 3)]


def maps(layout: torch.memory_format) -> Tensor:
    values = torch.randn(2, 5, 4, 5, dtype=torch.double)
    return values.contiguous(memory_format=layout).requires_grad_()


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradients_are_those_of_torch(
    padding: int | tuple[int, int, int, int], layout: torch.memory_format
) -> None:
    given = maps(layout)
    layer = ReflectionPad2d(padding)
    found, wanted = layer(given), F.pad(given, layer.padding, mode="reflect")
    assert torch.equal(found, wanted)
    assert found.stride() == wanted.stride()
    weights = torch.randn_like(wanted)
    gradients = [torch.autograd.grad((item * weights).sum(), given)[0] for item in (found, wanted)]
    assert torch.allclose(*gradients, atol=1e-13)
    assert torch.autograd.gradgradcheck(layer, (given,))


def test_the_input_is_not_kept_for_the_gradient() -> None:
    kept: list[Tensor] = []
    given = maps(torch.channels_last)

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        ReflectionPad2d(1)(given)
        assert not kept
        F.pad(given, (1, 1, 1, 1), mode="reflect")
        assert kept, "torch keeps nothing either by now: this module is no longer needed"
