"""One sitting of run.py: its parts in turn, each in its share of the time, the results renewed."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from children import Children, Ended, StoppedError
from results import Json, Results, keep_snapshot, last_records

CHECKS = ("tests", "bench", "ablation")
VARIANTS = {
    "dcd": "",
    "width12": "--student-width 12",
    "width8": "--student-width 8",
    "no-dcd": "--lambda-dcd 0",
    "no-gan": "--no-student-gan",
    "output-only": "--lambda-dcd 0 --no-student-gan",
}
LEAST_S = 5.0  # a part that has less is not begun


@dataclass(frozen=True)
class Part:
    """One thing to do.

    Attributes:
        name: its name; a seed other than 0 is in it.
        minutes: most that it may take, None for its share of what is left.
    """

    name: str
    minutes: float | None

    @property
    def variant(self) -> str:
        """What kind of run it is, if it is one."""
        return self.name.partition("@")[0]

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.name.partition("@")[2] or 0)

    @property
    def folder(self) -> str:
        """Under which it stands in the results."""
        is_run = self.variant in VARIANTS
        return f"{self.variant}-s{self.seed}" if is_run else self.name


def read_part(text: str) -> Part:
    """`NAME[@SEED][:MINUTES]`."""
    match = re.fullmatch(r"([a-z0-9-]+(?:@\d+)?)(?::(\d+(?:\.\d+)?))?", text)
    name = match.group(1) if match else text
    kind, _, seed = name.partition("@")
    if match is None or not (kind in VARIANTS or (kind in CHECKS and not seed)):
        raise argparse.ArgumentTypeError(f"{text}: not one of {', '.join((*CHECKS, *VARIANTS))}")
    return Part(name, float(match.group(2)) if match.group(2) else None)


class Session:
    """One sitting: the parts in turn until all are done or the time is over.

    Args:
        given: the command line.
        children: runs commands.
        results: what comes back.
        do: does one part: is given the session, the part, what is known of it, its deadline.
    """

    def __init__(
        self, given: argparse.Namespace, children: Children, results: Results, do: Do
    ) -> None:
        self.given, self.children, self.results, self.do = given, children, results, do
        self.deadline: float = time.monotonic() + given.minutes * 60
        self.packed = time.monotonic()
        self.tried: set[str] = set()  # ways whose rate was measured, or could not be
        self.complaints: set[str] = set()  # that were said

    def left(self) -> float:
        """Seconds until the sitting ends."""
        return self.deadline - time.monotonic()

    def work_through(self, parts: list[Part]) -> None:
        """Does what is not done yet."""
        waiting = [part for part in parts if self.results.part(part.folder)["status"] != "done"]
        for index, part in enumerate(waiting):
            later = waiting[index + 1 :]
            kept = sum((item.minutes or 0) * 60 for item in later)
            sharing = 1 + sum(item.minutes is None for item in later)
            # with a limit of its own a part may take what later ones would have had: order counts
            seconds = (self.left() - kept) / sharing
            if part.minutes is not None:
                seconds = min(part.minutes * 60, self.left())
            if seconds < LEAST_S:
                continue
            self.tell(f"{part.name}: {seconds:.0f} s at most")
            document = self.results.part(part.folder)
            document |= {"status": "begun"}
            try:
                self.do(self, part, document, time.monotonic() + seconds)
            except StoppedError:
                document["status"] = "unfinished"
                raise
            except Exception as error:  # other parts may still do well
                document |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
            finally:
                self.pack()
            self.tell(f"{part.name}: {document['status']}")

    def tell(self, message: str) -> None:
        """One line on stderr."""
        print(f"[{self.left():.0f} s left] {message}", file=sys.stderr, flush=True)

    def gancomp(self, text: str, *paths: object, **options: Any) -> Ended:
        """Runs gancomp with the words of `text`, then `paths`, which may have spaces in them.

        Args:
            text: words.
            paths: further ones.
            options: as `Children.run` takes them.
        """
        return self.children.run("-m", "gancomp", *text.split(), *map(str, paths), **options)

    def pack(self) -> None:
        """Renews the results; what keeps it from that is said, and ends nothing else."""
        try:
            self.results.pack()
        except Exception as error:
            self.tell(f"results were not renewed: {type(error).__name__}: {error}")
        self.packed = time.monotonic()

    def looked_after(self, run: Path) -> None:
        """While a run goes on: keeps its students and renews the results now and then."""
        try:
            if keep_snapshot(run) or time.monotonic() > self.packed + self.given.pack_seconds:
                note_progress(run, self.results.part(run.name))
                self.pack()
        except Exception as error:  # the run is worth more than what is told of it
            message = f"{run.name}: {type(error).__name__}: {error}"
            if message not in self.complaints:
                self.tell(message)
            self.complaints.add(message)


def note_progress(run: Path, document: Json) -> None:
    """How far a run has come, by its metrics."""
    records = last_records(run, 1)
    if not records or "plan" not in document:
        return
    (record,) = records
    plan, images = document["plan"], record["step"] * document["plan"]["batch_size"]
    document |= {
        "step": record["step"],
        "images": images,
        "epochs_seen": record["step"] / plan["steps_per_epoch"],
        "train_seconds": record["seconds"],
        "images_per_second": images / max(record["seconds"], 1e-9),
        "peak_memory_mb": record["memory_mb"],
    }
    config = json.loads((run / "config.json").read_text())
    document |= {name: config[name] for name in ("perceptual", "versions")}


def reason(ended: Ended) -> str:
    """Why a command failed, in short."""
    return "it took too long" if ended.cut else ended.tail[-400:] or f"status {ended.status}"


def finish(document: Json, ended: Ended, tail: str = "") -> None:
    """Notes in `document` how a command ended."""
    document["status"] = "done" if ended.status == 0 else "failed"
    document.pop("reason", None)
    if ended.status != 0:
        document["reason"] = reason(ended) if ended.cut else tail or reason(ended)


Do = Callable[[Session, Part, Json, float], None]
