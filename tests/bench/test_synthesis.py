"""`gancomp bench synthesis`: the literal step and gancomp's are one, and what the document says."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

import pytest
import torch
from commands import run_command
from torch import nn

from gancomp.bench.literal_synthesis import PHASES, LiteralSynthesis
from gancomp.bench.synthesis import (
    CYCLE,
    CYCLE_TURNS,
    OPTIMIZER,
    STEP,
    TURNS,
    SynthesisRequest,
    amortized,
    bench_synthesis,
    build,
    full_step,
    gancomp_take,
    lazy_costs,
    literal_take,
    made_up_images,
    runs_of,
)
from gancomp.engine.speed import speed_up
from gancomp.errors import ConfigError
from gancomp.metrics.latency import Latency

CPU = torch.device("cpu")
TERMS = {
    "teacher/gan",
    "path/length",
    "discriminator/real",
    "discriminator/fake",
    "r1/gradient",
}


class Both:
    """Some steps of both kinds from equal weights, all four phases in each of them.

    Args:
        batch_size: images per step.
        dtype: of everything.
        num_steps: how many.
    """

    def __init__(self, batch_size: int, dtype: torch.dtype, num_steps: int = 2) -> None:
        request = SynthesisRequest(size=16, width=8, batch_size=batch_size, device="cpu")
        self.method = build(request).to(dtype)
        images = made_up_images(request).to(dtype)
        self.literal = LiteralSynthesis(self.method, OPTIMIZER)
        speed_up(self.method, CPU, compiled="off", say=print)
        take = gancomp_take(self.method, images, CPU)
        self.losses = [take(TURNS, index, 0) for index in range(num_steps)]
        self.literal_losses = [
            self.literal.turns(list(PHASES), index, images) for index in range(num_steps)
        ]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_all_losses_of_a_first_step_are_those_of_the_literal_one(batch_size: int) -> None:
    pair = Both(batch_size, torch.float32, num_steps=1)
    assert set(pair.literal_losses[0]) == TERMS
    for name, value in pair.literal_losses[0].items():
        assert value > 0
        assert pair.losses[0][name] == pytest.approx(value, rel=1e-5), name


def test_in_real_numbers_losses_weights_and_averages_stay_those_of_the_literal_step() -> None:
    pair = Both(4, torch.float64)
    game, literal = pair.method.pair, pair.literal
    for ours, theirs in zip(pair.losses, pair.literal_losses, strict=True):
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=1e-10), name
    untrained = build(SynthesisRequest(size=16, width=8, device="cpu")).double().pair
    for mine, other, before in (
        (game.generator, literal.generator.network, untrained.generator),
        (game.discriminator, literal.discriminator.network, untrained.discriminator),
        (game.average.network, literal.average.network, untrained.average.network),
    ):
        check_weights(mine, other, before)
    assert literal.average_style is not None
    assert game.average.network.latent_avg is not None
    torch.testing.assert_close(game.average.network.latent_avg, literal.average_style)
    assert literal.mean_length > 0
    torch.testing.assert_close(game.standing.path_mean, literal.mean_length)


def check_weights(ours: nn.Module, literal: nn.Module, before: nn.Module) -> None:
    """All weights are equal, and none is what it was."""
    theirs, old = dict(literal.named_parameters()), dict(before.named_parameters())
    for name, value in ours.named_parameters():
        torch.testing.assert_close(value, theirs[name], rtol=1e-9, atol=1e-9)
        assert not torch.equal(value, old[name]), name


def test_the_literal_discriminator_collects_gradients_while_the_generator_is_trained() -> None:
    request = SynthesisRequest(size=16, width=4, batch_size=2, device="cpu")
    literal = LiteralSynthesis(build(request), OPTIMIZER)
    literal.turns(["teacher"], 0, made_up_images(request))
    assert all(item.grad is not None for item in literal.discriminator.parameters())


@pytest.mark.parametrize("kind", ["literal", "gancomp"])
def test_each_phase_can_be_taken_by_itself_and_lazy_ones_have_their_turn(kind: str) -> None:
    request = SynthesisRequest(size=16, width=4, batch_size=2, device="cpu")
    method, images = build(request), made_up_images(request)
    take = literal_take(method, images) if kind == "literal" else gancomp_take(method, images, CPU)
    for turn, phase in zip(TURNS, PHASES, strict=True):
        losses = take([turn], 0, 0)
        assert {name for name in losses if name in TERMS} == {
            name for name in TERMS if name.startswith(f"{phase}/")
        }
    phases = [{name.split("/")[0] for name in take(TURNS, 0, number)} for number in (1, 4, 16)]
    assert phases == [{"teacher", "discriminator"}, set(PHASES) - {"r1"}, set(PHASES)]


def test_the_literal_step_knows_by_itself_which_phases_have_their_turn() -> None:
    request = SynthesisRequest(size=16, width=4, batch_size=2, device="cpu")
    literal, images = LiteralSynthesis(build(request), OPTIMIZER), made_up_images(request)
    assert set(literal.step(0, images)) == TERMS
    assert set(literal.step(8, images)) == TERMS - {"r1/gradient"}
    assert set(literal.step(3, images)) == TERMS - {"r1/gradient", "path/length"}


def test_a_cycle_is_16_steps_of_a_training_in_which_lazy_phases_count_4_and_1() -> None:
    request = SynthesisRequest(size=16, width=4, batch_size=2, device="cpu")
    indices: list[int] = []
    real = gancomp_take(build(request), made_up_images(request), CPU)

    def take(turns: Collection[str], index: int, number: int) -> dict[str, float]:
        indices.append(index)
        return real(turns, index, number)

    runs = runs_of(take)
    runs[STEP]()
    runs["path"]()
    runs[CYCLE]()
    assert indices == list(range(18)), "each run has random numbers of its own"
    assert runs[CYCLE_TURNS]() == {"generator": 16, "path": 4, "discriminator": 16, "r1": 1}


def test_lazy_phases_count_a_fourth_and_a_sixteenth_of_a_full_step() -> None:
    times = {"generator": 10.0, "path": 8.0, "discriminator": 20.0, "r1": 32.0}
    assert amortized(times) == 34.0
    latencies = {name: Latency(ms, ms / 2, ms * 2, 3) for name, ms in times.items()}
    assert full_step(latencies) == Latency(34.0, 17.0, 68.0, 3)
    assert lazy_costs(times, 680.0) == {
        "steps": 16,
        "measured_ms": 680.0,
        "added_up_ms": 544.0,
        "measured_over_added_up": 1.25,
        "share": {"path": round(2 / 34, 4), "r1": round(2 / 34, 4)},
        "over_none": round(34 / 30, 4),
        "every_step_over_lazy": round(70 / 34, 4),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("ready_processes")
def test_the_document_names_both_sides_with_phases_memory_and_what_lazy_phases_cost() -> None:
    said: list[str] = []
    request = SynthesisRequest(
        size=16,
        width=4,
        batch_size=2,
        rounds=1,
        warm_up=0,
        device="cpu",
        threads=1,
        compiled=False,
        profile=True,
    )
    document = bench_synthesis(request, said.append)
    assert len(said) == 3
    assert (document["bench"], document["of"]) == ("synthesis", "gancomp")
    assert "16 px, batch 2, width 4" in document["what"]
    for name in ("literal", "gancomp"):
        row, phases = document["contestants"][name], document["phases_ms"][name]
        assert list(phases) == list(TURNS)
        medians = {turn: times["median"] for turn, times in phases.items()}
        assert row["median_ms"] == pytest.approx(amortized(medians), rel=1e-3)
        assert row["images_per_second"] == pytest.approx(2e3 / row["median_ms"], rel=1e-2)
        assert row["peak_memory_mb"] > 100
        lazy = document["lazy"][name]
        assert lazy["turns"] == {"generator": 16, "path": 4, "discriminator": 16, "r1": 1}
        assert lazy["added_up_ms"] == pytest.approx(16 * row["median_ms"], rel=1e-3)
        assert 0.1 < lazy["measured_over_added_up"] < 10
        assert 0 < lazy["share"]["r1"] < 0.5
        assert lazy["every_step_over_lazy"] > 1
        assert document["profile"][name]
    assert set(document["speedup"]) == {"literal"}
    assert 0 <= document["loss_difference"] <= 1e-5
    assert len(document["notes"]) == 7
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 48}, "`size` 48: stylegan2 knows 16, 32, 64"),
        ({"batch_size": 6}, "`batch_size` 6: .* multiple of 4"),
        ({"batch_size": 0}, "`batch_size` 0: must be at least 1"),
        ({"cycles": 0}, "`cycles` 0: must be at least 1"),
        ({"threads": 0}, "`threads` 0: must be at least 1"),
    ],
)
def test_what_no_step_can_be_made_with_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SynthesisRequest(**settings)  # type: ignore[arg-type]  # each is a whole number


def test_the_command_hands_its_options_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[SynthesisRequest] = []

    def stand_in(request: SynthesisRequest, say: Callable[[str], None]) -> dict[str, str]:
        asked.append(request)
        return {"bench": "synthesis"}

    monkeypatch.setattr("gancomp.bench.synthesis.bench_synthesis", stand_in)
    options = (
        "--size 32 --batch-size 8 --width 16 --rounds 3 --cycles 2 --no-compile --profile "
        "--device cpu --threads 1 --json"
    )
    outcome = run_command(capsys, "bench", "synthesis", *options.split())
    assert outcome.document == {"bench": "synthesis"}
    assert run_command(capsys, "bench", "synthesis", "--json").status == 0
    assert asked == [
        SynthesisRequest(
            size=32,
            batch_size=8,
            width=16,
            rounds=3,
            cycles=2,
            device="cpu",
            threads=1,
            compiled=False,
            profile=True,
        ),
        SynthesisRequest(),
    ]
