"""Weights in the torch hub folder, downloaded there once, which is told beforehand."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import torch

from gancomp.errors import WeightsError, why_unreadable
from gancomp.paths import weights_folder


def hub_file(
    url: str, hash_prefix: str, *, what: str, megabytes: int, say: Callable[[str], None]
) -> Path:
    """The file of that name in the torch hub folder.

    Args:
        url: where it is downloaded from if it is not there.
        hash_prefix: how the SHA-256 of a downloaded file must begin.
        what: is downloaded, as messages call it.
        megabytes: how much that is.
        say: told, in one line and beforehand, where a download comes from.

    Raises:
        WeightsError: if it is not there and cannot be downloaded.
    """
    path = weights_folder() / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    say(f"downloading {what} ({megabytes} MB) from {url} to {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix, progress=False)
    except (OSError, HTTPException, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{what} could not be downloaded from {url} ({why_unreadable(error)}); put that file "
            f"at $TORCH_HOME/hub/checkpoints/{path.name} (here: {path})"
        ) from error
    return path
