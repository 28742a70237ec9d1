"""Makes the tables of the results out of the JSON files beside it.

python examples/results/table.py            # prints them
python examples/results/table.py --write    # and puts them into README.md beside it
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Json = dict[str, Any]
HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- tables: table.py --write -->", "<!-- end of tables -->"
NO_RUNS = "No run has been made on a GPU yet: there is no result, and so no table."
NO_BENCH = "The training step has not been timed on a GPU yet."


def read(folder: Path) -> list[Json]:
    """All results in the folder, by the names of their files."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def table(titles: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def runs_table(documents: list[Json]) -> str:
    """One line per kind of run; seeds are put together."""
    groups: dict[str, list[Json]] = {}
    for document in documents:
        if document["kind"] == "run":
            groups.setdefault(json.dumps(kind_of(document)), []).append(document)
    if not groups:
        return NO_RUNS
    titles = ["run", "width", "MACs, true", "MACs, torchprofile's rule", "parameters", "epochs"]
    titles += ["batch, rate", "seeds", "device", "images/s", "FID, last", "FID, test only, last"]
    titles += ["FID, best", "perceptual network"]
    return table(titles, [runs_row(group) for group in groups.values()]) + "\n\n" + protocol(groups)


def kind_of(document: Json) -> Json:
    """What runs of one line have in common: everything but the seed and how fast they were."""
    plan = document["plan"]
    keys = ("batch_size", "lr", "epochs", "precision")
    return {
        "variant": document["variant"],
        "width": document["cost"]["width"],
        "device": document["machine"]["device"],
        "features": document["perceptual_network"],
        "done": document["status"],
        **{key: plan[key] for key in keys},
    }


def runs_row(group: list[Json]) -> list[str]:
    """The line of some runs that differ in their seeds alone."""
    first, plan = group[0], group[0]["plan"]
    cut = "" if first["status"] == "done" else f" (cut at {first['epochs_seen']:.1f})"
    size = first["cost"]
    return [
        first["variant"],
        str(size["width"]),
        f"{size['macs'] / 1e9:.3f}G",
        f"{size['macs_torchprofile'] / 1e9:.3f}G",
        f"{size['params']:,}",
        f"{plan['epochs']}{cut}",
        f"{plan['batch_size']}, {plan['lr']:.1e}, {plan['precision']}",
        ", ".join(str(seed) for seed in sorted(item["seed"] for item in group)),
        first["machine"]["device"],
        spread([item["images_per_second"] for item in group], 1),
        spread([item["last"]["fid"] for item in group], 2),
        spread([item["last"]["fid_test_only"] for item in group], 2),
        spread([item["best"]["fid"] for item in group if "best" in item], 2),
        first["perceptual_network"],
    ]


def spread(values: list[float], digits: int) -> str:
    """The mean, and with several values their range."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def protocol(groups: dict[str, list[Json]]) -> str:
    """How the scores below a table came about."""
    runs = [document for group in groups.values() for document in group]
    last = runs[0]["last"]
    text = (
        f"FID of {last['n_fake']} translated test images against {last['n_real']} real ones of "
        f"training and test; test only: against {last['n_real_test_only']}. Of several seeds: the "
        "mean (least to largest)."
    )
    chosen = sorted({item["best"]["chosen_by"] for item in runs if "best" in item})
    if chosen:
        text += f" Best: chosen by {'; '.join(chosen)}."
    if any("stand-in" in item["perceptual_network"] for item in runs):
        text += (
            " The perceptual network is a stand-in, not torchvision's, so losses and scores "
            "cannot be compared with runs that used that one."
        )
    return text


def bench_table(documents: list[Json]) -> str:
    """One line per batch size and side of the benchmark."""
    rows = []
    for document in documents:
        if document["kind"] != "bench":
            continue
        batches = document["batches"]
        plain = batches.get("1", {}).get("contestants", {}).get("literal")
        for size in sorted(batches, key=int):
            for name, row in batches[size]["contestants"].items():
                side, rate = batches[size]["sides"][name], row["images_per_second"]
                rows.append(
                    [
                        document["machine"]["device"],
                        size,
                        name if name in ("literal", "released") else "gancomp",
                        side["format"],
                        side.get("way", "compiled" if side["compiled"] else "plain"),
                        f"{row['median_ms']:.1f}",
                        f"{rate:.2f}",
                        f"{row['peak_memory_mb'] / 1024:.1f}",
                        f"{rate / plain['images_per_second']:.2f}" if plain else "",
                    ]
                )
    titles = ["device", "batch", "step", "format", "", "median ms", "images/s", "peak GiB"]
    titles.append("images/s over the literal step's at batch 1")
    return table(titles, rows) if rows else NO_BENCH


def tables(folder: Path) -> str:
    """Both tables, or what is not there yet."""
    documents = read(folder)
    return f"### Runs\n\n{runs_table(documents)}\n\n### Training step\n\n{bench_table(documents)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=HERE, help="of the JSON files")
    parser.add_argument("--write", action="store_true", help="into README.md there")
    given = parser.parse_args()
    text = tables(given.folder)
    print(text)
    if given.write:
        readme = given.folder / "README.md"
        before, _, rest = readme.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
