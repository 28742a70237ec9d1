"""How a search scores a candidate: on images held out of training, never on test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gancomp.data.in_order import evaluation_batches
from gancomp.data.splits import Split
from gancomp.data.transforms import PixelFormat
from gancomp.domains.translation.contest import translated
from gancomp.errors import ConfigError
from gancomp.inference.pixels import format_of
from gancomp.metrics.features import load_inception
from gancomp.metrics.fid import fid_from_features
from gancomp.networks.base import TappedNetwork
from gancomp.planning.plan import Plan
from gancomp.scoring.measuring import Extractor, features_of, real_set
from gancomp.scoring.request import Reals
from gancomp.shrink.base import Judge, searches
from gancomp.training.selection import divide
from gancomp.training.steps import make_teacher

BATCH = 4


def make_judge(plan: Plan, device: torch.device, say: Callable[[str], None]) -> Judge:
    """What scores candidates as the search's options say; lower is better.

    Args:
        plan: of the search, with images held out.
        device: where to compute.
        say: is told about files that are left out.

    Raises:
        WeightsError: if there are no Inception weights for FID.
    """
    assert plan.search is not None
    assert searches(plan.search.shrinker)
    wanted = getattr(plan.search.shrinker.options, "search_score", None)
    if wanted is None:
        return no_score
    if plan.settings.data.task not in ("unpaired", "paired"):
        raise ConfigError(
            f"{plan.search.asked}: searches for translation only, not {plan.settings.data.task}"
        )
    return _fid(plan, device, say) if wanted == "fid" else _distance(plan, device, say)


def no_score(network: TappedNetwork) -> float:
    """Of a search that needs no images to choose."""
    raise AssertionError("this search scores nothing by images")


def held_out_images(
    plan: Plan, targets: Sequence[Path], device: torch.device, say: Callable[[str], None]
) -> tuple[list[Tensor], list[Tensor]]:
    """The sources held out of a search's training, and those targets, each `(1, C, H, W)`."""
    data = plan.settings.data

    def read(files: Split | Sequence[Path], pixels: PixelFormat | None) -> list[Tensor]:
        batches = evaluation_batches(files, size=data.size, batch_size=1, say=say, pixels=pixels)
        return [images.to(device) for _, images in batches]

    judging = divide(plan.files, plan.settings).judging
    return (
        read(judging, format_of(data.source)),
        read(targets, format_of(data.target)) if targets else [],
    )


def _fid(plan: Plan, device: torch.device, say: Callable[[str], None]) -> Judge:
    settings = plan.settings
    judging = divide(plan.files, settings).judging
    extractor = Extractor(load_inception(say=say).to(device), device)
    target = format_of(settings.data.target)
    reals = Reals(["held-out"], judging.target, judging.target_half, pixels=target)
    statistics = real_set(reals, extractor, say)[0].statistics

    def judge(network: TappedNetwork) -> float:
        fakes = translated(
            network.eval(),
            judging,
            size=settings.data.size,
            say=say,
            pixels=format_of(settings.data.source),
        )
        return fid_from_features(features_of(fakes, extractor), statistics)

    return judge


def _distance(plan: Plan, device: torch.device, say: Callable[[str], None]) -> Judge:
    """Mean absolute difference from the teacher's images, in [0, 2]."""
    data = plan.settings.data
    judging = divide(plan.files, plan.settings).judging
    teacher = make_teacher(plan.settings, resume=False).to(device).eval()
    sources: list[Tensor] = [
        images.to(device)
        for _, images in evaluation_batches(
            judging, size=data.size, batch_size=BATCH, say=say, pixels=format_of(data.source)
        )
    ]
    with torch.no_grad():
        wanted = [teacher(images) for images in sources]

    @torch.no_grad()
    def judge(network: TappedNetwork) -> float:
        network = network.eval()
        pairs = zip(sources, wanted, strict=True)
        distances = [(network(images) - made).abs().mean(dim=(1, 2, 3)) for images, made in pairs]
        return float(torch.cat(distances).mean())

    return judge
