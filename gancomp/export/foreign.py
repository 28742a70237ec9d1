"""Opens the checkpoints of CycleGAN, pix2pix, their compressors, StyleGAN2 and BigGAN.

Which network it is follows from names and shapes alone; layouts that look alike but mean something
else are refused by name rather than misread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gancomp.errors import CheckpointError, ConfigError, MissingPartError
from gancomp.export import biggan, cat, omgd, stylegan2
from gancomp.export.containers import fill, read_safetensors, read_torch, shortened, sniff
from gancomp.export.native import describe
from gancomp.export.parts import State, pick
from gancomp.export.strangers import LAYOUTS, name_stranger
from gancomp.networks.base import TappedNetwork
from gancomp.networks.resnet import FIRST_BLOCK
from gancomp.registry import CHECKPOINTS, DISCRIMINATORS, build_network, resolve

LEFTOVERS = ("total_ops", "total_params", "n_averaged")  # of the profiler thop, of averaging
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
MOST_BLOCKS = 9  # of a ResNet


@dataclass(frozen=True)
class Recognized:
    """What a state dict turned out to be: our name, our settings, whose it is, our key names."""

    arch: str
    settings: dict[str, Any]
    layout: str
    state: State


def read_foreign(path: Path, part: str | None = None) -> tuple[TappedNetwork, dict[str, Any]]:
    """The network in `path`, in eval mode on the CPU, and a header as far as it is known.

    The header has the entries of our own files, None where the checkpoint does not tell, and
    `layout`, whose checkpoint it is. With several networks in the file, `part` says which one.

    Raises:
        CheckpointError: if the file is missing, damaged, hostile or of a layout we do not open.
    """
    content = read_safetensors(path)[1] if sniff(path) == "safetensors" else read_torch(path)
    try:
        state, part = pick(content, part)
        named = biggan.with_usual_names(stylegan2.with_average(content, state))
        found = recognize(_cleaned(named))
        with torch.device("meta"):
            network = build_network(found.arch, **found.settings)
    except (CheckpointError, ConfigError) as error:
        kind = MissingPartError if isinstance(error, MissingPartError) else CheckpointError
        raise kind(f"{path}: {shortened(str(error))}") from error
    fill(network, _with_batch_counts(found.state, network), path)
    size = found.settings.get("resolution", 128 if found.arch == "unet128" else 256)
    header = describe(network, [size, size]) | {"layout": found.layout, "part": part}
    if found.arch in DISCRIMINATORS:
        header["role"] = "discriminator"
    if "resolution" in found.settings:
        header["task"] = "synthesis"
    return network, header


def _cleaned(state: Mapping[str, Tensor]) -> State:
    """Without counters that other tools left behind and statistics that no norm of ours reads.

    Before PyTorch 0.4 InstanceNorm saved running statistics it never used. A norm with statistics
    but no weight is one of those; BatchNorm has both.
    """
    return {
        name: tensor
        for name, tensor in state.items()
        if _leaf(name) not in LEFTOVERS
        and not (_leaf(name) in STATISTICS and f"{_parent(name)}.weight" not in state)
    }


def recognize(state: State) -> Recognized:
    """Which of our networks `state` belongs to, and its tensors under our names.

    Args:
        state: a flat state dict, cleaned of prefixes and leftovers.

    Raises:
        CheckpointError: for any other layout; the message has no path.
    """
    for name in CHECKPOINTS:
        found: Recognized | None = resolve(CHECKPOINTS, "layout", name)(state)
        if found is not None:
            return found
    if (what := name_stranger(state)) is not None:
        raise CheckpointError(what)
    names = ", ".join(list(state)[:3]) or "no tensors"
    raise CheckpointError(
        f"is of no layout that gancomp knows (it holds {names}); it knows {LAYOUTS}"
    )


def recognize_unet(state: State) -> Recognized | None:
    """A U-Net of pix2pix, if it is one; the same holds for those below."""
    if "model.model.0.weight" in state and "model.model.1.model.1.weight" in state:
        return _recognize_unet(state)
    return None


def recognize_resnet(state: State) -> Recognized | None:
    """A ResNet of CycleGAN or, with separable convolutions, of its compressors."""
    if f"model.{FIRST_BLOCK}.conv_block.1.weight" in state:
        return _recognize_resnet(state, mobile=False)
    if f"model.{FIRST_BLOCK}.conv_block.1.conv.0.weight" in state:
        return _recognize_resnet(state, mobile=True)
    return None


def recognize_deep(state: State) -> Recognized | None:
    """A deep teacher of OMGD: a ResNet or a U-Net."""
    found = omgd.deep_settings(state)
    if found is None:
        return None
    arch, settings, named = found
    return Recognized(arch, settings, omgd.DEEP_LAYOUT, named)


def recognize_patchgan(state: State) -> Recognized | None:
    """A PatchGAN discriminator."""
    if "model.0.weight" in state and "model.2.weight" in state:
        return _recognize_patchgan(state)
    return None


def recognize_inception(state: State) -> Recognized | None:
    """A generator of CAT."""
    if not cat.is_inception(state):
        return None
    arch, settings, named = cat.inception_settings(state)
    return Recognized(arch, settings, cat.LAYOUT, named)


def recognize_two_branch(state: State) -> Recognized | None:
    """OMGD's discriminator for two teachers."""
    found = omgd.two_branch_settings(state)
    return None if found is None else Recognized(*found, omgd.LAYOUT, state)


