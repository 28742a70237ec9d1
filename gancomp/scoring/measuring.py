"""The features of both sides of a comparison: one pass of Inception, the reals' remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch

from gancomp import console
from gancomp.metrics.base import ImageSet
from gancomp.metrics.features import Features, InceptionFeatures, inception_features
from gancomp.metrics.fid import Statistics, statistics_of, statistics_of_parts
from gancomp.metrics.statistics_files import Found, cached_statistics, save_statistics
from gancomp.paths import cache_folder
from gancomp.scoring.request import Contest, Pixels, Reals, Say

TOLD_EVERY = 100  # images between two lines of progress
MOST_TOLD = 50  # lines of progress, about
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
    images: Iterator[Pixels],
    extractor: Extractor,
    progress: Callable[[int], None],
    *,
    whole: bool = False,
) -> Features | Statistics:
    """Features of all images; of very many, unless `whole`, their statistics alone."""
    size = extractor.batch_size * -(-AT_ONCE // extractor.batch_size)

    def parts() -> Iterator[Features]:
        done = 0
        while True:
            told = partial(_tell_after, progress, done)
            part = features_of(islice(images, size), extractor, told)
            yield part
            done += len(part)
            if len(part) < size:
                return

    several = parts()
    if whole:
        rows = list(several)
        return np.concatenate([part for part in rows if len(part)] or rows)
    first = next(several)
    return first if len(first) < size else statistics_of_parts(chain([first], several))


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
    fakes = fake_set(contest.fakes, extractor, told, with_features=wanted[0])
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
    fakes: Iterator[Pixels] | Statistics,
    extractor: Extractor,
    progress: Callable[[int], None],
    *,
    with_features: bool = False,
) -> ImageSet:
    """The generated images as Inception sees them.

    Args:
        fakes: read once; or their statistics, where these are given.
        extractor: looks at them.
        progress: called with the number of images done so far.
        with_features: whether features of all images are needed, however many there are.
    """
    if isinstance(fakes, Statistics):
        return ImageSet(given=fakes)
    return _set_of(gathered(fakes, extractor, progress, whole=with_features))


def _set_of(found: Features | Statistics) -> ImageSet:
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

    def compute() -> Found:
        skipped: list[Path] = []
        images = reals.images(say, strict=strict, skipped=skipped)
        told = progress("real", say, reals.num_images or 0)
        found = gathered(images, extractor, told, whole=with_features)
        if isinstance(found, Statistics):
            return Found(found, tuple(skipped))
        kept = found if with_features else None
        return Found(statistics_of(found), tuple(skipped), kept)

    cache = cache_folder()
    if cache is None:
        say("no home folder: the statistics of the reals are not kept; set XDG_CACHE_HOME for that")
        found = compute()
    else:
        found = cached_statistics(
            reals.files,
            compute,
            cache / "fid",
            unreadable=lambda files: reals.unreadable(files, say, strict=strict),
            weights_id=extractor.inception.weights_id,
            protocol=reals.preparation(),
            with_features=with_features,
        )
    if save_stats is not None:
        save_statistics(save_stats, found.statistics)
    return ImageSet(found.features, found.statistics), found.skipped
