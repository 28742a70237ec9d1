"""`eval.json`: the scores kept in a run, each with its protocol."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from gancomp.errors import RunError
from gancomp.files import reporting_disk_errors, write_text
from gancomp.launch import unheard
from gancomp.locks import HeldError, locked
from gancomp.records import Record, read_record, versioned
from gancomp.settings import Json

SCORES = "eval.json"
PATIENCE_S = 30.0  # another score is written in a moment


class DamagedScoresError(RunError):
    """An `eval.json` that holds no scores."""


def keep(run: Path | None, score: Json, say: Callable[[str], None]) -> None:
    """As `remember`, where the model has a run; what keeps it from that is only said."""
    if run is None:
        return
    try:
        remember(run, score, say)
    except RunError as error:  # a run of somebody else's may be scored, too
        say(f"warning: the score is not kept: {error}")


def remember(run: Path, score: Json, say: Callable[[str], None]) -> None:
    """Adds the score to the run's `eval.json`; an equal protocol's older score gives way.

    Others may add theirs at the same time. A damaged file is kept under another name, which `say`
    is told.

    Raises:
        RunError: if the file cannot be read or written.
    """
    same = ("real", "fake", "dataset", "model", "protocol")  # each kind of score has some of them
    path = run / SCORES
    with _alone(run):
        try:
            scores = [score.values for score in read_scores(path)]
        except DamagedScoresError:
            aside = _kept_aside(path)
            say(f"warning: {path}: was damaged; it is kept as {aside.name}, a new one begun")
            scores = []
        kept = [
            old
            for old in scores
            if any(old.get(key) != score.get(key) for key in same)
            or set(old.get("metrics", ())) != set(score.get("metrics", ()))
        ]
        write_text(path, json.dumps(versioned({"scores": [*kept, score]}), indent=2) + "\n")


@contextlib.contextmanager
def _alone(run: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            with reporting_disk_errors(run / SCORES):
                lock = locked(run / f".{SCORES}.lock", waiting=unheard, patience_s=PATIENCE_S)
                held.enter_context(lock)
        except HeldError as error:
            raise RunError(f"{run / SCORES}: {error} is writing it") from error
        yield


def read_scores(path: Path) -> list[Record]:
    """The scores in the file, none if there is no file.

    Raises:
        DamagedScoresError: if it holds anything else.
        RunError: if it cannot be read.
    """
    try:
        document = read_record(path, way_out="move it away", error=DamagedScoresError)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    return document.records("scores")


def _kept_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")).exists():
        number += 1
    with reporting_disk_errors(path):
        path.rename(aside)
    return aside


def latest_fid(model: Path, step: int | None) -> float | None:
    """The newest FID of this model file as it is now, if its run has one.

    Raises:
        RunError: if the scores are damaged.
    """
    for score in reversed(read_scores(model.parent / SCORES)):
        key = "fid" if "fid" in score.values else "metrics.fid.value"
        fid = score.find(key, float)
        if fid is None:
            continue
        named = Path(score.get("fake", str)).name == model.name
        if named and score.find("protocol.step", int) == step:
            return fid
    return None
