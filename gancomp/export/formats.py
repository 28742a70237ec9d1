"""The formats that a generator is exported to: suffix, writer, and a check of what was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.export.model import LoadedModel, open_model
from gancomp.export.native import header_of, save_model
from gancomp.registry import EXPORTERS, resolve


class Exporter(Protocol):
    """One format; a line of the table `EXPORTERS`.

    Attributes:
        suffix: of its files, `.safetensors`.
    """

    suffix: ClassVar[str]

    def write(self, model: LoadedModel, out: Path) -> None:
        """Writes the generator to `out`, whole or not at all."""

    def parity(self, model: LoadedModel, out: Path) -> float | None:
        """The largest difference between what `out` and the generator make of one input.

        None where this machine cannot run the format.
        """


class Safetensors:
    """Our own self-describing file, which any of our commands opens."""

    suffix = ".safetensors"

    def write(self, model: LoadedModel, out: Path) -> None:
        """Writes weights and header."""
        header = header_of(model.network, model.header)
        save_model(
            out,
            model.network,
            role=header["role"],
            task=header["task"],
            step=header["step"],
            method=header["method"],
            dataset=header["dataset"],
            direction=header["direction"],
            input_size=(header["input"]["size"][0], header["input"]["size"][1]),
            extra={"pixels": header["pixels"]} if "pixels" in header else None,
        )

    def parity(self, model: LoadedModel, out: Path) -> float:
        """The largest difference of a weight, as equal weights make equal images."""
        written = open_model(out).network.state_dict()
        differences = [
            _largest(written[name], weight) for name, weight in model.network.state_dict().items()
        ]
        return max(differences, default=0.0)


def _largest(a: Tensor, b: Tensor) -> float:
    return float((a - b.to(a.dtype)).abs().max()) if a.numel() else 0.0


def exporter_for(
    out: Path, format: str | None = None, options: Mapping[str, Any] | None = None
) -> tuple[str, Exporter]:
    """The format asked for by name, or else by the suffix of `out`.

    Args:
        out: the file.
        format: its name, if it was given.
        options: of the format, by name; those that are None were not given.

    Raises:
        ConfigError: if there is no such format, or it does not have the option.
    """
    known: dict[str, type[Exporter]] = {
        name: resolve(EXPORTERS, "format", name) for name in EXPORTERS
    }
    suffix = out.suffix.lower()
    name = format or next((name for name, kind in known.items() if kind.suffix == suffix), None)
    if name not in known:
        named = f"`format` {format}" if format else f"`out` {out}"
        suffixes = ", ".join(kind.suffix for kind in known.values())
        way_out = "" if format else f"; end the name in {suffixes}, or give `format`"
        raise ConfigError(f"{named}: unknown format; known: {', '.join(known)}{way_out}")
    given = {key: value for key, value in (options or {}).items() if value is not None}
    for option in given:
        if option not in _options(known[name]):
            having = " or ".join(key for key, kind in known.items() if option in _options(kind))
            raise ConfigError(
                f"`{option}`: has no effect on {name}; remove it, or export to {having}"
            )
    return name, known[name](**given)


def _options(kind: type[Exporter]) -> list[str]:
    """The options of a format: what its dataclass is made with."""
    return [item.name for item in fields(kind) if item.init] if is_dataclass(kind) else []
