"""The features of both sides of a comparison, and what metrics make of them.

One pass of Inception over each side; that over the real images is remembered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gancomp import console
from gancomp.config import read
from gancomp.engine.sharing import help_if_needed, helped
from gancomp.errors import ConfigError, DataError
from gancomp.metrics.base import ImageSet, Metric, PairMetric, options_told
from gancomp.metrics.features import (
    NUM_FEATURES,
    Features,
    InceptionFeatures,
    inception_features,
    looked_at_together,
)
from gancomp.metrics.fid import Statistics, statistics_of, statistics_of_parts
from gancomp.metrics.resampling import Resamples, intervals, resamples_of
from gancomp.metrics.statistics_files import Found, cached_statistics, save_statistics
from gancomp.paths import cache_folder
from gancomp.ranks import current
from gancomp.registry import METRICS, options_type, resolve
from gancomp.scoring.images import Images, features_by_ranks
from gancomp.scoring.request import Contest, Pixels, Reals, Say
from gancomp.settings import Json

TOLD_EVERY = 100  # images between two lines of progress
MOST_TOLD = 50  # lines of progress, about
NOT_KEPT = "the statistics of the reals are not kept; set XDG_CACHE_HOME for that"
AT_ONCE = 4096  # images whose features are in memory together; more than features are enough


@dataclass(frozen=True)
class Extractor:
    """Inception on its device, and how many images it looks at together."""

    inception: InceptionFeatures
    device: torch.device
    batch_size: int = 50


def features_of(
    images: Iterator[Pixels],
    extractor: Extractor,
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Pool3 features of all images."""
    return inception_features(
        images,
        extractor.inception,
        batch_size=extractor.batch_size,
        device=extractor.device,
        progress=progress,
    )


