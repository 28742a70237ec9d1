"""What `gancomp eval --pairs` means: targets, the run's teacher, another model, or two folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from gancomp.domains.choice import domain_for
from gancomp.engine.device import choose_device
from gancomp.engine.sharing import from_lead
from gancomp.errors import ConfigError
from gancomp.inference.models import Chosen, choose
from gancomp.metrics.base import PairMetric
from gancomp.paths import expanded
from gancomp.recipes.eval_fid import Compared
from gancomp.registry import METRICS, resolve
from gancomp.scoring.pairs import (
    FILES,
    TARGETS,
    TEACHER,
    Pairs,
    PairScores,
    folder_pairs,
    pair_protocol,
    refuse_idle_options,
)
from gancomp.scoring.request import Contest, FidRequest, Say, check_request


@dataclass(frozen=True)
class PairsBegun:
    """Pairs that are yet to be made, and what compares them."""

    pairs: Pairs
    scores: PairScores

    def within(self, contest: Contest) -> Contest:
        """The same contest, in which images of pairs are compared as they are made: once."""
        if self.pairs.whole is None:
            return contest
        return replace(contest, fakes=self.scores.on_the_way(contest.skipped))

    def compare(self, *, bootstrap: int) -> Compared:
        """Their scores, as other scores are kept."""
        self.scores.finish()
        return from_lead(partial(self._judged, bootstrap))

    def _judged(self, bootstrap: int) -> Compared:
        numbers = self.scores.numbers(bootstrap=bootstrap)
        count = self.scores.count
        told = pair_protocol(self.scores)
        protocol = {
            "n_real": count,
            "n_fake": count,
            "skipped": told["skipped"],
            "real": [self.pairs.reference],
            "fake": self.pairs.label,
            "weights": None,
            "protocol": {name: told[name] for name in ("step", "device") if name in told}
            | {"pairs": told},
        }
        return Compared(numbers, protocol, self.pairs.run)


def begin_pairs(
    request: FidRequest,
    metrics: Mapping[str, PairMetric],
    say: Say,
    *,
    pairs: str | None,
    alone: bool,
) -> PairsBegun | None:
    """What `--pairs` asks for, checked and opened; None without it.

    Args:
        request: the model or folder.
        metrics: those that compare pairs.
        say: told about downloads and files that are left out.
        pairs: as it was typed.
        alone: whether nothing else is computed, so that real images have no use.

    Raises:
        ConfigError: for what does not go together.
        DataError, CheckpointError, WeightsError: for images, models or weights.
    """
    if pairs is None and not metrics:
        return None
    if pairs is None:
        raise ConfigError(
            f"`metrics` {next(iter(metrics))}: compares pairs of images; add `pairs` targets, "
            "teacher, a model's file, or files (of `fake` and `real`)"
        )
    if not metrics:
        known = [name for name in METRICS if resolve(METRICS, "", name).needs == "pairs"]
        raise ConfigError(f"`pairs` {pairs}: add `metrics` {','.join(known)}, or some of them")
    check_request(request)
    if alone:
        refuse_idle_options(request)
    device = choose_device(request.device)
    found = pairs_of(request, pairs, say, device=device)
    for metric in metrics.values():
        if (prepare := getattr(metric, "prepare", None)) is not None:
            prepare(device, say)
    return PairsBegun(found, PairScores(found, metrics, say))


def pairs_of(request: FidRequest, wanted: str, say: Say, *, device: torch.device) -> Pairs:
    """The images and what they are compared with.

    Args:
        request: the model or folder, and how its images come about.
        wanted: `targets`, `teacher`, a model file or run; `files` of two folders.
        say: told about files that are left out.
        device: where models run.

    Raises:
        ConfigError: for what does not go together.
        DataError, CheckpointError: for images or models.
    """
    if request.fake is not None:
        if wanted != FILES:
            raise ConfigError(
                f"`pairs` {wanted}: `fake` gives images that are there already; use `pairs` files, "
                "which compares files of equal names"
            )
        return folder_pairs(request, say)
    if wanted == FILES:
        raise ConfigError(
            "`pairs` files: compares two folders, `fake` and `real`; with a model use `pairs` "
            "targets, teacher or a model's file"
        )
    chosen = choose(request.model, request.part, device=request.device)
    domain = domain_for(chosen.model.network)
    if wanted == TARGETS:
        return replace(domain.pairs(request, chosen, None, say, device=device), run=chosen.run)
    path = teacher_of(chosen) if wanted == TEACHER else _existing(wanted)
    other = choose(path, device=request.device)
    if domain_for(other.model.network).purpose != domain.purpose:
        raise ConfigError(
            f"`pairs` {wanted}: {other.model.path} {domain_for(other.model.network).purpose}, "
            f"{chosen.model.path} {domain.purpose}; give two models of one kind"
        )
    return replace(domain.pairs(request, chosen, other, say, device=device), run=chosen.run)


def teacher_of(chosen: Chosen) -> Path:
    """The teacher's file of the run that the model lies in.

    Raises:
        ConfigError: if there is none, or it is the model itself.
    """
    path = chosen.run / "teacher.safetensors" if chosen.run is not None else None
    if path is None or not path.exists():
        raise ConfigError(
            f"`pairs` teacher: {chosen.model.path} lies in no run with a teacher.safetensors; give "
            "the teacher: `pairs` FILE"
        )
    if path == chosen.model.path:
        raise ConfigError(
            f"`pairs` teacher: {path} is the teacher itself; give the student, or `pairs` FILE"
        )
    return path


def _existing(wanted: str) -> Path:
    path = expanded(wanted)
    if not path.exists():
        raise ConfigError(
            f"`pairs` {wanted}: no such model or run; give {TARGETS}, {TEACHER}, {FILES}, or a "
            "model's file"
        )
    return path
