"""Completes the settings of a run on generators of people's own: width, channels, taps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.networks.own import OwnGenerator, check_width, default_width
from gancomp.networks.own_taps import check_taps, evenly_spaced, matching
from gancomp.networks.shapes import tap_sizes
from gancomp.options import field_of
from gancomp.own_code import naming, said, stand_for
from gancomp.registry import build_network, is_code, network_parameters
from gancomp.settings import Json, Overrides, Settings
from gancomp.sizes import sides

WIDTHS = ("ratio", "student_width", "latency_budget", "shrink")  # options that set a student's
OPTIONS = ("taps", "student_taps", "width_argument")
Size = tuple[int, int]


def naming_code(given: Overrides) -> AbstractContextManager[None]:
    """Within the block the generators' code that a run was given is known."""
    network = given.settings.get("teacher", {}).get("network", {})
    arguments = {"width_argument": given.width_argument, "width": network.get("width")}
    return naming(given.arch, student=given.student_arch, arguments=arguments)


def stand_for_recorded(saved: Settings, given: Overrides) -> None:
    """Lets the code given with `--resume` stand for what the run records."""
    stand_for(saved.teacher.network.arch, given.arch)
    if saved.student is not None:
        of_student = given.student_arch
        if of_student is None and saved.student.arch == saved.teacher.network.arch:
            of_student = given.arch
        stand_for(saved.student.arch, of_student)


def is_same(recorded: str, given: str) -> bool:
    """Whether the network that a run records is the one given: of code, which may have moved."""
    return recorded == given or (is_code(recorded) and is_code(given))


def refuse_idle(given: Overrides, archs: list[str]) -> None:
    """Refuses options about own generators where there is none.

    Raises:
        ConfigError: naming the option.
    """
    for name in OPTIONS:
        if (value := getattr(given, name)) is not None and not any(map(is_code, archs)):
            text = value if isinstance(value, str) else ",".join(value)
            raise ConfigError(
                f"`{name}` {text}: is for a generator of your own, "
                f"`arch` FILE.py:FACTORY; {archs[0]} is none"
            )


def refuse_other_tasks(arch: str, task: str) -> None:
    """Refuses own generators for what is no translation.

    Raises:
        ConfigError: naming the generator and the task.
    """
    if is_code(arch) and task not in ("unpaired", "paired"):
        raise ConfigError(
            f"`arch` {arch}: generators of your own translate images, which {task} is not; use one "
            "of gancomp's"
        )


def complete_teacher(values: Json, given: Overrides, typed: Mapping[str, Any]) -> Json:
    """Settings as nested tables, with what an own teacher's code has by itself.

    Args:
        values: complete but for the student.
        given: what the caller gave.
        typed: the settings of the teacher's network that were typed.

    Raises:
        ConfigError: for options it does not have, or a module that is no generator of such images.
    """
    network = values["teacher"]["network"]
    arch = network["arch"]
    if not is_code(arch):
        return values
    _refuse_foreign(arch, typed)
    source, target = (
        (values["data"].get(side) or {}).get("channels") or 3 for side in ("source", "target")
    )
    if values["teacher"].get("source") is None:
        channels = {"in_channels": source, "out_channels": target}
        network = _fresh(arch, given.width_argument, typed.get("width"), channels)
    if values["data"]["task"] == "unpaired" and not values["teacher"].get("freeze"):
        _check_backward(network)
    return values | {"teacher": values["teacher"] | {"network": network}}


def _refuse_foreign(arch: str, typed: Mapping[str, Any]) -> None:
    for name, value in typed.items():
        if name not in network_parameters(arch) and name != "arch":
            field = field_of(f"teacher.network.{name}")
            raise ConfigError(
                f"{field} {value}: {arch} is code of your own, which has no such setting; remove it"
            )


def _fresh(arch: str, width_argument: str | None, width: Any, channels: Json) -> Json:
    """The settings of an own network that no file describes."""
    given = {"width_argument": width_argument, "width": width} | channels
    check_width(arch, given)
    if width_argument is not None and width is None:
        given["width"] = default_width(arch, width_argument)
        if given["width"] is None:
            raise ConfigError(
                f"`width_argument` {width_argument}: has no default in {arch}; give `width`"
            )
    network = build_network(arch, **given)
    return {"arch": arch, **network.settings()}


def _check_backward(network: Json) -> None:
    """Tries the way back, which unpaired translation is trained by, where channels differ."""
    source, target = network["in_channels"], network["out_channels"]
    if source == target:
        return
    back = network | {"in_channels": target, "out_channels": source, "taps": None}
    try:
        _ = _own(back).trial
    except ConfigError as error:
        raise ConfigError(
            f"{said(network['arch'])}: unpaired data need a second generator, back from {target} "
            f"to {source} channels; let the factory take in_channels and out_channels, or give "
            "`teacher` and `freeze_teacher=True`"
        ) from error


