"""Steps of small methods by several processes, each with its share of the batch, in float64.

Run as a script it goes through every line of the methods' table, or trains a case by one number
of processes after the other:

    python tests/rank_steps.py --ranks 1,2,3,4
    python tests/rank_steps.py --hand-on 2,1,3 --only "dcd unpaired"
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from builders import (
    SUPER_RESOLUTION,
    SYNTHESIS,
    batch_for,
    random_batch,
    small_generator,
    small_method,
    small_task,
)
from ready import context
from synthesis_builders import ADAM, tiny_batch, tiny_method
from torch import Tensor, nn
from torchruns import free_port

from gancomp.methods.base import Components, Method
from gancomp.registry import METHODS, resolve
from gancomp.settings import OptimizerSettings
from gancomp.tasks.base import Task

BATCH, STEPS, PATIENCE_S = 12, 6, 600.0
Case = tuple[str, str, dict[str, Any]]
SPECIAL: dict[str, Case] = {
    "dcd unpaired": ("dcd", "unpaired", {"pool_size": 5}),
    "dcd paired, U-Net, BatchNorm, dropout": ("dcd", "paired", {"arch": "unet128"}),
    "dcd paired, ResNet, BatchNorm, dropout": ("dcd", "paired", {"norm": "batch"}),
    "dcd paired, VGG": ("dcd", "paired", {"perceptual": True}),
    "dgl StyleGAN2, R1 and path lengths": ("dgl", SYNTHESIS, {"arch": "stylegan2"}),
    "gan BigGAN, accumulation 2, batch 24": ("gan", SYNTHESIS, {"arch": "biggan"}),
    "agd paired, VGG": ("agd", "paired", {"perceptual": True}),
    "cat unpaired, 3 parts": ("cat", "unpaired", {"options": {"ka_parts": 3}}),
    "crd paired, released patches": (
        "crd",
        "paired",
        {"options": {"released_patches": True, "relation_reduction": "sum"}},
    ),
    "dmad unpaired, 8 bits": (
        "dmad",
        "unpaired",
        {"options": {"eight_bits": True, "detach_attention": False}},
    ),
    "gan-compression paired, BatchNorm": ("gan-compression", "paired", {"norm": "batch"}),
    "gcc paired, roots": ("gcc", "paired", {"options": {"map_distance": "rmse"}}),
    "mgd unpaired, channels": ("mgd", "unpaired", {"options": {"mask": "channels"}}),
    "dcd unpaired, 8 bits": ("dcd", "unpaired", {"rounds": True}),
    "mgd unpaired, no generation": ("mgd", "unpaired", {"options": {"generation": False}}),
}


def cases() -> dict[str, Case]:
    """All that is tried, by what it is called."""
    found = dict(SPECIAL)
    for name in METHODS:
        kind = resolve(METHODS, "method", name)
        for task in kind.tasks:
            found[f"{name} {task}"] = (name, task, {})
    return found


def built(case: Case) -> Method:
    """The method of a case, in float64, ready to be trained."""
    name, task, special = case
    method = _method(name, task, dict(special)).double()
    method.train()
    return method


def _method(name: str, task: str, special: dict[str, Any]) -> Method:
    kind = resolve(METHODS, "method", name)
    if task == SYNTHESIS:
        arch = special.pop("arch", "stylegan2")
        rules: dict[str, Any] = {"r1_every": 2, "path_every": 3, "style_mixing": 0.9}
        if arch == "biggan":
            rules = {"accumulation": 2}
        # a bias right before BatchNorm has rounding errors for gradients: no steps are made of them
        return tiny_method(name, arch, optimizer=replace(ADAM, eps=1e-4), **rules)
    frozen = task == SUPER_RESOLUTION and kind.distills
    if (name, task) == ("omgd", "paired"):
        return small_method(name, small_task(task, d_layers=3), shared_blocks=3)
    weights: dict[str, Any] = {"pool_size": special.get("pool_size", 3)}
    if {"arch", "norm"} & special.keys():
        settings = {"norm": "batch", "dropout": 0.5}
        settings |= {"arch": special.get("arch", "mobile-resnet6")}
        weights |= {"generator": small_generator(**settings), "d_norm": "batch"}
    if task == SUPER_RESOLUTION:
        weights = {}
    whole = task in kind.whole_teacher
    made = small_task(task, frozen=frozen, whole=whole, **weights)
    if "arch" in special:
        student = small_generator(2, "student", **settings)
        return with_student(name, made, student)
    seen = special.get("perceptual", task == SUPER_RESOLUTION)
    return small_method(name, made, perceptual=seen, **special.get("options", {}))


def with_student(name: str, task: Task, student: Any) -> Method:
    """A method that distills into the given network."""
    kind = resolve(METHODS, "method", name)
    components = Components(task, student, None, OptimizerSettings(), 0)
    method: Method = kind(components, kind.Options())
    return method


def batch_of(case: Case, seed: int, count: int = BATCH) -> dict[str, Tensor]:
    """A whole batch in float64."""
    _, task, special = case
    parts = [batch_for(task, seed * 1000 + number) for number in range(count)]
    if special.get("arch") == "unet128":
        parts = [random_batch(count, 128, seed)]
    if special.get("arch") == "biggan":
        parts = [tiny_batch("biggan", seed, count)]
    whole = {name: torch.cat([part[name] for part in parts])[:count] for name in parts[0]}
    return {k: v.double() if v.is_floating_point() else v for k, v in whole.items()}


def train(
    case: Case, ranks: Any, *, folder: Path | None = None, until: int = STEPS
) -> dict[str, Tensor]:
    """The state after some steps; with a folder, after those that its last checkpoint lacks."""
    from loops import loop_of

    from gancomp.engine.checkpoint import load_newest
    from gancomp.engine.fit import Outcome, restore, run_step, save
    from gancomp.engine.run import RunFolder
    from gancomp.networks.fake_quantized import FakeQuantization
    from gancomp.networks.whole_batch import look_at_whole_batches

    torch.manual_seed(5)  # of dropout
    method = built(case)
    look_at_whole_batches(method)
    if case[2].get("rounds"):
        FakeQuantization(method.generators()["student"]).switch(on=True)
    rules = getattr(getattr(method, "pair", None), "rules", None)
    parts = rules.accumulation * rules.d_steps if rules is not None else 1
    loop, outcome = loop_of(method), Outcome()
    if folder is not None:
        loop.run = RunFolder(folder)
        loop.run.checkpoints.mkdir(parents=True, exist_ok=True)
        if (found := load_newest(loop.run.checkpoints, print)) is not None:
            outcome = restore(method, found, loop.device)
    for index in range(outcome.step, until):
        rows = ranks.positions(BATCH * parts, parts)
        batch = {name: value[rows] for name, value in batch_of(case, index, BATCH * parts).items()}
        run_step(loop, index, batch)
    if folder is not None:
        outcome.step = until
        save(loop, outcome)
    return state_of(method)


def state_of(method: Method) -> dict[str, Tensor]:
    """What is compared: networks and pools."""
    states = {name: network.state_dict() for name, network in method.networks().items()}
    items = [(name, *item) for name, state in states.items() for item in state.items()]
    return {
        f"{name}.{key}": value.clone() for name, key, value in items if isinstance(value, Tensor)
    } | {
        f"{name}.pool": value["images"].clone()
        for name, _, value in items
        if isinstance(value, dict) and "images" in value
    }


class Counted:
    """Stands between a group and `torch.distributed`, and notes what its means are made of.

    Attributes:
        turns: of each mean, how many numbers are gradients and how many are not, and what was
            summed: for each collective how many numbers, of which type.
    """

    def __init__(self, group: Any) -> None:
        self.turns: list[tuple[int, int, list[tuple[int, torch.dtype]]]] = []
        self.asked: list[tuple[int, torch.dtype]] = []
        self.size, self._dist, self._average = group.size, group._dist, group.average
        group._dist, group.average = self, self.average

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dist, name)

    def all_reduce(self, values: Tensor) -> None:
        self.asked.append((values.numel(), values.dtype))
        self._dist.all_reduce(values)

    def average(self, parameters: Sequence[nn.Parameter], values: Tensor) -> Any:
        self.asked = []
        means = self._average(parameters, values)
        num = sum(item.numel() for item in parameters)
        self.turns.append((num, len(parameters) + len(values) + self.size, [*self.asked]))
        return means


def lopsided(ranks: Any) -> dict[bool, Any]:
    """By whether it is done in bf16, means where only the last rank has the second gradient."""
    found: dict[bool, Any] = {}
    for ranks.brief in (True, False):
        both = [nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))]
        both[0].grad = torch.full((3,), 1 / (3 + ranks.rank))
        both[1].grad = torch.ones(2) if ranks.rank == ranks.size - 1 else None
        means = ranks.average(both, torch.tensor([1.0, float(ranks.rank)]))
        found[ranks.brief] = (both[0].grad, *means)
    return found


def work(
    rank: int, size: int, port: int, names: Sequence[str], out: Path, until: int | None
) -> None:
    """One rank's process: trains every case and leaves what came out."""
    from gancomp.engine.group import joined

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port), "LOCAL_RANK": str(rank),
    }  # fmt: skip
    known = cases()
    with joined(60.0) as ranks:
        counted = Counted(ranks) if size > 1 else None
        for name in names:
            began = time.process_time()
            if counted is not None:
                counted.turns = []
            try:
                if until is None:
                    state = train(known[name], ranks)
                else:
                    state = train(known[name], ranks, folder=out / name, until=until)
            except Exception as error:
                if ranks.size > 1:
                    print(name, error, flush=True)
                raise
            turns = [] if counted is None else counted.turns
            made = {"state": state, "seconds": time.process_time() - began, "turns": turns}
            torch.save(made, out / f"{size}-{rank}-{name}.pt")
        if counted is not None:
            counted.turns = []
            torch.save((lopsided(ranks), counted.turns), out / f"{size}-{rank}.pt")


