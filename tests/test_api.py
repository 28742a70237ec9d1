"""The Python face: the command line's results, in Python's words, and not a word printed."""

from __future__ import annotations

import inspect
import json
import logging
import os
import subprocess
import sys
import threading
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_command, write_model
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import gancomp
from gancomp import cli, score_commands
from gancomp.api.boundary import called
from gancomp.data.demo_set import write_demo_set
from gancomp.engine.stopping import InterruptedRunError
from gancomp.options import options_for
from gancomp.scoring.request import FidRequest

TINY: dict[str, Any] = {
    "arch": "mobile-resnet6",
    "width": 4,
    "size": 32,
    "d_layers": 1,
    "d_width": 4,
    "perceptual": "none",
    "max_steps": 2,
    "log_every": 1,
    "sample_every": 2,
    "batch_size": 1,
    "workers": 0,
    "device": "cpu",
}


ALONE = {name: value for name, value in TINY.items() if name != "perceptual"}  # of pretrain


def flags(options: dict[str, Any]) -> list[str]:
    return [
        word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_demo_set(folder, size=32, train=3, test=2)
    return folder


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> gancomp.Run:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("run")
    before = Path.cwd()
    os.chdir(folder)  # `runs/latest` is written there
    try:
        return gancomp.distill(dataset=dataset, student_width=2, out=folder / "run", **TINY)
    finally:
        os.chdir(before)


@pytest.fixture
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    capfd.readouterr()
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "student.safetensors")


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(
        tmp_path_factory.mktemp("model") / "sr.safetensors",
        "srresnet",
        task="super-resolution",
        settings={"blocks": 1, "scale": 2},
    )


