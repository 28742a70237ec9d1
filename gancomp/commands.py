"""Makes the training commands out of the table of options, with a help that shows names whole."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gancomp.completion import completer_of
from gancomp.declare import Option, value_range
from gancomp.flags import as_typed
from gancomp.options import all_options, generator_options, options_for, owners_of
from gancomp.paths import expanded
from gancomp.registry import OWN_ARCH, is_code
from gancomp.sizes import Size, read_size

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
SizeOfModel = Annotated[
    str | None,
    typer.Option(
        "--size", help="Pixels: N for a square, or HEIGHTxWIDTH.", show_default="the model's own"
    ),
]
SizeOfInputs = Annotated[
    str | None,
    typer.Option(
        "--size", help="Resize to this first: N or HEIGHTxWIDTH.", show_default="native size"
    ),
]
InRange = Annotated[
    str | None,
    typer.Option(
        "--in-range",
        help="LOW,HIGH: values of the images to translate that become -1 and 1.",
        show_default="the model's own, else that of 8 or 16 bits",
    ),
]
OutRange = Annotated[
    str | None,
    typer.Option(
        "--out-range",
        help="LOW,HIGH: values that the results, or real images, have for them.",
        show_default="the model's own, else that of 8 or 16 bits",
    ),
]
ResultFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="png, tiff or npy.",
        show_default="png; npy of floats, or of 2 or more than 3 channels",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Direction = Annotated[
    str | None,
    typer.Option("--direction", help="AtoB or BtoA.", show_default="the model's own, else AtoB"),
]
Part = Annotated[
    str | None, typer.Option("--part", help="Network of a multi-network checkpoint, e.g. G_B.")
]
Function = Callable[[dict[str, Any], bool], None]
LONGEST_TITLE = 72  # of a group in a help of 80 columns
METAVARS = {bool: "", int: "N", float: "X", str: "TEXT"}  # short: the help has 80 columns


TYPED = "gancomp.typed"  # the command line, kept while it is parsed: --help comes before the rest


class TrainingCommand(TyperCommand):
    """A command whose help shows what every run has, and what was chosen on the command line.

    `--help` shows the options of no method, task or network in particular; `--method dgl --help`
    shows dgl's too. There is no column for `--no-x`: it leaves long names too little of 80 columns.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keeps what was typed for the help."""
        ctx.meta[TYPED] = list(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help, with the names that switch something off in the last column."""
        params, epilog = self.params, self.epilog
        rows = {row.parameter: row for row in options_for(self.name or "")}
        chosen = chosen_owners(ctx.meta.get(TYPED, []))
        self.params = [
            _with_one_name(param)
            for param in params
            if (row := rows.get(param.name)) is None
            or not row.owners
            or chosen.intersection(row.owners)
        ]
        self.epilog = where_the_rest_is(list(rows.values()), self.name or "")
        try:
            super().format_help(ctx, formatter)
        finally:
            self.params, self.epilog = params, epilog


def chosen_owners(typed: list[str]) -> set[str]:
    """`--method dgl` and the like among what was typed, whether with a space or an equals sign."""
    words = [part for word in typed for part in word.split("=", 1)]
    found = {f"{flag} {value}" for flag, value in pairwise(words) if flag in CHOICES}
    own = any(is_code(value) for flag, value in pairwise(words) if flag.endswith("-arch"))
    return found | {OWN_ARCH} if own else found


CHOICES = ("--method", "--task", "--arch", "--shrink")


def where_the_rest_is(rows: list[Option], command: str) -> str:
    """Which choices have options of their own; `gancomp methods` lists the methods."""
    owners, found = owners_of(rows), []
    for flag in CHOICES:
        names = [owner.removeprefix(f"{flag} ") for owner in owners if owner.startswith(f"{flag} ")]
        if names:
            listed = "NAME (gancomp methods)" if flag == "--method" else "|".join(names)
            found.append(f"{flag} {listed}")
    return f"More options: gancomp {command} CHOICE --help, where CHOICE is {', '.join(found)}"


def _with_one_name(param: Any) -> Any:
    if not param.secondary_opts:
        return param
    shown = copy.copy(param)
    shown.opts, shown.secondary_opts = param.opts[:1], []
    return shown


_SIGNERS: list[Callable[[], None]] = []
_SIGNED_WITH: list[object] = []  # the table of options that each of them found


def signed_by(signer: Callable[[], None]) -> None:
    """Has `signer` give a command its options: now, and whenever plug-ins have added lines."""
    _SIGNERS.append(signer)
    _SIGNED_WITH.append(all_options())
    signer()


def parser_of(app: typer.Typer) -> Any:
    """What parses a command line, with the options of all lines there are now.

    Those of plug-ins included; a process that runs several commands builds it once.
    """
    table = all_options()
    if not all(known is table for known in _SIGNED_WITH):
        for signer in _SIGNERS:
            signer()
        _SIGNED_WITH[:] = [table] * len(_SIGNERS)
        _parser.cache_clear()
    return _parser(app)


@functools.cache
def _parser(app: typer.Typer) -> Any:
    return typer.main.get_command(app)


def sign(command: Any, parameters: list[inspect.Parameter]) -> None:
    """Gives a function the signature that typer makes its options of."""
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {item.name: item.annotation for item in parameters}


def sign_with_own_options(command: Any, signature: inspect.Signature) -> None:
    """Gives a command that builds a network by name the options that generators declare.

    Args:
        command: its function, which takes them as `**own`.
        signature: as it is written, with options that take precedence.
    """
    parameters = list(signature.parameters.values())[:-1]
    names = {item.name for item in parameters}
    rows = [row for row in generator_options() if row.parameter not in names]
    sign(command, [*parameters, *map(parameter_of, rows)])


def own_name(parameter: str) -> str:
    """The network's setting that an option of `sign_with_own_options` stands for."""
    rows = {row.parameter: row.setting for row in generator_options()}
    return rows[parameter].rpartition(".")[2]


def _sign_training(name: str, command: Any) -> None:
    parameters = [parameter_of(option) for option in options_for(name)]
    parameters.append(
        inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    )
    sign(command, parameters)


def training_command(
    app: typer.Typer, name: str, *, example: str
) -> Callable[[Function], Callable[..., None]]:
    """Registers a command whose options are the rows of `options_for`.

    Typer reads a function's signature; ours is built from the table, so that an option stands in
    one place only.
    """

    def register(function: Function) -> Callable[..., None]:
        def command(json: bool = False, **typed: Any) -> None:
            function(typed, json)

        signed_by(partial(_sign_training, name, command))
        command.__doc__ = f"{inspect.getdoc(function)}\n\nExample: {example}"
        app.command(name, cls=TrainingCommand)(command)
        return command

    return register


def described(option: Option) -> str:
    """The option's help, with its default and the name that switches it off, where they tell.

    Typer's own way of showing a default takes a line of its own for most of ours.
    """
    text = as_typed(option.help)
    if option.equation:
        text = f"{text.removesuffix('.')} (eq. {option.equation})."
    _, _, off = option.flag.partition("/")
    if off and (off.removeprefix("--") != option.default):
        return f"{text} Off: {off}"
    if off or option.default in ("none", "the preset's"):
        return text
    return f"{text} Default: {as_typed(option.default)}."


def panel_of(option: Option) -> str:
    """The title above the option in the help: its group, or what it belongs to."""
    if not option.owners:
        return option.panel
    title = f"With {' or '.join(option.owners)}"
    if len(title) <= LONGEST_TITLE:
        return title
    return f"With {option.owners[0]} and {len(option.owners) - 1} others (gancomp methods)"


def parameter_of(option: Option) -> inspect.Parameter:
    """The parameter of a command's function that stands for `option`."""
    declared = typer.Option(
        option.flag,
        *([option.also] if option.also else []),
        help=described(option),
        metavar=METAVARS.get(option.kind, "PATH"),
        show_default=False,
        parser=expanded if option.kind is Path else None,
        autocompletion=completer_of(option.parameter, option.choices),
        rich_help_panel=panel_of(option),
    )
    annotation = Annotated[option.kind | None, declared]  # type: ignore[name-defined]  # built at run time
    return inspect.Parameter(
        option.parameter, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def range_of(field: str, text: str | None) -> tuple[float, float] | None:
    """The range that was typed after `flag`, if any.

    Raises:
        ConfigError: if it is none.
    """
    return None if text is None else value_range(field, text)


def size_of(text: str | None) -> Size | None:
    """The size that was typed after `--size`, if any.

    Raises:
        ConfigError: if it is none.
    """
    return None if text is None else read_size("size", text)
