"""`heartbeat timeouts` from the outside: what turns CI red, what does not, and that nothing is written (B3, B5, S2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from syrupy.assertion import SnapshotAssertion

from tests.cli.conftest import AT
from tests.support.command import Result, heartbeat, tree

KEYS = ["schema", "generated_at", "checked", "suspected", "confirmed", "unknown_sources", "silent_agents", "timeouts"]
OF_A_TIMEOUT = [
    *("key", "title", "owner", "refs", "state", "idle_seconds", "runtime_seconds", "suspect_after", "recover_after"),
    *("incident", "step", "next", "reasons"),
]
HOSTILE = "\x1b]0;gone\x07\x1b[2J[red]x[/red]\u202e\n::error::fake\nOK: 0 tasks"


def at(minute: str, *words: str, team: Path, **environment: str) -> Result:
    """One call at a minute of the sample's morning, such as 04:10."""
    with freeze_time(f"2026-11-21T{minute}:00Z"):
        return heartbeat(*words, cwd=team, **environment)


def calm(team: Path) -> None:
    """The one issue that stands still in the sample is finished."""
    edit(team, "multica.json", "BIZ-28", status="done", status_category="done")


def edit(team: Path, name: str, identifier: str, **fields: Any) -> None:
    saved = json.loads((team / name).read_text())
    records = saved["cards"] if name == "workboard.json" else saved["issues"]
    (record,) = [each for each in records if identifier in (each.get("id"), each.get("identifier"))]
    record.update(fields)
    (team / name).write_text(json.dumps(saved))


def last_line(done: Result) -> str:
    return done.out.splitlines()[-1]


def test_B5_without_any_state_it_judges_by_the_sources_alone_and_writes_nothing(team: Path) -> None:
    before = tree(team)
    done = at("04:00", "timeouts", team=team)
    assert done.code == 1
    assert "judged by the sources alone" in done.out
    assert last_line(done) == "FOUND: 3 tasks in progress checked: 1 confirmed, 0 suspected"
    document = at("04:00", "timeouts", "--json", team=team).json
    assert document["memory"] is False
    assert [(each["title"], each["state"]) for each in document["timeouts"]] == [("季度运营目标拆解", "confirmed")]
    assert tree(team) == before
    assert not (team / "state").exists()


def test_the_document_has_the_keys_it_promises(team: Path) -> None:
    at("04:00", "tick", "--all", team=team)
    at("04:10", "tick", "--all", team=team)
    at("04:20", "tick", "--all", team=team)
    done = at("04:20", "timeouts", "--json", "--fail-on", "suspected", team=team)
    document = done.json
    assert list(document)[: len(KEYS)] == KEYS
    assert document["schema"] == "heartbeat.timeouts/1"
    assert document["generated_at"] == "2026-11-21T04:20:00.000Z"
    assert (done.code, document["exit_code"]) == (1, 1)
    (found, *_) = document["timeouts"]
    assert [key for key in found if key in OF_A_TIMEOUT] == OF_A_TIMEOUT
    assert found["refs"][0]["key"] == "BIZ-28"
    assert (found["state"], found["idle_seconds"], found["step"]) == ("suspected", 1200.0, "nudge")
    assert (found["suspect_after"], found["recover_after"]) == (1200.0, 1800.0)
    assert found["next"] == {"action": "notify", "at": "2026-11-21T04:30:00.000Z", "why": ""}
    assert len(found["incident"]) == 8
    assert document["memory"] is True


def test_what_comes_next_comes_then(team: Path) -> None:
    for minute in ("04:00", "04:10", "04:20"):
        at(minute, "tick", "--all", team=team)
    assert at("04:29", "timeouts", "--json", team=team).json["timeouts"][0]["step"] == "nudge"
    at("04:30", "tick", "--all", team=team)
    (found,) = [
        each for each in at("04:30", "timeouts", "--json", team=team).json["timeouts"] if each["owner"] == "coo"
    ][:1]
    assert (found["state"], found["step"], found["next"]["action"]) == ("confirmed", "notify", "none")


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        ([], 0, "NOTED"),
        (["--fail-on", "confirmed"], 0, "NOTED"),
        (["--fail-on", "suspected"], 1, "FOUND"),
        (["--fail-on", "never"], 0, "NOTED"),
        (["--agent", "costcodev", "--fail-on", "suspected"], 0, "OK"),
        (["--agent", "coo", "--fail-on", "suspected"], 1, "FOUND"),
    ],
    ids=str,
)
def test_B5_it_exits_1_from_the_asked_level_on(team: Path, words: list[str], code: int, word: str) -> None:
    edit(team, "multica.json", "BIZ-28", updated_at="2026-11-21T03:35:00Z")
    done = at("04:00", "timeouts", *words, team=team)
    assert (done.code, last_line(done).partition(":")[0]) == (code, word), done.out
    assert at("04:00", "timeouts", "--json", *words, team=team).code == code