def complete_student(
    teacher: Json, student: Json, given: Overrides, size: Any
) -> tuple[Json, Json]:
    """Both networks' settings, with a student of the teacher's code or of another, and taps.

    Args:
        teacher: as `complete_teacher` left it.
        student: as shrunk from it.
        given: what the caller gave.
        size: of the images.

    Raises:
        ConfigError: for a student without a width, or taps that are none.
    """
    refuse_idle(given, [teacher["arch"], student["arch"]])
    if not is_code(student["arch"]):
        known = network_parameters(student["arch"])
        student = {key: value for key, value in student.items() if key in (*known, "arch")}
    elif student["arch"] != teacher["arch"]:
        student = _of_other_code(teacher, student, given)
    elif teacher.get("width_argument") is None and student != teacher:
        raise ConfigError(
            f"`ratio`: {teacher['arch']} has no width to narrow; name the parameter of it with "
            "`width_argument`, or give another generator with `student_arch`"
        )
    if is_code(teacher["arch"]) or is_code(student["arch"]):
        return _with_taps(teacher, student, given, sides(size))
    return teacher, student


def _of_other_code(teacher: Json, student: Json, given: Overrides) -> Json:
    channels = {name: teacher.get(name) or 3 for name in ("in_channels", "out_channels")}
    asked = [name for name in WIDTHS if getattr(given, name)]
    if not asked:
        return _fresh(student["arch"], None, None, channels)
    if given.width_argument is None:
        raise ConfigError(
            f"`{asked[0]}` {getattr(given, asked[0])}: which parameter of {student['arch']} is its "
            "width? Name it with `width_argument`"
        )
    return _fresh(student["arch"], given.width_argument, student["width"], channels)


def _with_taps(teacher: Json, student: Json, given: Overrides, size: Size) -> tuple[Json, Json]:
    """Taps as given, or evenly spaced in one network and of the same sizes in the other."""
    networks = {"taps": _built(teacher), "student_taps": _built(student)}
    typed = {"taps": given.taps or teacher.get("taps"), "student_taps": given.student_taps}
    for field, network in networks.items():
        if (asked := typed[field]) is not None:
            if not isinstance(network, OwnGenerator):
                raise ConfigError(
                    f"`{field}` {','.join(asked)}: {network.arch} is none of your own; its taps "
                    f"are {', '.join(network.default_taps)}"
                )
            check_taps(network.maps(size), asked, field, network.arch)
    leader, follower = networks["taps"], networks["student_taps"]
    taps, student_taps = typed["taps"], typed["student_taps"]
    if taps is None and isinstance(leader, OwnGenerator):
        if not isinstance(follower, OwnGenerator) or student_taps is not None:
            taps = _like(leader, follower, student_taps or follower.default_taps, size)
        taps = taps or [item.name for item in evenly_spaced(leader.maps(size), size)]
    if student_taps is None and isinstance(follower, OwnGenerator):
        if follower.arch == leader.arch:
            student_taps = taps
        else:
            student_taps = _like(follower, leader, taps or leader.default_taps, size)
    return _tapped(teacher, taps), _tapped(student, student_taps)


def _tapped(network: Json, taps: Any) -> Json:
    return network if taps is None else network | {"taps": list(taps)}


def _like(network: OwnGenerator, other: TappedNetwork, taps: Any, size: Size) -> list[str] | None:
    """Taps of `network` whose maps have the sizes of those of `other`; None if it has no such."""
    names = other.tap_names()
    places = [(names.index(tap) + 1) / len(names) for tap in taps]
    if isinstance(other, OwnGenerator):
        known = {item.name: item.position for item in other.maps(size).maps}
        places = [known[tap] for tap in taps]
    wanted = list(zip(tap_sizes(other, list(taps), size), places, strict=True))
    found = matching(network.maps(size), wanted)
    return None if found is None else [item.name for item in found]


def _own(network: Json) -> OwnGenerator:
    built = _built(network)
    assert isinstance(built, OwnGenerator), "asked before"
    return built


def _built(network: Json) -> TappedNetwork:
    settings = {key: value for key, value in network.items() if key != "arch"}
    return build_network(network["arch"], **settings)


def remarks(settings: Settings) -> Iterator[str]:
    """What is tapped in generators of people's own, and whether their values fit."""
    size = sides(settings.data.size)
    for field, network, source in (
        ("taps", settings.teacher.network, settings.teacher.source),
        ("student_taps", settings.student, None),
    ):
        if network is None or not is_code(network.arch):
            continue
        built = build_network(network.arch, **network.arguments())
        assert isinstance(built, OwnGenerator), "the line of its code makes no other"
        if (warning := built.check_values()) is not None and source is None:
            yield warning
        maps = built.maps(size)
        if maps.num_outputs > 1:
            yield f"{network.arch}: of its {maps.num_outputs} outputs the first is the image"
        if network.taps is not None:
            found = {item.name: item for item in maps.maps}
            shown = ", ".join(
                f"{tap} ({found[tap].channels}x{found[tap].size[0]}x{found[tap].size[1]})"
                for tap in network.taps
            )
            yield f"taps of {network.arch} (`{field}`): {shown}"
