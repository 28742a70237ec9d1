"""Tiny real runs in processes of their own, which the tests may interrupt, starve or kill."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
from ready import context
from torch import Tensor

from gancomp.engine.checkpoint import list_checkpoints, load_checkpoint

NUM_STEPS = 8  # more than the 5 images of an epoch and the 3 of a pool
PATIENCE_S = 120.0

STAGES = ("0a-teacher-srresnet", "0b-student-srresnet", "1-teacher-srgan")
SYNTHESIS_STAGES = ("0-teacher-gan", "1-student-gan")


@dataclass
class Started:
    """A run under way."""

    process: ForkServerProcess
    log: Path

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory is short."""
        self.process.kill()
        self.process.join(PATIENCE_S)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def wait(self) -> int:
        """The exit status."""
        self.process.join(PATIENCE_S)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"the run hangs; it said: {self.said()}")
        return self.process.exitcode

    def said(self) -> str:
        return self.log.read_text()


def arguments(dataset: Path, out: Path, *more: str, workers: int = 0, every: int = 3) -> list[str]:
    """A `distill` with dropout, pools, epochs and a falling learning rate in eight steps."""
    text = (
        "distill --arch mobile-resnet6 --width 4 --student-width 2 --size 32 --d-layers 1 "
        "--d-width 4 --perceptual none --dropout 0.3 --pool-size 3 --batch-size 1 --epochs 1 "
        f"--decay-epochs 3 --max-steps {NUM_STEPS} --log-every 1 --sample-every 4 --seed 7 "
        f"--device cpu --workers {workers} --checkpoint-every {every}"
    )
    return [*text.split(), "--dataset", str(dataset), "--out", str(out), *more]


def staged_arguments(folder: Path, out: Path, *more: str, every: int = 2) -> list[str]:
    """A `distill` for super-resolution: three stages of three steps, then three of its own."""
    text = (
        "distill --task super-resolution --method gan2gan --width 4 --blocks 1 --student-width 2 "
        "--d-width 2 --size 32 --batch-size 1 --perceptual random --content-tap relu1_1 "
        "--teacher-srresnet-steps 3 --student-srresnet-steps 3 --teacher-gan-steps 3 "
        "--max-steps 3 --rate-drop-step 1 --log-every 1 --sample-every 3 --seed 7 --device cpu "
        f"--workers 0 --checkpoint-every {every}"
    )
    return [*text.split(), "--dataset", str(folder), "--out", str(out), *more]


def synthesis_arguments(folder: Path, out: Path, *more: str) -> list[str]:
    """A `distill` for synthesis: two stages and a run, with every regularizer in each of them."""
    text = (
        "distill --task synthesis --width 8 --d-width 8 --size 16 --batch-size 4 --ema-start 2 "
        "--r1-every 2 --path-every 2 --teacher-kimg 0.012 --stage1-kimg 0.012 "
        "--stage2-kimg 0.016 --log-every 1 --sample-every 3 --seed 7 --device cpu --workers 0 "
        "--checkpoint-every 2"
    )
    small = out.parent / "small.toml"
    small.parent.mkdir(parents=True, exist_ok=True)
    small.write_text(
        "[teacher.network]\nstyle_channels = 8\nmapping_layers = 1\nconst_channels = 8\n"
    )
    places = ["--config", str(small), "--dataset", str(folder), "--out", str(out)]
    return [*text.split(), *places, *more]


def start(
    typed: list[str],
    *,
    largest_file: int | None = None,
    prepare: Callable[[], None] | None = None,
) -> Started:
    """Starts `gancomp` with the arguments `typed` in the folder of its `--out`.

    Args:
        typed: the command line.
        largest_file: bytes at which the kernel refuses to let a file grow.
        prepare: called in the process before the command; a function of a module.
    """
    out = Path(typed[typed.index("--out") + 1])
    out.parent.mkdir(parents=True, exist_ok=True)
    log = out.parent / f"{out.name}.log"
    process = context.Process(target=_serve, args=(typed, out.parent, log, largest_file, prepare))
    process.start()
    return Started(process, log)


