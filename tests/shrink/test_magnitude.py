"""Pruning by magnitude: the budget, what is removed, and that nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import run_command, write_model
from torch import nn

pytest.importorskip("torch_pruning", reason="needs the extra prune")

from gancomp.errors import ConfigError
from gancomp.export.model import open_model
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.settings import NetworkSettings
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.shrink.budget import costs
from gancomp.shrink.coupled import Coupled
from gancomp.shrink.explicit import LayerWidths
from gancomp.shrink.magnitude import Magnitude
from gancomp.shrink.options import MagnitudeOptions
from gancomp.tasks.base import new_network

NETWORKS: dict[str, dict[str, Any]] = {
    "mobile-resnet6": {"width": 6},
    "resnet6": {"width": 6, "norm": "batch"},
    "unet128": {"width": 6},
    "inception-resnet9": {"width": 4},
}


def pruned(
    network: TappedNetwork, budget: str, size: int = 64, **options: Any
) -> tuple[Shrunk, TappedNetwork]:
    shrinker = Magnitude(MagnitudeOptions(**options))
    settings = NetworkSettings(network.arch, **network.settings())
    request = ShrinkRequest(
        settings,
        settings,
        shrinker.read("", budget),
        f"`budget` {budget}",
        size,
        open_teacher=lambda: network,
        say=lambda text: None,
    )
    shrunk = shrinker.shrink(request)
    student = build_network(shrunk.student.arch, **shrunk.student.arguments())
    assert shrunk.weights is not None
    student.load_state_dict(dict(shrunk.weights))
    return shrunk, student.eval()


def teacher_of(arch: str) -> TappedNetwork:
    network = new_network(NetworkSettings(arch, **NETWORKS[arch]), 0, "teacher").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():  # not as they are drawn, where all of them matter alike
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2, generator=generator)
                module.bias.normal_(generator=generator)
                module.running_mean.normal_(0, 0.1, generator=generator)
    return network


@pytest.fixture(scope="module", params=["mobile-resnet6", "resnet6", "unet128"])
def half(request: pytest.FixtureRequest) -> tuple[TappedNetwork, Shrunk, TappedNetwork]:
    teacher = teacher_of(request.param)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    shrunk, student = pruned(teacher, "50%", size=128)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), "the teacher has changed"
    return teacher, shrunk, student


def test_the_budget_is_met_and_nearly_used_up(half: Any) -> None:
    _, shrunk, _ = half
    share = shrunk.found["macs"] / shrunk.found["teacher"]["macs"]
    assert 0.45 < share <= 0.5  # these are tiny: one channel along the residual path is much


def test_nothing_but_the_removed_channels_changes(half: Any) -> None:
    _, shrunk, _ = half
    assert shrunk.found["removed"]
    assert shrunk.found["difference_from_masked"] < 1e-5


def test_what_is_left_are_the_teachers_own_weights(half: Any) -> None:
    teacher, _, student = half
    for name, value in student.state_dict().items():
        assert torch.isin(value, teacher.state_dict()[name]).all(), name


def test_a_frozen_teacher_is_followed_as_any_and_stays_frozen() -> None:
    teacher = teacher_of("mobile-resnet6")
    wanted, frozen = (
        Coupled(teacher.requires_grad_(trained), (1, 3, 16, 16), "") for trained in (True, False)
    )
    assert len(wanted.groups) > 5
    assert [group.makers for group in frozen.groups] == [group.makers for group in wanted.groups]
    assert not any(weight.requires_grad for weight in teacher.parameters())


def test_the_masked_output_is_the_one_of_zeros_in_the_whole_network() -> None:
    """By hand: the stem's channels, whose weights alone make them."""
    teacher = teacher_of("mobile-resnet6")
    with torch.no_grad():
        teacher.model[1].weight[[1, 4]] *= 1e-3  # what is to go
    narrower = LayerWidths(teacher)
    macs = costs(narrower.built([4, *narrower.widths[1:]]), 64)["macs"]
    _, student = pruned(teacher, f"{macs / 1e9:.12f}G")
    by_hand = build_network("mobile-resnet6", **NETWORKS["mobile-resnet6"])
    by_hand.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        by_hand.model[1].weight[[1, 4]] = 0
        by_hand.model[1].bias[[1, 4]] = 0
    assert student.settings()["channels"][0] == 4
    kept = [0, 2, 3, 5]
    assert torch.equal(student.model[1].weight, teacher.model[1].weight[kept])
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    for position in (0, 1, 2, 3):
        one, two = (
            student.features(images, [f"model.{position}"]),
            by_hand.features(images, [f"model.{position}"]),
        )
        whole = next(iter(two.values()))
        expected = whole if position == 0 else whole[:, kept]
        assert torch.allclose(next(iter(one.values())), expected, atol=1e-5)


