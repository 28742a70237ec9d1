"""Charts are parts of the page: its colors, its type, names of their own, the same every time."""

from __future__ import annotations

import re

import pytest

from gancomp.report.charts import (
    MOST_POINTS,
    NUM_COLORS,
    Line,
    Point,
    legend_of_points,
    line_chart,
    losses_by_phase,
    scatter_chart,
    short,
)

pytest.importorskip("matplotlib", reason="needs the extra report")


def test_a_chart_has_the_colors_of_the_page_and_says_what_it_shows() -> None:
    lines = [Line(f"term <{index}>", [(1, 2.0), (2, 1.0)]) for index in range(NUM_COLORS + 1)]
    chart = line_chart(lines, name="a", x="step", y="loss", alternative="Falls <fast>.")
    assert chart.svg.startswith("<svg viewBox=")
    assert 'role="img" aria-label="Falls &lt;fast&gt;."' in chart.svg
    assert "var(--series-0)" in chart.svg
    assert not re.findall(r"#0002[0-9a-f]{2}|#00010[123]|https?:|<metadata|<style", chart.svg)
    assert chart.legend.count("<li>") == len(lines)
    assert "term &lt;8&gt;" in chart.legend
    assert chart.legend.count("stroke-dasharray") == len(lines)


def test_names_within_a_drawing_are_its_own_and_all_lead_somewhere() -> None:
    one, two = (
        line_chart([Line("x", [(1, 2.0), (2, 1.0)])], name=name, x="x", y="y", alternative="x").svg
        for name in ("one", "two")
    )
    names = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, two)]
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', one))
    assert used == names[0]
    assert not names[0] & names[1]
    assert one == two.replace("two-", "one-")


def test_what_is_far_apart_is_drawn_on_a_logarithmic_axis_and_said_to_be() -> None:
    near = line_chart([Line("x", [(1, 2.0), (2, 1.0)])], name="a", x="x", y="y", alternative="x")
    far = line_chart([Line("x", [(1, 200.0), (2, 1.0)])], name="a", x="x", y="y", alternative="x")
    assert near.note == ""
    assert far.note == "The axis is logarithmic."


def test_long_runs_are_thinned_by_means() -> None:
    points = [(float(step), 1.0 + step % 2) for step in range(10 * MOST_POINTS)]
    chart = line_chart([Line("x", points)], name="a", x="x", y="y", alternative="x")
    assert "mean of up to 10 logged values" in chart.note
    assert len(chart.svg) < 20_000


def test_points_have_names_and_intervals_until_there_are_too_many() -> None:
    points = [Point(f"run {index}", 10.0 ** (index + 1), 5.0, low=4, high=6) for index in range(3)]
    few = scatter_chart(points, front=[], name="a", x="MACs", y="FID", alternative="x")
    assert all(f">run {index}<" in few.svg for index in range(3))
    assert few.note == "The horizontal axis is logarithmic."
    many = scatter_chart(points * 4, front=[], name="a", x="MACs", y="FID", alternative="x")
    assert ">run 0<" not in many.svg


def test_of_32_points_each_differs_from_the_others_by_color_or_shape() -> None:
    points = [Point("", 1.0 + index, 5.0, series=index) for index in range(32)]
    chart = scatter_chart(points, front=[], name="a", x="MACs", y="FID", alternative="x")
    drawn = re.findall(r' d="([^"]+)" style="[^"]*stroke: (var\(--series-\d)', chart.svg)
    assert len(set(drawn)) == len(drawn) == 32
    marks = re.findall(r"<path .*?>", legend_of_points([f"run {index}" for index in range(32)]))
    assert len(set(marks)) == 32


def test_losses_are_grouped_by_network_and_what_is_no_number_is_left_out() -> None:
    records = [
        {"step": 1, "losses": {"student/gan": 1, "teacher/cycle_source": 2.0}},
        {"step": 2, "losses": {"student/gan": float("inf"), "teacher/cycle_source": None}},
        {"losses": {}},
        {"step": 3, "losses": {"student/gan": 0.5}},
    ]
    assert losses_by_phase(records) == {
        "student": [Line("gan", [(1.0, 1.0), (3.0, 0.5)])],
        "teacher": [Line("cycle source", [(1.0, 2.0)])],
    }


def test_large_figures_are_shortened() -> None:
    assert [short(value) for value in (2.38e9, 180_566, 12, 0.5)] == ["2.38G", "181k", "12", "0.5"]
