"""`gancomp bench train`: the literal step and gancomp's are one, and what the document says."""

from __future__ import annotations

import functools
import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from commands import run_command
from torch import Tensor, nn

from gancomp.bench.contestants import ContestantProcess
from gancomp.bench.literal import LiteralStep
from gancomp.bench.sides import OPTIMIZATIONS, OURS, WAYS, Contestant, grid
from gancomp.bench.train import (
    TrainRequest,
    _first_steps,
    bench_train,
    build,
    made_up_images,
    optimize,
)
from gancomp.engine.phases import Progress, Step
from gancomp.engine.step import FiniteWatch, take_step
from gancomp.errors import ConfigError, RunError
from gancomp.methods.dcd import Dcd
from gancomp.networks import batching
from gancomp.settings import OptimizerSettings

CPU = torch.device("cpu")
PHASES = ("teacher", "discriminator", "student")
NUM_WITHOUT_GRADIENT = {"teacher": 82, "discriminator": 6, "student": 41}
NO_COMPILER = frozenset({"compile"})
Gradients = dict[str, dict[str, Tensor | None]]


def request_of(batch_size: int) -> TrainRequest:
    return TrainRequest(size=96, width=4, d_width=4, batch_size=batch_size, device="cpu")


@functools.cache
def literal_step(batch_size: int, dtype: torch.dtype) -> tuple[dict[str, float], Gradients]:
    """Losses and gradients by phase of the literal step from the request's own weights."""
    request, gradients = request_of(batch_size), {}
    literal = LiteralStep(build(request).to(dtype), OptimizerSettings())
    for name, optimizer in literal.optimizers.items():
        note(optimizer, gradients, name, literal.modules[name])
    images = made_up_images(request)
    return literal.step(images["source"].to(dtype), images["target"].to(dtype)), gradients


class Both:
    """A literal step and one of gancomp's from equal weights: all losses, and gradients by phase.

    Args:
        batch_size: images per domain.
        dtype: of everything.
        without: optimizations that gancomp does without.
    """

    def __init__(
        self, batch_size: int, dtype: torch.dtype, without: frozenset[str] = NO_COMPILER
    ) -> None:
        request = request_of(batch_size)
        method = build(request).to(dtype)
        batch = {name: images.to(dtype) for name, images in made_up_images(request).items()}
        self.literal_losses, self.literal_gradients = literal_step(batch_size, dtype)
        optimize(method, without)
        self.gradients: Gradients = {}
        for phase in method.phases():
            note(phase.optimizer, self.gradients, phase.name, phase.module)
        self.losses = {name: value.item() for name, value in gancomp_step(method, batch).items()}

    def distances(self, phase: str) -> dict[str, float]:
        """How far each gradient is from the literal one, relative to its norm."""
        ours, theirs = self.gradients[phase], self.literal_gradients[phase]
        assert list(ours) == list(theirs)
        found = {}
        for name, literal in theirs.items():
            gradient = ours[name]
            assert literal is not None, "the literal step collects all gradients"
            if gradient is None:
                assert name.endswith("bias")
                continue
            assert literal.norm() > 0
            found[name] = ((gradient - literal).norm() / literal.norm()).item()
        return found


def note(optimizer: torch.optim.Optimizer, into: Gradients, name: str, module: nn.Module) -> None:
    """Keeps the gradients that `optimizer` is about to use: later phases may add to them."""

    def keep(*_: Any) -> None:
        into[name] = {
            key: None if parameter.grad is None else parameter.grad.clone()
            for key, parameter in module.named_parameters()
        }

    optimizer.register_step_pre_hook(keep)


