"""L_dcd and its gradients against the released code, with either pairing of connectors and taps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import small_generator
from golden_values import (
    assert_golden,
    assert_value_and_gradient,
    fill,
    g,
    golden,
    image_pair,
    vgg,
)

from gancomp.losses.feature import feature_loss, style_loss
from gancomp.losses.gan import generator_loss
from gancomp.methods.base import Components
from gancomp.methods.dcd import Dcd
from gancomp.methods.dcd_options import DcdOptions
from gancomp.settings import AdversarialSettings, NetworkSettings, OptimizerSettings
from gancomp.tasks.unpaired import UnpairedTask

TAPS = ("model.9", "model.12", "model.15", "model.18")
NATURAL = "dcd/L_dcd with connector i on tap i (natural order)"
BY_NAME = "dcd/L_dcd as released (4 taps, connectors zipped in string order)"


@pytest.fixture(scope="module")
def method() -> Any:
    teacher = small_generator(8, arch="mobile-resnet9")
    judge = NetworkSettings(arch="patchgan", width=8, layers=3)
    task = UnpairedTask(teacher, judge, adversarial=AdversarialSettings(), seed=0)
    student = small_generator(4, "student", arch="mobile-resnet9")
    options = DcdOptions(lambda_feature=0.0, lambda_style=0.0)
    made = Dcd(Components(task, student, None, OptimizerSettings(), seed=0), options)
    fill(made.task.discriminator, 1000)
    return made.train()


def connect(method: Any, order: tuple[str, ...]) -> None:
    """Gives the j-th connector's weights to the j-th tap of `order`; statistics are fresh."""
    for side, base in ((method.teacher_connectors, 2000), (method.student_connectors, 2500)):
        for j, tap in enumerate(order):
            connector = fill(side.by_tap[TAPS.index(tap)], base + 100 * j)
            connector.norm.reset_running_stats()


def maps(channels: int, first: int) -> dict[str, torch.Tensor]:
    shape = (1, channels, 32, 32)
    return {tap: g(shape, first + i).requires_grad_() for i, tap in enumerate(TAPS)}


@pytest.mark.parametrize(("name", "order"), [(NATURAL, TAPS), (BY_NAME, tuple(sorted(TAPS)))])
def test_the_loss_and_its_gradient_in_a_students_map_are_those_of_the_released_code(
    method: Any, name: str, order: tuple[str, ...]
) -> None:
    connect(method, order)
    student = maps(16, 40)
    loss = method.dcd_loss(maps(32, 30), student)
    assert_value_and_gradient(loss, name, student[TAPS[0]])


def test_connectors_and_what_the_discriminator_sees_are_those_of_the_released_code(
    method: Any,
) -> None:
    connect(method, tuple(sorted(TAPS)))
    teacher, student = maps(32, 30), maps(16, 40)
    outputs = golden("dcd/connector outputs (f_T,0 on T_0 eval; f_S,0 on S_0 train)")["value"]
    first = TAPS.index("model.12")  # whose connector is the first by name
    seen_T = method.teacher_connectors.by_tap[first](teacher[TAPS[0]])
    seen_S = method.student_connectors.by_tap[first](student[TAPS[0]])
    assert_golden(seen_T, outputs["fT"])
    assert_golden(seen_S, outputs["fS"])
    (concept,) = method.task.discriminator.features(seen_T, ("model.10",)).values()
    assert_golden(concept, golden("dcd/D model.10 of f_T,0(T_0)")["value"])


def test_gradients_reach_the_students_connectors_as_in_the_released_code(method: Any) -> None:
    connect(method, tuple(sorted(TAPS)))
    loss = method.dcd_loss(maps(32, 30), maps(16, 40))
    connector = method.student_connectors.by_tap[TAPS.index("model.12")]
    wanted = golden("dcd/L_dcd gradients elsewhere")["value"]
    parameters = (connector.conv.weight, connector.norm.weight, connector.norm.bias)
    names = ("fS_conv0", "fS_bn_weight0", "fS_bn_bias0")
    gradients = torch.autograd.grad(loss, parameters)
    for name, gradient in zip(names, gradients, strict=True):
        assert_golden(gradient, wanted[name])


def test_a_taps_part_of_the_loss_is_that_of_the_released_code(method: Any) -> None:
    by_name = sorted(TAPS)
    connect(method, tuple(by_name))
    teacher, student = maps(32, 30), maps(16, 40)
    order = method.teacher_connectors.by_tap, method.student_connectors.by_tap
    # the j-th connector by name is given the j-th map by name, whatever it is called
    for j, (name, wanted) in enumerate(golden("dcd/L_dcd per tap")["value"]):
        assert name.startswith(by_name[j])
        tap = by_name[j]
        seen = [
            side[TAPS.index(tap)](given[tap])
            for side, given in zip(order, (teacher, student), strict=True)
        ]
        concepts = [method.task.discriminator.features(x, ("model.10",))["model.10"] for x in seen]
        assert_golden((concepts[0] - concepts[1]).abs().mean(), wanted)


def test_the_objective_is_that_of_the_released_code_whose_gan_term_has_the_teachers_image(
    method: Any,
) -> None:
    connect(method, tuple(sorted(TAPS)))
    teacher, student = image_pair()
    features = vgg()(teacher), vgg()(student)
    terms = {
        "style": 1e4 * style_loss(*[list(each.values()) for each in features]),
        "feature": 10 * feature_loss(*[[each["relu2_2"]] for each in features]),
        "gan": generator_loss("lsgan", method.task.discriminator(teacher)),
        "CD": method.dcd_loss(maps(32, 30), maps(16, 40)),
    }
    for name, term in terms.items():
        assert_golden(term, golden(f"dcd/cycle objective/loss_G_{name}")["value"])
    total = sum(terms.values(), torch.zeros((), dtype=torch.float64))
    assert_golden(total, golden("dcd/cycle objective/loss_G_student")["value"])
    name = "dcd/cycle objective/gradient w.r.t. student image"
    assert_value_and_gradient(total, name, student)
