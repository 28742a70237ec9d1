"""The table of every way to run a model: in turns, on as many threads as were asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch

from gancomp.errors import ConfigError
from gancomp.export.deployed import DeployedGenerator
from gancomp.export.runtimes import Port, Session
from gancomp.inference.models import check_takes
from gancomp.recipes import deployment
from gancomp.recipes.deployment import EAGER, OURS, add_ways, show_ways
from gancomp.registry import build_network


class Standin(Session):
    """A runtime that notes on how many threads it was opened."""

    def __init__(self, threads: int, seen: list[int]) -> None:
        self.how = "standin 1.0"
        self.inputs, self.output = (Port("image", (None,), False),), Port("output", (None,), False)
        self._threads, self._seen = threads, seen

    def run(self, inputs: Sequence[Any]) -> Any:
        self._seen.append(self._threads)
        return inputs[0]


class OneSize(Standin):
    """A runtime whose file takes images of one size."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, [])
        self.inputs = (Port("image", (1, 3, 16, 32), False),)


def test_a_file_of_one_size_is_measured_at_no_other() -> None:
    deployed = DeployedGenerator(build_network("mobile-resnet6", width=2), OneSize).eval()
    check_takes(deployed, (16, 32), "a.pte")
    with pytest.raises(ConfigError, match=r"`size` 64: a.pte takes images of 16x32 .* alone"):
        check_takes(deployed, 64, "a.pte")


def test_each_way_is_timed_on_each_number_of_threads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = partial(deployment.time_in_turns, num_runs=2, warm_up=1)
    monkeypatch.setattr(deployment, "time_in_turns", few)
    monkeypatch.setattr("gancomp.metrics.latency.SHORT_MS", math.inf)
    network = build_network("mobile-resnet6", width=2).eval()
    seen: list[int] = []
    deployed = DeployedGenerator(network, lambda threads: Standin(threads, seen)).eval()
    rows: list[dict[str, Any]] = [
        {"role": role, "arch": "x", "width": 2, "input": [1, 3, 8, 8]} for role in ("a", "b")
    ]
    before = torch.get_num_threads()
    about = add_ways(rows, [network, deployed], None)["latency"]
    assert torch.get_num_threads() == before
    assert [(way["way"], way["threads"]) for way in rows[0]["ways"]] == [
        (EAGER, 1),
        (EAGER, 2),
        (OURS, 1),
        (OURS, 2),
    ]
    assert [(way["way"], way["threads"]) for way in rows[1]["ways"]] == [
        ("standin 1.0", 1),
        ("standin 1.0", 2),
    ]
    assert seen[:6] == [1, 2, 1, 1, 2, 2]  # in turns, once untimed before what is timed
    assert rows[0]["latency_ms"] == rows[0]["ways"][3]["ms"]
    assert rows[0]["latency_eager_ms"] == rows[0]["ways"][1]["ms"]
    assert "latency_eager_ms" not in rows[1]
    assert (about["threads"], about["device"]) == (2, "cpu")
    show_ways(rows)
    shown = capsys.readouterr().out
    assert "standin 1.0" in shown
    assert "2 threads" in shown
