"""Images that are made in parts: where these begin, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gancomp.metrics.features import Features
from gancomp.scoring import measuring
from gancomp.scoring.images import Images, Pixels, features_by_ranks
from gancomp.scoring.pairs import Pairs, PairScores


def test_parts_begin_where_a_batch_of_images_that_are_made_together_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[tuple[int, int]] = []

    def make(numbers: Sequence[int], say: Any, skipped: list[Path]) -> Iterator[Pixels]:
        begun.append((numbers[0], len(numbers)))
        return (np.full((1, 1, 3), number, np.uint8) for number in numbers)

    def extract(made: Iterator[Pixels], progress: Callable[[int], None] | None) -> Features:
        return np.array([[image[0, 0, 0]] for image in made], np.float32).reshape(-1, 1)

    images = Images(range(30), make, unit=4)
    parts = features_by_ranks(
        images, extract, print, size=6, unit=3, skipped=[], progress=lambda done: None
    )
    assert np.concatenate(list(parts)).ravel().tolist() == list(range(30))
    assert begun == [(0, 12), (12, 12), (24, 6)]

    # one process forms the parts whose statistics are added up as several do
    lengths: list[int] = []

    def extract_some(made: Iterator[Pixels], extractor: Any, told: Any) -> Features:
        rows = extract(made, None)
        lengths.append(len(rows))
        return rows

    monkeypatch.setattr(measuring, "AT_ONCE", 5)
    monkeypatch.setattr(measuring, "features_of", extract_some)
    extractor: Any = measuring.Extractor(None, torch.device("cpu"), 3)  # type: ignore[arg-type]
    measuring.gathered(images, extractor, print, lambda done: None, skipped=[])
    assert lengths == [12, 12, 6]


def test_pairs_that_other_ranks_compared_are_counted_in_what_is_told() -> None:
    said: list[str] = []
    pairs = Pairs("a", "b", range(300), lambda items, say, skipped: iter(()), {})
    scores = PairScores(pairs, {}, said.append)
    for _ in range(3):
        scores.put([[0.0]] * 100)
    assert said == [f"compared {count} pairs" for count in (100, 200, 300)]
