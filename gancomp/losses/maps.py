"""Distances of generators' feature maps, one function per method that DCD is compared with.

Teacher's maps are detached here. Adaptors that bring the student's maps to the teacher's channels
are in `gancomp.methods.adaptors`. All refuse an empty list of taps, as in `losses.feature`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.losses.feature import gram_matrix
from gancomp.losses.precision import at_least_float32
from gancomp.ranks import current

PYRAMID = (4, 2, 1)  # rows and columns of the pooled maps
Distance = Literal["mse", "rmse"]


def adapted_map_loss(teacher_maps: Sequence[Tensor], adapted_maps: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of each pair of maps, summed over taps.

    Args:
        teacher_maps: one tensor per tap, any shape.
        adapted_maps: the student's, adapted to the same shapes.

    Returns: a scalar, at least float32.

    Raises:
        ValueError: if there is no tap, or their numbers or shapes differ.

    Source: Li et al. 2020 (GAN Compression), eq. 3; its released code averages over elements. Half
    of it is FitNet's loss of hints (Romero et al. 2015, eq. 3), which sums over them.
    """
    return _summed(teacher_maps, adapted_maps, F.mse_loss)


def channel_distillation_loss(
    teacher_maps: Sequence[Tensor],
    adapted_maps: Sequence[Tensor],
    *,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Mean squared difference of the channels' means over all positions.

    Args:
        teacher_maps: one `(N, C, H, W)` tensor per tap.
        adapted_maps: the student's, adapted to as many channels; sizes may differ.
        reduction: over taps: `mean` as in the paper, `sum` as in the released code.

    Returns: a scalar, at least float32.

    Raises:
        ValueError: if there is no tap, their numbers or channels differ, or for another reduction.

    Source: Ren et al. 2021 (OMGD), eq. 11.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"unknown reduction {reduction!r} over the taps; choose mean or sum")
    pooled_T, pooled_S = (
        [at_least_float32(features).mean((2, 3)) for features in maps]
        for maps in (teacher_maps, adapted_maps)
    )
    total = _summed(pooled_T, pooled_S, F.mse_loss)
    return total / len(teacher_maps) if reduction == "mean" else total


def generated_map_loss(teacher: Tensor, generated: Tensor) -> Tensor:
    """Sum of squared differences, averaged over images only: MGD's loss, without its weight.

    Args:
        teacher: `(N, C, H, W)`.
        generated: what `methods.adaptors.GenerationBlock` makes of the student's masked map.

    Returns: a scalar, at least float32.

    Raises:
        ValueError: if the shapes differ.

    Source: Yang et al. 2022 (MGD), eq. 5; weights 2e-5 (dense tasks) and 7e-5 (classification).
    """
    return _summed([teacher], [generated], F.mse_loss) * (teacher.numel() / len(teacher))


