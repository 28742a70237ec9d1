"""Which device a run uses, and what of it is the device's; CUDA code runs on the CPU unchanged."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from gancomp.errors import ConfigError
from gancomp.launch import local_rank, num_ranks
from gancomp.memory import peak_memory


def choose_device(name: str) -> torch.device:
    """The device called `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        ConfigError: if the name is unknown or the machine has no such device.
    """
    if num_ranks() > 1 and name.startswith("cuda:"):
        raise ConfigError(
            f"`device` {name}: each of {num_ranks()} processes has a GPU of its own; use "
            "`device` cuda"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps() else "cpu"
    if name == "mps" and not has_mps():
        raise ConfigError(
            "`device` mps: this machine has no GPU of Apple's that torch can use; try `device` cpu"
        )
    if name in ("cpu", "mps"):
        return torch.device(name)
    kind, _, number = name.partition(":")
    if kind != "cuda" or not re.fullmatch("[0-9]{0,4}", number) or name.endswith(":"):
        raise ConfigError(f"`device` {name}: not one of auto, cpu, cuda, cuda:N, mps")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if local_rank() >= count > 0:
        raise ConfigError(
            f"`device` {name}: this machine has {count} CUDA devices; start no more processes on "
            "it, or use `device` cpu"
        )
    if int(number or 0) >= count:
        raise ConfigError(
            f"`device` {name}: this machine has {count} CUDA devices; try `device` cpu"
        )
    return torch.device(f"cuda:{local_rank()}" if num_ranks() > 1 else name)


def has_mps() -> bool:
    """Whether torch can compute on a GPU of Apple's here."""
    return torch.backends.mps.is_available()


def refuse_precision(device: torch.device, precision: str) -> None:
    """Raises ConfigError if training on `device` knows no such number format."""
    if device.type == "mps" and precision == "bf16":
        raise ConfigError(
            "`precision` bf16: not supported with `device` mps; use `precision` fp32, or "
            "`device` cpu"
        )


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that a run on `device` draws from, and of no other."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Puts them back; a run that changed to another kind of device starts that one's anew."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far in MiB: of the CUDA allocator, or of the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if device.type == "mps":  # which keeps no record of its peak
        return torch.mps.driver_allocated_memory() / 2**20
    return peak_memory() / 2**20
