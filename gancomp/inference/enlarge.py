"""Super-resolution of one 8-bit image of any size, in memory that only its result makes grow."""

from __future__ import annotations

import numpy as np

from gancomp.data.degrade import Pixels
from gancomp.data.super_resolution import as_tensor
from gancomp.data.transforms import to_nearest_uint8
from gancomp.networks.base import TappedNetwork
from gancomp.networks.inference import finite
from gancomp.networks.tiling import TILE, upscaled_tiles


def enlarge(network: TappedNetwork, image: Pixels, *, tile: int = TILE) -> Pixels:
    """`(scale * H, scale * W, 3)`: the network's output, each tile rounded to 8 bits at once.

    Args:
        network: for super-resolution, in eval mode.
        image: `(H, W, 3)`, RGB.
        tile: side of a tile in input pixels.

    Raises:
        GancompError: if the output is not finite.
    """
    height, width = (network.scale * length for length in image.shape[:2])
    result = np.empty((height, width, 3), np.uint8)
    for rows, columns, part in upscaled_tiles(network, as_tensor(image)[None], tile=tile):
        result[rows, columns] = to_nearest_uint8(finite(part))[0]
    return result
