"""A GPU made up: its tensors say `cuda`, their values lie and are computed on the CPU.

What a first run on a GPU would trip over shows without one: a CPU tensor mixed into the device's
work, a generator of the other device, a tensor handed to NumPy, and who waits for a value.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda", 0)
MEMORY = 80 * 2**30
WAITS = ("_local_scalar_dense", "nonzero", "equal", "_unique2", "unique_dim", "masked_select")
MIXES = ("copy_", "_to_copy", "_foreach_copy_", "set_", "is_same_size")  # between devices
INDEXES = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
RUNNING = ("running_mean", "running_var")


class HostError(RuntimeError):
    """What a step captured as a CUDA graph cannot have in it."""


class OnGpu(Tensor):
    """A tensor on that GPU."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> OnGpu:
        # for autograd it lies on `meta`, which has no streams; for autocast it is CUDA's
        size, stride = values.shape, values.stride()
        with torch.inference_mode(False):
            shell = torch.empty_strided(size, stride, dtype=values.dtype, device="meta")
            self = Tensor._make_subclass(cls, shell, device_for_backend_keys=CUDA)
        self.values = values
        return self

    device = property(lambda self: CUDA)  # type: ignore[assignment]  # as torch's, read only
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return Gpu.now.run(func, args, kwargs or {})

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")

    def tolist(self) -> Any:
        Gpu.now.waits.append("tolist")
        return self.values.tolist()

    def pin_memory(self, device: Any = None) -> Any:
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be")

    def __array__(self, *_: Any) -> Any:
        return self.numpy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.values.__reduce_ex__(protocol)  # as loaded to the CPU

    def __repr__(self, **_: Any) -> str:
        return f"cuda {self.values!r}"


class Generator(torch.Generator):
    """A source of random numbers of either device."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        self = super().__new__(cls)
        self.place = torch.device(device)
        if self.place.type == "cuda":
            Gpu.now.sources.append(self)
        return self

    device = property(lambda self: self.place)  # type: ignore[assignment]


LOWER = """conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul
mm bmm __matmul__ addmm addmv addbmm baddbmm mv prelu scaled_dot_product_attention einsum"""
HIGHER = """exp expm1 log log10 log2 log1p log_softmax softmax softmin softplus pow __pow__ rsqrt
sum reciprocal prod cumsum cumprod norm normalize layer_norm group_norm cosine_similarity dist
cdist mse_loss l1_loss smooth_l1_loss cross_entropy nll_loss kl_div soft_margin_loss acos asin
cosh sinh binary_cross_entropy_with_logits tan erfinv renorm __rpow__ __rdiv__"""
NARROWED, WIDENED = frozenset(LOWER.split()), frozenset(HIGHER.split())


class Autocast(TorchFunctionMode):
    """What CUDA's autocast does, which the core of torch leaves out for tensors made up."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if torch.is_autocast_enabled("cuda"):
            if name in NARROWED:
                args, kwargs = _cast((args, kwargs), torch.get_autocast_dtype("cuda"))
            elif name in WIDENED:
                args, kwargs = _cast((args, kwargs), torch.float32)
        return func(*args, **kwargs)


def _cast(given: Any, dtype: torch.dtype) -> Any:
    if isinstance(given, OnGpu):
        fits = given.is_floating_point() and given.dtype not in (dtype, torch.float64)
        return given.to(dtype) if fits else given
    if type(given) in (list, tuple):
        return type(given)(_cast(item, dtype) for item in given)
    if type(given) is dict:
        return {key: _cast(item, dtype) for key, item in given.items()}
    return given


class Own:
    """The device's own generator, as far as a state can be put in its place."""

    def get_state(self) -> Tensor:
        return torch.Generator().get_state()

    def graphsafe_set_state(self, other: torch.Generator) -> None:
        Gpu.now.drawn_anew += other.device.type == "cuda"


