"""Makes the training commands out of the table of options, with a help that shows names whole."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gancomp.options import OPTIONS, Option, value_range
from gancomp.paths import expanded

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
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
Function = Callable[[dict[str, Any], bool], None]
METAVARS = {bool: "", int: "N", float: "X", str: "TEXT"}  # short: the help has 80 columns


class TrainingCommand(TyperCommand):
    """A command whose help has no column of its own for `--no-x`.

    That column leaves the long names of ours too little of 80 columns: they would be cut.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help, with the names that switch something off in the last column."""
        params = self.params
        self.params = [_with_one_name(param) for param in params]
        try:
            super().format_help(ctx, formatter)
        finally:
            self.params = params


def _with_one_name(param: Any) -> Any:
    if not param.secondary_opts:
        return param
    shown = copy.copy(param)
    shown.help = f"{param.help} Off: {param.secondary_opts[0]}"
    shown.secondary_opts = []
    return shown


def training_command(
    app: typer.Typer, name: str, *, example: str
) -> Callable[[Function], Callable[..., None]]:
    """Registers a command whose options are the rows of `OPTIONS`.

    Typer reads a function's signature; ours is built from the table, so that an option stands in
    one place only.
    """

    def register(function: Function) -> Callable[..., None]:
        def command(json: bool = False, **typed: Any) -> None:
            function(typed, json)

        rows = [option for option in OPTIONS if name == "distill" or not option.distil_only]
        parameters = [_parameter(option.of(name)) for option in rows]
        parameters.append(
            inspect.Parameter(
                "json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json
            )
        )
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # any function takes one
        command.__annotations__ = {item.name: item.annotation for item in parameters}
        command.__doc__ = f"{inspect.getdoc(function)}\n\nExample: {example}"
        app.command(name, cls=TrainingCommand)(command)
        return command

    return register


def _parameter(option: Option) -> inspect.Parameter:
    declared = typer.Option(
        option.flag,
        help=option.help,
        metavar=METAVARS.get(option.kind, "PATH"),
        show_default=option.default,
        parser=expanded if option.kind is Path else None,
        rich_help_panel=option.panel,
    )
    annotation = Annotated[option.kind | None, declared]  # type: ignore[name-defined]  # built at run time
    return inspect.Parameter(
        option.parameter, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def range_of(flag: str, text: str | None) -> tuple[float, float] | None:
    """The range that was typed after `flag`, if any.

    Raises:
        ConfigError: if it is none.
    """
    return None if text is None else value_range(flag, text)
