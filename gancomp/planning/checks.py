"""What must hold between several settings before a run may begin."""

from __future__ import annotations

from typing import Any

from gancomp.config import read
from gancomp.data.splits import DatasetFiles
from gancomp.data.super_resolution import evaluation_crops
from gancomp.domains.synthesis import settings as synthesis
from gancomp.errors import ConfigError
from gancomp.inference import pixels
from gancomp.networks.base import TappedNetwork
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.paths import expanded
from gancomp.planning.unused import refuse_foreign_options
from gancomp.registry import DISCRIMINATORS, METHODS, NETWORKS, build_network, resolve
from gancomp.settings import DataSettings, NetworkSettings, Settings
from gancomp.sizes import as_size, shown_size, sides, square_side

TRANSLATES, ENLARGES = "keeps their size", "enlarges images"
SYNTHESIZES = "generates images from noise"
PURPOSES = {"super-resolution": ENLARGES, synthesis.TASK: SYNTHESIZES}


def check(settings: Settings) -> Any:
    """Checks what concerns several settings; returns the method's own options.

    Raises:
        ConfigError: naming the settings that do not go together.
    """
    method = resolve(METHODS, "--method", settings.method.name)
    if method.distils != (settings.command == "distill"):
        known = ", ".join(name for name in METHODS if resolve(METHODS, "", name).distils)
        raise ConfigError(f"--method {settings.method.name}: does not distil; known: {known}")
    problems = []
    schedule, data = settings.schedule, settings.data
    if data.task not in method.tasks:
        fitting = ", ".join(
            name
            for name in METHODS
            if (known := resolve(METHODS, "", name)).distils == method.distils
            and data.task in known.tasks
        )
        raise ConfigError(
            f"--method {settings.method.name}: is not for {data.task} data; for that: {fitting}"
        )
    if schedule.epochs + schedule.decay_epochs == 0:
        problems.append("--epochs 0 --decay-epochs 0: there would be no training; raise one")
    loaded, cut = sides(data.load_size), sides(data.size)
    if loaded[0] < cut[0] or loaded[1] < cut[1]:
        problems.append(
            f"--load-size {shown_size(data.load_size)}: must be at least --size "
            f"{shown_size(data.size)}"
        )
    if data.task == synthesis.TASK:
        synthesis.refuse_two_families(settings)
    source = settings.teacher.source
    for label, network in (
        (f"--teacher {source}" if source else "--arch", settings.teacher.network),
        ("--student-arch", settings.student),
    ):
        if network is not None:
            problems += _check_network(label, network, data)
    problems += pixels.problems_of(settings)
    if data.task == "super-resolution":
        problems += _check_super_resolution(settings)
    if data.task == synthesis.TASK and not problems:
        problems += synthesis.problems_of(settings)
    if problems:
        raise ConfigError("; ".join(dict.fromkeys(problems)))
    refuse_foreign_options(settings)
    options = read(method.Options, settings.method.options, "method.options")
    if problems := method.problems_of(settings, options):
        raise ConfigError("; ".join(problems))
    return options


def _check_network(label: str, network: NetworkSettings, data: DataSettings) -> list[str]:
    import torch

    resolve(NETWORKS, label, network.arch)
    if network.arch in DISCRIMINATORS:
        return [f"{label}: {network.arch} is a discriminator; choose a generator"]
    with torch.device("meta"):  # no weights are made, only shapes
        kind = purpose(build_network(network.arch))
        if kind != PURPOSES.get(data.task, TRANSLATES):
            return [f"{label}: {network.arch} {kind}, which is not for {data.task} data"]
        built = build_network(network.arch, **network.arguments())
    if isinstance(built, SynthesisGenerator) and built.resolution != data.size:
        return [f"--size {data.size}: {label} makes images of {built.resolution} pixels"]
    height, width = (length // built.scale for length in sides(data.size))
    multiple = built.size_multiple
    if height % multiple or width % multiple:
        size = shown_size(as_size(height, width))
        return [f"--size {size}: {network.arch} needs a multiple of {multiple}"]
    return []


def purpose(network: TappedNetwork) -> str:
    """What a generator does, in words."""
    if isinstance(network, SynthesisGenerator):
        return SYNTHESIZES
    return ENLARGES if network.scale > 1 else TRANSLATES


def _check_super_resolution(settings: Settings) -> list[str]:
    teacher, student, problems = settings.teacher.network, settings.student, []
    if student is not None and student.scale != teacher.scale:
        problems.append(
            f"--student: enlarges {student.scale} times, the teacher {teacher.scale} times; choose "
            "two of one --scale"
        )
    source = settings.teacher.source
    wanted = settings.method.options.get("discriminator_from_teacher")
    if wanted and source is not None and not expanded(source).is_dir():
        problems.append(
            f"--discriminator-from-teacher: --teacher {source} is a generator alone; give the "
            "run that trained it as SRGAN"
        )
    if settings.selection.select != "last":
        problems.append(
            f"--select {settings.selection.select}: scores by FID, which super-resolution is not "
            "judged by; remove it, and see gancomp eval-sr"
        )
    return problems


def refuse_too_small_images(settings: Settings, files: DatasetFiles) -> None:
    """Reads until there is one image from which super-resolution can cut its crops.

    Raises:
        DataError: if there is none.
    """
    scale = settings.teacher.network.scale
    if files.task == "super-resolution" and scale is not None:
        size = square_side(settings.data.size, "super-resolution")
        evaluation_crops(files.train, size=size, scale=scale, count=1, say=lambda message: None)