def picture(seed: int = 0, size: tuple[int, int] = (40, 52)) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def test_importing_gancomp_imports_no_torch_and_is_quick() -> None:
    code = (
        "import sys, time; began = time.process_time(); import gancomp; "
        "seconds = time.process_time() - began; error = gancomp.GancompError; "
        "print(seconds, 'torch' in sys.modules, 'numpy' in sys.modules, dir(gancomp))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    seconds, torch_there, numpy_there, names = printed.stdout.split(maxsplit=3)
    assert (torch_there, numpy_there) == ("False", "False")
    assert float(seconds) < 0.1
    assert "'distill'" in names


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(getattr(gancomp, name) for name in gancomp.__all__)
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        gancomp.distil  # type: ignore[attr-defined]  # noqa: B018  # a name that is not there


def test_the_package_of_model_files_does_not_hide_the_function(model: Path, folder: Path) -> None:
    import gancomp.export.native

    assert gancomp.export.native.FORMAT_VERSION == 1  # type: ignore[attr-defined]  # both in one name
    assert gancomp.export(model, folder / "a.safetensors")["format"] == "safetensors"


# a command, the parameters that only the command line has, and the function with all the others
SAME = [
    (cli.export, {"json"}, gancomp.api.export),
    (cli.profile, {"json", "macs", "models", "dropout"}, gancomp.api.profile),
]


@pytest.mark.parametrize(("command", "own", "function"), SAME)
def test_functions_have_the_names_and_defaults_of_their_commands(
    command: Callable[..., None], own: set[str], function: Callable[..., Any]
) -> None:
    typed = inspect.signature(command).parameters
    named = inspect.signature(function).parameters
    expected = {name: item.default for name, item in typed.items() if name not in own}
    assert {name: named[name].default for name in expected} == expected
    assert set(named) - set(expected) <= {"models", "own"}


def test_evaluate_has_the_names_and_defaults_of_eval_fid() -> None:
    typed = inspect.signature(score_commands.eval_fid).parameters
    own = {"json", "arch"}  # where code is is no part of what is scored
    defaults = {name: item.default for name, item in typed.items() if name not in own}
    assert "arch" in inspect.signature(gancomp.evaluate).parameters
    request = FidRequest()
    assert {name: getattr(request, name) or None for name in defaults} == {
        name: value or None for name, value in defaults.items()
    }
    assert set(typing.get_type_hints(FidRequest)) == set(defaults)
    text = inspect.getdoc(gancomp.evaluate) or ""
    assert [name for name in defaults if f"`{name}`" not in text] == ["model"]


@pytest.mark.parametrize("command", ["pretrain", "distill"])
def test_training_has_the_names_of_its_command(command: str) -> None:
    function = getattr(gancomp, command)
    wanted = [option.parameter for option in options_for(command)]
    assert list(inspect.signature(function).parameters) == ["progress", *wanted]
    assert "batch_size: Images per step." in function.__doc__
    assert "--" not in function.__doc__.replace("--help", "")


def test_distill_makes_the_command_s_student_bit_for_bit(
    run: gancomp.Run, dataset: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = flags({"dataset": dataset, "student_width": 2, "out": "typed", **TINY})
    assert run_command(capsys, "distill", "--json", *arguments).status == 0
    for name in ("student", "teacher"):
        ours = load_file(run.path / f"{name}.safetensors")
        theirs = load_file(folder / "typed" / f"{name}.safetensors")
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.usefixtures("folder", "quiet")
def test_nothing_is_printed(dataset: Path) -> None:
    run = gancomp.distill(dataset=dataset, student_width=2, **TINY | {"workers": 1})
    student = run.generators["student"]
    student.translate(Image.fromarray(picture()))
    gancomp.export(run, "student.safetensors")
    gancomp.profile(run)


@pytest.mark.usefixtures("folder")
def test_with_progress_the_steps_are_told_on_stderr(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = gancomp.pretrain(dataset=dataset, progress=True, **ALONE)
    out, err = capsys.readouterr()
    assert (out, "step 2/2" in err) == ("", True)
    assert list(run.generators) == ["teacher"]


@pytest.mark.usefixtures("folder")
def test_what_a_command_says_is_logged_in_python_s_words(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gancomp")
    gancomp.pretrain(dataset=dataset, out="run", **ALONE)
    assert any("preset standard" in message for message in caplog.messages)
    assert [message for message in caplog.messages if "--" in message] == []


@pytest.mark.usefixtures("folder")
def test_a_run_in_a_thread_trains(dataset: Path) -> None:
    runs: list[gancomp.Run] = []
    thread = threading.Thread(
        target=lambda: runs.append(gancomp.pretrain(dataset=dataset, out="run", **ALONE))
    )
    thread.start()
    thread.join()
    assert [run.metrics[-1]["step"] for run in runs] == [2]


def test_a_run_shows_what_is_in_its_folder(run: gancomp.Run) -> None:
    opened = gancomp.Run.open(str(run.path))
    assert opened == run
    assert (opened.settings.data.size, opened.settings.command) == (32, "distill")
    assert opened.config["settings"] == opened.settings.to_json()
    assert [record["step"] for record in opened.metrics] == [1, 2]
    assert [path.suffix for path in opened.samples] == [".png"]
    assert opened.scores == []
    assert {role: item.metadata["role"] for role, item in opened.generators.items()} == {
        "teacher": "teacher",
        "student": "student",
    }
    assert gancomp.load(run).metadata == opened.generators["student"].metadata


def test_a_run_of_before_schemas_opens_and_one_of_a_later_gancomp_does_not(
    run: gancomp.Run, tmp_path: Path
) -> None:
    config = json.loads((run.path / "config.json").read_text())
    assert config.pop("schema") == 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert gancomp.Run.open(tmp_path).settings == run.settings
    (tmp_path / "config.json").write_text(json.dumps(config | {"schema": 2}))
    with pytest.raises(gancomp.GancompError, match="update gancomp"):
        gancomp.Run.open(tmp_path)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(gancomp.GancompError, match=r"is no gancomp run .*; check the path$"):
        gancomp.Run.open(tmp_path)


@pytest.mark.parametrize("enlarges", [False, True])
def test_every_kind_of_picture_comes_back_as_its_kind_and_as_the_command_writes_it(
    enlarges: bool, model: Path, upscaler: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = upscaler if enlarges else model
    images = [picture(seed) for seed in (0, 1)]
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index}.png")
    typed = ["translate", chosen, "0.png", "1.png", "-o", "out", "--device", "cpu"]
    assert run_command(capsys, *typed).status == 0
    expected = [np.asarray(Image.open(folder / "out" / f"{index}.png")) for index in (0, 1)]

    generator = gancomp.load(chosen, device="cpu")
    one = generator.translate(images[0])
    assert (one.dtype, one.shape) == (np.uint8, (80, 104, 3) if enlarges else (40, 52, 3))
    assert np.array_equal(one, expected[0])
    assert np.array_equal(generator.translate(np.stack(images)), np.stack(expected))
    from_list = generator.translate(images)
    assert isinstance(from_list, list)
    assert all(map(np.array_equal, from_list, expected))
    pictures = generator.translate([Image.open(f"{index}.png") for index in (0, 1)])
    assert all(isinstance(item, Image.Image) for item in pictures)
    assert all(map(np.array_equal, map(np.asarray, pictures), expected))
    flipped = generator.translate(images[0][:, ::-1])  # a view with negative strides
    assert flipped.shape == one.shape


def test_a_tensor_comes_back_as_a_tensor_of_its_type(model: Path, upscaler: Path) -> None:
    images = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    generator = gancomp.load(model, device="cpu")
    result = generator.translate(images)
    assert (result.shape, result.dtype) == (images.shape, torch.float32)
    with torch.no_grad():
        assert torch.allclose(result, generator.network(images), atol=1e-4)  # the faster way
    assert generator.translate(images.half()).dtype == torch.float16
    enlarged = gancomp.load(upscaler, device="cpu").translate(images)
    assert (enlarged.shape, enlarged.dtype) == ((2, 3, 48, 64), torch.float32)


def test_pictures_of_any_mode_and_a_size_are_as_the_command_has_them(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gray = Image.fromarray(picture()[..., 0])
    gray.save("gray.png")
    run_command(
        capsys, "translate", model, "gray.png", "-o", "out", "--size", 32, "--device", "cpu"
    )
    result = gancomp.load(model, device="cpu").translate(gray, size=32)
    assert np.array_equal(np.asarray(result), np.asarray(Image.open(folder / "out" / "gray.png")))


def test_dropout_is_on_in_train_mode(tmp_path: Path) -> None:
    settings = {"norm": "batch", "dropout": 0.5}
    path = write_model(tmp_path / "a.safetensors", settings=settings)
    generator = gancomp.load(path, device="cpu")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    result = generator.translate(images, train_mode=True)
    assert torch.equal(result, generator.translate(images, train_mode=True))
    assert not torch.equal(result, generator.translate(images))


UNFIT: list[tuple[Any, dict[str, Any], str, str]] = [
    ("a.png", {}, "images", "of type str; give uint8 arrays"),
    (picture().astype(np.float32), {}, "images", r"an array of float32, shape \(40, 52, 3\)"),
    (picture()[..., 0], {}, "images", r"an array of uint8, shape \(40, 52\)"),
    (np.zeros((0, 8, 8, 3), np.uint8), {}, "images", r"shape \(0, 8, 8, 3\)"),
    (torch.zeros(3, 8, 8), {}, "images", r"shape \(3, 8, 8\); give a float tensor \(N, 3, H, W\)"),
    (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), {}, "images", "a tensor of torch.uint8"),
    (torch.full((1, 3, 8, 8), 255.0), {}, "images", r"values from 255 to 255; .* \[-1, 1\]"),
    (torch.full((1, 3, 8, 8), float("nan")), {}, "images", "values from nan"),
    (torch.zeros(1, 3, 8, 8), {"size": 32}, "size", "no effect on a tensor"),
    (picture(), {"size": 2}, "size", "`size` 2: must be from 8"),
    (picture(), {"dropout": 0.5}, "dropout", "`dropout` 0.5: only matters with `train_mode`"),
]


@pytest.mark.parametrize(("images", "options", "field", "message"), UNFIT)
def test_images_that_cannot_be_translated_are_refused(
    images: Any, options: dict[str, Any], field: str, message: str, model: Path
) -> None:
    with pytest.raises(gancomp.GancompError, match=message) as caught:
        gancomp.load(model).translate(images, **options)
    assert caught.value.field == field


def test_images_out_of_noise_are_those_of_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"resolution": 16, "style_channels": 8, "mapping_layers": 1}
    path = write_model(
        folder / "g.safetensors", "stylegan2", 8, task="synthesis", input_size=16, settings=settings
    )
    run_command(capsys, "generate", path, "-n", 3, "--seed", 5, "-o", "out", "--device", "cpu")
    generator = gancomp.load(path, device="cpu")
    images = generator.generate(3, 5)
    assert (images.shape, images.dtype) == ((3, 16, 16, 3), np.uint8)
    for index, image in enumerate(images):
        written = Image.open(folder / "out" / f"seed5_{index:05d}.png")
        assert np.array_equal(image, np.asarray(written))
    for field, wrong in (("n", 0), ("seed", -1), ("truncation", 0)):
        with pytest.raises(gancomp.GancompError, match=f"^`{field}` ") as caught:
            generator.generate(**{field: wrong})
        assert caught.value.field == field
    with pytest.raises(gancomp.GancompError, match=r"from noise, .*use generate\(\)"):
        generator.translate(picture())


def test_a_translator_generates_nothing(model: Path) -> None:
    with pytest.raises(gancomp.GancompError, match=r"image-to-image generator; use translate\(\)"):
        gancomp.load(model).generate(1)


def test_profile_and_export_give_what_the_commands_print(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = run_command(capsys, "profile", model, "--size", 32, "--json").document
    assert gancomp.profile(model, size=32) == document
    generator = gancomp.load(model)
    assert generator.profile(size=32) == document["models"][0]
    assert generator.metadata["arch"] == "mobile-resnet6"
    threads = torch.get_num_threads()
    assert generator.profile(size=32, latency=True, threads=1)["latency"]["threads"] == 1
    assert torch.get_num_threads() == threads
    written = run_command(capsys, "export", model, "-o", "a.safetensors", "--json").document
    assert gancomp.export(model, "b.safetensors") == written | {"file": "b.safetensors"}
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


def test_evaluate_scores_as_eval_fid_and_the_run_keeps_it(
    run: gancomp.Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stub(torch.nn.Module):
        weights_id = "pt_inception-2015-12-05-6726825d"

        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)).repeat(1, 2)

    monkeypatch.setattr("gancomp.recipes.eval_fid.load_inception", lambda say: Stub())
    monkeypatch.setenv("XDG_CACHE_HOME", str(run.path.parent / "cache"))
    score = gancomp.evaluate(run, device="cpu")
    assert run.scores == [score]
    assert run_command(capsys, "eval-fid", run.path, "--device", "cpu", "--json").document == score
    (run.path / "eval.json").unlink()


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"batch_size": 0}, "batch_size", "^`batch_size` 0: must be at least 1"),
    ({"batch_size": "two"}, "batch_size", "^`batch_size` 'two': should be of type int"),
    ({"ratio": True}, "ratio", "^`ratio` True: should be of type float"),
    ({"lambda_dc": 1.0}, "lambda_dc", "^`lambda_dc`: .* no such argument .did you mean lambda_dcd"),
    ({"max_time": "soon"}, "max_time", "^`max_time` soon: is no time"),
    ({"in_range": (1, 0)}, "in_range", "^`in_range` 1,0: the first number must be the lower"),
    ({"method": "dcg"}, "method", "^`method` dcg"),
    ({"out": 5}, "out", "^`out` 5: should be a path"),
    ({"freeze_teacher": True}, "freeze_teacher", "^`freeze_teacher`: .*teacher"),
    ({"lambda_cycle": 1.0, "lambda_dcd": -1.0}, "lambda_dcd", "^`lambda_dcd` -1"),
    ({"dataset": "nowhere"}, "dataset", "^`dataset` nowhere"),
]


