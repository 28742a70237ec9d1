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
import re
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from children import ROOT, Children, Ended, StoppedError
from results import Json, Results, keep_snapshot, last_records

NEEDED = ("torch", "torchvision", "typer", "rich", "PIL", "safetensors", "pytest")
PAPER_LR, PAPER_EPOCHS = 2e-4, 100  # DCD, section 4.1: batch 1, linear decay from the first epoch
IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
VARIANTS = {
    "dcd": "",
    "width12": "--student-width 12",
    "width8": "--student-width 8",
    "no-dcd": "--lambda-dcd 0",
    "no-gan": "--no-student-gan",
    "output-only": "--lambda-dcd 0 --no-student-gan",
}
# how steps are taken, by what the benchmark calls it; likely the fastest first
WAYS = {
    "fused+graphs": "fused+graphs",
    "graphs": "graphs",
    "compiled+graphs": "on+graphs",
    "compiled": "on",
    "plain": "off",
}
# the way to train that has the least to fail
PLAINEST = {"precision": "fp32", "compile": "off", "workers": 0, "cache": "off"}
MARGIN = 0.95  # of the measured rate: machines drift
SHARE_TO_MEASURE = 0.25  # of a run's time, at most, for each trial of the rate
LEAST_S = 5.0  # a part that has less is not begun
FACTS = """
import json, platform, torch, gancomp
gpu = torch.cuda.is_available()
print(json.dumps({
    "device": torch.cuda.get_device_name() if gpu else "cpu",
    "cuda": torch.version.cuda if gpu else None,
    "torch": torch.__version__, "python": platform.python_version(),
    "gancomp": gancomp.__version__, "system": platform.platform(),
}))
"""


@dataclass(frozen=True)
class Part:
    """One thing to do.

    Attributes:
        name: its name; a seed other than 0 is in it.
        minutes: most that it may take, None for its share of what is left.
    """

    name: str
    minutes: float | None

    @property
    def variant(self) -> str:
        """What kind of run it is, if it is one."""
        return self.name.partition("@")[0]

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.name.partition("@")[2] or 0)

    @property
    def folder(self) -> str:
        """Under which it stands in the results."""
        is_run = self.variant in VARIANTS
        return f"{self.variant}-s{self.seed}" if is_run else self.name


def read_part(text: str) -> Part:
    """`NAME[@SEED][:MINUTES]`."""
    match = re.fullmatch(r"([a-z0-9-]+(?:@\d+)?)(?::(\d+(?:\.\d+)?))?", text)
    name = match.group(1) if match else text
    kind, _, seed = name.partition("@")
    if match is None or not (kind in VARIANTS or (kind in PARTS and not seed)):
        raise argparse.ArgumentTypeError(f"{text}: not one of {', '.join((*PARTS, *VARIANTS))}")
    return Part(name, float(match.group(2)) if match.group(2) else None)


