"""Ranks that torchrun started, over torch's own process group: gloo on CPUs, NCCL on GPUs."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from gancomp import launch
from gancomp.engine.stopping import InterruptedRunError
from gancomp.errors import GancompError, RunError, explain_memory
from gancomp.ranks import LostError, Ranks, working_with
from gancomp.signals import handlers_restored, stop_with_parent

Value = TypeVar("Value")
ANSWER_S = 10.0  # that ranks have to say how they ended
PAUSE_S = 0.02
ENDING = ("SIGTERM", "SIGINT")  # by which torchrun asks all to stop once one has ended
INTERRUPTED = "interrupted"  # the last word of a rank that was


class Group(Ranks):
    """Several processes, from the group's beginning on.

    Args:
        timeout_s: how long one rank waits for the others before it takes them for lost.
        way_out: what to do where one of them did not say why it ended; by default, that of
            training.

    Raises:
        RunError: if not all ranks came together in that time.
    """

    def __init__(self, timeout_s: float, way_out: str | None = None) -> None:
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        self.rank, self.size = launch.own_rank(), launch.num_ranks()
        self.timeout_s, self._dist, self._open = timeout_s, dist, True
        self.way_out, self._meetings = way_out, 0
        timeout = timedelta(seconds=timeout_s)
        if torch.cuda.is_available():
            torch.cuda.set_device(launch.local_rank() % torch.cuda.device_count())
        try:
            found, _, _ = next(rendezvous("env://", timeout=timeout))
            self.store = PrefixStore(self._met(found), found)
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=PrefixStore("group", self.store),
                rank=self.rank,
                world_size=self.size,
                timeout=timeout,
            )
        except RuntimeError as error:
            raise RunError(
                f"the {self.size} processes did not come together within {timeout_s:g} s "
                f"({_first_line(error)})"
            ) from error

    def _met(self, store: Any) -> str:
        """A word that only the ranks of this very start have, once all of them are here.

        The store may be that of torchrun's agents, which they keep when they start the ranks again:
        what earlier ranks have left there, addresses and last words, is not of this start.

        Raises:
            RuntimeError: if they did not come in time.
        """
        own, end = uuid.uuid4().hex, time.monotonic() + self.timeout_s
        if self.leads:
            store.set("lead", own)
        while time.monotonic() < end:
            lead = store.get("lead").decode()
            if self.leads:
                said = [_if_said(store, f"{own}/{rank}") for rank in range(1, self.size)]
                if all(said):
                    store.set(f"{own}/all", json.dumps(said))
                    return own
            else:
                store.set(f"{lead}/{self.rank}", own)
                said = json.loads(_if_said(store, f"{lead}/all") or "[]")
                if own in said:  # else the lead may be an earlier one
                    return str(lead)
            time.sleep(PAUSE_S)
        raise RuntimeError("not all of them met")

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        if not self._open:
            raise LostError("the group has ended")
        try:
            yield
        except RuntimeError as error:
            raise LostError(_first_line(error)) from error

    def gathered(self, share: Tensor) -> Tensor:
        """As `Ranks.gathered`."""
        whole: Tensor = _Gathered.apply(share, self)
        return whole

    def stacked(self, share: Tensor) -> Tensor:
        """The shares one behind the other, in the layout of `share`, without a graph."""
        if _in_channels_last(share):
            return self.stacked(share.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        share = share.contiguous()
        whole = share.new_empty(self.size * share.shape[0], *share.shape[1:])
        with self._reaching():
            self._dist.all_gather(list(torch.split(whole, len(share))), share)
        return whole

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all ranks, the same bits on each, in the layout of `values`."""
        total = values.clone()
        flat = total.permute(0, 2, 3, 1) if _in_channels_last(total) else total.contiguous()
        self._sum(flat)
        return flat.permute(0, 3, 1, 2) if _in_channels_last(total) else flat

    def agree(self, word: int) -> list[int]:
        """As `Ranks.agree`; never looks at a GPU."""
        words = torch.empty(self.size, dtype=torch.int64)
        with self._reaching():
            self._dist.all_gather(list(torch.split(words, 1)), torch.tensor([word]))
        return words.tolist()

    def told(self, word: Value) -> list[Value]:
        """As `Ranks.told`."""
        words: list[Any] = [None] * self.size
        with self._reaching():
            self._dist.all_gather_object(words, word)
        self._meetings += 1
        return cast("list[Value]", words)

    def at_lead(self, own: Value) -> list[Value]:
        """As `Ranks.at_lead`."""
        brought: list[Any] | None = [None] * self.size if self.leads else None
        with self._reaching():
            self._dist.gather_object(own, brought)
        return cast("list[Value]", brought or [])

    def call(self) -> None:
        """As `Ranks.call`."""
        with self._reaching():
            self.store.set(f"call/{self._meetings}", "")

    def called(self) -> bool:
        """As `Ranks.called`; takes a fraction of a millisecond."""
        with self._reaching():
            return bool(self.store.check([f"call/{self._meetings}"]))

    def from_lead(self, make: Callable[[], Value]) -> Value:
        """As `Ranks.from_lead`."""
        box: list[Any] = [make() if self.leads else None]
        with self._reaching():
            self._dist.broadcast_object_list(box, device=torch.device("cpu"))
        return cast(Value, box[0])

    @torch.no_grad()
    def average(
        self, parameters: Sequence[nn.Parameter], values: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """As `Ranks.average`, in one collective; with `brief` gradients in a second one, in bf16.

        Else they are summed in their own type, float32 at least.
        """
        have = [item for item in parameters if item.grad is not None]
        dtype = torch.float32
        for item in parameters:
            dtype = torch.promote_types(dtype, item.dtype)
        sizes = [item.numel() for item in parameters]
        total, num, end = sum(sizes), len(parameters), len(parameters) + len(values)
        inside = 0 if self.brief else total  # of the gradients, those beside the notes
        flat = values.new_zeros(inside + end + self.size, dtype=dtype)
        apart = values.new_zeros(total - inside, dtype=torch.bfloat16)
        whole, notes = apart if self.brief else flat[:total], flat[inside:]
        views = dict(zip(map(id, parameters), torch.split(whole, sizes), strict=True))
        shares = [views[id(item)].view(item.shape) for item in have]
        gradients = [cast(Tensor, item.grad) for item in have]
        if have:
            torch._foreach_copy_(shares, gradients)
        owners = torch.tensor([float(item.grad is not None) for item in parameters], dtype=dtype)
        notes[:num].copy_(owners, non_blocking=True)
        notes[num:end].copy_(values)
        notes[end + self.rank] = ~torch.isfinite(values).all()
        for sent in (apart, flat) if self.brief else (flat,):
            self._sum(sent)
        if have:
            torch._foreach_copy_(gradients, shares)
            torch._foreach_div_(gradients, self.size)
        unequal = ((notes[:num] != 0) & (notes[:num] != self.size)).any()
        bad = torch.cat([notes[end:] != 0, unequal[None]])
        return (notes[num:end] / self.size).to(values.dtype), torch.where(bad, torch.nan, 0.0)

    def _sum(self, values: Tensor) -> None:
        """Puts the sum over all ranks in their place."""
        with self._reaching():
            self._dist.all_reduce(values)

    def leave(self) -> None:
        """Ends the group for this rank; ranks that wait for it notice."""
        if self._open:
            self._open = False
            with contextlib.suppress(Exception):
                self._dist.destroy_process_group()

    def end_with(self, error: BaseException) -> BaseException:
        """What all ranks end with when this one ends with `error`: the same on each of them.

        The ranks tell each other through the store, which outlives the group. What one of them
        met by itself names it; those that merely lost the others have nothing to say.
        """
        if threading.current_thread() is threading.main_thread():
            # another one may end first, and this one is about to say why
            for name in ENDING:
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        lost = isinstance(error, LostError)
        word = None if lost else _in_words(error)
        with contextlib.suppress(Exception):
            self.store.set(f"end/{self.rank}", json.dumps(word))
        self.leave()
        words = self._last_words(word)
        found = {rank: word for rank, word in words.items() if word is not None}
        silent = [rank for rank in range(self.size) if rank not in words]
        self._let_lead_speak(silent)
        if len(found) == self.size and len(set(found.values())) == 1:
            return error  # all met it at once
        if found:
            rank = min(found)
            if found[rank] == INTERRUPTED:
                return InterruptedRunError(f"interrupted (rank {rank})")
            if rank == self.rank and not isinstance(error, GancompError):
                return error  # a defect: its traceback says more
            return RunError(f"rank {rank}: {found[rank]}")
        if silent:
            return RunError(
                f"{_named(silent)} ended, or did not answer within {self.timeout_s:g} s"
                f"{self._where()}"
            )
        return RunError(f"the processes lost each other: {error}")

    def _where(self) -> str:
        """And the way out."""
        if self.way_out is not None:
            return f"; {self.way_out}"
        place = "between two steps"
        if self.place is not None:
            place = f"in step {self.place[0]} ({self.place[1]})"
        return f" {place}; the last checkpoint stays, `resume=True` goes on from there"

    def _last_words(self, own: str | None) -> dict[int, str | None]:
        """What each rank said at its end, as far as it says anything soon."""
        words = {self.rank: own}
        end = time.monotonic() + ANSWER_S
        while len(words) < self.size and time.monotonic() < end:
            for rank in set(range(self.size)) - words.keys():
                with contextlib.suppress(Exception):
                    if self.store.check([f"end/{rank}"]):
                        words[rank] = json.loads(self.store.get(f"end/{rank}"))
            time.sleep(PAUSE_S)
        return words

    def _let_lead_speak(self, silent: Sequence[int]) -> None:
        """Waits for the rank that speaks: the first that is still there."""
        speaker = min(rank for rank in range(self.size) if rank not in silent)
        with contextlib.suppress(Exception):
            if speaker == self.rank:
                launch.voice.speaks = True
                self.store.set("spoken", "")
            else:
                self.store.wait(["spoken"], timedelta(seconds=ANSWER_S))


def _if_said(store: Any, name: str) -> str | None:
    return store.get(name).decode() if store.check([name]) else None


def _in_words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    text = (isinstance(error, Exception) and explain_memory(error)) or str(error)
    return " ".join(text.split()) or type(error).__name__


def _named(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _in_channels_last(values: Tensor) -> bool:
    return (
        values.dim() == 4
        and values.is_contiguous(memory_format=torch.channels_last)
        and not values.is_contiguous()
    )


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).splitlines()[0].split())[:200] if str(error) else "no reason given"


