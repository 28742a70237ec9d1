"""Ranks and whole torchruns killed at random moments: the result is the undisturbed run's.

    python tests/rank_kills.py 10

kills a rank so often under `--max-restarts`; then, of two torchruns that play two machines, the
second one, which is started again, and the first one, after which both are.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import tiny_runs
import torchruns
from torchruns import Agent, torchrun, wait_until

from gancomp.data.demo_set import write_demo_set

STEPS, BATCH = 60, 2
# else torchrun does not tell a machine that joins again where the others meet (torch 2.14)
NEW_STORES = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
IDLE_S = 3.0  # a rank needs so long until its first step


def typed(folder: Path, name: str) -> list[str]:
    more = ["--batch-size", str(BATCH), "--rank-timeout", "120"]
    arguments = tiny_runs.arguments(folder / "toys", folder / name, *more, workers=1)
    arguments[arguments.index("--max-steps") + 1] = str(STEPS)
    arguments[arguments.index("--decay-epochs") + 1] = "40"
    return arguments


def check(folder: Path, name: str, job: str) -> None:
    """The run is the calm one bit for bit, and nobody is left."""
    tiny_runs.assert_same_result(folder / name, folder / "calm", batch_size=BATCH)
    torchruns.check_whole(folder / name)
    wait_until(lambda: not torchruns.left_of(job), f"{torchruns.left_of(job)} to end")


def kill_ranks(folder: Path, kills: int, rng: random.Random) -> list[str]:
    """Kills one of two ranks so often; where it hit them."""
    job = f"kills-{os.getpid()}"
    run, hit = folder / "killed", []
    options = ["--nproc-per-node", "2", "--max-restarts", str(kills), "--rdzv-id", job]
    options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    agent = torchrun(options, typed(folder, "killed"), folder / "killed.log")
    before: list[int] = []
    for number in range(kills):
        wait_until(lambda: len(set(agent.workers()) - set(before)) == 2, "two new ranks")  # noqa: B023
        workers = before = agent.workers()
        step = torchruns.steps_of(run)
        if number % 3 == 2:  # while they start, or resume
            time.sleep(rng.uniform(0, IDLE_S))
        else:
            goal = step + rng.randint(1, 4)
            wait_until(lambda: torchruns.steps_of(run) >= goal, f"step {goal}")  # noqa: B023
            time.sleep(rng.uniform(0, 0.1))
        rank = rng.randrange(2)
        os.kill(workers[rank], signal.SIGKILL)
        hit.append(f"rank {rank} after step {torchruns.steps_of(run)}")
    assert agent.wait() == 0, agent.said()
    check(folder, "killed", job)
    return hit


def start_node(folder: Path, name: str, job: str, port: int, node: str) -> Agent:
    options = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-id", job]
    options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}"]
    log = folder / f"{name}-{node}.log"
    return torchrun(options, typed(folder, name), log, more={NEW_STORES: "1"})


def start_nodes(folder: Path, name: str, job: str, port: int) -> tuple[Agent, Agent]:
    """Two torchruns, the first of which has the meeting point."""
    first = start_node(folder, name, job, port, "first")
    time.sleep(4)
    return first, start_node(folder, name, job, port, "second")


def kill_second_node(folder: Path, rng: random.Random) -> str:
    """Kills the torchrun that is not the meeting point and starts it again."""
    name, job, port = "node", f"node-{os.getpid()}", torchruns.free_port()
    first, second = start_nodes(folder, name, job, port)
    goal = rng.randint(10, 40)
    wait_until(lambda: torchruns.steps_of(folder / name) >= goal, first.said())
    orphans = second.workers()
    second.kill()
    killed = time.monotonic()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), "orphans to end")
    gone = time.monotonic() - killed
    step = torchruns.steps_of(folder / name)
    again = start_node(folder, name, job, port, "again")
    statuses = first.wait(), again.wait()
    assert statuses == (0, 0), (statuses, first.said(), again.said())
    check(folder, name, job)
    return f"after step {step}; its rank ended {gone:.1f} s later"


def kill_first_node(folder: Path, rng: random.Random) -> str:
    """Kills the torchrun that is the meeting point: its rank and the other's save and end.

    The other torchrun looks for the meeting point for ten minutes; here it is ended at once.
    """
    name, job, port = "host", f"host-{os.getpid()}", torchruns.free_port()
    first, second = start_nodes(folder, name, job, port)
    goal = rng.randint(10, 40)
    wait_until(lambda: torchruns.steps_of(folder / name) >= goal, "the first steps")
    first.kill()
    step, began = torchruns.steps_of(folder / name), time.monotonic()
    wait_until(lambda: not second.workers(), "the other's rank to end")
    ended = time.monotonic() - began
    second.kill()
    wait_until(lambda: not torchruns.left_of(job), "ranks to end")
    again = start_nodes(folder, name, job, torchruns.free_port())
    statuses = [agent.wait() for agent in again]
    assert statuses == [0, 0], [agent.said() for agent in again]
    check(folder, name, job)
    return f"after step {step}; the other rank ended {ended:.1f} s later"


def main(kills: int) -> None:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_demo_set(folder / "toys", size=32, train=5, test=2)
        began = time.monotonic()
        calm = torchrun(
            ["--standalone", "--nproc-per-node", "2"], typed(folder, "calm"), folder / "calm.log"
        )
        assert calm.wait() == 0, calm.said()
        print(f"undisturbed: {STEPS} steps, {time.monotonic() - began:.0f} s", flush=True)
        for where in kill_ranks(folder, kills, rng):
            print(f"killed: {where}", flush=True)
        print(
            f"{kills} kills of ranks: bit for bit the undisturbed run, no process left", flush=True
        )
        print(f"second machine: {kill_second_node(folder, rng)}; bit for bit", flush=True)
        print(f"first machine: {kill_first_node(folder, rng)}; bit for bit", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
