"""The channels of any network that can be removed, followed through a pass; it without some.

What is removed is recorded tensor by tensor, see `networks.pruned`, so that the network needs no
settings for the width of each layer.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gancomp.declare import PRUNED
from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.networks.pruned import CONVS, TRANSPOSED, cut, put
from gancomp.networks.shapes import without_data
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings
from gancomp.shrink.operators import FIXED
from gancomp.shrink.prunable import NORMS, Group, Removed
from gancomp.shrink.tracing import Tracer

NUMBER = -1  # as an axis: the number of features of a norm without tensors
Axis = tuple[str, int]  # a tensor and its axis


class Traced:
    """The prunable channels of a network whose operators are followed.

    Attributes:
        groups: of channels that are in the same tensors.
        skipped: layers that are kept whole, as their couplings could not be followed.

    Args:
        network: a trained one, on the CPU; it is not changed.
        shape: of an input that it takes, as small as may be.
        asked: what errors begin with.

    Raises:
        ConfigError: if it has no channels that can be removed.
    """

    def __init__(self, network: TappedNetwork, shape: Sequence[int], asked: str) -> None:
        self.network, self.shape, self.asked = network, tuple(shape), asked
        self._ghost = copy.deepcopy(network) if network.needs_values else without_data(network)
        self._ghost.eval()
        self._classes, contracted, lost = self._trace()
        members = self._members(contracted)
        self._channels = _grouped(network, members)
        self.groups = [
            Group(layer, frozenset(), self._scores(channels, members))
            for layer, channels in self._channels.items()
        ]
        working = self._working(list(self._channels))
        self.skipped = sorted({layer for layer in self._channels if layer not in working} | lost)
        self.groups = [group for group in self.groups if group.layer in working]
        if not self.groups:
            raise ConfigError(
                f"{asked}: {network.arch} has no channels whose couplings can be followed "
                f"({', '.join(self.skipped[:3]) or 'none'}); choose width instead"
            )

    def settings(self, removed: Removed) -> NetworkSettings:
        """Of the network without those channels, given by their group."""
        shapes: dict[str, Any] = dict(self.network.settings().get(PRUNED) or {})
        shapes |= self._shapes(self._kept(removed))
        settings = self.network.settings() | ({PRUNED: shapes} if shapes else {})
        return NetworkSettings(self.network.arch, **settings)

    def ghost(self, removed: Removed) -> TappedNetwork:
        """The network without those channels and without values, to be counted."""
        ghost = copy.deepcopy(self._ghost)
        cut(ghost.body, self._shapes(self._kept(removed)))
        return ghost

    def without(self, removed: Removed) -> TappedNetwork:
        """A copy without those channels."""
        settings = self.settings(removed)
        pruned = build_network(settings.arch, **settings.arguments())
        pruned.expect(self.network.state_dict())
        body = self.network.body
        tensors = dict((*body.named_parameters(), *body.named_buffers()))
        kept = self._kept(removed)
        for name, tensor in tensors.items():
            value = tensor.detach()
            for axis in range(tensor.dim()):
                if (name, axis) in kept:
                    value = value.index_select(axis, torch.from_numpy(kept[name, axis]))
            owner, leaf = _owner(pruned.body, name)
            put(owner, leaf, _rescaled(owner, leaf, value, tensor).clone())
        return pruned.eval()

    def masked(self, removed: Removed) -> TappedNetwork:
        """A copy in which those channels are there, but 0 behind every layer that makes them."""
        masked = copy.deepcopy(self.network)
        gone = self._gone(removed)
        with torch.no_grad():
            for (name, axis), classes in self._classes.items():
                if axis == NUMBER:
                    continue
                owner, leaf = _owner(masked.body, name)
                tensor = getattr(owner, leaf)
                if isinstance(tensor, nn.Parameter) and axis == _made_on(owner, tensor):
                    indices = np.flatnonzero(np.isin(classes, list(gone)))
                    tensor.index_fill_(axis, torch.from_numpy(indices), 0)
        return masked

    def _trace(self) -> tuple[dict[Axis, Any], Any, set[str]]:
        twin = copy.deepcopy(self._ghost)
        device = next(twin.parameters()).device
        with torch.no_grad(), torch.device(device):
            inputs: Any = twin.traced_input(self.shape)
            tracer = Tracer(twin.body)
            for value in [inputs] if isinstance(inputs, Tensor) else list(vars(inputs).values()):
                tracer.keep(value)
            with tracer:
                output = (twin.body if twin.is_own else twin)(inputs)
        first = output[0] if isinstance(output, tuple | list) else output
        tracer.keep(first)
        for name, buffer in twin.body.named_buffers():
            if name not in twin.state_dict():
                _keep_unless_uniform(tracer, name, self.network.body.get_buffer(name), buffer)
        classes = tracer.classes()
        contracted = np.unique(np.concatenate(tracer.contracted or [np.array([FIXED])]))
        return classes, contracted, {layer for layer in tracer.lost if layer}

    def _members(self, contracted: Any) -> dict[int, dict[Axis, Any]]:
        """Where each channel that may go is: by tensor and axis, its positions."""
        found: dict[int, dict[Axis, Any]] = defaultdict(dict)
        allowed = set(contracted.tolist()) - {FIXED}
        for key, classes in self._classes.items():
            order = np.argsort(classes, kind="stable")
            names, starts = np.unique(classes[order], return_index=True)
            for name, positions in zip(names.tolist(), np.split(order, starts[1:]), strict=True):
                if name in allowed:
                    found[name][key] = positions
        return found

    def _scores(self, channels: list[int], members: Mapping[int, Mapping[Axis, Any]]) -> Tensor:
        """Mean squared norms over the weights that each channel is in, 1 on average."""
        totals = torch.zeros(len(channels))
        count = 0
        for name, axis in members[channels[0]]:
            owner, leaf = _owner(self.network.body, name) if axis != NUMBER else (None, "")
            tensor = getattr(owner, leaf, None)
            if not isinstance(tensor, nn.Parameter) or not _counts(owner, leaf, tensor):
                continue
            squares = tensor.detach().float().square()
            norms = squares.movedim(axis, 0).flatten(1).sum(1) if tensor.dim() > 1 else squares
            totals += torch.stack(
                [
                    norms[torch.from_numpy(members[channel][name, axis])].sum()
                    for channel in channels
                ]
            )
            count += 1
        mean = float(totals.mean())
        return totals / mean if mean > 0 else torch.ones(len(channels))

    def _working(self, layers: list[str]) -> set[str]:
        """The groups without whose first channel the network still runs, alone and together."""
        layers = [layer for layer in layers if len(self._channels[layer]) > 1]
        if not layers or self._runs(layers):
            return set(layers)
        if len(layers) == 1:
            return set()
        half = len(layers) // 2
        found = self._working(layers[:half]) | self._working(layers[half:])
        return found if len(found) == len(layers) or self._runs(sorted(found)) else set()

    @torch.no_grad()
    def _runs(self, layers: list[str]) -> bool:
        ghost = self.ghost({layer: [0] for layer in layers})
        try:
            with torch.device(next(ghost.parameters()).device):
                output = ghost.body if ghost.is_own else ghost
                output = output(ghost.example_input(self.shape))
        except Exception:  # whatever the code of others raises
            return False
        return isinstance(output[0] if isinstance(output, tuple | list) else output, Tensor)

    def _gone(self, removed: Removed) -> set[int]:
        return {
            self._channels[layer][index] for layer, indices in removed.items() for index in indices
        }

    def _kept(self, removed: Removed) -> dict[Axis, Any]:
        """The positions that stay, of every axis that loses some."""
        gone = list(self._gone(removed))
        kept = {
            key: np.flatnonzero(~np.isin(classes, gone)) for key, classes in self._classes.items()
        }
        return {key: stay for key, stay in kept.items() if len(stay) < len(self._classes[key])}

    def _shapes(self, kept: Mapping[Axis, Any]) -> dict[str, Any]:
        shapes: dict[str, Any] = {}
        for (name, axis), stay in kept.items():
            if axis == NUMBER:
                shapes[name] = len(stay)
                continue
            owner, leaf = _owner(self._ghost.body, name)
            shapes.setdefault(name, list(getattr(owner, leaf).shape))[axis] = len(stay)
        return shapes


def _grouped(network: TappedNetwork, members: Mapping[int, Mapping[Axis, Any]]) -> dict[str, Any]:
    """Channels that are in the same tensors, by the layer that makes them first."""
    alike: dict[frozenset[Axis], list[int]] = defaultdict(list)
    for channel, places in members.items():
        alike[frozenset(places)].append(channel)
    making = {}
    for name, tensor in network.body.named_parameters():
        making[name, _made_on(_owner(network.body, name)[0], tensor)] = name
    named: dict[str, Any] = {}
    for axes, channels in alike.items():
        lead = next((name for key, name in making.items() if key in axes), min(axes)[0])
        layer = path = lead.rpartition(".")[0] or lead
        while layer in named:  # some of its channels are in a group of their own
            layer = f"{path}:{len(named)}"
        named[layer] = sorted(channels)
    return named


def _owner(body: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return body.get_submodule(path), leaf


def _made_on(owner: nn.Module, tensor: Tensor) -> int:
    """The axis of a weight along which the channels are that it makes."""
    if isinstance(owner, (*TRANSPOSED, nn.Embedding)) or tensor.dim() == 5:
        return 1
    learned = tensor.dim() > 1 and tensor.shape[0] == 1  # a map that all images begin with
    return int(learned and not isinstance(owner, (*CONVS, nn.Linear)))


def _counts(owner: Any, leaf: str, tensor: Tensor) -> bool:
    """Whether a parameter says how much its channels matter: weights, and scales of norms."""
    matrix = sum(length > 1 for length in tensor.shape) > 1
    return matrix or (isinstance(owner, NORMS) and leaf == "weight")


def _rescaled(owner: nn.Module, leaf: str, value: Tensor, whole: Tensor) -> Tensor:
    """What is scaled by the number of its inputs goes on giving the same."""
    axis = getattr(owner, "fan_in_axis", None)
    if axis is None or leaf != "weight":
        return value
    return value * math.sqrt(value.shape[axis] / whole.shape[axis])


def _keep_unless_uniform(tracer: Tracer, name: str, values: Tensor, ghost: Tensor) -> None:
    """Of a buffer that no file holds the first channels are left, whichever go."""
    for axis, labels in enumerate(tracer.of(ghost)):
        if labels is not None and not bool((values == values.narrow(axis, 0, 1)).all()):
            tracer.give_up(labels)
