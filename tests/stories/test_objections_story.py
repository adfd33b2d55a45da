"""What stands against a step at the last moment, and what becomes of it (rules L5, L6, T5, T7, R3a, C2, B6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from heartbeat.memory import Ending, Hold, Stage, Step
from heartbeat.policy import Recovery
from heartbeat.roster.model import Agent
from heartbeat.store.port import EntryKind, EntryState
from heartbeat.task import Evidence, EvidenceKind, Item, Owner, OwnerKind, Presence, Status
from tests.support.items import NOW, card, issue, line
from tests.support.rosters import make_agent
from tests.support.scripted_writer import Fault, ScriptedSystem, ScriptedWorld
from tests.support.team import Team, with_policy

TITLE = "Write the long report"
WRITER = Owner(OwnerKind.AGENT, "writer")
COO = make_agent("coo", "high_frequency", patrol=True, notify=("self",))
MINUTES = timedelta(minutes=10)


def at_work(item: Item) -> Item:
    return replace(item, status=Status.IN_PROGRESS, owner=WRITER, started_at=NOW, updated_at=NOW)


def writer(**policy: object) -> Agent:
    return make_agent("writer", "high_frequency", **{"notify": ("coo",), **policy})  # type: ignore[arg-type]


def team(folder: Path, *systems: ScriptedSystem, agents: tuple[Agent, ...] = ()) -> Team:
    for system in systems:
        for item in system.items.values():
            if system.claims and item.status is Status.IN_PROGRESS:
                system.claimants[item.ref] = item.owner.id
    staff = Team(ScriptedWorld(*systems), folder, agents or (COO, writer()))
    staff.tick()
    return staff


def writes(staff: Team) -> list[tuple[str, str]]:
    return [
        (entry.payload["write"]["operation"], entry.state.value) for entry in staff.store.entries(kind=EntryKind.WRITE)
    ]


def test_L2_what_we_blocked_stays_with_the_coo_while_its_owner_does_other_work(tmp_path: Path) -> None:
    issues = ScriptedSystem(at_work(issue(2, TITLE)), name="multica")
    staff = team(tmp_path, issues)
    staff.beats(6)
    for _ in range(30):
        issues.presence = (Presence("writer", False, staff.now, "agent:writer:main"),)
        seen = staff.beat()
    (attention,) = [each for beat in seen.beats for each in beat.attention]
    assert attention.task.items[0].status is Status.BLOCKED


def test_C2_a_pause_that_met_a_run_is_tried_again_and_told_only_when_it_was_carried_out(tmp_path: Path) -> None:
    cards = ScriptedSystem(at_work(card(1, TITLE)))
    (ref,) = cards.items
    staff = team(tmp_path, cards, agents=(COO, writer(max_rounds=3)))
    for number in range(3):
        staff.pass_time(MINUTES)
        for kind in (EvidenceKind.RUN, EvidenceKind.COMMENT):
            cards.evidence.append(Evidence(ref, staff.now, kind, f"{kind.value}-{number}"))
        cards.active[ref] = number == 2
        staff.tick()
    assert staff.store.rounds()[ref].paused_at is None
    assert cards.items[ref].status is Status.IN_PROGRESS
    assert not [entry for entry in staff.messages("coo") if entry.key.endswith(":paused/coo")]
    cards.active[ref] = False
    staff.beat()
    assert cards.items[ref].status is Status.BLOCKED
    assert staff.store.rounds()[ref].paused_at == staff.now
    assert len([entry for entry in staff.messages("coo") if entry.key.endswith(":paused/coo")]) == 1


def until_a_write_waits(staff: Team, cards: ScriptedSystem) -> None:
    cards.fail_writes(Fault.DOWN)
    while not staff.store.entries(kind=EntryKind.WRITE):
        staff.beat()
    assert writes(staff) == [("recover", "pending")]


@pytest.mark.parametrize("recovery", [Recovery.OBSERVE, Recovery.NOTIFY])
def test_R3a_a_write_that_waits_is_withdrawn_when_the_roster_no_longer_wants_it(
    tmp_path: Path, recovery: Recovery
) -> None:
    cards = ScriptedSystem(at_work(card(1, TITLE)))
    staff = team(tmp_path, cards)
    until_a_write_waits(staff, cards)
    staff.agents = (COO, with_policy(writer(), recovery=recovery))
    staff.beat()
    assert writes(staff) == [("recover", "conflict")]
    assert staff.world.effects == []


def test_T5_a_hold_stops_a_write_that_waits_already(tmp_path: Path) -> None:
    cards = ScriptedSystem(at_work(card(1, TITLE)))
    (ref,) = cards.items
    staff = team(tmp_path, cards)
    until_a_write_waits(staff, cards)
    staff.store.put_hold(Hold(ref, staff.now, staff.now + timedelta(hours=5), "a long migration"))
    staff.beats(3)
    assert staff.world.effects == []


def test_B6_a_clock_that_is_set_back_a_day_holds_up_no_write(tmp_path: Path) -> None:
    cards = ScriptedSystem(at_work(card(1, TITLE)))
    staff = team(tmp_path, cards)
    until_a_write_waits(staff, cards)
    staff.pass_time(timedelta(days=-1))
    staff.beat()
    assert writes(staff)[0][1] != "pending"


def test_T7_a_run_that_only_the_write_sees_is_told_once_and_nobody_is_nudged_again(tmp_path: Path) -> None:
    cards = ScriptedSystem(at_work(card(1, TITLE)))
    (ref,) = cards.items
    staff = team(tmp_path, cards)
    cards.active[ref] = None
    staff.beats(60)
    (incident,) = staff.incidents
    assert incident.stage in (Stage.TOLD, Stage.RECOVERED)
    assert staff.world.effects == []
    assert [entry.key.split("/")[1] for entry in staff.messages("writer")] == ["nudge"]
    assert [entry.key.split("/")[1] for entry in staff.messages("coo")] == ["told"]
    cards.active[ref] = False
    staff.beats(2)
    assert [write.operation.value for write in staff.world.effects] == ["recover"]


def test_L3_a_hand_over_that_is_tried_again_leaves_alone_what_was_finished_meanwhile(tmp_path: Path) -> None:
    cards = ScriptedSystem(at_work(card(1, TITLE)))
    (ref,) = cards.items
    staff = team(tmp_path, cards, agents=(COO, replace(writer(), backup="coo")))
    while len(staff.world.effects) < 1:
        staff.beat()
    cards.take(ref, "writer", staff.now)
    while not any(Step.HAND_OVER.value in entry.key for entry in staff.store.entries(kind=EntryKind.WRITE)):
        if not cards._faults and staff.incidents[0].number == 1 and staff.incidents[0].open:
            cards._faults.clear()
        cards.fail_looks()
        staff.beat()
    entry = next(each for each in staff.store.entries(kind=EntryKind.WRITE) if Step.HAND_OVER.value in each.key)
    staff.store.settle_entry(entry.key, EntryState.PENDING, staff.now, due_at=staff.now)
    cards.change(ref, staff.now, status=Status.DONE)
    staff.beat()
    again = staff.store.entry(entry.key)
    assert again is not None
    assert again.state is not EntryState.DONE or cards.items[ref].status is Status.DONE
    assert cards.items[ref].status is Status.DONE


def test_L5_a_recovery_that_could_not_be_carried_out_is_given_up_told_and_begun_anew(tmp_path: Path) -> None:
    cards = ScriptedSystem(at_work(card(1, TITLE)))
    staff = team(tmp_path, cards)
    staff.beats(2)
    cards.fail_writes(*[Fault.UNSUPPORTED] * 2)
    staff.beats(12)
    endings = [incident.ending for incident in staff.incidents if not incident.open]
    assert endings[-1] is Ending.GIVEN_UP
    assert [entry for entry in staff.messages("ops") if entry.key.startswith("undone/")]
    assert [write.operation.value for write in staff.world.effects][:1] == ["recover"]
    assert all(incident.number <= 1 for incident in staff.incidents)


def test_L2_a_line_beside_a_recovered_card_does_not_climb_on_by_itself(tmp_path: Path) -> None:
    todo_line = replace(at_work(line(2, TITLE)), started_at=None, updated_at=None)
    cards, lines = ScriptedSystem(card(1, TITLE, owner=WRITER)), ScriptedSystem(todo_line, name="todo")
    lines.stays_at_work = True  # type: ignore[attr-defined]
    staff = team(tmp_path, cards, lines)
    original = lines._alter
    lines._alter = lambda write, item, now: (  # type: ignore[method-assign]
        iter(()) if write.operation.value == "recover" else original(write, item, now)
    )
    staff.beat()
    cards.take(next(iter(cards.items)), "writer", staff.now)
    staff.beats(60)
    assert (
        sum(write.operation.value == "recover" and write.ref.source == "workboard" for write in staff.world.effects)
        == 1
    )
    assert len([incident for incident in staff.incidents if incident.number]) == 1


@pytest.mark.parametrize("how", ["a person has it", "its owner left", "its source was given up"])
def test_L5_without_a_patrol_an_incident_ends_all_the_same(tmp_path: Path, how: str) -> None:
    cards, issues = ScriptedSystem(at_work(card(1, TITLE))), ScriptedSystem(name="multica")
    (ref,) = cards.items
    agents = (writer(), make_agent("other", "high_frequency"))
    staff = team(tmp_path, cards, issues, agents=agents)
    staff.beats(3)
    assert [incident.open for incident in staff.incidents] == [True]
    if how == "a person has it":
        cards.change(ref, staff.now, owner=Owner(OwnerKind.PERSON, "Alice"), status=Status.DONE)
    elif how == "its owner left":
        staff.agents = agents[1:]
        cards.change(ref, staff.now, status=Status.DONE)
    else:
        staff.world = ScriptedWorld(issues)
    staff.beats(5)
    assert [incident.open for incident in staff.incidents] == [False]
