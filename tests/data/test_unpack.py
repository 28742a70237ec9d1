from __future__ import annotations

import errno
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gancomp.data import unpack as unpack_module
from gancomp.data.unpack import safe_path, unpack
from gancomp.errors import DataError

EVIL_NAMES = ["/etc/x", "../x", "a/../../x", "C:/x", "c:x", "\\x", "a\\..\\..\\x", "..", "a/\0b"]


def write_zip(path: Path, members: dict[str, bytes], *, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # the constructor would cut it at a NUL
            info.external_attr = mode << 16
            zipped.writestr(info, content)
    return path


def write_tar(path: Path, *members: tuple[str, bytes, bytes]) -> Path:
    """Members are (name, type, content)."""
    with tarfile.open(path, "w:gz") as tarred:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            tarred.addfile(info, io.BytesIO(content))
    return path


@given(st.text(alphabet="ab./\\:C~ ", min_size=1, max_size=12))
def test_member_either_stays_below_its_folder_or_is_refused(name: str) -> None:
    folder = Path("/some/folder")
    try:
        path = safe_path(folder, name)
    except DataError:
        return
    assert folder in path.parents
    assert ".." not in path.parts
    assert not name.startswith(("/", "\\"))


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_evil_names_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="does not stay in its folder"):
        safe_path(Path("/some/folder"), name)


@pytest.mark.parametrize("name", ["../x", "/tmp/gancomp-evil", "a/../../x"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archive_with_an_evil_member_writes_nothing_outside(
    tmp_path: Path, name: str, kind: str
) -> None:
    archive = tmp_path / "evil"
    if kind == "zip":
        write_zip(archive, {name: b"evil"})
    else:
        write_tar(archive, (name, tarfile.REGTYPE, b"evil"))
    with pytest.raises(DataError, match="does not stay in its folder"):
        unpack(archive, tmp_path / "out", max_bytes=1000)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil", "out"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = write_tar(tmp_path / "evil", ("x", kind, b""))
    with pytest.raises(DataError, match="link or a device"):
        unpack(archive, tmp_path / "out", max_bytes=1000)


def test_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "evil", {"x": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    with pytest.raises(DataError, match="link or a device"):
        unpack(archive, tmp_path / "out", max_bytes=1000)


def test_sound_archives_of_both_kinds_come_out_whole(tmp_path: Path) -> None:
    write_zip(tmp_path / "a", {"d/": b"", "d/x.png": b"1", "d/e/y.png": b"22"})
    write_tar(
        tmp_path / "b",
        ("./", tarfile.DIRTYPE, b""),
        ("./d", tarfile.DIRTYPE, b""),
        ("./d/x.png", tarfile.REGTYPE, b"1"),
        ("./d/e/y.png", tarfile.REGTYPE, b"22"),
    )
    for name in ("a", "b"):
        unpack(tmp_path / name, tmp_path / f"out-{name}", max_bytes=3)
        assert (tmp_path / f"out-{name}" / "d" / "x.png").read_bytes() == b"1"
        assert (tmp_path / f"out-{name}" / "d" / "e" / "y.png").read_bytes() == b"22"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_bomb_is_stopped_at_the_limit(tmp_path: Path, kind: str) -> None:
    zeros = bytes(5_000_000)
    archive = tmp_path / "bomb"
    if kind == "zip":
        write_zip(archive, {"x": zeros})
    else:
        write_tar(archive, ("x", tarfile.REGTYPE, zeros))
    with pytest.raises(DataError, match="unpacks to more than 2000000 bytes"):
        unpack(archive, tmp_path / "out", max_bytes=2_000_000)
    assert (tmp_path / "out" / "x").stat().st_size <= 2_000_000


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack_module, "MAX_MEMBERS", 3)
    archive = write_zip(tmp_path / "many", {f"{i}": b"" for i in range(4)})
    with pytest.raises(DataError, match="more than 3 members"):
        unpack(archive, tmp_path / "out", max_bytes=1000)


def test_member_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    members = [("x", tarfile.REGTYPE, b"1"), ("x", tarfile.REGTYPE, b"2")]
    with pytest.raises(DataError, match="two members have the name"):
        unpack(write_tar(tmp_path / "twice", *members), tmp_path / "out", max_bytes=1000)


@pytest.mark.parametrize("keep", [0, 3, 60, -30])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_damaged_archive_is_named(tmp_path: Path, kind: str, keep: int) -> None:
    archive = tmp_path / "archive"
    content = bytes(range(256)) * 40
    if kind == "zip":
        write_zip(archive, {"x": content})
    else:
        write_tar(archive, ("x", tarfile.REGTYPE, content))
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DataError, match="archive: the archive cannot be unpacked"):
        unpack(archive, tmp_path / "out", max_bytes=100_000)


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "the disk is full"), (errno.EIO, "cannot be unpacked")]
)
def test_disk_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "as if")

    archive = write_zip(tmp_path / "archive", {"x": b"1"})
    monkeypatch.setattr(unpack_module._Budget, "copy", fail)
    with pytest.raises(DataError, match=reason):
        unpack(archive, tmp_path / "out", max_bytes=1000)


def test_damage_within_an_xz_archive_is_one_line(tmp_path: Path) -> None:
    archive = tmp_path / "toy.tar.xz"
    with tarfile.open(archive, "w:xz") as tarred:
        info = tarfile.TarInfo("a.bin")
        content = " ".join(map(str, range(100_000))).encode()
        info.size = len(content)
        tarred.addfile(info, io.BytesIO(content))
    damaged = bytearray(archive.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 200] = bytes(200)
    archive.write_bytes(damaged)
    with pytest.raises(DataError, match=r"toy\.tar\.xz: the archive cannot be unpacked"):
        unpack(archive, tmp_path / "out", max_bytes=10**9)
