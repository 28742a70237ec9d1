"""Steps of small methods by several processes, each with its share of the batch, in float64.

Run as a script it goes through every line of the methods' table:

    python tests/rank_steps.py --ranks 1,2,3,4
"""

from __future__ import annotations

import argparse
import os
import socket
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
from torch import Tensor

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
    "dgl StyleGAN2, R1 and path lengths": ("dgl", SYNTHESIS, {"arch": "stylegan2"}),
    "gan BigGAN, accumulation 2, batch 24": ("gan", SYNTHESIS, {"arch": "biggan"}),
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
    frozen = task == SUPER_RESOLUTION and kind.distils
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
    return small_method(name, made, perceptual=task == SUPER_RESOLUTION)


def with_student(name: str, task: Task, student: Any) -> Method:
    """A method that distils into the given network."""
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


def train(case: Case, ranks: Any) -> dict[str, Tensor]:
    """The state of all networks after some steps."""
    from loops import loop_of

    from gancomp.engine.fit import run_step
    from gancomp.networks.whole_batch import look_at_whole_batches

    torch.manual_seed(5)  # of dropout
    method = built(case)
    look_at_whole_batches(method)
    rules = getattr(getattr(method, "pair", None), "rules", None)
    parts = rules.accumulation * rules.d_steps if rules is not None else 1
    loop = loop_of(method)
    for index in range(STEPS):
        rows = ranks.positions(BATCH * parts, parts)
        batch = {name: value[rows] for name, value in batch_of(case, index, BATCH * parts).items()}
        run_step(loop, index, batch)
    return {
        f"{name}.{key}": value.clone()
        for name, network in method.networks().items()
        for key, value in network.state_dict().items()
        if isinstance(value, Tensor)
    } | {
        f"{name}.pool": value["images"].clone()
        for name, network in method.networks().items()
        for key, value in network.state_dict().items()
        if isinstance(value, dict) and "images" in value
    }


def work(rank: int, size: int, port: int, names: Sequence[str], out: Path) -> None:
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
        for name in names:
            began = time.process_time()
            try:
                state: Any = train(known[name], ranks)
            except Exception as error:
                if ranks.size > 1:
                    print(name, error, flush=True)
                raise
            torch.save((state, time.process_time() - began), out / f"{size}-{rank}-{name}.pt")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(size: int, names: Sequence[str], out: Path) -> list[int | None]:
    """Trains with so many ranks; the exit statuses."""
    port = free_port()
    started = [
        context.Process(target=work, args=(rank, size, port, names, out), daemon=True)
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", default="1,2,3,4")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    sizes = [int(item) for item in given.ranks.split(",")]
    names = [name for name in cases() if given.only in name]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name in names:
            row = []
            for size in sorted({1, *sizes}):
                statuses = run(size, [name], out)
                if any(statuses):
                    row.append(f"{size}: failed {statuses}")
                    continue
                states = [torch.load(out / f"{size}-{rank}-{name}.pt") for rank in range(size)]
                alone = torch.load(out / f"1-0-{name}.pt")[0]
                found = max(difference(alone, state) for state, _ in states)
                row.append(f"{size}: {found[0]:.1e} ({states[0][1]:.1f} s)")
                if found[0] > 1e-10:
                    row[-1] += f" at {found[1]}"
            print(f"{name:45}", "  ".join(row), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
