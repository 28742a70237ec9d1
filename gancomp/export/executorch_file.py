"""Writes generators for ExecuTorch: a `.pte` file, for phones, computed by XNNPACK."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from gancomp.export.checked import CheckedExporter
from gancomp.export.containers import shortened
from gancomp.export.executorch_model import ExecuTorchSession, with_header
from gancomp.export.extras import needed, quiet
from gancomp.export.fixed_form import fixed_form, one_input
from gancomp.export.form import Form
from gancomp.export.model import LoadedModel
from gancomp.export.parity import ExportError
from gancomp.export.runtimes import Open
from gancomp.files import replacing, reporting_disk_errors
from gancomp.networks.base import TappedNetwork
from gancomp.sizes import Size


@dataclass
class ExecuTorch(CheckedExporter):
    """ExecuTorch's program, checked by its runtime before it is written.

    Attributes:
        size: of the images that it takes; by default the model's own.
    """

    suffix: ClassVar[str] = ".pte"
    packages: ClassVar[tuple[str, ...]] = ("executorch.exir", "executorch.runtime")
    extra: ClassVar[str] = "executorch"
    pixels: bool = field(default=False, init=False)
    size: Size | None = None

    def write(self, model: LoadedModel, out: Path) -> None:
        """Writes the generator, whose images are compared with PyTorch's before.

        Raises:
            ConfigError: without the extra `executorch`, or for a model that cannot have this form.
            ExportError: if it cannot be exported, or the file's images would not be PyTorch's.
            RunError: if `out` cannot be written.
        """
        exir = needed("executorch.exir", "executorch", f"`out` {out}")
        form = fixed_form(model, self.size)
        program, pieces = _lowered(exir, form, model.network, f"`out` {out}")
        threads = torch.get_num_threads()
        session = ExecuTorchSession(program, model.path, threads=threads, names=form.inputs)
        self.check(model, form, session)
        assert self.checked is not None
        self.checked |= {"pieces": pieces}
        header = self.header(model, form, program)
        with reporting_disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as aside:
            aside.write_bytes(with_header(program, json.dumps(header, sort_keys=True)))

    def opener(self, model: LoadedModel, named: str) -> Open:
        """See `Timed`; for images of the model's own size."""
        exir, form = needed("executorch.exir", self.extra, named), fixed_form(model, self.size)
        program, _ = _lowered(exir, form, model.network, named)
        return lambda threads: ExecuTorchSession(
            program, model.path, threads=threads, names=form.inputs
        )


def _lowered(exir: Any, form: Form, network: TappedNetwork, named: str) -> tuple[bytes, int]:
    """The program, and how many pieces of it XNNPACK computes: one, if all of it suits it."""
    xnnpack = needed(
        "executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch", named
    )
    try:
        with quiet():
            traced = torch.export.export(form.module, one_input(form, network))
            lowered = exir.to_edge_transform_and_lower(
                traced, partitioner=[xnnpack.XnnpackPartitioner()]
            )
            program = bytes(lowered.to_executorch().buffer)
    except Exception as error:  # torch's tracer and ExecuTorch raise what they like
        reason = shortened(" ".join(str(error).split()))[:300]
        raise ExportError(
            f"{named}: {network.arch} cannot be lowered to ExecuTorch "
            f"({type(error).__name__}: {reason}); export it as .onnx"
        ) from error
    nodes = lowered.exported_program().graph.nodes
    return program, sum("executorch_call_delegate" in node.name for node in nodes)
