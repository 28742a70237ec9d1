"""GPU tests, the step benchmark and real distillation runs in a given time, on a bare machine.

    python examples/gpu/run.py --dataset horse2zebra --out runs/gpu --minutes 25 --parts bench:6 dcd

It needs this repository and PyTorch with the packages in pyproject.toml; gancomp itself need not
be installed. A part is `tests`, `bench`, `ablation`, or a run: `dcd` (as the paper has it),
`width12`, `width8`, `no-dcd`, `no-gan`, `output-only`, each also with another seed (`dcd@1`).
`:MINUTES` limits a part; those without share what is left. A run's schedule is made to fit its
time: the rate is measured first. What is cut off, at any moment, goes on when the same line is
started again.

OUT/results has at most seven files, each replaced whole: summary.json, metrics.zip, students.zip,
samples.zip, teachers.zip, translated.zip and log.txt. score.py makes scores of them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
import time
from pathlib import Path

from checks import run_ablation, run_benchmark, run_tests
from children import BRIEF_S, Children, StoppedError
from rate import PAPER_EPOCHS, WAYS, common_options, make_plan, measured_rate
from results import Json, Results, keep_snapshot
from session import LEAST_S, VARIANTS, Part, Session, note_progress, read_part, reason

NEEDED = ("torch", "torchvision", "typer", "rich", "PIL", "safetensors", "pytest")
ATTEMPTS = 3  # of a run, if it fails
FACTS_S = 60  # a first import from a cold disk takes long
FACTS = """
import importlib.util, json, platform, shutil, torch, gancomp
gpu = torch.cuda.is_available()
print(json.dumps({
    "device": torch.cuda.get_device_name() if gpu else "cpu",
    "cuda": torch.version.cuda if gpu else None,
    "torch": torch.__version__, "python": platform.python_version(),
    "compiler": shutil.which("cc") or shutil.which("gcc"),
    "triton": importlib.util.find_spec("triton") is not None,
    "gancomp": gancomp.__version__, "system": platform.platform(),
}))
"""


def distill(session: Session, part: Part, document: Json, deadline: float) -> None:
    """One run: its rate is measured, its schedule made, then it is trained, or goes on."""
    document["kind"] = "run"
    document |= {"variant": part.variant, "seed": part.seed}
    run = session.results.work / "runs" / part.folder
    if "plan" not in document:
        rate = measured_rate(session, deadline)
        if rate is None:
            document |= {"status": "failed", "reason": "no trial gave a rate: see calibration"}
            return
        document["plan"] = make_plan(session, rate, deadline)
        session.results.save()
    plan = document["plan"]
    train(session, part, document, deadline)
    is_done = document.get("step", 0) >= plan["total_steps"]
    document["status"] = "done" if is_done else "unfinished"
    session.results.save()
    translate(session, run, deadline)


def train(session: Session, part: Part, document: Json, deadline: float) -> None:
    """Trains the run of `document`'s plan, or goes on with it, until it ends or the time does."""
    run, plan = session.results.work / "runs" / part.folder, document["plan"]
    for attempt in range(ATTEMPTS):  # again if it fails: the last good checkpoint is there
        seconds = deadline - session.given.reserve_seconds - time.monotonic()
        if seconds < LEAST_S:
            break
        options = (
            "--resume"
            if (run / "config.json").exists()
            else training_options(session.given, part, plan)
        )
        training = max(LEAST_S, seconds - plan.get("start_seconds", 0.0))
        if attempt == ATTEMPTS - 1:  # without whatever the fast way stumbles over
            options += " --compile off"
        try:
            ended = session.gancomp(
                f"distill --json --max-time {training:.0f}s {options}",
                "--out",
                run,
                "--dataset",
                session.given.dataset,
                seconds=seconds + session.given.reserve_seconds / 2,
                meanwhile=lambda: session.looked_after(run),
            )
        finally:  # stopped by a signal, it has saved what it had
            keep_snapshot(run)
            note_progress(run, document)
        document.setdefault("sittings", []).append(
            {"seconds": ended.seconds, "status": ended.status, "options": options}
        )
        if ended.cut or ended.status in (0, 130):
            break
        document["reason"] = reason(ended)


def training_options(given: argparse.Namespace, part: Part, plan: Json) -> str:
    """Of a run's first sitting: the dcd preset, but for what makes it fast and fit its time."""
    every = max(1, round(plan["images_per_second"] * given.save_seconds / given.batch_size))
    return (
        f"{common_options(given, plan)} --seed {part.seed} "
        f"{VARIANTS[part.variant]} --epochs 0 --decay-epochs {plan['epochs']} "
        f"--checkpoint-every {every} --sample-every {every} --log-every {min(10, every)}"
    )


