from __future__ import annotations

import torch
from torch import nn

from gancomp.methods.statistics import running_statistics


def test_batch_norms_keep_their_statistics_within_the_block_and_their_mode_after_it() -> None:
    trained, resting = nn.BatchNorm2d(1), nn.BatchNorm2d(1).eval()
    network = nn.Sequential(trained, resting)
    with running_statistics(network):
        network(torch.full((2, 1, 2, 2), 5.0))
    assert trained.running_mean.item() == 0.0
    assert (trained.training, resting.training) == (True, False)
