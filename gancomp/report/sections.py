"""The parts of a page that are about one run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from gancomp.registry import is_code
from gancomp.report.charts import Chart, short
from gancomp.report.html import Html, details, element, joined, table
from gancomp.report.pictures import Example, Examples, Grid
from gancomp.report.repeat import Repeat
from gancomp.report.scores import BICUBIC, Score, digits, main_metric, shown, title_of
from gancomp.report.subjects import ROLES, Subject
from gancomp.settings import Json, NetworkSettings
from gancomp.sizes import shown_size, sides

Encode = Callable[[Image.Image], str]
PIXELATED_UP_TO = 160  # pixels of a side: larger ones are not enlarged much


def section(name: str, title: str, *content: Html | str) -> Html:
    """A part of the page that links can lead to."""
    return element("section", element("h2", title), *content, id=name)


def empty(*content: Html | str) -> Html:
    """What is said where there is nothing to show."""
    return element("p", *content, class_="empty")


def code(text: str) -> Html:
    """A command within a sentence."""
    return element("code", text)


def summary(subject: Subject) -> str:
    """The run in a sentence."""
    settings = subject.settings
    data = (subject.config.get("dataset") or {}).get("name") or settings.data.dataset
    teacher = network_words(settings.teacher.network)
    steps = shown_steps(subject.last_step) if subject.last_step else "no steps logged yet"
    end = f"on {data} ({settings.data.task}) at {shown_size(settings.data.size)} pixels; {steps}."
    if settings.student is None:
        return f"{teacher}, trained alone {end}"
    student = network_words(settings.student)
    return f"{student}, distilled from {teacher} by {settings.method.name} {end}"


def network_words(network: NetworkSettings) -> str:
    """`mobile-resnet9 of width 64`."""
    channels = network.own.get("channels")
    shape = f" with channels {channels}" if channels else ""
    return f"{network.arch} of width {network.width}{shape}"


def tiles(subject: Subject) -> Html:
    """The figures that matter most, large."""
    found = [*_score_tiles(subject)]
    role = subject.role
    cost, teacher = subject.cost(role), subject.cost("teacher")
    for key, label in (("macs", "MACs"), ("params", "parameters"), ("latency_ms", "latency")):
        if cost is None or key not in cost:
            continue
        unit = " ms" if key == "latency_ms" else ""
        more = ""
        if role == "student" and teacher is not None and cost[key]:
            more = f"1/{teacher[key] / cost[key]:.1f} of the teacher's"
        found.append(_tile(f"{role}: {label}", f"{short(cost[key])}{unit}", more))
    return element("div", found, class_="tiles") if found else Html("")


def _score_tiles(subject: Subject) -> list[Html]:
    metric = main_metric(subject.scores)
    of_role = {score.model: score for score in subject.scores if score.metric == metric}
    score = of_role.get(subject.role)
    if score is None:
        return []
    teacher = of_role.get("teacher")
    more = "higher is better" if score.higher_is_better else "lower is better"
    if subject.role == "student" and teacher and teacher.protocol == score.protocol:
        more = f"teacher {digits(teacher.value)}; {more}"
    bicubic = of_role.get(BICUBIC)
    if bicubic and bicubic.protocol == score.protocol:
        more = f"bicubic {digits(bicubic.value)}; {more}"
    return [_tile(f"{score.model}: {title_of(score.metric)}", digits(score.value), more)]


def _tile(label: str, value: str, more: str) -> Html:
    spans = (("label", label), ("value", value), ("more", more))
    return element(
        "div", [element("span", text, class_=name) for name, text in spans], class_="card tile"
    )


def scores(subject: Subject, prefix: str) -> Html:
    """All scores that were kept, each with its interval and protocol."""
    if not subject.scores:
        name = "eval-sr" if subject.settings.data.task == "super-resolution" else "eval"
        body = empty("No scores were kept with this run. Make some: ", code(_run(name, subject)))
        return section(f"{prefix}scores", "Scores", body)
    rows = [_score_row(score) for score in subject.scores]
    columns = ["model", "score", "value", "images", "step of the model", "compared with"]
    notes = ["In brackets: the interval from resampling the images (bootstrap)."]
    if all(score.low is None for score in subject.scores):
        notes = ["Without intervals: none were computed (gancomp eval --bootstrap N does)."]
    notes.append("Scores are comparable only where the protocol is the same.")
    kept = list({id(score.kept): score.kept for score in subject.scores}.values())
    protocols = [
        element("pre", json.dumps(_without_images(entry), indent=2, ensure_ascii=False))
        for entry in kept
    ]
    return section(
        f"{prefix}scores",
        "Scores",
        table(columns, rows, caption="Scores"),
        element("p", " ".join(notes), class_="note"),
        details("Protocols, as kept in eval.json", protocols),
    )


def _score_row(score: Score) -> list[str]:
    real = score.kept.get("real") or score.kept.get("dataset") or ""
    names = [Path(str(item)).name for item in real] if isinstance(real, list) else [str(real)]
    count = score.kept.get("n_real")
    against = ", ".join(names) + (f", {count:,} images" if isinstance(count, int) else "")
    arrow = "↑" if score.higher_is_better else "↓"
    number = "" if score.count is None else f"{score.count:,}"
    step = "" if score.step is None else f"{score.step:,}"
    return [score.model, f"{title_of(score.metric)} {arrow}", shown(score), number, step, against]


def _without_images(entry: Json) -> Json:
    """An entry without the lines of single images, which may be thousands."""
    images = entry.get("images")
    if not isinstance(images, list):
        return entry
    return entry | {"images": f"{len(images)} images, each in eval.json"}


def side_by_side(subject: Subject, examples: Examples, encode: Encode, prefix: str) -> Html:
    """Teacher and student in one place, with a slider between them."""
    name, title = f"{prefix}pictures", "Side by side"
    if not examples.found:
        return section(name, title, empty(f"No pictures: {examples.reason}."))
    cards = [_card(subject, example, encode) for example in examples.found]
    how = "Move the line with a mouse, a finger or the arrow keys. "
    choose = "The small pictures choose what is on its left. "
    count = len(examples.found[0].images)
    note = (how if count > 1 else "") + (choose if count > 2 else "") + examples.origin
    small = max(next(iter(examples.found[0].images.values())).size) <= PIXELATED_UP_TO
    grid = element("div", cards, class_="examples small" if small else "examples")
    return section(name, title, grid, element("p", note, class_="note"))


def _card(subject: Subject, example: Example, encode: Encode) -> Html:
    after = subject.role if subject.role in example.images else list(example.images)[-1]
    others = [name for name in example.images if name != after]
    after_image = element(
        "img",
        src=encode(example.images[after]),
        alt=f"{example.name}: {after}",
        class_="after",
    )
    if not others:
        caption = element("figcaption", f"{example.name}: {after}")
        figure = element("figure", after_image, caption, class_="alone")
        return element("div", figure, class_="card example")
    first = "teacher" if "teacher" in others else others[0]
    before = element("img", alt="", class_="before")  # the script fills it
    if len(others) == 1:
        source = encode(example.images[first])
        before = element("img", src=source, alt=f"{example.name}: {first}", class_="before")
    buttons = [
        element(
            "button",
            element("img", src=encode(example.images[name]), alt=f"{example.name}: {name}"),
            name,
            type="button",
            value=name,
            aria_pressed="true" if name == first else "false",
        )
        for name in others
    ]
    compare = element(
        "div",
        before,
        after_image,
        class_="compare",
        data_before=first,
        data_after=after,
    )
    group = element(
        "div", buttons, class_="thumbs", role="group", aria_label="On the left of the line"
    )
    return element("div", compare, group if len(others) > 1 else "", class_="card example")


def film(subject: Subject, grids: Sequence[Grid], encode: Encode, prefix: str) -> Html:
    """The grids of samples, from the first step to the last."""
    name, title = f"{prefix}samples", "Samples over time"
    if not grids:
        body = empty("This run has no sample grids; ", code("--sample-every N"), " makes them.")
        return section(name, title, body)
    what = _columns_of(subject)
    figures = [
        element(
            "figure",
            element("img", src=encode(grid.image), alt=f"Samples at {_at(grid)}: {what}"),
            element("figcaption", _at(grid)),
        )
        for grid in grids
    ]
    small = max(sides(subject.settings.data.size)) <= PIXELATED_UP_TO
    kind = "film small" if small else "film"
    strip = element(
        "div", figures, class_=kind, role="region", tabindex=0, aria_label="Samples over time"
    )
    return section(name, title, strip, element("p", f"In each: {what}.", class_="note"))


def _at(grid: Grid) -> str:
    return "an unknown step" if grid.step is None else f"step {grid.step:,}"


def _columns_of(subject: Subject) -> str:
    settings = subject.settings
    roles = [role for role in ROLES if role != "student" or settings.student is not None]
    if settings.data.task == "synthesis":
        return f"{' and '.join(roles)}, of the same noise" if len(roles) > 1 else "random images"
    truth = ["original"] if settings.data.task == "super-resolution" else []
    return "a row for each image: " + ", ".join(["input", *roles, *truth])


def chart_card(title: str, chart: Chart) -> Html:
    """A chart under its title."""
    note = [element("p", chart.note, class_="note")] if chart.note else []
    return element("div", element("h3", title), chart.svg, chart.legend, note, class_="card")


def shown_steps(number: int) -> str:
    """`1 step`, `2,000 steps`."""
    return f"{number:,} step{'' if number == 1 else 's'}"


def again(subject: Subject, found: Repeat, prefix: str) -> Html:
    """The commands that train the run again and use what it wrote."""
    lines = [_command("Train it again", found.command)]
    if found.toml:
        lines.append(_command("settings.toml, which that command reads", found.toml))
    lines.append(element("p", found.remark, class_="note"))
    own = _own_code(subject, subject.role)
    rest = [f"gancomp translate {_path(subject)} PHOTOS -o translated{own}"]
    task = subject.settings.data.task
    if task == "synthesis":
        rest = [f"gancomp generate {_path(subject)} -n 64 -o images"]
    score = "eval-sr" if task == "super-resolution" else "eval"
    timed = f"gancomp profile {_path(subject)} --latency{own or _own_code(subject, 'teacher')}"
    rest = [_run(score, subject), timed, *rest]
    rest.append(f"gancomp export {_path(subject)} -o {subject.role}.onnx{own}")
    lines.append(_command("Score, measure, use and export it", "\n".join(rest)))
    versions = subject.config.get("versions") or {}
    pins = ", ".join(
        f"{name} {versions[name]}" for name in ("gancomp", "torch") if name in versions
    )
    note = f"It was trained with {pins}; other versions may compute other digits." if pins else ""
    return section(
        f"{prefix}again",
        "Commands",
        joined(lines),
        element("p", note, class_="note"),
    )


def _path(subject: Subject) -> str:
    """The run's folder as it is typed: from here, if it lies below."""
    path = subject.run.path
    here = Path.cwd().resolve()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _own_code(subject: Subject, role: str) -> str:
    """What a command that opens this generator needs if it is of people's own code."""
    student = subject.settings.student if role == "student" else None
    arch = (student or subject.settings.teacher.network).arch
    return f" --arch {shlex.quote(arch)}" if is_code(arch) else ""


def _run(command: str, subject: Subject) -> str:
    more = {"eval": " --metrics fid", "eval-sr": " --dataset Set5"}[command]
    return f"gancomp {command} {_path(subject)}{more}{_own_code(subject, subject.role)}"


def _command(title: str, text: str) -> Html:
    button = element("button", "Copy", type="button", class_="copy", hidden=True)
    head = element("div", element("span", title), button, class_="head")
    return element("div", head, element("pre", text), class_="command")
