"""AGD's search space: what each cell may do, how wide each layer may be, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gancomp.networks.agd import (
    CELLS,
    DEPTHWISE_TIMES,
    NUM_CELLS,
    NUM_LAYERS,
    OPERATIONS,
    Cell,
    divisible_width,
    frame_layer,
    uniform_widths,
)
from gancomp.settings import Json, NetworkSettings
from gancomp.shrink.budget import built_on_meta
from gancomp.sizes import Size, sides

TIMES = (4 / 12, 6 / 12, 8 / 12, 10 / 12, 1.0)  # of the full widths: AGD's `width_mult_list`
# of height and width, where a layer's filters are applied: a transposed one's truly at its input
HALVINGS = (0, 1, 2, *[2] * NUM_CELLS, 2, 1, 0)
HALVINGS_TORCHPROFILE = (0, 1, 2, *[2] * NUM_CELLS, 1, 0, 0)
BYTES = 4  # of a parameter


@dataclass(frozen=True)
class Shape:
    """One network of the space.

    Attributes:
        operations: of the cells, as places in `OPERATIONS`.
        widths: stem, down1, down2, nine cells, up1, up2.
    """

    operations: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Both, as a candidate's shape."""
        return (*self.operations, *self.widths)

    @staticmethod
    def of(numbers: Sequence[int]) -> Shape:
        """The shape of those numbers."""
        return Shape(tuple(numbers[:NUM_CELLS]), tuple(numbers[NUM_CELLS:]))

    @property
    def named(self) -> list[str]:
        """The operations by name."""
        return [OPERATIONS[k] for k in self.operations]

    def worded(self) -> str:
        """For messages."""
        cells = zip(self.named, self.widths[CELLS[0] :], strict=False)
        stem, down1, down2, *_, up1, up2 = self.widths
        named = " ".join(f"{operation}:{width}" for operation, width in cells)
        return f"{stem}_{down1}_{down2} {named} {up1}_{up2}"


class CellSpace:
    """The networks that a search may find.

    Attributes:
        full: the widest width of each layer.
        widths: those that each layer may have, narrowest first.

    Args:
        width: ngf of the widest network.
        in_channels: of the input image.
        out_channels: of the output image.
        size: of the images.
        cost_of: what is limited, of what `measure_cost` counts.
    """

    def __init__(
        self,
        width: int,
        in_channels: int,
        out_channels: int,
        *,
        size: Size,
        cost_of: Callable[[Mapping[str, int]], float],
    ) -> None:
        self.full = uniform_widths(width)
        # widths that are equal once rounded are one choice
        self.widths = [sorted({divisible_width(k, times) for times in TIMES}) for k in self.full]
        self.in_channels, self.out_channels = in_channels, out_channels
        self.size, self._cost_of = size, cost_of

    @property
    def narrowest(self) -> Shape:
        """1x1 convolutions of the narrowest widths."""
        return Shape((OPERATIONS.index("skip"),) * NUM_CELLS, tuple(k[0] for k in self.widths))

    @property
    def widest(self) -> Shape:
        """Residual cells of full width: ResNet-9 without biases."""
        return Shape((OPERATIONS.index("residual"),) * NUM_CELLS, tuple(self.full))

    def around(self, widths: Sequence[int]) -> list[int]:
        """The channels before, between and behind all layers."""
        return [self.in_channels, *widths, self.out_channels]

    def settings(self, shape: Shape) -> NetworkSettings:
        """Of the network of that shape."""
        network = built_on_meta(
            NetworkSettings(
                "agd",
                shape.widths[0],
                in_channels=self.in_channels,
                out_channels=self.out_channels,
                operations=shape.named,
                channels=list(shape.widths),
            )
        )
        return NetworkSettings(network.arch, **network.settings())

    def layer_cost(self, layer: int, source: int, target: int, operation: int = 0) -> float:
        """Of one layer, in the budget's unit; `operation` is that of a cell."""
        return self._cost_of(self._counted(layer, source, target, operation))

    def _counted(self, layer: int, source: int, target: int, operation: int) -> dict[str, int]:
        """By every measure; nothing but filters costs anything, each as often as it is applied."""
        params = num_params(layer, source, target, operation)

        def positions(halvings: int) -> int:
            height, width = (side >> halvings for side in sides(self.size))
            return height * width

        return {
            "macs": params * positions(HALVINGS[layer]),
            "macs_torchprofile": params * positions(HALVINGS_TORCHPROFILE[layer]),
            "params": params,
            "bytes": params * BYTES,
        }

    def costs(self, shape: Shape) -> Json:
        """Of the network of that shape, by every measure: the sum over its layers."""
        total: dict[str, int] = {}
        for place in self._places(shape):
            for name, value in self._counted(*place).items():
                total[name] = total.get(name, 0) + value
        return total

    def cost(self, shape: Shape) -> float:
        """The same in the budget's unit."""
        return sum(self.layer_cost(*place) for place in self._places(shape))

    def _places(self, shape: Shape) -> Iterator[tuple[int, int, int, int]]:
        around = self.around(shape.widths)
        for layer in range(NUM_LAYERS):
            operation = shape.operations[layer - CELLS[0]] if layer in CELLS else 0
            yield layer, around[layer], around[layer + 1], operation


def num_params(layer: int, source: int, target: int, operation: int) -> int:
    """Of one layer of the derived network; `operation` is that of a cell."""
    product = source * target
    if layer not in CELLS:
        return product * (49 if layer in (0, NUM_LAYERS - 1) else 9)
    name, widening = OPERATIONS[operation], product if source != target else 0
    if name == "skip":
        return product
    if name == "conv3x3":
        return 9 * product
    if name == "residual":
        return 9 * product + 9 * target**2 + widening
    wide = DEPTHWISE_TIMES * source
    return wide * source + 9 * wide + wide * target + widening


def layer_module(layer: int, source: int, target: int, operation: int) -> nn.Module:
    """One layer of the derived network, on the meta device."""
    with torch.device("meta"):
        if layer in CELLS:
            return Cell(OPERATIONS[operation], source, target)
        return nn.Sequential(*frame_layer(layer, source, target))


def expected_cost(
    space: CellSpace, weights: Tensor, widths: Sequence[int], scores: Sequence[Tensor]
) -> Tensor:
    """The cost of a network whose cells do all their operations, each by its weight.

    Args:
        space: that counts it.
        weights: of the operations, `(9, 4)`.
        widths: of the layers.
        scores: of each of these a scalar, 1 but for its gradient, that what has such channels is
            multiplied by: a layer by that of its input and of its output.

    Returns: a scalar, in the budget's unit.

    Source: Fu et al. 2020 (AutoGAN-Distiller), section 3.3, as in the released code.
    """
    one = weights.new_ones(())
    around, scores, total = space.around(widths), [one, *scores, one], weights.new_zeros(())
    for layer in range(NUM_LAYERS):
        pair, score = (around[layer], around[layer + 1]), scores[layer] * scores[layer + 1]
        if layer in CELLS:
            costs = [space.layer_cost(layer, *pair, k) for k in range(len(OPERATIONS))]
            total = total + score * (weights[layer - CELLS[0]] * weights.new_tensor(costs)).sum()
        else:
            total = total + score * space.layer_cost(layer, *pair)
    return total
