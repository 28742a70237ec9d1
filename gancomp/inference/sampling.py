"""Images from noise: each one follows from the seed and its number, whatever the batches are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.inference.memory import is_lack_of_memory
from gancomp.networks.base import device_of
from gancomp.networks.inference import finite
from gancomp.networks.synthesis import Latents, SynthesisGenerator
from gancomp.seeding import derive_generator
from gancomp.threads import thread_pool

MAX_SEED = 2**63 - 1
MOST_TRUNCATION = 2.0  # both kinds: beyond it nothing is left to be truncated
PIXELS_PER_BATCH = 1 << 22
MOST_PER_BATCH = 64
DRAWING_THREADS = 4  # at 1024 pixels an image takes three million random numbers


@dataclass(frozen=True)
class Recipe:
    """What, beside its number, an image from noise follows from.

    Attributes:
        seed: of all images.
        truncation: as `draw_latents` has it.
        classes: taken in turns; none: each image's class is drawn, where there are classes.
    """

    seed: int
    truncation: float | None = None
    classes: tuple[int, ...] = ()

    def latents(self, network: SynthesisGenerator, number: int) -> Latents:
        """What the network makes image `number` of; the noise within it is random, too.

        Always drawn on the CPU, so that every device makes the same images, up to rounding.

        Raises:
            ConfigError: for classes that the network does not have.
        """
        label = [self.classes[number % len(self.classes)]] if self.classes else None
        return network.draw_latents(
            1,
            derive_generator(self.seed, "image", number),
            classes=torch.tensor(label) if label else None,
            truncation=self.truncation,
        )


def joined(parts: Sequence[Latents]) -> Latents:
    """One batch out of several without mixed styles, all truncated alike."""
    assert all(part.mixed is None for part in parts)
    classes = [part.classes for part in parts if part.classes is not None]
    return Latents(
        torch.cat([part.z for part in parts]),
        classes=torch.cat(classes) if classes else None,
        noise=tuple(torch.cat(maps) for maps in zip(*(part.noise for part in parts), strict=True)),
        truncation=parts[0].truncation,
    )


def sampled(
    network: SynthesisGenerator, count: int, recipe: Recipe, *, batch_size: int, first: int = 0
) -> Iterator[Tensor]:
    """Images 0 to `count` - 1 in batches `(N, 3, H, W)` on the CPU, about in [-1, 1].

    While one batch is computed, the noise of the next is drawn.

    Args:
        network: in eval mode, on the device to compute on.
        count: images.
        recipe: of all of them.
        batch_size: images per pass; of no influence but rounding.
        first: the number of the first image, if it is another.

    Raises:
        ConfigError: for classes that the network does not have, or too little memory.
        GancompError: if the images are not finite.
    """
    device = device_of(network)
    with thread_pool(DRAWING_THREADS) as pool:
        end = first + count

        def draw(begin: int) -> list[Future[Latents]]:
            numbers = range(begin, min(begin + batch_size, end))
            return [pool.submit(recipe.latents, network, number) for number in numbers]

        pending = draw(first)
        for begin in range(first, end, batch_size):
            latents = joined([item.result() for item in pending])
            pending = draw(begin + batch_size)
            yield _run(network, latents.to(device), batch_size)


@torch.no_grad()
def _run(network: SynthesisGenerator, latents: Latents, batch_size: int) -> Tensor:
    try:
        return finite(network(latents).float().cpu())
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error):
            raise
        raise ConfigError(
            f"`batch_size` {batch_size}: images of {network.resolution} pixels take more memory "
            f"than there is ({str(error).splitlines()[0]}); use a smaller one"
        ) from error


def fitting_batch(resolution: int) -> int:
    """How many images a pass has by default: fewer of the large ones."""
    return max(1, min(MOST_PER_BATCH, PIXELS_PER_BATCH // resolution**2))


def check_seed(seed: int) -> None:
    """Raises ConfigError unless `seed` is one that a run could have."""
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"`seed` {seed}: must be from 0 to {MAX_SEED}")


def check_truncation(truncation: float | None) -> None:
    """Raises ConfigError for a truncation that makes no sense for either kind of generator."""
    if truncation is not None and not 0 < truncation <= MOST_TRUNCATION:
        raise ConfigError(
            f"`truncation` {truncation:g}: must be above 0 and at most {MOST_TRUNCATION:g}; remove "
            "it for none"
        )


def spread_classes(network: SynthesisGenerator, count: int) -> tuple[int, ...]:
    """`count` of the network's classes, as far apart as possible; none if it has none."""
    if network.num_classes is None:
        return ()
    return tuple(index * network.num_classes // count for index in range(count))


def grid(images: Sequence[NDArray[np.uint8]], columns: int) -> Image.Image:
    """The images `(H, W, 3)` row by row on white.

    Args:
        images: all of one size.
        columns: images per row.
    """
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    whole = Image.new("RGB", (columns * width, rows * height), "white")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        whole.paste(Image.fromarray(image), (column * width, row * height))
    return whole
