"""Folders and files of BigGAN-PyTorch, made of random tensors under the published keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from biggan_reference import (
    discriminator_shapes,
    generate,
    generator_shapes,
    judge,
    random_state,
)
from commands import run_command
from torch import Tensor

from gancomp.errors import CheckpointError
from gancomp.export.model import open_model
from gancomp.export.native import save_model
from gancomp.inference.models import choose
from gancomp.networks.base import initialize
from gancomp.networks.synthesis import Latents
from gancomp.registry import build_network

WIDTH, RESOLUTION, CLASSES = 2, 64, 5
State = dict[str, Tensor]


def generator_state(seed: int, resolution: int = RESOLUTION, width: int = WIDTH) -> State:
    return random_state(generator_shapes(width, resolution, CLASSES), seed)


def discriminator_state(seed: int, resolution: int = RESOLUTION, width: int = WIDTH) -> State:
    return random_state(discriminator_shapes(width, resolution, CLASSES), seed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What BigGAN-PyTorch leaves behind, optimizers and bookkeeping included."""
    torch.save(generator_state(1), tmp_path / "G.pth")
    torch.save(generator_state(2), tmp_path / "G_ema.pth")
    torch.save(discriminator_state(3), tmp_path / "D.pth")
    for name in ("G_optim.pth", "D_optim.pth", "state_dict.pth"):
        torch.save({"state": {}, "param_groups": []}, tmp_path / name)
    return tmp_path


def latents(resolution: int = RESOLUTION) -> Latents:
    generator = torch.Generator().manual_seed(4)
    size = {32: 80, 64: 100, 128: 120, 256: 140}[resolution]
    return Latents(torch.randn(3, size, generator=generator), torch.tensor([0, 4, 2]))


def assert_same_images(path: Path, state: State, resolution: int = RESOLUTION, **how: str) -> None:
    network, drawn = open_model(path, **how).network, latents(resolution)
    assert not network.training
    wanted = generate(state, drawn.z, drawn.classes, resolution)
    assert wanted.std() > 0.05
    torch.testing.assert_close(network(drawn), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("part", "seed"), [(None, 2), ("G_ema", 2), ("G", 1)])
def test_a_folder_opens_as_its_generators(folder: Path, part: str | None, seed: int) -> None:
    state = generator_state(seed)
    network, drawn = open_model(folder, part).network, latents()
    torch.testing.assert_close(
        network(drawn), generate(state, drawn.z, drawn.classes, RESOLUTION), rtol=0, atol=1e-5
    )
    assert open_model(folder, part).header["part"] == (part or "G_ema")


def test_a_folder_opens_as_its_discriminator(folder: Path) -> None:
    model = open_model(folder, "D")
    generator = torch.Generator().manual_seed(4)
    images = torch.rand(3, 3, RESOLUTION, RESOLUTION, generator=generator) * 2 - 1
    classes = torch.tensor([0, 4, 2])
    wanted = judge(discriminator_state(3), images, classes, RESOLUTION)
    torch.testing.assert_close(model.network.judge(images, classes), wanted, rtol=1e-4, atol=1e-4)
    assert model.header["role"] == "discriminator"


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_resolution_width_and_classes_follow_from_the_keys(tmp_path: Path, resolution: int) -> None:
    for name, state in (
        ("G_ema.pth", generator_state(5, resolution, width=3)),
        ("D.pth", discriminator_state(6, resolution, width=5)),
    ):
        torch.save(state, tmp_path / name)
    model = open_model(tmp_path / "G_ema.pth")
    expected = {"width": 3, "resolution": resolution, "num_classes": CLASSES}
    assert model.network.settings() == expected
    assert model.network.arch == "biggan"
    assert model.header["input"]["size"] == [resolution, resolution]
    assert model.header["task"] == "synthesis"
    assert model.header["layout"] == "BigGAN-PyTorch"
    judging = open_model(tmp_path, "D").network
    assert judging.settings() == expected | {"width": 5}
    assert judging.arch == "biggan-discriminator"
    assert_same_images(tmp_path, generator_state(5, resolution, width=3), resolution)


@pytest.mark.parametrize("name", ["G_ema_best4.pth", "G_138k.pth", "copy of it.bin"])
def test_a_single_file_opens_under_any_name(tmp_path: Path, name: str) -> None:
    torch.save(generator_state(7), tmp_path / name)
    assert_same_images(tmp_path / name, generator_state(7))


