"""Makes a table of formats and networks: bytes, difference from PyTorch, ms on 1 and 2 threads.

python examples/deploy_table.py MODEL.safetensors... [--calibrate DIR] [-o DIR]

Times are medians of warm passes that take turns, of whatever else the machine does, too.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import gancomp

FORMATS: list[tuple[str, dict[str, Any]]] = [
    (".onnx", {}),
    (".xml", {}),
    ("-bf16.xml", {"precision": "bf16"}),
    ("-int8.xml", {"precision": "int8"}),
    (".pt2", {}),
    (".pte", {}),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--calibrate", type=Path, help="pictures for int8")
    parser.add_argument("-o", "--out", type=Path, default=Path("deployed"))
    given = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} of {os.cpu_count()} processors\n")
    print("| network | way | bytes | parity | ms, 1 thread | ms, 2 threads |")
    print("| --- | --- | --- | --- | --- | --- |")
    for model in given.models:
        show(model, given.out, given.calibrate)


def show(model: Path, out: Path, calibrate: Path | None) -> None:
    files: dict[Path, str] = {model: ""}
    for end, options in FORMATS:
        if options.get("precision") == "int8":
            if calibrate is None:
                continue
            options = options | {"calibrate": calibrate}
        file = out / f"{model.stem}{end}"
        try:
            document = gancomp.export(model, file, **options)
        except gancomp.GancompError as error:
            print(f"| {model.stem} | {end} | | {error} | | |", flush=True)
            continue
        files[file] = f"{document['parity']:.2g}" + (" dB" if options else "")
    rows = gancomp.profile(*files, latency=True)["models"]
    for (file, parity), row in zip(files.items(), rows, strict=True):
        for way in dict.fromkeys(item["way"] for item in row["ways"]):
            ms = [f"{item['ms']:.1f}" for item in row["ways"] if item["way"] == way]
            cells = [model.stem, f"{file.name}: {way}", f"{row['bytes']:,}", parity, *ms]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
