"""What an image from noise is compared with: the teacher's image of the same noise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch

from gancomp.domains.synthesis.contest import NUM_FAKES, generated, refuse_unused
from gancomp.errors import ConfigError
from gancomp.export.deployed import runtime_of
from gancomp.inference.models import Chosen, check_generates
from gancomp.inference.sampling import Recipe
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.scoring.pairs import Pairs
from gancomp.scoring.request import FidRequest, Pixels, Say

NUM_PAIRS = 1000


def synthesis_pairs(
    request: FidRequest, chosen: Chosen, other: Chosen | None, say: Say, *, device: torch.device
) -> Pairs:
    """Images 0, 1, ... of either model.

    Raises:
        ConfigError: without another model, or with one that takes other noise.
    """
    model = chosen.model.path
    if other is None:
        raise ConfigError(
            f"`pairs` targets: {model} makes images out of noise, which have no targets; `pairs` "
            "teacher, or a model's file, compares images of the same noise"
        )
    refuse_unused(request, chosen)
    networks = [check_generates(item.model, str(item.model.path)) for item in (chosen, other)]
    if _shapes(networks[0]) != _shapes(networks[1]):
        raise ConfigError(
            f"`pairs` {other.model.path}: takes other noise than {model}; give two models of the "
            "same latents, classes and resolution"
        )
    num = request.num or NUM_PAIRS
    # as many as FID looks at, made while they are read: the first of them have a reference
    made = generated(networks[0].to(device), request, request.num or NUM_FAKES)
    references = generated(networks[1].to(device), request, num)
    protocol = {
        "of": "images of the same latents, output rounded to 8 bits",
        "seed": request.seed or 0,
        "truncation": request.truncation,
        "task": "synthesis",
        "step": chosen.model.header["step"],
        "selection": chosen.model.header.get("selection", "last"),
        "reference_step": other.model.header["step"],
        "device": device.type,
    } | runtime_of(networks[0])

    def images() -> Iterator[tuple[Pixels, Pixels]]:
        for reference in references:
            yield next(made), reference

    def fakes(compared: Iterator[Pixels], skipped: list[Path]) -> Iterator[Pixels]:
        return chain(compared, made)

    return Pairs(str(model), str(other.model.path), images(), protocol, fakes=fakes)


def _shapes(network: SynthesisGenerator) -> list[object]:
    """What noise it takes, and the size of what it makes of it."""
    latents = Recipe(0).latents(network, 0)
    noise = [tuple(item.shape) for item in latents.noise]
    return [tuple(latents.z.shape), noise, network.num_classes, network.resolution]
