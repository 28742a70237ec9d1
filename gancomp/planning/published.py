"""What a preset says of the networks, as far as those of a run are of its kind and size."""

from __future__ import annotations

from gancomp.preset_parts import Preset
from gancomp.registry import NETWORKS, network_parameters
from gancomp.settings import Json, NetworkSettings, Overrides


def for_network(preset: Preset, arch: str) -> Json:
    """Its settings without those of its network that are not for the network called `arch`."""
    teacher = preset.settings.get("teacher", {})
    network = teacher.get("network", {})
    known = network_parameters(arch) if arch in NETWORKS else network
    kept = {name: value for name, value in network.items() if name in known}
    if not _alike(arch, preset.arch):
        kept.pop("dropout", None)
    return preset.settings | {"teacher": teacher | {"network": kept}}


def _alike(arch: str, other: str) -> bool:
    """Whether two networks are of one kind, such as U-Nets: dropout sits elsewhere in another."""
    modules = [NETWORKS.get(name, name).partition(":")[0] for name in (arch, other)]
    return modules[0] == modules[1]


def shape(arch: str, teacher: NetworkSettings, given: Overrides, preset: Preset) -> Json:
    """What the preset says of the student's shape, unless another size of it is asked for."""
    network = preset.settings.get("teacher", {}).get("network", {})
    if arch != preset.student.get("arch", preset.arch) or given.student_width is not None:
        return {}
    if teacher.width != network.get("width", teacher.width):
        return {}
    return {
        name: value for name, value in preset.student.items() if name not in ("arch", "dropout")
    }


def with_dropout(student: Json, typed: Json, preset: Preset) -> Json:
    """The student's settings with the preset's dropout, which holds at any width.

    A rate that was typed for the teacher is the student's, too, and so is a given teacher's where
    the preset has none for such a student.
    """
    teacher = typed.get("teacher", {})
    if "dropout" not in preset.student or teacher.get("network", {}).get("dropout") is not None:
        return student
    if _alike(student["arch"], preset.student.get("arch", preset.arch)):
        return student | {"dropout": preset.student["dropout"]}
    if teacher.get("source") is not None:
        return student
    return {name: value for name, value in student.items() if name != "dropout"}
