"""Exported files in the place of models: the same images, and no trust in what they claim."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_command, write_model
from PIL import Image

import gancomp
from gancomp.__main__ import run
from gancomp.bench.infer import bench_infer
from gancomp.data.transforms import to_float, to_uint8
from gancomp.export import onnx_file
from gancomp.export.deployed import DeployedGenerator, open_deployed
from gancomp.export.model import open_model
from gancomp.networks.inference import run_generator

onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, and two models with their exports."""
    place = tmp_path_factory.mktemp("deployed")
    settings = {"channels": [4, 4, 4, 4, 0, 0, 0, 0, 0, 4, 4]}  # one block of the six
    write_model(place / "model.safetensors", settings=settings)
    write_model(place / "sr.safetensors", "srresnet", settings={"blocks": 1}, task=None)
    draws = np.random.default_rng(0)
    Image.fromarray(draws.integers(0, 256, (30, 41, 3), np.uint8)).save(place / "picture.png")
    with pytest.MonkeyPatch.context() as patch:  # tracing takes seconds, and is the same each time
        graphs = {
            name: onnx_file.onnx_graph(open_model(place / f"{name}.safetensors"), "")
            for name in ("model", "sr")
        }
        patch.setattr(onnx_file, "onnx_graph", lambda model, _: graphs[model.path.stem])
        for name in graphs:
            model = str(place / f"{name}.safetensors")
            assert run(["export", model, "-o", str(place / f"{name}.onnx")]) == 0
            assert run(["export", model, "-o", str(place / f"{name}-px.onnx"), "--pixels"]) == 0
    return place


def test_python_opens_exported_files_as_models(folder: Path) -> None:
    picture = np.asarray(Image.open(folder / "picture.png"))
    own, deployed = (gancomp.load(folder / f"model.{end}") for end in ("safetensors", "onnx"))
    made = [generator.translate(picture).astype(int) for generator in (own, deployed)]
    assert np.abs(made[0] - made[1]).max() <= 1
    assert deployed.metadata["arch"] == "mobile-resnet6"
    assert deployed.profile(size=16)["macs"] == own.profile(size=16)["macs"]
    assert deployed.profile(size=16)["runtime"].startswith("onnxruntime ")


def test_a_benchmark_takes_exported_files_along(folder: Path) -> None:
    document = bench_infer(width=1, size=32, rounds=1, files=[folder / "model.onnx"])
    (found,) = [name for name in document["contestants"] if name.startswith(str(folder))]
    assert found.startswith(f"{folder}/model.onnx (onnxruntime ")


