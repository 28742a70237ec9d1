"""Inception features: equal to pytorch-fid's, whatever the batches, sizes and surroundings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from pytorch_fid import inception as pytorch_fid_inception
from pytorch_fid.fid_score import get_activations
from torch import Tensor, nn

from gancomp.errors import DataError, WeightsError
from gancomp.metrics import features as features_module
from gancomp.metrics.features import (
    WEIGHTS_NAME,
    WEIGHTS_URL,
    InceptionFeatures,
    inception_features,
    load_inception,
)

REAL_WEIGHTS = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_NAME
needs_inception = pytest.mark.skipif(
    not REAL_WEIGHTS.is_file(), reason=f"no {WEIGHTS_NAME} in TORCH_HOME"
)


def random_images(*sizes: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Smooth random colors, so that resizing is not the only thing the features see."""
    generator = np.random.default_rng(0)
    images = []
    for height, width in sizes:
        coarse = Image.fromarray(generator.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        images.append(np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)))
    return images


class Probe(nn.Module):
    """Stands in for pytorch-fid's network: same resize, and features that a person can check."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 2.0))
        self.batches: list[tuple[int, ...]] = []

    def forward(self, images_01: Tensor) -> Tensor:
        self.batches.append(tuple(images_01.shape))
        resized = F.interpolate(images_01, size=(299, 299), mode="bilinear", align_corners=False)
        return (self.weight * F.adaptive_avg_pool2d(resized, (4, 4))).flatten(1)


@pytest.fixture
def probe() -> InceptionFeatures:
    return InceptionFeatures(Probe(), "probe")


def test_features_are_the_networks_of_images_scaled_to_0_and_1(probe: InceptionFeatures) -> None:
    white = np.full((8, 9, 3), 255, dtype=np.uint8)
    gray = np.full((8, 9, 3), 51, dtype=np.uint8)
    features = inception_features([white, gray], probe)
    assert features.dtype == np.float32
    # the probe's float32 averages of 5,600 pixels carry 2e-5; a scale of 256 would be off by 4e-3
    np.testing.assert_allclose(features, [[2.0] * 48, [0.4] * 48], rtol=1e-4)


def test_features_do_not_depend_on_batch_size_and_keep_the_order_of_mixed_sizes(
    probe: InceptionFeatures,
) -> None:
    images = random_images((32, 32), (20, 50), (32, 32), (299, 299), (400, 310), (32, 32))
    together = inception_features(images, probe)
    # each on its own, through the network's resize and not ours
    with torch.no_grad():
        alone = np.concatenate(
            [
                probe(torch.tensor(image).permute(2, 0, 1)[None].float() / 255).numpy()
                for image in images
            ]
        )
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    for batch_size in (1, 2, 4, 6):
        batched = inception_features(images, probe, batch_size=batch_size)
        np.testing.assert_allclose(batched, together, rtol=1e-5)


def test_images_are_read_once_lazily_in_full_batches_with_progress(
    probe: InceptionFeatures,
) -> None:
    read, done = [], []

    def images() -> Iterator[NDArray[np.uint8]]:
        for index, image in enumerate(random_images(*[(8, 8)] * 5)):
            read.append(index)
            yield image

    def progress(num_done: int) -> None:
        done.append((num_done, len(read)))

    assert len(inception_features(images(), probe, batch_size=2, progress=progress)) == 5
    assert done == [(2, 2), (4, 4), (5, 5)]
    assert isinstance(probe.network, Probe)
    assert [shape[0] for shape in probe.network.batches] == [2, 2, 1]


def test_autocast_around_the_call_changes_nothing() -> None:
    class Matmul(Probe):
        def forward(self, images_01: Tensor) -> Tensor:
            return images_01.mean(dim=(2, 3)) @ (self.weight * torch.eye(3))

    model = InceptionFeatures(Matmul(), "probe")
    images = random_images((16, 16), (16, 16))
    plain = inception_features(images, model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = inception_features(images, model)
    np.testing.assert_array_equal(inside, plain)


def test_cudnn_settings_are_what_they_were_afterwards(probe: InceptionFeatures) -> None:
    cudnn = torch.backends.cudnn
    before = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    inception_features(random_images((8, 8)), probe)
    assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == before


def test_model_is_frozen_and_in_eval_mode(probe: InceptionFeatures) -> None:
    assert not probe.training
    assert not any(parameter.requires_grad for parameter in probe.parameters())


def test_no_images_give_no_rows(probe: InceptionFeatures) -> None:
    assert inception_features([], probe).shape == (0, 2048)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
        np.zeros((8, 8, 3), np.float32),
    ],
    ids=["grayscale", "with alpha", "empty", "float"],
)
def test_an_image_that_is_not_rgb_bytes_is_refused_by_its_index(
    image: NDArray[np.uint8], probe: InceptionFeatures
) -> None:
    with pytest.raises(DataError, match="image 1 "):
        inception_features([*random_images((8, 8)), image], probe)


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub"


def test_missing_weights_offline_are_one_line_with_the_place_to_put_them(
    empty_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def offline(*arguments: object, **options: object) -> None:
        assert told, "announced before"
        raise URLError("Name or service\nnot known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError) as error:
        load_inception(say=told.append)
    message = str(error.value)
    assert "\n" not in message
    assert f"$TORCH_HOME/hub/checkpoints/{WEIGHTS_NAME}" in message
    assert "https://github.com/mseitzer/pytorch-fid" in message
    assert str(empty_hub / "checkpoints") in told[0]


def test_a_download_is_announced_on_stderr_when_nobody_listens(
    empty_hub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def junk(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        assert hash_prefix == "6726825d"
        Path(path).write_bytes(b"junk")

    monkeypatch.setattr(torch.hub, "download_url_to_file", junk)
    with pytest.raises(WeightsError, match="not readable"):
        load_inception()
    captured = capsys.readouterr()
    assert "downloading" in captured.err
    assert captured.out == ""


def test_weights_that_are_missing_damaged_or_another_networks_are_refused_in_one_line(
    tmp_path: Path,
) -> None:
    damaged, other, no_mapping = tmp_path / "d.pth", tmp_path / "o.pth", tmp_path / "l.pth"
    damaged.write_bytes(b"PK\x03\x04 junk")
    torch.save({"conv.weight": torch.zeros(3)}, other)
    torch.save([torch.zeros(3)], no_mapping)
    for file in (tmp_path / "nowhere.pth", damaged, other, no_mapping):
        with pytest.raises(WeightsError) as error:
            load_inception(file)
        assert str(file) in str(error.value)
        assert WEIGHTS_NAME in str(error.value)
        assert "\n" not in str(error.value)


def test_the_weights_are_looked_for_where_pytorch_fid_downloads_them_from() -> None:
    assert WEIGHTS_URL == pytorch_fid_inception.FID_WEIGHTS_URL


@pytest.mark.slow
@needs_inception
def test_features_equal_pytorch_fids_get_activations(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    model = load_inception()
    assert torch.equal(torch.get_rng_state(), before)
    assert len(model.weights_id) == 64
    images = random_images(*[(64, 48)] * 6)
    files = [tmp_path / f"{index}.png" for index in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    with torch.random.fork_rng():
        reference = pytorch_fid_inception.InceptionV3()
    expected = get_activations(files, reference, batch_size=6, num_workers=0)
    features = inception_features(images, model, batch_size=4)
    assert features.shape == (6, 2048)
    # features are of the order of 0.1 to 1; float32 rounding through 94 layers is below 1e-5
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@needs_inception
@pytest.mark.skipif("GANCOMP_DATA" not in os.environ, reason="GANCOMP_DATA is not set")
def test_fid_of_a_real_folder_of_photographs_equals_pytorch_fids(tmp_path: Path) -> None:
    from pytorch_fid.fid_score import calculate_frechet_distance

    from gancomp.metrics.fid import fid_from_features, statistics_of

    root = Path(os.environ["GANCOMP_DATA"]) / "horse2zebra"
    model = load_inception()
    fake, real = (
        inception_features(
            [np.asarray(Image.open(file).convert("RGB")) for file in sorted(folder.iterdir())[:8]],
            model,
        )
        for folder in (root / "testA", root / "testB")
    )
    a, b = statistics_of(fake), statistics_of(real)
    # pytorch-fid's, in the 16 directions that 16 images can span, where its matrix root is fast
    basis = np.linalg.qr(np.concatenate([fake, real]).astype(np.float64).T)[0]
    expected = calculate_frechet_distance(
        a.mean @ basis,
        basis.T @ a.covariance @ basis,
        b.mean @ basis,
        basis.T @ b.covariance @ basis,
    )
    # both covariances are singular there, which may make pytorch-fid add 1e-6 to the diagonal
    assert fid_from_features(fake, real) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [(700, 500), (2100, 300), (299, 1500), (40, 3000), (50, 200)])
def test_large_images_are_resized_as_the_others_are(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    plain = features_module._resized(image, 0, torch.device("cpu"))
    monkeypatch.setattr(features_module, "LARGE", 1)
    large = features_module._resized(image, 0, torch.device("cpu"))
    assert large.shape == plain.shape == (1, 3, 299, 299)
    # the places are computed in another order: they differ by rounding, 2e-4 of a pixel at most
    assert torch.allclose(large, plain, atol=3e-4)
