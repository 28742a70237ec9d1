from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gancomp
from gancomp.api.arguments import overrides, request
from gancomp.errors import ConfigError
from gancomp.scoring.request import FidRequest
from gancomp.sizes import as_size, before_crop, in_pixels, read_size, shown_size, sides, square_side

lengths = st.integers(1, 10_000)


@given(lengths, lengths)
def test_a_size_survives_the_way_through_what_is_typed(height: int, width: int) -> None:
    size = as_size(height, width)
    assert sides(size) == (height, width)
    assert isinstance(size, int) == (height == width)
    assert read_size("size", shown_size(size)) == size
    assert read_size("size", f"{height}X{width}") == size


@given(lengths, lengths)
def test_what_is_cropped_keeps_its_proportion(height: int, width: int) -> None:
    loaded = before_crop(as_size(height, width))
    assert sides(loaded) == (sides(before_crop(height))[0], sides(before_crop(width))[1])
    assert sides(loaded) >= (height, width)


def test_the_crop_of_published_runs_is_286_for_256() -> None:
    assert before_crop(256) == 286
    assert before_crop((256, 512)) == (286, 572)


@pytest.mark.parametrize("text", ["", "abc", "12.5", "256x", "x256", "1x2x3", "256,512", "9" * 30])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=f"`size` {text}: is no size; .* `size` 256x512"):
        read_size("size", text)


def test_what_must_be_square_says_so() -> None:
    assert square_side(64, "synthesis") == 64
    with pytest.raises(ConfigError, match="`size` 32x64: synthesis needs square images.*`size` 32"):
        square_side((32, 64), "synthesis")


def test_messages_say_which_number_is_which() -> None:
    assert in_pixels(256) == "256x256"
    assert in_pixels((256, 512)) == "256x512 (height x width)"


@pytest.mark.parametrize(
    ("asked", "wanted"), [(256, 256), ((32, 64), (32, 64)), ([32, 32], 32), ("32x64", (32, 64))]
)
def test_a_size_is_a_side_or_height_and_width(asked: Any, wanted: Any) -> None:
    settings = overrides("distill", {"size": asked}).settings
    assert settings["data"]["size"] == wanted
    assert request("evaluate", FidRequest, {"size": asked})["size"] == wanted


def test_what_is_no_size_is_refused_by_name() -> None:
    for wrong in ((32, 64, 96), (32, "wide"), 1.5):
        with pytest.raises(gancomp.GancompError) as caught:
            overrides("distill", {"size": wrong})
        assert caught.value.field == "size"
