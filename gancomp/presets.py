"""The rows of settings that `--preset` names: each method's own, and those of a teacher alone."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from functools import partial

from gancomp.errors import ConfigError
from gancomp.preset_parts import CODE_SCHEDULE, DCD, DEMO, Preset, paired, unpaired
from gancomp.registry import METHOD_OPTIONS, METHODS, ORIGINS, options_type

CYCLEGAN = "CycleGAN (Zhu et al. 2017) and its released code"
PIX2PIX = "pix2pix (Isola et al. 2017); discriminator and loss as GAN-Compression, OMGD and DCD use"

BY_TABLE = f"figure: {DCD}, table 1"
ONLINE = f"{CYCLEGAN}; the network is the online teacher of OMGD and DCD"
TWO_FIGURES = "FID 61.53 (65.75 for GAN-Compression's released weights)"
OF_CYCLEGAN = unpaired() | CODE_SCHEDULE
OF_UNET, OF_MOBILE = (paired(norm) | CODE_SCHEDULE for norm in ("batch", "instance"))
IN_TABLE = f"{CYCLEGAN}; {BY_TABLE}"

_standard = partial(Preset, "standard", "pretrain", "teacher-only")
TEACHER_ALONE: tuple[Preset, ...] = (
    _standard("unpaired", "mobile-resnet9", None, OF_CYCLEGAN, ONLINE),
    _standard("unpaired", "resnet9", "horse2zebra", OF_CYCLEGAN, IN_TABLE, TWO_FIGURES),
    _standard("unpaired", "resnet9", "summer2winter", OF_CYCLEGAN, IN_TABLE, "FID 79.12"),
    _standard("paired", "unet256", "edges2shoes", OF_UNET, f"{PIX2PIX}; {BY_TABLE}", "FID 34.31"),
    _standard("paired", "unet256", None, OF_UNET, PIX2PIX),
    _standard("paired", "mobile-resnet9", None, OF_MOBILE, PIX2PIX),
    Preset(
        "demo",
        "pretrain",
        "teacher-only",
        "unpaired",
        "mobile-resnet6",
        None,
        DEMO | {"optimizer": {"lr": 1e-3}, "schedule": {"epochs": 3, "decay_epochs": 2}},
        "chosen by trial on the demo set: small networks, a high rate, few steps",
    ),
)

# what is taken without `--preset`
DEFAULT_PRESET = {"pretrain": "standard", "distill": "dcd"}
DEFAULT_PRESET_OF_TASK = {
    ("pretrain", "super-resolution"): "div2k-x4",
    ("distill", "super-resolution"): "div2k-x4",
    ("distill", "synthesis"): "dgl",
}


def all_presets() -> tuple[Preset, ...]:
    """Every row: a teacher's alone, then each method's in the order of `METHODS`.

    A method's rows are the `PRESETS` of the module that has its options; rows of methods that
    share a module are there once.

    Raises:
        ConfigError: if a plug-in's `PRESETS` are no rows, or of no known method.
    """
    modules = dict.fromkeys(module for name in METHODS for module in _module_of(name))
    return (*TEACHER_ALONE, *(row for module in modules for row in _rows_of(module)))


def _module_of(method: str) -> Iterator[str]:
    """The module that has its options; none of a plug-in that fails, as for its options."""
    try:
        options = options_type(method)
    except ConfigError:
        if ("methods", method) not in ORIGINS:
            raise
        return
    module = METHOD_OPTIONS.get(method, "").partition(":")[0]
    yield module or options.__module__


def _rows_of(module: str) -> tuple[Preset, ...]:
    rows = getattr(sys.modules[module], "PRESETS", ())
    for row in rows:
        if not isinstance(row, Preset) or row.method not in METHODS:
            shown = f"a row of method {row.method}" if isinstance(row, Preset) else repr(row)[:60]
            raise ConfigError(
                f"PRESETS of {module}: {shown} is no gancomp.preset_parts.Preset of a known "
                f"method; known: {', '.join(METHODS)}"
            )
    return tuple(rows)


def find_preset(
    command: str,
    task: str,
    *,
    name: str | None,
    dataset: str,
    arch: str | None,
    method: str | None = None,
) -> Preset:
    """The row that fits best: the dataset's own row, and the architecture asked for.

    Args:
        command: `pretrain` or `distill`.
        task: what the data is.
        name: `--preset`, or None for the first of the method's, else for the command's default.
        dataset: the dataset's name; registered ones have rows of their own.
        arch: the architecture asked for, or None for the row's own.
        method: the method asked for, or None for the row's own.

    Raises:
        ConfigError: for an unknown preset name, or one for other data, with the known ones.
    """
    presets = all_presets()
    name = name or _default_name(presets, command, task, method)
    names = list(dict.fromkeys(row.name for row in presets if row.command == command))
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(
            f"`preset` {name}: unknown; {hint}Known for {command}: {', '.join(names)}"
        )
    rows = [row for row in presets if (row.name, row.command, row.task) == (name, command, task)]

    if not rows:
        known = dict.fromkeys(
            row.name for row in presets if (row.command, row.task) == (command, task)
        )
        raise ConfigError(f"`preset` {name}: is not for {task} data; for that: {', '.join(known)}")

    def fitness(row: Preset) -> tuple[bool, bool]:
        return (
            (row.arch == arch, row.dataset == dataset) if arch else (row.dataset == dataset, False)
        )

    rows = [row for row in rows if row.dataset in (dataset, None)]
    return max(rows, key=fitness)  # the first of equals: the table's order is a preference


def _default_name(presets: tuple[Preset, ...], command: str, task: str, method: str | None) -> str:
    wanted = (command, task, method)
    own = (row.name for row in presets if (row.command, row.task, row.method) == wanted)
    default = DEFAULT_PRESET_OF_TASK.get((command, task), DEFAULT_PRESET[command])
    return next(own, default)
