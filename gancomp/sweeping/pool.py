"""Starts the runs of a sweep, so many at a time, until none is left; others may share the work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from gancomp.engine.stopping import InterruptedRunError, StopWish
from gancomp.plugins import words_for_files
from gancomp.settings import Json
from gancomp.sweeping.folder import (
    DONE,
    FAILED,
    HELD,
    PARENT,
    SweepFolder,
    is_finished,
    is_trained,
)
from gancomp.sweeping.runs import SweepRun

LOOK_S = 0.2  # between two looks at the workers
ELSEWHERE_S = 2.0  # between two looks at a run that another process works on
MOST_KILLS = 5  # of one run's worker, after which it counts as failed here
THREADS = "OMP_NUM_THREADS"
Say = Callable[[str], None]


def start_worker(
    words: list[str], log: IO[bytes], variables: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Starts the module `worker` with these arguments, writing to `log`."""
    return subprocess.Popen(
        [sys.executable, "-m", "gancomp.sweeping.worker", *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=os.environ | variables,
        start_new_session=True,  # a terminal's Ctrl-C is ours to pass on, once
    )


@dataclass
class Worker:
    """A process at work on a run, and the file that it writes to."""

    run: SweepRun
    slot: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]


@dataclass
class Pool:
    """The workers of this process.

    Attributes:
        folder: of the sweep.
        runs: all of it.
        devices: one per worker at a time; None: as the runs say.
        say: told about each run that begins or ends.
        changed: called when a run's state has changed.
        stop: whether somebody asked to stop.
    """

    folder: SweepFolder
    runs: Sequence[SweepRun]
    devices: Sequence[str | None]
    say: Say
    changed: Callable[[], object]
    stop: StopWish
    working: dict[str, Worker] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    kills: dict[str, int] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def work(self) -> None:
        """Has every run done, as far as that can be.

        Raises:
            InterruptedRunError: when somebody asked to stop, after the workers have saved.
        """
        try:
            while self._look():
                time.sleep(LOOK_S)
        finally:
            self._end()
        if self.stop:
            assert self.stop.signal is not None
            raise InterruptedRunError(
                f"stopped by {self.stop.signal.name}; the same command goes on with the sweep"
            )

    def _look(self) -> bool:
        """Ends and begins what can be; returns whether there is more to do."""
        ended = [name for name, item in self.working.items() if item.process.poll() is not None]
        for name in ended:
            self._ended(self.working.pop(name))
        if self.stop:
            return False
        if not ended and self._free_slot() is None:
            return True  # nothing can begin, and to read all states takes time
        entries = {entry["name"]: entry for entry in self.folder.states(self.runs)}
        left = [run for run in self.runs if self._is_left(run, entries)]
        for run in left:
            free = self._free_slot()
            if free is None:
                break
            if run.name not in self.working and self._is_ready(run, entries):
                self._begin(run, free)
        return bool(left) or bool(self.working)

    def _is_left(self, run: SweepRun, entries: dict[str, Json]) -> bool:
        """Whether something is still to be done of a run, here or elsewhere."""
        if is_finished(entries[run.name]) or run.name in self.given_up:
            return False
        if run.needs in self.given_up and not is_trained(entries[run.needs], self.folder):
            self._tell_once(f"{run.name}: not begun, as {run.needs} failed")
            return False
        return True

    def _is_ready(self, run: SweepRun, entries: dict[str, Json]) -> bool:
        if time.monotonic() < self.not_before.get(run.name, 0.0):
            return False
        if run.needs is not None and not is_trained(entries[run.needs], self.folder):
            return False
        if not self.folder.is_free(run.name):
            self.not_before[run.name] = time.monotonic() + ELSEWHERE_S
            self._tell_once(f"{run.name}: another process works on it")
            return False
        return True

    def _free_slot(self) -> int | None:
        taken = {worker.slot for worker in self.working.values()}
        return next((slot for slot in range(len(self.devices)) if slot not in taken), None)

    def _begin(self, run: SweepRun, slot: int) -> None:
        device = self.devices[slot]
        log = (self.folder.logs / f"{run.name}.log").open("ab")
        threads = str(max(1, (os.cpu_count() or 1) // len(self.devices)))
        variables = {THREADS: os.environ.get(THREADS, threads), PARENT: str(os.getpid())}
        words = [str(self.folder.path), run.name, *([device] if device else [])]
        words += words_for_files()
        process = start_worker(words, log, variables)
        self.working[run.name] = Worker(run, slot, process, log)
        self._tell_once(f"{run.name}: begins{f' on {device}' if device else ''}")

    def _ended(self, worker: Worker) -> None:
        worker.log.close()
        run, status = worker.run, worker.process.returncode
        if status == HELD:
            self.not_before[run.name] = time.monotonic() + ELSEWHERE_S
            return
        entry = self.folder.states([run])[0]
        self.changed()
        if entry["state"] == DONE:
            values = ", ".join(f"{name} {value:.4g}" for name, value in entry["values"].items())
            self.say(f"{run.name}: done{f', {values}' if values else ''}")
        elif entry["state"] == FAILED and status > 0:
            self.given_up.add(run.name)
            self.say(f"{run.name}: failed: {entry['error']}")
        elif not self.stop:
            self._killed(run, status)

    def _killed(self, run: SweepRun, status: int) -> None:
        """A worker that left without a word is started again, but not for ever."""
        self.kills[run.name] = self.kills.get(run.name, 0) + 1
        how = f"signal {-status}" if status < 0 else f"status {status}"
        if self.kills[run.name] < MOST_KILLS:
            self.say(f"{run.name}: ended by {how}; it goes on")
            return
        self.given_up.add(run.name)
        log = self.folder.logs / f"{run.name}.log"
        self.say(f"{run.name}: ended {MOST_KILLS} times, last by {how}; given up, see {log}")

    def _end(self) -> None:
        """Lets the workers save and stop."""
        for worker in self.working.values():
            worker.process.terminate()
        for worker in self.working.values():
            worker.process.wait()
            worker.log.close()
        self.working.clear()

    def _tell_once(self, message: str) -> None:
        if message not in self.told:
            self.told.add(message)
            self.say(message)
