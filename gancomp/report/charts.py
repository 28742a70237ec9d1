"""Charts as SVG within the page: drawn by Matplotlib, in the page's own colors, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gancomp.export.extras import needed
from gancomp.report.html import Html, element

NUM_COLORS = 8
DASHES = ("solid", "dashed", "dotted", "dashdot")
SWATCHES = {"solid": "none", "dashed": "5 3", "dotted": "1.5 2.5", "dashdot": "6 2 1.5 2"}
# of points, in Matplotlib's words and as a path in a box of 10: 32 differ by color and shape
SHAPES = {
    "o": "M5 1.2a3.8 3.8 0 1 0 .01 0Z",
    "s": "M1.6 1.6h6.8v6.8h-6.8Z",
    "D": "M5 .8 9.2 5 5 9.2 .8 5Z",
    "^": "M5 1 9.2 8.8H.8Z",
}
MOST_POINTS = 160  # of a line; more cannot be told apart at the width of a chart
LOGARITHMIC_FROM = 50.0  # largest over smallest value
NAME_HEIGHT, NEAR = 0.07, 0.25  # of a name: shares of the chart's height and width
WIDTH, HEIGHT = 4.6, 2.9  # inches of 72 units: the width of a phone, so that its type is readable
# stand-ins while Matplotlib draws, which takes no CSS
INK, MUTED, LINE = "#000101", "#000102", "#000103"
SERIES = tuple(f"#0002{index:02x}" for index in range(NUM_COLORS))
CSS = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"} | {
    color: f"var(--series-{index})" for index, color in enumerate(SERIES)
}
RC = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "gancomp",  # the same names in every drawing
    "font.size": 11,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "grid.alpha": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "text.parse_math": False,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: as the legend says it.
        points: x and y, in the order of x.
    """

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Point:
    """A point of a chart.

    Attributes:
        name: written beside it, if there is one.
        x: as the axis has it.
        y: likewise.
        low: lower end of its interval, if there is one.
        high: upper end.
        series: which color and shape it has.
        hollow: whether only the rim of its marker is drawn.
    """

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    series: int = 0
    hollow: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing and what says the same in words.

    Attributes:
        svg: the drawing.
        legend: which line is which.
        note: what has to be known to read it; may be empty.
    """

    svg: Html
    legend: Html = Html("")
    note: str = ""


def check_matplotlib() -> None:
    """Raises ConfigError, with the command that installs it, where Matplotlib is missing."""
    needed("matplotlib", "report", "report")


def line_chart(lines: Sequence[Line], *, name: str, x: str, y: str, alternative: str) -> Chart:
    """Lines over one axis; logarithmic where values are far apart.

    Args:
        lines: each with one point at least.
        name: of the chart within the page, which no other has.
        x: title of the axis.
        y: likewise.
        alternative: what the chart shows, in words.
    """
    thinned = [Line(line.name, _thinned(line.points)) for line in lines]
    values = [value for line in thinned for _, value in line.points]
    logarithmic = min(values) > 0 and max(values) / min(values) > LOGARITHMIC_FROM

    def draw(axes: Any) -> None:
        for index, line in enumerate(thinned):
            color, dash = _style(index)
            marker = "o" if len(line.points) == 1 else None
            xs, ys = zip(*line.points, strict=True)
            axes.plot(xs, ys, color=color, linestyle=dash, marker=marker, markersize=4)
        if logarithmic:
            axes.set_yscale("log")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.locator_params(axis="x", integer=True, nbins=6)
        axes.margins(x=0.02)

    most = max(len(line.points) for line in lines)
    notes = ["The axis is logarithmic."] if logarithmic else []
    if most > MOST_POINTS:
        notes.append(f"Each point is the mean of up to {-(-most // MOST_POINTS)} logged values.")
    legend = element(
        "ul",
        [
            element("li", _swatch(index), line.name, element("b", f"{line.points[-1][1]:.3g}"))
            for index, line in enumerate(lines)
        ],
        class_="legend",
    )
    return Chart(_drawn(draw, name, alternative), legend, " ".join(notes))


def scatter_chart(
    points: Sequence[Point],
    *,
    front: Sequence[tuple[float, float]],
    name: str,
    x: str,
    y: str,
    alternative: str,
) -> Chart:
    """Points with their names and intervals, and a stepped line along the best of them.

    Args:
        points: one at least.
        front: the best of them, in the order of x; drawn where there are two or more.
        name: of the chart within the page, which no other has.
        x: title of the axis, whose values are above 0.
        y: title of the other.
        alternative: what the chart shows, in words.
    """
    logarithmic = max(item.x for item in points) / min(item.x for item in points) > 4

    def draw(axes: Any) -> None:
        if len(front) > 1:
            xs, ys = zip(*front, strict=True)
            axes.plot(xs, ys, color=MUTED, linewidth=1.2, linestyle="dashed", zorder=1)
        for item in points:
            color, shape = _look(item.series)
            face = "none" if item.hollow else color
            if item.low is not None and item.high is not None:
                axes.vlines(item.x, item.low, item.high, color=color, linewidth=1.5)
            axes.plot(
                [item.x], [item.y], shape, color=color, markerfacecolor=face, markersize=7, mew=1.8
            )
        if logarithmic:
            axes.set_xscale("log")
        axes.margins(0.16)
        _name_points(axes, points)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        _plain_ticks(axes, logarithmic=logarithmic)

    notes = ["The horizontal axis is logarithmic."] if logarithmic else []
    return Chart(_drawn(draw, name, alternative), note=" ".join(notes))


def _name_points(axes: Any, points: Sequence[Point]) -> None:
    """Writes each name beside its point, toward the middle of the chart, above others there."""
    named = [item for item in points if item.name]
    if len(named) > NUM_COLORS:
        return  # they would cover each other; the table beside the chart has them
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    line = (top - bottom) * NAME_HEIGHT
    taken: list[tuple[float, bool, float]] = []  # of each name: x, its side, y
    for item in sorted(named, key=lambda item: item.y):
        place = _position(axes, item.x, low, high)
        left = place > 0.55
        above = [y for x, side, y in taken if side == left and abs(x - place) < NEAR]
        y = max([item.y, *(other + line for other in above)])
        taken.append((place, left, y))
        axes.annotate(
            item.name,
            (item.x, y),
            xytext=(-8 if left else 8, -3),
            textcoords="offset points",
            ha="right" if left else "left",
            color=INK,
            fontsize=9,
        )


def _position(axes: Any, value: float, low: float, high: float) -> float:
    """Where on the axis `value` lies, from 0 to 1."""
    transform = axes.xaxis.get_transform().transform
    start, here, end = transform([low, value, high])
    return float((here - start) / (end - start))


def _plain_ticks(axes: Any, *, logarithmic: bool) -> None:
    """Figures such as 2.4G at the horizontal axis."""
    ticker = needed("matplotlib.ticker", "report", "report")
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short(value)))
    if logarithmic:
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    else:
        axes.locator_params(axis="x", nbins=5)


def short(value: float) -> str:
    """`2.38G`, `180k` or `12`: three digits and what they are to be multiplied by."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS`, each the mean of its neighbors."""
    size = -(-len(points) // MOST_POINTS)
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts
    ]


