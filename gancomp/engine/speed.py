"""What makes a training step faster on a device without changing its results."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable

import torch
from torch import nn

MORE_GRAPHS = 64  # per function: each network has one per state of its gradients
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
NEVER, NONE = -1, 0


def speed_up(
    module: nn.Module, device: torch.device, *, compiled: str, say: Callable[[str], None]
) -> None:
    """Puts a method, before its first step, into the form in which it trains fastest on `device`.

    Args:
        module: the method with all its networks, on `device` already.
        device: where it will be trained.
        compiled: `on`, `off`, or `auto`: on a GPU. Compiling takes minutes on a CPU.
        say: told if something that was wanted does not work here.
    """
    channels_last(module)
    if device.type == "cpu":
        keep_freed_memory()
    if compiled == "on" or (compiled == "auto" and device.type == "cuda"):
        compile_networks(compilable(module), say)


def channels_last(module: nn.Module) -> nn.Module:
    """`module` with its weights in channels_last order, in which its maps then come out, too.

    Convolutions on CPUs and on tensor cores work in that order; any other is converted to it and
    back at every layer. Networks that fail so, of people's own, keep theirs.
    """
    module = module.to(memory_format=torch.channels_last)
    for item in module.modules():
        if getattr(item, "contiguous_only", False):
            item.to(memory_format=torch.contiguous_format)
    return module


def compilable(module: nn.Module) -> list[nn.Module]:
    """The networks within `module` that a step calls as a whole: generators, discriminators, VGG16.

    They say so themselves, by an attribute `is_network`.
    """
    return [item for item in module.modules() if getattr(item, "is_network", False)]


def compile_networks(networks: Iterable[nn.Module], say: Callable[[str], None]) -> bool:
    """Compiles each network by itself, in place; if that cannot work, `say` is told why.

    State keys, copies and checkpoints stay those of the plain networks. Networks are compiled when
    they are first called; one that cannot be compiled then runs plainly, with a warning of torch's.

    Returns: whether networks are compiled.
    """
    if reason := why_no_compiler():
        say(f"torch.compile does not work here ({reason}); training goes on without it")
        return False
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, MORE_GRAPHS)
    dynamo.suppress_errors = True
    for network in networks:
        network.compile()
    return True


def why_no_compiler() -> str | None:
    """One line on why torch.compile cannot work on this machine, or None if a trial went well."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        with torch.no_grad():
            torch.compile(_trial)(torch.ones(8, device=device))
    except Exception as error:  # compilers fail in as many ways as there are compilers
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return None


def _trial(values: torch.Tensor) -> torch.Tensor:
    return (values * 2).relu() + 1


def keep_freed_memory() -> bool:
    """Makes the C library keep freed memory instead of handing it back to the system at once.

    A training step on the CPU, or one batch of Inception's after the other, frees and takes the
    same large maps over and over; handed back, each costs a page fault per 4 KiB when it is next
    written to. Peak memory was measured to stay within a tenth. It holds for the whole process.

    Returns: whether that could be done; only glibc can.
    """
    libc = _glibc()
    # large blocks come from the heap instead of maps of their own, and the heap is not cut back
    return libc is not None and bool(
        libc.mallopt(M_MMAP_MAX, NONE) and libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    )


def give_back_memory() -> bool:
    """Hands freed memory back to the system once; returns whether that could be done."""
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc; musl and macOS's have no such switches."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError):
        return None
