"""Writes generators as `.pt2`: the program of `torch.export`, which PyTorch alone runs."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from gancomp.errors import ConfigError
from gancomp.export.checked import CheckedExporter
from gancomp.export.extras import quiet
from gancomp.export.form import Form, exported_form
from gancomp.export.model import LoadedModel
from gancomp.export.native import HEADER_KEY
from gancomp.export.onnx_file import traced
from gancomp.export.parity import ExportError
from gancomp.export.program import ProgramSession, content_of
from gancomp.export.runtimes import Open
from gancomp.files import replacing, reporting_disk_errors
from gancomp.registry import DISCRIMINATORS


@dataclass
class Pt2(CheckedExporter):
    """An exported program, checked before it is written."""

    suffix: ClassVar[str] = ".pt2"
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    pixels: bool = field(default=False, init=False)

    def write(self, model: LoadedModel, out: Path) -> None:
        """Writes the generator, whose images are compared with the network's before.

        Raises:
            ConfigError: for a discriminator.
            ExportError: if it cannot be exported, or the file's images would not be the network's.
            RunError: if `out` cannot be written.
        """
        form, program = _program(model, f"`out` {out}")
        content = _saved(program)
        self.check(model, form, ProgramSession(content, out, threads=torch.get_num_threads()))
        header = self.header(model, form, content_of(content, out))
        with reporting_disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as aside:
            aside.write_bytes(_saved(program, json.dumps(header, sort_keys=True)))

    def opener(self, model: LoadedModel, named: str) -> Open:
        """See `Timed`."""
        content = _saved(_program(model, named)[1])
        return lambda threads: ProgramSession(content, model.path, threads=threads)


def _program(model: LoadedModel, named: str) -> tuple[Form, Any]:
    if model.network.arch in DISCRIMINATORS:
        raise ConfigError(f"{model.path}: is a discriminator; give a generator")
    form = exported_form(model.network)
    program = traced(model.network, form, named)
    _check_open(program, form, model)
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:  # names of files here, and how it was traced
                node.meta = {"val": node.meta["val"]} if "val" in node.meta else {}
    program._example_inputs = None
    # what must hold of the traced sizes, such as that none is 1, which runs all the same
    program._guards_code = []
    for symbol, limits in program.range_constraints.items():
        program.range_constraints[symbol] = type(limits)(min(1, limits.lower), limits.upper)
    return form, program


def _saved(program: Any, header: str | None = None) -> bytes:
    stream = io.BytesIO()
    with quiet():
        torch.export.save(
            program, stream, extra_files={} if header is None else {HEADER_KEY: header}
        )
    return stream.getvalue()


def _check_open(program: Any, form: Form, model: LoadedModel) -> None:
    """Refuses a program of one batch or image size only."""
    names = {item.arg.name for item in program.graph_signature.input_specs if item.target is None}
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    outputs = next(node for node in program.graph.nodes if node.op == "output").args[0]
    values = [node.meta["val"] for node in nodes if node.name in names]
    for name, value in zip(
        (*form.inputs, "output"), (*values, outputs[0].meta["val"]), strict=True
    ):
        axes: tuple[int, ...] = () if name == "truncation" else (0,)
        if form.size_multiple and name in ("image", "output"):
            axes = (0, 2, 3)
        for axis in axes:
            if isinstance(value.shape[axis], int):
                raise ExportError(
                    f"{model.network.arch}: length {value.shape[axis]} of its {name} became fixed "
                    "when it was traced; it must not depend on Python numbers such as len(tensor)"
                )