class Gpu(TorchDispatchMode):
    """Runs every operation where its tensors are.

    Attributes:
        capturing: what the operations are captured for.
        waits: names of operations that waited for the GPU.
    """

    now: Gpu

    def __init__(self) -> None:
        super().__init__()
        self.capturing: Graph | None = None
        self.waits: list[str] = []
        self.sources: list[torch.Generator] = []
        self.ended = self.drawn_anew = 0  # pools, and states of the device's own generator

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Refuses what a GPU would; computes the rest."""
        if func.namespace == "profiler":
            return func(*args, **kwargs)
        name = func.__name__.partition(".")[0]
        tensors = _tensors((args, list(kwargs.values())))
        there = [item for item in tensors if isinstance(item, OnGpu)]
        place = kwargs.get("device")
        goes = bool(there) if place is None else torch.device(place).type != "cpu"
        if there and name not in MIXES:
            _refuse_mixed(func, name, args, tensors)
        self._refuse_source(func, kwargs.get("generator"), goes=goes)
        waits = bool(there) and _waits(name, args, goes=goes)
        if waits:
            self.waits.append(name)
        if self.capturing is not None:
            of_host = waits or len(there) < len(tensors) or name == "lift_fresh"
            if of_host or kwargs.get("generator") is not None:
                raise HostError(f"{func} in a captured step")
        inside = {key: value for key, value in kwargs.items() if key != "pin_memory"}
        if place is not None:
            inside["device"] = torch.device("cpu")
        args, inside = _values((args, inside))
        do = func if self.capturing is None else partial(self.capturing.run, func)
        return self._wrapped(func, do(*args, **inside), there, goes=goes)

    def _refuse_source(self, func: Any, source: Any, *, goes: bool) -> None:
        if source is None:
            return
        if any(source._cdata == item._cdata for item in self.sources) != goes:
            raise RuntimeError(f"{func}: Expected a '{'cuda' if goes else 'cpu'}' generator")

    def _wrapped(self, func: Any, found: Any, there: list[OnGpu], *, goes: bool) -> Any:
        """What an operation gave, on the GPU; what it changed in place stays the same object."""
        if isinstance(found, list | tuple):
            return type(found)(self._wrapped(func, item, there, goes=goes) for item in found)
        if not isinstance(found, Tensor) or isinstance(found, OnGpu):
            return found
        for same in there:
            if same.values is found:
                if (same.shape, same.stride()) != (found.shape, found.stride()):
                    with torch._C._DisableTorchDispatch():  # so does the shell of it
                        torch.as_strided_(same, found.shape, found.stride())
                return same
        if self.capturing is not None and not goes:
            raise HostError(f"{func} in a captured step")
        return OnGpu(found) if goes else found


def _refuse_mixed(func: Any, name: str, args: Any, tensors: list[Tensor]) -> None:
    """Numbers of the CPU may take part, and indices."""
    matter = [args[0]] if name in INDEXES else tensors
    if any(item.dim() > 0 and not isinstance(item, OnGpu) for item in matter):
        raise RuntimeError(f"{func}: tensors of cuda:0 and cpu")
    if name.endswith("_") and isinstance(args[0], Tensor) and not isinstance(args[0], OnGpu):
        raise RuntimeError(f"{func}: puts what is on cuda:0 into a tensor of the cpu")


def _waits(name: str, args: Any, *, goes: bool) -> bool:
    """Whether the CPU waits for the GPU: for a value, or how many there are."""
    if name in INDEXES:
        return any(item.dtype == torch.bool for item in _tensors(args[1]))
    if name == "copy_":
        return not isinstance(args[0], OnGpu)
    return name in WAITS or (name == "_to_copy" and not goes)


def _values(item: Any) -> Any:
    """The same with what tensors on the GPU hold."""
    if isinstance(item, OnGpu):
        return item.values
    if type(item) in (list, tuple):
        return type(item)(_values(one) for one in item)
    if type(item) is dict:
        return {key: _values(one) for key, one in item.items()}
    return item


def _tensors(item: Any) -> list[Tensor]:
    if isinstance(item, Tensor):
        return [item]
    if isinstance(item, list | tuple):
        return [tensor for one in item for tensor in _tensors(one)]
    return []


class Stream:
    """What code asks of a stream or an event."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.device = CUDA

    def wait_stream(self, other: Any) -> None:
        """Everything was computed at once."""

    def record_event(self, event: Any = None) -> Stream:
        return Stream()

    def synchronize(self) -> None: ...

    wait_event = wait_stream

    def record(self, stream: Any = None) -> None: ...

    def is_capturing(self) -> bool:
        return Gpu.now.capturing is not None

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: Any) -> float:
        return 1.0


@contextlib.contextmanager
def _nothing(*_: Any, **__: Any) -> Iterator[None]:
    yield


