"""What `gancomp eval-fid` compares for a generator from noise: its images and training images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

import torch

from gancomp.data.layout import locate, scan
from gancomp.data.transforms import to_nearest_uint8
from gancomp.engine.run import read_config
from gancomp.errors import ConfigError
from gancomp.export.deployed import runtime_of
from gancomp.inference.models import Chosen, check_generates
from gancomp.inference.pixels import shown
from gancomp.inference.sampling import Recipe, fitting_batch, sampled
from gancomp.networks.synthesis import SynthesisGenerator
from gancomp.scoring.images import Images
from gancomp.scoring.request import (
    Contest,
    FidRequest,
    Pixels,
    Reals,
    Say,
    dataset_name,
    given_reals,
    holds_statistics,
)
from gancomp.settings import Json

NUM_FAKES = 50_000


def synthesis_contest(
    request: FidRequest, chosen: Chosen, say: Say, *, device: torch.device
) -> Contest:
    """Random images against training images that are prepared as they are for training.

    Raises:
        ConfigError: for options without effect, or if nothing names a dataset.
        DataError: if there are no real images.

    Source: Karras et al. 2020 (StyleGAN2) and their code: 50,000 images of the averaged weights
    without truncation, rounded to 8 bits; training images, mirrored if they were for training.
    """
    network = check_generates(chosen.model, str(chosen.model.path))
    refuse_unused(request, chosen)
    reals = prepared_reals(request, chosen, network.resolution, say)
    num = request.num or NUM_FAKES
    network.to(device)
    return Contest(
        str(chosen.model.path),
        Images(
            range(num),
            lambda numbers, say, skipped: generated(network, request, numbers, of=num),
            unit=batch_size(network, request),
        ),
        num,
        reals,
        describe(request, chosen, reals, num),
    )


def refuse_unused(request: FidRequest, chosen: Chosen) -> None:
    """Refuses options that only models with images for input have a use for.

    Raises:
        ConfigError: naming the first one.
    """
    model = chosen.model.path
    for option, value in request.of_images().items():
        raise ConfigError(
            f"`{option}` {shown(value)}: has no effect on {model}, which makes images out of "
            "noise; remove it"
        )
    if request.real_split != "auto":
        raise ConfigError(
            f"`real_split` {request.real_split}: has no effect on {model}, which is compared with "
            "training images; remove it, or give `real`"
        )
    if request.fake_split != "test":
        raise ConfigError(
            f"`fake_split` {request.fake_split}: has no effect on {model}, which makes images out "
            "of noise; remove it"
        )
    if request.real and request.dataset is not None:
        raise ConfigError(
            f"`dataset` {request.dataset}: has no effect with `real`; remove one of them"
        )
    if request.real and holds_statistics(request.real[0]) and request.mirror is not None:
        raise ConfigError(
            f"`mirror`: has no effect with `real` {request.real[0]}, which holds statistics; "
            "remove it"
        )


def prepared_reals(request: FidRequest, chosen: Chosen, size: int, say: Say) -> Reals:
    """The images of `--real`, else all training images, as squares of `size` pixels.

    Raises:
        ConfigError: if nothing names a dataset.
        DataError: if there are no such images.
    """
    reals = given_reals(request, say)
    if reals is None:
        root = locate(dataset_name(chosen, request), say)
        files = scan(root, task="synthesis", strict=request.strict, say=say)
        label = [f"{files.root} (training images)"]
        reals = Reals(label, files.train.target, skipped=files.skipped)
    if reals.statistics is not None:
        return reals
    return replace(reals, size=size, mirrored=is_mirrored(request, chosen))


def is_mirrored(request: FidRequest, chosen: Chosen) -> bool:
    """Whether mirror images count as real: as typed, else as the model's run had it."""
    if request.mirror is not None:
        return request.mirror
    if chosen.run is None:
        return False
    return read_config(chosen.run).find("settings.data.flip", bool) or False


def batch_size(network: SynthesisGenerator, request: FidRequest) -> int:
    """How many images are made at once."""
    return min(request.batch_size, fitting_batch(network.resolution))


def generated(
    network: SynthesisGenerator, request: FidRequest, numbers: Sequence[int], *, of: int
) -> Iterator[Pixels]:
    """Random images, made while they are read, rounded to 8 bits.

    Args:
        network: in eval mode, on the device to compute on.
        request: with seed, truncation and batch size.
        numbers: those of the images, one after the other; the first is a multiple of the batch.
        of: how many there are in all: the last batch of these alone is a smaller one.
    """
    size = batch_size(network, request)
    first, end = numbers[0], numbers[-1] + 1
    batches = sampled(
        network,
        min(-(-end // size) * size, of) - first,
        Recipe(request.seed or 0, request.truncation),
        batch_size=size,
        first=first,
    )
    images = chain.from_iterable(map(to_nearest_uint8, batches))
    return islice(images, end - first)


def describe(request: FidRequest, chosen: Chosen, reals: Reals, num: int) -> Json:
    """How fakes and reals come about."""
    header, network = chosen.model.header, chosen.model.network
    if reals.size is None:
        prepared = "statistics as given"
    else:
        prepared = f"square in the middle, Lanczos to {reals.size}x{reals.size}"
        prepared += ", each image and its mirror image" if reals.mirrored else ", not mirrored"
    classes = getattr(network, "num_classes", None)
    runtime = runtime_of(network)
    drawn = "latents" if runtime else "latents and noise"
    return runtime | {
        "reals": prepared,
        "mirrored": reals.mirrored if reals.size is not None else None,
        "fakes": f"{drawn} at random, output rounded to 8 bits",
        "num": num,
        "seed": request.seed or 0,
        "truncation": request.truncation,
        "classes": f"drawn evenly from {classes}" if classes else None,
        "generator": describe_weights(chosen),
        "task": "synthesis",
        "step": header["step"],
        "selection": header.get("selection", "last"),
    }


def describe_weights(chosen: Chosen) -> str:
    """Whether the weights are an average over the training; runs hand out nothing else."""
    header = chosen.model.header
    if header["method"] is not None:
        return "moving average of the weights"
    part = header.get("part")
    return f"part {part} of the file" if part else "the weights in the file"
