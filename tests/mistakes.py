"""A folder full of what a user can get wrong, and the command lines around it."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import SMALL, write_model
from PIL import Image

from gancomp.data.demo_set import write_demo_set

TRAIN = f"{SMALL} --perceptual random"
FROM_FILE = TRAIN.replace("--arch mobile-resnet6 --width 8 ", "")
SR = (
    "--dataset data/trainA --task super-resolution --width 4 --blocks 1 --size 32 --d-width 2 "
    "--batch-size 1 --max-steps 1 --workers 0 --device cpu --perceptual random"
)
SYNTHESIS = (
    "--dataset data/trainA --task synthesis --batch-size 4 --max-steps 1 --workers 0 --device cpu"
)
BIGGAN = f"{SYNTHESIS} --arch biggan --size 32 --width 4 --d-width 4 --accumulation 1"
SR_PLAIN = SR.replace("--width 4 --blocks 1 ", "")
FAKE = "eval-fid --fake data/testA --real data/testB"


class Hostile:
    """A pickle of this would make a folder called `executed` in the current one."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def write_mistakes(root: Path) -> Path:
    """Everything that the cases name, beside what they must not find."""
    write_demo_set(root / "data", size=32, train=2, test=2)
    write_demo_set(root / "pairs", size=32, train=2, test=2, paired=True)
    image = next((root / "data" / "testA").iterdir())
    shutil.copy(image, root / "photo.png")
    for name in ("empty", "onesided/trainA", "hollow/trainA", "hollow/trainB"):
        (root / name).mkdir(parents=True)
    shutil.copy(image, root / "onesided" / "trainA")
    shutil.copy(image, root / "hollow" / "trainA")
    shutil.copytree(root / "data", root / "spoiled")
    (root / "spoiled" / "trainA" / "bad.png").write_bytes(b"no image")
    for side in "AB":
        (root / "corrupt" / f"train{side}").mkdir(parents=True)
        for index in range(2):
            name = f"{'xy'[side == 'B']}{index}.png"
            (root / "corrupt" / f"train{side}" / name).write_bytes(image.read_bytes()[:4])
    write_model(root / "student.safetensors")
    write_model(root / "judge.safetensors", "patchgan", role="discriminator")
    write_model(root / "sr.safetensors", "srresnet", settings={"blocks": 1})
    (root / "dots").mkdir()
    Image.new("RGB", (1, 1)).save(root / "dots" / "dot.png")
    write_model(root / "x2.safetensors", "srresnet", settings={"blocks": 1, "scale": 2})
    up = {"task": "super-resolution", "role": "teacher", "settings": {"blocks": 2}}
    write_model(root / "up.safetensors", "srresnet", **up)
    small = {"resolution": 16, "style_channels": 8, "mapping_layers": 1, "const_channels": 8}
    write_model(root / "style.safetensors", "stylegan2", task="synthesis", settings=small)
    write_model(root / "gray.safetensors", settings={"in_channels": 1})
    write_model(root / "many.safetensors", settings={"in_channels": 9})
    (root / "range.toml").write_text("[data.source]\nrange = [1]\n")
    (root / "cut.safetensors").write_bytes((root / "student.safetensors").read_bytes()[:400])
    (root / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    (root / "junk.pth").write_bytes(b"these are no weights at all")
    (root / "empty.pth").touch()
    (root / "hostile.pkl").write_bytes(pickle.dumps({"weight": Hostile()}))
    torch.save({"weight": Hostile()}, root / "hostile.pth")
    (root / "notes.txt").write_text("hello")
    (root / "broken.toml").write_text("a = [")
    (root / "odd.toml").write_text("[run]\nsped = 3\n")
    (root / "foreign.toml").write_text("[method.options]\nlambda_dvd = 3\n")
    (root / "knobs.toml").write_text("[method.options]\nlambda_dcd = 3\n")
    (root / "plan.toml").write_text('seeds = 3\n[score]\nmetrics = "fdi"\n')
    (root / "frozen.toml").write_text('[teacher]\nfreeze = true\nsource = "student.safetensors"\n')
    weights = root / "torch" / "hub" / "checkpoints"
    weights.mkdir(parents=True)
    (weights / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"damaged")
    return root


def go_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `folder` the current one, with no cache, weights or network but what it holds."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    for name in ("GANCOMP_DATA", "GANCOMP_VGG16", "GANCOMP_VGG19"):
        monkeypatch.delenv(name, raising=False)

    def no_network(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
