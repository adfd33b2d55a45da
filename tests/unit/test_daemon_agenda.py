"""What the daemon does next, as a function of its agenda and the present (rules B1, B2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.beat import Beat as Part
from heartbeat.beat import Tick
from heartbeat.daemon.agenda import (
    LONGEST_WAIT,
    Beat,
    End,
    Jitter,
    Moment,
    Reload,
    Wait,
    after_tick,
    jitter,
    next_step,
    pause_after,
)
from heartbeat.store.port import Receipt
from tests.support.rosters import make_agent, make_roster

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
A, B, C = AGENTS = (make_agent("a", every=10 * MINUTE), make_agent("b"), make_agent("c", cron="0 * * * *"))
NONE = Jitter(timedelta(0), "")
SOME = Jitter(5 * SECOND, "here")

distances = st.timedeltas(-timedelta(days=2), timedelta(days=2))
agendas = st.dictionaries(st.sampled_from([agent.id for agent in AGENTS]), distances.map(NOW.__add__))
spreads = st.builds(Jitter, st.timedeltas(timedelta(0), 20 * SECOND), st.sampled_from(["here", "there"]))


def due(**seconds: float) -> dict[str, datetime]:
    return {name: NOW + timedelta(seconds=each) for name, each in seconds.items()}


def test_an_order_to_stop_comes_first_and_one_to_reload_before_any_beat() -> None:
    everything = Moment(NOW, stopping=True, reload=True)
    assert next_step(everything, AGENTS, {}, NONE) == End()
    assert next_step(Moment(NOW, reload=True, held=10), AGENTS, {}, NONE) == Reload()


def test_whoever_is_not_on_the_agenda_is_asked_for_at_once_without_jitter() -> None:
    assert next_step(Moment(NOW), AGENTS, due(a=100, b=200), SOME) == Beat((C,))
    assert next_step(Moment(NOW), AGENTS, {}, SOME) == Beat(AGENTS)


@pytest.mark.parametrize(
    ("agenda", "step"),
    [
        (due(a=0, b=0, c=0), Beat(AGENTS)),
        (due(a=-1, b=0, c=0.001), Beat((A, B))),
        (due(a=0.001, b=1, c=2), Wait(0.001)),
        (due(a=12.5, b=20, c=40), Wait(12.5)),
        (due(a=31, b=400, c=500), Wait(LONGEST_WAIT)),
        (due(a=0.0000001, b=1, c=2), Beat((A,))),  # a microsecond is the finest that an instant knows
    ],
)
def test_B2_a_beat_begins_at_its_slot_and_a_wait_ends_there(agenda: dict[str, datetime], step: Beat | Wait) -> None:
    assert next_step(Moment(NOW), AGENTS, agenda, NONE) == step


def test_while_beats_are_held_back_nothing_is_tried() -> None:
    assert next_step(Moment(NOW, held=12), AGENTS, {}, NONE) == Wait(12)
    assert next_step(Moment(NOW, held=12), AGENTS, due(a=20, b=20, c=20), NONE) == Wait(20)
    assert next_step(Moment(NOW, held=120), AGENTS, {}, NONE) == Wait(LONGEST_WAIT)


def test_those_who_become_due_while_the_first_is_held_back_share_its_beat() -> None:
    first, later = NOW, NOW + 3 * SECOND
    spread = next(
        Jitter(5 * SECOND, str(salt)) for salt in range(100) if Jitter(5 * SECOND, str(salt)).after(first) > 3 * SECOND
    )
    agenda = {"a": first, "b": later, "c": NOW + MINUTE}
    begin = min(first + spread.after(first), later + spread.after(later))
    waited = next_step(Moment(NOW), AGENTS, agenda, spread)
    assert isinstance(waited, Wait)
    assert waited.seconds == pytest.approx((begin - NOW).total_seconds())
    assert next_step(Moment(begin), AGENTS, agenda, spread) == Beat((A, B))


@given(agendas, spreads, st.floats(0, 100))
def test_B2_nobody_beats_before_its_time_and_nobody_is_forgotten(
    agenda: dict[str, datetime], spread: Jitter, held: float
) -> None:
    step = next_step(Moment(NOW, held=held), AGENTS, agenda, spread)
    ready = tuple(agent for agent in AGENTS if agenda.get(agent.id, NOW) <= NOW)
    if isinstance(step, Beat):
        assert held == 0
        assert step.agents == ready != ()
    else:
        assert isinstance(step, Wait)
        assert 0 < step.seconds <= LONGEST_WAIT
        overdue = [agent for agent in ready if NOW - agenda.get(agent.id, NOW) >= spread.window and agent.id in agenda]
        assert held or not overdue
        assert held or all(agent.id in agenda for agent in AGENTS)


@given(agendas, spreads)
def test_to_wait_as_long_as_told_comes_to_a_beat_in_the_end(agenda: dict[str, datetime], spread: Jitter) -> None:
    now, steps = NOW, 0
    while isinstance(step := next_step(Moment(now), AGENTS, agenda, spread), Wait):
        now += timedelta(seconds=step.seconds)
        steps += 1
        assert steps < 2 * 86400 / LONGEST_WAIT + 10
    assert isinstance(step, Beat)
    soonest = min((agenda[agent.id] for agent in AGENTS if agent.id in agenda), default=NOW)
    if len(agenda) == len(AGENTS):
        assert soonest <= now <= max(NOW, soonest + spread.window) + SECOND


# The jitter.


def test_the_jitter_of_an_instant_is_always_the_same_and_another_one_elsewhere() -> None:
    slots = [NOW + number * MINUTE for number in range(500)]
    here, there = Jitter(5 * SECOND, "here"), Jitter(5 * SECOND, "there")
    drawn = [here.after(slot) for slot in slots]
    assert drawn == [Jitter(5 * SECOND, "here").after(slot) for slot in slots]
    assert all(timedelta(0) <= each < 5 * SECOND for each in drawn)
    assert sum(one == other for one, other in zip(drawn, map(there.after, slots), strict=True)) < 3
    assert {each // SECOND for each in drawn} == {0, 1, 2, 3, 4}
    assert [NONE.after(slot) for slot in slots] == [timedelta(0)] * 500


def test_the_jitter_stays_well_within_the_shortest_rhythm_and_depends_on_machine_and_roster() -> None:
    roster = make_roster(make_agent("quick", every=8 * SECOND))
    assert jitter(5 * SECOND, roster, "here").window == 2 * SECOND
    assert jitter(SECOND, roster, "here").window == SECOND
    other = make_roster(path=Path("/rosters/other.yaml"))
    salts = {jitter(SECOND, each, host).salt for each in (roster, other) for host in ("here", "there")}
    assert len(salts) == 4


# After a tick.


def receipt(agent: str, started: datetime) -> Receipt:
    return Receipt("id", agent, started, started, started, "done", degraded=False)


def test_after_a_tick_each_agent_is_asked_for_when_it_is_due_next() -> None:
    resting = NOW + 7 * MINUTE
    done = Tick(
        None,
        (Part(A, None, receipt("a", NOW)), Part(C, None, None, "another tick of c is running")),
        resting={"b": resting},
    )
    before = {"a": NOW, "other": NOW + MINUTE}
    assert after_tick(before, AGENTS, done, "UTC", NOW + 5 * SECOND) == {
        "a": NOW + 10 * MINUTE,
        "b": resting,
        "c": NOW + 35 * SECOND,
        "other": NOW + MINUTE,
    }


def test_an_agent_that_a_tick_says_nothing_of_is_not_asked_for_again_and_again() -> None:
    assert after_tick({}, (A,), Tick(None, ()), "UTC", NOW) == {"a": NOW + 30 * SECOND}


def test_a_beat_that_took_longer_than_its_rhythm_is_followed_by_the_next_at_once() -> None:
    done = Tick(None, (Part(A, None, receipt("a", NOW)),))
    late = NOW + 25 * MINUTE
    assert after_tick({}, (A,), done, "UTC", late) == {"a": late}


def test_the_pauses_after_failures_grow_up_to_five_minutes() -> None:
    assert [pause_after(failures) for failures in range(8)] == [0, 30, 60, 120, 240, 300, 300, 300]
    assert pause_after(10**6) == 300
