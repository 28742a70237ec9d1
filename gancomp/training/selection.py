"""Which state of the student is handed out: the last, or the best on images set aside for that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gancomp.data.splits import DatasetFiles, Split
from gancomp.domains.translation.contest import translated
from gancomp.errors import ConfigError, RunError
from gancomp.export.model import open_model
from gancomp.files import replacing, write_text
from gancomp.inference.pixels import format_of
from gancomp.metrics.features import load_inception
from gancomp.metrics.fid import Statistics, fid_from_features
from gancomp.networks.base import TappedNetwork
from gancomp.records import read_record, versioned
from gancomp.scoring.measuring import Extractor, features_of, real_set
from gancomp.scoring.request import Reals
from gancomp.seeding import derive_generator
from gancomp.settings import Json, Settings

HISTORY = "selection.json"
BEST = "student-best.safetensors"
LAST = "student-last.safetensors"


@dataclass(frozen=True)
class Division:
    """A dataset split for a run that scores its student on the way.

    Attributes:
        training: the dataset, less what was held out of its training images.
        judging: sources to translate and targets to compare them with.
    """

    training: DatasetFiles
    judging: Split


def divide(files: DatasetFiles, settings: Settings) -> Division:
    """Sets aside what the student is scored on; nothing, where it is not or on test images.

    The choice of held-out images follows from the seed. Held out are sources; their pairs too,
    where there are pairs. Unpaired, the reals to compare with are all training targets.

    Raises:
        ConfigError: if too few images would be left, or there are no test images to choose by.

    Source: GAN-Compression chooses among its candidates by 120 training horses.
    """
    select, train = settings.selection.select, files.train
    if select == "last":
        return Division(files, train)
    if select == "best-on-test":
        if files.test is None:
            raise ConfigError(f"`select` best-on-test: {files.root} has no test images")
        return Division(files, files.test)
    number = settings.selection.held_out
    if number > len(train.source) // 2:
        raise ConfigError(
            f"`held_out` {number}: is more than half of the {len(train.source)} training images; "
            "use fewer, or `select` last"
        )
    order = torch.randperm(
        len(train.source), generator=derive_generator(settings.run.seed, "held-out")
    ).tolist()
    aside, kept = sorted(order[:number]), sorted(order[number:])

    def pick(paths: tuple[Path, ...], indices: list[int]) -> tuple[Path, ...]:
        return tuple(paths[index] for index in indices)

    paired = files.paired
    judging = replace(
        train,
        source=pick(train.source, aside),
        target=pick(train.target, aside) if paired else train.target,
    )
    training = replace(
        train,
        source=pick(train.source, kept),
        target=pick(train.target, kept) if paired else train.target,
    )
    return Division(replace(files, train=training), judging)


class Selection:
    """Scores the student during a run and keeps the best; what it saw is in `selection.json`.

    Args:
        settings: of the run.
        files: the whole dataset.
        student: the network in training.
        folder: the run's, where the best student and the history are kept; not touched before
            the first score, so that what is missing is known before there is a run.
        keep: writes the student as it is to a path, with the step.
        say: told about each score.
        device: where Inception runs.

    Raises:
        WeightsError: if there are no Inception weights.
        RunError: if a history is there and damaged.
        ConfigError: see `divide`.
    """

    def __init__(
        self,
        settings: Settings,
        files: DatasetFiles,
        student: TappedNetwork,
        *,
        folder: Path,
        keep: Callable[[Path, int], None],
        say: Callable[[str], None],
        device: torch.device,
    ) -> None:
        self.settings, self.student, self.folder = settings, student, folder
        self.keep, self.say = keep, say
        self.judging = divide(files, settings).judging
        self.extractor = Extractor(load_inception(say=say).to(device), device)
        self.reals = Reals(
            [settings.selection.select],
            self.judging.target,
            self.judging.target_half,
            pixels=format_of(settings.data.target),
        )
        self._real_statistics: Statistics | None = None
        self.history()  # a damaged one is better known before the first step

    def score(self, step: int) -> None:
        """Scores the student as it is after `step`, and keeps it if none before was better."""
        training = self.student.training
        self.student.eval()
        data = self.settings.data
        fakes = translated(
            self.student,
            self.judging,
            size=data.size,
            say=self.say,
            pixels=format_of(data.source),
        )
        features = features_of(fakes, self.extractor)
        self.student.train(training)
        statistics = self.real_statistics()
        fid = fid_from_features(features, statistics)
        # a resumed run scores some steps again: the same student, the same score
        history = [item for item in self.history() if item["step"] < step]
        best = min((item["fid"] for item in history), default=float("inf"))
        self.say(
            f"step {step}: FID {fid:.2f} on {len(features)} {self.settings.selection.select} "
            f"images (best before: {best:.2f})"
        )
        if fid < best:
            self.keep(self.folder / BEST, step)
        record = {
            "step": step,
            "fid": fid,
            "n_fake": len(features),
            "n_real": statistics.num_images,
        }
        document = {"select": self.settings.selection.select, "history": [*history, record]}
        write_text(self.folder / HISTORY, json.dumps(versioned(document), indent=2) + "\n")

    def real_statistics(self) -> Statistics:
        """Of the images to compare with: they stay the same, so one score alone reads them."""
        if self._real_statistics is None:
            found, _ = real_set(self.reals, self.extractor, self.say)
            self._real_statistics = found.statistics
        return self._real_statistics

    def history(self) -> list[Json]:
        """The scores so far, oldest first.

        Raises:
            RunError: if what is kept of them is damaged.
        """
        try:
            document = read_record(
                self.folder / HISTORY,
                way_out=f"remove it, and {BEST}, to choose among later scores",
            )
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.folder / HISTORY}: cannot be read ({error.strerror})") from error
        scores = document.records("history")
        for score in scores:
            score.get("step", int)
            score.get("fid", float)
        return [score.values for score in scores]

    def hand_out(self, student: Path) -> None:
        """Puts the best student in the place of the last one, which is kept beside it."""
        best = min(self.history(), key=lambda item: item["fid"], default=None)
        path = self.folder / BEST
        # after going back to an older checkpoint the file may be of a step that was never retaken
        if best is None or not path.exists() or open_model(path).header["step"] != best["step"]:
            self.say(f"{path}: is of none of this run's scores; the last student stays")
            return
        for source, target in ((student, self.folder / LAST), (self.folder / BEST, student)):
            with replacing(target) as aside:
                shutil.copyfile(source, aside)
