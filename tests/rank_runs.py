"""Tiny runs by several processes, as torchrun starts them, of which one may be made to fail."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch
from ready import context
from tiny_runs import PATIENCE_S, _serve, hold
from torchruns import free_port

Prepare = Callable[[], None]


@dataclass
class Together:
    """The processes of a run, by rank, and what each of them prints."""

    processes: list[ForkServerProcess]
    logs: list[Path]

    def wait(self) -> list[int]:
        """The exit statuses; none of the processes is left behind."""
        end = time.monotonic() + PATIENCE_S
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        hung = [process.is_alive() for process in self.processes]
        self.kill()
        assert not any(hung), f"ranks hang: {hung}; they said: {self.said()}"
        return [process.exitcode or 0 for process in self.processes]

    def said(self) -> list[str]:
        return [log.read_text() if log.exists() else "" for log in self.logs]

    def send(self, rank: int, number: signal.Signals) -> None:
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.join(PATIENCE_S)

    def wait_for(self, path: Path) -> None:
        """Waits until there is a file."""
        end = time.monotonic() + PATIENCE_S
        while not path.exists():
            assert time.monotonic() < end, self.said()
            assert any(process.is_alive() for process in self.processes), self.said()
            time.sleep(0.01)


def together(
    size: int,
    typed: list[str],
    *,
    prepare: Mapping[int, Prepare] | None = None,
    largest_file: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Together:
    """Starts `gancomp` with the arguments `typed` in so many processes.

    Args:
        size: how many.
        typed: the command line of each.
        prepare: by rank, what is called before the command.
        largest_file: bytes at which the kernel refuses to let a file of rank 0 grow.
        environment: what they find there beside their ranks.
    """
    out = Path(typed[typed.index("--out") + 1])
    out.parent.mkdir(parents=True, exist_ok=True)
    port = free_port()
    processes, logs = [], []
    for rank in range(size):
        known = {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        log = out.parent / f"{out.name}-{rank}.log"
        ready = (prepare or {}).get(rank)
        process = context.Process(
            target=_serve_rank,
            args=(known | dict(environment or {}), typed, out.parent, log,
                  largest_file if rank == 0 else None, ready),
        )  # fmt: skip
        process.start()
        processes.append(process)
        logs.append(log)
    return Together(processes, logs)


def _serve_rank(
    environment: dict[str, str],
    typed: list[str],
    folder: Path,
    log: Path,
    largest_file: int | None,
    prepare: Prepare | None,
) -> None:
    os.environ.update(environment)
    _serve(typed, folder, log, largest_file, prepare)


def in_step(number: int, action: Callable[[], None], turn: str = "student") -> None:
    """Has this process do something in a phase's turn of a step, counted from 1."""
    from gancomp.methods.dcd import Dcd

    original = Dcd.losses

    def losses(self, phase, step):  # type: ignore[no-untyped-def]  # stands in for a method
        if phase == turn and step.index + 1 == number:
            action()
        return original(self, phase, step)

    Dcd.losses = losses  # type: ignore[method-assign]  # only in a process made for it


def hold_in_step_4() -> None:
    in_step(4, hold)


def no_memory_in_step_3() -> None:
    def fail() -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    in_step(3, fail)


def other_weights_in_step_3() -> None:
    from gancomp.methods.base import Method

    found: list[Method] = []

    def spoil() -> None:
        with torch.no_grad():
            next(found[0].student.parameters()).add_(1e-3)  # type: ignore[union-attr,operator]

    from gancomp.methods.dcd import Dcd

    original = Dcd.__init__

    def init(self, *given):  # type: ignore[no-untyped-def]  # stands in for a method
        original(self, *given)
        found.append(self)

    Dcd.__init__ = init  # type: ignore[method-assign]  # only in a process made for it
    in_step(3, spoil, "teacher")


def parent_that_waits(folder: Path) -> None:
    """Starts a child as torchrun does, which leaves its number in the folder, and waits."""
    from gancomp import signals

    child = os.fork()
    if child == 0:
        os.setsid()
        assert signals.stop_with_parent()
        (folder / "child.new").write_text(str(os.getpid()))
        (folder / "child.new").replace(folder / "child")
    while True:
        time.sleep(1)


def alive(pid: int) -> bool:
    """Whether there is such a process, and not only its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def machine(words: list[str], typed: list[str], log: Path) -> None:
    """What `torchrun WORDS TYPED` does; its ranks are forked and need import nothing."""
    from torch.distributed.launcher.api import elastic_launch
    from torch.distributed.run import config_from_args, get_args_parser

    os.chdir(log.parent)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    torch.set_num_threads(1)
    config, _, _ = config_from_args(get_args_parser().parse_args(words))
    config.start_method = "fork"
    sys.exit(max(elastic_launch(config, command)(typed).values()))


def command(typed: list[str]) -> int:
    """The exit status of `gancomp TYPED`."""
    from gancomp.__main__ import run

    return run(typed)
