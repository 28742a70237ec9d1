"""Scores of images beside the ones that they should be: means over pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from gancomp import console
from gancomp.data.in_order import read_as_pytorch_fid, read_in_order
from gancomp.errors import ConfigError, DataError
from gancomp.metrics.base import PairMetric
from gancomp.metrics.resampling import LEVEL, SEED
from gancomp.scoring.measuring import TOLD_EVERY, Number
from gancomp.scoring.request import (
    FidRequest,
    Pixels,
    Say,
    as_8_bits,
    folder_format,
    holds_statistics,
    listing,
)
from gancomp.settings import Json

TARGETS, TEACHER, FILES = "targets", "teacher", "files"


@dataclass(frozen=True)
class Pairs:
    """Images, each with the one that it should be.

    Attributes:
        label: what the images are called in a score.
        reference: what the others are called.
        images: both of each pair, `(H, W, 3)`, made while they are read; the image alone where its
            reference cannot be read.
        protocol: how they come about.
        skipped: files left out as unreadable; those met on the way are added.
        run: whose model it is, if it is one's.
        fakes: the generated images of FID's protocol, in their order, given those of the pairs as
            they are made, and a list for files that are left out; None if these have no part in it.
    """

    label: str
    reference: str
    images: Iterator[tuple[Pixels, Pixels | None]]
    protocol: Json
    skipped: list[Path] = field(default_factory=list)
    run: Path | None = None
    fakes: Callable[[Iterator[Pixels], list[Path]], Iterator[Pixels]] | None = None


class PairScores:
    """What metrics, prepared before, say of each pair; filled while the images are read.

    Args:
        pairs: read once.
        metrics: by their names.
        say: told how far it is.
    """

    def __init__(self, pairs: Pairs, metrics: Mapping[str, PairMetric], say: Say) -> None:
        self.pairs, self.metrics = pairs, metrics
        self.count = 0
        self._values: dict[str, list[float]] = {name: [] for name in metrics}
        self._told = console.milestones(say, TOLD_EVERY, lambda done: f"compared {done} pairs")

    def images(self) -> Iterator[Pixels]:
        """The image of each pair, after it was compared.

        Raises:
            DataError: if two images differ in size, or are too small.
        """
        for image, reference in self.pairs.images:
            if reference is not None:
                self._compare(image, reference)
            yield image

    def _compare(self, image: Pixels, reference: Pixels) -> None:
        if image.shape != reference.shape:
            sizes = [f"{item.shape[1]}x{item.shape[0]}" for item in (image, reference)]
            raise DataError(
                f"pair {self.count} of {self.pairs.label} and {self.pairs.reference}: {sizes[0]} "
                f"against {sizes[1]} pixels; bring them to one size first"
            )
        for name, metric in self.metrics.items():
            self._values[name].append(metric.of_pair(image, reference))
        self.count += 1
        self._told(self.count)

    def numbers(self, *, bootstrap: int) -> dict[str, Number]:
        """The mean of each metric over all pairs, those that are not read yet among them.

        Infinite values, of equal images, are in no mean; a score of none but such is None.

        Raises:
            DataError: as `images` does, or if there are no pairs.
        """
        for _ in self.images():
            pass
        if not self.count:
            raise DataError(f"{self.pairs.reference}: none of its images can be read")
        return {name: _mean(several, bootstrap) for name, several in self._values.items()}


def pair_protocol(pairs: Pairs, metrics: Mapping[str, PairMetric], count: int) -> Json:
    """What a reader must know to repeat the scores."""
    own = {name: metric.protocol() for name, metric in metrics.items()}
    skipped = len(set(pairs.skipped))
    counts = {"reference": pairs.reference, "num": count, "skipped": skipped}
    return counts | pairs.protocol | {"options": own}


def _mean(values: list[float], bootstrap: int) -> Number:
    finite = np.array([value for value in values if isfinite(value)])
    if not len(finite):
        return Number(None)
    if not bootstrap:
        return Number(float(finite.mean()))
    generator = np.random.default_rng(SEED)
    means = [finite[generator.integers(len(finite), size=len(finite))].mean()
             for _ in range(bootstrap)]  # fmt: skip
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Number(float(finite.mean()), low, high)


def folder_pairs(request: FidRequest, say: Say) -> Pairs:
    """Files of equal names, suffixes aside, in `--fake` and `--real`.

    Raises:
        ConfigError: if one holds statistics.
        DataError: if there are no such files.
    """
    assert request.fake is not None
    given = {"fake": request.fake, "real": request.real[0]}
    for option, path in given.items():
        if holds_statistics(path):
            raise ConfigError(f"`pairs` files: `{option}` {path} holds statistics; give the images")
    if len(request.real) > 1:
        raise ConfigError("`pairs` files: compares with one folder; give `real` once")
    sides = [listing(*item, say, recursive=request.recursive) for item in given.items()]
    others = {_name(path, given["real"]): path for path in sides[1]}
    matched = {path: other for path in sides[0]
               if (other := others.get(_name(path, request.fake)))}  # fmt: skip
    if not matched:
        raise DataError(
            f"`pairs` files: no file of {request.fake} has the name of one in {request.real[0]}; "
            "name the images of a pair alike"
        )
    alone = len(sides[0]) + len(sides[1]) - 2 * len(matched)
    if alone:
        say(f"warning: `pairs` files: {alone} files have no counterpart of their name; left out")
    pixels = [folder_format(files, request.out_range, say) for files in sides]
    skipped: list[Path] = []

    def read(path: Path) -> tuple[Pixels, Pixels]:
        return (
            read_as_pytorch_fid(path, pixels=pixels[0]),
            read_as_pytorch_fid(matched[path], pixels=pixels[1]),
        )

    found = read_in_order(list(matched), read, say, request.strict, skipped=skipped)
    protocol: dict[str, Any] = {"of": "files of equal names, as stored", "unmatched": alone}
    for side, item in zip(("fakes", "reals"), pixels, strict=True):
        if item is not None:
            protocol[side] = as_8_bits(item).removeprefix("; ")
    images = (both for _, both in found)
    return Pairs(str(request.fake), str(request.real[0]), images, protocol, skipped)


def _name(path: Path, root: Path) -> Path:
    return path.relative_to(root).with_suffix("") if path.is_relative_to(root) else Path(path.stem)


def refuse_idle_options(request: FidRequest) -> None:
    """Refuses what only a comparison with real images has a use for.

    Raises:
        ConfigError: naming the option.
    """
    given = {
        "real": request.model is not None or request.fake is None,
        "real_split": request.real_split != "auto",
        "save_stats": request.save_stats is not None,
        "mirror": request.mirror is not None,
    }
    given["real"] = given["real"] and bool(request.real)
    for option, wrong in given.items():
        if wrong:
            raise ConfigError(
                f"`{option}`: has no effect on pairs; remove it, or add `metrics` fid"
            )
