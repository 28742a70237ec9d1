"""What a person sees while a command works: progress on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

# no markup, no emoji: what is shown are names of files, which may hold brackets and colons
stderr = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
stdout = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def say(message: str) -> None:
    """One line on stderr."""
    stderr.print(message)


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document that `--json` promises on stdout."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_table(columns: list[str], rows: list[list[str]], title: str | None = None) -> None:
    """A short table on stdout; the first column holds names, the others figures."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    stdout.print(table)


class ConsoleView:
    """Training progress: a live bar on a terminal, plain lines anywhere else."""

    def __init__(self) -> None:
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.total = 0

    def start(self, total_steps: int, step: int) -> None:
        """Training begins at `step` of `total_steps`."""
        self.total = total_steps
        if step:
            say(f"going on after step {step} of {total_steps}")
        if stderr.is_terminal:
            self.bar = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=stderr,
            )
            self.task = self.bar.add_task("", total=total_steps, completed=step)
            self.bar.start()

    def advance(self, record: dict[str, Any]) -> None:
        """Shows losses, images/s, time left and memory of one metrics record."""
        losses = " ".join(f"{name} {value:.3g}" for name, value in record["losses"].items())
        rate = f"{record['images_per_second']:.2f} images/s  {record['memory_mb']:.0f} MB"
        if self.bar is not None:
            self.bar.update(self.task, completed=record["step"], description=f"{rate}\n{losses}")
            return
        left = (self.total - record["step"]) * record["seconds"] / max(record["step"], 1)
        say(f"step {record['step']}/{self.total}  {rate}  {duration(left)} left  {losses}")

    def say(self, message: str) -> None:
        """One line about something that happened."""
        say(message)

    def finish(self) -> None:
        """Training ended."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def duration(seconds: float) -> str:
    """`1h05m`, `12m30s` or `8s`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{whole % 60:02d}s" if minutes else f"{whole}s"


def count(number: float) -> str:
    """`1.408G`, `0.137M` or `512`: large counts as the papers print them."""
    if number >= 1e8:
        return f"{number / 1e9:.3f}G"
    if number >= 1e4:
        return f"{number / 1e6:.3f}M"
    return f"{number:g}"
