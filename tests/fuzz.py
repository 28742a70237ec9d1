"""Damaged files for the commands that read them: `python tests/fuzz.py --mutants 5000`.

Each mutant is a whole file with a few wrong bytes or values. It is read in a child of its own,
which may end with 0 or 2; a traceback, a signal, ten seconds (of work, or a minute's wait) or two
gigabytes are faults.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import math
import os
import pickle
import random
import resource
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from commands import SMALL, write_model
from PIL import Image
from stand_ins import Means

from gancomp.__main__ import run
from gancomp.data.demo_set import write_demo_set
from gancomp.data.download import fetch
from gancomp.data.registered import KnownDataset
from gancomp.errors import GancompError
from gancomp.planning.plan import make_plan
from gancomp.recipes import eval_fid
from gancomp.settings import Overrides

SEED = 0
PATIENCE_S = 10.0
MOST_MB = 2048
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    5,
    10**30,
    1e308,
    math.inf,
    "",
    "x",
    "\x1b[2J",
    [],
    {},
    [1],
]
ODD_BYTES = [b"", b"\x00", b"\xff" * 8, b"9" * 5000, b"[" * 100_000, b"{", b'"', b"\r\n\r\n"]
TOML = """
[data]
size = 32
flip = true
direction = "AtoB"
[teacher.network]
arch = "mobile-resnet6"
width = 8
[method]
name = "dcd"
[method.options]
lambda_dcd = 1.0
[run]
seed = 3
"""
WHOLE = {"http": 2, "pickle": 2}  # exit statuses of whole files, where they are not 0
RUN_FILES = ("config.json", "metrics.jsonl", "eval.json", "selection.json")


@dataclass(frozen=True)
class Kind:
    """A kind of file: whole ones, how to damage one, and what reads it.

    Attributes:
        make: writes a damaged file (or folder) below a new folder; a whole one without a generator.
        read: reads it; returns an exit status, or raises what a user would see as a traceback.
    """

    make: Callable[[random.Random | None, Path], None]
    read: Callable[[Path], int]


class Seeds:
    """The whole files that the mutants come from, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.toy = folder / "toy"
        write_demo_set(self.toy, size=32, train=4, test=3)
        self.image = Image.open(sorted((self.toy / "testA").iterdir())[0]).convert("RGB")
        self.model = write_model(folder / "m.safetensors", width=2, dataset=str(self.toy))
        self.run = folder / "run"
        options = [*SMALL.split(), "--perceptual", "none", "--out", str(self.run)]
        quietly(lambda: run(["distill", "--dataset", str(self.toy), *options]))
        assert (self.run / "checkpoints").is_dir()
        score = {"fid": 1.0, "fake": "student.safetensors", "real": [], "protocol": {"step": 1}}
        (self.run / "eval.json").write_text(json.dumps({"scores": [score]}))
        history = [{"step": 1, "fid": 1.0, "n_fake": 2, "n_real": 3}]
        (self.run / "selection.json").write_text(json.dumps({"history": history}))

    def weights(self, *, old: bool) -> bytes:
        """What `torch.save` makes of the model."""
        from gancomp.export.model import open_model

        buffer = io.BytesIO()
        state = open_model(self.model).network.state_dict()
        torch.save(state, buffer, _use_new_zipfile_serialization=not old)
        return buffer.getvalue()

    def statistics(self) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, mu=np.zeros(27), sigma=np.eye(27), n_images=9, protocol="p")
        return buffer.getvalue()

    def picture(self, suffix: str) -> bytes:
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        self.image.save(buffer, {"jpg": "JPEG"}.get(suffix, suffix.upper()), exif=exif)
        return buffer.getvalue()


