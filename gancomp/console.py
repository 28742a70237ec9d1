"""What a person sees while a command works: progress on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from gancomp.errors import RunError, printable
from gancomp.flags import as_typed

MESSAGES = frozenset({"error", "problems", "notes"})  # entries of JSON documents that hold some


class Stream:
    """A standard stream that falls silent, instead of raising, once its reader has gone.

    Nobody's leaving may end or falsify a training run: `gancomp distill 2>&1 | head` goes on.

    Args:
        current: the stream of the moment.
        needed: whether what is written is a result: then a reader may leave, but a full disk is
            an error. Otherwise (progress, warnings) nothing is.
    """

    def __init__(self, current: Callable[[], TextIO], *, needed: bool) -> None:
        self.current = current
        self.needed = needed

    def write(self, text: str) -> int:
        """Writes what can be written."""
        with self._forgiving():
            try:
                self.current().write(text)
            except UnicodeEncodeError as error:  # a name of a file, say, in another encoding
                escaped = text.encode(error.encoding, "backslashreplace").decode(error.encoding)
                self.current().write(escaped)
        return len(text)

    def flush(self) -> None:
        """Flushes what can be flushed."""
        with self._forgiving():
            self.current().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.current(), name)

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._silence()
            if self.needed and not isinstance(error, BrokenPipeError):
                raise RunError(
                    f"the output cannot be written ({error.strerror}); send it somewhere else"
                ) from error

    def _silence(self) -> None:
        """Leads the stream nowhere; what is buffered would fail again when Python exits."""
        with contextlib.suppress(OSError, AttributeError):
            number = self.current().fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


def open_closed_streams() -> None:
    """Leads standard streams nowhere that were closed when the program started (`gancomp 2>&-`).

    Else the next files to be opened would get their numbers, and with them whatever is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def _open(stream: TextIO | None) -> TextIO:
    return stream if stream is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # kept as long as a stream would be


def _stderr() -> TextIO:
    # while it shows a bar, rich puts itself in the place of sys.stderr
    return cast(TextIO, getattr(sys.stderr, "rich_proxied_file", sys.stderr))


class Spoken(Console):
    """Shows the fields that a message names as the flags that the person at the keyboard knows."""

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich prints."""
        super().print(
            *(as_typed(item) if isinstance(item, str) else item for item in objects), **how
        )


# no markup, no emoji: what is shown are names of files, which may hold brackets and colons
stderr = Spoken(
    file=cast(TextIO, Stream(_stderr, needed=False)),
    soft_wrap=True,
    highlight=False,
    markup=False,
    emoji=False,
)
stdout = Spoken(soft_wrap=True, highlight=False, markup=False, emoji=False)


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Replaces sys.stdout and sys.stderr, whoever prints, by streams whose readers may leave."""
    out, err = sys.stdout, sys.stderr  # None where it was closed when Python started
    shown, told = _open(out), _open(err)
    sys.stdout = cast(TextIO, Stream(lambda: shown, needed=True))
    sys.stderr = cast(TextIO, Stream(lambda: told, needed=False))
    guarded = sys.stdout
    try:
        yield
    finally:
        with contextlib.suppress(RunError):  # reported before, unless there is something worse
            guarded.flush()
        sys.stdout, sys.stderr = out, err


def say(message: str) -> None:
    """One line on stderr."""
    stderr.print("\n".join(printable(line) for line in message.split("\n")))


def milestones(
    say: Callable[[str], None], every: int, line: Callable[[int], str]
) -> Callable[[int], None]:
    """A function of the count so far, which tells `line(count)` each time `every` more are done."""
    told = 0

    def advance(done: int) -> None:
        nonlocal told
        if done // every > told:
            told = done // every
            say(line(done))

    return advance


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document that `--json` promises on stdout; its messages name flags."""
    document = _with_flags(document)
    try:
        text = json.dumps(document, indent=2, allow_nan=False)
    except ValueError:  # numbers that JSON does not have
        text = json.dumps(_without_infinities(document), indent=2)
    sys.stdout.write(text + "\n")


def _with_flags(value: Any, *, message: bool = False) -> Any:
    """A copy whose messages name flags, as all that a command prints; names and paths stay."""
    if isinstance(value, dict):
        return {key: _with_flags(item, message=key in MESSAGES) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_flags(item, message=message) for item in value]
    return as_typed(value) if message and isinstance(value, str) else value


def _without_infinities(value: Any) -> Any:
    """A copy with null for what is infinite or not a number."""
    if isinstance(value, dict):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(
    columns: list[str], rows: list[list[str]], title: str | None = None, *, figures: bool = True
) -> None:
    """A short table on stdout; the first column holds names, the others figures or words."""
    table = Table(title=printable(title) if title else None, title_justify="left")
    for index, column in enumerate(columns):
        right = figures and index > 0
        table.add_column(printable(column), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*("\n".join(map(printable, as_typed(cell).split("\n"))) for cell in row))
    stdout.print(table)


class ConsoleView:
    """Training progress: a live bar on a terminal, plain lines anywhere else."""

    def __init__(self) -> None:
        self.live: Live | None = None
        self.bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=stderr,
        )
        self.task = self.bar.add_task("", total=None)
        self.total = 0

    def start(self, total_steps: int, step: int) -> None:
        """Training begins at `step` of `total_steps`."""
        self.total = total_steps
        if 0 < step < total_steps:
            say(f"going on after step {step} of {total_steps}")
        if stderr.is_terminal:
            self.bar.reset(self.task, total=total_steps, completed=step)
            self.live = Live(self.bar, console=stderr)
            self.live.start()

    def advance(self, record: dict[str, Any]) -> None:
        """Shows losses, images/s, time left and memory of one metrics record."""
        rate = f"{record['images_per_second']:.2f} images/s  {record['memory_mb']:.0f} MB"
        losses = by_phase(record["losses"])
        if self.live is not None:
            self.bar.update(self.task, completed=record["step"], description=rate)
            self.live.update(Group(self.bar, *losses))
            return
        left = (self.total - record["step"]) * record["seconds"] / max(record["step"], 1)
        shown = "  ".join(losses)
        say(f"step {record['step']}/{self.total}  {rate}  {duration(left)} left  {shown}")

    def say(self, message: str) -> None:
        """One line about something that happened."""
        say(message)

    def finish(self) -> None:
        """Training ended."""
        if self.live is not None:
            self.live.stop()
            self.live = None


def by_phase(losses: dict[str, float]) -> list[str]:
    """One line per phase: `student: gan 0.46 feature 0.97`."""
    lines: dict[str, str] = {}
    for name, value in losses.items():
        phase, _, term = name.partition("/")
        lines[phase] = f"{lines.get(phase, phase + ':')} {term} {value:.3g}"
    return list(lines.values())


def duration(seconds: float) -> str:
    """`1h05m`, `12m30s` or `8s`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{whole % 60:02d}s" if minutes else f"{whole}s"
