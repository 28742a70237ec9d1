from __future__ import annotations

import pytest
import torch

from gancomp.engine.device import autocast, choose_device, peak_memory_mb
from gancomp.errors import ConfigError


def test_the_cpu_is_there_and_auto_chooses_one_that_is() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "", "cuda:99"])
def test_an_unknown_or_absent_device_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--device {name}"):
        choose_device(name)


def test_bf16_computes_matrix_products_in_bf16_and_fp32_does_not() -> None:
    cpu, matrix = torch.device("cpu"), torch.ones(2, 2)
    with autocast(cpu, "bf16"):
        assert (matrix @ matrix).dtype == torch.bfloat16
    for precision in ("fp32", "auto"):
        with autocast(cpu, precision):
            assert (matrix @ matrix).dtype == torch.float32


def test_peak_memory_counts_what_was_allocated() -> None:
    before = peak_memory_mb(torch.device("cpu"))
    block = torch.ones(int(before * 2**20 / 4) + 2**24)  # more than the process ever held
    assert peak_memory_mb(torch.device("cpu")) > before
    del block
