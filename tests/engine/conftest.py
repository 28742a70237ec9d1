"""Demo-set images and the unbroken runs that broken ones are held against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_runs

from gancomp.data.demo_set import write_demo_set


@pytest.fixture(scope="session")
def toy_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An unpaired and a paired set of 5 training images."""
    root = tmp_path_factory.mktemp("sets")
    write_demo_set(root / "unpaired", size=32, train=5, test=2)
    write_demo_set(root / "paired", size=32, train=5, test=2, paired=True)
    return {name: root / name for name in ("unpaired", "paired")}


@pytest.fixture(scope="session")
def unbroken(
    toy_sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The finished run on a set, made once."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            out = tmp_path_factory.mktemp(f"unbroken_{name}") / "run"
            status, said = tiny_runs.finish(tiny_runs.arguments(toy_sets[name], out))
            assert status == 0, said
            made[name] = out
        return made[name]

    return get
