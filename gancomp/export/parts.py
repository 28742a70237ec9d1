"""Finds the networks in a checkpoint, under whatever wrappers, attributes and containers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from gancomp.errors import CheckpointError, MissingPartError
from gancomp.export.strangers import name_entries
from gancomp.networks.resnet import FIRST_BLOCK

State = dict[str, Tensor]

# what DataParallel, torch.compile and their like put into names
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
MARKS = (  # keys that together give a layout away, behind whatever prefix
    ("model.model.0.weight", "model.model.1.model.1.weight"),  # U-Net
    (f"model.{FIRST_BLOCK}.conv_block.1.weight",),  # ResNet
    (f"model.{FIRST_BLOCK}.conv_block.1.conv.0.weight",),  # mobile ResNet
    ("model.7.conv_block.4.weight",),  # OMGD's deep ResNet
    ("model.model.0.weight", "model.model.1.conv_block.4.weight"),  # and its deep U-Net
    ("model.0.weight", "model.2.weight"),  # PatchGAN
    ("down_sampling.1.weight", "up_sampling.0.weight"),  # CAT
    ("block1s.0.block.0.weight", "block2s.0.block.0.weight"),  # its discriminator
    ("blocks.0.0.conv1.weight",),  # BigGAN
    ("input.input",),  # StyleGAN2
    ("final_conv.0.weight",),  # and its discriminator
)
STEMS = ("g_a", "g", "generator")  # what is opened unless a part is asked for, the first of them
AVERAGES = ("ema", "average", "averaged", "avg", "swa")
DEPTH = 4  # how far containers may lie within each other


def pick(content: Any, part: str | None) -> tuple[State, str | None]:
    """The network in `content` to be opened, and what its part is called.

    Where there are several, the generator is taken, its average before the one in training.

    Returns: a flat state dict without wrappers or prefixes; if nothing in it is of a layout that
        we know, one that is not, to say what it is.

    Raises:
        CheckpointError: if there are several and none is the obvious one, or it is a file of
            something else than networks; no path in the message.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"holds a {type(content).__name__}, not the weights of a network; "
            "save torch.save(network.state_dict(), FILE)"
        )
    known, others = _networks(content)
    if not known and (what := name_entries(content)) is not None:
        raise CheckpointError(what)
    parts = known or others
    if list(parts) == [""]:
        if part is not None:
            raise MissingPartError(f"has no part {part!r}, it holds a single network; remove it")
        return parts[""], None
    if part is not None and part in known | others:
        return (known | others)[part], part
    if part is not None:
        raise MissingPartError(f"has no part {part!r}; its parts: {', '.join(parts)}")
    if not known:  # what the first one is will be said when it is refused
        return next(iter(parts.values()), {}), next(iter(parts), None)
    chosen = _obvious(list(known))
    if chosen is None:
        raise CheckpointError(f"holds several networks; choose a part: {', '.join(known)}")
    return known[chosen], chosen


def _networks(content: Mapping[Any, Any]) -> tuple[dict[str, State], dict[str, State]]:
    """Networks of known layouts and other named tensors, each by the name of its part."""
    known: dict[str, State] = {}
    others: dict[str, State] = {}
    for place, state in _states(content, (), DEPTH):
        found = _prefixed(state)
        for prefix, tensors in found.items():
            name = ".".join((*place, *([prefix] if prefix else [])))
            short = prefix or ".".join(place[-1:])
            known[name if short in known else short] = tensors
        if not found:
            others[".".join(place)] = state
    return known, others


def _states(
    content: Mapping[Any, Any], place: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], State]]:
    """Every group of named tensors, without wrappers in their names, and where it lies."""
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    inner = [(str(name), value) for name, value in content.items() if isinstance(value, Mapping)]
    groups = [
        group
        for name, value in inner
        if depth
        for group in _states(value, (*place, name), depth - 1)
    ]
    if tensors and (not groups or len(tensors) == len(content)):
        yield place, {_unwrapped(name): tensor for name, tensor in tensors.items()}
    yield from groups


def _unwrapped(name: str) -> str:
    return ".".join(word for word in name.split(".") if word not in WRAPPERS)


def _prefixed(state: State) -> dict[str, State]:
    """The networks of known layouts in `state`, by the attribute that they were kept under."""
    prefixes = dict.fromkeys(
        name.removesuffix(marks[0])
        for name in state
        for marks in MARKS
        if name == marks[0] or name.endswith(f".{marks[0]}")
        if all(name.removesuffix(marks[0]) + mark in state for mark in marks)
    )
    outermost = [  # a U-Net holds what looks like a network under `model.`
        prefix
        for prefix in prefixes
        if not any(other != prefix and prefix.startswith(other) for other in prefixes)
    ]
    return {
        prefix.removesuffix("."): {
            name.removeprefix(prefix): tensor
            for name, tensor in state.items()
            if name.startswith(prefix)
        }
        for prefix in outermost
    }


def _obvious(names: list[str]) -> str | None:
    """The one of these parts that is opened unasked."""
    if len(names) == 1:
        return names[0]
    stems = {name: _stem(name) for name in names}
    ranked = [name for stem in STEMS for name in names if stems[name] == stem]
    alike = [name for name in ranked if stems[name] == stems[ranked[0]]]
    if not ranked and len(set(stems.values())) == 1:
        alike = names
    averages = [name for name in alike if _words(name) & set(AVERAGES)]
    return next(iter((*averages, *alike)), None)


def _words(name: str) -> set[str]:
    return set(re.split(r"[_.\-]", name.lower()))


def _stem(name: str) -> str:
    """`netG_A_ema` and `G_A` are both `g_a`."""
    words = [word for word in re.split(r"[_.\-]", name.lower()) if word not in AVERAGES]
    return "_".join(words).removeprefix("net").removeprefix("_")
