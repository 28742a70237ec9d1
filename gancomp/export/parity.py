"""Whether an exported file makes the images that PyTorch makes, before it is handed over."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gancomp.errors import GancompError
from gancomp.export.containers import shortened
from gancomp.export.form import Form, example_inputs
from gancomp.networks.base import TappedNetwork
from gancomp.networks.stylegan2 import StyleGAN2
from gancomp.networks.synthesis import Latents

BATCH_SIZES = (1, 2)
SMALL = 64  # pixels of the side of two of the three sizes, or what the network needs at least
LARGEST = 512  # of the third, which is the model's own up to here
LIMIT = 1e-3  # largest difference of a file in full precision; images are within [-1, 1]
LEAST_PSNR_DB = 40.0  # of a file in less precision
LEVELS = 127.5  # 8-bit levels per unit

Run = Callable[[Sequence[Any]], Any]  # arrays of the file's inputs to its images, (N, C, H, W)


class ExportError(GancompError):
    """A network that cannot be exported, or whose file does not do what PyTorch does."""


@dataclass(frozen=True)
class Parity:
    """What the check found.

    Attributes:
        largest: difference between the file's images and PyTorch's, which are within [-1, 1].
        psnr_db: of the worst image, infinity where all are equal.
        sizes: height and width of the images that were tried; of the outputs for synthesis.
    """

    largest: float
    psnr_db: float
    sizes: tuple[tuple[int, int], ...]

    def recorded(self) -> dict[str, Any]:
        """For people and programs, next to the largest difference."""
        return {
            "largest": self.largest,
            "psnr_db": round(self.psnr_db, 1) if math.isfinite(self.psnr_db) else None,
            "sizes": [list(size) for size in self.sizes],
            "batch_sizes": list(BATCH_SIZES),
        }


def measure_parity(
    network: TappedNetwork,
    form: Form,
    run: Run,
    own_size: Sequence[int],
    *,
    least_db: float | None = None,
) -> Parity:
    """Compares the file's images with those of the network itself at three sizes, by ones and twos.

    Args:
        network: the generator as it was, in eval mode on the CPU.
        form: of it.
        run: what the file makes of inputs.
        own_size: height and width that the model is meant for.
        least_db: refuse what is worse than this; by default what differs by more than 1e-3.

    Raises:
        ExportError: if the file differs by more than it may.
    """
    sizes = sizes_for(form, network, own_size)
    largest, worst = 0.0, math.inf
    for size in sizes:
        for count in BATCH_SIZES:
            inputs = example_inputs(form, network, size, count)
            with torch.no_grad():
                wanted = reference(network, inputs).numpy()
            try:
                given = np.asarray(run([value.numpy() for value in inputs]))
            except Exception as error:  # each runtime raises types of its own
                raise ExportError(
                    f"the exported {network.arch} does not run at {size[0]}x{size[1]} "
                    f"({shortened(' '.join(str(error).split()))[:200]}); nothing was written"
                ) from error
            if given.shape != wanted.shape or not np.isfinite(given).all():
                raise ExportError(
                    f"the exported {network.arch} gives {given.shape} of which not all is finite, "
                    f"where PyTorch gives {wanted.shape}; nothing was written"
                )
            largest = max(largest, float(np.abs(given - wanted).max()))
            worst = min(worst, psnr_db(given, wanted))
    if largest > LIMIT if least_db is None else worst < least_db:
        limit = f"{LIMIT}" if least_db is None else f"{least_db:g} dB"
        raise ExportError(
            f"the exported {network.arch} differs from PyTorch by {largest:.2g} ({worst:.1f} dB), "
            f"more than {limit} allows; nothing was written"
        )
    return Parity(largest, worst, sizes)


def sizes_for(
    form: Form, network: TappedNetwork, own_size: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Three heights and widths: two small ones that are not square, and the model's own.

    Of a form for one size, that one.
    """
    if form.fixed_size is not None:
        return (form.fixed_size,)
    if not form.size_multiple:
        side = int(network.resolution)  # type: ignore[arg-type]  # of networks for synthesis
        return ((side, side),)
    step, small = form.size_multiple, small_side(form.size_multiple, form.scale)
    height, width = (step * max(1, min(length, LARGEST) // step) for length in own_size)
    return (small, 2 * small), (2 * small, small), (height, width)


def small_side(step: int, scale: int) -> int:
    """Pixels of a side that any network can do with whose sides are multiples of `step`."""
    return step * math.ceil(SMALL / scale / step)


def reference(network: TappedNetwork, inputs: Sequence[Tensor]) -> Tensor:
    """What the network itself makes of the inputs of its exported form."""
    first, *others = inputs
    images: Tensor
    if first.ndim == 4:
        images = network(first)
    elif isinstance(network, StyleGAN2):
        images = network(Latents(first, truncation=float(others[0])))
    else:
        images = network(Latents(first, others[0] if others else None))
    return images


def as_images(output: Any) -> Any:
    """A file's output in [-1, 1], also of one that gives bytes."""
    return output / np.float32(LEVELS) - 1 if output.dtype == np.uint8 else output


def psnr_db(given: Any, wanted: Any) -> float:
    """Of the worst image of a batch, both in [-1, 1], as images of 8 bits would have it."""
    levels = (np.clip(item.astype(np.float64), -1, 1) * LEVELS for item in (given, wanted))
    first, second = levels
    errors = ((first - second) ** 2).reshape(len(first), -1).mean(1)
    worst = float(errors.max())
    return math.inf if worst == 0 else 10 * math.log10(255**2 / worst)


def rounded_up(difference: float) -> float:
    """The power of ten that it stays below: what a file says of itself, the same every time."""
    return 0.0 if difference == 0 else float(f"1e{math.ceil(math.log10(difference))}")
