"""Networks are found under wrappers, attributes and containers, and their averages first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import stylegan2_reference as stylegan2
import torch
from biggan_reference import discriminator_shapes, generator_shapes, random_state
from foreign_layouts import LAYOUTS, small
from torch import Tensor

from gancomp.errors import CheckpointError, MissingPartError
from gancomp.export.foreign import read_foreign
from gancomp.export.parts import pick

State = dict[str, Tensor]


def generator_state(seed: int) -> State:
    return random_state(generator_shapes(2, 64, 5), seed)


def discriminator_state(seed: int) -> State:
    return random_state(discriminator_shapes(2, 64, 5), seed)


KNOWN: dict[str, State] = {
    **{name: dict(LAYOUTS[name][0].state_dict()) for name in LAYOUTS},
    "BigGAN": generator_state(1),
    "BigGAN discriminator": discriminator_state(1),
    "StyleGAN2": stylegan2.random_state(
        stylegan2.generator_shapes(16, 128, style=12, layers=3, const=24), 0
    ),
    "StyleGAN2 discriminator": stylegan2.random_state(stylegan2.discriminator_shapes(8, 128), 1),
}
PREFIXES = (
    "module.",
    "_orig_mod.",
    "module.module.",
    "_orig_mod.module.",
    "module._orig_mod.",
    "_orig_mod.module._orig_mod.",
)


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def other(state: State) -> State:
    """The same names and shapes with other numbers."""
    return {name: tensor + 1 for name, tensor in state.items()}


def assert_opens(tmp_path: Path, content: object, state: State, part: str | None = None) -> str:
    """Asserts that `content` opens as what `state` alone opens as; the part's name."""
    torch.save(state, tmp_path / "alone.pth")
    torch.save(content, tmp_path / "net.pth")
    expected, _ = read_foreign(tmp_path / "alone.pth")
    found, header = read_foreign(tmp_path / "net.pth", part)
    assert found.settings() == expected.settings()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
    return str(header["part"])


def test_every_layout_is_tried() -> None:
    assert set(LAYOUTS) <= set(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_wrappers_are_stripped_as_often_as_they_come(name: str) -> None:
    for prefix in PREFIXES:
        state, part = pick(under(prefix, KNOWN[name]), None)
        assert part is None
        assert state.keys() == KNOWN[name].keys()


@pytest.mark.parametrize("name", KNOWN)
def test_a_network_kept_under_an_attribute_is_a_part_by_that_name(name: str) -> None:
    state = KNOWN[name]
    for prefix in ("netG.", "generator.", "model.", "module.netG._orig_mod.", "gan.netG_A."):
        found, part = pick(under(prefix, state) | {"vgg.0.weight": torch.zeros(1)}, None)
        words = [word for word in prefix.split(".") if word not in ("", "module", "_orig_mod")]
        assert part == ".".join(words)
        assert found.keys() == state.keys()


def test_wrapped_weights_open_to_the_number(tmp_path: Path) -> None:
    for name in ("CycleGAN", "U-Net 256", "PatchGAN conditional", "BigGAN", "StyleGAN2"):
        state = KNOWN[name]
        assert_opens(tmp_path, under("_orig_mod.module.", state), state)
        averaged = under("module.", state) | {"n_averaged": torch.tensor(3)}
        assert_opens(tmp_path, averaged, state)


def test_networks_of_a_lightning_checkpoint_are_parts(tmp_path: Path) -> None:
    first, second = dict(small(seed=1)), dict(small(seed=2))
    judge = dict(small("PatchGAN"))
    nets = under("netG_A.", first) | under("netG_B.", second) | under("netD_A._orig_mod.", judge)
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5",
        "state_dict": nets,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}],
    }
    assert assert_opens(tmp_path, content, first) == "netG_A"
    assert assert_opens(tmp_path, content, second, "netG_B") == "netG_B"
    assert assert_opens(tmp_path, content, judge, "netD_A") == "netD_A"
    with pytest.raises(MissingPartError, match="no part 'G'; its parts: netG_A, netG_B, netD_A$"):
        read_foreign(tmp_path / "net.pth", "G")


def test_a_joint_biggan_file_opens_as_its_average(tmp_path: Path) -> None:
    average = generator_state(2)
    content = {"G": generator_state(1), "D": discriminator_state(3), "G_ema": average}
    assert assert_opens(tmp_path, content, average) == "G_ema"
    assert assert_opens(tmp_path, content, content["G"], "G") == "G"


