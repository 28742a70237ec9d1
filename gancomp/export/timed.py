"""Generators in the form in which they will be deployed, for budgets of time: there is no file."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

from gancomp.errors import ConfigError
from gancomp.export.deployed import DeployedGenerator, DeployedSynthesis
from gancomp.export.extras import needed
from gancomp.export.model import LoadedModel
from gancomp.export.openvino_model import has_bf16
from gancomp.export.runtimes import Open
from gancomp.networks.base import TappedNetwork
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.registry import EXPORTERS, resolve
from gancomp.sizes import Size, sides

MOST_KEPT = 4  # opened files, as what met a time is soon measured again


class Timed(Protocol):
    """A format whose files can be timed here; what `DeployedForm` asks of an exporter.

    Attributes:
        packages: that it needs.
        extra: of gancomp, that brings them.
    """

    packages: tuple[str, ...]
    extra: str

    def opener(self, model: LoadedModel, named: str) -> Open:
        """Opens the generator in the format's runtime, by threads; nothing is checked or written.

        Args:
            model: the generator; of its header the size of images is known.
            named: what the user typed, for messages.

        Raises:
            ConfigError, ExportError: if it cannot be exported.
        """


class DeployedForm:
    """A format and precision, in which generators are run without being written.

    Args:
        format: of `gancomp export`, by name.
        precision: fp32, or bf16 where the format knows it.

    Raises:
        ConfigError: if the format is unknown or not run here, an extra is not installed, or this
            machine does not compute so.
    """

    def __init__(self, format: str, precision: str = "fp32") -> None:
        self._named = f"`budget_format` {format}"
        kind: Any = resolve(EXPORTERS, "budget_format", format)
        if not hasattr(kind, "opener"):
            kinds = {name: resolve(EXPORTERS, "format", name) for name in EXPORTERS}
            known = ", ".join(name for name, item in kinds.items() if hasattr(item, "opener"))
            raise ConfigError(f"{self._named}: is not timed; choose {known}")
        for package in kind.packages:
            needed(package, kind.extra, self._named)
        given = {}
        if precision != "fp32":
            if "precision" not in (item.name for item in fields(kind)):
                raise ConfigError(
                    f"`budget_precision` {precision}: has no effect on {format}; remove it"
                )
            if precision == "bf16" and not has_bf16():
                raise ConfigError(
                    "`budget_precision` bf16: this machine's processor does not compute in it; "
                    "measure where the student will run, or remove it"
                )
            given["precision"] = precision
        self.name = f"{format} {precision}"
        self._exporter: Timed = kind(**given)
        self._kept: OrderedDict[str, DeployedGenerator] = OrderedDict()

    def __call__(self, network: TappedNetwork, size: Size) -> DeployedGenerator:
        """The generator, computed by the format's runtime on the CPU.

        Args:
            network: in eval mode.
            size: of the images that it will be run on.
        """
        key = json.dumps([network.arch, network.settings(), size], default=str)
        if key not in self._kept:
            header = {"input": {"size": list(sides(size))}}
            model = LoadedModel(network, header, Path(network.arch), "gancomp")
            opened = self._exporter.opener(model, self._named)
            kind = (
                DeployedSynthesis if isinstance(network, SynthesisGenerator) else DeployedGenerator
            )
            self._kept[key] = kind(network, opened)  # type: ignore[arg-type]  # its own kind
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]