def test_B5_nothing_found_is_0(team: Path) -> None:
    calm(team)
    done = at("04:00", "timeouts", team=team)
    assert done.code == 0
    assert [line.split(";")[0] for line in done.err.splitlines()] == [
        f"heartbeat: no beat was ever recorded in {team / 'state'}"
    ]
    assert last_line(done) == "OK: 2 tasks in progress checked: 0 confirmed, 0 suspected"
    assert len(at("04:00", "timeouts", "--json", team=team).err.splitlines()) == 1


BREAKAGES = {
    "not_found": lambda path: path.unlink(),
    "bad_output": lambda path: path.write_text('{"cards": ['),
    "empty": lambda path: path.write_text(""),
    "another shape": lambda path: path.write_text("[1, 2]"),
}


@pytest.mark.parametrize("name", ["workboard.json", "multica.json"])
@pytest.mark.parametrize("breakage", BREAKAGES)
def test_B5_S2_a_source_that_could_not_be_read_is_3_and_never_green(team: Path, name: str, breakage: str) -> None:
    calm(team)
    BREAKAGES[breakage](team / name)
    source = name.removesuffix(".json")
    for words in ([], ["--fail-on", "suspected"], ["--fail-on", "never"], ["--agent", "coo"]):
        done = at("04:00", "timeouts", *words, team=team)
        assert done.code == 3, done.out
        assert last_line(done).startswith(f"UNKNOWN: not read completely: {source}; ")
    done = at("04:00", "timeouts", "--json", team=team)
    assert done.code == 3
    assert done.json["unknown_sources"] == [source]
    assert done.err.splitlines()[-1].startswith("heartbeat: UNKNOWN: ")


def test_B5_an_unreachable_gateway_is_3(team: Path) -> None:
    calm(team)
    roster = team / "agents.yaml"
    text = roster.read_text().replace(
        "{transport: file, path: workboard.json}", "{transport: gateway, url: 'ws://127.0.0.1:9'}"
    )
    roster.write_text(text)
    done = at("04:00", "timeouts", "--json", team=team)
    assert done.code == 3, done.err
    assert done.json["unknown_sources"] == ["workboard"]
    assert done.json["sources"][0]["kind"] == "unreachable"


def test_B5_no_source_read_at_all_is_3(team: Path) -> None:
    (team / "agents.yaml").write_text(
        "version: 1\nstate: state\nworkspaces: nowhere/{id}\nsources: {workboard: {}, multica: {}, todo: {}}\n"
        "agents:\n  coo: {name: 陆怀瑾, class: high_frequency, notify: [self]}\n"
    )
    done = at("04:00", "timeouts", team=team, PATH="/nonexistent")
    assert done.code == 3
    assert last_line(done).startswith("UNKNOWN: no source was read; 0 tasks in progress checked")
    assert "nothing-read" in done.err
    assert at("04:00", "timeouts", "--fail-on", "never", team=team, PATH="/nonexistent").code == 3
    assert at("04:00", "timeouts", "--json", team=team, PATH="/nonexistent").json["unknown_sources"]


def test_B5_what_was_found_elsewhere_counts_before_a_source_that_was_not_read(team: Path) -> None:
    (team / "workboard.json").unlink()
    done = at("04:00", "timeouts", team=team)
    assert done.code == 1
    assert last_line(done).startswith("FOUND: ")
    assert last_line(done).endswith("; not read completely: workboard")
    assert "workboard failed (not_found)" in done.out


def test_S3_one_record_that_cannot_be_read_is_3(team: Path) -> None:
    calm(team)
    edit(team, "workboard.json", "c0ffee12-5a3e-4c1d-9b7f-a1b384d4d312", metadata="broken")
    done = at("04:00", "timeouts", "--json", team=team)
    assert (done.code, done.json["unreadable_records"]) == (3, {"workboard": 1})
    assert done.json["unknown_sources"] == []


def test_S2_work_that_was_in_progress_when_its_source_was_last_read_is_unknown(team: Path) -> None:
    at("04:00", "tick", "coo", team=team)
    (team / "multica.json").write_text("")
    done = at("04:05", "timeouts", "--json", team=team)
    assert done.code == 3
    assert [each["title"] for each in done.json["unknown_tasks"]] == ["季度运营目标拆解"]
    shown = at("04:05", "timeouts", team=team)
    assert "Not known (1)" in shown.out


def test_an_agent_without_a_multica_id_is_not_in_doubt_because_multica_is_down(team: Path) -> None:
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text() + "  writer: {name: 许言, class: business}\n")
    (team / "workspaces" / "writer").mkdir()
    calm(team)
    (team / "multica.json").unlink()
    assert at("04:00", "timeouts", "--agent", "writer", team=team).code == 0
    assert at("04:00", "timeouts", "--agent", "coo", team=team).code == 3


