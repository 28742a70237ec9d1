"""`gancomp bench infer`: the student as gancomp runs it, step by step, beside plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from gancomp.bench.report import by_operator, document, use_threads
from gancomp.engine.device import choose_device
from gancomp.errors import ConfigError
from gancomp.export.deployed import runtime_of
from gancomp.inference.models import check_takes, check_translates, open_any
from gancomp.metrics.latency import time_in_turns
from gancomp.networks.accelerate import Rewrites, accelerate
from gancomp.networks.base import TappedNetwork
from gancomp.networks.plain import plain_copy
from gancomp.networks.resnet import ResNetGenerator
from gancomp.paths import expanded
from gancomp.registry import build_network, is_code
from gancomp.settings import Json
from gancomp.sizes import as_size

TEACHER_WIDTH = 64
ORIGINAL = "ResNet-9, eager"
PLAIN, FAST = "student, eager", "student, fast"
# each step with the ones before it; the last is all that `accelerate` does
STEPS = {
    "+ norms that keep it": Rewrites(tiled_head=False, in_place=False),
    "+ tiled head": Rewrites(tiled_head=True, in_place=False),
    "+ in place": Rewrites(tiled_head=True, in_place=True),
}
Contestants = dict[str, Callable[[], object]]


def bench_infer(
    *,
    arch: str = "mobile-resnet9",
    width: int = 16,
    size: int = 256,
    batch_size: int = 1,
    rounds: int = 10,
    device: str = "auto",
    threads: int | None = None,
    files: Sequence[Path] = (),
) -> Json:
    """Times ResNet-9, teacher and student, plain and fast, in turns in one process.

    Args:
        arch: architecture of teacher and student.
        width: of the student; the teacher has 64.
        size: height and width of the images.
        batch_size: images per run.
        rounds: timed runs of each contestant.
        device: as `--device`.
        threads: CPU threads.
        files: models, as gancomp runs them, and exported files, by their runtimes.

    Returns: the document of a benchmark, with `profile`: milliseconds by operator of one run of
        the student, plain and fast, under the profiler (which slows short operators down), and
        `largest_difference` between the images of the two.

    Raises:
        ConfigError: for settings that no network can be built or run with.
    """
    for field, value in (("size", size), ("batch_size", batch_size), ("rounds", rounds)):
        if value < 1:
            raise ConfigError(f"`{field}` {value}: must be at least 1")
    place = choose_device(device)
    use_threads(threads)
    student = _network(arch, width, place)
    images = _images(student, batch_size, size, place)
    contestants = _others(arch, images, place) | _student_steps(student, images)
    contestants |= _of_files(files, images, device)
    with torch.inference_mode():
        timed = time_in_turns(contestants, num_runs=rounds, device=place, settled=True)
        profiles = {name: by_operator(contestants[name], place) for name in (PLAIN, FAST)}
        difference = (plain_copy(student)(images) - accelerate(student)(images)).abs().max().item()
    what = (
        f"{batch_size} image(s) of {size}x{size}, float32; {arch} of width {TEACHER_WIDTH} "
        f"(teacher) and {width} (student), ResNet-9 of width {TEACHER_WIDTH}"
    )
    report = document("infer", what, timed, of=FAST, device=place, num_images=batch_size)
    notes = [
        "eager: torch's own layers, contiguous; each + has those above it, too, and the last is "
        "the fast one once more",
        f"largest difference between the student's images, plain and fast: {difference:.1e}",
    ]
    return report | {"profile": profiles, "largest_difference": difference, "notes": notes}


def _of_files(files: Sequence[Path], images: Tensor, device: str) -> Contestants:
    """Each file by its name and what runs it.

    Raises:
        CheckpointError, ConfigError: if it cannot be opened, or does not take these images.
    """
    contestants: Contestants = {}
    for file in files:
        model = open_any(expanded(file), None, device)
        check_translates(model, str(file))
        network = model.network.to(images.device)
        _check_size(f"{file}: `size`", network, images.shape[-1])
        check_takes(network, as_size(*images.shape[2:]), str(file))
        if network.settings()["in_channels"] != images.shape[1]:
            raise ConfigError(f"{file}: takes other images than RGB; give another generator")
        how = runtime_of(network).get("runtime", "gancomp")
        contestants[f"{file} ({how})"] = partial(accelerate(network), images)
    return contestants


def _network(arch: str, width: int, device: torch.device) -> TappedNetwork:
    if is_code(arch):
        raise ConfigError(
            f"`arch` {arch}: is code of your own, which bench does not time; gancomp profile "
            f"--latency --arch {arch} does"
        )
    network = build_network(arch, width=width).eval().to(device)
    if network.arch == "patchgan":
        raise ConfigError("`arch` patchgan: is a discriminator; choose a generator")
    return network


def _images(network: TappedNetwork, batch_size: int, size: int, device: torch.device) -> Tensor:
    _check_size("`size`", network, size)
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(batch_size, 3, size, size, generator=generator) * 2 - 1).to(device)


def _check_size(named: str, network: TappedNetwork, size: int) -> None:
    if size % network.size_multiple:
        raise ConfigError(
            f"{named} {size}: {network.arch} needs a multiple of {network.size_multiple}"
        )


def _others(arch: str, images: Tensor, device: torch.device) -> Contestants:
    """The original of the papers' tables, and the teacher."""
    original = plain_copy(_network("resnet9", TEACHER_WIDTH, device))
    teacher = _network(arch, TEACHER_WIDTH, device)
    return {
        ORIGINAL: partial(original, images),
        "teacher, eager": partial(plain_copy(teacher), images),
        "teacher, fast": partial(accelerate(teacher), images),
    }


def _student_steps(student: TappedNetwork, images: Tensor) -> Contestants:
    """The student plain, with one step after the other, and as gancomp runs it."""
    plain = plain_copy(student)
    contestants: Contestants = {PLAIN: partial(plain, images)}
    if isinstance(student, ResNetGenerator) and images.device.type == "cpu":
        moved = plain_copy(student).to(memory_format=torch.channels_last)
        turned = images.contiguous(memory_format=torch.channels_last)
        contestants["+ channels_last"] = partial(moved, turned)
        for name, rewrites in STEPS.items():
            contestants[name] = partial(accelerate(student, rewrites), images)
    return contestants | {FAST: partial(accelerate(student), images)}