def recognize_biggan(state: State) -> Recognized | None:
    """A generator or discriminator of BigGAN-PyTorch."""
    found = biggan.biggan_settings(state)
    return None if found is None else Recognized(*found, biggan.LAYOUT, state)


def recognize_stylegan2(state: State) -> Recognized | None:
    """A generator or discriminator of rosinality's StyleGAN2."""
    found = stylegan2.stylegan2_network(state)
    return None if found is None else Recognized(*found[:2], stylegan2.LAYOUT, found[2])


def _recognize_resnet(state: State, *, mobile: bool) -> Recognized:
    last = FIRST_BLOCK
    while any(name.startswith(f"model.{last}.conv_block.") for name in state):
        last += 1
    num_blocks = last - FIRST_BLOCK
    if num_blocks > MOST_BLOCKS:
        raise CheckpointError(f"is a ResNet of {num_blocks} blocks; gancomp knows those of 1 to 9")
    full = num_blocks if num_blocks == 6 else MOST_BLOCKS  # blocks, the removed ones included
    arch = f"{'mobile-' if mobile else ''}resnet{full}"
    without_slot = f"model.{FIRST_BLOCK}.conv_block.5.weight" in state
    if without_slot:
        state = {_with_dropout_slot(name): tensor for name, tensor in state.items()}
    inner_conv = "conv_block.1.conv.2" if mobile else "conv_block.1"
    head = last + 7
    width, in_channels = _shape(state, "model.1.weight")[:2]
    channels = [  # uniform or pruned; the network tells
        width,
        _shape(state, "model.4.weight")[0],
        _shape(state, "model.7.weight")[0],
        *(_shape(state, f"model.{i}.{inner_conv}.weight")[0] for i in range(FIRST_BLOCK, last)),
        *[0] * (full - num_blocks),
        _shape(state, f"model.{last}.weight")[1],
        _shape(state, f"model.{last + 3}.weight")[1],
    ]
    settings = {
        "width": width,
        "in_channels": in_channels,
        "out_channels": _shape(state, f"model.{head}.weight")[0],
        "norm": _norm(state, conv="model.1", norm="model.2"),
        "channels": channels,
    }
    if mobile:
        layout = "mobile ResNet of GAN Compression, OMGD or DCD"
    elif without_slot:
        layout = "ResNet of CycleGAN or pix2pix without dropout"
    else:
        layout = "ResNet of GAN Compression, OMGD, DCD, or pix2pix with dropout"
    return Recognized(arch, settings, layout, state)


