"""Scores of features: their names, their intervals, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from gancomp.errors import ConfigError, DataError
from gancomp.metrics.base import ImageSet
from gancomp.metrics.features import Features
from gancomp.metrics.fid import fid_from_features
from gancomp.scoring import measuring
from gancomp.scoring.measuring import Number
from gancomp.settings import Json


def scores_of(
    fakes: Features, reals: Features, names: Sequence[str], bootstrap: int = 0, **options: Json
) -> dict[str, Number]:
    """As `eval` comes to them, of features that are at hand."""
    metrics, _ = measuring.sorted_metrics(measuring.make_metrics(names, options))
    measuring.check_counts(metrics, len(fakes), len(reals))
    sets = ImageSet(fakes), ImageSet(reals)
    resamples = measuring.drawn(*sets, bootstrap)
    return measuring.numbers_of(metrics, *sets, resamples=resamples)


def test_scores_of_features_are_numbers_by_their_names() -> None:
    random = np.random.default_rng(0)
    fakes, reals = (random.normal(size=(30, 4)).astype(np.float32) for _ in range(2))
    found = scores_of(fakes, reals, ["fid", "kid"])
    assert found["fid"] == Number(fid_from_features(fakes, reals))
    assert scores_of(fakes, reals, ["kid"], kid={"kid_subset_size": 30}) == {"kid": found["kid"]}
    some = scores_of(fakes, reals, ["recall"], bootstrap=20)["recall"]
    assert some.low is not None
    assert some.high is not None
    assert some.low <= some.value <= some.high


def test_what_cannot_be_scored_is_refused() -> None:
    rows = np.ones((4, 3), np.float32)
    with pytest.raises(ConfigError, match="`dc_k` 5: must be below"):
        scores_of(rows, rows, ["density"])
    broken = np.full((4, 3), np.nan, np.float32)
    for name in ("fid", "kid", "precision"):
        with pytest.raises(DataError, match="features of generated image 0 are not finite"):
            scores_of(broken, np.ones((9, 3), np.float32), [name])
