"""The part of a page about how training went: losses, its stages' too, and the selection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gancomp.engine.run import read_metrics
from gancomp.records import read_record
from gancomp.report.charts import Line, line_chart, losses_by_phase
from gancomp.report.html import Html, element
from gancomp.report.scores import digits
from gancomp.report.sections import chart_card, empty, section
from gancomp.report.subjects import Subject
from gancomp.settings import Json

SELECTION = "selection.json"
JUDGED_ON = {"held-out": "training images held out for that", "best-on-test": "the test images"}


def losses(subject: Subject, prefix: str) -> Html:
    """A chart for each network that was trained, in the stages before and in the run itself.

    Raises:
        RunError: if what a stage logged, or the history of the selection, is damaged.
    """
    stages = {path.name: read_metrics(path) for path in stages_of(subject)}
    found = {name: _charts(records, f"{prefix}{name}-") for name, records in stages.items()}
    own = _charts(subject.metrics, prefix)
    body = [
        element("h3", f"Stage {name}: {stages[name][-1].get('step', 0):,} steps") + charts
        for name, charts in found.items()
        if charts
    ]
    if own:
        head = element("h3", "The run itself") if body else ""
        body.append(Html(head + own))
    if not body:
        body.append(empty("No losses were logged yet."))
    else:
        note = "As logged in metrics.jsonl; beside each name the last value."
        body.append(element("p", note, class_="note"))
    return section(f"{prefix}losses", "Losses", *map(Html, body), _selection(subject, prefix))


def stages_of(subject: Subject) -> list[Path]:
    """The folders of the runs that came before this one, in their order."""
    return sorted(path.parent for path in subject.run.path.glob("stages/*/config.json"))


def _charts(records: Sequence[Json], prefix: str) -> Html:
    cards = []
    for index, (phase, lines) in enumerate(losses_by_phase(records).items()):
        ends = ", ".join(
            f"{line.name} from {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}"
            for line in lines
        )
        chart = line_chart(
            lines,
            name=f"{prefix}loss{index}",
            x="step",
            y="loss",
            alternative=f"Losses of the {phase} over the steps: {ends}.",
        )
        cards.append(chart_card(phase, chart))
    return element("div", cards, class_="charts") if cards else Html("")


def _selection(subject: Subject, prefix: str) -> Html:
    """The student's FID on the way, by which the one that is handed out was chosen."""
    path = subject.run.path / SELECTION
    if not path.exists():
        return Html("")
    document = read_record(path, way_out="remove it, and what it says is left out")
    history = [
        (item.get("step", int), item.get("fid", float)) for item in document.records("history")
    ]
    if not history:
        return Html("")
    step, best = min(history, key=lambda item: item[1])
    said = f"FID from {digits(history[0][1])} to {digits(history[-1][1])}, least {digits(best)}"
    chart = line_chart(
        [Line("FID", history)],
        name=f"{prefix}selection",
        x="step",
        y="FID (lower is better)",
        alternative=f"The student's {said} at step {step:,}.",
    )
    how = str(document.find("select", str))
    note = (
        f"Scored {len(history)} times on {JUDGED_ON.get(how, how)}; the student of step {step:,} "
        "was the best. These scores chose it, so they flatter it."
    )
    return element(
        "div",
        element("h3", "Choice of the student"),
        element("div", chart_card("student", chart), class_="charts"),
        element("p", note, class_="note"),
    )
