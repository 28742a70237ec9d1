from __future__ import annotations

import pytest
import torch
from builders import phase_called, random_batch, random_step, small_method, small_task, snapshot
from torch import Tensor, nn

from gancomp.engine.phases import Progress, Step
from gancomp.engine.step import only_these_require_grad
from gancomp.errors import ConfigError
from gancomp.methods.base import Method


def literal_connector(connector: nn.Sequential, features: Tensor, *, train: bool) -> Tensor:
    """1x1 convolution, BatchNorm and ReLU written out; `train`: batch statistics."""
    weight = connector.conv.weight[:, :, 0, 0]
    mapped = torch.einsum("oc,nchw->nohw", weight, features)
    if not hasattr(connector, "norm"):
        return mapped
    norm = connector.norm
    if train:
        mean = mapped.mean(dim=(0, 2, 3))
        variance = ((mapped - mean[None, :, None, None]) ** 2).mean(dim=(0, 2, 3))
    else:
        mean, variance = norm.running_mean, norm.running_var
    scaled = (mapped - mean[None, :, None, None]) / (variance + 1e-5)[None, :, None, None].sqrt()
    scaled = scaled * norm.weight[None, :, None, None] + norm.bias[None, :, None, None]
    return scaled * (scaled > 0)


def literal_concept(discriminator: nn.Module, image: Tensor, *, num_layers: int) -> Tensor:
    """The discriminator's first layers, one by one, with InstanceNorm written out."""
    for layer in discriminator.model[:num_layers]:
        if isinstance(layer, nn.InstanceNorm2d):
            mean = image.mean(dim=(2, 3), keepdim=True)
            variance = ((image - mean) ** 2).mean(dim=(2, 3), keepdim=True)
            image = (image - mean) / (variance + 1e-5).sqrt()
        elif isinstance(layer, nn.LeakyReLU):
            image = torch.where(image > 0, image, 0.2 * image)
        else:
            image = layer(image)
    return image


def literal_dcd(method: Method, teacher: dict[str, Tensor], student: dict[str, Tensor]) -> Tensor:
    """Equation 6: a sum over taps of the mean absolute difference, element by element."""
    judge, total = method.task.discriminator, 0
    sides = zip(method.teacher_connectors.by_tap, method.student_connectors.by_tap, strict=True)
    for tap, (of_teacher, of_student) in zip(student, sides, strict=True):
        seen_t = literal_concept(
            judge, literal_connector(of_teacher, teacher[tap], train=False), num_layers=5
        )
        seen_s = literal_concept(
            judge, literal_connector(of_student, student[tap], train=True), num_layers=5
        )
        difference = (seen_t - seen_s).abs().flatten()
        total = total + sum(difference[i] for i in range(len(difference))) / len(difference)
    return total


def maps_of(method: Method, *, requires_grad: bool = False) -> tuple[dict, dict]:
    batch = random_batch()
    with torch.no_grad():
        _, teacher = method.task.generator.forward_with_taps(
            batch["source"].double(), method.teacher_connectors.taps
        )
        _, student = method.student.forward_with_taps(
            batch["source"].double(), method.student_connectors.taps
        )
    for value in student.values():
        value.requires_grad_(requires_grad)
    return teacher, student


@pytest.mark.parametrize("connector", ["conv-bn-relu", "conv"])
def test_equation_6_agrees_with_the_literal_sum_in_value_and_gradient(connector: str) -> None:
    method = small_method(connector=connector, perceptual=False).double()
    results = []
    for compute in (method.dcd_loss, lambda t, s: literal_dcd(method, t, s)):
        method.zero_grad()
        teacher, student = maps_of(method, requires_grad=True)
        loss = compute(teacher, student)
        loss.backward()
        gradients = [value.grad for value in student.values()]
        gradients += [item.grad.clone() for item in method.student_connectors.parameters()]
        results.append((loss.detach(), gradients))
    (fast, fast_gradients), (slow, slow_gradients) = results
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-12)
    assert len(fast_gradients) == 4 + (12 if connector == "conv-bn-relu" else 4)
    for one, other in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-12)


def test_identical_maps_and_connectors_give_exactly_zero() -> None:
    method = small_method(connector="conv", perceptual=False)
    teacher, _ = maps_of(method.double())
    method.student_connectors = method.teacher_connectors
    assert method.dcd_loss(teacher, teacher).item() == 0.0


def test_gradient_of_the_dcd_term_reaches_student_and_its_connectors_and_nothing_else() -> None:
    method = small_method()
    only_these_require_grad(phase_called(method, "student"), method.phases())
    method.losses("student", random_step())["dcd"].backward()
    touched = {name for name, item in method.named_parameters() if item.grad is not None}
    connectors = {name for name in touched if name.startswith("student_connectors.")}
    assert connectors == {
        name for name, _ in method.named_parameters() if name.startswith("student_connectors.")
    }
    assert touched - connectors
    assert all(name.startswith("student.") for name in touched - connectors)


