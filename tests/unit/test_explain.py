"""Everything that is known of one task, put together: at every stage of the ladder, and when nobody shows it (B5)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from heartbeat.acting import acting
from heartbeat.memory import Hold, Pause, Stage
from heartbeat.observation import Observation
from heartbeat.report.explain import NEWS, SIGNS, Explanation, Records, explain
from heartbeat.report.outlook import Next, Outlook
from heartbeat.rules.stall import Level
from heartbeat.store.port import UNFINISHED, EntryKind, LogEntry
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.task import NOBODY, Evidence, EvidenceKind, Finding, Item, Owner, OwnerKind, Presence, Ref, Status
from tests.support.items import ALICE, NOW, card, issue, parents
from tests.support.rosters import make_agent
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld
from tests.support.team import Team

MINUTE = timedelta(minutes=1)
WRITER = Owner(OwnerKind.AGENT, "writer")
AGENTS = (
    make_agent("coo", "high_frequency", patrol=True, notify=("self",)),
    make_agent("writer", "high_frequency", notify=("coo",)),
)


def stuck(number: int = 1, **changes: Any) -> Item:
    fields: dict[str, Any] = {"owner": WRITER, "started_at": NOW, "updated_at": NOW, **changes}
    return card(number, f"Reconcile ledger {number}", Status.IN_PROGRESS, **fields)


def board(*items: Item) -> ScriptedSystem:
    system = ScriptedSystem(*items, name="workboard")
    for item in items:
        if item.status is Status.IN_PROGRESS:
            system.claimants[item.ref] = item.owner.id
    return system


def team(folder: Path, *systems: ScriptedSystem) -> Team:
    staff = Team(ScriptedWorld(*systems), folder, AGENTS)
    staff.tick()
    return staff


def told(staff: Team, *refs: Ref, observation: Observation | None = None, **changes: Any) -> Explanation:
    seen = observation or staff.observe()
    store = staff.store
    entries = store.entries(kind=EntryKind.WRITE, states=UNFINISHED)
    asked = refs or (stuck().ref,)
    fields: dict[str, Any] = {
        "title": "",
        "owner": NOBODY,
        "records": Records(store.links(), store.incidents(), store.entries(), store.log()),
        "findings": seen.assessment.findings,
        **changes,
    }
    return explain(Outlook(seen.judgement, staff.roster.charter(), acting(seen, ()), entries), asked, **fields)


def said(explanation: Explanation, about: str) -> list[str]:
    return [each.message for each in explanation.reasons if each.about == about]


def test_a_task_that_goes_on_has_its_clock_its_signs_and_the_next_step(tmp_path: Path) -> None:
    cards = board(stuck())
    staff = team(tmp_path, cards)
    staff.pass_time(15 * MINUTE)
    cards.say(stuck().ref, "half done", staff.now)
    staff.pass_time(MINUTE)
    found = told(staff)
    assert found.title == "Reconcile ledger 1"
    assert found.owner == WRITER
    assert found.stall is not None
    assert (found.stall.level, found.stall.idle, found.stall.runtime) == (Level.NONE, MINUTE, 16 * MINUTE)
    assert found.stall.activity is not None
    assert (found.stall.activity.kind, found.stall.activity.at) == (EvidenceKind.COMMENT, NOW + 15 * MINUTE)
    assert [(sign.evidence.kind, sign.own, sign.counts) for sign in found.signs] == [
        (EvidenceKind.COMMENT, False, "progress")
    ]
    assert found.next == Next("nudge", NOW + 35 * MINUTE)
    assert said(found, "ladder") == ["no incident"]
    assert said(found, "stall") == ["last sign of life 1m ago, suspected from 20m on"]
    assert said(found, "recovery") == ["heartbeat may take it from its worker"]


def test_L1_to_L5_every_step_with_its_outcome_and_every_message_is_told(tmp_path: Path) -> None:
    cards = board(stuck())
    staff = team(tmp_path, cards)
    staff.beats(2)
    found = told(staff)
    (incident,) = found.records.incidents
    assert said(found, "ladder") == [f"incident {incident.id}: suspected"]
    assert found.next == Next("recover", NOW + 30 * MINUTE)
    staff.beats(1)
    found = told(staff)
    (incident,) = found.records.incidents
    steps = [(step.step.value, step.outcome.value) for step in incident.steps]
    assert steps == [("nudge", "done"), ("recover", "done")]
    assert [entry.kind for entry in found.records.entries] == [EntryKind.INBOX, EntryKind.WRITE, EntryKind.INBOX]
    assert {note.action for note in found.records.log} >= {
        "incident-opened",
        "step-nudge",
        "step-recover",
        "write-done",
    }
    assert found.next.action == "none"
    assert said(found, "stall") == ["not judged: nobody has begun it"]
    cards.take(stuck().ref, "writer", staff.now + MINUTE)
    staff.beats(3)
    found = told(staff)
    assert [each.stage for each in found.records.incidents] == [Stage.SUSPECTED, Stage.ENDED]
    assert found.records.incidents[0].opened_at > found.records.incidents[1].opened_at


def test_T2_what_heartbeat_wrote_itself_is_told_apart_and_counts_as_nothing(tmp_path: Path) -> None:
    cards = board(stuck())
    staff = team(tmp_path, cards)
    staff.beats(3)
    found = told(staff)
    assert found.signs
    assert {(sign.own, sign.counts) for sign in found.signs} == {(True, "nothing")}
    cards.evidence.append(Evidence(stuck().ref, staff.now, EvidenceKind.SWEEP, "dispatch"))
    cards.evidence.append(Evidence(stuck().ref, staff.now, EvidenceKind.CLAIM_HEARTBEAT, "alive"))
    counts = {sign.evidence.kind: (sign.own, sign.counts) for sign in told(staff).signs}
    assert counts[EvidenceKind.SWEEP] == (False, "nothing")
    assert counts[EvidenceKind.CLAIM_HEARTBEAT] == (False, "activity")


def test_only_the_newest_signs_and_notes_are_told_and_only_those_about_it(tmp_path: Path) -> None:
    cards = board(stuck(), stuck(2))
    staff = team(tmp_path, cards)
    for number in range(SIGNS + 5):
        cards.say(stuck().ref, f"line {number}", NOW + number * timedelta(seconds=1))
    cards.say(stuck(2).ref, "another matter", staff.now)
    staff.store.add_log([LogEntry(NOW, "note", f"line {number}", task=str(stuck().ref)) for number in range(NEWS + 5)])
    staff.store.add_log([LogEntry(NOW, "note", "another matter", task=str(stuck(2).ref))])
    found = told(staff)
    assert len(found.signs) == SIGNS
    assert found.signs[0].evidence.at == NOW + (SIGNS + 4) * timedelta(seconds=1)
    assert {sign.evidence.ref for sign in found.signs} == {stuck().ref}
    assert [note.message for note in found.records.log][-1] == f"line {NEWS + 4}"
    assert len(found.records.log) == NEWS
    assert "another matter" not in [note.message for note in found.records.log]


def test_M1_the_links_tell_how_and_since_when_it_is_one_task(tmp_path: Path) -> None:
    twin = issue(7, "Reconcile ledger 1", Status.TODO, owner=WRITER)
    staff = team(tmp_path, board(card(1, "Reconcile ledger 1", owner=WRITER)), ScriptedSystem(twin, name="multica"))
    staff.beats(1)
    found = told(staff)
    assert found.refs == (stuck().ref, twin.ref)
    (bond,) = found.bonds
    assert ({bond.first, bond.second}, bond.via, bond.made_at) == ({stuck().ref, twin.ref}, "title", NOW)
    assert said(found, "state") == ["same task as BIZ-7 (linked earlier)"]
    assert told(staff, twin.ref).refs == found.refs
    assert said(found, "status") == ["todo: 00000001 says todo, BIZ-7 says todo"]


def test_D4_what_it_waits_for_since_when_and_when_that_is_told(tmp_path: Path) -> None:
    waiting = card(2, "Publish the ledger", owner=WRITER, depends_on=parents(stuck().ref.id))
    staff = team(tmp_path, board(stuck(), waiting))
    staff.beats(1)
    (wait,) = told(staff, waiting.ref).waits
    assert (wait.since, wait.told_at) == (NOW, NOW + timedelta(hours=1))
    assert (wait.title, wait.owner, wait.wait.blocker) == ("Reconcile ledger 1", WRITER, str(stuck().ref))
    assert [each.task.title for each in told(staff).blocks] == ["Publish the ledger"]
    assert said(told(staff, waiting.ref), "waiting") == [wait.wait.reason]
    assert said(told(staff, waiting.ref), "state") == []


def test_T5_C1_holds_pauses_rounds_and_turns_are_told(tmp_path: Path) -> None:
    cards = board(stuck())
    cards.presence = (Presence("writer", True, NOW, "agent:writer:main"), Presence("coo", True, NOW, "agent:coo:main"))
    staff = team(tmp_path, cards)
    hold = Hold(stuck().ref, staff.now, NOW + 90 * MINUTE, "a long migration", "coo")
    pause = Pause("writer", staff.now, None, "lunch")
    staff.store.put_hold(hold)
    staff.store.put_pause(pause)
    found = told(staff)
    assert (found.hold, found.pause) == (hold, pause)
    assert [each.id for each in found.presence] == ["agent:writer:main"]
    assert found.rounds is not None
    assert (found.rounds.used, found.limit) == (1, 50)
    assert said(found, "rounds") == ["1 of 50 rounds used, 0 in a row without progress"]
    assert said(found, "pause") == ["writer is paused until it is resumed: lunch"]
    rules = {each.rule for each in found.reasons if each.about == "stall"}
    assert rules == {"T3", "T7", "T6"}
    assert sum("held until" in each.message for each in found.reasons) == 1


def test_B4_that_a_person_talks_to_its_owner_is_told_and_what_waits_for_that(tmp_path: Path) -> None:
    cards = board(stuck())
    staff = team(tmp_path, cards)
    staff.extra = {"quiet_after_talk": 25 * MINUTE}
    cards.presence = (Presence("writer", False, NOW, "agent:writer:main", talked_at=NOW),)
    assert [each.rule for each in told(staff).reasons if each.about == "talk"] == ["B4"]
    staff.beats(2)
    found = told(staff)
    assert said(found, "talk") == [
        "a person is talking to writer, last heard 2026-11-21T04:00:00.000Z: not nudged before 2026-11-21T04:25:00.000Z"
    ]
    assert "deferred: a person is talking to writer until 2026-11-21T04:25:00.000Z" in said(found, "ladder")
    assert [each.action for each in found.records.log] == ["incident-opened", "deferred"]
    staff.beat()
    assert said(told(staff), "talk") == []


def test_S6a_whose_it_is_and_why_it_is_not_judged(tmp_path: Path) -> None:
    staff = team(
        tmp_path, board(stuck(1, owner=ALICE), card(2, "Over", Status.DONE), card(3, "Nobody's", owner=NOBODY))
    )
    hers = told(staff)
    assert hers.stall is None
    assert said(hers, "stall") == ["not judged: it is a person's"]
    assert said(hers, "owner") == ["Alice is a person: it stands on nobody's worklist and is never called stalled"]
    assert said(told(staff, card(2, "").ref), "stall") == ["not judged: it is closed"]
    assert said(told(staff, card(3, "").ref), "owner") == ["nobody owns it"]


def test_S2_a_source_that_is_down_leaves_what_is_on_record(tmp_path: Path) -> None:
    cards = board(stuck())
    staff = team(tmp_path, cards)
    staff.beats(2)
    cards.failure = TransportError(FailureKind.UNREACHABLE, "the Gateway is down")
    found = told(staff, title="Reconcile ledger 1", owner=WRITER)
    assert (found.standing, found.title, found.owner) == (None, "Reconcile ledger 1", WRITER)
    assert len(found.records.incidents) == 1
    assert len(found.clocks) == 1
    assert found.next == Next(why="it cannot be seen now: workboard was not read")
    assert said(found, "origin") == [f"{found.next.why}; what follows is what heartbeat remembers"]
    cards.failure = None
    cards.items.clear()
    assert told(staff).next == Next(why="no source shows it any more")


def test_L0_that_its_owner_is_silent_is_told_and_nobody_elses_silence(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    assert said(told(staff, silent={"coo": NOW}), "silence") == []
    (silence,) = said(told(staff, silent={"writer": NOW}), "silence")
    assert silence == "writer has left no receipt since 2026-11-21T04:00:00.000Z: a patrol agent acts for it"


def test_findings_about_it_are_told_and_no_others(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck(), stuck(2)))
    findings = (Finding("mine", "a", (stuck().ref,)), Finding("other", "b", (stuck(2).ref,)), Finding("all", "c"))
    assert [each.code for each in told(staff, findings=findings).findings] == ["mine"]


def test_B5_without_memory_it_says_so(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    seen = staff.observe()
    alone = replace(seen.judgement.memory, without=True)
    found = told(staff, observation=replace(seen, judgement=replace(seen.judgement, memory=alone)))
    assert found.next.why == "counted from now, as if a beat began to remember"
