from __future__ import annotations

import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as st

from gancomp.seeding import derive_generator, derive_seed

keys = st.lists(st.text(st.characters(min_codepoint=32), max_size=5) | st.integers(), max_size=4)
seeds = st.integers(0, 2**63 - 1)


def test_a_seed_is_the_same_on_every_machine_and_in_every_version() -> None:
    # sha256 of "0\x1fstr:order\x1fint:3", first 8 bytes, halved: worked out with sha256sum
    assert derive_seed(0, "order", 3) == 34327578878524630


def test_a_seed_does_not_depend_on_the_process() -> None:
    code = "from gancomp.seeding import derive_seed; print(derive_seed(5, 'a', 1))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert int(printed) == derive_seed(5, "a", 1)


@given(seeds, keys)
def test_every_seed_is_one_that_torch_and_numpy_take(seed: int, names: list[str | int]) -> None:
    assert 0 <= derive_seed(seed, *names) < 2**63


@given(seeds, keys, keys)
def test_other_keys_give_another_seed(
    seed: int, one: list[str | int], two: list[str | int]
) -> None:
    same = [(type(key), key) for key in one] == [(type(key), key) for key in two]
    assert (derive_seed(seed, *one) == derive_seed(seed, *two)) == same


@given(seeds, seeds)
def test_another_seed_gives_other_derived_seeds(one: int, two: int) -> None:
    assert (derive_seed(one, "a") == derive_seed(two, "a")) == (one == two)


def test_a_number_and_its_text_are_different_keys() -> None:
    assert derive_seed(0, 1) != derive_seed(0, "1")


def test_generators_of_equal_keys_draw_equal_numbers_and_leave_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    one, two, other = (derive_generator(3, "pool", step) for step in (1, 1, 2))
    draws = [torch.rand(8, generator=item) for item in (one, two, other)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), before)
