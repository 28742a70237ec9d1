"""`--quantization-aware`: the last steps round, the ones before are those of any run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import run_command

from gancomp.data.demo_set import write_demo_set
from gancomp.training.quantized import Finishing

TYPED = (
    "distill --arch mobile-resnet6 --width 4 --student-width 2 --size 32 --d-layers 1 --d-width 4 "
    "--perceptual none --batch-size 1 --workers 0 --device cpu --log-every 1 --checkpoint-every 2"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and a plain run of 3 steps."""
    place = tmp_path_factory.mktemp("quantized")
    write_demo_set(place / "set", size=32, train=4, test=1)
    return place


def distill(
    place: Path, name: str, capsys: pytest.CaptureFixture[str], *words: object, status: int = 0
) -> str:
    outcome = run_command(
        capsys, *TYPED.split(), "--dataset", place / "set", "--out", place / name, *words
    )
    assert outcome.status == status
    return outcome.err


def losses(run: Path) -> list[Any]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["losses"] for line in lines]


def test_only_the_last_steps_round_and_a_resumed_run_equals_a_straight_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distill(place, "plain", capsys, "--max-steps", 4)
    aware = ("--quantization-aware", "--quantized-steps", 2)
    said = distill(place, "aware", capsys, "--max-steps", 4, *aware)
    assert "30 convolutions of the student round to 8 bits from step 3 of 4 on" in said
    plain, rounded = losses(place / "plain"), losses(place / "aware")
    assert plain[:2] == rounded[:2]
    assert plain[2]["student/gan"] != rounded[2]["student/gan"]
    assert plain[2]["student/gan"] == pytest.approx(rounded[2]["student/gan"], rel=0.1)
    # an older run can be finished so, too
    distill(place, "older", capsys, "--max-steps", 2)
    distill(place, "older", capsys, "--max-steps", 4, "--resume", *aware)
    files = [place / name / "student.safetensors" for name in ("aware", "older", "plain")]
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


def test_a_tenth_of_the_steps_round_unless_said_and_british_spelling_is_understood(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = distill(place, "british", capsys, "--max-steps", 1, "--quantisation-aware")
    assert "from step 1 of 1 on" in said
    config = json.loads((place / "british" / "config.json").read_text())
    assert config["settings"]["method"]["quantization_aware"] is True


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (
            ("--quantized-steps", 2),
            "--quantized-steps: has no effect with --quantization-aware off",
        ),
        (("--quantization-aware", "--compile", "on"), "use --compile off"),
        (("--quantization-aware", "--quantized-steps", 0), "--quantized-steps"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    words: tuple[object, ...], named: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = distill(place, "none", capsys, *words, status=2)
    assert said.count("\n") == 1
    assert named in said
    assert not (place / "none").exists()


def test_a_run_that_ends_before_says_so() -> None:
    said: list[str] = []
    for first, step in ((None, 5), (4, 5), (5, 5)):
        Finishing(first, said.append).tell(step)
    assert len(said) == 1
    assert "ended before step 6" in said[0]
