"""What a stranger's package adds: a method, a network, a format and a layout, in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gancomp.declare import setting, zero
from gancomp.engine.phases import Phase, Step, always
from gancomp.export.foreign import Recognized
from gancomp.export.model import LoadedModel
from gancomp.files import replacing
from gancomp.methods.base import Components, Method, adam, adversarial_phases
from gancomp.networks.base import SequentialNetwork, TappedNetwork, construct


@dataclass(frozen=True)
class SharpOptions:
    """Three knobs."""

    lambda_copy: float = setting(10.0, "--lambda-copy", "Weight of the copy.", least=0.0)
    lambda_edges: float = setting(
        1.0, "--lambda-edges", "Weight of the edges.", least=0.0, equation="2", unit="levels"
    )
    edges: Literal["rows", "columns"] = setting(
        "rows", "--edges", "Which edges: rows or columns.", unused=(zero("lambda_edges"),)
    )


class Sharp(Method):
    """The student's picture and its edges should be the teacher's."""

    name = "sharp"
    paper = "no paper: a plug-in of the tests"
    tasks = ("unpaired", "paired")
    has_features = False
    Options = SharpOptions

    def __init__(self, components: Components, options: SharpOptions) -> None:
        super().__init__()
        assert components.student is not None
        self.task, self.student, self.options = components.task, components.student, options
        self._phases = [
            *adversarial_phases(self.task, components.optimizer, active=always),
            Phase("student", self.student, adam(self.student, components.optimizer)),
        ]

    def phases(self) -> list[Phase]:
        return self._phases

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        if phase == "teacher":
            return self.task.generator_losses(step)
        if phase == "discriminator":
            return self.task.discriminator_losses(step)
        wanted = self.task.teacher(step).fake.detach()
        fake = self.student(step.batch["source"])
        axis = 2 if self.options.edges == "rows" else 3
        edges = F.l1_loss(fake.diff(dim=axis), wanted.diff(dim=axis))
        return {
            "copy": self.options.lambda_copy * F.l1_loss(fake, wanted),
            "edges": self.options.lambda_edges * edges,
        }

    def generators(self) -> dict[str, TappedNetwork]:
        return {"teacher": self.task.generator, "student": self.student}

    def networks(self) -> dict[str, nn.Module]:
        return self.task.networks() | {"student": self.student}


class PlainNet(SequentialNetwork):
    """Three convolutions."""

    default_taps = ("model.1",)
    size_multiple = 1

    def __init__(self, width: int) -> None:
        super().__init__("plain-net", {"width": width, "in_channels": 3, "out_channels": 3})
        self.width, self.tap_channels = width, {"model.1": width}
        self.model = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 3, 3, padding=1),
            nn.Tanh(),
        )


def plain_net(width: int = 64, in_channels: int = 3, out_channels: int = 3) -> PlainNet:
    """A generator without norms."""
    assert (in_channels, out_channels) == (3, 3)
    return construct(lambda: PlainNet(width))


class Arrays:
    """The weights as NumPy's arrays."""

    suffix = ".npz"

    def write(self, model: LoadedModel, out: Path) -> None:
        state = {name: value.numpy() for name, value in model.network.state_dict().items()}
        with replacing(out) as aside, aside.open("wb") as file:
            np.savez(file, **state)

    def parity(self, model: LoadedModel, out: Path) -> float:
        with np.load(out) as written:
            state = model.network.state_dict()
            return max(float(np.abs(written[name] - state[name].numpy()).max()) for name in state)


def recognize_plain(state: Any) -> Recognized | None:
    """A plain net that its author saved under the name `body`."""
    if "body.0.weight" not in state:
        return None
    renamed = {name.replace("body.", "model."): value for name, value in state.items()}
    width = len(state["body.0.weight"])
    return Recognized("plain-net", {"width": width}, "sharp's own", renamed)


def make_checkpoint(path: Path, width: int = 4) -> None:
    """Such a file, for the tests."""
    state = plain_net(width).state_dict()
    torch.save({name.replace("model.", "body."): value for name, value in state.items()}, path)


GANCOMP = {
    "methods": {"sharp": Sharp},
    "networks": {"plain-net": plain_net},
    "exporters": {"arrays": Arrays},
    "checkpoints": {"sharp's own": recognize_plain},
}
