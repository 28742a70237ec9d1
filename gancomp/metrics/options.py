"""What can be chosen about the scores; apart from their arithmetic, for commands without NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gancomp.declare import setting

MOST_SEED = 2**32 - 1  # NumPy's


@dataclass(frozen=True)
class KidOptions:
    """The subsets over which KID is averaged: torch-fidelity's, by default."""

    kid_subsets: int = setting(100, "--kid-subsets", "KID: subsets, whose mean it is.", least=1)
    kid_subset_size: int | None = setting(
        None,
        "--kid-subset-size",
        "KID: images of each side in a subset.",
        shown="1,000, or all of a smaller side",
        least=2,
    )
    kid_seed: int = setting(
        2020, "--kid-seed", "KID: draws the subsets.", least=0, most=MOST_SEED, shown="2020"
    )


@dataclass(frozen=True)
class PrecisionRecallOptions:
    """How far a neighborhood reaches."""

    pr_k: int = setting(
        3, "--pr-k", "Precision, recall: balls reach to the k-th nearest image.", least=1
    )


@dataclass(frozen=True)
class DensityCoverageOptions:
    """How far a neighborhood reaches."""

    dc_k: int = setting(
        5, "--dc-k", "Density, coverage: balls reach to the k-th nearest image.", least=1
    )


@dataclass(frozen=True)
class FidInfinityOptions:
    """The numbers of images from which FID is extrapolated: those of its authors, by default."""

    infinity_points: int = setting(
        15, "--infinity-points", "FID-infinity: scores on the line.", least=2
    )
    infinity_from: int = setting(
        5000, "--infinity-from", "FID-infinity: fewest generated images of a score.", least=2
    )
    infinity_seed: int = setting(
        0, "--infinity-seed", "FID-infinity: draws them.", least=0, most=MOST_SEED
    )


@dataclass(frozen=True)
class LpipsOptions:
    """The network whose maps LPIPS compares, and where its weights are."""

    lpips_net: Literal["alex", "vgg"] = setting(
        "alex", "--lpips-net", "LPIPS: AlexNet (alex) or VGG16 (vgg)."
    )
    lpips_weights: str | None = setting(
        None,
        "--lpips-weights",
        "LPIPS: file of that network's ImageNet weights.",
        shown="torchvision's, in TORCH_HOME",
    )
