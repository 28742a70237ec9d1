"""What every benchmark hands out: who was timed, on what machine, and how much faster who was."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

import gancomp
from gancomp import console
from gancomp.metrics.latency import Latency
from gancomp.settings import Json
from gancomp.threads import compute_on

NUM_SHOWN = 12  # operators of a profile
KERNELS = "all kernels"
CPU_INFO = Path("/proc/cpuinfo")


def use_threads(threads: int | None) -> None:
    """Sets the CPU threads of this process, if asked to.

    Raises:
        ConfigError: if the number is below 1.
    """
    if threads is not None:
        compute_on(threads)


def machine(device: torch.device) -> Json:
    """What the figures of a benchmark hold for: device, threads and versions."""
    return {
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "gancomp": gancomp.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return f"cpu: {line.partition(':')[2].strip()}"
    return f"cpu: {platform.processor() or platform.machine()}"


def rows(
    timed: Mapping[str, Latency], *, num_images: int, peak_memory_mb: Mapping[str, float] | None
) -> Json:
    """One JSON row per contestant.

    Args:
        timed: by contestant.
        num_images: that one run works through, for images/s by the median.
        peak_memory_mb: by contestant, where it was measured.
    """
    result: Json = {}
    for name, latency in timed.items():
        result[name] = {
            "median_ms": round(latency.median_ms, 3),
            "min_ms": round(latency.min_ms, 3),
            "max_ms": round(latency.max_ms, 3),
            "runs": latency.num_runs,
            "images_per_second": round(num_images / latency.median_ms * 1e3, 4),
        }
        if latency.processor_ms is not None:
            result[name]["processor_ms"] = round(latency.processor_ms, 3)
        if peak_memory_mb is not None:
            result[name]["peak_memory_mb"] = round(peak_memory_mb[name], 1)
    return result


def speedups(timed: Mapping[str, Latency], *, of: str) -> dict[str, float]:
    """How many times faster the contestant `of` is than each other one, by their medians."""
    return {
        name: round(latency.median_ms / timed[of].median_ms, 3)
        for name, latency in timed.items()
        if name != of
    }


def processor_speedups(timed: Mapping[str, Latency], *, of: str) -> dict[str, float]:
    """How many times less processor time `of` takes than each other one, where it was measured."""
    ours = timed[of].processor_ms
    return {
        name: round(latency.processor_ms / ours, 3)
        for name, latency in timed.items()
        if name != of and ours and latency.processor_ms is not None
    }


def by_operator(
    run: Callable[[], object], device: torch.device, *, num_runs: int = 3
) -> dict[str, float]:
    """Milliseconds of one run in each operator itself, the costliest first.

    The profiler slows short operators down: these are shares rather than times. On a GPU it is the
    time of the kernels that an operator starts, and `all kernels` is that of all there are.
    """
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities) as profiler:
        for _ in range(num_runs):
            run()
    spent: dict[str, float] = {}
    for event in profiler.key_averages():
        if event.device_type.name == "CPU":
            spent[event.key] = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        else:  # a kernel, which is counted above once more, with the operator that started it
            spent[KERNELS] = spent.get(KERNELS, 0.0) + event.self_device_time_total
    costliest = sorted(spent, key=lambda key: -spent[key])[:NUM_SHOWN]
    return {key: round(spent[key] / num_runs / 1e3, 3) for key in costliest}


def show(document: Json) -> None:
    """Prints a benchmark's document as a table, the machine below it."""
    titles = ["", "median ms", "min to max", "images/s", "faster by"]
    worked = document["processor_speedup"]
    with_processor = any("processor_ms" in row for row in document["contestants"].values())
    with_memory = any("peak_memory_mb" in row for row in document["contestants"].values())
    table = []
    for name, row in document["contestants"].items():
        ratio = document["speedup"].get(name)
        line = [
            name,
            f"{row['median_ms']:.1f}",
            f"{row['min_ms']:.1f} to {row['max_ms']:.1f}",
            f"{row['images_per_second']:.2f}",
            "" if ratio is None else f"{ratio:.2f}x",
        ]
        if with_processor:
            line.append(f"{row['processor_ms']:.1f}" if "processor_ms" in row else "")
            line.append(f"{worked[name]:.2f}x" if name in worked else "")
        if with_memory:
            line.append(f"{row['peak_memory_mb']:.0f}" if "peak_memory_mb" in row else "")
        table.append(line)
    titles += ["processor ms", "less by"] * with_processor + ["peak MiB"] * with_memory
    console.print_table(titles, table)
    console.stdout.print(
        f"{document['of']} is faster than the others by so much"
        + (", and its processor time is less by so much" if with_processor else "")
    )
    facts = document["machine"]
    console.stdout.print(
        f"{document['what']}; {facts['device']}, {facts['threads']} threads, "
        f"torch {facts['torch']}, Python {facts['python']}, gancomp {facts['gancomp']}"
    )
    for note in document.get("notes", ()):
        console.stdout.print(note)


def document(
    name: str,
    what: str,
    timed: Mapping[str, Latency],
    *,
    of: str,
    device: torch.device,
    num_images: int,
    peak_memory_mb: Mapping[str, float] | None = None,
) -> Json:
    """The JSON document that every benchmark starts from.

    Args:
        name: of the benchmark.
        what: one phrase that says what was run.
        timed: by contestant.
        of: the contestant whose speed-up is stated.
        device: where it ran.
        num_images: per run.
        peak_memory_mb: by contestant, where it was measured.
    """
    return {
        "bench": name,
        "what": what,
        "of": of,
        "contestants": rows(timed, num_images=num_images, peak_memory_mb=peak_memory_mb),
        "speedup": speedups(timed, of=of),
        "processor_speedup": processor_speedups(timed, of=of),
        "machine": machine(device),
    }
