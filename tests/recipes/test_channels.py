"""Images of other channels and depths through every command: trained, written, scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from commands import run_command, write_model
from PIL import Image
from torch import Tensor, nn

from gancomp.data.writing import encoded
from gancomp.export.model import open_model
from gancomp.export.native import open_native
from gancomp.recipes import eval_fid as recipe

NETS = (
    "--arch mobile-resnet6 --width 4 --size 32 --d-layers 1 --d-width 4 --max-steps 3 --workers 0 "
    "--device cpu"
)
FOLDERS = ("trainA", "trainB", "testA", "testB")


class Means(nn.Module):
    """Stands in for Inception: means of color over a coarse grid."""

    weights_id = "6726825d as if"

    def forward(self, images_01: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images_01, 3).flatten(1)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(recipe, "load_inception", lambda say: Means())


def numbers(seed: int, dtype: str, channels: int, most: float) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return (rng.random((36, 40, channels)) * most).astype(dtype)


def dataset(sides: dict[str, tuple[str, str, int, float]], root: str = "data") -> Path:
    """Three files a folder: per side suffix, type, channels and the highest value."""
    for number, folder in enumerate(FOLDERS):
        suffix, dtype, channels, most = sides[folder[-1]]
        (Path(root) / folder).mkdir(parents=True)
        for index in range(3):
            raw = numbers(10 * number + index, dtype, channels, most)
            format = {".tif": "tiff", ".png": "png", ".npy": "npy"}[suffix]
            path = Path(root) / folder / f"{folder[-1]}{index}{suffix}"
            path.write_bytes(encoded(raw, format))
    return Path(root)


DEEP = (".tif", "uint16", 1, 65535.0)
DEPTH = (".npy", "float32", 1, 10.0)
COLOR = (".png", "uint8", 3, 255.0)


@pytest.mark.slow
def test_sixteen_bit_gray_goes_from_training_to_a_score_with_all_its_bits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset({"A": DEEP, "B": DEEP})
    train = f"distill --dataset data {NETS} --perceptual random --out run --task unpaired"
    trained = run_command(capsys, *train.split(), "--in-channels", 1, "--out-channels", 1)
    assert trained.status == 0, trained.err
    assert "see gray images as three equal channels" in trained.err
    data = json.loads(Path("run/config.json").read_text())["settings"]["data"]
    side = {"channels": 1, "range": [0.0, 65535.0], "dtype": "uint16"}
    assert (data["source"], data["target"]) == (side, side)
    assert run_command(capsys, *["export", "run", "-o", "s.safetensors"]).status == 0
    network, header = open_native(Path("s.safetensors"))
    assert header["pixels"] == {"source": side, "target": side}
    assert (
        run_command(capsys, *["translate", "s.safetensors", "data/testA", "-o", "new"]).status == 0
    )
    raw = tifffile.imread("data/testA/A0.tif").astype(np.float64)
    source = torch.from_numpy((raw * (2 / 65535) - 1).astype(np.float32))[None, None]
    with torch.no_grad():
        wanted = (network(source)[0, 0].double().numpy() + 1) / 2 * 65535
    with Image.open("new/A0.png") as image:
        assert (image.mode, image.size) == ("I;16", (40, 36))
        found = np.asarray(image)
    assert np.abs(found - wanted).max() < 2  # rounding, and the rewritten network's own
    assert len(np.unique(found)) > 256
    for format, suffix in (("tiff", "tif"), ("npy", "npy")):
        command = f"translate s.safetensors data/testA -o new --format {format}"
        assert run_command(capsys, *command.split()).status == 0
        path = Path(f"new/A0.{suffix}")
        again = np.load(path) if suffix == "npy" else tifffile.imread(path)
        assert np.array_equal(again, found)
    scored = run_command(capsys, *["eval-fid", "run", "--device", "cpu", "--json"])
    assert scored.status == 0, scored.err
    protocol = scored.document["protocol"]
    assert "uint16 from 0 to 65535 in 256 levels, gray repeated" in protocol["reals"]
    assert "gray repeated to 3 channels" in protocol["fakes"]
    folders = "eval-fid --real data/testB --fake new --device cpu --json"
    by_folders = run_command(capsys, *folders.split(), "--out-range", "0,65535")
    assert by_folders.status == 0, by_folders.err


def test_depth_becomes_color_and_its_range_must_be_stated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset({"A": DEPTH, "B": COLOR})
    train = f"pretrain --dataset data {NETS} --task unpaired --out run".split()
    refused = run_command(capsys, *train)
    assert refused.status == 2
    assert "--in-range: is needed" in refused.err
    trained = run_command(capsys, *train, "--in-range", "0,10")
    assert trained.status == 0, trained.err
    settings = json.loads(Path("run/config.json").read_text())["settings"]
    assert settings["adversarial"]["lambda_identity"] == 0
    assert settings["data"]["target"]["range"] is None
    assert open_model(Path("run/teacher.safetensors")).network.settings()["in_channels"] == 1
    done = run_command(capsys, *["translate", "run", "data/testA", "-o", "new", "--json"])
    assert done.document["written"] == [f"new/A{index}.png" for index in range(3)]
    with Image.open("new/A0.png") as image:
        assert (image.mode, image.size) == ("RGB", (40, 36))
    assert run_command(capsys, *["eval-fid", "run", "--device", "cpu", "--json"]).status == 0
    Image.new("L", (40, 36)).save("gray.png")
    mixed = run_command(capsys, *["translate", "run", "gray.png", "-o", "new", "--strict"])
    assert mixed.status == 2
    assert "gray.png: holds uint8 values, not float32 from 0 to 10" in mixed.err
    taken = run_command(
        capsys, *["translate", "run", "gray.png", "-o", "new", "--in-range", "0,255"]
    )
    assert taken.status == 0, taken.err


def test_the_other_direction_of_depth_writes_its_own_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset({"A": DEPTH, "B": COLOR})
    train = f"pretrain --dataset data {NETS} --task paired --direction BtoA --out run"
    for folder in FOLDERS:  # pairs have equal names
        for path in sorted(Path("data", folder).iterdir()):
            path.rename(path.with_stem(path.stem[1:]))
    trained = run_command(capsys, *train.split(), "--out-range", "0,10", "--arch", "unet128")
    assert trained.status == 2  # a U-Net of 7 levels wants 128 pixels
    trained = run_command(capsys, *train.split(), "--out-range", "0,10")
    assert trained.status == 0, trained.err
    assert run_command(capsys, *["translate", "run", "data/testB", "-o", "new"]).status == 0
    found = np.load("new/0.npy", allow_pickle=False)
    assert (found.dtype, found.shape) == (np.float32, (36, 40))
    assert found.min() >= 0
    assert found.max() <= 10
    assert found.max() > 1


def test_pairs_of_four_and_two_channels_train_without_a_perceptual_term(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset({"A": (".tif", "uint16", 4, 65535), "B": (".npy", "uint16", 2, 65535)})
    for folder in FOLDERS:
        for path in sorted(Path("data", folder).iterdir()):
            path.rename(path.with_stem(path.stem[1:]))
    train = f"distill --dataset data {NETS} --task paired --out run --cache on"
    refused = run_command(capsys, *train.split())
    assert refused.status == 2
    assert "target images have 2 channels; use --perceptual none" in refused.err
    trained = run_command(capsys, *train.split(), "--perceptual", "none")
    assert trained.status == 0, trained.err
    assert run_command(capsys, *["translate", "run", "data/testA", "-o", "new"]).status == 0
    found = np.load("new/0.npy", allow_pickle=False)
    assert (found.dtype, found.shape) == (np.uint16, (36, 40, 2))
    refused = run_command(capsys, *["eval-fid", "run", "--device", "cpu"])
    assert refused.status == 2
    assert "gives 2 channels; FID looks at images of 3, or of 1" in refused.err
    refused = run_command(
        capsys, *["translate", "run", "data/testA", "-o", "new", "--format", "png"]
    )
    assert refused.status == 2
    assert "--format png: holds 8 or 16 bits in 1 or 3 channels" in refused.err


def test_a_teacher_hands_on_its_channels_and_range(capsys: pytest.CaptureFixture[str]) -> None:
    dataset({"A": DEPTH, "B": DEPTH})
    train = (
        f"pretrain --dataset data {NETS} --task unpaired --out t --in-range 0,10 --out-range 0,10"
    )
    assert run_command(capsys, *train.split()).status == 0
    after = NETS.replace("--arch mobile-resnet6 --width 4 ", "")
    student = f"distill --dataset data {after} --task unpaired --perceptual random --out s"
    other = run_command(capsys, *student.split(), "--teacher", "t", "--in-range", "0,20")
    assert other.status == 2
    assert "--in-range 0,20: --teacher was trained with 0,10" in other.err
    done = run_command(capsys, *student.split(), "--teacher", "t", "--freeze-teacher")
    assert done.status == 0, done.err
    data = json.loads(Path("s/config.json").read_text())["settings"]["data"]
    assert data["source"]["range"] == data["target"]["range"] == [0, 10]


def test_deep_files_read_as_8_bits_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    dataset({"A": DEEP, "B": COLOR})
    train = f"pretrain --dataset data {NETS} --task unpaired --out run"
    done = run_command(capsys, *train.split())
    assert done.status == 0
    assert "A0.tif: its 16 bits are read as 8-bit RGB; --in-range 0,65535 keeps them" in done.err
    done = run_command(capsys, *["translate", "run", "data/testA", "-o", "new"])
    assert done.err.count("its 16 bits are read as 8-bit RGB") == 1
    done = run_command(
        capsys, *["eval-fid", "--fake", "data/testA", "--real", "data/testB", "--json"]
    )
    assert "its 16 bits are read as 8, as pytorch-fid does" in done.err


def test_values_beyond_the_range_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    dataset({"A": DEPTH, "B": DEPTH})
    train = f"pretrain --dataset data {NETS} --task unpaired --out run --in-range 0,5"
    done = run_command(capsys, *train.split(), "--out-range", "0,10")
    assert done.status == 0, done.err
    assert "of its values lie outside --in-range 0,5 and are clipped" in done.err
    assert "outside --out-range" not in done.err


def test_a_model_that_tells_nothing_takes_gray_of_any_depth_by_its_type(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_model(Path("gray.safetensors"), settings={"in_channels": 1, "out_channels": 1})
    for dtype, mode in (("uint8", "L"), ("uint16", "I;16")):
        raw = numbers(0, dtype, 1, np.iinfo(dtype).max)
        Path(f"{dtype}.png").write_bytes(encoded(raw, "png"))
        command = f"translate gray.safetensors {dtype}.png -o new"
        assert run_command(capsys, *command.split()).status == 0
        with Image.open(f"new/{dtype}.png") as image:
            assert image.mode == mode
    Path("float.npy").write_bytes(encoded(numbers(0, "float32", 1, 1), "npy"))
    refused = run_command(
        capsys, *["translate", "gray.safetensors", "float.npy", "-o", "new", "--strict"]
    )
    assert refused.status == 2
    assert "float.npy: its float32 values have no range of their own" in refused.err
    done = run_command(
        capsys, *["translate", "gray.safetensors", "float.npy", "-o", "new", "--in-range", "0,1"]
    )
    assert done.status == 0
    assert np.load("new/float.npy").dtype == np.float32


def test_a_damaged_header_entry_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for index, entry in enumerate(({"source": 5}, {"source": {"range": [1]}}, [1])):
        path = write_model(Path(f"{index}.safetensors"), extra={"pixels": entry})
        Image.new("RGB", (8, 8)).save("x.png")
        refused = run_command(capsys, "translate", path, "x.png", "-o", "new")
        assert refused.status == 2
        assert f"{path}: its header's 'pixels' entry is damaged" in refused.err
