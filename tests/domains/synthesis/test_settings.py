"""Which discriminators a teacher may bring, and what is said where it brings none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from synthesis_builders import tiny_generator

from gancomp.config import merge
from gancomp.data.demo_set import write_demo_set
from gancomp.errors import CheckpointError, ConfigError
from gancomp.planning.plan import Plan, make_plan
from gancomp.registry import build_network
from gancomp.settings import Json, Overrides

BIGGAN = {"width": 4, "resolution": 32, "num_classes": 2}


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two class folders of three images each."""
    made = tmp_path_factory.mktemp("made") / "set"
    write_demo_set(made, size=32, train=3, test=1)
    root = tmp_path_factory.mktemp("classes") / "classes"
    for name in ("trainA", "trainB"):
        shutil.copytree(made / name, root / name[-1])
    return root


def planned(
    command: str, root: Path, *, arch: str | None = None, **sections: Any
) -> tuple[Plan, list[str]]:
    """The plan of a run on `root` without typed sizes, and what was said on the way."""
    values: Json = {
        "data": {"dataset": str(root), "task": "synthesis", "batch_size": 4},
        "method": {"preset": {"pretrain": "synthesis-short", "distill": "dgl-short"}[command]},
        "schedule": {"max_steps": 1},
        "run": {"workers": 0, "device": "cpu"},
    }
    said: list[str] = []
    given = Overrides(settings=merge(values, sections), arch=arch)
    return make_plan(command, given, said.append), said


def biggan_folder(folder: Path, **other: Any) -> Path:
    """Generator and discriminator, the latter of other settings."""
    folder.mkdir()
    torch.save(build_network("biggan", **BIGGAN).state_dict(), folder / "G_ema.pth")
    judge = build_network("biggan-discriminator", **(BIGGAN | other))
    torch.save(judge.state_dict(), folder / "D.pth")
    return folder


def stylegan2_file(path: Path, judge: dict[str, torch.Tensor] | None) -> Path:
    """A 16-pixel generator with what stands for its discriminator."""
    parts = {"g_ema": tiny_generator().state_dict()}
    torch.save(parts if judge is None else parts | {"d": judge}, path)
    return path


@pytest.mark.parametrize(
    ("other", "wrong"),
    [
        ({"num_classes": 3}, "num_classes 3, not 2"),
        ({"resolution": 64}, "resolution 64, not 32"),
    ],
)
def test_a_discriminator_of_other_images_or_classes_is_refused(
    other: dict[str, int], wrong: str, classes: Path, tmp_path: Path
) -> None:
    folder = biggan_folder(tmp_path / "gan", **other)
    for command in ("distill", "pretrain"):
        with pytest.raises(ConfigError, match=f"`teacher` .*gan: its discriminator has {wrong}"):
            planned(command, classes, teacher={"source": str(folder)})


def test_a_discriminator_of_another_family_is_refused(classes: Path, tmp_path: Path) -> None:
    judge = build_network("biggan-discriminator", **BIGGAN).state_dict()
    file = stylegan2_file(tmp_path / "mixed.pt", judge)
    with pytest.raises(ConfigError, match="has a biggan-discriminator beside a stylegan2"):
        planned("distill", classes, teacher={"source": str(file)})


@pytest.mark.parametrize("command", ["distill", "pretrain"])
def test_a_damaged_discriminator_is_an_error_not_a_missing_one(
    command: str, classes: Path, tmp_path: Path
) -> None:
    judge = build_network("stylegan2-discriminator", width=4, resolution=16).state_dict()
    judge["final_linear.1.bias"] = torch.zeros(3)
    file = stylegan2_file(tmp_path / "damaged.pt", judge)
    with pytest.raises(CheckpointError, match=r"damaged.pt: .*final_linear.1.bias is"):
        planned(command, classes, teacher={"source": str(file)})
    folder = biggan_folder(tmp_path / "gan")
    (folder / "D.pth").write_bytes((folder / "D.pth").read_bytes()[:3000])
    with pytest.raises(CheckpointError, match=r"D.pth"):
        planned(command, classes, teacher={"source": str(folder)})


def test_two_discriminators_in_a_folder_must_be_told_apart(classes: Path, tmp_path: Path) -> None:
    folder = biggan_folder(tmp_path / "gan")
    (folder / "D.pth").rename(folder / "D_best1.pth")
    shutil.copy(folder / "D_best1.pth", folder / "D_best2.pth")
    with pytest.raises(CheckpointError, match="holds D several times"):
        planned("distill", classes, teacher={"source": str(folder)})


def test_a_teacher_trained_on_beside_a_fresh_discriminator_is_mentioned(
    classes: Path, tmp_path: Path
) -> None:
    judge = build_network("stylegan2-discriminator", width=4, resolution=16).state_dict()
    alone = stylegan2_file(tmp_path / "alone.pt", None)
    both = stylegan2_file(tmp_path / "both.pt", judge)
    _, said = planned("pretrain", classes, teacher={"source": str(alone)})
    assert any("alone.pt: brings no discriminator; a fresh one" in line for line in said)
    _, said = planned("pretrain", classes, teacher={"source": str(both)})
    assert not any("no discriminator" in line for line in said)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("teacher", "resolution", 64),
        ("discriminator", "resolution", 64),
        ("teacher", "num_classes", 1),
        ("student", "num_classes", 3),
        ("discriminator", "num_classes", 3),
    ],
)
def test_sizes_and_classes_that_contradict_the_data_are_errors(
    section: str, name: str, value: int, classes: Path
) -> None:
    sections: Json = {"data": {"size": 32}, "discriminator": {"width": 4}}
    sections["teacher"] = {"network": {"width": 4}}
    typed = {"network": {name: value}} if section == "teacher" else {name: value}
    with pytest.raises(ConfigError, match=f"{section}.*{name} {value}: "):
        planned("distill", classes, arch="biggan", **merge(sections, {section: typed}))