@pytest.mark.parametrize("term", ["gan", "feature", "style", "dcd"])
def test_every_student_term_reaches_the_student(term: str) -> None:
    method = small_method()
    only_these_require_grad(phase_called(method, "student"), method.phases())
    method.losses("student", random_step())[term].backward()
    assert method.student.model[1].weight.grad.abs().sum() > 0


def test_student_fakes_change_the_discriminators_update() -> None:
    gradients = []
    for weight in (0.0, 1.0):
        method = small_method(lambda_student=weight)
        step = random_step()
        method.losses("teacher", step)
        only_these_require_grad(phase_called(method, "discriminator"), method.phases())
        torch.stack(list(method.losses("discriminator", step).values())).sum().backward()
        gradients.append(method.task.discriminator.model[0].weight.grad.clone())
    assert not torch.allclose(gradients[0], gradients[1])


def test_the_student_is_run_once_for_both_phases_and_its_graph_survives_the_first() -> None:
    method = small_method()
    step = random_step()
    method.losses("teacher", step)
    only_these_require_grad(phase_called(method, "discriminator"), method.phases())
    method.losses("discriminator", step)
    fake = step.shared["student"].fake
    only_these_require_grad(phase_called(method, "student"), method.phases())
    method.losses("student", step)["gan"].backward()
    assert step.shared["student"].fake is fake
    assert method.student.model[1].weight.grad is not None


def test_frozen_connectors_stay_in_eval_mode_and_are_part_of_the_checkpoint() -> None:
    method = small_method()
    method.train()
    assert not any(item.training for item in method.teacher_connectors.modules())
    assert all(item.training for item in method.student_connectors.modules())
    assert "teacher_connectors" in method.networks()


@pytest.mark.parametrize(
    ("side", "trained"),
    [("student", (False, True)), ("teacher", (True, False)), ("both", (True, True))],
)
def test_the_connector_ablation_trains_the_sides_it_names(side: str, trained: tuple) -> None:
    method = small_method(train_connectors=side)
    only_these_require_grad(phase_called(method, "student"), method.phases())
    method.losses("student", random_step())["dcd"].backward()
    found = tuple(
        all(item.grad is not None for item in connectors.parameters())
        for connectors in (method.teacher_connectors, method.student_connectors)
    )
    assert found == trained
    assert all(item.grad is None for item in method.task.generator.parameters())


@pytest.mark.parametrize(
    ("options", "terms"),
    [
        ({"lambda_dcd": 0.0, "student_fools_discriminator": False}, {"feature", "style"}),
        (
            {"lambda_feature": 0.0, "lambda_style": 0.0, "student_fools_discriminator": False},
            {"dcd"},
        ),
        ({"lambda_feature": 0.0, "lambda_style": 0.0, "lambda_dcd": 0.0}, {"gan"}),
        ({"student_fools_discriminator": False}, {"feature", "style", "dcd"}),
        ({"lambda_dcd": 0.0}, {"gan", "feature", "style"}),
        ({"lambda_feature": 0.0, "lambda_style": 0.0}, {"gan", "dcd"}),
        ({}, {"gan", "feature", "style", "dcd"}),
    ],
)
def test_every_row_of_table_3_is_reached_by_options(options: dict, terms: set) -> None:
    assert small_method(**options).losses("student", random_step()).keys() == terms


def test_weights_scale_their_terms() -> None:
    ones = {"lambda_dcd": 1.0, "lambda_feature": 1.0, "lambda_style": 1.0}
    plain = small_method(**ones).losses("student", random_step())
    tripled = small_method(**{name: 3.0 for name in ones}).losses("student", random_step())
    for name in ("dcd", "feature", "style"):
        assert tripled[name].item() == pytest.approx(3 * plain[name].item(), rel=1e-5)


def test_lambda_student_weighs_both_sides_of_equation_7_and_0_is_omgds_setting() -> None:
    found = {}
    for weight in (0.0, 1.0, 0.5):
        method, step = small_method(lambda_student=weight), random_step()
        method.losses("teacher", step)
        judged = method.losses("discriminator", step).get("student_fake")
        fools = method.losses("student", step).get("gan")
        found[weight] = [term if term is None else term.item() for term in (judged, fools)]
    assert found[0.0] == [None, None]
    assert found[0.5] == pytest.approx([value / 2 for value in found[1.0]])


def test_a_discriminator_tap_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"no model\.99; known: model\.0"):
        small_method(discriminator_taps=("model.99",))


