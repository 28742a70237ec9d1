"""A way to shrink: the widest student within a share of the teacher's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gancomp.declare import setting
from gancomp.errors import ConfigError
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings
from gancomp.shrink.base import ShrinkRequest, Shrunk


@dataclass(frozen=True)
class ThinOptions:
    """The step of the search."""

    thin_step: int = setting(1, "--thin-step", "Widths are multiples of it.", least=1)


class Thin:
    """The student begins with the corner of each of the teacher's tensors, if these are known."""

    example = "30%"
    from_settings = False
    Options = ThinOptions

    def __init__(self, options: ThinOptions) -> None:
        self.options = options

    def read(self, asked: str, budget: str) -> float:
        try:
            share = float(budget.removesuffix("%")) / 100
        except ValueError:
            raise ConfigError(f"{asked}: is no share of the parameters; write 30%") from None
        return share

    def shrink(self, request: ShrinkRequest) -> Shrunk:
        most, step = request.budget * _num_parameters(request.teacher), self.options.thin_step
        widths = range(request.teacher.width // step * step, 0, -step)
        for width in widths:
            student = request.student.changed(width=width)
            if (num := _num_parameters(student)) <= most:
                break
        else:
            raise ConfigError(f"{request.asked}: no width has so few parameters; give more")
        opened = request.open_teacher() if request.open_teacher else None
        weights = None if opened is None else _corner(opened, student)
        return Shrunk(student, weights, {"parameters": num})


def _built(settings: NetworkSettings) -> TappedNetwork:
    with torch.device("meta"):
        return build_network(settings.arch, **settings.arguments())


def _num_parameters(settings: NetworkSettings) -> int:
    return sum(weight.numel() for weight in _built(settings).parameters())


def _corner(teacher: TappedNetwork, student: NetworkSettings) -> Mapping[str, Tensor] | None:
    whole, wanted = teacher.state_dict(), _built(student).state_dict()
    if whole.keys() != wanted.keys():
        return None
    return {
        name: whole[name][tuple(slice(length) for length in small.shape)].clone()
        for name, small in wanted.items()
    }


GANCOMP = {"shrinkers": {"thin": Thin}}
