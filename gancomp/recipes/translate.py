"""`gancomp translate`: runs a generator on image files of any size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gancomp.data.deep import read_values
from gancomp.data.formats import ARRAY_SUFFIX, IMAGE_SUFFIXES, count_suffixes, sort_folder
from gancomp.data.images import load_image
from gancomp.data.indexed import Picture
from gancomp.data.transforms import (
    FULL_RANGES,
    PixelFormat,
    Raw,
    holds,
    picture_tensor,
    resize,
    resized,
    to_uint8,
)
from gancomp.data.writing import SUFFIXES, encoded, fitting_format
from gancomp.engine.device import choose_device
from gancomp.engine.sharing import first_rank_first, one_by_one, working_together
from gancomp.errors import ConfigError, DataError, GancompError
from gancomp.files import UnwritableError, replacing, reporting_disk_errors
from gancomp.inference.enlarge import enlarge
from gancomp.inference.memory import check_memory, is_lack_of_memory
from gancomp.inference.models import check_translates, choose
from gancomp.inference.pixels import bits_lost, format_of, opened_format, pixels_in, shown
from gancomp.inference.train_mode import TrainMode, train_mode
from gancomp.networks.accelerate import FastGenerator, accelerate
from gancomp.networks.inference import run_generator
from gancomp.paths import expanded
from gancomp.settings import Json, PixelSettings
from gancomp.sizes import Size, check_size


@dataclass(frozen=True)
class TranslateRequest:
    """What is to be translated; see `gancomp translate --help`."""

    model: Path
    inputs: list[Path]
    out: Path
    size: Size | None = None
    strict: bool = False
    device: str = "auto"
    part: str | None = None
    in_range: tuple[float, float] | None = None
    out_range: tuple[float, float] | None = None
    format: str | None = None
    train_mode: bool = False
    dropout: float | None = None


@dataclass(frozen=True)
class Translator:
    """A network with what its model file says about the images on both sides."""

    network: FastGenerator | TrainMode
    stated: dict[str, PixelSettings]
    request: TranslateRequest

    def source_of(self, file: Path) -> PixelFormat | None:
        """How `file` is read; None for plain 8-bit RGB."""
        if self.network.network.scale > 1:
            return None
        channels = self.network.network.settings()["in_channels"]
        return opened_format(
            self.stated["source"], channels, file, self.request.in_range, "in_range"
        )

    def target_of(self, source: PixelFormat | None) -> PixelFormat:
        """What is written for a file that was read as `source`: as stated, else as deep as that."""
        channels = self.network.network.settings()["out_channels"]
        stated, limits = self.stated["target"], self.request.out_range
        known = format_of(stated)
        if limits is not None:
            known_types = stated.dtype, "uint16" if self.request.format == "png" else None
            fitting = (dtype for dtype in known_types if dtype and holds(dtype, limits))
            return PixelFormat(channels, *limits, next(fitting, None))
        if known is not None:
            return known
        if source is not None and source.channels == channels and self.says_nothing():
            return source
        return PixelFormat(channels, *FULL_RANGES["uint8"], "uint8")

    def says_nothing(self) -> bool:
        """Whether the model's file, which may be of others, tells of neither side."""
        return self.stated["source"].range is None and self.stated["target"].range is None


def translate(request: TranslateRequest, say: Callable[[str], None]) -> Json:
    """Translates (or enlarges) files and the images of folders into files in `out`.

    Returns: `written` and `failed`, as `translate --json` prints them; `mode` in training mode.

    Raises:
        DataError: if an input does not exist or holds no images; at the first unreadable file if
            `strict`.
        ConfigError, CheckpointError, RunError: for options, model or `out`.
    """
    check_size(request.size)
    with working_together(say) as say_alone:
        with first_rank_first():
            files = list(_expand(request.inputs, say_alone))
            translator, mode = _translator(request)
            suffix = SUFFIXES[_format(translator, files)]
            targets = _targets(files, request.out, suffix)
        done = _translate_all(translator, list(zip(files, targets, strict=True)), say_alone)
    return done if mode is None else done | {"mode": mode.recorded()}


def _translator(request: TranslateRequest) -> tuple[Translator, TrainMode | None]:
    """The network on its device, and how it is run if that is not as usual."""
    chosen = choose(request.model, request.part, device=request.device).model
    check_translates(chosen, str(request.model))
    if request.dropout is not None and not request.train_mode:
        raise ConfigError(f"`dropout` {request.dropout:g}: only matters with `train_mode`")
    chosen.network.to(choose_device(request.device))
    mode = train_mode(chosen, str(request.model), request.dropout) if request.train_mode else None
    translator = Translator(
        accelerate(chosen.network) if mode is None else mode,
        pixels_in(chosen.header, chosen.path),
        request,
    )
    _refuse_unused(translator)
    return translator, mode


