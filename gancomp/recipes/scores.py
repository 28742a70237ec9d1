"""`eval.json`: the scores kept in a run, each with its protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gancomp.config import Json
from gancomp.files import write_text

SCORES = "eval.json"


def remember(run: Path, score: Json) -> None:
    """Adds the score to the run's `eval.json`; an equal protocol's older score gives way.

    Raises:
        RunError: if the file cannot be written.
    """
    same = ("real", "fake", "dataset", "model", "protocol")  # each kind of score has some of them
    kept = [old for old in saved_scores(run) if any(old.get(key) != score.get(key) for key in same)]
    write_text(run / SCORES, json.dumps({"scores": [*kept, score]}, indent=2) + "\n")


def saved_scores(run: Path) -> Sequence[Json]:
    """The scores kept in `run`, oldest first; none if there is no readable `eval.json`."""
    try:
        scores = json.loads((run / SCORES).read_text())["scores"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return scores if isinstance(scores, list) else []


def latest_fid(model: Path, step: int | None) -> Json | None:
    """The newest FID of this model file as it is now, if its run has one."""
    for score in reversed(saved_scores(model.parent)):
        if "fid" not in score:
            continue
        if Path(score["fake"]).name == model.name and score["protocol"].get("step") == step:
            return score
    return None
