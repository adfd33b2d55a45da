"""`heartbeat rounds`, `heartbeat rounds extend` and `heartbeat round` (rules C1 to C3)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.action import Operation, Voice
from heartbeat.memory import Rounds
from heartbeat.store.locks import exclusive
from heartbeat.store.port import Entry, EntryState, Link
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.writing import ConflictError
from heartbeat.task import Ref, Status
from heartbeat.written import decode_write
from tests.support.command import heartbeat, tree
from tests.support.operations import (
    AT,
    GOALS,
    HOSTILE,
    INCIDENT,
    MINUTE,
    NOW,
    ScriptedWriter,
    cannot_write,
    goals,
    issues,
    looking,
    lose_memory,
    remembering,
    retitled,
    settle,
    spent,
    write_entry,
)

PAUSE = f"rounds:exhausted:{GOALS}:50/50/{GOALS}"


def pause(state: EntryState, team: Path) -> None:
    """BIZ-28 has used its rounds up; the write that blocks it stands in the outbox, and ended so."""
    with remembering(team) as store:
        store.put_rounds([spent(used=50, warned_at=NOW - 60 * MINUTE, paused_at=NOW - 30 * MINUTE)])
        store.enqueue([write_entry(PAUSE, operation=Operation.BLOCK)])
        if state is EntryState.CLAIMED:
            store.claim_entry(PAUSE, NOW)
        elif state is not EntryState.PENDING:
            settle(store, PAUSE, state)


def rounds_of(team: Path) -> Rounds:
    with looking(team) as store:
        return store.rounds()[GOALS]


def unblocking(team: Path) -> Entry | None:
    with looking(team) as store:
        return next((entry for entry in store.entries() if entry.key.startswith("rounds/extend/")), None)


def blind(team: Path) -> None:
    """Nothing can be read any more, and no earlier read is left."""
    (team / "multica.json").write_text("")
    (team / "workboard.json").write_text("")
    shutil.rmtree(team / "state" / "snapshots", ignore_errors=True)


def test_without_state_no_round_is_on_record_and_nothing_is_made(team: Path) -> None:
    before = tree(team)
    done = heartbeat("rounds", cwd=team)
    assert (done.code, done.out) == (0, "No round is on record of any open task.\n")
    assert heartbeat("rounds", "--json", cwd=team).json["tasks"] == []
    assert heartbeat("rounds", "BIZ-28", cwd=team).out.split()[:5] == ["BIZ-28", "coo", "0", "of", "50"]
    assert tree(team) == before


def test_rounds_are_shown_with_their_limit_and_what_became_of_them(team: Path) -> None:
    with remembering(team) as store:
        store.put_rounds([spent(used=52, extra=20, idle=3, warned_at=NOW - MINUTE)])
    with freeze_time(AT):
        line = " ".join(heartbeat("rounds", cwd=team).out.split())
        document = heartbeat("rounds", "BIZ-28", "--json", cwd=team).json
    assert "BIZ-28 coo 52 of 70 3 without progress warned 2026-11-21 11:59:00 CST; 20 granted 季度运营目标拆解" in line
    assert document == {
        "schema": "heartbeat.rounds/1",
        "generated_at": "2026-11-21T04:00:00.000Z",
        "degraded": False,
        "level": "L0",
        "level_reasons": [],
        "tasks": [
            {
                "key": str(GOALS),
                "title": "季度运营目标拆解",
                "owner": "coo",
                "owner_kind": "agent",
                "open": True,
                "refs": [str(GOALS)],
                "used": 52,
                "limit": 70,
                "granted": 20,
                "idle": 3,
                "last_round_at": "2026-11-21T03:30:00.000Z",
                "progress_at": None,
                "warned_at": "2026-11-21T03:59:00.000Z",
                "paused_at": None,
            }
        ],
    }


def test_closed_tasks_are_counted_and_not_listed(team: Path) -> None:
    with remembering(team) as store:
        store.put_rounds([spent()])
    issues(team, BIZ_28="done")
    done = heartbeat("rounds", cwd=team)
    assert "BIZ-28" not in done.out
    assert "1 closed task is not listed: --json has them" in done.out
    assert [task["open"] for task in heartbeat("rounds", "--json", cwd=team).json["tasks"]] == [False]
    assert "7 of 50" in heartbeat("rounds", "BIZ-28", cwd=team).out


def test_S2_what_no_source_shows_is_shown_once_as_far_as_it_is_known(team: Path) -> None:
    card = Ref("workboard", "c0ffee99-0000-4000-8000-000000000000")
    with remembering(team) as store:
        store.put_rounds([spent(), spent(ref=card), Rounds(Ref("todo", "gone"), used=1)])
        store.remember_links([Link(GOALS, card, "title", NOW)])
        store.put_incident(INCIDENT)
    blind(team)
    document = heartbeat("rounds", "--json", cwd=team).json
    assert document["degraded"] is True
    told = {tuple(task["refs"]): (task["title"], task["limit"], task["open"]) for task in document["tasks"]}
    assert told == {
        (str(GOALS), str(card)): ("季度运营目标拆解", 50, None),
        ("todo:gone",): ("", None, None),
    }
    shown = heartbeat("rounds", card.id, cwd=team)
    assert "7 of 50" in shown.out
    assert "not shown by any source now" in " ".join(shown.out.split())


def test_a_record_that_is_gone_names_the_task_that_has_others(team: Path) -> None:
    card = Ref("workboard", "c0ffee99-0000-4000-8000-000000000000")
    with remembering(team) as store:
        store.put_rounds([spent(), spent(ref=card)])
        store.remember_links([Link(GOALS, card, "title", NOW)])
    assert heartbeat("rounds", cwd=team).out.count("BIZ-28") == 1
    assert card.id not in heartbeat("rounds", cwd=team).out
    assert heartbeat("rounds", card.id, cwd=team).out.split()[0] == "BIZ-28"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("BIZ-99", "no task is called 'BIZ-99'\n  the nearest: "),
        ("季度运营目标分解", "the nearest: BIZ-28 季度运营目标拆解; "),
        ("报价", "may mean 2 tasks: "),
        ("", "no task is called ''"),
        (HOSTILE, "no task is called "),
    ],
)
def test_a_name_that_means_no_task_or_several_is_told_with_what_it_may_mean(team: Path, name: str, told: str) -> None:
    done = heartbeat("rounds", "show", name, cwd=team)
    assert done.code == 2
    assert told in done.err
    assert not set("\x1b\x07\x00\r\u202e") & set(done.err)


def test_a_name_that_is_not_found_while_a_source_is_down_says_so(team: Path) -> None:
    blind(team)
    assert "multica, workboard could not be read" in heartbeat("rounds", "BIZ-28", cwd=team).err


def test_C1_an_agent_reports_a_round_and_one_a_slot_counts(team: Path) -> None:
    with freeze_time(AT):
        first = heartbeat("round", "BIZ-28", "--as", "coo", cwd=team)
    with freeze_time("2026-11-21T04:05:59Z"):
        second = heartbeat("round", "BIZ-28", cwd=team, HEARTBEAT_AGENT="coo")
    with freeze_time("2026-11-21T04:06:00Z"):
        third = heartbeat("round", "季度运营目标拆解", cwd=team)
    assert first.out == "BIZ-28 季度运营目标拆解: counted; 1 of 50 rounds used\n"
    assert second.out == (
        "BIZ-28 季度运营目标拆解: not counted, this slot (since 2026-11-21 11:56:00 CST) has its round already; "
        "1 of 50 rounds used\n"
    )
    assert "counted; 2 of 50" in third.out
    assert (first.code, second.code, third.code) == (0, 0, 0)
    assert (rounds_of(team).used, rounds_of(team).slot) == (2, NOW + 6 * MINUTE)
    with looking(team) as store:
        assert [entry.action for entry in store.log()] == ["round-reported"] * 2


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["BIZ-31", "--as", "coo"], 1, "is todo; nothing was counted"),
        (["BIZ-28", "--as", "architect"], 1, "belongs to coo, not to architect; nothing was counted"),
        (["BIZ-28", "--as", "stranger"], 2, "no agent called 'stranger'"),
        (["BIZ-99"], 2, "no task is called"),
    ],
)
def test_a_round_that_cannot_count_is_refused(team: Path, words: list[str], code: int, told: str) -> None:
    done = heartbeat("round", *words, cwd=team)
    assert (done.code, told in done.err) == (code, True)
    with looking(team) as store:
        assert (store.rounds(), store.log()) == ({}, ())


def test_a_round_of_somebody_without_slots_is_refused(team: Path) -> None:
    retitled(team, "BIZ-28", assignee_type="agent", assignee_id="0198f0a0-9999-7000-8000-000000000001")
    done = heartbeat("round", "BIZ-28", cwd=team)
    assert (done.code, "has no slots" in done.err) == (1, True)


def test_S2_a_round_of_a_task_that_cannot_be_seen_is_not_counted(team: Path) -> None:
    with remembering(team) as store:
        store.put_rounds([spent()])
    blind(team)
    done = heartbeat("round", GOALS.id, "--as", "coo", cwd=team)
    assert (done.code, "whether it is in progress is not known" in done.err) == (1, True)
    assert rounds_of(team).used == 7


def test_C2_more_rounds_are_granted_and_on_record(team: Path) -> None:
    with remembering(team) as store:
        store.put_rounds([spent(used=41, warned_at=NOW - MINUTE)])
    with freeze_time(AT):
        done = heartbeat("rounds", "extend", "BIZ-28", "20", "--why", "最后一章", "--as", "architect", cwd=team)
    assert (done.code, done.out) == (0, "BIZ-28 季度运营目标拆解: 20 more; 41 of 70 rounds used\n")
    assert rounds_of(team) == spent(used=41, extra=20)
    with looking(team) as store:
        (logged,) = store.log()
        assert store.entries() == ()
    assert (logged.action, logged.agent, logged.task) == ("rounds-extended", "coo", str(GOALS))
    assert logged.details == {"by": "architect", "more": 20, "limit": 70, "why": "最后一章"}


def test_C2_what_heartbeat_paused_is_unblocked_at_once(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pause(EntryState.DONE, team)
    issues(team, BIZ_28="blocked")
    writer = ScriptedWriter(goals(Status.BLOCKED)).installed(monkeypatch)
    with freeze_time(AT):
        done = heartbeat("rounds", "extend", "BIZ-28", "20", "--why", "@all [再](x)试", cwd=team, LOGNAME="vincent")
    assert done.code == 0
    assert done.out.splitlines() == ["BIZ-28 季度运营目标拆解: 20 more; 50 of 70 rounds used", "  unblocked on multica"]
    (write,) = writer.applied
    assert (write.operation, write.status, write.voice) == (Operation.UNBLOCK, Status.TODO, Voice.AGENT)
    assert write.expect.statuses == frozenset({Status.BLOCKED})
    assert write.text == (
        "heartbeat：vincent 追加 20 轮（已用 50 轮，上限现为 70 轮），任务已恢复，可以重新认领。all 再 x 试"
    )
    assert rounds_of(team) == spent(used=50, extra=20)
    entry = unblocking(team)
    assert entry is not None
    assert (entry.state, entry.payload["owner"]) == (EntryState.DONE, ["agent", "coo"])
    with looking(team) as store:
        assert [logged.action for logged in store.log()] == ["rounds-extended", "write-done"]
        assert [logged.action for logged in store.log(agent="coo")] == ["rounds-extended", "write-done"]
        assert store.own() == frozenset()


def test_granting_twice_unblocks_once(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pause(EntryState.DONE, team)
    issues(team, BIZ_28="blocked")
    writer = ScriptedWriter(goals(Status.BLOCKED)).installed(monkeypatch)
    heartbeat("rounds", "extend", "BIZ-28", "20", cwd=team)
    issues(team, BIZ_28="todo")
    again = heartbeat("rounds", "extend", "BIZ-28", "5", cwd=team)
    assert again.out == "BIZ-28 季度运营目标拆解: 5 more; 50 of 75 rounds used\n"
    assert len(writer.applied) == 1


@pytest.mark.parametrize(
    ("status", "error", "state", "code", "told"),
    [
        (Status.TODO, None, EntryState.CONFLICT, 0, "left as it is on multica: BIZ-28 is todo now"),
        (Status.BLOCKED, ConflictError("moved"), EntryState.CONFLICT, 0, "left as it is on multica: moved"),
        (
            Status.BLOCKED,
            TransportError(FailureKind.UNREACHABLE, "no\x1b[31m route"),
            EntryState.PENDING,
            0,
            "not unblocked on multica yet, the next beats try again: no route",
        ),
    ],
)
def test_what_came_of_the_unblocking_is_told(
    team: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: Status,
    error: TransportError | None,
    state: EntryState,
    code: int,
    told: str,
) -> None:
    pause(EntryState.DONE, team)
    issues(team, BIZ_28="blocked")
    ScriptedWriter(goals(status), error).installed(monkeypatch)
    done = heartbeat("rounds", "extend", "BIZ-28", "20", cwd=team)
    assert (done.code, done.out.splitlines()[1]) == (code, f"  {told}")
    entry = unblocking(team)
    assert entry is not None
    assert entry.state is state
    assert rounds_of(team).extra == 20


def test_a_source_that_cannot_be_written_is_told_and_ends_with_one(team: Path) -> None:
    pause(EntryState.DONE, team)
    issues(team, BIZ_28="blocked")
    done = heartbeat("rounds", "extend", "BIZ-28", "20", cwd=team)
    assert done.code == 1
    assert "could not be unblocked on multica, do it there by hand: multica cannot unblock" in done.out


def test_while_somebody_else_carries_writes_out_it_is_queued(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pause(EntryState.DONE, team)
    issues(team, BIZ_28="blocked")
    ScriptedWriter(goals(Status.BLOCKED)).installed(monkeypatch)
    with exclusive(team / "state" / "locks" / "_outbox.lock", purpose="carrying out writes"):
        done = heartbeat("rounds", "extend", "BIZ-28", "20", cwd=team)
    assert "queued, not unblocked yet: pid " in done.out
    entry = unblocking(team)
    assert entry is not None
    assert entry.state is EntryState.PENDING


def test_a_pause_that_is_queued_is_dropped(team: Path) -> None:
    pause(EntryState.PENDING, team)
    done = heartbeat("rounds", "extend", "BIZ-28", "20", cwd=team)
    assert "its pause was queued and is dropped" in done.out
    with looking(team) as store:
        (entry,) = store.entries()
    assert (entry.key, entry.state) == (PAUSE, EntryState.DROPPED)


@pytest.mark.parametrize("state", [EntryState.CONFLICT, EntryState.DEAD, EntryState.DROPPED])
def test_what_a_person_blocked_stays_blocked(team: Path, state: EntryState, monkeypatch: pytest.MonkeyPatch) -> None:
    pause(state, team)
    issues(team, BIZ_28="blocked")
    writer = ScriptedWriter(goals(Status.BLOCKED)).installed(monkeypatch)
    done = heartbeat("rounds", "extend", "BIZ-28", "20", cwd=team)
    assert "BIZ-28 is blocked, and not for its rounds: unblock it there if it may go on" in done.out
    assert (unblocking(team), writer.applied) == (None, [])


def test_S2_rounds_are_granted_while_the_sources_are_down(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pause(EntryState.DONE, team)
    with remembering(team) as store:
        store.put_incident(INCIDENT)
    blind(team)
    down = TransportError(FailureKind.UNREACHABLE, "no route")
    writer = ScriptedWriter(goals(Status.BLOCKED), down).installed(monkeypatch)
    done = heartbeat("rounds", "extend", str(GOALS), "20", cwd=team)
    assert done.out.splitlines() == [
        f"{GOALS} 季度运营目标拆解: 20 more; 50 of 70 rounds used",
        "  not unblocked on multica yet, the next beats try again: no route",
    ]
    entry = unblocking(team)
    assert entry is not None
    assert decode_write(entry.key, entry.payload["write"]).ref == GOALS
    assert writer.applied == []


@pytest.mark.parametrize("number", ["0", "-3", "100001", "many"])
def test_a_number_that_is_no_extension_is_a_mistake(team: Path, number: str) -> None:
    assert heartbeat("rounds", "extend", "BIZ-28", "--", number, cwd=team).code == 2
    assert not (team / "state").exists()


@pytest.mark.parametrize("owner", ["member", "agent"])
def test_S6a_rounds_that_nobody_counts_are_not_granted(team: Path, owner: str) -> None:
    (team / "agents.yaml").write_text((team / "agents.yaml").read_text().replace(", patrol: true", ""))
    retitled(team, "BIZ-34", assignee_type=owner)
    done = heartbeat("rounds", "extend", "BIZ-34", "20", cwd=team)
    assert (done.code, "whose rounds nobody counts; nothing was granted" in done.err) == (1, True)
    assert "0, limit not known" in heartbeat("rounds", "BIZ-34", cwd=team).out


def test_B7_lost_memory_is_told(team: Path) -> None:
    lose_memory(team)
    for words in (["rounds"], ["rounds", "extend", "BIZ-28", "20"], ["round", "BIZ-28"]):
        done = heartbeat(*words, cwd=team)
        assert (done.code, "memory-lost" in done.err) == (0, True)


def test_where_the_state_cannot_be_written_rounds_are_shown_only(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with remembering(team) as store:
        store.put_rounds([spent()])
    cannot_write(monkeypatch)
    before = tree(team)
    assert "7 of 50" in heartbeat("rounds", cwd=team).out
    assert heartbeat("rounds", "extend", "BIZ-28", "20", cwd=team).code == 4
    assert heartbeat("round", "BIZ-28", cwd=team).code == 4
    assert tree(team) == before


def test_B8_a_hostile_title_moves_no_cursor(team: Path) -> None:
    retitled(team, "BIZ-28", title=HOSTILE)
    with remembering(team) as store:
        store.put_rounds([replace(spent(), used=60)])
    for words in (["rounds"], ["rounds", "extend", "BIZ-28", "20"], ["round", "BIZ-28"]):
        done = heartbeat(*words, cwd=team)
        assert done.code == 0, done.err
        assert "BIZ-28" in done.out
        assert not set("\x1b\x07\x00\r\u202e") & set(done.out + done.err)


@pytest.mark.parametrize("words", [("rounds",), ("rounds", "--json")], ids=str)
def test_S2_a_source_that_could_not_be_read_is_named_once(team: Path, words: tuple[str, ...]) -> None:
    with remembering(team):
        pass  # there is a store
    assert heartbeat(*words, cwd=team).err == ""
    (team / "multica.json").write_text("{")
    done = heartbeat(*words, cwd=team)
    assert done.code == 0
    assert [line.split()[1:3] for line in done.err.splitlines()] == [["multica", "failed"]]


def test_a_round_is_told_as_json_with_its_slot(team: Path) -> None:
    with freeze_time(AT):
        first = heartbeat("round", "BIZ-28", "--as", "coo", "--json", cwd=team).json
        second = heartbeat("round", "BIZ-28", "--as", "coo", "--json", cwd=team).json
    assert (first["counted"], first["used"], first["limit"], first["by"]) == (True, 1, 50, "coo")
    assert (second["counted"], second["used"], second["slot"]) == (False, 1, first["slot"])
    assert first["key"] == str(GOALS)


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (None, "done", 0),
        (ConflictError("moved"), "conflict", 0),
        (TransportError(FailureKind.UNREACHABLE, "-"), "pending", 0),
    ],
)
def test_what_came_of_a_grant_is_told_as_json(
    team: Path, monkeypatch: pytest.MonkeyPatch, error: TransportError | None, state: str, code: int
) -> None:
    pause(EntryState.DONE, team)
    issues(team, BIZ_28="blocked")
    ScriptedWriter(goals(Status.BLOCKED), error).installed(monkeypatch)
    done = heartbeat("rounds", "extend", "BIZ-28", "20", "--json", cwd=team)
    assert done.code == code
    assert (done.json["granted"], done.json["used"], done.json["limit"], done.json["dropped"]) == (20, 50, 70, 0)
    assert [(each["ref"], each["state"]) for each in done.json["results"]] == [(str(GOALS), state)]


def test_a_grant_that_cannot_be_carried_out_is_told_as_json_and_ends_with_one(team: Path) -> None:
    pause(EntryState.DONE, team)
    issues(team, BIZ_28="blocked")
    done = heartbeat("rounds", "extend", "BIZ-28", "20", "--json", cwd=team)
    assert (done.code, [each["state"] for each in done.json["results"]]) == (1, ["dead"])


def test_a_grant_that_somebody_else_has_to_carry_out_is_pending(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pause(EntryState.DONE, team)
    issues(team, BIZ_28="blocked")
    ScriptedWriter(goals(Status.BLOCKED)).installed(monkeypatch)
    with exclusive(team / "state" / "locks" / "_outbox.lock", purpose="carrying out writes"):
        (result,) = heartbeat("rounds", "extend", "BIZ-28", "20", "--json", cwd=team).json["results"]
    assert (result["state"], result["message"].startswith("pid ")) == ("pending", True)
