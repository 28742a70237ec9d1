"""Reads the generators of CAT, whose blocks are branches of kernels that pruning may remove."""

from __future__ import annotations

from typing import Any

from gancomp.errors import CheckpointError
from gancomp.export.parts import State
from gancomp.networks.inception import KERNELS, NUM_BLOCKS

LAYOUT = "inception generator of CAT"
STEM, DOWN1, DOWN2 = (f"down_sampling.{index}.weight" for index in (1, 4, 7))
UP1, UP2, HEAD = (f"up_sampling.{index}.weight" for index in (0, 3, 7))
# within a branch: the convolution that has its kernel, the one that has its width
DENSE, DEPTHWISE = ("1.0", "1.0"), ("2.0", "0.0")


def is_inception(state: State) -> bool:
    """Whether the names are those of CAT's generator."""
    return "down_sampling.1.weight" in state and "up_sampling.0.weight" in state


def inception_settings(state: State) -> tuple[str, dict[str, Any], State]:
    """Our name, our settings, and the tensors under our names.

    Raises:
        CheckpointError: if a convolution is missing, or a branch has another kernel than ours.
    """
    stem, in_channels = _shape(state, STEM)[:2]
    channels = [
        stem,
        _shape(state, DOWN1)[0],
        _shape(state, DOWN2)[0],
        _shape(state, UP1)[1],
        _shape(state, UP2)[1],
    ]
    settings = {
        "width": stem,
        "in_channels": in_channels,
        "out_channels": _shape(state, HEAD)[0],
        "norm": "instance" if "down_sampling.1.bias" in state else "batch",
        "channels": channels,
        "branches": [
            [*_widths(state, block, "res_ops", DENSE), *_widths(state, block, "dw_ops", DEPTHWISE)]
            for block in range(NUM_BLOCKS)
        ],
    }
    names = {name: name.replace("features.", "blocks.", 1) for name in state}
    return "inception-resnet9", settings, {names[name]: value for name, value in state.items()}


def _widths(state: State, block: int, kind: str, convs: tuple[str, str]) -> list[int]:
    """The width of each kernel's branch of one kind, 0 where pruning has removed it."""
    with_kernel, with_width = convs
    widths, index = dict.fromkeys(KERNELS, 0), 0
    while f"{(branch := f'features.{block}.{kind}.{index}')}.{with_kernel}.weight" in state:
        kernel = _shape(state, f"{branch}.{with_kernel}.weight")[2]
        if widths.get(kernel) != 0:
            raise CheckpointError(
                f"has a branch {branch} of kernel {kernel}; gancomp knows one of each of "
                f"{', '.join(map(str, KERNELS))} in a block"
            )
        widths[kernel] = _shape(state, f"{branch}.{with_width}.weight")[0]
        index += 1
    return list(widths.values())


def _shape(state: State, name: str) -> list[int]:
    if name not in state or state[name].ndim != 4:
        raise CheckpointError(
            f"has no convolution {name.removesuffix('.weight')}; the file is damaged or not a "
            f"whole {LAYOUT}"
        )
    return list(state[name].shape)
