"""Packs what a rented machine needs into archives, each small enough to travel by itself.

    python examples/gpu/pack.py --dataset horse2zebra --vgg vgg16.safetensors

The first has the code, VGG16 cut behind relu4_3 (the deepest layer that DCD looks at) in float16,
wheels of packages that may be missing there, and training images until it is half of everything;
the second has the other ones; the third, which no training waits for, the test images that are
translated there. Image files are taken as they are: nothing is encoded again. What is in the
archives, by which files, is said in runs/lease/packed.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from children import ROOT  # first: it lets this process import gancomp
from lease import ARCHIVES, MIB, PACKED, Limits, mib, travels
from PIL import Image

from gancomp.data.layout import locate
from gancomp.errors import GancompError
from gancomp.files import replacing, write_text

Entry = tuple[str, Path]  # name in an archive, and the file
CONTENT = ("gancomp", "tests", "examples", "vgg", "wheels")
FOLDERS = ("trainA", "trainB", "testA")
LATER = "testA"  # translated when all is trained; beside the dataset, as a run's must not change
WHEELS = Path("runs") / "wheels"
CODE = ("gancomp/**/*", "tests/*.py", "examples/gpu/*.py", "pyproject.toml")
DEFLATED = {".py", ".json", ".toml"}
KINDS = ("weight", "bias")
LAST_LAYER = 21  # features.21 is conv4_3; its ReLU, relu4_3, has no weights
ROOM_PER_FILE = 200  # of an archive, for names and sizes
SAME_DATE = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive


def code_files(root: Path) -> list[Entry]:
    """What runs on the machine: the package, its tests, and these scripts."""
    found = {path for pattern in CODE for path in root.glob(pattern) if path.is_file()}
    kept = [path for path in sorted(found) if path.suffix in DEFLATED]
    return [(str(path.relative_to(root)), path) for path in kept]


def image_files(dataset: Path, size: int) -> list[Entry]:
    """The dataset's files, as `dataset/FOLDER/NAME`; those of `LATER` as `LATER/NAME`.

    Raises:
        ValueError: for a missing folder, or an image of another size: it would travel in vain.
    """
    entries = []
    for folder in FOLDERS:
        if not (dataset / folder).is_dir():
            raise ValueError(f"--dataset {dataset}: no folder {folder}; needed: {FOLDERS}")
        for path in sorted((dataset / folder).iterdir()):
            with Image.open(path) as image:
                if image.size != (size, size):
                    raise ValueError(f"{path}: is {image.size}, not {size} pixels; see --size")
            inside = folder if folder == LATER else f"dataset/{folder}"
            entries.append((f"{inside}/{path.name}", path))
    return entries


def cut_vgg(source: Path, to: Path) -> None:
    """Writes VGG16's convolutions up to relu4_3, in float16, and makes sure that they load.

    Raises:
        ValueError: if a weight is too large for float16.
        WeightsError: if `source` is no VGG16.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from gancomp.losses.perceptual import load_perceptual
    from gancomp.methods.shared_options import STYLE_TAPS

    if source.suffix == ".safetensors":
        state = load_file(source)
    else:
        state = torch.load(source, map_location="cpu", weights_only=True)
    wanted = {f"features.{index}.{kind}" for index in range(LAST_LAYER + 1) for kind in KINDS}
    kept = {name: state[name].half().contiguous() for name in sorted(wanted & state.keys())}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in kept.values()):
        raise ValueError(f"{source}: has weights that are too large for float16")
    origin = f"{source.name}, SHA-256 {digest(source)}, up to relu4_3, float16"
    save_file(kept, to, metadata={"origin": origin})
    load_perceptual("vgg16", to, taps=STYLE_TAPS, say=print)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def halves(always: list[Entry], images: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """All of `always` and images until half of everything is reached, and the other images."""
    first, second = list(always), list(images)
    size = sum(map(weight, always))
    half = (size + sum(map(weight, images))) / 2
    while second and size + weight(second[0]) / 2 < half:
        size += weight(second[0])
        first.append(second.pop(0))
    return first, second


def weight(entry: Entry) -> int:
    """Bytes that a file takes in an archive, about."""
    path = entry[1]
    return path.stat().st_size // (3 if path.suffix in DEFLATED else 1) + ROOM_PER_FILE


def write_archive(path: Path, entries: list[Entry]) -> None:
    """Stores images and weights, which nothing makes smaller, and deflates the rest."""
    with replacing(path) as aside, zipfile.ZipFile(aside, "w") as archive:
        for name, file in entries:
            kind = zipfile.ZIP_DEFLATED if file.suffix in DEFLATED else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name, SAME_DATE), file.read_bytes(), kind)


