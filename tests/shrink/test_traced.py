"""Channels followed operator by operator: what goes together, and that nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import own_generators
import pytest
import torch
from commands import run_command, write_model
from torch import nn

from gancomp.data.demo_set import write_demo_set
from gancomp.export.model import open_model
from gancomp.networks.base import TappedNetwork
from gancomp.own_code import name_function
from gancomp.planning.plan import make_plan
from gancomp.registry import build_network
from gancomp.settings import Overrides
from gancomp.shrink.magnitude import difference
from gancomp.shrink.prunable import Group
from gancomp.shrink.traced import Traced

NETWORKS: dict[str, dict[str, Any]] = {
    "srresnet": {"width": 4, "blocks": 1, "scale": 2},
    "stylegan2": {
        "width": 4,
        "resolution": 16,
        "style_channels": 6,
        "mapping_layers": 2,
        "const_channels": 4,
    },
}
OWN = ("cut", "ugatit", "srvgg")


class Shuffles(nn.Module):
    """Its second layer's channels are put into another order, which is not followed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(images)).flip(1))


class Counts(nn.Module):
    """Knows how many channels there are, so that none of the first can go."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1)
        self.last = nn.Conv2d(6, 3, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.first(images) + torch.ones(4, 1, 1, device=images.device)
        return self.last(torch.relu(self.second(features)))


def network_of(name: str) -> TappedNetwork:
    if name in NETWORKS:
        network = build_network(name, **NETWORKS[name])
    else:
        network = build_network(name_function(getattr(own_generators, name)))
    with torch.no_grad():
        for key, weights in network.named_parameters():
            if key.endswith("noise.weight"):
                weights.fill_(0.3)
    return network.eval()


def traced(network: TappedNetwork) -> Traced:
    latent_size = getattr(network, "latent_size", None)
    return Traced(network, (1, 3, 32, 32) if latent_size is None else (1, latent_size), "`by`")


def halves(groups: list[Group]) -> dict[str, list[int]]:
    return {
        group.layer: group.scores.argsort()[: len(group.scores) // 2].tolist() for group in groups
    }


@pytest.mark.parametrize("name", [*NETWORKS, *OWN])
def test_nothing_but_the_removed_channels_changes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "ugatit":  # whose layer norm also counts the channels that are 0
        monkeypatch.setattr(
            own_generators.AdaILN,
            "forward",
            lambda self, x, gamma, beta: (
                self.rho * x * gamma[..., None, None] + beta[..., None, None]
            ),
        )
    network = network_of(name)
    found = traced(network)
    assert found.skipped == []
    removed = halves(found.groups)
    pruned = found.without(removed)
    assert difference(found, removed, pruned) < 1e-5
    sizes = [sum(weight.numel() for weight in net.parameters()) for net in (pruned, network)]
    assert sizes[0] < 0.5 * sizes[1]
    again = build_network(pruned.arch, **pruned.settings())
    again.load_state_dict(pruned.state_dict())
    assert difference(found, removed, again.eval()) < 1e-5
    assert again.settings()["pruned"] == found.settings(removed).pruned


def test_styles_and_the_mapping_of_stylegan2_are_pruned_too() -> None:
    network = network_of("stylegan2")
    network.latent_avg = torch.ones(6)  # type: ignore[assignment]  # a buffer
    found = traced(network)
    assert {"style.1", "style.2", "input"} <= {item.layer for item in found.groups}
    pruned = found.without({"style.2": [1, 4]})
    assert pruned.state_dict()["latent_avg"].shape == (4,)
    assert pruned.convs[0].conv.modulation.weight.shape == (4, 4)
    assert pruned.latent_size == 6


def test_channels_of_one_pixel_stand_and_fall_together() -> None:
    found = traced(network_of("srresnet"))
    pruned = found.without({"upsample.0.0": [1]})
    assert pruned.upsample[0][0].weight.shape[0] == 12
    assert pruned.tail[0].weight.shape[1] == 3


@pytest.mark.parametrize("arch", ["mobile-resnet6", "unet128"])
def test_groups_are_those_of_torch_pruning(arch: str) -> None:
    pytest.importorskip("torch_pruning", reason="needs the extra prune")
    from gancomp.shrink.coupled import Coupled

    network = build_network(arch, width=2).eval()
    shape = (1, 3, 128, 128) if arch == "unet128" else (1, 3, 32, 32)
    ours, theirs = Traced(network, shape, ""), Coupled(network, shape, "")
    sizes = [sorted(len(group.scores) for group in each.groups) for each in (ours, theirs)]
    assert sizes[0] == sizes[1]
    removed = {group.layer: [0] for group in theirs.groups if len(group.scores) > 1}
    for group in theirs.groups:  # one group of theirs is one of ours
        if group.layer in removed:
            shapes = [
                {name: value.shape for name, value in each.without(gone).state_dict().items()}
                for each, gone in (
                    (theirs, {group.layer: [0]}),
                    (ours, {_same(ours, group): [0]}),
                )
            ]
            assert shapes[0] == shapes[1]
            break


def _same(ours: Traced, group: Group) -> str:
    (found,) = {item.layer for item in ours.groups} & group.makers
    return found


@pytest.mark.parametrize(("make", "layer"), [(Shuffles, "second"), (Counts, "first")])
def test_what_cannot_be_followed_is_kept_whole_and_named(make: Any, layer: str) -> None:
    found = traced(build_network(name_function(make)).eval())
    assert layer not in {group.layer for group in found.groups}
    assert found.groups
    assert found.skipped


def test_own_generators_are_pruned_opened_and_distilled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"{Path(own_generators.__file__)}:srvgg"
    weights, out = tmp_path / "srvgg.pth", tmp_path / "student.safetensors"
    torch.save(own_generators.srvgg().state_dict(), weights)
    request = ("--by", "magnitude", "--budget", "50%", "--size", 32, "-o", out, "--json")
    outcome = run_command(capsys, "shrink", weights, *request, "--arch", code)
    assert outcome.status == 0, outcome.err
    document = json.loads(outcome.out)
    assert 0.4 < document["student"]["macs"] / document["teacher"]["macs"] <= 0.5
    assert document["student"]["ms"] > 0
    assert document["threads"] == torch.get_num_threads()
    assert document["shrink"]["difference_from_masked"] < 1e-5
    profiled = run_command(capsys, "profile", out, "--json", "--size", 32, "--arch", code)
    assert profiled.status == 0, profiled.err
    toy = tmp_path / "toy"
    write_demo_set(toy, size=32, train=2, test=1)
    given = Overrides(
        {
            "data": {"dataset": str(toy), "size": 32},
            "teacher": {"source": str(weights), "freeze": True},
            "perceptual": {"source": "none"},
            "run": {"device": "cpu"},
        },
        arch=code,
        shrink="magnitude",
        budget="50%",
    )
    from gancomp.planning.own import naming_code

    with naming_code(given):
        plan = make_plan("distill", given, lambda text: None)
    assert plan.settings.student is not None
    assert plan.settings.student.pruned == document["settings"]["pruned"]
    assert plan.initial is not None


def test_srresnet_is_pruned_and_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = {"blocks": 1, "scale": 2}
    teacher = write_model(tmp_path / "teacher.safetensors", "srresnet", settings=few)
    out = tmp_path / "student.safetensors"
    outcome = run_command(
        capsys, "shrink", teacher, "--by", "magnitude", "--budget", "50%", "-o", out
    )
    assert outcome.status == 0, outcome.err
    assert "threads" in outcome.out
    assert open_model(out).network.settings()["pruned"]
