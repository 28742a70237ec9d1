"""Batches whose order follows from (seed, step) alone: a resumed run sees what it would have."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gancomp.data.images import (
    Say,
    warn_on_stderr,
)
from gancomp.data.indexed import ChosenCrops, Reader
from gancomp.data.transforms import to_float
from gancomp.data.workers import (
    LOOK_AGAIN_S,
    WorkerError,
    Workers,
    one_ahead,
    share,
    start_method,
    start_worker,
)
from gancomp.errors import ConfigError, DataError
from gancomp.seeding import derive_generator
from gancomp.threads import at_most

BATCHES_AHEAD = 4  # per worker: one slow file, or a checkpoint's burst of writing, is bridged


class IndexedDataset(Protocol):
    """What `batches` needs: `dataset[epoch, position]` is a sample, the same one every time.

    Positions reach beyond `len(dataset)` when a batch is larger than the dataset.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: tuple[int, int], /) -> dict[str, Tensor]: ...


class _Batch(NamedTuple):  # a tuple, because the loader pins those element by element
    tensors: dict[str, Tensor]  # empty where `chosen` says what is to be cut
    chosen: list[ChosenCrops]
    unreadable: list[str]
    error: DataError | None


def steps_per_epoch(dataset: IndexedDataset, batch_size: int) -> int:
    """Whole batches in an epoch (the rest is dropped), at least one.

    Raises:
        ConfigError: if `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"`batch_size` {batch_size}: use at least 1")
    return max(1, len(dataset) // batch_size)


def batches(
    dataset: IndexedDataset,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    workers: int = 0,
    device: torch.device | None = None,
    say: Say = warn_on_stderr,
    places: Sequence[int] | None = None,
) -> Generator[dict[str, Tensor], None, None]:
    """Endless batches `{role: (N, ...)}`; the k-th is the same for any `workers` and any start.

    Each epoch is a permutation of the dataset drawn from (seed, epoch); a remainder smaller than a
    batch is left out, a dataset smaller than a batch is gone through repeatedly. Closing the
    iterator ends the workers. uint8 samples `(H, W, 3)` come out as float32 `(N, 3, H, W)` in
    [-1, 1], converted once per batch and on the device, to which a quarter of the bytes is sent;
    floats and labels come out as they are.

    Args:
        dataset: read by (epoch, position).
        batch_size: samples per batch.
        seed: of the order.
        start_step: batches to skip, as a resumed run does; costs nothing.
        workers: processes that read ahead; 0 reads in this one. They ignore what asks to stop,
            SIGTERM from anyone but this process, which is to save first and then end them.
        device: where batches are sent, by a copy that nothing waits for; default: the CPU.
        say: is told once about each unreadable file.
        places: those of each batch that are wanted, where others read the rest; default: all.

    Raises:
        ConfigError: if `batch_size` is below 1 `workers` below 0 or far above the
            processors, or `start_step` below 0.
        DataError: from the dataset, in one line, whichever process read the file.
        WorkerError: if the workers cannot be started, find no room for a batch, or are ended.
    """
    steps_per_epoch(dataset, batch_size)
    if not 0 <= workers <= at_most():
        raise ConfigError(
            f"`workers` {workers}: use 0 (read in the main process) to {at_most()} on this machine"
        )
    if start_step < 0:
        raise ConfigError(f"start step {start_step}: use 0 or more")
    pinned = device is not None and device.type == "cuda"
    reader = dataset if isinstance(dataset, Reader) and dataset.cache is not None else None
    loader = DataLoader[_Batch](
        _Samples(dataset),  # type: ignore[arg-type]  # _collate makes batches of its samples
        batch_sampler=_Order(len(dataset), batch_size, seed, start_step, places),
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=start_worker,
        prefetch_factor=BATCHES_AHEAD if workers else None,
        multiprocessing_context=start_method(cached=reader is not None) if workers else None,
        timeout=LOOK_AGAIN_S if workers else 0,
        pin_memory=pinned and reader is None,
        # without one the loader draws a seed from the global generator
        generator=derive_generator(seed, "workers"),
    )
    return _delivered(loader, say, reader, device)


def _checked(loader: Iterable[_Batch], say: Say) -> Iterator[_Batch]:
    named: set[str] = set()
    for batch in loader:
        for message in batch.unreadable:
            if message not in named:
                named.add(message)
                say(message)
        if batch.error is not None:
            raise batch.error
        yield batch


def _delivered(
    loader: DataLoader[_Batch], say: Say, reader: Reader | None, device: torch.device | None
) -> Generator[dict[str, Tensor], None, None]:
    """Batches cut from the shared cache where they lie there, sent to the device, as floats."""
    send = _Sender(device)
    workers = Workers(loader) if loader.num_workers else None

    def cut(batch: _Batch) -> dict[str, Tensor]:
        if not batch.chosen:
            return batch.tensors
        assert reader is not None
        return cut_batch(reader, batch.chosen, pinned=send.stream is not None)

    found = map(cut, _checked(workers or loader, say))
    try:
        if send.stream is None:
            yield from one_ahead(map(send, found), workers)
            return
        for tensors in one_ahead(found, workers):
            yield send(tensors)  # by the caller's thread, whose stream is to wait for the copy
    finally:
        if workers:
            workers.end()


def cut_batch(
    reader: Reader, chosen: Sequence[ChosenCrops], *, pinned: bool = False
) -> dict[str, Tensor]:
    """The crops of several samples by role, `(N, ...)` of `reader.cut`; labels `(N,)`, if any.

    Args:
        reader: whose images they are.
        chosen: by `reader.choose`.
        pinned: in page-locked memory, from which copies to a GPU need no waiting.
    """
    batch: dict[str, Tensor] = {}
    for role in chosen[0].crops:
        cuts = [reader.cut(sample.crops[role]) for sample in chosen]  # views, mirrored ones aside
        shape = (len(cuts), *cuts[0].shape)
        batch[role] = torch.empty(shape, dtype=cuts[0].dtype, pin_memory=pinned)
        for image, cut in zip(batch[role], cuts, strict=True):
            image.copy_(cut)
    labels = [sample.label for sample in chosen if sample.label is not None]
    if labels:
        batch["label"] = torch.tensor(labels, pin_memory=pinned)
    return batch


class _Sender:
    """Brings batches to a device; on a GPU beside the step before, which is still computing."""

    def __init__(self, device: torch.device | None) -> None:
        self.device = device
        on_gpu = device is not None and device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]  # torch's lack

    def __call__(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.stream is not None:
            with torch.cuda.stream(self.stream):
                tensors = {
                    role: tensor.to(self.device, non_blocking=True)
                    for role, tensor in tensors.items()
                }
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self.stream)
            for tensor in tensors.values():
                tensor.record_stream(current)  # its memory is the other stream's
        return {
            role: to_float(tensor) if tensor.dtype == torch.uint8 else tensor
            for role, tensor in tensors.items()
        }


class _Order:
    """Endless lists of (epoch, position), from `start_step` on."""

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        start_step: int,
        places: Sequence[int] | None = None,
    ) -> None:
        self.places = range(batch_size) if places is None else places
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.start_step = start_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        steps = max(1, self.length // self.batch_size)
        epoch, step = divmod(self.start_step, steps)
        while True:
            generator = derive_generator(self.seed, "order", epoch)
            order = torch.randperm(self.length, generator=generator).tolist()
            for first in range(step * self.batch_size, steps * self.batch_size, self.batch_size):
                yield [
                    # the k-th time round a small dataset has positions of its own: new crops
                    (epoch, order[i % self.length] + i // self.length * self.length)
                    for i in (first + place for place in self.places)
                ]
            epoch, step = epoch + 1, 0


class _Samples(Dataset[dict[str, Tensor] | ChosenCrops | DataError]):
    """What a worker makes of an index: the sample, or what is to be cut from the shared cache.

    A DataError is handed on as a value: raised in a worker it would arrive as a traceback's text.
    """

    def __init__(self, dataset: IndexedDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: tuple[int, int]) -> dict[str, Tensor] | ChosenCrops | DataError:
        try:
            # not where this object was pickled on its way here: the cache stayed behind
            if isinstance(self.dataset, Reader) and self.dataset.cache is not None:
                return self.dataset.choose(index)
            return self.dataset[index]
        except DataError as error:
            return error


def _collate(samples: list[dict[str, Tensor] | ChosenCrops | DataError]) -> _Batch:
    read: list[dict[str, Tensor]] = []
    chosen: list[ChosenCrops] = []
    unreadable: list[str] = []
    for sample in samples:
        if isinstance(sample, DataError):
            return _Batch({}, [], unreadable, sample)
        if isinstance(sample, ChosenCrops):
            chosen.append(sample)
        else:
            read.append(sample)
        unreadable.extend(getattr(sample, "unreadable", ()))
    roles = read[0] if read else ()
    tensors = {role: torch.stack([sample[role] for sample in read]) for role in roles}
    try:
        return _Batch(share(tensors), chosen, unreadable, None)
    except WorkerError as error:
        return _Batch({}, [], unreadable, error)
