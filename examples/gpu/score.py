"""Scores what run.py brought back: FID on the CPU by two protocols, one JSON file per run.

    python examples/gpu/score.py runs/gpu/results --dataset horse2zebra --name h200

FID needs pytorch-fid's Inception weights, which gancomp finds or downloads as `gancomp eval-fid`
does. For each run whose student came back, examples/results/NAME-RUN.json gets the run's settings
and speed, the network's cost, the scores of the last student (all 120 test horses translated,
against the 1,474 zebras of training and test, as the papers do, and against the test zebras alone),
those of the student that was best on 120 training horses, and the curve over the kept students.
The benchmark goes to NAME-bench.json. Students are copied with --students.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gancomp.console import say
from gancomp.data.layout import locate, scan
from gancomp.data.splits import DatasetFiles, Split
from gancomp.domains.translation.contest import real_images, translated
from gancomp.export.model import open_model
from gancomp.files import replacing, write_text
from gancomp.metrics.features import load_inception
from gancomp.metrics.fid import fid_from_features
from gancomp.recipes.eval_fid import eval_fid
from gancomp.recipes.profile import profile_document
from gancomp.scoring.measuring import Extractor, features_of, real_set
from gancomp.scoring.request import FidRequest, Reals
from gancomp.seeding import derive_generator

Json = dict[str, Any]
RESULTS = Path(__file__).resolve().parents[1] / "results"
NUM_JUDGING = 120  # training images by which the best student is chosen, as GAN-Compression does
TORCHVISION = {"vgg16": "397923af", "vgg19": "dcbb9e9d"}  # its files are named by their checksum


class Judge:
    """FID of any number of students on one dataset, whose reals are looked at but once.

    Args:
        files: the dataset.
        size: that images are translated in.
        count: training images to choose by.
    """

    def __init__(self, files: DatasetFiles, *, size: int, count: int) -> None:
        assert files.test is not None
        self.files, self.size = files, size
        self.extractor = Extractor(load_inception(say=say), torch.device("cpu"))
        order = torch.randperm(len(files.train.source), generator=derive_generator(0, "judging"))
        chosen = sorted(order[:count].tolist())
        sources = tuple(files.train.source[index] for index in chosen)
        self.judging = replace(files.train, source=sources)
        self.reals = real_images(FidRequest(), files)

    def of_test(self, student: Path) -> float:
        """FID of the translated test images against all reals."""
        assert self.files.test is not None
        return self._fid(student, self.files.test, self.reals)

    def of_training(self, student: Path) -> float:
        """FID of some translated training images against the training reals."""
        return self._fid(student, self.judging, Reals(["training"], self.files.train.target))

    def _fid(self, student: Path, split: Split, reals: Reals) -> float:
        network = open_model(student).network.eval()
        fakes = translated(network, split, size=self.size, say=say)
        features = features_of(fakes, self.extractor)
        found, _ = real_set(reals, self.extractor, say)
        return fid_from_features(features, found.statistics)


def both_protocols(student: Path, dataset: str) -> Json:
    """What `gancomp eval-fid` says against all targets, and against those of the test set."""
    scores = {
        name: eval_fid(
            FidRequest(model=student, dataset=dataset, real_split=split, device="cpu"), say
        )
        for name, split in (("all", "all"), ("test", "test"))
    }
    step: int = open_model(student).header["step"]
    return {
        "step": step,
        "fid": scores["all"]["fid"],
        "n_fake": scores["all"]["n_fake"],
        "n_real": scores["all"]["n_real"],
        "fid_test_only": scores["test"]["fid"],
        "n_real_test_only": scores["test"]["n_real"],
        "weights": scores["all"]["weights"],
        "features": scores["all"]["protocol"]["features"],
    }


def cost(student: Path) -> Json:
    """Width, parameters and MACs by both rules."""
    (row,) = profile_document([student])["models"]
    return {name: row[name] for name in ("arch", "width", "params", "macs", "macs_torchprofile")}


def name_features(perceptual: Json, given: str | None) -> str:
    """What the perceptual terms looked through, in words that hide no stand-in."""
    source: str = perceptual.get("source", "none")
    if given is not None:
        return given
    if source not in TORCHVISION:
        return {"none": "none", "random": "VGG16 of random weights"}[source]
    if perceptual["sha256"].startswith(TORCHVISION[source]):
        return f"{source.upper()} of torchvision"
    return f"{source.upper()} stand-in ({perceptual['file']})"


def score_run(name: str, part: Json, folder: Path, given: argparse.Namespace) -> Json:
    """The result file's content for the run whose students lie in `folder`."""
    last = folder / "student.safetensors"
    snapshots = thinned(sorted(folder.glob("snapshots/*.safetensors")), given.curve)
    files = scan(locate(given.dataset, say), task="unpaired")
    size = open_model(last).header["input"]["size"][0]
    judge = Judge(files, size=size, count=min(given.judging, len(files.train.source)))
    curve, chosen = [], None
    for path in snapshots:
        step = open_model(path).header["step"]
        record = {"step": step, "fid": judge.of_test(path), "fid_training": judge.of_training(path)}
        say(f"{name}: {record}")
        if chosen is None or record["fid_training"] < min(item["fid_training"] for item in curve):
            chosen = path
        curve.append(record)
    document = {
        "kind": "run",
        "run": name,
        "dataset": {"name": Path(given.dataset).name, "fingerprint": files.fingerprint()},
        "perceptual_network": name_features(part.get("perceptual", {}), given.features),
        **{key: value for key, value in part.items() if key not in ("kind", "reason")},
        "cost": cost(last),
        "last": both_protocols(last, given.dataset),
        "curve": curve,
    }
    if chosen is not None:
        document["best"] = both_protocols(chosen, given.dataset) | {
            "chosen_by": f"FID of {len(judge.judging.source)} training images, "
            f"among {len(curve)} students"
        }
    return document


