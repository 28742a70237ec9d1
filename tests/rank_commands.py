"""Commands by one process or by several, as torchrun starts them, of which one may be at fault."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ready import context
from torch import Tensor, nn
from torchruns import agreed_port

PATIENCE_S = 300.0


class Means(nn.Module):
    """Stands in for Inception: means of color over a coarse grid."""

    weights_id = "6726825d as if"

    def forward(self, images_01: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images_01, 3).flatten(1)


@dataclass(frozen=True)
class Ran:
    """What became of a command on one rank; the status is None where it was killed."""

    status: int | None
    out: str
    err: str

    @property
    def document(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True)
class Typed:
    """A command line, and what happens on the second rank before it translates a picture."""

    line: str
    happens: Callable[[], None] | None = None


def run_all(size: int, folder: Path, commands: Sequence[Typed]) -> list[list[Ran]]:
    """Runs the commands one after the other by `size` processes; for each, what the ranks did.

    Args:
        size: how many processes; by one, without torchrun's variables.
        folder: where they run; `{size}` in a command line is their number.
        commands: after one that kills a process, none can follow.
    """
    logs = Path(tempfile.mkdtemp(dir=folder))
    processes = [
        context.Process(target=_serve, args=(rank, size, folder, logs, commands))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
    hung = [process.is_alive() for process in processes]
    for process in processes:
        process.kill()
    assert not any(hung), f"ranks hang: {hung}"
    return [
        [_ran(logs / f"{number}-{rank}") for rank in range(size)] for number in range(len(commands))
    ]


def _ran(log: Path) -> Ran:
    said = [log.with_suffix(suffix).read_text() for suffix in (".out", ".err")]
    status = log.with_suffix(".status")
    return Ran(int(status.read_text()) if status.exists() else None, *said)


def _serve(rank: int, size: int, folder: Path, logs: Path, commands: Sequence[Typed]) -> None:
    from gancomp.__main__ import run
    from gancomp.engine import group, sharing
    from gancomp.recipes import eval_fid
    from gancomp.scoring import measuring, pairs

    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = f"cache-{size}"
    torch.set_num_threads(1)
    eval_fid.load_inception = lambda say: Means()  # type: ignore[assignment]  # stands in for it
    # so few images have several parts, some of which are filled up
    sharing.AT_ONCE, sharing.FILES_EACH, measuring.AT_ONCE, pairs.AT_ONCE = 4, 2, 4, 3
    for number, typed in enumerate(commands):
        if size > 1:
            port = agreed_port(logs / f"{number}.port", leads=rank == 0)
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
        if typed.happens is sigkill:
            group.ANSWER_S = 1.0  # nobody is there to answer
        log = logs / f"{number}-{rank}"
        with _led_to(log), _at_first_picture(typed.happens if rank == 1 else None):
            status = run(typed.line.format(size=size).split())
        log.with_suffix(".status").write_text(str(status))


@contextlib.contextmanager
def _led_to(log: Path) -> Iterator[None]:
    with (
        log.with_suffix(".out").open("w") as out,
        log.with_suffix(".err").open("w") as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        yield


@contextlib.contextmanager
def _at_first_picture(action: Callable[[], None] | None) -> Iterator[None]:
    from gancomp.recipes import translate

    original, waiting = translate._translate_file, [action] if action else []

    def first(*given: Any, **named: Any) -> None:
        if waiting:
            waiting.pop()()
        original(*given, **named)

    translate._translate_file = first  # only in this process
    try:
        yield
    finally:
        translate._translate_file = original


def out_of_memory() -> None:
    raise MemoryError("as if")


def second_thoughts() -> None:
    raise KeyboardInterrupt


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def late_sigterm() -> None:
    """SIGTERM while the ranks meet, when this one has said already that nobody asked it to stop."""
    from gancomp.engine.group import Group

    original = Group.told

    def told(self: Group, word: Any) -> list[Any]:
        Group.told = original  # type: ignore[method-assign]
        sigterm()
        return original(self, word)

    Group.told = told  # type: ignore[method-assign,assignment]


def sigkill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
