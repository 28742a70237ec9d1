"""Replayed steps against plain ones: the captured form on a CPU, where replaying calls the work."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from builders import batch_for, random_batch, small_method, small_task
from loops import loop_of as plain_loop
from synthesis_builders import tiny_batch, tiny_method
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gancomp.engine import graphs
from gancomp.engine.fit import load_networks, load_optimizer, run_step
from gancomp.engine.graphs import WARM_UP, CaptureError, Graphs, _Held, why_not
from gancomp.engine.phases import Step, optimizers
from gancomp.errors import TrainingError
from gancomp.methods.base import Method
from gancomp.networks import batching
from gancomp.networks.winograd import FrozenConv2d
from gancomp.registry import METHODS, resolve
from gancomp.tasks import synthesis
from gancomp.tasks.pool import FakePool

CPU = torch.device("cpu")
STEPS = 4  # one as it is, capture and replays
MORE_STEPS = 6  # for phases that take part in every second step, and for blocks
LATER = ("gan2gan", "dgl in parts")  # whose first step is another one


def dcd(task: str = "unpaired", *, frozen: bool = False, **options: Any) -> Method:
    # with pools that are full soon, and without VGG16, which makes a step three times as long
    own = small_task(task, frozen=frozen, pool_size=3)
    return small_method("dcd", own, **{"perceptual": False, **options})


MAKE: dict[str, Callable[[], Method]] = {
    "dcd unpaired": dcd,
    "dcd paired": lambda: dcd("paired", perceptual=True),
    "dcd frozen": lambda: dcd(frozen=True),
    "dcd blocks": lambda: dcd(teacher_block_epochs=1, student_block_epochs=1),
    "dgl": lambda: small_method("dgl", path_every=1, r1_every=2),
    "dgl in parts": lambda: small_method(
        "dgl", accumulation=2, path_every=1, r1_every=1, ema_start=1
    ),
    "dgl finetuned": lambda: small_method(
        "dgl", teacher_discriminator="finetune", path_weight=0.0, r1_gamma=0.0
    ),
    "gan": lambda: tiny_method(
        "gan", path_every=2, r1_every=2, turn_order="discriminator-first", ema_start=0
    ),
    "gan of classes": lambda: tiny_method("gan", "biggan"),
    "srgan": lambda: small_method(
        "srgan", small_task("super-resolution"), objective="gan", rate_drop_step=3
    ),
    "crd": lambda: small_method("crd", perceptual=False, patch_size=8),
    "omgd unpaired": lambda: small_method("omgd", perceptual=False),
    "omgd paired": lambda: small_method("omgd", small_task("paired"), perceptual=False),
    "gan2gan": lambda: small_method("gan2gan", al_start_step=1, rate_drop_step=4),
}
LAZY = {"dcd blocks": "TS", "dgl": "12", "gan": "12"}  # each of whose graphs is replayed
COVERED = {name.split()[0] for name in MAKE}
OTHERS = [name for name in METHODS if name not in COVERED]
REPLAYABLE = [name for name in OTHERS if resolve(METHODS, "method", name).replayable]


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen convolutions have a way of their own on a CPU, which makes constants there."""
    monkeypatch.setattr(FrozenConv2d, "_pays_off", lambda self, input: False)
    for module in (batching, synthesis):  # as is several inputs of a network in one pass
        monkeypatch.setattr(module, "pays_off", lambda device: True)
    drawn = Step.drawn

    def by_name(step: Step, *given: Any) -> Any:
        if Call.replaying and step.held is None:
            raise HostError(f"{given[0]} is drawn within a captured step")
        return drawn(step, *given)

    monkeypatch.setattr(Step, "drawn", by_name)


class HostError(RuntimeError):
    """Something that a CUDA graph cannot have in it."""


