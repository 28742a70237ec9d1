"""SRGAN's content loss: VGG19 to its last ReLU, and a VGG16 in its place only if that is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers
from torchvision.transforms.functional import normalize

from gancomp.errors import ConfigError, WeightsError
from gancomp.losses.perceptual import (
    CONTENT_SCALE,
    TAPS,
    VGG16_TAPS,
    VGG19_TAPS,
    PerceptualFeatures,
    content_loss,
    content_tap,
    load_perceptual,
)


@pytest.fixture(autouse=True)
def no_weights_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("GANCOMP_VGG16", "GANCOMP_VGG19"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def load(
    source: str, file: Path | None = None, taps: tuple[str, ...] = ("relu1_2",), **options: bool
) -> PerceptualFeatures:
    features = load_perceptual(source, file, taps=taps, say=pytest.fail, **options)
    assert features is not None
    return features


def shapes(letter: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        trunk = make_layers(cfgs[letter], batch_norm=False)
    return {f"features.{key}": tuple(value.shape) for key, value in trunk.state_dict().items()}


def write_hollow(path: Path, letter: str) -> Path:
    """A whole network's keys and shapes, of constants that take no room on the disk."""
    state = {key: torch.full((1,), 0.1).expand(shape) for key, shape in shapes(letter).items()}
    torch.save(state, path)
    return path


def random_map(seed: int = 0, size: int = 4) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_every_relu_of_torchvisions_vgg19_has_its_name_and_the_last_ends_features_36() -> None:
    with torch.device("meta"):
        trunk = make_layers(cfgs["E"], batch_norm=False)
    relus = [index for index, layer in enumerate(trunk) if isinstance(layer, nn.ReLU)]
    assert list(VGG19_TAPS.values()) == relus
    assert VGG19_TAPS["relu5_4"] == 35
    assert VGG19_TAPS["relu2_2"] == VGG16_TAPS["relu2_2"] == 8


def test_the_content_map_equals_torchvisions_features_36_of_normalized_images() -> None:
    features = load("random", taps=("relu5_4",), normalize=True)
    with torch.device("meta"):
        trunk = make_layers(cfgs["E"], batch_norm=False)
    trunk = trunk.to_empty(device="cpu")
    trunk.load_state_dict(
        {key.removeprefix("features."): value for key, value in features.state_dict().items()}
    )
    images = random_map(size=32)
    preset = VGG19_Weights.IMAGENET1K_V1.transforms()
    with torch.no_grad():
        expected = trunk[:36](normalize((images + 1) / 2, preset.mean, preset.std))
    found = features(images)["relu5_4"]
    assert found.shape == (2, 512, 2, 2)
    assert expected.abs().sum() > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)  # float32 sums


def test_random_weights_have_the_network_that_the_tap_belongs_to_and_record_it() -> None:
    assert "network" not in load("random").describe
    deep = load("random", taps=("relu3_4",))
    assert deep.describe == {
        "source": "random",
        "seed": 0,
        "network": "vgg19",
        "taps": ["relu3_4"],
        "normalize": False,
    }
    assert len(deep.features) == VGG19_TAPS["relu3_4"] + 1


def test_content_tap_is_the_last_relu_of_each_network() -> None:
    assert content_tap("vgg19") == content_tap("random") == list(TAPS["vgg19"])[-1] == "relu5_4"
    assert content_tap("vgg16") == list(TAPS["vgg16"])[-1] == "relu5_3"
    with pytest.raises(ConfigError, match="`perceptual` none: has no content loss"):
        content_tap("none")


@pytest.mark.parametrize("prefix", ["features.", ""])
def test_vgg19_weights_load_from_both_key_layouts(prefix: str, tmp_path: Path) -> None:
    state = {
        prefix + key.removeprefix("features."): torch.full(shape, 0.25)
        for key, shape in shapes("E").items()
        if int(key.split(".")[1]) < 3
    }
    torch.save(state | {"classifier.0.weight": torch.zeros(2)}, tmp_path / "v.pth")
    features = load("vgg19", tmp_path / "v.pth")
    assert (features.features[2].weight == 0.25).all()
    assert features.describe["source"] == "vgg19"
    assert features.describe["file"] == "v.pth"


@pytest.mark.parametrize(("source", "letter", "is_"), [("vgg19", "D", "16"), ("vgg16", "E", "19")])
def test_one_network_is_never_taken_for_the_other(
    source: str, letter: str, is_: str, tmp_path: Path
) -> None:
    file = write_hollow(tmp_path / "v.pth", letter)
    with pytest.raises(WeightsError) as error:
        load(source, file)
    message = str(error.value)
    assert f"not a {source.upper()} (without batch norm), but a VGG{is_}: unexpected" in message
    assert "\n" not in message
    if source == "vgg19":
        assert "say `perceptual` vgg16 (another loss: its taps end at relu5_3)" in message
    other = {"vgg19": "vgg16", "vgg16": "vgg19"}[source]
    assert load(other, file).describe["source"] == other


def test_a_vgg19_has_a_variable_and_a_download_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def download(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        assert (url, hash_prefix) == (
            "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            "dcbb9e9d",
        )
        write_hollow(Path(path), "E")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    features = load_perceptual("vgg19", None, taps=("relu1_1",), say=told.append)
    assert features is not None
    assert features.describe["file"] == "vgg19-dcbb9e9d.pth"
    assert told[0].startswith("downloading VGG19 (548 MB, ImageNet weights) from https://")
    monkeypatch.setenv("GANCOMP_VGG16", "/nowhere/16.pth")
    monkeypatch.setenv("GANCOMP_VGG19", "/nowhere/19.pth")
    with pytest.raises(WeightsError, match=r"GANCOMP_VGG19=/nowhere/19\.pth: no such file"):
        load("vgg19")


def test_content_loss_of_equal_maps_is_zero_and_of_others_the_scaled_mean_square() -> None:
    one = random_map()
    assert content_loss(one, one).item() == 0
    # every value 12.75 apart: 1 after the division
    assert content_loss(one + CONTENT_SCALE, one).item() == pytest.approx(1, rel=1e-5)
    other = random_map(1)
    literal = ((one / 12.75 - other / 12.75) ** 2).mean()
    assert content_loss(one, other).item() == pytest.approx(literal.item(), rel=1e-6)
    assert content_loss(one, other, 1.0).item() == pytest.approx(
        12.75**2 * literal.item(), rel=1e-5
    )


def test_content_loss_passes_its_gradient_to_the_first_maps_only() -> None:
    one, other = random_map().requires_grad_(), random_map(1).requires_grad_()
    content_loss(one, other).backward()
    expected = 2 * (one - other).detach() / 12.75**2 / one.numel()
    assert one.grad is not None
    torch.testing.assert_close(one.grad, expected)
    assert other.grad is None
