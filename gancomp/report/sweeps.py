"""What a page says about a sweep: the table over seeds, which methods differ, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gancomp.engine.run import CONFIG
from gancomp.errors import RunError
from gancomp.records import Record, read_record
from gancomp.report.charts import NUM_COLORS, Point, legend_of_points, scatter_chart, short
from gancomp.report.comparison import COSTS
from gancomp.report.html import Html, details, element, joined, table
from gancomp.report.scores import Score, digits, front, main_metric, title_of
from gancomp.report.sections import chart_card, section
from gancomp.report.subjects import Subject
from gancomp.settings import Json

SWEEP = "sweep.json"
WAY_OUT = "run the sweep's command again, which writes it anew"
VERDICTS = {"yes": "yes", "no": "no", "uncorrected": "only without Holm's correction"}


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder.

    Attributes:
        path: the folder.
        record: its `sweep.json`, as `gancomp.sweeping.folder` documents it.
    """

    path: Path
    record: Record

    @property
    def runs(self) -> list[Path]:
        """Folders of the runs that have begun."""
        folders = [self.path / run.get("path", str) for run in self.record.records("runs")]
        return [folder for folder in folders if (folder / CONFIG).exists()]

    def rows(self, key: str) -> list[Json]:
        """The rows of `table` or `differences`; none where there is no score yet."""
        return (
            []
            if self.record.find(key, list) is None
            else [row.values for row in self.record.records(key)]
        )


def open_sweep(path: Path) -> Sweep | None:
    """The sweep in this folder; None if it holds none.

    Raises:
        RunError: if its document is damaged, or of a later gancomp.
    """
    if not (path / SWEEP).is_file():
        return None
    sweep = Sweep(path.resolve(), read_record(path / SWEEP, way_out=WAY_OUT))
    if not sweep.runs:
        raise RunError(f"{path}: none of this sweep's runs has begun; run gancomp sweep first")
    return sweep


def sweep_section(sweep: Sweep, subjects: Sequence[Subject], number: int) -> Html:
    """Its table, its comparisons and a chart for each dataset.

    Args:
        sweep: it.
        subjects: all runs of the page.
        number: of the sweep on the page.
    """
    runs = sweep.record.records("runs")
    states = [str(run.find("state", str)) for run in runs]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    rows = sweep.rows("table")
    if not rows:
        body: list[Html] = [element("p", "No run of it has a score yet.", class_="empty")]
    else:
        body = [_scores(rows), _charts(sweep, rows, subjects, number)]
        body.append(_differences(sweep.rows("differences")))
    lead = element("p", f"{len(states)} runs: {counts}.", class_="note")
    return section(f"sweep{number}", f"Sweep {sweep.path.name}", lead, *body)


def _scores(rows: Sequence[Json]) -> Html:
    """A table for each dataset; methods without a score yet are only counted."""
    parts: list[Html] = []
    for dataset in dict.fromkeys(str(row.get("dataset")) for row in rows):
        own = [row for row in rows if str(row.get("dataset")) == dataset]
        scored = [row for row in own if row.get("scores")]
        if not scored:
            parts.append(element("p", f"{dataset}: no score yet.", class_="empty"))
            continue
        parts += [element("h3", dataset), _table(scored, f"Scores over seeds: {dataset}")]
        if len(scored) < len(own):
            waiting = f"Of {len(own) - len(scored)} others there is no score yet."
            parts.append(element("p", waiting, class_="note"))
    note = "Mean ± standard deviation over seeds (n - 1)."
    return joined(*parts, element("p", note, class_="note"))


def _table(rows: Sequence[Json], caption: str) -> Html:
    metrics = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    varied = any(map(_varied, rows))
    columns = ["method", *(["varied"] if varied else []), *map(title_of, metrics), "seeds"]
    cells = [
        [
            str(row.get("method")),
            *([_varied(row)] if varied else []),
            *(_spread(row["scores"].get(metric)) for metric in metrics),
            str(row.get("n", "")),
        ]
        for row in rows
    ]
    return table(columns, cells, caption=caption)


def _varied(row: Json) -> str:
    return ", ".join(f"{name} {value}" for name, value in (row.get("varied") or {}).items())


def _spread(score: Json | None) -> str:
    if not score or score.get("mean") is None:
        return ""
    sd = score.get("sd")
    return digits(score["mean"]) + ("" if sd is None else f" ± {digits(sd)}")


