"""`heartbeat incidents` and `heartbeat resolve` (rules L1 to L5, B7, B8)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.memory import Ending, Stage, Step, StepOutcome
from heartbeat.store.port import EntryKind, EntryState
from tests.support.command import heartbeat, tree
from tests.support.operations import (
    AT,
    ENDED,
    GOALS,
    HOSTILE,
    INCIDENT,
    NOW,
    cannot_write,
    looking,
    lose_memory,
    message_entry,
    remembering,
    write_entry,
)


@pytest.fixture
def stalled(team: Path) -> Path:
    with remembering(team) as store:
        store.put_incident(INCIDENT)
        store.put_incident(ENDED)
    return team


def test_without_state_there_is_no_incident_and_nothing_is_made(team: Path) -> None:
    before = tree(team)
    done = heartbeat("incidents", cwd=team)
    assert (done.code, done.out) == (0, "No incident.\n")
    assert f"no beat was ever recorded in {team / 'state'}; " in done.err
    assert heartbeat("incidents", "--json", cwd=team).json["incidents"] == []
    assert tree(team) == before


def test_an_incident_is_shown_with_every_step_and_how_it_ended(stalled: Path) -> None:
    with freeze_time(AT):
        done = heartbeat("incidents", cwd=stalled)
    assert done.code == 0
    assert "1a2b3c4d recovered, recovery 2 coo 50m ago 季度运营目标拆解" in " ".join(done.out.split())
    assert "nudge done 2026-11-21 11:10:00 CST" in done.out
    assert "recover due 2026-11-21 11:40:00 CST: waits for the outbox" in done.out
    assert "ended 2026-11-21 10:50:00 CST: progress, there is activity again" in done.out


def test_the_document_has_everything(stalled: Path) -> None:
    with freeze_time(AT):
        document = heartbeat("incidents", "--json", cwd=stalled).json
    assert (document["schema"], document["generated_at"]) == ("heartbeat.incidents/1", "2026-11-21T04:00:00.000Z")
    first, second = document["incidents"]
    assert first == {
        "id": "1a2b3c4d",
        "stage": "recovered",
        "number": 2,
        "key": str(GOALS),
        "refs": [str(GOALS)],
        "title": "季度运营目标拆解",
        "owner": "coo",
        "owner_kind": "agent",
        "epoch": "2026-11-21T02:00:00.000Z",
        "opened_at": "2026-11-21T03:10:00.000Z",
        "nudged_at": "2026-11-21T03:11:00.000Z",
        "recovered_at": "2026-11-21T03:40:00.000Z",
        "steps": [
            {"step": "nudge", "at": "2026-11-21T03:10:00.000Z", "outcome": "done", "detail": ""},
            {"step": "recover", "at": "2026-11-21T03:40:00.000Z", "outcome": "due", "detail": "waits for the outbox"},
        ],
        "ended_at": None,
        "ending": None,
        "why": "",
    }
    assert (second["ending"], second["title"]) == ("progress", HOSTILE)


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--open"], ["1a2b3c4d"]),
        (["--agent", "architect"], ["1a2bffff"]),
        (["--agent", "architect", "--open"], []),
        (["--agent", "costcodev"], []),
    ],
)
def test_incidents_are_chosen_by_agent_and_by_whether_they_are_over(
    stalled: Path, words: list[str], ids: list[str]
) -> None:
    document = heartbeat("incidents", *words, "--json", cwd=stalled).json
    assert [incident["id"] for incident in document["incidents"]] == ids


def test_an_agent_that_nobody_knows_is_a_mistake_and_one_that_left_is_not(stalled: Path) -> None:
    assert heartbeat("incidents", "--agent", "nobody", cwd=stalled).code == 2
    with remembering(stalled) as store:
        store.put_incident(replace(INCIDENT, id="00000000", owner=replace(INCIDENT.owner, id="retired")))
    assert "00000000" in heartbeat("incidents", "--agent", "retired", cwd=stalled).out


def test_B8_a_hostile_title_stays_on_its_line_and_moves_no_cursor(stalled: Path) -> None:
    out = heartbeat("incidents", cwd=stalled).out
    assert not set("\x1b\x07\x00\r\u202e") & set(out)
    assert any("1a2bffff" in line and "$(touch pwned)" in line for line in out.splitlines())


def test_a_long_history_is_cut_and_says_so(stalled: Path) -> None:
    done = heartbeat("incidents", "--limit", "1", cwd=stalled)
    assert "1a2bffff" not in done.out
    assert "and 1 more: --limit 0 shows all" in done.out
    assert "1a2bffff" in heartbeat("incidents", "--limit", "0", cwd=stalled).out


def test_L5_a_person_ends_an_incident_by_the_beginning_of_its_id(stalled: Path) -> None:
    with freeze_time(AT):
        done = heartbeat("resolve", "1A2B3", "--why", "重启了网关", "--as", "architect", cwd=stalled)
    assert (done.code, done.out) == (0, "1a2b3c4d 季度运营目标拆解: resolved by architect\n")
    with looking(stalled) as store:
        ended = next(each for each in store.incidents() if each.id == "1a2b3c4d")
        (logged,) = store.log()
    assert (ended.stage, ended.ending, ended.ended_at) == (Stage.ENDED, Ending.RESOLVED, NOW)
    assert ended.why == "重启了网关 (architect)"
    assert (logged.action, logged.agent, logged.task, logged.incident) == (
        "incident-resolved",
        "coo",
        str(GOALS),
        "1a2b3c4d",
    )
    assert logged.details == {"by": "architect", "why": "重启了网关"}


def test_what_is_queued_for_a_resolved_incident_is_not_carried_out(stalled: Path) -> None:
    recover = write_entry("1a2b3c4d/recover/x", incident="1a2b3c4d")
    step = replace(recover, payload={**recover.payload, "step": "recover"})
    begun = write_entry("1a2b3c4d/block/x", incident="1a2b3c4d")
    nudge = message_entry("1a2b3c4d/nudge/coo", kind=EntryKind.INBOX, target="coo", incident="1a2b3c4d")
    told = message_entry("1a2b3c4d/recovered/ops", incident="1a2b3c4d")
    other = write_entry("other", incident="99999999")
    with remembering(stalled) as store:
        store.enqueue([step, begun, nudge, told, other])
        store.claim_entry(begun.key, NOW)
    done = heartbeat("resolve", "1a2b3c4d", "--why", "done by hand", cwd=stalled)
    assert "; 2 queued steps dropped" in done.out
    with looking(stalled) as store:
        states = {entry.key: entry.state for entry in store.entries()}
        incident = next(each for each in store.incidents() if each.id == "1a2b3c4d")
    assert states == {
        step.key: EntryState.DROPPED,
        nudge.key: EntryState.DROPPED,
        begun.key: EntryState.CLAIMED,
        told.key: EntryState.PENDING,
        other.key: EntryState.PENDING,
    }
    taken = incident.taken(Step.RECOVER)
    assert taken is not None
    assert taken.outcome is StepOutcome.FAILED
    assert incident.stage is Stage.ENDED


@pytest.mark.parametrize(
    ("incident", "code", "told"),
    [
        ("beef", 2, "no incident's id begins with 'beef'\n  `heartbeat incidents` lists them"),
        ("", 2, "no incident's id begins with ''"),
        ("1a2b", 2, "'1a2b' begins 2 ids: 1a2b3c4d 季度运营目标拆解; 1a2bffff"),
        ("1a2bf", 1, "1a2bffff is over since 2026-11-21 10:50:00 CST: progress, there is activity again"),
    ],
)
def test_what_cannot_be_resolved_is_refused_with_the_reason(stalled: Path, incident: str, code: int, told: str) -> None:
    with looking(stalled) as store:
        before = store.incidents()
    done = heartbeat("resolve", incident, "--why", "x", cwd=stalled)
    assert done.code == code
    assert told in done.err
    assert not set("\x1b\x07\x00\r\u202e") & set(done.err)
    with looking(stalled) as store:
        assert (store.incidents(), store.log()) == (before, ())


def test_who_resolves_it_and_why_must_be_said(stalled: Path) -> None:
    assert "nothing says why" in heartbeat("resolve", "1a2b3c", "--why", " \n", cwd=stalled).err
    assert heartbeat("resolve", "1a2b3c", cwd=stalled).code == 2
    assert heartbeat("resolve", "1a2b3c", "--why", "x", "--as", "stranger", cwd=stalled).code == 2
    strange = heartbeat("resolve", "1a2b3c", "--why", "x", cwd=stalled, HEARTBEAT_AGENT="stranger")
    assert (strange.code, "HEARTBEAT_AGENT names 'stranger'" in strange.err) == (2, True)
    known = heartbeat("resolve", "1a2b3c", "--why", "x", cwd=stalled, HEARTBEAT_AGENT="coo")
    assert "resolved by coo" in known.out


def test_without_an_agent_the_user_is_named(stalled: Path) -> None:
    done = heartbeat("resolve", "1a2b3c", "--why", "x", cwd=stalled, LOGNAME="vincent")
    assert "resolved by vincent" in done.out


def test_B7_lost_memory_is_told(stalled: Path) -> None:
    lose_memory(stalled)
    shown = heartbeat("incidents", cwd=stalled)
    assert (shown.code, shown.out) == (0, "")
    assert "memory-lost" in shown.err
    refused = heartbeat("resolve", "1a2b3c", "--why", "x", cwd=stalled)
    assert (refused.code, "memory-lost" in refused.err) == (2, True)


def test_where_the_state_cannot_be_written_incidents_are_shown_and_not_resolved(
    stalled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cannot_write(monkeypatch)
    before = tree(stalled)
    assert "1a2b3c4d" in heartbeat("incidents", cwd=stalled).out
    assert heartbeat("resolve", "1a2b3c", "--why", "x", cwd=stalled).code == 4
    assert tree(stalled) == before


def test_a_resolved_incident_is_told_as_json(stalled: Path) -> None:
    told = heartbeat("resolve", "1a2b3c4d", "--why", "done by hand", "--as", "coo", "--json", cwd=stalled).json
    assert (told["schema"], told["by"], told["dropped"]) == ("heartbeat.resolve/1", "coo", 0)
    assert (told["incident"]["id"], told["incident"]["ending"]) == ("1a2b3c4d", "resolved")
    assert told["incident"]["why"] == "done by hand (coo)"


def test_a_multica_task_is_called_by_its_identifier_once_a_beat_has_read_it(stalled: Path) -> None:
    def shown() -> str:
        return heartbeat("incidents", cwd=stalled).out

    assert "BIZ-28" not in shown()
    assert str(INCIDENT.ref) in shown()
    assert heartbeat("tick", "--all", cwd=stalled).code == 0
    assert "BIZ-28" in shown()
    assert str(INCIDENT.ref) not in shown()
    assert any(
        each["key"] == str(INCIDENT.ref) for each in heartbeat("incidents", "--json", cwd=stalled).json["incidents"]
    )


def test_steps_and_reasons_name_tasks_as_people_do(stalled: Path) -> None:
    other = "multica:0198f0a0-7777-7000-8000-000000000031"
    with remembering(stalled) as store:
        steps = (replace(INCIDENT.steps[0], detail=f"nudged about {INCIDENT.ref}"),)
        store.put_incident(replace(INCIDENT, steps=steps, why=f"deferred: {other} goes first"))
    assert heartbeat("tick", "--all", cwd=stalled).code == 0
    told = heartbeat("incidents", cwd=stalled).out
    assert "nudged about BIZ-28" in told
    assert "0198f0a0" not in told


def test_why_an_open_incident_waits_is_shown(stalled: Path) -> None:
    with remembering(stalled) as store:
        store.put_incident(replace(INCIDENT, why="deferred: a person is talking to coo"))
    assert "deferred: a person is talking to coo" in heartbeat("incidents", "--open", cwd=stalled).out
