"""How an option is declared, once, where it belongs; flags, help and checks are derived from it."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gancomp.errors import ConfigError

When = Callable[[Any, Any], bool]
Help = str | Callable[[], str]
LIMITS = ("above", "least", "most")
PRUNED = "pruned"  # a setting that every network has: the shapes of tensors that were cut


@dataclass(frozen=True)
class Unused:
    """A case in which an option has no effect, so that giving it is an error.

    Attributes:
        when: of the resolved `Settings` and the method's own options.
        reason: what it has no effect with: `` `lambda_dcd` 0``.
    """

    when: When
    reason: str


@dataclass(frozen=True)
class Declared:
    """What a field says of itself.

    Attributes:
        flag: as typed, or None for a setting that only a file or a program can give.
        help: one line; a function where it lists lines of a table, which plug-ins add to.
        shown: what the help shows as its default, where the field's own says too little.
        owners: what must be chosen for it to be shown in the help, such as `--method dgl`; empty
            for what every run has.
        panel: group in the help, for what every run has.
        off: of a switch, the name that switches it off.
        also: another spelling, which the help leaves out.
        distil_only: whether `pretrain` lacks it.
        pretrain: the `help` and `shown` that `pretrain` has instead, where they differ.
        kind: type on the command line, where it is not the field's.
        equation: the paper's.
        unit: of its values.
        reads: turns what was typed into the value, where it has another form.
        unused: when it has no effect.
        student: of a network's option, that of the student alone; else the student has what the
            teacher has.
        on_shrink: of a network's option, what a narrower network has: the same (`keep`), in
            proportion to the width (`scale`), or its own default (`drop`).
    """

    flag: str | None = None
    help: Help = ""
    shown: str | None = None
    owners: tuple[str, ...] = ()
    panel: str | None = None
    off: str | None = None
    also: str | None = None
    distil_only: bool = False
    pretrain: Mapping[str, Help] = field(default_factory=dict)
    kind: type | None = None
    equation: str | None = None
    unit: str | None = None
    reads: Callable[[str], Any] | None = None
    unused: tuple[Unused, ...] = ()
    student: Declared | None = None
    on_shrink: Literal["keep", "scale", "drop"] = "keep"

    @property
    def field(self) -> str | None:
        """What Python calls it, and errors do."""
        return None if self.flag is None else field_of_flag(self.flag)


def field_of_flag(flag: str) -> str:
    """`--batch-size` is `batch_size`."""
    return re.sub(r"\W+", "_", flag.removeprefix("--"))


@dataclass(frozen=True)
class Switch:
    """An option that sets several fields of a method's options at once.

    Attributes:
        flag: as typed; `--no-…` switches it off.
        help: one line.
        fields: what it sets, unless they are given themselves.
    """

    flag: str
    help: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class NoOptions:
    """Of a method that has none of its own."""


def setting(default: Any, flag: str | None = None, help: Help = "", **declared: Any) -> Any:
    """A dataclass field with its command line option and the limits its value must keep.

    Args:
        default: `dataclasses.MISSING` for a setting that must be given.
        flag: its option.
        help: what the option does, in one line.
        declared: limits, namely `above` (exclusive minimum), `least` (inclusive minimum) and `most`
            (inclusive maximum); all else as `Declared` has it.
    """
    metadata: dict[str, Any] = {name: declared.pop(name) for name in LIMITS if name in declared}
    metadata["declared"] = Declared(flag, help, **declared)
    if default is dataclasses.MISSING:
        return field(metadata=metadata)
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One command line option of `pretrain` and `distill`.

    Attributes:
        flag: as typed; `--a/--no-a` for a switch.
        kind: type of its value.
        setting: dotted path of the setting, or the bare name of a field of `Overrides`.
        sets: dotted paths of what it sets, `setting` alone but for a `Switch`.
        choices: all its values, where they are a few words.
        also, help, default, owners, panel, distil_only, pretrain, reads, unused: see `Declared`.
    """

    flag: str
    kind: type
    setting: str
    help: str
    default: str
    panel: str
    owners: tuple[str, ...] = ()
    distil_only: bool = False
    pretrain: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[Unused, ...] = ()
    equation: str | None = None
    unit: str | None = None
    reads: Callable[[str], Any] | None = None
    sets: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    also: str | None = None

    def of(self, command: str) -> Option:
        """The option as `command` shows it."""
        own = self.pretrain if command == "pretrain" else {}
        help, default = own.get("help", self.help), own.get("shown", self.default)
        return replace(self, help=help, default=default)

    @property
    def name(self) -> str:
        """As typed, without the name that switches it off."""
        return self.flag.split("/")[0]

    @property
    def parameter(self) -> str:
        """The name of the command function's parameter, and of Python's argument."""
        return field_of_flag(self.name)

    @property
    def field(self) -> str:
        """As messages name it."""
        return f"`{self.parameter}`"

    @property
    def belongs_to(self) -> list[str]:
        """Its owners as messages name them: `--method dgl` is `` `method` dgl``."""
        split = (owner.partition(" ") for owner in self.owners)
        return [f"`{field_of_flag(flag)}` {name}" for flag, _, name in split]


