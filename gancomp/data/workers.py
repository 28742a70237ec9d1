"""The processes that read images ahead: how they start, what they outlive, how their end shows."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.queues
import os
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from concurrent.futures import Future, wait
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from gancomp.errors import DataError
from gancomp.signals import STOPPING, signals_held
from gancomp.threads import BackgroundThread

Item = TypeVar("Item")
LOOK_AGAIN_S = 0.5  # how often a wait looks whether the workers are still there
PATIENCE_S = 5.0  # for the batch under way, when nobody wants it any longer
SHARED_MEMORY = Path("/dev/shm")


class WorkerError(DataError):
    """The processes of --workers could not be started, lost a batch or were ended."""


class Workers(Generic[Item]):
    """What a loader with processes of its own yields.

    Args:
        loader: with a timeout of `LOOK_AGAIN_S`; its processes are started here.

    Raises:
        WorkerError: if they cannot be started; from the iterator, if one of them ended.
    """

    def __init__(self, loader: DataLoader[Item]) -> None:
        self.num_workers = loader.num_workers
        self.is_closed = False
        before = set(multiprocessing.active_children())
        try:
            with _inherited_by_forks(loader), _deaths_not_raised():
                self._batches: Iterator[Item] = iter(loader)
        except OSError as error:
            _forget_half_made(error)
            raise WorkerError(f"`workers` {self.num_workers}: {why_not_started(error)}") from error
        self._processes: set[BaseProcess] = set(multiprocessing.active_children()) - before

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while not self.is_closed:
            try:
                return next(self._batches)
            except (OSError, EOFError):
                # what a process sent is fetched from it, and it may be just about to be gone
                self._wait_for_an_end()
                self.check()
                raise
            except RuntimeError as error:
                self.check()
                if "Too many open files" in str(error) or "ancdata" in str(error):
                    raise WorkerError(
                        f"`workers` {self.num_workers}: too many files are open; raise the limit "
                        "with ulimit -n, or use fewer"
                    ) from error
                if "timed out" not in str(error):
                    raise
        raise StopIteration

    def _wait_for_an_end(self) -> None:
        sentinels: dict[Any, BaseProcess] = {
            process.sentinel: process for process in self._processes
        }
        for ready in connection.wait(list(sentinels), LOOK_AGAIN_S):
            sentinels[ready].join(LOOK_AGAIN_S)  # its descriptors are closed before it is gone

    def check(self) -> None:
        """Raises WorkerError if one of the processes has ended."""
        for process in self._processes:
            if process.exitcode is not None:
                raise WorkerError(
                    f"`workers` {self.num_workers}: {why_ended(process.exitcode)}; use fewer "
                    "(0 needs none) or a smaller `batch_size`"
                )

    def give_up(self) -> None:
        """Lets a thread that waits for the next batch go, within `LOOK_AGAIN_S`."""
        self.is_closed = True

    def end(self) -> None:
        """Ends the processes, whatever they are doing; torch would wait 5 s for each."""
        for process in self._processes:
            process.terminate()


def _forget_half_made(error: OSError) -> None:
    """Drops torch's iterator whose making failed, which complains about what it lacks."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = hook


def why_not_started(error: OSError) -> str:
    """Why Python could not make the processes and what they talk through."""
    if _is_about_shared_memory(error):
        return no_room()
    return f"no such process can be started ({error.strerror}); use fewer (0 needs none)"


def _is_about_shared_memory(error: OSError) -> bool:
    # semaphores live there; the calls that make them name no file
    return error.strerror is not None and error.errno in (28, 2, 13, 30, 38)


def why_ended(status: int) -> str:
    """In words, how a process ended that should not have."""
    if status >= 0:
        return f"a process that reads images ended with status {status}"
    name = signal.Signals(-status).name
    if name == "SIGBUS":
        return f"a process that reads images found {no_room()}"
    why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"a process that reads images was ended by {name}{why}"


