"""Which channels of all tensors stand and fall together, followed operator by operator.

Each axis of a weight that may hold channels has a label for every position; activations carry the
labels of the channels they are made of. Operators tie labels: a convolution those of its input to
those of its weight, a sum those of its terms. What is tied in the end is one channel.

Source: the idea of dependency groups is that of Fang et al. 2023 (DepGraph). Their library follows
modules of torch by their kind; here operators are followed, so that weights which are scaled, used
by functions or modulated, buffers, and channels that become pixels are followed as well.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gancomp.shrink.operators import FIXED, RULES, Axes, Labels, elementwise, flat


def channel_axes(shape: Sequence[int]) -> range:
    """The axes of a weight that may hold channels; those after them are a kernel's."""
    return range(1, 3) if len(shape) == 5 else range(min(2, len(shape)))


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch left it untyped
    """Follows the channels of one pass that runs beneath it.

    Attributes:
        axes: the labels of each axis that may hold channels, by tensor and axis.
        ties: pairs of labels that are one channel.
        contracted: labels of channels that are summed over with weights.
        lost: the operator that could not be followed, by the module it ran in.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch left it untyped
        self.axes: dict[tuple[str, int], Labels] = {}
        self.ties: list[tuple[Labels, Labels]] = []
        self.contracted: list[Labels] = []
        self.lost: dict[str, str] = {}
        self._labels: dict[int, tuple[Tensor, Axes]] = {}  # tensors are kept: ids are used again
        self._picked: dict[int, tuple[Tensor, Labels]] = {}
        self._running: list[str] = [""]
        self.operator = ""
        self._schema: Any = None
        self._count = FIXED + 1
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            self._enter(name, tensor)
        for name, inner in module.named_modules():
            inner.register_forward_pre_hook(functools.partial(self._begin, name))
            inner.register_forward_hook(self._end)

    def _enter(self, name: str, tensor: Tensor) -> None:
        axes: Axes = [None] * tensor.dim()
        for axis in channel_axes(tensor.shape):
            if (length := tensor.shape[axis]) > 1:
                axes[axis] = np.arange(self._count, self._count + length)
                self.axes[name, axis] = axes[axis]  # type: ignore[assignment]  # not None
                self._count += length
        self._labels[id(tensor)] = tensor, axes

    def _begin(self, name: str, inner: nn.Module, given: Sequence[Any]) -> None:
        self._running.append(name)
        count = getattr(inner, "num_features", None)
        if isinstance(count, int) and next(inner.parameters(), None) is None and given:
            labels = self.of(given[0])[1]  # of a norm without tensors
            if labels is not None:
                self.axes[f"{name}.num_features", -1] = labels

    def _end(self, *_: Any) -> None:
        self._running.pop()

    def of(self, tensor: Tensor) -> Axes:
        """The labels of each axis, None for one that holds no channels."""
        known = self._labels.get(id(tensor))
        return [None] * tensor.dim() if known is None else known[1]

    def let(self, tensor: Tensor, axes: Axes) -> None:
        """Says what the axes of a tensor hold."""
        self._labels[id(tensor)] = tensor, list(axes)

    def argument(self, name: str, args: Sequence[Any], given: dict[str, Any]) -> Any:
        """What the operator that runs was given as its argument `name`."""
        if name in given:
            return given[name]
        for position, item in enumerate(self._schema.arguments):
            if item.name == name:
                return args[position] if position < len(args) else item.default_value
        return None

    def tie(self, one: Labels | None, other: Labels | None) -> None:
        """Makes the channels of two axes one; an axis of constants keeps the other as it is."""
        if one is None and other is None:
            return
        if one is None or other is None or len(one) != len(other):
            for labels in (one, other):
                if labels is not None:
                    self.give_up(labels)
            return
        self.ties.append((one, other))

    def tie_rows(self, labels: Labels) -> Labels:
        """Ties all rows of `(rows, n)` to the first one, which is returned."""
        for row in labels[1:]:
            self.ties.append((labels[0], row))
        first: Labels = labels[0]
        return first

    def contract(self, one: Labels | None, other: Labels | None) -> None:
        """Sums over products: where both hold channels, they are one, and can go."""
        self.tie(one, other)
        self.contracted += [labels for labels in (one, other) if labels is not None]

    def give_up(self, labels: Labels, *, silently: bool = False) -> None:
        """Keeps channels as they are."""
        self.ties.append((labels, np.full_like(labels, FIXED)))
        if not silently and self._running[-1] not in self.lost:
            self.lost[self._running[-1]] = self.operator

    def pick(self, tensor: Tensor, labels: Labels) -> None:
        """Keeps channels one of which `tensor` is, by its number, as soon as that is used."""
        self._picked[id(tensor)] = tensor, labels

    def keep(self, value: Any) -> None:
        """Keeps all axes of an input or output as they are."""
        if isinstance(value, Tensor):
            for axis, labels in enumerate(self.of(value)):
                if labels is not None:
                    self.give_up(labels, silently=True)
                elif value.shape[axis] > 1 and axis == 1:
                    axes = self.of(value)
                    axes[axis] = np.full(value.shape[axis], FIXED)
                    self.let(value, axes)

    def classes(self) -> dict[tuple[str, int], Labels]:
        """By tensor and axis the channel that each position is of; `FIXED` for what must stay."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        if not self.ties:
            return dict(self.axes)
        ones, others = (np.concatenate([pair[side] for pair in self.ties]) for side in (0, 1))
        ties = coo_matrix((np.ones(len(ones)), (ones, others)), shape=(self._count, self._count))
        found = connected_components(ties, directed=False)[1]
        found = np.where(found == found[FIXED], FIXED - 1, found) + 1
        self.contracted = [found[labels] for labels in self.contracted]
        return {key: found[labels] for key, labels in self.axes.items()}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        outputs = func(*args, **given)
        self._schema = func._schema
        self.operator = func._schema.name.removeprefix("aten::").rstrip("_")
        for item in flat((args, given)):
            if id(item) in self._picked:
                self.give_up(self._picked.pop(id(item))[1])
        made = [item for item in flat(outputs) if item.dim()]
        if any(labels is not None for item in flat((args, given)) for labels in self.of(item)):
            RULES.get(self.operator, elementwise)(self, args, given, made)
        return outputs
