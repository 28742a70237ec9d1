from __future__ import annotations

import pytest
import torch
from builders import (
    SUPER_RESOLUTION,
    SYNTHESIS,
    batch_for,
    random_step,
    small_generator,
    small_task,
    small_upscaler,
)
from torch import Tensor, nn

from gancomp.engine.phases import Step
from gancomp.networks.layers import ConvBeforeNorm2d
from gancomp.registry import TASKS
from gancomp.tasks.pool import FakePool


def mean(values: Tensor) -> float:
    """The average by hand, one element after the other."""
    numbers = values.detach().flatten().tolist()
    return sum(numbers) / len(numbers)


def test_unpaired_teacher_terms_equal_the_cyclegan_paper_term_by_term() -> None:
    task = small_task("unpaired").double()
    step = doubled(random_step())
    source, target = step.batch["source"], step.batch["target"]
    losses = task.generator_losses(step)
    forward, backward = task.generator, task.backward_generator
    fake_target, fake_source = forward(source), backward(target)
    expected = {
        "gan_forward": mean((task.discriminator(fake_target) - 1) ** 2),
        "gan_backward": mean((task.backward_discriminator(fake_source) - 1) ** 2),
        "cycle_source": 10 * mean((backward(fake_target) - source).abs()),
        "cycle_target": 10 * mean((forward(fake_source) - target).abs()),
        "identity_source": 5 * mean((backward(source) - source).abs()),
        "identity_target": 5 * mean((forward(target) - target).abs()),
    }
    assert {name: term.item() for name, term in losses.items()} == pytest.approx(expected)


def test_paired_teacher_terms_equal_the_pix2pix_paper_term_by_term() -> None:
    task = small_task("paired", gan="hinge").double()
    step = doubled(random_step())
    fake = task.generator(step.batch["source"])
    pair = torch.cat([step.batch["source"], fake], dim=1)
    expected = {
        "gan": -mean(task.discriminator(pair)),
        "l1": 100 * mean((fake - step.batch["target"]).abs()),
    }
    losses = task.generator_losses(step)
    assert {name: term.item() for name, term in losses.items()} == pytest.approx(expected)


def test_discriminator_terms_equal_equation_7_with_halves_and_lambda_student() -> None:
    task = small_task("unpaired", pool_size=0).double()
    step = doubled(random_step())
    task.generator_losses(step)
    student_fake = small_generator(2, "student").double()(step.batch["source"])
    losses = task.discriminator_losses(step, student_fake, lambda_student=0.3)
    judge = task.discriminator
    expected = {
        "real": 0.5 * mean((judge(step.batch["target"]) - 1) ** 2),
        "teacher_fake": 0.5 * mean(judge(task.generator(step.batch["source"])) ** 2),
        "student_fake": 0.5 * 0.3 * mean(judge(student_fake) ** 2),
    }
    found = {name: losses[name].item() for name in expected}
    assert found == pytest.approx(expected)
    assert losses.keys() - expected.keys() == {"real_source", "fake_source"}


@pytest.mark.parametrize("name", [name for name in TASKS if name != SYNTHESIS])
def test_discriminator_terms_leave_both_generators_without_gradient(name: str) -> None:
    task = small_task(name)
    step = Step(0, batch_for(name))
    task.generator_losses(step)
    make = small_upscaler if name == SUPER_RESOLUTION else small_generator
    student = make(2, "student")
    losses = task.discriminator_losses(step, student(step.batch["source"]), 1.0)
    torch.stack(list(losses.values())).sum().backward()
    touched = [item for item in student.parameters() if item.grad is not None]
    touched += [item for item in task.generator.parameters() if item.grad is not None]
    assert not touched
    for layer in task.discriminator.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.grad is not None
            # an InstanceNorm takes the bias before it off again
            assert (layer.bias.grad is None) == isinstance(layer, ConvBeforeNorm2d)


def test_the_discriminator_learns_from_student_fakes() -> None:
    gradients = []
    for student_fake in (None, random_step(seed=9).batch["source"]):
        task = small_task("unpaired")
        step = random_step()
        task.generator_losses(step)
        losses = task.discriminator_losses(step, student_fake, 1.0)
        torch.stack(list(losses.values())).sum().backward()
        gradients.append(task.discriminator.model[0].weight.grad.clone())
    assert not torch.allclose(gradients[0], gradients[1])


def test_the_teacher_translates_the_source_once_per_step() -> None:
    task = small_task("paired")
    calls = count_calls(task.generator)
    step = random_step()
    task.generator_losses(step)
    task.discriminator_losses(step)
    task.teacher(step)
    assert calls == [1]


def test_a_frozen_teacher_stays_in_eval_mode_and_keeps_no_graph() -> None:
    task = small_task("unpaired", frozen=True)
    task.train()
    assert not task.generator.training
    assert task.discriminator.training
    assert not task.teacher(random_step()).fake.requires_grad


def test_a_pool_hands_new_images_through_until_it_is_full_then_swaps_about_half() -> None:
    pool = FakePool(10, seed=0, name="test")
    first = torch.arange(10.0).view(10, 1, 1, 1)
    assert torch.equal(pool.show(first, Step(0, {})), first)
    swapped = 0
    for step in range(1, 401):
        fake = torch.full((1, 1, 1, 1), float(step + 100))
        swapped += int(not torch.equal(pool.show(fake, Step(step, {})), fake))
    assert 160 < swapped < 240  # binomial(400, 1/2): four standard deviations are 40
    assert len(pool.images) == 10


def test_a_pool_of_size_zero_hands_everything_through() -> None:
    fakes = torch.rand(3, 3, 4, 4)
    assert FakePool(0, 0, "test").show(fakes, Step(0, {})) is fakes


def test_a_pool_goes_on_exactly_from_its_state() -> None:
    one, other = FakePool(2, 7, "test"), FakePool(2, 7, "test")
    for step in range(5):
        one.show(torch.full((2, 1, 1, 1), float(step)), Step(step, {}))
    other.load_state_dict(one.state_dict())
    for step in range(5, 9):
        fakes = torch.full((2, 1, 1, 1), float(step))
        assert torch.equal(one.show(fakes, Step(step, {})), other.show(fakes, Step(step, {})))


def test_a_restored_pool_shows_its_images_on_the_device_of_the_new_ones() -> None:
    pool = FakePool(1, seed=0, name="test")
    pool.show(torch.zeros(1, 3, 4, 4), Step(0, {}))
    pool.load_state_dict(pool.state_dict())
    for step in range(1, 9):  # as on a GPU: the checkpoint was read on the CPU
        shown = pool.show(torch.empty(2, 3, 4, 4, device="meta"), Step(step, {}))
        assert shown.device.type == "meta"


def test_a_paired_pool_keeps_each_fake_with_its_own_condition() -> None:
    task = small_task("paired", pool_size=1)
    step = random_step(num_images=1)
    fake = task.teacher(step).fake.detach()
    task.target_discriminator_losses(step, None, 1.0)
    assert torch.equal(task.teacher_pool.images[0], torch.cat([step.batch["source"], fake], 1)[0])


def doubled(step: Step) -> Step:
    return Step(step.index, {name: value.double() for name, value in step.batch.items()})


def count_calls(network: nn.Module) -> list[int]:
    calls = [0]
    network.forward = counting(network.forward, calls)
    return calls


def counting(function: object, calls: list[int]) -> object:
    def call(*arguments: object, **named: object) -> object:
        calls[0] += 1
        return function(*arguments, **named)

    return call
