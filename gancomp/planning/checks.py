"""What must hold between several settings before a run may begin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gancomp.config import read
from gancomp.domains.choice import domain_of, purpose
from gancomp.errors import ConfigError
from gancomp.methods.also import guests_of, own_options
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.planning.unused import refuse_foreign_options
from gancomp.registry import (
    DISCRIMINATORS,
    METHODS,
    NETWORKS,
    SHRINKERS,
    build_network,
    is_code,
    resolve,
)
from gancomp.settings import DataSettings, NetworkSettings, Settings
from gancomp.sizes import as_size, shown_size, sides


def refuse_missing_plugins(
    settings: Settings, origins: Sequence[str], out: Path, *, search: str | None
) -> None:
    """Refuses to go on with a run whose method, networks or search nothing here adds.

    Args:
        settings: the run's.
        origins: the plug-ins that it was begun with, as it has recorded them.
        out: its folder.
        search: the way to shrink that it has not finished.

    Raises:
        ConfigError: naming what is missing and where it came from.
    """
    student = [] if settings.student is None else [settings.student.arch]
    archs = [settings.teacher.network.arch, *student]
    wanted = [(METHODS, name) for name in (settings.method.name, *settings.method.also)]
    wanted += [(NETWORKS, arch) for arch in archs if not is_code(arch)]
    wanted += [] if search is None else [(SHRINKERS, search)]
    missing = [name for table, name in wanted if name not in table]
    if missing and (origins or search in missing):  # older runs did not record a search's
        raise ConfigError(
            f"`resume`: the run in {out} has {missing[0]} from {', '.join(['a plug-in', *origins])}"
            "; install it, or name its file with `plugin`"
        )


def check(settings: Settings) -> Any:
    """Checks what concerns several settings; returns the method's own options.

    Raises:
        ConfigError: naming the settings that do not go together.
    """
    method = resolve(METHODS, "method", settings.method.name)
    if method.distills != (settings.command == "distill"):
        raise ConfigError(_wrong_command(settings))
    problems = []
    schedule, data = settings.schedule, settings.data
    if data.task not in method.tasks:
        fitting = ", ".join(
            name
            for name in METHODS
            if (known := resolve(METHODS, "", name)).distills == method.distills
            and data.task in known.tasks
        )
        raise ConfigError(
            f"`method` {settings.method.name}: is not for {data.task} data; for that: {fitting}"
        )
    if schedule.epochs + schedule.decay_epochs == 0:
        problems.append("`epochs` 0 `decay_epochs` 0: there would be no training; raise one")
    loaded, cut = sides(data.load_size), sides(data.size)
    if loaded[0] < cut[0] or loaded[1] < cut[1]:
        problems.append(
            f"`load_size` {shown_size(data.load_size)}: must be at least `size` "
            f"{shown_size(data.size)}"
        )
    if settings.method.quantization_aware and settings.run.compile not in ("auto", "off"):
        problems.append(
            f"`compile` {settings.run.compile} `quantization_aware`: rounding is for plain steps; "
            "use `compile` off"
        )
    domain = domain_of(data.task)
    domain.refuse_unlike_networks(settings)
    source = settings.teacher.source
    for label, network in (
        (f"`teacher` {source}" if source else "`arch`", settings.teacher.network),
        ("`student_arch`", settings.student),
    ):
        if network is not None:
            problems += _check_network(label, network, data)
    problems += domain.problems(settings)
    if problems:
        raise ConfigError("; ".join(dict.fromkeys(problems)))
    guests_of(settings)
    refuse_foreign_options(settings)
    options = read(method.Options, own_options(settings.method.name, settings), "method.options")
    if problems := method.problems_of(settings, options):
        raise ConfigError("; ".join(problems))
    return options


def _wrong_command(settings: Settings) -> str:
    """Of a method that is for the other command."""
    name, distills = settings.method.name, settings.command == "distill"
    known = ", ".join(
        method for method in METHODS if resolve(METHODS, "", method).distills == distills
    )
    if distills:
        return f"`method` {name}: does not distill; known: {known}"
    return (
        f"`method` {name}: distills, which is for gancomp distill; "
        f"gancomp {settings.command} knows: {known}"
    )


def _check_network(label: str, network: NetworkSettings, data: DataSettings) -> list[str]:
    import torch

    resolve(NETWORKS, "student_arch" if label == "`student_arch`" else "arch", network.arch)
    if network.arch in DISCRIMINATORS:
        return [f"{label}: {network.arch} is a discriminator; choose a generator"]
    with torch.device("meta"):  # no weights are made, only shapes
        kind = None if is_code(network.arch) else purpose(build_network(network.arch))
        if kind not in (None, domain_of(data.task).purpose):
            return [f"{label}: {network.arch} {kind}, which is not for {data.task} data"]
        built = build_network(network.arch, **network.arguments())
    if isinstance(built, SynthesisGenerator) and built.resolution != data.size:
        return [f"`size` {data.size}: {label} makes images of {built.resolution} pixels"]
    height, width = (length // built.scale for length in sides(data.size))
    multiple = built.size_multiple
    if height % multiple or width % multiple:
        size = shown_size(as_size(height, width))
        return [f"`size` {size}: {network.arch} needs a multiple of {multiple}"]
    return []
