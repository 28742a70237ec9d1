"""Gets tensors out of files that may be damaged or hostile; runs nothing they contain."""

from __future__ import annotations

import pickle
import re
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gancomp.errors import CheckpointError

NUMERIC_TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")


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
        with safe_open(str(path), framework="pt", device="cpu") as file:
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
    it only ever takes attributes.

    Raises:
        CheckpointError: if the file is damaged or holds anything else, which is never run.
    """
    try:
        # by its content: handed a path, torch.load would go by the suffix .safetensors
        with (
            path.open("rb") as file,
            torch.serialization.safe_globals([Namespace, *_numpy_globals()]),
            warnings.catch_warnings(action="ignore"),  # advice to programmers, not to users
        ):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's own text advises to open the file unsafely: never pass it on
        named = re.search(r"(?:GLOBAL|global:?) ([\w.]+\.[\w.]+)", str(error))
        raise CheckpointError(
            f"{path}: refused, it holds {named[1] if named else 'something'} beside tensors and "
            "opening that could run code; save the bare weights, "
            "torch.save(network.state_dict(), FILE), and open those"
        ) from error
    except Exception as error:  # a damaged file can make the reader raise nearly anything
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{path}: is a TorchScript archive, which is code; save the bare weights, "
                "torch.save(network.state_dict(), FILE), and open those"
            ) from error
        raise CheckpointError(
            f"{path}: damaged or incomplete file ({type(error).__name__}: {_first_line(error)}); "
            "download or save it again"
        ) from error


def _numpy_globals() -> list[Any]:
    """What NumPy numbers and arrays are pickled with, under the old module name and the new."""
    scalar = np.float64(0).__reduce__()[0]
    array = np.zeros(1).__reduce__()[0]
    found: list[Any] = [np.dtype, np.ndarray]
    found += [type(np.dtype(code)) for code in NUMERIC_TYPES]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found += [(scalar, f"{module}.scalar"), (array, f"{module}._reconstruct")]
    return found


def printable(text: str) -> str:
    """`text` on one line without control characters, for names that a file brought along."""
    short = text if len(text) <= 400 else f"{text[:400]}…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in short)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return printable(lines[0].partition(". ")[0]) if lines else "no details"