def damaged(content: bytes, rng: random.Random) -> bytes:
    """`content` with one to four wrong places."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        # what decides lies at the beginning and the end of most formats
        reach = rng.choice([len(found), min(len(found), 200)])
        at = rng.randrange(reach + 1)
        at = len(found) - at if rng.random() < 0.3 else at
        act = rng.randrange(5)
        if act == 0:
            del found[at:]
        elif act == 1:
            del found[at : at + rng.randint(1, 40)]
        elif act == 2:
            found[at:at] = rng.choice(ODD_BYTES)
        elif act == 3:
            found[at : at + 4] = rng.randbytes(4)
        elif at < len(found):
            found[at] ^= 1 << rng.randrange(8)
    return bytes(found)


def damaged_values(values: Any, rng: random.Random) -> Any:
    """`values` with one of its inner ones replaced, or taken away."""
    places = list(_places(values))
    if not places:
        return rng.choice(ODD)
    holder, key = rng.choice(places)
    if rng.random() < 0.25:
        del holder[key]
    elif isinstance(holder[key], int | float) and rng.random() < 0.3:
        holder[key] = rng.choice([-holder[key], holder[key] * 10**9, holder[key] + 0.5])
    else:
        holder[key] = rng.choice(ODD)
    return values


def _places(values: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(values, dict | list):
        for key in list(values) if isinstance(values, dict) else range(len(values)):
            yield values, key
            yield from _places(values[key])


def damaged_text(text: str, rng: random.Random) -> bytes:
    """JSON, a line or a whole document, with wrong values or wrong bytes."""
    if rng.random() < 0.3:
        return damaged(text.encode(), rng)
    return json.dumps(damaged_values(json.loads(text), rng)).encode()


def damaged_safetensors(content: bytes, rng: random.Random) -> bytes:
    """A model file with a wrong header of the right length, or with wrong bytes."""
    if rng.random() < 0.3:
        return damaged(content, rng)
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    if rng.random() < 0.6:
        own = json.loads(header["__metadata__"]["gancomp"])
        header["__metadata__"]["gancomp"] = json.dumps(damaged_values(own, rng))
    else:
        header = damaged_values(header, rng)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def damaged_run(seeds: Seeds, rng: random.Random | None, folder: Path) -> None:
    """A run, one of whose files is damaged; a checkpoint's checksum may be right all the same."""
    shutil.copytree(seeds.run, folder / "run", symlinks=True)
    if rng is None:
        return
    if rng.random() < 0.6:
        path = folder / "run" / rng.choice(RUN_FILES)
        text = path.read_text()
        if path.suffix == ".jsonl":
            text = text.splitlines()[0]
        path.write_bytes(damaged_text(text, rng) + (b"\n" if path.suffix == ".jsonl" else b""))
        return
    (checkpoint,) = (folder / "run" / "checkpoints").glob("step_*")
    manifest, state = checkpoint / "manifest.json", checkpoint / "state.pt"
    if rng.random() < 0.3:
        manifest.write_bytes(damaged_text(manifest.read_text(), rng))
        return
    if rng.random() < 0.5:
        state.write_bytes(damaged(state.read_bytes(), rng))
    else:
        values = torch.load(state, weights_only=True)
        torch.save(damaged_values(values, rng), state)
    told = json.loads(manifest.read_text())
    told["sha256"] = hashlib.sha256(state.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(told))


