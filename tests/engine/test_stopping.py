from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from gancomp.engine.stopping import CutShortError, listening_for_stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_becomes_a_wish_and_the_former_handler_comes_back(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with listening_for_stop() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop
        assert stop.signal is number
    assert signal.getsignal(number) is former


def test_a_second_sigint_does_not_wait_any_longer() -> None:
    before = signal.getsignal(signal.SIGINT)  # a background job of a shell ignores it
    with listening_for_stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal is signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_what_closes_a_terminal_or_warns_of_a_limit_is_a_wish_unless_ignored_before(
    name: str,
) -> None:
    number = getattr(signal, name)
    former = signal.getsignal(number)
    try:
        signal.signal(number, signal.SIG_IGN)  # as nohup does
        with listening_for_stop() as stop:
            os.kill(os.getpid(), number)
            assert not stop
        signal.signal(number, signal.SIG_DFL)
        with listening_for_stop() as stop:
            os.kill(os.getpid(), number)
            assert stop.signal is number
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, former)


@pytest.mark.parametrize("early", [True, False])
def test_a_wish_ends_a_wait_at_once(early: bool) -> None:
    with listening_for_stop() as stop:
        if early:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        began = time.monotonic()
        with pytest.raises(CutShortError), stop.waiting():
            time.sleep(30)
        assert time.monotonic() - began < 10
        os.kill(os.getpid(), signal.SIGTERM)  # no longer in a wait: nothing is raised


def test_in_a_thread_nothing_is_listened_to_and_nothing_fails() -> None:
    former = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def train() -> None:
        with listening_for_stop() as stop:
            seen.append(bool(stop))
            seen.append(signal.getsignal(signal.SIGINT) is former)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [False, True]
