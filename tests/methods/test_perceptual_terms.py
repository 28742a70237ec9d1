from __future__ import annotations

import pytest
import torch
from builders import random_batch, random_features

from gancomp.errors import ConfigError
from gancomp.methods.perceptual_terms import check_perceptual, perceptual_losses, perceptual_taps
from gancomp.methods.shared_options import PerceptualOptions


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
