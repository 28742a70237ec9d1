from __future__ import annotations

import pytest
import torch
from builders import phase_called, random_step, small_method, small_task

from gancomp.engine.step import only_these_require_grad
from gancomp.errors import ConfigError
from gancomp.losses.relations import columns, patches, relation_loss, released_patches, rows


def test_terms_are_the_weighted_relations_of_both_images() -> None:
    method, step = (
        small_method("crd", lambda_row=2.0, lambda_column=3.0, lambda_patch=5.0),
        random_step(),
    )
    losses = method.losses("student", step)
    assert losses.keys() == {"gan", "feature", "style", "row", "column", "patch"}
    images = [method.task.teacher(step).fake, method.translate(step).fake]
    wanted = {
        "row": 2 * relation_loss(*map(rows, images)),
        "column": 3 * relation_loss(*map(columns, images)),
        "patch": 5 * relation_loss(*(patches(item, 16) for item in images)),
    }
    assert {name: losses[name].item() for name in wanted} == pytest.approx(
        {name: term.item() for name, term in wanted.items()}
    )


def test_as_released_relations_are_summed_and_patches_are_those_of_the_first_image() -> None:
    plain = {"lambda_row": 1.0, "lambda_column": 0.0, "lambda_patch": 1.0, "lambda_gan": 0.0}
    step, task = random_step(), small_task("paired", gan="hinge")
    method = small_method("crd", task, relation_reduction="sum", released_patches=True, **plain)
    losses = method.losses("student", step)
    assert losses.keys() == {"feature", "style", "row", "patch"}
    images = [method.task.teacher(step).fake, method.translate(step).fake]
    each = torch.stack([relation_loss(*(rows(item[k : k + 1]) for item in images)) for k in (0, 1)])
    torch.testing.assert_close(losses["row"], each.sum())
    first = relation_loss(*(released_patches(item, 16) for item in images), reduction="sum")
    torch.testing.assert_close(losses["patch"], first)


def test_the_discriminator_judges_the_student_but_never_learns_from_it() -> None:
    method, step = small_method("crd"), random_step()
    method.losses("teacher", step)
    assert "student_fake" not in method.losses("discriminator", step)
    only_these_require_grad(phase_called(method, "student"), method.phases())
    torch.stack(list(method.losses("student", random_step()).values())).sum().backward()
    touched = {name.split(".")[0] for name, item in method.named_parameters()
               if item.grad is not None}  # fmt: skip
    assert touched == {"student"}


def test_images_with_fewer_than_two_patches_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"`patch_size` 32: images of `size` 32 have fewer"):
        small_method("crd", patch_size=32).check_size(32)
    small_method("crd", patch_size=32, lambda_patch=0.0).check_size(32)
    small_method("crd", patch_size=16).check_size(32)


def test_relations_alone_are_refused_for_they_are_blind_to_brightness_and_sign() -> None:
    with pytest.raises(ConfigError, match="no loss term: give `lambda_gan`"):
        small_method("crd", lambda_gan=0.0, perceptual=False)
