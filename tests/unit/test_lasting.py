"""How long a turn has gone on, by a clock that nobody sets (rules F1, B6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies

from heartbeat.attempt import Attempt, Engine, Life, Stopwatch, Uptime
from heartbeat.rules.lasting import given, lasted, over, wound
from heartbeat.rules.unfinished import OVERDUE, STUCK, overdue, overdue_told
from tests.support.items import NOW

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
BOOT = "first"
ATTEMPT = Attempt(
    id="hb-1",
    task="workboard:c1",
    refs=(),
    title="",
    agent="a",
    number=1,
    engine=Engine.OPENCLAW,
    provider="native",
    planned_at=NOW,
    life=Life.RUNNING,
    spawned_at=NOW,
    accepted_at=NOW,
    deadline=NOW + 10 * MINUTE,
    stopwatch=Stopwatch(Uptime(BOOT, 500.0)),
)


def shown(passed: timedelta, boot: str = BOOT) -> Uptime:
    return Uptime(boot, 500.0 + passed.total_seconds())


@pytest.mark.parametrize("set_by", [-24 * HOUR, -HOUR, timedelta(0), HOUR, 24 * HOUR, 365 * 24 * HOUR])
def test_B6_no_step_of_the_wall_clock_makes_a_turn_older_or_younger(set_by: timedelta) -> None:
    assert lasted(ATTEMPT, NOW + 3 * MINUTE + set_by, shown(3 * MINUTE)) == 3 * MINUTE
    assert over(ATTEMPT, NOW + 3 * MINUTE + set_by, shown(3 * MINUTE)) is None
    assert over(ATTEMPT, NOW + 13 * MINUTE + set_by, shown(13 * MINUTE)) == 3 * MINUTE
    assert wound(ATTEMPT, NOW + set_by, shown(MINUTE)) is ATTEMPT.stopwatch


def test_B6_after_a_new_start_the_wall_clock_tells_and_the_grace_is_still_to_come() -> None:
    new = Uptime("second", 20.0)
    assert lasted(ATTEMPT, NOW + 4 * MINUTE, new) == 4 * MINUTE
    assert wound(ATTEMPT, NOW + 4 * MINUTE, new) == Stopwatch(new, 240.0)
    late = replace(ATTEMPT, stopwatch=wound(ATTEMPT, NOW + 24 * HOUR, new))
    assert late.stopwatch == Stopwatch(new, 600.0)
    assert over(late, NOW + 24 * HOUR, new) is None
    assert over(late, NOW + 24 * HOUR, Uptime("second", 140.0)) == 2 * MINUTE


def test_B6_a_clock_that_is_wrong_after_a_new_start_makes_no_turn_younger_than_it_was_known_to_be() -> None:
    once = replace(ATTEMPT, stopwatch=wound(ATTEMPT, NOW + 8 * MINUTE, Uptime("second", 20.0)))
    assert lasted(once, NOW - 24 * HOUR, Uptime("third", 20.0)) == 8 * MINUTE


def test_B6_where_the_system_does_not_tell_its_starts_apart_a_smaller_uptime_is_another() -> None:
    nameless = replace(ATTEMPT, stopwatch=Stopwatch(Uptime("", 500.0)))
    assert lasted(nameless, NOW + 2 * MINUTE, Uptime("", 530.0)) == timedelta(seconds=30)
    assert lasted(nameless, NOW + 2 * MINUTE, Uptime("", 20.0)) == 2 * MINUTE


def test_a_turn_without_a_deadline_is_never_over_and_one_of_an_older_heartbeat_goes_by_the_wall_clock_once() -> None:
    endless, older = replace(ATTEMPT, deadline=None), replace(ATTEMPT, stopwatch=None)
    assert given(endless) is None
    assert over(endless, NOW + 365 * 24 * HOUR, shown(365 * 24 * HOUR)) is None
    assert wound(older, NOW + 3 * MINUTE, shown(3 * MINUTE)) == Stopwatch(shown(3 * MINUTE), 180.0)
    assert wound(older, NOW + HOUR, shown(HOUR)) == Stopwatch(shown(HOUR), 600.0)


STEPS = strategies.lists(
    strategies.tuples(
        strategies.sampled_from(("lives", "is set", "sleeps")),
        strategies.integers(min_value=-400, max_value=400).map(lambda minutes: minutes * MINUTE),
    ),
    max_size=12,
)


@for_all(STEPS)
def test_B6_whatever_happens_to_the_clocks_a_turn_is_as_old_as_the_time_in_which_it_could_work(
    steps: list[tuple[str, timedelta]],
) -> None:
    wall, worked, attempt = NOW, timedelta(0), ATTEMPT
    for what, by in steps:
        wall += abs(by) if what != "is set" else by
        worked += abs(by) if what == "lives" else timedelta(0)
        attempt = replace(attempt, stopwatch=wound(attempt, wall, shown(worked)))
        assert lasted(attempt, wall, shown(worked)) == worked
        assert (over(attempt, wall, shown(worked)) is not None) == (worked > 10 * MINUTE)


@for_all(strategies.lists(strategies.tuples(strategies.integers(0, 300), strategies.integers(-900, 900)), max_size=8))
def test_B6_nobody_ends_a_turn_at_the_first_look_after_a_new_start(starts: list[tuple[int, int]]) -> None:
    """Each start: minutes that the machine lives before it, and by how many its wall clock is wrong after it."""
    wall, attempt, up = NOW, ATTEMPT, 500.0
    for number, (lives, wrong) in enumerate(starts):
        wall += timedelta(minutes=lives)
        up += lives * 60
        wall, up, boot = wall + timedelta(minutes=wrong), 20.0, f"boot {number}"
        attempt = replace(attempt, stopwatch=wound(attempt, wall, Uptime(boot, up)))
        assert over(attempt, wall, Uptime(boot, up)) is None


def test_B6_health_does_not_take_a_clock_that_was_set_for_a_turn_that_should_have_ended() -> None:
    assert overdue([ATTEMPT], NOW + 24 * HOUR, shown(5 * MINUTE)) == ()
    late = (replace(ATTEMPT, id="hb-2", stopwatch=Stopwatch(Uptime(BOOT, 500.0), 90.0)), ATTEMPT)
    assert overdue(reversed(late), NOW - HOUR, shown(10 * MINUTE + OVERDUE)) == late
    assert "hb-2" not in {each.id for each in overdue(late[1:], NOW - HOUR, shown(10 * MINUTE + OVERDUE))}
    assert "15m past its deadline" in overdue_told(late[1:], NOW - HOUR, shown(10 * MINUTE + OVERDUE))


def test_X6_a_turn_that_its_engine_ends_by_itself_is_never_overdue_and_one_that_never_began_is() -> None:
    endless = replace(ATTEMPT, deadline=None, engine=Engine.MULTICA)
    assert overdue([endless], NOW + 24 * HOUR, shown(24 * HOUR)) == ()
    planned = replace(endless, life=Life.PLANNED, accepted_at=None, stopwatch=None)
    assert overdue([planned], NOW + STUCK, shown(STUCK)) == (planned,)