def _style(index: int) -> tuple[str, str]:
    return SERIES[index % NUM_COLORS], DASHES[index // NUM_COLORS % len(DASHES)]


def _look(series: int) -> tuple[str, str]:
    return SERIES[series % NUM_COLORS], [*SHAPES][series // NUM_COLORS % len(SHAPES)]


def legend_of_points(names: Sequence[str]) -> Html:
    """Which color and shape is which series."""
    return element(
        "ul",
        [element("li", _mark(series), name) for series, name in enumerate(names)],
        class_="legend",
    )


def _mark(series: int) -> Html:
    color, shape = _look(series)
    path = element("path", d=SHAPES[shape], style=f"fill: {CSS[color]}")
    return element("svg", path, viewBox="0 0 10 10", class_="mark", aria_hidden="true")


def _swatch(index: int) -> Html:
    color, dash = _style(index)
    line = element(
        "path",
        d="M0 5H22",
        style=f"stroke: {CSS[color]}",
        stroke_width="2.5",
        stroke_dasharray=SWATCHES[dash],
    )
    return element("svg", line, viewBox="0 0 22 10", class_="swatch", aria_hidden="true")


def _drawn(draw: Any, name: str, alternative: str) -> Html:
    """What `draw` draws on its axes, as an element of the page."""
    matplotlib = needed("matplotlib", "report", "report")
    figures = needed("matplotlib.figure", "report", "report")
    with matplotlib.rc_context(), io.StringIO() as file:
        matplotlib.rcdefaults()  # not what the user's own settings say
        matplotlib.rcParams.update(RC)
        figure = figures.Figure(figsize=(WIDTH, HEIGHT))
        axes = figure.subplots()
        draw(axes)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        return _for_page(file.getvalue(), name, alternative)


def _for_page(svg: str, name: str, alternative: str) -> Html:
    """The drawing without what a page has itself: its own names, its colors and type."""
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    # the sheet within would hold for the whole page; report.css has what it says
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.S)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.S)
    used = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", body)
    body = re.sub(r'( id="|url\(#|href="#)', lambda found: f"{found[0]}{name}-", body)
    body = body.replace("xlink:href", "href").replace("\n", " ")
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub("|".join(CSS), lambda found: CSS[found[0]], body)
    body = re.sub(r"<g>\s*</g>|(?<=>)\s+(?=<)", "", body)
    return element(
        "svg", Html(body), viewBox=box[1], role="img", aria_label=alternative, class_="chart"
    )


def losses_by_phase(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Line]]:
    """The logged losses: a list of lines for each network that is trained.

    Args:
        records: lines of `metrics.jsonl`, oldest first; what is no finite number is left out.
    """
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for record in records:
        step, losses = record.get("step"), record.get("losses")
        if not isinstance(step, int) or not isinstance(losses, Mapping):
            continue
        for name, value in losses.items():
            phase, _, term = str(name).partition("/")
            if isinstance(value, int | float) and abs(value) < float("inf"):
                points = found.setdefault(phase, {}).setdefault(term or phase, [])
                points.append((float(step), float(value)))
    return {
        phase: [Line(term.replace("_", " "), points) for term, points in terms.items()]
        for phase, terms in found.items()
    }
