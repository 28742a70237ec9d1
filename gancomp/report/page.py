"""`gancomp report`: reads runs, draws, and writes one page that needs nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gancomp import __version__
from gancomp.errors import ConfigError
from gancomp.files import check_replaceable, write_text
from gancomp.pages import asset, page
from gancomp.paths import expanded
from gancomp.recipes.profile import LatencyRequest
from gancomp.report import comparison, sections
from gancomp.report.charts import check_matplotlib
from gancomp.report.facts import facts
from gancomp.report.html import Html, details, element, joined
from gancomp.report.pictures import Album, Examples, Grid, examples_of, grids_of
from gancomp.report.progress import losses
from gancomp.report.repeat import Repeat, repeat
from gancomp.report.subjects import Subject, check_runs, subjects_of
from gancomp.report.sweeps import Sweep, open_sweep, sweep_section
from gancomp.settings import Json

LIMIT = 3_000_000  # bytes of a page
FOR_PICTURES = 1_500_000  # of them, before they are written as text, which takes a third more
MOST_WHOLE = 8  # runs that are shown with losses and pictures; of more only costs and scores
SUFFIXES = (".html", ".htm")
PARTS = {
    "scores": "Scores",
    "pareto": "Cost against score",
    "costs": "Cost and score",
    "pictures": "Side by side",
    "samples": "Samples",
    "losses": "Losses",
    "facts": "What was trained",
    "again": "Commands",
}
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ReportRequest:
    """What is reported, and where to.

    Attributes:
        runs: folders of runs or sweeps; none: the latest run.
        out: the file to write.
        title: of the page; by default the name of the run.
        latency: how generators are timed for it; None: they are not.
    """

    runs: Sequence[Path]
    out: Path
    title: str | None = None
    latency: LatencyRequest | None = None


@dataclass(frozen=True)
class Shown:
    """A run with all that takes long to find."""

    subject: Subject
    examples: Examples
    grids: Sequence[Grid]
    repeat: Repeat

    @property
    def num_pictures(self) -> int:
        """How many pictures are encoded."""
        return len(self.grids) + sum(len(item.images) for item in self.examples.found)


def report(request: ReportRequest, say: Callable[[str], None]) -> Json:
    """Writes the page; returns the document of `report --json`.

    Raises:
        ConfigError: if Matplotlib is missing, `out` is no name of a page, or there is no run.
        RunError, CheckpointError: if a run cannot be read or the page not written.
    """
    out = expanded(request.out)
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"`out` {request.out}: is an HTML file; let its name end with .html")
    check_replaceable(out)
    if not out.parent.is_dir():
        raise ConfigError(f"`out` {request.out}: there is no folder {out.parent}; make it first")
    opened = {path: open_sweep(expanded(path)) for path in request.runs}
    sweeps = [sweep for sweep in opened.values() if sweep is not None]
    folders = [run for path, item in opened.items() for run in (item.runs if item else [path])]
    if len(opened) < len(request.runs):
        folders = list(request.runs)  # one of them is named twice, which is refused
    check_runs(folders)
    check_matplotlib()  # after all that is told at once: to install it takes a while
    subjects = subjects_of(folders, latency=request.latency)
    whole = []
    for subject in subjects[:MOST_WHOLE]:
        say(f"{subject.name}: pictures and losses")
        whole.append(Shown(subject, examples_of(subject), grids_of(subject), repeat(subject)))
    text = _within_limit(request, subjects, whole, sweeps)
    write_text(out, text)
    content = text.encode()
    return {
        "file": str(out),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "runs": [str(subject.run.path) for subject in subjects],
        "missing": {
            subject.name: missing
            for shown in whole
            if (missing := _missing(shown))
            for subject in [shown.subject]
        },
    }


def _missing(shown: Shown) -> list[str]:
    """What the page says is not there."""
    subject = shown.subject
    there = {
        "losses": bool(subject.metrics),
        "scores": bool(subject.scores),
        "samples": bool(shown.grids),
        "pictures": bool(shown.examples.found),
        "generators": bool(subject.costs),
    }
    return [name for name, found in there.items() if not found]


def _within_limit(
    request: ReportRequest,
    subjects: Sequence[Subject],
    whole: Sequence[Shown],
    sweeps: Sequence[Sweep],
) -> str:
    """The page, with smaller pictures if it is too large."""
    count = max(1, sum(shown.num_pictures for shown in whole))
    most = FOR_PICTURES // count
    while True:
        text = _page(request, subjects, whole, sweeps, Album(most))
        if len(text.encode()) < LIMIT or most < 2000:
            return text
        most //= 2


def _page(
    request: ReportRequest,
    subjects: Sequence[Subject],
    whole: Sequence[Shown],
    sweeps: Sequence[Sweep],
    album: Album,
) -> str:
    several = len(subjects) > 1
    name = f"{len(subjects)} runs" if several else subjects[0].name
    title = request.title or (sweeps[0].path.name if len(sweeps) == 1 else name)
    body = _several(subjects, whole, album) if several else _one(whole[0], album)
    body = joined(*(sweep_section(item, subjects, k) for k, item in enumerate(sweeps)), body)
    lead = ""
    if several:
        names = ", ".join(item.name for item in subjects)
        lead = f"Comparison of {names if len(subjects) <= MOST_WHOLE else name}."
    top = element(
        "header",
        element("h1", title),
        element("p", lead or sections.summary(subjects[0])),
        _links(sweeps, several=several),
        class_="top",
    )
    foot = element("footer", f"Written by gancomp {__version__} (gancomp report).")
    return page(
        title,
        joined(top, element("main", body), foot),
        styles=[asset("theme.css"), asset("slider.css"), _own("report.css")],
        scripts=[asset("slider.js") + _own("report.js")],
    )


def _links(sweeps: Sequence[Sweep], *, several: bool) -> Html:
    names = {"costs": PARTS["costs"], "pareto": PARTS["pareto"], "runs": "Runs"}
    names = names if several else PARTS
    names = {f"sweep{k}": f"Sweep {item.path.name}" for k, item in enumerate(sweeps)} | names
    links = [element("a", title, href=f"#{name}") for name, title in names.items()]
    return element("nav", links, aria_label="Parts of this page")


def _own(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _one(shown: Shown, album: Album) -> Html:
    subject = shown.subject
    parts = _parts(shown, album, "")
    return joined(
        sections.tiles(subject),
        parts["scores"],
        comparison.pareto([subject]),
        comparison.compared([subject]),
        *(parts[name] for name in ("pictures", "samples", "losses", "facts", "again")),
    )


def _parts(shown: Shown, album: Album, prefix: str) -> dict[str, Html]:
    subject = shown.subject
    return {
        "scores": sections.scores(subject, prefix),
        "pictures": sections.side_by_side(subject, shown.examples, album, prefix),
        "samples": sections.film(subject, shown.grids, album, prefix),
        "losses": losses(subject, prefix),
        "facts": facts(subject, prefix),
        "again": sections.again(subject, shown.repeat, prefix),
    }


def _several(subjects: Sequence[Subject], whole: Sequence[Shown], album: Album) -> Html:
    folded = []
    for index, shown in enumerate(whole):
        parts = _parts(shown, album, f"run{index}-")
        lead = element("p", sections.summary(shown.subject), class_="muted")
        inner = [lead, sections.tiles(shown.subject), *parts.values()]
        folded.append(details(shown.subject.name, *inner, open_=index == 0, class_="card run"))
    left = len(subjects) - len(whole)
    rest = f"{left} more are in the table alone; give them by themselves to see all of them."
    runs = sections.section(
        "runs", "Runs", *folded, *([element("p", rest, class_="note")] if left else [])
    )
    return joined(comparison.compared(subjects), comparison.pareto(subjects), runs)
