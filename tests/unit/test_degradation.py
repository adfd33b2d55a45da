"""How far heartbeat can see and act, computed from what it sees (rule G1)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.breaker import Breaker, State
from heartbeat.observation import source_state
from heartbeat.rules.degradation import MEANING, Degradation, Level, SourceState, level_of, needed, unusable
from heartbeat.systems.base import Attempt, FailureKind, Reading, ReadStatus, SourceReport
from heartbeat.watch import overall
from heartbeat.watch.records import Records, SourceRecord
from tests.support.items import NOW

MINUTE = timedelta(minutes=1)
WELL = SourceState("todo", "complete")
OPEN = Breaker("alpha", State.OPEN, until=NOW + 5 * MINUTE, changed_at=NOW)


@pytest.mark.parametrize(
    ("source", "level", "reason"),
    [
        (SourceState("workboard", "complete"), Level.L0, None),
        (SourceState("workboard", "disabled", "not_configured"), Level.L0, None),
        (SourceState("workboard", "partial", "incomplete"), Level.L1, "workboard was read in part"),
        (
            SourceState("workboard", "partial", shown=MINUTE),
            Level.L1,
            "workboard was read in part; what it said 1m ago is shown",
        ),
        (
            SourceState("workboard", "complete", instead_of=("gateway",)),
            Level.L1,
            "workboard was read another way, since gateway failed",
        ),
        (
            SourceState("workboard", "failed", "timeout", shown=5 * MINUTE),
            Level.L1,
            "workboard is slow (timeout); what it said 5m ago is shown",
        ),
        (
            SourceState("workboard", "failed", "rate_limited", shown=5 * MINUTE),
            Level.L1,
            "workboard is slow (rate_limited); what it said 5m ago is shown",
        ),
        (SourceState("workboard", "failed", "timeout"), Level.L2, "workboard is down (timeout)"),
        (
            SourceState("workboard", "failed", "unreachable", shown=5 * MINUTE),
            Level.L2,
            "workboard is down (unreachable); what it said 5m ago is shown",
        ),
        (SourceState("workboard", "failed"), Level.L2, "workboard is down"),
        (SourceState("workboard", "of a later version"), Level.L1, "workboard was read in part"),
    ],
)
def test_G1_a_source_lowers_the_level_by_what_became_of_it(
    source: SourceState, level: Level, reason: str | None
) -> None:
    assert level_of([source, WELL]) == Degradation(level, (reason,) if reason else ())


@pytest.mark.parametrize("engine", ["openclaw", "multica"])
def test_G1_an_engine_that_is_needed_and_of_which_nobody_tells_who_runs_is_down(engine: str) -> None:
    source = {"openclaw": "workboard", "multica": "multica"}[engine]
    unused = f"nobody can be started by {engine}: {source} is not in use, which tells who runs"
    silent = f"nobody can be started by {engine}: {source} does not tell who runs"
    engines = needed([engine, "none"])
    for sources in ([WELL], [WELL, SourceState(source, "disabled", "not_configured")]):
        assert level_of(sources, engines=engines) == Degradation(Level.L2, (unused,))
        assert level_of(sources, engines=needed(["none"])) == Degradation()
    told = SourceState(source, "complete")
    assert level_of([WELL, told], engines=engines) == Degradation()
    assert level_of([WELL, told], engines=needed([engine], [source])) == Degradation(Level.L2, (silent,))
    down = SourceState(source, "failed", "unreachable")
    assert level_of([WELL, down], engines=needed([engine], [source])).reasons == (f"{source} is down (unreachable)",)


@pytest.mark.parametrize(
    "sources", [(), (SourceState("todo", "failed"),), (SourceState("todo", "disabled"), SourceState("w", "failed"))]
)
def test_G1_where_nothing_is_read_nothing_is_known(sources: tuple[SourceState, ...]) -> None:
    found = level_of(sources)
    assert found.level is Level.L3
    assert found.reasons[0] == "no source was read: what there is to do is not known"


@pytest.mark.parametrize(
    ("breaker", "level", "reason"),
    [
        (Breaker("alpha"), Level.L0, None),
        (Breaker("alpha", failures=2), Level.L0, None),
        (OPEN, Level.L2, "the breaker of alpha is open until 2026-11-21T04:05:00.000Z"),
        (
            Breaker("alpha", State.OPEN, until=NOW, changed_at=NOW - MINUTE),
            Level.L1,
            "alpha is on trial after its breaker was open",
        ),
        (Breaker("alpha", State.HALF_OPEN), Level.L1, "alpha is on trial after its breaker was open"),
        (
            Breaker("alpha", cooled_until=NOW + MINUTE),
            Level.L1,
            "alpha cools down until 2026-11-21T04:01:00.000Z",
        ),
        (Breaker("alpha", cooled_until=NOW), Level.L0, None),
    ],
)
def test_G1_a_breaker_lowers_the_level_as_it_stands_now(breaker: Breaker, level: Level, reason: str | None) -> None:
    assert level_of([WELL], [breaker], NOW) == Degradation(level, (reason,) if reason else ())


def test_G1_state_that_cannot_be_used_is_the_worst_and_lost_memory_stops_action_only() -> None:
    assert level_of([WELL], state_problem="the disk is full").level is Level.L3
    assert unusable("the disk is full").reasons == level_of([WELL], state_problem="the disk is full").reasons
    lost = level_of([WELL], memory_lost="0 bytes")
    assert (lost.level, lost.reasons) == (
        Level.L2,
        ("memory was lost (0 bytes): heartbeat only observes until somebody accepts that",),
    )


def test_G1_the_worst_reason_comes_first_and_all_are_told() -> None:
    slow = SourceState("workboard", "failed", "timeout", shown=MINUTE)
    down = SourceState("multica", "failed", "auth")
    found = level_of([slow, down, WELL], [OPEN], NOW)
    assert found.level is Level.L2
    assert [reason.split()[0] for reason in found.reasons] == ["multica", "the", "workboard"]
    assert found.told == f"L2 {MEANING[Level.L2]}: {'; '.join(found.reasons)}"
    assert Degradation().told == "L0 normal"


SOURCES = st.lists(
    st.builds(
        SourceState,
        st.sampled_from(["workboard", "multica", "todo"]),
        st.sampled_from(["complete", "partial", "failed", "disabled"]),
        st.sampled_from(["", "timeout", "unreachable"]),
        st.none() | st.just(MINUTE),
    ),
    max_size=3,
)


@given(SOURCES, st.booleans(), st.sampled_from(["", "gone"]), st.sampled_from(["", "full"]))
def test_G1_the_level_is_normal_exactly_where_there_is_no_reason(
    sources: list[SourceState], broken: bool, lost: str, problem: str
) -> None:
    breakers = [OPEN] if broken else []
    found = level_of(sources, breakers, NOW, memory_lost=lost, state_problem=problem)
    assert (found.level is Level.L0) is (not found.reasons)
    assert found == level_of(sources, breakers, NOW, memory_lost=lost, state_problem=problem)
    for fewer in (level_of(sources, (), NOW), level_of(sources, breakers, NOW)):
        assert fewer.level <= found.level
        assert set(fewer.reasons) <= set(found.reasons)
    read = any(source.status in ("complete", "partial") for source in sources)
    assert (found.level is Level.L3) is (not read or bool(problem))


# What a beat read, and what is on record of it.


def report(status: ReadStatus, kind: FailureKind | None = None, *tried: Attempt) -> SourceReport:
    return SourceReport("workboard", status, "cli", kind, tried=tried)


def test_G1_a_reading_is_taken_as_it_was_made() -> None:
    gone = Attempt("gateway", FailureKind.UNREACHABLE, "connection refused")
    absent = Attempt("gateway", FailureKind.NOT_CONFIGURED, "no address")
    fine = Attempt("cli", None, "")
    assert source_state(Reading(report(ReadStatus.COMPLETE, None, absent, fine)), NOW) == SourceState(
        "workboard", "complete"
    )
    assert source_state(Reading(report(ReadStatus.COMPLETE, None, gone, fine)), NOW).instead_of == ("gateway",)
    failed = Reading(report(ReadStatus.FAILED, FailureKind.TIMEOUT), stale_at=NOW - 5 * MINUTE)
    assert source_state(failed, NOW) == SourceState("workboard", "failed", "timeout", 5 * MINUTE)
    ahead = Reading(report(ReadStatus.FAILED, FailureKind.TIMEOUT), stale_at=NOW + MINUTE)
    assert source_state(ahead, NOW).shown == timedelta(0)


def records(*sources: SourceRecord, **changes: object) -> Records:
    fields: dict[str, object] = {"exists": True, "sources": sources, **changes}
    return Records(NOW, Path("/state"), **fields)  # type: ignore[arg-type]


def test_G1_health_tells_the_level_by_what_is_on_record() -> None:
    well = SourceRecord("workboard", "complete", NOW)
    slow = SourceRecord("multica", "failed", NOW, kind="timeout", shown=5 * MINUTE)
    assert overall.level(records(well), dispatch=["openclaw"]) == Degradation()
    assert overall.level(records(well, slow), dispatch=["openclaw"]).reasons == (
        "multica is slow (timeout); what it said 5m ago is shown",
    )
    assert overall.level(records(well, breakers=(OPEN,)), dispatch=["openclaw"]).level is Level.L2
    assert overall.level(records(well, breakers=(OPEN,)), dispatch=["none"]).level is Level.L0
    for nothing in (records(), records(well, trouble="no such table"), records(well, exists=False)):
        assert overall.level(nothing, dispatch=["openclaw"]).level is Level.L3
