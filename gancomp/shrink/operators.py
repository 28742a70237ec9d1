"""How each operator passes on the channels of what it takes to what it makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from gancomp.shrink.tracing import Tracer

Labels = np.ndarray[Any, np.dtype[np.int64]]
Axes = list[Labels | None]
FIXED = 0  # the label of what must stay
Rule = Callable[["Tracer", Sequence[Any], dict[str, Any], Sequence[Tensor]], None]
RULES: dict[str, Rule] = {}
SHUFFLING = ("flip", "roll", "sort", "cumsum", "index", "gather", "scatter", "index_put", "rot90")


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enters a function as that of the operators called `names`."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def flat(values: Any) -> Iterator[Tensor]:
    """All tensors in nested lists and tables."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from flat(value)
    elif isinstance(values, dict):
        yield from flat(list(values.values()))


def elementwise(
    tracer: Tracer, args: Sequence[Any], given: dict[str, Any], made: Sequence[Tensor]
) -> None:
    """Operators on corresponding elements, and those that change the size of maps alone."""
    tensors = list(flat((args, given)))
    for output in made:
        axes: Axes = [None] * output.dim()
        for tensor in tensors:
            shift = output.dim() - tensor.dim()
            for axis, labels in enumerate(tracer.of(tensor)):
                if labels is None:
                    continue
                at = axis + shift
                if at < 0 or output.shape[at] != len(labels):
                    tracer.give_up(labels)
                elif axes[at] is None:
                    axes[at] = labels
                else:
                    tracer.tie(axes[at], labels)
        tracer.let(output, axes)


