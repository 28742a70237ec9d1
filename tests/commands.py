"""Runs commands in this process; small models and folders for them to work on."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gancomp.__main__ import run
from gancomp.data.demo_set import write_demo_set
from gancomp.export.native import save_model
from gancomp.registry import build_network

SMALL = (
    "--arch mobile-resnet6 --width 8 --size 32 --d-layers 1 --d-width 8 --max-steps 1 "
    "--workers 0 --device cpu"
)


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and all it printed."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON on stdout, which must hold nothing else."""
        return json.loads(self.out)


def run_command(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return Outcome(status, out, err)


def contents(folder: Path) -> dict[str, str]:
    """Every file below `folder` with the hash of its bytes, and every folder and link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        plain = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = (
            hashlib.sha256(path.read_bytes()).hexdigest() if plain else "folder or link"
        )
    return found


def write_model(path: Path, arch: str = "mobile-resnet6", width: int = 4, **entries: Any) -> Path:
    settings = entries.pop("settings", {})
    given: dict[str, Any] = {
        "role": "student",
        "task": "unpaired",
        "step": 1,
        "method": "dcd",
        "dataset": None,
        "input_size": 32,
    }
    save_model(path, build_network(arch, width=width, **settings), **(given | entries))
    return path


def write_scored(folder: Path, *, train: int, test: int, style: dict[str, Any]) -> None:
    """Unpaired data, the same as pairs, a run on those, and models: one alone, two of noise."""
    write_demo_set(folder / "data", size=32, train=train, test=test)
    for side in "AB":
        for split in ("train", "test"):
            (folder / "paired" / f"{split}{side}").mkdir(parents=True)
            for number, file in enumerate(sorted((folder / "data" / f"{split}{side}").iterdir())):
                shutil.copy(file, folder / "paired" / f"{split}{side}" / f"{number}.png")
    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text('{"settings": {}, "dataset": {"root": "paired"}}')
    write_model(folder / "run" / "student.safetensors", width=4, task="paired", dataset="paired")
    write_model(folder / "run" / "teacher.safetensors", width=8, role="teacher", task="paired")
    write_model(folder / "lone.safetensors", width=4, dataset="data")
    for name, width in (("style", 8), ("style4", 4)):
        entries: dict[str, Any] = {"task": "synthesis", "settings": style}
        write_model(folder / f"{name}.safetensors", "stylegan2", width, **entries)


def saved_scores(run: Path) -> list[dict[str, Any]]:
    """The scores that `run` keeps, oldest first."""
    scores: list[dict[str, Any]] = json.loads((run / "eval.json").read_text())["scores"]
    return scores
