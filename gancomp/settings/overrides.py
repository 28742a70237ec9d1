"""What a caller gave of the settings, and of what they follow from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from gancomp.declare import names, setting
from gancomp.registry import OWN_ARCH, generators

_network = partial(setting, None, panel="Networks")
_own_network = partial(setting, None, panel="Networks", owners=(OWN_ARCH,))
_shape = partial(setting, None, panel="Method", distil_only=True)


@dataclass(frozen=True)
class Overrides:
    """What a caller gave: only what was really typed.

    Attributes:
        settings: nested settings, as in `Settings.to_json()`.
        config: a TOML file of nested settings; `settings` win over it.
        out: the run's folder, or None for the default name.
        resume: continue the run in `out`.
        arch: architecture of teacher and student at once.
        student_arch: architecture of the student alone.
        student_width: the student's width instead of a ratio.
        ratio: the student's channels over the teacher's.
        latency_budget: as typed; the student is as wide as it allows, instead of a ratio.
        shrink: how the student is found, by its name in the table `SHRINKERS`.
        budget: for that, as typed.
        shrink_options: the shrinker's own.
        taps: paths of the modules of an own teacher whose maps are distilled.
        student_taps: the same of an own student.
        width_argument: the parameter of an own factory that is its width.
        narrow_const: whether the student's learned constant is narrowed with the rest (StyleGAN2).
    """

    settings: dict[str, Any] = field(default_factory=dict)
    arch: str | None = _network(
        "--arch",
        lambda: f"Generators: {', '.join(generators())}; or FILE.py:FACTORY.",
        shown="the preset's",
        pretrain={"help": lambda: f"Generator: {', '.join(generators())}; or FILE.py:FACTORY."},
    )
    student_arch: str | None = _network(
        "--student-arch",
        "The student's.",
        shown="the teacher's",
        distil_only=True,
    )
    student_width: int | None = _network(
        "--student-width",
        "Its width.",
        shown="ratio x width",
        distil_only=True,
    )
    ratio: float | None = _shape(
        "--ratio",
        "Student's share of the teacher's channels.",
        shown="0.25, or 0.5",
    )
    latency_budget: str | None = _shape(
        "--latency-budget", "Widest student within e.g. 25ms per image."
    )
    shrink: str | None = _shape("--shrink", "How its shape is found: gancomp shrink --help.")
    budget: str | None = _shape("--budget", "What it may cost: ratio 25%, latency 25ms.")
    shrink_options: dict[str, Any] = field(default_factory=dict)
    narrow_const: bool | None = _shape(
        "--narrow-const",
        "Narrow the student's learned constant too.",
        off="--wide-const",
        owners=("--arch stylegan2",),
    )
    taps: tuple[str, ...] | None = _own_network(
        "--taps",
        "Modules whose maps are distilled, as a,b,c.",
        shown="some evenly spaced ones",
        kind=str,
        reads=names,
        distil_only=True,
    )
    student_taps: tuple[str, ...] | None = _own_network(
        "--student-taps",
        "The same of an own student.",
        shown="like the teacher's",
        kind=str,
        reads=names,
        distil_only=True,
    )
    width_argument: str | None = _own_network(
        "--width-argument", "FACTORY's parameter that `width` and `ratio` set, as ngf."
    )
    out: Path | None = setting(
        None,
        "--out",
        "The run's folder.",
        shown="a name in runs/",
        pretrain={"shown": "a name in runs/"},
    )
    resume: bool = setting(False, "--resume", "Continue the run in `out`.")
    config: Path | None = setting(None, "--config", "TOML file; options override it.")
