"""Gets tensors out of files that may be damaged or hostile, and into networks; runs nothing."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gancomp.errors import CheckpointError, printable
from gancomp.export.pickles import UnknownNameError
from gancomp.export.strangers import BARE, name_owner
from gancomp.export.torch_files import OtherKindError, read_archive, read_row
from gancomp.networks.base import TappedNetwork
from gancomp.paths import utf8_name

EXPORTED = (".onnx", ".xml", ".pt2", ".pte", ".mlpackage", ".html")  # they begin in many ways


def sniff(path: Path) -> str:
    """`"safetensors"` or `"torch"`, by the first bytes of the file and not by its name.

    Raises:
        CheckpointError: if it is missing, a folder, unreadable, empty or neither.
    """
    exported = path.suffix.lower() in EXPORTED
    if path.is_dir() and not exported:
        raise CheckpointError(
            f"{path}: is a folder, not a model file; name the .safetensors or .pth file in it"
        )
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except IsADirectoryError as error:  # as Core ML's are
        raise _is_exported(path) from error
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; check the path of the model") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if not start:
        raise CheckpointError(f"{path}: is empty; export or download it again")
    if start[8:] == b"{":
        return "safetensors"
    if exported:
        raise _is_exported(path)
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return "torch"
    if path.suffix.lower() == ".bin" and (graph := path.with_suffix(".xml")).is_file():
        raise CheckpointError(f"{path}: holds the weights of {graph.name}; give that")
    raise CheckpointError(
        f"{path}: is no model file (neither safetensors nor written by torch.save)"
    )


def _is_exported(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: is an exported file, for a runtime and not for PyTorch; give the .safetensors "
        "that it was made from"
    )


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of any `.safetensors` file.

    Raises:
        CheckpointError: if the file is damaged.
    """
    try:
        with utf8_name(path) as name, safe_open(name, framework="pt", device="cpu") as file:
            names = file.keys()
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: damaged or incomplete safetensors file ({_first_line(error)}); "
            "export or download it again"
        ) from error


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote: tensors, plain containers, numbers; NumPy numbers and arrays too.

    And the command line that some training scripts save beside their networks, as a `Namespace`:
    it only ever takes attributes. No tensor takes more memory than its numbers do in the file.

    Raises:
        CheckpointError: if the file is damaged or holds anything else, which is never run.
    """
    try:
        return read_archive(path) if zipfile.is_zipfile(path) else read_row(path)
    except UnknownNameError as error:
        if (what := name_owner(error.name, error.texts)) is not None:
            raise CheckpointError(f"{path}: {what}") from error
        raise CheckpointError(
            f"{path}: refused, it holds {shortened(error.name)} beside tensors and opening that "
            f"could run code; {BARE}"
        ) from error
    except OtherKindError as error:
        raise CheckpointError(f"{path}: {error}; {BARE}") from error
    except Exception as error:  # a damaged file can make the reader raise nearly anything
        raise CheckpointError(
            f"{path}: damaged or incomplete file ({type(error).__name__}: {_first_line(error)}); "
            "download or save it again"
        ) from error


def shortened(text: str) -> str:
    """`text` made printable, and cut where it is long, for names that a file brought along."""
    return printable(text if len(text) <= 400 else f"{text[:400]}…")


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return shortened(lines[0].partition(". ")[0]) if lines else "no details"


def fill(
    network: TappedNetwork,
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    otherwise: str = "the file is damaged or of an architecture that gancomp does not know",
) -> None:
    """Makes copies of `tensors` the weights of `network`, built on the meta device; eval mode.

    Floating-point tensors of any precision become float32.

    Args:
        network: with the names, shapes and types that are wanted.
        tensors: what the file holds.
        path: the file, for messages.
        otherwise: what else may be wrong if they do not fit, for messages.

    Raises:
        CheckpointError: if names, shapes or types differ, with the first difference.
    """
    network.expect(tensors)
    expected = network.state_dict()
    problems = [f"{key} is missing" for key in expected if key not in tensors]
    problems += [f"{key} is unknown" for key in tensors if key not in expected]
    for key, value in expected.items():
        if key in tensors:
            problems += _differences(key, tensors[key], value)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise CheckpointError(
            f"{path}: its weights do not fit {network.arch}: {shortened(problems[0])}{more}; "
            f"{otherwise}"
        )
    weights = {
        key: tensors[key].detach().to(value.dtype, copy=True, memory_format=torch.contiguous_format)
        for key, value in expected.items()
    }
    network.load_state_dict(weights, assign=True)
    network.eval()


def _differences(key: str, given: Tensor, wanted: Tensor) -> list[str]:
    if given.shape != wanted.shape:
        return [f"{key} is {list(given.shape)} instead of {list(wanted.shape)}"]
    if given.layout != torch.strided or given.is_quantized or given.is_meta:
        return [f"{key} is not a plain tensor"]
    if given.dtype.is_floating_point != wanted.dtype.is_floating_point or given.dtype.is_complex:
        return [f"{key} holds {given.dtype} instead of {wanted.dtype}"]
    return []
