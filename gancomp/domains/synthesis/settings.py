"""Settings of synthesis that follow from others, from the dataset or from a teacher."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from gancomp.config import merge
from gancomp.data.splits import DatasetFiles
from gancomp.engine.checkpoint import load_newest
from gancomp.engine.run import CONFIG, read_config, settings_in
from gancomp.errors import CheckpointError, ConfigError, MissingPartError
from gancomp.export.biggan import is_biggan_folder
from gancomp.export.model import open_model
from gancomp.launch import unheard
from gancomp.methods.adversarial_pair import automatic_r1_gamma
from gancomp.networks.base import TappedNetwork
from gancomp.networks.stylegan2_discriminator import GROUP
from gancomp.paths import expanded
from gancomp.registry import DISCRIMINATORS, NETWORKS, build_network
from gancomp.settings import Json, NetworkSettings, Settings
from gancomp.tasks.base import Task


def complete(values: Json, typed: Json, files: DatasetFiles) -> Json:
    """`values` with what follows from the size, the classes, the batch and the teacher.

    Args:
        values: nested settings: the preset's, the teacher's file's and what was typed.
        typed: the last of them alone.
        files: the dataset.

    Raises:
        ConfigError: for settings that contradict the teacher's file or each other.
        CheckpointError: if the teacher cannot be read.
    """
    arch = values["teacher"]["network"].get("arch")
    if arch not in NETWORKS or f"{arch}-discriminator" not in DISCRIMINATORS:
        return values  # refused by name later on
    student = (values.get("stages") or {}).get("student_source")
    if student is not None and not is_run(student):
        raise ConfigError(
            f"`student` {student}: is no run; give the run that trained the student, whose "
            "discriminator is needed too"
        )
    values = _with_size(values, typed, files)
    values = _with_discriminator(values, typed)
    values = _with_length(values, typed)
    options = values["method"].get("options", {})
    if values["command"] == "distill":
        if (typed.get("teacher") or {}).get("freeze") is False:
            raise ConfigError("`freeze_teacher=False`: its generator takes no part; remove it")
        freeze = _needs_guide(values) or values["teacher"].get("source") is not None
        values = merge(values, {"teacher": {"freeze": freeze}})
    size, batch_size = values["data"]["size"], values["data"].get("batch_size")
    automatic = options.get("r1_gamma", "auto") == "auto"
    if automatic and isinstance(size, int) and isinstance(batch_size, int):
        gamma = automatic_r1_gamma(size, max(1, batch_size))
        values = merge(values, {"method": {"options": {"r1_gamma": gamma}}})
    return values


def _with_size(values: Json, typed: Json, files: DatasetFiles) -> Json:
    """Networks and images of one size; as many classes as the data has, for networks with any."""
    network, source = values["teacher"]["network"], values["teacher"].get("source")
    size = network.get("resolution") or values["data"].get("size")
    wanted = (typed.get("data") or {}).get("size", size)
    if source is not None and wanted != size:
        raise ConfigError(
            f"`size` {wanted}: `teacher` {source} makes images of {size} pixels; remove it"
        )
    follows = {"resolution": wanted}
    if network["arch"] == "biggan":
        follows["num_classes"] = max(1, len(files.classes))
        network = follows | network
        if source is not None and network["num_classes"] != follows["num_classes"]:
            raise ConfigError(
                f"`teacher` {source}: knows {network['num_classes']} classes, the dataset has "
                f"{len(files.classes)} class folders; give data with as many"
            )
    _refuse_contradictions(typed, follows)
    network = network | follows
    data = values["data"] | {"size": wanted, "load_size": wanted}
    return values | {"data": data, "teacher": values["teacher"] | {"network": _whole(network)}}


def _refuse_contradictions(typed: Json, follows: Json) -> None:
    """Raises ConfigError if a network was typed to be for other images or classes."""
    teacher = (typed.get("teacher") or {}).get("network")
    sections = {
        "teacher.network": teacher,
        "student": typed.get("student"),
        "discriminator": typed.get("discriminator"),
    }
    for section, settings in sections.items():
        for name, value in follows.items():
            if (given := (settings or {}).get(name, value)) != value:
                raise ConfigError(
                    f"{section}.{name} {given}: is {value} by `size` and the class folders of the "
                    "dataset; remove it"
                )


def _whole(network: Json) -> Json:
    """The settings of a generator with its own defaults spelled out."""
    given = {name: value for name, value in network.items() if value is not None and name != "arch"}
    with torch.device("meta"):
        built = build_network(network["arch"], **given)
    return {"arch": network["arch"], **built.settings()}


def _with_discriminator(values: Json, typed: Json) -> Json:
    """The teacher's discriminator as its run or file says, else as wide as the preset says."""
    network, source = values["teacher"]["network"], values["teacher"].get("source")
    settings = values["discriminator"] | {
        "arch": f"{network['arch']}-discriminator",
        "resolution": network["resolution"],
    }
    if "num_classes" in network:
        settings["num_classes"] = network["num_classes"]
    found = discriminator_of(source) if source is not None else None
    if found is not None:
        _check_belongs(found, settings, source)
        settings |= {"arch": found.arch, **found.settings()}
        width = (typed.get("discriminator") or {}).get("width", settings["width"])
        if width != settings["width"]:
            raise ConfigError(
                f"`d_width` {width}: the discriminator of `teacher` {source} has "
                f"{settings['width']}; remove it; the student's follows from `d_multiplier`"
            )
    elif source is not None and _needs_guide(values):
        raise ConfigError(
            f"`teacher` {source}: has no discriminator, which `lambda_dgl` needs; give the run, "
            "the .pt file or the folder that has both, or `lambda_dgl` 0"
        )
    return values | {"discriminator": settings}


