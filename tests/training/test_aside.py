"""Images that one phase has for itself: divided by the seed, shown beside the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gancomp.data.splits import Split
from gancomp.engine.phases import HELD_OUT, Step
from gancomp.errors import ConfigError
from gancomp.training.aside import beside, part


def paths(role: str, count: int) -> tuple[Path, ...]:
    return tuple(Path(f"{role}{i}.png") for i in range(count))


@pytest.mark.parametrize("paired", [False, True])
def test_every_image_is_in_one_of_the_parts_and_pairs_stay_together(paired: bool) -> None:
    train = Split(paths("a", 20), paths("b", 20 if paired else 31))
    kept, aside = part(train, 0.1, paired=paired, seed=0)
    assert (len(aside.source), len(kept.source)) == (2, 18)
    assert len(aside.target) == (2 if paired else 3)
    assert sorted((*kept.source, *aside.source)) == sorted(train.source)
    assert sorted((*kept.target, *aside.target)) == sorted(train.target)
    if paired:
        numbers = [[path.stem[1:] for path in side] for side in (aside.source, aside.target)]
        assert numbers[0] == numbers[1]
    assert part(train, 0.1, paired=paired, seed=0) == (kept, aside)
    assert part(train, 0.1, paired=paired, seed=1) != (kept, aside)


def test_one_image_cannot_be_divided() -> None:
    with pytest.raises(ConfigError, match=r"`gate_share` 0\.1: 1 training image"):
        part(Split(paths("a", 1), paths("b", 1)), 0.1, paired=True, seed=0)


def test_batches_come_together_and_both_readers_end_with_them() -> None:
    ended = []

    def numbers(start: int):  # type: ignore[no-untyped-def]
        try:
            for number in range(start, start + 9):
                yield {"source": torch.tensor(number)}
        finally:
            ended.append(start)

    both = beside(numbers(0), numbers(100))
    assert next(both) == {"source": torch.tensor(0), f"{HELD_OUT}source": torch.tensor(100)}
    both.close()
    assert sorted(ended) == [0, 100]


def test_a_step_knows_what_is_held_out() -> None:
    step = Step(3, {"source": torch.zeros(1)})
    assert step.held_out() is step
    step = Step(3, {"source": torch.zeros(1), f"{HELD_OUT}source": torch.ones(1)})
    assert step.held_out().batch["source"].item() == 1
    assert step.held_out() is step.held_out()
    assert step.held_out().index == 3
