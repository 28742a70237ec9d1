"""Writes generators for Core ML: a folder, `.mlpackage`, for Apple systems; converted, not run."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gancomp.errors import RunError
from gancomp.export.checked import CheckedExporter
from gancomp.export.containers import shortened
from gancomp.export.extras import needed, quiet
from gancomp.export.fixed_form import fixed_form, one_input
from gancomp.export.form import Form
from gancomp.export.model import LoadedModel
from gancomp.export.native import HEADER_KEY
from gancomp.export.parity import ExportError
from gancomp.files import ASIDE, reporting_disk_errors
from gancomp.networks.base import TappedNetwork
from gancomp.sizes import Size

OUTPUT = "output"
SPECIFICATION = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
MANIFEST = "Manifest.json"


@dataclass
class CoreMl(CheckedExporter):
    """Core ML's package of a program in float32, for iOS 16 and macOS 13 on.

    Only Apple's systems run it, so that nothing is compared with PyTorch.

    Attributes:
        size: of the images that it takes; by default the model's own.
    """

    suffix: ClassVar[str] = ".mlpackage"
    pixels: bool = field(default=False, init=False)
    size: Size | None = None

    def write(self, model: LoadedModel, out: Path) -> None:
        """Writes the generator, whose images nobody has compared with PyTorch's.

        Raises:
            ConfigError: without the extra `coreml`, or for a model that cannot have this form.
            ExportError: if it cannot be converted.
            RunError: if `out` cannot be written.
        """
        coreml = needed("coremltools", "coreml", f"`out` {out}")
        form = fixed_form(model, self.size)
        files = _converted(coreml, form, model.network, f"`out` {out}")
        header = self.header(model, form, b"".join(files.values()))
        text = json.dumps(header, sort_keys=True)
        files[SPECIFICATION] = _specification(files[SPECIFICATION], form, text)
        self.checked = {"by": f"coremltools {coreml.__version__}: converted, not run"}
        with reporting_disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        with _replacing_package(out) as aside:
            for name, content in files.items():
                path = aside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def _converted(coreml: Any, form: Form, network: TappedNetwork, named: str) -> dict[str, bytes]:
    """The files of the package by their names in it."""
    try:
        with quiet(), contextlib.redirect_stderr(io.StringIO()):  # of bars of progress
            traced = torch.export.export(form.module, one_input(form, network))
            package = coreml.convert(
                _in_its_operations(traced),
                convert_to="mlprogram",
                minimum_deployment_target=coreml.target.iOS16,
                compute_precision=coreml.precision.FLOAT32,
                skip_model_load=True,
            )
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "generator.mlpackage"
                package.save(str(path))
                weights, specification = (path / name for name in (WEIGHTS, SPECIFICATION))
                return {
                    MANIFEST: _manifest(),
                    SPECIFICATION: _specification(specification.read_bytes(), form, ""),
                    WEIGHTS: weights.read_bytes(),
                }
    except Exception as error:  # torch's tracer and coremltools raise what they like
        reason = shortened(" ".join(str(error).split()))[:300]
        raise ExportError(
            f"{named}: {network.arch} cannot be converted to Core ML "
            f"({type(error).__name__}: {reason}); export it as .onnx"
        ) from error


def _in_its_operations(traced: Any) -> Any:
    """The program without what coremltools cannot read.

    That is addcmul, aliases, and poolings without a stride.
    """

    def addcmul(base: Tensor, first: Tensor, second: Tensor, *, value: float = 1) -> Tensor:
        return base + value * first * second

    program = traced.run_decompositions({torch.ops.aten.addcmul.default: addcmul})
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
        if node.target is torch.ops.aten.max_pool2d.default and len(node.args) == 2:
            node.args = (*node.args, node.args[1])
    return program


def _specification(content: bytes, form: Form, header: str) -> bytes:
    """The specification with inputs and output named, and with no notes but gancomp's header."""
    model = needed("coremltools.proto.Model_pb2", "coreml", "specification").Model()
    model.ParseFromString(content)
    rename = needed("coremltools.models.utils", "coreml", "specification").rename_feature
    described = model.description
    for feature, name in zip(described.input, form.inputs, strict=True):
        rename(model, feature.name, name, rename_outputs=False)
    (made,) = described.output
    rename(model, made.name, OUTPUT, rename_inputs=False)
    described.metadata.userDefined.clear()
    if header:
        described.metadata.userDefined[HEADER_KEY] = header
    return bytes(model.SerializeToString(deterministic=True))


def _manifest() -> bytes:
    """The table of contents, whose names of entries are the same every time."""
    entries = {}
    for name, description in (
        ("model.mlmodel", "CoreML Model Specification"),
        ("weights", "CoreML Model Weights"),
    ):
        entries[str(uuid.uuid5(uuid.NAMESPACE_URL, f"{HEADER_KEY}:{name}")).upper()] = {
            "author": "com.apple.CoreML",
            "description": description,
            "name": name,
            "path": f"com.apple.CoreML/{name}",
        }
    root = next(iter(entries))
    document = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": root,
    }
    return json.dumps(document, indent=4).encode()


@contextlib.contextmanager
def _replacing_package(out: Path) -> Iterator[Path]:
    """A folder beside `out` to fill, renamed to `out` when the block ends well.

    Raises:
        RunError: if something other than such a package is there.
    """
    if out.exists() and not (out / MANIFEST).is_file():
        raise RunError(f"{out}: is there and is no .mlpackage; choose another place with `out`")
    with reporting_disk_errors(out):
        place = Path(tempfile.mkdtemp(prefix=ASIDE.partition("*")[0], dir=out.parent))
        try:
            made, old = place / "new", place / "old"
            made.mkdir()
            yield made
            if out.exists():
                out.rename(old)
            made.rename(out)
        finally:
            shutil.rmtree(place, ignore_errors=True)
