"""The moving average: its half-life, what follows and what is copied, and that it stays put."""

from __future__ import annotations

import pytest
import torch
from synthesis_builders import state_of, tiny_generator
from torch import nn

from gancomp.methods.ema import MovingAverage, beta_of_half_life


class Small(nn.Module):
    def __init__(self, value: float, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2,), value))
        self.register_buffer("statistic", torch.full((2,), value))
        self.register_buffer("count", torch.tensor(count))
        self.register_buffer("empty", None)


@pytest.mark.parametrize(("batch_size", "kimg"), [(32, 10.0), (16, 1.0), (7, 0.5)])
def test_after_the_half_life_half_of_the_start_is_left(batch_size: int, kimg: float) -> None:
    steps = 1000 * kimg / batch_size
    assert beta_of_half_life(batch_size, kimg) ** steps == pytest.approx(0.5, rel=1e-9)


def test_the_published_half_life_gives_the_published_factor() -> None:
    assert beta_of_half_life(32, 10) == pytest.approx(0.997785, abs=1e-6)


def test_weights_and_statistics_follow_counts_are_copied() -> None:
    average = MovingAverage(Small(1.0, 1))
    average.follow(Small(3.0, 7), 0.75)
    assert average.network.weight.tolist() == [1.5, 1.5]
    assert average.network.statistic.tolist() == [1.5, 1.5]
    assert int(average.network.count) == 7
    average.follow(Small(3.0, 8), 0.75)
    assert average.network.weight.tolist() == [1.875, 1.875]


def test_without_memory_it_is_a_copy_bit_for_bit() -> None:
    average = MovingAverage(Small(0.1, 1))
    average.follow(Small(0.3, 2), 0.0)
    assert torch.equal(average.network.weight, torch.full((2,), 0.3))


def test_it_starts_as_a_copy_of_its_own_and_is_never_trained() -> None:
    network = tiny_generator()
    average = MovingAverage(network)
    before = state_of(average.network)
    with torch.no_grad():
        for item in network.parameters():
            item.add_(1)
    assert all(torch.equal(before[key], value) for key, value in state_of(average.network).items())
    assert not any(item.requires_grad for item in average.network.parameters())
    nn.ModuleList([average]).train()
    assert not average.network.training
    assert all(item.requires_grad for item in network.parameters())


def test_what_the_network_leaves_empty_stays_the_averages_own() -> None:
    average = MovingAverage(Small(1.0, 1))
    average.network.empty = torch.ones(3)
    average.follow(Small(3.0, 1), 0.5)
    assert torch.equal(average.network.empty, torch.ones(3))


def test_constant_buffers_stay_bit_for_bit() -> None:
    network = tiny_generator()
    average = MovingAverage(network)
    for _ in range(5):
        average.follow(network, 0.9)
    wanted = state_of(network)
    assert all(torch.equal(wanted[key], value) for key, value in state_of(average.network).items())
