"""What `gancomp eval-fid` is asked to compare, checked before anything is read or computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from gancomp.data.class_folders import folders, image_folders
from gancomp.data.deep import stored_format
from gancomp.data.formats import PYTORCH_FID_SUFFIXES, count_suffixes, sort_folder
from gancomp.data.in_order import uint8_folder
from gancomp.data.layout import DIRECTIONS
from gancomp.data.splits import Half
from gancomp.data.synthesis import square_images
from gancomp.data.transforms import PixelFormat
from gancomp.engine.run import read_config, settings_in
from gancomp.errors import ConfigError, DataError
from gancomp.files import check_replaceable
from gancomp.inference.models import Chosen
from gancomp.inference.pixels import opened_format, refuse_odd_channels
from gancomp.inference.sampling import check_seed, check_truncation
from gancomp.metrics.fid import LEAST_IMAGES, Statistics
from gancomp.metrics.statistics_files import load_statistics
from gancomp.paths import expanded
from gancomp.scoring.images import Images
from gancomp.scoring.images import Pixels as Pixels
from gancomp.scoring.images import Say as Say
from gancomp.settings import Json, PixelSettings
from gancomp.sizes import Size, check_size, shown_size

GRAY = ", gray repeated to 3 channels"


@dataclass(frozen=True)
class FidRequest:
    """What is to be scored against what; see `gancomp eval-fid --help`."""

    model: Path | None = None
    dataset: str | None = None
    direction: str | None = None
    real: tuple[Path, ...] = ()
    fake: Path | None = None
    real_split: str = "auto"
    fake_split: str = "test"
    size: Size | None = None
    batch_size: int = 50
    save_stats: Path | None = None
    strict: bool = False
    device: str = "auto"
    part: str | None = None
    num: int | None = None
    seed: int | None = None
    truncation: float | None = None
    mirror: bool | None = None
    in_range: tuple[float, float] | None = None
    out_range: tuple[float, float] | None = None
    recursive: bool = False

    def of_images(self) -> dict[str, object]:
        """The options given that only a model with images for input has a use for."""
        given = {
            "direction": self.direction,
            "size": self.size and shown_size(self.size),
            "in_range": self.in_range,
            "out_range": self.out_range,
        }
        return {option: value for option, value in given.items() if value is not None}

    def of_synthesis(self) -> list[str]:
        """The options given that only a generator from noise has a use for."""
        given = {
            "num": self.num,
            "seed": self.seed,
            "truncation": self.truncation,
            "mirror": self.mirror,
        }
        return [f"`{option}`" for option, value in given.items() if value is not None]


@dataclass(frozen=True)
class Reals:
    """Real images: files, or statistics computed before.

    Attributes:
        label: what they are called in a score.
        files: the images.
        half: the half of each file that counts.
        statistics: instead of files.
        size: None for the native size, or what the square in the middle is brought to.
        mirrored: whether each image counts a second time, mirrored.
        skipped: files left out as unreadable when the dataset was looked through.
        pixels: how the files are read, if not as pytorch-fid reads them.
    """

    label: list[str]
    files: tuple[Path, ...] = ()
    half: Half | None = None
    statistics: Statistics | None = None
    size: int | None = None
    mirrored: bool = False
    skipped: tuple[Path, ...] = ()
    pixels: PixelFormat | None = None

    @property
    def num_images(self) -> int | None:
        """How many there are, if all can be read; None for statistics that do not say."""
        if self.statistics is not None:
            return self.statistics.num_images
        return len(self.files) * (2 if self.mirrored else 1)

    def preparation(self) -> str:
        """All that decides, beside the files, what Inception sees of them."""
        if self.size is None:
            deep = "" if self.pixels is None else f", {self.pixels!r}"
            return f"native size, half={self.half}{deep}"
        return f"square, Lanczos to {self.size}, mirrored={self.mirrored}"

    def images(self, say: Say, *, strict: bool, skipped: list[Path]) -> Iterator[Pixels]:
        """`(H, W, 3)` of each file that can be read, or, if `strict`, of all.

        Args:
            say: told about each file that cannot.
            strict: whether that is an error.
            skipped: such files are added to it.
        """
        if self.size is None:
            return uint8_folder(
                self.files,
                say=say,
                strict=strict,
                half=self.half,
                skipped=skipped,
                pixels=self.pixels,
            )
        return square_images(
            self.files,
            size=self.size,
            mirrored=self.mirrored,
            say=say,
            strict=strict,
            skipped=skipped,
        )

    def all_images(self, *, strict: bool) -> Images:
        """The same as `images`, in parts."""

        def make(items: Sequence[Path], say: Say, skipped: list[Path]) -> Iterator[Pixels]:
            some = replace(self, files=tuple(items))
            return some.images(say, strict=strict, skipped=skipped)

        return Images(self.files, make, each=2 if self.size is not None and self.mirrored else 1)

    def unreadable(self, files: Sequence[Path], say: Say, *, strict: bool) -> list[Path]:
        """Which of `files` cannot be read; `say` is told about each.

        Raises:
            DataError: at the first of them, if `strict`.
        """
        skipped: list[Path] = []
        try:
            for _ in replace(self, files=tuple(files)).images(say, strict=strict, skipped=skipped):
                pass
        except DataError:
            if strict:
                raise  # else it says that none can be read
        return skipped


@dataclass(frozen=True)
class Contest:
    """What is compared with what, and how.

    Attributes:
        fake_label: what the generated images are called in a score.
        fakes: their pixels; or statistics of them.
        num_fakes: about how many there are.
        reals: to compare them with.
        protocol: all that a reader needs to repeat it, beside the two sets themselves.
        skipped: files left out as unreadable; those met on the way are added.
    """

    fake_label: str
    fakes: Images | Statistics
    num_fakes: int
    reals: Reals
    protocol: Json
    skipped: list[Path] = field(default_factory=list)


def check_request(request: FidRequest) -> None:
    """Refuses contradictory options.

    Raises:
        ConfigError: naming them.
    """
    if request.fake is not None and request.model is not None:
        raise ConfigError("`fake`: cannot be combined with a model; give one of them")
    if request.fake is not None and not request.real:
        raise ConfigError("`fake`: needs `real`, the folder or STATS.npz to compare it with")
    of_model = request.dataset, request.direction, request.size, request.part
    if request.fake is not None and any(value is not None for value in of_model):
        raise ConfigError(
            "`dataset`, `direction`, `size`, `part`: have no effect with `fake`; remove them"
        )
    of_synthesis = request.of_synthesis()
    if request.fake is not None and of_synthesis:
        raise ConfigError(
            f"{', '.join(of_synthesis)}: no effect with `fake`, whose images are there already; "
            "remove it"
        )
    if request.fake is not None and request.in_range is not None:
        raise ConfigError("`in_range`: has no effect with `fake`; `out_range` is for both folders")
    if request.recursive and request.fake is None and not request.real:
        raise ConfigError("`recursive`: has no effect without `real` or `fake`; remove it")
    if request.num is not None and request.num < LEAST_IMAGES:
        raise ConfigError(f"`num` {request.num}: must be at least {LEAST_IMAGES}")
    if of_synthesis:
        check_seed(request.seed or 0)
        check_truncation(request.truncation)
    if request.direction not in (None, *DIRECTIONS):
        raise ConfigError(f"`direction` {request.direction}: use {' or '.join(DIRECTIONS)}")
    if request.real_split not in ("auto", "all", "test"):
        raise ConfigError(f"`real_split` {request.real_split}: not one of all, test")
    if request.real and request.real_split != "auto":
        raise ConfigError("`real_split`: has no effect with `real`; remove one of them")
    if request.fake_split not in ("test", "all"):
        raise ConfigError(f"`fake_split` {request.fake_split}: not one of test, all")
    if request.fake is not None and request.fake_split != "test":
        raise ConfigError("`fake_split`: has no effect with `fake`; remove one of them")
    if request.batch_size < 1:
        raise ConfigError(f"`batch_size` {request.batch_size}: must be at least 1")
    check_size(request.size)
    statistics = [path for path in request.real if holds_statistics(path)]
    if statistics and len(request.real) > 1:
        raise ConfigError(
            f"`real` {statistics[0]}: statistics stand alone; give one .npz or folders"
        )
    if request.save_stats is not None:
        check_save_stats(request.save_stats, statistics)


def check_save_stats(path: Path, statistics: list[Path]) -> None:
    """Refuses, before anything is computed, statistics that could not be written or found again.

    Raises:
        ConfigError: naming the way out.
        RunError: if it is a device or a pipe.
    """
    if statistics:
        raise ConfigError(
            f"`save_stats` {path}: `real` {statistics[0]} holds statistics already; remove it"
        )
    if path.suffix != ".npz":
        raise ConfigError(f"`save_stats` {path}: must end in .npz, as `real` wants it")
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigError(f"`save_stats` {path}: give a file in an existing folder")
    check_replaceable(path)


def given_reals(request: FidRequest, say: Say) -> Reals | None:
    """The images or statistics of `--real`, None without that option.

    Raises:
        DataError: if there are none, or they are damaged.
    """
    if not request.real:
        return None
    if holds_statistics(request.real[0]):
        return Reals([str(request.real[0])], statistics=load_statistics(request.real[0]))
    paths = tuple(
        path
        for folder in request.real
        for path in listing("real", folder, say, recursive=request.recursive)
    )
    return Reals([str(folder) for folder in request.real], files=paths)


def holds_statistics(path: Path) -> bool:
    """Whether `path` is named as statistics are, in letters of either case, and is no folder."""
    return path.suffix.lower() == ".npz" and not expanded(path).is_dir()


def listing(field: str, folder: Path, say: Say, *, recursive: bool = False) -> tuple[Path, ...]:
    """The images in the folder given as `field`: those that pytorch-fid counts, by their suffixes.

    A score of a folder is there to be compared with others' scores of it, hence their list and not
    all that can be read here. What differs is said.

    Raises:
        DataError: if there are none.
    """
    folder = expanded(folder)
    if folder.exists() and not folder.is_dir():
        raise DataError(
            f"`{field}` {folder}: is a file; give a folder of images, or statistics as an .npz "
            "with mu and sigma (np.savez(FILE, mu=..., sigma=...))"
        )
    if not folder.is_dir():
        raise DataError(f"`{field}` {folder}: no such folder; give a folder of images or an .npz")
    looked_at = [folder, *_folders_below(folder)] if recursive else [folder]
    sorted_files = [sort_folder(inside, PYTORCH_FID_SUFFIXES) for inside in looked_at]
    paths, others = (tuple(chain.from_iterable(files)) for files in zip(*sorted_files, strict=True))
    formats = ", ".join(sorted(PYTORCH_FID_SUFFIXES))
    if not paths:
        holds = f"none, but {len(others)} others ({count_suffixes(others)})" if others else "none"
        nested = not recursive and bool(image_folders(folder))
        way_out = "`recursive` counts those in its folders" if nested else "check the path"
        raise DataError(
            f"`{field}` {folder}: of the images that FID counts ({formats}) it holds {holds}; "
            f"{way_out}"
        )
    if others:
        say(
            f"warning: `{field}` {folder}: ignored {len(others)} files ({count_suffixes(others)}); "
            f"FID of a folder counts what pytorch-fid counts: {formats}"
        )
    if upper := sum(path.suffix != path.suffix.lower() for path in paths):
        say(
            f"warning: `{field}` {folder}: {upper} of {len(paths)} suffixes are in upper case; "
            "they count here, but pytorch-fid leaves such files out on Linux"
        )
    return paths


def folder_format(
    paths: Sequence[Path], limits: tuple[float, float] | None, say: Say
) -> PixelFormat | None:
    """How the images of a folder are read: by the range that was typed, or as pytorch-fid does.

    Arrays and TIFF files that pytorch-fid cannot read are taken by the full range of their type.

    Raises:
        ConfigError: for other images than RGB or gray.
        DataError: for floats without a range.
    """
    for path in paths:
        try:
            stored = stored_format(path)
        except DataError:
            continue  # said when it is read
        break
    else:
        return None
    if limits is None and stored.is_plain:
        if stored.dtype != "uint8":
            say(
                f"warning: {path}: its 16 bits are read as 8, as pytorch-fid does; `out_range` "
                "LOW,HIGH brings these values to 256 levels"
            )
        return None
    refuse_odd_channels(str(path.parent), stored.channels)
    return opened_format(PixelSettings(), stored.channels, path, limits, "out_range")


def _folders_below(folder: Path) -> list[Path]:
    below: list[Path] = []
    for inside in folders(folder):
        if not inside.is_symlink():  # which may lead back up
            below += [inside, *_folders_below(inside)]
    return below


def dataset_name(chosen: Chosen, request: FidRequest) -> str:
    """The dataset that was typed, its run's, or the one that the model's header names.

    Raises:
        ConfigError: if nothing names a dataset.
    """
    name = request.dataset
    if name is None and chosen.run is not None:
        name = _run_dataset(chosen.run)
    name = name or chosen.model.header["dataset"]
    if name is None:
        raise ConfigError(f"{chosen.model.path}: does not say its dataset; give `dataset`")
    return name


def _run_dataset(run: Path) -> str:
    config = read_config(run)
    root = Path(config.get("dataset.root", str))
    return str(root) if root.is_dir() else settings_in(config).data.dataset


def as_8_bits(pixels: PixelFormat | None) -> str:
    """How images that are no plain 8-bit RGB become what Inception looks at."""
    if pixels is None:
        return ""
    return f"; {pixels} in 256 levels{GRAY if pixels.channels == 1 else ''}"
