"""Which device and number format a run uses; CUDA code runs on the CPU unchanged."""

from __future__ import annotations

import contextlib

import torch

from gancomp.errors import ConfigError
from gancomp.memory import peak_memory


def choose_device(name: str) -> torch.device:
    """The device called `auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: if the name is unknown or the machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()) or name.endswith(":"):
        raise ConfigError(f"--device {name}: not one of auto, cpu, cuda, cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        raise ConfigError(
            f"--device {name}: this machine has {count} CUDA devices; try --device cpu"
        )
    return torch.device(name)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """The autocast context of `precision`: bf16 for `bf16`, none for `fp32` and `auto`."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far in MiB: of the CUDA allocator, or of the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_memory() / 2**20
