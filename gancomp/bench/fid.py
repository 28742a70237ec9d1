"""`gancomp bench fid`: the score of two folders beside pytorch-fid's command, whole processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from gancomp.bench import report
from gancomp.data.formats import PYTORCH_FID_SUFFIXES, sort_folder
from gancomp.errors import ConfigError, DataError, RunError
from gancomp.metrics.latency import Latency, time_in_turns
from gancomp.settings import Json

THEIRS, OURS, CACHED = "pytorch-fid", "gancomp", "gancomp, reals cached"


def bench_fid(real: Path, fake: Path, *, rounds: int = 3, threads: int | None = None) -> Json:
    """Times both commands in turns, from their start to their end, on the CPU.

    pytorch-fid runs with its defaults; gancomp once with an empty cache and once with one that
    holds the statistics of `real`. The folders are warm in the system's memory for all.

    Args:
        real: folder of images.
        fake: folder of images.
        rounds: how often each is timed.
        threads: for all commands; default: what each chooses.

    Raises:
        ConfigError: if `rounds` or `threads` is below 1.
        DataError: if a folder is missing or empty.
        RunError: if a command fails.
    """
    if rounds < 1:
        raise ConfigError(f"`rounds` {rounds}: must be at least 1")
    report.use_threads(threads)
    num_images = _count("real", real) + _count("fake", fake)
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    timed, found = _time_commands(real, fake, environment, rounds)
    document = report.document(
        "fid",
        f"FID of {num_images} images, the whole command, {rounds} rounds in turns",
        timed,
        of=OURS,
        device=torch.device("cpu"),
        num_images=num_images,
    )
    del document["speedup"][CACHED]  # beside the command that had no cache it says little
    cached_speedup = round(timed[THEIRS].median_ms / timed[CACHED].median_ms, 3)
    difference = max(abs(found[name] - found[THEIRS]) for name in (OURS, CACHED))
    return document | {
        "speedup_with_cached_reals": {THEIRS: cached_speedup},
        "fid": found,
        "difference": difference,
        "notes": [
            f"with cached reals gancomp is faster than pytorch-fid by {cached_speedup:.2f}x",
            f"FID {found[THEIRS]:.4f} by pytorch-fid, {found[OURS]:.4f} by gancomp, "
            f"{found[CACHED]:.4f} with cached reals; largest difference {difference:.1e}",
        ],
    }


def _time_commands(
    real: Path, fake: Path, environment: dict[str, str], rounds: int
) -> tuple[dict[str, Latency], dict[str, float]]:
    """Times and scores by contestant."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)

        def theirs() -> None:
            found[THEIRS] = score_by_pytorch_fid(real, fake, environment)

        def ours() -> None:
            empty = tempfile.mkdtemp(dir=root)
            found[OURS] = score_by_gancomp(real, fake, environment | {"XDG_CACHE_HOME": empty})

        def cached() -> None:
            kept = {"XDG_CACHE_HOME": str(root / "kept")}
            found[CACHED] = score_by_gancomp(real, fake, environment | kept)

        cached()  # fills the cache; the files are in the system's memory from now on
        contestants: dict[str, Callable[[], object]] = {
            THEIRS: theirs,
            OURS: ours,
            CACHED: cached,
        }
        timed = time_in_turns(contestants, num_runs=rounds, warm_up=0)
    return timed, found


def _count(field: str, folder: Path) -> int:
    if not folder.is_dir():
        raise DataError(f"`{field}` {folder}: no such folder; give a folder of images")
    count = len(sort_folder(folder, PYTORCH_FID_SUFFIXES)[0])
    if count < 2:
        raise DataError(f"`{field}` {folder}: holds {count} images, FID needs 2 or more")
    return count


def score_by_pytorch_fid(real: Path, fake: Path, environment: dict[str, str]) -> float:
    """What pytorch-fid's command prints.

    Raises:
        RunError: if it fails.
    """
    said = _run(["pytorch_fid", str(real), str(fake), "--device", "cpu"], environment)
    match = re.search(r"^FID:\s*(\S+)\s*$", said, re.MULTILINE)
    if match is None:
        raise RunError("pytorch-fid printed no score; try python -m pytorch_fid on the two folders")
    return float(match[1])


def score_by_gancomp(real: Path, fake: Path, environment: dict[str, str]) -> float:
    """What `gancomp eval-fid --json` prints.

    Raises:
        RunError: if it fails.
    """
    command = ["gancomp", "eval-fid", "--real", str(real), "--fake", str(fake)]
    said = _run([*command, "--device", "cpu", "--json"], environment)
    return float(json.loads(said)["fid"])


def _run(module: list[str], environment: dict[str, str]) -> str:
    """The standard output of `python -m MODULE ...`."""
    done = subprocess.run(
        [sys.executable, "-m", *module],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RunError(
            f"python -m {module[0]} could not be run ({last}); try it alone on the two folders"
        )
    return done.stdout
