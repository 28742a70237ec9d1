"""How the pieces of an image relate to each other, compared between teacher and student (CRD).

Everything follows from the squared distances of the pieces, `(B, N, N)`: that matrix comes from one
Gram matrix in float64, and the angles from it by the law of cosines, so that neither the
differences of all pairs of pieces, `(N, N, d)`, nor the cosines of all triples ever exist at once.

Shapes: `B` images, `N` pieces of one image, `d` numbers in a piece, `c` pieces at a time, `w` of
them and those after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gancomp.ranks import current

LEAST_SQUARE = 1e-12  # of a distance: equal pieces count as 1e-6 apart
SAME = 1e-6  # pieces nearer than this, absolutely or by the mean distance, have no direction
# cosines at a time: on a CPU what stays in its caches, else enough to be worth a launch
COSINES_AT_ONCE = {"cpu": 2**18, "cuda": 2**25}


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
    It has no second derivative.

    Args:
        teacher: `(B, N, d)`, any range; detached here.
        student: of the same shape.
        distance: weight of the mean Huber distance of all N^2 distances, each side's divided by the
            mean of its own (eqs. 4 to 6); the gradient passes through the student's mean, too.
        angle: weight of that of all N^3 cosines of the angle at i between j and k (eqs. 7 to 9).
            Pieces that are equal (see `SAME`) have no direction: their cosines are 0, as in the
            released code, and they get no gradient, where that divides by 1e-12 and one such step
            ruins Adam's averages for a thousand.
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
    # the mean over ranks of a sum over their images is to be that over all images
    of_all = total.mean() if reduction == "mean" else total.sum() * current().size
    return of_all.to(dtype)


def _both_squares(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    if teacher.shape != student.shape or student.dim() != 3 or student.shape[1] < 2:
        raise ValueError(
            f"relations need (B, N, d) pieces with N > 1 of both sides, not "
            f"{tuple(teacher.shape)} and {tuple(student.shape)}"
        )
    return _SquaredDistances.apply(teacher.detach()), _SquaredDistances.apply(student)


class _SquaredDistances(torch.autograd.Function):
    """`(B, N, N)` in float64, zero on the diagonal; the Gram matrix would cancel in float32.

    Its gradient takes one matrix product, where autograd's for the Gram matrix takes two.
    """

    @staticmethod
    def forward(ctx: Any, pieces: Tensor) -> Tensor:
        centered = pieces.double()
        centered = centered - centered.mean(1, keepdim=True)
        gram = centered @ centered.mT
        lengths = gram.diagonal(dim1=1, dim2=2)
        squares = lengths[:, :, None] + lengths[:, None, :] - gram - gram.mT
        squares.diagonal(dim1=1, dim2=2).zero_()
        ctx.save_for_backward(centered)
        ctx.dtype = pieces.dtype
        return squares

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (centered,) = ctx.saved_tensors
        pull = grad_output + grad_output.mT
        pull.diagonal(dim1=1, dim2=2).zero_()
        # the sum over j of 2 pull_ij (x_i - x_j); the pieces' mean drops out
        own = pull.sum(2, keepdim=True) * centered
        return torch.baddbmm(own, pull, centered, alpha=-1).mul_(2).to(ctx.dtype)


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


class _Angles(torch.autograd.Function):
    """The mean Huber distance of all cosines, with the gradient by the student's squares.

    It is computed along with the value, a few pieces at a time: no array of all cosines is kept.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, dtype: torch.dtype) -> Tensor:
        v = torch.stack([_inverses(student), _inverses(teacher)]).to(dtype)
        total, gradient = _angles(torch.stack([student, teacher]).to(dtype), v)
        ctx.save_for_backward(gradient.to(student.dtype) / len(student) ** 3)
        return total.to(student.dtype) / len(student) ** 3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * grad_output, None, None


def _angles(squares: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The Huber distances' sum over all triples, and its gradient by the student's squares.

    The angle at i between j and k is that between k and j: a tile has c pieces j, all vertices i,
    and of the pieces k only j's own tile, at half weight, and those after it.

    Args:
        squares: `(2, N, N)`, the student's and the teacher's.
        v: their `_inverses`, likewise.
    """
    mine = v[0]
    total = squares.new_zeros((), dtype=torch.float64)
    between = torch.zeros_like(mine)  # what pulls at Q_jk
    pulls, turns = (squares.new_zeros(2, *mine.shape) for _ in range(2))  # as (j, i); as (i, k)
    for at, cosines, slope_cNw in _tiles(squares, v):
        beyond, own = slice(at.start, None), slope_cNw[:, :, : len(slope_cNw)]
        cosine_cNw, difference_cNw = cosines
        torch.sub(*cosines, out=difference_cNw)  # 0 for equal pieces, exactly
        torch.clamp(difference_cNw, -1, 1, out=slope_cNw)  # Huber's derivative
        # not by a dot product, whose float32 sum loses the sixth digit
        huber_w = difference_cNw.sub_(slope_cNw, alpha=0.5).mul_(slope_cNw).sum((0, 1))
        total += 2 * huber_w.sum() - huber_w[: len(own)].sum()
        own *= 0.5
        turn_cNw = cosine_cNw.mul_(slope_cNw)
        pull_cNw = slope_cNw.mul_(mine[:, beyond]).mul_(mine[at, :, None])
        between[at, beyond] += pull_cNw.sum(1)
        for sums, what_cNw in ((pulls, pull_cNw), (turns, turn_cNw)):
            sums[0, at] += what_cNw.sum(2)
            sums[1, :, beyond] += what_cNw.sum(0)
    pull, turn = (sums[0].mT + sums[1] for sums in (pulls, turns))
    # dv/dQ = -v^3; each pair of sides counts in both orders
    return total, 2 * (pull - mine**2 * turn) - between - between.mT


def _tiles(squares: Tensor, v: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The pieces j of a tile, `(2, c, N, w)` cosines of both sides, and room for `(c, N, w)`.

    The arrays are overwritten by the next tile: fresh ones cost more than what is computed in them.
    """
    num = squares.shape[1]
    budget = COSINES_AT_ONCE.get(squares.device.type, COSINES_AT_ONCE["cuda"])
    most = min(max(budget, num**2), num**3)
    cosines, room = squares.new_empty(2 * most), squares.new_empty(most)
    sides = v * squares
    start = 0
    while start < num:
        width = num - start
        count = min(width, max(1, budget // (num * width)))
        at, size = slice(start, start + count), count * num * width
        tile = cosines[: 2 * size].view(2, count, num, width)
        # v_ij (v_ik Q_ik + v_ik (Q_ij - Q_jk))
        torch.sub(squares[:, at, :, None], squares[:, at, None, start:], out=tile)
        torch.addcmul(sides[:, None, :, start:], v[:, None, :, start:], tile, out=tile)
        yield at, tile.mul_(v[:, at, :, None]), room[:size].view(count, num, width)
        start += count
