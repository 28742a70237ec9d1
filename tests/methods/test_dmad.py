"""DMAD: the student's own game, and what it takes from a finished teacher in both directions."""

from __future__ import annotations

import pytest
import torch
from builders import random_step, small_method, small_task

from gancomp.errors import ConfigError
from gancomp.losses.maps import co_attention_loss, map_distance
from gancomp.methods.dmad import Dmad
from gancomp.methods.dmad_options import PRESETS
from gancomp.metrics.cost import measure_cost
from gancomp.registry import build_network
from gancomp.tasks.unpaired import UnpairedTask

LAST = "model.4"  # of the small discriminator, after its last norm


def built(task: str = "unpaired", **options: object) -> Dmad:
    method = small_method("dmad", small_task(task, frozen=True, whole=True), **options)
    assert isinstance(method, Dmad)
    return method


def test_each_direction_has_attention_and_verdict_of_its_own_teacher() -> None:
    method, step = built(lambda_attention=2.0, lambda_discriminator_map=3.0), random_step()
    losses = method.losses("student", step)
    task, own = method.task, method.students_task
    assert isinstance(task, UnpairedTask)
    assert isinstance(own, UnpairedTask)
    sides = {
        "forward": (task.generator, own.generator, task.discriminator, "source"),
        "backward": (
            task.backward_generator,
            own.backward_generator,
            task.backward_discriminator,
            "target",
        ),
    }
    for direction, (teacher, student, judge, name) in sides.items():
        fake_T, maps_T = teacher.forward_with_taps(step.batch[name], teacher.default_taps)
        fake_S, maps_S = student.forward_with_taps(step.batch[name], student.default_taps)
        seen_T, seen_S = (judge.features(fake, (LAST,))[LAST] for fake in (fake_T, fake_S))
        attention = co_attention_loss(list(maps_T.values()), list(maps_S.values()), seen_S)
        found = losses[f"attention_{direction}"].item()
        assert found == pytest.approx(2 * attention.item(), rel=1e-5)
        found = losses[f"discriminator_map_{direction}"].item()
        assert found == pytest.approx(3 * map_distance(seen_T, seen_S).item(), rel=1e-5)


def test_a_paired_discriminator_sees_the_condition_too() -> None:
    method, step = built("paired", lambda_discriminator_map=1.0), random_step()
    losses = method.losses("student", step)
    seen = []
    for network in (method.task.generator, method.student):
        fake = network(step.batch["source"])
        inputs = torch.cat([step.batch["source"], fake], dim=1)
        seen.append(method.task.discriminator.features(inputs, (LAST,))[LAST])
    wanted = map_distance(seen[0], seen[1])
    assert losses["discriminator_map"].item() == pytest.approx(wanted.item(), rel=1e-5)
    assert {"gan", "l1"} < losses.keys()


@pytest.mark.parametrize("detach", [True, False])
def test_the_image_gets_a_gradient_through_the_attentions_target_only_as_released(
    detach: bool,
) -> None:
    method, step = built(detach_attention=detach, lambda_discriminator_map=0.0), random_step()
    loss = method.losses("student", step)["attention_forward"]
    fake = method.students_task.teacher(step).fake
    gradient = torch.autograd.grad(loss, fake, allow_unused=True)[0]
    assert (gradient is None) == detach


def test_a_frozen_teacher_is_kept_whole_and_has_no_turn() -> None:
    method = built()
    assert [phase.name for phase in method.phases()] == ["student", "student_discriminator"]
    assert isinstance(method.task, UnpairedTask)
    networks = method.task.frozen_networks()
    assert len(networks) == 4
    method.train()
    assert not any(network.training for network in networks)
    assert not any(item.requires_grad for network in networks for item in network.parameters())


def test_the_students_opponents_are_its_own_and_a_checkpoint_holds_them() -> None:
    method = built()
    names = set(method.networks())
    assert {"student", "student_backward_generator", "student_discriminator"} < names
    assert {"student_backward_discriminator", "backward_generator", "discriminator"} < names
    own, theirs = method.students_task.discriminator, method.task.discriminator
    assert not torch.equal(next(own.parameters()), next(theirs.parameters()))
    losses = method.losses("student_discriminator", random_step())
    assert list(losses) == ["real", "student_fake", "real_source", "fake_source"]


def test_a_tap_that_the_discriminator_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method.options.attention_tap: no model.77; known: "):
        built(attention_tap="model.77")


def test_terms_without_weight_are_not_computed() -> None:
    method = built("paired", lambda_attention=0.0, lambda_discriminator_map=0.0)
    assert method.students_task.recorded_taps == ()
    assert list(method.losses("student", random_step())) == ["gan", "l1"]


def test_the_students_of_the_rows_are_as_wide_as_the_reported_macs_ask() -> None:
    """No other width is nearer; the papers' students are pruned, to other shapes."""
    wanted = {"horse2zebra": 2.41e9, "summer2winter": 3.18e9, "edges2shoes": 2.99e9}
    wanted["cityscapes"] = 3.96e9
    for row in PRESETS:
        if row.name != "dmad" or row.dataset is None:
            continue
        width = round(64 * row.ratio)
        norm = row.settings["teacher"]["network"]["norm"]
        away = [
            abs(macs_of(row.arch, norm, number) - wanted[row.dataset])
            for number in (width - 1, width, width + 1)
        ]
        assert away[1] == min(away)


def macs_of(arch: str, norm: str, width: int) -> int:
    with torch.device("meta"):  # shapes alone
        network = build_network(arch, width=width, norm=norm)
        return measure_cost(network, (1, 3, 256, 256)).macs_torchprofile
