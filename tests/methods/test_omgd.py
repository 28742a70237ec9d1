from __future__ import annotations

import pytest
import torch
from builders import (
    phase_called,
    random_step,
    small_generator,
    small_method,
    small_task,
)

from gancomp.engine.step import only_these_require_grad
from gancomp.errors import ConfigError
from gancomp.losses.image import structural_similarity, total_variation
from gancomp.losses.maps import channel_distillation_loss
from gancomp.methods.base import Components, Method
from gancomp.methods.omgd import Omgd
from gancomp.methods.omgd_options import OmgdOptions
from gancomp.settings import OptimizerSettings

IMAGE_TERMS = {"ssim", "feature", "style"}


def paired(**options: object) -> Method:
    return small_method("omgd", small_task("paired", gan="hinge", d_layers=3), **options)


def test_unpaired_the_student_has_the_wide_teachers_terms_only() -> None:
    losses = small_method("omgd").losses("student", random_step())
    assert losses.keys() == IMAGE_TERMS | {"channel", "tv"}


def test_paired_it_has_those_of_both_teachers_each_named() -> None:
    losses = paired().losses("student", random_step(size=64))
    both = IMAGE_TERMS | {f"deep_{name}" for name in IMAGE_TERMS}
    assert losses.keys() == both | {"channel", "tv"}
    assert losses["ssim"].item() != losses["deep_ssim"].item()


def test_terms_are_the_papers_with_their_weights() -> None:
    step = random_step()
    method = small_method("omgd", lambda_channel=7.0, perceptual=False)
    losses = method.losses("student", step)
    teacher, student = method.task.teacher(step), method.translate(step)
    assert losses["ssim"].item() == pytest.approx(
        10 * (1 - structural_similarity(student.fake, teacher.fake).item())
    )
    assert losses["tv"].item() == pytest.approx(1e-5 * total_variation(student.fake).item())
    adapted = method.adaptors(student.taps)
    pairs = [teacher.taps[tap] for tap in method.matched.of_teacher], list(adapted.values())
    distance = channel_distillation_loss(*pairs, reduction="mean").item()
    assert losses["channel"].item() == pytest.approx(7 * distance, rel=1e-4)
    summed = small_method("omgd", lambda_channel=7.0, perceptual=False, channel_reduction="sum")
    found = summed.losses("student", random_step())["channel"].item()
    assert found == pytest.approx(4 * losses["channel"].item(), rel=1e-4)


def test_roughness_counts_once_per_teacher() -> None:
    step = random_step(size=64)
    one, two = (
        paired(deep_teacher=deep, perceptual=False).losses("student", step)["tv"]
        for deep in (False, True)
    )
    assert two.item() == pytest.approx(2 * one.item())


def test_the_student_never_meets_a_discriminator_and_moves_no_teacher() -> None:
    method = paired(shared_blocks=3)
    only_these_require_grad(phase_called(method, "student"), method.phases())
    torch.stack(list(method.losses("student", random_step(size=64)).values())).sum().backward()
    touched = {
        name.split(".")[0] for name, item in method.named_parameters() if item.grad is not None
    }
    assert touched == {"student", "adaptors"}


def test_both_teachers_and_the_shared_discriminator_learn_every_so_many_steps() -> None:
    method = paired(shared_blocks=3, teacher_every=3)
    assert [phase.every for phase in method.phases()] == [3, 3, 1]
    names = method.networks()
    assert names["discriminator"].arch == "two-branch-patchgan"
    assert names["deep_generator"].arch == "deep-resnet9"
    assert names["deep_generator"].width == method.student.width
    assert paired(deep_width=3).networks()["deep_generator"].width == 3


def test_under_a_frozen_teacher_without_another_only_the_student_learns() -> None:
    frozen = small_method("omgd", small_task(frozen=True))
    assert [phase.name for phase in frozen.phases()] == ["student"]


def test_a_student_without_a_deep_teacher_of_its_kind_is_refused_with_the_way_out() -> None:
    student = small_generator(2, "student", arch="unet128", norm="batch")
    components = Components(small_task("paired"), student, None, OptimizerSettings(), seed=0)
    with pytest.raises(ConfigError, match=r"`student_arch` unet128.*give `deep_teacher=False`"):
        Omgd(components, OmgdOptions(lambda_channel=0.0))


def test_a_student_without_any_term_is_refused() -> None:
    with pytest.raises(ConfigError, match="no loss term: give `lambda_ssim`"):
        small_method("omgd", lambda_ssim=0, lambda_tv=0, lambda_channel=0, perceptual=False)
