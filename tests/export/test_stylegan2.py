"""Checkpoints of stylegan2-pytorch, written from their description, open and agree."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from stylegan2_reference import (
    discriminator_shapes,
    generate,
    generator_shapes,
    judge,
    random_state,
    style_of,
)
from torch import Tensor

from gancomp.errors import CheckpointError
from gancomp.export.containers import read_torch
from gancomp.export.model import open_model
from gancomp.export.native import open_native, save_model
from gancomp.networks.stylegan2 import StyleGAN2
from gancomp.networks.synthesis import Latents

SIZES = {"style": 12, "layers": 3, "const": 24}
SHAPES = {
    "g_ema": generator_shapes(16, 128, **SIZES),
    "g": generator_shapes(16, 128, **SIZES),
    "d": discriminator_shapes(8, 128),
}
TOLERANCE = 1e-5


def checkpoint() -> dict[str, Any]:
    """What a training run saves: three networks, two optimizers, its command line."""
    content: dict[str, Any] = {
        name: random_state(shapes, seed) for seed, (name, shapes) in enumerate(SHAPES.items())
    }
    adam = {"state": {0: {"step": 5, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.002}]}
    arguments = Namespace(size=128, channel_multiplier=2, mixing=0.9, ckpt=None, path="images")
    return {**content, "g_optim": adam, "d_optim": adam, "args": arguments, "ada_aug_p": 0.1}


def written(folder: Path, content: Any) -> Path:
    path = folder / "150000.pt"
    torch.save(content, path)
    return path


def image_of(state: dict[str, Tensor], z: Tensor, psi: float | None = None) -> Tensor:
    exact = {name: value.double() for name, value in state.items()}
    w = style_of(exact, z.double())
    if psi is not None:
        w = exact["latent_avg"] + psi * (w - exact["latent_avg"])
    noise = [exact[f"noises.noise_{index}"] for index in range(11)]
    return generate(exact, [w] * 12, noise)


def draw(count: int = 2) -> Tensor:
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(4))


def assert_same_image(network: Any, state: dict[str, Tensor], psi: float | None = None) -> None:
    z = draw()
    expected = image_of(state, z, psi)
    with torch.no_grad():
        image = network(Latents(z, truncation=psi))
    assert image.shape == (2, 3, 128, 128)
    assert (image - expected).abs().max() < TOLERANCE * expected.abs().max()


def test_checkpoint_opens_as_its_average_and_draws_the_same_image(tmp_path: Path) -> None:
    content = checkpoint()
    model = open_model(written(tmp_path, content))
    assert model.origin == "stylegan2-pytorch"
    assert model.header["part"] == "g_ema"
    assert model.header["arch"] == "stylegan2"
    assert model.header["task"] == "synthesis"
    assert model.header["input"]["size"] == [128, 128]
    assert model.header["settings"] == {
        "width": 16,
        "resolution": 128,
        "style_channels": 12,
        "mapping_layers": 3,
        "const_channels": 24,
    }
    assert not model.network.training
    assert_same_image(model.network, content["g_ema"])


def test_other_parts_open_by_name(tmp_path: Path) -> None:
    content = checkpoint()
    path = written(tmp_path, content)
    assert_same_image(open_model(path, "g").network, content["g"])
    model = open_model(path, "d")
    assert model.header["role"] == "discriminator"
    assert model.header["settings"] == {"width": 8, "resolution": 128}
    images = torch.randn(4, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    exact = {name: value.double() for name, value in content["d"].items()}
    expected = judge(exact, images.double())
    with torch.no_grad():
        logits = model.network(images)
    assert (logits - expected).abs().max() < TOLERANCE * expected.abs().max()
    with pytest.raises(CheckpointError, match="has no part 'D'; its parts: g_ema, g, d"):
        open_model(path, "D")


def test_average_style_beside_the_networks_is_what_truncation_goes_towards(tmp_path: Path) -> None:
    average = torch.randn(12, generator=torch.Generator().manual_seed(8))
    state = random_state(SHAPES["g_ema"])
    path = written(tmp_path, {"g_ema": state, "latent_avg": average})
    network = open_model(path).network
    assert isinstance(network, StyleGAN2)
    assert network.latent_avg is not None
    assert torch.equal(network.latent_avg, average)
    assert_same_image(network, {**state, "latent_avg": average}, psi=0.5)
    network.to(memory_format=torch.channels_last)
    save_model(
        tmp_path / "ours.safetensors",
        network,
        role="teacher",
        task="synthesis",
        step=None,
        method=None,
        dataset=None,
        input_size=128,
    )
    again = open_native(tmp_path / "ours.safetensors")[0]
    assert_same_image(again, {**state, "latent_avg": average}, psi=0.5)


def test_an_average_style_within_the_network_comes_before_one_beside_it(tmp_path: Path) -> None:
    state = {**random_state(SHAPES["g_ema"]), "latent_avg": torch.ones(12)}
    network = open_model(written(tmp_path, {"g_ema": state, "latent_avg": torch.zeros(12)})).network
    assert torch.equal(network.state_dict()["latent_avg"], torch.ones(12))


def test_average_style_does_not_disturb_a_discriminator_beside_it(tmp_path: Path) -> None:
    content = {**checkpoint(), "latent_avg": torch.zeros(12)}
    assert open_model(written(tmp_path, content), "d").header["arch"] == "stylegan2-discriminator"


def test_bare_state_and_wrapper_prefixes_open(tmp_path: Path) -> None:
    state = random_state(SHAPES["g_ema"])
    wrapped = {f"module.{name}": value for name, value in state.items()}
    assert_same_image(open_model(written(tmp_path, state)).network, state)
    assert_same_image(open_model(written(tmp_path, {"g_ema": wrapped})).network, state)


def test_missing_kernels_are_what_they_always_are_and_missing_noise_is_drawn_once(
    tmp_path: Path,
) -> None:
    state = random_state(SHAPES["g_ema"])
    learned = {
        name: value
        for name, value in state.items()
        if not name.endswith("kernel") and not name.startswith("noises.")
    }
    first = open_model(written(tmp_path, {"g_ema": learned})).network
    second = open_model(written(tmp_path, {"g_ema": learned})).network
    noises = {name: v for name, v in first.state_dict().items() if name.startswith("noises.")}
    assert len(noises) == 11
    assert all(value.std() > 0.5 for value in noises.values())
    assert_same_image(first, {**state, **noises})
    assert_same_image(second, {**state, **noises})


def test_surplus_kernels_and_noise_are_left_out(tmp_path: Path) -> None:
    state = random_state(SHAPES["g_ema"])
    surplus = {
        "to_rgb1.upsample.kernel": torch.ones(4, 4),
        "noises.noise_11": torch.zeros(1, 1, 256, 256),
    }
    assert_same_image(open_model(written(tmp_path, {"g_ema": state | surplus})).network, state)


def test_half_precision_weights_open_as_float32(tmp_path: Path) -> None:
    state = {name: value.half() for name, value in random_state(SHAPES["d"]).items()}
    network = open_model(written(tmp_path, {"d": state})).network
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


def test_narrower_form_of_the_release_is_refused_by_its_channels(tmp_path: Path) -> None:
    state = random_state(SHAPES["g_ema"])
    for index in (6, 7):  # 64 pixels
        state[f"convs.{index}.activate.bias"] = torch.zeros(8)
    with pytest.raises(CheckpointError, match="8 channels at 64 pixels and 16 at 4; gancomp knows"):
        open_model(written(tmp_path, {"g_ema": state}))
    judges = random_state(SHAPES["d"])
    judges["convs.2.conv1.0.weight"] = torch.zeros(4, 4, 3, 3)
    with pytest.raises(CheckpointError, match="4 channels at 64 pixels and 8 at 4"):
        open_model(written(tmp_path, {"d": judges}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"style.1.weight": None}, "style.1.weight"),
        ({"conv1.activate.bias": None}, "conv1.activate.bias"),
        ({"input.input": torch.tensor(1.0)}, "input.input"),
        ({"to_rgbs.1.bias": None}, "`size` 8"),
        ({"to_rgbs.4.bias": None}, "convs.8.* is unknown"),
        ({"convs.3.conv.weight": torch.zeros(1, 2, 2, 3, 3)}, "convs.3.conv.weight"),
        ({"noises.noise_3": torch.zeros(1)}, "noises.noise_3"),
        ({"latent_avg": torch.zeros(5)}, "latent_avg"),
        ({"what.is.this": torch.zeros(5)}, "what.is.this is unknown"),
    ],
)
def test_damaged_generators_are_refused_in_one_line(
    tmp_path: Path, damage: dict[str, Tensor | None], message: str
) -> None:
    state = {**random_state(SHAPES["g_ema"]), **damage}
    content = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(CheckpointError, match=message) as caught:
        open_model(written(tmp_path, {"g_ema": content}))
    assert "\n" not in str(caught.value)


def test_a_generator_without_large_images_is_refused(tmp_path: Path) -> None:
    state = random_state(generator_shapes(4, 8, **SIZES))
    with pytest.raises(CheckpointError, match="`size` 8: stylegan2 knows 16, 32"):
        open_model(written(tmp_path, {"g_ema": state}))


class Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (open, ("/tmp/never-opened",))


def test_a_command_line_may_hold_numbers_and_text_but_nothing_that_runs(tmp_path: Path) -> None:
    path = written(tmp_path, {"args": Namespace(lr=0.002, name="run", nested=Namespace(a=[1]))})
    assert read_torch(path)["args"].nested.a == [1]
    hostile = written(tmp_path, {**checkpoint(), "args": Namespace(bad=Hostile())})
    with pytest.raises(CheckpointError, match="refused, it holds"):
        open_model(hostile)


def test_channel_multiplier_1_opens_and_draws_the_same_image(tmp_path: Path) -> None:
    state = random_state(generator_shapes(16, 128, **SIZES, multiplier=1), 5)
    judging = random_state(discriminator_shapes(8, 128, multiplier=1), 6)
    path = written(tmp_path, {"g_ema": state, "d": judging})
    network = open_model(path).network
    assert network.settings()["channel_multiplier"] == 1
    assert_same_image(network, state)
    images = torch.randn(4, 3, 128, 128, generator=torch.Generator().manual_seed(7))
    discriminator = open_model(path, "d").network
    expected = judge({name: value.double() for name, value in judging.items()}, images.double())
    with torch.no_grad():
        logits = discriminator(images)
    assert (logits - expected).abs().max() < TOLERANCE * expected.abs().max()
