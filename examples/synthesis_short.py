"""Does a teacher's discriminator help a half-width student? A few seeds, with it and without.

    python examples/synthesis_short.py --photos horse2zebra/trainB --out runs/synthesis-short

For each seed, with the presets synthesis-short and dgl-short (StyleGAN2, 32 pixels): `gancomp
pretrain` trains the teacher, `gancomp distill` the student of half its width, once with the
teacher's discriminator in its loss and once without (`--lambda-dgl 0`); all see as many images.
Every run goes on where it was stopped, so this may be started again and again. The scores (FID of
generated images against all photographs, cropped, resized and mirrored as for training) are in
OUT/scores.json, pictures in the runs' samples/; for more: `gancomp generate OUT/dgl-s0 -o DIR`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from gancomp.__main__ import run
from gancomp.recipes.eval_fid import eval_fid
from gancomp.scoring.request import FidRequest


def gancomp(command: str, out: Path) -> Path:
    """What `gancomp COMMAND --out OUT` does in a shell, or what is left to do of it; OUT."""
    resume = "--resume " if (out / "config.json").exists() else ""
    print(f"$ gancomp {command} {resume}--out {out}", flush=True)
    status = run([*command.split(), *resume.split(), "--out", str(out)])
    if status != 0:
        sys.exit(status)
    return out


def train(given: argparse.Namespace, seed: int) -> dict[str, Path]:
    """The runs of one seed by what they are."""
    common = f"--dataset {given.photos} --task synthesis --seed {seed} {given.more}"

    def folder(name: str) -> Path:
        return given.out / f"{name}-s{seed}"

    teacher = gancomp(f"pretrain --preset synthesis-short {common}", folder("teacher"))
    distill = f"distill --preset dgl-short --teacher {teacher} {common}"
    return {
        "teacher": teacher,
        "plain": gancomp(f"{distill} --lambda-dgl 0", folder("plain")),
        "dgl": gancomp(distill, folder("dgl")),
    }


def score(model: Path, num: int) -> float:
    """The FID of `num` generated images."""
    document = eval_fid(FidRequest(model=model, num=num), lambda message: None)
    return float(document["fid"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, default=Path("runs/synthesis-short"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--num", type=int, default=5000, help="generated images per score, 0: none")
    parser.add_argument("--more", default="--device cpu", help="further options of every run")
    given = parser.parse_args()
    table: dict[str, dict[str, float]] = {}
    for seed in given.seeds:
        started = time.perf_counter()
        runs = train(given, seed)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
        for name, out in runs.items() if given.num else ():
            table.setdefault(name, {})[f"seed {seed}"] = score(out, given.num)
        (given.out / "scores.json").write_text(json.dumps(table, indent=2) + "\n")
    for name, scores in table.items():
        shown = ", ".join(f"{value:.2f}" for value in scores.values())
        print(f"{name:8} FID {statistics.mean(scores.values()):.2f}  ({shown}), N {given.num}")


if __name__ == "__main__":
    main()
