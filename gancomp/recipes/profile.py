"""`gancomp profile`: what a network costs, by both rules, and how much smaller the student is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gancomp import console
from gancomp.config import Json
from gancomp.engine.device import choose_device
from gancomp.engine.run import latest_run
from gancomp.errors import ConfigError
from gancomp.export.model import open_model
from gancomp.metrics.cost import measure_cost
from gancomp.metrics.latency import NUM_RUNS, Latency, time_in_turns
from gancomp.networks.base import TappedNetwork
from gancomp.networks.fast import FastGenerator, accelerate
from gancomp.networks.plain import plain_copy
from gancomp.recipes.models import generator_of
from gancomp.recipes.scores import latest_fid
from gancomp.registry import DISCRIMINATORS, build_network

# what CycleGAN's generator is no original of
NO_REFERENCE = (*DISCRIMINATORS, "srresnet")
FIGURES = ("params", "macs", "macs_torchprofile")


@dataclass(frozen=True)
class Subject:
    """A network to be profiled.

    Attributes:
        role: teacher, student, or what else it is called.
        network: in eval mode.
        size: height and width of its input in pixels.
        file: where it comes from, if from a file.
    """

    role: str
    network: TappedNetwork
    size: int
    file: Path | None = None


@dataclass(frozen=True)
class LatencyRequest:
    """That forward passes are to be timed, and how."""

    device: str = "auto"
    threads: int | None = None


def profile_document(
    models: list[Path],
    *,
    network: TappedNetwork | None = None,
    size: int | None = None,
    batch_size: int = 1,
    part: str | None = None,
    latency: LatencyRequest | None = None,
) -> Json:
    """Costs of the named models, of `network`, of the latest run, or of the default pair.

    Args:
        models: model files or runs (a run stands for its teacher and student).
        network: instead of files, a network as built from its name.
        size: height and width; by default what the model was trained for.
        batch_size: MACs are for the whole batch.
        part: network of a multi-network checkpoint.
        latency: time the networks too.

    Returns: the document of `profile --json`: `models`, and `ratio` (first over last) if two.

    Raises:
        ConfigError, CheckpointError: if a model cannot be opened or run at that size.
    """
    for flag, value in (("--size", size), ("--batch-size", batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag} {value}: must be at least 1")
    subjects = [Subject("network", network, size or 256)] if network is not None else []
    if network is None:
        paths = models or [path for path in [latest_run()] if path is not None]
        subjects = [_from_file(path, size, part) for item in paths for path in _files(item)]
    if not subjects:
        subjects = [
            Subject(role, named_network("mobile-resnet9", width=width), size or 256)
            for role, width in (("teacher", 64), ("student", 16))
        ]
    document: Json = {"models": [_row(subject, batch_size) for subject in subjects]}
    if latency is not None:
        document |= _add_latency(document["models"], subjects, latency)
    rows = document["models"]
    if len(rows) == 2:
        names = (*FIGURES, "latency_ms") if latency is not None else FIGURES
        document["ratio"] = {name: rows[0][name] / rows[1][name] for name in names}
    return document


def _add_latency(rows: list[Json], subjects: list[Subject], request: LatencyRequest) -> Json:
    """Times all subjects in turns; returns what they were timed on."""
    device = choose_device(request.device)
    if request.threads is not None:
        if request.threads < 1:
            raise ConfigError(f"--threads {request.threads}: must be at least 1")
        torch.set_num_threads(request.threads)
    networks = [subject.network.eval().to(device) for subject in subjects]
    fast = [accelerate(network) for network in networks]
    for row, (quick, eager) in zip(rows, _time_pairs(fast, rows, device), strict=True):
        row["latency_ms"] = round(quick.median_ms, 3)
        row["latency_range_ms"] = [round(quick.min_ms, 3), round(quick.max_ms, 3)]
        row["latency_eager_ms"] = round(eager.median_ms, 3)
    ways = ", ".join(dict.fromkeys(item.how for item in fast))
    return {
        "latency": {
            "device": device.type,
            "threads": torch.get_num_threads(),
            "runs": NUM_RUNS,
            "backend": f"torch {torch.__version__}, float32, {ways}",
        }
    }


def _time_pairs(
    fast: list[FastGenerator], rows: list[Json], device: torch.device
) -> list[tuple[Latency, Latency]]:
    """Each network as gancomp runs it, and out of torch's own layers in eager mode, in turns."""
    contestants: dict[str, Callable[[], object]] = {}
    for index, (quick, row) in enumerate(zip(fast, rows, strict=True)):
        images = torch.zeros(row["input"], device=device)
        contestants[f"{index} fast"] = partial(quick, images)
        contestants[f"{index} eager"] = partial(plain_copy(quick.network), images)
    with torch.inference_mode():
        timed = time_in_turns(contestants, device=device)
    return [(timed[f"{index} fast"], timed[f"{index} eager"]) for index in range(len(fast))]


