from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from commands import run_command
from torch import Tensor

from gancomp.bench import data as bench
from gancomp.bench.data import LITERAL, OURS, DataBench, bench_data, literal_batches, wait_share
from gancomp.data.demo_set import write_demo_set
from gancomp.data.layout import scan


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    write_demo_set(tmp_path / "toy", size=32, train=4, test=1)
    return tmp_path / "toy"


def test_all_three_ways_are_timed_in_one_run(
    toy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "WAIT_STEPS", 2)
    monkeypatch.setattr(DataBench, "num_steps", 3)
    options = ["--size", 16, "--workers", 0, "--rounds", 2, "--step-ms", 1]
    document = run_command(capsys, "bench", "data", "--dataset", toy, *options, "--json").document
    names = {LITERAL, OURS, "gancomp, first pass"}
    assert document["bench"] == "data"
    assert document["contestants"].keys() == document["wait_share"].keys() == names
    assert document["speedup"].keys() == names - {OURS}
    assert all(row["runs"] == 2 for row in document["contestants"].values())
    assert all(0 <= share <= 1 for share in document["wait_share"].values())
    assert "simulated step of 1 ms" in document["notes"][0]


def test_the_plain_way_makes_batches_like_ours(toy: Path) -> None:
    request = DataBench(str(toy), size=16, batch_size=2, workers=0)
    found = list(itertools.islice(literal_batches(request, scan(toy).train, 18), 5))
    for batch in found:
        assert batch.keys() == {"source", "target"}
        assert all(image.shape == (2, 3, 16, 16) for image in batch.values())
        assert all(image.abs().max() <= 1 for image in batch.values())


def test_the_wait_share_is_the_time_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5.0]  # of a clock that no other work of the machine moves

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def slow() -> bench.Batches:
        while True:
            sleep(0.03)
            yield dict[str, Tensor](x=torch.zeros(1))

    clock = SimpleNamespace(sleep=sleep, perf_counter=lambda: now[0])
    monkeypatch.setattr(bench, "time", clock)
    assert wait_share(slow(), 10, num_steps=10) == 0.75
    assert wait_share(itertools.repeat({}), 10, num_steps=10) == 0


def test_paired_data_is_refused(tmp_path: Path) -> None:
    write_demo_set(tmp_path, size=32, train=2, test=1, paired=True)
    with pytest.raises(bench.DataError, match="is paired"):
        bench_data(DataBench(str(tmp_path)), print)