def thinned(paths: list[Path], count: int) -> list[Path]:
    """At most `count` of them, evenly spread, the last among them."""
    if count < 1:
        return []
    return [paths[-1 - index * len(paths) // count] for index in range(min(count, len(paths)))][
        ::-1
    ]


def score_images(archive: Path, run: str, dataset: str, work: Path) -> Json | None:
    """FID of the images that came back, which were made on the device of the run."""
    if not archive.exists():
        return None
    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if name.startswith(f"{run}/")]
        packed.extractall(work, names)
    if not names:
        return None
    root = locate(dataset, say)
    request = FidRequest(
        fake=work / run, real=(root / "trainB", root / "testB"), device="cpu", batch_size=50
    )
    score = eval_fid(request, say)
    return {"fid": score["fid"], "n_fake": score["n_fake"], "n_real": score["n_real"]}


def write(name: str, document: Json, given: argparse.Namespace, summary: Json) -> None:
    """Writes NAME.json among the results, with what it was measured on."""
    began = [sitting["began"] for sitting in summary.get("sittings", [])]
    common = {"machine": summary.get("machine"), "began": began[0] if began else None}
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{name}.json"
    write_text(path, json.dumps(document | common, indent=2) + "\n")
    say(f"wrote {path}")


def main(typed: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("results", type=Path, help="OUT/results of run.py")
    add("--dataset", required=True, help="folder or known name")
    add("--name", required=True, help="what the files' names begin with: the machine, say")
    add("--out", type=Path, default=RESULTS)
    add("--runs", nargs="*", help="only these, such as dcd-s0")
    add("--curve", type=int, default=12, help="students scored on the way; 0 for none")
    add("--judging", type=int, default=NUM_JUDGING, help="training images to choose the best by")
    add("--features", help="what to call the perceptual network")
    add("--students", type=Path, help="folder into which the last students are copied")
    given = parser.parse_args(typed)
    summary = json.loads((given.results / "summary.json").read_text())
    for part, content in summary["parts"].items():
        if content.get("kind") in ("bench", "ablation") and not given.runs:
            write(f"{given.name}-{part}", content, given, summary)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if (given.results / "students.zip").exists():
            zipfile.ZipFile(given.results / "students.zip").extractall(work / "students")
        for run in sorted(path.name for path in work.glob("students/*")):
            if given.runs and run not in given.runs:
                continue
            students = work / "students" / run
            document = score_run(run, summary["parts"][run], students, given)
            archive = given.results / "translated.zip"
            document["images"] = score_images(archive, run, given.dataset, work / "images")
            write(f"{given.name}-{run}", document, given, summary)
            if given.students is not None:
                given.students.mkdir(parents=True, exist_ok=True)
                with replacing(given.students / f"{given.name}-{run}.safetensors") as aside:
                    shutil.copyfile(students / "student.safetensors", aside)


if __name__ == "__main__":
    main()
