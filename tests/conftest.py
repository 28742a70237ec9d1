"""Shared by all tests: one thread each, since the networks are too small to gain from more."""

import gc
import multiprocessing
import os
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest
import torch
from lines import plug_ins_loaded

from gancomp.__main__ import OBJECTS_BETWEEN_COLLECTIONS

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports Triton
torch.set_num_threads(1)
gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)  # as of any command
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine proves nothing
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Coverage, where it is measured, leaves slow tests out, which tracing makes slower by half."""
    if config.pluginmanager.has_plugin("_cov"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker("no_cover")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests and all of torch stay to the end: no use to look for garbage there."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a test or its fixtures draw without a seed is the same whatever ran before."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def plug_ins() -> Iterator[None]:
    """The lines of installed plug-ins stand in the tables, as in any command."""
    with plug_ins_loaded():
        yield


@pytest.fixture
def ready_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What starts a new interpreter is given one that has imported everything already.

    Arguments reach it by pickling all the same.
    """
    from ready import context

    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: context)
