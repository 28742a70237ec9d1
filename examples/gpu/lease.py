"""The minutes of a rented GPU machine, planned: which command to give when, and its timeout.

    python examples/gpu/pack.py --dataset horse2zebra --vgg vgg16.safetensors
    python examples/gpu/lease.py commands
    python examples/gpu/lease.py next --done 1 --left 742

The machine takes one command at a time, with some files that travel with it, and brings the files
of one folder back when the command ends; soon after, it is gone unless the next command comes.
So everything runs in the background there, and each command brings something, waits for a while,
or fetches what there is. `commands` prints all of them as they fall if every part takes as long as
`Plan` allows; `next` prints the one that follows, by the seconds that the lender says are left.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ARCHIVES = ("first.zip", "second.zip", "third.zip")
PACKED = Path("runs") / "lease"  # git ignores it: archives travel because a command names them
THERE = "/tmp/gancomp-lease"  # outside the checkout, which may be renewed by any command
NAME = re.compile(r"[A-Za-z0-9._-]+")
MIB = 1 << 20
BRING_S = 120  # for a command that only unpacks and begins, at the very most
HEADER = 1024  # bytes that a file takes on its way, beside its own
UNKNOWN_TREE = 8 * MIB  # of a checkout that git does not know


@dataclass(frozen=True)
class Limits:
    """What the lender allows.

    Attributes:
        lease_s: from asking for the machine until it is given back, all in all.
        start_s: that a start may take; it counts.
        silence_s: from a command's end to the next one, before the machine is gone.
        command_s: of one command.
        command_chars: of one command.
        in_bytes: that travel with one command.
        out_files: that come back from one command.
        out_file_bytes: of each of them.
        out_bytes: of them all.
        out_depth: folders below the one that comes back.
    """

    lease_s: float = 900
    start_s: float = 120
    silence_s: float = 30
    command_s: float = 600
    command_chars: int = 2000
    in_bytes: int = 64 * MIB
    out_files: int = 8
    out_file_bytes: int = 16 * MIB
    out_bytes: int = 64 * MIB
    out_depth: int = 2


@dataclass(frozen=True)
class Plan:
    """Seconds per part, and what is run; none was measured on a GPU yet.

    Attributes:
        first: to bring and unpack the first archive.
        second: likewise; the third comes with the first fetch, as nothing waits for it.
        answer: from one command's end to the next one, and below `silence_s`.
        tests: the GPU tests, in the background from the first archive on.
        bench: the benchmark after them; the second archive comes meanwhile.
        fetch: that a command waits before it brings back what there is.
        back: to bring it back.
        last: for the last fetch, in which a run that has not ended is told to.
        spare: of the lease that no part counts on.
        before: what `run.py` is told after `--parts tests:MINUTES`: the benchmark and its options.
        run: and for the run, whose trials leave out what the benchmark does.
    """

    first: float = 40
    second: float = 40
    answer: float = 10
    tests: float = 45
    bench: float = 75
    fetch: float = 45
    back: float = 5
    last: float = 40
    spare: float = 15
    before: str = "bench --device cuda --batch-sizes 1 8 16 4 --bench-options=--no-compile"
    run: str = (
        "--parts dcd --device cuda --save-seconds 45 --pack-seconds 30 --trial-seconds 60 "
        "--bench-options=--no-compile"
    )

    def at(self, pace: float) -> Plan:
        """The same plan, `pace` times as fast: for rehearsals."""
        seconds = {
            field.name: getattr(self, field.name) / pace
            for field in dataclasses.fields(self)
            if field.type == "float"
        }
        return dataclasses.replace(self, **seconds)


@dataclass(frozen=True)
class Call:
    """One command to give.

    Attributes:
        part: `first`, `second`, `fetch` or `last`.
        command: for bash, in the root of the checkout.
        timeout_s: of the command, without the machine's start and the transfers.
        carry: files that must travel with it, relative to the checkout.
    """

    part: str
    command: str
    timeout_s: int
    carry: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Places:
    """Where things are.

    Attributes:
        back: the folder on the machine whose files come back, as its shell is to read it.
        there: the folder on the machine in which all is unpacked and done.
        packed: of the archives, relative to the checkout.
    """

    back: str
    there: str = THERE
    packed: Path = PACKED


def next_call(plan: Plan, places: Places, *, done: int, left: float) -> Call | None:
    """What to do after `done` commands; None after the last.

    Args:
        plan: the plan.
        places: where things are.
        done: commands given so far.
        left: seconds of the lease that were left when the last one's reply came.
    """
    machine = f"python3 {places.there}/examples/gpu/machine.py"
    archive = tuple(places.packed / name for name in ARCHIVES[done : done + 1])
    for path in archive:
        then = "&&" if done < 2 else ";"  # results come back whatever an archive does
        machine = f"python3 -m zipfile -e {path} {places.there} {then} {machine}"
    if done < 2:
        order = begin(plan) if done == 0 else bring(plan, left)
        return Call(archive[0].stem, f"{machine} {order}", BRING_S, archive)
    room = left - plan.answer - plan.back - plan.spare  # for the command itself
    if room <= 0:
        return None
    wait = min(plan.fetch, room - plan.last - plan.answer - plan.back)  # a last one has to follow
    if wait > plan.fetch / 3:
        order = f"fetch --seconds {wait:.4g} --to {places.back}"
        return Call("fetch", f"{machine} {order}", round(wait + 30), archive)
    wait, grace = max(0.0, room - plan.last), min(room, plan.last)
    order = f"fetch --seconds {wait:.4g} --end-within {grace:.4g} --to {places.back}"
    return Call("last", f"{machine} {order}", round(wait + grace + 30), archive)


def begin(plan: Plan) -> str:
    """Starts tests and benchmark in the background, then the run as soon as its data is there."""
    minutes = (plan.tests + plan.bench) / 60
    parts = f"--minutes {minutes:.4f} --parts tests:{plan.tests / 60:.4f}"
    return f"begin -- {parts} {plan.before}"


def bring(plan: Plan, left: float) -> str:
    """Lets the run begin, and says when it has to have ended, its results packed."""
    seconds = left - plan.answer - plan.second - plan.last - plan.back - plan.spare
    return f"data --seconds {seconds:.4g} -- {plan.run}"


def expected(plan: Plan, places: Places, limits: Limits) -> Iterator[tuple[Call, float, float]]:
    """All commands with the seconds at which they begin and end, if each part takes its time."""
    clock, done = 0.0, 0
    while call := next_call(plan, places, done=done, left=limits.lease_s - clock):
        began = clock + plan.answer * (done > 0)
        took = {"first": limits.start_s + plan.first, "second": plan.second}
        waited = re.findall(r"--(?:seconds|end-within) ([0-9.]+)", call.command)
        clock = began + took.get(call.part, sum(map(float, waited)) + plan.back)
        yield call, began, clock
        done += 1
        if call.part == "last":
            return


def refusal(call: Call, root: Path, limits: Limits, *, beside: int) -> str | None:
    """Why the lender would not take the call; None if it would.

    Args:
        call: the call.
        root: of the checkout.
        limits: the lender's.
        beside: bytes that travel with every command, such as the checkout's own files.
    """
    if len(call.command) > limits.command_chars:
        return f"{call.part}: {len(call.command)} characters; {limits.command_chars} are allowed"
    if call.timeout_s > limits.command_s:
        return f"{call.part}: timeout {call.timeout_s} s; {limits.command_s:g} s are allowed"
    missing = [path for path in call.carry if not (root / path).is_file()]
    if missing:
        return f"{call.part}: {missing[0]} is not there; pack.py makes it"
    size = beside + sum((root / path).stat().st_size for path in call.carry)
    if size > limits.in_bytes:
        return f"{call.part}: {mib(size)} travel; {mib(limits.in_bytes)} are allowed"
    return None


def travels(root: Path) -> int:
    """Bytes that travel with every command: the checkout's files, but for ignored ones.

    Args:
        root: of the checkout.
    """
    listed = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        said = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN_TREE
    found = {root / name for name in said.split("\0") if name}
    return sum(path.lstat().st_size + HEADER for path in found if path.is_file())


def left_behind(folder: Path, limits: Limits) -> list[str]:
    """What of the folder's files would not come back, and why."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    wrong = []
    total = 0
    for number, path in enumerate(files, start=1):
        inside, size = path.relative_to(folder), path.stat().st_size
        total += size
        if number > limits.out_files:
            wrong.append(f"{inside}: file {number} of at most {limits.out_files}")
        elif size > limits.out_file_bytes:
            wrong.append(f"{inside}: {mib(size)} of at most {mib(limits.out_file_bytes)}")
        elif total > limits.out_bytes:
            wrong.append(f"{inside}: more than {mib(limits.out_bytes)} together")
        elif len(inside.parts) > limits.out_depth + 1:
            wrong.append(f"{inside}: deeper than {limits.out_depth} folders")
        elif not all(NAME.fullmatch(part) for part in inside.parts):
            wrong.append(f"{inside}: a name of other characters than letters, digits, . _ -")
    return wrong


