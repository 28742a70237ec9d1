from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from builders import random_batch, random_features, random_step, small_generator, small_task
from torch import Tensor

from gancomp.engine.phases import Progress, Step
from gancomp.errors import ConfigError
from gancomp.methods.base import Components
from gancomp.methods.distillation import (
    BlockSchedule,
    Distillation,
    check_perceptual,
    perceptual_losses,
    perceptual_taps,
)
from gancomp.methods.shared_options import BlockOptions, PerceptualOptions, StudentGanOptions
from gancomp.settings import OptimizerSettings
from gancomp.tasks.base import Translation


def turns(blocks: BlockSchedule, schedule_epochs: int) -> str:
    """`t` or `s` for each epoch, `b` for both."""
    total = blocks.num_epochs(schedule_epochs)
    marks = {(True, False): "t", (False, True): "s", (True, True): "b"}
    moments = [Progress(epoch, epoch, total) for epoch in range(total)]
    return "".join(marks[blocks.is_teachers_turn(p), blocks.is_students_turn(p)] for p in moments)


def test_jointly_both_learn_in_every_epoch_and_none_is_added() -> None:
    joint = BlockSchedule.of(BlockOptions())
    assert turns(joint, 3) == "bbb"
    assert [joint.schedule_epoch(epoch) for epoch in range(3)] == [0, 1, 2]


def test_in_blocks_the_students_epochs_come_on_top_and_the_rate_waits_for_them() -> None:
    blocks = BlockSchedule.of(BlockOptions(2, 3))
    assert turns(blocks, 4) == "ttsssttsss"
    assert [blocks.schedule_epoch(epoch) for epoch in range(10)] == [0, 1, 1, 1, 1, 2, 3, 3, 3, 3]


def test_an_incomplete_last_block_of_the_teacher_has_a_whole_one_of_the_student() -> None:
    assert turns(BlockSchedule(2, 3), 3) == "ttssstsss"


@pytest.mark.parametrize("lengths", [(1, 0), (0, 1)])
def test_one_block_length_alone_is_refused(lengths: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="give both"):
        BlockSchedule.of(BlockOptions(*lengths))


def test_only_taps_of_weighted_terms_are_asked_for() -> None:
    assert perceptual_taps(PerceptualOptions(lambda_feature=0.0, lambda_style=0.0)) == ()
    assert perceptual_taps(PerceptualOptions(lambda_style=0.0)) == ("relu2_2",)
    assert len(perceptual_taps(PerceptualOptions())) == 4


def test_terms_are_weighted_zero_for_equal_images_and_move_the_student_alone() -> None:
    options = PerceptualOptions(
        lambda_feature=3.0, lambda_style=2.0, feature_taps=("relu1_2",), style_taps=("relu1_2",)
    )
    network = random_features(("relu1_2",))
    teacher, student = random_batch().values()
    equal = perceptual_losses(network, options, teacher, teacher)
    assert {name: term.item() for name, term in equal.items()} == {"feature": 0.0, "style": 0.0}
    once = PerceptualOptions(
        lambda_feature=1.0, lambda_style=1.0, feature_taps=("relu1_2",), style_taps=("relu1_2",)
    )
    teacher.requires_grad_(True)
    student.requires_grad_(True)
    weighted = perceptual_losses(network, options, teacher, student)
    plain = perceptual_losses(network, once, teacher, student)
    for name, weight in (("feature", 3), ("style", 2)):
        torch.testing.assert_close(weighted[name], weight * plain[name])
    torch.stack(list(weighted.values())).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_without_a_network_or_weights_there_are_no_terms() -> None:
    images = random_batch()["source"]
    assert perceptual_losses(None, PerceptualOptions(), images, images) == {}


def test_a_weighted_term_without_taps_is_refused() -> None:
    with pytest.raises(ConfigError, match="style_taps: is empty"):
        check_perceptual(PerceptualOptions(style_taps=()))
    check_perceptual(PerceptualOptions(style_taps=(), lambda_style=0.0))


@dataclass(frozen=True)
class PlainOptions(BlockOptions, StudentGanOptions):
    """Half the weight of the student on both sides."""

    lambda_student: float = 0.5


class Plain(Distillation):
    """All that a method must have: its own terms."""

    name = "plain"
    paper = "none"
    Options = PlainOptions

    def own_losses(
        self, step: Step, teacher: Translation, student: Translation
    ) -> dict[str, Tensor]:
        return {"copy": (student.fake - teacher.fake.detach()).abs().mean()}


@pytest.mark.parametrize(("options", "weight"), [(PlainOptions(), 0.5), (BlockOptions(), 0.0)])
def test_a_method_needs_nothing_but_its_own_terms(options: BlockOptions, weight: float) -> None:
    student = small_generator(2, "student")
    method = Plain(Components(small_task(), student, None, OptimizerSettings(), 0), options)
    assert [phase.name for phase in method.phases()] == ["teacher", "discriminator", "student"]
    assert method.phases()[2] is method.phases()[2]
    assert (method.lambda_fools, method.lambda_judged) == (weight, weight)
    terms = method.losses("student", random_step())
    assert set(terms) == ({"gan", "copy"} if weight else {"copy"})
