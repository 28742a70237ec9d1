"""Terms of other methods for the same student: `--also NAME:WEIGHT`.

A guest brings what it adds to the student's terms (`Distillation.own_losses`) and what is trained
with the student for it; phases, perceptual and GAN terms stay the chosen method's.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gancomp.config import read
from gancomp.errors import ConfigError
from gancomp.methods.base import Components, Method
from gancomp.methods.distillation import Distillation
from gancomp.methods.shared_options import BlockOptions, PerceptualOptions, StudentGanOptions
from gancomp.registry import METHODS, options_type, resolve
from gancomp.settings import Json, Settings


def own_options(name: str, settings: Settings) -> Json:
    """Those of the run's method options that the method called `name` has."""
    fields = {item.name for item in dataclasses.fields(options_type(name))}
    return {key: value for key, value in settings.method.options.items() if key in fields}


def joined_fields(settings: Settings) -> set[str]:
    """The method options that may be given: the method's, and those of its guests' own terms."""
    names = {item.name for item in dataclasses.fields(options_type(settings.method.name))}
    for guest in settings.method.also:
        kind = _distillation(guest, f"`also` {guest}: cannot join another method")
        others = {
            item.name
            for base in (PerceptualOptions, StudentGanOptions, BlockOptions)
            for item in dataclasses.fields(base)
        }
        own = {item.name for item in dataclasses.fields(options_type(guest))}
        names |= own - others - kind.hosts_only
    return names


def guests_of(settings: Settings) -> dict[str, Any]:
    """The options of each guest, by its name.

    Raises:
        ConfigError: for a method whose terms do not stand by themselves, one that wants another
            teacher, or a weight that is no positive number.
    """
    if not settings.method.also:
        return {}
    name = settings.method.name
    _distillation(name, f"`also`: cannot join `method` {name}")
    return {guest: _options(guest, settings) for guest in settings.method.also}


def _distillation(name: str, refused: str) -> type[Distillation]:
    kind: type[Method] = resolve(METHODS, "also", name)
    if not issubclass(kind, Distillation):
        known = ", ".join(
            other for other in METHODS if issubclass(resolve(METHODS, "", other), Distillation)
        )
        why = "it wants a finished teacher" if kind.finished_teacher else "its terms are all one"
        raise ConfigError(f"{refused}, for {why}; these can be joined: {known}")
    return kind


def _options(guest: str, settings: Settings) -> Any:
    kind = _distillation(guest, f"`also` {guest}: cannot join another method")
    weight = settings.method.also[guest]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < 1e9:
        raise ConfigError(f"`also` {guest}: its weight must be a number above 0, not {weight!r}")
    if guest == settings.method.name:
        raise ConfigError(f"`also` {guest}: is the run's method already; remove it")
    if settings.data.task not in kind.tasks:
        raise ConfigError(f"`also` {guest}: is not for {settings.data.task} data; remove it")
    options: Any = read(kind.Options, own_options(guest, settings), "method.options")
    if (wanted := kind.further_teacher(settings.data.task, options)) is not None:
        raise ConfigError(
            f"`also` {guest}: wants {wanted}, which `method` {settings.method.name} does not "
            f"have; give `method` {guest} `also` {settings.method.name}"
        )
    return options


def join(method: Method, components: Components, settings: Settings) -> None:
    """Lets the student of `method` learn by the terms of the run's guests, too.

    Raises:
        ConfigError: as `guests_of` and the guests themselves do.
    """
    for name, options in guests_of(settings).items():
        assert isinstance(method, Distillation)
        guest = resolve(METHODS, "also", name)(components, options)
        method.invite(name, guest, float(settings.method.also[name]), components)
