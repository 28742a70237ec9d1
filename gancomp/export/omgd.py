"""Reads OMGD's deep teachers, and its discriminator of two teachers, whose blocks stand twice."""

from __future__ import annotations

import re
from typing import Any

from gancomp.errors import CheckpointError
from gancomp.export.parts import State
from gancomp.networks.two_branch import BRANCHES, NUM_BLOCKS

LAYOUT = "discriminator for two teachers of OMGD"
DEEP_LAYOUT = "deep teacher of OMGD"
# our name; convolutions in, in the first expansion block, and out; which of the last's axes is out
DEEP = (
    ("deep-resnet9", "model.1", "model.7.conv_block.4", "model.44", 0),
    ("deep-unet256", "model.model.0", "model.model.1.conv_block.4", "model.model.7", 1),
)
# in expansion blocks alone; there is a dropout before them, which ours do not have
LAST_LAYERS = re.compile(r"(?<=\.conv_block\.)1[23](?=\.)")


def deep_settings(state: State) -> tuple[str, dict[str, Any], State] | None:
    """Our name, our settings, and the tensors under our names, if `state` is of a deep teacher.

    Raises:
        CheckpointError: if a convolution is missing.
    """
    for arch, first, inner, last, axis in DEEP:
        if f"{inner}.weight" in state:
            width, in_channels = _shape(state, first)[:2]
            settings = {
                "width": width,
                "in_channels": in_channels,
                "out_channels": _shape(state, last)[axis],
                "norm": "instance" if f"{inner}.bias" in state else "batch",
            }
            ours = {name: LAST_LAYERS.sub(lambda at: str(int(at[0]) - 1), name) for name in state}
            return arch, settings, {ours[name]: tensor for name, tensor in state.items()}
    return None


def _shape(state: State, conv: str) -> list[int]:
    if f"{conv}.weight" not in state or state[f"{conv}.weight"].ndim != 4:
        raise CheckpointError(
            f"has no convolution {conv}; the file is damaged or not a whole {DEEP_LAYOUT}"
        )
    return list(state[f"{conv}.weight"].shape)


def two_branch_settings(state: State) -> tuple[str, dict[str, Any]] | None:
    """Our name and our settings, if `state` is one.

    How many blocks both teachers share is not saved. The other branch of a shared block was never
    trained, so that its biases are 0 to the bit, as they were drawn.

    Raises:
        CheckpointError: if a block is missing or is no convolution.
    """
    if not any(name.startswith("block1s.") for name in state):
        return None
    for block in range(NUM_BLOCKS):
        for branch in BRANCHES.values():
            name = f"{_path(block, branch)}.0.weight"
            if name not in state or state[name].ndim != 4:
                raise CheckpointError(
                    f"has no convolution {name.removesuffix('.weight')}; the file is damaged or "
                    f"not a whole {LAYOUT}"
                )
    width, in_channels = state[f"{_path(0, 0)}.0.weight"].shape[:2]
    settings = {
        "width": width,
        "in_channels": in_channels,
        "norm": "instance" if f"{_path(1, 0)}.0.bias" in state else "batch",
        "num_shared": _num_shared(state),
    }
    return "two-branch-patchgan", settings


def _path(block: int, branch: int) -> str:
    return f"block{block + 1}s.{branch}.block"


def _num_shared(state: State) -> int:
    if all(_is_untrained(state, block, BRANCHES["deep"]) for block in range(NUM_BLOCKS)):
        return 0  # as it was drawn
    shared = [_is_untrained(state, block, BRANCHES["wide"]) for block in range(NUM_BLOCKS)]
    return next((block for block, is_shared in enumerate(shared) if not is_shared), NUM_BLOCKS)


def _is_untrained(state: State, block: int, branch: int) -> bool:
    path = _path(block, branch)
    biases = [
        value for name, value in state.items() if name.startswith(path) and name.endswith(".bias")
    ]
    return not any(bool(value.any()) for value in biases)
