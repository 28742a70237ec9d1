"""Whether a file in 8 bits is faster than what it replaces, on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gancomp.export.parity import ExportError
from gancomp.export.runtimes import Array, Open
from gancomp.metrics.latency import time_in_turns

THREADS = (1, 2)


def time_files(files: Mapping[str, Open], given: Array) -> list[dict[str, Any]]:
    """Median milliseconds of one picture, of each file on 1 and 2 threads, warm and in turns.

    Args:
        files: how to open each, by its precision.
        given: the picture, as the files take it.
    """
    threads = [count for count in THREADS if count <= (os.cpu_count() or 1)]
    keys = [(name, count) for name in files for count in threads]
    contestants = {
        f"{name} {count}": partial(files[name](count).run, [given]) for name, count in keys
    }
    timed = time_in_turns(contestants, settled=True)
    return [
        {
            "precision": name,
            "threads": count,
            "ms": round(timed[f"{name} {count}"].median_ms, 3),
            "range_ms": [
                round(timed[f"{name} {count}"].min_ms, 3),
                round(timed[f"{name} {count}"].max_ms, 3),
            ],
        }
        for name, count in keys
    ]


def check_faster(out: Path, rows: list[dict[str, Any]]) -> None:
    """Refuses what is not faster than every other precision, on all threads.

    Args:
        out: the file that is to be written.
        rows: of `time_files`; int8 is one of the precisions.

    Raises:
        ExportError: naming the times.
    """
    for threads in dict.fromkeys(row["threads"] for row in rows):
        ms = {row["precision"]: row["ms"] for row in rows if row["threads"] == threads}
        own = ms.pop("int8")
        rival = min(ms, key=ms.__getitem__)
        if own >= ms[rival]:
            on = f"{threads} thread{'s' * (threads > 1)}"
            raise ExportError(
                f"`out` {out}: int8 takes {own:.1f} ms on {on} and {rival} "
                f"{ms[rival]:.1f}: not faster; nothing was written, use "
                f"`precision` {rival}"
            )
