"""Tiny sweeps in processes of their own, which tests hold at a known point, or kill.

As a script it kills a sweep of 12 runs at random moments: `python tests/tiny_sweeps.py 30`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import tiny_runs
import torch
from tiny_runs import PATIENCE_S, Started
from torch import Tensor, nn

HOLD, HELD = "hold", "held"  # a file hold/NAME-POINT stops run NAME there; held/… has its process
PLAN = """
seeds = [0, 1]
datasets = ["toy"]

[common]
size = 32
device = "cpu"
workers = 0
d-layers = 1
d-width = 4
batch-size = 1
max-steps = 3
log-every = 1
checkpoint-every = 1

[teacher]
arch = "mobile-resnet6"
width = 4

[student]
freeze-teacher = true
ratio = 0.5
perceptual = "none"

[methods.dcd]

[score]
metrics = "fid"
fake-split = "all"
"""


class Means(nn.Module):
    """In the place of Inception: the means of parts of an image."""

    weights_id = "stub"

    def forward(self, images_01: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images_01, 2).flatten(1)


class Forked:
    """A worker, as `subprocess.Popen` has it, that need not import anything."""

    def __init__(self, words: list[str], log: IO[bytes], variables: dict[str, str]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._work(words, log, variables)

    def _work(self, words: list[str], log: IO[bytes], variables: dict[str, str]) -> None:
        from gancomp.sweeping import worker

        status = 1
        try:
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # pytest has its own
            os.environ.update(variables)
            status = worker.main(words)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


def prepare() -> None:
    """Cheap workers and scores, and points at which they can be held."""
    import gancomp.engine.fit as fit
    import gancomp.recipes.eval_fid as eval_fid
    import gancomp.sweeping.pool as pool
    import gancomp.sweeping.worker as worker

    take, work, current = fit.take_step, worker.work, [""]

    def work_by_name(folder: Any, run: Any, device: Any) -> int:
        current[0] = run.name
        return work(folder, run, device)

    def take_when_free(method: Any, step: Any, *rest: Any, **options: Any) -> Any:
        wait_if_held(f"{current[0]}-step{step.index}")
        return take(method, step, *rest, **options)

    def load_when_free(say: Any) -> Means:
        wait_if_held(f"{current[0]}-score")
        return Means()

    os.environ["XDG_CACHE_HOME"] = "cache"
    fit.take_step, worker.work = take_when_free, work_by_name
    eval_fid.load_inception = load_when_free  # type: ignore[assignment]  # stands in
    pool.start_worker = Forked  # type: ignore[assignment]  # stands in
    pool.LOOK_S, pool.ELSEWHERE_S, worker.LOOK_S = 0.02, 0.1, 0.1


def wait_if_held(point: str) -> None:
    hold, held = Path(HOLD, point), Path(HELD, point)
    if hold.exists():
        held.with_suffix(".new").write_text(f"{os.getpid()} {os.getppid()}")
        held.with_suffix(".new").replace(held)
    while hold.exists():
        time.sleep(0.01)


def sweep_from_python(folder: Path) -> None:
    """Sweeps twice; keeps what came of it, and what was printed."""
    import gancomp
    from gancomp.sweeping import pool

    os.chdir(folder)
    pool.start_worker = Forked  # type: ignore[assignment]  # stands in
    pool.LOOK_S = 0.02
    torch.set_num_threads(1)  # of which none is lost by a fork
    with (folder / "said").open("w") as said:
        sys.stdout = sys.stderr = said
        documents = [gancomp.sweep(Path("plan.toml"), "out", jobs=1) for _ in range(2)]
    (folder / "documents.json").write_text(json.dumps(documents))


class Place:
    """A folder with a plan and data, in which sweeps run."""

    def __init__(self, path: Path, plan: str = PLAN) -> None:
        from gancomp.data.demo_set import write_demo_set

        self.path, self.out, self.started = path, path / "sweep", 0
        write_demo_set(path / "toy", size=32, train=4, test=3)
        (path / "plan.toml").write_text(plan)
        for name in (HOLD, HELD):
            (path / name).mkdir()

    def start(self, *more: str) -> Started:
        """The command, in a process of its own."""
        self.started += 1
        typed = ["sweep", "plan.toml", "-o", "sweep", *more]
        log = self.path / f"parent{self.started}.log"
        process = tiny_runs.context.Process(
            target=tiny_runs._serve, args=(typed, self.path, log, None, prepare)
        )
        process.start()
        return Started(process, log)

    @contextlib.contextmanager
    def holding(self, point: str, sweep: Started) -> Iterator[tuple[int, int]]:
        """Waits until a run is held at the point; gives its process and that one's parent."""
        held = self.path / HELD / point
        tiny_runs.wait_until(held.exists, sweep)
        assert held.exists(), sweep.said()
        worker, parent = held.read_text().split()
        try:
            yield int(worker), int(parent)
        finally:
            held.unlink()
            (self.path / HOLD / point).unlink()

    def hold(self, point: str) -> None:
        (self.path / HOLD / point).touch()

    def document(self) -> Any:
        return json.loads((self.out / "sweep.json").read_text())

    def scores(self) -> dict[str, dict[str, float]]:
        return {run["name"]: run["values"] for run in self.document()["runs"]}

    def check_whole(self, runs: int) -> None:
        """Every run done, once, each step once; nothing half-written is left."""
        entries = self.document()["runs"]
        assert [entry["state"] for entry in entries] == ["done"] * runs
        for entry in entries:
            log = (self.out / "logs" / f"{entry['name']}.log").read_text()
            assert log.count(f"done: {entry['name']}") == 1, log
            steps = tiny_runs.logged_steps(self.out / entry["path"])
            assert steps == list(range(1, len(steps) + 1))
            assert (
                len(json.loads((self.out / entry["path"] / "eval.json").read_text())["scores"]) == 1
            )
        assert not list(self.out.rglob("*.partial"))


