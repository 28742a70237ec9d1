"""BatchNorm layers that look at something they are not trained on keep their own statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def running_statistics(network: nn.Module) -> Iterator[None]:
    """BatchNorm layers of `network` use and keep their running statistics within the block."""
    norms = [
        item for item in network.modules() if isinstance(item, nn.BatchNorm2d) and item.training
    ]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