def test_the_lowest_norms_go_first_and_each_layer_keeps_its_share() -> None:
    teacher = teacher_of("mobile-resnet6")
    with torch.no_grad():
        teacher.model[1].weight.mul_(1e-6)  # relative to its group, all of them matter alike
    shrunk, student = pruned(teacher, "60%", min_share=0.5)
    for now, before in zip(
        student.layer_widths["channels"], teacher.layer_widths["channels"], strict=True
    ):
        assert now >= before / 2
    assert shrunk.found["macs"] <= 0.6 * shrunk.found["teacher"]["macs"]


@pytest.mark.parametrize("budget", ["0.01M", "30KB"])
def test_budgets_of_parameters_and_bytes(budget: str) -> None:
    _, student = pruned(teacher_of("mobile-resnet6"), budget)
    params = sum(weight.numel() for weight in student.parameters())
    limit = 10_000 if budget == "0.01M" else 7_500
    assert 0.95 * limit < params <= limit


def test_a_budget_that_the_teacher_meets_leaves_it_whole() -> None:
    teacher = teacher_of("mobile-resnet6")
    shrunk, student = pruned(teacher, "100%")
    assert shrunk.found["removed"] == {}
    assert student.settings() == teacher.settings()


def test_a_budget_that_cannot_be_met_says_what_can() -> None:
    with pytest.raises(ConfigError, match="`budget` 0.001%: with every layer at its least share"):
        pruned(teacher_of("mobile-resnet6"), "0.001%")


def test_a_teacher_that_was_not_trained_is_refused() -> None:
    settings = NetworkSettings("mobile-resnet6", 6)
    shrinker = Magnitude(MagnitudeOptions())
    with pytest.raises(ConfigError, match="prunes a trained teacher; give `teacher`"):
        shrinker.shrink(ShrinkRequest(settings, settings, shrinker.read("", "50%"), "`shrink`", 64))


def test_layers_that_cannot_be_followed_are_kept_whole_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    importance = pytest.importorskip("torch_pruning").importance
    original = importance.GroupMagnitudeImportance.__call__

    def fails_for_the_stem(self: Any, group: Any) -> Any:
        if "model.1 " in group[0].dep.target.name:
            raise IndexError("index 64 is out of bounds")
        return original(self, group)

    monkeypatch.setattr(importance.GroupMagnitudeImportance, "__call__", fails_for_the_stem)
    shrunk, student = pruned(teacher_of("mobile-resnet6"), "50%")
    assert student.layer_widths["channels"][0] == 6
    assert shrunk.found["kept_whole"] == ["model.1"]


@pytest.mark.parametrize("arch", NETWORKS)
def test_settings_with_other_widths_build_layers_of_those_widths(arch: str) -> None:
    widths = LayerWidths(build_network(arch, **NETWORKS[arch]))
    fewer = [max(1, width - index % 3) for index, width in enumerate(widths.widths)]
    settings = widths.settings(fewer)
    built = build_network(settings.arch, **settings.arguments())
    again = LayerWidths(built)
    assert again.widths == fewer
    assert again.layers == widths.layers
    for layer, width in zip(widths.layers, fewer, strict=True):
        module = built.get_submodule(layer)
        assert module.out_channels == width


def test_the_command_writes_a_student_that_other_commands_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = write_model(tmp_path / "teacher.safetensors", width=6)
    out = tmp_path / "student.safetensors"
    outcome = run_command(
        capsys, "shrink", teacher, "--by", "magnitude", "--budget", "50%", "-o", out, "--json"
    )
    assert outcome.status == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["trained"] is True
    assert document["student"]["macs"] <= 0.5 * document["teacher"]["macs"]
    model = open_model(out)
    assert model.header["role"] == "student"
    assert model.header["shrink"]["by"] == "magnitude"
    assert model.network.settings() == document["settings"]
    assert run_command(capsys, "profile", out, "--json").status == 0
