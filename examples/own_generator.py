"""A generator of one's own, in plain torch, for every command of gancomp.

    gancomp distill --dataset my_photos --arch examples/own_generator.py:make_generator \
        --width-argument ngf --ratio 0.25

See own_generator.md. Nothing here knows of gancomp.
"""

from __future__ import annotations

from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(1, channels),
            nn.SiLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, H, W)` in and out."""
        return x + self.body(x)


def make_generator(ngf: int = 32, num_blocks: int = 6) -> nn.Module:
    """The factory: images `(N, 3, H, W)` in [-1, 1] in and out, of the same size."""
    return nn.Sequential(
        nn.Conv2d(3, ngf, 7, padding=3),
        nn.Conv2d(ngf, 4 * ngf, 4, stride=4),
        *[Block(4 * ngf) for _ in range(num_blocks)],
        nn.Upsample(scale_factor=4),
        nn.Conv2d(4 * ngf, ngf, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(ngf, 3, 7, padding=3),
        nn.Tanh(),
    )