def _with_dropout_slot(name: str) -> str:
    """The name after a dropout slot moved a block's second convolution and norm up by one."""
    for index in (5, 6):
        if f".conv_block.{index}." in name:
            return name.replace(f".conv_block.{index}.", f".conv_block.{index + 1}.")
    return name


def _recognize_unet(state: State) -> Recognized:
    paths = ["model.model.1"]
    while f"{paths[-1]}.model.3.model.1.weight" in state:
        paths.append(f"{paths[-1]}.model.3")
    num_levels = len(paths) + 1
    # above the innermost level there is a norm: with one, that level was pruned away
    normed = f"{paths[-1]}.model.5.weight" in state
    if not (4 if normed else 5) <= num_levels <= (7 if normed else 8):
        raise CheckpointError(f"is a U-Net of {num_levels} levels; gancomp knows those of 5 to 8")
    width, in_channels = _shape(state, "model.model.0.weight")[:2]
    down = [width, *(_shape(state, f"{path}.model.1.weight")[0] for path in paths)]
    up = [_shape(state, f"{path}.model.5.weight")[1] for path in paths[:-1]]
    up.append(_shape(state, f"{paths[-1]}.model.{5 if normed else 3}.weight")[1])
    arch, full = ("unet128", 7) if num_levels == 7 and not normed else ("unet256", 8)
    gone = [0] * (full - num_levels)
    if gone and not normed:
        down, up = [*down[:-1], *gone, down[-1]], [*up[:-1], *gone, up[-1]]
    else:
        down, up = [*down, *gone], [*up, *gone]
    settings = {
        "width": width,
        "in_channels": in_channels,
        "out_channels": _shape(state, "model.model.3.weight")[1],
        "norm": _norm(state, conv="model.model.1.model.1", norm="model.model.1.model.2"),
        "channels": [*down, *reversed(up)],
    }
    return Recognized(arch, settings, "U-Net of pix2pix, OMGD or DCD", state)


def _recognize_patchgan(state: State) -> Recognized:
    convs = [name for name, tensor in state.items() if _leaf(name) == "weight" and tensor.ndim == 4]
    width, in_channels = _shape(state, "model.0.weight")[:2]
    settings = {
        "width": width,
        "in_channels": in_channels,
        "norm": _norm(state, conv="model.2", norm="model.3"),
        "layers": len(convs) - 2,
    }
    return Recognized("patchgan", settings, "PatchGAN of CycleGAN or pix2pix", state)


def _norm(state: State, *, conv: str, norm: str) -> str:
    """`"batch"` or `"instance"`, told from the first normalized convolution."""
    has_weight, has_bias = f"{norm}.weight" in state, f"{conv}.bias" in state
    if has_weight and (has_bias or f"{norm}.running_mean" not in state):
        raise CheckpointError(
            f"normalizes by InstanceNorm with weights ({norm}.weight), as CAT's discriminators "
            "do, which gancomp does not open"
        )
    if not has_weight and not has_bias:
        raise CheckpointError(
            f"has neither {conv}.bias nor {norm}.weight, so its norm cannot be told; "
            "the file is damaged or of a layout that gancomp does not know"
        )
    return "batch" if has_weight else "instance"


def _shape(state: State, name: str) -> list[int]:
    """The shape of a convolution's weight: `(out, in, k, k)`, transposed ones `(in, out, k, k)`."""
    if name not in state or state[name].ndim != 4:
        raise CheckpointError(
            f"has no convolution {name}; the file is damaged or of a layout that gancomp "
            "does not know"
        )
    return list(state[name].shape)


def _with_batch_counts(state: State, network: TappedNetwork) -> State:
    """`state` with the batch counters that BatchNorm lacked before PyTorch 0.4.1."""
    missing = [
        name
        for name in network.state_dict()
        if _leaf(name) == "num_batches_tracked" and f"{_parent(name)}.running_mean" in state
    ]
    return dict.fromkeys(missing, torch.tensor(0)) | state


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _parent(name: str) -> str:
    return name.rpartition(".")[0]