@pytest.mark.parametrize(("options", "field", "message"), WRONG)
@pytest.mark.usefixtures("folder", "quiet")
def test_a_wrong_argument_is_named_as_python_has_it(
    options: dict[str, Any], field: str, message: str, dataset: Path
) -> None:
    with pytest.raises(gancomp.GancompError, match=message) as caught:
        gancomp.distill(**{"dataset": dataset, **TINY, **options})
    assert caught.value.field == field
    assert "--" not in str(caught.value)


def test_what_only_distill_has_is_said_to_be_there(dataset: Path) -> None:
    with pytest.raises(gancomp.GancompError, match=r"^`ratio`: .*; gancomp\.distill has"):
        gancomp.pretrain(dataset=dataset, ratio=0.5)


def test_numbers_of_numpy_and_numbers_for_texts_are_taken(folder: Path, dataset: Path) -> None:
    given = {**ALONE, "size": np.int64(32), "lr": np.float32(0.5), "max_time": 60}
    run = gancomp.pretrain(dataset=str(dataset), out=folder / "run", **given)
    assert run.settings.optimizer.lr == 0.5
    assert run.settings.schedule.max_seconds == 60


def test_a_run_that_a_signal_stopped_raises_what_ctrl_c_raises() -> None:
    with pytest.raises(KeyboardInterrupt, match="go on with `resume=True`"), called():
        raise InterruptedRunError("stopped before stage 1; go on with `resume=True`")