class _Gathered(torch.autograd.Function):
    """All ranks' shares; backward, this rank's share of the sum of what all want."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return group.stacked(share)

    @staticmethod
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor, None]:
        return _Shared.apply(wanted, ctx.group), None


class _Shared(torch.autograd.Function):
    """This rank's share of the sum over all ranks; backward, all ranks' shares."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return group.own(group.summed(whole))

    @staticmethod
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor, None]:
        return _Gathered.apply(wanted, ctx.group), None


@contextlib.contextmanager
def joined(timeout_s: float, way_out: str | None = None) -> Iterator[Ranks]:
    """This process works with the others that torchrun started, if any, until the block ends.

    Args:
        timeout_s: how long ranks wait for each other.
        way_out: as `Group` has it.

    Raises:
        RunError: if they did not come together, or one of the others failed; what one rank
            raises, it raises here with its rank named.
    """
    if launch.has_agent():
        stop_with_parent()
    if launch.num_ranks() == 1:
        yield Ranks()
        return
    # a command has yet to tell its error, and torchrun may ask it to stop before it has
    kept = contextlib.nullcontext() if launch.voice.of_command else handlers_restored(*ENDING)
    with kept:
        group = Group(timeout_s, way_out)
        try:
            with working_with(group):
                yield group
                group.barrier()
        except BaseException as error:
            end = group.end_with(error)
            if end is error:
                raise
            raise end from error
        finally:
            group.leave()
