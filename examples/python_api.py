"""The parts under the commands, called from Python: open a model, count it, run it.

    python examples/python_api.py                          # on a network made on the spot
    python examples/python_api.py MODEL PICTURE...         # on yours

MODEL is a `.safetensors` file of gancomp or a checkpoint of CycleGAN, pix2pix, GAN-Compression,
OMGD, DCD and so on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image

from gancomp.data.images import load_image
from gancomp.data.transforms import to_tensor, to_uint8
from gancomp.export.model import open_model
from gancomp.export.native import save_model
from gancomp.metrics.cost import measure_cost
from gancomp.networks.inference import run_generator
from gancomp.registry import build_network


def make_model(path: Path) -> None:
    """A student of the published size, with its initial weights, in a self-describing file."""
    network = build_network("mobile-resnet9", width=16)
    save_model(
        path,
        network,
        role="student",
        task="unpaired",
        step=0,
        method=None,
        dataset=None,
        input_size=256,
    )


def main(arguments: list[str]) -> None:
    if arguments:
        model_file, pictures = Path(arguments[0]), [Path(name) for name in arguments[1:]]
    else:
        model_file, pictures = Path("student.safetensors"), []
        make_model(model_file)

    model = open_model(model_file)  # the file says what it is; no other file is needed
    network = model.network.eval()
    print(f"{model_file}: {network.arch}, settings {network.settings()}, from {model.origin}")

    cost = measure_cost(network, (1, 3, 256, 256))  # exact integers; computes no images
    print(f"parameters {cost.params:,}")
    print(f"MACs {cost.macs:,} (true), {cost.macs_torchprofile:,} (torchprofile's rule)")

    for picture in pictures:
        image = to_tensor(load_image(picture))[None]  # (1, 3, H, W) in [-1, 1]
        fake = run_generator(network, image)  # any size; the same size comes back
        Image.fromarray(to_uint8(fake)[0]).save(f"{picture.stem}_translated.png")

    # every layer has a name, and its activation can be asked for without hooks
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        output, taps = network.forward_with_taps(noise, network.default_taps)
    shapes = {name: tuple(features.shape) for name, features in taps.items()}
    print(f"output {tuple(output.shape)}, taps {shapes}")


if __name__ == "__main__":
    main(sys.argv[1:])
