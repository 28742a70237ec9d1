"""Draws the paired set of the study out of horse2zebra: outlines left, zebra right, 512x256 PNG.

    python examples/study/edges2zebras.py HORSE2ZEBRA OUT

600 photographs of trainB make OUT/train, all of testB OUT/val. The outlines are the strongest tenth
of an image's Sobel gradients after a blur, black on white.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

TRAIN, SIDE, SHARE = 600, 256, 0.1


def outlines(photo: Image.Image) -> Image.Image:
    """The photograph's strongest edges."""
    gray = np.asarray(photo.convert("L").filter(ImageFilter.GaussianBlur(2)), np.float64)
    smooth = gray[:-2] + 2 * gray[1:-1] + gray[2:]
    across = np.zeros_like(gray)
    across[1:-1, 1:-1] = smooth[:, 2:] - smooth[:, :-2]
    smooth = gray[:, :-2] + 2 * gray[:, 1:-1] + gray[:, 2:]
    down = np.zeros_like(gray)
    down[1:-1, 1:-1] = smooth[2:] - smooth[:-2]
    strength = np.hypot(across, down)
    drawn = strength > np.quantile(strength, 1 - SHARE)
    return Image.fromarray(np.where(drawn, 0, 255).astype(np.uint8)).convert("RGB")


def main(source: Path, out: Path) -> None:
    for split, folder, most in (("train", "trainB", TRAIN), ("val", "testB", None)):
        (out / split).mkdir(parents=True)
        for path in sorted((source / folder).iterdir())[:most]:
            photo = Image.open(path).convert("RGB").resize((SIDE, SIDE))
            pair = Image.new("RGB", (2 * SIDE, SIDE))
            pair.paste(outlines(photo), (0, 0))
            pair.paste(photo, (SIDE, 0))
            pair.save(out / split / f"{path.stem}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