def network_asked_for(
    arch: str | None, settings: Json, models: list[Path], part: str | None
) -> TappedNetwork | None:
    """The network of `--arch`, or None where files are to be profiled.

    Args:
        arch: `--arch`.
        settings: `width`, `norm`, `in_channels`, `blocks`, `scale`, None where they were not given.
        models: model files or runs.
        part: `--part`.

    Raises:
        ConfigError: for options that would have no effect, or a network that cannot be built.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if part is not None and not models:
        raise ConfigError(f"--part {part}: is a part of a model file; give that file too")
    if arch is None:
        for name in given:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} {given[name]}: describes the network of --arch; give that")
        return None
    if models:
        raise ConfigError(f"--arch {arch}: cannot be combined with a model; give one of them")
    return named_network(arch, **{"width": 64, **given})


def latency_asked_for(
    wanted: bool, *, device: str | None, threads: int | None
) -> LatencyRequest | None:
    """What `--latency` asks for, or None where nothing is to be timed.

    Raises:
        ConfigError: for options that would have no effect.
    """
    if wanted:
        return LatencyRequest(device or "auto", threads)
    for flag, value in (("--device", device), ("--threads", threads)):
        if value is not None:
            raise ConfigError(f"{flag} {value}: only matters for --latency; give that too")
    return None


def named_network(arch: str, *, in_channels: int = 3, **settings: Any) -> TappedNetwork:
    """The network of that name, with what is usual for it unless told otherwise."""
    return build_network(arch, in_channels=in_channels, **settings)


def _files(path: Path) -> list[Path]:
    if not path.expanduser().is_dir():
        return [path]
    names = ("teacher.safetensors", "student.safetensors")
    found = [path / name for name in names if (path / name).exists()]
    return found or [generator_of(path)]


def _from_file(path: Path, size: int | None, part: str | None) -> Subject:
    path = path.expanduser()
    model = open_model(path, part)
    own_size = model.header["input"]["size"][0]
    return Subject(model.header["role"] or "generator", model.network, size or own_size, path)


def _row(subject: Subject, batch_size: int) -> Json:
    network, size = subject.network, subject.size
    channels = network.settings()["in_channels"]
    cost = measure_cost(network, (batch_size, channels, size, size))
    return {
        "role": subject.role,
        "arch": network.arch,
        "width": network.width,
        "params": cost.params,
        "macs": cost.macs,
        "macs_torchprofile": cost.macs_torchprofile,
        "bytes": subject.file.stat().st_size if subject.file else cost.size_bytes,
        "input": list(cost.input),
    }


def profile_table(paths: list[Path]) -> None:
    """Shows the costs of these files side by side, with the FID if one was computed."""
    rows = []
    for path in paths:
        row = _row(_from_file(path, None, None), 1)
        score = latest_fid(path, open_model(path).header["step"])
        rows.append(row | {"fid": score["fid"]} if score else row)
    show_profile({"models": rows})


def show_profile(document: Json) -> None:
    """Prints the costs, one column per model, and how they compare with the papers' original."""
    rows = document["models"]
    titles = ["", *(f"{row['role']} {row['arch']} {row['width']}" for row in rows)]
    table = [
        ["parameters", *(f"{row['params']:,}" for row in rows)],
        ["MACs (true)", *(f"{row['macs']:,}" for row in rows)],
        ["MACs (torchprofile's rule)", *(f"{row['macs_torchprofile']:,}" for row in rows)],
        ["bytes", *(f"{row['bytes']:,}" for row in rows)],
    ]
    if len(rows) == 2:
        titles.append("ratio")
        for line, name in zip(table, ("params", "macs", "macs_torchprofile", "bytes"), strict=True):
            line.append(f"{rows[0][name] / rows[1][name]:.2f}x")
    table.append(["input", *("x".join(map(str, row["input"])) for row in rows)])
    if any("fid" in row for row in rows):
        table.append(["FID", *(f"{row['fid']:.2f}" if "fid" in row else "" for row in rows)])
    if latency := document.get("latency"):
        ends = "{latency_ms:.1f} ({latency_range_ms[0]:.1f} to {latency_range_ms[1]:.1f})"
        table.append(["ms, median of a warm pass", *(ends.format(**row) for row in rows)])
        if len(rows) == 2:
            table[-1].append(f"{document['ratio']['latency_ms']:.2f}x")
        table.append(["ms in plain eager", *(f"{row['latency_eager_ms']:.1f}" for row in rows)])
        if len(rows) == 2:
            table[-1].append(f"{rows[0]['latency_eager_ms'] / rows[1]['latency_eager_ms']:.2f}x")
    console.print_table(titles, [line + [""] * (len(titles) - len(line)) for line in table])
    if latency:
        console.stdout.print(
            f"timed on {latency['device']}, {latency['threads']} threads, {latency['backend']}; "
            "MACs are not latency"
        )
    _show_reference(rows[-1])


def _show_reference(row: Json) -> None:
    if row["input"] != [1, 3, 256, 256] or row["arch"] in NO_REFERENCE:
        return
    original = _row(Subject("original", named_network("resnet9", width=64), 256), 1)
    shares = ", ".join(f"{name} {original[name] / row[name]:.1f}x" for name in FIGURES)
    console.stdout.print(f"against ResNet-9 width 64, the 'original' of published tables: {shares}")
