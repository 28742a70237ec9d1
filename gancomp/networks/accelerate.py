"""The same finished generator, faster on a CPU: equal images up to rounding, from equal weights.

`accelerate` is all that others need; `fast_steps` holds the rewrites.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from gancomp.networks.accelerate_steps import (
    ALL,
    LayerStep,
    Rewrites,
    fold_batch_norm,
    has_fewer_products,
    make_steps,
)
from gancomp.networks.base import TappedNetwork, device_of
from gancomp.networks.resnet import ResNetGenerator
from gancomp.networks.unet import UNetGenerator, UNetLevel

Run = Callable[[Tensor], Tensor]


class FastGenerator:
    """A generator at rest, to be called like the network it was made from; for inference only.

    Its weights are those of the moment it was made: where the network's own have changed since, it
    refuses to run. It looks at the place and the version of every tensor, and at the values of the
    first and the last, as fused optimizers count no versions.

    Attributes:
        network: the network it was made from; it stays as it is.
        how: what was rewritten, in words.
    """

    def __init__(self, network: TappedNetwork, run: Run, how: str) -> None:
        self.network, self.how = network, how
        self._run = run
        self._rewritten = run is not network
        self._made_from = list(_state(network))
        self._seen = [weights.clone() for weights in _witnesses(network)]

    @property
    def size_multiple(self) -> int:
        """Height and width of an input must be multiples of this."""
        return self.network.size_multiple

    @property
    def device(self) -> torch.device:
        """Where the images must lie."""
        return device_of(self.network)

    def __call__(self, images: Tensor) -> Tensor:
        """What the network gives for `(N, C, H, W)` in eval mode, without a graph.

        Raises:
            RuntimeError: if the network's weights have changed or moved since.
        """
        if self._rewritten and not self._is_current():
            raise RuntimeError(
                f"the weights of {self.network.arch} have changed since accelerate(); call it again"
            )
        with torch.no_grad():
            return self._run(images)

    def _is_current(self) -> bool:
        witnesses = zip(self._seen, _witnesses(self.network), strict=True)
        return list(_state(self.network)) == self._made_from and all(
            torch.equal(seen, weights) for seen, weights in witnesses
        )


def accelerate(network: TappedNetwork, rewrites: Rewrites = ALL) -> FastGenerator:
    """The fastest way known to run `network` where it lies, with its weights as they are now.

    Measured with 2 threads at 256 pixels; see `gancomp bench infer`. On a CPU a ResNet generator
    runs as the steps of `fast_steps`, a U-Net in channels_last with its BatchNorms folded. On other
    devices, and in half precision, the network itself runs: nothing was measured to be faster.

    Args:
        network: in eval mode.
        rewrites: less than all of them only to measure what each one brings.

    Raises:
        ValueError: if the network is in training mode, in which it has no fixed output.
    """
    if any(module.training for module in network.modules()):
        raise ValueError(f"accelerate: {network.arch} is in training mode; call eval() before")
    weights = next(network.parameters(), None)
    if weights is None:  # computed by another runtime
        return FastGenerator(network, network, network.how)
    if weights.device.type != "cpu" or weights.dtype not in (torch.float32, torch.float64):
        return FastGenerator(network, network, "eager")
    if isinstance(network, ResNetGenerator):
        with torch.no_grad():
            steps = make_steps(network.model, rewrites)
        if not has_fewer_products(steps):
            rewrites = replace(rewrites, fewer_products=False)
        how = "eager in channels_last, rewritten: " + ", ".join(rewrites.names())
        return FastGenerator(network, _one_by_one(steps), how)
    if isinstance(network, UNetGenerator):
        how = "eager in channels_last, BatchNorms folded"
        return FastGenerator(network, _unet_run(network), how)
    return FastGenerator(network, network, "eager")


def _state(network: nn.Module) -> Iterator[tuple[int, int]]:
    """Where every tensor of the network lies, and how often it was written to."""
    for module in network.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                yield tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def _witnesses(network: nn.Module) -> list[Tensor]:
    """The first and the last weights: every step of a training changes them."""
    weights = [item.detach() for item in network.parameters()]
    return [weights[0], weights[-1]] if weights else []


def _one_by_one(steps: list[LayerStep]) -> Run:
    def run(images: Tensor) -> Tensor:
        # one by one: the norms of a channels_last batch would come to that anyway, and one image's
        # maps stay in the cache
        outputs = []
        for output in torch.split(images, 1):
            for step in steps:
                output = step(output)
            outputs.append(output)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    return run


def _unet_run(network: UNetGenerator) -> Run:
    fast = copy.deepcopy(network)
    for module in fast.modules():
        if isinstance(module, UNetLevel):
            _fold_batch_norms(module.model)
    fast.to(memory_format=torch.channels_last)

    def run(images: Tensor) -> Tensor:
        output: Tensor = fast(images.contiguous(memory_format=torch.channels_last))
        return output.contiguous()

    return run


def _fold_batch_norms(layers: nn.Sequential) -> None:
    """Puts each BatchNorm in eval mode, a scale and a shift, into the convolution before it."""
    for index, (conv, norm) in enumerate(zip(layers[:-1], layers[1:], strict=True)):
        if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
            weight, bias = fold_batch_norm(
                conv.weight, conv.bias, norm, transposed=isinstance(conv, nn.ConvTranspose2d)
            )
            conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
            layers[index + 1] = nn.Identity()
