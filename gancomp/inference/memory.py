"""What a picture that is translated as a whole takes, said and compared before it is begun."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gancomp.data.cache import available_bytes
from gancomp.errors import DataError
from gancomp.networks.base import TappedNetwork, device_of

WORTH_ASKING = 16_000_000  # pixels; below them everything fits
PROBE = 256  # pixels, a multiple of what every network needs
IMAGES = 48  # bytes a pixel: input and output as floats, and while they are turned into 8 bits


def check_memory(
    network: TappedNetwork, size: tuple[int, int], name: str, say: Callable[[str], None]
) -> None:
    """Says what a large picture will take; refuses it where that is more than is free.

    It is not cut into tiles: InstanceNorm's statistics are those of the whole picture, so tiles of
    their own would differ in color and meet in seams.

    Args:
        network: not for super-resolution, which works in tiles.
        size: width and height of the picture.
        name: of its file.
        say: told about a picture that is large, but fits.

    Raises:
        DataError: if it does not fit.
    """
    width, height = size
    if width * height < WORTH_ASKING:
        return
    device = device_of(network)
    network = network.described
    needed = int(
        width * height * (IMAGES + bytes_per_pixel(network, network.settings()["in_channels"]))
    )
    free = available_bytes() if device.type != "cuda" else torch.cuda.mem_get_info(device)[0]
    facts = (
        f"{name}: {width}x{height} pixels take about {needed / 1e9:.1f} GB as a whole, "
        f"{free / 1e9:.1f} GB are free"
    )
    if needed > free:
        raise DataError(f"{facts}; use `size`, or cut the picture into parts and translate them")
    say(facts)


@torch.no_grad()
def bytes_per_pixel(network: nn.Module, channels: int = 3) -> float:
    """The largest input and output that any layer holds together, per pixel of the picture.

    Measured against the peak of whole translations on a CPU: 131 for 139 bytes (ResNet-9 of width
    16), 64 for 112 (U-Net, whose skips wait).
    """
    peak = 0

    def note(module: nn.Module, given: tuple[object, ...], made: object) -> None:
        nonlocal peak
        held = [item for item in (*given, made) if isinstance(item, Tensor)]
        peak = max(peak, sum(item.numel() * item.element_size() for item in held))

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    try:
        network(torch.zeros(1, channels, PROBE, PROBE, device=device_of(network)))
    finally:
        for hook in hooks:
            hook.remove()
    return peak / PROBE**2


def is_lack_of_memory(error: Exception) -> bool:
    """Whether the CPU's or a GPU's allocator gave up."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in words or "alloc" in words
