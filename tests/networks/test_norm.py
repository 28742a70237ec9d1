"""The layout-keeping InstanceNorm against torch's own, in value and gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gancomp.networks.norm import InstanceNorm2d, instance_norm

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def features(layout: torch.memory_format, num: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(num, 5, 6, 7, generator=generator) * 4 + 2
    return values.contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num", [1, 3])
def test_value_and_gradient_are_those_of_torch(layout: torch.memory_format, num: int) -> None:
    ours, theirs = (features(layout, num).double().requires_grad_() for _ in range(2))
    weights = torch.randn(num, 5, 6, 7, dtype=torch.double)
    expected, found = F.instance_norm(theirs), instance_norm(ours)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    assert torch.allclose(found, expected, atol=1e-12)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


@pytest.mark.parametrize("num", [1, 2])
def test_the_layout_is_kept(num: int) -> None:
    found = InstanceNorm2d(5)(features(torch.channels_last, num))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert not F.instance_norm(features(torch.channels_last, num)).is_contiguous(
        memory_format=torch.channels_last
    ), "torch keeps the layout by now: this module is no longer needed"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_statistics_of_bf16_maps_are_computed_in_float32(layout: torch.memory_format) -> None:
    # mean / std of 200: in bf16 arithmetic the variance would be lost altogether
    maps = (features(layout) + 800).bfloat16()
    found = instance_norm(maps)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, F.instance_norm(maps.float()).bfloat16())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_single_position_has_no_variance(layout: torch.memory_format) -> None:
    with pytest.raises(ValueError, match="more than 1 position"):
        instance_norm(torch.zeros(1, 3, 1, 1).contiguous(memory_format=layout))


def test_second_derivatives_exist_in_channels_last() -> None:
    maps = torch.randn(2, 3, 3, 2, dtype=torch.double).contiguous(memory_format=torch.channels_last)
    assert torch.autograd.gradgradcheck(instance_norm, (maps.requires_grad_(),))
