"""What an image from noise is compared with: the teacher's image of the same noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import torch

from gancomp.domains.synthesis.contest import NUM_FAKES, batch_size, generated, refuse_unused
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
    # of as many as FID looks at, the first have a reference
    num, whole = request.num or NUM_PAIRS, request.num or NUM_FAKES
    for network in networks:
        network.to(device)
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

    def made(
        numbers: Sequence[int], say: Say, skipped: list[Path]
    ) -> Iterator[tuple[Pixels, Pixels | None]]:
        paired = [number for number in numbers if number < num]
        references = generated(networks[1], request, paired, of=num) if paired else ()
        return zip_longest(generated(networks[0], request, numbers, of=whole), references)

    return Pairs(
        str(model),
        str(other.model.path),
        range(num),
        made,
        protocol,
        unit=batch_size(networks[0], request),
        whole=range(whole),
    )


def _shapes(network: SynthesisGenerator) -> list[object]:
    """What noise it takes, and the size of what it makes of it."""
    latents = Recipe(0).latents(network, 0)
    noise = [tuple(item.shape) for item in latents.noise]
    return [tuple(latents.z.shape), noise, network.num_classes, network.resolution]
