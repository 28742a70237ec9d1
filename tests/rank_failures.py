"""Nine ways in which one of two ranks fails, and what became of the other: a table.

    python tests/rank_failures.py [KIND ...]

Each is a real torchrun of a tiny run, one of whose ranks does it to itself in step 4.
"""

from __future__ import annotations

import json
import os
import re
import resource
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import tiny_runs
import torchruns
from torchruns import torchrun, wait_until

TIMEOUT_S = 40
LEAD_GONE = "SIGKILL of the first"
SIGNALS = ("SIGTERM", "SIGINT", "SIGKILL", "SIGSTOP")
KINDS = (*SIGNALS, LEAD_GONE, "not finite", "unreadable image", "full disk", "no memory")
LEADS = ("full disk", LEAD_GONE)  # what the rank that writes and speaks meets
PAGE, RANK = 4096, "rank"


def note(name: str, content: object = "") -> None:
    """Leaves a file with what happened and when, whole."""
    path = Path(name)
    path.with_suffix(".new").write_text(json.dumps([time.time(), content]))
    path.with_suffix(".new").replace(path)


def prepare(kind: str) -> None:
    """Makes this rank fail in its fourth step."""
    from rank_runs import in_step

    def signal_itself() -> None:
        note("failed")
        os.kill(os.getpid(), getattr(signal, kind.split()[0]))

    def lack_memory() -> None:
        import torch

        note("failed")
        used = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
        torch.zeros(2**30)

    if kind in (*SIGNALS, LEAD_GONE):
        in_step(4, signal_itself)
    if kind == "no memory":
        in_step(4, lack_memory)
    if kind == "not finite":
        spoil_terms()
    if kind == "full disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def spoil_terms() -> None:
    from gancomp.methods.dcd import Dcd

    original = Dcd.losses

    def losses(self, phase, step):  # type: ignore[no-untyped-def]  # stands in for a method
        terms = original(self, phase, step)
        if step.index == 3:
            note("failed")
            terms = {name: term * float("nan") for name, term in terms.items()}
        return terms

    Dcd.losses = losses  # type: ignore[method-assign]  # only in a process made for it


def work(kind: str, rank: str, typed: list[str]) -> None:
    """One rank: `python -m gancomp TYPED`, prepared if it is the one to fail."""
    own = os.environ["RANK"]
    if own == rank:
        prepare(kind)
    sys.argv = ["gancomp", *typed]
    status: object = 0
    try:
        runpy.run_module("gancomp", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        status = error.code
        raise
    finally:
        note(f"ended-{own}", status)


def row(kind: str, folder: Path) -> str:
    """What one failure led to."""
    from gancomp.data.demo_set import write_demo_set

    folder.mkdir()
    write_demo_set(folder / "toys", size=32, train=5, test=2)
    run, job = folder / "run", f"failures-{os.getpid()}-{folder.name}"
    more = ["--batch-size", "2", "--rank-timeout", str(TIMEOUT_S)]
    if kind == "unreadable image":
        image = sorted((folder / "toys" / "trainA").iterdir())[2]
        image.write_bytes(image.read_bytes()[:200])
        more.append("--strict")
    victim = "0" if kind in LEADS else "1"
    options = ["--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    agent = torchrun(
        [*options, "--rdzv-id", job],
        tiny_runs.arguments(folder / "toys", run, *more),
        folder / "log",
        program=[str(Path(__file__).resolve()), RANK, kind, victim],
    )
    status = agent.wait()
    ended = time.time()
    wait_until(lambda: not torchruns.left_of(job), f"{torchruns.left_of(job)} to end")
    steps = torchruns.check_whole(run)
    lines = re.findall(r"^error: .*$", agent.said(), re.M)
    assert len(lines) == 1, agent.said()
    ends = {
        rank: json.loads((folder / f"ended-{rank}").read_text())
        for rank in (0, 1)
        if (folder / f"ended-{rank}").exists()
    }
    since = ""
    if (folder / "failed").exists():
        began = json.loads((folder / "failed").read_text())[0]
        others = max(at for rank, (at, _) in ends.items() if str(rank) != victim)
        since = f"{others - began:.1f} s, torchrun after {ended - began:.1f} s"
    statuses = ", ".join(str(ends[rank][1]) if rank in ends else "none" for rank in (0, 1))
    saved = max(steps, default=0)
    said = lines[0].replace(str(run), "RUN").replace(str(folder), "DATA")
    return f"| {kind} | {victim} | `{said}` | {statuses}; {status} | {saved} | {since} |"


def main(kinds: Sequence[str]) -> None:
    print("| failure | of rank | said | statuses; torchrun's | saved step | others ended after |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for kind in kinds:
            print(row(kind, Path(name, kind.replace(" ", "-"))), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == [RANK]:
        work(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        main(sys.argv[1:] or KINDS)