def _differences(rows: Sequence[Json]) -> Html:
    if not rows:
        return Html("")
    columns = ["methods", "dataset", "score", "difference", "seeds", "p", "p (Holm)"]
    columns.append("exceeds the seeds' noise")
    cells = [
        [
            f"{row.get('a')} - {row.get('b')}",
            " ".join(filter(None, (str(row.get("dataset")), _varied(row)))),
            title_of(str(row.get("metric"))),
            _spread(row),
            str(row.get("n", "")),
            *("" if row.get(key) is None else f"{row[key]:.3g}" for key in ("p", "p_holm")),
            VERDICTS.get(str(row.get("exceeds")), "unknown: one seed"),
        ]
        for row in rows
    ]
    known = [row for row in rows if row.get("exceeds") in VERDICTS]
    beyond = [row for row in known if row["exceeds"] == "yes"]
    nearly = [row for row in known if row["exceeds"] == "uncorrected"]
    said = (
        f"Pairs that differ by more than the seeds' noise: {len(beyond)} of {len(known)}; only "
        f"without Holm's correction: {len(nearly)} more."
    )
    named = "; ".join(
        f"{row.get('a')} - {row.get('b')}, {row.get('dataset')}, {title_of(str(row.get('metric')))}"
        for row in beyond
    )
    note = (
        "Differences seed by seed, mean ± standard deviation; two-sided paired t test, corrected "
        "for the number of pairs (Holm 1979) at 0.05."
    )
    return element(
        "div",
        element("h3", "Pairs of methods"),
        element("p", said),
        element("p", f"{named}.") if named else "",
        details("All pairs", table(columns, cells, caption="Pairs of methods")),
        element("p", note, class_="note"),
        class_="pairs",
    )


def _charts(sweep: Sweep, rows: Sequence[Json], subjects: Sequence[Subject], number: int) -> Html:
    """For each dataset, the mean of each method against what its model costs."""
    costs = _costs(sweep, subjects)
    names = [Score("", name, 0.0) for row in rows for name in row.get("scores", {})]
    metric = main_metric(names)
    cards = []
    for index, dataset in enumerate(dict.fromkeys(str(row.get("dataset")) for row in rows)):
        scored = [
            (row, cost, score)
            for row in rows
            if str(row.get("dataset")) == dataset
            and (cost := costs.get(_key(row))) is not None
            and (score := row.get("scores", {}).get(metric) or {}).get("mean") is not None
        ]
        for key in COSTS:
            if key == "params" or not scored or not all(cost.get(key) for _, cost, _ in scored):
                continue  # parameters say what the size does
            points = _points(scored, key)
            cards.append(_chart(dataset, str(metric), points, key, f"sweep{number}-{index}-{key}"))
    note = "Bars are one standard deviation over seeds to either side."
    if not cards:
        return Html("")
    return joined(element("div", cards, class_="charts pairs"), element("p", note, class_="note"))


def _points(scored: Sequence[tuple[Json, Json, Json]], key: str) -> list[Point]:
    """A point for each row, with its cost and score."""
    points: list[Point] = []
    for row, cost, score in scored:
        name = " ".join(filter(None, (str(row["method"]), _varied(row))))
        mean, sd = score["mean"], score.get("sd") or 0.0
        ends = {"low": mean - sd, "high": mean + sd}
        points.append(Point(name, float(cost[key]), mean, **ends, series=len(points)))
    return points


def _chart(dataset: str, metric: str, points: Sequence[Point], key: str, name: str) -> Html:
    axis, label = COSTS[key]
    higher = Score("", metric, 0.0).higher_is_better
    said = "; ".join(f"{item.name} {short(item.x)}, {digits(item.y)}" for item in points)
    title = f"{dataset}: {title_of(metric)} against {label}"
    chart = scatter_chart(
        points,
        front=front([(item.x, item.y) for item in points], higher=higher),
        name=name,
        x=axis,
        y=f"{title_of(metric)} ({'higher' if higher else 'lower'} is better)",
        alternative=f"{title}: {said}.",
    )
    if len(points) > NUM_COLORS:  # whose names are not in the chart
        chart = replace(chart, legend=legend_of_points([item.name for item in points]))
    return chart_card(title, chart)


def _key(row: Json) -> tuple[str, str, str]:
    return str(row.get("dataset")), str(row.get("method")), _varied(row)


def _costs(sweep: Sweep, subjects: Sequence[Subject]) -> dict[tuple[str, str, str], Json]:
    """The cost of what each method trained, out of any of its runs."""
    by_path = {subject.run.path: subject for subject in subjects}
    found: dict[tuple[str, str, str], Json] = {}
    for run in sweep.record.records("runs"):
        subject = by_path.get((sweep.path / run.get("path", str)).resolve())
        cost = subject.cost(subject.role) if subject is not None else None
        if cost is not None:
            found.setdefault(_key(run.values), cost)
    return found
