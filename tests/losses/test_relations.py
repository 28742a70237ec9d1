"""CRD's relations against the released code's numbers and against themselves, written plainly."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_values import (
    assert_golden,
    assert_value_and_gradient,
    fill,
    golden,
    image_pair,
    img,
    vgg,
)
from PIL import Image
from torch import Tensor

from gancomp.losses.feature import feature_loss, style_loss
from gancomp.losses.gan import generator_loss
from gancomp.losses.relations import (
    COSINES_AT_ONCE,
    columns,
    patches,
    relation_loss,
    released_patches,
    rows,
)
from gancomp.networks.patchgan import patchgan

LOSSES = {
    "total": relation_loss,
    "distance": partial(relation_loss, angle=0.0),
    "angle": partial(relation_loss, distance=0.0, angle=1.0),
}
PIECES: dict[str, Callable[[Tensor], Tensor]] = {"row": rows, "column": columns, "patch": patches}
each_loss = pytest.mark.parametrize("part", LOSSES)


def literal(teacher: Tensor, student: Tensor, *, distance: float = 1, angle: float = 2) -> Tensor:
    """RKD as written, with the differences of all pairs; one image after another."""

    def relations(pieces: Tensor) -> tuple[Tensor, Tensor]:
        differences = pieces[None] - pieces[:, None]
        lengths = differences.pow(2).sum(2).clamp(min=1e-12).sqrt()
        lengths = lengths * (1 - torch.eye(len(pieces), dtype=pieces.dtype))
        directions = F.normalize(differences, dim=2)
        return lengths / lengths[lengths > 0].mean(), directions @ directions.mT

    total = []
    for t, s in zip(teacher.detach(), student, strict=True):
        wanted, found = relations(t), relations(s)
        terms = [F.smooth_l1_loss(f, w) for f, w in zip(found, wanted, strict=True)]
        total.append(distance * terms[0] + angle * terms[1])
    return torch.stack(total).mean()


def patch_pair() -> tuple[Tensor, Tensor]:
    shape = (1, 3, 96, 128)
    return img(shape, 3), (0.7 * img(shape, 3) + 0.3 * img(shape, 4)).requires_grad_()


@each_loss
@pytest.mark.parametrize("kind", PIECES)
def test_value_and_gradient_are_those_of_the_released_code(kind: str, part: str) -> None:
    teacher, student = patch_pair() if kind == "patch" else image_pair()
    pieces = PIECES[kind]
    value = LOSSES[part](pieces(teacher), pieces(student))
    assert_value_and_gradient(value, f"crd/{kind}/{part}", student)


@each_loss
def test_the_released_paired_patch_term_is_that_of_one_patchs_color_channels(part: str) -> None:
    teacher, student = patch_pair()
    value = LOSSES[part](released_patches(teacher), released_patches(student))
    assert_value_and_gradient(value, f"crd/patch_paired_released/{part}", student)


def test_pieces_that_are_all_equal_or_only_two_of_them_give_the_released_values() -> None:
    student = img((1, 3, 8, 8), 5)
    value = relation_loss(rows(torch.zeros_like(student)), rows(student))
    assert_golden(value, golden("crd/degenerate: constant teacher (all rows equal)")["value"])
    student[:, :, 3] = student[:, :, 2]
    student.requires_grad_()
    value = relation_loss(rows(img((1, 3, 8, 8), 6)), rows(student))
    assert_golden(value, golden("crd/degenerate: two equal student rows")["value"])
    (gradient,) = torch.autograd.grad(value, student)
    assert 0 < gradient.abs().sum() < 10  # the release's is 3e10: it divides by 1e-12


def test_the_unpaired_objective_and_its_gradient_are_those_of_the_released_code() -> None:
    teacher, student = image_pair()
    discriminator = fill(patchgan(8), 1000).requires_grad_(False)
    maps = vgg()(teacher), vgg()(student)
    of_all, of_one = ([list(m.values()) for m in maps], [[m["relu2_2"]] for m in maps])
    terms = {
        "style": 1e4 * style_loss(*of_all),
        "feature": 10 * feature_loss(*of_one),
        "row": relation_loss(rows(teacher), rows(student)),
        "column": relation_loss(columns(teacher), columns(student)),
        "patch": relation_loss(patches(teacher), patches(student)),
        "D": generator_loss("lsgan", discriminator(student)),
    }
    for name, term in terms.items():
        assert_golden(term, golden(f"crd/cycle objective/loss_G_{name}")["value"])
    total = sum((25 if kind in PIECES else 1) * term for kind, term in terms.items())
    assert isinstance(total, Tensor)
    assert_golden(total, golden("crd/cycle objective/loss_G_student")["value"])
    assert_value_and_gradient(total, "crd/cycle objective/gradient of the total", student)


def test_the_paired_objective_and_its_gradient_are_those_of_the_released_code() -> None:
    shape = (4, 3, 64, 64)
    teacher = img(shape, 7)
    student = (0.8 * teacher + 0.2 * img(shape, 8)).requires_grad_()
    maps = vgg()(teacher), vgg()(student)

    def summed(pieces: Callable[[Tensor], Tensor]) -> Tensor:
        return relation_loss(pieces(teacher), pieces(student), reduction="sum")

    terms = {
        "style": 1e4 * style_loss(*[list(m.values()) for m in maps]),
        "feature": 10 * feature_loss(*[[m["relu2_2"]] for m in maps]),
        "row": summed(rows),
        "column": summed(columns),
        "patch": summed(released_patches),
    }
    for name, term in terms.items():
        assert_golden(term, golden(f"crd/paired objective/loss_G_{name}")["value"])
    total = sum((2.5 if kind in PIECES else 2) * term for kind, term in terms.items())
    assert isinstance(total, Tensor)
    assert_golden(total, golden("crd/paired objective/loss_G_student")["value"])
    assert_value_and_gradient(total, "crd/paired objective/gradient of the total", student)


ZEBRA = "n02391049_100.jpg"  # of horse2zebra's testB
OF_A_ZEBRA = {  # the released code's: total, sum of the gradient's size
    "row": (0.02505515893631805, 2.1230671405792236),
    "column": (0.10351617879500838, 3.3569416999816895),
    "patch": (0.01311611937377999, 0.7775041289578355),
}


@pytest.mark.parametrize("kind", PIECES)
def test_a_photograph_and_its_blurred_copy_give_the_released_values(kind: str) -> None:
    file = Path(os.environ.get("GANCOMP_DATA", "")) / "horse2zebra" / "testB" / ZEBRA
    if not file.is_file():
        pytest.skip(f"needs horse2zebra/testB/{ZEBRA} in $GANCOMP_DATA")
    pixels = torch.from_numpy(np.array(Image.open(file)))
    teacher = pixels.permute(2, 0, 1)[None].double() / 127.5 - 1
    blurred = F.avg_pool2d(F.pad(teacher, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    student = (0.9 * blurred + 0.02).requires_grad_()
    value = relation_loss(PIECES[kind](teacher), PIECES[kind](student))
    total, size = OF_A_ZEBRA[kind]  # the blurred copy was in float32 there
    assert value.item() == pytest.approx(total, rel=1e-6)
    (gradient,) = torch.autograd.grad(value, student)
    assert gradient.abs().sum().item() == pytest.approx(size, rel=1e-4)


def random_pieces(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape or (2, 7, 5), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("at_once", [1, 70, 2**17])  # one piece at a time, some, all
@pytest.mark.parametrize("weights", [{}, {"distance": 0.0}, {"angle": 0.0}])
def test_fast_terms_equal_the_literal_ones_also_where_hubers_slope_is_constant(
    weights: dict[str, float], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COSINES_AT_ONCE, "cpu", at_once)
    # unrelated pieces: many cosines differ by more than 1
    teacher, student = random_pieces(0), random_pieces(1).requires_grad_()
    value = relation_loss(teacher, student, **weights)
    expected = literal(teacher, student, **weights)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(
        *(torch.autograd.grad(term, student)[0] for term in (value, expected)), rtol=1e-9, atol=0
    )


@each_loss
def test_equal_pieces_give_exactly_zero_and_no_gradient(part: str) -> None:
    pieces = random_pieces(0).float()
    student = pieces.clone().requires_grad_()
    value = LOSSES[part](pieces, student)
    assert value.item() == 0
    assert not torch.autograd.grad(value, student)[0].any()


@each_loss
def test_offset_factor_and_mirroring_of_all_pieces_do_not_count(part: str) -> None:
    pieces = random_pieces(0)
    assert LOSSES[part](pieces, 3 - 0.5 * pieces).item() < 1e-25


@each_loss
def test_gradient_reaches_the_student_only(part: str) -> None:
    teacher, student = (random_pieces(k).requires_grad_() for k in range(2))
    LOSSES[part](teacher, student).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0


def test_autocast_changes_nothing_and_half_precision_is_computed_in_more() -> None:
    teacher, student = random_pieces(0).bfloat16(), random_pieces(1).bfloat16()
    expected = literal(teacher.double(), student.double()).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = relation_loss(teacher, student)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_sum_over_images_is_the_mean_times_their_number() -> None:
    teacher, student = random_pieces(0), random_pieces(1)
    mean, total = (relation_loss(teacher, student, reduction=kind) for kind in ("mean", "sum"))  # type: ignore[arg-type]
    assert total.item() == pytest.approx(2 * mean.item(), rel=1e-12)


def test_pieces_are_rows_columns_and_squares_in_reading_order() -> None:
    images = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    assert torch.equal(rows(images)[1, 2], images[1, :, 2].flatten())
    assert torch.equal(columns(images)[1, 5], images[1, :, :, 5].flatten())
    assert patches(images, 2).shape == (2, 6, 12)
    assert torch.equal(patches(images, 2)[1, 4], images[1, :, 2:4, 2:4].flatten())


def test_what_cannot_relate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 40, 40\): fewer than 2 patches of 32x32"):
        patches(torch.zeros(1, 3, 40, 40))
    with pytest.raises(ValueError, match=r"\(2, 7, 5\) and \(2, 7, 4\)"):
        relation_loss(random_pieces(0), random_pieces(1)[..., :4])
    unknown: Any = "max"
    with pytest.raises(ValueError, match="'max'.*mean or sum"):
        relation_loss(random_pieces(0), random_pieces(1), reduction=unknown)


@pytest.mark.parametrize("kind", PIECES)
@each_loss
def test_float32_images_agree_with_float64_to_six_digits(part: str, kind: str) -> None:
    # against our own float64 form: the plain one of 256 pixels would take 4 GB
    shape = (1, 3, 256, 256)
    teacher = img(shape, 1)
    student = 0.9 * F.avg_pool2d(F.pad(teacher, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    pieces = PIECES[kind]
    expected = LOSSES[part](pieces(teacher), pieces(student)).item()
    value = LOSSES[part](pieces(teacher.float()), pieces(student.float()))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-6)


def seconds(term: Callable[[Tensor, Tensor], Tensor], pieces: Callable[[Tensor], Tensor]) -> float:
    """Processor time: the best of some forward and backward passes for one image of 256 pixels."""
    shape = (1, 3, 256, 256)
    teacher = img(shape, 1).float()
    student = (0.8 * teacher + 0.2 * img(shape, 2).float()).requires_grad_()
    best = float("inf")
    for _ in range(1 if term is literal else 5):
        start = time.process_time()
        torch.autograd.grad(term(pieces(teacher), pieces(student)), student)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.slow
def test_a_term_of_strips_takes_a_tenth_of_the_plain_ones_time() -> None:
    assert seconds(relation_loss, rows) < seconds(literal, rows) / 10


MEMORY = """
import resource, torch
from golden_values import img
from gancomp.losses.relations import relation_loss, rows
torch.set_num_threads(1)
def step(size):
    teacher = img((1, 3, size, size), 1).float()
    student = (0.8 * teacher).requires_grad_()
    relation_loss(rows(teacher), rows(student)).backward()
step(8)  # whatever the libraries take
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(256)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_term_of_strips_at_256_pixels_takes_less_than_300_megabytes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert int(done.stdout) / 1024 < 300