def _check_belongs(found: TappedNetwork, expected: Json, source: str) -> None:
    """Refuses a discriminator that was not trained against the generator beside it."""
    way_out = "give a generator and the discriminator that was trained against it"
    if found.arch != expected["arch"]:
        family = expected["arch"].removesuffix("-discriminator")
        raise ConfigError(f"`teacher` {source}: has a {found.arch} beside a {family}; {way_out}")
    for name in ("resolution", "num_classes"):
        if (own := found.settings().get(name)) != (wanted := expected.get(name)):
            raise ConfigError(
                f"`teacher` {source}: its discriminator has {name} {own}, not {wanted}; {way_out}"
            )


def _needs_guide(values: Json) -> bool:
    weight = values["method"].get("options", {}).get("lambda_dgl")
    return bool(values["command"] == "distill" and weight != 0)


def _with_length(values: Json, typed: Json) -> Json:
    """The steps of a run whose length is given in images; `--max-steps` bounds its stages too."""
    own = "teacher_kimg" if values["command"] == "pretrain" else "stage2_kimg"
    stages, typed_stages = values.get("stages") or {}, typed.get("stages") or {}
    batch_size = values["data"].get("batch_size")
    kimg, most = stages.get(own), (typed.get("schedule") or {}).get("max_steps")
    if not isinstance(batch_size, int) or batch_size < 1:
        return values  # refused by its limits later on
    turns = values["method"].get("options", {}).get("d_steps", 1)
    if not isinstance(kimg, int | float) or kimg <= 0 or not isinstance(turns, int) or turns < 1:
        return values  # likewise
    images = turns * batch_size
    if most is None:
        return merge(values, {"schedule": {"max_steps": steps_of(kimg, images)}})
    if typed_stages.get(own) is not None:
        raise ConfigError(f"`{own}` and `max_steps`: give one of them")
    bounded = {
        name: min(stages[name], most * images / 1000)
        for name in ("teacher_kimg", "stage1_kimg")
        if name not in typed_stages and stages.get(name) and isinstance(most, int) and most > 0
    }
    return values | {"stages": stages | bounded | {own: None}}


def steps_of(kimg: float, batch_size: int) -> int:
    """The steps in which that many thousands of images are shown."""
    # rounded, as a number of steps is not to grow by one on its way through images
    return max(1, math.ceil(round(1000 * kimg / batch_size, 6)))


def with_constant(teacher: NetworkSettings, student: Json, *, narrow: bool) -> Json:
    """The student with a learned constant as wide as its teacher's, or narrow as its other maps.

    Raises:
        ConfigError: if it has none.
    """
    if teacher.const_channels is None:
        field = "narrow_const" if narrow else "narrow_const=False"
        raise ConfigError(f"`{field}`: {teacher.arch} has no learned constant; remove it")
    if not narrow:
        return student
    channels = max(1, round(teacher.const_channels * student["width"] / teacher.width))
    return student | {"const_channels": channels}