class Graph:
    """The operations of a capture, in order; they write to the same addresses at each replay."""

    def __init__(self) -> None:
        self.tape: list[tuple[Any, Any, Any, Any]] = []
        self._before: list[tuple[Tensor, Tensor]] = []

    def run(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Takes down one operation."""
        self._keep_what_changes(func, args, kwargs)
        found = func(*args, **kwargs)
        self.tape.append((func, args, kwargs, found))
        return found

    def _keep_what_changes(self, func: Any, args: Any, kwargs: Any) -> None:
        """A capture changes nothing yet: see `undo`."""
        for index, item in enumerate(func._schema.arguments):
            written = item.alias_info is not None and item.alias_info.is_write
            if written or item.name in RUNNING:  # batch norms do not declare that they write it
                given = args[index] if index < len(args) else kwargs.get(item.name)
                for tensor in _tensors(given):
                    self._before.append((tensor, tensor.clone()))

    def undo(self) -> None:
        for tensor, before in reversed(self._before):
            tensor.copy_(before)
        self._before.clear()

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, found in self.tape:
                again = func(*args, **kwargs)
                for old, new in zip(_tensors(found), _tensors(again), strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class Looked(Graph):
    """Does the work, which must be such as a graph may have in it."""

    def run(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)


@contextlib.contextmanager
def capture(graph: Graph, **_: Any) -> Iterator[None]:
    Gpu.now.capturing = graph
    try:
        yield
    finally:
        Gpu.now.capturing = None
        graph.undo()


def _not_pinned(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """As in threads of their own, which no mode sees."""

    def made(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
        return make(*args, **kwargs)

    return made


def _end(index: int, pool: Any) -> None:
    Gpu.now.ended += (index, pool) == (0, (0, 1))


def _swap(one: Tensor, other: Tensor) -> None:
    """Makes `one` what `other` is, for all who hold it: as real tensors of two devices can."""
    one.__class__, other.__class__ = other.__class__, one.__class__
    one.__dict__, other.__dict__ = other.__dict__, one.__dict__
    torch._C._swap_tensor_impl(one, other)


def _apply(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
    """`nn.Module._apply`, which keeps a parameter the same object, as between real devices."""
    for child in module.children() if recurse else ():
        child._apply(change)
    for parameter in module._parameters.values():
        if parameter is not None:
            with torch.no_grad():
                found = nn.Parameter(change(parameter), parameter.requires_grad)
                gradient = None if parameter.grad is None else change(parameter.grad)
            parameter.grad = None
            _swap(parameter, found)
            parameter.grad = gradient
    for key, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[key] = change(buffer)
    return module


PROPERTIES = types.SimpleNamespace(
    name="made up", total_memory=MEMORY, multi_processor_count=132, major=9, minor=0
)
STAND_INS: dict[str, Any] = {
    "_lazy_init": lambda: None,
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "set_device": lambda device: None,
    "get_device_name": lambda device=None: "made up",
    "get_device_properties": lambda device=None: PROPERTIES,
    "get_device_capability": lambda device=None: (9, 0),
    "is_bf16_supported": lambda *_: True,
    "is_current_stream_capturing": lambda: Gpu.now.capturing is not None,
    "synchronize": lambda device=None: None,
    "empty_cache": lambda: None,
    "mem_get_info": lambda device=None: (MEMORY, MEMORY),
    "max_memory_allocated": lambda device=None: 0,
    "memory_allocated": lambda device=None: 0,
    "reset_peak_memory_stats": lambda device=None: None,
    "get_rng_state": lambda device="cuda": torch.get_rng_state(),
    "set_rng_state": lambda state, device="cuda": None,
    "manual_seed_all": lambda seed: None,
    "Stream": Stream,
    "Event": Stream,
    "current_stream": lambda device=None: Stream(),
    "stream": _nothing,
    "CUDAGraph": Graph,
    "graph": capture,
    "graph_pool_handle": lambda: (0, 1),
    "default_generators": (Own(),),
    "device_of": _nothing,
}


@contextlib.contextmanager
def fake_cuda() -> Iterator[Gpu]:
    """Within the block there is one GPU."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in STAND_INS.items():
            patch.setattr(torch.cuda, name, value)  # raises if torch has no such name
        patch.setattr(torch._C, "_cuda_endAllocateToPool", _end)
        patch.setattr(nn.Module, "_apply", _apply)
        patch.setattr(Tensor, "record_stream", lambda self, stream: None)
        patch.setattr(Tensor, "pin_memory", lambda self, device=None: self.clone())
        for name in ("empty", "tensor"):
            patch.setattr(torch, name, _not_pinned(getattr(torch, name)))
        patch.setattr(torch, "Generator", Generator)
        if hasattr(torch.accelerator, "current_stream"):
            patch.setattr(torch.accelerator, "current_stream", lambda device=None: Stream())
        torch._C._ensureCUDADeviceGuardSet()  # asks no driver which device is the current one
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # else torch.tensor goes past all modes
        try:
            with Gpu() as gpu, Autocast():
                Gpu.now = gpu
                yield gpu
        finally:
            torch._C._set_only_lift_cpu_tensors(before)