def run(
    size: int, names: Sequence[str], out: Path, *, until: int | None = None
) -> list[int | None]:
    """Trains with so many ranks, or goes on until a step; the exit statuses."""
    port = free_port()
    started = [
        context.Process(target=work, args=(rank, size, port, names, out, until), daemon=True)
        for rank in range(size)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(PATIENCE_S)
        if process.is_alive():
            process.kill()
    return [process.exitcode for process in started]


def difference(one: dict[str, Tensor], two: dict[str, Tensor]) -> tuple[float, str]:
    """The largest difference relative to the largest number of its network, and where it is.

    Not of its tensor: a bias right before BatchNorm has no gradient but rounding errors, and no
    effect on any image.
    """
    assert one.keys() == two.keys()
    scales: dict[str, float] = {}
    for name, value in one.items():
        if value.numel():
            network = name.partition(".")[0]
            scales[network] = max(scales.get(network, 0.0), float(value.double().abs().max()))
    worst = (0.0, "nowhere")
    for name, value in one.items():
        if value.numel() == 0:
            continue
        scale = scales[name.partition(".")[0]] or 1.0
        worst = max(worst, (float((value - two[name]).double().abs().max()) / scale, name))
    return worst


def hand_on(sizes: Sequence[int], name: str, out: Path) -> dict[str, Tensor]:
    """What a case comes to if its steps are taken by one number of processes after the other."""
    for number, size in enumerate(sizes, 1):
        assert not any(run(size, [name], out, until=round(STEPS * number / len(sizes))))
    state: dict[str, Tensor] = torch.load(out / f"{sizes[-1]}-0-{name}.pt")["state"]
    return state


def compare(sizes: Sequence[int], name: str, out: Path) -> str:
    """What came out of a case, in a line."""
    row = []
    for size in sorted({1, *sizes}):
        statuses = run(size, [name], out)
        if any(statuses):
            row.append(f"{size}: failed {statuses}")
            continue
        made = [torch.load(out / f"{size}-{rank}-{name}.pt") for rank in range(size)]
        alone = torch.load(out / f"1-0-{name}.pt")["state"]
        found = max(difference(alone, item["state"]) for item in made)
        row.append(f"{size}: {found[0]:.1e} ({made[0]['seconds']:.1f} s)")
        if found[0] > 1e-10:
            row[-1] += f" at {found[1]}"
    return "  ".join(row)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", default="1,2,3,4")
    parser.add_argument("--hand-on", default="")
    parser.add_argument("--only", default="", help="a regular expression")
    given = parser.parse_args()
    sizes = [int(item) for item in (given.hand_on or given.ranks).split(",")]
    names = [name for name in cases() if re.search(given.only, name)]
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            said = compare([] if given.hand_on else sizes, name, out)
            if given.hand_on:
                alone = torch.load(out / f"1-0-{name}.pt")["state"]
                said = f"{difference(alone, hand_on(sizes, name, out))[0]:.1e}"
            print(f"{name:45}", said, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
