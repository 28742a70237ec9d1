"""How the pieces of an image relate to each other, compared between teacher and student (CRD).

Everything follows from the squared distances of the pieces, `(B, N, N)`: that matrix comes from one
Gram matrix in float64, and the angles from it by the law of cosines, so that neither the
differences of all pairs of pieces, `(N, N, d)`, nor the cosines of all triples ever exist at once.

Shapes: `B` images, `N` pieces of one image, `d` numbers in a piece, `c` vertices at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_SQUARE = 1e-12  # of a distance: equal pieces count as 1e-6 apart
SAME = 1e-6  # pieces nearer than this, absolutely or by the mean distance, have no direction
# cosines at a time: on a CPU what stays in its caches, else enough to be worth a launch
COSINES_AT_ONCE = {"cpu": 2**17, "cuda": 2**25}


def rows(images: Tensor) -> Tensor:
    """Each row of pixels of `(N, C, H, W)` as a piece: `(N, H, C W)`."""
    return images.permute(0, 2, 1, 3).flatten(2)


def columns(images: Tensor) -> Tensor:
    """Each column of pixels of `(N, C, H, W)` as a piece: `(N, W, C H)`."""
    return images.permute(0, 3, 1, 2).flatten(2)


def patches(images: Tensor, size: int = 32) -> Tensor:
    """Disjoint squares of `(N, C, H, W)`, row by row: `(N, (H / size)(W / size), C size^2)`.

    Pixels at the right and bottom that fill no square are left out.

    Raises:
        ValueError: if there are fewer than 2 squares, which cannot relate.
    """
    height, width = (length // size for length in images.shape[2:])
    if height * width < 2:
        raise ValueError(f"{tuple(images.shape)}: fewer than 2 patches of {size}x{size} pixels")
    return F.unfold(images, size, stride=size).transpose(1, 2)


def released_patches(images: Tensor, size: int = 32) -> Tensor:
    """The "patches" that CRD's released code relates in paired training: `(N, C, size^2)`.

    It counts to the batch's size but reads the first image's list of patches: only its first `N`
    patches are seen, and what is related within each are its color channels. Meant was `patches`.
    """
    first = patches(images[:1], size)[0, : len(images)]
    return first.view(len(first), images.shape[1], -1)


def relation_loss(
    teacher: Tensor,
    student: Tensor,
    *,
    distance: float = 1.0,
    angle: float = 2.0,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Huber distance of the pieces' distances, and of the cosines in their triangles.

    Blind to offsets, factors and rotations common to all pieces: it cannot train a student alone.
    The angles have no second derivative.

    Args:
        teacher: `(B, N, d)`, any range; detached here.
        student: of the same shape.
        distance: weight of `distance_loss`.
        angle: weight of `angle_loss`.
        reduction: over the images: `mean`, or `sum` as in the released code for paired images.

    Returns: a scalar, at least float32; exactly 0 for equal pieces.

    Raises:
        ValueError: for other or unequal shapes, fewer than 2 pieces, or an unknown reduction.

    Source: You et al. 2022 (CRD); Park et al. 2019 (RKD), eqs. 4 to 9. The weights 1 and 2 are
    constants of the released code.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"unknown reduction {reduction!r} of the relations; choose mean or sum")
    dtype = torch.promote_types(student.dtype, torch.float32)
    # autocast would turn the matrix products back into half precision whatever their inputs are
    with torch.autocast(student.device.type, enabled=False):
        squares_T, squares_S = _both_squares(teacher, student)
        total = squares_S.new_zeros(len(student))
        if distance:
            total = total + distance * _distance_terms(squares_T, squares_S)
        if angle:
            total = total + angle * _angle_terms(squares_T, squares_S, dtype)
    return (total.mean() if reduction == "mean" else total.sum()).to(dtype)


def distance_loss(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean Huber distance of all N^2 distances, each side's divided by the mean of its own.

    Arguments, range and source as for `relation_loss`; RKD, eqs. 4 to 6. The gradient passes
    through the student's mean, too.
    """
    return relation_loss(teacher, student, distance=1.0, angle=0.0)


