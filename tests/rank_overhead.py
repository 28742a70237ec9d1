"""What a training step costs under `torchrun --nproc-per-node 1`, beside a process of its own.

    python tests/rank_overhead.py 5

Runs of DCD's step at 64 pixels take turns, so often each; processor time, on one thread.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gancomp.api.arguments import overrides
from gancomp.api.boundary import LogView
from gancomp.data.demo_set import write_demo_set
from gancomp.recipes.distill import distill

STEPS, FIRST = 25, 5
PLAIN, TORCHRUN = "plain", "torchrun"


class Stopwatch(LogView):
    """Notes the processor time at each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def advance(self, record: dict[str, Any]) -> None:
        self.times.append(time.process_time())


def work(folder: Path, name: str) -> None:
    """One run; leaves the seconds of its steps, and of the whole process until then."""
    watch = Stopwatch()
    asked = {"dataset": str(folder / "toys"), "out": folder / name, "perceptual": "random"}
    asked |= {
        "size": 64,
        "d_layers": 2,
        "width": 32,
        "max_steps": STEPS,
        "log_every": 1,
        "workers": 0,
        "device": "cpu",
    }
    asked |= {"batch_size": 1, "checkpoint_every": 10 * STEPS, "sample_every": 10 * STEPS}
    distill(overrides("distill", asked), watch)
    kept = watch.times[FIRST:]
    steps = [later - sooner for sooner, later in zip(kept, kept[1:], strict=False)]
    (folder / f"{name}.json").write_text(json.dumps([steps, time.process_time()]))


def run(side: str, folder: Path, name: str) -> tuple[float, float]:
    """Milliseconds of a step, and seconds that torchrun itself worked."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    command = [sys.executable, *(launcher if side == TORCHRUN else []), __file__]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*command, str(folder), name],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    steps, own = json.loads((folder / f"{name}.json").read_text())
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return statistics.median(steps) * 1e3, spent - own


def main(pairs: int) -> None:
    found: dict[str, list[tuple[float, float]]] = {PLAIN: [], TORCHRUN: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_demo_set(folder / "toys", size=72, train=20, test=2)
        for number in range(pairs):
            for side in (PLAIN, TORCHRUN) if number % 2 == 0 else (TORCHRUN, PLAIN):
                found[side].append(run(side, folder, f"{side}-{number}"))
            both = {side: found[side][-1] for side in found}
            ratio = both[TORCHRUN][0] / both[PLAIN][0]
            print(f"{both} torchrun / plain {ratio:.4f}", flush=True)
    ratios = [one[0] / two[0] for one, two in zip(found[TORCHRUN], found[PLAIN], strict=True)]
    extra = statistics.median(spent for _, spent in found[TORCHRUN])
    extra -= statistics.median(spent for _, spent in found[PLAIN])
    print(
        f"{pairs} pairs: a step takes {statistics.median(ratios):.4f} of the plain one's processor "
        f"time ({min(ratios):.4f} to {max(ratios):.4f}); torchrun itself works {extra:.1f} s"
    )


if __name__ == "__main__":
    if len(sys.argv) > 2:
        work(Path(sys.argv[1]), sys.argv[2])
    else:
        main(int(sys.argv[1]))