def _serve(
    typed: list[str],
    folder: Path,
    log: Path,
    largest_file: int | None,
    prepare: Callable[[], None] | None,
) -> None:
    from gancomp.__main__ import run

    os.chdir(folder)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    torch.set_num_threads(1)
    # data workers would else come from a second server, which imports everything again
    multiprocessing.set_start_method("fork", force=True)
    if prepare is not None:
        prepare()
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    sys.exit(run(typed))


def finish(typed: list[str], **options: Any) -> tuple[int, str]:
    """Exit status and output of a run that is left alone."""
    started = start(typed, **options)
    return started.wait(), started.said()


def wait_until(condition: Callable[[], bool], started: Started) -> None:
    """Waits until the condition holds or the run has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and started.process.is_alive():
        assert time.monotonic() < deadline, f"waited in vain; the run said: {started.said()}"
        time.sleep(0.002)


def stop_when_held(started: Started, folder: Path, send: Callable[[], None]) -> int:
    """Sends a signal to a run that is held, and lets it go once it has heard; its exit status."""
    wait_until((folder / "asleep").exists, started)
    send()
    wait_until(lambda: "stopping after this step" in started.said(), started)
    (folder / "awake").touch()
    return started.wait()


def staged_steps(out: Path, stages: Sequence[str]) -> int:
    """Steps logged so far, over all stages and the run itself."""
    return sum(len(logged_steps(run)) for run in (*(out / "stages" / name for name in stages), out))


def finish_in_spite_of_kills(
    typed: list[str], stages: Sequence[str], *, goals: Sequence[int], prepare: Callable[[], None]
) -> None:
    """Kills a staged run once at about each of `goals` (steps in all), then lets it end."""
    out, rng, killed = Path(typed[typed.index("--out") + 1]), random.Random(len(goals)), 0
    for goal in goals:
        resume = ["--resume"] if (out / "config.json").exists() else []
        started = start([*typed, *resume], prepare=prepare)
        wait_until(lambda goal=goal: staged_steps(out, stages) >= goal, started)
        time.sleep(rng.uniform(0, 0.1))
        killed += started.process.is_alive()
        started.kill()
    status, said = finish([*typed, "--resume"])
    assert status == 0, said
    # a busy machine may let one of them end before it is hit
    assert killed >= len(goals) - 1, "the run was over too soon for this test to mean anything"


def assert_same_stages(
    out: Path, unbroken: Path, stages: Sequence[str], *, batch_size: int = 1
) -> None:
    """The run and each of its stages are equal bit for bit; nothing half-written is left."""
    for name in stages:
        run, whole = out / "stages" / name, unbroken / "stages" / name
        (model,) = whole.glob("*.safetensors")
        assert (run / model.name).read_bytes() == model.read_bytes()
        assert losses(run) == losses(whole)
    assert_same_result(out, unbroken, batch_size=batch_size)
    assert not list(out.rglob("*.partial"))
    assert not list(out.rglob("*.old"))


def logged_steps(run: Path) -> list[int]:
    """The steps of the whole lines of `metrics.jsonl`."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


def newest_step(run: Path) -> int:
    """The step of the newest checkpoint, which must be whole; 0 if there is none."""
    found = list_checkpoints(run / "checkpoints")
    return load_checkpoint(found[0]).step if found else 0


def assert_same_result(run: Path, unbroken: Path, *, batch_size: int = 1) -> None:
    """Generators, samples and the last checkpoint are equal bit for bit, losses too."""
    for name in ("student.safetensors", "teacher.safetensors"):
        assert (run / name).read_bytes() == (unbroken / name).read_bytes(), name
    for sample in (unbroken / "samples").iterdir():
        assert (run / "samples" / sample.name).read_bytes() == sample.read_bytes(), sample.name
    one, two = (
        load_checkpoint(list_checkpoints(path / "checkpoints")[0]) for path in (run, unbroken)
    )
    assert one.step == two.step
    for state in (one.state, two.state):
        assert state.pop("outcome")["num_images"] == batch_size * one.step
    assert_equal(one.state, two.state)
    assert losses(run) == losses(unbroken)