HEAVY = [
    *(
        f"torch.{part}.*"
        for part in ("_dynamo", "_inductor", "_functorch", "_export", "_subclasses")
    ),
    *(f"torch.{part}.*" for part in ("ao", "compiler", "distributed", "export", "func", "fx")),
    *(f"torch.{part}.*" for part in ("onnx", "profiler", "testing")),
    *("torchvision.*", "sympy.*", "scipy.*"),
]


@pytest.mark.slow
def test_the_types_of_results_are_known_to_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="needs the extra dev")
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        "import gancomp\n"
        "import numpy as np\n"
        "from PIL import Image\n"
        "reveal_type(gancomp.load('a').translate(Image.new('RGB', (8, 8))))\n"
        "reveal_type(gancomp.load('a').translate(np.zeros((8, 8, 3), np.uint8)))\n"
        "reveal_type(gancomp.Run.open('runs/latest').generators)\n"
        "reveal_type(gancomp.distill(dataset='x', ratio=0.25))\n"
    )
    # most of PyTorch's types take long to read, and results have none of them
    config = tmp_path / "mypy.ini"
    config.write_text(
        "[mypy]\nstrict = true\nfollow_imports = silent\n"
        f"[mypy-{','.join(HEAVY)}]\nfollow_imports = skip\n"
    )
    mypy = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir"]
    mypy += [str(tmp_path / "cache"), str(snippet)]
    root = Path(gancomp.__file__).parents[1]
    printed = subprocess.run(mypy, capture_output=True, text=True, cwd=root).stdout
    for kind in ("Image.Image", "ndarray", "dict[", "Run"):
        assert kind in printed
    assert "error" not in printed