def refuse_two_families(settings: Settings) -> None:
    """Raises ConfigError unless teacher and student are of one architecture."""
    student, teacher = settings.student, settings.teacher.network
    if student is not None and student.arch != teacher.arch:
        raise ConfigError(
            f"`student_arch` {student.arch}: under one discriminator both generators are "
            f"{teacher.arch}; remove it"
        )


def problems_of(settings: Settings) -> list[str]:
    """What does not go together in a run of synthesis."""
    problems, batch_size = [], settings.data.batch_size
    parts = settings.method.options.get("accumulation", 1)
    if not isinstance(parts, int) or parts < 1:
        return []  # refused by its limits later on
    part = batch_size // parts
    if part * parts != batch_size:
        problems.append(f"`accumulation` {parts}: must divide `batch_size` {batch_size}")
    elif settings.discriminator.arch.startswith("stylegan2") and part % min(part, GROUP):
        problems.append(
            f"`batch_size` {batch_size}: stylegan2 compares groups of {GROUP} images; each of "
            f"the {parts} parts must be a multiple of {GROUP}, or less"
        )
    if settings.selection.select != "last":
        problems.append(
            f"`select` {settings.selection.select}: is for translated images; remove it, and "
            "see gancomp eval-fid"
        )
    return problems


def remarks(settings: Settings, files: DatasetFiles) -> list[str]:
    """What somebody should be told before a run begins."""
    found, source = [], settings.teacher.source
    if files.classes and settings.teacher.network.num_classes is None:
        found.append(
            f"{files.root}: has {len(files.classes)} class folders; "
            f"{settings.teacher.network.arch} takes no account of classes"
        )
    if settings.command == "pretrain" and source is not None and discriminator_of(source) is None:
        found.append(
            f"`teacher` {source}: brings no discriminator; a fresh one, which knows nothing yet, "
            "is trained beside it"
        )
    return found


def is_run(source: str) -> bool:
    """Whether a `--teacher` or `--student` is the folder of a run."""
    return (expanded(source) / CONFIG).exists()


def discriminator_of(source: str) -> TappedNetwork | None:
    """The discriminator that was trained beside the teacher in `source`, or None without one.

    Args:
        source: a run, whose own discriminator it is, or the teacher's if it distilled; or a file or
            folder of others.

    Raises:
        CheckpointError: if it is damaged, or not the only one.
    """
    path = expanded(source)
    if is_run(source):
        return _discriminator_of_run(path)
    try:
        return open_model(path, "D" if is_biggan_folder(path) else "d").network
    except MissingPartError:
        return None


def _discriminator_of_run(run: Path) -> TappedNetwork | None:
    saved = settings_in(read_config(run))
    settings = saved.discriminator
    # in a student's run `discriminator` is the student's own
    name = "teacher_discriminator" if saved.command == "distill" else "discriminator"
    state = networks_of_run(run).get(name)
    if state is None or settings.arch not in NETWORKS:
        return None
    network = build_network(settings.arch, **settings.arguments())
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{run}: its discriminator does not fit its settings ({str(error).splitlines()[0]})"
        ) from error
    return network.eval()


def networks_of_run(run: Path) -> Json:
    """The weights in the newest whole checkpoint of `run`, by network; nothing without one."""
    checkpoint = load_newest(run / "checkpoints", unheard)
    return checkpoint.networks() if checkpoint else {}


def bring_discriminator(task: Task, source: str) -> None:
    """Gives `task` the discriminator that was trained beside its teacher, if there is one."""
    found = discriminator_of(source)
    if found is not None:
        task.discriminator.load_state_dict(found.state_dict())


def go_on_from(method: Any, role: str, run: Path) -> None:
    """Lets `method` begin with the networks that `run` ended with.

    Raises:
        CheckpointError: if there are none, or of another size.
    """
    try:
        method.go_on_from(role, networks_of_run(run))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{run}: its networks do not fit ({str(error).splitlines()[0]}); give the run's own "
            "`ratio`, `d_multiplier` and `size`"
        ) from error
