"""The JavaScript of examples/deploy.md, run by Node as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from commands import write_model
from PIL import Image

from gancomp.export.model import open_model
from gancomp.export.onnx_file import Onnx
from gancomp.export.web_runtime import MODULE, PACKAGE, VARIABLE, WASM
from gancomp.recipes.translate import TranslateRequest, translate

DEPLOY = Path(__file__).parents[2] / "examples/deploy.md"
FILES = (MODULE, WASM, "/ort-wasm-simd-threaded.mjs", "package/package.json")
ONE_BLOCK = {"channels": [4, 4, 4, 4, 0, 0, 0, 0, 0, 4, 4]}


def install_package(folder: Path) -> None:
    """The npm package where npm would put it; skips the test where it is not at hand."""
    found = Path(os.environ.get(VARIABLE, ""))
    package = folder / "node_modules" / PACKAGE
    package.parent.mkdir()
    if found.is_file():
        with tarfile.open(found) as archive:
            wanted = [item for item in archive if item.name.endswith(FILES)]
            archive.extractall(folder, wanted, filter="data")
        (folder / "package").rename(package)
    elif (found / "package.json").exists():
        package.symlink_to(found.resolve())
    else:
        pytest.skip(f"{PACKAGE} is not at hand: set {VARIABLE} to its .tgz or folder")


def test_the_example_in_javascript_translates_a_picture(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node is installed")
    pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    install_package(tmp_path)
    model = write_model(tmp_path / "student.safetensors", settings=ONE_BLOCK)
    Onnx(pixels=True).write(open_model(model), tmp_path / "student.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    (tmp_path / "horse.rgb").write_bytes(pixels.tobytes())
    Image.fromarray(pixels).save(tmp_path / "horse.png")
    (code,) = re.findall(r"```js\n(.*?)```", DEPLOY.read_text(), re.DOTALL)
    (tmp_path / "example.mjs").write_text(code)
    done = subprocess.run(
        [node, "example.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    translate(TranslateRequest(model, [tmp_path / "horse.png"], tmp_path / "out"), print)
    (written,) = (tmp_path / "out").iterdir()
    wanted = np.asarray(Image.open(written)).astype(int)
    given = np.frombuffer((tmp_path / "zebra.rgb").read_bytes(), np.uint8).reshape(256, 256, 3)
    assert np.abs(given - wanted).max() <= 2