@pytest.mark.parametrize(
    ("trained", "average"),
    [
        ("G", "G_ema"),
        ("g", "g_ema"),
        ("G_A", "G_A_ema"),
        ("netG_A", "netG_A_ema"),
        ("generator", "generator_ema"),
        ("generator", "ema_generator"),
        ("netG", "ema.netG"),
        ("params", "params_ema"),
        ("model", "model_average"),
    ],
)
def test_an_average_is_opened_before_what_it_is_of(
    tmp_path: Path, trained: str, average: str
) -> None:
    state = dict(small(seed=1))
    nested: dict[str, Any] = {trained: other(state), average: state}
    assert assert_opens(tmp_path, nested, state) == average
    flat = under(f"{trained}.", other(state)) | under(f"{average}.", state)
    assert assert_opens(tmp_path, flat, state) == average
    nested = {"epoch": 3, "nets": nested | {"D": dict(small("PatchGAN"))}}
    if not trained.startswith(("params", "model")):
        assert assert_opens(tmp_path, nested, state) == average


def keys(*names: str) -> State:
    return {name: torch.zeros(2, 2) for name in names}


RRDB = keys("conv_first.weight", "body.0.rdb1.conv1.weight")
STRANGERS: list[tuple[object, str]] = [
    (
        {"params": RRDB, "params_ema": RRDB},
        "RRDBNet, of BasicSR or Real-ESRGAN.*--task super-resolution",
    ),
    ({"params_ema": RRDB}, "RRDBNet"),
    (keys("RRDB_trunk.0.RDB1.conv1.weight"), "RRDBNet, of ESRGAN"),
    (keys("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"), "RRDBNet, of the first ESRGAN"),
    ({"params": keys("conv_first.weight", "body.0.conv1.weight")}, "SRResNet or EDSR, of BasicSR"),
    ({"params": keys("body.0.weight", "body.1.weight", "body.2.weight")}, "SRVGGNet"),
    ({"params": keys("conv0.weight", "conv1.weight_orig")}, "U-Net discriminator, of Real-ESRGAN"),
    (keys("block1.0.weight", "block2.conv1.weight"), "SRGAN generator, of leftthomas"),
    (keys("net.0.weight", "net.2.weight", "net.3.weight"), "SRGAN discriminator, of leftthomas"),
    ({"state_dict": keys("netG.body.0.rdb1.conv1.weight"), "global_step": 3}, "RRDBNet"),
    (keys("synthesis.b4.const"), "StyleGAN2, of stylegan2-ada-pytorch.*export_weights.py"),
    (keys("synthesis.input.freqs"), "StyleGAN3"),
    (keys("features.0.weight"), "VGG network"),
    ({"itr": 3, "epoch": 1, "save_num": 0, "config": {"G_ch": 96}}, "counters and options.*G_ema"),
    ({"itr": 3, "save_num": 0, "config": {"G_activation": torch.nn.ReLU()}}, "BigGAN-PyTorch"),
    ({"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1}]}, "of an optimizer"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(STRANGERS)))
def test_files_of_others_are_told_what_they_are_and_what_can_be_done(
    tmp_path: Path, case: int
) -> None:
    content, message = STRANGERS[case]
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=message) as caught:
        read_foreign(tmp_path / "net.pth")
    assert "\n" not in str(caught.value)
    assert "choose a part" not in str(caught.value)


def test_a_pickle_of_nvidias_is_told_what_it_is(tmp_path: Path) -> None:
    for module, name in (
        (b"torch_utils.persistence", b"_reconstruct_persistent_obj"),
        (b"dnnlib.tflib.network", b"Network"),
    ):
        (tmp_path / "net.pkl").write_bytes(b"\x80\x02}c" + module + b"\n" + name + b"\n.")
        with pytest.raises(CheckpointError, match=r"NVIDIA's StyleGAN.*export_weights\.py"):
            read_foreign(tmp_path / "net.pkl")


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("net.pt2", b"PK\x03\x04"),
        ("net.onnx", b"\x08\n\x12\x07"),
        ("page.html", b"<!doctype html>"),
    ],
)
def test_an_exported_file_is_called_what_it_is(name: str, start: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(start + bytes(99))
    with pytest.raises(CheckpointError, match="is an exported file, .*give the .safetensors"):
        read_foreign(tmp_path / name)
