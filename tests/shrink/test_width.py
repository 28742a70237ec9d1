"""`--shrink width`, and budgets of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from commands import run_command, write_model

from gancomp.errors import ConfigError
from gancomp.export.model import open_model
from gancomp.settings import NetworkSettings
from gancomp.shrink.base import ShrinkRequest
from gancomp.shrink.budget import Budget, Meter, built_on_meta, costs, read_budget
from gancomp.shrink.options import BudgetOptions
from gancomp.shrink.width import Width

TEACHER = NetworkSettings("mobile-resnet9", 64)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2.4G", Budget("macs", 2.4e9)),
        (" 0.3 m", Budget("params", 0.3e6)),
        ("12k", Budget("params", 12e3)),
        ("600KB", Budget("bytes", 600e3)),
        ("1MB", Budget("bytes", 1e6)),
        ("25ms", Budget("ms", 25)),
        (".1s", Budget("ms", 100)),
        ("50%", Budget("share", 0.5)),
    ],
)
def test_budgets_are_read_as_they_are_written(text: str, wanted: Budget) -> None:
    found = read_budget("", text)
    assert found.measure == wanted.measure
    assert found.most == pytest.approx(wanted.most)


@pytest.mark.parametrize("text", ["", "2.4", "G", "-1G", "2.4T", "nanG", "1e9G", "50 percent"])
def test_what_is_no_budget_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match=r"`budget`: is no budget; write 2\.4G"):
        read_budget("`budget`", text)


@pytest.mark.parametrize("text", ["0G", "0%", "101%"])
def test_a_budget_of_nothing_or_more_than_the_whole_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="`budget`: must be greater than 0"):
        read_budget("`budget`", text)


@pytest.mark.parametrize(
    ("budget", "rule"),
    [("1.4077G", "true"), ("1.4077G", "torchprofile"), ("0.14M", "true"), ("8%", "true")],
)
def test_the_student_is_as_wide_as_the_budget_allows(
    budget: str, rule: Literal["true", "torchprofile"]
) -> None:
    options = BudgetOptions(budget_rule=rule)
    shrinker = Width(options)
    read = shrinker.read("", budget)
    said: list[str] = []
    shrunk = shrinker.shrink(
        ShrinkRequest(TEACHER, TEACHER, read, f"`budget` {budget}", 256, say=said.append)
    )
    meter = Meter(read, options, 256, "cpu")
    limit = meter.limit(built_on_meta(TEACHER))
    assert 0.99 * limit <= meter.of(built_on_meta(shrunk.student)) <= limit
    wider = TEACHER.changed(width=shrunk.found["width"] + 1)
    assert meter.of(built_on_meta(wider)) > limit
    assert shrunk.found["macs"] == costs(built_on_meta(shrunk.student), 256)["macs"]
    assert len(said) == 1


def test_the_published_student_fits_its_published_macs_by_the_papers_rule_only() -> None:
    for rule, width in (("torchprofile", 16), ("true", 20)):
        shrinker = Width(BudgetOptions(budget_rule=rule))  # type: ignore[arg-type]
        request = ShrinkRequest(
            TEACHER, TEACHER, shrinker.read("", "1.408G"), "", 256, say=lambda text: None
        )
        assert shrinker.shrink(request).student.width == width


def test_a_budget_that_no_width_meets_says_what_the_smallest_takes() -> None:
    shrinker = Width(BudgetOptions())
    request = ShrinkRequest(
        TEACHER, TEACHER, shrinker.read("", "0.00001G"), "`budget` 0.00001G", 256
    )
    with pytest.raises(ConfigError, match="`budget` 0.00001G: mobile-resnet9 of width 1 takes"):
        shrinker.shrink(request)


def test_a_file_of_new_weights_is_written_and_opens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = write_model(tmp_path / "teacher.safetensors", width=8)
    out = tmp_path / "student.safetensors"
    outcome = run_command(capsys, "shrink", teacher, "--by", "width", "--budget", "50%", "-o", out)
    assert outcome.status == 0, outcome.err
    assert "has new weights, to be trained by distill" in outcome.err
    assert "MACs (true)" in outcome.out
    assert open_model(out).network.width < 8
