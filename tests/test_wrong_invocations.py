"""Mistakes as whole commands: one line, exit status 2, nothing lost. `test_rules` has the rest."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import SMALL, contents, run_command
from mistakes import (
    BIGGAN,
    FAKE,
    FROM_FILE,
    SR,
    SYNTHESIS,
    TRAIN,
    go_there,
    write_mistakes,
)

from gancomp import files

# command line, what the error names, and its way out
CASES: list[tuple[str, str, str]] = [
    # no command, unknown names of commands and options, what the parser itself refuses
    ("", "no command given", "gancomp --help"),
    ("frobnicate", "No such command 'frobnicate'", "gancomp --help"),
    ("distil --dataset data", "Did you mean 'distill'", "gancomp --help"),
    ("--frob", "No such option: --frob", "gancomp --help"),
    ("data", "Missing command", "gancomp data --help"),
    ("data frob", "No such command 'frob'", "gancomp data --help"),
    ("distill --rato 0.5 --dataset data", "--rato", "--ratio"),
    ("distill --ratio", "'--ratio' requires an argument", "gancomp --help"),
    ("distill --ratio abc --dataset data", "'abc'", "gancomp distill --help"),
    ("distill --max-steps 1.5 --dataset data", "'1.5'", "gancomp distill --help"),
    ("distill --dataset data surplus", "surplus", "gancomp distill --help"),
    ("pretrain --dataset data --ratio 0.5", "--ratio", "gancomp pretrain --help"),
    ("export", "Missing argument 'model'", "gancomp export --help"),
    ("export student.safetensors", "--out", "gancomp export --help"),
    ("playground", "Missing argument 'models'", "gancomp playground --help"),
    ("playground nosuch.safetensors", "nosuch.safetensors", "check the path"),
    ("translate student.safetensors photo.png", "--out", "gancomp translate --help"),
    ("translate student.safetensors", "Missing argument 'inputs'", "gancomp translate --help"),
    ("data fetch", "Missing argument 'name'", "gancomp data fetch --help"),
    ("data check", "Missing argument 'folder'", "gancomp data check --help"),
    ("methods nosuch", "method nosuch", "dcd"),
    ("methods dcd surplus", "surplus", "gancomp methods --help"),
    ("methods --paper dcd", "--paper", "gancomp methods --help"),
    ("demo --frob", "--frob", "gancomp demo --help"),
    ("profile --arch resnet9 --width wide", "'wide'", "gancomp profile --help"),
    ("bench train --rounds many", "'many'", "gancomp bench train --help"),
    ("bench data", "--dataset", "gancomp bench data --help"),
    ("generate style.safetensors", "--out", "gancomp generate --help"),
    ("sweep", "Missing argument 'PLAN.toml'", "gancomp sweep --help"),
    ("sweep nosuch.toml", "nosuch.toml", "check the path"),
    ("sweep broken.toml", "broken.toml", "fix that line"),
    ("sweep plan.toml", "plan.toml: ", "seeds: should be whole numbers"),
    ("eval-sr sr.safetensors --dataset data/testA --scale big", "'big'", "gancomp eval-sr --help"),
    # data: missing, empty, one-sided, corrupt, of the wrong kind
    ("distill", "--dataset", "gancomp demo"),
    ("pretrain", "--dataset", "gancomp data list"),
    ("data check nosuch", "nosuch", "Known names"),
    ("data fetch horse2zebar", "horse2zebar", "did you mean horse2zebra"),
    # impossible numbers
    (f"distill --dataset data {TRAIN} --ratio 0", "--ratio 0", "greater than 0"),
    (f"distill --dataset data {TRAIN} --size 8x64", "--size 8x64", "use --size 40x96 or more"),
    (f"pretrain --dataset data {SMALL} --epochs 0 --decay-epochs 0", "--epochs 0", "raise one"),
    ("profile --arch resnet9 --width 0", "--width 0", "1 or more"),
    ("translate student.safetensors photo.png -o new --size 64x2", "64x2", "from 8 to 4096"),
    (f"{FAKE} --batch-size 0", "--batch-size 0", "at least 1"),
    ("demo -o new --max-steps 0", "--max-steps 0", "at least 1"),
    ("bench infer --width 0", "--width 0", "1 or more"),
    ("bench train --size 16", "--size 16", "at least 96"),
    ("bench synthesis --size 48", "--size 48", "32, 64, 128"),
    ("bench data --dataset nosuch", "nosuch", "horse2zebra"),
    ("bench fid --real nosuch --fake data/testA", "--real nosuch", "folder of images"),
    # wrong names
    (f"distill --dataset data {TRAIN} --method dvd", "--method dvd", "did you mean dcd"),
    (f"pretrain --dataset data {SMALL} --preset dcd", "--preset dcd", "standard"),
    (f"distill --dataset data {TRAIN} --device tpu", "--device tpu", "cuda:N"),
    (f"distill --dataset data {TRAIN} --device cuda:99", "--device cuda:99", "--device cpu"),
    ("profile --arch resnet8", "--arch resnet8", "did you mean resnet9"),
    ("export student.safetensors -o new.safetensors --format onxx", "onxx", "safetensors"),
    ("translate student.safetensors photo.png -o new --device tpu", "--device tpu", "cpu"),
    (f"{FAKE} --device tpu", "--device tpu", "cpu"),
    ("demo -o new --device tpu", "--device tpu", "cpu"),
    # models: missing, junk, damaged, hostile, of the wrong kind
    ("export nosuch.safetensors -o new.safetensors", "nosuch.safetensors", "check the path"),
    ("profile nosuch.safetensors", "nosuch.safetensors", "check the path"),
    ("translate hostile.pth photo.png -o new", "hostile.pth", "state_dict"),
    ("eval-fid --real data/testB --fake data/testA --in-range 0,1", "--in-range", "--out-range"),
    (f"pretrain --dataset data {SMALL} --in-channels 9", "--in-channels 9", "at most 8"),
    (
        f"distill --dataset data {FROM_FILE} --teacher gray.safetensors --in-channels 3",
        "--in-channels 3",
        "trained with 1",
    ),
    # smaller generators
    ("shrink", "Missing argument 'model'", "gancomp shrink --help"),
    ("shrink student.safetensors --by ratio --budget 50%", "--out", "gancomp shrink --help"),
    ("shrink student.safetensors --by rato --budget 50% -o new.safetensors", "rato", "ratio"),
    ("shrink student.safetensors --by width --budget 5x -o new.safetensors", "5x", "0.3M"),
    ("shrink student.safetensors --by ratio --budget 50% -o new.onnx", "new.onnx", "export"),
    (
        "shrink student.safetensors --by ratio --budget 50% -o new.safetensors --min-share 0.5",
        "--min-share",
        "--by magnitude",
    ),
    ("shrink nosuch.safetensors --by ratio --budget 50% -o new.safetensors", "nosuch", "path"),
    # weights
    (f"distill --dataset data {SMALL} --vgg nosuch.pth", "--vgg nosuch.pth", "--perceptual none"),
    (f"distill --dataset data {SMALL} --vgg junk.pth", "junk.pth", "GANCOMP_VGG16"),
    (f"distill --dataset data {SMALL} --vgg hostile.pth", "hostile.pth", "GANCOMP_VGG16"),
    (f"distill --dataset data {SMALL} --vgg cut.safetensors", "cut.safetensors", "--perceptual"),
    (f"{FAKE}", "pt_inception", "delete it to have it downloaded again"),
    # images and statistics for scoring and translating
    ("translate student.safetensors nosuch.png -o new", "nosuch.png", "check the path"),
    ("eval-fid --fake nosuch --real data/testA", "--fake nosuch", "folder of images"),
    # images from noise
    ("generate", "Missing argument 'model'", "gancomp generate --help"),
    ("translate style.safetensors photo.png -o new", "style.safetensors", "gancomp generate"),
    ("eval-sr style.safetensors --dataset data/testA", "style.safetensors", "gancomp generate"),
    ("eval-fid style.safetensors", "style.safetensors", "give --dataset"),
    # super-resolution models and the originals they are scored against
    ("eval-sr sr.safetensors", "Missing option '--dataset'", "gancomp eval-sr --help"),
    ("eval-fid sr.safetensors --dataset data", "sr.safetensors", "gancomp eval-sr"),
    # places that cannot be written
    (f"distill --dataset data {TRAIN} --out notes.txt", "--out notes.txt", "choose a folder"),
    (f"distill --dataset data {TRAIN} --out notes.txt/run", "notes.txt/run", "choose another"),
    (f"distill --dataset data {TRAIN} --out data", "other files", "new or empty folder"),
    (f"pretrain --dataset data {SMALL} --out /proc/run", "/proc/run", "choose another"),
    ("export student.safetensors -o notes.txt/new.safetensors", "notes.txt", "another place"),
    ("translate student.safetensors photo.png -o notes.txt", "notes.txt", "another place"),
    (f"{FAKE} --save-stats notes.txt/new.npz", "notes.txt/new.npz", "existing folder"),
    ("demo -o notes.txt/new", "notes.txt", "choose another place"),
    # runs
    (f"distill --dataset data {TRAIN} --resume --out nosuch", "nosuch", "remove --resume"),
    ("pretrain --resume --out empty", "empty", "check the path"),
    # options that would be ignored, or contradict each other
    (f"distill --dataset data {TRAIN} --ratio 0.5 --student-width 4", "--ratio", "one of them"),
    (f"distill --dataset data {TRAIN} --teacher-block-epochs 3", "--student-block-epochs", "both"),
    (f"pretrain --dataset data {SMALL} --lambda-l1 3", "--lambda-l1", "remove it"),
    (f"distill --dataset data {TRAIN} --vgg junk.pth", "--vgg junk.pth", "drop one"),
    ("profile --arch resnet9 student.safetensors", "--arch resnet9", "knows its network"),
    (f"{FAKE} --size 32", "--size", "remove them"),
    # super-resolution
    (f"distill {SR} --scale 3", "--scale 3", "2 or 4"),
    (f"distill {SR} --size 24", "--size 24", "multiple of 16"),
    (f"distill {SR} --size 16", "--size 16", "larger --size"),
    (f"distill {SR} --d-layers 2", "--d-layers", "it belongs to patchgan"),
    (f"distill {SR} --content-tap relu9_9", "relu9_9", "relu5_3"),
    (f"distill {SR} --perceptual none", "--perceptual none", "vgg19"),
    (f"distill {SR} --perceptual vgg19 --vgg nosuch.pth", "nosuch.pth", "GANCOMP_VGG19"),
    (f"distill {SR} --train-teacher", "--train-teacher", "remove the option"),
    (f"pretrain {SR} --objective pixel", "--perceptual", "--objective pixel"),
    ("profile --blocks 3", "--blocks 3", "--arch"),
    # synthesis
    (f"distill {SYNTHESIS} --size 32x64", "--size 32x64: --task synthesis", "--size 32"),
    (f"pretrain {SYNTHESIS} --lambda-dgl 1", "--lambda-dgl", "gancomp pretrain --help"),
    (f"distill {SYNTHESIS} --d-steps 1.5", "'1.5'", "gancomp distill --help"),
    (
        f"pretrain --dataset data {SMALL} --turn-order generator-first",
        "--turn-order",
        "--method dgl",
    ),
    (
        f"distill {SYNTHESIS} --width 8 --d-width 8 --d-layers 2",
        "--d-layers",
        "it belongs to patchgan",
    ),
    (f"distill {BIGGAN} --path-weight 2", "--path-weight 2", "use --path-weight 0"),
    (f"distill {BIGGAN} --style-mixing 0.9", "--style-mixing 0.9", "use --style-mixing 0"),
]
COMMANDS = (
    *("pretrain", "distill", "export", "profile", "eval-fid", "eval-sr", "translate", "data"),
    "shrink",
    "demo",
    "methods",
    "sweep",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mistakes(tmp_path_factory.mktemp("wrong"))


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_there(folder, monkeypatch)


def with_json(arguments: list[str]) -> list[str]:
    depth = 2 if arguments[:1] in (["data"], ["bench"]) else 1
    return [*arguments[:depth], "--json", *arguments[depth:]] if len(arguments) > 1 else arguments


def check_one_line(status: int, out: str, err: str) -> None:
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    assert "weights_only" not in err  # PyTorch's advice to open the file unsafely


def short(command: str) -> str:
    for usual in (TRAIN, FROM_FILE, SMALL):
        command = command.replace(f" {usual}", " …")
    return command or "nothing"


@pytest.mark.parametrize("number", range(len(CASES)), ids=[short(case[0]) for case in CASES])
def test_a_mistake_costs_one_line_and_status_2_and_changes_nothing(
    number: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, named, way_out = CASES[number]
    arguments = shlex.split(command)
    before = contents(folder)
    outcome = run_command(capsys, *(with_json(arguments) if number % 2 else arguments))
    check_one_line(outcome.status, outcome.out, outcome.err)
    assert named in outcome.err
    assert way_out in outcome.err
    assert contents(folder) == before


def test_the_table_covers_every_command_and_many_mistakes() -> None:
    first = [case[0].split()[0] for case in CASES if case[0]]
    assert {name: first.count(name) >= 2 for name in COMMANDS} == dict.fromkeys(COMMANDS, True)
    assert len({case[0] for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("profile hostile.pth --json", "hostile.pth"),
        ("frobnicate", "frobnicate"),
    ],
)
def test_the_shell_sees_the_same(command: str, named: str, folder: Path) -> None:
    before = contents(folder)
    done = subprocess.run(
        [sys.executable, "-m", "gancomp", *command.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    check_one_line(done.returncode, done.stdout, done.stderr)
    assert named in done.stderr
    assert contents(folder) == before


@pytest.mark.parametrize(
    "command",
    [
        "export student.safetensors -o new.safetensors",
        "export student.safetensors -o photo.png --format safetensors",
        "translate student.safetensors photo.png -o data",
    ],
)
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_disk_that_takes_nothing_costs_no_file(
    command: str,
    number: int,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    before = contents(folder)
    monkeypatch.setattr(files, "_new_file", refuse)
    outcome = run_command(capsys, *command.split())
    check_one_line(outcome.status, outcome.out, outcome.err)
    assert os.strerror(number) in outcome.err
    assert contents(folder) == before


@pytest.mark.parametrize("command", ["pretrain", "distill"])
def test_a_run_on_a_disk_that_takes_nothing_does_not_begin(
    command: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: Path, *args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    before = contents(folder)
    monkeypatch.setattr(Path, "mkdir", refuse)
    perceptual = " --perceptual none" if command == "distill" else ""
    line = f"{command} --dataset data {SMALL}{perceptual} --out new"
    outcome = run_command(capsys, *line.split())
    check_one_line(outcome.status, outcome.out, outcome.err)
    assert "--out new: cannot be written (Read-only file system)" in outcome.err
    assert contents(folder) == before


def test_weights_that_are_nowhere_are_asked_for_with_all_the_ways_to_give_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    outcome = run_command(capsys, *f"distill --dataset data {SMALL}".split())
    *announced, error = outcome.err.splitlines()
    assert len(announced) == 1
    assert announced[0].startswith("downloading VGG16 (528 MB")
    assert error.startswith("error: VGG16 could not be downloaded")
    assert all(way in error for way in ("GANCOMP_VGG16", "--vgg FILE", "--perceptual none|random"))
    assert outcome.status == 2
    assert contents(folder) == before


def test_a_hostile_pickle_would_have_run_had_it_been_opened_carelessly(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # else the cases above would prove nothing
    monkeypatch.chdir(tmp_path)
    torch.load(folder / "hostile.pth", weights_only=False)
    assert (tmp_path / "executed").is_dir()


@pytest.mark.parametrize("json", [False, True])
def test_a_folder_with_problems_is_reported_and_then_refused(
    json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(capsys, "data", "check", "onesided", *(["--json"] if json else []))
    assert outcome.status == 2
    assert outcome.err.startswith("error: onesided: number of problems: 1; the first: ")
    assert outcome.err.count("\n") == 1
    assert "no trainB/" in (outcome.document["problems"][0] if json else outcome.out)


@pytest.mark.parametrize("json", [False, True])
def test_when_no_file_could_be_translated_the_status_says_so(
    json: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    arguments = ["translate", "student.safetensors", "notes.txt", "-o", "new"]
    outcome = run_command(capsys, *arguments, *(["--json"] if json else []))
    assert outcome.status == 2
    skipped, error = outcome.err.splitlines()
    assert skipped.startswith("skipped: notes.txt")
    assert error.startswith("error: nothing was written to new")
    if json:
        assert outcome.document["written"] == []
        assert [item["file"] for item in outcome.document["failed"]] == ["notes.txt"]
    assert contents(folder) == before
