"""One door for every file: it goes by content, and nothing in a file is ever run."""

import io
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gancomp.errors import CheckpointError
from gancomp.export.model import LoadedModel, open_model
from gancomp.export.native import save_model
from gancomp.networks.base import TappedNetwork
from gancomp.registry import build_network


def network() -> TappedNetwork:
    return build_network("mobile-resnet6", width=2)


def write_native(path: Path) -> None:
    known = {"role": "student", "task": "paired", "step": 1, "method": None, "dataset": None}
    save_model(path, network(), input_size=64, **known)


class Payload:
    """Pickled, it asks the reader to make a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.target),))


def test_our_file_and_a_foreign_one_are_told_apart_by_content_not_by_name(tmp_path: Path) -> None:
    write_native(tmp_path / "ours.pth")
    torch.save(network().state_dict(), tmp_path / "theirs.safetensors")
    save_file(network().state_dict(), tmp_path / "plain.pt")
    ours, theirs, plain = (
        open_model(tmp_path / name) for name in ("ours.pth", "theirs.safetensors", "plain.pt")
    )
    assert (ours.origin, ours.header["task"], ours.path) == (
        "gancomp",
        "paired",
        tmp_path / "ours.pth",
    )
    for foreign in (theirs, plain):
        assert isinstance(foreign, LoadedModel)
        assert foreign.origin == "mobile ResNet of GAN Compression, OMGD or DCD"
        assert set(ours.header) <= set(foreign.header)
        images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        assert torch.equal(foreign.network(images), ours.network(images))
        assert not foreign.network.training


def test_a_path_may_be_text_and_a_part_of_our_file_is_refused(tmp_path: Path) -> None:
    write_native(tmp_path / "m.safetensors")
    assert open_model(str(tmp_path / "m.safetensors")).path == tmp_path / "m.safetensors"
    with pytest.raises(CheckpointError, match="no part 'G_A', it holds a single network"):
        open_model(tmp_path / "m.safetensors", part="G_A")


@pytest.mark.parametrize("way", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("where", ["beside", "instead"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, way: str, where: str
) -> None:
    target, path = tmp_path / "created", tmp_path / "net.pth"
    payload: object = Payload(target)
    if where == "beside":
        payload = dict(network().state_dict()) | {"extra": payload}
    if way == "pickle":
        path.write_bytes(pickle.dumps(payload, protocol=2))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=way == "zip")
    with pytest.raises(CheckpointError, match="refused, it holds") as caught:
        open_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not target.exists()
    if way == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert target.exists()  # it was a real one


def test_a_whole_pickled_network_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"ResNetGenerator.*network\.state_dict\(\)"):
        open_model(tmp_path / "net.pth")


def test_a_torchscript_archive_is_called_what_it_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pth", "w") as archive:
        archive.writestr("net/constants.pkl", b"\x80\x02).")
        archive.writestr("net/version", b"3\n")
    with pytest.raises(CheckpointError, match="is a TorchScript archive"):
        open_model(tmp_path / "net.pth")


def test_refusals_never_advise_to_load_unsafely(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(pickle.dumps({"a": Payload(tmp_path / "x")}, protocol=4))
    with pytest.raises(CheckpointError, match=r"refused, it holds \w+\.mkdir beside") as caught:
        open_model(tmp_path / "net.pth")
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("way", ["ours", "zip", "legacy"])
def test_a_flipped_byte_gives_a_network_or_one_line_and_nothing_else(
    tmp_path: Path, way: str
) -> None:
    path, refusals = tmp_path / "net", []
    if way == "ours":
        write_native(path)
    else:
        torch.save(network().state_dict(), path, _use_new_zipfile_serialization=way == "zip")
    content = path.read_bytes()
    draw = random.Random(3)
    for _ in range(60):
        damaged = bytearray(content)
        # the first kilobytes hold names and shapes, the rest numbers that may be anything
        damaged[draw.randrange(4000)] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            assert not open_model(path).network.training
        except CheckpointError as error:
            refusals.append(str(error))
    assert len(refusals) > 10
    assert all(text.startswith(f"{path}: ") and "\n" not in text for text in refusals)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_checkpoint_is_one_line(tmp_path: Path, legacy: bool, kept: float) -> None:
    buffer = io.BytesIO()
    torch.save(network().state_dict(), buffer, _use_new_zipfile_serialization=not legacy)
    content = buffer.getvalue()
    (tmp_path / "net.pth").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match="damaged or incomplete") as caught:
        open_model(tmp_path / "net.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is some text\n", "is no model file"),
        (b"x", "is no model file"),
        (b"\x80", "damaged"),
        (b"PK\x03\x04" + b"\0" * 40, "damaged"),
        (b"\xff" * 8 + b"{" + b"\0" * 40, "damaged"),
        (b"\x10" + b"\0" * 7 + b"{" + b" " * 15, "damaged"),
    ],
)
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_model(tmp_path / "net.pth")
    assert str(caught.value).startswith(f"{tmp_path / 'net.pth'}: ")
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_say_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder, not a model file"):
        open_model(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        open_model(tmp_path / "none.pth")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_model(tmp_path / "file" / "net.pth")


def test_opening_leaves_the_global_rng_untouched(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "net.pth")
    state = torch.get_rng_state()
    open_model(tmp_path / "net.pth")
    assert torch.equal(torch.get_rng_state(), state)
