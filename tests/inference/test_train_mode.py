"""`gancomp translate --train-mode` gives what pix2pix's test script gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import run_command, write_model
from foreign_layouts import LAYOUTS, randomised
from PIL import Image
from torch import nn

from gancomp.data.images import load_image
from gancomp.data.transforms import to_tensor, to_uint8
from gancomp.export.model import open_model
from gancomp.inference.train_mode import train_mode


@pytest.fixture
def source(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def published(tmp_path: Path, name: str) -> tuple[nn.Module, Path]:
    network = randomised(LAYOUTS[name][0])
    torch.save(network.state_dict(), tmp_path / "latest_net_G.pth")
    return network, tmp_path / "latest_net_G.pth"


@pytest.mark.parametrize("name", ["U-Net 256", "pix2pix without dropout"])
def test_without_dropout_it_is_the_published_network_in_training_mode(
    tmp_path: Path, source: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    network, path = published(tmp_path, name)
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    out = tmp_path / "out"
    options = ("--train-mode", "--dropout", "0", "--json")
    outcome = run_command(capsys, "translate", path, source, "-o", out, *options)
    assert outcome.status == 0, outcome.err
    with torch.no_grad():
        wanted = to_uint8(network(to_tensor(load_image(source))[None]))[0].astype(int)
    found = np.asarray(Image.open(out / "photo.png")).astype(int)
    assert np.abs(found - wanted).max() <= 1
    run_command(capsys, "translate", path, source, "-o", tmp_path / "eval")
    usual = np.asarray(Image.open(tmp_path / "eval" / "photo.png")).astype(int)
    assert np.abs(found - usual).mean() > 3


def test_dropout_is_on_where_pix2pix_has_it_and_follows_from_the_image_alone(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = published(tmp_path, "U-Net 256")
    pictures = []
    for out in ("a", "b"):
        options = ("-o", tmp_path / out, "--train-mode", "--json")
        document = run_command(capsys, "translate", path, source, *options).document
        assert document["mode"] == {
            "name": "train",
            "norms": "statistics of each image",
            "dropout": 0.5,
            "seed": 0,
        }
        pictures.append((tmp_path / out / "photo.png").read_bytes())
    assert pictures[0] == pictures[1]
    state = torch.get_rng_state()
    mode = train_mode(open_model(path), "it", None)
    dropped = {
        name for name, module in mode.network.named_modules() if isinstance(module, nn.Dropout)
    }
    assert len(dropped) == 3  # levels of full width between the innermost and the outer ones
    before = {name: value.clone() for name, value in mode.network.state_dict().items()}
    images = to_tensor(load_image(source))[None]
    assert torch.equal(mode.run(images), mode.run(images))
    for name, value in mode.network.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--train-mode",), "has neither batch norm nor dropout"),
        (("--dropout", "0.5"), "--dropout 0.5: only matters with --train-mode"),
        (("--train-mode", "--dropout", "1.5"), "dropout 1.5: must be at least 0 and below 1"),
    ],
)
def test_what_would_change_nothing_is_refused(
    tmp_path: Path,
    source: Path,
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = write_model(tmp_path / "model.safetensors", width=2)
    outcome = run_command(capsys, "translate", model, source, "-o", tmp_path / "out", *options)
    assert outcome.status == 2
    assert message in outcome.err
