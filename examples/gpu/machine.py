"""On the rented machine: starts the work in the background, lets it have its data, fetches results.

    python3 examples/gpu/machine.py begin -- --minutes 2 --parts tests:0.75 bench
    python3 examples/gpu/machine.py data --seconds 600 -- --parts dcd
    python3 examples/gpu/machine.py fetch --seconds 45 --to results

lease.py prints these lines. What follows `--` is for run.py. Each returns soon; the work goes on in
a session of its own, which outlives the command that began it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / "lease"
PID, ORDER, FINISHED, LOG = (
    STATE / name for name in ("work.pid", "order.json", "finished", "work.log")
)
OUT = STATE / "gpu"
DATASET, VGG, TRANSLATE = "dataset", "vgg", "testA"  # folders of the archives
LARGE = ("torch", "torchvision")  # only looked for: a first import takes long
SMALL = ("typer", "rich", "PIL", "safetensors", "pytest")
WHEELS, SITE = ROOT / "wheels", ROOT / "site"
TRY = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception:
        print(name)
"""
# what is dear first: the last ones stay where all together are too much
WANTED = (
    "summary.json",
    "students.zip",
    "metrics.zip",
    "work.log",
    "log.txt",
    "translated.zip",
    "samples.zip",
    "teachers.zip",
)
POLL_S = 0.1


def begin(options: list[str]) -> int:
    """Starts the work; what it lacks is said at once, while the second archive can still help."""
    missing = lacking()
    if missing and unpack_wheels():
        print(f"missing: {', '.join(missing)}; the packages of wheels/ are used")
        missing = lacking()
    print(
        f"python {platform.python_version()}, {os.cpu_count()} CPUs, missing: {missing or 'none'}"
    )
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
        print(listed.stdout.strip())
    if missing:
        return 1
    if is_running():
        print(f"process {PID.read_text()} is still at work; fetch --end-within 40 ends it")
        return 1
    STATE.mkdir(exist_ok=True)
    for path in (ORDER, FINISHED):
        path.unlink(missing_ok=True)
    with LOG.open("a") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, "work", "--", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    PID.write_text(str(process.pid))
    print(f"begun as process {process.pid}")
    return 0


def lacking() -> list[str]:
    """Packages that are not there, or cannot be imported."""
    absent = [name for name in LARGE if importlib.util.find_spec(name) is None]
    tried = subprocess.run([sys.executable, "-c", TRY, *SMALL], capture_output=True, text=True)
    return absent + tried.stdout.split()


def unpack_wheels() -> bool:
    """Puts the wheels that came along where all processes from here on look first; if there are.

    A wheel is an archive of what is to be imported: no pip is needed.
    """
    found = sorted(WHEELS.glob("*.whl"))
    for path in found:
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(SITE)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SITE), *([before] if before else [])])
    return bool(found)


def data(seconds: float, options: list[str]) -> int:
    """Lets the run begin, which has to have ended `seconds` from now."""
    aside = ORDER.with_suffix(".aside")
    aside.write_text(json.dumps({"until": time.monotonic() + seconds, "options": options}))
    aside.replace(ORDER)
    count = sum(path.is_file() for path in (ROOT / DATASET).rglob("*"))
    print(f"{count} images are there; the run ends within {seconds:.0f} s")
    tell()
    return 0


def work(options: list[str]) -> int:
    """What goes on in the background: run.py before the data is there, and after."""
    stopped: list[int] = []  # run.py gets the signal, too, and ends
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    run_py(options)
    while not ORDER.exists() and not stopped:
        time.sleep(POLL_S)
    if stopped:
        FINISHED.write_text("stopped\n")
        return 130
    order = json.loads(ORDER.read_text())
    given = [f"--dataset={ROOT / DATASET}", f"--translate={ROOT / TRANSLATE}"]
    given += [f"--vgg={path}" for path in vgg_files()]
    minutes = (order["until"] - time.monotonic()) / 60
    status = run_py([f"--minutes={minutes:.4f}", *given, *order["options"]])
    FINISHED.write_text(f"{status}\n")
    return status


