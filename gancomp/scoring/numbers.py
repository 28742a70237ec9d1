"""Scores of two sets of images whose features are known, with their intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gancomp.config import read
from gancomp.errors import ConfigError, DataError
from gancomp.metrics.base import ImageSet, Metric, PairMetric
from gancomp.metrics.features import Features
from gancomp.metrics.resampling import Resamples, intervals, resamples_of
from gancomp.registry import METRICS, options_type, resolve
from gancomp.settings import Json

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


def scores_of(
    fakes: Features,
    reals: Features,
    names: Sequence[str],
    *,
    options: Json | None = None,
    bootstrap: int = 0,
) -> dict[str, Number]:
    """The scores called `names` of features that are at hand.

    Args:
        fakes: `(N, D)`, of the images that are judged.
        reals: `(M, D)`, of those they should be like.
        names: lines of the table of metrics.
        options: the metrics' own options, by metric and field.
        bootstrap: resamples for the intervals; 0 for none.

    Raises:
        ConfigError: for an unknown metric, an impossible option, or too few images.
        DataError: if the features are not finite.
    """
    metrics, of_pairs = sorted_metrics(make_metrics(names, options or {}))
    if of_pairs:
        raise ConfigError(f"`metrics` {next(iter(of_pairs))}: compares pairs of images, no sets")
    check_bootstrap(bootstrap)
    check_counts(metrics, len(fakes), len(reals))
    sets = ImageSet(fakes), ImageSet(reals)
    return numbers_of(metrics, *sets, resamples=drawn(*sets, bootstrap))


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
        options = getattr(metric, "options", None)
        if own is not None:
            told[name] = own(fakes, reals)
        elif dataclasses.is_dataclass(options) and not isinstance(options, type):
            told[name] = dataclasses.asdict(options)
    told = {name: item for name, item in told.items() if item}
    return {"options": told} if told else {}
