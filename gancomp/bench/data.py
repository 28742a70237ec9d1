"""`gancomp bench data`: our loader beside Pillow and torchvision's transforms in a DataLoader."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gancomp.bench import report
from gancomp.data.images import open_image
from gancomp.data.layout import locate, scan
from gancomp.data.loader import batches
from gancomp.data.splits import Split
from gancomp.data.unpaired import UnpairedImages
from gancomp.errors import ConfigError, DataError
from gancomp.metrics.latency import time_in_turns
from gancomp.settings import Json

LITERAL, OURS, FIRST = "PIL + torchvision", "gancomp", "gancomp, first pass"
NUM_STEPS = 400  # per run: what is read ahead while another has its turn is a small part
WAIT_STEPS = 30
Batches = Iterator[dict[str, Tensor]]


@dataclass(frozen=True)
class DataBench:
    """What is loaded, and how; see `gancomp bench data --help`."""

    dataset: str
    size: int = 256
    batch_size: int = 1
    workers: int = 2
    rounds: int = 5
    step_ms: float = 100.0
    num_steps: int = NUM_STEPS


class LiteralImages(Dataset[dict[str, Tensor]]):
    """One image of each pile, as released code of the family loads them: decoded every time."""

    def __init__(self, split: Split, *, size: int, load_size: int) -> None:
        from torchvision import transforms

        self.split = split
        self.transform = transforms.Compose(
            [
                transforms.Resize((load_size, load_size), transforms.InterpolationMode.BICUBIC),
                transforms.RandomCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            ]
        )

    def __len__(self) -> int:
        return max(len(self.split.source), len(self.split.target))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        source = self.split.source[index % len(self.split.source)]
        return {
            "source": self._load(source),
            "target": self._load(random.choice(self.split.target)),
        }

    def _load(self, path: Path) -> Tensor:
        image: Tensor = self.transform(open_image(path).convert("RGB"))
        return image


def bench_data(request: DataBench, say: Callable[[str], None]) -> Json:
    """Times runs of batches in turns: ours with all images in memory, ours at first, the plain way.

    Raises:
        ConfigError: for numbers out of range.
        DataError: if the dataset is missing or paired.
    """
    for option in ("size", "batch_size", "rounds", "num_steps", "step_ms"):
        value = getattr(request, option)
        if value < 1:
            raise ConfigError(f"`{option}` {value}: must be at least 1")
    if request.workers < 0:
        raise ConfigError(f"`workers` {request.workers}: use 0 or more")
    files = scan(locate(request.dataset, say), say=say)
    if files.task != "unpaired":
        raise DataError(f"`dataset` {request.dataset}: is paired; give an unpaired dataset")
    split, load_size = files.train, round(request.size * 286 / 256)
    warm = fill(request, new_reader(request, split, load_size))
    literal = literal_batches(request, split, load_size)
    contestants: dict[str, Callable[[], object]] = {
        LITERAL: lambda: take(literal, request.num_steps),
        OURS: lambda: take(warm, request.num_steps),
        FIRST: lambda: take(
            our_batches(request, new_reader(request, split, load_size)), request.num_steps
        ),
    }
    timed = time_in_turns(contestants, num_runs=request.rounds, warm_up=1, processor=None)
    streams = {
        LITERAL: literal,
        OURS: warm,
        FIRST: our_batches(request, new_reader(request, split, load_size)),
    }
    shares = {name: wait_share(stream, request.step_ms) for name, stream in streams.items()}
    document = report.document(
        "data",
        f"{request.num_steps} batches of {request.batch_size}+{request.batch_size} images at "
        f"{request.size} pixels, {request.workers} workers, {request.rounds} rounds in turns",
        timed,
        of=OURS,
        device=torch.device("cpu"),
        num_images=2 * request.batch_size * request.num_steps,
    )
    shown = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return document | {
        "wait_share": shares,
        "simulated_step_ms": request.step_ms,
        "notes": [
            f"time spent waiting beside a simulated step of {request.step_ms:g} ms (it sleeps, as "
            f"a processor does while a GPU computes): {shown}; a training run logs its own "
            "data_wait in metrics.jsonl",
        ],
    }


def new_reader(request: DataBench, split: Split, load_size: int) -> UnpairedImages:
    """A reader with an empty cache."""
    return UnpairedImages(split, size=request.size, load_size=load_size, seed=0, cached=True)


def our_batches(request: DataBench, reader: UnpairedImages) -> Batches:
    """Ours, from the first batch on."""
    return batches(reader, batch_size=request.batch_size, seed=0, workers=request.workers)


def fill(request: DataBench, reader: UnpairedImages) -> Batches:
    """Batches of a reader, taken until every image that can be decoded is in its cache."""
    stream = our_batches(request, reader)
    assert reader.cache is not None
    before = -1
    # targets are drawn at random: an epoch that finds none that is missing may end it too early by
    # a few images of thousands
    while before < (filled := reader.cache.num_filled()) < reader.cache.num_images:
        before = filled
        take(stream, max(1, len(reader) // request.batch_size))
    return stream


def literal_batches(request: DataBench, split: Split, load_size: int) -> Batches:
    """The plain way, epoch after epoch."""
    loader = DataLoader(
        LiteralImages(split, size=request.size, load_size=load_size),
        batch_size=request.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=request.workers,
        generator=torch.Generator().manual_seed(0),
    )
    while True:
        yield from loader


def take(stream: Batches, count: int) -> None:
    """Takes that many batches."""
    for _ in itertools.islice(stream, count):
        pass


def wait_share(stream: Batches, step_ms: float, *, num_steps: int = WAIT_STEPS) -> float:
    """Part of the time, 0 to 1, spent waiting for the next batch between steps that sleep."""
    next(stream)  # workers have to start
    waited, began = 0.0, time.perf_counter()
    for _ in range(num_steps):
        time.sleep(step_ms / 1e3)
        asked = time.perf_counter()
        next(stream)
        waited += time.perf_counter() - asked
    return round(waited / (time.perf_counter() - began), 5)
