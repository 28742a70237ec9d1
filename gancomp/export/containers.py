"""Gets tensors out of files that may be damaged or hostile; runs nothing they contain."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from gancomp.errors import CheckpointError, printable
from gancomp.export.pickles import UnknownNameError
from gancomp.export.strangers import BARE, name_owner
from gancomp.export.torch_files import OtherKindError, read_archive, read_row
from gancomp.paths import utf8_name

EXPORTED = (".onnx", ".xml", ".pt2")  # they begin in many ways


def sniff(path: Path) -> str:
    """`"safetensors"` or `"torch"`, by the first bytes of the file and not by its name.

    Raises:
        CheckpointError: if it is missing, a folder, unreadable, empty or neither.
    """
    if path.is_dir():
        raise CheckpointError(
            f"{path}: is a folder, not a model file; name the .safetensors or .pth file in it"
        )
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; check the path of the model") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if not start:
        raise CheckpointError(f"{path}: is empty; export or download it again")
    if start[8:] == b"{":
        return "safetensors"
    if path.suffix.lower() in EXPORTED:
        raise CheckpointError(
            f"{path}: is an exported file, for a runtime and not for PyTorch; give the "
            ".safetensors that it was made from"
        )
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return "torch"
    raise CheckpointError(
        f"{path}: is no model file (neither safetensors nor written by torch.save)"
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