@rule(*SHUFFLING)
def _shuffled(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    for tensor in flat((args, given)):
        for labels in tracer.of(tensor):
            if labels is not None:
                tracer.give_up(labels)


@rule("convolution", "_convolution")
def _convolution(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    inputs, weight, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
    incoming, (first, second, *_) = tracer.of(inputs)[1], tracer.of(weight)
    if groups == 1:
        inner, outer = (first, second) if transposed else (second, first)
        tracer.contract(incoming, inner)
    elif weight.shape[1] == 1 and groups == inputs.shape[1]:  # depthwise
        spread = None if incoming is None else np.repeat(incoming, weight.shape[0] // groups)
        if first is not None or weight.stride(0):
            tracer.tie(spread, first)
        outer = spread if first is None else first  # one kernel expanded follows the channels
    else:
        outer = _grouped(tracer, incoming, [first, second], groups, transposed)
    if bias is not None and outer is not None:
        tracer.tie(tracer.of(bias)[0], outer)
    axes: Axes = [tracer.of(inputs)[0], outer, *[None] * (made[0].dim() - 2)]  # maps as a batch
    tracer.let(made[0], axes)


def _grouped(
    tracer: Tracer, incoming: Labels | None, weight: Axes, groups: int, transposed: bool
) -> Labels | None:
    """Each group of channels loses the same ones."""
    first, second = weight
    if first is not None:
        tracer.tie_rows(first.reshape(groups, -1))
    if incoming is not None:
        tracer.tie_rows(incoming.reshape(groups, -1))
    if transposed:
        tracer.contract(incoming, first)
        return None if second is None else np.tile(second, groups)
    tracer.contract(None if incoming is None else incoming.reshape(groups, -1)[0], second)
    return first


@rule("mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "dot", "vdot")
def _product(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    added = args[0] if tracer.operator in ("addmm", "baddbmm", "addmv") else None
    left, right = args[0 if added is None else 1], args[1 if added is None else 2]
    one, other = tracer.of(left), tracer.of(right)
    at = max(0, right.dim() - 2)
    tracer.contract(one[-1], other[at])
    if not made:
        return
    axes = [*one[:-1], *(other[at + 1 :] if right.dim() > 1 else [])]
    if left.dim() == 3 and other[0] is not None:
        tracer.tie(axes[0], other[0])
    tracer.let(made[0], axes)
    if added is not None:
        for axis, labels in enumerate(tracer.of(added), made[0].dim() - added.dim()):
            if labels is not None:
                tracer.tie(axes[axis], labels)


@rule(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "_batch_norm_no_update",
    "_batch_norm_with_update",
    "prelu",
    "native_group_norm",
)
def _norm(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    axes = tracer.of(args[0])
    for tensor in flat((args[1:], given)):
        if tensor.dim() == 1 and (labels := tracer.of(tensor)[0]) is not None:
            tracer.tie(axes[1], labels)
    if tracer.operator == "native_group_norm" and axes[1] is not None and args[6] > 1:
        tracer.tie_rows(axes[1].reshape(args[6], -1))
    tracer.let(made[0], axes)


@rule(
    "sum",
    "mean",
    "var",
    "std",
    "amax",
    "amin",
    "var_mean",
    "std_mean",
    "norm",
    "prod",
    "linalg_vector_norm",
    "logsumexp",
    "argmax",
    "argmin",
    "max",
    "min",
)
def _reduced(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    if len(list(flat(args))) > 1:  # the larger one of two
        elementwise(tracer, args, given, made)
        return
    axes, dims = tracer.of(args[0]), tracer.argument("dim", args, given)
    listed = range(len(axes)) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {dim % len(axes) for dim in listed} or set(range(len(axes)))
    for output in made:
        if output.dim() == len(axes):
            tracer.let(
                output, [None if axis in gone else labels for axis, labels in enumerate(axes)]
            )
        else:
            tracer.let(output, [labels for axis, labels in enumerate(axes) if axis not in gone])


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "unflatten", "flatten")
def _view(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    (output,) = made
    before, after = list(args[0].shape), list(output.shape)
    axes: Axes = [None] * len(after)
    for olds, news in _blocks(before, after):
        labeled = [axis for axis in olds if tracer.of(args[0])[axis] is not None]
        if not labeled:
            continue
        lengths = [before[axis] for axis in olds]
        if len(labeled) > 1:
            for axis in labeled:
                tracer.give_up(tracer.of(args[0])[axis])  # type: ignore[arg-type]  # not None
            continue
        labels: Any = tracer.of(args[0])[labeled[0]]
        place = [1] * len(olds)
        place[olds.index(labeled[0])] = -1
        merged = np.broadcast_to(labels.reshape(place), lengths).reshape(-1)
        if len(news) == 1:
            axes[news[0]] = merged
            continue
        # channels that became several axes are those of the longest, whatever the others are
        longest = max(news, key=lambda axis: (after[axis], -axis))
        rows = merged.reshape([after[axis] for axis in news])
        rows = np.moveaxis(rows, news.index(longest), -1).reshape(-1, after[longest])
        axes[longest] = tracer.tie_rows(rows)
    tracer.let(output, axes)


def _blocks(before: list[int], after: list[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Runs of axes that became each other, those of length 1 left out."""
    olds = [axis for axis, length in enumerate(before) if length != 1]
    news = [axis for axis, length in enumerate(after) if length != 1]
    while olds:
        one, other = [olds.pop(0)], [news.pop(0)]
        while (
            counts := [math.prod(before[a] for a in one), math.prod(after[a] for a in other)]
        ) and (counts[0] != counts[1]):
            if counts[0] < counts[1]:
                one.append(olds.pop(0))
            else:
                other.append(news.pop(0))
        yield one, other


@rule("permute", "transpose", "t", "numpy_T", "movedim", "swapaxes")
def _permuted(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    axes = tracer.of(args[0])
    if tracer.operator == "permute":
        order = [dim % len(axes) for dim in args[1]]
    else:
        order = list(range(len(axes)))
        one, other = (0, -1) if tracer.operator == "t" else (args[1], args[2])
        order[one], order[other] = order[other], order[one]
    tracer.let(made[0], [axes[axis] for axis in order])


@rule("unsqueeze")
def _unsqueezed(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    axes = list(tracer.of(args[0]))
    axes.insert(args[1] % made[0].dim(), None)
    tracer.let(made[0], axes)


@rule("squeeze")
def _squeezed(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    dims = tracer.argument("dim", args, given)
    count = args[0].dim()
    listed = range(count) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {dim % count for dim in listed if args[0].shape[dim] == 1}
    axes = tracer.of(args[0])
    tracer.let(made[0], [labels for axis, labels in enumerate(axes) if axis not in gone])


@rule("select")
def _selected(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    axes = list(tracer.of(args[0]))
    labels = axes.pop(args[1])
    if made:
        tracer.let(made[0], axes)
        if labels is not None:
            tracer.pick(made[0], labels)


@rule("unbind")
def _unbound(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    axes = list(tracer.of(args[0]))
    labels = axes.pop(args[1] if len(args) > 1 else 0)
    for output in made:
        tracer.let(output, axes)
        if labels is not None:
            tracer.pick(output, labels)


@rule("slice")
def _sliced(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    dim, start, end, step = (
        tracer.argument(name, args, given) for name in ("dim", "start", "end", "step")
    )
    axes = list(tracer.of(args[0]))
    if (labels := axes[dim]) is not None:
        axes[dim] = labels[slice(start, end, step)]
    tracer.let(made[0], axes)


@rule("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk")
def _split(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    dim, start = tracer.argument("dim", args, given) or 0, 0
    for output in made:
        axes = list(tracer.of(args[0]))
        length = output.shape[dim]
        if (labels := axes[dim]) is not None:
            axes[dim] = labels[start : start + length]
        start += length
        tracer.let(output, axes)


@rule("cat", "concat", "concatenate")
def _joined(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    dim = (tracer.argument("dim", args, given) or 0) % made[0].dim()
    axes: Axes = [None] * made[0].dim()
    for tensor in args[0]:
        for axis, labels in enumerate(tracer.of(tensor)):
            if axis == dim or labels is None:
                continue
            if axes[axis] is not None:
                tracer.tie(axes[axis], labels)
            axes[axis] = labels
    parts = [(tensor.shape[dim], tracer.of(tensor)[dim]) for tensor in args[0]]
    if any(labels is not None for _, labels in parts):
        axes[dim] = np.concatenate(
            [np.full(length, FIXED) if labels is None else labels for length, labels in parts]
        )
    tracer.let(made[0], axes)


@rule("stack")
def _stacked(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    axes: Axes = [None] * args[0][0].dim()
    for tensor in args[0]:
        for axis, labels in enumerate(tracer.of(tensor)):
            if axes[axis] is not None:
                tracer.tie(axes[axis], labels)
            axes[axis] = axes[axis] if labels is None else labels
    axes.insert((tracer.argument("dim", args, given) or 0) % made[0].dim(), None)
    tracer.let(made[0], axes)


@rule("repeat")
def _repeated(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    times = args[1]
    axes = [None] * (len(times) - args[0].dim()) + list(tracer.of(args[0]))
    pairs = zip(axes, times, strict=True)
    tracer.let(
        made[0], [None if labels is None else np.tile(labels, count) for labels, count in pairs]
    )


@rule("pixel_shuffle", "pixel_unshuffle")
def _pixels(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    axes, square = list(tracer.of(args[0])), args[1] ** 2
    labels = axes[-3]
    if labels is not None and tracer.operator == "pixel_shuffle":
        labels = tracer.tie_rows(labels.reshape(-1, square).T)
    elif labels is not None:
        labels = np.repeat(labels, square)
    axes[-3] = labels
    tracer.let(made[0], axes)


@rule("embedding")
def _embedded(tracer: Tracer, args: Any, given: Any, made: Sequence[Tensor]) -> None:
    axes: Axes = [None] * args[1].dim()
    tracer.let(made[0], [*axes, tracer.of(args[0])[1]])
