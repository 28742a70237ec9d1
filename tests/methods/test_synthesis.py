"""The pair of a generator and its discriminator: order, literal losses, lazy regularizers, EMA."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from loops import loop_of
from synthesis_builders import (
    ADAM,
    BATCH,
    state_of,
    take_steps,
    tiny_batch,
    tiny_method,
    whole_state,
)
from tiny_runs import assert_equal
from torch import Tensor, nn

from gancomp.engine.fit import run_step
from gancomp.engine.phases import Progress, Step, optimizers
from gancomp.errors import ConfigError
from gancomp.methods.adversarial_pair import AdversarialPair, automatic_r1_gamma
from gancomp.networks.synthesis import Latents
from gancomp.tasks.synthesis import draw, fakes_of, judging, reals_of


def step_of(index: int = 0, arch: str = "stylegan2") -> Step:
    return Step(index, tiny_batch(arch))


def latents_of(method: Any, phase: str, index: int = 0, count: int = BATCH, part: int = 0) -> Any:
    pair: AdversarialPair = method.pair
    mixing = pair.rules.style_mixing
    return draw(pair.generator, count, 0, phase, index, part, mixing=mixing)


# order, optimizers


def test_the_order_is_generator_path_discriminator_r1_and_the_lazy_ones_come_rarely() -> None:
    losses = take_steps(tiny_method("gan"), 17)
    names = [list(dict.fromkeys(key.split("/")[0] for key in found)) for found in losses]
    whole, plain = ["teacher", "path", "discriminator", "r1"], ["teacher", "discriminator"]
    with_path = ["teacher", "path", "discriminator"]
    wanted = [with_path if index % 4 == 0 else plain for index in range(17)]
    wanted[0] = wanted[16] = whole
    assert names == wanted


def test_a_lazy_phase_shares_its_optimizer_which_a_checkpoint_holds_once() -> None:
    method = tiny_method("gan")
    generator, path, discriminator, r1 = method.phases()
    assert generator.optimizer is path.optimizer
    assert discriminator.optimizer is r1.optimizer
    assert list(optimizers(method.phases())) == ["teacher", "discriminator"]


def test_adam_is_corrected_by_n_over_n_plus_1_where_there_is_a_regularizer() -> None:
    generator, _, discriminator, _ = tiny_method("gan").phases()
    found = [phase.optimizer.param_groups[0] for phase in (generator, discriminator)]
    # the published rates of 0.002 and betas of 0 and 0.99
    assert [group["lr"] for group in found] == pytest.approx([0.0016, 0.0018824], abs=1e-7)
    assert [group["betas"][0] for group in found] == [0.0, 0.0]
    assert [group["betas"][1] for group in found] == pytest.approx([0.99199, 0.99059], abs=1e-5)
    plain = tiny_method("gan", r1_gamma=0.0, path_weight=0.0)
    assert [phase.name for phase in plain.phases()] == ["teacher", "discriminator"]
    for phase in plain.phases():
        group = phase.optimizer.param_groups[0]
        assert (group["lr"], group["betas"]) == (2e-3, (0.0, 0.99))


def test_the_discriminator_may_have_a_rate_of_its_own() -> None:
    method = tiny_method("gan", "biggan", d_lr=4e-4, optimizer=replace(ADAM, lr=1e-4))
    rates = [phase.optimizer.param_groups[0]["lr"] for phase in method.phases()]
    assert rates == [1e-4, 4e-4]


# losses


@pytest.mark.parametrize("arch", ["stylegan2", "biggan"])
def test_the_generators_loss_is_the_literal_one_of_fresh_fakes(arch: str) -> None:
    method, step = tiny_method("gan", arch).eval(), step_of(3, arch)
    pair = method.pair
    found = method.losses("teacher", step)
    logits = fakes_of(pair.generator, latents_of(method, "generator", 3)).by(pair.discriminator)
    wanted = -logits.mean() if arch == "biggan" else (1 + (-logits).exp()).log().mean()
    assert list(found) == ["gan"]
    assert found["gan"].item() == pytest.approx(wanted.item(), rel=1e-5)
    assert float(step.notes["teacher/judged"]) == pytest.approx(float(logits.mean()), rel=1e-5)
    assert not step.notes["teacher/judged"].requires_grad


def test_each_phase_has_latents_of_its_own() -> None:
    method = tiny_method("gan")
    drawn = [latents_of(method, name).z for name in ("generator", "path", "discriminator")]
    assert not any(torch.equal(a, b) for a, b in zip(drawn, drawn[1:] + drawn[:1], strict=True))


def test_r1_is_half_gamma_times_the_squared_gradient_times_the_steps_it_stands_for() -> None:
    method, step = tiny_method("gan", r1_gamma=3.0, r1_every=5).double(), step_of()
    judge = method.pair.discriminator
    step.batch["image"] = images = step.batch["image"].double()
    found = float(method.losses("r1", step)["gradient"])
    probe = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(judge.judge(probe).sum(), probe)
    literal = sum(float((item**2).sum()) for item in gradient) / len(images)
    assert found == pytest.approx(5 * 3.0 / 2 * literal, rel=1e-9)
    assert not images.requires_grad


def test_r1_of_automatic_weight_is_that_of_the_size_and_batch() -> None:
    assert automatic_r1_gamma(16, BATCH) == pytest.approx(0.0002 * 16 * 16 / BATCH)
    given = tiny_method("gan", r1_gamma=automatic_r1_gamma(16, BATCH))
    found = [
        float(item.losses("r1", step_of())["gradient"]) for item in (given, tiny_method("gan"))
    ]
    assert found[0] == found[1] > 0


def test_path_lengths_are_pulled_to_their_running_mean() -> None:
    method = tiny_method("gan", path_weight=3.0, path_every=7)
    pair: AdversarialPair = method.pair
    pair.standing.path_mean.fill_(2.0)
    found = float(method.losses("path", step_of())["length"])
    latents = latents_of(method, "path", count=BATCH // 2)
    styles = pair.generator.styles(latents).detach().requires_grad_()
    images = pair.generator.synthesize(styles, latents.noise)
    from gancomp.tasks.synthesis import source_of

    noise = torch.randn(images.shape, generator=source_of(pair.generator, 0, "path noise", 0, 0))
    (jacobian,) = torch.autograd.grad((images * noise / 16).sum(), styles)
    lengths = [float((item**2).sum(1).mean().sqrt()) for item in jacobian]
    mean = 2.0 + 0.01 * (sum(lengths) / len(lengths) - 2.0)
    literal = sum((length - mean) ** 2 for length in lengths) / len(lengths)
    assert len(lengths) == BATCH // 2
    assert found == pytest.approx(3.0 * 7 * literal, rel=1e-4)
    assert float(pair.standing.path_mean) == pytest.approx(mean, rel=1e-5)


def test_both_judges_of_a_step_see_the_same_fakes() -> None:
    method, step = tiny_method("gan"), step_of()
    calls = []
    method.pair.generator.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        method.pair.judge_losses(step, method.pair.discriminator)
    assert calls == [1]


def gradients(module: nn.Module) -> list[str]:
    return [name for name, item in module.named_parameters() if item.grad is not None]


@pytest.mark.parametrize("phase", ["teacher", "path", "discriminator", "r1"])
def test_a_phase_leaves_gradients_in_its_own_network_alone(phase: str) -> None:
    method = tiny_method("gan")
    run_step(loop_of(with_phase(method, phase)), 0, tiny_batch())
    own, other = method.pair.generator, method.pair.discriminator
    if phase in ("discriminator", "r1"):
        own, other = other, own
    assert gradients(own)
    assert not gradients(other)
    assert not gradients(method.pair.average)


def with_phase(method: Any, name: str) -> Any:
    """All phases, of which only one has its turn."""
    for phase in method.phases():
        phase.active = lambda progress, wanted=phase.name == name: wanted
    return method


def test_a_batch_in_parts_has_the_gradients_of_the_mean_of_the_parts() -> None:
    whole = tiny_method("gan", accumulation=2)
    loop = loop_of(with_phase(whole, "discriminator"))
    logged = run_step(loop, 0, tiny_batch(count=8))
    pair = tiny_method("gan").pair
    total: dict[str, Tensor] = {}
    images = tiny_batch(count=8)["image"]
    for part in range(2):
        with torch.no_grad():
            fakes = pair.generator(latents_of(whole, "discriminator", part=part))
        real, fake = (
            pair.discriminator.judge(item) for item in (images[4 * part : 4 * part + 4], fakes)
        )
        terms = {"real": (1 + (-real).exp()).log().mean(), "fake": (1 + fake.exp()).log().mean()}
        (sum(terms.values()) / 2).backward()
        total = {name: total.get(name, 0) + term.detach() / 2 for name, term in terms.items()}
    for name, value in total.items():
        assert float(logged[f"discriminator/{name}"]) == pytest.approx(float(value), rel=1e-5)
    pairs = zip(whole.pair.discriminator.parameters(), pair.discriminator.parameters(), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("arch", ["stylegan2", "biggan"])
def test_every_phase_works_in_parts(arch: str) -> None:
    losses = take_steps(tiny_method("gan", arch, accumulation=2), 2, arch, size=8)
    assert all(bool(torch.isfinite(term)) for found in losses for term in found.values())


# the average


def test_the_average_follows_after_the_discriminators_turn() -> None:
    method = tiny_method("gan", ema_beta=0.75)
    before = state_of(method.pair.average.network)
    take_steps(method, 1)
    generator, average = (
        item.state_dict() for item in (method.pair.generator, method.pair.average.network)
    )
    moved = 0
    for key, value in generator.items():
        torch.testing.assert_close(average[key], before[key] + 0.25 * (value - before[key]))
        moved += not torch.equal(value, before[key])
    assert moved > 10
    after = [phase.name for phase in method.phases() if phase.after is not None]
    assert after == ["discriminator"]


def test_until_its_start_the_average_is_a_copy_with_buffers() -> None:
    method = tiny_method("gan", "biggan", ema_start=2, ema_beta=0.9999)
    take_steps(method, 2, "biggan")
    generator, average = (
        method.pair.generator.state_dict(),
        method.pair.average.network.state_dict(),
    )
    assert all(torch.equal(average[key], value) for key, value in generator.items())
    run_step(loop_of(method), 2, tiny_batch("biggan", 2))
    generator = method.pair.generator.state_dict()
    differing = {
        key.rsplit(".", 1)[-1] for key in average if not torch.equal(average[key], generator[key])
    }
    assert {"weight", "stored_mean", "stored_var", "u0"} <= differing


def test_what_is_handed_out_is_the_average_in_inference_mode() -> None:
    method = tiny_method("gan")
    assert method.generators() == {"teacher": method.pair.average.network}
    method.train()
    assert not method.pair.average.network.training
    assert method.pair.generator.training


def test_the_mean_style_follows_the_styles_of_the_fakes() -> None:
    method = tiny_method("gan")
    pair: AdversarialPair = method.pair
    assert pair.average.network.latent_avg is None
    means = []
    for index in range(2):
        run_step(loop_of(method), index, tiny_batch(seed=index))
        with torch.no_grad():
            styles = pair.generator.styles(Latents(latents_of(method, "discriminator", index).z))
        means.append(styles[:, 0].mean(0))
    wanted = 0.995 * means[0] + 0.005 * means[1]
    torch.testing.assert_close(pair.average.network.latent_avg, wanted)
    assert pair.generator.latent_avg is None
    assert "latent_avg" in pair.networks()["average"].state_dict()


# going on


@pytest.mark.parametrize("arch", ["stylegan2", "biggan"])
def test_three_steps_and_three_more_from_the_state_equal_six_straight_ones(arch: str) -> None:
    options = {"r1_every": 2, "path_every": 2} if arch == "stylegan2" else {"ema_start": 4}
    straight, first, second = (tiny_method("gan", arch, **options) for _ in range(3))
    take_steps(straight, 6, arch)
    take_steps(first, 3, arch)
    for name, network in second.networks().items():
        network.load_state_dict(first.networks()[name].state_dict())
    saved = optimizers(first.phases())
    for name, optimizer in optimizers(second.phases()).items():
        optimizer.load_state_dict(saved[name].state_dict())
    for index in range(3, 6):
        run_step(loop_of(second), index, tiny_batch(arch, index))
    assert_equal(whole_state(second), whole_state(straight))


def test_a_later_stage_takes_over_the_networks_and_nothing_else() -> None:
    first = tiny_method("gan", ema_start=100)
    take_steps(first, 3)
    states = {name: network.state_dict() for name, network in first.networks().items()}
    second = tiny_method("gan", ema_start=100)
    second.go_on_from("teacher", states)
    for name in ("generator", "discriminator", "average"):
        found = second.networks()[name].state_dict()
        assert all(torch.equal(found[key], value) for key, value in states[name].items())
    assert first.pair.standing.path_mean > 0
    assert second.pair.standing.path_mean == 0
    assert second.pair.standing.average_start == 0
    assert all(not phase.optimizer.state for phase in second.phases())
    # and a run that is resumed then knows that there is no delay any more
    third = tiny_method("gan", ema_start=100)
    third.pair.standing.load_state_dict(second.pair.standing.state_dict())
    assert third.pair.standing.average_start == 0


@pytest.mark.parametrize(
    ("options", "flag"),
    [({"path_weight": 2.0}, "`path_weight` 2"), ({"style_mixing": 0.9}, "`style_mixing` 0.9")],
)
def test_rules_about_styles_need_a_generator_with_styles(
    options: dict[str, float], flag: str
) -> None:
    with pytest.raises(ConfigError, match=f"{flag}: biggan has no styles"):
        tiny_method("gan", "biggan", **options)


def test_a_step_takes_the_phases_whose_turn_it_is() -> None:
    method = tiny_method("gan", r1_every=3, path_every=2)
    turns = [
        [phase.name for phase in method.phases() if phase.takes_part(Progress(index, 0, 1))]
        for index in range(4)
    ]
    assert [len(names) for names in turns] == [4, 2, 3, 3]


# several turns, and who comes first


def test_the_discriminator_may_have_several_turns_each_with_its_regularizer() -> None:
    names = [phase.name for phase in tiny_method("gan", d_steps=2).phases()]
    assert names == ["teacher", "path", "discriminator", "r1", "discriminator-2", "r1-2"]
    phases = tiny_method("gan", d_steps=3, turn_order="discriminator-first").phases()
    judges = [f"{name}{turn}" for turn in ("", "-2", "-3") for name in ("discriminator", "r1")]
    assert [phase.name for phase in phases] == [*judges, "teacher", "path"]
    assert len({id(phase.optimizer) for phase in phases}) == 2
    assert [phase.name for phase in phases if phase.after is not None] == ["teacher"]


@pytest.mark.parametrize("arch", ["stylegan2", "biggan"])
@pytest.mark.parametrize("order", ["generator-first", "discriminator-first"])
def test_turns_equal_a_literal_loop_over_the_releases_step(arch: str, order: str) -> None:
    """Hinge or logistic terms, plain Adam, by hand: each turn has its own images and fakes."""
    options = {"r1_gamma": 0.0, "path_weight": 0.0, "turn_order": order}
    method, twin = (tiny_method("gan", arch, d_steps=2, **options) for _ in range(2))
    batch = tiny_batch(arch, count=2 * BATCH)
    run_step(loop_of(method), 0, batch)
    pair: AdversarialPair = twin.pair
    opt_g, opt_d = (optimizers(twin.phases())[name] for name in ("teacher", "discriminator"))

    def learn_generator() -> None:
        pair.discriminator.requires_grad_(False)
        fakes = fakes_of(pair.generator, latents_of(twin, "generator"))
        logits = fakes.by(pair.discriminator)
        loss = -logits.mean() if arch == "biggan" else torch.nn.functional.softplus(-logits).mean()
        opt_g.zero_grad()
        loss.backward()
        opt_g.step()
        pair.discriminator.requires_grad_(True)

    def learn_discriminator(turn: int) -> None:
        some = {name: item[turn * BATCH : (turn + 1) * BATCH] for name, item in batch.items()}
        reals = reals_of(Step(0, some), pair.discriminator)
        with torch.no_grad():
            fakes = fakes_of(pair.generator, latents_of(twin, "discriminator", part=turn))
        opt_d.zero_grad()
        terms = judging(pair.kind, pair.discriminator, reals, fakes)
        (terms["real"] + terms["fake"]).backward()
        opt_d.step()

    turns = [learn_generator, lambda: learn_discriminator(0), lambda: learn_discriminator(1)]
    for learn in turns if order == "generator-first" else [*turns[1:], turns[0]]:
        learn()
    for name in ("generator", "discriminator"):
        found, wanted = (item.networks()[name].state_dict() for item in (method, twin))
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6)


def test_one_turn_of_the_generator_first_is_the_step_without_these_options_bit_for_bit() -> None:
    plain, named = tiny_method("gan"), tiny_method("gan", d_steps=1, turn_order="generator-first")
    assert_equal(take_steps(plain, 3), take_steps(named, 3))
    assert_equal(whole_state(plain), whole_state(named))
