"""`eval.json`: no score is lost, whoever else writes and whatever is in the file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import saved_scores

from gancomp.errors import RunError
from gancomp.locks import locked
from gancomp.scoring import scores as recipe
from gancomp.scoring.scores import latest_fid, remember


def score_of(name: str, fid: float = 1.0) -> dict[str, Any]:
    return {"fid": fid, "fake": name, "real": ["x"], "protocol": {"step": 1}}


def test_two_processes_that_write_at_the_same_time_keep_all_scores(tmp_path: Path) -> None:
    children = []
    for child in range(2):
        number = os.fork()
        if number == 0:
            status = 1
            try:
                for index in range(40):
                    remember(tmp_path, score_of(f"{child}-{index}"), sys.stderr.write)
                status = 0
            finally:
                os._exit(status)
        children.append(number)
    assert [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in children] == [0, 0]
    assert len(saved_scores(tmp_path)) == 80


def test_an_equal_protocols_score_gives_way(tmp_path: Path) -> None:
    for name, fid in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        remember(tmp_path, score_of(name, fid), pytest.fail)
    assert [score["fid"] for score in saved_scores(tmp_path)] == [2.0, 3.0]


DAMAGED = ["", "{", "[]", "5", '{"scores": 3}', '{"scores": [1]}', "{}", "\xff", "[" * 100_000]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_kept_aside_and_said(content: str, tmp_path: Path) -> None:
    path, told = tmp_path / "eval.json", list[str]()
    for number in (1, 2):
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(RunError, match=r"eval\.json: is damaged"):
            latest_fid(tmp_path / "a", 1)
        remember(tmp_path, score_of("a"), told.append)
        assert saved_scores(tmp_path) == [score_of("a")]
        aside = tmp_path / f"eval.damaged-{number}.json"
        assert aside.read_bytes() == content.encode("latin-1")
        assert f"eval.json: was damaged; it is kept as {aside.name}" in told[-1]
    assert len(told) == 2


def test_a_file_cut_short_loses_no_score(tmp_path: Path) -> None:
    for name in "abc":
        remember(tmp_path, score_of(name), pytest.fail)
    whole = (tmp_path / "eval.json").read_text()
    os.truncate(tmp_path / "eval.json", len(whole) - 5)
    remember(tmp_path, score_of("d"), lambda text: None)
    assert (tmp_path / "eval.damaged-1.json").read_text() == whole[:-5]
    assert saved_scores(tmp_path) == [score_of("d")]


def test_scores_of_before_schemas_are_kept_and_those_of_a_later_gancomp_left_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "eval.json"
    path.write_text(json.dumps({"scores": [score_of("a")]}))
    remember(tmp_path, score_of("b"), pytest.fail)
    both = {"schema": 1, "scores": [score_of("a"), score_of("b")]}
    assert json.loads(path.read_text()) == both
    later = json.dumps(both | {"schema": 2})
    path.write_text(later)
    with pytest.raises(RunError, match=r"eval\.json: is of schema 2, .* reads up to 1; update"):
        remember(tmp_path, score_of("c"), pytest.fail)
    assert path.read_text() == later


def test_a_file_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "eval.json").mkdir()
    with pytest.raises(RunError, match=r"eval\.json: cannot be read"):
        remember(tmp_path, score_of("a"), pytest.fail)
    assert (tmp_path / "eval.json").is_dir()


def test_a_lock_that_never_comes_free_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "PATIENCE_S", 0.1)
    with (
        locked(tmp_path / ".eval.json.lock"),
        pytest.raises(RunError, match=f"process {os.getpid()} is writing it"),
    ):
        remember(tmp_path, score_of("a"), pytest.fail)
