"""Training images that one phase of a method has for itself, shown beside the others in a step."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gancomp.data.splits import Split
from gancomp.engine.phases import HELD_OUT
from gancomp.errors import ConfigError
from gancomp.seeding import derive_generator

Batches = Generator[dict[str, Tensor], None, None]


def share_of(options: Any) -> float:
    """The share that a method's options ask for, 0 for a method that knows no such thing."""
    share: float = getattr(options, "held_out_share", 0.0)
    return share


def option_of(options: Any) -> str:
    """The option that asks for that share."""
    name: str = getattr(options, "held_out_option", "gate_share")
    return name


def part(
    train: Split, share: float, *, paired: bool, seed: int, option: str = "gate_share"
) -> tuple[Split, Split]:
    """What all but one phase train on, and what that one does; pairs stay together.

    Which images these are follows from the seed.

    Args:
        train: the training images.
        share: of the sources, and of the targets, in (0, 0.5].
        paired: whether source i belongs to target i.
        seed: of the run.
        option: that asks for it, for messages.

    Raises:
        ConfigError: if there is but one image to be divided.
    """

    def chosen(paths: Sequence[Path], role: str) -> set[int]:
        if len(paths) < 2:
            raise ConfigError(
                f"`{option}` {share:g}: {len(paths)} training image cannot be divided; use 0"
            )
        order = torch.randperm(len(paths), generator=derive_generator(seed, "aside", role))
        return set(order[: max(1, round(share * len(paths)))].tolist())

    source = chosen(train.source, "source")
    target = source if paired else chosen(train.target, "target")

    def those(paths: Sequence[Path], wanted: set[int], kept: bool) -> tuple[Path, ...]:
        return tuple(path for i, path in enumerate(paths) if (i in wanted) == kept)

    kept, aside = (
        replace(
            train,
            source=those(train.source, source, inside),
            target=those(train.target, target, inside),
        )
        for inside in (False, True)
    )
    return kept, aside


def beside(batches: Batches, aside: Batches) -> Batches:
    """Each batch with one of the images set aside, under their names with `HELD_OUT` before."""
    with contextlib.closing(batches), contextlib.closing(aside):
        for batch, other in zip(batches, aside, strict=False):
            yield batch | {f"{HELD_OUT}{name}": tensor for name, tensor in other.items()}
