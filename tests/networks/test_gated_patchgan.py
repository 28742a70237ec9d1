"""GCC's gates: what passes, what learns, and the released discriminator's numbers."""

from __future__ import annotations

import pytest
import torch
from golden_values import assert_golden, assert_value_and_gradient, fill, g, golden, img, u
from torch import Tensor, nn

from gancomp.errors import ConfigError
from gancomp.losses.feature import feature_loss
from gancomp.losses.gan import discriminator_fake_loss, discriminator_real_loss, generator_loss
from gancomp.losses.gates import adversarial_gap, selective_activation_loss, smoothed_gap
from gancomp.losses.maps import content_loss, texture_loss
from gancomp.networks.gated_patchgan import ChannelGate, GatedPatchGAN, gated_patchgan
from gancomp.networks.patchgan import PatchGAN, patchgan

SHAPE = (1, 3, 64, 64)


def stored(network: GatedPatchGAN, base: int, alpha: int) -> GatedPatchGAN:
    network = fill(network, base).train()
    with torch.no_grad():
        for gate in network.gates():
            gate.copy_(0.3 + 0.6 * u((len(gate),), alpha + len(gate)))
    return network


def test_a_gate_is_that_of_the_released_code() -> None:
    entry = golden("gcc/selective activation mask")
    gate = ChannelGate(8, 0.5).double()
    with torch.no_grad():
        gate.alpha.copy_(torch.tensor([0, 0.2, 0.4, 0.5, 0.6, 0.8, 1, 0.3]))
    features = g((2, 8, 5, 5), 70).requires_grad_()
    output = gate(features)
    (output * g((2, 8, 5, 5), 71)).sum().backward()
    assert_golden(gate.mask(), entry["value"]["mask"])
    assert_golden(output, entry["value"]["out"])
    assert gate.alpha.grad is not None
    assert features.grad is not None
    assert_golden(gate.alpha.grad, entry["value"]["grad_alpha"])
    assert_golden(features.grad, entry["value"]["grad_x"])


def test_clipping_puts_gates_back_into_range_as_in_the_released_code() -> None:
    network = gated_patchgan(8).double()
    gate = next(network.gates())
    with torch.no_grad():
        gate.copy_(torch.tensor([0, 0.2, 0.4, 0.5, 0.6, 0.8, 1, 0.3]).double() + 0.3)
    network.clip_gates()
    assert_golden(gate, golden("gcc/clip_alpha after +0.3")["value"], rel=1e-7)  # alphas in float32


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("CycleGAN student discriminator (BatchNorm + 4 masks), ndf 64", {}),
        ("pix2pix student discriminator, ndf 128", {"width": 128, "in_channels": 6}),
    ],
)
def test_sizes_and_layers_are_those_of_the_released_networks(
    name: str, settings: dict[str, int]
) -> None:
    entry = golden(f"gcc/{name}")["value"]
    network = gated_patchgan(**settings)  # type: ignore[arg-type]
    assert sum(p.numel() for p in network.parameters()) == entry["params"]
    assert sum(gate.numel() for gate in network.gates()) == entry["alphas"]
    if "layers" in entry:
        found = [type(layer).__name__ for layer in network.model]
        assert found == [k.replace("DifferentiableOP", "ChannelGate") for k in entry["layers"]]
    gates, weights = list(network.gates()), list(network.weights())
    assert {id(p) for p in (*gates, *weights)} == {id(p) for p in network.parameters()}
    assert len(gates) == 4


def judged(network: GatedPatchGAN | PatchGAN, images: Tensor, source: Tensor | None) -> Tensor:
    logits: Tensor = network(images if source is None else torch.cat([source, images], 1))
    return logits


def gap(gan: str, logits: Tensor) -> Tensor:
    return adversarial_gap(generator_loss(gan, logits), discriminator_fake_loss(gan, logits))


@pytest.mark.parametrize("task", ["unpaired", "paired"])
def test_the_gates_loss_and_gradients_are_those_of_the_released_code(task: str) -> None:
    paired = task == "paired"
    name = "gcc/selective activation loss, " + ("pix2pix" if paired else "CycleGAN (A side)")
    gan, source = ("hinge", img(SHAPE, 80)) if paired else ("lsgan", None)
    channels = 6 if paired else 3
    student = stored(gated_patchgan(4, in_channels=channels), 6400 if paired else 6000, 5100)
    of_teacher = patchgan(4, in_channels=channels, norm="batch" if paired else "instance")
    of_teacher = fill(of_teacher, 7400 if paired else 7000).train()
    fake = judged(student, img(SHAPE, 83), source)
    real = judged(student, img(SHAPE, 81), source)
    teacher_gap = gap(gan, judged(of_teacher, img(SHAPE, 87), source))
    parts = {
        "student_gap": gap(gan, fake),
        "teacher_gap": teacher_gap,
        "fake": discriminator_fake_loss(gan, fake),
        "real": discriminator_real_loss(gan, real),
    }
    entry = golden(name)
    for kind, value in parts.items():
        assert_golden(value, entry["parts"][kind])
    loss = selective_activation_loss(
        parts["student_gap"], teacher_gap, parts["real"], parts["fake"]
    )
    assert_golden(loss, entry["value"])
    gradients = torch.autograd.grad(loss, list(student.gates()))
    for gradient, expected in zip(gradients, entry["grad_alpha_all"], strict=True):
        assert_golden(gradient, expected)