def translate(session: Session, run: Path, deadline: float) -> None:
    """What the student makes of the test images, which is what FID is computed of."""
    sources = session.given.translate or Path(session.given.dataset) / "testA"
    student = run / "student.safetensors"
    if not (student.exists() and sources.is_dir()):
        return
    seconds = max(LEAST_S, deadline - time.monotonic())
    device = session.given.device
    typed = f"translate --device {device}"
    out = run / "translated"
    session.gancomp(typed, student, sources, "-o", out, seconds=seconds, grace=BRIEF_S)


PARTS = {"tests": run_tests, "bench": run_benchmark, "ablation": run_ablation}


def perform(session: Session, part: Part, document: Json, deadline: float) -> None:
    """Does a part."""
    PARTS.get(part.name, distill)(session, part, document, deadline)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", default="", help="folder with trainA/, trainB/, testA/; runs need it")
    add("--translate", type=Path, help="images for the student, instead of the dataset's testA/")
    add("--out", type=Path, required=True)
    add("--minutes", type=float, required=True, help="of this sitting, all in all")
    add("--parts", type=read_part, nargs="+", default=[Part("tests", 2), Part("bench", 6), MAIN])
    add("--batch-size", type=int, default=4, help="of the runs")
    add("--lr-rule", choices=["none", "sqrt", "linear"], default="sqrt", help="by the batch size")
    add("--lr", type=float, help="instead of 2e-4 scaled by that rule")
    add("--max-epochs", type=int, default=PAPER_EPOCHS)
    add("--precision", choices=["bf16", "fp32"], default="bf16")
    add("--compile", choices=["auto", *WAYS.values()], default="auto", help="auto: the fastest")
    add("--cache", choices=["auto", "on", "off"], default="auto", help="decoded images in memory")
    add("--workers", type=int, default=min(8, max(1, (os.cpu_count() or 2) - 2)))
    add("--device", default="auto")
    add("--vgg", type=Path, help="VGG16 weights; else GANCOMP_VGG16, else torchvision's download")
    add("--more", default="", help="further options of every run")
    add("--batch-sizes", type=int, nargs="+", default=[1, 4, 16, 8], help="of the benchmark")
    add("--bench-options", default="", help="further options of the benchmark")
    add("--trial-steps", type=int, default=60, help="by which the rate is measured")
    add("--trial-seconds", type=float, default=math.inf, help="of each trial, at most")
    add("--save-seconds", type=float, default=60, help="from one checkpoint to the next")
    add("--pack-seconds", type=float, default=60, help="at most, between two of the results")
    add("--reserve-seconds", type=float, default=45, help="of a run's time, for its end")
    add("--limit-mib", type=float, default=15.5, help="that no file of the results exceeds")
    given = parser.parse_args()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"not installed: {', '.join(missing)}; see pyproject.toml for the packages")
    if any(part.variant in VARIANTS for part in given.parts):
        if not (Path(given.dataset) / "trainA").is_dir():
            parser.error(f"--dataset {given.dataset}: no folder trainA in it, which runs need")
        given.dataset = str(Path(given.dataset).resolve())
    given.out = given.out.resolve()
    given.translate = given.translate and given.translate.resolve()
    return given


MAIN = Part("dcd", None)


def main() -> int:
    given = arguments()
    results = Results(given.out / "results", given.out / "work", limit=int(given.limit_mib * 2**20))
    environment = {
        "TORCHINDUCTOR_CACHE_DIR": str(results.work / "compiled"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # whatever else is installed there
    }
    if given.vgg is not None:
        environment["GANCOMP_VGG16"] = str(given.vgg.resolve())
    children = Children(results.work / "log.txt", environment)
    children.listen()
    session = Session(given, children, results, perform)
    try:
        facts = children.run("-c", FACTS, seconds=FACTS_S, grace=BRIEF_S)
        results.summary["machine"] = json.loads(facts.out) if facts.status == 0 else reason(facts)
        results.summary.setdefault("sittings", []).append(
            {"began": time.strftime("%Y-%m-%d %H:%M:%S"), "command": sys.argv[1:]}
        )
        results.save()
        session.work_through(given.parts)
    except StoppedError:
        session.tell("stopped by a signal; start the same line again to go on")
        return 130
    finally:
        session.pack()
    open_parts = [
        part.name for part in given.parts if results.part(part.folder)["status"] != "done"
    ]
    session.tell(f"not done yet: {', '.join(open_parts)}" if open_parts else "all done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
