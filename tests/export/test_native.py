"""Our own files: what goes in comes out, and a damaged one is one line."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gancomp.errors import CheckpointError
from gancomp.export.native import open_native, save_model
from gancomp.networks.base import TappedNetwork, initialize
from gancomp.registry import NETWORKS, build_network

PRUNED = [3, 5, 7, 2, 4, 6, 8, 10, 12, 9, 11]
CASES = [(arch, {"width": 4}) for arch in sorted(NETWORKS)]
CASES += [("mobile-resnet6", {"channels": PRUNED, "dropout": 0.5, "norm": "batch"})]


def make(arch: str = "mobile-resnet6", seed: int = 1, **settings: object) -> TappedNetwork:
    network = build_network(arch, **({"width": 2} | settings))
    initialize(network, torch.Generator().manual_seed(seed))
    return network


def save(path: Path, network: TappedNetwork, **changes: object) -> None:
    known = {"role": "student", "task": "unpaired", "step": 12, "method": "dcd", "dataset": "demo"}
    save_model(path, network, **({"input_size": 64} | known | changes))


def rewrite_header(path: Path, change: dict[str, object]) -> None:
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    outer = json.loads(content[8 : 8 + length])
    entry = json.loads(outer["__metadata__"]["gancomp"]) | change
    outer["__metadata__"]["gancomp"] = json.dumps(entry)
    text = json.dumps(outer).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def test_these_checks_cover_every_network() -> None:
    assert {arch for arch, _ in CASES} == set(NETWORKS)


@pytest.mark.parametrize(("arch", "settings"), CASES)
def test_a_saved_network_opens_equal_in_eval_mode(
    tmp_path: Path, arch: str, settings: dict[str, object]
) -> None:
    network = make(arch, **settings)
    save(tmp_path / "m.safetensors", network)
    opened, _ = open_native(tmp_path / "m.safetensors")
    assert (opened.arch, opened.settings()) == (network.arch, network.settings())
    assert list(opened.state_dict()) == list(network.state_dict())
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in opened.state_dict().items())
    assert not any(module.training for module in opened.modules())
    assert all(parameter.requires_grad for parameter in opened.parameters())


def test_the_header_says_what_the_model_is(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save(path, make(in_channels=1), direction="AtoB", input_size=(64, 96), extra={"seed": 3})
    assert open_native(path)[1] == {
        "format_version": 1,
        "task": "unpaired",
        "arch": "mobile-resnet6",
        "settings": {
            "width": 2,
            "in_channels": 1,
            "out_channels": 3,
            "norm": "instance",
            "dropout": 0.0,
        },
        "role": "student",
        "step": 12,
        "method": "dcd",
        "dataset": "demo",
        "direction": "AtoB",
        "input": {"size": [64, 96], "channels": 1, "range": [-1, 1]},
        "seed": 3,
    }


def test_equal_content_gives_equal_bytes_and_other_content_others(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        save(file, make(seed=seed), extra={"b": 1, "a": 2} if seed == 1 else {"a": 2, "b": 1})
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


def test_a_failed_save_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "m.safetensors"
    save(path, make())
    before = path.read_bytes()
    with pytest.raises(ValueError, match="arch"):
        save(path, make(), extra={"arch": "other"})
    with pytest.raises(ValueError, match="JSON"):
        save(path, make(), extra={"fid": float("nan")})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_saving_leaves_the_network_alone_and_needs_no_contiguous_weights(tmp_path: Path) -> None:
    network = make().to(memory_format=torch.channels_last).train()
    state = torch.get_rng_state()
    save(tmp_path / "m.safetensors", network)
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    weight = open_native(tmp_path / "m.safetensors")[0].model[1].weight
    assert weight.is_contiguous()
    assert torch.equal(weight, network.model[1].weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format version 2.*update gancomp"),
        ({"format_version": "x"}, "header cannot be read"),
        ({"arch": "resnet99"}, "resnet99.*unknown"),
        ({"settings": {"width": 4}}, r"do not fit mobile-resnet6: model\.1\.weight is \[2, 3"),
        ({"settings": {"width": "4"}}, "`width` '4'"),
        ({"settings": {"channels": 5}}, "cannot be built"),
        ({"settings": {"volume": 4}}, "no setting 'volume'"),
        ({"settings": {"a\nb": 4}}, r"no setting 'a\\nb'"),
        ({"arch": "a\nb"}, r"a\\nb: unknown"),
        ({"settings": None}, "no valid 'settings'"),
        ({"input": 3}, "no valid 'input'"),
        ({"arch": "srresnet", "settings": {"blocks": 10**9}}, "`blocks` 1000000000: must be 512"),
        ({"arch": "stylegan2", "settings": {"mapping_layers": 10**9}}, "mapping_layers .*64 or"),
        ({"arch": "patchgan", "settings": {"layers": 10**9}}, "layers 1000000000: must be 64"),
        ({"arch": "biggan", "settings": {"num_classes": 10**12}}, "must be 1,000,000 or less"),
        ({"settings": {"channels": [10**12] * 11}}, "channels .*: must be 8,192 or less"),
        ({"settings": {"channels": [1] * 100_000}}, "100000 widths given, 11 needed"),
    ],
)
def test_a_header_that_does_not_fit_is_one_line_naming_the_file(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "m.safetensors"
    save(path, make())
    rewrite_header(path, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_native(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_header_of_endless_depth_is_one_line(tmp_path: Path) -> None:
    text = "[" * 100_000 + "]" * 100_000
    save_file(make().state_dict(), tmp_path / "m.safetensors", {"gancomp": text})
    with pytest.raises(CheckpointError, match="header cannot be read"):
        open_native(tmp_path / "m.safetensors")


def test_a_file_of_someone_else_or_none_at_all_is_not_opened_as_ours(tmp_path: Path) -> None:
    torch.save(make().state_dict(), tmp_path / "theirs.pth")
    save_file(make().state_dict(), tmp_path / "plain.safetensors")
    for name in ("theirs.pth", "plain.safetensors"):
        with pytest.raises(CheckpointError, match="not written by gancomp"):
            open_native(tmp_path / name)
    with pytest.raises(CheckpointError, match="no such file"):
        open_native(tmp_path / "none.safetensors")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
def test_a_truncated_file_is_called_damaged(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "m.safetensors"
    save(path, make())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        open_native(path)