class Session:
    """One sitting: the parts in turn until all are done or the time is over.

    Args:
        given: the command line.
        children: runs commands.
        results: what comes back.
    """

    def __init__(self, given: argparse.Namespace, children: Children, results: Results) -> None:
        self.given, self.children, self.results = given, children, results
        self.deadline: float = time.monotonic() + given.minutes * 60
        self.packed = time.monotonic()
        self.tried: set[str] = set()  # ways whose rate was measured, or could not be

    def left(self) -> float:
        """Seconds until the sitting ends."""
        return self.deadline - time.monotonic()

    def work_through(self, parts: list[Part]) -> None:
        """Does what is not done yet."""
        waiting = [part for part in parts if self.results.part(part.folder)["status"] != "done"]
        for index, part in enumerate(waiting):
            later = waiting[index + 1 :]
            kept = sum((item.minutes or 0) * 60 for item in later)
            sharing = 1 + sum(item.minutes is None for item in later)
            # with a limit of its own a part may take what later ones would have had: order counts
            seconds = (self.left() - kept) / sharing
            if part.minutes is not None:
                seconds = min(part.minutes * 60, self.left())
            if seconds < LEAST_S:
                continue
            self.tell(f"{part.name}: {seconds:.0f} s at most")
            document = self.results.part(part.folder)
            document |= {"status": "begun"}
            try:
                PARTS.get(part.name, distil)(self, part, document, time.monotonic() + seconds)
            except StoppedError:
                document["status"] = "unfinished"
                raise
            except Exception as error:  # other parts may still do well
                document |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
            finally:
                self.results.pack()
            self.tell(f"{part.name}: {document['status']}")

    def tell(self, message: str) -> None:
        """One line on stderr."""
        print(f"[{self.left():.0f} s left] {message}", file=sys.stderr, flush=True)

    def gancomp(
        self,
        text: str,
        *paths: object,
        seconds: float,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Ended:
        """Runs gancomp with the words of `text`, then `paths`, which may have spaces in them."""
        typed = ["-m", "gancomp", *text.split(), *map(str, paths)]
        return self.children.run(*typed, seconds=seconds, meanwhile=meanwhile)

    def looked_after(self, run: Path) -> None:
        """While a run goes on: keeps its students and renews the results now and then."""
        if keep_snapshot(run) or time.monotonic() > self.packed + self.given.pack_seconds:
            note_progress(run, self.results.part(run.name))
            self.results.pack()
            self.packed = time.monotonic()


def run_tests(session: Session, part: Part, document: Json, deadline: float) -> None:
    """The GPU tests; without a GPU they are skipped, which the counts show."""
    typed = ["-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    typed += ["-c", str(ROOT / "pyproject.toml"), str(ROOT / "tests" / "test_gpu.py")]
    ended = session.children.run(*typed, seconds=deadline - time.monotonic())
    document |= {"kind": "tests", "seconds": ended.seconds, "counts": count_tests(ended.out)}
    finish(document, ended, ended.out[-4000:])


def count_tests(said: str) -> dict[str, int]:
    """How many passed and so on: by the last line or, where it was cut off, by those before."""
    counts = re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", said)
    if counts:
        return {name: int(number) for number, name in counts}
    lines = re.findall(r"::\S.* (PASSED|FAILED|SKIPPED|ERROR)\b", said)
    return {word.lower(): lines.count(word) for word in dict.fromkeys(lines)}


def run_benchmark(session: Session, part: Part, document: Json, deadline: float) -> None:
    """The step at every batch size, in all number formats, beside the literal one."""
    given = session.given
    document.setdefault("kind", "bench")
    done = document.setdefault("batches", {})
    failures = document["failures"] = {}
    for size in given.batch_sizes:
        seconds = deadline - time.monotonic()
        if str(size) in done or seconds < LEAST_S:
            continue
        typed = f"bench train --grid --profile --json --batch-size {size} --device {given.device}"
        ended = session.gancomp(f"{typed} {given.bench_options}", seconds=seconds)
        if ended.status == 0:
            done[str(size)] = json.loads(ended.out)
        else:
            failures[str(size)] = reason(ended)
        session.results.pack()
    missing = [size for size in given.batch_sizes if str(size) not in done]
    document["status"] = "unfinished" if missing else "done"


def run_ablation(session: Session, part: Part, document: Json, deadline: float) -> None:
    """What each optimization of the step is worth, at the first batch size."""
    given = session.given
    typed = f"bench train --ablate --json --batch-size {given.batch_sizes[0]}"
    command = f"{typed} --device {given.device} {given.bench_options}"
    ended = session.gancomp(command, seconds=deadline - time.monotonic())
    document["kind"] = "ablation"
    if ended.status == 0:
        document["document"] = json.loads(ended.out)
    finish(document, ended)


def distil(session: Session, part: Part, document: Json, deadline: float) -> None:
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
    for _ in range(2):  # once more if it fails: the last good checkpoint is there
        seconds = deadline - session.given.reserve_seconds - time.monotonic()
        if seconds < LEAST_S:
            break
        options = (
            "--resume"
            if (run / "config.json").exists()
            else training_options(session.given, part, plan)
        )
        try:
            ended = session.gancomp(
                f"distill --json --max-time {seconds:.0f}s {options}",
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
    is_done = document.get("step", 0) >= plan["total_steps"]
    document["status"] = "done" if is_done else "unfinished"
    session.results.save()
    translate(session, run, deadline)


def training_options(given: argparse.Namespace, part: Part, plan: Json) -> str:
    """Of a run's first sitting: the dcd preset, but for what makes it fast and fit its time."""
    every = max(1, round(plan["images_per_second"] * given.save_seconds / given.batch_size))
    return (
        f"{common_options(given, plan)} --seed {part.seed} "
        f"{VARIANTS[part.variant]} --epochs 0 --decay-epochs {plan['epochs']} "
        f"--checkpoint-every {every} --sample-every {every} --log-every {min(10, every)}"
    )


def common_options(given: argparse.Namespace, way: Json) -> str:
    """What a run and the trial of its rate have in common."""
    return (
        f"--preset dcd --batch-size {given.batch_size} --lr {learning_rate(given):.6g} "
        f"--precision {way['precision']} --compile {way['compile']} --cache {way['cache']} "
        f"--workers {way['workers']} --device {given.device} {given.more}"
    )


def learning_rate(given: argparse.Namespace) -> float:
    """The paper's, for batch 1, scaled to the batch size."""
    if given.lr is not None:
        return float(given.lr)
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[given.lr_rule]
    return PAPER_LR * math.pow(given.batch_size, power)


def measured_rate(session: Session, deadline: float) -> Json | None:
    """The rate of the fastest way to take steps, by short trials that are made but once.

    With `--compile auto` the benchmark says which way is the fastest, if it was made; the others
    are tried if that one fails. Without it all are. Only if all fail, what has the least to fail is
    tried.
    """
    given, summary = session.given, session.results.summary
    ordered, known = ways_to_try(session)
    same = {"precision": given.precision, "workers": given.workers, "cache": given.cache}
    wanted = [same | {"compile": item} for item in ordered]
    trials: dict[str, Json] = summary.setdefault("calibration", {})
    limit = min(given.trial_seconds, SHARE_TO_MEASURE * (deadline - time.monotonic()))
    for way in [*wanted, PLAINEST]:
        name = ", ".join(f"{key} {way[key]}" for key in PLAINEST) + f", batch {given.batch_size}"
        if name in session.tried or ((known or way not in wanted) and best(trials)):
            continue
        session.tried.add(name)
        if "images_per_second" in trials.get(name, {}):
            continue
        out = session.results.work / "trials" / f"{time.time_ns()}"
        every = max(1, given.trial_steps // 6)
        typed = (
            f"distill --json {common_options(given, way)} --max-steps {given.trial_steps} "
            f"--log-every {every} --max-time {limit * 0.8:.2f}s"
        )
        ended = session.gancomp(typed, "--out", out, "--dataset", given.dataset, seconds=limit)
        trials[name] = way | judged(out, ended, given.batch_size)
        shutil.rmtree(out, ignore_errors=True)
        session.results.pack()
    return best(trials)


def ways_to_try(session: Session) -> tuple[list[str], bool]:
    """Values of `--compile`, and whether the benchmark has put them in order."""
    given = session.given
    if given.compile != "auto":
        return [given.compile], False
    if given.device == "cpu":
        return ["off"], False
    parts = session.results.summary.get("parts", {})
    bench = parts.get("bench", {}).get("batches", {}).get(str(given.batch_size), {})
    name = {"bf16": "bf16", "fp32": "tf32"}[given.precision]
    rates = {
        side["way"]: bench["contestants"][key]["images_per_second"]
        for key, side in bench.get("sides", {}).items()
        if key.startswith("gancomp") and side["format"] == name and side.get("way") in WAYS
    }
    ordered = sorted(WAYS, key=lambda way: -rates.get(way, 0.0))
    return [WAYS[way] for way in ordered], bool(rates)


def best(trials: dict[str, Json]) -> Json | None:
    """The fastest trial that went well."""
    good = [trial for trial in trials.values() if "images_per_second" in trial]
    return max(good, key=lambda trial: trial["images_per_second"], default=None)


def judged(run: Path, ended: Ended, batch_size: int) -> Json:
    """Images/s of a trial's later steps, and the seconds that are lost before them."""
    records = last_records(run, 3)
    if len(records) < 3:
        return {"failed": reason(ended)}
    rate = statistics.median(record["images_per_second"] for record in records)
    return {
        "images_per_second": rate,
        "steps": records[-1]["step"],
        "start_seconds": ended.seconds - records[-1]["step"] * batch_size / rate,
        "peak_memory_mb": records[-1]["memory_mb"],
        "data_wait": statistics.median(record["data_wait"] for record in records),
    }


def make_plan(session: Session, rate: Json, deadline: float) -> Json:
    """As many epochs, up to the paper's, as the run's time allows, so that the decay ends in it."""
    given = session.given
    seconds = deadline - time.monotonic() - given.reserve_seconds - max(0.0, rate["start_seconds"])
    steps_per_epoch = max(1, epoch_images(given.dataset) // given.batch_size)
    images = max(0.0, seconds) * rate["images_per_second"] * MARGIN
    epochs = math.floor(images / (steps_per_epoch * given.batch_size))
    epochs = min(max(1, epochs), given.max_epochs)
    return {
        "batch_size": given.batch_size,
        "lr": learning_rate(given),
        "epochs": epochs,
        "steps_per_epoch": steps_per_epoch,
        "total_steps": epochs * steps_per_epoch,
        "seconds": seconds,
        **{name: rate[name] for name in (*PLAINEST, "images_per_second")},
    }


def epoch_images(dataset: str) -> int:
    """Images of an epoch of unpaired data: the larger folder's."""
    folders = [Path(dataset) / name for name in ("trainA", "trainB")]
    return max(sum(item.suffix.lower() in IMAGES for item in path.iterdir()) for path in folders)


def note_progress(run: Path, document: Json) -> None:
    """How far a run has come, by its metrics."""
    records = last_records(run, 1)
    if not records or "plan" not in document:
        return
    (record,) = records
    plan, images = document["plan"], record["step"] * document["plan"]["batch_size"]
    document |= {
        "step": record["step"],
        "images": images,
        "epochs_seen": record["step"] / plan["steps_per_epoch"],
        "train_seconds": record["seconds"],
        "images_per_second": images / max(record["seconds"], 1e-9),
        "peak_memory_mb": record["memory_mb"],
    }
    config = json.loads((run / "config.json").read_text())
    document |= {name: config[name] for name in ("perceptual", "versions")}


def translate(session: Session, run: Path, deadline: float) -> None:
    """What the student makes of the test images, which is what FID is computed of."""
    sources = Path(session.given.dataset) / "testA"
    student = run / "student.safetensors"
    if not (student.exists() and sources.is_dir()):
        return
    seconds = max(LEAST_S, deadline - time.monotonic())
    device = session.given.device
    typed = f"translate --device {device}"
    session.gancomp(typed, student, sources, "-o", run / "translated", seconds=seconds)


def reason(ended: Ended) -> str:
    """Why a command failed, in short."""
    return "it took too long" if ended.cut else ended.tail[-400:] or f"status {ended.status}"


def finish(document: Json, ended: Ended, tail: str = "") -> None:
    """Notes in `document` how a command ended."""
    document["status"] = "done" if ended.status == 0 else "failed"
    document.pop("reason", None)
    if ended.status != 0:
        document["reason"] = reason(ended) if ended.cut else tail or reason(ended)


PARTS = {"tests": run_tests, "bench": run_benchmark, "ablation": run_ablation}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", default="", help="folder with trainA/, trainB/, testA/; runs need it")
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
    return given


MAIN = Part("dcd", None)


def main() -> int:
    given = arguments()
    results = Results(given.out / "results", given.out / "work", limit=int(given.limit_mib * 2**20))
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(results.work / "compiled")}
    if given.vgg is not None:
        environment["GANCOMP_VGG16"] = str(given.vgg.resolve())
    children = Children(results.work / "log.txt", environment)
    children.listen()
    session = Session(given, children, results)
    try:
        facts = children.run("-c", FACTS, seconds=120)
        results.summary["machine"] = json.loads(facts.out) if facts.status == 0 else facts.tail
        results.summary.setdefault("sittings", []).append(
            {"began": time.strftime("%Y-%m-%d %H:%M:%S"), "command": sys.argv[1:]}
        )
        results.save()
        session.work_through(given.parts)
    except StoppedError:
        session.tell("stopped by a signal; start the same line again to go on")
        return 130
    finally:
        results.pack()
    open_parts = [
        part.name for part in given.parts if results.part(part.folder)["status"] != "done"
    ]
    session.tell(f"not done yet: {', '.join(open_parts)}" if open_parts else "all done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
