"""The pictures of a report: what the generators make of the same inputs, and the grids of a run."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gancomp.data.layout import scan
from gancomp.data.transforms import to_uint8
from gancomp.domains.base import NUM_SAMPLES
from gancomp.domains.choice import domain_of
from gancomp.errors import GancompError
from gancomp.export.model import open_model
from gancomp.flags import as_typed
from gancomp.inference.grids import as_colors, resized
from gancomp.inference.sampling import Recipe, sampled, spread_classes
from gancomp.launch import unheard
from gancomp.networks.base import TappedNetwork
from gancomp.networks.inference import run_generator
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.report.subjects import ROLES, Subject
from gancomp.seeding import derive_seed
from gancomp.sizes import sides

INPUT, ORIGINAL = "input", "original"
MOST_GRIDS = 6  # of a run, from its first to its last
QUALITIES = (92, 80, 60, 40)  # of WebP, where PNG takes too many bytes
MOST_PIXELS = 1024  # of a side; more than a page is wide
SMALLEST_SIDE = 96


@dataclass(frozen=True)
class Example:
    """One input and what became of it.

    Attributes:
        name: what tells it from the others.
        images: by what they are, `input`, `teacher`, `student`, `original`, in this order; all of
            one size.
    """

    name: str
    images: Mapping[str, Image.Image]


@dataclass(frozen=True)
class Examples:
    """Pictures of a run, or why there are none.

    Attributes:
        found: the examples.
        origin: how they were made.
        reason: why there are none; empty where there are some.
    """

    found: Sequence[Example] = ()
    origin: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Grid:
    """A grid of samples that was drawn in training."""

    step: int | None
    image: Image.Image


def examples_of(subject: Subject) -> Examples:
    """What the run's generators make of test images, or of the same noise; else of its last grid.

    Nothing is trained or written. Where the dataset is not there anymore, the last grid that was
    drawn in training is cut into its images.
    """
    files = {role: path for role in ROLES if (path := subject.file(role)) is not None}
    try:
        if files:
            networks = {role: open_model(path).network for role, path in files.items()}
            return _made(subject, networks)
        reason = "the run has written no generator yet"
    except (GancompError, OSError) as error:
        reason = as_typed(str(error))
    cut = _cut(subject)
    if not cut:
        return Examples(reason=reason)
    return Examples(cut, f"Cut out of the last grid that was drawn in training ({reason}).")


def _made(subject: Subject, networks: dict[str, TappedNetwork]) -> Examples:
    if any(isinstance(network, SynthesisGenerator) for network in networks.values()):
        return _from_noise(subject, networks)
    settings = subject.settings
    files = scan(
        Path(str(subject.config["dataset"]["root"])),
        task=settings.data.task,
        direction=settings.data.direction,
        say=unheard,
    )
    sources, *truths = domain_of(settings.data.task).samples(settings, files)
    made = {role: run_generator(network, sources) for role, network in networks.items()}
    size = next(iter(made.values())).shape[-2:]
    columns = {INPUT: resized(sources, size), **made}
    if truths:
        columns[ORIGINAL] = truths[0]
    split = "test" if files.test is not None else "training"
    what = "crops of" if truths else "images of"
    origin = f"The first {what} the {split} set, at the size of training."
    return Examples(_rows(columns, "image"), origin)


def _from_noise(subject: Subject, networks: dict[str, TappedNetwork]) -> Examples:
    columns: dict[str, Tensor] = {}
    for role, network in networks.items():
        assert isinstance(network, SynthesisGenerator)
        seed = derive_seed(subject.settings.run.seed, "samples")
        recipe = Recipe(seed, classes=spread_classes(network, NUM_SAMPLES))
        batches = sampled(network, NUM_SAMPLES, recipe, batch_size=NUM_SAMPLES)
        columns[role] = torch.cat(list(batches)).clamp(-1, 1)
    shared = (
        "Each pair comes from the same noise." if len(columns) > 1 else "Each from other noise."
    )
    return Examples(_rows(columns, "noise"), shared)


def _rows(columns: Mapping[str, Tensor], what: str) -> list[Example]:
    """One example for each image of the batches `(N, C, H, W)` in [-1, 1]."""
    pixels = {name: to_uint8(as_colors(images).float()) for name, images in columns.items()}
    count = min(len(images) for images in pixels.values())
    return [
        Example(
            f"{what} {index + 1}",
            {name: Image.fromarray(np.asarray(images[index])) for name, images in pixels.items()},
        )
        for index in range(count)
    ]


def _cut(subject: Subject) -> list[Example]:
    """The images of the last grid; none if it is not as this run's grids are."""
    grids = grids_of(subject)
    settings = subject.settings
    if not grids:
        return []
    synthesis = settings.data.task == "synthesis"
    names = [] if synthesis else [INPUT]
    names += ["teacher"] if settings.student is None or subject.file("teacher") else []
    names += ["student"] if settings.student is not None else []
    names += [ORIGINAL] if settings.data.task == "super-resolution" else []
    image, (height, width) = grids[-1].image, sides(settings.data.size)
    if synthesis and len(names) == 1:
        return []  # not a row for each
    if image.width != width * len(names) or image.height % height:
        return []
    return [
        Example(
            f"image {row + 1}",
            {
                name: image.crop(
                    (column * width, row * height, (column + 1) * width, (row + 1) * height)
                )
                for column, name in enumerate(names)
            },
        )
        for row in range(min(image.height // height, NUM_SAMPLES))
    ]


def grids_of(subject: Subject) -> list[Grid]:
    """The run's grids of samples, from the first to the last, at most `MOST_GRIDS` of them."""
    paths = subject.run.samples
    if len(paths) > MOST_GRIDS:
        last = len(paths) - 1
        paths = [paths[round(index * last / (MOST_GRIDS - 1))] for index in range(MOST_GRIDS)]
    found = []
    for path in paths:
        try:
            with Image.open(path) as image:
                picture = image.convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # half written, or none of ours
        number = path.stem.rpartition("_")[2]
        found.append(Grid(int(number) if number.isdigit() else None, picture))
    return found


def encoded(image: Image.Image, most: int) -> str:
    """The picture as a `data:` address of at most about `most` bytes.

    PNG where it fits, else WebP of the best quality that does, else at half the size and so on.
    """
    image = _bounded(image)
    while True:
        for quality in (None, *QUALITIES):
            file, kind = io.BytesIO(), "png" if quality is None else "webp"
            if quality is None:
                image.save(file, format=kind, optimize=True)
            else:
                image.save(file, format=kind, quality=quality, method=4)
            content = file.getvalue()
            last = quality == QUALITIES[-1] and min(image.size) <= SMALLEST_SIDE
            if len(content) <= most or last:
                return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)))


def _bounded(image: Image.Image) -> Image.Image:
    most = max(image.size)
    if most <= MOST_PIXELS:
        return image
    shape = [max(1, round(side * MOST_PIXELS / most)) for side in image.size]
    return image.resize((shape[0], shape[1]), Image.Resampling.LANCZOS)


class Album:
    """Encodes pictures so that all of them together stay within a number of bytes.

    Args:
        most: bytes of one picture.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.known: dict[str, str] = {}

    def __call__(self, image: Image.Image) -> str:
        """The `data:` address of the picture."""
        digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
        if digest not in self.known:
            self.known[digest] = encoded(image, self.most)
        return self.known[digest]
