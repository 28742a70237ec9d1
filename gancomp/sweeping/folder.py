"""The folder of a sweep: what is to be done, what is done, and who is at it; all of it plain files.

| file | content |
|---|---|
| `sweep.json` | all below in one document, as `gancomp sweep --json` prints it; see `document` |
| `plan.toml` | the plan as it was given |
| `runs/NAME/` | a run as `gancomp pretrain` or `gancomp distill` makes it |
| `results/NAME.json` | `state` (`trained`, `done` or `failed`), `seconds`, `passes` of eval |
| `claims/NAME.lock` | locked by the process that works on the run: free however that process ends |
| `logs/NAME.log` | what that process said |
| `table.csv`, `table.md`, `differences.csv` | the scores, and which differ by more than noise |

`sweep.json` is written anew from the other files whenever a run changes its state:

```
{"schema": 1, "plan": FILE, "metrics": ["fid"],
 "runs": [{"name", "command", "dataset", "method", "seed", "varied", "options", "needs", "scores",
           "path": "runs/NAME" (from the sweep's folder), "words": the command line,
           "state": "waiting"|"trained"|"done"|"failed", "error": null or a line,
           "seconds", "values": {"fid": 123.4}, "protocols": [one per pass of eval]}],
 "table": [...], "differences": [...]}      (see `gancomp.sweeping.table`)
```
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gancomp.errors import RunError
from gancomp.files import ASIDE, reporting_disk_errors, write_text
from gancomp.launch import unheard
from gancomp.locks import HeldError, locked
from gancomp.records import Record, read_record, versioned
from gancomp.settings import Json
from gancomp.sweeping.runs import SweepRun

SWEEP, PLAN = "sweep.json", "plan.toml"
WAITING, TRAINED, DONE, FAILED = "waiting", "trained", "done", "failed"
LOCK = ".sweep.lock"
HELD = 75  # EX_TEMPFAIL: a worker's status when another process has the run
PARENT = "GANCOMP_SWEEP_PARENT"  # variable with the process without which a worker stops
PATIENCE_S = 60.0  # another writes the document in a moment
WAY_OUT = "choose another `out` for a new sweep"


class SweepFolder:
    """The folder at `path`; nothing is made before `prepare`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"
        self.results = path / "results"
        self.claims = path / "claims"
        self.logs = path / "logs"

    def prepare(self) -> None:
        """Makes the folders.

        Raises:
            RunError: if that cannot be done.
        """
        with reporting_disk_errors(self.path):
            for folder in (self.runs, self.results, self.claims, self.logs):
                folder.mkdir(parents=True, exist_ok=True)

    def result(self, name: str) -> Json:
        """What is known of a run; `state` is `waiting` before it is trained.

        Raises:
            RunError: if the file is damaged.
        """
        path = self.results / f"{name}.json"
        try:
            found = read_record(path, way_out="remove it: the run is then looked at again")
        except FileNotFoundError:
            return {"state": WAITING}
        found.get("state", str)
        return found.values

    def write_result(self, name: str, result: Json) -> None:
        """Replaces what is known of a run."""
        text = json.dumps(versioned(result), indent=2, allow_nan=False)
        write_text(self.results / f"{name}.json", text + "\n")

    @contextlib.contextmanager
    def claimed(self, name: str) -> Iterator[None]:
        """Holds the run, alone, until the block ends.

        Raises:
            HeldError: if another process has it.
        """
        with locked(self.claims / f"{name}.lock"):
            yield

    def is_free(self, name: str) -> bool:
        """Whether nobody works on the run at this moment."""
        try:
            with self.claimed(name):
                return True
        except HeldError:
            return False

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the document, to write what is so at that moment.

        Raises:
            RunError: if another process does not let go of it.
        """
        with contextlib.ExitStack() as held:
            try:
                lock = locked(self.path / LOCK, waiting=unheard, patience_s=PATIENCE_S)
                held.enter_context(lock)
            except HeldError as error:
                raise RunError(f"{self.path / SWEEP}: {error} is writing it") from error
            yield

    def tidy(self, runs: Sequence[SweepRun]) -> None:
        """Removes what killed processes left half-written, if nobody is at work."""
        with contextlib.ExitStack() as held:
            held.enter_context(self.alone())
            try:
                for run in runs:
                    held.enter_context(self.claimed(run.name))
            except HeldError:
                return
            for left in self.path.rglob(ASIDE):
                left.unlink(missing_ok=True)

    def known_runs(self) -> list[SweepRun]:
        """The runs as `sweep.json` has them, none if there is no such file.

        Raises:
            RunError: if it is damaged.
        """
        try:
            document = read_record(self.path / SWEEP, way_out=WAY_OUT)
        except FileNotFoundError:
            return []
        return [_run_in(record) for record in document.records("runs")]

    def states(self, runs: Sequence[SweepRun]) -> list[Json]:
        """The part `runs` of the document."""
        return [self._entry(run) for run in runs]

    def _entry(self, run: SweepRun) -> Json:
        result = self.result(run.name)
        state = result["state"]
        passes = [made for made in result.get("passes", []) if made["asked"] in run.scores]
        if state == DONE and len(passes) < len(run.scores):
            state = TRAINED  # the plan asks for other scores by now
        return asdict(run) | {
            "path": f"runs/{run.name}",
            "words": run.words(self.runs),
            "state": state,
            "error": result.get("error"),
            "seconds": result.get("seconds"),
            "values": named_values(passes),
            "protocols": [made["protocol"] for made in passes],
        }


def is_finished(entry: Json) -> bool:
    """Whether nothing is left to do of a run."""
    finished: bool = entry["state"] == DONE
    return finished


def is_trained(entry: Json, folder: SweepFolder) -> bool:
    """Whether its generators are there, scored or not."""
    result = folder.result(entry["name"])
    return result["state"] in (TRAINED, DONE) or bool(result.get("trained"))


def numbers_in(document: Json) -> dict[str, float]:
    """The scores that a command printed, by name, taken out of its document: the rest says how.

    What is no finite number, as PSNR of equal images, is left out.
    """
    document.pop("images", None)  # a line for each, which the run's own eval.json has
    several = document.pop("metrics") if "metrics" in document else document.pop("mean")
    values = {
        name: item["value"] if isinstance(item, dict) else item for name, item in several.items()
    }
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def named_values(passes: Sequence[Json]) -> dict[str, float]:
    """The scores of all passes by name; of equal names each with the options that set it apart."""
    values: dict[str, float] = {}
    for made in passes:
        for name, value in made["values"].items():
            alike = [other["asked"] for other in passes if name in other["values"]]
            apart = ", ".join(
                key if option is True else str(option)
                for key, option in made["asked"].items()
                if key not in ("metrics", "command")
                and option is not False
                and any(other.get(key) != option for other in alike)
            )
            values[f"{name} ({apart})" if apart else name] = value
    return values


def _run_in(record: Record) -> SweepRun:
    kinds: dict[str, Any] = {
        "name": str,
        "command": str,
        "dataset": str,
        "method": str,
        "seed": int,
        "varied": dict,
        "options": dict,
        "scores": list,
    }
    fields = {name: record.get(name, kind) for name, kind in kinds.items()}
    return SweepRun(**fields, needs=record.find("needs", str))