def gancomp_step(method: Dcd, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return take_step(
        method,
        Step(0, dict(batch)),
        Progress(0, 0, 1),
        rate=1.0,
        precision="fp32",
        device=torch.device("cpu"),
        watch=FiniteWatch(late=False),
    )


@pytest.fixture(scope="module")
def both() -> Callable[[int, torch.dtype], Both]:
    made: dict[tuple[int, torch.dtype], Both] = {}

    def get(batch_size: int, dtype: torch.dtype) -> Both:
        if (batch_size, dtype) not in made:
            made[batch_size, dtype] = Both(batch_size, dtype)
        return made[batch_size, dtype]

    return get


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.slow
def test_all_losses_are_those_of_the_literal_step(
    batch_size: int, dtype: torch.dtype, both: Callable[[int, torch.dtype], Both]
) -> None:
    pair = both(batch_size, dtype)
    assert set(pair.losses) == set(pair.literal_losses)
    assert len(pair.losses) == 15
    tolerance = 1e-4 if dtype == torch.float32 else 1e-6
    for name, value in pair.literal_losses.items():
        assert value > 0
        assert pair.losses[name] == pytest.approx(value, rel=tolerance), name


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("phase", PHASES)
def test_in_real_numbers_all_gradients_are_those_of_the_literal_step(
    phase: str, batch_size: int, both: Callable[[int, torch.dtype], Both]
) -> None:
    distances = both(batch_size, torch.float64).distances(phase)
    assert len(distances) > 10
    assert max(distances.values()) <= 1e-6
    gradients = both(batch_size, torch.float64).gradients[phase]
    assert len(gradients) - len(distances) == NUM_WITHOUT_GRADIENT[phase]


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("phase", PHASES)
def test_a_bias_without_a_gradient_has_a_literal_one_of_rounding_errors(
    phase: str, batch_size: int, both: Callable[[int, torch.dtype], Both]
) -> None:
    pair = both(batch_size, torch.float64)
    literal = pair.literal_gradients[phase]
    largest = max(value.abs().max().item() for value in literal.values() if value is not None)
    for name, gradient in pair.gradients[phase].items():
        value = literal[name]
        if gradient is None:
            assert value is not None
            assert value.abs().max() <= 1e-12 * largest, name


@pytest.mark.parametrize(
    ("batch_size", "without"),
    [(1, {"norm", "channels_last"}), (2, {"norm", "channels_last"}), (2, {"norm"})],
)
@pytest.mark.slow
def test_with_torch_s_norms_gradients_agree_to_1e_3_in_float32(
    batch_size: int, without: set[str]
) -> None:
    # of a single image in channels_last, torch's own norm has a wrong gradient
    pair = Both(batch_size, torch.float32, NO_COMPILER | without)
    for phase in PHASES:
        assert max(pair.distances(phase).values()) <= 1e-3


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("phase", PHASES)
def test_in_float32_our_gradients_differ_by_rounding_alone(
    phase: str, batch_size: int, both: Callable[[int, torch.dtype], Both]
) -> None:
    # The statistics of our norm are good to some 1e-6, torch's to 1e-7. That turns the sign of a
    # few of a million numbers at the kinks of L1 and ReLU, each of which changes the gradient by
    # all it has there: 6e-3 of it is found here, and 3e-3 between the literal teacher's in float32
    # and in float64. A wrong term would be off by much more.
    pair = both(batch_size, torch.float32)
    names = list(pair.distances(phase))
    ours = torch.cat([pair.gradients[phase][name].flatten() for name in names])
    literal = torch.cat([pair.literal_gradients[phase][name].flatten() for name in names])
    assert (ours - literal).norm() <= 0.03 * literal.norm()


@pytest.mark.parametrize(
    "name", ["nothing", *sorted(OPTIMIZATIONS.keys() - NO_COMPILER - {"kept_memory"})]
)
@pytest.mark.slow
def test_without_an_optimization_the_losses_are_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as on a GPU, in one pass; where that is switched off, it is for good: put back what was there
    monkeypatch.setattr(batching, "pays_off", lambda device: True)
    pair = Both(1, torch.float32, NO_COMPILER | {name})
    assert batching.pays_off(torch.device("cpu")) == (name != "one_pass")
    assert pair.losses == pytest.approx(pair.literal_losses, rel=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("ready_processes")
def test_the_document_names_both_sides_with_times_memory_and_the_difference_of_their_losses() -> (
    None
):
    said: list[str] = []
    request = TrainRequest(
        size=96, width=4, d_width=2, batch_size=2, rounds=1, warm_up=0, device="cpu", threads=1
    )
    document = bench_train(replace(request, grid=True), said.append)
    assert len(said) == 4
    assert (document["bench"], document["of"]) == ("train", "gancomp")
    assert "96 px, batch 2, teacher mobile-resnet9 4, student 1" in document["what"]
    assert document["sides"] == {
        "literal": {"format": "fp32", "way": "plain", "compiled": False},
        "released": {"format": "fp32", "way": "plain", "compiled": False},
        "gancomp": {"format": "fp32", "way": "plain", "compiled": False},
        "gancomp, bf16, plain": {"format": "bf16", "way": "plain", "compiled": False},
    }
    assert list(document["contestants"]) == list(document["sides"])
    for row in document["contestants"].values():
        assert row["runs"] == 1
        assert 0 < row["min_ms"] == row["median_ms"] == row["max_ms"]
        assert row["images_per_second"] == pytest.approx(2e3 / row["median_ms"], rel=1e-2)
        assert row["processor_ms"] > 0
        assert row["peak_memory_mb"] > 100
    assert set(document["speedup"]) == {"literal", "released", "gancomp, bf16, plain"}
    assert document["processor_speedup"].keys() == document["speedup"].keys()
    assert set(document["loss_difference"]) == {"gancomp", "gancomp, bf16, plain"}
    assert 0 <= document["loss_difference"]["gancomp"] <= 1e-4
    assert document["slower_by"] == document["profile"] == document["failed"] == {}
    assert document["machine"]["threads"] == 1
    note, _ = document["notes"]
    assert note.startswith("largest relative difference of a loss from the literal step's, gancomp")
    assert json.loads(json.dumps(document)) == document


class Ready:
    """Stands in for a process: answers each order by the same thing, or raises it."""

    def __init__(self, thing: object) -> None:
        self.thing = thing
        self.orders: list[str] = []
        self.allowed: list[float | None] = []
        self.since: set[float | None] = set()

    def send(self, order: str) -> None:
        self.orders.append(order)

    def answer(self, within: float | None = None, *, since: float | None = None) -> object:
        self.allowed.append(within)
        self.since.add(since)
        if isinstance(self.thing, Exception):
            raise self.thing
        return self.thing

    def ask(self, order: str) -> object:
        self.send(order)
        return self.answer()


def test_a_side_of_the_grid_that_fails_is_named_and_left_out_but_no_other_one() -> None:
    broken = Contestant(f"{OURS}, fp32, plain")
    group = [Contestant(OURS), broken, Contestant(f"{OURS}, bf16, compiled")]
    contestants: dict[str, Any] = {item.name: Ready({"loss": 1.0}) for item in group}
    contestants[broken.name] = Ready(RuntimeError("out of memory\nat length"))
    for device in (CPU, torch.device("cuda")):
        first, failed = _first_steps(contestants, group, device, lambda message: None)
        assert list(first) == ["gancomp", "gancomp, bf16, compiled"]
        assert failed == {broken.name: "RuntimeError: out of memory"}
    assert contestants[OURS].orders == ["step", "rest"] * 2
    _first_steps(contestants, group, CPU, lambda message: None, patience=30.0)
    assert [30.0 in side.allowed for side in contestants.values()] == [False, True, True]
    sides = [Contestant(f"{OURS}, {name}, compiled") for name in ("tf32", "bf16")]
    ready = {side.name: Ready({"loss": 1.0}) for side in sides}
    asked: Any = ready
    _first_steps(asked, sides, torch.device("cuda"), lambda message: None, patience=30.0)
    (began,) = {since for side in ready.values() for since in side.since - {None}}  # of all
    assert began is not None
    contestants[OURS] = contestants[broken.name]
    with pytest.raises(RuntimeError, match="out of memory"):
        _first_steps(contestants, group, CPU, lambda message: None)


def test_a_side_that_hangs_is_killed_after_the_time_it_was_given() -> None:
    killed: list[bool] = []
    here, there = multiprocessing.Pipe()
    side = ContestantProcess("train", here, lambda: killed.append(True))
    with pytest.raises(RunError, match=r"no answer within 0\.01 s"):
        side.answer(0.01)
    with pytest.raises(RunError, match=r"no answer within 600 s"):
        side.answer(600.0, since=time.monotonic() - 600.0)
    assert killed == [True, True]
    there.send({"loss": 1.0})
    assert side.answer(60.0) == {"loss": 1.0}


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="`patience` 0: must be more than 0 seconds"):
        TrainRequest(patience=0.0)


def test_patience_is_refused_where_no_side_would_be_given_up() -> None:
    for ablate in (False, True):
        with pytest.raises(ConfigError, match="`patience` 9: is for sides of `grid` and `bf16`"):
            TrainRequest(patience=9.0, ablate=ablate)
    assert TrainRequest(patience=9.0, grid=True).patience == 9.0


def test_on_a_gpu_the_grid_has_each_number_format_in_each_way_once() -> None:
    gpu = torch.device("cuda")
    ours = Contestant(OURS, without=WAYS["plain"])
    sides = [side.describe(gpu) for side in (ours, *grid(ours, gpu, compiled=True))]
    assert sides[0] == {"format": "tf32", "way": "plain", "compiled": False}
    found = [(item["format"], item["way"]) for item in sides]
    ways = ["plain", "graphs", "fused+graphs", "compiled", "compiled+graphs"]
    wanted = [("fp32", "plain"), *((name, way) for name in ("tf32", "bf16") for way in ways)]
    assert sorted(found) == sorted(wanted)
    assert [side.name for side in grid(ours, gpu, compiled=False)] == [
        "gancomp, fp32, plain",
        "gancomp, tf32, graphs",
        "gancomp, tf32, fused+graphs",
        "gancomp, bf16, plain",
        "gancomp, bf16, graphs",
        "gancomp, bf16, fused+graphs",
    ]
    assert [side.name for side in grid(ours, CPU, compiled=True)] == [
        "gancomp, fp32, compiled",
        "gancomp, bf16, plain",
        "gancomp, bf16, compiled",
    ]
    literal = Contestant("literal", way="literal")
    assert literal.describe(gpu) == {"format": "tf32", "way": "plain", "compiled": False}
    assert Contestant(OURS).describe(CPU)["way"] == "compiled"


def test_bf16_beside_the_grid_is_refused_for_it_is_there_already() -> None:
    with pytest.raises(ConfigError, match="`bf16`: is among what `grid` times"):
        TrainRequest(bf16=True, grid=True)


def test_the_command_hands_its_options_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[TrainRequest] = []

    def stand_in(request: TrainRequest, say: Callable[[str], None]) -> dict[str, str]:
        asked.append(request)
        return {"bench": "train"}

    monkeypatch.setattr("gancomp.bench.train.bench_train", stand_in)
    options = (
        "--size 128 --batch-size 4 --width 8 --d-width 2 --rounds 3 --no-compile --bf16 --ablate "
        "--profile --patience 9 --device cpu --threads 1 --json"
    )
    assert run_command(capsys, "bench", "train", *options.split()).document == {"bench": "train"}
    assert run_command(capsys, "bench", "train", "--compile", "--json").status == 0
    assert run_command(capsys, "bench", "train", "--grid", "--json").status == 0
    assert asked == [
        TrainRequest(
            size=128,
            batch_size=4,
            width=8,
            d_width=2,
            rounds=3,
            device="cpu",
            threads=1,
            compiled=False,
            bf16=True,
            ablate=True,
            profile=True,
            patience=9.0,
        ),
        TrainRequest(compiled=True),
        TrainRequest(grid=True),
    ]
