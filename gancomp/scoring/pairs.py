"""Scores of images beside the ones that they should be: means over pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from gancomp import console
from gancomp.data.in_order import read_as_pytorch_fid, read_in_order
from gancomp.errors import ConfigError, DataError
from gancomp.metrics.base import PairMetric, options_told
from gancomp.metrics.features import NUM_FEATURES, Features
from gancomp.metrics.resampling import LEVEL, SEED
from gancomp.ranks import current
from gancomp.scoring.images import Images, features_by_ranks
from gancomp.scoring.measuring import AT_ONCE, TOLD_EVERY, Number
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
        items: what the pairs are made of, in their order.
        make: both of each pair, `(H, W, 3)`, given some neighboring items; the image alone where
            its reference cannot be read, or it has none; says which files cannot be read, and adds
            them to the list.
        protocol: how they come about.
        skipped: files that were left out before.
        run: whose model it is, if it is one's.
        unit: items that are made together.
        whole: what all generated images of FID's protocol are made of, the pairs' among them; None
            if these have no part in it.
    """

    label: str
    reference: str
    items: Sequence[Any]
    make: Callable[[Sequence[Any], Say, list[Path]], Iterator[tuple[Pixels, Pixels | None]]]
    protocol: Json
    skipped: list[Path] = field(default_factory=list)
    run: Path | None = None
    unit: int = 1
    whole: Sequence[Any] | None = None


class PairScores:
    """What metrics, prepared before, say of each pair; filled while the images are made.

    Of several ranks that share the pairs, the first one has all values in the end.

    Args:
        pairs: which.
        metrics: by their names.
        say: told how far it is, and which files cannot be read.
    """

    def __init__(self, pairs: Pairs, metrics: Mapping[str, PairMetric], say: Say) -> None:
        self.pairs, self.metrics, self.say = pairs, metrics, say
        self._met: list[Path] = []
        self._comes_along = False
        self._settled: list[list[float]] = []
        self._fresh: list[list[float]] = []
        self._told = console.milestones(say, TOLD_EVERY, lambda done: f"compared {done} pairs")

    @property
    def count(self) -> int:
        """Pairs that were compared so far."""
        return len(self._settled) + len(self._fresh)

    @property
    def skipped(self) -> set[Path]:
        """Files of pairs that were left out."""
        unpaired = set(self.pairs.whole or ()) - set(self.pairs.items)
        return {*self.pairs.skipped, *self._met} - unpaired

    def on_the_way(self, skipped: list[Path]) -> Images:
        """FID's images, which are compared as they are made; files left out are in `skipped`."""
        assert self.pairs.whole is not None
        self._met, self._comes_along = skipped, True
        return self._images(self.pairs.whole)

    def finish(self) -> None:
        """Compares all pairs, unless that was done on the way.

        Raises:
            DataError: if two images differ in size, or are too small.
        """
        if self._comes_along:
            return
        images = self._images(self.pairs.items)
        if current().size == 1:
            _none_of(images.make(images.items, self.say, self._met))
            return
        for _ in features_by_ranks(
            images,
            lambda made, progress: _none_of(made),
            self.say,
            size=AT_ONCE,
            unit=1,
            skipped=self._met,
            progress=lambda done: None,
        ):
            pass

    def take(self) -> list[list[float]]:
        """As `Beside.take`: values of pairs."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def put(self, found: list[list[float]]) -> None:
        """As `Beside.put`."""
        self._settled += found
        self._told(self.count)

    def _images(self, items: Sequence[Any]) -> Images:
        return Images(items, self._made, unit=self.pairs.unit, beside=self)

    def _made(self, items: Sequence[Any], say: Say, skipped: list[Path]) -> Iterator[Pixels]:
        """The image of each item, after it was compared."""
        own = set(self.pairs.items)
        first = next((item for item in items if item in own), None)
        number = 0 if first is None else self.pairs.items.index(first)
        for image, reference in self.pairs.make(items, say, skipped):
            if reference is not None:
                self._compare(image, reference, number + len(self._fresh))
            yield image

    def _compare(self, image: Pixels, reference: Pixels, number: int) -> None:
        if image.shape != reference.shape:
            sizes = [f"{item.shape[1]}x{item.shape[0]}" for item in (image, reference)]
            raise DataError(
                f"pair {number} of {self.pairs.label} and {self.pairs.reference}: {sizes[0]} "
                f"against {sizes[1]} pixels; bring them to one size first"
            )
        self._fresh.append([item.of_pair(image, reference) for item in self.metrics.values()])
        self._told(self.count)

    def numbers(self, *, bootstrap: int) -> dict[str, Number]:
        """The mean of each metric over all pairs, once these are compared.

        Infinite values, of equal images, are in no mean; a score of none but such is None.

        Raises:
            DataError: if there are no pairs.
        """
        if not self.count:
            raise DataError(f"{self.pairs.reference}: none of its images can be read")
        columns = zip(*(self._settled + self._fresh), strict=True)
        return {
            name: _mean(list(values), bootstrap)
            for name, values in zip(self.metrics, columns, strict=True)
        }


def _none_of(made: Iterator[Pixels]) -> Features:
    """Makes all images, and no features of them."""
    for _ in made:
        pass
    return np.empty((0, NUM_FEATURES), np.float32)


def pair_protocol(scores: PairScores) -> Json:
    """What a reader must know to repeat the scores."""
    own = {name: _told(metric) for name, metric in scores.metrics.items()}
    pairs, skipped = scores.pairs, len(scores.skipped)
    counts = {"reference": pairs.reference, "num": scores.count, "skipped": skipped}
    return counts | pairs.protocol | {"options": own}


def _told(metric: PairMetric) -> Json | None:
    own = getattr(metric, "protocol", None)
    return own() if own is not None else options_told(metric)


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

    def read(path: Path) -> tuple[Pixels, Pixels]:
        return (
            read_as_pytorch_fid(path, pixels=pixels[0]),
            read_as_pytorch_fid(matched[path], pixels=pixels[1]),
        )

    def made(
        files: Sequence[Path], say: Say, skipped: list[Path]
    ) -> Iterator[tuple[Pixels, Pixels]]:
        for _, both in read_in_order(files, read, say, request.strict, skipped=skipped):
            yield both

    protocol: dict[str, Any] = {"of": "files of equal names, as stored", "unmatched": alone}
    for side, item in zip(("fakes", "reals"), pixels, strict=True):
        if item is not None:
            protocol[side] = as_8_bits(item).removeprefix("; ")
    return Pairs(str(request.fake), str(request.real[0]), list(matched), made, protocol)


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
