"""ExecuTorch's programs: one size, equal bytes, equal images, and no trust in their claims."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_command, write_model
from PIL import Image

from gancomp.export.deployed import DeployedGenerator, open_deployed
from gancomp.export.executorch_model import constants_of, with_header, without_header
from gancomp.export.model import open_model

BLOCK = {"blocks": 1}  # a network of little to lower, which takes long


def test_the_header_stands_behind_the_program() -> None:
    assert without_header(with_header(b"program", '{"a": 1}')) == (b"program", '{"a": 1}')
    for content in (b"", b"program", b"\xff" * 8 + b"\ngancomp\n", b"\ngancomp\n"):
        assert without_header(content) == (content, None)


def test_constants_that_are_no_delegate_s_count_as_weights() -> None:
    """An embedding is one: ExecuTorch itself looks it up."""

    def tensor(buffer: int, sizes: list[int], kind: int = 6, room: object = None) -> Any:
        value = SimpleNamespace(data_buffer_idx=buffer, sizes=sizes, scalar_type=kind)
        value.allocation_info = room
        return SimpleNamespace(val=value)

    number = SimpleNamespace(val=SimpleNamespace(int_val=1))
    embedding, index, given = tensor(1, [5, 128]), tensor(2, [7], kind=4), tensor(0, [1, 80])
    values = [number, embedding, embedding, index, given, tensor(3, [2, 2], room="planned")]
    plan = SimpleNamespace(values=values)
    assert constants_of(SimpleNamespace(execution_plan=[plan])) == [640]


def test_a_missing_extra_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model.safetensors", "srresnet", settings=BLOCK, task=None)
    monkeypatch.setitem(sys.modules, "executorch", None)
    monkeypatch.setitem(sys.modules, "executorch.exir", None)
    outcome = run_command(capsys, "export", model, "-o", tmp_path / "out.pte")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith('pip install "gancomp[executorch]"\n')


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, a model and two exports of it."""
    pytest.importorskip("executorch", reason="needs the extra executorch")
    from gancomp.__main__ import run

    place = tmp_path_factory.mktemp("pte")
    model = write_model(place / "model.safetensors", "srresnet", settings=BLOCK, task=None)
    draws = np.random.default_rng(0)
    Image.fromarray(draws.integers(0, 256, (16, 32, 3), np.uint8)).save(place / "picture.png")
    for name in ("a", "b"):
        words = ["export", str(model), "-o", str(place / f"{name}.pte"), "--size", "16x32"]
        assert run(words) == 0
    return place


def test_two_exports_are_equal_and_tell_nothing_of_this_machine(folder: Path) -> None:
    first, second = ((folder / f"{name}.pte").read_bytes() for name in "ab")
    assert first == second
    assert not [word for word in (str(folder), sys.prefix, ".py") if word.encode() in first]


def test_the_file_gives_the_same_images_on_any_number_of_threads(folder: Path) -> None:
    deployed = open_deployed(folder / "a.pte").network
    assert isinstance(deployed, DeployedGenerator)
    assert deployed.fixed_size == (16, 32)
    network = open_model(folder / "model.safetensors").network
    images = torch.rand((3, 3, 16, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 1):  # what was loaded for one pool of threads must not meet another
            torch.set_num_threads(threads)
            with torch.no_grad():
                made, wanted = deployed(images), network(images)
            torch.testing.assert_close(made, wanted, rtol=0, atol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_commands_open_it_and_say_its_one_size(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = folder / "a.pte", folder / "picture.png", "-o", folder / "out"
    assert run_command(capfd, "translate", *words).status == 0
    words = folder / "model.safetensors", folder / "picture.png", "-o", folder / "wanted"
    assert run_command(capfd, "translate", *words).status == 0
    made, wanted = (
        np.asarray(Image.open(folder / name / "picture.png")).astype(int)
        for name in ("out", "wanted")
    )
    assert np.abs(made - wanted).max() <= 1
    document = run_command(capfd, "profile", folder / "a.pte", "--json").document
    assert document["models"][0]["runtime"].startswith("executorch ")
    assert document["models"][0]["input"] == [1, 3, 16, 32]
    outcome = run_command(capfd, "profile", folder / "a.pte", "--size", 64)
    assert outcome.status == 2
    assert "takes images of 16x32" in outcome.err
    Image.new("RGB", (32, 32)).save(folder / "square.png")
    words = folder / "a.pte", folder / "square.png", "-o", folder / "none"
    outcome = run_command(capfd, "translate", *words)
    assert outcome.status == 2
    assert "takes images of 16x32 alone" in outcome.err


def flipped(content: bytes) -> bytes:
    return content[:1000] + bytes([content[1000] ^ 255]) + content[1001:]


def cut(content: bytes) -> bytes:
    return content[:5000]


def headless(content: bytes) -> bytes:
    return without_header(content)[0]


def with_header_of(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def lie(content: bytes) -> bytes:
        program, text = without_header(content)
        header = json.loads(text or "")
        change(header)
        return with_header(program, json.dumps(header))

    return lie


def narrower(header: dict[str, Any]) -> None:
    header["settings"]["width"] = 3


def deeper(header: dict[str, Any]) -> None:
    header["settings"]["blocks"] = 2


def other(header: dict[str, Any]) -> None:
    header.update(arch="mobile-resnet6", settings={"width": 4})


def nameless(header: dict[str, Any]) -> None:
    del header["export"]["inputs"]


DAMAGES = {"flipped": flipped, "cut": cut, "headless": headless, "empty": lambda content: b""}
LIES = {kind.__name__: with_header_of(kind) for kind in (narrower, deeper, other, nameless)}


@pytest.mark.parametrize("damage", [*DAMAGES, *LIES])
def test_a_damaged_file_or_one_that_lies_is_one_line(
    damage: str, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.pte"
    bad.write_bytes((DAMAGES | LIES)[damage]((folder / "a.pte").read_bytes()))
    outcome = run_command(capfd, "translate", bad, folder / "picture.png", "-o", tmp_path / "out")
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert outcome.err.startswith(f"error: {bad}: ")
    assert not (tmp_path / "out").exists()
