"""The datasets gancomp knows by name: where they lie and how to tell that they arrived whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gancomp.data.splits import Task


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, and how to tell that it arrived whole.

    Attributes:
        what: as messages call it: "dataset horse2zebra".
        urls: its addresses, tried in order.
        way_out: what to do where none of them answers, as the end of a message.
        num_bytes: None where no record was found.
        digests: algorithm -> hexadecimal digest; none where no record was found.
    """

    what: str
    urls: tuple[str, ...]
    way_out: str
    num_bytes: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownDataset:
    """One downloadable dataset.

    Attributes:
        name: what `--dataset` calls it.
        task: "unpaired", "paired" or "super-resolution".
        urls: the archive's addresses, tried in order.
        counts: files per folder, checked after unpacking.
        folder: the archive's top folder.
        num_bytes: of the archive; None where no record was found.
        sha256: of the archive; None where no record was found.
        md5: of the archive; used where there is no sha256.
        aliases: further names.
        notes: license and citation.
    """

    name: str
    task: Task
    urls: tuple[str, ...]
    counts: dict[str, int]
    folder: str
    notes: str
    num_bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    aliases: tuple[str, ...] = field(default=())

    @property
    def archive(self) -> RemoteFile:
        """What is downloaded of it."""
        digests = {"sha256": self.sha256, "md5": self.md5}
        return RemoteFile(
            f"dataset {self.name}",
            self.urls,
            f"Put its unpacked folder at $GANCOMP_DATA/{self.name} or give its path. To try "
            "without data: gancomp demo",
            self.num_bytes,
            {kind: digest for kind, digest in digests.items() if digest is not None},
        )


CYCLEGAN_URLS = (
    "https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/",
    "http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/",
)

# Sizes and sha256 of the two CycleGAN archives: the records of TensorFlow Datasets.
KNOWN_DATASETS = (
    KnownDataset(
        name="horse2zebra",
        task="unpaired",
        urls=tuple(f"{base}horse2zebra.zip" for base in CYCLEGAN_URLS),
        counts={"trainA": 1067, "trainB": 1334, "testA": 120, "testB": 140},
        folder="horse2zebra",
        num_bytes=116_867_962,
        sha256="a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
        notes="ImageNet photographs, for non-commercial research. Zhu et al., ICCV 2017 (CycleGAN)",
    ),
    KnownDataset(
        name="summer2winter",
        task="unpaired",
        urls=tuple(f"{base}summer2winter_yosemite.zip" for base in CYCLEGAN_URLS),
        counts={"trainA": 1231, "trainB": 962, "testA": 309, "testB": 238},
        folder="summer2winter_yosemite",
        num_bytes=132_640_856,
        sha256="167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9",
        aliases=("summer2winter_yosemite",),
        notes="Flickr photographs of Yosemite, for research. Zhu et al., ICCV 2017 (CycleGAN)",
    ),
    KnownDataset(
        name="edges2shoes",
        task="paired",
        urls=("http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/edges2shoes.tar.gz",),
        counts={"train": 49825, "val": 200},
        folder="edges2shoes",
        md5="71da478b54fedde126e234a2a050bc15",
        notes="UT Zappos50K photographs, for academic use. Yu and Grauman, CVPR 2014; "
        "Isola et al., CVPR 2017 (pix2pix)",
    ),
)


def find_known(name: str) -> KnownDataset | None:
    """The known dataset of that name or alias, None if there is none."""
    for dataset in KNOWN_DATASETS:
        if name in (dataset.name, *dataset.aliases):
            return dataset
    return None


def known_names() -> str:
    """The names, for a message: `horse2zebra, summer2winter, edges2shoes`."""
    return ", ".join(dataset.name for dataset in KNOWN_DATASETS)