def pixels(path: Path) -> Any:
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("end", [".onnx", "-px.onnx"])
@pytest.mark.parametrize("name", ["model", "sr"])
def test_translate_writes_what_the_model_itself_gives(
    name: str, end: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (f"{name}.safetensors", f"{name}{end}"):
        arguments = (folder / file, folder / "picture.png", "-o", tmp_path / file)
        assert run_command(capsys, "translate", *arguments).status == 0
    wanted, given = (
        pixels(tmp_path / file / "picture.png") for file in (f"{name}.safetensors", f"{name}{end}")
    )
    assert given.shape == wanted.shape
    assert np.abs(given - wanted).max() <= 1  # a value on the border between two levels


def test_large_pictures_are_enlarged_without_seams(folder: Path) -> None:
    network, deployed = (
        open_model(folder / "sr.safetensors").network,
        open_deployed(folder / "sr.onnx").network,
    )
    images = torch.rand((1, 3, 240, 8), generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(
        run_generator(deployed, images), run_generator(network, images), rtol=0, atol=1e-4
    )


def test_the_file_runs_on_as_many_threads_as_torch(folder: Path) -> None:
    network = open_deployed(folder / "model.onnx").network
    assert isinstance(network, DeployedGenerator)
    assert network.session() is network.session()
    assert network.how.startswith("onnxruntime ")
    assert network.described.arch == network.arch == "mobile-resnet6"


@pytest.mark.parametrize("size", [(30, 41), (3, 5), (8, 8)])
def test_any_language_can_call_a_file_with_pixels(size: tuple[int, int], folder: Path) -> None:
    import onnxruntime

    draws = np.random.default_rng(0)
    given = draws.integers(0, 256, (2, *size, 3), np.uint8)
    session = onnxruntime.InferenceSession(folder / "model-px.onnx")
    (made,) = session.run(None, {"pixels": given})
    network = open_model(folder / "model.safetensors").network
    wanted = to_uint8(run_generator(network, to_float(torch.from_numpy(given))))
    assert (made.shape, made.dtype) == (wanted.shape, np.uint8)
    assert np.abs(made.astype(int) - wanted).max() <= 1


def test_pixels_are_for_models_of_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    depth = {"channels": 3, "range": [0, 65535], "dtype": "uint16"}
    model = write_model(tmp_path / "deep.safetensors", extra={"pixels": {"source": depth}})
    outcome = run_command(capsys, "export", model, "-o", tmp_path / "deep.onnx", "--pixels")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "--pixels: source images" in outcome.err


def test_profile_counts_what_the_header_describes_and_times_the_file_itself(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = folder / "model.safetensors", folder / "model.onnx"
    document = run_command(
        capsys, "profile", *models, "--latency", "--threads", 1, "--size", 16, "--json"
    ).document
    own, deployed = document["models"]
    assert deployed["macs"] == own["macs"]
    assert deployed["bytes"] == (folder / "model.onnx").stat().st_size
    assert deployed["runtime"].startswith("onnxruntime ")
    assert [way["way"] for way in own["ways"]] == ["PyTorch, eager", "gancomp"]
    assert [way["way"] for way in deployed["ways"]] == [deployed["runtime"]]
    assert all(way["ms"] > 0 for row in (own, deployed) for way in row["ways"])
    assert "latency_eager_ms" not in deployed


def with_header(path: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The file with a header that lies, and whose digest is right."""
    header = json.loads(onnx.load(path).metadata_props[0].value)
    change(header)
    graph = path.read_bytes()[: header["export"]["bytes"]]
    header["export"]["sha256"] = hashlib.sha256(graph).hexdigest()
    entry = onnx.StringStringEntryProto(key="gancomp", value=json.dumps(header))
    out.write_bytes(graph + onnx.ModelProto(metadata_props=[entry]).SerializeToString())


def flipped(good: Path, bad: Path) -> None:
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 255
    bad.write_bytes(content)


def cut(good: Path, bad: Path) -> None:
    bad.write_bytes(good.read_bytes()[:5000])


def empty(good: Path, bad: Path) -> None:
    bad.touch()


def without_any_header(good: Path, bad: Path) -> None:
    model = onnx.load(good)
    del model.metadata_props[:]
    onnx.save(model, bad)


def with_anothers_header(good: Path, bad: Path) -> None:
    model = onnx.load(good)
    model.metadata_props[0].value = onnx.load(good.with_name("sr.onnx")).metadata_props[0].value
    onnx.save(model, bad)


def of_another_network(good: Path, bad: Path) -> None:
    with_header(good, bad, lambda header: header.update(arch="srresnet", settings={"width": 4}))


def of_other_channels(good: Path, bad: Path) -> None:
    with_header(good, bad, lambda header: header["settings"].update(in_channels=1))


def of_a_narrower_network(good: Path, bad: Path) -> None:
    smaller = [4, 4, 4, 2, 0, 0, 0, 0, 0, 4, 4]
    with_header(good, bad, lambda header: header["settings"].update(channels=smaller))


def of_fewer_blocks(good: Path, bad: Path) -> None:
    none = [4, 4, 4, 0, 0, 0, 0, 0, 0, 4, 4]
    with_header(good, bad, lambda header: header["settings"].update(channels=none))


def of_no_network(good: Path, bad: Path) -> None:
    with_header(good, bad, lambda header: header.update(arch="nosuch"))


def of_no_export(good: Path, bad: Path) -> None:
    with_header(good, bad, lambda header: header["export"].update(precision="int3"))


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        cut,
        empty,
        without_any_header,
        with_anothers_header,
        of_another_network,
        of_other_channels,
        of_a_narrower_network,
        of_fewer_blocks,
        of_no_network,
        of_no_export,
    ],
)
def test_a_damaged_file_or_one_that_lies_is_one_line(
    damage: Callable[[Path, Path], None],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = tmp_path / "bad.onnx"
    damage(folder / "model.onnx", bad)
    outcome = run_command(capsys, "translate", bad, folder / "picture.png", "-o", tmp_path / "out")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {bad}: ")
    assert outcome.err.count("\n") == 1
    assert "export" in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("translate {onnx} {picture} -o out --device cuda", "--device cuda"),
        ("translate {onnx} {picture} -o out --train-mode", "--train-mode"),
        ("translate {onnx} {picture} -o out --part G_A", "--part G_A"),
        ("export {onnx} -o out.safetensors", "give the .safetensors"),
        ("generate {onnx} -o out", "gancomp translate"),
        ("export {model} -o out.safetensors --pixels", "export to onnx or openvino"),
        ("export {model} -o out.onnx --precision bf16", "export to openvino"),
        ("export {model} -o out.foo", ".xml"),
        ("translate missing.onnx {picture} -o out", "missing.onnx"),
    ],
)
def test_what_an_exported_file_cannot_do_is_one_line(
    command: str, named: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "onnx": folder / "model.onnx",
        "model": folder / "model.safetensors",
        "picture": folder / "picture.png",
    }
    words = [word.format(**places) for word in command.split()]
    outcome = run_command(capsys, *words)
    assert outcome.status == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert named in outcome.err