def counts(entries: list[Entry]) -> Iterator[tuple[str, int]]:
    """Files by the folder that they are in."""
    for folder in (*CONTENT, *(f"dataset/{name}" for name in FOLDERS), LATER):
        number = sum(name.startswith(f"{folder}/") for name, _ in entries)
        if number:
            yield folder, number


def pack(
    dataset: Path, vgg: Path | None, out: Path, *, size: int, room: int, wheels: Path | None = None
) -> dict[str, Any]:
    """Writes the archives; returns what `packed.json` says.

    Args:
        dataset: its folder.
        vgg: VGG16's weights; None for a run without.
        out: folder of the archives.
        size: that all images have.
        room: bytes that no archive may exceed.
        wheels: folder of packages' wheels; none if it is not there.

    Raises:
        ValueError: for a dataset that does not fit.
    """
    out.mkdir(parents=True, exist_ok=True)
    always, images = code_files(ROOT), image_files(dataset, size)
    document: dict[str, Any] = {"dataset": dataset.name, "archives": {}}
    with tempfile.TemporaryDirectory() as folder:
        if vgg is not None:
            cut = Path(folder) / f"{vgg.stem}-relu4_3.safetensors"
            cut_vgg(vgg, cut)
            always.append((f"vgg/{cut.name}", cut))
        for path in sorted(wheels.glob("*.whl")) if wheels is not None else ():
            always.append((f"wheels/{path.name}", path))
        later = [entry for entry in images if entry[0].startswith(f"{LATER}/")]
        parts = *halves(always, [entry for entry in images if entry not in later]), later
        for name, entries in zip(ARCHIVES, parts, strict=True):
            write_archive(out / name, entries)
    for name, entries in zip(ARCHIVES, parts, strict=True):
        length = (out / name).stat().st_size
        document["archives"][name] = {
            "bytes": length,
            "sha256": digest(out / name),
            "files": dict(counts(entries)),
        }
        if length > room:
            raise ValueError(f"{out / name}: {mib(length)}; only {mib(room)} may travel")
    write_text(out / "packed.json", json.dumps(document, indent=2) + "\n")
    return document


def main(typed: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", required=True, help="folder or known name, with a test set")
    add("--vgg", type=Path, help="VGG16's weights, .safetensors or .pth")
    add("--size", type=int, default=256, help="that all images have")
    add("--out", type=Path, default=ROOT / PACKED)
    add("--wheels", type=Path, default=ROOT / WHEELS, help="folder of packages to bring")
    add("--beside-mib", type=float, help="that travel with every command, instead of the checkout")
    given = parser.parse_args(typed)
    beside = travels(ROOT) if given.beside_mib is None else int(given.beside_mib * MIB)
    room = Limits().in_bytes - beside
    try:
        found = locate(given.dataset)
        document = pack(
            found, given.vgg, given.out, size=given.size, room=room, wheels=given.wheels
        )
    except (ValueError, OSError, GancompError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, facts in document["archives"].items():
        free = mib(room - facts["bytes"])
        print(f"{given.out / name}: {mib(facts['bytes'])}, {free} less than allowed beside")
        print(f"    {mib(beside)} that always travel; {facts['files']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