def gathered(
    images: Images,
    extractor: Extractor,
    say: Say,
    progress: Callable[[int], None],
    *,
    skipped: list[Path],
    whole: bool = False,
) -> Features | Statistics:
    """Features of all images; of very many, unless `whole`, their statistics alone.

    Where several ranks share the images, the first one alone has them.
    """
    step = math.lcm(extractor.batch_size, images.each * images.unit)  # no part ends in a batch
    size = step * -(-AT_ONCE // step)
    several = _parts(images, extractor, say, progress, size=size, skipped=skipped)
    if whole or not current().leads:
        rows = list(several)
        return np.concatenate([part for part in rows if len(part)] or rows)
    first = next(several)
    if len(first) < size:
        for _ in several:  # all ranks come to their end
            pass
        return first
    return statistics_of_parts(chain([first], several))


def _parts(
    images: Images,
    extractor: Extractor,
    say: Say,
    progress: Callable[[int], None],
    *,
    size: int,
    skipped: list[Path],
) -> Iterator[Features]:
    """Features of the images, `size` at once."""
    if current().size > 1:
        yield from features_by_ranks(
            images,
            lambda made, told: features_of(made, extractor, told),
            say,
            size=size,
            unit=looked_at_together(extractor.batch_size, extractor.device),
            skipped=skipped,
            progress=progress,
        )
        return
    made, done = images.make(images.items, say, skipped), 0
    while True:
        told = partial(_tell_after, progress, done)
        part = features_of(islice(made, size), extractor, told)
        yield part
        done += len(part)
        if len(part) < size:
            return


def _tell_after(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def progress(kind: str, say: Say, count: int = 0) -> Callable[[int], None]:
    """Tells `say` about every hundred images, or fewer times if there are very many."""
    every = max(TOLD_EVERY, count // MOST_TOLD // TOLD_EVERY * TOLD_EVERY)
    return console.milestones(say, every, lambda done: f"features of {kind} images: {done} done")


def both_sets(
    contest: Contest,
    extractor: Extractor,
    say: Say,
    *,
    wanted: tuple[bool, bool],
    strict: bool,
    save_stats: Path | None,
) -> tuple[ImageSet, ImageSet, tuple[Path, ...]]:
    """Generated and real images as Inception sees them, and the real ones that were left out.

    Args:
        contest: the images.
        extractor: looks at them.
        say: told how far it is.
        wanted: whether features of all generated, and of all real images are needed.
        strict: whether an unreadable real image is an error.
        save_stats: where the reals' statistics are written, too.
    """
    told = progress("generated", say, contest.num_fakes)
    fakes = fake_set(contest, extractor, say, told, with_features=wanted[0])
    reals, unreadable = real_set(
        contest.reals,
        extractor,
        say,
        strict=strict,
        save_stats=save_stats,
        with_features=wanted[1],
    )
    return fakes, reals, unreadable


def fake_set(
    contest: Contest,
    extractor: Extractor,
    say: Say,
    progress: Callable[[int], None],
    *,
    with_features: bool = False,
) -> ImageSet:
    """The generated images as Inception sees them.

    Args:
        contest: which; or their statistics, where these are given.
        extractor: looks at them.
        say: told about each file that cannot be read.
        progress: called with the number of images done so far.
        with_features: whether features of all images are needed, however many there are.
    """
    fakes = contest.fakes
    if isinstance(fakes, Statistics):
        return ImageSet(given=fakes)
    found = gathered(fakes, extractor, say, progress, skipped=contest.skipped, whole=with_features)
    if isinstance(found, Statistics):
        return ImageSet(given=found)
    return ImageSet(features=found)


def real_set(
    reals: Reals,
    extractor: Extractor,
    say: Say,
    *,
    strict: bool = False,
    save_stats: Path | None = None,
    with_features: bool = False,
) -> tuple[ImageSet, tuple[Path, ...]]:
    """The reals as Inception sees them, remembered by their contents; and which were left out."""
    if reals.statistics is not None:
        return ImageSet(given=reals.statistics), ()

    skipped: list[Path] = []

    def features() -> Features | Statistics:
        images = reals.all_images(strict=strict)
        told = progress("real", say, reals.num_images or 0)
        return gathered(images, extractor, say, told, skipped=skipped, whole=with_features)

    def compute() -> Found:
        found = features()
        if isinstance(found, Statistics):
            return Found(found, tuple(skipped))
        kept = found if with_features else None
        return Found(statistics_of(found), tuple(skipped), kept)

    def remembered(compute: Callable[[], Found]) -> Found:
        cache = cache_folder()
        if cache is None:
            say(f"no home folder: {NOT_KEPT}")
            return compute()
        return cached_statistics(
            reals.files,
            compute,
            cache / "fid",
            unreadable=lambda files: reals.unreadable(files, say, strict=strict),
            weights_id=extractor.inception.weights_id,
            protocol=reals.preparation(),
            with_features=with_features,
        )

    if not current().leads:
        help_if_needed(features)
        return ImageSet(features=np.empty((0, NUM_FEATURES), np.float32)), ()
    found = helped(compute, remembered)
    if save_stats is not None:
        save_statistics(save_stats, found.statistics)
    return ImageSet(found.features, found.statistics), found.skipped


LEAST_RESAMPLES = 20  # of fewer, the ends of 95 % are the extremes


@dataclass(frozen=True)
class Number:
    """One score, and the ends of its interval where there is one; None: of equal images alone."""

    value: float | None
    low: float | None = None
    high: float | None = None


def make_metrics(names: Sequence[str], options: Json) -> dict[str, Metric | PairMetric]:
    """The metrics called so, each with its own `options`: nested, by the metric's name.

    Raises:
        ConfigError: for an unknown name, or an impossible option.
    """
    made: dict[str, Metric | PairMetric] = {}
    for name in names:
        kind = resolve(METRICS, "metrics", name)
        own: Any = read(options_type(name, "metric"), options.get(name, {}), f"metrics.{name}")
        made[name] = kind(own)
    return made


def sorted_metrics(
    metrics: Mapping[str, Metric | PairMetric],
) -> tuple[dict[str, Metric], dict[str, PairMetric]]:
    """Those that compare sets of images, and those that compare pairs."""
    of_sets = {name: item for name, item in metrics.items() if item.needs != "pairs"}
    of_pairs = {name: item for name, item in metrics.items() if item.needs == "pairs"}
    return of_sets, of_pairs


def numbers_of(
    metrics: Mapping[str, Metric], fakes: ImageSet, reals: ImageSet, *, resamples: Resamples | None
) -> dict[str, Number]:
    """All scores of all metrics, by the scores' names.

    Raises:
        DataError: if features are not finite.
    """
    for side, images in (("generated", fakes), ("real", reals)):
        check_finite(images, side)
    numbers: dict[str, Number] = {}
    for metric in metrics.values():
        values = dict(metric.scores(fakes, reals))
        ends = (
            intervals(metric, values, fakes, reals, resamples=resamples)
            if resamples is not None
            else {}
        )
        numbers |= {
            name: Number(value, *ends.get(name, (None, None))) for name, value in values.items()
        }
    return numbers


def check_finite(images: ImageSet, side: str) -> None:
    """Raises DataError unless all features, where there are any, are finite numbers."""
    if images.features is None or np.isfinite(images.features).all():
        return
    bad = int(np.flatnonzero(~np.isfinite(images.features).all(axis=1))[0])
    raise DataError(f"features of {side} image {bad} are not finite: no score is defined")


def drawn(fakes: ImageSet, reals: ImageSet, bootstrap: int) -> Resamples | None:
    """The resamples for the intervals; None without."""
    return resamples_of(fakes, reals, bootstrap) if bootstrap else None


def check_bootstrap(bootstrap: int) -> None:
    """Raises ConfigError for so few resamples that they make no interval."""
    if bootstrap and bootstrap < LEAST_RESAMPLES:
        raise ConfigError(
            f"`bootstrap` {bootstrap}: use at least {LEAST_RESAMPLES} resamples (1000 is usual), "
            "or remove it"
        )


def check_counts(metrics: Mapping[str, Metric], num_fakes: int, num_reals: int) -> None:
    """Refuses, before anything is computed, images that are too few for a metric.

    Raises:
        ConfigError: naming the way out.
    """
    for metric in metrics.values():
        check = getattr(metric, "check", None)
        if check is not None:
            check(num_fakes, num_reals)


def own_protocols(metrics: Mapping[str, Metric], fakes: ImageSet, reals: ImageSet) -> Json:
    """What a reader must know of each metric, as a protocol has it; empty if that is nothing."""
    told: Json = {}
    for name, metric in metrics.items():
        own = getattr(metric, "protocol", None)
        told[name] = own(fakes, reals) if own is not None else options_told(metric)
    told = {name: item for name, item in told.items() if item}
    return {"options": told} if told else {}
