"""What stands in for networks that would have to be downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn


class Means(nn.Module):
    """Stands in for Inception: means of color over a coarse grid.

    Args:
        grid: its squares on a side.
    """

    weights_id = "6726825d as if"

    def __init__(self, grid: int = 3) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, images_01: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images_01, self.grid).flatten(1)


def features(paths: list[Path]) -> np.ndarray[Any, Any]:
    """What `Means` makes of files, resized as for Inception."""
    rows = []
    for path in paths:
        pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]
        resized = nn.functional.interpolate(
            pixels.float() / 255, size=(299, 299), mode="bilinear", align_corners=False
        )
        rows.append(Means()(resized).numpy()[0])
    return np.stack(rows)


def images(folder: Path, *names: str) -> list[Path]:
    return [path for name in names for path in sorted((folder / name).iterdir())]
