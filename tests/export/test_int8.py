"""Convolutions in 8 bits: refused where pictures suffer or nothing is gained, else they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Outcome, run_command, write_model
from PIL import Image

from gancomp.export import int8, openvino_file
from gancomp.export.deployed import open_deployed
from gancomp.export.faster import check_faster
from gancomp.export.model import open_model
from gancomp.export.openvino_file import without_header
from gancomp.export.openvino_model import converted
from gancomp.export.parity import ExportError
from gancomp.export.quantized import Pictures, Quantizer
from gancomp.recipes import quantize as recipe

onnx = pytest.importorskip("onnx", reason="needs the extra openvino")
pytest.importorskip("openvino", reason="needs the extra openvino")
pytest.importorskip("onnxscript", reason="needs the extra openvino")
pytest.importorskip("nncf", reason="needs the extra openvino")


def times(int8_ms: float, fp32_ms: float = 3.0) -> list[dict[str, Any]]:
    given = {"fp32": fp32_ms, "int8": int8_ms, "bf16": 2.0}
    return [
        {"precision": name, "threads": count, "ms": ms, "range_ms": [ms, ms]}
        for name, ms in given.items()
        for count in (1, 2)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and pictures to calibrate on."""
    place = tmp_path_factory.mktemp("int8")
    settings = {"channels": [4, 4, 4, 4, 0, 0, 0, 0, 0, 4, 4]}  # one block of the six
    write_model(place / "model.safetensors", settings=settings)
    draws = np.random.default_rng(0)
    (place / "pictures").mkdir()
    for index in range(4):
        coarse = Image.fromarray(draws.integers(0, 256, (5, 5, 3), np.uint8))
        coarse.resize((40, 30), Image.Resampling.BICUBIC).save(place / f"pictures/{index}.png")
    return place


