"""Recognizes BigGAN's networks in the files of BigGAN-PyTorch, and the folders that hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gancomp.errors import CheckpointError, MissingPartError
from gancomp.networks.biggan import CHUNK
from gancomp.networks.biggan import LAYOUTS as GENERATORS
from gancomp.networks.biggan import SHARED as USUAL_SHARED
from gancomp.networks.biggan_discriminator import LAYOUTS as DISCRIMINATORS
from gancomp.registry import build_network

LAYOUT = "BigGAN-PyTorch"
PARTS = {  # part -> the names of its files, which may end in a word of the training's, `_best4`
    "G_ema": re.compile(r"G_ema(_.+)?\.pth"),
    "G": re.compile(r"G(_(?!ema|optim).+)?\.pth"),
    "D": re.compile(r"D(_(?!optim).+)?\.pth"),
}
EMBEDDING = "embed.weight"  # of a discriminator
SHARED = "shared.weight"
RENAMED = {  # what --cross_replica and --mybn call the statistics
    ".bn.running_mean": ".stored_mean",
    ".bn.running_var": ".stored_var",
    ".bn.stored_mean": ".stored_mean",
    ".bn.stored_var": ".stored_var",
}
DROPPED = (".bn.accumulation_counter", ".bn.num_batches_tracked")
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


def with_usual_names(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """`state`, of a BigGAN, with the statistics of its norms under the names of the plain ones."""
    if FIRST_CONVOLUTION not in state:
        return state
    found = {}
    for name, tensor in state.items():
        ending = next((ending for ending in RENAMED if name.endswith(ending)), None)
        usual = name if ending is None else name.removesuffix(ending) + RENAMED[ending]
        if not name.endswith(DROPPED):
            found[usual] = tensor
    return found


def biggan_settings(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]] | None:
    """Our name and settings of the BigGAN network that `state` belongs to, None if to none.

    Raises:
        CheckpointError: if it is a BigGAN of a kind that we do not have; the message has no path.
    """
    if FIRST_CONVOLUTION not in state:
        return None
    arch = "biggan-discriminator" if EMBEDDING in state else "biggan"
    _refuse_options(state, arch)
    num_blocks = 0
    while f"blocks.{num_blocks}.0.conv1.weight" in state:
        num_blocks += 1
    if num_blocks not in KNOWN[arch]:
        known = ", ".join(map(str, KNOWN[arch]))
        raise CheckpointError(f"is a {arch} of {num_blocks} blocks; gancomp knows those of {known}")
    resolution, times = KNOWN[arch][num_blocks]
    if arch == "biggan":
        width = _length(state, "output_layer.2.weight", 1) // times
        specific = _latents(state)
    else:
        width = _length(state, "blocks.0.0.conv2.weight", 0) // times
        specific = {"num_classes": _length(state, EMBEDDING, 0)}
        if _length(state, "blocks.1.0.conv1.weight", 0) != _length(
            state, "blocks.1.0.conv2.weight", 0
        ):
            specific["wide"] = False
    settings = {"width": max(1, width), "resolution": resolution} | specific
    return arch, settings | _attention(state, arch, settings)


def _latents(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The settings of a generator for classes and latents, without the usual ones."""
    gain, chunk = "blocks.0.0.bn1.gain.weight", _length(state, "linear.weight", 1)
    usual = {"chunk": CHUNK, "shared": USUAL_SHARED, "hierarchical": True}
    if SHARED not in state:
        found = {"chunk": chunk, "shared": 0, "hierarchical": False}
        num_classes = _length(state, gain, 0)
    else:
        shared = _length(state, SHARED, 1)
        hierarchical = _length(state, gain, 1) > shared
        found = {"chunk": chunk, "shared": shared, "hierarchical": hierarchical}
        num_classes = _length(state, SHARED, 0)
    different = {name: value for name, value in found.items() if value != usual[name]}
    return {"num_classes": num_classes} | different


def _refuse_options(state: Mapping[str, Tensor], arch: str) -> None:
    """Names the option of BigGAN-PyTorch's that leads to what we do not have."""
    letter = "G" if arch == "biggan" else "D"
    for name, present, option in (
        ("blocks.0.0.conv3.weight", True, "--model BigGANdeep"),
        ("linear.u1", True, f"--num_{letter}_SVs above 1"),
        ("linear.u0", False, f"--{letter}_param other than SN"),
        *([("blocks.0.0.bn1.stored_mean", False, "--norm_style other than bn")] * (letter == "G")),
    ):
        if (name in state) is present:
            raise CheckpointError(f"is a BigGAN of {option}, which gancomp does not know")


def _length(state: Mapping[str, Tensor], name: str, axis: int) -> int:
    if name not in state or state[name].ndim <= axis:
        raise CheckpointError(f"is a BigGAN without a usable {name}; the file is damaged")
    return state[name].shape[axis]


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
