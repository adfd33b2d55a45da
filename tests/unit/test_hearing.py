"""Who talks is asked anew of a source that can tell, through all that stands before it (rule B4)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from heartbeat.beat import Tick
from heartbeat.daemon.readers import OneAtATime
from heartbeat.deadline import Deadline
from heartbeat.hearing import Ear
from heartbeat.systems.base import (
    FailureKind,
    PartlyHeardError,
    Reading,
    ReadStatus,
    SourceReport,
    TransportError,
    heard,
)
from heartbeat.task import Owner, OwnerKind, Presence, Status
from tests.support.items import NOW, card
from tests.support.rosters import make_agent, make_roster
from tests.support.scripted_source import ScriptedSource
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld
from tests.support.team import Team

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
AGENTS = tuple(
    make_agent(name, "high_frequency", every=HOUR, patrol=name == "coo", notify=("coo",)) for name in ("coo", "writer")
)


def word(agent: str, minutes: int) -> Presence:
    at = NOW - minutes * MINUTE
    return Presence(agent, False, at, f"agent:{agent}:main", talked_at=at)


def test_a_source_that_cannot_hear_hears_nothing() -> None:
    source = ScriptedSource(Reading(SourceReport("todo", ReadStatus.COMPLETE)), name="todo")
    assert heard(source, ["coo"], Deadline.after(1), NOW) == ()


@pytest.mark.parametrize("can", [True, False])
def test_the_daemons_readers_pass_the_question_on(can: bool) -> None:
    system = ScriptedSystem(name="workboard")
    system.presence = (word("coo", 1), word("dev", 1))
    deaf = ScriptedSource(Reading(SourceReport("workboard", ReadStatus.COMPLETE)))
    readers = OneAtATime(lambda name, roster, environment: system if can else deaf)
    source = readers("workboard", make_roster(), {})
    assert heard(source, ["coo"], Deadline.after(1), NOW) == ((word("coo", 1),) if can else ())


def stalled(folder: Path) -> Team:
    """The writer's nudge is about to be handed out, half an hour after the board was read."""
    item = card(1, "Reconcile", Status.IN_PROGRESS, owner=Owner(OwnerKind.AGENT, "writer"), started_at=NOW)
    board = ScriptedSystem(item, name="workboard")
    board.claimants[item.ref], board.shared = "writer", True
    staff = Team(ScriptedWorld(board), folder, AGENTS, every=HOUR, fresh=False)
    staff.tick()
    staff.beats(2, "coo")
    staff.pass_time(25 * MINUTE)
    return staff


def nudged(tick: Tick) -> bool:
    return any(beat.inbox for beat in tick.beats if beat.agent.id == "writer")


def test_a_source_that_fails_in_its_own_way_ends_no_beat(tmp_path: Path) -> None:
    staff = stalled(tmp_path)
    staff.world["workboard"].deaf = ZeroDivisionError("a plug-in's own mistake")
    assert nudged(staff.tick("writer"))
    (told,) = [entry.message for entry in staff.store.log() if entry.action == "talk-unknown"]
    assert told.endswith("ZeroDivisionError: a plug-in's own mistake")


def test_where_it_was_not_known_who_is_at_work_nothing_is_asked(tmp_path: Path) -> None:
    staff = stalled(tmp_path)
    board = staff.world["workboard"]
    board.presence = None
    board.deaf = TransportError(FailureKind.UNREACHABLE, "gone")
    staff.fresh = True
    assert nudged(staff.tick("writer"))
    assert board.heard == []


def test_a_word_that_was_said_before_the_look_and_is_over_defers_nothing(tmp_path: Path) -> None:
    staff = stalled(tmp_path)
    board = staff.world["workboard"]
    board.presence = (Presence("writer", False, None, "agent:writer:main", talked_at=staff.now - 11 * MINUTE),)
    assert nudged(staff.tick("writer"))
    assert board.heard == [frozenset({"writer"})]


def partly(*said: Presence) -> PartlyHeardError:
    return PartlyHeardError(FailureKind.TIMEOUT, "no answer in time", heard=said, unheard=frozenset({"writer"}))


def test_B4_who_could_not_be_heard_in_time_is_not_known_and_on_record_by_name(tmp_path: Path) -> None:
    staff = stalled(tmp_path)
    board = staff.world["workboard"]
    board.deaf = partly(word("coo", 0))
    tick = staff.tick("writer")
    assert nudged(tick)
    (told,) = [entry.message for entry in staff.store.log() if entry.action == "talk-unknown"]
    assert told == "whether a person is talking to writer could not be asked anew of workboard: no answer in time"
    assert tick.observation is not None
    scene = tick.observation.judgement.scene
    assert word("coo", 0) in scene.presence
    assert scene.unheard == {"writer": frozenset({"workboard"})}
    assert "workboard" not in scene.presence_unknown


def _same(at: datetime) -> datetime:
    return at


def test_B4_whoever_is_about_to_be_started_is_heard_first_and_the_others_in_turns(tmp_path: Path) -> None:
    staff = stalled(tmp_path)
    seen = staff.tick("coo").observation
    assert seen is not None
    names = [f"agent-{number}" for number in range(6)]
    asked: list[tuple[str, ...]] = []

    class Listener(ScriptedSystem):
        def hear(self, agents: Collection[str], deadline: Deadline, now: datetime) -> tuple[Presence, ...]:
            asked.append(tuple(agents))
            return ()

    board = Listener(name="workboard")
    for minute in range(1, 30):
        at = staff.now + minute * MINUTE
        ear = Ear({}, staff.store, partial(_same, at), Deadline.after(9), lambda name, roster, environment: board)
        ear.listened(seen, names, "agent-4")
    assert {each[0] for each in asked} == {"agent-4"}
    assert all(sorted(each) == names for each in asked)
    assert {each[-1] for each in asked} == set(names) - {"agent-4"}
