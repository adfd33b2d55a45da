"""Signals as orders, in this very process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from heartbeat.daemon.orders import Signals

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def raise_in_this_process(number: signal.Signals) -> None:
    """In this very thread: one that is sent to the process may reach another thread, and be handled a little later."""
    signal.raise_signal(number)


def test_SIGHUP_asks_for_one_reload_and_ends_a_wait() -> None:
    with Signals() as orders:
        assert not orders.take_reload()
        raise_in_this_process(signal.SIGHUP)
        raise_in_this_process(signal.SIGHUP)
        orders.wait(60)
        assert orders.take_reload()
        assert not orders.take_reload()
        assert orders.stopping == ""


@pytest.mark.parametrize("number", NUMBERS[:2])
def test_the_first_order_to_stop_is_noted_and_the_second_breaks_off(number: signal.Signals) -> None:
    with Signals() as orders:
        raise_in_this_process(number)
        orders.wait(60)
        assert orders.stopping == number.name
        with pytest.raises(SystemExit) as end:
            raise_in_this_process(number)
        assert end.value.code == 128 + number


def test_an_order_that_came_before_the_wait_ends_it_and_the_next_wait_is_a_wait() -> None:
    with Signals() as orders:
        raise_in_this_process(signal.SIGHUP)
        orders.wait(60)
        orders.wait(0.001)
        assert orders.take_reload()


def test_everything_is_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with Signals():
        assert [signal.getsignal(number) for number in NUMBERS] != before
    assert [signal.getsignal(number) for number in NUMBERS] == before
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("ignored", [True, False])
def test_a_terminal_that_goes_ends_us_unless_SIGHUP_was_ignored_before(
    ignored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    there = iter((True, False))
    monkeypatch.setattr("heartbeat.daemon.orders._has_terminal", lambda: next(there))
    try:
        with Signals() as orders:
            raise_in_this_process(signal.SIGHUP)
            assert (orders.stopping, orders.take_reload()) == (("", True) if ignored else ("SIGHUP", False))
        assert signal.getsignal(signal.SIGHUP) is (signal.SIG_IGN if ignored else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)
