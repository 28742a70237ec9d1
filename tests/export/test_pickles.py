"""Pickles are read as data: what a file names is never called, and no number in it is believed."""

from __future__ import annotations

import io
import pickle
import resource
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from ready import context, leave_with_7_if_refused
from torch import Tensor

from gancomp.errors import CheckpointError
from gancomp.export.containers import read_torch

GOOD = {"w": torch.arange(6.0).reshape(2, 3)}


class Calls:
    """Pickles as a call of `function` with `arguments`, and a state if there is one."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = function, arguments, state

    def __reduce__(self) -> tuple[Any, ...]:
        function, arguments, state = self.parts
        return (function, arguments) if state is None else (function, arguments, state)


class Id(str):
    """A reference to a storage."""


class Forger(pickle.Pickler):
    def persistent_id(self, item: Any) -> Any:
        return item.content if isinstance(item, Stored) else None


class Stored:
    """A storage as torch.save refers to it."""

    def __init__(self, count: int, key: str = "0", kind: Any = torch.FloatStorage) -> None:
        self.content = ("storage", kind, key, "cpu", count)


def archive(
    path: Path, content: object, data: bytes = b"\0" * 24, how: int = zipfile.ZIP_STORED
) -> Path:
    """A file as `torch.save` writes it, of whatever description."""
    described = io.BytesIO()
    Forger(described, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w", how) as file:
        file.writestr("net/data.pkl", described.getvalue())
        file.writestr("net/byteorder", "little")
        file.writestr("net/data/0", data)
    return path


def tensor(size: object, stride: object, offset: object = 0, count: int = 6) -> Calls:
    stored = Stored(count)
    return Calls(
        torch._utils._rebuild_tensor_v2, stored, offset, size, stride, False, OrderedDict()
    )


scalar = np.float64(0).__reduce__()[0]
rebuild = np.zeros(1).__reduce__()[0]
float64 = np.dtype("f8")


def dtype(code: object, *state: object) -> Calls:
    return Calls(np.dtype, code, False, True, state=state or (3, "<", None, None, None, -1, -1, 0))


def array(shape: object, kind: object, content: object) -> Calls:
    return Calls(rebuild, np.ndarray, (0,), b"b", state=(1, shape, kind, False, content))


FORGED: dict[str, Callable[[], object]] = {
    "an array over a pointer": lambda: Calls(np.ndarray, (1,), "O", bytearray(b"\x08" * 8)),
    "an array class called": lambda: Calls(np.ndarray, (1 << 40,)),
    "objects in a scalar": lambda: Calls(scalar, dtype("O8"), b"\x08" * 8),
    "objects in an array": lambda: array((1,), dtype("O8"), b"\x08" * 8),
    "a structured type": lambda: array(
        (1,), dtype("V8", 3, "|", None, ("a",), {"a": (float64, 0)}, 8, 1, 0), b"\x08" * 8
    ),
    "fields on a plain type": lambda: array(
        (1,), dtype("f8", 3, "<", None, ("a",), {"a": (float64, 0)}, 8, 1, 0), b"\x08" * 8
    ),
    "a subarray type": lambda: array(
        (1,), dtype("f8", 3, "<", (float64, (1 << 40,)), None, None, 8, 1, 0), b"\x08" * 8
    ),
    "a subarray in its name": lambda: array((1,), dtype("(2,)f8"), b"\x08" * 16),
    "a type of text": lambda: array((1,), dtype("U2"), b"\x08" * 8),
    "a type of pairs": lambda: dtype([("a", "f8")]),
    "a huge array": lambda: array((1 << 40,), float64, b"\x08" * 8),
    "a huge empty array": lambda: array((0, 1 << 62), float64, b""),
    "an array of negative size": lambda: array((-1, -1), float64, b"\x08" * 8),
    "an array of a list": lambda: array((1,), float64, [object]),
    "a short scalar": lambda: Calls(scalar, float64, b"\x08"),
    "a scalar of text": lambda: Calls(scalar, float64, "x" * 8),
    "a big bytearray": lambda: Calls(bytearray, 1 << 40),
    "a type that is called": lambda: Calls(torch.Tensor, 1 << 40),
    "a storage that is called": lambda: Calls(torch.FloatStorage, 1 << 40),
    "a tensor of no storage": lambda: Calls(
        torch._utils._rebuild_tensor, torch.Size([1]), 0, (1,), (1,)
    ),
    "a tensor beyond its storage": lambda: tensor((7,), (1,)),
    "a tensor behind its storage": lambda: tensor((1,), (1,), offset=6),
    "a tensor before its storage": lambda: tensor((1,), (1,), offset=-1),
    "a negative stride": lambda: tensor((2,), (-1,), offset=1),
    "overlapping strides": lambda: tensor((6, 6), (1, 0)),
    "stride 0": lambda: tensor((1 << 31,), (0,)),
    "a huge size": lambda: tensor((1 << 62, 1 << 62), (1, 1)),
    "a huge empty size": lambda: tensor((0, 1 << 62, 1 << 62), (1, 1, 1)),
    "too many sizes": lambda: tensor((1,) * 70, (1,) * 70),
    "sizes without strides": lambda: tensor((1, 1), (1,)),
    "sizes that are no numbers": lambda: tensor(("a",), (1,)),
    "a huge storage": lambda: tensor((1,), (1,), count=1 << 60),
    "a huge sparse tensor": lambda: Calls(
        torch._utils._rebuild_sparse_tensor,
        Calls(torch.serialization._get_layout, "torch.sparse_coo"),
        (GOOD["w"], GOOD["w"], (1 << 62, 1 << 62), True),
    ),
    "a subclass by any function": lambda: Calls(
        torch._tensor._rebuild_from_type_v2, bytearray, torch.Tensor, (1 << 40,), None
    ),
    "a missing storage": lambda: Calls(
        torch._utils._rebuild_tensor, Stored(1, "../../x"), 0, (1,), (1,)
    ),
    "getattr": lambda: Calls(getattr, "x", "y"),
    "a method": lambda: Calls(np.ndarray.tofile, GOOD["w"].numpy(), "/tmp/x"),
    "an instance of torch's": lambda: torch.Generator(),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_what_is_forged_is_refused_in_one_line_and_no_memory_is_taken(
    tmp_path: Path, name: str
) -> None:
    path = archive(tmp_path / "net.pth", {"w": torch.float32, "forged": FORGED[name]()})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="refused|damaged or incomplete") as caught:
        read_torch(path)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


def test_the_forger_can_write_good_files(tmp_path: Path) -> None:
    good = {"w": tensor((2, 3), (3, 1)), "n": array((1,), float64, b"\0" * 8)}
    content = read_torch(archive(tmp_path / "net.pth", good))
    assert content["w"].shape == (2, 3)
    assert content["n"].tolist() == [0.0]


def test_a_file_that_follows_a_pointer_ends_no_process(tmp_path: Path) -> None:
    pointer = bytearray((1).to_bytes(8, "little"))
    followed = Calls(set, Calls(np.ndarray, (1,), "O", pointer))  # reads what is at address 1
    torch.save({"w": followed}, tmp_path / "net.pth")
    command = [sys.executable, "-m", "gancomp", "profile", str(tmp_path / "net.pth")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_compressed_tensors_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    content = {"w": tensor((1 << 26,), (1,), count=1 << 26)}
    path = archive(tmp_path / "net.pth", content, b"\0" * (1 << 28), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(CheckpointError, match=r"compressed, .*torch\.save"):
        read_torch(path)


def test_an_endless_description_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gancomp.export.pickles.MAX_STEPS", 1000)
    torch.save([None] * 2000, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="over 1,000 steps"):
        read_torch(tmp_path / "net.pth")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\xff.",  # a place far out in the memo
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0f" + b".",  # bytes of 2^60
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f" + b".",  # a bytearray of 2^60
        b"\x80\x04\x95" + b"\xff" * 8 + b".",  # a frame of 2^64
        b"\x80\x02(" + b"(" * 100_000 + b".",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x02}(]K\x01u.",  # a list as a key
        b"\x80\x02I" + b"9" * 5000 + b"\n.",
        b"\x80\x02}.",
    ],
)
def test_instructions_that_make_no_sense_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or incomplete") as caught:
        read_torch(tmp_path / "net.pth")
    assert "\n" not in str(caught.value)


def content_of_all_kinds() -> dict[str, Any]:
    base = torch.arange(24.0).reshape(2, 3, 4)
    dtypes = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.complex64)
    return {
        **{str(kind): base.to(kind) for kind in dtypes},
        "view": base.transpose(0, 2),
        "slice": base[1, :, 1:3],
        "shares": base,
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 5),
        "parameter": torch.nn.Parameter(base.clone()),
        "state": OrderedDict(a=base + 1),
        "plain": [
            1,
            2.5,
            1 << 70,
            "x\u20ac",
            b"ab",
            None,
            True,
            {3},
            (1, (2,)),
            1j,
            frozenset({1}),
        ],
        "size": base.shape,
        "options": Namespace(lr=0.1, name="x"),
        "counts": Counter("abca"),
        "default": defaultdict(list, a=[1]),
        "path": PurePosixPath("/a/b"),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_everything_plain_is_what_torch_itself_reads(
    tmp_path: Path, legacy: bool, protocol: int
) -> None:
    path = tmp_path / "net.pth"
    torch.save(
        content_of_all_kinds(),
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=not legacy,
    )
    ours, theirs = read_torch(path), torch.load(path, weights_only=False)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, Tensor):
            assert ours[name].dtype == value.dtype, name
            torch.testing.assert_close(ours[name], value.detach(), rtol=0, atol=0)
    torch.testing.assert_close(ours["state"]["a"], theirs["state"]["a"], rtol=0, atol=0)
    for name in ("plain", "options", "counts", "default"):
        assert ours[name] == theirs[name], name
    assert ours["size"] == (2, 3, 4)
    assert PurePosixPath(ours["path"]) == theirs["path"]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_numbers_and_arrays_are_what_numpy_itself_reads(
    tmp_path: Path, protocol: int
) -> None:
    kinds = ("f2", "f4", ">f8", "i1", "<i8", "u1", ">u4", "?", "c16")
    content = [np.arange(6).astype(kind).reshape(2, 3) for kind in kinds]
    content += [np.asfortranarray(content[0]), np.zeros((0, 3)), np.array(2.5)]
    content += [np.float32(1.5), np.int64(-3), np.bool_(True)]
    shared = [content, content[0]]
    torch.save(shared, tmp_path / "net.pth", pickle_protocol=protocol)
    ours, again = read_torch(tmp_path / "net.pth")
    assert len(ours) == len(content)
    for found, value in zip(ours, content, strict=True):
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)
    assert again is ours[0]


def test_a_checksum_that_differs_is_damage(tmp_path: Path) -> None:
    torch.save(GOOD, tmp_path / "net.pth")
    content = bytearray((tmp_path / "net.pth").read_bytes())
    content[content.find(torch.arange(6.0).numpy().tobytes()) + 3] ^= 1
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        read_torch(tmp_path / "net.pth")


DOUBLED = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))


def described_by(path: Path, instructions: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + instructions)
        file.writestr("archive/version", "3")
    return path


@pytest.mark.parametrize(
    "instructions",
    [
        pytest.param(b"})" + b"\x85" * 300_000 + b"K\x01s.", id="a deep tuple as a key"),
        pytest.param(b"}()" + b"\x85" * 300_000 + b"K\x01u.", id="among several"),
        pytest.param(b"()" + b"\x85" * 300_000 + b"K\x01d.", id="of a dictionary made at once"),
        pytest.param(b"})" + DOUBLED + b"K\x01s.", id="a tuple doubled 60 times as a key"),
        pytest.param(b"ctorch\ndevice\n)" + DOUBLED + b"\x85R.", id="as a device"),
        pytest.param(b"cnumpy\ndtype\n)" + DOUBLED + b"\x85R.", id="as a type"),
        pytest.param(b"cbuiltins\nset\n(]q\x70)" + DOUBLED + b"ah\x70tR.", id="in a set"),
        pytest.param(b"\x8c\x05torch)" + DOUBLED + b"\x93.", id="as a name"),
    ],
)
def test_tuples_that_never_end_to_be_hashed_or_printed_are_refused(
    tmp_path: Path, instructions: bytes
) -> None:
    file = described_by(tmp_path / "f.pth", instructions)
    process = context.Process(target=leave_with_7_if_refused, args=(file,))
    process.start()
    process.join(60)
    process.kill()  # where it hangs
    process.join()
    assert process.exitcode == 7


def test_calls_that_copy_one_value_again_and_again_are_refused(tmp_path: Path) -> None:
    content = b"C" + bytes([200]) + bytes(200)
    many = b"h\x02h\x01\x85R0" * 20_000
    whole = b"cbuiltins\nbytearray\nq\x02" + content + b"q\x01" + many + b"N."
    with pytest.raises(CheckpointError, match="copy more than it holds"):
        read_torch(described_by(tmp_path / "f.pth", whole))
