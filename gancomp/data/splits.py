"""What a dataset is once its folders have been understood: lists of files by role."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# a new task has a name here, a rule in `layout.scan` and lines in the tables of the registry
Task = Literal["unpaired", "paired", "super-resolution", "synthesis"]
Half = Literal["left", "right"]


def other_half(half: Half) -> Half:
    """The half beside `half`."""
    return "right" if half == "left" else "left"


@dataclass(frozen=True)
class Split:
    """The files of one split, in the order of their names.

    Attributes:
        source: images to be translated.
        target: images to look like; for paired data `target[i]` belongs to `source[i]`. For
            super-resolution both are the same files, which are read in high resolution, and for
            synthesis, which has no source but noise.
        side_by_side: None, or the half of each file that is the source. `source` and `target`
            are then the same files.
        labels: the class of each file, counted from 0; None where there are no classes.
    """

    source: tuple[Path, ...]
    target: tuple[Path, ...]
    side_by_side: Half | None = None
    labels: tuple[int, ...] | None = None

    @property
    def target_half(self) -> Half | None:
        """The half of each file that is the target, None where files are whole images."""
        return other_half(self.side_by_side) if self.side_by_side is not None else None


@dataclass(frozen=True)
class DatasetFiles:
    """The readable files of a dataset.

    Attributes:
        name: the root folder's name.
        root: the dataset's folder.
        task: "unpaired", "paired", "super-resolution" or "synthesis".
        train: what to train on.
        test: what to score on; None where the dataset has no such folder.
        skipped: files that looked unreadable and are in neither split.
        classes: names of the class folders, by label; empty where there are none.
    """

    name: str
    root: Path
    task: Task
    train: Split
    test: Split | None
    skipped: tuple[Path, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def paired(self) -> bool:
        """Whether each source has a target of its own."""
        return self.task == "paired"

    def fingerprint(self) -> dict[str, Any]:
        """Counts by role and a sha256 over relative names and file sizes; JSON-ready.

        Equal fingerprints mean the same files wherever the dataset lies; a swapped direction
        changes it. Labels follow from the relative names, which hold the class folders.
        """
        digest = hashlib.sha256()
        counts: dict[str, int] = {}
        for label, split in (("train", self.train), ("test", self.test)):
            if split is None:
                continue
            for role, paths in (("source", split.source), ("target", split.target)):
                counts[f"{label}_{role}"] = len(paths)
                digest.update(f"{label} {role} {split.side_by_side}\n".encode())
                for path in paths:
                    relative = path.relative_to(self.root).as_posix()
                    line = f"{path.stat().st_size} {relative}\n"
                    digest.update(line.encode("utf-8", "surrogateescape"))
        return {"task": self.task, "counts": counts, "sha256": digest.hexdigest()}
