"""Where the ranks of a run look at each other: before a step, and before what it made is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

from gancomp.engine.stopping import StopWish
from gancomp.errors import TrainingError
from gancomp.ranks import ElsewhereError, current

Value = TypeVar("Value")
READY, ENDED, FAILED, STATES = range(4)


def all_or_none(fetch: Callable[[], Value | None], stop: StopWish) -> Value | None:
    """What `fetch` returns, or None if on any rank it has nothing more or somebody wishes to stop.

    Raises:
        ElsewhereError: if it raised on another rank; all ranks are between two steps then.
    """
    ranks = current()
    if ranks.size == 1:
        return fetch()
    try:
        value = fetch()
    except Exception:
        ranks.agree(FAILED)
        raise
    # one collective says both: each costs more with every rank
    said = ranks.agree((ENDED if value is None else READY) + STATES * stop.word())
    words = [word % STATES for word in said]
    if FAILED in words:
        raise ElsewhereError(f"rank {words.index(FAILED)} failed")
    stop.hear([word // STATES for word in said])
    return None if ENDED in words or stop else value


def refuse_different(states: Iterable[Any], step: int) -> None:
    """Raises TrainingError naming the ranks whose `states` are not the first one's, bit by bit."""
    digest = hashlib.sha256()
    for state in states:
        _add(digest, state)
    words = current().agree(int.from_bytes(digest.digest()[:8], "big") >> 1)
    odd = [rank for rank, word in enumerate(words) if word != words[0]]
    if odd:
        named = ", ".join(map(str, odd))
        raise TrainingError(
            f"step {step}: the weights of rank {named} are not those of rank 0; stopped without "
            "saving, the last good checkpoint stays. All ranks need the same gancomp, torch and "
            "kind of device"
        )


def _add(digest: Any, state: Any) -> None:
    if isinstance(state, Tensor):
        digest.update(str((state.dtype, tuple(state.shape))).encode())
        digest.update(state.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    elif isinstance(state, dict):
        for key, value in state.items():
            digest.update(str(key).encode())
            _add(digest, value)
    else:
        digest.update(repr(state).encode())
