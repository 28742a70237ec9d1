"""What the images of a batch have to do with each other, and when several inputs go in one pass.

One pass means fewer, larger launches and the same results, unless BatchNorm mixes the images.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def treats_images_alone(network: nn.Module) -> bool:
    """Whether an image's output does not depend on the others of its batch.

    It does under BatchNorm in training mode, which has the batch's statistics.
    """
    return not any(
        isinstance(module, _BatchNorm) and module.training for module in network.modules()
    )


def pays_off(device: torch.device) -> bool:
    """Whether one pass over several inputs beats as many passes.

    A GPU is kept busier by it. On a CPU every core is busy anyway, and the larger maps fall out of
    its caches.
    """
    return device.type != "cpu"


def is_better_in_one_pass(network: nn.Module, device: torch.device) -> bool:
    """Whether several inputs of `network` should be run together: it pays and changes nothing."""
    return pays_off(device) and treats_images_alone(network)


def in_one_pass(
    network: nn.Module, run: Callable[[Tensor], Tensor], inputs: Sequence[Tensor]
) -> list[Tensor]:
    """`run` of each input, in a single call where that pays and changes nothing.

    Args:
        network: what `run` runs; if it mixes the images of a batch, or the inputs differ in the
            shape of their images, `run` is called once for each input.
        run: maps `(N, ...)` to `(N, ...)`.
        inputs: each `(N_i, ...)`.

    Returns: the outputs, in the order of the inputs; views of one tensor.
    """
    same = len({tuple(item.shape[1:]) for item in inputs}) == 1
    if not same or not is_better_in_one_pass(network, inputs[0].device):
        return [run(item) for item in inputs]
    return list(torch.split(run(torch.cat(list(inputs))), [len(item) for item in inputs]))


@contextlib.contextmanager
def running_statistics(network: nn.Module) -> Iterator[None]:
    """BatchNorm layers of `network` use and keep their running statistics within the block."""
    norms = [
        item for item in network.modules() if isinstance(item, nn.BatchNorm2d) and item.training
    ]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
