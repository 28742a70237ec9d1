"""What the tests of scores share."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import write_model
from stand_ins import Means

from gancomp.data.demo_set import write_demo_set
from gancomp.recipes import eval_fid as recipe


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Means:
    """Inception is replaced, and the cache and the working folder are new."""
    means = Means()
    monkeypatch.setattr(recipe, "load_inception", lambda say: means)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return means


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """4 + 4 training and 3 + 3 test images."""
    write_demo_set(tmp_path / "toy", size=32, train=4, test=3)
    return tmp_path / "toy"


@pytest.fixture
def model(tmp_path: Path, toy: Path) -> Path:
    return write_model(tmp_path / "model.safetensors", width=2, dataset=str(toy))
