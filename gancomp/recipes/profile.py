"""`gancomp profile`: what a network costs, by both rules, and how much smaller the student is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gancomp import console
from gancomp.config import Json
from gancomp.engine.run import latest_run
from gancomp.errors import ConfigError
from gancomp.export.model import open_model
from gancomp.metrics.cost import measure_cost
from gancomp.networks.base import TappedNetwork
from gancomp.recipes.models import generator_of
from gancomp.registry import build_network

# what the papers' tables compress: ResNet-9 of width 64 at 256 px
REFERENCE = {"arch": "resnet9", "width": 64}
FIGURES = ("params", "macs", "macs_torchprofile")


def profile_document(
    models: list[Path],
    *,
    network: TappedNetwork | None = None,
    size: int | None = None,
    batch_size: int = 1,
    part: str | None = None,
) -> Json:
    """Costs of the named models, of `network`, of the latest run, or of the default pair.

    Args:
        models: model files or runs (a run stands for its teacher and student).
        network: instead of files, a network as built from its name.
        size: height and width; by default what the model was trained for.
        batch_size: MACs are for the whole batch.
        part: network of a multi-network checkpoint.

    Returns: the document of `profile --json`: `models`, and `ratio` (first over last) if two.

    Raises:
        ConfigError, CheckpointError: if a model cannot be opened or run at that size.
    """
    for flag, value in (("--size", size), ("--batch-size", batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag} {value}: must be at least 1")
    if network is not None:
        rows = [_row("network", network, size or 256, batch_size)]
    else:
        paths = models or [path for path in [latest_run()] if path is not None]
        rows = [_file_row(path, size, batch_size, part) for item in paths for path in _files(item)]
    if not rows:
        rows = [
            _row(role, named_network("mobile-resnet9", width=width), size or 256, batch_size)
            for role, width in (("teacher", 64), ("student", 16))
        ]
    document: Json = {"models": rows}
    if len(rows) == 2:
        document["ratio"] = {name: rows[0][name] / rows[1][name] for name in FIGURES}
    return document


def network_asked_for(
    arch: str | None, settings: Json, models: list[Path], part: str | None
) -> TappedNetwork | None:
    """The network of `--arch`, or None where files are to be profiled.

    Args:
        arch: `--arch`.
        settings: `width`, `norm`, `in_channels`, None where they were not given.
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


def named_network(
    arch: str, *, width: int, norm: str | None = None, in_channels: int = 3
) -> TappedNetwork:
    """The network of that name, with the norm that is usual for it unless told otherwise."""
    settings: dict[str, Any] = {"width": width, "in_channels": in_channels}
    return build_network(arch, **settings, **({"norm": norm} if norm else {}))


def _files(path: Path) -> list[Path]:
    if not path.expanduser().is_dir():
        return [path]
    names = ("teacher.safetensors", "student.safetensors")
    found = [path / name for name in names if (path / name).exists()]
    return found or [generator_of(path)]


def _file_row(path: Path, size: int | None, batch_size: int, part: str | None) -> Json:
    model = open_model(path.expanduser(), part)
    own_size = model.header["input"]["size"][0]
    row = _row(model.header["role"] or "generator", model.network, size or own_size, batch_size)
    return row | {"bytes": path.expanduser().stat().st_size}


def _row(role: str, network: TappedNetwork, size: int, batch_size: int) -> Json:
    channels = network.settings()["in_channels"]
    cost = measure_cost(network, (batch_size, channels, size, size))
    return {
        "role": role,
        "arch": network.arch,
        "width": network.width,
        "params": cost.params,
        "macs": cost.macs,
        "macs_torchprofile": cost.macs_torchprofile,
        "bytes": cost.size_bytes,
        "input": list(cost.input),
    }


def profile_table(paths: list[Path]) -> None:
    """Shows the costs of these files side by side."""
    rows = [_file_row(path, None, 1, None) for path in paths]
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
        ["input", *("x".join(map(str, row["input"])) for row in rows)],
    ]
    if len(rows) == 2:
        titles.append("ratio")
        for line, name in zip(
            table, ("params", "macs", "macs_torchprofile", "bytes"), strict=False
        ):
            line.append(f"{rows[0][name] / rows[1][name]:.2f}x")
        table[-1].append("")
    console.print_table(titles, table)
    _show_reference(rows[-1])


def _show_reference(row: Json) -> None:
    if row["input"] != [1, 3, 256, 256] or row["arch"] == "patchgan":
        return
    original = _row("original", named_network(**REFERENCE), 256, 1)  # type: ignore[arg-type]  # a literal above
    shares = ", ".join(f"{name} {original[name] / row[name]:.1f}x" for name in FIGURES)
    console.stdout.print(f"against ResNet-9 width 64, the 'original' of published tables: {shares}")
