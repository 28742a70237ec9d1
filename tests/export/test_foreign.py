"""Checkpoints of others, written by a second implementation of their layouts, open and agree."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_layouts import LAYOUTS, randomised, resnet, small, unet
from safetensors.torch import save_file
from torch import Tensor

from gancomp.errors import CheckpointError
from gancomp.export.foreign import read_foreign

KEYS = {
    "CycleGAN": 48,
    "GAN Compression full": 48,
    "OMGD mobile": 84,
    "U-Net 256": 82,
    "PatchGAN": 10,
    "OMGD deep ResNet": 140,
    "OMGD deep U-Net": 754,
}


def opens_as(tmp_path: Path, content: object, part: str | None = None, **saving: bool) -> Tensor:
    """The output on zeros-and-ones of what `content` opens as, after a way through torch.save."""
    torch.save(content, tmp_path / "net.pth", **saving)
    network, _ = read_foreign(tmp_path / "net.pth", part)
    return network.state_dict()["model.1.weight"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_opens_and_gives_the_output_of_its_own_code(tmp_path: Path, name: str) -> None:
    original, arch, settings = LAYOUTS[name]
    randomised(original)
    torch.save(original.state_dict(), tmp_path / "latest_net_G.pth")
    network, header = read_foreign(tmp_path / "latest_net_G.pth")
    assert (network.arch, header["arch"]) == (arch, arch)
    assert settings.items() <= network.settings().items()
    assert ("channels" in network.settings()) == ("pruned" in name)
    size = header["input"]["size"][0] if "U-Net" in name else 64
    inputs = network.settings()["in_channels"]
    images = torch.rand(1, inputs, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        ours, theirs = network(images), original(images)
    assert theirs.std() > 0.05  # a constant picture would agree whatever the weights
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["CycleGAN", "OMGD mobile", "U-Net 256", "U-Net 128", "PatchGAN"])
def test_default_taps_hold_what_a_hook_on_the_published_network_sees(
    tmp_path: Path, name: str
) -> None:
    original = randomised(LAYOUTS[name][0])
    torch.save(original.state_dict(), tmp_path / "net.pth")
    network, header = read_foreign(tmp_path / "net.pth")
    size = header["input"]["size"][0]
    inputs = network.settings()["in_channels"]
    images = torch.rand(1, inputs, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    seen: dict[str, Tensor] = {}
    handles = [
        original.get_submodule(tap).register_forward_hook(
            lambda _, __, output, tap=tap: seen.update({tap: output})
        )
        for tap in network.default_taps
    ]
    with torch.no_grad():
        original(images)
        taps = network.features(images, network.default_taps)
    for handle in handles:
        handle.remove()
    assert list(taps) == list(network.default_taps)
    for tap, value in taps.items():
        assert value.std() > 0.05
        assert (value - seen[tap]).abs().max() < 1e-4


def test_the_second_implementation_has_the_published_numbers_of_tensors() -> None:
    for name, count in KEYS.items():
        assert len(LAYOUTS[name][0].state_dict()) == count
    assert "model.10.conv_block.5.weight" in LAYOUTS["CycleGAN"][0].state_dict()
    assert "model.18.conv_block.6.conv.2.bias" in LAYOUTS["OMGD mobile"][0].state_dict()
    old = LAYOUTS["mobile before 0.4"][0].state_dict()
    assert {"model.2.running_mean", "model.10.conv_block.1.conv.1.running_var"} <= set(old)


def test_the_header_tells_what_is_known_and_says_none_to_the_rest(tmp_path: Path) -> None:
    torch.save(small("U-Net 128"), tmp_path / "net.pth")
    _, header = read_foreign(tmp_path / "net.pth")
    assert header["input"] == {"size": [128, 128], "channels": 1, "range": [-1, 1]}
    assert {header[k] for k in ("task", "role", "step", "method", "dataset", "part")} == {None}
    assert header["layout"] == "U-Net of pix2pix, OMGD or DCD"
    torch.save(small("PatchGAN"), tmp_path / "net.pth")
    assert read_foreign(tmp_path / "net.pth")[1]["role"] == "discriminator"


@pytest.mark.parametrize("norm", ["", " batch"])
def test_how_many_blocks_omgds_teachers_share_is_told_by_the_branches_never_trained(
    tmp_path: Path, norm: str
) -> None:
    state = small(f"OMGD two teachers{norm}")
    for name, value in state.items():
        if name.startswith(("block1s.0.", "block2s.0.")) and name.endswith(".bias"):
            value.zero_()
    torch.save(state, tmp_path / "net.pth")
    network, header = read_foreign(tmp_path / "net.pth")
    assert network.settings()["num_shared"] == 2
    assert header["layout"] == "discriminator for two teachers of OMGD"
    fresh = {name: value * 0 if name.endswith(".bias") else value for name, value in state.items()}
    torch.save(fresh, tmp_path / "net.pth")
    assert read_foreign(tmp_path / "net.pth")[0].settings()["num_shared"] == 0


def test_a_checkpoint_of_two_directions_opens_by_part_with_its_numpy_scores(tmp_path: Path) -> None:
    content = {
        "G_A": small(seed=1) | {"model.1.total_ops": torch.zeros(1), "total_params": torch.ones(1)},
        "G_B": small(seed=2),
        "D_A": small("PatchGAN"),
        "epoch": 3,
        "cfg": [[4, 7], "M"],
        "fid": np.float64(59.31),
        "best": (np.float32(1), np.int64(2), np.bool_(True), np.zeros((2, 2)), None),
    }
    for legacy in (False, True):
        way = {"_use_new_zipfile_serialization": not legacy}
        default = opens_as(tmp_path, content, **way)
        assert torch.equal(default, content["G_A"]["model.1.weight"])
        second = opens_as(tmp_path, content, "G_B", **way)
        assert torch.equal(second, content["G_B"]["model.1.weight"])
    network, header = read_foreign(tmp_path / "net.pth", "D_A")
    assert (network.arch, header["part"]) == ("patchgan", "D_A")
    with pytest.raises(CheckpointError, match="no part 'G_C'; its parts: G_A, G_B, D_A$"):
        read_foreign(tmp_path / "net.pth", "G_C")


def test_numbers_that_numpy_1_pickled_open_too(tmp_path: Path) -> None:
    torch.save({"G": small(), "fid": np.float64(1)}, tmp_path / "new.pth",
               _use_new_zipfile_serialization=False)  # fmt: skip
    content = (tmp_path / "new.pth").read_bytes()
    assert content.count(b"numpy._core.multiarray") == 1
    (tmp_path / "old.pth").write_bytes(
        content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    )
    assert read_foreign(tmp_path / "old.pth")[0].arch == "mobile-resnet9"


def test_a_paired_checkpoint_opens_its_generator_and_several_others_must_be_chosen(
    tmp_path: Path,
) -> None:
    opens_as(tmp_path, {"D": small("PatchGAN"), "G": small()})
    opens_as(tmp_path, {"state_dict": small(), "epoch": torch.tensor(3)})
    with pytest.raises(CheckpointError, match="choose a part: D, student"):
        opens_as(tmp_path, {"D": small("PatchGAN"), "student": small()})
    with pytest.raises(CheckpointError, match="no part 'G_A', it holds a single network"):
        opens_as(tmp_path, small(), "G_A")


def test_wrapper_prefixes_and_half_precision_are_undone(tmp_path: Path) -> None:
    state = small()
    wrapped = OrderedDict((f"module.{key}", value.half()) for key, value in state.items())
    weight = opens_as(tmp_path, wrapped)
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state["model.1.weight"].half().float())


def test_batch_norm_without_counters_opens_with_counters_at_zero(tmp_path: Path) -> None:
    state = small("PatchGAN conditional")
    old = OrderedDict((k, v) for k, v in state.items() if not k.endswith("num_batches_tracked"))
    assert len(old) == len(state) - 3
    torch.save(old, tmp_path / "net.pth")
    network, _ = read_foreign(tmp_path / "net.pth")
    assert network.model[3].num_batches_tracked == 0
    assert torch.equal(network.model[3].running_mean, state["model.3.running_mean"])


def test_a_plain_safetensors_state_dict_opens(tmp_path: Path) -> None:
    state = small("CycleGAN")
    save_file(dict(state), tmp_path / "net.safetensors")
    network, _ = read_foreign(tmp_path / "net.safetensors")
    assert torch.equal(
        network.model[10].conv_block[6].weight, state["model.10.conv_block.5.weight"]
    )


def test_weights_do_not_hang_on_the_file(tmp_path: Path) -> None:
    save_file(dict(small()), tmp_path / "net.safetensors")
    network, _ = read_foreign(tmp_path / "net.safetensors")
    before = network.model[1].weight.clone()
    size = (tmp_path / "net.safetensors").stat().st_size
    with (tmp_path / "net.safetensors").open("r+b") as file:
        file.write(b"\xff" * size)
    assert torch.equal(network.model[1].weight, before)


def affine(name: str) -> OrderedDict[str, Tensor]:
    norm = {"CycleGAN": "model.2", "PatchGAN": "model.3", "U-Net instance": "model.model.1.model.2"}
    return small(name) | {f"{norm[name]}.{kind}": torch.ones(8) for kind in ("weight", "bias")}


def without(name: str, key: str) -> OrderedDict[str, Tensor]:
    state = small(name)
    del state[key]
    return state


def cat_with_kernel(size: int) -> OrderedDict[str, Tensor]:
    """With an odd kernel in one branch; with 0, without a convolution at the end."""
    state = small("CAT pruned")
    if size:
        state["features.2.res_ops.0.1.0.weight"] = torch.ones(2, 10, size, size)
    else:
        del state["up_sampling.3.weight"]
    return state


REFUSALS = [
    (lambda: affine("CycleGAN"), "InstanceNorm with weights"),
    (lambda: affine("PatchGAN"), "InstanceNorm with weights"),
    (lambda: affine("U-Net instance"), "InstanceNorm with weights"),
    (lambda: {"down_sampling.1.weight": torch.ones(1)}, "part of CAT's generator"),
    (lambda: {"features.0.res_ops.0.1.weight": torch.ones(1)}, "part of CAT's generator"),
    (lambda: cat_with_kernel(7), r"a branch features.2.res_ops.0 of kernel 7"),
    (lambda: cat_with_kernel(0), r"no convolution up_sampling.3"),
    (lambda: {"block1s.0.block.0.weight": torch.ones(1)}, "no convolution block1s.0.block.0"),
    (lambda: without("OMGD two teachers", "block5s.1.block.0.weight"), "no convolution block5s.1"),
    (lambda: {"0.weight": torch.ones(3, 3, 1, 1), "1.weight": torch.ones(3)}, "OMGD's .*adaptor"),
    (lambda: {"conv1.weight": torch.ones(1)}, "no layout that gancomp knows.*conv1.weight"),
    (lambda: {"a\nb\x1b[2J": torch.ones(1)}, r"it holds a\\nb\\x1b\[2J\)"),
    (lambda: small() | {"model.1.b\nias": torch.ones(1)}, r"model\.1\.b\\nias is unknown"),
    (lambda: {}, "no layout that gancomp knows.*no tensors"),
    (lambda: {"epoch": 3}, "no layout that gancomp knows"),
    (lambda: [torch.ones(2)], "holds a list"),
    (lambda: torch.ones(2), "holds a Tensor"),
    (lambda: without("CycleGAN", "model.4.weight"), "no convolution model.4.weight"),
    (lambda: without("CycleGAN", "model.1.bias"), "neither model.1.bias nor model.2.weight"),
    (lambda: without("CycleGAN", "model.12.conv_block.1.bias"), "conv_block.1.bias is missing"),
    (lambda: without("U-Net 256", "model.model.1.model.2.running_var"), "running_var is missing"),
    (lambda: small() | {"model.99.weight": torch.ones(1)}, "model.99.weight is unknown"),
    (lambda: small() | {"model.4.bias": torch.ones(99)}, r"model.4.bias is \[99\] instead of"),
    (lambda: small() | {"model.1.weight": torch.ones(())}, "no convolution model.1.weight"),
    (lambda: small() | {"model.1.weight": torch.ones(0, 3, 7, 7)}, "channels 0"),
    (lambda: small() | {"model.1.bias": torch.ones(4, dtype=torch.int64)}, "holds torch.int64"),
    (lambda: small() | {"model.1.bias": torch.ones(4).to_sparse()}, "not a plain tensor"),
    (lambda: small() | {"model.1.bias": torch.ones(4, device="meta")}, "not a plain tensor"),
    (lambda: resnet([2] * 15, slot=True).state_dict(), "ResNet of 10 blocks"),
    (lambda: unet([2, 2, 2, 2], [2, 2, 2]).state_dict(), "U-Net of 4 levels"),
]


@pytest.mark.parametrize("case", range(len(REFUSALS)))
def test_what_cannot_be_opened_is_refused_in_one_line_that_names_file_and_reason(
    tmp_path: Path, case: int
) -> None:
    content, message = REFUSALS[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        opens_as(tmp_path, content())
    assert str(caught.value).startswith(f"{tmp_path / 'net.pth'}: ")
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_open_as_they_are(tmp_path: Path) -> None:
    assert opens_as(tmp_path, small() | {"model.1.bias": torch.full((4,), float("nan"))}).any()
