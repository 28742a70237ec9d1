"""Does distillation help a small super-resolution student? A few seeds, each against itself alone.

    python examples/sr_short.py --photos horse2zebra/trainA --benchmark Set5 --out runs/sr-short

For each seed, with the preset sr-short: `gancomp distill --method g2g-al` trains an SRResNet of
either size, tunes the teacher and distills; then the same student goes through as many steps alone
(`no-kd`), and with the techniques of --also. Every run goes on where it was stopped, so this may be
started again and again. The scores (PSNR on Y, 4 pixels of border left out) are in OUT/scores.json;
for one model, with every image: `gancomp eval-sr runs/sr-short/g2g-al-s0 --dataset Set5`.

VGG19's weights are downloaded by torchvision unless GANCOMP_VGG19 names a file. With another
feature network say so, for example: --features "--perceptual vgg16 --content-tap relu2_2".
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from gancomp.__main__ import run
from gancomp.recipes.eval_sr import SrRequest, eval_sr

FIRST, ALONE = "g2g-al", "no-kd"


def gancomp(command: str, out: Path) -> Path:
    """What `gancomp COMMAND --out OUT` does in a shell, or what is left to do of it; OUT."""
    resume = "--resume " if (out / "config.json").exists() else ""
    print(f"$ gancomp {command} {resume}--out {out}", flush=True)
    status = run([*command.split(), *resume.split(), "--out", str(out)])
    if status != 0:
        sys.exit(status)
    return out


def runs_of(given: argparse.Namespace, seed: int) -> dict[str, Path]:
    """The runs of one seed by technique; all begin with the students of the first one's stages."""
    common = (
        f"--dataset {given.photos} --task super-resolution --preset sr-short --seed {seed} "
        f"{given.features} {given.more}"
    )

    def folder(name: str) -> Path:
        return given.out / f"{name}-s{seed}"

    first = gancomp(f"distill --method {FIRST} {common} {given.stages}", folder(FIRST))
    student = first / "stages" / "0b-student-srresnet" / "student.safetensors"
    runs = {FIRST: first}
    runs[ALONE] = gancomp(f"distill --method {ALONE} --student {student} {common}", folder(ALONE))
    if given.also:
        srresnet = first / "stages" / "0a-teacher-srresnet" / "teacher.safetensors"
        teacher = gancomp(f"pretrain --teacher {srresnet} {common}", folder("teacher-srgan"))
        for method in given.also:
            beginning = f"--teacher {teacher} --student {student}"
            runs[method] = gancomp(
                f"distill --method {method} {beginning} {common}", folder(method)
            )
    return runs


def score(model: Path, benchmark: str) -> tuple[float, float]:
    """Mean PSNR on Y of the model and of bicubic interpolation."""
    document = eval_sr(SrRequest(dataset=benchmark, model=model), lambda message: None)
    return document["mean"]["psnr_y"], document["bicubic"]["psnr_y"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--benchmark", default="Set5", help="folder or name to score on")
    parser.add_argument("--out", type=Path, default=Path("runs/sr-short"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--also", nargs="*", default=[], help="gan2g, gan2g-al, gan2gan")
    parser.add_argument("--features", default="", help="options of the feature network")
    parser.add_argument("--more", default="--device cpu", help="further options of every run")
    parser.add_argument("--stages", default="", help="further options of the stages")
    given = parser.parse_args()
    table: dict[str, list[float]] = {}
    for seed in range(given.seeds):
        started = time.perf_counter()
        runs = runs_of(given, seed)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
        stages = runs[FIRST] / "stages"
        models = {
            "teacher as SRResNet": stages / "0a-teacher-srresnet" / "teacher.safetensors",
            "student as SRResNet": stages / "0b-student-srresnet" / "student.safetensors",
            f"teacher of {FIRST}": runs[FIRST] / "teacher.safetensors",
        }
        models |= {name: out / "student.safetensors" for name, out in runs.items()}
        for name, model in models.items():
            psnr, bicubic = score(model, given.benchmark)
            table.setdefault(name, []).append(psnr)
        table.setdefault("bicubic", []).append(bicubic)
        (given.out / "scores.json").write_text(json.dumps(table, indent=2) + "\n")
    for name, values in table.items():
        spread = f"+- {statistics.stdev(values):.3f}" if len(values) > 1 else ""
        shown = ", ".join(f"{value:.3f}" for value in values)
        print(f"{name:22} {statistics.mean(values):.3f} {spread} dB  ({shown})")


if __name__ == "__main__":
    main()