def test_gccs_paired_objective_and_its_gradient_are_those_of_the_released_code() -> None:
    entry = golden(name := "gcc/pix2pix generator objective with distillation")
    source, target, teacher = (img(SHAPE, k) for k in (80, 81, 87))
    student = img(SHAPE, 83).requires_grad_()
    own = stored(gated_patchgan(4, in_channels=6), 6400, 5100)
    of_teacher = fill(patchgan(4, in_channels=6, norm="batch"), 7400).train()
    taps = ("model.4", "model.10")
    seen_T, seen_S = (
        list(of_teacher.features(torch.cat([source, x], 1), taps).values())
        for x in (teacher, student)
    )
    maps_T = [g((1, 32, 16, 16), 30 + i) for i in range(4)]
    adaptors = [fill(nn.Conv2d(16, 32, 1, bias=False), 2000 + 100 * i) for i in range(4)]
    maps_S = [adapt(g((1, 16, 16, 16), 40 + i)) for i, adapt in enumerate(adaptors)]
    sides = [*maps_T, *seen_T], [*maps_S, *seen_S]
    terms = {
        "gan": generator_loss("hinge", judged(own, student, source)),
        "l1": 100 * feature_loss([target], [student]),
        "gram": 1e4 * texture_loss(*sides, distance="rmse"),
        "content": 50 * content_loss(*sides, distance="rmse"),
    }
    for kind, term in terms.items():
        assert_golden(term, entry[kind])
    assert_value_and_gradient(torch.stack(list(terms.values())).sum(), name, student)


def test_gccs_unpaired_objective_gets_its_images_gradient_from_its_own_discriminator_only() -> None:
    entry = golden("gcc/CycleGAN generator objective with distillation")
    student = img(SHAPE, 83).requires_grad_()
    value = generator_loss("lsgan", stored(gated_patchgan(4), 6000, 5100)(student))
    assert_golden(value, entry["gan_A"])
    (gradient,) = torch.autograd.grad(value, student)
    assert_golden(gradient, entry["grad"])
    other = stored(gated_patchgan(4), 6200, 5101)(img(SHAPE, 82))
    assert_golden(generator_loss("lsgan", other), entry["gan_B"])
    cycles = {
        "cycle_A": (90, 80, 10),
        "cycle_B": (91, 81, 10),
        "idt_A": (91, 81, 5),
        "idt_B": (90, 80, 5),
    }
    names = [kind for kind in entry if kind.startswith(("gan", "cycle", "idt", "gram", "content"))]
    assert set(cycles) < set(names)
    assert sum(entry[kind] for kind in names) == pytest.approx(entry["value"], rel=1e-12)
    for kind, (image, wanted, weight) in cycles.items():
        term = weight * feature_loss([img(SHAPE, wanted)], [img(SHAPE, image)])
        assert_golden(term, entry[kind])


def test_the_teachers_gap_is_smoothed_as_in_the_released_code() -> None:
    of_teacher = fill(patchgan(4), 7000).train()
    first, second = (gap("lsgan", of_teacher(img(SHAPE, k))) for k in (87, 88))
    previous = smoothed_gap(first, None, 1.0)
    value = smoothed_gap(second, previous, 0.75)
    assert not value.requires_grad
    assert_golden(value, golden("gcc/teacher gap EMA, second call (beta 0.75)")["value"][0])
    with pytest.raises(ValueError, match=r"momentum 1\.5"):
        smoothed_gap(second, previous, 1.5)


def test_equal_gaps_leave_half_of_the_discriminators_terms_and_stop_at_the_teacher() -> None:
    values = [torch.tensor(v, requires_grad=True) for v in (0.7, 0.7, 0.4, 0.2)]
    loss = selective_activation_loss(*values)
    assert loss.item() == pytest.approx(0.3)
    loss.backward()
    assert values[1].grad is None


def test_a_closed_gate_stops_the_channel_but_not_its_alpha() -> None:
    gate = ChannelGate(2, 0.5)
    with torch.no_grad():
        gate.alpha[0] = 0.1
    features = torch.ones(1, 2, 3, 3, requires_grad=True)
    gate(features).sum().backward()
    assert features.grad is not None
    assert gate.alpha.grad is not None
    assert features.grad[0, :, 0, 0].tolist() == [0, 1]
    assert gate.alpha.grad.tolist() == [9, 9]


def test_open_gates_leave_an_ordinary_patchgan() -> None:
    gated, plain = gated_patchgan(4).eval(), patchgan(4, norm="batch").eval()
    with torch.no_grad():
        for copy, original in zip(plain.parameters(), gated.weights(), strict=True):
            copy.copy_(original)
        images = img(SHAPE, 1).float()
        assert torch.equal(gated(images), plain(images))


def test_an_impossible_threshold_is_refused_and_settings_rebuild() -> None:
    with pytest.raises(ConfigError, match=r"threshold 1\.0"):
        gated_patchgan(threshold=1.0)
    network = gated_patchgan(2, threshold=0.1)
    assert gated_patchgan(**network.settings()).settings() == network.settings()
