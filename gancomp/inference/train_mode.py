"""Runs a generator as pix2pix's own test script does: in the mode that it was trained in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.export.deployed import DeployedGenerator
from gancomp.export.model import LoadedModel
from gancomp.networks.base import TappedNetwork
from gancomp.networks.inference import run_generator
from gancomp.networks.own import OwnGenerator
from gancomp.networks.unet import UNetGenerator
from gancomp.registry import build_network
from gancomp.settings import Json

PIX2PIX_DROPOUT = 0.5
SEED = 0


@dataclass(frozen=True)
class TrainMode:
    """A generator whose norms take each image's own statistics and whose dropout is on.

    Attributes:
        network: in training mode; nothing of it is ever saved.
        dropout: its rate.

    Source: Isola et al. 2017, section 3.4 (inference with dropout and the batch's statistics).
    """

    network: TappedNetwork
    dropout: float

    def run(self, images: Tensor) -> Tensor:
        """The output for images `(1, C, H, W)`; dropout draws the same for each of a size."""
        device = next(self.network.parameters()).device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(SEED)
            return run_generator(self.network, images)

    def recorded(self) -> Json:
        """What a reader needs to repeat it."""
        return {
            "name": "train",
            "norms": "statistics of each image",
            "dropout": self.dropout,
            "seed": SEED,
        }


def train_mode(model: LoadedModel, named: str, dropout: float | None) -> TrainMode:
    """The generator of `model` in training mode.

    Args:
        model: of an image-to-image task.
        named: what the user calls it.
        dropout: its rate; None is what it was trained with: as its header says, or 0.5 in a file of
            others that may be pix2pix's, which does not tell.

    Raises:
        ConfigError: if that would change nothing, or the rate is none.
    """
    network = model.network
    if isinstance(network, DeployedGenerator):
        raise ConfigError(f"`train_mode`: {named} is an exported file, at rest for good; remove it")
    if network.scale > 1:
        raise ConfigError(f"`train_mode`: {named} enlarges images; remove it")
    if isinstance(network, OwnGenerator):
        raise ConfigError(f"`train_mode`: {named} is code of your own, {network.arch}; remove it")
    settings = network.settings()
    batch_norm = settings.get("norm") == "batch"
    if dropout is None:
        dropout = settings["dropout"]
        if model.origin != "gancomp" and _may_be_of_pix2pix(network, batch_norm=batch_norm):
            dropout = PIX2PIX_DROPOUT
    if not batch_norm and dropout == 0:
        raise ConfigError(
            f"`train_mode`: {named} has neither batch norm nor dropout, so both modes give the "
            "same images; remove it"
        )
    with torch.device("meta"):
        rebuilt = build_network(network.arch, **settings | {"dropout": dropout})
    rebuilt.load_state_dict(network.state_dict(), assign=True)
    rebuilt.train()
    for module in rebuilt.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # the stored statistics stay what they are
    return TrainMode(rebuilt, dropout)


def _may_be_of_pix2pix(network: TappedNetwork, *, batch_norm: bool) -> bool:
    """CycleGAN's and the compressors' networks have no dropout; their norm tells them apart."""
    return batch_norm and (isinstance(network, UNetGenerator) or network.arch.startswith("resnet"))