def test_files_with_a_suffix_are_found_in_their_folder(tmp_path: Path) -> None:
    torch.save(generator_state(7), tmp_path / "G_ema_best4.pth")
    torch.save(generator_state(8), tmp_path / "G_best4.pth")
    torch.save({}, tmp_path / "G_optim_best4.pth")
    assert_same_images(tmp_path, generator_state(7))
    assert_same_images(tmp_path, generator_state(8), part="G")
    torch.save(generator_state(9), tmp_path / "G_ema_best5.pth")
    with pytest.raises(
        CheckpointError, match=r"several times \(G_ema_best4.pth, G_ema_best5.pth\)"
    ):
        open_model(tmp_path)
    torch.save(generator_state(10), tmp_path / "G_ema.pth")
    assert_same_images(tmp_path, generator_state(10))


def test_a_wrapper_prefix_is_stripped(tmp_path: Path) -> None:
    state = {f"module.{key}": value for key, value in generator_state(7).items()}
    torch.save(state, tmp_path / "G.pth")
    assert_same_images(tmp_path, generator_state(7))


def test_a_part_that_is_not_there_is_named_with_those_that_are(folder: Path) -> None:
    (folder / "G_ema.pth").unlink()
    assert_same_images(folder, generator_state(1))
    with pytest.raises(CheckpointError, match=r"no part 'G_ema'; its parts: G, D"):
        open_model(folder, "G_ema")


def test_a_folder_of_other_files_is_no_model(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "G_optim.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        open_model(tmp_path)


def test_attention_is_where_the_file_has_it(tmp_path: Path) -> None:
    for arch in ("biggan", "biggan-discriminator"):
        network = build_network(arch, width=2, resolution=64, num_classes=2, attention=[1, 3])
        initialize(network, torch.Generator().manual_seed(3))
        torch.save(network.state_dict(), tmp_path / "some.pth")
        opened = open_model(tmp_path / "some.pth").network
        assert opened.settings()["attention"] == [1, 3]
        assert opened.default_taps[:2] == ("blocks.1.1", "blocks.3.1")


def test_a_file_without_attention_is_one_whose_attention_has_no_weight(tmp_path: Path) -> None:
    state = generator_state(7)
    weightless = state | {"blocks.2.1.gamma": torch.zeros(())}
    without = {key: value for key, value in state.items() if not key.startswith("blocks.2.1.")}
    torch.save(weightless, tmp_path / "a.pth")
    torch.save(without, tmp_path / "b.pth")
    first, second = (open_model(tmp_path / f"{name}.pth").network for name in "ab")
    assert second.settings()["attention"] == []
    latents = first.draw_latents(2, torch.Generator().manual_seed(0))
    assert torch.equal(first(latents), second(latents))


def broken(change: str) -> State:
    state = generator_state(7)
    if change == "blocks":
        return {key: value for key, value in state.items() if not key.startswith("blocks.1")}
    if change == "head":
        return {key: value for key, value in state.items() if key != "output_layer.2.weight"}
    if change == "flat":
        return state | {"linear.weight": torch.zeros(16 * 16 * WIDTH, 120)}
    return {key: value for key, value in state.items() if key != "blocks.0.0.conv2.u0"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("blocks", r"of 1 blocks; gancomp knows those of 3, 4, 5, 6"),
        ("head", r"without a usable output_layer\.2\.weight"),
        ("flat", r"gain\.weight is \[32, 148\] instead of \[32, 248\]"),
        ("vector", r"blocks\.0\.0\.conv2\.u0 is missing"),
    ],
)
def test_other_kinds_of_biggan_are_refused_by_name(
    tmp_path: Path, change: str, message: str
) -> None:
    torch.save(broken(change), tmp_path / "G.pth")
    with pytest.raises(CheckpointError, match=message) as caught:
        open_model(tmp_path)
    assert str(tmp_path / "G.pth") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_our_own_file_of_it_gives_the_same_images(folder: Path, tmp_path: Path) -> None:
    network = open_model(folder).network
    save_model(
        tmp_path / "ours.safetensors",
        network,
        role="student",
        task="synthesis",
        step=3,
        method=None,
        dataset="toy",
        input_size=RESOLUTION,
    )
    reopened = open_model(tmp_path / "ours.safetensors")
    assert reopened.origin == "gancomp"
    assert reopened.header["input"] == {
        "size": [RESOLUTION, RESOLUTION],
        "channels": 3,
        "range": [-1, 1],
    }
    assert torch.equal(reopened.network(latents()), network(latents()))


