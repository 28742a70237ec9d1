"""CAT's pruning (CVPR 2021): one threshold on the scales of norms, in one step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import Json, NetworkSettings
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.shrink.budget import Budget, Meter, costs, read_budget
from gancomp.shrink.kept import KeptLines
from gancomp.shrink.ranked import Channels, Cut, cut_within, of_channels
from gancomp.shrink.search_options import CatOptions

NUM_OUTSIDE = 5  # stem, down1, down2, up1, up2: widths that are never 0
RESNETS = ("resnet9", "resnet6", "mobile-resnet9", "mobile-resnet6")
INCEPTION = "inception-resnet9"


class Cat:
    """A trained generator without the channels whose norm scales are below one threshold.

    No sparsity is trained before. The scales of the first norm of each branch count, and along the
    residual path those of the last strided convolution; where norms have no scales, the L1 norms
    of the filters. A branch of CAT's own generator may lose all channels, and is then left out.

    Source: Jin et al. 2021 (CAT), section 3.2. The released code then draws the convolutions anew
    (`--discard-weights`).
    """

    example = "50%"
    from_settings = False
    prunes = True
    Options = CatOptions

    def __init__(self, options: CatOptions) -> None:
        self.options = options

    def read(self, asked: str, budget: str) -> Budget:
        """The budget; a share is of the teacher's MACs."""
        return read_budget(asked, budget)

    def shrink(self, request: ShrinkRequest) -> Shrunk:
        """The pruned teacher.

        Raises:
            ConfigError: if the teacher is not trained, is of another kind, or stays too large.
        """
        teacher = _teacher_of(request)
        channels = Channels(teacher)
        scores = channels.scores("first")
        meter = Meter.for_request(request, self.options)
        meter.keep_times_in(KeptLines())  # in memory: what a shape took at first and again
        limit, floors = meter.limit(teacher), self.floors(teacher)
        cost = partial(meter.of_widths, channels.widths.built)
        again = partial(cost, again=True) if meter.in_time else None
        cut = cut_within(scores, floors, cost=cost, again=again, limit=limit)
        if cut is None:
            raise ConfigError(
                f"{request.asked}: with the least that each layer keeps {teacher.arch} takes "
                f"{meter.worded(cost(floors))}; give more, or fewer `min_channels`"
            )
        settings = channels.widths.settings(cut.widths)
        weights = None
        if not self.options.discard_weights:
            weights = kept_weights(channels, scores, cut.widths)
        of_cut = partial(cost, cut.widths)
        request.say(
            f"{request.asked}: over {cut.threshold:.4g}, {meter.worded_of(of_cut)} are left"
        )
        found = _found(settings, cut, request)
        if meter.in_time:
            found |= meter.clock.facts(max(of_cut(), of_cut(again=True)))
        return Shrunk(settings, weights, found)

    def floors(self, network: TappedNetwork) -> list[int]:
        """What each width keeps at least: the blocks of CAT's own generator may lose all.

        `min_channels` is meant for 64 channels and more; of narrower layers a quarter stays.
        """
        whole = Channels(network).widths.widths
        is_cat = network.arch == INCEPTION
        outside = {*range(NUM_OUTSIDE)} if is_cat else {0, 1, 2, len(whole) - 2, len(whole) - 1}
        inside = 0 if is_cat else 1
        return [
            min(self.options.min_channels, -(-width // 4))
            if place in outside
            else min(width, inside)
            for place, width in enumerate(whole)
        ]


def _teacher_of(request: ShrinkRequest) -> TappedNetwork:
    if request.open_teacher is None:
        raise ConfigError(f"{request.asked}: prunes a trained teacher; give `teacher` FILE")
    if request.student.arch != request.teacher.arch:
        raise ConfigError(
            f"{request.asked}: prunes the teacher, {request.teacher.arch}; remove `student_arch` "
            f"{request.student.arch}"
        )
    teacher = request.open_teacher()
    if teacher.arch not in (*RESNETS, INCEPTION):
        raise ConfigError(
            f"{request.asked}: prunes {', '.join((*RESNETS, INCEPTION))}, not {teacher.arch}; "
            "choose magnitude or width instead"
        )
    return teacher


def _found(settings: NetworkSettings, cut: Cut, request: ShrinkRequest) -> Json:
    built = build_network(settings.arch, **settings.arguments())
    return {
        "shape": cut.widths,
        "threshold": cut.threshold,
        **costs(built, request.size),
    }


def kept_weights(
    channels: Channels, scores: Sequence[Tensor], widths: Sequence[int]
) -> dict[str, Tensor]:
    """The teacher's weights of the channels that score highest, in the teacher's order."""
    pairs = zip(scores, widths, strict=True)
    kept = [torch.topk(values, width).indices.sort().values.tolist() for values, width in pairs]
    return of_channels(channels, kept)
