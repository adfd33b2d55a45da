"""The level of service and its reasons, in every output that people and scripts read (rule G1)."""

from __future__ import annotations

import re
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.breaker import Breaker, State
from tests.support.command import Result, heartbeat
from tests.support.operations import AT, NOW, remembering
from tests.support.receipts import receipt

DOWN = "workboard is down (bad_output)"
JSON = [
    ("worklist", "coo"),
    ("tick", "coo"),
    ("tick", "coo", "--dry-run"),
    ("tick", "--all", "--dry-run"),
    ("tasks",),
    ("timeouts",),
    ("deps",),
    ("rounds",),
    ("explain", "BIZ-28"),
]
"""Commands that look at the sources."""


SOURCES = re.compile(r"^sources:\n(?:[ ]+.*\n|\n)*", re.MULTILINE)


def at_four(*words: str, team: Path) -> Result:
    with freeze_time(AT):
        return heartbeat(*words, cwd=team)


def break_board(team: Path) -> None:
    (team / "workboard.json").write_text('{"cards": [')


def open_breaker(team: Path) -> None:
    """Somebody is to be started, and the one provider there is failed too often."""
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text() + "\ndispatch: openclaw\n")
    with remembering(team) as store:
        store.put_breaker(Breaker("native", State.OPEN, until=NOW + timedelta(minutes=5), changed_at=NOW))


@pytest.mark.parametrize("words", JSON, ids=" ".join)
def test_G1_the_json_of_every_look_has_the_level_and_why(words: tuple[str, ...], team: Path) -> None:
    well = at_four(*words, "--json", team=team).json
    assert (well["level"], well["level_reasons"]) == ("L0", [])


@pytest.mark.parametrize("words", JSON, ids=" ".join)
def test_G1_the_json_of_every_look_has_the_reasons(words: tuple[str, ...], team: Path) -> None:
    break_board(team)
    found = at_four(*words, "--json", team=team).json
    assert (found["level"], found["level_reasons"]) == ("L2", [DOWN])


def test_G1_worklists_for_people_and_for_models_say_it_too(team: Path) -> None:
    assert "Level L0 normal\n" in at_four("tick", "coo", team=team).out
    assert "- Level L0, normal\n" in at_four("worklist", "coo", team=team).out
    break_board(team)
    meaning = "something is down: nothing is started through it"
    assert f"Level L2 {meaning}: {DOWN}" in at_four("tick", "coo", "--fresh", team=team).out
    assert f"- Level L2, {meaning}: `{DOWN}" in at_four("worklist", "coo", "--fresh", team=team).out
    assert f"level L2, {meaning}" in at_four("tick", "coo", "--fresh", "--scheduled", team=team).out


def test_G1_a_scheduled_beat_says_nothing_of_a_normal_level(team: Path) -> None:
    assert "level" not in at_four("tick", "coo", "--scheduled", team=team).out


def test_G1_without_any_source_it_is_the_worst_and_the_worklist_comes_all_the_same(team: Path) -> None:
    roster = team / "agents.yaml"
    roster.write_text(SOURCES.sub("sources: {multica: {transport: file, path: gone.json}}\n", roster.read_text()))
    found = at_four("tick", "coo", "--json", team=team)
    assert found.code == 0
    assert found.json["level"] == "L3"
    assert found.json["level_reasons"][0] == "no source was read: what there is to do is not known"
    assert found.json["level_reasons"][1].startswith("multica is down")
    assert found.json["tasks"] == []


def test_G1_an_open_breaker_counts_where_somebody_is_to_be_started(team: Path) -> None:
    assert at_four("tick", "coo", team=team).code == 0
    with remembering(team) as store:
        store.put_breaker(Breaker("native", State.OPEN, until=NOW + timedelta(minutes=5), changed_at=NOW))
    for words in (("worklist", "coo", "--json"), ("health", "--json"), ("doctor", "--json")):
        assert at_four(*words, team=team).json["level"] == "L0", words
    open_breaker(team)
    told = "the breaker of native is open until 2026-11-21T04:05:00.000Z"
    for words in (("worklist", "coo", "--json"), ("health", "--json"), ("doctor", "--json")):
        found = at_four(*words, team=team).json
        assert found["level"] == "L2", words
        assert told in found["level_reasons"], words


FILES = "sources:\n  todo: {files: [TODO.md]}\n"
"""Only files: there is no engine to be seen anywhere."""