def pyramid_loss(teacher_maps: Sequence[Tensor], fused_maps: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of the maps and of their averages over 4x4, 2x2 and 1 cells.

    The terms of a tap are weighted by 1, 1/2, 1/4 and 1/8 and divided by the sum of these; averages
    over no fewer rows than the map has are left out, before weights are given. Taps are summed.

    Args:
        teacher_maps: one `(N, C, H, W)` tensor per tap.
        fused_maps: the student's, out of `methods.adaptors.AttentionFusion`, of the same shapes.

    Returns: a scalar, at least float32.

    Raises:
        ValueError: if there is no tap, or their numbers or shapes differ.

    Source: Chen et al. 2021 (ReviewKD), section 3.3, the "hierarchical context loss".
    """
    return _summed(teacher_maps, fused_maps, _pyramid_distance)


def _pyramid_distance(student: Tensor, teacher: Tensor) -> Tensor:
    total, weight, weights = F.mse_loss(student, teacher), 1.0, 1.0
    for side in PYRAMID:
        if side < student.shape[2]:
            weight /= 2
            small = F.adaptive_avg_pool2d(student, side)
            wanted = F.adaptive_avg_pool2d(teacher, side)
            total, weights = total + weight * F.mse_loss(small, wanted), weights + weight
    return total / weights


def content_loss(
    teacher_maps: Sequence[Tensor], student_maps: Sequence[Tensor], *, distance: Distance = "mse"
) -> Tensor:
    """Distance of each pair of maps, summed over taps.

    Args:
        teacher_maps: one tensor per tap, of generator or discriminator.
        student_maps: of the same shapes.
        distance: mean squared (GCC's released code for unpaired images) or its root (paired).

    Returns: a scalar, at least float32.

    Raises:
        ValueError: if there is no tap, their numbers or shapes differ, or for another distance.

    Source: Li et al. 2021 (GCC), eq. 9. The released code for unpaired images detaches the image
    that the discriminator sees, so that its maps' terms have no gradient.
    """
    return _summed(teacher_maps, student_maps, _distance(distance))


def texture_loss(
    teacher_maps: Sequence[Tensor], student_maps: Sequence[Tensor], *, distance: Distance = "mse"
) -> Tensor:
    """The same of the maps' Gram matrices.

    Arguments, range and errors as for `content_loss`; maps are `(N, C, H, W)`. Source: GCC, eq. 9.
    With the maps of VGG16 it is AGD's style term (Fu et al. 2020), whose weight is 1e5.
    """
    _check_numbers(teacher_maps, student_maps)
    grams_T, grams_S = (
        [gram_matrix(features) for features in maps] for maps in (teacher_maps, student_maps)
    )
    return _summed(grams_T, grams_S, _distance(distance))


def _distance(distance: Distance) -> Callable[[Tensor, Tensor], Tensor]:
    if distance not in ("mse", "rmse"):
        raise ValueError(f"unknown distance {distance!r} of the maps; choose mse or rmse")
    return F.mse_loss if distance == "mse" else _root_mean_square


def _root_mean_square(student: Tensor, teacher: Tensor) -> Tensor:
    # the norm's gradient at 0 is 0, the square root's infinite
    root: float = (current().size * student.numel()) ** 0.5
    return _length(student - teacher) / root


def _length(difference: Tensor) -> Tensor:
    """The Euclidean length over all ranks' images."""
    own: Tensor = torch.linalg.vector_norm(difference)
    ranks = current()
    if ranks.size == 1:
        return own
    whole: Tensor = torch.linalg.vector_norm(ranks.gathered(own[None]))
    return whole


def co_attention_loss(
    teacher_maps: Sequence[Tensor],
    student_maps: Sequence[Tensor],
    discriminator_map: Tensor,
    *,
    detach_target: bool = True,
    eight_bits: bool = False,
) -> Tensor:
    """Mean squared difference of where the student looks and where teacher and discriminator do.

    A map's attention is the mean of its squares over channels. The target is the average of the
    teacher's and the discriminator's, brought to the tap's size; both sides are divided by their
    lengths. Summed over taps.

    Args:
        teacher_maps: one `(N, C, H, W)` tensor per tap.
        student_maps: of the same sizes; channels may differ.
        discriminator_map: the teacher discriminator's, `(N, D, h, w)`.
        detach_target: stop the gradient in the discriminator's map too. The released code does not,
            and passes it the student's image: a second gradient path to the student.
        eight_bits: where sizes differ (U-Net), the discriminator's attention is that of the batch's
            first image, rounded to 8 bits without clipping, as released; no gradient goes through.

    Returns: a scalar, at least float32.

    Raises:
        ValueError: if there is no tap, or their numbers or sizes differ.

    Source: Li et al. 2022 (DMAD), eqs. 9 and 10.
    """
    watched = _attention(discriminator_map.detach() if detach_target else discriminator_map)
    _check_numbers(teacher_maps, student_maps)
    total = []
    for teacher, student in zip(teacher_maps, student_maps, strict=True):
        size = teacher.shape[2:]
        if student.shape[2:] != size:
            raise ValueError(f"sizes of maps differ: {tuple(size)}, {tuple(student.shape[2:])}")
        target = (_attention(teacher.detach()) + _resized(watched, size, eight_bits)) / 2
        total.append(F.mse_loss(_directed(_attention(student)), _directed(target)))
    return torch.stack(total).sum()


def _attention(features: Tensor) -> Tensor:
    return at_least_float32(features).square().mean(1, keepdim=True)


def _resized(attention: Tensor, size: torch.Size, eight_bits: bool) -> Tensor:
    if attention.shape[2:] == size:
        return attention
    if not eight_bits:
        return F.interpolate(attention, size, mode="area")
    first = current().gathered(attention.detach())[:1]
    levels = ((first + 1) / 2 * 255).to(torch.int64) % 256  # it wraps
    return F.interpolate(levels.to(attention), size, mode="area").round() / 255 * 2 - 1


def _directed(attention: Tensor) -> Tensor:
    return F.normalize(attention.flatten(1), dim=1)


def map_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Euclidean length of the difference of two maps, neither squared nor averaged.

    Args:
        teacher: the discriminator's map of the teacher's image.
        student: of the student's, of the same shape.

    Returns: a scalar, at least float32, which grows with the root of the batch; 0 with gradient 0
    for equal maps.

    Raises:
        ValueError: if the shapes differ.

    Source: DMAD, eq. 12; its released weight is 1e-4.
    """
    return _summed([teacher], [student], lambda s, t: _length(s - t))


def kernel_alignment(teacher: Tensor, student: Tensor) -> Tensor:
    """How alike the images of a batch relate in both maps: 1 if up to a factor, else less.

    `<X X^T, Y Y^T> / (|X X^T| |Y Y^T|)` with an image's map in each row of X and Y, not centered.
    A batch of one gives 1 and no gradient.

    Args:
        teacher: `(N, ...)`.
        student: `(N, ...)` of any other shape behind: no adaptor is needed.

    Returns: a scalar in [0, 1], at least float32.

    Raises:
        ValueError: if the batches differ.

    Source: Jin et al. 2021 (CAT), eq. 2; not the centered form of Kornblith et al. 2019.
    """
    if len(teacher) != len(student):
        raise ValueError(f"batches of {len(teacher)} and {len(student)} images do not align")
    with torch.autocast(student.device.type, enabled=False):
        flat = [at_least_float32(features).flatten(1) for features in (teacher.detach(), student)]
        kernels = [features @ features.T for features in flat]
        return F.cosine_similarity(kernels[0].flatten(), kernels[1].flatten(), dim=0)


def alignment_loss(
    teacher_maps: Sequence[Tensor], student_maps: Sequence[Tensor], *, replicas: int = 1
) -> Tensor:
    """Minus the kernel alignment, summed over taps: at least minus their number.

    Args:
        teacher_maps: one tensor per tap, `(N, ...)`.
        student_maps: as many.
        replicas: equal parts of the batch that are aligned apart and summed, as the released code
            does on as many GPUs (4 in its scripts, whose weight is thus four times as large).

    Returns: a scalar, at least float32.

    Raises:
        ValueError: if there is no tap, their numbers or batches differ, or a batch has fewer
            images than there are replicas.

    Source: CAT, eq. 3.
    """
    _check_numbers(teacher_maps, student_maps)
    total = []
    for maps in zip(teacher_maps, student_maps, strict=True):
        whole = map(current().gathered, maps)
        parts = [features.tensor_split(replicas) for features in whole]
        if any(len(part) == 0 for part in parts[1]):
            count = current().size * len(maps[1])
            raise ValueError(f"{count} images cannot be shared by {replicas} replicas")
        total += [kernel_alignment(*pair) for pair in zip(*parts, strict=True)]
    return -torch.stack(total).sum()


def _summed(
    teacher_maps: Sequence[Tensor],
    student_maps: Sequence[Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """`distance(student, teacher)` of each tap, summed."""
    _check_numbers(teacher_maps, student_maps)
    total = []
    for index, (teacher, student) in enumerate(zip(teacher_maps, student_maps, strict=True)):
        if teacher.shape != student.shape:
            raise ValueError(
                f"tap {index}: the teacher's map is {tuple(teacher.shape)}, the student's "
                f"{tuple(student.shape)}"
            )
        total.append(distance(at_least_float32(student), at_least_float32(teacher.detach())))
    return torch.stack(total).sum()


def _check_numbers(teacher_maps: Sequence[Tensor], student_maps: Sequence[Tensor]) -> None:
    if not teacher_maps or len(teacher_maps) != len(student_maps):
        raise ValueError(
            f"the teacher has {len(teacher_maps)} taps and the student {len(student_maps)}; "
            "both need the same taps, at least one"
        )
