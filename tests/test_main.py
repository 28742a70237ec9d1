"""The process around a command."""

from __future__ import annotations

import gc
import sys

import pytest

from gancomp.__main__ import main


@pytest.mark.parametrize("triton", [False, True])
def test_a_process_looks_for_garbage_rarely_and_at_its_end_only_where_triton_counts(
    triton: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(700)
    monkeypatch.setattr(sys, "argv", ["gancomp", "--version"])
    if triton:
        monkeypatch.setitem(sys.modules, "triton", sys)
    else:
        monkeypatch.delitem(sys.modules, "triton", raising=False)
    try:
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 0
        assert gc.get_threshold()[0] > 700
        assert (gc.get_freeze_count() == 0) is triton
    finally:
        gc.freeze()  # as all tests begin
        gc.set_threshold(*before)