def workers_of(parent: int) -> list[int]:
    """The processes that this one started."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    try:
        return [int(pid) for pid in children.read_text().split()]
    except OSError:
        return []


def kill_at_random(place: Place, kills: int, rng: random.Random, say: Callable[[str], Any]) -> None:
    """Kills workers and parents of the sweep so often, each time goes on, and lets it end."""
    done = {"worker": 0, "parent": 0}
    while sum(done.values()) < kills:
        sweep = place.start("--jobs", "2")
        while sweep.process.is_alive() and sum(done.values()) < kills:
            time.sleep(rng.uniform(0.05, 1.5))
            if rng.random() < 0.4:
                os.kill(sweep.pid, signal.SIGKILL)
                sweep.process.join(PATIENCE_S)
                done["parent"] += 1
            elif children := workers_of(sweep.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(children), signal.SIGKILL)
                    done["worker"] += 1
        if sweep.process.exitcode == 0:
            break
    say(f"killed: {done}")
    for _ in range(3):  # what was killed too often for one command is given up by it alone
        sweep = place.start("--jobs", "2")
        if sweep.wait() == 0:
            return
    raise AssertionError(sweep.said())


def main(kills: int) -> None:
    plan = PLAN.replace("[0, 1]", "[0, 1, 2, 3]").replace("max-steps = 3", "max-steps = 12")
    plan = plan.replace("[score]", '[methods.hints]\nmethod = "fitnet"\n\n[score]')
    with tempfile.TemporaryDirectory() as folder:
        places = [Place(Path(folder, name), plan) for name in ("calm", "killed")]
        calm, killed = places
        assert calm.start("--jobs", "2").wait() == 0
        kill_at_random(killed, kills, random.Random(0), print)
        for place in places:
            place.check_whole(12)
        assert killed.scores() == calm.scores()
        for name in ("table.csv", "differences.csv", "table.md"):
            assert (killed.out / name).read_text() == (calm.out / name).read_text()
    print("12 runs done, each once; the tables are equal")


if __name__ == "__main__":
    main(int(sys.argv[1]))
