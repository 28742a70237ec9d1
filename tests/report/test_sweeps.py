"""A sweep's page: its table over seeds, its comparisons, its runs; damaged ones in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import run_command
from report_runs import HOSTILE, keep_scores, write_data, write_run

from gancomp.report import page
from gancomp.report.page import ReportRequest, report
from gancomp.report.repeat import Repeat
from gancomp.report.sweeps import SWEEP, open_sweep, sweep_section

pytest.importorskip("matplotlib", reason="needs the extra report")


def document(*names: str, method: str = "dcd") -> dict[str, Any]:
    """`sweep.json` of these runs of one method and of one of another that has not begun."""
    runs = [
        {"name": name, "path": f"runs/{name}", "method": method, "dataset": "d", "varied": {}}
        | {"state": "done", "seed": seed}
        for seed, name in enumerate(names)
    ]
    runs.append(runs[0] | {"name": "later", "path": "runs/later", "state": "waiting"})
    scores = {"fid": {"mean": 85.0, "sd": 7.1, "n": 2}}
    row = {"dataset": "d", "method": method, "varied": {"lr": 0.1}, "n": 2, "scores": scores}
    pair = {"dataset": "d", "varied": {}, "metric": "fid", "a": method, "b": "plain", "n": 2}
    pair |= {"mean": -9.0, "sd": 5.4, "t": -2.4, "p": 0.26, "p_holm": 0.26, "exceeds": "no"}
    once = pair | {"b": "once", "n": 1, "sd": None, "p": None, "p_holm": None, "exceeds": None}
    table = [row | {"varied": {}}, row]
    return {"schema": 1, "runs": runs, "table": table, "differences": [pair, once]}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps") / "study"
    data = write_data(folder.parent / "data")
    run = write_run(folder / "runs" / "one", data)
    keep_scores(run)
    write_run(folder / "runs" / "two", data, seed=1, bare=True)
    (folder / SWEEP).write_text(json.dumps(document("one", "two", method=HOSTILE)))
    return folder


def test_the_page_of_a_sweep_has_its_table_its_pairs_and_its_runs(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "repeat", lambda subject: Repeat("", "", "", True))  # takes seconds
    out = tmp_path / "report.html"
    result = report(ReportRequest([sweep], out), lambda message: None)
    assert [Path(run).name for run in result["runs"]] == ["one", "two"]
    text = out.read_text()
    assert "3 runs: 2 done, 1 waiting." in text
    assert "<td>85.00 ± 7.1000</td><td>2</td>" in text
    assert "Pairs that differ by more than the seeds&#x27; noise: 0 of 1; only without" in text
    assert "<td>-9.0000 ± 5.4000</td><td>2</td><td>0.26</td><td>0.26</td><td>no</td>" in text
    assert "<td>unknown: one seed</td>" in text
    assert 'aria-label="d: FID against MACs: &lt;script&gt;' in text
    assert text.count("<script") == 1
    assert "<title>study</title>" in text


def test_a_sweep_without_scores_says_so(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / SWEEP).write_text(json.dumps({"runs": [{"path": "x", "state": "failed"}]}))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text("{}")
    opened = open_sweep(tmp_path)
    assert opened is not None
    assert "No run of it has a score yet" in sweep_section(opened, [], 0)
    assert "1 runs: 1 failed" in sweep_section(opened, [], 0)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[]", "is damaged"),
        ('{"runs": []}', "none of this sweep's runs has begun"),
        ('{"schema": 99}', "update gancomp"),
    ],
)
def test_a_sweep_that_cannot_be_shown_is_refused_in_one_line(
    content: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / SWEEP).write_text(content)
    outcome = run_command(capsys, "report", tmp_path, "-o", tmp_path / "report.html")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert named in outcome.err
    assert [item.name for item in tmp_path.iterdir()] == [SWEEP]
