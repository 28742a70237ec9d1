"""Distances between a teacher's and a student's feature maps; gradients reach the student only.

`feature_loss` and `style_loss` detach the teacher's maps themselves, so a caller cannot train the
teacher (or keep its graph alive) by mistake. All refuse an empty list of taps: a hook that captured
nothing would otherwise read as a perfect student.

Shapes: `N` images, `C` channels, `P = H*W` positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from gancomp.losses.precision import at_least_float32


def gram_matrix(features: Tensor) -> Tensor:
    """Channel correlations of a feature map, averaged over positions and channels.

    Computed in at least float32 even inside autocast: sums over a 256x256 map overflow float16 and
    lose their digits in bfloat16.

    Args:
        features: `(N, C, H, W)`, any range.

    Returns:
        `(N, C, C)`, symmetric; `F F^T / (C H W)`.

    Raises:
        ValueError: if `features` is not 4-D.

    Source: Johnson et al. 2016, eq. 3; the OMGD and DCD releases divide the same way.
    """
    if features.dim() != 4:
        raise ValueError(f"a Gram matrix needs (N, C, H, W) features, not {_shape(features)}")
    # autocast would turn this matmul back into half precision whatever its inputs are
    with torch.autocast(features.device.type, enabled=False):
        flat_NCP = at_least_float32(features).flatten(2)
        num_channels, num_positions = flat_NCP.shape[1:]
        return flat_NCP @ flat_NCP.transpose(1, 2) / (num_channels * num_positions)


def feature_loss(teacher_maps: Sequence[Tensor], student_maps: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of each pair of maps, summed over taps.

    Args:
        teacher_maps: one tensor per tap, any shape; detached here.
        student_maps: as many tensors, of the same shapes.

    Returns:
        A scalar, at least float32; exactly 0 for equal maps.

    Raises:
        ValueError: if there is no tap, or their numbers or shapes differ.

    Source: DCD eq. 4, averaged over the batch. The paper sums over all its VGG taps; the OMGD and
    DCD releases pass relu2_2 only. Which taps are compared is the caller's choice.
    """
    _check_paired(teacher_maps, student_maps)
    return torch.stack(
        [
            _mean_absolute(teacher.detach(), student)
            for teacher, student in zip(teacher_maps, student_maps, strict=True)
        ]
    ).sum()


def style_loss(
    teacher_maps: Sequence[Tensor],
    student_maps: Sequence[Tensor],
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Absolute difference of each pair of Gram matrices, summed over taps.

    Args:
        teacher_maps: one `(N, C, H, W)` tensor per tap; detached here.
        student_maps: as many tensors, of the same shapes.
        reduction: `mean` averages over the `N C C` entries, as the OMGD and DCD releases do and
            as the published weight of 1e4 expects; `sum` adds an image's `C C` entries and
            averages over the batch, equation 5 to the letter.

    Returns:
        A scalar, at least float32; exactly 0 for equal maps.

    Raises:
        ValueError: if there is no tap, their numbers or shapes differ, or `reduction` is unknown.

    Source: DCD eq. 5.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"unknown reduction {reduction!r} of the style loss; choose mean or sum")
    _check_paired(teacher_maps, student_maps)
    total = []
    for teacher, student in zip(teacher_maps, student_maps, strict=True):
        distance = _mean_absolute(gram_matrix(teacher.detach()), gram_matrix(student))
        num_entries = student.shape[1] ** 2
        total.append(distance * num_entries if reduction == "sum" else distance)
    return torch.stack(total).sum()


def discriminator_concept_loss(
    teacher_features: Mapping[str, Mapping[str, Tensor]],
    student_features: Mapping[str, Mapping[str, Tensor]],
) -> Tensor:
    """Mean absolute difference of what the discriminator sees in both generators' feature maps.

    Args:
        teacher_features: generator tap -> discriminator tap -> the discriminator's map of the
            teacher's connected features. Not detached: an ablation of the paper trains the
            teacher's connectors through them.
        student_features: the same taps and shapes for the student's connected features.

    Returns:
        A scalar, at least float32; each pair's mean over elements, summed over generator taps and
        discriminator taps. Exactly 0 for equal maps.

    Raises:
        ValueError: naming the taps, if there is none or the two sides differ in taps or shapes.

    Source: DCD eq. 6 with `l` = L1, averaged over elements as in the authors' release.
    """
    _check_names(teacher_features, student_features, "generator taps")
    terms = []
    for generator_tap, teacher_maps in teacher_features.items():
        student_maps = student_features[generator_tap]
        _check_names(teacher_maps, student_maps, f"discriminator taps of {generator_tap}")
        for tap, teacher in teacher_maps.items():
            _check_shapes(teacher, student_maps[tap], f"{generator_tap} -> {tap}")
            terms.append(_mean_absolute(teacher, student_maps[tap]))
    return torch.stack(terms).sum()


def _mean_absolute(teacher: Tensor, student: Tensor) -> Tensor:
    return (at_least_float32(teacher) - at_least_float32(student)).abs().mean()


def _check_paired(teacher_maps: Sequence[Tensor], student_maps: Sequence[Tensor]) -> None:
    if not teacher_maps or len(teacher_maps) != len(student_maps):
        raise ValueError(
            f"the teacher has {len(teacher_maps)} taps and the student {len(student_maps)}; "
            "both need the same taps, at least one"
        )
    for index, (teacher, student) in enumerate(zip(teacher_maps, student_maps, strict=True)):
        _check_shapes(teacher, student, f"tap {index}")


def _check_names(teacher: Mapping[str, object], student: Mapping[str, object], what: str) -> None:
    if not teacher or teacher.keys() != student.keys():
        raise ValueError(
            f"{what} differ or are empty: the teacher has {sorted(teacher)}, "
            f"the student {sorted(student)}"
        )


def _check_shapes(teacher: Tensor, student: Tensor, tap: str) -> None:
    if teacher.shape != student.shape:
        raise ValueError(
            f"{tap}: the teacher's map is {_shape(teacher)}, the student's {_shape(student)}"
        )


def _shape(features: Tensor) -> str:
    return str(tuple(features.shape))
