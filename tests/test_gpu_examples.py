"""The scripts for a GPU machine, rehearsed on the CPU: killed, started again, timed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gpu_scripts import EXAMPLES, MODULES, importing, script

from gancomp.data.demo_set import write_demo_set

TINY = (
    "--arch mobile-resnet6 --width 4 --student-width 2 --size 32 --d-layers 1 --d-width 4 "
    "--perceptual none"
)
PATIENCE_S = 120.0


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from importing(monkeypatch)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    write_demo_set(tmp_path / "toy", size=32, train=6, test=3)
    return tmp_path / "toy"


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`run.py` on the toy set in a process of its own."""
    typed = "--device cpu --precision fp32 --workers 0 --trial-steps 3 --batch-size 3 "
    typed += "--max-epochs 12 --save-seconds 0.01 --reserve-seconds 30 --minutes 9 --parts dcd"
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / "gpu" / "run.py"), *typed.split(), "--more", TINY]
        + ["--dataset", str(folder / "toy"), "--out", str(folder / "out"), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def step_of(results: Path) -> int:
    """How far the run is by its summary."""
    if not (results / "summary.json").exists():
        return 0
    parts = json.loads((results / "summary.json").read_text())["parts"]
    step: int = parts.get("dcd-s0", {}).get("step", 0)
    return step


@pytest.mark.slow
def test_a_run_that_is_killed_has_brought_something_back_and_goes_on_to_its_end(
    tmp_path: Path, toy: Path
) -> None:
    results = tmp_path / "out" / "results"
    process = start(tmp_path)
    deadline = time.monotonic() + PATIENCE_S
    while not step_of(results) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    before = json.loads((results / "summary.json").read_text())["parts"]["dcd-s0"]
    assert before["status"] == "begun"
    assert 0 < before["step"] < before["plan"]["total_steps"] == 24
    with zipfile.ZipFile(results / "students.zip") as packed:
        assert packed.testzip() is None
        assert "dcd-s0/student.safetensors" in packed.namelist()

    again = start(tmp_path)
    _, said = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, said
    assert "all done" in said
    summary = json.loads((results / "summary.json").read_text())
    part = summary["parts"]["dcd-s0"]
    assert (part["status"], part["step"], part["epochs_seen"]) == ("done", 24, 12.0)
    assert part["plan"] == before["plan"]
    assert part["plan"]["lr"] == pytest.approx(2e-4 * 3**0.5)
    assert [sitting["options"] for sitting in part["sittings"]] == ["--resume"]
    assert part["images_per_second"] > 0
    assert len(summary["sittings"]) == 2
    assert len(summary["calibration"]) == 1
    files = sorted(path.name for path in results.iterdir())
    archives = ["metrics.zip", "samples.zip", "students.zip", "teachers.zip", "translated.zip"]
    assert files == sorted([*archives, "log.txt", "summary.json"])
    with zipfile.ZipFile(results / "translated.zip") as packed:
        assert packed.namelist() == [f"dcd-s0/plain_000{index}.webp" for index in range(3)]
    with zipfile.ZipFile(results / "metrics.zip") as packed:
        lines = packed.read("dcd-s0/metrics.jsonl").decode().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(set(steps))
    assert steps[-1] == 24


def test_a_command_is_ended_for_its_time_and_when_this_process_is_told_to_stop(
    tmp_path: Path,
) -> None:
    children = script("children")
    runner = children.Children(tmp_path / "log.txt", {"GREETING": "hello"})
    said = runner.run("-c", "import os; print(os.environ['GREETING'], os.getcwd())", seconds=30)
    assert (said.status, said.out, said.cut) == (0, f"hello {tmp_path}\n", False)
    grandchild = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
    late = runner.run("-c", f"{grandchild}; time.sleep(60)", seconds=1.0)
    assert (late.status, late.cut) == (-signal.SIGTERM, True)
    deadline = time.monotonic() + PATIENCE_S
    while is_running(int(late.out)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "status -15" in (tmp_path / "log.txt").read_text()
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    stuck = runner.run("-c", deaf, seconds=1.0, grace=0.2)
    assert stuck.cut
    assert stuck.status in (-signal.SIGKILL, -signal.SIGTERM)  # this, if it was not yet deaf
    runner.stopped = True
    with pytest.raises(children.StoppedError):
        runner.run("-c", "import time; time.sleep(60)", seconds=60)


def is_running(pid: int) -> bool:
    """Whether the process is there, and not only waits for its parent to notice its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Scripted:
    """Stands in for the processes: answers each command by a function of its words."""

    def __init__(self, answer: Callable[[list[str]], tuple[int, str]]) -> None:
        self.answer = answer
        self.typed: list[list[str]] = []

    def run(self, *arguments: str, **options: Any) -> Any:
        self.typed.append(list(arguments))
        status, out = self.answer(list(arguments))
        return script("children").Ended(status, 10.0, out, "error: no", cut=False)


def session_of(folder: Path, children: Scripted, **given: Any) -> Any:
    results = script("results")
    defaults: dict[str, Any] = {
        "minutes": 30.0,
        "device": "auto",
        "batch_sizes": [1, 8],
        "bench_options": "",
        "compile": "auto",
        "precision": "bf16",
        "batch_size": 4,
        "trial_steps": 60,
        "trial_seconds": 150.0,
        "lr": None,
        "lr_rule": "sqrt",
        "cache": "on",
        "workers": 8,
        "more": "",
        "dataset": str(folder / "toy"),
        "translate": None,
        "reserve_seconds": 45.0,
        "save_seconds": 60.0,
        "pack_seconds": 60.0,
        "max_epochs": 100,
    }
    found = results.Results(folder / "results", folder / "work", limit=1 << 20)
    given = argparse.Namespace(**(defaults | given))
    return script("session").Session(given, children, found, script("run").perform)


def statuses(session: Any) -> dict[str, str]:
    return {name: part["status"] for name, part in session.results.summary["parts"].items()}


def test_the_benchmark_keeps_each_batch_size_and_parts_that_fail_stop_no_other(
    tmp_path: Path,
) -> None:
    def answer(words: list[str]) -> tuple[int, str]:
        if "pytest" in words:
            return 1, "1 failed, 4 passed in 9.0s\n"
        return (2, "") if "8" in words else (0, '{"bench": "train"}')

    children = Scripted(answer)
    session = session_of(tmp_path, children)
    parts = [script("session").read_part(text) for text in ("tests:2", "bench:6", "ablation")]
    session.work_through(parts)
    assert statuses(session) == {"tests": "failed", "bench": "unfinished", "ablation": "done"}
    found = json.loads((tmp_path / "results" / "summary.json").read_text())["parts"]
    assert found["tests"]["counts"] == {"failed": 1, "passed": 4}
    assert found["bench"]["batches"] == {"1": {"bench": "train"}}
    assert found["bench"]["failures"] == {"8": "error: no"}
    children.typed.clear()
    session.work_through(parts)  # what is done is not done again
    benches = [words for words in children.typed if "bench" in words]
    assert [words[words.index("--batch-size") + 1] for words in benches] == ["8"]


def test_the_faster_way_is_taken_and_its_schedule_ends_within_the_time(
    tmp_path: Path, toy: Path
) -> None:
    def answer(words: list[str]) -> tuple[int, str]:
        run = Path(words[words.index("--out") + 1])
        run.mkdir(parents=True)
        rate = 50.0 if words[words.index("--compile") + 1] == "graphs" else 40.0
        line = {"step": 60, "images_per_second": rate, "memory_mb": 9.0, "data_wait": 0.0}
        (run / "metrics.jsonl").write_text((json.dumps(line) + "\n") * 6 + '{"step": 6')
        return 0, "{}"

    children = Scripted(answer)
    session = session_of(tmp_path, children, max_epochs=10**6, trial_seconds=50.0)
    run, rates = script("run"), script("rate")
    rate = rates.measured_rate(session, time.monotonic() + 600)
    assert (rate["compile"], rate["images_per_second"]) == ("graphs", 50.0)
    assert rate["start_seconds"] == pytest.approx(10 - 60 * 4 / 50)
    assert len(children.typed) == 2  # no benchmark says which is faster; the rest is not tried
    assert all(words[words.index("--max-time") + 1] == "40.00s" for words in children.typed)
    assert rates.measured_rate(session, time.monotonic() + 600) == rate
    assert len(children.typed) == 2
    plan = rates.make_plan(session, rate, time.monotonic() + 600)
    # 6 images in batches of 4: one step, four images an epoch
    seconds = plan["total_steps"] * 4 / 50
    assert 0.94 < seconds / (600 - 45 - rate["start_seconds"]) <= 0.95
    assert (plan["steps_per_epoch"], plan["lr"]) == (1, 4e-4)
    options = run.training_options(session.given, script("session").read_part("no-dcd@2"), plan)
    assert "--batch-size 4 --lr 0.0004 --precision bf16 --compile graphs" in options
    assert f"--seed 2 --lambda-dcd 0 --epochs 0 --decay-epochs {plan['epochs']}" in options
    assert "--checkpoint-every 750" in options


def test_a_way_that_hangs_does_not_take_all_the_time_of_a_short_benchmark(tmp_path: Path) -> None:
    children = Scripted(lambda words: (0, '{"bench": "train"}'))
    session = session_of(tmp_path, children)
    session.work_through([script("session").read_part("bench:1.25")])
    first = children.typed[0]
    assert first[first.index("--patience") + 1] == "19"


def test_of_a_benchmark_the_operators_come_when_all_sizes_are_timed(tmp_path: Path) -> None:
    children = Scripted(lambda words: (0, '{"bench": "train"}'))
    session = session_of(tmp_path, children)
    session.work_through([script("session").read_part("bench:6")])
    asked = [" ".join(words[4:]) for words in children.typed]
    end = "--device auto"
    assert asked == [
        *(f"--grid --patience 30 --json --batch-size {size} {end}" for size in (1, 8)),
        *(f"--profile --bf16 --rounds 1 --json --batch-size {size} {end}" for size in (1, 8)),
    ]


def test_a_run_that_fails_twice_goes_on_without_the_fast_way(tmp_path: Path, toy: Path) -> None:
    children = Scripted(lambda words: (1, ""))
    session = session_of(tmp_path, children)
    plan = {"images_per_second": 9.0, "epochs": 3, "total_steps": 9, "precision": "bf16"}
    plan |= {"compile": "fused+graphs", "cache": "on", "workers": 8}
    session.results.part("dcd-s0")["plan"] = plan
    session.work_through([script("session").read_part("dcd")])
    ways = [" ".join(words).split("--compile ")[1:] for words in children.typed]
    assert [[way.split()[0] for way in item] for item in ways] == [
        ["fused+graphs"],
        ["fused+graphs"],
        ["fused+graphs", "off"],
    ]
    assert statuses(session) == {"dcd-s0": "unfinished"}
    assert session.results.part("dcd-s0")["reason"] == "error: no"


def test_a_run_goes_on_though_its_results_cannot_be_packed_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = session_of(tmp_path, Scripted(lambda words: (0, "")), pack_seconds=0.0)

    def fails() -> None:
        raise OSError("no room")

    monkeypatch.setattr(session.results, "pack", fails)
    session.packed -= 1
    session.looked_after(tmp_path / "work" / "runs" / "dcd-s0")
    assert "results were not renewed: OSError: no room" in capsys.readouterr().err
    monkeypatch.setattr(script("session"), "keep_snapshot", lambda run: fails())
    for _ in range(2):
        session.looked_after(tmp_path / "work" / "runs" / "dcd-s0")
    assert capsys.readouterr().err.count("dcd-s0: OSError: no room") == 1


def test_tests_that_are_cut_off_are_counted_by_their_lines() -> None:
    count = script("checks").count_tests
    lines = (
        "tests/test_gpu.py::test_a[graphs] PASSED [ 4%]\ntests/test_gpu.py::test_b FAILED [ 9%]\n"
    )
    assert count(lines + "tests/test_gpu.py::test_c PASSED [13%]\ntests/test_gpu.py::test_d ") == {
        "passed": 2,
        "failed": 1,
    }
    assert count(lines + "=== 1 failed, 20 passed in 44.1s ===\n") == {"failed": 1, "passed": 20}


@pytest.mark.parametrize(("size", "broken"), [("4", False), ("4", True), ("8", False)])
def test_the_benchmark_says_which_way_is_tried_first_and_others_if_it_fails(
    tmp_path: Path, toy: Path, size: str, broken: bool
) -> None:
    def answer(words: list[str]) -> tuple[int, str]:
        way = words[words.index("--compile") + 1]
        if broken and way == "graphs":
            return 1, ""
        run = Path(words[words.index("--out") + 1])
        run.mkdir(parents=True)
        line = {"step": 60, "images_per_second": 9.0, "memory_mb": 9.0, "data_wait": 0.0}
        (run / "metrics.jsonl").write_text((json.dumps(line) + "\n") * 6)
        return 0, "{}"

    children = Scripted(answer)
    session = session_of(tmp_path, children)
    sides = {"literal": ("bf16", "plain", 500.0)}
    for way, rate in (("plain", 50.0), ("graphs", 150.0), ("fused+graphs", 140.0)):
        sides[f"gancomp, bf16, {way}"] = ("bf16", way, rate)
    sides["gancomp"] = ("tf32", "compiled", 400.0)  # another format than the run's
    timed = {
        "sides": {key: {"format": side[0], "way": side[1]} for key, side in sides.items()},
        "contestants": {key: {"images_per_second": side[2]} for key, side in sides.items()},
    }
    session.results.part("bench")["batches"] = {"1": {}, size: timed, "16": {}}
    rate = script("rate").measured_rate(session, time.monotonic() + 600)
    tried = [words[words.index("--compile") + 1] for words in children.typed]
    assert tried == (["graphs", "fused+graphs"] if broken else ["graphs"])
    assert rate["compile"] == tried[-1]


def test_all_trials_together_take_a_quarter_and_none_waits_for_a_compiler_that_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    asked: list[tuple[str, float]] = []

    class Hanging(Scripted):
        def run(self, *arguments: str, **options: Any) -> Any:
            asked.append((arguments[arguments.index("--compile") + 1], options["seconds"]))
            clock[0] += options["seconds"]
            return super().run(*arguments, **options)

    session = session_of(
        tmp_path, Hanging(lambda words: (1, "")), trial_seconds=60.0, bench_options="--no-compile"
    )
    rates = script("rate")
    stopped = SimpleNamespace(monotonic=lambda: clock[0], time_ns=time.time_ns)
    monkeypatch.setattr(rates, "time", stopped)
    assert rates.measured_rate(session, clock[0] + 560) is None
    ways, last = asked[:-1], asked[-1]
    assert ways == [("fused+graphs", 60.0), ("graphs", 40.0), ("off", 40.0)]
    assert sum(seconds for _, seconds in ways) == 560 / 4
    assert last == ("off", 60.0)  # in fp32: without a rate there is no run


def test_where_nothing_compiles_and_bf16_fails_a_plain_fp32_run_is_tried(
    tmp_path: Path, toy: Path
) -> None:
    children = Scripted(lambda words: (2, ""))
    session = session_of(tmp_path, children)
    session.work_through([script("session").read_part("dcd")])
    tried = [words[words.index("--precision") :][:8] for words in children.typed]
    ways = ("fused+graphs", "graphs", "on+graphs", "on", "off")
    assert [" ".join(words) for words in tried] == [
        *(f"--precision bf16 --compile {way} --cache on --workers 8" for way in ways),
        "--precision fp32 --compile off --cache off --workers 0",
    ]
    assert statuses(session) == {"dcd-s0": "failed"}


def test_parts_are_read_and_strange_ones_refused() -> None:
    run = script("session")
    part = run.read_part("width8@3:4.5")
    assert (part.variant, part.seed, part.minutes, part.folder) == ("width8", 3, 4.5, "width8-s3")
    assert run.read_part("bench").folder == "bench"
    for text in ("width9", "bench@1", "dcd:", "dcd:x"):
        with pytest.raises(argparse.ArgumentTypeError, match="not one of tests, bench, ablation"):
            run.read_part(text)


def test_the_scripts_named_here_are_all_there_are() -> None:
    found = {
        path.stem for folder in ("gpu", "results") for path in (EXAMPLES / folder).glob("*.py")
    }
    assert found == set(MODULES)
