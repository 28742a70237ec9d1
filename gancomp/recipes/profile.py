"""`gancomp profile`: what a network costs, by both rules, and how much smaller the student is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from gancomp import console
from gancomp.engine.device import choose_device
from gancomp.engine.run import latest_run
from gancomp.errors import ConfigError, RunError
from gancomp.export.deployed import is_deployed, runtime_of, size_on_disk
from gancomp.export.model import LoadedModel, open_model
from gancomp.inference.models import check_takes, generator_of, open_any
from gancomp.metrics.cost import measure_cost
from gancomp.metrics.latency import Latency, time_in_turns
from gancomp.networks.accelerate import FastGenerator, accelerate
from gancomp.networks.base import TappedNetwork
from gancomp.networks.own import check_width
from gancomp.networks.plain import plain_copy
from gancomp.networks.synthesis import SynthesisDiscriminator, SynthesisGenerator
from gancomp.paths import expanded
from gancomp.recipes.deployment import MOST_S, add_ways, show_ways
from gancomp.registry import DISCRIMINATORS, build_network, is_code, network_parameters
from gancomp.scoring.scores import latest_fid
from gancomp.settings import Json
from gancomp.sizes import Size, as_size, shown_size, sides, square_side
from gancomp.threads import compute_on

# what CycleGAN's generator is no original of
NO_REFERENCE = (*DISCRIMINATORS, "srresnet", "stylegan2", "biggan")
FIGURES = ("params", "macs", "macs_torchprofile")
SYNTHESIS = (SynthesisGenerator, SynthesisDiscriminator)  # whose images are of one size only
PARTS = {
    "convolutions": "  of it convolutions",
    "linear": "  of it linear layers",
    "products": "  of it products (attention)",
    "filters": "fixed filters, not in it",
}


@dataclass(frozen=True)
class Subject:
    """A network to be profiled.

    Attributes:
        role: teacher, student, or what else it is called.
        network: in eval mode.
        size: of its input in pixels; of its output, if it makes images of noise.
        file: where it comes from, if from a file.
    """

    role: str
    network: TappedNetwork
    size: Size
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
    size: Size | None = None,
    batch_size: int = 1,
    part: str | None = None,
    latency: LatencyRequest | None = None,
) -> Json:
    """Costs of the named models, of `network`, of the latest run, or of the default pair.

    Args:
        models: model files or runs (a run stands for its teacher and student), exported files.
        network: instead of files, a network as built from its name.
        size: by default what the model was trained for.
        batch_size: MACs are for the whole batch.
        part: network of a multi-network checkpoint.
        latency: time the networks too.

    Returns: the document of `profile --json`: `models`, and `ratio` (first over last) if two.

    Raises:
        ConfigError, CheckpointError: if a model cannot be opened or run at that size.
    """
    if size is not None and min(sides(size)) < 1:
        raise ConfigError(f"`size` {shown_size(size)}: must be at least 1")
    if batch_size < 1:
        raise ConfigError(f"`batch_size` {batch_size}: must be at least 1")
    subjects = [_subject("network", network, size)] if network is not None else []
    if network is None:
        paths = models or [path for path in [latest_run()] if path is not None]
        device = (latency and latency.device) or "auto"
        subjects = [_from_file(path, size, part, device) for item in paths for path in _files(item)]
    if not subjects:
        subjects = [
            _subject(role, build_network("mobile-resnet9", width=width), size)
            for role, width in (("teacher", 64), ("student", 16))
        ]
    document: Json = {"models": [_row(subject, batch_size) for subject in subjects]}
    if latency is not None and any(is_deployed(item.file) for item in subjects if item.file):
        networks = [subject.network.eval() for subject in subjects]
        document |= add_ways(document["models"], networks, latency.threads)
    elif latency is not None:
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
        compute_on(request.threads)
    networks = [subject.network.eval().to(device) for subject in subjects]
    fast = [accelerate(network) for network in networks]
    timed = _time_pairs(fast, rows, device)
    for row, (quick, eager) in zip(rows, timed, strict=True):
        row["latency_ms"] = round(quick.median_ms, 3)
        row["latency_range_ms"] = [round(quick.min_ms, 3), round(quick.max_ms, 3)]
        row["latency_eager_ms"] = round(eager.median_ms, 3)
    ways = ", ".join(dict.fromkeys(item.how for item in fast))
    return {
        "latency": {
            "device": device.type,
            "threads": torch.get_num_threads(),
            "runs": timed[0][0].num_runs,
            "backend": f"torch {torch.__version__}, float32, {ways}",
        }
    }


def _time_pairs(
    fast: list[FastGenerator], rows: list[Json], device: torch.device
) -> list[tuple[Latency, Latency]]:
    """Each network as gancomp runs it, and out of torch's own layers in eager mode, in turns."""
    contestants: dict[str, Callable[[], object]] = {}
    for index, (quick, row) in enumerate(zip(fast, rows, strict=True)):
        with device:
            inputs = quick.network.example_input(row["input"])
        contestants[f"{index} fast"] = partial(quick, inputs)
        contestants[f"{index} eager"] = partial(plain_copy(quick.network), inputs)
    with torch.inference_mode():
        timed = time_in_turns(contestants, device=device, settled=True, seconds=MOST_S)
    return [(timed[f"{index} fast"], timed[f"{index} eager"]) for index in range(len(fast))]