def no_room() -> str:
    """That `/dev/shm` is full, and the ways out."""
    try:
        place = os.statvfs(SHARED_MEMORY)
        size, free = (place.f_frsize * count / 2**20 for count in (place.f_blocks, place.f_bavail))
        room = f" ({free:.3g} of {size:.3g} MB are free)"
    except (OSError, AttributeError):  # Windows has neither
        room = ""
    return (
        f"no room in {SHARED_MEMORY}{room}, through which `workers` hand over their batches; use "
        "fewer (0 needs none) or a smaller `batch_size`, or give the container more with "
        "`shm_size` 2g"
    )


def share(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """In a worker: the tensors in shared memory, from where the parent takes them.

    Left to the queue's own thread, a want of memory there would lose the batch without a word.

    Raises:
        WorkerError: if there is no room.
    """
    if get_worker_info() is None:
        return tensors
    try:
        for tensor in tensors.values():
            tensor.share_memory_()  # type: ignore[no-untyped-call]  # torch's lack
        return tensors
    except (RuntimeError, OSError) as error:
        if "Too many open files" in str(error):
            raise WorkerError(
                "`workers`: too many files are open; raise the limit with ulimit -n, or use fewer"
            ) from error
        if "shared memory" not in str(error):
            raise
        raise WorkerError(f"`workers`: {no_room()}") from error


def one_ahead(
    items: Iterator[Item], workers: Workers[Any] | None = None
) -> Generator[Item, None, None]:
    """The items; while one is in use, a thread fetches the next, so that nobody waits for it.

    Closing the generator waits `PATIENCE_S` for the fetch that is under way.

    Args:
        items: asked by that thread only.
        workers: which the items come from; looked after while waiting.

    Raises:
        WorkerError: if one of them ended.
    """
    thread = BackgroundThread("batches", patience_s=PATIENCE_S)
    try:
        fetch = functools.partial(next, items, None)
        upcoming = thread.submit(fetch)
        while (item := _awaited(upcoming, workers)) is not None:
            upcoming = thread.submit(fetch)
            yield item
    finally:
        if workers:
            workers.give_up()
        thread.close()


def _awaited(future: Future[Item], workers: Workers[Any] | None) -> Item:
    while not wait([future], LOOK_AGAIN_S).done:
        if workers:
            workers.check()
    return future.result()


def _inherited_by_forks(loader: DataLoader[Any]) -> contextlib.AbstractContextManager[None]:
    """Holds signals where the processes are forked: a server of forks would hold them for ever."""
    context = loader.multiprocessing_context or multiprocessing.get_context()
    is_forked = context.get_start_method() == "fork"
    return signals_held() if is_forked else contextlib.nullcontext()


@contextlib.contextmanager
def _deaths_not_raised() -> Iterator[None]:
    """Undoes what torch's loader does on its start: raise wherever the program is when one dies.

    That may be in the middle of a step, which could not be saved. `Workers` looks by itself.
    """
    main = threading.current_thread() is threading.main_thread()
    number = getattr(signal, "SIGCHLD", None)
    former = signal.getsignal(number) if number is not None else None
    try:
        yield
    finally:
        if main and number is not None:
            signal.signal(number, former or signal.SIG_DFL)


def start_method(*, cached: bool) -> str | None:
    """How workers are started: forked, if there is a cache to share, else as Python chooses.

    macOS's own libraries do not survive a fork: there, each worker decodes what it is asked for.
    """
    return "fork" if cached and sys.platform == "linux" else None


def start_worker(worker: int) -> None:
    """Prepares the process that it is called in; `worker` is its number."""
    del worker
    torch.set_num_threads(1)
    # else a batch that cannot be sent is dropped with a traceback, and the parent waits for it
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_after)  # type: ignore[attr-defined]  # Python's hook for it
    # Ctrl-C and a scheduler's signals reach the whole process group; the parent must outlive them
    # long enough to save, so its readers must too
    for number in STOPPING - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # macOS lacks it: SIGTERM ends a worker there
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_parent_says_so, daemon=True).start()


def _end_after(error: Exception, item: object) -> None:
    del item
    sys.stderr.write(f"a batch cannot be sent ({error})\n")
    os._exit(1)


def _end_when_the_parent_says_so() -> None:
    """Obeys SIGTERM from the parent, as multiprocessing sends it at exit, and from nobody else."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
