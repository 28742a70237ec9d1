"""One training step: when a bad term is noticed, and terms minimized before the others."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gancomp.engine.phases import Phase, Progress, Step
from gancomp.engine.step import FiniteWatch, autocast, decay_factor, take_step
from gancomp.errors import TrainingError

CPU = torch.device("cpu")
NAMES = ("fit", "style", "size")


class Kept:
    """A tensor that a graph keeps for its backward pass."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Small(nn.Module):
    """One network, one phase, three terms: the first two may be minimized before the third."""

    def __init__(self, *, early: bool, spoiled: str = "") -> None:
        super().__init__()
        self.early, self.spoiled = early, spoiled
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        for index, parameter in enumerate(self.parameters()):
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(index))
        self.phase = Phase("small", self, torch.optim.SGD(self.parameters(), lr=0.1))
        self.alive: weakref.WeakSet[Kept] = weakref.WeakSet()
        self.alive_after: list[int] = []
        self.returned: dict[str, Tensor] = {}

    def phases(self) -> list[Phase]:
        return [self.phase]

    def losses(self, phase: str, step: Step) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        for name in NAMES:
            with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda kept: kept.tensor):
                output = self.layers(step.batch["source"])
                term = output.square().mean() if name == "fit" else output.abs().sum()
                term = term * (torch.nan if name == self.spoiled else 0.5)
            if self.early and name != NAMES[-1]:
                terms |= step.minimize({name: term})
                del output, term
            else:
                terms[name] = term
            self.alive_after.append(len(self.alive))
        self.returned = terms
        return terms

    def _keep(self, tensor: Tensor) -> Kept:
        kept = Kept(tensor)
        self.alive.add(kept)
        return kept


def step_of(method: Any, index: int = 0, *, watch: FiniteWatch | None = None) -> dict[str, Tensor]:
    images = torch.rand(5, 3, generator=torch.Generator().manual_seed(9), dtype=torch.double)
    return take_step(
        method,
        Step(index, {"source": images}),
        Progress(index, 0, 1),
        rate=1.0,
        precision="fp32",
        device=CPU,
        watch=watch or FiniteWatch(late=False),
    )


def weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def test_terms_minimized_early_give_the_gradients_of_all_terms_at_once() -> None:
    at_once, in_parts = Small(early=False), Small(early=True)
    logged = step_of(at_once), step_of(in_parts)
    assert tuple(logged[0]) == tuple(logged[1]) == tuple(f"small/{name}" for name in NAMES)
    for name, value in logged[0].items():
        assert torch.equal(value, logged[1][name])
    for one, other in zip(at_once.parameters(), in_parts.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert one.grad.abs().sum() > 0
        # float32 holds the sum of the terms, float64 the gradients
        assert torch.allclose(one.grad, other.grad, rtol=1e-12)
        assert torch.allclose(one, other, rtol=1e-12)


def test_terms_minimized_early_come_back_detached_and_their_graphs_are_freed() -> None:
    method = Small(early=True)
    logged = step_of(method)
    assert [term.requires_grad for term in method.returned.values()] == [False, False, True]
    assert not any(term.requires_grad for term in logged.values())
    in_parts, at_once = method.alive_after, Small(early=False)
    step_of(at_once)
    one, two, three = at_once.alive_after
    assert 0 < one < two < three, "nothing is freed here, or nothing was counted"
    assert in_parts == [0, 0, one]


def test_the_next_step_starts_with_fresh_gradients() -> None:
    at_once, in_parts = Small(early=False), Small(early=True)
    for index in range(3):
        step_of(at_once, index)
        step_of(in_parts, index)
    for one, other in zip(at_once.parameters(), in_parts.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-10)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("spoiled", NAMES)
def test_a_bad_term_is_named_before_the_optimizer_moves_anything(spoiled: str, early: bool) -> None:
    method = Small(early=early, spoiled=spoiled)
    before = weights(method)
    with pytest.raises(TrainingError, match=f"^step 8: small/{spoiled} = nan; stopped") as info:
        step_of(method, 7)
    assert sum(name in str(info.value) for name in NAMES) == 1
    assert all(map(torch.equal, before, weights(method)))


def test_looking_late_the_next_step_is_refused_with_the_bad_one_s_number() -> None:
    method, watch = Small(early=True, spoiled="style"), FiniteWatch(late=True)
    step_of(method, 7, watch=watch)
    assert all(bool(value.isnan().any()) for value in weights(method)), "the bad step is taken"
    method.spoiled = ""
    with pytest.raises(TrainingError, match="^step 8: small/style = nan; stopped"):
        step_of(method, 8, watch=watch)


def test_looking_late_settle_sees_what_the_last_step_did() -> None:
    method, watch = Small(early=False, spoiled="size"), FiniteWatch(late=True)
    step_of(method, 2, watch=watch)
    with pytest.raises(TrainingError, match="^step 3: small/size = nan"):
        watch.settle()
    watch.settle()  # once is enough


def test_looking_late_a_step_s_own_phases_wait_and_the_first_bad_step_is_the_one_named() -> None:
    watch, bad = FiniteWatch(late=True), torch.tensor([1.0, torch.inf])
    watch.see(0, ["one/a", "one/b"], torch.ones(2))
    watch.see(1, ["one/a", "one/b"], bad)
    watch.see(1, ["two/a", "two/b"], -bad)
    with pytest.raises(TrainingError, match="^step 2: one/b = inf;"):
        watch.see(2, ["one/a", "one/b"], bad)
    with pytest.raises(TrainingError, match="^step 2: two/b = -inf;"):
        watch.settle()


def test_what_was_seen_late_does_not_change_with_the_tensor() -> None:
    watch, terms = FiniteWatch(late=True), torch.ones(1)
    watch.see(0, ["one/a"], terms)
    terms.fill_(torch.nan)
    watch.settle()


def test_good_terms_pass_early_and_late() -> None:
    for late in (False, True):
        method, watch = Small(early=True), FiniteWatch(late=late)
        for index in range(3):
            step_of(method, index, watch=watch)
        watch.settle()


def test_the_rate_is_constant_and_then_falls_linearly_as_in_the_released_code() -> None:
    # worked out by hand: 3 constant epochs, then 1 - k/5 for k = 1, 2, 3, 4
    factors = [decay_factor(epoch, epochs=3, decay_epochs=4) for epoch in range(7)]
    assert factors == pytest.approx([1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    # what OMGD's networks.get_scheduler gave, the step after the last epoch included
    factors = [decay_factor(epoch, epochs=4, decay_epochs=3) for epoch in range(8)]
    assert factors == [1, 1, 1, 1, 0.75, 0.5, 0.25, 0]


def test_without_constant_epochs_the_first_epoch_is_already_lower() -> None:
    assert decay_factor(0, epochs=0, decay_epochs=100) == pytest.approx(100 / 101)


def test_beyond_the_schedule_the_rate_is_zero_and_never_negative() -> None:
    assert decay_factor(1000, epochs=3, decay_epochs=4) == 0.0


def test_bf16_computes_matrix_products_in_bf16_and_fp32_does_not() -> None:
    cpu, matrix = torch.device("cpu"), torch.ones(2, 2)
    with autocast(cpu, "bf16"):
        assert (matrix @ matrix).dtype == torch.bfloat16
    with autocast(cpu, "fp32"):
        assert (matrix @ matrix).dtype == torch.float32
