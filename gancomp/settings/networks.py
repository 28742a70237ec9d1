"""A network's settings: its name, its width, and the options that it declares itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gancomp.declare import Declared, setting
from gancomp.registry import DISCRIMINATORS, NETWORKS, network_options, network_parameters
from gancomp.settings.rules import no_discriminator_at_all, no_discriminator_trained, objective_is

OWN = "own"


@dataclass(frozen=True, init=False)
class NetworkSettings:
    """What the registry needs to build one network.

    Files and nested tables hold the own options beside `arch` and `width`. An own option reads like
    a field, and is None where the network's default holds, or where it has no such option.

    Attributes:
        arch: name in the table of networks.
        width: ngf or ndf.
        own: options that this network declares, without those left to its default.
    """

    arch: str = setting(dataclasses.MISSING)
    width: int = setting(64, least=1, most=4096)
    own: dict[str, Any] = dataclasses.field(default_factory=dict, metadata={"further": True})

    def __init__(
        self, arch: str, width: int = 64, own: Mapping[str, Any] | None = None, **more: Any
    ) -> None:
        given = {**(own or {}), **more}
        values = {name: value for name, value in given.items() if value is not None}
        for name, value in (("arch", arch), ("width", width), (OWN, values)):
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == OWN:  # asked for while it is copied, still empty
            raise AttributeError(name)
        return self.own.get(name)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the registry's factory: all that was set, less the name."""
        return {"width": self.width, **self.own} if has_width(self.arch) else dict(self.own)

    def changed(self, **changes: Any) -> NetworkSettings:
        """A copy with other values of fields or own options; None leaves one to its default."""
        return NetworkSettings(**{"arch": self.arch, "width": self.width, **self.own, **changes})


def has_width(arch: str) -> bool:
    """Whether a network can be asked for by its width; those of a plug-in need not."""
    return arch not in NETWORKS or "width" in network_parameters(arch)


def declared_of(arch: str) -> Iterator[tuple[str, Declared]]:
    """The own options of a network in the table, by name."""
    for item in dataclasses.fields(network_options(arch)):
        yield item.name, item.metadata.get("declared", Declared())


def network_field(path: str, arch: str | None) -> str | None:
    """The option that sets the network setting at a dotted path, for the network called `arch`."""
    section, _, name = path.rpartition(".")
    if path in FIELDS:
        return FIELDS[path]
    if section not in SECTIONS or arch not in NETWORKS:
        return None
    declared = dict(declared_of(arch)).get(name)
    if declared is None or (section == "discriminator") != (arch in DISCRIMINATORS):
        return None
    if section == "student":
        return declared.student.field if declared.student else None
    return declared.field


SECTIONS = ("teacher.network", "student", "discriminator")
# what every network has; the student's follows from the teacher's by how it is shrunk
TEACHER_OPTIONS = {"width": Declared("--width", "The teacher's width (ngf).", shown="64")}
DISCRIMINATOR_OPTIONS = {
    "width": Declared(
        "--d-width",
        "Width of the discriminator (ndf).",
        shown="the preset's",
        unused=(
            objective_is("content", "pixel", reason="this `objective`"),
            no_discriminator_trained,
            no_discriminator_at_all,
        ),
    ),
}
FIELDS = {
    "teacher.network.width": "width",
    "discriminator.width": "d_width",
    # a name or a width that chooses a whole network, which then holds it
    "teacher.network.arch": "arch",
    "student.arch": "student_arch",
    "student.width": "student_width",
}
