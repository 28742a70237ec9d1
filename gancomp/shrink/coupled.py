"""Channels that stand and fall together, as Torch-Pruning traces them; a network without some.

Source: Fang et al. 2023 (DepGraph), whose library finds the dependencies between layers.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.settings import NetworkSettings
from gancomp.shrink.explicit import LayerWidths
from gancomp.shrink.prunable import NORMS, Group, Removed

ROOTS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def library(asked: str) -> Any:
    """Torch-Pruning.

    Raises:
        ConfigError: beginning with `asked`, with the install command, if it is missing.
    """
    try:
        import torch_pruning
    except ImportError:
        raise ConfigError(
            f"{asked}: needs Torch-Pruning; install it with pip install 'gancomp[prune]'"
        ) from None
    return torch_pruning


class Coupled:
    """The prunable channels of a network with settings for the width of each layer.

    Attributes:
        groups: that each go or stay as one.
        skipped: layers whose couplings are not known, so that they are kept whole.

    Args:
        network: a trained one, on the CPU; it is not changed.
        shape: of an input that it takes, as small as may be.
        asked: what errors begin with.

    Raises:
        ConfigError: if its dependencies cannot be followed.
    """

    def __init__(self, network: TappedNetwork, shape: Sequence[int], asked: str) -> None:
        self.network, self.shape, self.asked = network, tuple(shape), asked
        self._widths = LayerWidths(network)
        self.groups: list[Group] = []
        self.skipped: list[str] = []
        graph = self._graph(network)
        importance = library(asked).importance.GroupMagnitudeImportance(p=2)
        names = {module: name for name, module in network.named_modules()}
        for group in graph.get_all_groups(root_module_types=list(ROOTS)):
            if any("OutputOp" in item.dep.target.name for item in group):
                continue  # the image's own channels
            layer = names[group[0].dep.target.module]
            try:
                scores = importance(group)
            except (IndexError, RuntimeError):  # couplings that it does not know, as of sub-pixels
                scores = None
            if scores is None or len(scores) != len(group[0].idxs):
                self.skipped.append(layer)
            else:
                made = {names.get(item.dep.target.module) for item in group if _makes(item)}
                makers = frozenset(name for name in made if name)
                self.groups.append(Group(layer, makers, scores.detach().clone()))
        if not self.groups:
            raise ConfigError(
                f"{asked}: {network.arch} has no channels whose couplings can be "
                "followed; choose width instead"
            )

    def settings(self, removed: Removed) -> NetworkSettings:
        """Of the network without those channels, given by the layer of their group."""
        return self._widths.settings(self._left(removed))

    def ghost(self, removed: Removed) -> TappedNetwork:
        """The network without those channels and without values, to be counted."""
        return self._widths.built(self._left(removed))

    def _left(self, removed: Removed) -> list[int]:
        """The width of each layer once channels were removed."""
        gone = {
            maker: len(removed.get(group.layer, ()))
            for group in self.groups
            for maker in group.makers
        }
        pairs = zip(self._widths.layers, self._widths.widths, strict=True)
        return [width - gone.get(layer, 0) for layer, width in pairs]

    def without(self, removed: Removed) -> TappedNetwork:
        """A copy without those channels."""
        pruned = copy.deepcopy(self.network)
        for group in self._groups(pruned, removed):
            group.prune()
        return pruned

    def masked(self, removed: Removed) -> TappedNetwork:
        """A copy in which those channels are there, but 0 behind every layer that makes them."""
        masked = copy.deepcopy(self.network)
        with torch.no_grad():
            for group in self._groups(masked, removed):
                for item in group:
                    if _makes(item):
                        _zero(item.dep.target.module, list(item.idxs))
        return masked

    def _groups(self, network: TappedNetwork, removed: Removed) -> Iterator[Any]:
        """Each when it is asked for: what was pruned before shifts where its channels lie."""
        graph = self._graph(network)
        for layer, channels in removed.items():
            if channels:
                module = network.get_submodule(layer)
                prune = graph.get_pruner_of_module(module).prune_out_channels
                yield graph.get_pruning_group(module, prune, sorted(channels))

    def _graph(self, network: TappedNetwork) -> Any:
        device = next(network.parameters()).device
        try:
            with warnings.catch_warnings(), torch.enable_grad(), device, _with_gradients(network):
                warnings.simplefilter("ignore")  # about parameters of unknown layers
                inputs = network.example_input(self.shape)
                return (
                    library(self.asked).DependencyGraph().build_dependency(network.eval(), inputs)
                )
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"{self.asked}: the layers of {network.arch} cannot be followed ({reason}); "
                "choose width instead"
            ) from error


@contextmanager
def _with_gradients(network: nn.Module) -> Iterator[None]:
    """The library follows gradients, and a frozen layer has none."""
    frozen = [weight for weight in network.parameters() if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


def _makes(item: Any) -> bool:
    return bool(item.dep.handler.__name__ == "prune_out_channels")


def _zero(module: nn.Module, channels: list[int]) -> None:
    if isinstance(module, nn.ConvTranspose2d):
        module.weight[:, channels] = 0
    elif isinstance(module, ROOTS) or isinstance(module, NORMS) and module.weight is not None:
        module.weight[channels] = 0
    else:
        return
    if module.bias is not None:
        module.bias[channels] = 0
