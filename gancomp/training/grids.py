"""The pictures that a training run draws of what its generators can do so far."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.data.loader import evaluation_batches
from gancomp.data.splits import DatasetFiles, Split
from gancomp.data.super_resolution import evaluation_crops
from gancomp.data.transforms import to_uint8
from gancomp.engine.run import RunFolder
from gancomp.errors import DataError
from gancomp.files import replacing
from gancomp.inference.pixels import format_of
from gancomp.inference.sampling import Recipe, grid, joined, spread_classes
from gancomp.methods.base import Method
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.seeding import derive_seed
from gancomp.settings import Settings
from gancomp.sizes import square_side

NUM_SAMPLES = 4


def make_sampler(
    settings: Settings, files: DatasetFiles, method: Method, run: RunFolder, *, device: torch.device
) -> Callable[[int], None]:
    """Draws a grid of the same images at every call: source, teacher, student, row by row.

    In super-resolution the source is enlarged without a network, and the photograph comes last.
    In synthesis there is no source; a single generator's images fill a square.
    """
    if settings.data.task == "synthesis":
        return make_synthesis_sampler(settings.run.seed, method, run, device=device)
    sources, *truths = sample_images(settings, files)
    generators = method.generators()

    def sample(step: int) -> None:
        method.eval()
        with torch.no_grad():
            made = [item(sources.to(device)).cpu() for item in generators.values()]
            shown = [resized(sources, made[0].shape[-2:]), *made, *truths]
            shown = [as_colors(images) for images in shown]
        method.train()
        draw_grid(
            torch.stack(shown, dim=1).flatten(0, 1),
            run.samples / f"step_{step:08d}.png",
            len(shown),
        )

    return sample


def make_synthesis_sampler(
    seed: int, method: Method, run: RunFolder, *, device: torch.device
) -> Callable[[int], None]:
    """Draws what each generator makes of the same noise and of classes far apart, side by side."""
    generators = {
        role: network
        for role, network in method.generators().items()
        if isinstance(network, SynthesisGenerator)
    }
    columns = len(generators) if len(generators) > 1 else NUM_SAMPLES
    rows = 2 * NUM_SAMPLES if len(generators) > 1 else NUM_SAMPLES
    count = rows * columns // len(generators)
    latents = []
    for network in generators.values():
        recipe = Recipe(derive_seed(seed, "samples"), classes=spread_classes(network, count))
        latents.append(joined([recipe.latents(network, number) for number in range(count)]))

    def sample(step: int) -> None:
        method.eval()
        with torch.no_grad():
            made = [
                network(item.to(device)).cpu()
                for network, item in zip(generators.values(), latents, strict=True)
            ]
        method.train()
        draw_grid(
            torch.stack(made, dim=1).flatten(0, 1), run.samples / f"step_{step:08d}.png", columns
        )

    return sample


def sample_images(settings: Settings, files: DatasetFiles) -> list[Tensor]:
    """The sources of the grid and, in super-resolution, the photographs they come from."""
    size, scale = settings.data.size, settings.teacher.network.scale
    split = files.test or files.train
    if scale is not None:
        side = square_side(size, "super-resolution")
        return enlarged_samples(split, files.train, size=side, scale=scale)
    _, sources = next(
        evaluation_batches(
            split.source[: 2 * NUM_SAMPLES],
            size=size,
            batch_size=NUM_SAMPLES,
            half=split.side_by_side,
            say=lambda message: None,
            pixels=format_of(settings.data.source),
        )
    )
    return [sources]


def enlarged_samples(split: Split, other: Split, *, size: int, scale: int) -> list[Tensor]:
    """Sources and photographs out of `split`, or of `other` if its images are all too small."""
    crops = partial(
        evaluation_crops, size=size, scale=scale, count=NUM_SAMPLES, say=lambda message: None
    )
    try:
        pairs = crops(split)
    except DataError:
        pairs = crops(other)
    return [pairs["source"], pairs["target"]]


def resized(images: Tensor, size: torch.Size) -> Tensor:
    """The images `(N, 3, H, W)` at `size`, height and width (bicubic), within [-1, 1]."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bicubic").clamp(-1, 1)


def as_colors(images: Tensor) -> Tensor:
    """Images `(N, C, H, W)` as `(N, 3, H, W)`: gray repeated, two averaged, else the first 3."""
    if images.shape[1] == 2:
        images = images.mean(dim=1, keepdim=True)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]


def draw_grid(images: Tensor, path: Path, columns: int) -> None:
    """Writes `images` `(N, C, H, W)` in [-1, 1] as one PNG with that many columns."""
    with replacing(path) as aside:
        grid(list(to_uint8(images.float())), columns).save(aside, format="PNG")
