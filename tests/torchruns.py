"""Real `torchrun`s of tiny runs, for scripts that look at what is left of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tiny_runs

from gancomp.engine.checkpoint import list_checkpoints, load_checkpoint

PATIENCE_S = 600.0
GANCOMP = ("-m", "gancomp")


@dataclass
class Agent:
    """A torchrun and what it and its ranks print."""

    process: subprocess.Popen[bytes]
    log: Path
    began: float = field(default_factory=time.monotonic)

    def wait(self) -> int:
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"torchrun hangs; it said: {self.said()}") from None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def workers(self) -> list[int]:
        """Its ranks' processes."""
        pid = self.process.pid
        try:
            return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []


def torchrun(
    options: Sequence[str],
    typed: Sequence[str],
    log: Path,
    *,
    program: Sequence[str] = GANCOMP,
    more: Mapping[str, str] | None = None,
) -> Agent:
    """Starts `torchrun OPTIONS PROGRAM TYPED`, with `more` in its environment."""
    command = [sys.executable, "-m", "torch.distributed.run", *options, *program, *typed]
    root = Path(__file__).parents[1]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]),
        **(more or {}),
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env=environment, cwd=log.parent
        )
    return Agent(process, log)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.01)


def left_of(job: str) -> list[int]:
    """Processes that still have the job's name in their environment or on their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            dead = (folder / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            continue
        if job.encode() in words and not dead:
            found.append(int(folder.name))
    return found


def check_whole(run: Path) -> list[int]:
    """The steps of the checkpoints, all of which must be whole; nothing half-written is there."""
    assert not [path for path in run.rglob(".*") if path.name not in (".lock", ".lock.owner")]
    assert not list(run.rglob("*.partial"))
    assert not list(run.rglob("*.old"))
    steps = [load_checkpoint(path).step for path in list_checkpoints(run / "checkpoints")]
    lines = (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").exists() else "\n"
    assert lines.endswith("\n")
    return steps


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def agreed_port(file: Path, *, leads: bool) -> int:
    """A port that is free now; of several processes one finds it and leaves it in a file."""
    if leads:
        file.with_suffix(".new").write_text(str(free_port()))
        file.with_suffix(".new").replace(file)
    wait_until(file.exists, f"the port in {file}")
    return int(file.read_text())


def end_all(pids: Sequence[int]) -> None:
    """Ends processes that a script has started and not got rid of."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def steps_of(run: Path) -> int:
    """The last step that was logged."""
    return max(tiny_runs.logged_steps(run), default=0)