def test_a_folder_is_a_model_wherever_one_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose(folder, "G").model.path == folder / "G.pth"
    assert choose(folder).run is None
    (row,) = run_command(capsys, "profile", folder, "--json").document["models"]
    assert (row["arch"], row["width"], row["input"]) == ("biggan", WIDTH, [1, 100])
    assert row["output"] == [1, 3, RESOLUTION, RESOLUTION]
    assert row["bytes"] == (folder / "G_ema.pth").stat().st_size
    (judging,) = run_command(capsys, "profile", folder, "--part", "D", "--json").document["models"]
    assert (judging["role"], judging["input"]) == ("discriminator", [1, 3, RESOLUTION, RESOLUTION])
    exported = folder.parent / "out.safetensors"
    run_command(capsys, "export", folder, "-o", exported, "--json")
    assert json.loads(json.dumps(open_model(exported).network.settings()))["width"] == WIDTH


VARIANTS = {  # options of BigGAN-PyTorch's: their shapes here
    "--hier --dim_z 120 --resolution 64": (64, {"chunk": 24}),
    "--hier --dim_z 120 --resolution 256": (256, {"chunk": 17}),
    "--hier --dim_z 128 --resolution 128": (128, {"chunk": 21}),
    "--hier --shared_dim 64": (64, {"shared": 64}),
    "--G_shared": (64, {"chunk": 120, "shared": 120, "hierarchical": False}),
    "--dim_z 128": (32, {"chunk": 128, "shared": 0, "hierarchical": False}),
}


@pytest.mark.parametrize("options", VARIANTS)
def test_generators_of_other_options_open_and_give_the_same_images(
    tmp_path: Path, options: str
) -> None:
    resolution, form = VARIANTS[options]
    state = random_state(generator_shapes(WIDTH, resolution, CLASSES, **form), 3)
    if resolution == 32:  # as its recipe for CIFAR has it
        state = {name: value for name, value in state.items() if ".1.1." not in name}
    torch.save(state, tmp_path / "G.pth")
    network = open_model(tmp_path / "G.pth").network
    assert form.items() <= network.settings().items()
    drawn = network.draw_latents(3, torch.Generator().manual_seed(4))
    wanted = generate(state, drawn.z, drawn.classes, resolution)
    assert wanted.std() > 0.05
    torch.testing.assert_close(network(drawn), wanted, rtol=0, atol=1e-5)
    rebuilt = build_network("biggan", **network.settings())
    rebuilt.load_state_dict(network.state_dict())
    torch.testing.assert_close(rebuilt.eval()(drawn), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("statistics", "extra"),
    [("running", "num_batches_tracked"), ("stored", "accumulation_counter")],
)
def test_cross_replica_and_own_batch_norm_have_other_names_only(
    tmp_path: Path, statistics: str, extra: str
) -> None:
    state, renamed = generator_state(7), {}
    for name, value in state.items():
        parent, _, leaf = name.rpartition(".")
        if leaf in ("stored_mean", "stored_var"):
            name = f"{parent}.bn.{leaf.replace('stored', statistics)}"
            renamed[f"{parent}.bn.{extra}"] = torch.tensor(3)
        renamed[name] = value
    assert len(renamed) > len(state)
    torch.save(renamed, tmp_path / "G.pth")
    assert_same_images(tmp_path / "G.pth", state)


def test_a_thin_discriminator_opens_and_judges_alike(tmp_path: Path) -> None:
    state = random_state(discriminator_shapes(WIDTH, RESOLUTION, CLASSES, wide=False), 3)
    torch.save(state, tmp_path / "D.pth")
    network = open_model(tmp_path / "D.pth").network
    assert network.settings()["wide"] is False
    images = torch.rand(3, 3, RESOLUTION, RESOLUTION) * 2 - 1
    classes = torch.tensor([0, 4, 2])
    torch.testing.assert_close(
        network.judge(images, classes),
        judge(state, images, classes, RESOLUTION),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.0.0.conv3.weight": True}, "--model BigGANdeep"),
        ({"linear.u1": True}, "--num_G_SVs above 1"),
        ({"linear.u0": False}, "--G_param other than SN"),
        ({"blocks.0.0.bn1.stored_mean": False}, "--norm_style other than bn"),
    ],
)
def test_options_of_theirs_that_we_lack_are_named(
    tmp_path: Path, change: dict[str, bool], message: str
) -> None:
    state = generator_state(7)
    for name, there in change.items():
        if there:
            state[name] = torch.zeros(1)
        else:
            del state[name]
    torch.save(state, tmp_path / "G.pth")
    with pytest.raises(CheckpointError, match=f"is a BigGAN of {message}"):
        open_model(tmp_path / "G.pth")
