"""DCD's released step has the literal one's terms, but for the student's fakes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gancomp.bench.literal import LiteralStep
from gancomp.bench.released import ReleasedStep
from gancomp.bench.train import TrainRequest, build, made_up_images
from gancomp.losses.gan import generator_loss
from gancomp.settings import OptimizerSettings

REQUEST = TrainRequest(size=96, width=4, d_width=4, device="cpu")
IMAGES = made_up_images(REQUEST)


@pytest.fixture
def released() -> ReleasedStep:
    return ReleasedStep(build(REQUEST).double(), OptimizerSettings())


def images() -> tuple[torch.Tensor, torch.Tensor]:
    return IMAGES["source"].double(), IMAGES["target"].double()


def collected(module: nn.Module) -> int:
    return sum(parameter.grad is not None for parameter in module.parameters())


def test_teacher_and_discriminators_have_the_literal_terms_without_the_students_fakes(
    released: ReleasedStep,
) -> None:
    literal = LiteralStep(build(REQUEST).double(), OptimizerSettings()).step(*images())
    found = released.step(*images())
    assert found.keys() == literal.keys() - {"discriminator/student_fake"}
    assert len(found) == 14
    for name, value in found.items():
        if not name.startswith("student/"):
            assert value == pytest.approx(literal[name], rel=1e-9), name


def test_teachers_take_the_literal_step_and_discriminators_wait_without_gradients(
    released: ReleasedStep,
) -> None:
    waiting: list[int] = []
    judges = released.modules["discriminator"]
    released.optimizers["teacher"].register_step_pre_hook(
        lambda *_: waiting.append(collected(judges))
    )
    literal = LiteralStep(build(REQUEST).double(), OptimizerSettings())
    literal.step(*images())
    released.teacher_turn(*images())
    assert waiting == [0]
    assert collected(judges) == len(list(judges.parameters()))
    theirs = literal.modules["teacher"].state_dict()
    for name, weight in released.modules["teacher"].state_dict().items():
        # a bias before a norm moves by rounding errors alone, which Adam makes a step of
        if not name.endswith("bias"):
            assert torch.allclose(weight, theirs[name], rtol=0, atol=1e-9), name


def test_the_students_turn_leaves_gradients_in_what_it_does_not_train(
    released: ReleasedStep,
) -> None:
    others = (
        released.forward_generator,
        released.discriminator,
        released.teacher_connectors,
    )
    before = [{name: value.clone() for name, value in item.named_parameters()} for item in others]
    released.student_turn(images()[0])
    for module, kept in zip(others, before, strict=True):
        assert collected(module) > 0
        assert all(torch.equal(value, kept[name]) for name, value in module.named_parameters())
    assert collected(released.perceptual) == 0


def test_the_students_gan_term_is_the_teachers_and_teaches_it_nothing(
    released: ReleasedStep,
) -> None:
    source, _ = images()
    terms = released.imitation(source)
    with torch.no_grad():
        logits = released.discriminator(released.forward_generator(source))
    wanted = generator_loss(released.settings.gan, logits)
    assert terms["gan"].item() == pytest.approx(wanted.item())
    weights = list(released.modules["student"].parameters())

    def reached(name: str) -> int:
        found = torch.autograd.grad(terms[name], weights, retain_graph=True, allow_unused=True)
        return sum(gradient is not None for gradient in found)

    assert reached("gan") == 0
    assert reached("dcd") > 0
    assert reached("style") > 0


def test_cooperation_is_the_literal_eq_6(released: ReleasedStep) -> None:
    source, _ = images()
    literal = LiteralStep(build(REQUEST).double(), OptimizerSettings())
    fake, maps = literal.forward_generator.forward_with_taps(
        source, literal.teacher_connectors.taps
    )
    wanted = literal.student_losses(source, fake.detach(), maps)
    found = released.imitation(source)
    for name in ("feature", "style", "dcd"):
        assert found[name].item() == pytest.approx(wanted[name].item(), rel=1e-9)
