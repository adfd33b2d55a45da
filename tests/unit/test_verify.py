"""One round of beats, waited for on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from heartbeat.errors import Exit
from heartbeat.roster.model import Agent, Roster
from heartbeat.store.port import Receipt
from heartbeat.verify import SLACK, Result, Verified, slots, verify
from heartbeat.watch.health import Record
from heartbeat.watch.records import Records
from tests.support.rosters import make_roster
from tests.support.watching import BEGIN, EVERY, GRACE, MINUTE, member, receipt

TEAM = (member("coo"), member("dev"))
ROSTER = make_roster(*TEAM, timezone="UTC")
DUE = slots(ROSTER, TEAM, BEGIN)


@dataclass
class Stage:
    """Time that passes when somebody waits, and beats that come when it is their time."""

    beats: list[Receipt] = field(default_factory=list)
    now: datetime = BEGIN
    waits: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    trouble: Callable[[datetime], str] = lambda now: ""
    interrupt_at: datetime | None = None

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        assert len(self.waits) < 10_000, "it never ends"
        self.now += timedelta(seconds=seconds)
        if self.interrupt_at is not None and self.now >= self.interrupt_at:
            raise KeyboardInterrupt

    def look(self, now: datetime) -> Records:
        trouble = self.trouble(now)
        if trouble:
            return Records(now, Path("/state"), exists=True, trouble=trouble)
        ended = [each for each in self.beats if each.ended_at <= now]
        agents = {
            agent.id: Record(tuple(reversed([each for each in ended if each.agent == agent.id]))) for agent in TEAM
        }
        return Records(now, Path("/state"), exists=True, agents=agents)

    def verify(self, roster: Roster = ROSTER, team: tuple[Agent, ...] = TEAM, **changes: Any) -> Verified:
        return verify(
            roster,
            team,
            clock=lambda: self.now,
            wait=self.wait,
            look=self.look,
            grace=GRACE,
            say=self.said.append,
            **changes,
        )


def beat(agent: Agent, at: datetime | None = None, **changes: Any) -> Receipt:
    return receipt(agent, at or DUE[agent.id] + timedelta(seconds=3), **changes)


def test_a_round_in_which_everybody_beats_is_good_and_ends_with_the_last_beat() -> None:
    stage = Stage([beat(agent) for agent in TEAM])
    found = stage.verify()
    assert (found.code, found.verdict) == (Exit.OK, "OK: 2 of 2 agents beat")
    assert [each.result for each in found.rounds] == [Result.BEAT, Result.BEAT]
    assert found.ended_at - max(DUE.values()) <= timedelta(seconds=6)
    assert stage.said[-1].endswith("2 of 2")


def test_who_does_not_beat_is_a_gap_when_its_grace_and_a_minute_are_over() -> None:
    found = Stage([beat(TEAM[0])]).verify()
    assert found.code is Exit.FOUND
    assert found.verdict == "FOUND: 1 of 2 agents beat; gap: dev"
    assert found.rounds[1].problems == ("no beat answered its slot",)
    limit = DUE["dev"] + GRACE + SLACK
    assert limit <= found.ended_at <= limit + timedelta(seconds=2)


def test_a_beat_before_the_round_answers_nothing() -> None:
    early = [beat(agent, DUE[agent.id] - EVERY) for agent in TEAM]
    assert Stage(early).verify().code is Exit.FOUND


def test_a_further_beat_within_a_slot_that_was_answered_before_is_no_answer() -> None:
    by_hand = [beat(agent, slot=None) for agent in TEAM]
    assert Stage(by_hand).verify().code is Exit.FOUND


def test_a_late_beat_counts_and_its_lateness_is_told() -> None:
    late = beat(TEAM[0], DUE["coo"] + 4 * MINUTE)
    found = Stage([late, beat(TEAM[1])]).verify()
    assert found.code is Exit.OK
    assert found.rounds[0].receipt is not None
    assert found.rounds[0].receipt.late == 4 * MINUTE


def test_a_beat_that_failed_is_a_gap_with_its_reason() -> None:
    failed = beat(TEAM[0], outcome="failed", degraded=True, reasons=("StateError: full",), sources=())
    found = Stage([failed, beat(TEAM[1])]).verify()
    assert found.rounds[0].problems == ("the beat failed: StateError: full",)
    assert found.code is Exit.FOUND


def test_a_source_that_was_not_read_completely_is_a_gap() -> None:
    sources = ({"name": "todo", "status": "partial", "message": "3 records"}, {"name": "multica", "status": "disabled"})
    found = Stage([beat(TEAM[0], sources=sources), beat(TEAM[1])]).verify()
    assert found.rounds[0].problems == ("todo partial: 3 records",)


def test_a_source_that_holds_nothing_of_an_agent_is_none_of_its_gaps() -> None:
    sources = ({"name": "multica", "status": "failed", "kind": "auth"}, {"name": "todo", "status": "complete"})
    known = member("dev", multica_id="40abd41a-62d0-416d-bc44-92c1f758d87a")
    team = (TEAM[0], known)
    found = Stage([beat(TEAM[0], sources=sources), beat(known, sources=sources)]).verify(make_roster(*team), team)
    assert [each.result for each in found.rounds] == [Result.BEAT, Result.GAP]
    assert found.rounds[1].problems == ("multica failed: auth",)


def test_a_source_that_an_agent_is_bound_to_and_that_nothing_was_found_of_is_a_gap() -> None:
    sources = (
        {"name": "workboard", "status": "disabled", "message": "gateway: no address"},
        {"name": "multica", "status": "disabled", "message": "api: no server"},
        {"name": "todo", "status": "complete"},
    )
    known = member("dev", multica_id="40abd41a-62d0-416d-bc44-92c1f758d87a")
    team = (TEAM[0], known)
    found = Stage([beat(TEAM[0], sources=sources), beat(known, sources=sources)]).verify(make_roster(*team), team)
    assert [each.result for each in found.rounds] == [Result.BEAT, Result.GAP]
    (told,) = found.rounds[1].problems
    assert told.startswith("multica was not read: the roster gives dev an id there")
    assert "api: no server" in told
    assert "`heartbeat doctor --cron`" in told
    assert found.unused == ("workboard", "multica")
    assert found.rounds[0].read == {"workboard": "disabled", "multica": "disabled", "todo": "complete"}


def test_a_source_that_one_beat_found_is_in_use() -> None:
    nothing, something = ({"name": "workboard", "status": status} for status in ("disabled", "complete"))
    found = Stage([beat(TEAM[0], sources=(nothing,)), beat(TEAM[1], sources=(something,))]).verify()
    assert found.unused == ()
    assert Stage([]).verify().unused == (), "nobody has told"


def test_S3_the_missing_part_of_one_agent_is_a_gap_of_that_agent_and_a_note_for_the_others() -> None:
    told = "dev: the workspace /agents/dev is not there"
    sources = ({"name": "todo", "status": "partial", "message": told, "agents": ["dev"]},)
    found = Stage([beat(agent, sources=sources) for agent in TEAM]).verify()
    assert [each.result for each in found.rounds] == [Result.BEAT, Result.GAP]
    assert found.rounds[0].notes == (f"no part of coo's: todo partial: {told}",)
    assert found.rounds[1].problems == (f"todo partial: {told}",)
    assert found.rounds[1].notes == ()


def test_a_beat_that_read_nothing_is_a_gap() -> None:
    assert Stage([beat(TEAM[0], sources=()), beat(TEAM[1])]).verify().rounds[0].problems == ("the beat read no source",)


def test_a_slot_that_was_not_waited_for_is_not_known() -> None:
    stage = Stage([])
    found = stage.verify(timeout=timedelta(seconds=30))
    assert (found.code, found.ended_at) == (Exit.INCOMPLETE, BEGIN + timedelta(seconds=30))
    assert {each.result for each in found.rounds} == {Result.UNKNOWN}
    assert found.verdict == "UNKNOWN: 0 of 2 agents beat; unknown: coo, dev"


def test_B5_a_state_that_cannot_be_looked_at_is_3() -> None:
    found = Stage([], trouble=lambda now: "locked").verify()
    assert found.code is Exit.INCOMPLETE
    assert found.rounds[0].problems == ("locked",)


def test_a_state_that_cannot_be_looked_at_for_a_while_is_no_reason_to_give_up() -> None:
    beats = [beat(agent) for agent in TEAM]
    found = Stage(beats, trouble=lambda now: "locked" if now < max(DUE.values()) + MINUTE else "").verify()
    assert found.code is Exit.OK


def test_ctrl_c_tells_what_is_known_by_then() -> None:
    first = min(DUE, key=lambda name: DUE[name])
    stage = Stage([beat(agent) for agent in TEAM], interrupt_at=DUE[first] + MINUTE)
    found = stage.verify()
    assert found.interrupted
    assert found.code is Exit.INCOMPLETE
    assert {each.agent: each.result for each in found.rounds}[first] is Result.BEAT


def test_it_sleeps_until_somebody_is_due_and_never_longer_than_half_a_minute() -> None:
    stage = Stage([beat(agent) for agent in TEAM])
    stage.verify()
    assert max(stage.waits) <= 30
    assert len(stage.waits) < 60


def test_a_clock_that_is_set_while_it_waits_is_read_again() -> None:
    stage = Stage([beat(agent) for agent in TEAM])
    stage.now = BEGIN
    original = stage.wait

    def jump(seconds: float) -> None:
        original(seconds)
        if len(stage.waits) == 1:
            stage.now += timedelta(hours=1)

    found = verify(ROSTER, TEAM, clock=lambda: stage.now, wait=jump, look=stage.look, grace=GRACE)
    assert found.code is Exit.OK


def test_nobody_to_verify_is_over_at_once() -> None:
    found = Stage().verify(team=())
    assert (found.code, found.verdict) == (Exit.OK, "OK: 0 of 0 agents beat")
