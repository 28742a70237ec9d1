"""The sides of `gancomp bench train`: how each takes its steps, and without which optimizations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from gancomp.settings import Json

OURS, PLAIN, RELEASED = "gancomp", "literal", "released"
FORMATS = ("fp32", "tf32", "bf16")  # of a convolution's operands; tf32 is PyTorch's habit on a GPU
OPTIMIZATIONS = {
    "channels_last": "weights and maps in channels_last order",
    "norm": "InstanceNorm that keeps that order, on a CPU from its output",
    "padding": "padding that keeps no map (on a CPU)",
    "head": "the image's convolution in tiles",
    "biases": "no gradients of biases that a norm takes off again",
    "frozen": "VGG16's wide convolutions by Winograd's filtering (on a CPU)",
    "one_pass": "inputs of one network in one pass (on a GPU)",
    "fused_adam": "Adam in one kernel per phase",
    "kept_memory": "freed memory is kept by the process (on a CPU with glibc)",
    "fused": "norm, activation and padding in one kernel (on a GPU)",
    "graphs": "a step replayed as a CUDA graph (on a GPU)",
    "compile": "torch.compile per network",
}
ON_A_GPU = frozenset({"fused", "graphs"})
# how a side takes its steps, by what it does without; torch.compile fuses by itself
WAYS = {
    "plain": frozenset({"compile", "fused", "graphs"}),
    "graphs": frozenset({"compile", "fused"}),
    "fused": frozenset({"compile", "graphs"}),
    "fused+graphs": frozenset({"compile"}),
    "compiled": frozenset({"fused", "graphs"}),
    "compiled+graphs": frozenset({"fused"}),
}


@dataclass(frozen=True)
class Contestant:
    """One side of the benchmark; everything in it reaches a process of its own by pickling.

    Attributes:
        name: in the document.
        way: how the step is written; to `PLAIN` and `RELEASED` no other switch applies.
        without: names out of `OPTIMIZATIONS` that are switched off.
        precision: as `--precision`.
        tf32: whether float32 convolutions on a GPU may round their operands; training does.
    """

    name: str
    way: str = OURS
    without: frozenset[str] = frozenset()
    precision: str = "fp32"
    tf32: bool = True

    def describe(self, device: torch.device) -> Json:
        """The number format, one of `FORMATS`, how it takes its steps, and whether it compiles."""
        rounded = "tf32" if self.tf32 and device.type == "cuda" else "fp32"
        on = frozenset() if self.way != OURS else WAYS["plain"] - self.without
        if device.type != "cuda":
            on -= ON_A_GPU
        if "compile" in on:
            on -= {"fused"}
        return {
            "format": rounded if self.precision == "fp32" else self.precision,
            "way": next(name for name, off in WAYS.items() if WAYS["plain"] - off == on),
            "compiled": "compile" in on,
        }


def grid(ours: Contestant, device: torch.device, *, compiled: bool) -> list[Contestant]:
    """One contestant per number format of the device and way of taking steps.

    Compiled ones only if that is wanted; on a GPU, float32 without TF32, which training never
    takes, only plainly. What equals `ours` itself is left out.
    """
    ways = ["plain"]
    if device.type == "cuda":
        ways += ["graphs", "fused+graphs"]
    if compiled:
        ways += ["compiled"] + ["compiled+graphs"] * (device.type == "cuda")
    sides = []
    for name in FORMATS if device.type == "cuda" else ("fp32", "bf16"):
        for way in ways:
            side = replace(
                ours,
                name=f"{OURS}, {name}, {way}",
                precision="bf16" if name == "bf16" else "fp32",
                tf32=name != "fp32",
                without=ours.without - WAYS["plain"] | WAYS[way],
            )
            slowest = device.type == "cuda" and name == "fp32" and way != "plain"
            if not slowest and side.describe(device) != ours.describe(device):
                sides.append(side)
    return sides


def is_extra(item: Contestant) -> bool:
    """Whether nothing is measured by this side, so that the others go on without it."""
    return item.name.startswith(f"{OURS}, ")
