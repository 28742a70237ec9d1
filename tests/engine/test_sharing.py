"""Several processes meet: what one of them sees while the others are late, asked to stop, or gone.

`tests/test_shares.py` has whole commands by real processes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gancomp.engine import sharing
from gancomp.engine.sharing import first_rank_first, from_lead, in_shares, one_by_one
from gancomp.ranks import LostError, Ranks, working_with


class OneOfTwo(Ranks):
    """One rank, and what the other one would do."""

    size = 2

    def __init__(self, rank: int, looks: int = 0) -> None:
        self.rank, self.looks = rank, looks
        self.did: list[str] = []
        self.answer: Callable[[Any], list[Any]] = lambda word: [word, word]

    def told(self, word: Any) -> list[Any]:
        self.did.append("told")
        return self.answer(word)

    def call(self) -> None:
        self.did.append("call")

    def called(self) -> bool:
        self.did.append("look")
        self.looks -= 1
        return self.looks < 0

    def barrier(self) -> None:
        self.did.append("barrier")


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "PAUSE_S", 0.0)


def nothing(items: Sequence[int], watch: Callable[[], None]) -> None:
    pass


def test_a_signal_that_comes_too_late_to_tell_the_others_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "MASTER_ADDR": "h", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    ranks = OneOfTwo(1, looks=1)

    def meanwhile(word: Any) -> list[Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return [word, word]

    ranks.answer = meanwhile
    before = signal.getsignal(signal.SIGTERM)
    with working_with(ranks), pytest.raises(KeyboardInterrupt):
        in_shares(range(4), nothing)
    assert ranks.did[-2:] == ["told", "call"]  # the others leave what they have begun since
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("rank", "did"),
    [
        (0, ["in the block", "call", "told", "barrier"]),
        (1, ["look", "look", "told", "in the block", "barrier"]),
    ],
)
def test_none_goes_on_before_all_are_through_what_the_first_did_first(
    rank: int, did: list[str]
) -> None:
    ranks = OneOfTwo(rank, looks=1)
    with working_with(ranks), first_rank_first():
        ranks.did.append("in the block")
    assert ranks.did == did


def test_what_the_first_refuses_the_others_refuse_without_waiting_for_it() -> None:
    ranks = OneOfTwo(0)
    with working_with(ranks), pytest.raises(ValueError, match="refused"), first_rank_first():
        raise ValueError("refused")
    assert ranks.did == ["call", "told"]


def test_the_others_wait_for_the_first_however_long_it_takes() -> None:
    ranks = OneOfTwo(1, looks=5)
    ranks.answer = lambda word: ["made", word]
    with working_with(ranks):
        assert from_lead(lambda: "not here") == "made"
    assert ranks.did == ["look"] * 6 + ["told"]  # there, patience has a limit


def test_where_the_first_fails_the_others_wait_no_longer() -> None:
    ranks = OneOfTwo(0)
    with working_with(ranks), pytest.raises(ZeroDivisionError):
        from_lead(lambda: 1 / 0)
    assert ranks.did == ["call"]

    def gone(word: Any) -> list[Any]:
        raise LostError("gone")

    ranks = OneOfTwo(1)
    ranks.answer = gone
    with working_with(ranks), pytest.raises(LostError):
        from_lead(lambda: "not here")


def test_ranks_meet_after_a_few_files_that_may_differ_in_size() -> None:
    ranks, met = OneOfTwo(1, looks=1000), []

    def alike(word: Any) -> list[Any]:
        met.append(len(word[2]))
        return [word, word]

    ranks.answer = alike
    with working_with(ranks):
        made = list(one_by_one(range(70), lambda item, say: item, lambda message: None))
    assert met == [16, 16, 3]
    assert len(made) == 70
