"""Reads bare state dicts of generators of people's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gancomp.errors import MissingPartError
from gancomp.export.containers import fill, read_safetensors, read_torch, sniff
from gancomp.export.native import describe
from gancomp.export.parts import AVERAGES, DEPTH, WRAPPERS
from gancomp.networks.base import TappedNetwork
from gancomp.networks.own import OwnGenerator, refuse_unfit
from gancomp.registry import build_network

OTHER_MODULE = "give the state dict of exactly the module that the factory makes"
SIZE = 256  # that the header names, where nothing tells
State = dict[str, Tensor]


def read_own(
    path: Path, part: str | None, arch: str, arguments: Mapping[str, Any]
) -> tuple[TappedNetwork, dict[str, Any]]:
    """The generator `arch` with the weights in `path`, in eval mode, and a header for it.

    Args:
        path: written by `torch.save`, or safetensors; a state dict, or one among other things.
        part: which one, where the file holds several.
        arch: code that was named.
        arguments: of its network.

    Raises:
        CheckpointError: if the file is damaged, hostile, or holds no such weights.
    """
    network = build_network(arch, **arguments)
    assert isinstance(network, OwnGenerator), "the line of its code makes no other"
    content = read_safetensors(path)[1] if sniff(path) == "safetensors" else read_torch(path)
    states = dict(_states(content, (), DEPTH))
    if part is not None and part not in states:
        known = ", ".join(name for name in states if name) or "it has none"
        raise MissingPartError(f"{path}: has no part {part!r}; its parts: {known}")
    wanted = set(network.state_dict())
    chosen = {part: states[part]} if part is not None else states
    fitting = {
        name: state
        for name, raw in chosen.items()
        if (state := _of_module(raw, wanted)).keys() == wanted
    }
    averages = [name for name in fitting if any(word in name.lower() for word in AVERAGES)]
    name = next(iter((*averages, *fitting)), None)
    state = fitting[name] if name is not None else next(iter(chosen.values()), {})
    fill(network, state, path, otherwise=OTHER_MODULE)
    refuse_unfit(network, path)
    height, width = network.trial.size
    size = [height, width] if height == width else [SIZE, SIZE]  # a square takes no other size
    return network, describe(network, size) | {"layout": "a state dict", "part": name or None}


def _states(content: Any, place: tuple[str, ...], depth: int) -> Iterator[tuple[str, State]]:
    """Every group of named tensors, by where it lies: `params_ema`; `""` for the file itself."""
    if not isinstance(content, Mapping):
        return
    tensors = {str(name): item for name, item in content.items() if isinstance(item, Tensor)}
    if tensors:
        yield ".".join(place), tensors
    for name, item in content.items():
        if depth:
            yield from _states(item, (*place, str(name)), depth - 1)


def _of_module(state: State, wanted: set[str]) -> State:
    """Without what DataParallel and torch.compile put before the names, if that is all."""
    if state.keys() == wanted:
        return state
    for wrapper in WRAPPERS:
        if all(name.startswith(f"{wrapper}.") for name in state):
            return {name.removeprefix(f"{wrapper}."): item for name, item in state.items()}
    return state
