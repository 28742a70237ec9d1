"""AGD's method: the released criterion, plain descent with clipped gradients, no discriminator."""

from __future__ import annotations

import pytest
import torch
from builders import random_batch, small_method, small_task
from golden_values import assert_value_and_gradient, image_pair, vgg
from loops import loop_of
from torch import nn

from gancomp.engine.fit import run_step
from gancomp.errors import ConfigError
from gancomp.methods.agd import agd_losses, descent
from gancomp.methods.agd_options import AgdOptions

NOTHING = {"lambda_base": 0.0, "lambda_gram": 0.0, "lambda_content": 0.0}


@pytest.mark.parametrize(
    ("kind", "options", "names"),
    [
        ("train (1e-2,1e5,1,0)", AgdOptions(), {"base", "gram", "content"}),
        ("search (0,1e5,1,0)", AgdOptions(lambda_base=0.0), {"gram", "content"}),
        *(
            (f"{kind} only", AgdOptions(**(NOTHING | {f"lambda_{name}": weight})), {name})
            for kind, name, weight in (
                ("base", "base", 1.0),
                ("style", "gram", 1e5),
                ("content", "content", 1.0),
                ("tv", "tv", 1.0),
            )
        ),
    ],
)
def test_terms_add_up_to_the_released_criterion(
    kind: str, options: AgdOptions, names: set[str]
) -> None:
    teacher, student = image_pair()
    losses = agd_losses(options, vgg(), teacher, student)
    assert set(losses) == names
    total = torch.stack(list(losses.values())).sum()
    assert_value_and_gradient(total, f"agd/criterion {kind}", student)


def test_a_frozen_teacher_leaves_the_student_alone_in_a_step() -> None:
    method = small_method("agd", small_task("unpaired", frozen=True))
    losses = run_step(loop_of(method), 0, random_batch())
    assert set(losses) == {"student/base", "student/gram", "student/content"}


def test_long_gradients_are_clipped_and_the_step_is_that_of_plain_descent() -> None:
    for clip, moved in ((5.0, 0.5), (0.0, 10.0)):
        layer = nn.Linear(1, 1, bias=False)
        optimizer = descent(layer, AgdOptions(clip_norm=clip, weight_decay=0.0, student_lr=0.1))
        before = layer.weight.item()
        (100 * layer.weight).sum().backward()
        optimizer.step()
        assert before - layer.weight.item() == pytest.approx(moved)


def test_no_term_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="`method` agd: the student has no loss term"):
        small_method("agd", small_task("unpaired"), perceptual=False, lambda_base=0.0)
