"""Each row of the papers' tables is one command, whose preset has the row's figure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_readme import datasets as datasets
from test_readme import plan_of

from gancomp.methods.omgd_options import OmgdOptions
from gancomp.presets import find_preset
from gancomp.registry import METHODS

PAGE = (Path(__file__).parents[1] / "examples" / "published_results.md").read_text()
TABLE_1 = re.findall(
    r"^\| (\w+) \| ([\w -]+) \| ([\d.]+) \| `(gancomp .*?--method .*?)` \|$", PAGE, re.M
)
TABLE_2 = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| `(gancomp .*?--method .*?)` \|$", PAGE, re.M)
SIZES = re.findall(r"^\| [^|]+ \| S(\d+) \| `(gancomp .*?)` \|$", PAGE, re.M)
ROWS = [
    *((dataset, figure, line) for dataset, _, figure, line in TABLE_1),
    *(("horse2zebra", figure, line) for _, figure, line in TABLE_2),
]


def test_the_rows_of_both_tables_are_found() -> None:
    methods = {line.split("--method ")[1].split()[0] for _, _, line in ROWS}
    assert {"fitnet", "mgd", "reviewkd", "dmad", "gan-compression"} <= methods <= set(METHODS)
    assert [figure for _, figure, _ in TABLE_2] == ["65.84", "67.57", "61.53"]
    assert [row[2] for row in TABLE_1 if row[1] == "DMAD"] == ["62.96", "78.24", "46.95"]


@pytest.mark.parametrize(("dataset", "figure", "line"), ROWS, ids=lambda value: value)
def test_the_command_of_a_row_takes_the_preset_with_its_figure(
    dataset: str, figure: str, line: str, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(line, datasets, monkeypatch)
    method = line.split("--method ")[1].split()[0]
    assert plan.settings.method.name == method
    row = find_preset(
        "distill",
        plan.settings.data.task,
        name=plan.settings.method.preset,
        dataset=dataset,
        arch=None,
        method=method,
    )
    assert (row.method, row.dataset) == (method, dataset)
    assert row.reported is not None
    assert figure in row.reported
    assert plan.preset["reported"] == row.reported


@pytest.mark.parametrize(("size", "line"), SIZES)
def test_omgds_other_sizes_have_the_widths_of_its_scripts(
    size: str, line: str, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = int(size)
    narrow = max(student, 12)  # the deep teacher; the wide one is four times as wide
    settings = plan_of(line, datasets, monkeypatch).settings
    widths = settings.teacher.network.width, settings.student.width
    assert widths == (4 * narrow, student)
    if settings.data.task == "paired":
        options = OmgdOptions(**settings.method.options)
        assert (options.deep_width or settings.student.width) == narrow
        assert settings.discriminator.width == (128 if student == 24 else 96)


def test_all_of_omgds_scripts_for_other_sizes_are_there() -> None:
    assert sorted(int(size) for size, _ in SIZES) == [8] * 6 + [12] * 6 + [24] * 2