def assert_equal(one: Any, two: Any) -> None:
    """Nested containers hold the same keys, values and, bit for bit, tensors."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert list(one) == list(two)
        for key in one:
            assert_equal(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for left, right in zip(one, two, strict=True):
            assert_equal(left, right)
    elif isinstance(one, Tensor):
        assert one.dtype == two.dtype
        assert torch.equal(one, two)
    else:
        assert one == two


def losses(run: Path) -> list[tuple[int, dict[str, float], dict[str, float]]]:
    """Step, losses and learning rates of every line of metrics."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(record["step"], record["losses"], record["lr"]) for record in records]


def heed(number: signal.Signals) -> None:
    """A group of its own, held in its second step, that heeds a signal even under nohup."""
    slow_steps()
    os.setsid()
    signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)


def slow_steps() -> None:
    """Makes the second step last until there is a file `awake`, or a minute; `asleep` says so."""

    def seconds(index: int) -> float:
        if index > 0:
            hold()
        return 0.0

    delay(seconds)


def hold() -> None:
    """Says so by a file `asleep` and waits for a file `awake`, a minute at most."""
    Path("asleep").touch()
    end = time.monotonic() + 60
    while not Path("awake").exists() and time.monotonic() < end:
        time.sleep(0.02)


def dawdle(seconds: float, stages: Sequence[str], hold_at: int | None) -> None:
    """Makes a step of the run in `run` longer; holds it if so many steps are done."""
    time.sleep(seconds)
    if hold_at is not None and staged_steps(Path("run"), stages) >= hold_at:
        hold()


def unhurried_steps() -> None:
    """Makes steps last long enough to be told from the next on a fast machine."""
    delay(lambda index: 0.12)


def unhurried_stages(hold_at: int | None = None) -> None:
    """The same for super-resolution, in every stage; held once so many steps are done."""
    from gancomp.methods.srgan import SuperResolutionMethod

    original = SuperResolutionMethod.make_phase

    def make_phase(self, *arguments, **options):  # type: ignore[no-untyped-def]  # stands in
        phase = original(self, *arguments, **options)
        phase.optimizer.register_step_pre_hook(lambda *_: dawdle(0.06, STAGES, hold_at))
        return phase

    SuperResolutionMethod.make_phase = make_phase  # type: ignore[method-assign]  # only in a process made for it


def unhurried_game(hold_at: int | None = None) -> None:
    """The same for synthesis, in every stage."""
    from gancomp.methods.adversarial_pair import AdversarialPair

    original = AdversarialPair.phases

    def phases(self, *judges):  # type: ignore[no-untyped-def]  # stands in for a method
        made = original(self, *judges)
        for optimizer in {phase.optimizer for phase in made}:
            optimizer.register_step_pre_hook(lambda *_: dawdle(0.03, SYNTHESIS_STAGES, hold_at))
        return made

    AdversarialPair.phases = phases  # type: ignore[method-assign]  # only in a process made for it


def delay(seconds: Callable[[int], float]) -> None:
    """Puts a pause into each step of this process."""
    from gancomp.methods.dcd import Dcd

    original = Dcd.losses

    def losses(self, phase, step):  # type: ignore[no-untyped-def]  # stands in for a method
        if phase == "student":
            time.sleep(seconds(step.index))
        return original(self, phase, step)

    Dcd.losses = losses  # type: ignore[method-assign]  # only in a process made for it


def spoil_dcd_term() -> None:
    """Makes one term NaN in the third step."""
    from gancomp.methods.dcd import Dcd

    original = Dcd.losses

    def losses(self, phase, step):  # type: ignore[no-untyped-def]  # stands in for a method
        terms = original(self, phase, step)
        if phase == "student" and step.index == 2:
            terms["dcd"] = terms["dcd"] * torch.nan
        return terms

    Dcd.losses = losses  # type: ignore[method-assign]  # only in a process made for it


def small_shared_memory() -> None:
    """Gives this process a /dev/shm of 64 KB of its own, as containers have a small one."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    new_mounts, recursive_private = 0x20000, 0x4000 | 1 << 18
    for status in (
        libc.unshare(new_mounts),
        libc.mount(None, b"/", None, recursive_private, None),
        libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=64k"),
    ):
        assert status == 0, os.strerror(ctypes.get_errno())