@pytest.mark.parametrize("name", ["feature_taps", "style_taps"])
def test_a_weighted_term_without_taps_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: is empty"):
        small_method(**{name: ()})


@pytest.mark.parametrize("name", ["dcd", "teacher-only"])
def test_images_too_small_for_the_networks_are_refused_before_the_first_step(name: str) -> None:
    method = small_method(name, perceptual=False)
    with pytest.raises(ConfigError, match="`size` 4: is too small"):
        method.check_size(4)
    method.check_size(32)


def test_a_student_without_any_loss_term_is_refused() -> None:
    with pytest.raises(ConfigError, match="no loss term"):
        small_method(lambda_dcd=0.0, student_fools_discriminator=False, perceptual=False)


def test_feature_maps_leave_the_running_statistics_of_a_batch_norm_discriminator_alone() -> None:
    method = small_method(task=small_task(d_norm="batch"), perceptual=False)
    before = snapshot({"discriminator": method.task.discriminator})
    method.train()
    teacher, student = maps_of(method.double())
    method.dcd_loss(teacher, student)
    after = snapshot({"discriminator": method.task.discriminator})
    assert all(torch.equal(after[name].float(), value.float()) for name, value in before.items())


def test_blocks_alternate_and_the_rate_moves_with_the_teachers_epochs_only() -> None:
    method = small_method(teacher_block_epochs=10, student_block_epochs=40)
    teacher, student = phase_called(method, "teacher"), phase_called(method, "student")
    assert method.num_epochs(200) == 1000
    turns = [(teacher.takes_part(p), student.takes_part(p)) for p in map(epoch, range(1000))]
    assert turns.count((True, False)) == 200
    assert turns.count((False, True)) == 800
    assert turns[9:11] == [(True, False), (False, True)]
    assert turns[49:51] == [(False, True), (True, False)]
    assert [method.schedule_epoch(item) for item in (0, 9, 10, 49, 50, 999)] == [
        0,
        9,
        9,
        9,
        10,
        199,
    ]


def epoch(number: int) -> Progress:
    return Progress(step=number, epoch=number, num_epochs=1000)


def test_the_last_student_block_follows_the_last_teacher_epoch_of_an_incomplete_block() -> None:
    method = small_method(teacher_block_epochs=6, student_block_epochs=24)  # summer2winter
    student = phase_called(method, "student")
    total = method.num_epochs(200)
    turns = [student.takes_part(Progress(number, number, total)) for number in range(total)]
    assert (total, turns.count(True), turns.count(False)) == (1016, 816, 200)
    assert turns[-26:] == [False, False, *([True] * 24)]


def test_a_student_block_needs_neither_teacher_phase_nor_discriminator_phase() -> None:
    options = {"student_fools_discriminator": False, "student_in_discriminator": False}
    method = small_method(teacher_block_epochs=1, student_block_epochs=1, **options)
    only_these_require_grad(phase_called(method, "student"), method.phases())
    losses = method.losses("student", random_step())
    torch.stack(list(losses.values())).sum().backward()
    assert all(item.grad is None for item in method.task.parameters())


def test_one_block_length_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="give both"):
        small_method(teacher_block_epochs=10)


def test_maps_that_the_discriminator_would_shrink_to_a_point_are_refused() -> None:
    method = small_method()
    with pytest.raises(ConfigError, match="`size` 16.* use `size` 48 or more") as refused:
        method.check_size(16)
    assert "fewer `d_layers`" in str(refused.value)
    method.check_size(48)


def test_a_step_with_the_paired_conditional_discriminator_maps_taps_to_six_channels() -> None:
    method = small_method(task=small_task("paired", gan="hinge"))
    assert method.teacher_connectors.by_tap[0].conv.out_channels == 6
    losses = method.losses("student", random_step())
    assert losses.keys() == {"gan", "feature", "style", "dcd"}
    assert all(torch.isfinite(term) for term in losses.values())


def test_the_teacher_is_imitated_as_it_was_at_the_start_of_the_step() -> None:
    method = small_method()
    step = random_step()
    only_these_require_grad(phase_called(method, "teacher"), method.phases())
    torch.stack(list(method.losses("teacher", step).values())).sum().backward()
    before = step.shared["teacher"].fake
    phase_called(method, "teacher").optimizer.step()
    method.losses("student", step)
    assert step.shared["teacher"].fake is before


def test_losses_do_not_depend_on_what_other_steps_computed() -> None:
    method = small_method()
    first = method.losses("student", Step(0, random_batch()))
    again = method.losses("student", Step(0, random_batch()))
    assert {name: term.item() for name, term in first.items()} == {
        name: term.item() for name, term in again.items()
    }
