"""A stalled task from the first suspicion to the end of the ladder, and what stops it on the way (rules T, L)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from heartbeat.action import Operation
from heartbeat.memory import Ending, Stage, Step, StepOutcome
from heartbeat.task import Owner, OwnerKind, Status
from tests.support.items import NOW, card, issue
from tests.support.rosters import make_agent
from tests.support.scripted_writer import Fault, ScriptedSystem, ScriptedWorld
from tests.support.team import Team

MINUTE = timedelta(minutes=1)
WRITER = Owner(OwnerKind.AGENT, "writer")
AGENTS = (
    make_agent("coo", "high_frequency", patrol=True, notify=("self",)),
    make_agent("writer", "high_frequency", notify=("coo",), backup="second"),
    make_agent("second", "high_frequency", notify=("coo",)),
)


def board(*items: object) -> ScriptedSystem:
    system = ScriptedSystem(*items, name="workboard")  # type: ignore[arg-type]
    for item in system.items.values():
        if item.status is Status.IN_PROGRESS:
            system.claimants[item.ref] = item.owner.id
    return system


def team(world: ScriptedWorld, folder: Path) -> Team:
    return Team(world, folder, AGENTS)


def stuck(number: int = 1) -> object:
    return card(number, f"Reconcile ledger {number}", Status.IN_PROGRESS, owner=WRITER, started_at=NOW, updated_at=NOW)


def operations(world: ScriptedWorld) -> list[Operation]:
    return [write.operation for write in world.effects]


def test_L1_to_L3_a_card_that_nobody_works_on_is_nudged_recovered_handed_over_and_blocked(tmp_path: Path) -> None:
    cards = board(stuck())
    (item,) = cards.items.values()
    staff = team(ScriptedWorld(cards), tmp_path)
    staff.tick()
    staff.beat()
    assert staff.incidents == ()
    staff.beat()  # 20 minutes: suspected
    (incident,) = staff.incidents
    assert incident.stage is Stage.SUSPECTED
    assert incident.nudged_at == staff.now
    assert operations(staff.world) == []
    staff.beat()  # 30 minutes, and the nudge was shown 10 minutes ago: recovered
    (incident,) = staff.incidents
    assert (incident.stage, incident.number) == (Stage.RECOVERED, 1)
    assert operations(staff.world) == [Operation.RECOVER]
    assert cards.items[item.ref].status is Status.TODO
    assert item.ref not in cards.claimants
    staff.beat()
    assert staff.incidents[0].ending is Ending.HANDED_OVER
    assert len(staff.messages("coo")) == 1

    for round_, agent in ((2, "writer"), (3, "second")):
        cards.take(item.ref, agent, staff.now)
        staff.beats(5)
        newest = staff.incidents[0]
        assert newest.number == round_, newest
    assert operations(staff.world) == [Operation.RECOVER, Operation.RECOVER, Operation.ASSIGN, Operation.BLOCK]
    assert cards.items[item.ref].status is Status.BLOCKED
    (last, *_) = staff.incidents
    assert last.stage is Stage.LEFT_ALONE
    staff.beat()
    assert [letter.level.value for letter in staff.postbox.letters] == ["critical"], staff.store.entries()[-3:]

    effects = len(staff.world.effects)
    staff.beats(50)
    assert len(staff.world.effects) == effects
    assert staff.incidents[0].open


def test_L3_what_was_left_alone_starts_anew_when_a_person_changes_it(tmp_path: Path) -> None:
    cards = board(stuck())
    (item,) = cards.items.values()
    staff = team(ScriptedWorld(cards), tmp_path)
    staff.tick()
    for _ in range(3):
        staff.beats(6)
        if cards.items[item.ref].status is Status.TODO:
            cards.take(item.ref, "writer", staff.now)
    assert staff.incidents[0].stage is Stage.LEFT_ALONE
    cards.say(item.ref, "I am looking into it", staff.now)
    staff.beat()
    assert staff.incidents[0].ending is Ending.PROGRESS


def test_T2_our_own_comment_never_resets_the_clock_and_a_foreign_one_does(tmp_path: Path) -> None:
    cards = board(stuck())
    (item,) = cards.items.values()
    staff = team(ScriptedWorld(cards), tmp_path)
    staff.tick()
    staff.beats(2)
    cards.say(item.ref, "still waiting for the bank", staff.now)
    staff.beats(1)
    assert staff.incidents[0].ending is Ending.PROGRESS
    staff.beats(1)
    assert len(staff.incidents) == 2
    assert operations(staff.world) == []


def test_T7_a_card_whose_agent_has_an_active_run_is_told_about_and_not_touched(tmp_path: Path) -> None:
    from heartbeat.task import Presence

    cards = board(stuck())
    staff = team(ScriptedWorld(cards), tmp_path)
    staff.tick()
    staff.beats(2)
    cards.active = dict.fromkeys(cards.items, True)
    staff.beats(3)
    assert operations(staff.world) == []
    (incident,) = staff.incidents
    assert incident.stage in (Stage.TOLD, Stage.RECOVERED)
    keys = [entry.key.split("/")[1] for entry in staff.messages("coo")]
    assert keys == ["told"], "nobody is told of a recovery that did not happen"
    cards.presence = (Presence("writer", True, staff.now, "agent:writer:main"),)
    staff.beats(3)
    assert operations(staff.world) == []


def test_L6_a_claim_that_changed_owner_in_between_is_not_taken_away(tmp_path: Path) -> None:
    cards = board(stuck())
    (item,) = cards.items.values()
    staff = team(ScriptedWorld(cards), tmp_path)
    staff.tick()
    staff.beats(2)
    cards.meanwhile = lambda: cards.take(item.ref, "second", staff.now)
    staff.beats(3)
    assert operations(staff.world) == []
    assert cards.claimants[item.ref] == "second"


def test_T6_the_first_install_on_an_old_board_writes_nothing_and_gives_one_alarm(tmp_path: Path) -> None:
    old = [
        card(n, f"Old {n}", Status.IN_PROGRESS, owner=WRITER, started_at=NOW - timedelta(days=3)) for n in range(1, 51)
    ]
    busy = [card(n, f"Busy {n}", Status.IN_PROGRESS, owner=WRITER, started_at=NOW) for n in range(51, 201)]
    cards = board(*old, *busy)
    staff = team(ScriptedWorld(cards), tmp_path)
    staff.tick()
    staff.beat()
    assert staff.incidents == ()
    assert staff.messages("ops") == staff.messages("coo") == []
    for _ in range(30):
        for item in busy:
            cards.say(item.ref, "going on", staff.now)
        staff.beat()
    assert operations(staff.world) == []
    assert len(staff.messages("ops")) == 1
    assert len([entry for entry in staff.messages("coo") if entry.key.startswith("storm/")]) == 1


def test_S2_an_outage_of_a_day_sets_off_nothing(tmp_path: Path) -> None:
    from heartbeat.systems.base import FailureKind, TransportError

    cards = board(*(stuck(n) for n in range(1, 8)))
    staff = team(ScriptedWorld(cards), tmp_path)
    staff.tick()
    staff.beat()
    cards.failure = TransportError(FailureKind.UNREACHABLE, "the Gateway is down")
    staff.beats(144)
    assert staff.incidents == ()
    assert staff.messages("coo") == staff.messages("ops") == []
    cards.failure = None
    staff.beats(2)
    assert operations(staff.world) == []


def test_L4_a_crash_after_the_recovery_was_sent_is_finished_by_the_next_beat_with_one_effect(tmp_path: Path) -> None:
    import pytest

    from tests.support.scripted_writer import Died

    for fault in (Fault.DIES_BEFORE, Fault.DIES_AFTER):
        folder = tmp_path / fault.name
        folder.mkdir()
        cards = board(stuck())
        (item,) = cards.items.values()
        staff = team(ScriptedWorld(cards), folder)
        staff.tick()
        staff.beats(2)
        cards.fail_writes(fault)
        with pytest.raises(Died):
            staff.beat()
        staff.beat()
        assert operations(staff.world) == [Operation.RECOVER]
        assert len(cards.texts[item.ref]) == 1
        taken = staff.incidents[0].taken(Step.RECOVER)
        assert taken is not None
        assert taken.outcome is StepOutcome.DONE


def test_L2_an_issue_is_blocked_by_us_and_stands_in_the_worklist_of_the_coo(tmp_path: Path) -> None:
    one = issue(31, "Quarterly report", Status.IN_PROGRESS, owner=WRITER, updated_at=NOW)
    issues = ScriptedSystem(one, name="multica")
    staff = team(ScriptedWorld(issues), tmp_path)
    staff.tick()
    staff.beats(4)
    assert issues.items[one.ref].status is Status.BLOCKED
    seen = staff.beat("coo")
    (beat,) = seen.beats
    assert [each.task.key for each in beat.attention] == [str(one.ref)]
    staff.beats(144)
    assert operations(staff.world) == [Operation.RECOVER]
    assert len(issues.texts[one.ref]) == 1


def test_T6_who_resolves_one_of_a_storm_does_not_let_the_others_go(tmp_path: Path) -> None:
    cards = board(*(stuck(number) for number in range(1, 5)))
    staff = team(ScriptedWorld(cards), tmp_path)
    staff.tick()
    staff.beats(8)
    assert operations(staff.world) == []
    assert [entry.action for entry in staff.store.log()].count("storm") == 1
    one = staff.incidents[0]
    staff.store.put_incident(replace(one, stage=Stage.ENDED, ending=Ending.RESOLVED, ended_at=staff.now))
    staff.beats(8)
    assert operations(staff.world) == [], "the storm holds until somebody decides about each, or allows as many"
    staff.escalation = {"storm": 4}
    staff.beats(2)
    assert operations(staff.world) == [Operation.RECOVER] * 3
