"""Rehearses the plan of lease.py without a GPU: real commands, a clock that simulates the lender's.

    python examples/gpu/rehearse.py --packed runs/lease

A folder stands for the rented machine. Each command is checked by the limits, its archives are
copied there, it is run by bash, and what it leaves in the folder that comes back is checked and
copied. By the clock everything takes `--pace` times as long as here, and the plan is that much
faster; the machine's start takes no time here, transfers as long as their bytes need. The networks
are tiny (`TOY`); by --packed the archives are the real ones, without it they are a drawn set of 32
pixels. The log says what came when, how long each part took and how large its files were.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import children  # first: it lets this process import gancomp
from lease import MIB, PACKED, Call, Limits, Places, Plan, left_behind, next_call, refusal, travels

NETWORKS = "--arch mobile-resnet6 --width 4 --student-width 2 --size 32 --d-layers 1 --d-width 4"
TOY = Plan(
    tests=150,
    bench=150,
    before="bench --device cpu --batch-sizes 1 "
    "'--bench-options=--size 96 --width 4 --d-width 1 --rounds 1'",
    run="--parts dcd --device cpu --precision fp32 --workers 0 --trial-steps 3 --batch-size 3 "
    f"--max-epochs 2 --save-seconds 4 --pack-seconds 2 --reserve-seconds 20 '--more={NETWORKS}'",
)
ENOUGH = 100  # commands; no plan has that many


class RefusedError(Exception):
    """The lender would not have done that."""


@dataclass(frozen=True)
class Reply:
    """What a command came to.

    Attributes:
        call: the call.
        status: its exit status.
        said: what it wrote.
        began: by the clock, when it was given.
        ended: and when the reply was there.
        spent: seconds of the machine's start, of the way there, of the command, of the way back.
        files: name -> bytes of what came back.
    """

    call: Call
    status: int
    said: str
    began: float
    ended: float
    spent: dict[str, float]
    files: dict[str, int]


class Lender:
    """Lends a folder as if it were a machine, by a clock of its own.

    Args:
        folder: for the machine and for what comes back.
        root: of the checkout from which archives are carried.
        limits: that are kept.
        pace: seconds by the clock per second here.
        beside: bytes that travel with every command.
        rate: bytes per second of all transfers, by the clock.
    """

    def __init__(
        self,
        folder: Path,
        root: Path,
        limits: Limits,
        *,
        pace: float = 1.0,
        beside: int = 4 * MIB,
        rate: float = 2 * MIB,
    ) -> None:
        self.folder, self.root, self.limits = folder, root, limits
        self.pace, self.beside, self.rate = pace, beside, rate
        self.clock, self.ended = 0.0, -1.0
        self.checkout = folder / "checkout"
        self.back = folder / "back"  # what the latest command brought back

    def left(self) -> float:
        """Seconds of the lease."""
        return self.limits.lease_s - self.clock

    def wait(self, seconds: float) -> None:
        """Lets time pass, in which the work goes on in the background."""
        self.clock += seconds
        time.sleep(seconds / self.pace)

    def run(self, call: Call) -> Reply:
        """Does one command.

        Raises:
            RefusedError: where the lender would refuse the command, be gone, or keep a file back.
        """
        if why := refusal(call, self.root, self.limits, beside=self.beside):
            raise RefusedError(why)
        began = self.clock
        is_first, silence = self.ended < 0, began - self.ended
        if not is_first and silence > self.limits.silence_s:
            raise RefusedError(
                f"{call.part}: {silence:.0f} s after the last command; the machine is gone after "
                f"{self.limits.silence_s:g} s"
            )
        spent = {"start": self.limits.start_s} if is_first else {}
        self.clock += sum(spent.values())  # nothing goes on there yet
        spent["in"] = (self._carry(call) + self.beside) / self.rate
        self.wait(spent["in"])
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        status, said, seconds = self._bash(call, out)
        if wrong := left_behind(out, self.limits):
            raise RefusedError(f"{call.part}: would not come back: {'; '.join(wrong)}")
        shutil.rmtree(self.back, ignore_errors=True)
        shutil.copytree(out, self.back)
        files = {str(path.relative_to(out)): path.stat().st_size for path in out.rglob("*")}
        spent |= {"command": seconds * self.pace, "back": sum(files.values()) / self.rate}
        self.clock += spent["command"]
        self.wait(spent["back"])
        self.ended = self.clock
        if self.left() < 0:
            raise RefusedError(f"{call.part}: the lease was over {-self.left():.0f} s before")
        return Reply(call, status, said, began, self.clock, spent, files)

    def _carry(self, call: Call) -> int:
        """Copies the call's files into the machine's checkout; returns their bytes."""
        for path in call.carry:
            (self.checkout / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / path, self.checkout / path)
        return sum((self.root / path).stat().st_size for path in call.carry)

    def _bash(self, call: Call, out: Path) -> tuple[int, str, float]:
        """Runs a command; what it leaves running in its own session is ended with it."""
        self.checkout.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        python = str(Path(sys.executable).parent)
        own = {"OUT": str(out), "PATH": f"{python}{os.pathsep}{os.environ['PATH']}"}
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen(
                ["bash", "-c", call.command],
                cwd=self.checkout,
                env=kept | own,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(call.timeout_s)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
            said.seek(0)
            return status, said.read(), time.monotonic() - began


def rehearse(
    lender: Lender, plan: Plan, places: Places, tell: Callable[[str], None]
) -> list[Reply]:
    """Gives command after command, as whoever follows the plan would.

    Raises:
        RefusedError: by the lender, or for a command that failed.
    """
    replies: list[Reply] = []
    while len(replies) < ENOUGH:
        # by the plan's clock, which is faster than the lender's
        left = lender.left() / lender.pace
        call = next_call(plan, places, done=len(replies), left=left)
        if call is None:
            break
        if replies:
            lender.wait(plan.answer * lender.pace)
        reply = lender.run(call)
        replies.append(reply)
        tell(line(reply))
        if reply.status != 0:
            raise RefusedError(f"{call.part}: status {reply.status}: {reply.said[-2000:]}")
        last = reply.said.strip().splitlines()[-1]
        if last == "has stopped":
            raise RefusedError(f"the work ended before its time: {reply.said[-2000:]}")
        if last == "finished":
            break
    tell(f"given back after {lender.clock:.0f} s; {lender.left():.0f} s were left")
    return replies


def line(reply: Reply) -> str:
    """One command in the log."""
    call = reply.call
    files = ", ".join(f"{name} {size / 1024:.0f} KiB" for name, size in sorted(reply.files.items()))
    spent = ", ".join(f"{part} {seconds:.0f}" for part, seconds in reply.spent.items() if seconds)
    lines = [
        f"{reply.began:4.0f} to {reply.ended:.0f} s, {call.part}: {spent} s",
        f"{len(call.command)} characters; {len(reply.files)} files back{': ' * bool(files)}{files}",
        *reply.said.strip().splitlines(),
    ]
    return "\n       ".join(lines)


def background(summary: dict[str, Any], pace: float) -> str:
    """What went on in the background, in seconds by the clock."""
    trials = summary.get("calibration", {}).values()
    spent = {"trials of the rate": sum(trial.get("start_seconds", 0.0) for trial in trials)}
    for name, part in summary["parts"].items():
        sittings = sum(sitting["seconds"] for sitting in part.get("sittings", []))
        spent[f"{name} ({part['status']})"] = part.get("seconds", sittings)
    return ", ".join(f"{name} {seconds * pace:.0f}" for name, seconds in spent.items())


def toy_archives(folder: Path) -> None:
    """Packs a drawn dataset, and a VGG16 of zeros: as large as the real one's cut."""
    from pack import pack
    from safetensors.torch import save_file
    from torch import zeros

    from gancomp.data.demo_set import write_demo_set

    write_demo_set(folder / "toy", size=32, train=6, test=3)
    widths = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512)
    state = {}
    for index, inside, outside in zip(CONVOLUTIONS, widths, widths[1:], strict=False):
        state[f"features.{index}.weight"] = zeros(outside, inside, 3, 3)
        state[f"features.{index}.bias"] = zeros(outside)
    save_file(state, folder / "zeros.safetensors")
    pack(folder / "toy", folder / "zeros.safetensors", folder / PACKED, size=32, room=60 * MIB)


CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)


def main(typed: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--packed", type=Path, help="folder of the archives; else toy ones are made")
    add("--pace", type=float, default=5.0, help="how much faster than the plan")
    add("--keep", type=Path, help="folder for what came back last")
    given = parser.parse_args(typed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.packed is None:
            toy_archives(folder)
        else:
            (folder / PACKED).parent.mkdir(parents=True)
            (folder / PACKED).symlink_to(given.packed.resolve())
        beside = travels(children.ROOT)
        lender = Lender(folder / "machine", folder, Limits(), pace=given.pace, beside=beside)
        places = Places(back='"$OUT"', there=str(folder / "machine" / "there"))
        try:
            rehearse(lender, TOY.at(given.pace), places, print)
        except RefusedError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        summary = json.loads((lender.back / "summary.json").read_text())
        print(f"meanwhile, in seconds: {background(summary, given.pace)}")
        if given.keep is not None:
            shutil.copytree(lender.back, given.keep, dirs_exist_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
