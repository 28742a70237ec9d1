"""What FID compares for a model that translates: its outputs for test images, and targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from gancomp.data.in_order import evaluation_batches
from gancomp.data.layout import DIRECTIONS, locate, scan
from gancomp.data.splits import DatasetFiles, Split, other_half
from gancomp.data.transforms import PixelFormat, as_rgb, to_uint8
from gancomp.errors import ConfigError, DataError
from gancomp.export.deployed import runtime_of
from gancomp.inference.models import Chosen, check_translates
from gancomp.inference.pixels import opened_format, pixels_in, refuse_odd_channels
from gancomp.networks.accelerate import accelerate
from gancomp.networks.base import TappedNetwork
from gancomp.networks.inference import run_generator
from gancomp.scoring.images import Images
from gancomp.scoring.request import (
    GRAY,
    Contest,
    FidRequest,
    Pixels,
    Reals,
    Say,
    as_8_bits,
    dataset_name,
    given_reals,
)
from gancomp.sizes import Size, as_size, in_pixels

TRANSLATED = {"test": "test", "all": "training and test"}  # by --fake-split


def translation_contest(
    request: FidRequest, chosen: Chosen, say: Say, *, device: torch.device
) -> Contest:
    """What the model makes of every test image, against targets."""
    files = dataset_of(chosen, request, say)
    sources = files_to_translate(request, files)
    reals = given_reals(request, say) or real_images(request, files)
    network = chosen.model.network.to(device)
    source, target = formats(request, chosen, sources, reals)
    reals = replace(reals, pixels=target)
    size = request.size or as_size(*chosen.model.header["input"]["size"])
    skipped = list(files.skipped)

    def made(files: Sequence[Path], say: Say, skipped: list[Path]) -> Iterator[Pixels]:
        return translated(
            network,
            replace(sources, source=tuple(files)),
            size=size,
            say=say,
            strict=request.strict,
            skipped=skipped,
            pixels=source,
        )

    gray = GRAY if network.settings()["out_channels"] == 1 else ""
    resized, translated_split = f"bicubic to {in_pixels(size)}", TRANSLATED[request.fake_split]
    protocol = {
        "reals": f"native size{as_8_bits(target)}",
        "fakes": f"all {translated_split} sources, {resized}, output truncated to 8 bits{gray}",
        "task": files.task,
        "direction": direction_of(chosen, request),
        "step": chosen.model.header["step"],
        "selection": chosen.model.header.get("selection", "last"),
    } | runtime_of(network)
    fakes = Images(sources.source, made)
    num_fakes = len(sources.source)
    return Contest(str(chosen.model.path), fakes, num_fakes, reals, protocol, skipped)


def files_to_translate(request: FidRequest, files: DatasetFiles) -> Split:
    """The test images; for `--fake-split all`, those of training before them."""
    assert files.test is not None
    if request.fake_split == "test":
        return files.test
    test, before = files.test, sources_before(request, files)
    return replace(test, source=before.source + test.source, target=before.target + test.target)


def sources_before(request: FidRequest, files: DatasetFiles) -> Split:
    """What is translated before the test images: those of training for `--fake-split all`."""
    train, test = files.train, files.test
    if request.fake_split == "test":
        return replace(train, source=(), target=())
    assert test is not None
    if train.side_by_side != test.side_by_side:
        raise ConfigError(
            f"`fake_split` all: {files.root} has sides A and B in one image in training or test "
            "only; use `fake_split` test"
        )
    return train


def formats(
    request: FidRequest, chosen: Chosen, test: Split, reals: Reals
) -> tuple[PixelFormat | None, PixelFormat | None]:
    """How the sources and the reals are read, None for plain 8-bit RGB.

    Raises:
        ConfigError: if the model's images are neither RGB nor gray.
        DataError: if the first image cannot be read.
    """
    settings = chosen.model.network.settings()
    channels = settings["in_channels"], settings["out_channels"]
    refuse_odd_channels(str(chosen.model.path), channels[1])
    stated = pixels_in(chosen.model.header, chosen.model.path)
    source = opened_format(
        stated["source"], channels[0], test.source[0], request.in_range, "in_range"
    )
    if not reals.files:
        if request.out_range is not None:
            raise ConfigError("`out_range`: has no effect with statistics as `real`; remove it")
        return source, None
    target = opened_format(
        stated["target"], channels[1], reals.files[0], request.out_range, "out_range"
    )
    return source, target


def dataset_of(chosen: Chosen, request: FidRequest, say: Say) -> DatasetFiles:
    """The dataset the model is scored on: as asked for, its run's, or the one its header names.

    Raises:
        ConfigError: if nothing names a dataset, or the model is no generator.
        DataError: if it cannot be found or has no test images.
    """
    header = chosen.model.header
    check_translates(chosen.model, str(chosen.model.path))
    if unused := request.of_synthesis():
        raise ConfigError(
            f"{', '.join(unused)}: no effect on {chosen.model.path}, which translates every "
            "test image; remove it"
        )
    task, direction = header["task"], direction_of(chosen, request)
    part = request.part or ""
    if part.endswith("_B") and not (request.direction or header["direction"]):
        say(
            f"warning: `part` {part}: by its name it translates B to A, but is scored {direction}; "
            "if so, give `direction` BtoA, else `direction` AtoB"
        )
    root = locate(dataset_name(chosen, request), say)
    files = scan(root, task=task, direction=direction, strict=request.strict, say=say)
    if files.test is None:
        raise DataError(
            f"{files.root}: has no test images (testA/, test/ or val/) to translate; "
            "add some, or score a folder with `fake`"
        )
    return files


def direction_of(chosen: Chosen, request: FidRequest) -> str:
    """What the model translates: as typed, else as its header says, else A to B."""
    direction: str = request.direction or chosen.model.header["direction"] or DIRECTIONS[0]
    return direction


def real_images(request: FidRequest, files: DatasetFiles) -> Reals:
    """The reals by the protocol: train and test targets unpaired, test targets paired.

    Source: GAN-Compression's statistics, which OMGD and DCD reuse, hold train and test images for
    unpaired tasks and test images for paired ones.
    """
    assert files.test is not None
    split = request.real_split
    if split == "auto":
        split = "test" if files.paired else "all"
    paths = files.test.target if split == "test" else files.train.target + files.test.target
    half = files.test.side_by_side
    half = other_half(half) if half else None
    return Reals(
        [f"{files.root} ({'train+test' if split == 'all' else 'test'} targets)"], paths, half
    )


def translated(
    network: TappedNetwork,
    split: Split,
    *,
    size: Size,
    say: Say,
    strict: bool = False,
    skipped: list[Path] | None = None,
    pixels: PixelFormat | None = None,
) -> Iterator[Pixels]:
    """The outputs for all sources of `split`: resized to `size`, truncated to 8 bits.

    Gray is repeated: `(H, W, 3)` each.
    """
    fast = accelerate(network)
    batches = evaluation_batches(
        split, size=size, batch_size=1, say=say, strict=strict, skipped=skipped, pixels=pixels
    )
    for _, sources in batches:
        yield from as_rgb(to_uint8(run_generator(fast, sources)))
