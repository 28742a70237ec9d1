"""What a search looked at: a line each in `search.jsonl`, by which it goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gancomp.records import Record
from gancomp.settings import Json
from gancomp.shrink.kept import keep, read_kept

FILE = "search.jsonl"


@dataclass(frozen=True)
class Candidate:
    """A shape that was looked at.

    Attributes:
        shape: its widths.
        measures: what it costs: `cost`, in the budget's unit, and more.
        score: lower is better.
        name: tells candidates of one shape apart, where there are several.
        compared: whether its score is of one kind with the others'.
    """

    shape: tuple[int, ...]
    measures: Json
    score: float
    name: str = ""
    compared: bool = True

    @property
    def key(self) -> tuple[str | int, ...]:
        """What no other candidate of a search has."""
        return (self.name, *self.shape) if self.name else self.shape

    @property
    def cost(self) -> float:
        """In the budget's unit."""
        return float(self.measures["cost"])


class Candidates:
    """The candidates of a search, kept in a file as they come.

    A search that was killed asks for the same ones again, in the same order: what the file has of
    them is not computed anew, so that it ends as if nothing had happened.

    Args:
        file: where they are kept; what is there is gone on from.
        say: is told each new best one, or each where scores say nothing of how good it is.
        scored: whether scores come from images.
        pause: called before each score; may raise to stop the search.

    Raises:
        RunError: if a line that another follows cannot be read.
    """

    def __init__(
        self,
        file: Path,
        say: Callable[[str], None] = print,
        pause: Callable[[], None] = lambda: None,
        *,
        scored: bool = True,
    ) -> None:
        self.file, self.say, self.pause, self.scored = file, say, pause, scored
        self._known = {item.key: item for item in self._read()}
        self.seen: dict[tuple[str | int, ...], Candidate] = {}

    def score(
        self,
        shape: Sequence[int],
        measures: Json,
        compute: Callable[[], float],
        *,
        name: str = "",
        compared: bool = True,
    ) -> Candidate:
        """The candidate of that shape and name, scored by `compute` unless it was before."""
        wanted = Candidate(tuple(shape), measures, float("inf"), name, compared)
        if wanted.key in self.seen:
            return self.seen[wanted.key]
        best = min((item.score for item in self.compared), default=float("inf"))
        found = self._known.get(wanted.key)
        if found is None:
            self.pause()
            found = replace(wanted, score=compute())
            self._append(found)
        self.seen[found.key] = found
        if not self.scored:
            self.say(f"search: {_worded(found.shape)}: cost {found.cost:.4g}")
        elif found.compared and found.score < best:
            self.say(
                f"search: candidate {len(self.seen)}, {_worded(found.shape)}: score "
                f"{found.score:.4g} (the best so far), cost {found.cost:.4g}"
            )
        return found

    @property
    def compared(self) -> list[Candidate]:
        """Those whose scores are of one kind."""
        return [item for item in self.seen.values() if item.compared]

    def front(self) -> list[Candidate]:
        """Those that no other beats in both cost and score, cheapest first."""
        front: list[Candidate] = []
        for item in sorted(self.compared, key=lambda item: (item.cost, item.score)):
            if not front or item.score < front[-1].score:
                front.append(item)
        return front

    def _append(self, candidate: Candidate) -> None:
        line: Json = {
            "shape": list(candidate.shape),
            "measures": candidate.measures,
            "score": candidate.score,
        }
        if candidate.name:
            line |= {"name": candidate.name, "compared": candidate.compared}
        keep(self.file, line)

    def _read(self) -> list[Candidate]:
        return [_candidate(record) for record in read_kept(self.file)]


def _candidate(record: Record) -> Candidate:
    record.get("measures.cost", float)
    shape = tuple(int(width) for width in record.get("shape", list))
    return Candidate(
        shape,
        record.get("measures", dict),
        record.get("score", float),
        record.find("name", str) or "",
        record.find("compared", bool) is not False,
    )


def _worded(shape: Sequence[int]) -> str:
    return "_".join(map(str, shape))
