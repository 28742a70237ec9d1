"""The table of a sweep: mean and spread over seeds, and which methods differ by more than that.

`table`: rows `{"dataset", "method", "varied", "n", "scores": {"fid": {"mean", "sd", "n"}}}`; `sd`
is the sample's (n - 1), null for one seed. `differences`: rows `{"dataset", "varied", "metric",
"a", "b", "mean", "sd", "n", "t", "p", "p_holm", "exceeds"}` of `a` minus `b`, seed by seed.

The test is the paired t test, two-sided: t = mean / (sd / sqrt(n)) of the differences over seeds,
with n - 1 degrees of freedom. Of k pairs tested together on a dataset, p_holm is corrected for k
(Holm 1979). `exceeds`: `yes` if p_holm < 0.05, `uncorrected` if only p is, else
`no`; null for one seed.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gancomp.settings import Json
from gancomp.sweeping.plan import TEACHER

LEVEL = 0.05


def metrics_in(entries: Iterable[Json]) -> list[str]:
    """The scores that any run has, in the order of the plan."""
    return list(dict.fromkeys(name for entry in entries for name in entry["values"]))


def table_of(entries: Sequence[Json]) -> list[Json]:
    """One row per dataset, method and point of the grid."""
    rows = []
    for (dataset, method, _), group in _grouped(entries, "dataset", "method"):
        scores = {name: _spread(_column(group, name)) for name in metrics_in(group)}
        number = max((score["n"] for score in scores.values()), default=0)
        row = {"dataset": dataset, "method": method, "varied": group[0]["varied"]}
        rows.append(row | {"n": number, "scores": scores})
    return rows


def differences_of(entries: Sequence[Json]) -> list[Json]:
    """One row per pair of methods on a dataset at a point of the grid, and metric."""
    rows: list[Json] = []
    students = [entry for entry in entries if entry["method"] != TEACHER]
    for (dataset, _), group in _grouped(students, "dataset"):
        for metric in metrics_in(group):
            by_method = {
                method: {e["seed"]: e["values"][metric] for e in own if metric in e["values"]}
                for (method, _), own in _grouped(group, "method")
            }
            start = {"dataset": dataset, "varied": group[0]["varied"], "metric": metric}
            pairs = itertools.combinations(by_method, 2)
            found = [_difference(a, b, by_method) for a, b in pairs]
            rows += [start | row for row in _corrected([row for row in found if row["n"]])]
    return rows


def _grouped(entries: Iterable[Json], *keys: str) -> list[tuple[tuple[Any, ...], list[Json]]]:
    groups: dict[tuple[Any, ...], list[Json]] = {}
    for entry in entries:
        point = tuple(sorted((name, str(value)) for name, value in entry["varied"].items()))
        groups.setdefault((*(entry[key] for key in keys), point), []).append(entry)
    return list(groups.items())


def _column(group: Iterable[Json], metric: str) -> list[float]:
    return [entry["values"][metric] for entry in group if metric in entry["values"]]


def _spread(values: Sequence[float]) -> Json:
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "n": len(values)}


def _difference(a: str, b: str, values: dict[str, dict[int, float]]) -> Json:
    """The paired t test of two methods over the seeds that both have."""
    both = [values[a][seed] - values[b][seed] for seed in values[a] if seed in values[b]]
    row: Json = {"a": a, "b": b, "mean": None, "sd": None, "n": len(both), "t": None, "p": None}
    if not both:
        return row
    spread = _spread(both)
    row |= spread
    if len(both) > 1:
        error = spread["sd"] / math.sqrt(len(both))
        if error == 0.0:
            return row | {"p": 1.0 if spread["mean"] == 0.0 else 0.0}
        row["t"] = spread["mean"] / error
        row["p"] = two_sided(row["t"], len(both) - 1)
    return row


def two_sided(t: float, degrees: int) -> float:
    """How often Student's t of so many degrees of freedom is farther from 0 than `t`."""
    from scipy.special import stdtr

    return float(2.0 * stdtr(degrees, -abs(t)))


