"""gancomp from Python: train, look at the run, open a model, run it, count it, export it.

    python examples/python_api.py                          # trains a tiny pair on the spot
    python examples/python_api.py MODEL PICTURE...         # runs yours

MODEL is a `.safetensors` file of gancomp, a run, or a checkpoint of CycleGAN, pix2pix,
GAN-Compression, OMGD, DCD and so on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image

import gancomp  # no torch yet: that is imported when it is needed
from gancomp.data.demo_set import write_demo_set


def train() -> gancomp.Run:
    """Two steps on a tiny dataset; every option of `gancomp distill` is a keyword argument."""
    write_demo_set(Path("stripes"), size=32, train=4, test=2)
    return gancomp.distill(
        dataset="stripes",
        arch="mobile-resnet6",
        width=8,
        ratio=0.5,
        size=32,
        d_layers=1,
        d_width=8,
        perceptual="none",
        max_steps=2,
        log_every=1,
        workers=0,
        device="cpu",
    )


def show(run: gancomp.Run) -> None:
    """What a run's folder holds."""
    settings = run.settings
    print(f"{run.path}: {settings.method.name} on {settings.data.task} data")
    for record in run.metrics:  # for pandas: pandas.json_normalize(run.metrics)
        print(f"step {record['step']}: {record['images_per_second']} images/s")
    print(f"samples {[path.name for path in run.samples]}, scores {run.scores}")


def main(arguments: list[str]) -> None:
    if arguments:
        model, pictures = arguments[0], [Path(name) for name in arguments[1:]]
        generator = gancomp.load(model)
    else:
        run = train()
        show(run)
        pictures = sorted(Path("stripes/testA").iterdir())
        generator = run.generators["student"]

    print(f"{generator}, trained for {generator.metadata['task']} data")
    cost = generator.profile()  # exact integers; computes no images
    print(f"parameters {cost['params']:,}")
    print(f"MACs {cost['macs']:,} (true), {cost['macs_torchprofile']:,} (torchprofile's rule)")

    for picture in pictures:  # any size; the same size comes back
        generator.translate(Image.open(picture)).save(f"{picture.stem}_translated.png")

    noise = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    print(f"a tensor in, a tensor out: {tuple(generator.translate(noise).shape)}")
    print(f"written: {gancomp.export(generator.path, 'exported.safetensors')['file']}")

    try:
        gancomp.distill(dataset="stripes", batch_size=0)
    except gancomp.GancompError as error:
        print(f"{error.field} is wrong: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
