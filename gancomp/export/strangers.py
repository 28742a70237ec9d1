"""Says whose a file of weights is that gancomp does not open, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ENLARGES = (
    "gancomp enlarges with srresnet only: train one with gancomp pretrain --task super-resolution"
)
CONVERT = (
    "stylegan2-pytorch's convert_weight.py (for TensorFlow's .pkl) or dvschultz/"
    "stylegan2-ada-pytorch's export_weights.py (for PyTorch's) write a .pt that opens"
)
BARE = "save the bare weights, torch.save(network.state_dict(), FILE), and open those"
LAYOUTS = (
    "ResNet, mobile ResNet, inception and U-Net generators and PatchGAN discriminators of "
    "CycleGAN, pix2pix and their compressors (OMGD's deep teachers and its discriminator for two "
    "teachers, too), StyleGAN2 as stylegan2-pytorch has it and BigGAN as BigGAN-PyTorch has it"
)
OPENED = f"gancomp opens {LAYOUTS}"
# keys of which all must be there, whole or at the end of a longer one; what it is; what to do
STRANGERS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("body.0.rdb1.conv1.weight",), "RRDBNet, of BasicSR or Real-ESRGAN", ENLARGES),
    (("RRDB_trunk.0.RDB1.conv1.weight",), "RRDBNet, of ESRGAN", ENLARGES),
    (("model.1.sub.0.RDB1.conv1.0.weight",), "RRDBNet, of the first ESRGAN", ENLARGES),
    (("conv_first.weight", "body.0.conv1.weight"), "SRResNet or EDSR, of BasicSR", ENLARGES),
    (("body.0.weight", "body.1.weight", "body.2.weight"), "SRVGGNet, of Real-ESRGAN", ENLARGES),
    (("conv0.weight", "conv1.weight_orig"), "U-Net discriminator, of Real-ESRGAN", ENLARGES),
    (("conv0_0.weight", "linear1.weight"), "VGG discriminator, of BasicSR", ENLARGES),
    (("block1.0.weight", "block2.conv1.weight"), "SRGAN generator, of leftthomas", ENLARGES),
    (
        ("net.0.weight", "net.2.weight", "net.3.weight"),
        "SRGAN discriminator, of leftthomas",
        ENLARGES,
    ),
    (("synthesis.input.freqs",), "StyleGAN3", "gancomp knows StyleGAN2 only"),
    (("synthesis.b4.const",), "StyleGAN2, of stylegan2-ada-pytorch", CONVERT),
    (("b4.conv.weight", "b4.fc.weight"), "discriminator of stylegan2-ada-pytorch", CONVERT),
    (("generator.gen_z.weight_orig",), "BigGAN, of pytorch-pretrained-BigGAN", OPENED),
    (("features.0.weight",), "VGG network, of torchvision", "name it by $GANCOMP_VGG16 or _VGG19"),
    (("Conv2d_1a_3x3.conv.weight",), "Inception network", "eval-fid finds it in torch hub's cache"),
)
BEGINNINGS = {  # layouts of compressors that their first keys give away
    "down_sampling.": "part of CAT's generator of inception-residual blocks (down_sampling.*)",
    "features.": "part of CAT's generator of inception-residual blocks (features.*)",
    "0.weight": "OMGD's channel adaptor or another bare layer (0.weight)",
}
ENTRIES = (  # entries of files that hold no network
    (("param_groups", "state"), "the state of an optimizer"),
    (("itr", "save_num"), "BigGAN-PyTorch's counters and options"),
)
OWNERS = (  # modules whose objects a pickle may name
    (("torch_utils.", "dnnlib."), "NVIDIA's StyleGAN, a pickle that brings its own code", CONVERT),
)


def name_stranger(names: Iterable[str]) -> str | None:
    """What tensors of these names are, and what can be done with them; None if unknown."""
    found = set(names)
    for marks, what, way_out in STRANGERS:
        if all(any(name == mark or name.endswith(f".{mark}") for name in found) for mark in marks):
            return f"is a {what}, which gancomp does not open; {way_out}"
    for beginning, what in BEGINNINGS.items():
        if any(name.startswith(beginning) for name in found):
            return f"is {what}, which gancomp does not open"
    return None


def name_entries(content: Mapping[Any, Any]) -> str | None:
    """What a checkpoint without any network is, by its entries; None if unknown."""
    for marks, what in ENTRIES:
        if all(mark in content for mark in marks):
            return f"is {what}, not a network; give the file with the weights, such as G_ema.pth"
    return None


def name_owner(named: str, texts: Iterable[object]) -> str | None:
    """What a pickle is that names `named` among `texts`; None if unknown."""
    for beginnings, what, way_out in OWNERS:
        if named.startswith(beginnings):
            return f"is of {what}, which is never run; {way_out}"
    return name_entries(dict.fromkeys(texts))
