"""`gancomp translate`: runs a generator on image files of any size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gancomp.config import Json
from gancomp.data.images import count_suffixes, load_image, sort_folder
from gancomp.data.transforms import resize, to_tensor, to_uint8
from gancomp.engine.device import choose_device
from gancomp.errors import ConfigError, DataError, GancompError
from gancomp.files import UnwritableError, replacing, reporting_disk_errors
from gancomp.networks.fast import FastGenerator, accelerate
from gancomp.networks.inference import run_generator
from gancomp.paths import expanded
from gancomp.recipes.enlarge import enlarge
from gancomp.recipes.memory import check_memory
from gancomp.recipes.models import check_translates, choose

MIN_SIZE, MAX_SIZE = 8, 4096


def translate(
    model: Path,
    inputs: list[Path],
    out: Path,
    *,
    say: Callable[[str], None],
    size: int | None = None,
    strict: bool = False,
    device: str = "auto",
    part: str | None = None,
) -> Json:
    """Translates (or enlarges) files and the images of folders into PNG files in `out`.

    Args:
        model: model file or run.
        inputs: image files, or folders of them.
        out: folder, made if missing.
        say: told about each file that failed.
        size: resize (bicubic, square) before; by default the native size is kept.
        strict: stop at the first file that fails; otherwise only a place
            that takes nothing ends the batch.
        device: as `--device`.
        part: network of a multi-network checkpoint.

    Returns: `written` and `failed`, as `translate --json` prints them.

    Raises:
        DataError: if an input does not exist or holds no images.
        ConfigError, CheckpointError, RunError: for options, model or `out`.
    """
    check_size(size)
    files = list(_expand(inputs, say))
    chosen = choose(model, part).model
    check_translates(chosen, str(model))
    network = accelerate(chosen.network.to(choose_device(device)))
    written, failed = [], []
    for file, target in zip(files, _targets(files, out), strict=True):
        try:
            _translate_file(network, file, target, size=size, say=say)
            written.append(str(target))
        except UnwritableError:
            raise
        except (GancompError, OSError) as error:
            if strict:
                raise
            reason = str(error) if str(error).startswith(str(file)) else f"{file}: {error}"
            failed.append({"file": str(file), "error": reason})
            say(f"skipped: {reason}")
    return {"written": written, "failed": failed}


def check_size(size: int | None) -> None:
    """Raises ConfigError unless `size` is one that images can sensibly be resized to."""
    if size is not None and not MIN_SIZE <= size <= MAX_SIZE:
        raise ConfigError(f"--size {size}: must be from {MIN_SIZE} to {MAX_SIZE}")


def _expand(inputs: list[Path], say: Callable[[str], None]) -> Iterator[Path]:
    for item in inputs:
        path = expanded(item)
        if path.is_dir():
            found, others = sort_folder(path)
            kinds = f"{len(others)} files of other kinds ({count_suffixes(others)})"
            if not found:
                holds = f"no images but {kinds}" if others else "no images"
                raise DataError(f"{item}: holds {holds}; give image files or a folder of them")
            if others:
                say(f"{item}: ignored {kinds}, which are no images by their names")
            yield from found
        elif path.exists():
            yield path
        else:
            raise DataError(f"{item}: no such file or folder; check the path")


def _targets(files: list[Path], out: Path) -> list[Path]:
    """One PNG per file, told apart where names are equal; never an input itself."""
    taken: set[Path] = set()
    inputs = {os.path.realpath(file) for file in files}  # a link to itself does not raise here
    targets = []
    for file in files:
        target, number = out / f"{file.stem}.png", 2
        while target in taken:
            target, number = out / f"{file.stem}-{number}.png", number + 1
        if os.path.realpath(target) in inputs:
            raise ConfigError(
                f"-o {out}: would overwrite the input {target}; choose another folder"
            )
        taken.add(target)
        targets.append(target)
    return targets


def _translate_file(
    network: FastGenerator,
    file: Path,
    target: Path,
    *,
    size: int | None,
    say: Callable[[str], None],
) -> None:
    image = load_image(file)
    if size is not None:
        image = resize(image, size)
    if network.network.scale == 1:
        check_memory(network.network, image.size, str(file), say)
    try:
        pixels = _output(network, image)
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error):
            raise
        raise DataError(
            f"{file}: {image.width}x{image.height} pixels are too many for the memory "
            f"({str(error).splitlines()[0]}); use a smaller --size"
        ) from error
    with reporting_disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as aside:
        Image.fromarray(pixels).save(aside, format="PNG")


def _output(generator: FastGenerator, image: Image.Image) -> NDArray[np.uint8]:
    """As the FID protocol has it, truncated; enlarged images are rounded, as PSNR's has it."""
    if generator.network.scale > 1:
        return enlarge(generator.network, np.asarray(image))
    pixels: NDArray[np.uint8] = to_uint8(run_generator(generator, to_tensor(image)[None]))[0]
    return pixels


def is_lack_of_memory(error: Exception) -> bool:
    """Whether the CPU's or a GPU's allocator gave up."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in words or "alloc" in words
