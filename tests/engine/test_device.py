from __future__ import annotations

import pytest
import torch

from gancomp.engine.device import choose_device, peak_memory_mb, refuse_precision
from gancomp.errors import ConfigError, explain_lack_of_device
from gancomp.memory import peak_memory


def test_the_cpu_is_there_and_auto_chooses_one_that_is() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    best = "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else best)


@pytest.mark.parametrize(
    "name",
    ["gpu", "cuda:", "cuda:x", "cpu:0", "", "cuda:99", "mps:1", "cuda:²", "cuda:" + "9" * 5000],
)
def test_an_unknown_or_absent_device_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"`device` {name[:99]}"):
        choose_device(name)


def test_peak_memory_on_a_cpu_is_the_processs() -> None:
    assert peak_memory_mb(torch.device("cpu")) == pytest.approx(peak_memory() / 2**20, rel=0.01)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_nvidia_s_gpu_then_apple_s_then_the_cpu(
    cuda: bool, mps: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == torch.device(chosen)
    if mps:
        assert choose_device("mps") == torch.device("mps")
        return
    with pytest.raises(ConfigError, match="`device` mps: this machine has no GPU of Apple's"):
        choose_device("mps")


def test_what_apple_s_gpu_lacks_is_said() -> None:
    refuse_precision(torch.device("cpu"), "bf16")
    refuse_precision(torch.device("mps"), "fp32")
    with pytest.raises(ConfigError, match="`precision` bf16: not supported with `device` mps"):
        refuse_precision(torch.device("mps"), "bf16")
    error = TypeError("Cannot convert a MPS Tensor to float64 dtype")
    told = explain_lack_of_device(error)
    assert told is not None
    assert told.startswith("`device` mps: torch cannot do this there (Cannot convert")
    assert explain_lack_of_device(TypeError("a defect")) is None
