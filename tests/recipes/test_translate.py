"""`gancomp translate`: any image a user may have, nothing overwritten that was given."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import contents, run_command, write_model
from PIL import Image

from gancomp.data.images import load_image
from gancomp.data.transforms import resize, to_tensor, to_uint8
from gancomp.errors import GancompError
from gancomp.export.model import open_model
from gancomp.inference import enlarge as enlarging
from gancomp.inference import memory
from gancomp.networks.accelerate import FastGenerator, accelerate
from gancomp.networks.base import TappedNetwork, initialize
from gancomp.networks.inference import run_generator
from gancomp.networks.tiling import upscaled_tiles
from gancomp.registry import build_network
from gancomp.seeding import derive_generator

SIZES = [(37, 53), (1, 1), (2, 1), (8, 8), (4, 400), (300, 3), (33, 32), (7, 9)]
MODES = ["RGB", "L", "LA", "RGBA", "P", "1", "CMYK", "I;16"]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_model(tmp_path / "model.safetensors", width=2)


def picture(path: Path, size: tuple[int, int] = (16, 12), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode()) + size[0]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode in ("LA", "P", "1", "CMYK", "L", "RGBA"):
        image = image.convert(mode)
    image.save(path)
    return path


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_result_has_the_size_of_the_image(
    size: tuple[int, int], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = picture(Path("photo.png"), size)
    outcome = run_command(capsys, "translate", model, source, "-o", "new", "--json")
    assert outcome.status == 0
    assert outcome.document == {"written": ["new/photo.png"], "failed": []}
    with Image.open("new/photo.png") as image:
        assert (image.size, image.mode, image.format) == (size, "RGB", "PNG")


@pytest.mark.parametrize("mode", MODES)
def test_any_kind_of_pixels_is_read(
    mode: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffix = ".jpg" if mode == "CMYK" else ".png"
    source = picture(Path(f"photo{suffix}"), mode=mode)
    assert run_command(capsys, "translate", model, source, "-o", "new").status == 0
    with Image.open("new/photo.png") as image:
        assert (image.size, image.mode) == ((16, 12), "RGB")


def test_a_folder_s_files_of_other_kinds_are_counted_and_named(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.gif", "b.avif", "c.jfif"):
        picture(Path("photos/x.png")).rename("x.png")
        Image.open("x.png").save(f"photos/{name}")
    Path("photos/d.heic").touch()
    outcome = run_command(capsys, "translate", model, "photos", "-o", "new", "--json")
    assert len(outcome.document["written"]) == 3
    assert "photos: ignored 1 files of other kinds (1 .heic)" in outcome.err


def test_the_pixels_are_the_network_s_output_for_the_image(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = picture(Path("photo.png"), (32, 24))
    run_command(capsys, "translate", model, source, "-o", "new")
    with torch.no_grad():
        fake = open_model(model).network(to_tensor(load_image(source))[None])
    written = np.asarray(Image.open("new/photo.png"))
    assert np.array_equal(written, to_uint8(fake)[0])


def test_size_resizes_first(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = picture(Path("photo.png"), (37, 53))
    run_command(capsys, "translate", model, source, "-o", "new", "--size", 24)
    with torch.no_grad():
        fake = open_model(model).network(to_tensor(resize(load_image(source), 24))[None])
    assert np.array_equal(np.asarray(Image.open("new/photo.png")), to_uint8(fake)[0])


def test_what_lies_outside_a_cut_image_is_its_reflection() -> None:
    network = initialized("mobile-resnet6", 2)
    images = torch.rand(1, 3, 14, 13, generator=torch.Generator().manual_seed(0)) * 2 - 1
    padded = torch.nn.functional.pad(images, (0, 3, 0, 2), mode="reflect")
    with torch.no_grad():
        wanted = network(padded)[..., :14, :13]
    assert torch.equal(run_generator(network, images), wanted)


def initialized(arch: str, width: int) -> TappedNetwork:
    network = build_network(arch, width=width).eval()
    initialize(network, derive_generator(0, "test"))
    return network


def test_a_network_that_needs_multiples_takes_any_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(Path("unet.safetensors"), "unet128", 2)
    for size in ((130, 20), (1, 1)):
        source = picture(Path(f"photo{size[0]}.png"), size)
        outcome = run_command(capsys, "translate", "unet.safetensors", source, "-o", "new")
        assert outcome.status == 0, outcome.err
        with Image.open(f"new/photo{size[0]}.png") as image:
            assert image.size == size


def test_files_and_folders_mix_and_equal_names_are_told_apart(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a/x.png", "a/y.png", "b/x.png", "c/x.jpg", "x-2.png"):
        picture(Path(name))
    arguments = [model, "a", "b/x.png", "c", "x-2.png", "-o", "new"]
    document = run_command(capsys, "translate", *arguments, "--json").document
    names = ["x.png", "y.png", "x-2.png", "x-3.png", "x-2-2.png"]
    assert document["written"] == [f"new/{name}" for name in names]
    assert sorted(path.name for path in Path("new").iterdir()) == sorted(names)
    fast = accelerate(open_model(model).network)
    fake = run_generator(fast, to_tensor(load_image(Path("b/x.png")))[None])
    assert np.array_equal(np.asarray(Image.open("new/x-2.png")), to_uint8(fake)[0])


def test_the_network_is_made_fast_once_for_all_images_and_changes_none(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[TappedNetwork] = []

    def noting(network: TappedNetwork) -> FastGenerator:
        made.append(network)
        return accelerate(network)

    monkeypatch.setattr("gancomp.recipes.translate.accelerate", noting)
    files = [picture(Path(f"{name}.png"), (40, 32)) for name in "abc"]
    assert run_command(capsys, "translate", model, *files, "-o", "new").status == 0
    assert len(made) == 1
    for file in files:
        plain = to_uint8(run_generator(made[0], to_tensor(load_image(file))[None]))[0]
        shown = np.asarray(Image.open(Path("new") / file.name))
        # 8 bits are truncated, so the least rounding may move a value by one
        assert np.abs(shown.astype(int) - plain.astype(int)).max() <= 1
        assert (shown != plain).mean() < 0.01


@pytest.mark.parametrize("out", [".", "../here", "link"])
def test_an_input_is_never_overwritten_whatever_its_folder_is_called(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_model(Path("model.safetensors"), width=2)
    picture(Path("photo.png"))
    Path("link").symlink_to(".")
    before = contents(tmp_path)
    outcome = run_command(capsys, "translate", "model.safetensors", "photo.png", "-o", out)
    assert outcome.status == 2
    assert "would overwrite the input" in outcome.err
    assert contents(tmp_path) == before


def test_a_jpeg_may_be_translated_beside_itself(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = picture(Path("photo.jpg"))
    before = source.read_bytes()
    assert run_command(capsys, "translate", model, source, "-o", ".").status == 0
    assert source.read_bytes() == before
    assert Path("photo.png").exists()


def test_bad_files_are_listed_and_the_others_translated(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(Path("in/good.png"))
    Path("in/bad.png").write_bytes(b"no image")
    cut = picture(Path("in/cut.png"), (64, 64)).read_bytes()
    Path("in/cut.png").write_bytes(cut[: len(cut) // 2])
    outcome = run_command(capsys, "translate", model, "in", "-o", "new", "--json")
    assert outcome.status == 0
    assert outcome.document["written"] == ["new/good.png"]
    assert [item["file"] for item in outcome.document["failed"]] == ["in/bad.png", "in/cut.png"]
    assert all(item["error"].startswith(item["file"]) for item in outcome.document["failed"])
    assert outcome.err.count("skipped: ") == 2


def test_names_as_long_as_they_can_be_are_translated(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["n" * 251 + ".png", "\u99ac" * 83 + ".png"]
    for name in names:
        picture(Path("in") / name)
    outcome = run_command(capsys, "translate", model, "in", "-o", "new", "--json")
    assert (outcome.status, outcome.document["failed"]) == (0, [])
    assert sorted(os.listdir("new")) == sorted(names)


def test_a_result_that_cannot_be_written_costs_no_other_one(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(Path("in/1.png"))
    picture(Path("in/1.jpg"))
    picture(Path("in/2.png"))
    picture(Path("in") / ("n" * 251 + ".png"))
    picture(Path("in") / ("n" * 251 + ".jpg"))  # its result would be called n…n-2.png
    Path("new/2.png").mkdir(parents=True)
    Path("in/0.png").symlink_to("nowhere")
    outcome = run_command(capsys, "translate", model, "in", "-o", "new", "--json")
    assert outcome.status == 0
    written, failed = outcome.document["written"], outcome.document["failed"]
    assert (len(written), len(failed)) == (3, 3)
    assert outcome.err.count("skipped: ") == 3
    assert {"in/0.png", "in/2.png"} <= {item["file"] for item in failed}
    assert all(item["error"].startswith(item["file"]) for item in failed)
    strict = run_command(capsys, "translate", model, "in/2.png", "-o", "new", "--strict")
    assert strict.status == 2
    assert "new/2.png: cannot be written, it is a folder" in strict.err


def test_a_full_disk_ends_the_batch(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(Path("in/1.png"))
    picture(Path("in/2.png"))

    def full(*_: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    outcome = run_command(capsys, "translate", model, "in", "-o", "new")
    assert outcome.status == 2
    assert "new/1.png: not written, the disk is full" in outcome.err
    assert "skipped" not in outcome.err


def test_strict_stops_at_the_first_bad_file(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in").mkdir()
    Path("in/bad.png").write_bytes(b"no image")
    picture(Path("in/good.png"))
    outcome = run_command(capsys, "translate", model, "in", "-o", "new", "--strict")
    assert (outcome.status, outcome.out) == (2, "")
    assert "in/bad.png" in outcome.err
    assert not Path("new").exists()


def test_a_checkpoint_of_others_translates_like_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = initialized("resnet6", 2)
    torch.save(network.state_dict(), "latest_net_G_A.pth")
    source = picture(Path("photo.png"), (32, 24))
    assert run_command(capsys, "translate", "latest_net_G_A.pth", source, "-o", "new").status == 0
    with torch.no_grad():
        fake = network(to_tensor(load_image(source))[None])
    assert np.array_equal(np.asarray(Image.open("new/photo.png")), to_uint8(fake)[0])


def test_weights_that_give_no_numbers_are_refused_instead_of_writing_noise() -> None:
    network = initialized("mobile-resnet6", 2)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(GancompError, match="not finite"):
        run_generator(network, torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("size", [(1, 1), (37, 12)], ids=str)
def test_a_super_resolution_model_enlarges_to_the_nearest_level(
    size: tuple[int, int], scale: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"blocks": 1, "scale": scale}
    model = write_model(tmp_path / "sr.safetensors", "srresnet", settings=settings)
    source = picture(tmp_path / "photo.png", size)
    assert run_command(capsys, "translate", model, source, "-o", tmp_path / "new").status == 0
    with torch.no_grad():
        fake = open_model(model).network(to_tensor(load_image(source))[None])
    with Image.open(tmp_path / "new" / "photo.png") as image:
        assert image.size == (scale * size[0], scale * size[1])
        levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    # half a level and what float32 adds to it; truncation would be up to a whole level off
    assert ((fake[0] + 1) * 127.5 - levels).abs().max() <= 0.5001


@pytest.mark.parametrize("mode", MODES)
def test_a_super_resolution_model_takes_any_kind_of_pixels(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "sr.safetensors", "srresnet", settings={"blocks": 1})
    source = picture(tmp_path / f"photo{'.jpg' if mode == 'CMYK' else '.png'}", mode=mode)
    assert run_command(capsys, "translate", model, source, "-o", tmp_path / "new").status == 0
    with Image.open(tmp_path / "new" / "photo.png") as image:
        assert (image.size, image.mode) == ((64, 48), "RGB")


def test_a_large_image_is_enlarged_in_tiles_without_seams(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "sr.safetensors", "srresnet", settings={"blocks": 1})
    source = picture(tmp_path / "photo.png", (70, 45))
    counts = []
    for name, side in (("whole", 192), ("tiled", 16)):

        def tiles(network: Any, images: Any, *, tile: int, side: int = side) -> Any:
            pieces = list(upscaled_tiles(network, images, tile=side))
            counts.append(len(pieces))
            return pieces

        monkeypatch.setattr(enlarging, "upscaled_tiles", tiles)
        assert run_command(capsys, "translate", model, source, "-o", tmp_path / name).status == 0
    assert counts == [1, 3 * 5]
    whole, tiled = (
        np.asarray(Image.open(tmp_path / name / "photo.png")).astype(int)
        for name in ("whole", "tiled")
    )
    # a value next to a half may be rounded either way; a seam would be many levels high
    assert np.abs(whole - tiled).max() <= 1
    assert (whole != tiled).mean() < 1e-3


def test_without_json_a_line_says_how_many_were_written(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(Path("photo.png"))
    outcome = run_command(capsys, "translate", model, "photo.png", "-o", "new")
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err == "1 written to new, 0 failed\n"


@pytest.mark.parametrize(("height", "width"), [(32, 32), (36, 20), (260, 12)])
def test_a_size_that_the_network_takes_is_passed_on_unchanged(height: int, width: int) -> None:
    network = build_network("mobile-resnet6", width=4).eval()
    images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        assert torch.equal(run_generator(network, images), network(images))


def test_a_large_picture_is_told_what_it_takes_and_refused_where_that_is_not_free(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = picture(Path("photo.png"), (64, 48))
    monkeypatch.setattr(memory, "WORTH_ASKING", 64 * 48)
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**9)
    outcome = run_command(capsys, "translate", model, source, "-o", "new", "--device", "cpu")
    assert outcome.status == 0
    assert "photo.png: 64x48 pixels take about 0.0 GB as a whole, 1.0 GB are free" in outcome.err
    monkeypatch.setattr(memory, "available_bytes", lambda: 64 * 48 * memory.IMAGES)
    small = picture(Path("small.png"), (32, 32))
    given = [model, source, small, "-o", "newer", "--device", "cpu", "--json"]
    document = run_command(capsys, "translate", *given).document
    assert document["written"] == ["newer/small.png"]
    assert "use --size, or cut the picture" in document["failed"][0]["error"]


def test_what_a_gray_picture_takes_is_told_for_a_network_of_one_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    gray = write_model(Path("gray.safetensors"), settings={"in_channels": 1, "out_channels": 1})
    Image.new("L", (64, 48)).save("gray.png")
    monkeypatch.setattr(memory, "WORTH_ASKING", 64 * 48)
    outcome = run_command(capsys, "translate", gray, "gray.png", "-o", "new", "--device", "cpu")
    assert outcome.status == 0, outcome.err
    assert "gray.png: 64x48 pixels take about" in outcome.err


def test_a_layer_s_bytes_are_those_of_its_input_and_its_output() -> None:
    layer = torch.nn.Conv2d(3, 5, 3, padding=1)
    assert memory.bytes_per_pixel(layer) == 4 * (3 + 5)


def test_one_image_is_written_under_the_name_that_out_gives(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = picture(tmp_path / "a.png")
    outcome = run_command(capsys, "translate", model, file, "-o", tmp_path / "out" / "Z.PNG")
    assert outcome.status == 0, outcome.err
    assert Image.open(tmp_path / "out" / "Z.PNG").size == (16, 12)


@pytest.mark.parametrize(
    ("names", "out", "said"),
    [
        (["a.png", "b.png"], "z.png", "is one image's name, for 2; give a folder"),
        (["a.png"], "z.jpg", "the result is no jpg but a png file; call it z.png"),
        (["a.png"], "a.png", "would overwrite the input; choose another name"),
    ],
)
def test_a_name_that_the_result_cannot_have_is_refused(
    names: list[str],
    out: str,
    said: str,
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [picture(tmp_path / name) for name in names]
    before = contents(tmp_path)
    outcome = run_command(capsys, "translate", model, *files, "-o", tmp_path / out)
    assert (outcome.status, contents(tmp_path)) == (2, before)
    assert said in outcome.err


def test_a_folder_of_images_in_the_model_s_place_is_told_what_scores_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    outcome = run_command(capsys, "eval-fid", tmp_path)
    assert outcome.status == 2
    assert "holds images (1) and no model" in outcome.err
    assert "eval-fid and eval with --fake" in outcome.err
