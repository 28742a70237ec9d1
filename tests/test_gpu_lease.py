"""The minutes of a rented GPU machine: planned within all limits, packed, rehearsed on the CPU."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors.torch import load_file

from gancomp.data.demo_set import write_demo_set

GPU = Path(__file__).parents[1] / "examples" / "gpu"
MODULES = ("checks", "children", "lease", "machine", "pack", "rate", "rehearse", "results")
MODULES += ("run", "session")
STAND_IN = """
import json, os, pathlib, signal, sys, time
results = pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) / "results"
results.mkdir(parents=True, exist_ok=True)
stopped = []
signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
def write(status):
    part = {"status": status, "sittings": [{"options": sys.argv[1:]}]}
    (results / "summary.json").write_text(json.dumps({"parts": {"dcd-s0": part}}))
write("begun")
end = time.monotonic() + (float(os.environ["RUN_SECONDS"]) if "dcd" in sys.argv else 0)
while not stopped and time.monotonic() < end:
    time.sleep(0.05)
write("unfinished" if stopped else "done")
sys.exit(0 if "dcd" in sys.argv else 3)  # what comes before the run breaks down
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts find each other as they do when started; no other test finds them."""
    monkeypatch.syspath_prepend(str(GPU))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture
def lease() -> ModuleType:
    return script("lease")


def planned(lease: ModuleType, plan: Any = None, **limits: Any) -> list[Any]:
    places = lease.Places(back='"$OUT"')
    return list(lease.expected(plan or lease.Plan(), places, lease.Limits(**limits)))


@pytest.mark.parametrize(
    ("start_s", "trained_s"), [(15.0, 560.0), (60.0, 560.0), (120.0, 560.0), (240.0, 440.0)]
)
def test_the_plan_keeps_within_the_lease_however_long_the_start_takes(
    lease: ModuleType, start_s: float, trained_s: float
) -> None:
    limits, plan = lease.Limits(), lease.Plan()
    calls = planned(lease, start_s=start_s)
    parts = [call.part for call, _, _ in calls]
    num_fetches = len(parts) - 3
    assert parts == ["first", "second", *["fetch"] * num_fetches, "last"]
    assert num_fetches >= 9 - (start_s > 120) * 2
    for (_, _, ended), (_, began, next_ended) in zip(calls, calls[1:], strict=False):
        assert began - ended <= limits.silence_s
        assert next_ended - ended <= 75 or next_ended == calls[-1][2]  # results every minute
    assert limits.lease_s - 2 * plan.spare < calls[-1][2] <= limits.lease_s - plan.spare
    # the run has ended by itself when the last command tells it to
    second, second_ended = calls[1][0], calls[1][2]
    run_ends = second_ended + seconds_of(second)
    assert run_ends <= calls[-1][1] + seconds_of(calls[-1][0])
    trained = run_ends - max(second_ended, calls[0][2] + plan.tests + plan.bench)
    assert trained >= trained_s


def seconds_of(call: Any) -> float:
    words = call.command.split()
    return float(words[words.index("--seconds") + 1])


def test_every_command_is_one_the_lender_takes(lease: ModuleType, tmp_path: Path) -> None:
    for call, _, _ in planned(lease):
        for path in call.carry:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(b"")
        assert lease.refusal(call, tmp_path, lease.Limits(), beside=0) is None


def test_run_py_understands_what_the_plan_tells_it(
    lease: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trainA").mkdir()
    (first, _, _), (second, _, _) = planned(lease)[:2]
    parsed = []
    for call, more in ((first, []), (second, ["--minutes", "9", "--dataset", str(tmp_path)])):
        options = call.command.partition(" -- ")[2].split()
        typed = ["run.py", "--out", str(tmp_path / "out"), *more, *options]
        monkeypatch.setattr(sys, "argv", typed)
        parsed.append(script("run").arguments())
    assert [part.name for part in parsed[0].parts] == ["tests", "bench"]
    assert parsed[0].minutes == pytest.approx(2.0)
    assert parsed[0].bench_options == "--no-compile"
    assert [part.name for part in parsed[1].parts] == ["dcd"]


def test_a_call_beyond_a_limit_is_refused(lease: ModuleType, tmp_path: Path) -> None:
    archive, limits = Path("a.zip"), lease.Limits()
    good = lease.Call("first", "true", 60, (archive,))
    whys = [lease.refusal(good, tmp_path, limits, beside=0)]
    with (tmp_path / archive).open("wb") as file:
        file.truncate(60 << 20)
    assert lease.refusal(good, tmp_path, limits, beside=4 << 20) is None
    for call in (replace(good, command="x" * 2001), replace(good, timeout_s=601)):
        whys.append(lease.refusal(call, tmp_path, limits, beside=0))
    whys.append(lease.refusal(good, tmp_path, limits, beside=(4 << 20) + 1))
    assert whys == [
        "first: a.zip is not there; pack.py makes it",
        "first: 2001 characters; 2000 are allowed",
        "first: timeout 601 s; 600 s are allowed",
        "first: 64.0 MiB travel; 64.0 MiB are allowed",
    ]


def test_files_that_would_not_come_back_are_named(lease: ModuleType, tmp_path: Path) -> None:
    limits = lease.Limits(out_files=5, out_file_bytes=10, out_bytes=12)
    for name, size in (("a/b/c/deep", 1), ("big", 11), ("od d", 0), ("x", 1), ("y", 0), ("z", 0)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    assert lease.left_behind(tmp_path, limits) == [
        "a/b/c/deep: deeper than 2 folders",
        "big: 0.0 MiB of at most 0.0 MiB",
        "od d: a name of other characters than letters, digits, . _ -",
        "x: more than 0.0 MiB together",
        "y: more than 0.0 MiB together",
        "z: file 6 of at most 5",
    ]


def test_the_simulated_machine_is_gone_after_a_silence_and_after_the_lease(
    lease: ModuleType, tmp_path: Path
) -> None:
    rehearse = script("rehearse")
    call = lease.Call("fetch", 'sleep 60 & echo hello; pwd >"$OUT"/there', 60)
    limits = lease.Limits(lease_s=900)
    lender = rehearse.Lender(tmp_path, tmp_path, limits, pace=100, beside=0)
    reply = lender.run(call)
    assert (reply.status, reply.said, list(reply.files)) == (0, "hello\n", ["there"])
    assert 120 < reply.ended < 900
    assert (tmp_path / "back" / "there").read_text() == f"{tmp_path / 'checkout'}\n"
    hangs = replace(call, command='echo 1 >"$OUT"/so-far; sleep 600', timeout_s=1)
    cut = lender.run(hangs)
    assert (cut.status, list(cut.files)) == (-signal.SIGKILL, ["so-far"])
    lender.wait(31)
    with pytest.raises(rehearse.RefusedError, match="31 s after the last command; the machine is"):
        lender.run(call)
    lender.clock, lender.ended = 899.99, 880.0
    with pytest.raises(rehearse.RefusedError, match="the lease was over"):
        lender.run(call)


def stand_in(folder: Path) -> None:
    """Archives whose run.py waits instead of working."""
    lease = script("lease")
    (folder / lease.PACKED).mkdir(parents=True)
    with zipfile.ZipFile(folder / lease.PACKED / "first.zip", "w") as archive:
        archive.write(GPU / "machine.py", "examples/gpu/machine.py")
        archive.writestr("examples/gpu/run.py", STAND_IN)
        archive.writestr("vgg/cut.safetensors", b"")
    with zipfile.ZipFile(folder / lease.PACKED / "second.zip", "w") as archive:
        archive.writestr("dataset/trainA/0.jpg", b"")
    with zipfile.ZipFile(folder / lease.PACKED / "third.zip", "w") as archive:
        archive.writestr("testA/0.jpg", b"")


@pytest.mark.parametrize(("run_s", "status"), [("0.5", "done"), ("100", "unfinished")])
def test_by_the_simulated_clock_all_is_back_in_time_even_if_the_run_has_to_be_told(
    lease: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_s: str, status: str
) -> None:
    rehearse = script("rehearse")
    monkeypatch.setenv("RUN_SECONDS", run_s)
    stand_in(tmp_path)
    # a second here is 30 by the clock; spare makes up for slow starts of processes
    plan = replace(lease.Plan(), spare=120.0).at(30)
    limits = lease.Limits(lease_s=480)
    lender = rehearse.Lender(tmp_path / "machine", tmp_path, limits, pace=30, beside=0)
    places = lease.Places(back='"$OUT"', there=str(tmp_path / "there"))
    log: list[str] = []
    replies = rehearse.rehearse(lender, plan, places, log.append)
    parts = [reply.call.part for reply in replies]
    assert parts[:3] == ["first", "second", "fetch"]
    assert (parts[-1] == "last") == (status == "unfinished")
    assert replies[-1].said.splitlines()[-1] == "finished"
    assert lender.left() > 0
    part = json.loads((lender.back / "summary.json").read_text())["parts"]["dcd-s0"]
    assert part["status"] == status
    options = part["sittings"][0]["options"]
    assert f"--dataset={tmp_path / 'there' / 'dataset'}" in options
    assert f"--vgg={tmp_path / 'there' / 'vgg' / 'cut.safetensors'}" in options
    assert f"--translate={tmp_path / 'there' / 'testA'}" in options
    assert log[-1].startswith("given back after")
    assert (tmp_path / "there" / "testA" / "0.jpg").exists()


def test_nothing_is_begun_beside_work_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = script("machine")
    for name in ("PID", "FINISHED"):
        monkeypatch.setattr(machine, name, tmp_path / name)
    machine.PID.write_text(str(os.getpid()))
    assert machine.begin(["--minutes", "1"]) == 1
    assert f"process {os.getpid()} is still at work" in capsys.readouterr().out


@pytest.mark.parametrize("there", [True, False])
def test_what_is_missing_on_the_machine_comes_from_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    stand_in(tmp_path)
    lease, machine = script("lease"), tmp_path / "machine"
    with zipfile.ZipFile(tmp_path / lease.PACKED / "first.zip") as archive:
        archive.extractall(machine)
    # of the packages that are looked for, this machine has one that is broken
    (tmp_path / "broken" / "typer").mkdir(parents=True)
    (tmp_path / "broken" / "typer" / "__init__.py").write_text("import nosuchpackage")
    if there:
        (machine / "wheels").mkdir()
        with zipfile.ZipFile(machine / "wheels" / "typer-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("typer.py", "")
    begun = subprocess.run(
        [sys.executable, str(machine / "examples" / "gpu" / "machine.py"), "begin", "--"],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "broken"), "RUN_SECONDS": "0"},
        capture_output=True,
        text=True,
    )
    try:
        assert begun.stderr == ""
        assert begun.returncode == int(not there)
        lines = begun.stdout.splitlines()
        assert (lines[0] == "missing: typer; the packages of wheels/ are used") is there
        assert lines[int(there)].endswith("missing: none" if there else "missing: ['typer']")
    finally:
        if there:
            os.killpg(int((machine / "lease" / "work.pid").read_text()), signal.SIGTERM)


def test_results_are_there_before_the_wait_that_may_be_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = script("machine")
    monkeypatch.setattr(machine, "OUT", tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "summary.json").write_text('{"parts": {}}')

    def cut_off(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "wait", cut_off)
    with pytest.raises(KeyboardInterrupt):
        machine.fetch(tmp_path / "back", seconds=9.0, end_within=None, limit=1000)
    assert (tmp_path / "back" / "summary.json").read_text() == '{"parts": {}}'


def test_what_travels_is_the_checkout_without_what_git_ignores(
    lease: ModuleType, tmp_path: Path
) -> None:
    assert lease.travels(tmp_path) == lease.UNKNOWN_TREE
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name, size in ((".gitignore", 0), ("code.py", 100), ("runs/big", 9000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / ".gitignore").write_text("/runs/\n")
    assert lease.travels(tmp_path) == len("/runs/\n") + 100 + 2 * lease.HEADER


def test_both_archives_hold_the_files_as_they_are_and_a_vgg_that_loads(
    lease: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rehearse = script("rehearse")
    rehearse.toy_archives(tmp_path)
    held: dict[str, bytes] = {}
    for name in lease.ARCHIVES:
        with zipfile.ZipFile(tmp_path / lease.PACKED / name) as archive:
            held |= {inside: archive.read(inside) for inside in archive.namelist()}
    images = [path for path in (tmp_path / "toy").rglob("*.png") if path.parts[-2] != "testB"]
    assert len(images) == 15  # scores alone need testB
    for path in images:
        inside = path.relative_to(tmp_path / "toy").as_posix()
        # test images come while a run goes on, whose dataset must not change
        name = inside if inside.startswith("testA/") else f"dataset/{inside}"
        assert held[name] == path.read_bytes()
    for name in ("gancomp/__main__.py", "tests/test_gpu.py", "examples/gpu/run.py"):
        assert held[name] == (GPU.parents[1] / name).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(held["vgg/zeros-relu4_3.safetensors"])
    state = load_file(tmp_path / "cut.safetensors")
    assert len(state) == 20
    assert state["features.21.weight"].shape == (512, 512, 3, 3)
    assert {str(tensor.dtype) for tensor in state.values()} == {"torch.float16"}
    packed = json.loads((tmp_path / lease.PACKED / "packed.json").read_text())
    assert packed["archives"]["third.zip"]["files"] == {"testA": 3}


def test_what_does_not_fit_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = script("pack")
    write_demo_set(tmp_path / "toy", size=32, train=2, test=1)
    typed = ["--dataset", str(tmp_path / "toy"), "--out", str(tmp_path / "packed")]
    assert pack.main(typed) == 2
    assert "is (32, 32), not 256 pixels; see --size" in capsys.readouterr().err
    assert pack.main([*typed, "--size", "32", "--beside-mib", "63.9"]) == 2
    assert "first.zip: " in (said := capsys.readouterr().err)
    assert "only 0.1 MiB may travel" in said
    assert pack.main([*typed, "--size", "32"]) == 0


def test_the_scripts_start_where_gancomp_is_not_installed(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for name in ("run", "pack", "rehearse", "lease", "machine"):
        done = subprocess.run(
            [sys.executable, str(GPU / f"{name}.py"), "--help"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(
    "GANCOMP_REHEARSAL" not in os.environ,
    reason="goes by the wall clock, so it needs an idle machine: set GANCOMP_REHEARSAL=1",
)
@pytest.mark.slow
def test_the_real_parts_at_toy_size_go_by_the_plan(
    lease: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearse = script("rehearse")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("GANCOMP_VGG16", raising=False)
    rehearse.toy_archives(tmp_path)
    lender = rehearse.Lender(tmp_path / "machine", tmp_path, lease.Limits(), pace=5.0)
    places = lease.Places(back='"$OUT"', there=str(tmp_path / "there"))
    log: list[str] = []
    toy = replace(rehearse.TOY, before="--device cpu")  # no benchmark: it is long on a CPU
    replies = rehearse.rehearse(lender, toy.at(5.0), places, log.append)
    said = "\n".join(log)
    summary = json.loads((lender.back / "summary.json").read_text())
    assert summary["parts"]["dcd-s0"]["status"] == "done", said
    assert summary["parts"]["dcd-s0"]["perceptual"]["file"] == "zeros-relu4_3.safetensors"
    assert summary["parts"]["tests"]["status"] == "done", said
    assert set(replies[-1].files) == set(script("machine").WANTED)
    assert len(replies[-1].files) == lease.Limits().out_files
