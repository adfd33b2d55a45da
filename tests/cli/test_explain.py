"""`heartbeat explain` from the outside: any name of a task, everything about it, and nothing written (B3, B8)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.cli.test_timeouts import HOSTILE, at, edit
from tests.support.command import heartbeat, tree

CARD = "c0ffee11-5a3e-4c1d-9b7f-a1b384d4d311"
KEYS = {
    *(
        "schema",
        "generated_at",
        "degraded",
        "level",
        "level_reasons",
        "memory",
        "alarms",
        "sources",
        "title",
        "owner",
        "owner_kind",
        "task",
        "refs",
    ),
    *("origins", "links", "reasons", "stall", "clocks", "signs", "presence", "waiting_on", "waited_for_by", "rounds"),
    *("turn", "attempts", "dead_letter"),
    *("hold", "pause", "incidents", "outbox", "log", "findings", "next"),
}


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("BIZ-31", "BIZ-31 登录页报错 500"),
        ("biz-28", "季度运营目标拆解"),
        ("c0ffee11", "设计支付回调的幂等方案"),
        ("c0ffee11-5a", "设计支付回调的幂等方案"),
        (f"workboard:{CARD}", "设计支付回调的幂等方案"),
        ("设计支付回调的幂等方案", "设计支付回调的幂等方案"),
        ("应急联系人", "更新应急联系人"),
    ],
)
def test_any_name_of_a_task_will_do(team: Path, name: str, title: str) -> None:
    done = at("04:00", "explain", name, "--json", team=team)
    assert done.code == 0, done.err
    assert done.json["schema"] == "heartbeat.explain/1"
    assert done.json["title"] == title
    assert set(done.json) == KEYS
    assert at("04:00", "explain", name, team=team).code == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("BIZ-99", "no task is called 'BIZ-99'"),
        ("", "no task is called"),
        ("回", "may mean"),
        ("c0ff", "may mean"),
        ("BIZ-99\x1b[2J\nheartbeat: OK", "no task is called 'BIZ-99 heartbeat: OK'"),
    ],
)
def test_a_name_that_means_none_or_several_is_2_and_says_which(team: Path, name: str, said: str) -> None:
    done = at("04:00", "explain", name, team=team)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "\x1b" not in done.err


def test_several_are_listed_by_key_and_title(team: Path) -> None:
    told = at("04:00", "explain", "支付回调", team=team).err
    assert f"workboard:{CARD} (c0ffee11 设计支付回调的幂等方案)" in told
    assert "实现支付回调" in told


def test_a_merged_task_tells_its_origins_and_why_they_are_one(team: Path) -> None:
    at("04:00", "tick", "coo", team=team)
    document = at("04:05", "explain", "BIZ-31", "--json", team=team).json
    assert [(each["source"], each["key"], each["raw_status"], each["owner"]) for each in document["origins"]] == [
        ("workboard", "c0ffee13", "todo", "coo"),
        ("multica", "BIZ-31", "todo", "coo"),
    ]
    ((link),) = document["links"]
    assert (link["via"], link["made_at"]) == ("reference", "2026-11-21T04:00:00.000Z")
    assert document["next"]["action"] == "none"
    assert [each["title"] for each in document["waited_for_by"]] == ["发布回访结果"]


def test_a_waiting_task_tells_what_for_since_when_and_when_that_is_told(team: Path) -> None:
    at("04:00", "tick", "--all", team=team)
    (wait,) = at("04:30", "explain", "发布回访结果", "--json", team=team).json["waiting_on"]
    assert (wait["target"], wait["gate"], wait["title"]) == ("BIZ-31", "open", "BIZ-31 登录页报错 500")
    assert (wait["since"], wait["told_at"]) == ("2026-11-21T04:00:00.000Z", "2026-11-21T05:00:00.000Z")


def test_L1_a_stalled_task_tells_its_incident_its_outbox_and_what_comes_next(team: Path) -> None:
    for minute in ("04:00", "04:10", "04:20"):
        at(minute, "tick", "--all", team=team)
    document = at("04:25", "explain", "BIZ-28", "--json", team=team).json
    assert document["memory"] is True
    assert (document["stall"]["level"], document["stall"]["idle_seconds"]) == ("suspected", 1500.0)
    ((incident),) = document["incidents"]
    assert [step["step"] for step in incident["steps"]] == ["nudge"]
    assert incident["nudged_at"] is not None
    assert [entry["incident"] for entry in document["outbox"]] == [incident["id"]]
    assert {"incident-opened", "step-nudge"} <= {note["action"] for note in document["log"]}
    assert document["next"] == {"action": "notify", "at": "2026-11-21T04:30:00.000Z", "why": ""}
    abouts = {each["about"] for each in document["reasons"]}
    assert {"status", "owner", "stall", "ladder", "recovery"} <= abouts
    assert all(each["rule"] and each["message"] for each in document["reasons"])


def test_S2_it_works_while_a_source_is_down_and_says_so(team: Path) -> None:
    at("04:00", "tick", "coo", team=team)
    (team / "workboard.json").write_text("")
    done = at("04:05", "explain", "BIZ-31", team=team)
    assert done.code == 0
    assert "workboard failed (bad_output)" in done.out
    assert "of an earlier read" in done.out
    document = at("04:05", "explain", CARD, "--json", team=team).json
    assert document["degraded"] is True
    assert document["origins"][0]["stale"] is True
    assert document["stall"]["level"] == "none"
    assert document["next"]["why"].startswith("nothing is done while ")
    lost = at("04:05", "explain", "BIZ-99", team=team)
    assert lost.code == 2
    assert "workboard could not be read" in lost.err


def test_a_task_that_no_source_shows_any_more_is_explained_from_memory(team: Path) -> None:
    for minute in ("04:00", "04:10", "04:20"):
        at(minute, "tick", "--all", team=team)
    identifier = at("04:20", "explain", "BIZ-28", "--json", team=team).json["refs"][0]
    (team / "multica.json").write_text('{"issues": [], "total": 0}')
    done = at("04:25", "explain", identifier, "--json", team=team)
    assert done.code == 0, done.err
    assert (done.json["task"], done.json["title"], done.json["origins"]) == (None, "季度运营目标拆解", [])
    assert len(done.json["incidents"]) == 1
    shown = at("04:25", "explain", identifier, team=team)
    assert "no source shows it any more" in shown.out


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_B3_it_changes_nothing_with_and_without_state(team: Path, words: list[str]) -> None:
    before = tree(team)
    assert at("04:00", "explain", "BIZ-28", *words, team=team).code == 0
    assert tree(team) == before
    at("04:00", "tick", "--all", team=team)
    before = tree(team)
    at("04:10", "explain", "BIZ-28", *words, "--fresh", team=team)
    assert tree(team) == before


def test_B7_lost_memory_is_said(team: Path) -> None:
    at("04:00", "tick", "coo", team=team)
    (team / "state" / "state.db").write_bytes(b"")
    done = at("04:10", "explain", "BIZ-28", "--json", team=team)
    assert done.code == 0
    assert done.json["next"]["why"] == "memory was lost and nobody has accepted that: heartbeat only observes"
    assert "memory-lost" in done.err
    assert "memory-lost" in at("04:10", "explain", "BIZ-28", team=team).out


def test_B8_hostile_titles_are_shown_as_what_they_are(team: Path) -> None:
    edit(team, "multica.json", "BIZ-28", title=HOSTILE)
    edit(team, "workboard.json", CARD, title=HOSTILE)
    for name in ("BIZ-28", CARD):
        done = at("04:00", "explain", name, team=team)
        assert done.code == 0
        assert "\x1b" not in done.out
        assert "\u202e" not in done.out
        assert not [line for line in done.out.splitlines() if line.startswith(("::", "OK"))]
        assert at("04:00", "explain", name, "--json", team=team).json["title"] == HOSTILE


def test_B5_a_wrong_call_is_2(team: Path) -> None:
    assert heartbeat("explain", cwd=team).code == 2
    assert heartbeat("explain", "BIZ-28", "--at", "soon", cwd=team).code == 2
    assert heartbeat("explain", "BIZ-28", "--roster", "missing.yaml", cwd=team).code == 2


def test_the_screen_looks_as_it_did(team: Path, snapshot: SnapshotAssertion) -> None:
    for minute in ("04:00", "04:10", "04:20"):
        at(minute, "tick", "coo", team=team)
    edit(team, "multica.json", "BIZ-28", title="季度运营目标拆解（改）", updated_at="2026-11-21T04:21:00Z", revision=8)
    at("04:25", "tick", "coo", team=team)
    done = at("04:26", "explain", "BIZ-28", team=team)
    incident = at("04:26", "explain", "BIZ-28", "--json", team=team).json["incidents"][0]["id"]
    assert re.sub(r"[0-9a-f]{32}", "<receipt>", done.out.replace(incident, "<incid>")) == snapshot
    assert at("04:26", "explain", "BIZ-31", team=team).out == snapshot
