"""Which kind of data a task is about, and which a generator is for."""

from __future__ import annotations

from gancomp.domains.base import ENLARGES, SYNTHESIZES, TRANSLATES, Domain
from gancomp.domains.super_resolution import SuperResolution
from gancomp.domains.synthesis import Synthesis
from gancomp.domains.translation import Translation
from gancomp.networks.base import TappedNetwork
from gancomp.networks.synthesis import SynthesisGenerator

DOMAINS: dict[str, Domain] = {
    "unpaired": Translation(),
    "paired": Translation(),
    "super-resolution": SuperResolution(),
    "synthesis": Synthesis(),
}


def domain_of(task: str) -> Domain:
    """The kind of data that a task is about."""
    return DOMAINS[task]


def domain_for(network: TappedNetwork) -> Domain:
    """The kind of data that a generator is for."""
    wanted = purpose(network)
    return next(domain for domain in DOMAINS.values() if domain.purpose == wanted)


def purpose(network: TappedNetwork) -> str:
    """What a generator does, in words."""
    if isinstance(network, SynthesisGenerator):
        return SYNTHESIZES
    return ENLARGES if network.scale > 1 else TRANSLATES
