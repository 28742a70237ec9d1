"""Networks with fewer channels than their code builds: layers cut to the sizes that are recorded.

The setting `pruned` names each tensor that is smaller than the network's factory makes it, with its
shape: `{"blocks.0.conv.weight": [37, 64, 3, 3], "blocks.0.norm.num_features": 37}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gancomp.declare import PRUNED
from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.networks.shapes import without_data

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
COUNT = "num_features"  # of norms that have no tensors to tell by
MOST_ENTRIES = 100_000
SIDE = 64  # of the image that shows whether layers fit
Shapes = Mapping[str, Any]


def cut(module: nn.Module, shapes: Shapes) -> None:
    """Makes tensors of `module` as small as `shapes` say, of each axis the first ones.

    Args:
        module: as its factory made it, on any device.
        shapes: by path; an `int` after `.num_features` of a norm without tensors.

    Raises:
        ConfigError: for what it does not have, or cannot be cut to.
    """
    if not isinstance(shapes, Mapping) or len(shapes) > MOST_ENTRIES:
        raise ConfigError(f"{PRUNED}: should say the shape of each tensor that was cut")
    before: dict[nn.Module, dict[str, tuple[int, ...]]] = {}
    for name, wanted in shapes.items():
        path, _, leaf = name.rpartition(".")
        try:
            owner = module.get_submodule(path)
        except AttributeError:
            raise ConfigError(f"{PRUNED}: the network has no {_shown(name)}") from None
        if leaf == COUNT and isinstance(owner, NORMS):
            (owner.num_features,) = _checked(name, [wanted], (owner.num_features,))
            continue
        tensor = {**owner._parameters, **owner._buffers}.get(leaf)
        if tensor is None and leaf in owner._buffers:
            continue  # not there yet; `expect` makes it when a file brings it
        if tensor is None:
            raise ConfigError(f"{PRUNED}: the network has no {_shown(name)}")
        shape = _checked(name, wanted, tuple(tensor.shape))
        before.setdefault(owner, {})[leaf] = tuple(tensor.shape)
        put(owner, leaf, tensor[tuple(map(slice, shape))].detach().clone())
    for owner, earlier in before.items():
        _follow(owner, earlier)


def put(owner: nn.Module, leaf: str, value: Tensor) -> None:
    """Makes `value` the parameter or buffer called `leaf`."""
    if (old := owner._parameters.get(leaf)) is not None:
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=old.requires_grad)
    else:
        owner._buffers[leaf] = value


def _shown(value: Any) -> str:
    return f"{value!r:.80}"


def _checked(name: str, wanted: Any, most: tuple[int, ...]) -> tuple[int, ...]:
    fits = isinstance(wanted, list | tuple) and len(wanted) == len(most)
    if not fits or not all(
        isinstance(new, int) and not isinstance(new, bool) and 1 <= new <= old
        for new, old in zip(wanted, most, strict=True)
    ):
        raise ConfigError(f"{PRUNED}: {_shown(name)} {_shown(wanted)}: is cut out of {list(most)}")
    return tuple(wanted)


def _follow(owner: nn.Module, before: Mapping[str, tuple[int, ...]]) -> None:
    """Lets the numbers beside the tensors of one module say what these have become."""
    now = {name: tuple(getattr(owner, name).shape) for name in before}
    weight = now.get("weight")
    if isinstance(owner, (*CONVS, *TRANSPOSED)) and weight is not None:
        _follow_convolution(owner, before["weight"], weight)
    elif isinstance(owner, nn.Linear) and weight is not None:
        owner.out_features, owner.in_features = weight
    elif isinstance(owner, nn.Embedding) and weight is not None:
        owner.num_embeddings, owner.embedding_dim = weight
    elif isinstance(owner, NORMS):
        owner.num_features = next(iter(now.values()))[0]
    elif isinstance(owner, nn.GroupNorm):
        owner.num_channels = next(iter(now.values()))[0]
    elif isinstance(owner, nn.LayerNorm):
        owner.normalized_shape = next(iter(now.values()))
    elif isinstance(owner, nn.PReLU):
        owner.num_parameters = next(iter(now.values()))[0]
    elif not getattr(owner, "is_network", False):
        _follow_numbers(owner, before, now)


def _follow_convolution(owner: Any, before: tuple[int, ...], now: tuple[int, ...]) -> None:
    transposed = isinstance(owner, TRANSPOSED)
    if owner.groups == owner.in_channels > 1:  # depthwise
        owner.groups = owner.in_channels = now[0] * owner.groups // before[0]
        owner.out_channels = now[0] * (now[1] if transposed else 1)
    else:
        inner, outer = (now[0], now[1]) if transposed else (now[1], now[0])
        owner.in_channels = inner * (1 if transposed else owner.groups)
        owner.out_channels = outer * (owner.groups if transposed else 1)


def _follow_numbers(
    owner: nn.Module, before: Mapping[str, tuple[int, ...]], now: Mapping[str, tuple[int, ...]]
) -> None:
    """A number of somebody's own module that was the length of a tensor goes on being that."""
    became: dict[int, set[int]] = {}
    for name, lengths in before.items():
        for old, new in zip(lengths, now[name], strict=True):
            became.setdefault(old, set()).add(new)
    for name, value in vars(owner).items():
        lengths_now = became.get(value, set()) if type(value) is int else set()
        if len(lengths_now) == 1:
            setattr(owner, name, lengths_now.pop())


def prune(network: TappedNetwork, shapes: Shapes) -> None:
    """Cuts a network of gancomp's, fresh from its factory; its settings then say so.

    Raises:
        ConfigError: for shapes that it cannot have, or that do not fit each other.
    """
    cut(network, shapes)
    network._settings[PRUNED] = {name: wanted for name, wanted in shapes.items()}
    network.tap_channels = _tap_channels(network)


@torch.no_grad()
def _tap_channels(network: TappedNetwork) -> dict[str, int]:
    """The channels of the default taps, found by a pass without values."""
    settings = network.settings()
    side = math.ceil(SIDE / network.size_multiple) * network.size_multiple
    shape: tuple[int, ...] = (1, settings.get("in_channels", 3), side, side)
    if (latent_size := getattr(network, "latent_size", None)) is not None:
        shape = (1, latent_size)
    try:
        with torch.device("meta"):
            twin = without_data(network).eval()
            output, found = twin.forward(twin.example_input(shape), network.default_taps)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ConfigError(f"{PRUNED}: its layers do not fit each other ({reason})") from error
    if output.shape[1] != settings.get("out_channels", 3):
        raise ConfigError(f"{PRUNED}: its layers make no image")
    return {name: value.shape[1] for name, value in found.items()}
