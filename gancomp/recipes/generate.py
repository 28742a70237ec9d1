"""`gancomp generate`: images from noise, one file each, and a picture of many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gancomp import console
from gancomp.data.transforms import to_nearest_uint8
from gancomp.engine.device import choose_device
from gancomp.engine.sharing import (
    Watch,
    first_rank_first,
    in_blocks,
    in_shares,
    working_together,
)
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
from gancomp.ranks import current
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
    with working_together(say) as say_alone:
        with first_rank_first():
            model = choose(request.model, request.part, device=request.device).model
            network = check_generates(model, str(request.model))
            classes = read_classes(request.classes, network)
            network.to(choose_device(request.device))
            with reporting_disk_errors(request.out):
                request.out.mkdir(parents=True, exist_ok=True)
        _write_all(network, request, classes, say_alone)
        picture = request.out / GRID if request.grid else None
        if picture is not None and current().leads:
            count = min(request.num, MOST_IN_GRID)
            first = [_read(_path(request, number)) for number in range(count)]
            save(grid(first, math.ceil(math.sqrt(count))), picture)
    return {
        "written": [str(_path(request, number)) for number in range(request.num)],
        "grid": str(picture) if picture else None,
        "seed": request.seed,
        "truncation": request.truncation,
        "classes": list(classes) or None,
    }


def _write_all(
    network: SynthesisGenerator,
    request: GenerateRequest,
    classes: tuple[int, ...],
    say: Callable[[str], None],
) -> None:
    """Writes all images; several ranks write their shares."""
    recipe = Recipe(request.seed, request.truncation, classes)
    batch_size = request.batch_size or fitting_batch(network.resolution)
    ranks, before = current(), 0
    progress = console.milestones(say, TOLD_EVERY, lambda done: f"{done} of {request.num} written")

    def write(numbers: Sequence[int], watch: Watch) -> None:
        count, first = len(numbers), numbers[0] if numbers else 0
        images = sampled(network, count, recipe, batch_size=batch_size, first=first)
        for done, pixels in enumerate(chain.from_iterable(map(to_nearest_uint8, images))):
            save(Image.fromarray(pixels), _path(request, first + done))
            progress(before + ranks.size * (done + 1))
            watch()

    for block in in_blocks(range(request.num), batch_size):
        in_shares(block, write, unit=batch_size)
        before += len(block)


def _path(request: GenerateRequest, number: int) -> Path:
    return request.out / f"seed{request.seed}_{number:05d}.png"


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:  # of any rank's
        return np.array(image)


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