@pytest.fixture(autouse=True)
def quick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces once; nobody is timed, and Inception is not asked."""
    if not hasattr(quick, "traced"):
        model = open_model(folder / "model.safetensors")
        quick.traced = openvino_file.onnx_graph(model, "", extra="openvino")  # type: ignore[attr-defined]
    monkeypatch.setattr(openvino_file, "onnx_graph", lambda *_, **__: quick.traced)  # type: ignore[attr-defined]
    monkeypatch.setattr(int8, "time_files", lambda *_: times(1.0))
    monkeypatch.setattr(recipe, "drift", lambda *_: {"fid": 1.25, "images": 4})


def quantize(
    folder: Path, out: Path, capsys: pytest.CaptureFixture[str], *words: object
) -> Outcome:
    arguments = folder / "model.safetensors", "--calibrate", folder / "pictures", "-o", out
    return run_command(capsys, "quantize", *arguments, *words)


def test_the_file_says_how_good_it_is_and_translate_runs_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.xml"
    outcome = quantize(folder, out, capsys, "--min-psnr", 20, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = outcome.document["checked"]["quantized"]
    assert found["pictures"] == 2 * found["held_out"] == 4
    assert 20 <= found["psnr_db"]["worst"] <= found["psnr_db"]["mean"]
    assert 0 < found["in_8_bits"] <= found["convolutions"] == 10
    assert outcome.document["drift"] == {"fid": 1.25, "images": 4}
    assert open_deployed(out).network.how.endswith("int8")
    made = {}
    for name, model in (("whole", folder / "model.safetensors"), ("int8", out)):
        arguments = (model, folder / "pictures/0.png", "-o", tmp_path / name)
        assert run_command(capsys, "translate", *arguments).status == 0
        made[name] = np.asarray(Image.open(tmp_path / name / "0.png")).astype(float)
    assert 0 < np.square(made["int8"] - made["whole"]).mean() < 255**2 / 10**1.5


def test_export_writes_the_same_bytes_and_nothing_of_this_machine(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--precision", "int8", "--pixels", "--min-psnr", "20", "--calibrate"]
    for name in "ab":
        arguments = (
            folder / "model.safetensors",
            "-o",
            tmp_path / f"{name}.xml",
            *asked,
            folder / "pictures",
        )
        assert run_command(capsys, "export", *arguments).status == 0
    for suffix in ("xml", "bin"):
        first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
        assert first == second
        assert str(folder).encode() not in first
    _, header = without_header((tmp_path / "a.xml").read_bytes())
    assert json.loads(header or "")["export"]["precision"] == "int8"


def test_a_file_of_one_size_is_made_of_pictures_of_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "one.xml"
    outcome = quantize(folder, out, capsys, "--size", "16x32", "--min-psnr", 20, "--json")
    assert outcome.status == 0, outcome.err
    checked = outcome.document["checked"]
    assert checked["sizes"] == [[16, 32]]
    assert checked["quantized"]["timed_on"] == [1, 3, 16, 32]
    network = open_deployed(out).network
    assert network.fixed_size == (16, 32)
    assert network.how.endswith("int8")


@pytest.mark.parametrize(
    ("words", "int8_ms", "named"),
    [
        (("--min-psnr", 99), 1.0, "--min-psnr asks for 99"),
        (("--min-psnr", 20), 2.0, "int8 takes 2.0 ms on 1 thread and bf16 2.0"),
        (("--min-psnr", 0), 1.0, "--min-psnr 0"),
        (("--num", 1), 1.0, "--num 1"),
    ],
)
def test_what_is_not_worth_it_is_one_line_and_no_file(
    words: tuple[object, ...],
    int8_ms: float,
    named: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int8, "time_files", lambda *_: times(int8_ms))
    monkeypatch.setattr(Quantizer, "_errors", lambda self: dict.fromkeys(self._layers, 1.0))
    outcome = quantize(folder, tmp_path / "out.xml", capsys, *words)
    assert (outcome.status, outcome.out) == (2, "")
    *_, last = outcome.err.splitlines()
    assert last.startswith("error: ")
    assert named in last
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("quantize {model} --calibrate {pictures} -o a.onnx", "end the name in .xml"),
        ("quantize {model} --calibrate {nothing} -o a.xml", "no readable images"),
        ("quantize {model} --calibrate nowhere -o a.xml", "error: --calibrate nowhere: cannot be"),
        ("export {model} --precision int8 --calibrate nowhere -o a.xml", "error: --calibrate now"),
        ("quantize {model} --calibrate {pictures} -o a.xml --size 16 --pixels", "--size 16: fil"),
        ("quantize {model} --calibrate {pictures} -o a.xml --size 18", "multiples of 4"),
        ("export {model} --precision int8 -o a.xml", "add --calibrate"),
        ("export {model} --calibrate {pictures} -o a.xml", "--precision int8"),
        ("export {model} --calibrate {pictures} -o a.safetensors", "--calibrate: has no effect"),
        ("quantize {synthesis} --calibrate {pictures} -o a.xml", "makes images of noise"),
    ],
)
def test_wrong_invocations_are_one_line(
    command: str, named: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "model": folder / "model.safetensors",
        "pictures": folder / "pictures",
        "nothing": tmp_path,
        "synthesis": tmp_path / "noise.safetensors",
    }
    if "{synthesis}" in command:
        settings = {"resolution": 16}
        write_model(places["synthesis"], "stylegan2", settings=settings, task=None)
    outcome = run_command(capsys, *(word.format(**places) for word in command.split()))
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert named in outcome.err


TINY = """
<ir_version: 10, opset_import: ["" : 20]>
tiny (float[1, 3, 8, 8] image) => (float[1, 3, 8, 8] output)
<float[3, 3, 1, 1] first = {{1,0,0, 0,1,0, 0,0,1}},
 float[3, 3, 1, 1] large = {{1000,0,0, 0,1,0, 0,0,1}},
 float[3, 3, 1, 1] back = {{0.001,0,0, 0,1,0, 0,0,1}}>
{{
  a = Conv (image, first)
  b = Conv (a, large)
  output = Conv (b, back)
}}
"""


def test_the_layer_that_does_most_harm_stays_in_floating_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = onnx.parser.parse_model(TINY.format())
    whole = converted(model.SerializeToString())
    draws = torch.Generator().manual_seed(0)
    images = tuple(torch.rand((1, 3, 8, 8), generator=draws) * 2 - 1 for _ in range(4))
    pictures = Pictures("drawn", tuple("abcd"), images)
    said: list[str] = []
    quantizer = Quantizer(
        whole, pictures, Path("a.xml"), inputs=torch.Tensor.numpy, say=said.append
    )
    # in 8 bits, the last one sees one channel of thousands and two of ones
    found = quantizer.search(45.0)
    assert found.quality.worst >= 45
    assert len(found.left_out) == 1
    assert len(said) == 3
    with pytest.raises(ExportError, match="nothing was written"):
        quantizer.search(99.0)


AVERAGE = """
<ir_version: 10, opset_import: ["" : 20]>
average (float[1, 1, 16, 16] image) => (float[1, 1, 16, 16] output)
<float[1, 1, 5, 5] weight = {{{weight}}}, float[1] bias = {{0.1}}>
{{
  output = Conv <pads = [2, 2, 2, 2]> (image, weight, bias)
}}
"""


@pytest.mark.parametrize(
    ("contrasts", "mean", "least_db"),
    [
        ((1.0, 0.05, 0.05, 0.05), 0.0, 60.0),  # the range is of all pictures, not their average
        # rounding averages out, what a bias takes from one rounded number would not
        ((1.0, 1.0, 1.0, 1.0), 0.4 * 2 / 255, 62.0),
    ],
)
def test_neither_ranges_nor_biases_are_guessed_from_averages(
    contrasts: tuple[float, ...], mean: float, least_db: float
) -> None:
    weight = ", ".join(["0.04"] * 25)
    model = onnx.parser.parse_model(AVERAGE.format(weight=weight))
    draws = torch.Generator().manual_seed(0)
    noise = torch.rand((4, 1, 1, 16, 16), generator=draws) * 2 - 1
    noise += mean - noise.mean((2, 3, 4), keepdim=True)
    noise[..., 0, 0], noise[..., 0, 1] = 1, -1  # all of the same range
    images = tuple(item * contrast for item, contrast in zip(noise, contrasts, strict=True))
    pictures = Pictures("drawn", tuple("abcd"), images)
    whole = converted(model.SerializeToString())
    quantizer = Quantizer(whole, pictures, Path("a.xml"), inputs=torch.Tensor.numpy, say=print)
    assert quantizer.search(least_db).left_out == ()


def test_bf16_that_is_slow_on_a_processor_is_not_what_8_bits_must_beat() -> None:
    check_faster(Path("a.xml"), times(1.9))
    with pytest.raises(ExportError, match="and fp32 1.5: not faster; nothing was written"):
        check_faster(Path("a.xml"), times(1.9, fp32_ms=1.5))
