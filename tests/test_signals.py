"""What becomes of signals, and of the last word, where several processes run a command."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
from torch.distributed import HashStore

from gancomp import launch, signals
from gancomp.__main__ import fail, one_voice, run
from gancomp.engine import group as module
from gancomp.engine.group import ENDING, Group, joined
from gancomp.errors import RunError
from gancomp.ranks import LostError


def handlers() -> list[object]:
    return [signal.getsignal(getattr(signal, name)) for name in ENDING]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> HashStore:
    """That of the second of three ranks, which this process is; the others have ended."""
    store = HashStore()

    def begin(group: Group, timeout_s: float, way_out: str | None) -> None:
        group.rank, group.size, group.store, group._open = 1, 3, store, False
        group.timeout_s, group.way_out, group._meetings = timeout_s, way_out, 0

    for name, value in {"RANK": 1, "WORLD_SIZE": 3, "MASTER_ADDR": "h", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(Group, "__init__", begin)
    monkeypatch.setattr(module, "ANSWER_S", 0.05)
    return store


def test_handlers_are_put_back_once_ranks_have_parted(store: HashStore) -> None:
    former = handlers()
    with pytest.raises(RunError, match="ranks 0, 2 ended"), joined(7.0):
        raise LostError("gone")
    assert handlers() == former


@pytest.mark.parametrize(("first_said", "heard"), [(False, 1), (True, 0)])
def test_the_first_rank_that_is_left_speaks(
    first_said: bool, heard: int, store: HashStore, capsys: pytest.CaptureFixture[str]
) -> None:
    if first_said:
        store.set("end/0", "null")
    with signals.handlers_restored(*ENDING), one_voice():
        print("nobody wants to know twice")
        with pytest.raises(RunError) as told, joined(7.0):
            raise LostError("gone")
        assert handlers() == [signal.SIG_IGN] * 2  # until the process is over
        fail(str(told.value), 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("error: rank") == heard


@pytest.mark.parametrize(("parents", "asked"), [([7, 7], []), ([7, 1], [signal.SIGTERM])])
def test_a_parent_that_went_meanwhile_is_noticed(
    parents: list[int], asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(signals.sys, "platform", "linux")
    monkeypatch.setattr(
        signals.ctypes, "CDLL", lambda name: SimpleNamespace(prctl=lambda *given: 0)
    )
    monkeypatch.setattr(os, "getppid", iter(parents).__next__)
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number))
    assert signals.stop_with_parent()
    assert sent == asked


@pytest.mark.parametrize("agents", [True, False])
def test_only_what_an_agent_started_ends_with_its_parent(
    agents: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "h", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv(launch.RUN_ID, raising=False)
    if agents:
        monkeypatch.setenv(launch.RUN_ID, launch.NO_ID)
    monkeypatch.setattr("gancomp.__main__.stop_with_parent", lambda: calls.append(1))
    monkeypatch.setattr(module, "stop_with_parent", lambda: calls.append(2))
    assert run(["--version"]) == 0
    with joined(7.0):
        pass
    assert calls == ([1, 2] if agents else [])
