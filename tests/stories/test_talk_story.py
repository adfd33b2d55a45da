"""A person talks with an agent whose work stands still: what waits for the end of the talk, and what does not (B4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from heartbeat.action import Operation
from heartbeat.beat import Beat, Tick, rehearse
from heartbeat.cli.scheduled import lines
from heartbeat.memory import Ending, Stage, Step, StepOutcome
from heartbeat.store.port import EntryState
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.task import Item, Owner, OwnerKind, Presence, Status
from tests.support.items import NOW, card
from tests.support.rosters import make_agent
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld
from tests.support.team import Team

MINUTE = timedelta(minutes=1)
WRITER = Owner(OwnerKind.AGENT, "writer")
AGENTS = (
    make_agent("coo", "high_frequency", patrol=True, notify=("self",)),
    make_agent("writer", "high_frequency", notify=("coo",)),
)
HALF_AN_HOUR = {"quiet_after_talk": 30 * MINUTE}


def stuck(**changes: Any) -> Item:
    fields: dict[str, Any] = {"owner": WRITER, "started_at": NOW, "updated_at": NOW, **changes}
    return card(1, "Reconcile the ledger", Status.IN_PROGRESS, **fields)


def team(folder: Path, **extra: Any) -> Team:
    board = ScriptedSystem(stuck(), name="workboard")
    board.claimants[stuck().ref] = "writer"
    staff = Team(ScriptedWorld(board), folder, AGENTS, extra=extra)
    staff.tick()
    return staff


def talk(staff: Team, at: datetime) -> None:
    """A person says something to the writer, which is a sign of the writer's life as well (rule T1)."""
    word = Presence("writer", False, at, "agent:writer:main", talked_at=at)
    staff.world["workboard"].presence = (word,)


def beat_of(tick: Tick, agent: str = "writer") -> Beat:
    return next(each for each in tick.beats if each.agent.id == agent)


def actions(staff: Team) -> list[str]:
    return [entry.action for entry in staff.store.log() if entry.action != "notify"]


def operations(staff: Team) -> list[Operation]:
    return [write.operation for write in staff.world.effects]


def test_B4_a_nudge_waits_for_the_end_of_the_talk_and_the_recovery_for_the_nudge(tmp_path: Path) -> None:
    staff = team(tmp_path, **HALF_AN_HOUR)
    talk(staff, NOW + MINUTE)
    staff.beats(2)
    assert staff.incidents == (), "19 minutes without a sign of life"
    talking = staff.beat()  # 29 minutes: suspected, and the person's last word was 29 minutes ago
    (opened,) = staff.incidents
    assert (opened.stage, opened.steps, opened.why) == (
        Stage.SUSPECTED,
        (),
        "deferred: a person is talking to writer",
    )
    assert staff.messages("writer") == []
    assert actions(staff) == ["incident-opened", "deferred"]
    receipt = beat_of(talking).receipt
    assert receipt is not None
    assert receipt.reasons == ("deferred: a person is talking to writer until 2026-11-21T04:31:00.000Z",)
    assert beat_of(talking, "coo").deferred == ""
    (line,) = (line for line in lines(talking, staff.now) if "writer" in line)
    assert line.count("deferred: ") == 1

    after = staff.beat()  # 39 minutes: the talk is over
    (nudge,) = beat_of(after).inbox
    assert nudge.key == f"{opened.id}/nudge/writer", "the same nudge that it would have been"
    (nudged,) = staff.incidents
    assert (nudged.id, nudged.nudged_at, nudged.why) == (opened.id, staff.now, "")
    assert operations(staff) == []
    staff.beat()  # and 10 minutes later, since the nudge has to come first
    assert operations(staff) == [Operation.RECOVER]
    assert actions(staff).count("deferred") == 1


def test_B4_a_talk_that_goes_on_is_told_once(tmp_path: Path) -> None:
    staff = team(tmp_path, **HALF_AN_HOUR)
    reclaimed = replace(stuck(), status=Status.BLOCKED, reclaimed=True)
    staff.world["workboard"].items[reclaimed.ref] = reclaimed
    for _ in range(30):
        talk(staff, staff.now)
        staff.beat()
    assert actions(staff) == ["incident-opened", "deferred"]
    assert staff.messages("writer") == []
    reasons = [receipt.reasons for receipt in staff.store.receipts("writer", limit=30)]
    assert all(len(told) == 1 and told[0].startswith("deferred: ") for told in reasons), "each beat says it again"
    staff.beats(4)
    assert Step.NUDGE in [taken.step for taken in staff.incidents[0].steps]


def test_B4_a_nudge_that_waits_already_is_not_handed_out_and_everything_else_is(tmp_path: Path) -> None:
    staff = team(tmp_path)
    staff.beats(2, "coo")  # the writer has not beaten since: the patrol agent acts, and nobody shows the nudge
    (nudge,) = staff.messages("writer")
    talk(staff, staff.now - 2 * MINUTE)
    talking = beat_of(staff.tick("writer"))
    assert talking.inbox == ()
    assert talking.deferred == "deferred: a person is talking to writer until 2026-11-21T04:28:00.000Z"
    assert talking.worklist is not None
    assert [each.task.ref for each in talking.worklist.standings] == [stuck().ref]
    assert [entry.state for entry in staff.messages("writer")] == [EntryState.PENDING]
    staff.store.enqueue([replace(nudge, key="storm/1/writer", incident="")])
    (other,) = beat_of(staff.tick("writer")).inbox
    assert other.key == "storm/1/writer"
    (shown,) = beat_of(staff.beat("writer")).inbox
    assert shown.key == nudge.key