class NothingOfTheHost(TorchDispatchMode):
    """Refuses what waits for the device, copies from the host, or draws from a generator."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "is_nonzero", "lift_fresh", "equal", "_unique2")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.__name__.partition(".")[0]
        if name in self.FORBIDDEN or kwargs.get("generator") is not None:
            raise HostError(f"{func} in a captured step")
        return func(*args, **kwargs)


class Call:
    """Instead of a CUDA graph: the work itself, done at each replay."""

    replaying = False

    def __init__(self) -> None:
        self.calls = 0

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        return work()

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def replay() -> Tensor:
            self.calls += 1
            Call.replaying = True
            try:
                with NothingOfTheHost():
                    return work()
            finally:
                Call.replaying = False

        return replay


def batch_of(method: Method, index: int) -> dict[str, Tensor]:
    if getattr(method.task.discriminator, "num_classes", None):
        return tiny_batch("biggan", index)
    if method.task.name in ("unpaired", "paired"):
        return random_batch(size=24, seed=index)
    return batch_for(method.task.name, index)


def loop_of(method: Method, *, replayed: bool, recorder: Any = None) -> Any:
    loop: Any = plain_loop(method.train(), epochs=1, decay_epochs=6)
    loop.steps_per_epoch = 2  # blocks and rates change within a few steps
    if replayed:
        loop.said = []
        loop.graphs = Graphs(
            method,
            precision="fp32",
            device=CPU,
            say=loop.said.append,
            recorder=recorder or Call(),
        )
    return loop


def steps(loop: Any, indices: range) -> list[dict[str, Tensor]]:
    return [run_step(loop, index, batch_of(loop.method, index)) for index in indices]


def state_of(method: Method) -> dict[str, Any]:
    phases = method.phases()
    return {
        "networks": {
            name: {
                key: value.clone() if isinstance(value, Tensor) else value
                for key, value in network.state_dict().items()
            }
            for name, network in method.networks().items()
        },
        "optimizers": {name: item.state_dict() for name, item in optimizers(phases).items()},
    }


def assert_equal(found: Any, wanted: Any, *, path: str = "", atol: float = 0.0) -> None:
    if isinstance(wanted, Tensor):
        assert found.shape == wanted.shape, path
        torch.testing.assert_close(
            found, wanted.to(found.dtype), rtol=atol, atol=atol, msg=lambda text: f"{path}: {text}"
        )
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), path
        for key, value in wanted.items():
            assert_equal(found[key], value, path=f"{path}/{key}", atol=atol)
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), path
        for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_equal(one, other, path=f"{path}/{index}", atol=atol)
    else:
        assert found == wanted, path


def made(name: str) -> Method:
    return MAKE[name]() if name in MAKE else small_method(name)


@pytest.mark.parametrize("name", [*MAKE, *REPLAYABLE])
@pytest.mark.slow
def test_replayed_steps_are_the_plain_ones_bit_for_bit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "WARM_UP", 1)  # libraries have nothing to set up here
    plain, replayed = made(name), made(name)
    indices = range(MORE_STEPS if name in LAZY else STEPS + (name in LATER))
    wanted = steps(loop_of(plain, replayed=False), indices)
    loop = loop_of(replayed, replayed=True)
    found = steps(loop, indices)
    assert loop.graphs.num_captured == len(LAZY.get(name, "1"))
    assert loop.graphs.recorder.calls >= 2
    assert_equal(found, wanted)
    assert_equal(state_of(replayed), state_of(plain))
    assert loop.said == []


def test_a_run_resumed_between_replays_ends_where_an_unbroken_plain_one_does() -> None:
    plain, first, second = (dcd("paired") for _ in range(3))
    wanted = steps(loop_of(plain, replayed=False), range(9))
    steps(loop_of(first, replayed=True), range(5))
    state = copy.deepcopy(state_of(first))
    load_networks(second.networks(), state["networks"])
    for name, item in optimizers(second.phases()).items():
        load_optimizer(item, state["optimizers"][name])
    loop = loop_of(second, replayed=True)
    found = steps(loop, range(5, 9))
    assert loop.graphs.recorder.calls == 1
    assert_equal(found, wanted[5:])
    assert_equal(state_of(second), state_of(plain))


def test_a_smaller_batch_is_taken_plainly_between_replays() -> None:
    def with_a_small_one(loop: Any) -> list[dict[str, Tensor]]:
        batches = [batch_of(loop.method, index) for index in range(WARM_UP + 3)]
        batches[4] = {name: images[:1] for name, images in batches[4].items()}
        return [run_step(loop, index, batch) for index, batch in enumerate(batches)]

    plain, replayed = dcd("paired"), dcd("paired")
    loop = loop_of(replayed, replayed=True)
    assert_equal(with_a_small_one(loop), with_a_small_one(loop_of(plain, replayed=False)))
    assert_equal(state_of(replayed), state_of(plain))
    assert loop.graphs.recorder.calls == 2


def test_what_cannot_be_captured_is_said_once_and_the_steps_are_taken_all_the_same() -> None:
    plain, other = small_method("no-kd"), small_method("no-kd")
    wanted = steps(loop_of(plain, replayed=False), range(6))
    loop = loop_of(other, replayed=True, recorder=Unable())
    assert_equal(steps(loop, range(6)), wanted)
    assert_equal(state_of(other), state_of(plain))
    (said,) = loop.said
    assert said.startswith("a step could not be captured as a CUDA graph (RuntimeError: operation")
    assert "\n" not in said


class Unable(Call):
    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")


def test_what_only_a_later_step_draws_is_not_captured() -> None:
    held = _Held()
    held.get("old", lambda index: {"x": torch.tensor(float(index))})
    held.sealed = True
    with pytest.raises(CaptureError, match="^new is drawn in some steps only"):
        held.get("new", lambda index: {})
    held.renew(7)
    assert held.get("old", lambda index: {})["x"].item() == 7


def test_a_bad_term_of_a_replay_is_named_with_its_own_step() -> None:
    method = small_method("no-kd")
    loop = loop_of(method, replayed=True)
    steps(loop, range(5))
    batch = batch_of(method, 5)
    batch["target"].fill_(torch.nan)
    with pytest.raises(TrainingError, match="^step 6: student/content = nan"):
        run_step(loop, 5, batch)


def test_the_host_is_noticed_in_a_step_that_is_said_to_be_replayable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = small_method("no-kd")
    loop = loop_of(method, replayed=True)
    losses = method.losses
    monkeypatch.setattr(
        method, "losses", lambda *given: {k: v * v.item() for k, v in losses(*given).items()}
    )
    with pytest.raises(HostError, match="_local_scalar_dense"):
        steps(loop, range(STEPS))


def test_who_may_be_replayed() -> None:
    method = small_method("no-kd")
    assert why_not(method, CPU) == "CUDA graphs need an NVIDIA GPU"
    cuda = torch.device("cuda")
    assert why_not(method, cuda) is None
    method.phases()[0].optimizer.param_groups[0]["fused"] = False
    assert "Adam" in str(why_not(method, cuda))
    method.replayable = False
    assert str(why_not(method, cuda)).startswith("`method` no-kd does not say")


def test_two_pools_of_one_name_have_each_their_own_choices_in_a_replay() -> None:
    pools = [FakePool(2, seed, "teacher") for seed in (0, 1)]
    held = _Held()
    for index in range(6):
        held.renew(index)
        step = Step(0, {}, held=held.get)
        for pool in pools:
            pool.show(torch.full((1, 1, 2, 2), float(index)), step)
    plain = [FakePool(2, seed, "teacher") for seed in (0, 1)]
    for index in range(6):
        for pool in plain:
            pool.show(torch.full((1, 1, 2, 2), float(index)), Step(index, {}))
    assert not torch.equal(plain[0].images, plain[1].images)
    assert all(torch.equal(a.images, b.images) for a, b in zip(pools, plain, strict=True))
