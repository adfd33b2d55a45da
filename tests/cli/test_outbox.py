"""`heartbeat outbox list`, `retry` and `drop` (rule L4, invariant I4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.action import marker_of
from heartbeat.memory import Step, StepOutcome
from heartbeat.store.port import EntryKind, EntryState
from tests.support.command import heartbeat, tree
from tests.support.operations import (
    AT,
    GOALS,
    INCIDENT,
    MINUTE,
    NOW,
    cannot_write,
    looking,
    lose_memory,
    message_entry,
    remembering,
    settle,
    write_entry,
)

DEAD, LATER, TOLD, FINISHED, MOVED, BEGUN = (
    "1a2b3c4d/recover/multica:28",
    "1a2b3c4d/block/multica:28",
    "1a2b3c4d/recovered/ops",
    "rounds:exhausted:a",
    "rounds:exhausted:b",
    "rounds:warn:c",
)


@pytest.fixture
def filled(team: Path) -> Path:
    """One entry in each state that matters."""
    dead = write_entry(DEAD, incident=INCIDENT.id)
    with remembering(team) as store:
        store.put_incident(INCIDENT)
        store.enqueue(
            [
                replace(dead, payload={**dead.payload, "step": "recover"}),
                write_entry(LATER, due_at=NOW + 30 * MINUTE, created_at=NOW - 8 * MINUTE),
                message_entry(TOLD),
                write_entry(FINISHED),
                write_entry(MOVED),
                write_entry(BEGUN, created_at=NOW - 7 * MINUTE),
            ]
        )
        settle(store, DEAD, EntryState.DEAD, error="refused\x1b[31m: no such card")
        settle(store, FINISHED, EntryState.DONE, result="done")
        settle(store, MOVED, EntryState.CONFLICT, error="BIZ-28 is done now")
        store.claim_entry(BEGUN, NOW - MINUTE)
    return team


def states(team: Path) -> dict[str, EntryState]:
    with looking(team) as store:
        return {entry.key: entry.state for entry in store.entries()}


def test_without_state_the_outbox_is_empty_and_nothing_is_made(team: Path) -> None:
    before = tree(team)
    assert heartbeat("outbox", cwd=team).out == "Nothing waits, and nothing was given up.\n"
    assert heartbeat("outbox", "list", "--all", cwd=team).out == "The outbox is empty.\n"
    assert heartbeat("outbox", "list", "--json", cwd=team).json["entries"] == []
    assert tree(team) == before


def test_what_waits_and_what_was_given_up_is_listed(filled: Path) -> None:
    with freeze_time(AT):
        lines = [" ".join(line.split()) for line in heartbeat("outbox", cwd=filled).out.splitlines()]
    assert f"{marker_of(DEAD)} dead 1 try 10m ago recover on multica" in lines
    assert f"{marker_of(LATER)} due in 30m 0 tries 8m ago recover on multica" in lines
    assert f"{marker_of(BEGUN)} claimed 1 try 7m ago recover on multica" in lines
    assert any(line.startswith(f"{marker_of(TOLD)} due now 0 tries 9m ago tell ops: ") for line in lines)
    assert "refused: no such card" in lines
    assert not any(key in lines for key in (FINISHED, MOVED))


def test_all_lists_what_is_finished_too(filled: Path) -> None:
    out = heartbeat("outbox", "list", "--all", cwd=filled).out
    assert all(key in out for key in (DEAD, LATER, TOLD, FINISHED, MOVED, BEGUN))


def test_the_document_names_everything_but_the_texts(filled: Path) -> None:
    with freeze_time(AT):
        done = heartbeat("outbox", "--json", cwd=filled)
    assert done.json["schema"] == "heartbeat.outbox/1"
    first = done.json["entries"][0]
    assert first == {
        "id": marker_of(DEAD),
        "key": DEAD,
        "kind": "write",
        "target": "multica",
        "what": "recover on multica",
        "task": str(GOALS),
        "incident": "1a2b3c4d",
        "state": "dead",
        "attempts": 1,
        "created_at": "2026-11-21T03:50:00.000Z",
        "due_at": "2026-11-21T03:50:00.000Z",
        "claimed_at": "2026-11-21T03:55:00.000Z",
        "finished_at": "2026-11-21T03:55:00.000Z",
        "error": "refused\x1b[31m: no such card",
        "result": "",
    }


def test_no_text_that_is_to_be_written_or_sent_is_shown(filled: Path) -> None:
    for words in (["list", "--all"], ["list", "--all", "--json"], ["retry", DEAD], ["drop", TOLD, "--why", "x"]):
        done = heartbeat("outbox", *words, cwd=filled)
        assert done.code == 0
        assert "s3cret" not in done.out + done.err
        if "--json" not in words:
            assert not set("\x1b\x07\x00\r\u202e") & set(done.out)


def test_what_was_given_up_is_tried_again(filled: Path) -> None:
    with freeze_time(AT):
        done = heartbeat("outbox", "retry", marker_of(DEAD)[:5], LATER, DEAD, "--as", "coo", cwd=filled)
    assert done.out.splitlines() == [
        f"{marker_of(DEAD)} recover on multica: due now; the next beat carries it out",
        f"{marker_of(LATER)} recover on multica: due now; the next beat carries it out",
    ]
    with looking(filled) as store:
        due = {entry.key: entry for entry in store.entries(states=frozenset({EntryState.PENDING}), due_by=NOW)}
        logged = store.log()
    assert set(due) == {DEAD, LATER, TOLD}
    assert (due[DEAD].attempts, due[DEAD].due_at, due[DEAD].finished_at) == (1, NOW, None)
    assert [(entry.action, entry.incident, entry.details) for entry in logged] == [
        ("outbox-retry", "1a2b3c4d", {"by": "coo", "key": DEAD}),
        ("outbox-retry", "", {"by": "coo", "key": LATER}),
    ]


def test_everything_is_tried_again(filled: Path) -> None:
    done = heartbeat("outbox", "retry", "--all", cwd=filled)
    assert len(done.out.splitlines()) == 3
    assert states(filled)[DEAD] is EntryState.PENDING
    assert states(filled)[MOVED] is EntryState.CONFLICT
    with remembering(filled) as store:
        for key in (DEAD, LATER, TOLD):
            store.settle_entry(key, EntryState.DONE, NOW)
    assert heartbeat("outbox", "retry", "--all", cwd=filled).out == "Nothing waits, and nothing was given up.\n"


def test_what_was_tried_again_or_dropped_is_told_as_json_with_what_it_was(filled: Path) -> None:
    with freeze_time(AT):
        retried = heartbeat("outbox", "retry", DEAD, LATER, "--as", "coo", "--json", cwd=filled).json
        dropped = heartbeat("outbox", "drop", DEAD, "--why", "x", "--as", "coo", "--json", cwd=filled).json
    assert (retried["schema"], retried["by"]) == ("heartbeat.outbox/1", "coo")
    assert {each["key"]: (each["was"], each["state"]) for each in retried["entries"]} == {
        DEAD: ("dead", "pending"),
        LATER: ("pending", "pending"),
    }
    assert {each["due_at"] for each in retried["entries"]} == {"2026-11-21T04:00:00.000Z"}
    assert [(each["was"], each["state"], each["error"]) for each in dropped["entries"]] == [
        ("pending", "dropped", "dropped by coo: x")
    ]


def test_L5_what_is_dropped_stays_on_record_with_its_reason(filled: Path) -> None:
    with freeze_time(AT):
        done = heartbeat("outbox", "drop", DEAD, BEGUN, "--why", "by hand", cwd=filled, LOGNAME="vincent")
    assert done.out.splitlines() == [
        f"{marker_of(DEAD)} recover on multica: dropped",
        f"{marker_of(BEGUN)} recover on multica: dropped; an attempt had begun, whether it took effect is not known",
    ]
    with looking(filled) as store:
        entry = store.entry(DEAD)
        (incident,) = store.incidents()
        logged = store.log()
    assert entry is not None
    assert (entry.state, entry.error, entry.finished_at) == (EntryState.DROPPED, "dropped by vincent: by hand", NOW)
    taken = incident.taken(Step.RECOVER)
    assert taken is not None
    assert (taken.outcome, taken.detail) == (StepOutcome.FAILED, "dropped by vincent: by hand")
    assert [entry.action for entry in logged] == ["outbox-dropped"] * 2
    assert heartbeat("outbox", "retry", "--all", cwd=filled).out.count("due now") == 2


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["retry"], 2, "nothing is named to be tried again"),
        (["retry", "--all", DEAD], 2, "--all and keys do not go together"),
        (["retry", DEAD, "beef"], 2, "no entry's id or key begins with 'beef'; nothing was changed"),
        (["retry", ""], 2, "no entry's id or key begins with ''"),
        (["retry", DEAD, "1a2b3c4d/"], 2, "'1a2b3c4d/' begins 3 entries: "),
        (["retry", DEAD, FINISHED], 1, "is done since 2026-11-21 11:55:00 CST (done) and cannot be tried again"),
        (["retry", DEAD, MOVED], 1, "is conflict since 2026-11-21 11:55:00 CST (BIZ-28 is done now)"),
        (["retry", DEAD, BEGUN], 1, "an attempt is under way, or its process died"),
        (["drop", DEAD], 2, "nothing says why"),
        (["drop", "--why", "x"], 2, "nothing is named to be dropped"),
        (["drop", DEAD, FINISHED, "--why", "x"], 1, "cannot be dropped; nothing was changed"),
        (["retry", DEAD, "--as", "stranger"], 2, "no agent called 'stranger'"),
    ],
)
def test_a_wrong_call_changes_nothing(filled: Path, words: list[str], code: int, told: str) -> None:
    before = states(filled)
    done = heartbeat("outbox", *words, cwd=filled)
    assert (done.code, told in done.err) == (code, True), done.err
    assert states(filled) == before
    with looking(filled) as store:
        assert store.log() == ()


def test_a_whole_key_means_itself_though_others_begin_with_it(team: Path) -> None:
    with remembering(team) as store:
        store.enqueue([write_entry("a"), write_entry("ab")])
    assert heartbeat("outbox", "drop", "a", "--why", "x", cwd=team).code == 0
    assert states(team) == {"a": EntryState.DROPPED, "ab": EntryState.PENDING}


def test_a_long_outbox_is_cut_on_the_screen_only(team: Path) -> None:
    with remembering(team) as store:
        store.enqueue(
            message_entry(f"m{number}", kind=EntryKind.INBOX, created_at=NOW + number * MINUTE) for number in range(60)
        )
    done = heartbeat("outbox", cwd=team)
    assert "10 earlier ones are not listed: --json has them" in done.out
    assert len(heartbeat("outbox", "--json", cwd=team).json["entries"]) == 60


def test_B7_lost_memory_is_told(filled: Path) -> None:
    lose_memory(filled)
    shown = heartbeat("outbox", cwd=filled)
    assert (shown.code, shown.out, "memory-lost" in shown.err) == (0, "", True)
    again = heartbeat("outbox", "retry", "--all", cwd=filled)
    assert (again.code, "memory-lost" in again.err) == (0, True)


def test_where_the_state_cannot_be_written_the_outbox_is_shown_only(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cannot_write(monkeypatch)
    before = tree(filled)
    assert DEAD in heartbeat("outbox", cwd=filled).out
    assert heartbeat("outbox", "retry", "--all", cwd=filled).code == 4
    assert heartbeat("outbox", "drop", DEAD, "--why", "x", cwd=filled).code == 4
    assert tree(filled) == before


def test_a_multica_task_is_called_by_its_identifier_once_a_beat_has_read_it(team: Path) -> None:
    with remembering(team) as store:
        store.enqueue([write_entry("x/recover", due_at=NOW + 10_000 * MINUTE)])
    assert str(GOALS) in heartbeat("outbox", cwd=team).out
    with freeze_time(AT):
        assert heartbeat("tick", "--all", cwd=team).code == 0
    shown = heartbeat("outbox", cwd=team).out
    assert "BIZ-28" in shown
    assert str(GOALS) not in shown
