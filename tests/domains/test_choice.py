"""Each task has its kind of data, and each generator too."""

from __future__ import annotations

import pytest
import torch

from gancomp.domains.choice import DOMAINS, domain_for, domain_of, purpose
from gancomp.registry import TASKS, build_network, generators


def test_every_task_is_about_a_kind_of_data() -> None:
    assert set(DOMAINS) == set(TASKS)
    assert type(domain_of("paired")) is type(domain_of("unpaired"))


@pytest.mark.parametrize("arch", generators())
def test_every_generator_is_for_a_kind_of_data_that_does_what_it_does(arch: str) -> None:
    with torch.device("meta"):
        network = build_network(arch)
    assert domain_for(network).purpose == purpose(network)