def serve_once(answer: bytes) -> int:
    """A port that answers each of a few requests with these bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def kinds(seeds: Seeds) -> dict[str, Kind]:
    """All kinds of files, by name."""
    device = ["--device", "cpu"]

    def of_bytes(name: str, content: bytes, read: Callable[[Path], int]) -> Kind:
        def make(rng: random.Random | None, folder: Path) -> None:
            (folder / name).write_bytes(damaged(content, rng) if rng else content)

        return Kind(make, lambda folder: read(folder / name))

    def opened(path: Path) -> int:
        return run(["profile", str(path), "--macs", "--json"])

    def scored(path: Path) -> int:
        return run(["eval-fid", "--real", str(path), "--fake", str(seeds.toy / "testA"), *device])

    def translated(path: Path) -> int:
        return run(
            ["translate", str(seeds.model), str(path), "-o", str(path.parent / "o"), *device]
        )

    def go_on(folder: Path) -> int:
        path = str(folder / "run")
        statuses = [run(["profile", path]), run(["eval-fid", path, *device])]
        resume = ["--resume", "--max-steps", "2", "--workers", "0", "--out", path]
        return max(*statuses, run(["distill", *resume]))

    def planned(path: Path) -> int:
        data = {"dataset": str(seeds.toy)}
        make_plan("distill", Overrides(config=path, settings={"data": data}), lambda message: None)
        return 0

    def fetched(path: Path) -> int:
        port = serve_once(path.read_bytes())
        known = KnownDataset(
            name="toy",
            task="unpaired",
            urls=(f"http://127.0.0.1:{port}/toy.zip",),
            counts={"trainA": 1},
            folder="toy",
            notes="",
            sha256=hashlib.sha256(b"PK").hexdigest(),
        )
        fetch(known, path.parent / "fetched", attempts=2, timeout_s=1.0, pause_s=0.01)
        return 0

    def safetensors(rng: random.Random | None, folder: Path) -> None:
        (folder / "m.safetensors").write_bytes(damaged_safetensors(whole, rng) if rng else whole)

    whole = seeds.model.read_bytes()
    legacy = pickle.dumps({"model.1.weight": [1.0, 2.0]}, 2)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/zip\r\n\r\nPK"
    found = {
        "safetensors": Kind(safetensors, lambda folder: opened(folder / "m.safetensors")),
        "pth": of_bytes("m.pth", seeds.weights(old=False), opened),
        "old pth": of_bytes("m.pth", seeds.weights(old=True), opened),
        "pickle": of_bytes("m.pth", legacy, opened),
        "run": Kind(lambda rng, folder: damaged_run(seeds, rng, folder), go_on),
        "toml": of_bytes("c.toml", TOML.encode(), planned),
        "npz": of_bytes("s.npz", seeds.statistics(), scored),
        "http": of_bytes("answer", answer, fetched),
    }
    for suffix in ("png", "jpg", "webp", "tiff"):
        found[suffix] = of_bytes(f"i.{suffix}", seeds.picture(suffix), translated)
    return found


def quietly(work: Callable[[], int], log: int = -1) -> int:
    """What `work` returns; all that is printed goes to the file `log`, or nowhere."""
    kept = os.dup(1), os.dup(2)
    sink = log if log >= 0 else os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(sink, number)
        return work()
    finally:
        sys.stdout.flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)


def fault_of(kind: Kind, folder: Path) -> str | None:
    """What is wrong with the way in which a damaged file is read; None if nothing is."""
    log = folder / "log"
    child = os.fork()
    if child == 0:
        _read_and_leave(kind, folder, log)
    started = time.monotonic()
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            break
        waited_s = time.monotonic() - started
        if waited_s > PATIENCE_S and (_busy_s(child) > PATIENCE_S or waited_s > 6 * PATIENCE_S):
            os.kill(child, 9)
            os.waitpid(child, 0)
            return f"takes more than {PATIENCE_S:.0f} s"
        time.sleep(0.005)
    if os.WIFSIGNALED(status):
        return f"ends by signal {os.WTERMSIG(status)}"
    if usage.ru_maxrss > MOST_MB * 1024:
        return f"takes {usage.ru_maxrss / 1024:.0f} MB"
    said = log.read_text(errors="replace")
    if os.WEXITSTATUS(status) not in (0, 2) or "Traceback" in said:
        return f"exit status {os.WEXITSTATUS(status)}:\n{said[-3000:]}"
    return None


def _busy_s(process: int) -> float:
    """The processor time of a process so far: on a busy machine little work takes long."""
    times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def _read_and_leave(kind: Kind, folder: Path, log: Path) -> None:
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))  # for the machine's sake
        os.chdir(folder)
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(sink, number)
        sys.stdout = io.TextIOWrapper(
            os.fdopen(1, "wb", buffering=0, closefd=False), write_through=True
        )
        sys.stderr = io.TextIOWrapper(
            os.fdopen(2, "wb", buffering=0, closefd=False), write_through=True
        )
        status = kind.read(folder)
    except GancompError as error:
        print(f"error: {error}")
        status = 2 if "\n" not in str(error) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


@contextlib.contextmanager
def whole_file(kind: Kind, folder: Path) -> Iterator[Callable[[], int]]:
    """Reads what is whole, here, where all that it imports stays for the children to come."""
    folder.mkdir()
    kind.make(None, folder)

    def read() -> int:
        try:
            return kind.read(folder)
        except GancompError:
            return 2

    yield read
    shutil.rmtree(folder)


def fuzz(num_mutants: int, seed: int, folder: Path) -> Iterator[tuple[str, str]]:
    """The faults as they are found: the mutant's name (kind, seed, number), and what is wrong."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    eval_fid.load_inception = lambda say: Means()  # type: ignore[assignment]  # a stand-in
    torch.set_num_threads(1)
    seeds = Seeds(folder)
    all_kinds = kinds(seeds)
    names = list(all_kinds)
    for name, kind in all_kinds.items():
        with whole_file(kind, folder / "whole") as read:
            if (status := quietly(read)) != WHOLE.get(name, 0):
                yield f"{name}, whole", f"exit status {status}"
    for number in range(num_mutants):
        name = names[number % len(names)]
        rng = random.Random(f"{seed} {number}")
        mutant = folder / "mutant"
        mutant.mkdir()
        all_kinds[name].make(rng, mutant)
        fault = fault_of(all_kinds[name], mutant)
        if fault is not None:
            yield f"{name}, seed {seed}, number {number}", fault
        shutil.rmtree(mutant)


def main() -> None:
    """Prints the faults; leaves with 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        faults = 0
        for name, fault in fuzz(options.mutants, options.seed, Path(folder)):
            faults += 1
            print(f"{name}: {fault}\n", flush=True)
        seconds = time.monotonic() - started
    print(f"{options.mutants} mutants in {seconds:.0f} s: {faults} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
