"""`gancomp data`: list, fetch and check datasets."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from gancomp import console
from gancomp.data.download import fetch_announced
from gancomp.data.registered import KNOWN_DATASETS, find_known, known_names
from gancomp.errors import DataError
from gancomp.paths import download_folder
from gancomp.settings import Json

MANY_FILES = 1000  # more than this take a while to read
MANY_CLASSES = 10  # so many are shown


def list_datasets() -> list[Json]:
    """One row per known dataset."""
    return [
        {
            "name": item.name,
            "task": item.task,
            "megabytes": round(item.num_bytes / 1e6) if item.num_bytes else None,
            "images": " ".join(f"{folder} {count}" for folder, count in item.counts.items()),
            "notes": item.notes,
        }
        for item in KNOWN_DATASETS
    ]


def show_datasets(rows: list[Json]) -> None:
    """Prints them as a table, and their notes below it."""
    columns = ["name", "task", "megabytes", "images"]
    cells = [[str(row[column] or "?") for column in columns] for row in rows]
    console.print_table(["name", "task", "MB", "images"], cells, figures=False)
    for row in rows:
        console.stdout.print(f"{row['name']}: {row['notes']}")


def fetch_dataset(name: str, out: Path | None, say: Callable[[str], None]) -> Path:
    """Downloads and verifies a known dataset; returns its folder.

    Raises:
        DataError: for an unknown name, a failed download or a wrong checksum.
    """
    known = find_known(name)
    if known is None:
        names = [label for item in KNOWN_DATASETS for label in (item.name, *item.aliases)]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise DataError(f"data fetch {name}: unknown; {hint}Known names: {known_names()}")
    return fetch_announced(known, out or download_folder() / known.name, say)


def check_dataset(folder: str, task: str | None, say: Callable[[str], None]) -> Json:
    """What is wrong or odd about a dataset, as `data check --json` prints it.

    Raises:
        DataError: if there is no such dataset.
    """
    from gancomp.data.check import check_folder  # which imports torch: seconds that a list spares
    from gancomp.data.layout import locate

    return check_folder(locate(folder, say), task, progress=_tenths(say)).to_json()


def _tenths(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Tells `say` each tenth of many files."""

    def progress(done: int, total: int) -> None:
        if total > MANY_FILES and 10 * done // total > 10 * (done - 1) // total:
            say(f"checked {done} of {total} files")

    return progress


def show_check(report: Json) -> None:
    """Prints the report."""
    rows = [
        [
            name,
            str(item["num_images"]),
            str(item["num_unreadable"]),
            str(item["num_grayscale"]),
            ", ".join(f"{size} ({count})" for size, count in list(item["sizes"].items())[:3]),
        ]
        for name, item in report["folders"].items()
    ]
    if rows:
        console.print_table(["folder", "images", "unreadable", "grayscale", "sizes"], rows)
    if classes := report["classes"]:
        shown = [f"{name} ({count})" for name, count in list(classes.items())[:MANY_CLASSES]]
        more = ["..."] if len(classes) > MANY_CLASSES else []
        console.stdout.print(f"classes: {len(classes)}: {', '.join(shown + more)}")
    for label, key in (("problem", "problems"), ("note", "notes")):
        for line in report[key]:
            console.stdout.print(f"{label}: {line}")
    if not report["problems"]:
        console.stdout.print(f"{report['root']}: fine, {report['task']}")
