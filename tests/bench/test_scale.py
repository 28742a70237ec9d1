from __future__ import annotations

import signal
from functools import partial

import pytest
from commands import run_command

from gancomp.bench.ranks_turns import stepper, taken
from gancomp.bench.scale import TAKEN, ScaleRequest, bench_scale, counts_of
from gancomp.bench.traffic import mirrored
from gancomp.errors import ConfigError

TINY = partial(ScaleRequest, size=96, width=4, d_width=1, rounds=1, warm_up=0, device="cpu")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--ranks", "1,two"], "--ranks 1,two: give numbers of processes, as in 1,2,4"),
        (["--ranks", "0"], "--ranks 0: use numbers from 1 to"),
        (["--ranks", "2,2"], "--ranks 2,2: name each number once"),
        (["--ranks", "1,4", "--batch-size", "6"], "4 processes cannot share it evenly; use 4 or 8"),
        (["--ranks", "3,4"], "--batch-size 4: 3 processes cannot share it evenly; use 3 or 6"),
        (["--rounds", "0"], "--rounds 0: must be at least 1"),
        (["--size", "90"], "--size 90: must be at least 96"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_is_started(
    typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(capsys, "bench", "scale", "--device", "cpu", *typed)
    assert outcome.status == 2
    assert told in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_ranks_without_a_gpu_each_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    TINY(ranks=(1, 2), device="cuda")
    with pytest.raises(ConfigError, match="has 2 GPUs, one for each process; use up to 2"):
        TINY(ranks=(1, 4), device="cuda")
    with pytest.raises(ConfigError, match="each of 2 processes has a GPU of its own"):
        TINY(ranks=(2,), device="cuda:0")


def test_the_step_is_shared_by_processes_of_torchrun_in_turns() -> None:
    request = TINY(ranks=(1, 2))
    former = [signal.getsignal(getattr(signal, name)) for name in TAKEN]
    document = bench_scale(request, lambda message: None)
    assert [signal.getsignal(getattr(signal, name)) for name in TAKEN] == former
    alone, both = (document["contestants"][name] for name in ("1 rank", "2 ranks"))
    assert (alone["efficiency"], alone["collectives_ms"], alone["runs"]) == (1, 0, 1)
    assert both["efficiency"] == pytest.approx(alone["median_ms"] / both["median_ms"] / 2, rel=0.01)
    assert 0 < both["collectives_ms"] < both["median_ms"]
    assert document["backend"] == "gloo"
    team = mirrored()
    taken(stepper(request), team)
    assert document["bytes"] == team.traffic.bytes()


def test_what_a_rank_meets_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    met = ConfigError("`device` cuda: is gone")
    monkeypatch.setattr(
        "torch.distributed.launcher.api.elastic_launch", lambda *_: lambda request: {0: met}
    )
    with pytest.raises(ConfigError, match="is gone"):
        bench_scale(TINY(ranks=(1,)), lambda message: None)


def test_numbers_of_ranks_may_have_spaces() -> None:
    assert counts_of("1, 2") == (1, 2)
