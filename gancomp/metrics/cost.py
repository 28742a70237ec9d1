"""What a network costs: exact multiply-accumulates by two rules, parameters, bytes."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gancomp.errors import ConfigError

aten = torch.ops.aten
MATMULS = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm)
NORM_WEIGHT = {  # norm operator -> position of its scale, which is None when not affine
    aten.native_batch_norm: 1,
    aten._native_batch_norm_legit: 1,
    aten._native_batch_norm_legit_no_training: 1,
    aten.cudnn_batch_norm: 1,
    aten.native_group_norm: 1,
    aten.native_layer_norm: 2,
}


@dataclass(frozen=True)
class Cost:
    """The cost of one forward pass in inference mode, in exact integers.

    Attributes:
        params: parameters, each counted once however often it is used.
        macs: multiply-accumulates that are really done: a transposed convolution is charged per
            *input* position. Equals half of PyTorch's FlopCounterMode.
        macs_torchprofile: the rule behind most published tables, torchprofile >= 0.0.3: a
            transposed convolution is charged per *output* position, and a norm with weights one
            operation per output element. Bias and activations are free in both.
        size_bytes: bytes of all parameters and buffers.
        input: the shape `(N, C, H, W)` it was counted for.
    """

    params: int
    macs: int
    macs_torchprofile: int
    size_bytes: int
    input: tuple[int, ...]


def measure_cost(network: nn.Module, input_shape: Sequence[int] = (1, 3, 256, 256)) -> Cost:
    """Counts `network` on an input of that shape, without computing or changing anything.

    A copy without data runs in eval mode on the meta device. Convolutions and matrix products
    count each time they run, whether as layers or called as functions.

    Args:
        network: any module with one input.
        input_shape: `(N, C, H, W)`; MACs are for the whole batch.

    Raises:
        ConfigError: if the network cannot take such an input.
    """
    shape = tuple(input_shape)
    counter = _Counter()
    with torch.no_grad(), torch.device("meta"):
        ghost = _without_data(network).eval()
        try:
            with counter:
                ghost(torch.empty(shape, dtype=_floating_dtype(network)))
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"{_describe(network)} cannot take an input of shape {list(shape)}; "
                f"choose another --size or --in-channels ({reason})"
            ) from error
    tensors = [*network.parameters(), *network.buffers()]
    return Cost(
        params=sum(parameter.numel() for parameter in network.parameters()),
        macs=counter.macs,
        macs_torchprofile=counter.macs_torchprofile,
        size_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        input=shape,
    )


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch left it untyped
    """Adds up the operators that run beneath it; needs shapes only."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch left it untyped
        self.macs = 0
        self.macs_torchprofile = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        operator = func.overloadpacket
        if operator is aten.convolution:
            self._count_convolution(args[0], args[1], transposed=args[6], outputs=outputs)
        elif operator in MATMULS:
            # every output element sums over the inner size, the last one of the left factor
            left = args[1] if operator in (aten.addmm, aten.baddbmm) else args[0]
            self.macs += outputs.numel() * left.shape[-1]
            self.macs_torchprofile += outputs.numel() * left.shape[-1]
        elif operator in NORM_WEIGHT and args[NORM_WEIGHT[operator]] is not None:
            self.macs_torchprofile += outputs[0].numel()
        return outputs

    def _count_convolution(
        self, inputs: Tensor, weight: Tensor, *, transposed: bool, outputs: Tensor
    ) -> None:
        kernel = math.prod(weight.shape[2:])
        if transposed:  # weight: (in, out / groups, k, k)
            groups = outputs.shape[1] // weight.shape[1]
            self.macs += inputs.numel() * weight.shape[1] * kernel
            self.macs_torchprofile += outputs.numel() * (inputs.shape[1] // groups) * kernel
        else:  # weight: (out, in / groups, k, k)
            self.macs += outputs.numel() * weight.shape[1] * kernel
            self.macs_torchprofile += outputs.numel() * weight.shape[1] * kernel


def _without_data(network: nn.Module) -> nn.Module:
    """A copy of `network` whose tensors have shapes only; the data is never copied."""
    ghosts: dict[int, Any] = {}
    for parameter in network.parameters():
        ghosts[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad
        )
    for buffer in network.buffers():
        ghosts[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(network, ghosts)


def _floating_dtype(network: nn.Module) -> torch.dtype:
    dtypes = [parameter.dtype for parameter in network.parameters()]
    return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.float32)


def _describe(network: nn.Module) -> str:
    return str(getattr(network, "arch", type(network).__name__))
