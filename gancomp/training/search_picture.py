"""What a search looked at, as a picture: score against budget."""

from __future__ import annotations

from pathlib import Path

from gancomp.files import write_text
from gancomp.report.charts import CSS, INK, LINE, MUTED, SERIES, Point, scatter_chart
from gancomp.shrink.base import Shrunk
from gancomp.shrink.candidates import Candidates

FILE = "search.svg"
OTHER, CHOSEN = 0, 1  # of the series: which color
COLORS = {INK: "#1c1c1c", MUTED: "#5a5a5a", LINE: "#c8c8c8"}
COLORS |= dict.fromkeys(SERIES, "#1f5fa8") | {SERIES[CHOSEN]: "#c2410c"}
COSTS = {"params": "parameters", "bytes": "bytes", "ms": "milliseconds"}
SCORES = {"fid": "FID", "l1": "distance", "fitness": "-fitness"}  # longer ones would not fit
# as large as a page's chart, on white, since an image viewer may show it on black
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="662" height="418" '
    'style="background: #ffffff" font-family="sans-serif"'
)


def draw_search(
    candidates: Candidates, shrunk: Shrunk, folder: Path, *, measure: str = "macs"
) -> Path:
    """Draws all candidates, their front and the chosen one into `search.svg`.

    Args:
        candidates: one at least.
        shrunk: what was chosen, with `shape` and `scored_by` in what was found.
        folder: of the search.
        measure: what the budget limits.

    Raises:
        ConfigError: with the install command, if Matplotlib is missing.
        RunError: if it cannot be written.
    """
    name, shape = shrunk.found.get("candidate"), shrunk.found.get("shape", ())
    chosen = (*([name] if name else []), *shape)
    points = [
        Point("chosen", item.cost, item.score, series=CHOSEN)
        if item.key == chosen
        else Point("", item.cost, item.score, series=OTHER, hollow=True)
        for item in sorted(candidates.compared, key=lambda item: item.key == chosen)
    ]
    chart = scatter_chart(
        points,
        front=[(item.cost, item.score) for item in candidates.front()],
        name="search",
        x=COSTS.get(measure, "MACs"),
        y=f"{SCORES.get(str(shrunk.found.get('scored_by')), 'score')}, less is better",
        alternative=f"{len(points)} candidates of a search by cost and score",
    )
    svg = str(chart.svg)
    for color, name in CSS.items():
        svg = svg.replace(name, COLORS[color])
    path = folder / FILE
    write_text(path, svg.replace("<svg", HEAD, 1) + "\n")
    return path
