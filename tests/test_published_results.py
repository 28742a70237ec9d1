"""Each row of the papers' tables is one command, whose preset has the row's figure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_readme import datasets as datasets
from test_readme import parse, plan_of, words

from gancomp.methods.omgd_options import OmgdOptions
from gancomp.presets import find_preset
from gancomp.shrink.budget import read_budget

PAGE = (Path(__file__).parents[1] / "examples" / "published_results.md").read_text()
TABLES = dict(re.findall(r"^## (Table \d)\n(.*?)(?=^## )", PAGE, re.M | re.S))
TABLE_1 = re.findall(
    r"^\| (\w+) \| ([\w -]+) \| ([\d.]+) \| `(gancomp .*?)` \|$", TABLES["Table 1"], re.M
)
TABLE_2 = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| `(gancomp .*?)` \|$", TABLES["Table 2"], re.M)
SIZES = re.findall(r"^\| [^|]+ \| S(\d+) \| `(gancomp .*?)` \|$", PAGE, re.M)
BASELINE = "baseline, L_per + L_gan"  # DCD's settings, less than DCD
ROWS = [
    *((dataset, name, figure, line) for dataset, name, figure, line in TABLE_1),
    *(("horse2zebra", name, figure, line) for name, figure, line in TABLE_2 if name != BASELINE),
]
CO_EVOLUTION = re.findall(
    r"^\| (\w+) \| Co-Evolution \| ([\d.]+G) \| ([\d.]+) \| `(gancomp .*?)` \|$", PAGE, re.M
)
PRINTED = {  # the paper's first two tables, but for Co-Evolution
    ("horse2zebra", "original"): "61.53",
    ("horse2zebra", "DMAD"): "62.96",
    ("horse2zebra", "Wavelet KD"): "77.04",
    ("horse2zebra", "GAN-Compression"): "64.95",
    ("horse2zebra", "GCC"): "59.31",
    ("horse2zebra", "OMGD"): "51.92",
    ("horse2zebra", "DCD"): "48.24",
    ("summer2winter", "original"): "79.12",
    ("summer2winter", "AutoGAN-Distiller"): "78.33",
    ("summer2winter", "DMAD"): "78.24",
    ("summer2winter", "OMGD"): "73.79",
    ("summer2winter", "DCD"): "73.63",
    ("edges2shoes", "original"): "34.31",
    ("edges2shoes", "DMAD"): "46.95",
    ("edges2shoes", "Wavelet KD"): "80.13",
    ("edges2shoes", "OMGD"): "25.00",
    ("edges2shoes", "DCD"): "23.43",
}
METHOD_OF = {
    "original": "teacher-only",
    "DMAD": "dmad",
    "Wavelet KD": "wavelet-kd",
    "GAN-Compression": "gan-compression",
    "GCC": "gcc",
    "OMGD": "omgd",
    "DCD": "dcd",
    "AutoGAN-Distiller": "agd",
    "FitNet": "fitnet",
    "MGD": "mgd",
    "KRD (ReviewKD)": "reviewkd",
}


def test_every_row_of_both_tables_is_there() -> None:
    assert {(dataset, name): figure for dataset, name, figure, _ in TABLE_1} == PRINTED
    assert len(TABLE_1) == len(PRINTED)
    assert [(name.split()[0], figure) for name, figure, _ in TABLE_2] == [
        ("baseline,", "65.13"), ("FitNet", "65.84"), ("MGD", "67.57"), ("KRD", "61.53"),
        ("DCD", "48.24"),
    ]  # fmt: skip


@pytest.mark.parametrize(("dataset", "name", "figure", "line"), ROWS, ids=lambda value: value)
def test_the_command_of_a_row_takes_the_preset_with_its_figure(
    dataset: str, name: str, figure: str, line: str, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(line, datasets, monkeypatch)
    settings = plan.settings
    assert (settings.method.name, plan.files.root.name) == (METHOD_OF[name], dataset)
    row = find_preset(
        line.split()[1],
        settings.data.task,
        name=settings.method.preset,
        dataset=dataset,
        arch=None,
        method=settings.method.name,
    )
    assert (row.method, row.dataset) == (settings.method.name, dataset)
    assert row.reported is not None
    assert figure in row.reported
    assert plan.preset["reported"] == row.reported


def test_cityscapes_figures_are_of_photographs_made_from_labels(
    datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pairs have the photograph first."""
    for method in ("omgd", "gan-compression", "dmad"):
        line = f"gancomp distill --dataset cityscapes --task paired --method {method}"
        assert plan_of(line, datasets, monkeypatch).preset["reported"] is None
        backwards = plan_of(f"{line} --direction BtoA", datasets, monkeypatch)
        assert "mIoU" in backwards.preset["reported"]


def test_co_evolution_s_rows_search_for_as_many_macs_as_are_printed() -> None:
    assert [row[:3] for row in CO_EVOLUTION] == [
        ("horse2zebra", "13.40G", "96.15"),
        ("summer2winter", "11.10G", "78.58"),
    ]
    for dataset, macs, _, line in CO_EVOLUTION:
        command, typed = parse(words(line))
        assert (command, typed["dataset"], typed["shrink"]) == ("distill", dataset, "co-evolution")
        asked, printed = read_budget("", typed["budget"]), read_budget("", macs)
        assert (asked, typed["budget_rule"]) == (printed, "torchprofile")
        assert (typed["method"], typed["lambda_wavelet"]) == ("wavelet-kd", 0.0)


def test_the_baseline_of_table_2_is_dcd_without_the_term_that_is_replaced(
    datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((_, _, line),) = [row for row in TABLE_2 if row[0] == BASELINE]
    plain = plan_of("gancomp distill --dataset horse2zebra", datasets, monkeypatch).settings.method
    method = plan_of(line, datasets, monkeypatch).settings.method
    assert (method.name, method.preset) == (plain.name, plain.preset)
    assert method.options == plain.options | {"lambda_dcd": 0.0}


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
