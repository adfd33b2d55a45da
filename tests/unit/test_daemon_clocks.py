"""What lies between two looks at the clocks, and the words for it (rule B6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from heartbeat.daemon.clocks import Gap, Look, between, look

NOW = datetime(2026, 11, 1, 5, 59, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
BEFORE = Look(NOW, 100.0, 500.0)


def after(wall: timedelta, awake: float, elapsed: float | None) -> Look:
    return Look(NOW + wall, 100.0 + awake, None if elapsed is None else 500.0 + elapsed)


@pytest.mark.parametrize(
    ("later", "gap", "told"),
    [
        (after(30 * SECOND, 30, 30), Gap(), ()),
        (after(31.9 * SECOND, 30, 30), Gap(), ()),
        (after(28.1 * SECOND, 30, 30), Gap(), ()),
        (after(32 * SECOND, 30, 30), Gap(2 * SECOND), ("the clock was set forward by 2s",)),
        (after(-HOUR + 30 * SECOND, 30, 30), Gap(-HOUR), ("the clock was set back by 1h",)),
        (after(25 * HOUR, 30, 30), Gap(25 * HOUR - 30 * SECOND), ("the clock was set forward by 1d",)),
        (after(3 * HOUR + 30 * SECOND, 30, 3 * 3600 + 30), Gap(slept=3 * HOUR), ("the machine slept for 3h",)),
        (
            after(2 * HOUR + 30 * SECOND, 30, 3 * 3600 + 30),
            Gap(-HOUR, 3 * HOUR),
            ("the machine slept for 3h", "the clock was set back by 1h"),
        ),
    ],
)
def test_B6_what_happened_is_told_apart_by_the_clocks_that_nobody_sets(
    later: Look, gap: Gap, told: tuple[str, ...]
) -> None:
    found = between(BEFORE, later)
    assert found == gap
    assert found.told() == told
    assert found.moved == bool(told)


def test_without_a_clock_that_goes_on_in_sleep_a_step_forward_may_be_either() -> None:
    found = between(Look(NOW, 1.0, None), Look(NOW + HOUR, 31.0, None))
    assert found.slept is None
    assert found.told() == ("the clock was set forward by 59m, or the machine slept for as long",)
    assert between(Look(NOW, 1.0, None), Look(NOW - HOUR, 1.0, None)).told() == ("the clock was set back by 1h",)
    assert not between(Look(NOW, 1.0, None), Look(NOW + 30 * SECOND, 31.0, None)).moved


def test_a_wait_that_took_much_longer_than_asked_is_told_and_moves_nothing() -> None:
    found = between(BEFORE, after(10 * MINUTE, 600, 600), asked=30)
    assert found == Gap(stood=570 * SECOND)
    assert found.told() == ("this process stood still for 9m: stopped, or the machine crowded",)
    assert not found.moved
    assert between(BEFORE, after(39 * SECOND, 39, 39), asked=30) == Gap()
    assert between(BEFORE, after(SECOND, 1, 1), asked=30) == Gap()


def test_B6_a_change_of_summer_time_is_no_step() -> None:
    assert between(BEFORE, after(2 * MINUTE, 120, 120)) == Gap()


def test_the_clocks_of_this_machine_go_on() -> None:
    first, second = look(), look()
    assert second.awake >= first.awake
    assert first.wall.tzinfo is UTC
    assert first.elapsed is None or (second.elapsed or 0) >= first.elapsed
    assert between(first, second) in (Gap(), Gap(slept=None))
