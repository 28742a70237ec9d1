"""Parts of run.py that train nothing: the GPU tests, the benchmark of the step, its ablation."""

from __future__ import annotations

import json
import re
import time

from children import BRIEF_S, ROOT
from results import Json
from session import LEAST_S, Part, Session, finish, reason

# for each way's first step: one that hangs costs no other one
PATIENCE_S = 30
PATIENCE_SHARE = 0.25  # of the benchmark's time at most: a batch size's results come at its end
STALLED_S = 20  # of one test, after which the log says where it is


def run_tests(session: Session, part: Part, document: Json, deadline: float) -> None:
    """The GPU tests; without a GPU they are skipped, which the counts show."""
    typed = ["-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    # conftest.py needs packages that these tests do not
    typed += ["--noconftest", "-o", f"faulthandler_timeout={STALLED_S}"]
    typed += ["-c", str(ROOT / "pyproject.toml"), str(ROOT / "tests" / "test_gpu.py")]
    ended = session.children.run(*typed, seconds=deadline - time.monotonic(), grace=BRIEF_S)
    document |= {"kind": "tests", "seconds": ended.seconds, "counts": count_tests(ended.out)}
    finish(document, ended, ended.out[-4000:])


def count_tests(said: str) -> dict[str, int]:
    """How many passed and so on: by the last line or, where it was cut off, by those before."""
    counts = re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", said)
    if counts:
        return {name: int(number) for number, name in counts}
    lines = re.findall(r"::\S.* (PASSED|FAILED|SKIPPED|ERROR)\b", said)
    return {word.lower(): lines.count(word) for word in dict.fromkeys(lines)}


def run_benchmark(session: Session, part: Part, document: Json, deadline: float) -> None:
    """The step at every batch size, in all number formats, beside the literal one.

    In the time that is left it is taken apart by operators: that comes last, as it is slow.
    """
    document.setdefault("kind", "bench")
    done = document.setdefault("batches", {})
    failures = document["failures"] = {}
    sizes = [str(size) for size in session.given.batch_sizes]
    patience = min(PATIENCE_S, PATIENCE_SHARE * (deadline - time.monotonic()))
    asked = f"--grid --patience {max(1.0, patience):.0f}"
    ask_benchmark(session, asked, sizes, deadline, done, failures)
    document["status"] = "done" if all(size in done for size in sizes) else "unfinished"
    profiles = document.setdefault("profiles", {})
    known = [size for size in sizes if size in done]
    unknown = document["profile_failures"] = {}
    ask_benchmark(session, "--profile --bf16 --rounds 1", known, deadline, profiles, unknown)


def ask_benchmark(
    session: Session,
    asked: str,
    sizes: list[str],
    deadline: float,
    done: Json,
    failures: Json,
) -> None:
    """One `bench train` for each batch size that is not `done`, while there is time.

    Args:
        session: whose results are renewed after each.
        asked: options.
        sizes: batch sizes, in order.
        deadline: for all of them.
        done: gets the documents, by size.
        failures: gets the reasons.
    """
    given = session.given
    for size in sizes:
        seconds = deadline - time.monotonic()
        if size in done or seconds < LEAST_S:
            continue
        typed = f"bench train {asked} --json --batch-size {size} --device {given.device}"
        ended = session.gancomp(f"{typed} {given.bench_options}", seconds=seconds, grace=BRIEF_S)
        if ended.status == 0:
            done[size] = json.loads(ended.out)
        else:
            failures[size] = reason(ended)
        session.pack()


def run_ablation(session: Session, part: Part, document: Json, deadline: float) -> None:
    """What each optimization of the step is worth, at the first batch size."""
    given = session.given
    typed = f"bench train --ablate --json --batch-size {given.batch_sizes[0]}"
    command = f"{typed} --device {given.device} {given.bench_options}"
    ended = session.gancomp(command, seconds=deadline - time.monotonic(), grace=BRIEF_S)
    document["kind"] = "ablation"
    if ended.status == 0:
        document["document"] = json.loads(ended.out)
    finish(document, ended)
