"""How a run takes its steps, how fast they are, and as many epochs as its time allows."""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import time
from pathlib import Path

from children import BRIEF_S, Ended
from results import Json, last_records
from session import LEAST_S, Session, reason

PAPER_LR, PAPER_EPOCHS = 2e-4, 100  # DCD, section 4.1: batch 1, linear decay from the first epoch
IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
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
SHARE_TO_MEASURE = 0.25  # of a run's time, at most, for all trials of the rate
COMPARED = 2  # ways that are tried even if the first gives a rate, where no benchmark tells


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

    With `--compile auto` the benchmark says which way is the fastest, if it was made; without it
    the two that are likely the fastest are compared. The others are tried only while none has given
    a rate, and last of all what has the least to fail. All together may take a share of the time,
    each half of what is left of that while others may follow; only the last one may go beyond, as
    without a rate there is no run.
    """
    given, summary = session.given, session.results.summary
    ordered, compared = ways_to_try(session)
    same = {"precision": given.precision, "workers": given.workers, "cache": given.cache}
    trials: dict[str, Json] = summary.setdefault("calibration", {})
    share = SHARE_TO_MEASURE * (deadline - time.monotonic())
    until = time.monotonic() + share
    for number, way in enumerate([*(same | {"compile": item} for item in ordered), PLAINEST]):
        is_last = number == len(ordered)
        name = ", ".join(f"{key} {way[key]}" for key in PLAINEST) + f", batch {given.batch_size}"
        if name in session.tried or ((is_last or number >= compared) and best(trials)):
            continue
        left = (until - time.monotonic()) / (2 if number + 1 < len(ordered) else 1)
        limit = min(given.trial_seconds, share if is_last else left)
        if limit < LEAST_S and not is_last:
            continue
        session.tried.add(name)
        if "images_per_second" in trials.get(name, {}):
            continue
        trials[name] = way | trial_of(session, way, limit)
        session.pack()
    return best(trials)


def trial_of(session: Session, way: Json, limit: float) -> Json:
    """What came of a trial of `way`, of at most `limit` seconds."""
    given = session.given
    out = session.results.work / "trials" / f"{time.time_ns()}"
    every = max(1, given.trial_steps // 6)
    typed = (
        f"distill --json {common_options(given, way)} --max-steps {given.trial_steps} "
        f"--log-every {every} --max-time {limit * 0.8:.2f}s"
    )
    ended = session.gancomp(
        typed, "--out", out, "--dataset", given.dataset, seconds=limit, grace=BRIEF_S
    )
    found = judged(out, ended, given.batch_size)
    shutil.rmtree(out, ignore_errors=True)
    return found


def ways_to_try(session: Session) -> tuple[list[str], int]:
    """Values of `--compile`, and how many of them are to be tried in any case.

    The benchmark has put them in order; if it had no time for the runs' batch size, the nearest one
    counts. What it was told to leave out for its time is left out here, too.
    """
    given = session.given
    if given.compile != "auto":
        return [given.compile], 1
    if given.device == "cpu":
        return ["off"], 1
    parts = session.results.summary.get("parts", {})
    timed = parts.get("bench", {}).get("batches", {})
    nearest = min(timed, key=lambda size: abs(math.log(int(size) / given.batch_size)), default=None)
    bench = timed.get(nearest, {})
    name = {"bf16": "bf16", "fp32": "tf32"}[given.precision]
    rates = {
        side["way"]: bench["contestants"][key]["images_per_second"]
        for key, side in bench.get("sides", {}).items()
        if key.startswith("gancomp") and side["format"] == name and side.get("way") in WAYS
    }
    slow_to_start = ("compiled",) if "--no-compile" in given.bench_options.split() else ()
    ways = [way for way in WAYS if not way.startswith(slow_to_start)]
    ordered = sorted(ways, key=lambda way: -rates.get(way, 0.0))
    return [WAYS[way] for way in ordered], 1 if rates else COMPARED


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
        "start_seconds": max(0.0, rate["start_seconds"]),
        **{name: rate[name] for name in (*PLAINEST, "images_per_second")},
    }


def epoch_images(dataset: str) -> int:
    """Images of an epoch of unpaired data: the larger folder's."""
    folders = [Path(dataset) / name for name in ("trainA", "trainB")]
    return max(sum(item.suffix.lower() in IMAGES for item in path.iterdir()) for path in folders)
