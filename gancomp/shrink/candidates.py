"""What a search looked at: a line each in `search.jsonl`, by which it goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """

    shape: tuple[int, ...]
    measures: Json
    score: float

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
        self._known = {item.shape: item for item in self._read()}
        self.seen: dict[tuple[int, ...], Candidate] = {}

    def score(
        self, shape: Sequence[int], measures: Json, compute: Callable[[], float]
    ) -> Candidate:
        """The candidate of that shape, scored by `compute` unless it was before."""
        key = tuple(shape)
        if key in self.seen:
            return self.seen[key]
        best = min((item.score for item in self.seen.values()), default=float("inf"))
        found = self._known.get(key)
        if found is None:
            self.pause()
            found = Candidate(key, measures, compute())
            self._append(found)
        self.seen[key] = found
        if not self.scored:
            self.say(f"search: {_worded(found.shape)}: cost {found.cost:.4g}")
        elif found.score < best:
            self.say(
                f"search: candidate {len(self.seen)}, {_worded(found.shape)}: score "
                f"{found.score:.4g} (the best so far), cost {found.cost:.4g}"
            )
        return found

    def front(self) -> list[Candidate]:
        """Those that no other beats in both cost and score, cheapest first."""
        front: list[Candidate] = []
        for item in sorted(self.seen.values(), key=lambda item: (item.cost, item.score)):
            if not front or item.score < front[-1].score:
                front.append(item)
        return front

    def _append(self, candidate: Candidate) -> None:
        line = {
            "shape": list(candidate.shape),
            "measures": candidate.measures,
            "score": candidate.score,
        }
        keep(self.file, line)

    def _read(self) -> list[Candidate]:
        return [_candidate(record) for record in read_kept(self.file)]


def _candidate(record: Record) -> Candidate:
    record.get("measures.cost", float)
    shape = tuple(int(width) for width in record.get("shape", list))
    return Candidate(shape, record.get("measures", dict), record.get("score", float))


def _worded(shape: Sequence[int]) -> str:
    return "_".join(map(str, shape))
