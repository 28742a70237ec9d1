"""PSNR and SSIM of images and the ones that they should be, on all of RGB."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from gancomp.declare import NoOptions
from gancomp.errors import DataError
from gancomp.metrics.base import Pixels
from gancomp.metrics.image_quality import SSIM_RADIUS, psnr, ssim


class _OfPairs:
    """What both have in common."""

    needs: ClassVar[Literal["pairs"]] = "pairs"
    Options = NoOptions

    def __init__(self, options: NoOptions) -> None:
        self.options = options


class Psnr(_OfPairs):
    """Peak signal-to-noise ratio in dB, of 8-bit RGB whole; infinite for equal images."""

    def of_pair(self, image: Pixels, reference: Pixels) -> float:
        """In dB."""
        return psnr(image.astype(np.float64), reference.astype(np.float64))

    def protocol(self) -> dict[str, Any]:
        """On which pixels."""
        return {"of": "8-bit RGB, whole; equal images are not in the mean"}


class Ssim(_OfPairs):
    """Structural similarity, mean over RGB; 1 for equal images.

    Source: Wang et al. 2004, as `image_quality.ssim` computes it.
    """

    def of_pair(self, image: Pixels, reference: Pixels) -> float:
        """Up to 1."""
        refuse_small(image, 2 * SSIM_RADIUS + 1, "SSIM")
        return ssim(image.astype(np.float64), reference.astype(np.float64))

    def protocol(self) -> dict[str, Any]:
        """On which pixels, with which window."""
        return {"of": "8-bit RGB, whole", "window": "Gaussian 11x11, sigma 1.5"}


def refuse_small(image: Pixels, least: int, name: str) -> None:
    """Raises DataError if a side of `image` is below `least` pixels."""
    height, width = image.shape[:2]
    if min(height, width) < least:
        raise DataError(
            f"{width}x{height} pixels are too few for {name}; at least {least}x{least} are needed"
        )