def _translate_all(
    translator: Translator, files: Sequence[tuple[Path, Path]], say: Callable[[str], None]
) -> Json:
    """Translates each of the first files into the second one; which were written, which failed."""

    def one(pair: tuple[Path, Path], say: Callable[[str], None]) -> tuple[str, str | None]:
        lost: list[str] = []
        try:
            _translate_file(translator, *pair, say_once=lost.append, say=say)
            return "".join(lost), None
        except UnwritableError:
            raise
        except (GancompError, OSError) as error:
            if translator.request.strict:
                raise
            told, file = str(error), str(pair[0])
            return "".join(lost), told if told.startswith(file) else f"{file}: {told}"

    written, failed, any_lost = [], [], False
    made = one_by_one(files, one, say)
    for (file, target), (lost, reason) in zip(files, made, strict=True):
        if lost and not any_lost:  # of the first such file; the others do alike
            say(lost)
            any_lost = True
        if reason is None:
            written.append(str(target))
        else:
            failed.append({"file": str(file), "error": reason})
            say(f"skipped: {reason}")
    return {"written": written, "failed": failed}


def _refuse_unused(translator: Translator) -> None:
    request, network = translator.request, translator.network.network
    given = {"in_range": request.in_range, "out_range": request.out_range}
    for field, limits in given.items():
        if limits is not None and network.scale > 1:
            raise ConfigError(
                f"`{field}` {shown(limits)}: has no effect on {request.model}, which enlarges "
                "8-bit RGB images; remove it"
            )


def _format(translator: Translator, files: list[Path]) -> str:
    """The format of all results: the one asked for, or what holds those of the first files.

    Raises:
        ConfigError: if the format cannot hold them.
    """
    for file in files:
        try:
            target = translator.target_of(translator.source_of(file))
        except DataError:
            continue  # said when it is translated
        return fitting_format(translator.request.format, target.channels, target.name)
    return fitting_format(translator.request.format, 3, "uint8")


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


def _targets(files: list[Path], out: Path, suffix: str) -> list[Path]:
    """One result per file, told apart where names are equal; never an input itself.

    They lie in the folder `out`; a name of an image there is the one result's own.
    """
    if out.suffix.lower() in (*IMAGE_SUFFIXES, ARRAY_SUFFIX) and not out.is_dir():
        return [_own_name(files, out, suffix)]
    taken: set[Path] = set()
    inputs = {os.path.realpath(file) for file in files}  # a link to itself does not raise here
    targets = []
    for file in files:
        target, number = out / f"{file.stem}{suffix}", 2
        while target in taken:
            target, number = out / f"{file.stem}-{number}{suffix}", number + 1
        if os.path.realpath(target) in inputs:
            raise ConfigError(
                f"`out` {out}: would overwrite the input {target}; choose another folder"
            )
        taken.add(target)
        targets.append(target)
    return targets


def _own_name(files: list[Path], out: Path, suffix: str) -> Path:
    """`out`, an image's name, if the result can have it.

    Raises:
        ConfigError: if there are several results, they are of another format, or it is an input.
    """
    if len(files) > 1:
        raise ConfigError(f"`out` {out}: is one image's name, for {len(files)}; give a folder")
    if out.suffix.lower() not in (suffix, f"{suffix}f"):  # .tiff is .tif, and .pngf is no image
        raise ConfigError(
            f"`out` {out}: the result is no {out.suffix[1:]} but a {suffix[1:]} file; call it "
            f"{out.stem}{suffix}, or give a folder"
        )
    if os.path.realpath(out) == os.path.realpath(files[0]):
        raise ConfigError(f"`out` {out}: would overwrite the input; choose another name")
    return out


def _translate_file(
    translator: Translator,
    file: Path,
    target: Path,
    *,
    say_once: Callable[[str], None],
    say: Callable[[str], None],
) -> None:
    pixels, size = translator.source_of(file), translator.request.size
    network = translator.network.network
    picture: Picture
    if pixels is None:
        if lost := bits_lost(file, "in" if network.scale == 1 else None):
            say_once(lost)
        image = load_image(file)
        picture = image if size is None else resize(image, size)
    else:
        values = read_values(file, pixels)
        picture = values if size is None else resized(values, size)
    width, height = _size(picture)
    if network.scale == 1:
        check_memory(network, (width, height), str(file), say)
    try:
        raw = _output(translator, picture, pixels)
    except (RuntimeError, MemoryError) as error:
        if not is_lack_of_memory(error):
            raise
        raise DataError(
            f"{file}: {width}x{height} pixels are too many for the memory "
            f"({str(error).splitlines()[0]}); use a smaller `size`"
        ) from error
    formats = {suffix: name for name, suffix in SUFFIXES.items()} | {".tiff": "tiff"}
    format = formats[target.suffix.lower()]
    with reporting_disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as aside:
        aside.write_bytes(encoded(raw, format))


def _size(picture: Picture) -> tuple[int, int]:
    """Width and height."""
    if isinstance(picture, np.ndarray):
        return picture.shape[1], picture.shape[0]
    return picture.size


def _output(translator: Translator, picture: Picture, pixels: PixelFormat | None) -> Raw:
    """`(H, W, C)` as it is stored.

    8 bits are truncated, as the FID protocol has it; enlarged images are rounded, as PSNR's has it.
    """
    generator = translator.network
    if generator.network.scale > 1:
        return enlarge(generator.network, np.asarray(picture))
    inputs = picture_tensor(picture)[None]
    if isinstance(generator, TrainMode):
        images = generator.run(inputs)
    else:
        images = run_generator(generator, inputs)
    target = translator.target_of(pixels)
    if target.is_8_bit:
        levels: Raw = to_uint8(images)[0]
        return levels
    return target.from_unit(images[0].detach().to("cpu", torch.float32).movedim(0, -1).numpy())
