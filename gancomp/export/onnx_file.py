"""Writes generators as ONNX: one file that any language's runtime opens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from gancomp.errors import ConfigError
from gancomp.export.checked import CheckedExporter
from gancomp.export.containers import shortened
from gancomp.export.extras import needed, quiet
from gancomp.export.form import Form, example_inputs, exported_form
from gancomp.export.model import LoadedModel
from gancomp.export.native import HEADER_KEY
from gancomp.export.parity import ExportError
from gancomp.export.pixels_graph import check_8_bit, with_pixels
from gancomp.export.runtimes import OnnxSession, Open
from gancomp.files import replacing, reporting_disk_errors
from gancomp.networks.base import TappedNetwork
from gancomp.registry import DISCRIMINATORS

OUTPUT = "output"
DIMENSIONS = {"image": ("batch", "channels", "height", "width")}  # of the inputs; else the batch
TRACED = 64  # pixels; twice what the network needs at least, for sizes of 1 would become constants


@dataclass
class Onnx(CheckedExporter):
    """ONNX, checked by ONNX Runtime before it is written."""

    suffix: ClassVar[str] = ".onnx"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    extra: ClassVar[str] = "onnx"

    def write(self, model: LoadedModel, out: Path) -> None:
        """Writes the generator, whose images are compared with PyTorch's before.

        Raises:
            ConfigError: without the extra `onnx`, or for a model that cannot have this form.
            ExportError: if it cannot be exported, or the file's images would not be PyTorch's.
            RunError: if `out` cannot be written.
        """
        _, content = self.content(model, f"`out` {out}")
        with reporting_disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as aside:
            aside.write_bytes(content)

    def opener(self, model: LoadedModel, named: str) -> Open:
        """See `Timed`."""
        _, graph = onnx_graph(model, named)
        return lambda threads: OnnxSession(graph, model.path, threads=threads, precision="fp32")

    def content(self, model: LoadedModel, named: str) -> tuple[Form, bytes]:
        """The exported form of a generator, and the bytes of its file, checked as `write` has it.

        Args:
            model: the generator.
            named: what the user typed, for messages: `-o student.onnx`.
        """
        if self.pixels:
            check_8_bit(model)
        form, graph = onnx_graph(model, named)
        self.check(model, form, _opened(graph, model.path))
        if self.pixels:
            graph = with_pixels(graph, form)
            self.check_pixels(model, form, _opened(graph, model.path))
        header = self.header(model, form, graph)
        return form, graph + _metadata(json.dumps(header, sort_keys=True))


def _opened(graph: bytes, path: Path) -> OnnxSession:
    return OnnxSession(graph, path, threads=torch.get_num_threads(), precision="fp32")


def onnx_graph(model: LoadedModel, named: str, extra: str = "onnx") -> tuple[Form, bytes]:
    """The exported form of a generator, and as an ONNX model without any metadata.

    Args:
        model: the generator.
        named: what the user typed, for messages: `-o student.onnx`.
        extra: what brings the packages that it takes.

    Raises:
        ConfigError: without the extra, or for a discriminator.
        ExportError: if the network cannot be exported.
    """
    network = model.network
    if network.arch in DISCRIMINATORS:
        raise ConfigError(f"{model.path}: is a discriminator; give a generator")
    for package in ("onnx", "onnxscript", *(("onnxruntime",) if extra == "onnx" else ())):
        needed(package, extra, named)
    form = exported_form(network)
    program = traced(network, form, named)
    try:
        with quiet():
            exported = torch.onnx.export(
                program, input_names=list(form.inputs), output_names=[OUTPUT], verbose=False
            )
    except Exception as error:  # torch's exporter raises what it likes
        raise _untraceable(named, network, error) from error
    assert exported is not None
    graph = exported.model_proto
    _check_open(graph.graph, form, network)
    _strip(graph)
    return form, bytes(graph.SerializeToString(deterministic=True))


def traced(network: TappedNetwork, form: Form, named: str) -> Any:
    """The program that `torch.export` makes of a generator, batch and image size left open.

    Args:
        network: the generator.
        form: of it.
        named: what the user typed, for messages.

    Raises:
        ExportError: if it cannot be traced.
    """
    inputs, shapes = _trace_inputs(form, network)
    try:
        with quiet():
            return torch.export.export(form.module, inputs, dynamic_shapes=shapes)
    except Exception as error:  # torch's tracer raises what it likes
        raise _untraceable(named, network, error) from error


def _untraceable(named: str, network: TappedNetwork, error: Exception) -> ExportError:
    reason = shortened(" ".join(str(error).split()))[:300]
    return ExportError(
        f"{named}: {network.arch} cannot be traced with sizes left open "
        f"({type(error).__name__}: {reason}); export it as .safetensors"
    )


def _trace_inputs(form: Form, network: TappedNetwork) -> tuple[Any, tuple[Any, ...]]:
    step = form.size_multiple
    side = 2 * step * max(1, -(-TRACED // (2 * step))) if step else 0
    inputs = example_inputs(form, network, (side, side), 2)
    batch = torch.export.Dim("batch")
    shapes: list[dict[int, Any]] = []
    for name in form.inputs:
        if name == "image":
            shapes.append(
                {0: batch} | {2 + k: _multiple(step, axis) for k, axis in enumerate("hw")}
            )
        else:
            shapes.append({} if name == "truncation" else {0: batch})
    return inputs, tuple(shapes)


def _multiple(step: int, name: str) -> Any:
    """A length that is a multiple of `step`."""
    return torch.export.Dim(name, min=8) if step == 1 else step * torch.export.Dim(name, min=1)


def _check_open(graph: Any, form: Form, network: TappedNetwork) -> None:
    """Refuses a graph of one batch or image size only, which torch's exporter makes silently.

    And gives the open sizes names that do not follow from how they were traced.
    """
    given = {item.name: item.type.tensor_type.shape.dim for item in graph.input}
    names: dict[str, str] = {}
    for name in form.inputs:
        for axis, label in enumerate(DIMENSIONS.get(name, ("batch",))):
            if label == "channels" or name == "truncation":
                continue
            dimension = given[name][axis]
            if not dimension.dim_param:
                raise ExportError(
                    f"{network.arch}: its {label} became {dimension.dim_value} for good when it "
                    "was traced; it must not depend on Python numbers such as len(tensor)"
                )
            names[dimension.dim_param] = label
    shape = graph.output[0].type.tensor_type.shape.dim
    if not shape[0].dim_param or (
        form.size_multiple and not all(shape[k].dim_param for k in (2, 3))
    ):
        raise ExportError(
            f"{network.arch}: gives images of one size or number only once it is traced; it must "
            "not depend on Python numbers such as len(tensor)"
        )
    for value in (*graph.input, *graph.output):
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.dim_param:
                named = names.get(dimension.dim_param, f"output_{DIMENSIONS['image'][axis]}")
                dimension.dim_param = named


def _strip(model: Any) -> None:
    """Takes off what tells of this machine: stack traces with paths, and of torch's tracing."""
    graph = model.graph
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.value_info[:]  # runtimes find the shapes in between themselves
    del model.metadata_props[:]
    model.doc_string, graph.name = "", "generator"


def _metadata(text: str) -> bytes:
    """The header as the end of a file: ONNX files may be told in parts, one after the other."""
    onnx = needed("onnx", "onnx", "metadata")
    return bytes(
        onnx.ModelProto(
            metadata_props=[onnx.StringStringEntryProto(key=HEADER_KEY, value=text)]
        ).SerializeToString()
    )
