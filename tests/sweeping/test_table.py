"""Means, spreads and paired t tests of a sweep, against closed forms and SciPy."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from gancomp.sweeping.table import (
    as_csv,
    as_markdown,
    difference_rows,
    differences_of,
    page,
    score_rows,
    table_of,
    two_sided,
)

VALUES = {"a": [1.0, 2.0, 6.0], "b": [2.0, 4.0, 9.0], "c": [1.0, 2.0, 6.0]}


def entries(values: dict[str, list[float]], **more: Any) -> list[dict[str, Any]]:
    return [
        {"dataset": "d", "method": method, "seed": seed, "varied": {}, "values": {"fid": value}}
        | more
        for method, column in values.items()
        for seed, value in enumerate(column)
    ]


def test_mean_sd_and_n_are_those_of_the_seeds() -> None:
    (a, *_) = table_of(entries(VALUES))
    assert a["method"] == "a"
    assert a["n"] == 3
    assert a["scores"]["fid"] == {"mean": 3.0, "sd": math.sqrt(7.0), "n": 3}
    (one,) = table_of(entries({"a": [1.0]}))
    assert one["scores"]["fid"] == {"mean": 1.0, "sd": None, "n": 1}


def test_differences_are_scipys_paired_t_tests_with_holms_correction() -> None:
    rows = differences_of(entries(VALUES))
    assert [(row["a"], row["b"]) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    expected = stats.ttest_rel(VALUES["a"], VALUES["b"])
    ab, ac, bc = rows
    assert ab["t"] == pytest.approx(expected.statistic, rel=1e-12)
    assert ab["p"] == pytest.approx(expected.pvalue, rel=1e-12)
    assert (ab["mean"], ab["n"]) == (-2.0, 3)
    assert ab["p_holm"] == pytest.approx(3 * ab["p"])
    assert bc["p_holm"] == pytest.approx(max(3 * ab["p"], 2 * bc["p"]))
    assert (ac["p"], ac["p_holm"], ac["exceeds"]) == (1.0, 1.0, "no")


def test_a_difference_beyond_noise_is_told_from_one_that_is_so_only_uncorrected() -> None:
    clear = {"a": [1.0, 2.0, 3.0], "b": [11.0, 12.01, 13.02]}
    assert differences_of(entries(clear))[0]["exceeds"] == "yes"
    (*_, row) = differences_of(
        entries({"c": [0.0, 5.0, 1.0], "a": [1.0, 2.0, 3.0], "b": [2, 3, 4.5]})
    )
    assert row["p"] < 0.05 < row["p_holm"]
    assert row["exceeds"] == "uncorrected"


def test_only_seeds_that_both_have_are_compared_and_one_is_not_enough() -> None:
    rows = differences_of(entries({"a": [1.0, 2.0], "b": [3.0]}))
    assert (rows[0]["n"], rows[0]["mean"], rows[0]["exceeds"]) == (1, -2.0, None)
    unscored = [entry | {"values": {}} for entry in entries({"b": [2.0]})]
    assert differences_of([*entries({"a": [1.0]}), *unscored]) == []


def test_teachers_datasets_and_points_of_the_grid_are_not_compared_with_each_other() -> None:
    found = entries({"a": [1.0, 2.0], "teacher": [3.0, 3.0]})
    found += entries({"b": [1.0, 2.0]}, varied={"student.ratio": 0.5})
    found += entries({"b": [1.0, 2.0]}, dataset="other")
    assert differences_of(found) == []
    assert len(table_of(found)) == 4


def test_students_t_has_its_closed_form_for_two_degrees() -> None:
    for t in (0.5, 4.302652729911275):
        assert two_sided(t, 2) == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-9)


def test_tables_are_csv_and_markdown() -> None:
    found = entries({"a|b": [1.0, 2.0], "c": [1.5, 2.25]}, varied={"student.ratio": 0.5})
    titles, rows = score_rows(table_of(found))
    assert as_csv(titles, rows).splitlines() == [
        "dataset,method,student.ratio,fid,fid sd,fid n",
        "d,a|b,0.5,1.5,0.707107,2",
        "d,c,0.5,1.875,0.53033,2",
    ]
    assert as_markdown(titles, rows).splitlines()[2].startswith("| d | a\\|b | 0.5 | 1.5 ")
    differences = differences_of(found)
    assert difference_rows(differences)[0][:4] == ["dataset", "student.ratio", "metric", "a"]
    text = page(table_of(found), differences, "4 of 4 runs done.")
    assert "paired t test" in text
