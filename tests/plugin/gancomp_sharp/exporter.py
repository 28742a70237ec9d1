"""A format to export to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gancomp.export.model import LoadedModel
from gancomp.files import replacing


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


GANCOMP = {"exporters": {"arrays": Arrays}}
