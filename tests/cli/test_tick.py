"""`heartbeat tick` and `heartbeat worklist` on the sample team, from the outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from heartbeat.store.locks import try_exclusive
from tests.cli.conftest import AT
from tests.support.command import heartbeat, tree

BUCKETS = {"presented", "merged", "waiting", "deferred", "closed", "rejected", "other_agent", "unowned"}


def titles(document: dict[str, object], state: str) -> list[str]:
    return [task["title"] for task in document["tasks"] if task["state"] == state]  # type: ignore[attr-defined, index]


def test_a_tick_merges_three_sources_and_leaves_a_receipt(team: Path) -> None:
    done = heartbeat("tick", "coo", "--json", cwd=team)
    assert done.code == 0
    document = done.json
    assert document["schema"] == "heartbeat.tick/1"
    assert document["agent"] == "coo"
    assert document["degraded"] is False
    assert [source["name"] for source in document["sources"]] == ["workboard", "multica", "todo"]
    assert {source["status"] for source in document["sources"]} == {"complete"}
    merged = next(task for task in document["tasks"] if "BIZ-31" in [ref["key"] for ref in task["refs"]])
    assert [ref["source"] for ref in merged["refs"]] == ["workboard", "multica"]
    assert merged["priority"] == "urgent"
    assert merged["due"] == "2026-11-22"
    receipt = document["receipt"]
    assert receipt["agent"] == "coo"
    assert receipt["buckets"] == document["buckets"]
    assert set(document["buckets"]) == BUCKETS
    assert sum(document["buckets"].values()) == sum(source["items"] for source in document["sources"])
    listed = heartbeat("receipts", "--json", cwd=team).json["receipts"]
    assert [found["id"] for found in listed] == [receipt["id"]]


def test_M5_ready_work_stands_in_the_order_of_work(team: Path) -> None:
    ready = titles(heartbeat("worklist", "coo", "--json", "--at", AT, cwd=team).json, "ready")
    assert ready == ["BIZ-31 登录页报错 500", "给客户回访名单排序", "整理本周各 Agent 负载"]


def test_D4_what_waits_is_listed_with_what_it_waits_for(team: Path) -> None:
    document = heartbeat("worklist", "coo", "--json", "--at", AT, cwd=team).json
    waits = {task["title"]: [wait["target"] for wait in task["waiting_on"]] for task in document["tasks"]}
    assert waits["供应商报价对比"] == ["BIZ-33"]
    assert waits["发布回访结果"] == ["BIZ-31"]
    assert set(titles(document, "waiting")) == {"供应商报价对比", "发布回访结果", "十二月排班"}


def test_S6_scheduled_work_is_ready_once_its_time_has_come(team: Path) -> None:
    assert "十二月排班" in titles(heartbeat("worklist", "coo", "--json", "--at", AT, cwd=team).json, "waiting")
    later = heartbeat("worklist", "coo", "--json", "--at", "2026-12-01T01:00:00Z", cwd=team).json
    assert "十二月排班" in titles(later, "ready")


def test_S6a_the_work_of_a_person_is_on_nobodys_worklist(team: Path) -> None:
    document = heartbeat("tick", "--all", "--json", cwd=team).json
    assert document["schema"] == "heartbeat.ticks/1"
    shown = {task["title"] for tick in document["ticks"] for task in tick["tasks"]}
    assert "确认年度预算" not in shown
    every = {task["title"] for task in heartbeat("tasks", "--json", cwd=team).json["tasks"]}
    assert "确认年度预算" in every


def test_a_patrol_agent_sees_the_backlog_of_the_platform_and_others_do_not(team: Path) -> None:
    ticks = {tick["agent"]: tick for tick in heartbeat("tick", "--all", "--json", cwd=team).json["ticks"]}
    assert "backlog" not in ticks["architect"]
    backlog = ticks["coo"]["backlog"]
    assert [load["source"] for load in backlog["sources"]] == ["workboard", "multica", "todo"]
    assert [load["alarm"] for load in backlog["sources"]] == [False, False, True]
    assert set(backlog["last_receipts"]) == {"coo", "architect", "costcodev"}


def test_B3_a_dry_run_changes_nothing_anywhere(team: Path) -> None:
    before = tree(team)
    done = heartbeat("tick", "--all", "--dry-run", "--json", cwd=team)
    assert done.code == 0
    assert [tick["receipt"] for tick in done.json["ticks"]] == [None, None, None]
    assert tree(team) == before
    heartbeat("tick", "coo", cwd=team)
    before = tree(team)
    heartbeat("tick", "coo", "--dry-run", cwd=team)
    assert tree(team) == before


@pytest.mark.parametrize("words", [["worklist", "coo"], ["tasks"], ["receipts"], ["doctor"], ["roster", "show"]])
def test_B3a_commands_that_look_write_nothing(team: Path, words: list[str]) -> None:
    heartbeat("tick", "coo", cwd=team)
    before = tree(team)
    heartbeat(*words, cwd=team)
    assert tree(team) == before


def test_B1_a_second_tick_of_an_agent_says_so_and_exits_0(team: Path) -> None:
    with try_exclusive(team / "state" / "locks" / "coo.lock", purpose="tick") as lock:
        assert lock.held
        done = heartbeat("tick", "coo", cwd=team)
        assert done.code == 0
        assert "another tick of coo is running" in done.out
        skipped = heartbeat("tick", "--all", "--json", cwd=team).json["ticks"]
    assert sorted(skipped[0]) == ["agent", "skipped"]
    assert "tasks" in skipped[1]
    assert heartbeat("tick", "coo", "--json", cwd=team).json["tasks"]


def test_S2_a_source_that_fails_is_told_and_its_work_is_unknown_not_gone(team: Path) -> None:
    before = heartbeat("tick", "coo", "--json", cwd=team).json
    (team / "workboard.json").write_text('{"cards": [')
    done = heartbeat("tick", "coo", "--json", cwd=team)
    assert done.code == 0
    after = done.json
    assert after["degraded"] is True
    board = after["sources"][0]
    assert (board["status"], board["kind"]) == ("failed", "bad_output")
    assert board["age_seconds"] is not None
    assert {task["key"] for task in after["tasks"]} >= {task["key"] for task in before["tasks"]}
    touched = [task for task in after["tasks"] if any(ref["source"] == "workboard" for ref in task["refs"])]
    assert {task["state"] for task in touched} == {"unknown"}
    assert "整理本周各 Agent 负载" not in titles(after, "ready")
    assert "给客户回访名单排序" in titles(after, "ready")


def test_B5_strict_exits_3_when_a_source_in_use_was_not_complete(team: Path) -> None:
    assert heartbeat("worklist", "coo", "--strict", cwd=team).code == 0
    (team / "multica.json").unlink()
    for words in (["worklist", "coo"], ["tasks"], ["tick", "coo"]):
        assert heartbeat(*words, cwd=team).code == 0
        done = heartbeat(*words, "--strict", cwd=team)
        assert done.code == 3
        assert "multica failed (not_found)" in done.err


def test_S1a_a_source_that_is_not_there_is_disabled_and_said(team: Path) -> None:
    text = (team / "agents.yaml").read_text().replace("multica: {transport: file, path: multica.json}", "multica: {}")
    (team / "agents.yaml").write_text(text)
    done = heartbeat("worklist", "coo", "--strict", "--json", cwd=team, PATH="/nonexistent")
    assert done.code == 0
    assert [source["status"] for source in done.json["sources"]] == ["complete", "disabled", "complete"]


def test_the_markdown_worklist_is_for_models_and_says_when_there_is_nothing_to_do(team: Path) -> None:
    shown = heartbeat("worklist", "coo", "--at", AT, cwd=team).out
    assert shown.startswith("# Worklist of coo at 2026-11-21T04:00:00.000Z\n")
    assert "1. `c0ffee13` = `BIZ-31` `BIZ-31 登录页报错 500` (urgent, due 2026-11-22)" in shown
    for name in ("workboard.json", "multica.json"):
        (team / name).write_text('{"cards": [], "issues": []}')
    (team / "workspaces" / "architect" / "TODO.md").unlink()
    assert "Nothing to do" in heartbeat("worklist", "architect", cwd=team).out


def test_a_limit_says_how_much_it_leaves_out(team: Path) -> None:
    shown = heartbeat("worklist", "coo", "--limit", "1", "--at", AT, cwd=team).out
    assert "… and 2 more" in shown
    assert "\n1. " in shown
    assert "\n2. " not in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tick"], "no agent to beat for"),
        (["tick", "nobody"], "no agent called 'nobody'"),
        (["tick", "--all", "coo"], "do not go together"),
        (["tick", "coo", "--at", AT], "add --dry-run"),
        (["worklist", "coo", "--at", "yesterday"], "'yesterday' is no instant"),
        (["tasks", "--status", "finished"], "no status called finished"),
        (["tasks", "--source", "jira"], "no source called jira"),
        (["tasks", "--agent", "nobody"], "no agent called 'nobody'"),
        (["receipts", "--agent", "nobody"], "no agent called 'nobody'"),
        (["roster", "show", "nobody"], "no agent called 'nobody'"),
        (["tick", "coo", "--format", "yaml"], "--format"),
        (["frobnicate"], "frobnicate"),
        (["--roster", "missing.yaml", "tick", "coo"], "missing.yaml"),
    ],
)
def test_B5_a_wrong_call_exits_2_and_says_what_to_do(team: Path, words: list[str], told: str) -> None:
    done = heartbeat(*words, cwd=team)
    assert done.code == 2
    assert told in done.err
    assert "Traceback" not in done.err


def test_the_roster_option_stands_before_or_after_the_command(team: Path, tmp_path: Path) -> None:
    roster = team / "agents.yaml"
    for words in (["--roster", roster, "tick", "coo"], ["tick", "coo", "--roster", roster]):
        assert heartbeat(*words, cwd=tmp_path).code == 0
    assert heartbeat("tick", "coo", cwd=tmp_path, HEARTBEAT_ROSTER=str(roster)).code == 0
    assert heartbeat("tick", "coo", cwd=tmp_path).code == 2


def test_tasks_can_be_filtered(team: Path) -> None:
    def keys(*words: str) -> set[str]:
        document = heartbeat("tasks", "--json", "--at", AT, *words, cwd=team).json
        return {task["title"] for task in document["tasks"]}

    assert keys("--agent", "costcodev", "--status", "waiting") == {"实现支付回调", "合并依赖升级"}
    assert keys("--status", "done") == {
        "年终合同模板归档",
        "升级 Node 版本",
        "预订会议室",
        "旧版看板迁移",
        "关闭旧邮箱",
    }
    assert "旧版看板迁移" in keys("--all")
    assert "旧版看板迁移" not in keys()
    assert keys("--source", "todo", "--agent", "architect") == {"评审缓存方案"}


def test_a_reader_that_closes_the_pipe_early_gets_no_traceback(team: Path) -> None:
    command = [sys.executable, "-m", "heartbeat", "--roster", str(team / "agents.yaml"), "tasks", "--json", "--all"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.close()
    _, err = child.communicate(timeout=60)
    assert b"Traceback" not in err


def test_a_failed_beat_is_on_record_too(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("no luck")

    with monkeypatch.context() as patched:
        patched.setattr("heartbeat.observation.assess", broken)
        done = heartbeat("tick", "coo", cwd=team)
    assert done.code == 70
    assert "a bug: RuntimeError: no luck" in done.err
    assert "Traceback" not in done.err
    (receipt,) = heartbeat("receipts", "--json", cwd=team).json["receipts"]
    assert receipt["outcome"] == "failed"
    assert receipt["reasons"] == ["RuntimeError: no luck"]


def test_the_demo_is_the_same_every_time_and_shows_a_task_of_two_origins(tmp_path: Path) -> None:
    first, second = (heartbeat("demo", cwd=tmp_path) for _ in range(2))
    assert first.code == 0
    assert first.out == second.out
    assert "c0ffee13 = BIZ-31" in first.out


def test_json_holds_any_text_that_a_source_may_bring(team: Path) -> None:
    board = json.loads((team / "workboard.json").read_text())
    board["cards"][3]["title"] = "\u001b[31mred\u0000 \ud800 end"
    (team / "workboard.json").write_text(json.dumps(board))
    done = heartbeat("worklist", "coo", "--json", cwd=team)
    assert done.code == 0
    assert any("end" in task["title"] for task in done.json["tasks"])
    for words in (["tick", "coo"], ["worklist", "coo"]):
        shown = heartbeat(*words, cwd=team)
        assert shown.code == 0
        assert "\u001b" not in shown.out
