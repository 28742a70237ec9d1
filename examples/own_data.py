"""Your own pictures, from a folder to translated images, with the commands you would type.

    python examples/own_data.py            # draws a tiny dataset first; takes seconds on a CPU

Everything is tiny here so that you can watch it end. For real pictures remove the options in
TINY: the defaults are 256 pixels, a teacher of width 64 and the paper's number of epochs.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from gancomp.__main__ import run

TINY = "--size 32 --arch mobile-resnet6 --width 8 --d-width 8 --d-layers 1 --perceptual none"


def draw_pictures(folder: Path, count: int, color: str) -> None:
    """Any pictures will do; these are colored discs."""
    folder.mkdir(parents=True)
    for index in range(count):
        choose = random.Random(f"{folder.name} {index}")
        picture = Image.new("RGB", (48, 48), "gray")
        x, y, radius = choose.randint(12, 36), choose.randint(12, 36), choose.randint(6, 12)
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(picture).ellipse(box, fill=color)
        picture.save(folder / f"{color}_{index}.png")


def gancomp(command: str) -> None:
    """What `gancomp COMMAND` does in a shell; stops at the first failure as `set -e` would."""
    print(f"$ gancomp {command}", flush=True)
    status = run(command.split())
    if status != 0:
        sys.exit(status)


def main() -> None:
    # unpaired data: trainA/ and trainB/ (what to learn from), testA/ and testB/ (what to score on)
    for name, count, color in (
        ("trainA", 8, "red"),
        ("trainB", 8, "blue"),
        ("testA", 3, "red"),
        ("testB", 3, "blue"),
    ):
        draw_pictures(Path("discs") / name, count, color)

    gancomp("data check discs")
    gancomp(f"distill --dataset discs --ratio 0.5 --max-steps 4 --out runs/discs {TINY}")
    gancomp("profile runs/discs --macs")
    gancomp("export runs/discs -o red_to_blue.safetensors")
    gancomp("translate red_to_blue.safetensors discs/testA -o translated")
    # the score of published tables needs pytorch-fid's Inception weights (a download) and many
    # more pictures than three:  gancomp eval-fid runs/discs


if __name__ == "__main__":
    main()
