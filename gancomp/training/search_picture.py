"""What a search looked at, as a picture: score against budget."""

from __future__ import annotations

from pathlib import Path

from gancomp.files import write_text
from gancomp.report.charts import CSS, INK, LINE, MUTED, SERIES, Point, scatter_chart
from gancomp.shrink.base import Shrunk
from gancomp.shrink.candidates import Candidates

FILE = "search.svg"
COLORS = {INK: "#1c1c1c", MUTED: "#5a5a5a", LINE: "#c8c8c8"} | dict.fromkeys(SERIES, "#1f5fa8")


def draw_search(candidates: Candidates, shrunk: Shrunk, folder: Path) -> Path:
    """Draws all candidates, their front and the chosen one into `search.svg`.

    Raises:
        ConfigError: with the install command, if Matplotlib is missing.
        RunError: if it cannot be written.
    """
    chosen = tuple(shrunk.found.get("shape", ()))
    points = [
        Point(
            "chosen" if item.shape == chosen else "",
            item.cost,
            item.score,
            hollow=item.shape != chosen,
        )
        for item in candidates.seen.values()
    ]
    chart = scatter_chart(
        points,
        front=[(item.cost, item.score) for item in candidates.front()],
        name="search",
        x="cost, in the budget's unit",
        y="score, lower is better",
        alternative=f"{len(points)} candidates of a search by cost and score",
    )
    svg = str(chart.svg)
    for color, name in CSS.items():
        svg = svg.replace(name, COLORS[color])
    head = '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif"'
    path = folder / FILE
    write_text(path, svg.replace("<svg", head, 1) + "\n")
    return path
