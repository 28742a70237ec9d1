"""Recognises BigGAN's networks in the files of BigGAN-PyTorch, and the folders that hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gancomp.errors import CheckpointError, MissingPartError
from gancomp.networks.biggan import LAYOUTS as GENERATORS
from gancomp.networks.biggan_discriminator import LAYOUTS as DISCRIMINATORS
from gancomp.registry import build_network

LAYOUT = "BigGAN-PyTorch"
PARTS = {  # part -> the names of its files, which may end in a word of the training's, `_best4`
    "G_ema": re.compile(r"G_ema(_.+)?\.pth"),
    "G": re.compile(r"G(_(?!ema|optim).+)?\.pth"),
    "D": re.compile(r"D(_(?!optim).+)?\.pth"),
}
MARKS = {"biggan": "shared.weight", "biggan-discriminator": "embed.weight"}
FIRST_CONVOLUTION = "blocks.0.0.conv1.weight"
# arch -> number of blocks -> size of the images, and channels beside them in multiples of the width
KNOWN = {
    "biggan": {
        len(layout.channels) - 1: (resolution, layout.channels[-1])
        for resolution, layout in GENERATORS.items()
    },
    "biggan-discriminator": {
        len(layout.channels): (resolution, layout.channels[0])
        for resolution, layout in DISCRIMINATORS.items()
    },
}


def is_biggan_folder(folder: Path) -> bool:
    """Whether `folder` holds a generator or discriminator under BigGAN-PyTorch's file names."""
    return folder.is_dir() and bool(_files(folder))


def biggan_file(folder: Path, part: str | None = None) -> tuple[Path, str]:
    """The file of a BigGAN folder that holds `part`, and the name of the part.

    Args:
        folder: one that `is_biggan_folder`.
        part: `G_ema`, `G` or `D`; None takes the first of them that is there.

    Raises:
        CheckpointError: if the part is missing, or there several times.
    """
    files = _files(folder)
    chosen = part or next(iter(files))
    if chosen not in files:
        raise MissingPartError(f"{folder}: has no part {chosen!r}; its parts: {', '.join(files)}")
    found = {file.name: file for file in files[chosen]}
    if f"{chosen}.pth" in found:
        return found[f"{chosen}.pth"], chosen
    if len(found) > 1:
        raise CheckpointError(
            f"{folder}: holds {chosen} several times ({', '.join(found)}); name one of the files"
        )
    return files[chosen][0], chosen


def _files(folder: Path) -> dict[str, list[Path]]:
    """The files of each part that is there, in the order of `PARTS`."""
    entries = sorted(folder.iterdir())
    found = {
        part: [entry for entry in entries if pattern.fullmatch(entry.name)]
        for part, pattern in PARTS.items()
    }
    return {part: files for part, files in found.items() if files}


def biggan_settings(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]] | None:
    """Our name and settings of the BigGAN network that `state` belongs to, None if to none.

    Raises:
        CheckpointError: if it is a BigGAN of a kind that we do not have; the message has no path.
    """
    arch = next((name for name, mark in MARKS.items() if mark in state), None)
    if arch is None or FIRST_CONVOLUTION not in state:
        return None
    num_blocks = 0
    while f"blocks.{num_blocks}.0.conv1.weight" in state:
        num_blocks += 1
    if num_blocks not in KNOWN[arch]:
        known = ", ".join(map(str, KNOWN[arch]))
        raise CheckpointError(f"is a {arch} of {num_blocks} blocks; gancomp knows those of {known}")
    resolution, times = KNOWN[arch][num_blocks]
    name, axis = ("output_layer.2.weight", 1) if arch == "biggan" else (FIRST_CONVOLUTION, 0)
    if name not in state or state[name].ndim != 4:
        raise CheckpointError(f"is a {arch} without a convolution {name}; the file is damaged")
    settings = {
        "width": max(1, state[name].shape[axis] // times),
        "resolution": resolution,
        "num_classes": len(state[MARKS[arch]]) if state[MARKS[arch]].ndim else 0,
    }
    return arch, settings | _attention(state, arch, settings)


def _attention(state: Mapping[str, Tensor], arch: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The setting for attention where `state` has it; none where that is the usual place."""
    with torch.device("meta"):
        usual = build_network(arch, **settings).state_dict()
    found, expected = (
        [
            int(name.split(".")[1])
            for name in names
            if name.startswith("blocks.") and name.endswith(".1.theta.weight")
        ]
        for names in (state, usual)
    )
    return {} if sorted(found) == expected else {"attention": sorted(found)}