def _corrected(rows: list[Json]) -> list[Json]:
    """Adds Holm's correction for all these pairs, and the verdict."""
    tested = sorted((row for row in rows if row["p"] is not None), key=lambda row: float(row["p"]))
    least = 0.0
    for place, row in enumerate(tested):
        least = max(least, min(1.0, row["p"] * (len(tested) - place)))
        row["p_holm"] = least
    for row in rows:
        corrected = row.setdefault("p_holm", None)
        if corrected is None:
            row["exceeds"] = None
        else:
            uncorrected = "uncorrected" if row["p"] < LEVEL else "no"
            row["exceeds"] = "yes" if corrected < LEVEL else uncorrected
    return rows


def score_rows(table: Sequence[Json]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the scores; numbers as text."""
    varied = list(dict.fromkeys(name for row in table for name in row["varied"]))
    metrics = list(dict.fromkeys(name for row in table for name in row["scores"]))
    titles = ["dataset", "method", *varied]
    for metric in metrics:
        titles += [metric, f"{metric} sd", f"{metric} n"]
    rows = []
    for row in table:
        cells = [row["dataset"], row["method"], *(_text(row["varied"].get(x)) for x in varied)]
        for metric in metrics:
            score = row["scores"].get(metric, {"mean": None, "sd": None, "n": 0})
            cells += [_text(score["mean"]), _text(score["sd"]), _text(score["n"])]
        rows.append(cells)
    return titles, rows


def long_rows(table: Sequence[Json]) -> tuple[list[str], list[list[str]]]:
    """The same with a line for each score, the methods below each other; for a narrow place."""
    varied = list(dict.fromkeys(name for row in table for name in row["varied"]))
    metrics = list(dict.fromkeys(name for row in table for name in row["scores"]))
    rows = [
        [
            row["dataset"],
            metric,
            row["method"],
            *(_text(row["varied"].get(name)) for name in varied),
            *(_text(row["scores"][metric][key]) for key in ("mean", "sd", "n")),
        ]
        for dataset in dict.fromkeys(row["dataset"] for row in table)
        for metric in metrics
        for row in table
        if row["dataset"] == dataset and metric in row["scores"]
    ]
    return ["dataset", "score", "method", *varied, "mean", "sd", "n"], rows


def difference_rows(differences: Sequence[Json]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the comparisons; numbers as text."""
    varied = list(dict.fromkeys(name for row in differences for name in row["varied"]))
    keys = ["metric", "a", "b", "mean", "sd", "n", "t", "p", "p_holm", "exceeds"]
    titles = ["dataset", *varied, *keys]
    rows = [
        [
            row["dataset"],
            *(_text(row["varied"].get(name)) for name in varied),
            *(_text(row[key]) for key in keys),
        ]
        for row in differences
    ]
    return titles, rows


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def as_csv(titles: list[str], rows: list[list[str]]) -> str:
    """Lines with commas."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([titles, *rows])
    return written.getvalue()


def as_markdown(titles: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    escape: Callable[[str], str] = lambda cell: cell.replace("|", "\\|")  # noqa: E731  # one cell
    return "".join(f"| {' | '.join(map(escape, line))} |\n" for line in lines)


def page(table: Sequence[Json], differences: Sequence[Json], state: str) -> str:
    """`table.md`: both tables, with the test that was made."""
    text = f"{state}\n\nMean and sample standard deviation over seeds.\n\n"
    text += as_markdown(*score_rows(table))
    if differences:
        text += (
            "\nDifferences a - b, paired over seeds; two-sided paired t test. p_holm is corrected "
            "for all pairs\nof a dataset and metric (Holm); exceeds: p_holm < 0.05; uncorrected: "
            "only p is.\n\n"
        )
        text += as_markdown(*difference_rows(differences))
    return text