def test_B3_a_rehearsal_and_the_agents_own_look_keep_the_nudge_back_as_the_beat_does(tmp_path: Path) -> None:
    staff = team(tmp_path)
    staff.beats(2)
    assert [entry.state for entry in staff.messages("writer")] == [EntryState.DONE]

    def shown() -> Beat:
        return beat_of(rehearse(staff.observe(), staff.roster.chosen(["writer"]), staff.store))

    staff.pass_time(3 * MINUTE)
    assert [entry.key for entry in shown().inbox] == [staff.messages("writer")[0].key], "what was shown lately"
    talk(staff, staff.now)
    assert (shown().inbox, shown().deferred) == ((), ""), "nothing waits, and nothing is said twice"


def test_B4_a_talk_with_somebody_else_is_nobody_elses_business(tmp_path: Path) -> None:
    staff = team(tmp_path, **HALF_AN_HOUR)
    word = Presence("coo", False, NOW, "agent:coo:main", talked_at=NOW + 15 * MINUTE)
    staff.world["workboard"].presence = (word,)
    staff.beats(2)
    assert [taken.outcome for taken in staff.incidents[0].steps] == [StepOutcome.DONE]
    assert "deferred" not in actions(staff)


def test_B4_without_a_source_that_tells_nothing_is_deferred(tmp_path: Path) -> None:
    staff = team(tmp_path, **HALF_AN_HOUR)
    staff.world["workboard"].presence = None
    staff.beats(2)
    assert staff.incidents[0].nudged_at == staff.now


def test_L5_a_talk_in_which_the_work_goes_on_ends_the_incident_and_leaves_no_nudge(tmp_path: Path) -> None:
    staff = team(tmp_path, **HALF_AN_HOUR)
    talk(staff, NOW + MINUTE)
    staff.beats(3)
    talk(staff, staff.now + 5 * MINUTE)
    staff.beat()
    assert staff.incidents[0].ending is Ending.PROGRESS
    assert staff.messages("writer") == []


HOUR = 60 * MINUTE


def hourly(folder: Path, **changes: Any) -> Team:
    """Agents that beat each hour and share what was read for half of one, as with a real board."""
    agents = tuple(replace(each, policy=replace(each.policy, every=HOUR, **changes)) for each in AGENTS)
    board = ScriptedSystem(stuck(), name="workboard")
    board.claimants[stuck().ref] = "writer"
    board.shared = True
    staff = Team(ScriptedWorld(board), folder, agents, every=HOUR, fresh=False)
    staff.tick("coo", "writer")
    return staff


def spoke_just_now(staff: Team) -> None:
    """Somebody else's beat has read the board, and only then a person speaks."""
    staff.beat("coo")
    staff.beat("coo")
    staff.pass_time(18 * MINUTE)
    talk(staff, staff.now)
    staff.pass_time(9 * MINUTE)


def test_B4_a_talk_that_began_after_the_board_was_read_defers_the_nudge(tmp_path: Path) -> None:
    staff = hourly(tmp_path)
    spoke_just_now(staff)
    reads = staff.world["workboard"].reads
    talking = beat_of(staff.tick("writer"))
    assert staff.world["workboard"].reads == reads, "the board was read 27 minutes ago, and that serves"
    assert talking.inbox == ()
    assert talking.deferred == "deferred: a person is talking to writer until 2026-11-21T06:28:00.000Z"
    assert staff.world["workboard"].heard == [frozenset({"writer"})], "one question, about the writer alone"
    staff.pass_time(MINUTE)
    (nudge,) = beat_of(staff.tick("writer")).inbox
    assert nudge.key == f"{staff.incidents[0].id}/nudge/writer"


def test_B4_nobody_is_asked_about_where_nobody_is_nudged_or_started(tmp_path: Path) -> None:
    staff = hourly(tmp_path)
    staff.pass_time(10 * MINUTE)
    for _ in range(5):
        staff.tick("coo", "writer")
    assert staff.world["workboard"].heard == []


def test_B4_what_was_read_just_now_is_not_asked_for_again(tmp_path: Path) -> None:
    staff = hourly(tmp_path)
    staff.beats(2)
    assert staff.incidents[0].nudged_at is not None
    assert staff.world["workboard"].heard == []


def test_B4_where_it_cannot_be_asked_anew_the_look_decides_and_it_is_on_record(tmp_path: Path) -> None:
    staff = hourly(tmp_path)
    spoke_just_now(staff)
    staff.world["workboard"].deaf = TransportError(FailureKind.UNREACHABLE, "nothing answers")
    (nudge,) = beat_of(staff.tick("writer")).inbox
    assert nudge.key == f"{staff.incidents[0].id}/nudge/writer"
    (told,) = [entry.message for entry in staff.store.log() if entry.action == "talk-unknown"]
    assert told == "whether a person is talking to writer could not be asked anew of workboard: nothing answers"
