"""`gancomp bench infer`: who is timed, and what its document says."""

from __future__ import annotations

import pytest
import torch
from commands import run_command

SMALL = "--width 2 --size 32 --rounds 1 --device cpu"


@pytest.fixture
def original(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow stand-in for ResNet-9 and teacher."""
    monkeypatch.setattr("gancomp.bench.infer.TEACHER_WIDTH", 4)


@pytest.mark.usefixtures("original")
def test_every_step_is_timed_beside_plain_and_fast(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run_command(capsys, "bench", "infer", *SMALL.split(), "--threads", 1, "--json")
    document = outcome.document
    assert document["bench"] == "infer"
    assert document["of"] == "student, fast"
    assert list(document["contestants"]) == [
        "ResNet-9, eager",
        "teacher, eager",
        "teacher, fast",
        "student, eager",
        "+ channels_last",
        "+ norms that keep it",
        "+ tiled head",
        "+ in place",
        "student, fast",
    ]
    assert set(document["speedup"]) == set(document["contestants"]) - {document["of"]}
    assert document["machine"]["threads"] == torch.get_num_threads() == 1
    assert document["largest_difference"] <= 1e-4
    assert set(document["profile"]) == {"student, eager", "student, fast"}
    for operators in document["profile"].values():
        assert operators["aten::mkldnn_convolution"] > 0
        assert list(operators.values()) == sorted(operators.values(), reverse=True)


@pytest.mark.usefixtures("original")
def test_a_network_without_steps_is_timed_plain_and_fast(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = "--arch unet128 --width 2 --size 128 --rounds 1 --device cpu --batch-size 2"
    outcome = run_command(capsys, "bench", "infer", *arguments.split())
    assert (outcome.status, outcome.err) == (0, "")
    assert "2 image(s) of 128x128" in outcome.out
    assert "student, fast" in outcome.out
    assert "unet128 of width 4 (teacher) and 2 (student)" in " ".join(outcome.out.split())
    assert "tiled head" not in outcome.out
