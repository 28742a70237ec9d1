"""What a network costs: exact multiply-accumulates by two rules and by kind, parameters, bytes."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gancomp.errors import ConfigError
from gancomp.networks.shapes import without_data

aten = torch.ops.aten
MATMULS = {  # operator -> which of its arguments is the left factor, and the part it belongs to
    aten.mm: (0, "linear"),
    aten.addmm: (1, "linear"),
    aten.bmm: (0, "products"),
    aten.baddbmm: (1, "products"),
}
NORM_WEIGHT = {  # norm operator -> position of its scale, which is None when not affine
    aten.native_batch_norm: 1,
    aten._native_batch_norm_legit: 1,
    aten._native_batch_norm_legit_no_training: 1,
    aten.cudnn_batch_norm: 1,
    aten.native_group_norm: 1,
    aten.native_layer_norm: 2,
}
PER_OUTPUT = {  # operator -> what torchprofile charges for each number that comes out
    aten.mul: 1,
    aten.mul_: 1,
    aten.mean: 1,
    aten.leaky_relu: 1,  # not one in place, which it does not know
    aten.avg_pool2d: 1,
    aten.avg_pool3d: 1,
    aten._adaptive_avg_pool2d: 1,
    aten._adaptive_avg_pool3d: 1,
    aten.upsample_bilinear2d: 4,
}
Factors = tuple[int, ...]


@dataclass(frozen=True)
class MacsParts:
    """Where the multiply-accumulates of one forward pass go, in exact integers.

    Attributes:
        convolutions: convolutions, by learnt weights, and what modules with
            `counted_as = "convolutions"` do, however they do it.
        linear: products of activations with a matrix of weights.
        products: products of activations with each other, as in attention.
        filters: convolutions with fixed kernels, which modules with `counted_as = "filters"` do;
            published tables leave them out, and so does `Cost.macs`.
    """

    convolutions: int = 0
    linear: int = 0
    products: int = 0
    filters: int = 0


@dataclass(frozen=True)
class Cost:
    """The cost of one forward pass in inference mode, in exact integers.

    Attributes:
        params: parameters, each counted once however often it is used.
        macs: multiply-accumulates that are really done: a transposed convolution is charged per
            *input* position. Equals half of PyTorch's FlopCounterMode but for fixed filters.
        macs_torchprofile: what torchprofile 0.0.4 and 0.1.0, the rule behind most published tables,
            print for the same network of torch's own layers (`networks.plain.plain_copy`): a
            transposed convolution is charged per *output* position; norms with weights, products
            of elements (with weights, too), means and leaky ReLU one operation per element that
            comes out, but `nn.LeakyReLU` layers nothing: released code has them in place, which
            torchprofile does not know. Fixed filters count.
        size_bytes: bytes of all parameters and buffers.
        input: the shape `(N, C, H, W)` it was counted for; `(N, latent_size)` of a generator that
            makes images from noise.
        output: the shape of what came out; empty unless that is a tensor.
        parts: what `macs` is the sum of, and the fixed filters beside it.
    """

    params: int
    macs: int
    macs_torchprofile: int
    size_bytes: int
    input: tuple[int, ...]
    output: tuple[int, ...] = ()
    parts: MacsParts = MacsParts()


def measure_cost(network: nn.Module, input_shape: Sequence[int] = (1, 3, 256, 256)) -> Cost:
    """Counts `network` on an input of that shape, without computing or changing anything.

    A copy without data runs in eval mode on the meta device; one with data on the CPU, if the
    network says by `needs_values` that it cannot do without. Convolutions and matrix products
    count each time they run, whether as layers or called as functions. In `macs` what is done with
    weights alone is free, as spectral norm's products of matrix and vector are: it could be done
    once.

    Args:
        network: any module with one input. If it has a method `example_input`, that makes the input
            out of the shape.
        input_shape: `(N, C, H, W)`, or what `example_input` takes; MACs are for the whole batch.

    Raises:
        ConfigError: if the network cannot take such an input.
    """
    counter, output = _counted(network, tuple(input_shape))
    macs: Counter[str] = Counter()
    for part, factors in counter.macs:
        macs[part] += math.prod(factors)
    tensors = [*network.parameters(), *network.buffers()]
    parts = MacsParts(**macs)
    return Cost(
        params=sum(parameter.numel() for parameter in network.parameters()),
        macs=parts.convolutions + parts.linear + parts.products,
        macs_torchprofile=sum(map(math.prod, counter.torchprofile)),
        size_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        input=tuple(input_shape),
        output=tuple(output.shape) if isinstance(output, Tensor) else (),
        parts=parts,
    )


def cost_terms(network: nn.Module, input_shape: Sequence[int]) -> dict[str, list[Factors]]:
    """What the figures of `measure_cost` are sums of: products of sizes, whose factors these are.

    Args:
        network: as there.
        input_shape: as there.

    Returns: under `macs`, `macs_torchprofile`, `params` and `bytes`.
    """
    counter, _ = _counted(network, tuple(input_shape))
    tensors = [*network.parameters(), *network.buffers()]
    return {
        "macs": [factors for part, factors in counter.macs if part != "filters"],
        "macs_torchprofile": counter.torchprofile,
        "params": [tuple(parameter.shape) for parameter in network.parameters()],
        "bytes": [(tensor.element_size(), *tensor.shape) for tensor in tensors],
    }


def _counted(network: nn.Module, shape: tuple[int, ...]) -> tuple[_Counter, Any]:
    """What ran in a copy of the network, and what came out."""
    counter = _Counter()
    needs_values = bool(getattr(network, "needs_values", False))
    with torch.no_grad(), torch.device("cpu" if needs_values else "meta"):
        copied = copy.deepcopy(network).cpu() if needs_values else without_data(network)
        ghost = copied.eval().float()
        _activate_in_place(ghost)
        counter.heed_modules(ghost)
        try:
            inputs = getattr(ghost, "example_input", torch.zeros)(shape)
            with counter:
                output = ghost(inputs)
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"{_describe(network)} cannot take an input of shape {list(shape)}; "
                f"choose another `size` or `in_channels` ({reason})"
            ) from error
    return counter, output


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch left it untyped
    """Writes down what the operators cost that run beneath it; needs shapes only.

    Attributes:
        macs: the part that each one's belong to, and the factors of how many there are.
        torchprofile: the factors of what torchprofile charges for each.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch left it untyped
        self.macs: list[tuple[str, Factors]] = []
        self.torchprofile: list[Factors] = []
        self._counted_as: list[str] = []  # by the modules that are running, one in another

    def heed_modules(self, network: nn.Module) -> None:
        """Hooks onto the modules of `network` that say which part their work belongs to."""
        for module in network.modules():
            part = getattr(module, "counted_as", None)
            if part is not None:
                module.register_forward_pre_hook(
                    lambda *_, part=part: self._counted_as.append(part)
                )
                module.register_forward_hook(lambda *_: self._leave())

    def _leave(self) -> None:
        self._counted_as.pop()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        operator = func.overloadpacket
        if operator in NORM_WEIGHT and args[0].is_meta:
            outputs: Any = _normalized(args[0])
        else:
            outputs = func(*args, **(kwargs or {}))
        if operator is aten.convolution:
            self._count_convolution(args[0], args[1], transposed=args[6], outputs=outputs)
        elif operator in MATMULS:
            # every output element sums over the inner size, the last one of the left factor
            left, part = MATMULS[operator]
            macs = (*outputs.shape, args[left].shape[-1])
            self._add(part, macs, macs)
        elif operator in NORM_WEIGHT and args[NORM_WEIGHT[operator]] is not None:
            self.torchprofile.append(tuple(outputs[0].shape))
        elif operator in PER_OUTPUT:
            self.torchprofile.append((PER_OUTPUT[operator], *outputs.shape))
        return outputs

    def _count_convolution(
        self, inputs: Tensor, weight: Tensor, *, transposed: bool, outputs: Tensor
    ) -> None:
        kernel = weight.shape[2:]
        if transposed:  # weight: (in, out / groups, k, k)
            macs = (*inputs.shape, weight.shape[1], *kernel)
            # torchprofile tells by the weight's first size what kind it is, and knows no groups
            square = outputs.shape[1] == weight.shape[0]
            by_output = (*outputs.shape, weight.shape[1 if square else 0], *kernel)
        else:  # weight: (out, in / groups, k, k)
            macs = by_output = (*outputs.shape, weight.shape[1], *kernel)
        self._add("convolutions", macs, by_output)

    def _add(self, part: str, macs: Factors, torchprofile: Factors) -> None:
        self.macs.append((self._counted_as[-1] if self._counted_as else part, macs))
        self.torchprofile.append(torchprofile)


def _normalized(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a norm's operator returns without data, at a tenth of what finding out would take."""
    statistics = maps.new_empty(0)  # which only a backward pass would look at
    return torch.empty_like(maps), statistics, statistics


def _activate_in_place(network: nn.Module) -> None:
    """Lets leaky ReLU layers overwrite their inputs, as those of released code do."""
    for module in network.modules():
        if isinstance(module, nn.LeakyReLU):
            module.inplace = True


def _describe(network: nn.Module) -> str:
    return str(getattr(network, "arch", type(network).__name__))
