"""What FID looks at: the 2048 pool3 features of pytorch-fid's Inception-v3, one row per image."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gancomp.errors import DataError, WeightsError, why_unreadable
from gancomp.metrics.inception import INPUT_SIZE, LEAST_SIZE, FoldedInception
from gancomp.weight_files import hub_file, read_weights

WEIGHTS_NAME = "pt_inception-2015-12-05-6726825d.pth"
WEIGHTS_HASH_PREFIX = "6726825d"
WEIGHTS_URL = (
    f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{WEIGHTS_NAME}"
)
NUM_FEATURES = 2048
LARGE = 2048 * 2048  # pixels; a larger image is not turned into floats as a whole
CPU_CHUNK = 25  # images: large enough for the last layers' products, 400 MB of maps at most

Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]


class InceptionFeatures(nn.Module):
    """pytorch-fid's network up to its last average pool, frozen and in eval mode.

    Args:
        network: `(N, 3, H, W)` in [0, 1] to `(N, 2048)`: a `FoldedInception`.
        weights_id: which weights these are (SHA-256 of their file); part of every cache key.
    """

    def __init__(self, network: nn.Module, weights_id: str) -> None:
        super().__init__()
        self.network = network
        self.weights_id = weights_id
        self.requires_grad_(False)
        self.eval()

    def forward(self, images_01: Tensor) -> Tensor:
        """Pool3 features.

        Args:
            images_01: `(N, 3, H, W)` float32 in [0, 1]. Resized to 299x299 by the network itself:
                bilinear, `align_corners=False`, no antialiasing.

        Returns:
            `(N, 2048)`.
        """
        features: Tensor = self.network(images_01)
        return features


def load_inception(
    weights: Path | None = None, *, say: Callable[[str], None] | None = None
) -> InceptionFeatures:
    """The Inception network that FID is defined with.

    Args:
        weights: a file with the state dict; otherwise the one pytorch-fid keeps in the torch hub
            folder, downloaded there from pytorch-fid's release if it is missing.
        say: told, in one line and beforehand, where a download comes from; default: stderr.

    Raises:
        WeightsError: if the weights are missing, damaged, of another network, or cannot be
            downloaded.
    """
    path = weights
    if path is None:
        what, tell = "the FID Inception weights", say or _to_stderr
        path = hub_file(WEIGHTS_URL, what=what, size="91 MB", say=tell)
    if not path.is_file():
        raise WeightsError(
            f"Inception weights {path}: no such file; needed is pytorch-fid's {WEIGHTS_NAME}, "
            f"which is also looked for at $TORCH_HOME/hub/checkpoints/{WEIGHTS_NAME}"
        )
    state, digest = read_weights(
        path,
        unreadable=f"delete it to have it downloaded again, or put a good {WEIGHTS_NAME} there",
        unnamed=f"needed is {WEIGHTS_NAME}",
    )
    try:
        network = FoldedInception(state)
        with torch.inference_mode():
            network.pooled(torch.zeros(1, 3, LEAST_SIZE, LEAST_SIZE))
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path}: not the weights of pytorch-fid's Inception-v3 ({why_unreadable(error)}); "
            f"expected is {WEIGHTS_NAME}"
        ) from error
    return InceptionFeatures(network, digest)


def inception_features(
    images: Iterable[Pixels],
    model: InceptionFeatures,
    *,
    batch_size: int = 50,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Features:
    """One row of features per image, in order, whatever the images' sizes.

    Every image is resized to 299x299 on its own before it joins a batch, which is what the network
    does to a batch of equal sizes; so memory is bounded, and the result depends on the batch size
    by rounding only. Computed in float32 without TF32, also inside autocast.

    Args:
        images: `(H, W, 3)` uint8 RGB, read once.
        model: from `load_inception`; moved to `device`.
        batch_size: 50 is pytorch-fid's.
        device: where to compute.
        progress: called with the number of images done so far.

    Returns:
        `(N, 2048)` float32.

    Raises:
        DataError: if an image is not `(H, W, 3)` uint8.

    Source: pytorch-fid 0.3.0, `get_activations`, equal to 1e-5.
    """
    device = torch.device(device)
    model.to(device)
    rows: list[Features] = []
    num_done = 0
    for batch in _batches(images, batch_size, device):
        with torch.no_grad(), _full_precision(device):
            parts = torch.split(batch, CPU_CHUNK) if device.type == "cpu" else (batch,)
            rows.extend(model(part).cpu().numpy() for part in parts)
        num_done += len(batch)
        if progress is not None:
            progress(num_done)
    return np.concatenate(rows) if rows else np.empty((0, NUM_FEATURES), np.float32)


def looked_at_together(batch_size: int, device: torch.device) -> int:
    """Images at whose multiples a list can be cut without changing what shares a pass."""
    return CPU_CHUNK if device.type == "cpu" and batch_size % CPU_CHUNK == 0 else batch_size


def _batches(images: Iterable[Pixels], batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """`(<=batch_size, 3, 299, 299)` in [0, 1]."""
    batch: list[Tensor] = []
    for index, image in enumerate(images):
        batch.append(_resized(image, index, device))
        if len(batch) == batch_size:
            yield torch.cat(batch)
            batch = []
    if batch:
        yield torch.cat(batch)


def _resized(image: Pixels, index: int, device: torch.device) -> Tensor:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise DataError(
            f"image {index} for FID is {image.dtype} of shape {image.shape}; "
            "needed is (height, width, 3) uint8: convert it to RGB"
        )
    # copied where it came straight from Pillow: such memory is read-only, which torch warns about
    pixels = torch.from_numpy(image if image.flags.writeable else image.copy()).to(device)
    if pixels.shape[0] * pixels.shape[1] > LARGE:
        return _resized_large(pixels)
    # resized in the layout that pixels have: no transposition, and what Inception wants
    image_01 = pixels.permute(2, 0, 1)[None].float().div_(255)
    # the network's own resize is then the identity: bilinear from 299 to 299 interpolates nothing
    return F.interpolate(
        image_01, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False
    )


def _resized_large(pixels: Tensor) -> Tensor:
    """The same from the pixels alone that it looks at: four for each of the result.

    The floats of a photograph of 6000x6000 would take 0.4 GB, and as much again for their resize.
    """
    top, bottom, down = _neighbors(pixels.shape[0], pixels.device)
    left, right, across = _neighbors(pixels.shape[1], pixels.device)

    def mixed(rows: Tensor) -> Tensor:
        return rows[:, left].float().lerp(rows[:, right].float(), across[:, None])

    mixture = mixed(pixels[top]).lerp(mixed(pixels[bottom]), down[:, None, None])
    return mixture.div_(255).permute(2, 0, 1)[None]


def _neighbors(length: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of 299 places the pixel before, the one behind, and the latter's weight.

    Source: PyTorch's bilinear interpolation with `align_corners=False`.
    """
    places = torch.arange(INPUT_SIZE, device=device, dtype=torch.float32)
    places = ((places + 0.5) * (length / INPUT_SIZE) - 0.5).clamp_(min=0)
    before = places.long()
    return before, (before + 1).clamp_(max=length - 1), places - before


@contextlib.contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Real float32: an FID must depend neither on the caller's autocast nor on a GPU's TF32."""
    cudnn = torch.backends.cudnn
    flags = cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    )
    with torch.autocast(device.type, enabled=False), flags:
        yield


def _to_stderr(message: str) -> None:
    sys.stderr.write(message + os.linesep)