def options_of(kind: type, path: str = "", owners: tuple[str, ...] = ()) -> Iterator[Option]:
    """The options that the fields of a settings dataclass declare, those of nested ones included.

    A dataclass that stands in several places has its options in the metadata `inner` of each place.
    `equations` of the dataclass are its own paper's, where a base names those of another.

    Args:
        kind: the dataclass.
        path: dotted path of the settings object within `Settings`; empty for the root.
        owners: of all its fields that name none themselves.
    """
    hints = typing.get_type_hints(kind)
    equations = getattr(kind, "equations", {})
    for item in dataclasses.fields(kind):
        where = f"{path}.{item.name}" if path else item.name
        hint = without_none(hints[item.name])
        declared: Declared | None = item.metadata.get("declared")
        if dataclasses.is_dataclass(hint):
            inner = item.metadata.get("inner", {})
            types_inside = typing.get_type_hints(hint)
            for name, inside in inner.items():
                kind_inside = without_none(types_inside[name])
                yield _option(inside, kind_inside, f"{where}.{name}", None, owners)
            yield from options_of(typing.cast(type, hint), where, owners)
        elif declared is not None and declared.flag is not None:
            option = _option(declared, hint, where, item.default, owners)
            yield replace(option, equation=equations.get(item.name, option.equation))
    for switch in getattr(kind, "switches", ()):
        name = switch.flag.removeprefix("--")
        fields = tuple(f"{path}.{field}" for field in switch.fields)
        yield Option(
            f"{switch.flag}/--no-{name}",
            bool,
            name.replace("-", "_"),
            switch.help,
            name,
            PANELS[path.split(".")[0]],
            owners,
            sets=fields,
        )


def student_options_of(kind: type, owners: tuple[str, ...]) -> Iterator[Option]:
    """The options that a network's own declare for the student alone."""
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        declared: Declared | None = item.metadata.get("declared")
        if declared is not None and declared.student is not None:
            hint = without_none(hints[item.name])
            option = _option(declared.student, hint, f"student.{item.name}", None, owners)
            yield replace(option, distil_only=True)


def _said(help: Help) -> str:
    return help() if callable(help) else help


def _option(
    declared: Declared, hint: Any, where: str, default: Any, owners: tuple[str, ...]
) -> Option:
    assert declared.flag is not None
    kind = declared.kind or (str if typing.get_origin(hint) is Literal else hint)
    flag, shown = declared.flag, declared.shown
    if kind is bool:
        off = declared.off or f"--no-{flag.removeprefix('--')}"
        flag = f"{flag}/{off}"
        shown = shown or (declared.flag if default else off).removeprefix("--")
    return Option(
        flag,
        kind,
        where,
        _said(declared.help),
        shown if shown is not None else shown_value(default),
        declared.panel or PANELS.get(where.split(".")[0], "Run"),
        owners=declared.owners or owners,
        distil_only=declared.distil_only,
        pretrain={name: _said(text) for name, text in declared.pretrain.items()},
        unused=declared.unused,
        equation=declared.equation,
        unit=declared.unit,
        reads=declared.reads,
        sets=(where,),
        choices=typing.get_args(hint) if typing.get_origin(hint) is Literal else (),
        also=declared.also,
    )


# group of a section's options in the help
PANELS = {
    "data": "Data",
    "teacher": "Networks",
    "student": "Networks",
    "discriminator": "Networks",
    "method": "Method",
    "perceptual": "Method",
    "adversarial": "Teacher's objective",
    "optimizer": "Length",
    "schedule": "Length",
    "stages": "Length",
    "selection": "Selection",
    "run": "Run",
    "shrink_options": "Method",
    "metrics": "Metrics",
}


def shown_value(value: Any) -> str:
    """A default as the help shows it: `none`, `0.1`, `10,000`, `1e+04`."""
    if value is None or value is dataclasses.MISSING:
        return "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def without_none(hint: Any) -> Any:
    """The type of an optional field's values, the first where there are several."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    return hint


def zero(name: str) -> Unused:
    """While the method's option `name` is 0 or off, as far as the method has it."""
    return Unused(lambda settings, options: not getattr(options, name, True), f"`{name}` 0")


def task_is(task: str) -> Unused:
    """With one kind of data."""
    return Unused(lambda settings, options: settings.data.task == task, f"`task` {task}")


def task_is_not(*tasks: str) -> Unused:
    """With any other kind of data than these."""
    return Unused(
        lambda settings, options: settings.data.task not in tasks,
        f"other data than `task` {' or '.join(tasks)}",
    )


def seconds(text: str) -> float:
    """The seconds of `90`, `90s`, `25m`, `1h30m` or `1.5h`.

    Raises:
        ConfigError: if the text is no such time.
    """
    match = re.fullmatch(
        r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?",
        text.strip(),
    )
    if not match or not any(match.groupdict().values()):
        raise ConfigError(f"`max_time` {text}: is no time; write 90s, 25m or 1h30m")
    hours, minutes, rest = (float(match[name] or 0) for name in ("h", "m", "s"))
    return hours * 3600 + minutes * 60 + rest


def weights(field: str, text: str) -> dict[str, float]:
    """The weight of each name in `NAME:WEIGHT,NAME`, 1 where there is none.

    Raises:
        ConfigError: if a weight is no number, or a name is missing or comes twice.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, colon, weight = (piece.strip() for piece in part.partition(":"))
        try:
            value = float(weight) if colon else 1.0
        except ValueError:
            raise ConfigError(
                f"`{field}` {text}: write NAME:WEIGHT, as in `{field}` crd:0.5"
            ) from None
        if not name or name in found:
            raise ConfigError(f"`{field}` {text}: each part needs a name of its own, as in crd:0.5")
        found[name] = value
    return found


def names(text: str) -> tuple[str, ...]:
    """The names in `a,b,c`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def value_range(field: str, text: str) -> tuple[float, float]:
    """The two numbers of `LOW,HIGH`.

    Raises:
        ConfigError: if these are no two finite numbers, the lower one first.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"`{field}` {text}: write two numbers, as in `{field}` 0,65535") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"`{field}` {text}: the first number must be the lower one, both finite")
    return low, high