def test_G1_where_nobody_can_be_started_who_is_to_be_every_screen_says_so(team: Path) -> None:
    roster = team / "agents.yaml"
    roster.write_text(SOURCES.sub(FILES, roster.read_text()))
    assert at_four("tick", "coo", "--json", team=team).json["level"] == "L0", "nobody is to be started"
    roster.write_text(roster.read_text() + "\ndispatch: openclaw\n")
    told = ["nobody can be started by openclaw: workboard is not in use, which tells who runs"]
    for words in (("tick", "coo", "--fresh"), ("tick", "coo", "--dry-run"), ("worklist", "coo"), ("health",)):
        found = at_four(*words, "--json", team=team).json
        assert (found["level"], found["level_reasons"]) == ("L2", told), words
    assert told[0] in at_four("doctor", "--json", team=team).json["level_reasons"]


def test_G1_before_the_first_beat_no_screen_of_health_says_that_all_is_well_nor_that_nothing_is(team: Path) -> None:
    with remembering(team):
        pass
    done = at_four("health", team=team)
    assert done.code == 3
    assert "Level" not in done.out
    assert "OK" not in done.out
    assert done.out.splitlines()[-1].startswith("UNKNOWN: never beaten yet")
    assert "heartbeat tick --all" in done.out
    found = at_four("health", "--json", team=team)
    assert (found.json["level"], found.json["level_reasons"], found.json["exit_code"]) == (None, [], 3)
    assert at_four("health", "coo", team=team).code == 3
    assert at_four("tick", "coo", team=team).code == 0
    after = at_four("health", team=team)
    assert (after.code, "Level L0 normal\n" in after.out, "never beaten yet" in after.out) == (0, True, False)


def test_G1_health_tells_it_by_what_is_on_record(team: Path) -> None:
    assert at_four("health", "--json", team=team).json["level"] == "L3"
    assert at_four("tick", "--all", team=team).code == 0
    assert at_four("health", "--json", team=team).json["level"] == "L0"
    assert "Level L0 normal\n" in at_four("health", team=team).out
    break_board(team)
    assert at_four("tick", "--all", "--fresh", team=team).code == 0
    found = at_four("health", "coo", "--json", team=team).json
    assert found["level"] == "L2"
    assert found["level_reasons"][0].startswith(DOWN)
    assert "Level L2" in at_four("health", team=team).out


def test_G1_health_and_doctor_say_that_the_state_cannot_be_used(team: Path) -> None:
    assert at_four("tick", "coo", team=team).code == 0
    database = team / "state" / "state.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    for command in ("health", "doctor"):
        found = at_four(command, "--json", team=team).json
        assert found["level"] == "L3", command
        assert found["level_reasons"][0].startswith("the state cannot be used: "), command


def test_G1_the_doctor_tells_it_by_what_answers_now(team: Path) -> None:
    well = at_four("doctor", "--json", team=team).json
    assert (well["level"], well["level_reasons"]) == ("L0", [])
    break_board(team)
    found = at_four("doctor", "--json", team=team).json
    assert (found["level"], found["level_reasons"]) == ("L2", [DOWN])
    assert f"nothing is started through it: {DOWN}" in at_four("doctor", team=team).out


def test_G1_receipts_show_the_level_and_what_was_decided_about_a_turn(team: Path) -> None:
    decision = {"decision": "skip", "reason": "talking", "told": "a person is talking to coo", "task": None}
    with remembering(team) as store:
        store.add_receipt(receipt(1, outcome="done", degraded=False, dispatch=decision))
        quiet = {"decision": "skip", "reason": "none", "told": "dispatch: none in the roster"}
        store.add_receipt(receipt(2, outcome="done", degraded=False, level="L0", level_reasons=(), dispatch=quiet))
        store.add_receipt(receipt(3, level="", level_reasons=(), dispatch={}))
    printed = " ".join(at_four("receipts", team=team).out.split())
    assert "L2; multica: timeout; no_work" in printed
    assert "skip: a person is talking to coo" in printed
    assert "L0" not in printed
    assert "dispatch: none" not in printed
    old, normal, low = at_four("receipts", "--json", team=team).json["receipts"]
    assert (old["level"], old["level_reasons"], old["dispatch"]) == (None, [], None)
    assert (normal["level"], normal["dispatch"]) == ("L0", quiet)
    assert (low["level"], low["level_reasons"], low["dispatch"]) == (
        "L2",
        ["multica: timeout", "没有回答 🫀"],
        decision,
    )
