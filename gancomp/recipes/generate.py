"""`gancomp generate`: images from noise, one file each, and a picture of many."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gancomp import console
from gancomp.data.transforms import to_nearest_uint8
from gancomp.engine.device import choose_device
from gancomp.errors import ConfigError
from gancomp.files import replacing, reporting_disk_errors
from gancomp.inference.models import check_generates, choose
from gancomp.inference.sampling import (
    Recipe,
    check_seed,
    check_truncation,
    fitting_batch,
    grid,
    sampled,
)
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.settings import Json

GRID = "grid.png"
MOST_IN_GRID = 64
TOLD_EVERY = 500  # images between two lines of progress


@dataclass(frozen=True)
class GenerateRequest:
    """Which images are to be made; see `gancomp generate --help`."""

    model: Path
    out: Path
    num: int = 64
    seed: int = 0
    truncation: float | None = None
    classes: str | None = None
    batch_size: int | None = None
    grid: bool = True
    device: str = "auto"
    part: str | None = None


def generate(request: GenerateRequest, say: Callable[[str], None]) -> Json:
    """Writes `seedS_00000.png` and so on, and `grid.png` of the first of them.

    Files of these names give way to the new ones, others are left alone.

    Returns: `written`, `grid`, `seed`, `truncation` and `classes`, as `generate --json` prints
        them.

    Raises:
        ConfigError: for impossible options, or a model that does not generate images from noise.
        CheckpointError, RunError: for the model or the folder.
    """
    check_request(request)
    model = choose(request.model, request.part, device=request.device).model
    network = check_generates(model, str(request.model))
    classes = read_classes(request.classes, network)
    device = choose_device(request.device)
    batches = sampled(
        network.to(device),
        request.num,
        Recipe(request.seed, request.truncation, classes),
        batch_size=request.batch_size or fitting_batch(network.resolution),
    )
    progress = console.milestones(say, TOLD_EVERY, lambda done: f"{done} of {request.num} written")
    written: list[Path] = []
    first: list[NDArray[np.uint8]] = []
    with reporting_disk_errors(request.out):
        request.out.mkdir(parents=True, exist_ok=True)
    for images in batches:
        for pixels in to_nearest_uint8(images):
            path = request.out / f"seed{request.seed}_{len(written):05d}.png"
            save(Image.fromarray(pixels), path)
            written.append(path)
            if len(first) < MOST_IN_GRID:
                first.append(pixels)
        progress(len(written))
    picture = request.out / GRID if request.grid else None
    if picture is not None:
        save(grid(first, math.ceil(math.sqrt(len(first)))), picture)
    return {
        "written": [str(path) for path in written],
        "grid": str(picture) if picture else None,
        "seed": request.seed,
        "truncation": request.truncation,
        "classes": list(classes) or None,
    }


def check_request(request: GenerateRequest) -> None:
    """Refuses impossible numbers before anything is opened.

    Raises:
        ConfigError: naming the option.
    """
    if request.num < 1:
        raise ConfigError(f"`n` {request.num}: must be at least 1")
    if request.batch_size is not None and request.batch_size < 1:
        raise ConfigError(f"`batch_size` {request.batch_size}: must be at least 1")
    check_seed(request.seed)
    check_truncation(request.truncation)


def read_classes(text: str | None, network: SynthesisGenerator) -> tuple[int, ...]:
    """The classes in `0,3`, to be taken in turns; none if nothing was typed.

    Raises:
        ConfigError: if they are no numbers, or the network does not have them.
    """
    if text is None:
        return ()
    if network.num_classes is None:
        raise ConfigError(
            f"`classes` {text}: has no effect, {network.arch} knows no classes; remove it"
        )
    try:
        classes = tuple(int(item) for item in text.split(","))
    except ValueError:
        raise ConfigError(f"`classes` {text}: give numbers like 0,3") from None
    for label in classes:
        if not 0 <= label < network.num_classes:
            raise ConfigError(
                f"`classes` {label}: this model knows {network.num_classes}, from 0 to "
                f"{network.num_classes - 1}"
            )
    return classes


def save(image: Image.Image, path: Path) -> None:
    """Writes a PNG, whole or not at all."""
    with replacing(path) as aside:
        image.save(aside, format="PNG")