def mib(size: int) -> str:
    """Bytes as MiB."""
    return f"{size / MIB:.1f} MiB"


def describe(call: Call) -> str:
    """A call as it is to be given."""
    carry = "".join(f", carry {path}" for path in call.carry)
    return f"timeout {call.timeout_s} s{carry}\n    {call.command}"


RULE = """
Give each with its timeout and files. After each reply, within {silence:g} s: put the files that
came back aside, and give the command that `lease.py next --done COMMANDS --left SECONDS` prints, or
the line above that is due. The second one tells the run when to end: print it anew by what is left.
If the lender does not say, {lease:g} s less your own clock since asking are left.
No machine came, or it was taken away: `next --done 0` by what is left then.
A fetch says "finished": everything is back, give the machine back; or, if a part failed and time is
left, give the first two commands again: what is done is not done again.
"""


def main(typed: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", choices=["commands", "next"])
    add("--done", type=int, default=0, help="commands given so far")
    add("--left", type=float, help="seconds of the lease that are left")
    add("--back", default="results", help="the machine's folder that comes back, for its shell")
    add("--there", default=THERE, help="folder on the machine in which all is done")
    add("--beside-mib", type=float, help="that travel with every command, instead of the checkout")
    given = parser.parse_args(typed)
    limits, plan = Limits(), Plan()
    back = given.back if given.back.startswith("$") else shlex.quote(given.back)
    places = Places(back=f'"{back}"' if back.startswith("$") else back, there=given.there)
    root = Path(__file__).resolve().parents[2]
    if given.what == "next":
        left = limits.lease_s if given.left is None else given.left
        call = next_call(plan, places, done=given.done, left=left)
        print("give the machine back" if call is None else f"{call.part}: {describe(call)}")
        calls = [] if call is None else [call]
    else:
        planned = list(expected(plan, places, limits))
        calls = [call for call, _, _ in planned]
        for call, began, ended in planned:
            print(f"{began:4.0f} to {ended:.0f} s, {call.part}: {describe(call)}")
        print(RULE.format(silence=limits.silence_s, lease=limits.lease_s))
    beside = travels(root) if given.beside_mib is None else int(given.beside_mib * MIB)
    wrong = [why for call in calls if (why := refusal(call, root, limits, beside=beside))]
    for why in wrong:
        print(f"error: {why}")
    return 2 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
