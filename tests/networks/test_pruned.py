"""Networks that were cut to recorded shapes: what follows from them, and shapes that lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gancomp.errors import CheckpointError, ConfigError
from gancomp.export.model import open_model
from gancomp.export.native import save_model
from gancomp.networks.pruned import cut
from gancomp.registry import build_network

HEAD = {
    "head.0.weight": [3, 3, 9, 9],
    "head.0.bias": [3],
    "head.1.weight": [3],
    "blocks.0.body.0.weight": [4, 3, 3, 3],
    "blocks.0.body.3.weight": [3, 4, 3, 3],
    "blocks.0.body.3.bias": [3],
    **{f"blocks.0.body.4.{name}": [3] for name in ("weight", "bias")},
    **{f"blocks.0.body.4.running_{name}": [3] for name in ("mean", "var")},
    "trunk.0.weight": [3, 3, 3, 3],
    "trunk.0.bias": [3],
    **{f"trunk.1.{name}": [3] for name in ("weight", "bias", "running_mean", "running_var")},
    "upsample.0.0.weight": [16, 3, 3, 3],
}
SMALL: dict[str, Any] = {"width": 4, "blocks": 1, "scale": 2}


class Blur(nn.Module):
    """As people write it: one fixed kernel for each channel, whose number it remembers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, 2
        self.register_buffer("kernel", torch.ones(channels, 1, 3, 3))


def test_the_numbers_beside_the_tensors_follow() -> None:
    module = nn.ModuleDict(
        {
            "conv": nn.Conv2d(8, 6, 3),
            "depthwise": nn.Conv2d(6, 6, 3, groups=6),
            "up": nn.ConvTranspose2d(6, 4, 3),
            "norm": nn.BatchNorm2d(6),
            "bare": nn.InstanceNorm2d(4),
            "linear": nn.Linear(8, 6),
            "blur": Blur(6),
        }
    )
    shapes = {
        "conv.weight": [5, 7, 3, 3],
        "depthwise.weight": [5, 1, 3, 3],
        "up.weight": [5, 3, 3, 3],
        "norm.weight": [5],
        "bare.num_features": 3,
        "linear.weight": [4, 7],
        "blur.kernel": [5, 1, 3, 3],
    }
    whole = module["conv"].weight.detach().clone()
    cut(module, shapes)
    assert torch.equal(module["conv"].weight, whole[:5, :7])
    assert (module["conv"].in_channels, module["conv"].out_channels) == (7, 5)
    depthwise = module["depthwise"]
    assert (depthwise.groups, depthwise.in_channels, depthwise.out_channels) == (5, 5, 5)
    assert (module["up"].in_channels, module["up"].out_channels) == (5, 3)
    assert (module["norm"].num_features, module["bare"].num_features) == (5, 3)
    assert (module["linear"].in_features, module["linear"].out_features) == (7, 4)
    assert (module["blur"].channels, module["blur"].stride) == (5, 2)


def test_a_network_that_was_cut_is_rebuilt_by_its_settings() -> None:
    network = build_network("srresnet", **SMALL, pruned=HEAD).eval()
    assert network.tap_channels == {"trunk": 3}
    assert network(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 16, 16)
    again = build_network("srresnet", **network.settings())
    assert again.settings() == network.settings()
    again.load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head.9.weight": [3]}, "the network has no 'head.9.weight'"),
        ({"head.0.wait": [3]}, "the network has no 'head.0.wait'"),
        ({"head.1.weight": [5]}, r"'head.1.weight' \[5\]: is cut out of \[4\]"),
        ({"head.1.weight": [0]}, "is cut out of"),
        ({"head.1.weight": [True]}, "is cut out of"),
        ({"head.1.weight": 3}, "is cut out of"),
        ({"head.1.weight": [3, 3]}, "is cut out of"),
        ({"head.1.weight": [2]}, "its layers do not fit each other"),
        ({"tail.0.weight": [2, 4, 9, 9], "tail.0.bias": [2]}, "its layers make no image"),
    ],
)
def test_shapes_that_no_network_has_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"pruned: {message}|pruned: .*{message}"):
        build_network("srresnet", **SMALL, pruned=HEAD | changes)


def test_a_file_whose_header_lies_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    entries: dict[str, Any] = {"task": "super-resolution", "method": None, "dataset": None}
    network = build_network("srresnet", **SMALL, pruned=HEAD)

    def written() -> Path:
        save_model(path, network, role="student", step=1, input_size=8, **entries)
        return path

    assert open_model(written()).network.settings() == network.settings()
    network._settings["pruned"] = HEAD | {"head.1.weight": [2]}
    with pytest.raises(CheckpointError, match="cannot be built .*layers do not fit each other"):
        open_model(written())
    network._settings["pruned"] = {}
    with pytest.raises(CheckpointError, match=r"weights do not fit srresnet: head.0.weight is \[3"):
        open_model(written())
