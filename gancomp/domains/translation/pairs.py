"""What a translated image is compared with: its target, or the teacher's image of its source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gancomp.data.in_order import read_in_order, read_resized
from gancomp.data.indexed import Picture
from gancomp.data.splits import DatasetFiles, Split
from gancomp.data.transforms import PixelFormat, as_rgb, picture_tensor, to_nearest_uint8, to_uint8
from gancomp.domains.translation.contest import (
    dataset_of,
    direction_of,
    formats,
    sources_before,
)
from gancomp.errors import ConfigError, DataError
from gancomp.export.deployed import runtime_of
from gancomp.inference.models import Chosen
from gancomp.networks.accelerate import FastGenerator, accelerate
from gancomp.networks.inference import run_generator
from gancomp.scoring.pairs import Pairs
from gancomp.scoring.request import FidRequest, Reals, Say
from gancomp.sizes import Size, as_size, in_pixels

Pixels = NDArray[np.uint8]


def translation_pairs(
    request: FidRequest, chosen: Chosen, other: Chosen | None, say: Say, *, device: torch.device
) -> Pairs:
    """Each readable test source as the model translates it, and its target or the other's image.

    Raises:
        ConfigError: if the dataset has no pairs, or the models take other channels.
    """
    files = dataset_of(chosen, request, say)
    assert files.test is not None
    truths = _truths(files, other, request)
    source, target = formats(request, chosen, files.test, truths)
    size = request.size or as_size(*chosen.model.header["input"]["size"])
    networks = [item.model.network.to(device) for item in (chosen, other) if item is not None]
    if other is not None:
        _refuse_other_channels(chosen, other)
    read = _Reader(files.test, size, source, target, with_target=other is None)
    fast = [accelerate(network) for network in networks]

    def made(
        paths: Sequence[Path], say: Say, skipped: list[Path]
    ) -> Iterator[tuple[Pixels, Pixels | None]]:
        found = read_in_order(paths, read, say, request.strict, skipped=skipped)
        return _made(found, fast, read, say, strict=request.strict, skipped=skipped)

    reference = truths.label[0] if other is None else str(other.model.path)
    protocol = {
        "of": f"all test sources, bicubic to {in_pixels(size)}, output truncated to 8 bits",
        "task": files.task,
        "direction": direction_of(chosen, request),
        "step": chosen.model.header["step"],
        "selection": chosen.model.header.get("selection", "last"),
        "device": device.type,
    } | runtime_of(networks[0])
    if other is None:
        protocol["truth"] = f"test targets, bicubic to {in_pixels(size)}"
    else:
        protocol["reference_step"] = other.model.header["step"]
    own, sources = str(chosen.model.path), files.test.source
    whole = sources_before(request, files).source + sources
    skipped = list(files.skipped)
    return Pairs(own, reference, sources, made, protocol, skipped, whole=whole)


def _made(
    found: Iterator[tuple[Path, tuple[Picture, Picture | DataError | None]]],
    networks: Sequence[FastGenerator],
    reader: _Reader,
    say: Say,
    *,
    strict: bool,
    skipped: list[Path],
) -> Iterator[tuple[Pixels, Pixels | None]]:
    """What the first network makes of each source, with its target or what the second makes.

    Sources of no pair have neither.

    Raises:
        DataError: at an unreadable target if `strict`; else its image stands alone.
    """
    for path, (picture, truth) in found:
        inputs = picture_tensor(picture)[None]
        compared = networks if path in reader.paired else networks[:1]
        image, *rest = (as_rgb(to_uint8(run_generator(item, inputs)))[0] for item in compared)
        if not isinstance(truth, DataError):
            given = _in_8_bits(picture_tensor(truth)) if truth is not None else None
            yield image, rest[0] if rest else given
            continue
        if strict:
            raise truth
        say(f"{truth}; skipped")
        skipped.append(reader.target_of[path])
        yield image, None


class _Reader:
    """Reads a source, and the target that belongs to it if that is wanted."""

    def __init__(
        self,
        test: Split,
        size: Size,
        source: PixelFormat | None,
        target: PixelFormat | None,
        *,
        with_target: bool,
    ) -> None:
        self.test, self.size, self.source, self.target = test, size, source, target
        self.paired = frozenset(test.source)
        pairs = zip(test.source, test.target, strict=True) if with_target else ()
        self.target_of = dict(pairs)

    def __call__(self, path: Path) -> tuple[Picture, Picture | DataError | None]:
        """Source and target; why the target cannot be read; None where there is none."""
        half, other = self.test.side_by_side, self.test.target_half
        picture = read_resized(path, self.size, half=half, pixels=self.source)
        if path not in self.target_of:
            return picture, None
        try:
            file = self.target_of[path]
            return picture, read_resized(file, self.size, half=other, pixels=self.target)
        except DataError as error:  # the image is still one that FID looks at
            return picture, error


def _truths(files: DatasetFiles, other: Chosen | None, request: FidRequest) -> Reals:
    """The targets, of which a score reads the first to know their values; none with a teacher."""
    if other is not None:
        if request.out_range is not None:
            raise ConfigError("`out_range`: has no effect on images of a model; remove it")
        return Reals([])
    assert files.test is not None
    if not files.paired:
        raise ConfigError(
            f"`pairs` targets: {files.root} is unpaired, its images have no targets of their own; "
            "use `pairs` teacher, or a model's file"
        )
    half = files.test.target_half
    return Reals([f"{files.root} (test targets)"], files.test.target, half)


def _refuse_other_channels(chosen: Chosen, other: Chosen) -> None:
    ours, theirs = (
        [item.model.network.settings()[name] for name in ("in_channels", "out_channels")]
        for item in (chosen, other)
    )
    if ours != theirs:
        raise ConfigError(
            f"`pairs` {other.model.path}: makes {theirs[1]} channels of {theirs[0]}, "
            f"{chosen.model.path} {ours[1]} of {ours[0]}; give two models of the same data"
        )


def _in_8_bits(image: Tensor) -> Pixels:
    pixels: Pixels = as_rgb(to_nearest_uint8(image[None]))[0]
    return pixels