def test_B2_an_agent_that_fell_silent_is_found(team: Path) -> None:
    calm(team)
    at("04:00", "tick", "--all", team=team)
    for minute in ("04:10", "04:20"):
        at(minute, "tick", "architect", "costcodev", team=team)
    done = at("04:20", "timeouts", "--json", team=team)
    assert done.code == 1
    assert done.json["silent_agents"] == [
        {"agent": "coo", "last_beat": "2026-11-21T04:00:00.000Z", "missed_since": "2026-11-21T04:06:00.000Z"}
    ]
    assert at("04:20", "timeouts", "--agent", "architect", team=team).code == 0
    assert at("04:20", "timeouts", "--agent", "coo", team=team).code == 1
    assert at("04:20", "timeouts", "--fail-on", "never", team=team).code == 0
    shown = at("04:20", "timeouts", team=team)
    assert (
        "coo  last beat 20m ago, at 2026-11-21 12:00:00 CST; no receipt since the slot of 2026-11-21 12:06:00"
        in shown.out
    )
    assert last_line(shown) == "FOUND: 2 tasks in progress checked: 0 confirmed, 1 suspected; silent: coo"


def test_before_the_first_beat_of_all_nobody_is_silent(team: Path) -> None:
    calm(team)
    assert at("09:00", "timeouts", "--json", team=team).json["silent_agents"] == []


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
def test_B7_lost_memory_is_3_until_somebody_accepts_it(team: Path, content: bytes) -> None:
    calm(team)
    at("04:00", "tick", "--all", team=team)
    (team / "state" / "state.db").write_bytes(content)
    before = tree(team)
    done = at("04:01", "timeouts", "--json", team=team)
    assert (done.code, done.json["memory"]) == (3, False)
    assert [alarm["code"] for alarm in done.json["alarms"]] == ["memory-lost"]
    assert "memory-lost" in done.err
    assert last_line(at("04:01", "timeouts", team=team)).startswith("UNKNOWN: memory was lost and nobody has accepted")
    assert tree(team) == before
    at("04:02", "tick", "--all", team=team)
    assert at("04:03", "timeouts", team=team).code == 3
    at("04:04", "doctor", "--accept-loss", "Vincent", team=team)
    assert at("04:05", "timeouts", team=team).code == 0


def test_B3_it_reads_a_state_directory_and_changes_nothing(team: Path) -> None:
    at("04:00", "tick", "--all", team=team)
    before = tree(team)
    for words in ([], ["--json"], ["--fresh"], ["--agent", "coo"], ["--at", "2026-11-21T05:00Z"]):
        at("04:10", "timeouts", *words, team=team)
    assert tree(team) == before


def test_at_judges_another_instant(team: Path) -> None:
    done = heartbeat("timeouts", "--json", "--at", AT, cwd=team)
    assert done.json["generated_at"] == "2026-11-21T04:00:00.000Z"
    assert [each["idle_seconds"] for each in done.json["timeouts"]] == [2400.0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--agent", "nobody"], "no agent called 'nobody'"),
        (["--at", "yesterday"], "--at 'yesterday' is no instant"),
        (["--fail-on", "everything"], "--fail-on"),
        (["--roster", "missing.yaml"], "missing.yaml"),
        (["coo"], "coo"),
    ],
)
def test_B5_a_wrong_call_is_2(team: Path, words: list[str], said: str) -> None:
    done = at("04:00", "timeouts", *words, team=team)
    assert done.code == 2
    assert said in done.err


def test_B5_state_that_cannot_be_used_is_4(team: Path) -> None:
    (team / "state" / "state.db").mkdir(parents=True)
    assert at("04:00", "timeouts", team=team).code == 4


def test_B8_a_hostile_title_changes_neither_the_screen_nor_the_verdict(team: Path) -> None:
    edit(team, "multica.json", "BIZ-28", title=HOSTILE)
    done = at("04:00", "timeouts", team=team)
    assert done.code == 1
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    assert "[red]x[/red] ::error::fake OK: 0 tasks" in done.out
    assert not [line for line in done.out.splitlines() if line.startswith(("::", "OK"))]
    assert last_line(done) == "FOUND: 3 tasks in progress checked: 1 confirmed, 0 suspected"
    assert at("04:00", "timeouts", "--json", team=team).json["timeouts"][0]["title"] == HOSTILE


def test_the_screen_looks_as_it_did(team: Path, snapshot: SnapshotAssertion) -> None:
    for minute in ("04:00", "04:10", "04:20"):
        at(minute, "tick", "coo", team=team)
    (team / "workboard.json").write_text("")
    done = at("04:35", "timeouts", "--fail-on", "suspected", team=team)
    assert done.out.replace(str(team), "<team>") == snapshot


def test_T6_what_is_quiet_by_the_clock_alone_is_told_and_changes_no_exit_code(team: Path) -> None:
    at("04:00", "tick", "--all", team=team)
    done = at("04:00", "timeouts", team=team)
    document = at("04:00", "timeouts", "--json", team=team).json
    assert (done.code, document["exit_code"]) == (0, 0)
    (found,) = document["unwatched"]
    assert (found["title"], found["idle_seconds"]) == ("季度运营目标拆解", 0.0)
    assert found["quiet_seconds"] >= 1200
    assert "1 task was quiet for longer than suspect_after by the clock" in done.out
    assert "heartbeat explain BIZ-28" in done.out
