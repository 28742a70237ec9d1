"""The part of a page that says what was trained, on what, with what."""

from __future__ import annotations

import json

from gancomp.console import duration
from gancomp.errors import ConfigError
from gancomp.registry import METHODS, resolve
from gancomp.report.html import Html, details, element
from gancomp.report.sections import network_words, section, shown_steps
from gancomp.report.subjects import Subject
from gancomp.sizes import shown_size


def facts(subject: Subject, prefix: str) -> Html:
    """What was trained, on what, with what."""
    items = [(label, value) for label, value in _facts(subject).items() if value not in ("", None)]
    pairs = [(element("dt", label), element("dd", str(value))) for label, value in items]
    listed = element("dl", [part for pair in pairs for part in pair], class_="facts")
    whole = json.dumps(subject.settings.to_json(), indent=2, ensure_ascii=False)
    return section(
        f"{prefix}facts",
        "What was trained",
        element("div", listed, class_="card"),
        details("All settings", element("pre", whole)),
    )


def _facts(subject: Subject) -> dict[str, str]:
    settings, config = subject.settings, subject.config
    schedule, optimizer = settings.schedule, settings.optimizer
    size, load = shown_size(settings.data.size), shown_size(settings.data.load_size)
    crop = f"crops of {size} pixels" + (f" out of {load}" if load != size else "")
    length = f"{schedule.epochs} + {schedule.decay_epochs} epochs planned"
    if schedule.max_steps is not None:
        length += f", at most {schedule.max_steps:,} steps"
    last = subject.metrics[-1] if subject.metrics else {}
    speed = ""
    if last.get("seconds"):
        speed = f"{duration(last['seconds'])} for {shown_steps(last.get('step', 0))}"
        speed += f" on {settings.run.device}, {last.get('images_per_second', 0):.2f} images/s"
    versions = config.get("versions") or {}
    stages = sorted(path.parent.name for path in subject.run.path.glob("stages/*/config.json"))
    return {
        "dataset": _dataset(subject),
        "method": _method(subject),
        "teacher": _teacher(subject),
        "student": ""
        if settings.student is None
        else network_words(settings.student) + _how(subject),
        "discriminator": network_words(settings.discriminator),
        "stages before": ", ".join(stages),
        "images": f"{crop}, {settings.data.batch_size} at a time",
        "length": length,
        "optimizer": f"Adam, rate {optimizer.lr:g}, betas {optimizer.beta1:g}, {optimizer.beta2:g}",
        "perceptual network": str((config.get("perceptual") or {}).get("source", "none")),
        "took": speed,
        "seed": str(settings.run.seed),
        "plug-ins": ", ".join(map(str, config.get("plugins") or [])),
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
    }


def _dataset(subject: Subject) -> str:
    found = subject.config.get("dataset") or {}
    fingerprint = found.get("fingerprint") or {}
    counts = ", ".join(
        f"{count:,} {name.replace('_', ' ')}"
        for name, count in (fingerprint.get("counts") or {}).items()
        if isinstance(count, int) and count
    )
    data = subject.settings.data
    direction = f", {data.direction}" if data.task in ("paired", "unpaired") else ""
    name = found.get("name") or data.dataset
    names = str(fingerprint.get("sha256", ""))[:12]
    return f"{name} ({data.task}{direction}): {counts}" + (
        f"; names' hash {names}" if names else ""
    )


def _method(subject: Subject) -> str:
    method = subject.settings.method
    try:
        paper = f": {resolve(METHODS, 'method', method.name).paper}"
    except ConfigError:  # of a plug-in that is not here
        paper = ""
    also = "".join(f" + {weight:g} x {name}" for name, weight in method.also.items())
    source = (subject.config.get("preset") or {}).get("source")
    preset = f"; preset {method.preset}" + (f" ({source})" if source else "")
    return f"{method.name}{also}{paper}{preset}"


def _teacher(subject: Subject) -> str:
    teacher = subject.settings.teacher
    if teacher.source is None:
        beside = " beside the student" if subject.settings.student is not None else ""
        return f"{network_words(teacher.network)}, from scratch{beside}"
    kept = ", kept as it was" if teacher.freeze else ", trained on"
    return f"{network_words(teacher.network)}, from {teacher.source}{kept}"


def _how(subject: Subject) -> str:
    """How the student's shape was found, with the latency that was measured then."""
    found = subject.config.get("shrink")
    if not isinstance(found, dict):
        return ""
    text = f", by {found.get('by')} to {found.get('budget')}"
    stored = subject.stored_latency()
    if stored is None:
        return text
    return (
        f"{text}: {stored['measured_ms']:g} ms for an image, measured before training on "
        f"{stored.get('runtime') or stored.get('device')}, {stored.get('threads')} threads"
    )