def network_asked_for(
    arch: str | None,
    settings: Json,
    models: list[Path],
    part: str | None,
    *,
    size: Size | None = None,
    weights: bool = True,
) -> TappedNetwork | None:
    """The network of `--arch`, or None where files are to be profiled.

    Args:
        arch: `--arch`.
        settings: `width`, `width_argument`, `norm`, `in_channels`, `blocks`, `scale`, None where
            they were not given.
        models: model files or runs.
        part: `--part`.
        size: `--size`, which networks for synthesis are built for.
        weights: whether it must be able to run; drawing weights takes large networks a while.

    Raises:
        ConfigError: for options that would have no effect, or a network that cannot be built.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if part is not None and not models:
        raise ConfigError(f"`part` {part}: is a part of a model file; give that file too")
    if arch is None:
        for name in given:
            raise ConfigError(f"`{name}` {given[name]}: describes the network of `arch`; give that")
        return None
    if models and is_code(arch):
        return None  # the code of these models
    if models:
        raise ConfigError(f"`arch` {arch}: cannot be combined with a model; give one of them")
    if size is not None and "resolution" in network_parameters(arch):
        given["resolution"] = square_side(size, arch)
    if is_code(arch):
        check_width(arch, given)
    with torch.device("cpu" if weights else "meta"):
        return build_network(arch, **given)


def latency_asked_for(
    wanted: bool, *, device: str | None, threads: int | None
) -> LatencyRequest | None:
    """What `--latency` asks for, or None where nothing is to be timed.

    Raises:
        ConfigError: for options that would have no effect.
    """
    if wanted:
        return LatencyRequest(device or "auto", threads)
    for field, value in (("device", device), ("threads", threads)):
        if value is not None:
            raise ConfigError(f"`{field}` {value}: only matters for `latency`; give that too")
    return None


def _files(path: Path) -> list[Path]:
    if not expanded(path).is_dir() or is_deployed(path):
        return [path]
    names = ("teacher.safetensors", "student.safetensors")
    found = [path / name for name in names if (path / name).exists()]
    return found or [generator_of(path)]


def _from_file(path: Path, size: Size | None, part: str | None, device: str = "auto") -> Subject:
    return _of_model(open_any(expanded(path), part, device), size)


def _of_model(model: LoadedModel, size: Size | None) -> Subject:
    own_size = as_size(*model.header["input"]["size"])
    role = model.header["role"] or "generator"
    return _subject(role, model.network, size or own_size, model.path)


def _subject(
    role: str, network: TappedNetwork, size: Size | None, file: Path | None = None
) -> Subject:
    """The network at that size, by default at the one it is made for, or else at 256 pixels.

    Raises:
        ConfigError: if it is made for another size.
    """
    if not isinstance(network, SYNTHESIS):
        if size is not None:
            check_takes(network, size, str(file))
        return Subject(role, network, size or 256, file)
    if size is not None and size != network.resolution:
        raise ConfigError(
            f"`size` {shown_size(size)}: this {network.arch} is made for images of "
            f"{network.resolution} pixels; remove it"
        )
    return Subject(role, network, network.resolution, file)


def _row(subject: Subject, batch_size: int) -> Json:
    network = subject.network
    cost = measure_cost(network.described, _input_shape(subject, batch_size))
    row = {
        "role": subject.role,
        "arch": network.arch,
        "width": network.width,
        "params": cost.params,
        "macs": cost.macs,
        "macs_torchprofile": cost.macs_torchprofile,
        "bytes": size_on_disk(subject.file) if subject.file else cost.size_bytes,
        "input": list(cost.input),
        "macs_parts": asdict(cost.parts),
    } | runtime_of(network)
    return row | {"output": list(cost.output)} if isinstance(network, SYNTHESIS) else row


def _input_shape(subject: Subject, batch_size: int) -> tuple[int, ...]:
    network, size = subject.network, subject.size
    if isinstance(network, SynthesisGenerator):
        return batch_size, network.latent_size
    return batch_size, network.settings().get("in_channels", 3), *sides(size)


def profile_table(paths: list[Path]) -> None:
    """Shows the costs of these files side by side, with the FID if one was computed."""
    rows = []
    for path in paths:
        model = open_model(path)
        row = _row(_of_model(model, None), 1)
        try:
            fid = latest_fid(path, model.header["step"])
        except RunError as error:  # a table of costs does not need it
            console.say(f"warning: {error}")
            fid = None
        rows.append(row if fid is None else row | {"fid": fid})
    if rows:  # none yet, if the time was over within a stage
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
    if any("output" in row for row in rows):
        table[2:2] = _parts_lines(rows)
    for name in ("input", "output"):
        if any(name in row for row in rows):
            table.append([name, *("x".join(map(str, row.get(name, []))) for row in rows)])
    if any("fid" in row for row in rows):
        table.append(["FID", *(f"{row['fid']:.2f}" if "fid" in row else "" for row in rows)])
    if latency := document.get("latency"):
        ends = "{latency_ms:.1f} ({latency_range_ms[0]:.1f} to {latency_range_ms[1]:.1f})"
        table.append(["ms, median of a warm pass", *(ends.format(**row) for row in rows)])
        if len(rows) == 2:
            table[-1].append(f"{document['ratio']['latency_ms']:.2f}x")
        eager = [row.get("latency_eager_ms") for row in rows]  # an exported file has none
        table.append(["ms in plain eager", *("" if ms is None else f"{ms:.1f}" for ms in eager)])
        if len(rows) == 2 and None not in eager:
            table[-1].append(f"{rows[0]['latency_eager_ms'] / rows[1]['latency_eager_ms']:.2f}x")
    console.print_table(titles, [line + [""] * (len(titles) - len(line)) for line in table])
    if latency:
        console.stdout.print(
            f"timed on {latency['device']}, {latency['threads']} threads, {latency['runs']} passes "
            f"each, {latency['backend']}; MACs are not latency"
        )
    if latency and "ways" in rows[0]:
        show_ways(rows)
    _show_reference(rows[-1])


def _parts_lines(rows: list[Json]) -> list[list[str]]:
    """A line of the table for each part of the MACs that any of these networks has."""
    return [
        [title, *(f"{row['macs_parts'][name]:,}" for row in rows)]
        for name, title in PARTS.items()
        if any(row["macs_parts"][name] for row in rows)
    ]


def _show_reference(row: Json) -> None:
    if row["input"] != [1, 3, 256, 256] or row["arch"] in NO_REFERENCE:
        return
    original = _row(Subject("original", build_network("resnet9"), 256), 1)
    shares = ", ".join(f"{name} {original[name] / row[name]:.1f}x" for name in FIGURES)
    console.stdout.print(f"against ResNet-9 width 64, the 'original' of published tables: {shares}")
