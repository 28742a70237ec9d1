"""What comes back: a handful of files, each replaced whole, none larger than a limit."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from gancomp.files import replacing, write_text

Json = dict[str, Any]
Entry = tuple[str, Path]  # name in an archive, and the file
SUMMARY = "summary.json"
LOG_BYTES = 1 << 20


class Results:
    """The folder of results and, in `summary.json`, how far everything is.

    Args:
        folder: of the results.
        work: of everything else: runs with their checkpoints, which stay where they are.
        limit: bytes that no file exceeds.
    """

    def __init__(self, folder: Path, work: Path, *, limit: int) -> None:
        self.folder, self.work, self.limit = folder, work, limit
        folder.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        self.summary: Json = {"format": 1, "parts": {}}
        if (folder / SUMMARY).exists():
            self.summary = json.loads((folder / SUMMARY).read_text())

    def part(self, name: str) -> Json:
        """What is known of a part; changes to it are kept by `save`."""
        part: Json = self.summary["parts"].setdefault(name, {"status": "waiting"})
        return part

    def save(self) -> None:
        """Writes the summary."""
        write_text(self.folder / SUMMARY, json.dumps(self.summary, indent=2) + "\n")

    def pack(self) -> None:
        """Renews all archives from the runs there are; what does not fit is named."""
        runs = [path for path in self._runs() if (path / "config.json").exists()]
        left = {
            "metrics.zip": self._archive("metrics.zip", _metrics(runs), zipfile.ZIP_DEFLATED),
            "students.zip": self._archive("students.zip", _students(runs)),
            "samples.zip": self._archive("samples.zip", _samples(runs)),
            "teachers.zip": self._archive("teachers.zip", _teachers(runs)),
            "translated.zip": self._archive("translated.zip", _translated(runs)),
        }
        self.summary["left_out"] = {name: entries for name, entries in left.items() if entries}
        log = self.work / "log.txt"
        if log.exists():
            with replacing(self.folder / log.name) as aside:
                aside.write_bytes(log.read_bytes()[-min(LOG_BYTES, self.limit) :])
        self.save()

    def _runs(self) -> Iterator[Path]:
        """The runs' folders, in the order in which they were begun."""
        for name, part in self.summary["parts"].items():
            if part.get("kind") == "run":
                yield self.work / "runs" / name

    def _archive(
        self, name: str, entries: Iterable[Entry], compression: int = zipfile.ZIP_STORED
    ) -> list[str]:
        """Writes those of the entries that fit, the first ones first; returns the others' names.

        PNG files become lossless WebP, which is a good deal smaller.
        """
        room = self.limit - 4096
        taken: list[tuple[str, bytes]] = []
        left_out = []
        for inside, path in entries:
            try:
                content = self._content(path)
            except Exception as error:  # one file that cannot be read keeps no other one back
                left_out.append(f"{inside}: {type(error).__name__}: {error}")
                continue
            if path.suffix == ".png":
                inside = str(Path(inside).with_suffix(".webp"))
            needed = len(content) + 2 * len(inside) + 200
            if needed > room:
                left_out.append(inside)
                continue
            taken.append((inside, content))
            room -= needed
        if taken:
            with replacing(self.folder / name) as aside, zipfile.ZipFile(aside, "w") as to:
                for inside, content in taken:
                    to.writestr(inside, content, compression)
        return left_out

    def _content(self, path: Path) -> bytes:
        """The bytes to be packed; pictures that were packed before are not compressed again."""
        if path.suffix != ".png":
            return path.read_bytes()
        kept = self.work / "webp" / path.relative_to(self.work).with_suffix(".webp")
        if not kept.exists() or kept.stat().st_mtime < path.stat().st_mtime:
            kept.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            with Image.open(path) as image:
                image.save(buffer, "WEBP", lossless=True, method=2)
            with replacing(kept) as aside:
                aside.write_bytes(buffer.getvalue())
        return kept.read_bytes()


def student_step(path: Path) -> int | None:
    """The step that a model file is of, by its header alone; None if there is no such file."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        step: int = json.loads(header["__metadata__"]["gancomp"])["step"]
    except (OSError, ValueError, KeyError):
        return None
    return step


def keep_snapshot(run: Path) -> bool:
    """Copies the run's student aside under its step, if that is new; whether it was."""
    step = student_step(run / "student.safetensors")
    kept = run / "snapshots" / f"student_{step or 0:08d}.safetensors"
    if step is None or kept.exists():
        return False
    kept.parent.mkdir(exist_ok=True)
    with replacing(kept) as aside:
        shutil.copyfile(run / "student.safetensors", aside)
    return True


def last_records(run: Path, count: int) -> list[Json]:
    """The last whole lines of a run's metrics."""
    path = run / "metrics.jsonl"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    records = []
    for line in lines[-count - 1 :]:
        try:
            records.append(json.loads(line))
        except ValueError:  # it was cut while it wrote this one
            continue
    return records[-count:]


def spread(paths: list[Path]) -> list[Path]:
    """The last one first, then ever finer divisions of the rest: any beginning is spread evenly."""
    ordered = sorted(paths)
    chosen: list[Path] = []
    step = max(1, len(ordered))
    while len(chosen) < len(ordered):
        chosen += [path for path in ordered[::-1][::step] if path not in chosen]
        step = max(1, step // 2)
    return chosen


def _metrics(runs: list[Path]) -> Iterator[Entry]:
    for run in runs:
        for name in ("config.json", "metrics.jsonl"):
            if (run / name).exists():
                yield f"{run.name}/{name}", run / name


def _students(runs: list[Path]) -> Iterator[Entry]:
    for run in runs:
        if (run / "student.safetensors").exists():
            yield f"{run.name}/student.safetensors", run / "student.safetensors"
    for run in runs:
        for path in spread(list((run / "snapshots").glob("student_*.safetensors"))):
            yield f"{run.name}/snapshots/{path.name}", path


def _samples(runs: list[Path]) -> Iterator[Entry]:
    found = [(run, spread(list((run / "samples").glob("*.png")))) for run in runs]
    for run, paths in found:
        yield from ((f"{run.name}/{path.name}", path) for path in paths[:1])
    for run, paths in found:
        yield from ((f"{run.name}/{path.name}", path) for path in paths[1:])


def _teachers(runs: list[Path]) -> Iterator[Entry]:
    for run in runs:
        if (run / "teacher.safetensors").exists():
            yield f"{run.name}/teacher.safetensors", run / "teacher.safetensors"


def _translated(runs: list[Path]) -> Iterator[Entry]:
    for run in runs:
        for path in sorted((run / "translated").glob("*.png")):
            yield f"{run.name}/{path.name}", path