def angle_loss(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean Huber distance of all N^3 cosines of the angle at i between j and k.

    Arguments, range and source as for `relation_loss`; RKD, eqs. 7 to 9. Pieces that are equal (see
    `SAME`) have no direction: their cosines are 0, as in the released code, and they get no
    gradient, where that divides by 1e-12 and one such step ruins Adam's averages for a thousand.
    """
    return relation_loss(teacher, student, distance=0.0, angle=1.0)


def _both_squares(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    if teacher.shape != student.shape or student.dim() != 3 or student.shape[1] < 2:
        raise ValueError(
            f"relations need (B, N, d) pieces with N > 1 of both sides, not "
            f"{tuple(teacher.shape)} and {tuple(student.shape)}"
        )
    return _squared_distances(teacher.detach()), _squared_distances(student)


def _squared_distances(pieces: Tensor) -> Tensor:
    """`(B, N, N)` in float64, zero on the diagonal; the Gram matrix would cancel in float32."""
    pieces = pieces.double()
    pieces = pieces - pieces.mean(1, keepdim=True)
    gram = pieces @ pieces.mT
    lengths = gram.diagonal(dim1=1, dim2=2)
    squares = lengths[:, :, None] + lengths[:, None, :] - gram - gram.mT
    return squares * (1 - torch.eye(squares.shape[1], dtype=squares.dtype, device=squares.device))


def _distances(squares: Tensor) -> Tensor:
    """Zero on the diagonal."""
    others = 1 - torch.eye(squares.shape[1], dtype=squares.dtype, device=squares.device)
    return squares.clamp(min=LEAST_SQUARE).sqrt() * others


def _distance_terms(squares_T: Tensor, squares_S: Tensor) -> Tensor:
    """`(B,)`."""
    num = squares_S.shape[1]
    scaled_T, scaled_S = (
        distances * (num * (num - 1)) / distances.sum((1, 2), keepdim=True)
        for distances in (_distances(squares_T), _distances(squares_S))
    )
    return F.huber_loss(scaled_S, scaled_T, reduction="none").mean((1, 2))


def _angle_terms(squares_T: Tensor, squares_S: Tensor, dtype: torch.dtype) -> Tensor:
    """`(B,)`; the cosines are computed in `dtype`."""
    pairs = zip(squares_T, squares_S, strict=True)
    return torch.stack([_Angles.apply(student, teacher, dtype) for teacher, student in pairs])


def _inverses(squares: Tensor) -> Tensor:
    """`v` = 1 / (sqrt(2) d), 0 for equal pieces; cosine_ijk = v_ij v_ik (Q_ij + Q_ik - Q_jk)."""
    distances = squares.clamp(min=0).sqrt()
    apart = distances > SAME * distances.mean().clamp(min=1)
    return torch.where(apart, 0.5**0.5 / distances, 0)


def _cosines(squares: Tensor, v: Tensor, at: slice) -> tuple[Tensor, Tensor]:
    """`(c, N, N)`, cosines at the vertices `at` and the products v_ij v_ik."""
    s = squares[at] * v[at]
    outer = v[at, :, None] * v[at, None, :]
    crossed = torch.bmm(torch.stack([s, v[at]], 2), torch.stack([v[at], s], 1))
    return crossed.addcmul_(squares, outer, value=-1), outer


class _Angles(torch.autograd.Function):
    """The mean Huber distance of all cosines, with the gradient by the student's squares.

    It is computed along with the value, a few vertices at a time: no array of all cosines is kept.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, dtype: torch.dtype) -> Tensor:
        num = len(student)
        sides = [(squares, _inverses(squares)) for squares in (student, teacher)]
        (squares, v), (squares_T, v_T) = [[x.to(dtype) for x in side] for side in sides]
        total = student.new_zeros(())
        by_pair, by_side = torch.zeros_like(squares), torch.empty_like(squares)
        for at in _vertices(squares):
            difference_cNN, outer = _cosines(squares, v, at)
            difference_cNN -= _cosines(squares_T, v_T, at)[0]  # 0 for equal pieces, exactly
            slope_cNN = difference_cNN.clamp(-1, 1)  # Huber's derivative
            # not by a dot product, whose float32 sum loses the sixth digit
            total += difference_cNN.sub_(slope_cNN, alpha=0.5).mul_(slope_cNN).sum()
            pull_cNN = outer.mul_(slope_cNN)
            by_pair -= pull_cNN.sum(0)
            # pull_cNN is symmetric, and few long rows are multiplied faster than few long columns
            ones = torch.ones_like(squares[at])
            direct, along = torch.bmm(torch.stack([ones, squares[at]], 1), pull_cNN).unbind(1)
            across = torch.mul(pull_cNN, squares, out=slope_cNN).sum(2)
            # dv/dQ = -v^3; a pair is the side between i and j, and that between i and k
            by_side[at] = 2 * direct - 2 * v[at] ** 2 * (squares[at] * direct + along - across)
        ctx.save_for_backward((by_pair + by_side).to(student.dtype) / num**3)
        return total / num**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * grad_output, None, None


def _vertices(squares: Tensor) -> Iterator[slice]:
    """The vertices whose cosines are computed at once."""
    num = len(squares)
    budget = COSINES_AT_ONCE.get(squares.device.type, COSINES_AT_ONCE["cuda"])
    step = max(1, budget // num**2)
    return (slice(start, start + step) for start in range(0, num, step))
