"""AGD's supernet: every operation of every cell at full width; narrower layers are parts of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gancomp.networks.agd import (
    CELLS,
    DEPTHWISE_TIMES,
    NUM_CELLS,
    NUM_LAYERS,
    OPERATIONS,
    Cell,
    frame_layer,
)
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network
from gancomp.seeding import derive_generator
from gancomp.shrink.cell_choice import Beliefs
from gancomp.shrink.cell_space import CellSpace, Shape, layer_module

START = 1e-3  # of all logits
TINY = 1e-20  # keeps logarithms finite, as in the released code


class Architecture(nn.Module):
    """How probable each operation of each cell and each width of each layer is.

    Attributes:
        operations: logits `(9, 4)`.
        widths: of each layer, as many logits as it has widths.
    """

    def __init__(self, space: CellSpace) -> None:
        super().__init__()
        self.operations = nn.Parameter(torch.full((NUM_CELLS, len(OPERATIONS)), START))
        self.widths = nn.ParameterList(torch.full((len(each),), START) for each in space.widths)

    def beliefs(self) -> Beliefs:
        """The logarithms of all probabilities."""

        def of(logits: Tensor) -> list[float]:
            values: list[float] = F.log_softmax(logits.detach().double().cpu(), -1).tolist()
            return values

        return Beliefs([of(each) for each in self.operations], [of(each) for each in self.widths])

    def sampled_widths(self, seed: int, *keys: str | int) -> list[Tensor]:
        """A width of each layer, drawn: ones and zeros with the gradient of their probabilities."""
        numbers = derive_generator(seed, "gumbel", *keys)
        return [
            hard_gumbel_softmax(
                F.log_softmax(logits, -1),
                torch.rand(logits.shape, generator=numbers).to(logits),
            )
            for logits in self.widths
        ]


def hard_gumbel_softmax(logits: Tensor, uniform: Tensor, temperature: float = 1.0) -> Tensor:
    """One class drawn by its probability, as ones and zeros with the gradient of soft ones.

    Args:
        logits: `(..., C)`, gets the gradient of `softmax((logits + noise) / temperature)`.
        uniform: of the same shape, in [0, 1): what is random.
        temperature: of that softmax.

    Returns: `(..., C)`, 1 at the largest and 0 elsewhere, but for rounding.

    Source: Jang et al. 2017, eq. 1 and section 2.2 (straight-through), as AGD's released code.
    """
    noise = -torch.log(-torch.log(uniform + TINY) + TINY)
    soft = F.softmax((logits + noise) / temperature, -1)
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft)
    return (hard - soft).detach() + soft


class CellSupernet(TappedNetwork):
    """All networks of a space in one. Run as a network, it is the one whose `shape` is set.

    A layer that is narrower has the first channels of the full one.

    Attributes:
        shape: of the network in use.

    Args:
        space: of the networks.
        released: cells as in the released code's supernet: inside a `dwsblock` there are always
            four times the widest input's channels, and `residual` and `dwsblock` add their input
            through a 1x1 convolution even where the channels stay. What is derived has neither.
    """

    size_multiple = 4

    def __init__(self, space: CellSpace, *, released: bool = False) -> None:
        super().__init__("agd", space.settings(space.widest).arguments())
        self.space, self.released, self.shape = space, released, space.widest
        self.width = space.full[0]
        around = space.around(space.full)
        self.layers = nn.ModuleList()
        for layer in range(NUM_LAYERS):
            source, target = around[layer : layer + 2]
            if layer in CELLS:
                cells = (Cell(operation, source, target, widens=True) for operation in OPERATIONS)
                self.layers.append(nn.ModuleList(cells))
            else:
                self.layers.append(nn.Sequential(*frame_layer(layer, source, target)))
        self.default_taps = (f"layers.{CELLS[-1]}",)
        self.tap_channels = {self.default_taps[0]: space.full[CELLS[-1]]}
        self._skeletons: dict[tuple[int, int, int, int], nn.Module] = {}

    def tap_names(self) -> tuple[str, ...]:
        """`layers.0` to the last one."""
        return tuple(f"layers.{layer}" for layer in range(NUM_LAYERS))

    def walk(self, images: Any) -> Iterator[tuple[str, Tensor]]:
        """Each layer's output in the network of `shape`."""
        around = self.space.around(self.shape.widths)
        output = images
        for layer in range(NUM_LAYERS):
            operation = self.shape.operations[layer - CELLS[0]] if layer in CELLS else 0
            output = self._run(layer, output, around[layer + 1], operation)
            yield f"layers.{layer}", output

    def mixed(
        self, images: Tensor, weights: Tensor, widths: Sequence[int], scores: Sequence[Tensor]
    ) -> Tensor:
        """The image that cells make which do all their operations, each by its weight.

        Args:
            images: `(N, in, H, W)`.
            weights: of the operations, `(9, 4)`.
            widths: of the layers.
            scores: of each of these a scalar, 1 but for its gradient, that what has such channels
                is multiplied by: a layer by that of its input and of its output.

        Returns: `(N, out, H, W)`.
        """
        one = images.new_ones(())
        around, scores = self.space.around(widths), [one, *scores, one]
        output = images
        for layer in range(NUM_LAYERS):
            target, score = around[layer + 1], scores[layer] * scores[layer + 1]
            if layer in CELLS:
                operations = enumerate(weights[layer - CELLS[0]])
                made = [self._run(layer, output, target, k) * (w * score) for k, w in operations]
                output = torch.stack(made).sum(0)
            elif layer == NUM_LAYERS - 1:  # before the tanh: its convolution is linear
                output = self._run(layer, output * score, target)
            else:
                output = self._run(layer, output, target) * score
        return output

    def exported(self, shape: Shape) -> TappedNetwork:
        """A network of its own with a copy of the weights that it has here."""
        settings = self.space.settings(shape)
        network = build_network(settings.arch, **settings.arguments())
        around, state = self.space.around(shape.widths), {}
        first = 0  # of the layer's modules
        for layer in range(NUM_LAYERS):
            operation = shape.operations[layer - CELLS[0]] if layer in CELLS else 0
            module = layer_module(layer, around[layer], around[layer + 1], operation)
            for name, value in self._parts(layer, operation, module).items():
                place = name if layer not in CELLS else f"0.{name}"
                index, _, rest = place.partition(".")
                state[f"model.{first + int(index)}.{rest}"] = value.detach()
            first += 1 if layer in CELLS else len(list(module.children()))
        network.load_state_dict(state)
        return network

    def _run(self, layer: int, inputs: Tensor, target: int, operation: int = 0) -> Tensor:
        """One layer's output of as many channels, of its first weights."""
        skeleton = self._skeleton(layer, inputs.shape[1], target, operation)
        parts = self._parts(layer, operation, skeleton)
        outputs: Tensor = functional_call(skeleton, parts, (inputs,))
        return outputs

    def _parts(self, layer: int, operation: int, skeleton: nn.Module) -> dict[str, Tensor]:
        """The first weights, as many as a narrower layer has, still attached to the whole."""
        full: Any = self.layers[layer]
        whole = dict((full[operation] if layer in CELLS else full).named_parameters())
        return {
            name: whole[name][tuple(slice(length) for length in value.shape)].contiguous()
            for name, value in skeleton.named_parameters()
        }

    def _skeleton(self, layer: int, source: int, target: int, operation: int) -> nn.Module:
        """The layer without weights; kept, as making one takes longer than a small pass."""
        key = layer, source, target, operation
        if key not in self._skeletons:
            if self.released and layer in CELLS:
                wide = DEPTHWISE_TIMES * self.space.around(self.space.full)[layer]
                with torch.device("meta"):
                    made: nn.Module = Cell(
                        OPERATIONS[operation], source, target, wide=wide, widens=True
                    )
            else:
                made = layer_module(layer, source, target, operation)
            self._skeletons[key] = made
        return self._skeletons[key]
