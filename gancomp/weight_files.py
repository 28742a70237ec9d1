"""Files of published weights: found in torch's own folder or downloaded to it, and read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

from gancomp.errors import WeightsError, why_unreadable
from gancomp.paths import weights_folder


def hub_file(
    url: str, *, what: str, size: str, say: Callable[[str], None], way_out: str | None = None
) -> Path:
    """The file of that name in the torch hub folder.

    Args:
        url: where it is downloaded from if it is not there; what its SHA-256 must begin with stands
            behind the name's last dash.
        what: is downloaded, as messages call it.
        size: of it, in words.
        say: told, in one line and beforehand, where a download comes from.
        way_out: what helps where it cannot be downloaded; by default to put it there.

    Raises:
        WeightsError: if it is not there and cannot be downloaded.
    """
    path = weights_folder() / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    say(f"downloading {what} ({size}) from {url} to {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = path.stem.rsplit("-", 1)[-1]
        torch.hub.download_url_to_file(url, str(path), prefix, progress=False)
    except (OSError, HTTPException, RuntimeError, ValueError) as error:
        put_it = f"put that file at $TORCH_HOME/hub/checkpoints/{path.name} (here: {path})"
        raise WeightsError(
            f"{what} could not be downloaded from {url} ({why_unreadable(error)}); "
            f"{way_out or put_it}"
        ) from error
    return path


def read_weights(path: Path, *, unreadable: str, unnamed: str) -> tuple[Mapping[str, Any], str]:
    """What a `.safetensors` or `.pth` file holds by name, and its SHA-256.

    Args:
        path: of the file.
        unreadable: what to do about one that is damaged.
        unnamed: what to do about one that holds anything but a table.

    Raises:
        WeightsError: for either.
    """
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if path.suffix == ".safetensors":
            content: Any = load(path.read_bytes())  # by its bytes: its name may be no UTF-8
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise WeightsError(
            f"{path}: not readable as weights ({why_unreadable(error)}); {unreadable}"
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds {type(content).__name__}, not named weights; {unnamed}")
    return content, digest
