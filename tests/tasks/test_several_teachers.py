from __future__ import annotations

import pytest
import torch
from builders import random_step, small_generator, small_task

from gancomp.errors import ConfigError
from gancomp.tasks.base import Task
from gancomp.tasks.several_teachers import SeveralTeachers, share_discriminator, task_like


def two_tasks(**options: object) -> tuple[Task, Task]:
    wide = small_task("paired", gan="hinge", **options)
    return wide, task_like(wide, small_generator(2, "deep"), "deep")


def test_each_teacher_translates_once_and_is_not_taken_for_another() -> None:
    wide, deep = two_tasks()
    teachers, step = SeveralTeachers({"wide": wide, "deep": deep}), random_step()
    first, again = teachers.translations(step), teachers.translations(step)
    source = step.batch["source"]
    assert all(first[name].fake is again[name].fake for name in ("wide", "deep"))
    assert torch.equal(first["deep"].fake, deep.generator(source))
    assert torch.equal(first["wide"].fake, wide.generator(source))


def test_terms_are_those_of_the_tasks_with_the_others_names_in_front() -> None:
    wide, deep = two_tasks()
    teachers, step = SeveralTeachers({"wide": wide, "deep": deep}), random_step()
    losses = teachers.generator_losses(step)
    assert losses.keys() == {"gan", "l1", "deep_gan", "deep_l1"}
    alone = deep.generator_losses(random_step())
    assert losses["deep_l1"].item() == alone["l1"].item()
    judged = teachers.discriminator_losses(step)
    assert judged.keys() == {"real", "teacher_fake", "deep_real", "deep_teacher_fake"}


def test_a_frozen_teacher_only_translates() -> None:
    wide, deep = two_tasks(frozen=True)
    teachers = SeveralTeachers({"wide": wide, "deep": deep})
    assert list(teachers.learning()) == ["deep"]
    assert teachers.generator_losses(random_step()).keys() == {"deep_gan", "deep_l1"}
    assert not teachers.translations(random_step())["wide"].fake.requires_grad
    assert SeveralTeachers({"wide": wide}).frozen


def test_fresh_networks_of_another_teacher_differ_from_the_first_ones() -> None:
    wide, deep = two_tasks()
    one, other = (task.discriminator.model[0].weight for task in (wide, deep))
    assert one.shape == other.shape
    assert not torch.equal(one, other)


@pytest.mark.parametrize("num_shared", [1, 5])
def test_a_shared_discriminator_is_trained_by_both_and_saved_once(num_shared: int) -> None:
    wide = small_task("paired", gan="hinge", d_layers=3)
    deep = task_like(wide, small_generator(2, "deep"), "deep")
    whole = share_discriminator(wide, deep, num_shared)
    teachers = SeveralTeachers({"wide": wide, "deep": deep})
    networks = teachers.networks()
    assert networks["discriminator"] is whole
    assert "deep_discriminator" not in networks
    gradients = []
    for name, task in teachers.items():
        whole.zero_grad()
        losses = task.discriminator_losses(teachers.own(random_step(size=64), name))
        torch.stack(list(losses.values())).sum().backward()
        gradients.append({key for key, item in whole.named_parameters() if item.grad is not None})
    weights = {f"block{k + 1}s.1.block.0.weight" for k in range(num_shared)}
    assert {key for key in gradients[0] & gradients[1] if key.endswith(".0.weight")} == weights


def test_the_wide_teachers_branch_begins_as_the_discriminator_that_came_with_it() -> None:
    wide = small_task("paired", gan="hinge", d_layers=3)
    deep = task_like(wide, small_generator(2, "deep"), "deep")
    images = torch.cat([*random_step(size=64).batch.values()], 1)
    before = wide.discriminator(images)
    share_discriminator(wide, deep, 3)
    assert torch.equal(wide.discriminator(images), before)
    assert not torch.equal(deep.discriminator(images), before)


def test_only_a_patchgan_of_five_blocks_can_be_shared() -> None:
    with pytest.raises(ConfigError, match="`shared_blocks` 3: is for a patchgan of 5 blocks"):
        share_discriminator(*two_tasks(), 3)
