"""One run of a sweep, in a process of its own: claims it, trains it, scores it, says so.

`python -m gancomp.sweeping.worker DIR NAME [DEVICE] [--plugin FILE]...`. It works as `gancomp`
commands do, and goes on where a killed one stopped. It leaves with the command's exit status: 0
done, 1 and 2 failed, 130 interrupted; and with 75 if another process has the run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from gancomp.__main__ import fail
from gancomp.__main__ import run as gancomp
from gancomp.engine.run import CONFIG
from gancomp.errors import GancompError
from gancomp.flags import as_typed
from gancomp.locks import HeldError
from gancomp.plugins import load_plugins
from gancomp.settings import Json
from gancomp.sweeping.folder import (
    DONE,
    FAILED,
    HELD,
    PARENT,
    TRAINED,
    SweepFolder,
    is_finished,
    is_trained,
    numbers_in,
)
from gancomp.sweeping.runs import SweepRun

INTERRUPTED = 130
LOOK_S = 1.0


def main(arguments: list[str]) -> int:
    """Works on the run that is named; returns the exit status."""
    path, name, *rest = arguments
    folder = SweepFolder(Path(path))
    _stop_without(os.environ.get(PARENT))
    try:
        (run,) = [run for run in folder.known_runs() if run.name == name]
        with folder.claimed(name):
            return _with_plugins(folder, run, rest)
    except HeldError:
        return HELD
    except GancompError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _with_plugins(folder: SweepFolder, run: SweepRun, rest: list[str]) -> int:
    """Works on the run with the plug-ins that are named; one that cannot be loaded fails the run.

    Args:
        folder: of the sweep.
        run: claimed.
        rest: the command line after the run's name.
    """
    try:
        device = load_plugins(rest)
    except GancompError as error:
        reason = as_typed(" ".join(str(error).split()))
        folder.write_result(run.name, {"state": FAILED, "error": reason, **_known(folder, run)})
        return fail(reason, 2)
    return work(folder, run, device[0] if device else None)


def _known(folder: SweepFolder, run: SweepRun) -> Json:
    """What was done of the run before."""
    result = folder.result(run.name)
    return {
        "trained": is_trained({"name": run.name}, folder),
        "seconds": result.get("seconds", 0.0),
        "passes": result.get("passes", []),
    }


def work(folder: SweepFolder, run: SweepRun, device: str | None) -> int:
    """Does what is left of the run; its claim is ours."""
    (entry,) = folder.states([run])
    if is_finished(entry):
        return 0
    known, chosen = _known(folder, run), ["--device", device] if device else []
    began = time.monotonic()
    log = folder.logs / f"{run.name}.log"
    size = log.stat().st_size if log.exists() else 0
    if not known["trained"]:
        resume = ["--resume"] if (folder.runs / run.name / CONFIG).exists() else []
        status = _command([*run.words(folder.runs), *chosen, *resume])
        known["seconds"] += time.monotonic() - began
        if status != 0:
            return _failed(folder, run, known, status, log, size)
        known["trained"] = True
        folder.write_result(run.name, {"state": TRAINED, **known})
    return _score(folder, run, known, chosen, log, size)


def _score(
    folder: SweepFolder, run: SweepRun, known: Json, chosen: list[str], log: Path, size: int
) -> int:
    """Makes the scores that are not there yet, each kept as soon as it is made."""
    for score in run.scores:
        passes = known.get("passes", [])
        if any(made["asked"] == score for made in passes):
            continue
        status, document = _scored([*run.score_words(folder.runs, score), *chosen])
        if status != 0:
            return _failed(folder, run, known, status, log, size)
        made = {"asked": score, "values": numbers_in(document), "protocol": document}
        known["passes"] = [*passes, made]
        folder.write_result(run.name, {"state": TRAINED, **known})
    folder.write_result(run.name, {"state": DONE, **known})
    print(f"done: {run.name}", file=sys.stderr)
    return 0


def _command(words: list[str]) -> int:
    """Runs one of our commands; what is a defect of ours ends this run, not the sweep."""
    try:
        return gancomp(words)
    except Exception:
        traceback.print_exc()
        return 1


def _scored(words: list[str]) -> tuple[int, Json]:
    """Runs a score's command with `--json`; returns its exit status and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = _command(words)
    return status, json.loads(printed.getvalue()) if status == 0 else {}


def _failed(
    folder: SweepFolder, run: SweepRun, known: Json, status: int, log: Path, size: int
) -> int:
    """Keeps why the run failed, unless somebody just wanted it to stop."""
    if status != INTERRUPTED:
        sys.stderr.flush()
        said = log.read_bytes()[size:].decode("utf-8", "replace") if log.exists() else ""
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        error = lines[-1].removeprefix("error: ") if lines else f"exit status {status}; see {log}"
        folder.write_result(run.name, {"state": FAILED, "error": error, **known})
    return status


def _stop_without(parent: str | None) -> None:
    """Asks this process to save and stop as soon as the one that started it is gone."""
    if parent is None or sys.platform == "win32":
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