def vgg_files() -> list[Path]:
    """The one file of weights, if it came along."""
    return sorted((ROOT / VGG).glob("*.safetensors"))[:1]


def run_py(options: list[str]) -> int:
    """run.py on the one folder of results."""
    typed = [sys.executable, str(ROOT / "examples" / "gpu" / "run.py"), "--out", str(OUT), *options]
    print(f"$ {' '.join(typed)}", flush=True)
    return subprocess.run(typed, check=False).returncode


def fetch(to: Path, *, seconds: float, end_within: float | None, limit: int) -> int:
    """Puts the results there are into `to`, at once and again when the time is over.

    So they come back even if the command is cut off.

    Args:
        to: the folder that comes back.
        seconds: to wait for the work's end.
        end_within: after that tell the work to end, and wait so many seconds more.
        limit: bytes of all files together.
    """
    copy_results(to, limit)
    wait(seconds)
    if end_within is not None and is_running():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(PID.read_text()), signal.SIGTERM)
        wait(end_within)
    for name in copy_results(to, limit):
        print(f"left here: {name}")
    tell()
    return 0


def copy_results(to: Path, limit: int) -> list[str]:
    """Copies the results there are; returns the names of those for which there is no room."""
    to.mkdir(parents=True, exist_ok=True)
    room, left_here = limit, []
    for name in WANTED:
        path = LOG if name == LOG.name else OUT / "results" / name
        if not path.exists():
            continue
        if path.stat().st_size > room:
            left_here.append(name)
            continue
        shutil.copyfile(path, to / name)
        room -= (to / name).stat().st_size
    return left_here


def wait(seconds: float) -> None:
    """Until the work has ended, at most so long."""
    deadline = time.monotonic() + seconds
    while is_running() and time.monotonic() < deadline:
        time.sleep(POLL_S)


def is_running() -> bool:
    """Whether the work goes on; its process, if its parent did not notice its end, is no sign."""
    if FINISHED.exists() or not PID.exists():
        return False
    try:
        stat = Path(f"/proc/{int(PID.read_text())}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def tell() -> None:
    """How far everything is, in a few lines."""
    summary = OUT / "results" / "summary.json"
    parts = json.loads(summary.read_text())["parts"] if summary.exists() else {}
    for name, part in parts.items():
        facts = (f"{key} {part[key]:.6g}" for key in ("step", "images_per_second") if key in part)
        reason = str(part.get("reason") or part.get("failures") or "")[-300:]
        print(", ".join((f"{name}: {part['status']}", *facts, *([reason] if reason else []))))
    if LOG.exists():
        lines = LOG.read_text(errors="replace").splitlines()
        print(*[line for line in lines if not line.startswith("$")][-3:], sep="\n")
    print("goes on" if is_running() else "finished" if FINISHED.exists() else "has stopped")


def main() -> int:
    typed, options = split(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("what", choices=["begin", "data", "work", "fetch"])
    add("--seconds", type=float, default=0.0)
    add("--to", type=Path, default=Path("results"))
    add("--end-within", type=float, help="seconds, after --seconds: has the work end")
    add("--limit-mib", type=float, default=63.0, help="of all files that come back")
    given = parser.parse_args(typed)
    if given.what == "begin":
        return begin(options)
    if given.what == "data":
        return data(given.seconds, options)
    if given.what == "work":
        return work(options)
    limit = int(given.limit_mib * 2**20)
    return fetch(given.to, seconds=given.seconds, end_within=given.end_within, limit=limit)


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """The words before and after the first `--`."""
    index = words.index("--") if "--" in words else len(words)
    return words[:index], words[index + 1 :]


if __name__ == "__main__":
    raise SystemExit(main())
