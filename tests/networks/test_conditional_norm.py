"""Conditional batch norm against its definition, in value, first and second gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gancomp.networks.conditional_norm import ConditionalBatchNorm, PlainBatchNorm

CHANNELS, CONDITION = 3, 5


def conditional() -> ConditionalBatchNorm:
    """In float64, with weights and statistics that show."""
    norm = ConditionalBatchNorm(CHANNELS, CONDITION).double()
    generator = torch.Generator().manual_seed(4)
    norm.gain.draw(generator)
    norm.bias.draw(generator)
    with torch.no_grad():
        norm.stored_mean.copy_(torch.tensor([0.3, -1.0, 2.0]))
        norm.stored_var.copy_(torch.tensor([0.5, 1.5, 4.0]))
    return norm


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(6)
    features = 2 + 3 * torch.randn(4, CHANNELS, 3, 5, generator=generator, dtype=torch.float64)
    return features, torch.randn(4, CONDITION, generator=generator, dtype=torch.float64)


def literally(norm: ConditionalBatchNorm, features: Tensor, condition: Tensor) -> Tensor:
    gains = norm.gain.normalized_weight(), norm.bias.normalized_weight()
    maps = []
    for channel in range(CHANNELS):
        values = features[:, channel]
        mean = values.sum() / values.numel() if norm.training else norm.stored_mean[channel]
        spread = ((values - mean) ** 2).sum() / values.numel()
        variance = spread if norm.training else norm.stored_var[channel]
        rows = []
        for image in range(len(features)):
            gain, bias = (weight[channel] @ condition[image] for weight in gains)
            scaled = (values[image] - mean) / torch.sqrt(variance + 1e-5)
            rows.append((1 + gain) * scaled + bias)
        maps.append(torch.stack(rows))
    return torch.stack(maps, 1)


@pytest.mark.parametrize("training", [True, False])
def test_values_and_two_gradients_are_those_of_the_definition(training: bool) -> None:
    found = []
    for run in (lambda norm, *given: norm(*given), literally):
        norm = conditional().train(training)
        norm.gain.eval()  # its vectors stay, so that both are compared on the same weight
        norm.bias.eval()
        features, condition = (item.requires_grad_() for item in inputs())
        leaves = [features, condition, norm.gain.weight, norm.bias.weight]
        output = run(norm, features, condition)
        first = torch.autograd.grad((output**3).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum((item**2).sum() for item in first), leaves)
        found.append([output, *first, *second])
    for ours, wanted in zip(*found, strict=True):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(ours, wanted, rtol=1e-8, atol=1e-8)


def test_training_moves_the_stored_statistics_by_a_tenth() -> None:
    norm, (features, condition) = conditional(), inputs()
    before = norm.stored_mean.clone(), norm.stored_var.clone()
    norm(features, condition)
    mean, variance = features.mean((0, 2, 3)), features.var((0, 2, 3), unbiased=True)
    torch.testing.assert_close(norm.stored_mean, 0.9 * before[0] + 0.1 * mean)
    torch.testing.assert_close(norm.stored_var, 0.9 * before[1] + 0.1 * variance)


def test_at_rest_nothing_moves() -> None:
    norm = conditional().eval()
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    norm(*inputs())
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())


def test_a_fresh_conditional_norm_depends_on_the_condition_around_gain_one() -> None:
    norm, (features, condition) = conditional().eval(), inputs()
    norm.start_over()
    without = norm(features, 0 * condition)
    torch.testing.assert_close(without, features / (1 + 1e-5) ** 0.5)
    assert not torch.allclose(norm(features, condition), without)


def test_the_plain_norm_scales_and_shifts_each_channel() -> None:
    norm, (features, _) = PlainBatchNorm(CHANNELS).double(), inputs()
    with torch.no_grad():
        norm.gain.copy_(torch.tensor([1.0, 2.0, -1.0]))
        norm.bias.copy_(torch.tensor([0.0, 5.0, 1.0]))
    output = norm(features)
    torch.testing.assert_close(output.mean((0, 2, 3)), norm.bias.detach())
    spread = output.std((0, 2, 3), correction=0)
    torch.testing.assert_close(spread, norm.gain.detach().abs(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_layout_and_type_of_the_input_stay_and_statistics_are_float32(dtype: torch.dtype) -> None:
    norm, (features, condition) = conditional().float(), inputs()
    features = features.to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = norm(features, condition.float())
    assert output.dtype == dtype
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert norm.stored_mean.dtype == norm.stored_var.dtype == torch.float32
