"""The parts of a page that are about several models: what they cost and what they are worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gancomp.report.charts import NUM_COLORS, Point, legend_of_points, scatter_chart, short
from gancomp.report.html import Html, element, table
from gancomp.report.scores import Score, digits, front, main_metric, shown, title_of
from gancomp.report.sections import chart_card, code, empty, section
from gancomp.report.subjects import ROLES, Subject
from gancomp.settings import Json

COSTS = {
    "macs": ("MACs of a pass", "MACs"),
    "params": ("parameters", "parameters"),
    "bytes": ("bytes of the file", "size"),
    "latency_ms": ("latency in ms", "latency"),
}


@dataclass(frozen=True)
class Model:
    """A generator of a run, with its scores.

    Attributes:
        name: what it is called in a chart.
        subject: its run.
        role: teacher or student.
        series: of its run, which has a color and a shape.
        cost: its row of `gancomp profile`; None if it was not written yet.
        scores: by metric, the newest of each.
    """

    name: str
    subject: Subject
    role: str
    series: int
    cost: Json | None
    scores: dict[str, Score]


def models_of(subjects: Sequence[Subject]) -> list[Model]:
    """Teacher and student of each run, where there is anything to say about them."""
    found = []
    paths = {subject.run.path.parts[-2:] for subject in subjects}  # folders may have moved
    for series, subject in enumerate(subjects):
        source = subject.settings.teacher.source
        shown_already = source is not None and Path(source).parts[-2:] in paths
        for role in ROLES:
            scores = {score.metric: score for score in subject.scores if score.model == role}
            cost = subject.cost(role)
            if (cost is None or (shown_already and role != subject.role)) and not scores:
                continue  # the teacher that it was given is one of the runs
            name = role if len(subjects) == 1 else subject.name
            if len(subjects) > 1 and role != subject.role:
                name = f"{subject.name} ({role})"
            found.append(Model(name, subject, role, series, cost, scores))
    return found


def compared(subjects: Sequence[Subject]) -> Html:
    """Costs and scores of all models in one table."""
    models = models_of(subjects)
    if not models:
        return section("costs", "Cost and score", empty("No generator was written yet."))
    several = len(subjects) > 1
    timed = any(model.cost and "latency_ms" in model.cost for model in models)
    metrics = list(dict.fromkeys(name for model in models for name in model.scores))
    columns = [
        *(["run", "method", "seed"] if several else []),
        "model",
        "network",
        "parameters",
        "MACs",
    ]
    columns += ["MACs (torchprofile's rule)", "bytes", *(["ms"] if timed else [])]
    columns += [title_of(name) for name in metrics]
    rows = []
    for model in models:
        cost = model.cost or {}
        network = f"{cost['arch']} {cost['width']}" if cost else ""
        figures = [f"{cost[key]:,}" if key in cost else "" for key in FIGURES]
        times = [f"{cost['latency_ms']:.1f}" if "latency_ms" in cost else ""] if timed else []
        values = [shown(model.scores[name]) if name in model.scores else "" for name in metrics]
        settings = model.subject.settings
        about = [model.subject.name, settings.method.name, str(settings.run.seed)]
        head = about if several else []
        rows.append([*head, model.role, network, *figures, *times, *values])
    notes = [f"MACs are for an input of {_inputs(models)}."]
    notes += _about_time(subjects) if timed else [_no_latency()]
    return section(
        "costs",
        "Cost and score",
        table(columns, rows, caption="Cost and score"),
        element("p", " ".join(notes), class_="note"),
    )


FIGURES = ("params", "macs", "macs_torchprofile", "bytes")


def _inputs(models: Sequence[Model]) -> str:
    shapes = {"x".join(map(str, model.cost["input"])) for model in models if model.cost}
    return " or ".join(sorted(shapes))


def _no_latency() -> str:
    return "Latency was not measured; gancomp report --latency does, on the machine it runs on."


def _about_time(subjects: Sequence[Subject]) -> list[str]:
    """On what latencies were measured for this page."""
    timed = [subject.timed for subject in subjects if subject.timed]
    about = dict.fromkeys(
        f"{item['device']}, {item['threads']} threads, {item['backend']}" for item in timed
    )
    return [f"Milliseconds: median of warm passes, measured for this page on {'; '.join(about)}."]


def pareto(subjects: Sequence[Subject]) -> Html:
    """What each model costs against what it is worth; the best of both are joined."""
    name, title = "pareto", "Cost against score"
    models = models_of(subjects)
    metric = main_metric([score for model in models for score in model.scores.values()])
    scored = [model for model in models if model.cost and metric in model.scores]
    if metric is None or not scored:
        what = empty("Nothing to plot: no model here has a score. Make one: ", code("gancomp eval"))
        return section(name, title, what)
    protocols = Counter(model.scores[metric].protocol for model in scored)
    chosen = protocols.most_common(1)[0][0]
    shown_models = [model for model in scored if model.scores[metric].protocol == chosen]
    cards = [
        _plot(shown_models, key, metric)
        for key in COSTS
        if all(model.cost and model.cost.get(key) for model in shown_models)
    ]
    better = "higher" if shown_models[0].scores[metric].higher_is_better else "lower"
    notes = [f"Further left is cheaper, {better} is better; hollow ones are teachers."]
    if any("stroke-dasharray" in card for card in cards):
        notes.append("The broken line joins those that no other beats in both.")
    left_out = len(scored) - len(shown_models)
    if left_out:
        notes.append(f"{left_out} scored by another protocol are left out, not being comparable.")
    return section(
        name,
        title,
        element("div", cards, class_="charts"),
        _runs_legend(shown_models, subjects),
        element("p", " ".join(notes), class_="note"),
    )


def _plot(models: Sequence[Model], key: str, metric: str) -> Html:
    axis, label = COSTS[key]
    points = []
    for model in models:
        assert model.cost is not None
        score = model.scores[metric]
        points.append(
            Point(
                model.name,
                float(model.cost[key]),
                score.value,
                low=score.low,
                high=score.high,
                series=model.series,
                hollow=model.role == "teacher",
            )
        )
    higher = models[0].scores[metric].higher_is_better
    said = "; ".join(f"{item.name} {short(item.x)}, {digits(item.y)}" for item in points)
    title = f"{title_of(metric)} against {label}"
    chart = scatter_chart(
        points,
        front=front([(item.x, item.y) for item in points], higher=higher),
        name=f"pareto-{key}",
        x=axis,
        y=f"{title_of(metric)} ({'higher' if higher else 'lower'} is better)",
        alternative=f"{title}: {said}.",
    )
    return chart_card(title, chart)


def _runs_legend(models: Sequence[Model], subjects: Sequence[Subject]) -> Html:
    """Which color and shape is which run, where the names are not in the charts."""
    if len(models) <= NUM_COLORS:
        return Html("")
    return legend_of_points([subject.name for subject in subjects])
