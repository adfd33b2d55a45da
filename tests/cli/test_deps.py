"""`heartbeat deps`: what waits for what, as a tree, a diagram and a document (rules D1 to D5, S2, B8)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.cli.deps import _label
from heartbeat.cli.terminal import columns
from tests.support.command import heartbeat, tree
from tests.support.operations import HOSTILE, cannot_write, lose_memory, retitled


def waiting(team: Path, **targets: str) -> None:
    """Only these issues of the sample stay; each waits for the named ones: BIZ_31="BIZ-32,BIZ-33"."""
    (team / "workboard.json").write_text('{"cards": []}')
    for todo in (team / "workspaces").rglob("TODO.md"):
        todo.unlink()
    path = team / "multica.json"
    document = json.loads(path.read_text())
    first = document["issues"][1]
    document["issues"] = [
        {
            **first,
            "id": f"0198f0a0-7777-7000-8000-0000000{number:05}",
            "number": number,
            "identifier": f"BIZ-{number}",
            "title": f"任务编号{number}",
            "due_date": None,
            "metadata": {"depends_on": target} if target else {},
        }
        for number, target in sorted((int(name[4:]), target) for name, target in targets.items())
    ]
    document["total"] = len(document["issues"])
    path.write_text(json.dumps(document))


def lines(team: Path, *words: str) -> list[str]:
    done = heartbeat("deps", *words, cwd=team)
    assert done.code == 0, done.err
    return done.out.splitlines()


def named(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(task for task in document["tasks"] if task["name"] == name)


def test_everything_that_waits_stands_above_what_it_waits_for(team: Path) -> None:
    before = tree(team)
    assert lines(team) == [
        "c0ffee12 实现支付回调 (todo, costcodev)",
        "  c0ffee11 设计支付回调的幂等方案 (in progress, architect)",
        "BIZ-32 供应商报价对比 (todo, coo)",
        "  BIZ-33 收集三家供应商报价 (todo, architect)",
        "TODO.md:5 合并依赖升级 (todo, costcodev)",
        "  ci-timeout 修复 CI 超时 (todo, costcodev)",
        "TODO.md:8 发布回访结果 (todo, coo)",
        "  c0ffee13 BIZ-31 登录页报错 500 (todo, coo)",
    ]
    assert tree(team) == before


def test_of_one_task_both_directions_are_followed_to_the_end(team: Path) -> None:
    waiting(team, BIZ_1="BIZ-2", BIZ_2="BIZ-3, BIZ-4", BIZ_3="BIZ-4", BIZ_4="", BIZ_5="BIZ-2", BIZ_6="BIZ-7", BIZ_7="")
    assert lines(team, "BIZ-2") == [
        "BIZ-2 任务编号2 (todo, coo)",
        "waits for:",
        "  BIZ-3 任务编号3 (todo, coo)",
        "    BIZ-4 任务编号4 (todo, coo)",
        "  BIZ-4 任务编号4 (todo, coo)",
        "holds back:",
        "  BIZ-1 任务编号1 (todo, coo)",
        "  BIZ-5 任务编号5 (todo, coo)",
    ]
    document = heartbeat("deps", "BIZ-2", "--json", cwd=team).json
    assert [task["name"] for task in document["tasks"]] == ["BIZ-1", "BIZ-2", "BIZ-3", "BIZ-4", "BIZ-5"]
    assert lines(team, "BIZ-4")[1:3] == ["waits for: nothing", "holds back:"]


def test_a_branch_is_opened_once(team: Path) -> None:
    waiting(team, BIZ_1="BIZ-2,BIZ-3", BIZ_2="BIZ-3", BIZ_3="BIZ-4", BIZ_4="")
    assert lines(team) == [
        "BIZ-1 任务编号1 (todo, coo)",
        "  BIZ-2 任务编号2 (todo, coo)",
        "    BIZ-3 任务编号3 (todo, coo)",
        "      BIZ-4 任务编号4 (todo, coo)",
        "  BIZ-3 任务编号3 (todo, coo), see above",
    ]


def test_D5_a_ring_is_marked_and_named_once(team: Path) -> None:
    waiting(team, BIZ_1="BIZ-2", BIZ_2="BIZ-3", BIZ_3="BIZ-2", BIZ_4="BIZ-5", BIZ_5="")
    ring = "ring 1: BIZ-2, BIZ-3 wait for each other, and none can start"
    assert lines(team) == [
        "BIZ-1 任务编号1 (todo, coo)",
        "  BIZ-2 任务编号2 (todo, coo, in ring 1)",
        "    BIZ-3 任务编号3 (todo, coo, in ring 1)",
        "      BIZ-2: the ring closes here",
        "BIZ-4 任务编号4 (todo, coo)",
        "  BIZ-5 任务编号5 (todo, coo)",
        ring,
    ]
    assert lines(team, "--cycles") == [
        "BIZ-2 任务编号2 (todo, coo, in ring 1)",
        "  BIZ-3 任务编号3 (todo, coo, in ring 1)",
        "    BIZ-2: the ring closes here",
        ring,
    ]
    assert lines(team, "BIZ-1", "--cycles") == ["BIZ-1 任务编号1 (todo, coo): in no ring", ring]
    assert lines(team, "BIZ-4", "--cycles") == ["BIZ-4 任务编号4 (todo, coo): in no ring"]
    document = heartbeat("deps", "--cycles", "--json", cwd=team).json
    assert [task["in_cycle"] for task in document["tasks"]] == [True, True]
    assert [
        sorted(name["name"] for name in document["tasks"] if name["key"] in ring) for ring in document["cycles"]
    ] == [["BIZ-2", "BIZ-3"]]


def test_without_a_ring_that_is_said(team: Path) -> None:
    assert lines(team, "--cycles") == ["No tasks wait for each other."]


def test_without_a_dependency_that_is_said(team: Path) -> None:
    waiting(team, BIZ_1="", BIZ_2="")
    assert lines(team) == ["Nothing waits."]
    assert lines(team, "--format", "mermaid")[2:] == []
    assert lines(team, "BIZ-1") == ["BIZ-1 任务编号1 (todo, coo)", "waits for: nothing", "holds back: nothing"]


def test_D3_what_only_a_person_can_settle_is_said(team: Path) -> None:
    waiting(team, BIZ_1="BIZ-99", BIZ_2="BIZ-3", BIZ_3="")
    retitled(team, "BIZ-3", status="cancelled", status_category="cancelled")
    shown = lines(team)
    assert shown[1] == "  BIZ-99: BIZ-99 does not exist in any source that was read"
    assert shown[3] == "  BIZ-3 任务编号3 (cancelled, coo): BIZ-3 was cancelled; somebody has to decide"
    diagram = lines(team, "--format", "mermaid")
    assert '  m0(["BIZ-99"])' in diagram
    assert "  t0 -. dangling .-> m0" in diagram
    assert "  t1 -. cancelled .-> t2" in diagram


def test_the_document_names_both_ends(team: Path) -> None:
    document = heartbeat("deps", "BIZ-32", "--format", "json", cwd=team).json
    assert document == heartbeat("deps", "BIZ-32", "--json", cwd=team).json | {"generated_at": document["generated_at"]}
    blocker, waiter = named(document, "BIZ-33"), named(document, "BIZ-32")
    assert (document["schema"], document["task"], document["degraded"]) == ("heartbeat.deps/1", waiter["key"], False)
    assert document["cycles"] == []
    assert waiter == {
        "key": waiter["key"],
        "name": "BIZ-32",
        "title": "供应商报价对比",
        "status": "todo",
        "state": "waiting",
        "owner": "coo",
        "owner_kind": "agent",
        "waiting_on": [{"target": "BIZ-33", "gate": "open", "key": blocker["key"], "reason": "BIZ-33 is todo"}],
        "holds_back": [],
        "in_cycle": False,
    }
    assert blocker["holds_back"] == [waiter["key"]]


def test_a_diagram_has_a_node_a_task_and_an_arrow_a_wait(team: Path) -> None:
    waiting(team, BIZ_1="BIZ-2", BIZ_2="BIZ-1", BIZ_3="BIZ-1")
    assert lines(team, "--format", "mermaid") == [
        "flowchart LR",
        "  %% an arrow leads from a task to what it waits for; what is dashed needs a look or a decision",
        '  t0["BIZ-1 任务编号1"]',
        '  t1["BIZ-2 任务编号2"]',
        '  t2["BIZ-3 任务编号3"]',
        "  t0 --> t1",
        "  t1 --> t0",
        "  t2 --> t0",
        "  classDef ring stroke:#c00,stroke-width:2px",
        "  class t0,t1 ring",
    ]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_B8_a_label_can_only_be_read(title: str) -> None:
    label = _label(title)
    assert label
    assert label == "?" or not set("\"'`<>[](){}|&;#%$@\\*~^=!?\r\n\x1b\u202e") & set(label)
    assert columns(label) <= 48


def test_B8_hostile_titles_neither_move_a_cursor_nor_end_a_label(team: Path) -> None:
    waiting(team, BIZ_1="BIZ-2", BIZ_2="")
    retitled(team, "BIZ-1", title=f'{HOSTILE}"] --> t9\n  click t0 "javascript:alert(1)" &quot; %%{{init}}%%')
    for words in (["BIZ-1"], [], ["--format", "mermaid"]):
        shown = lines(team, *words)
        assert not set("\x1b\x07\x00\r\u202e") & set("".join(shown))
        assert not any(line.strip().startswith("click") for line in shown)
    (label,) = [line for line in lines(team, "--format", "mermaid") if line.startswith("  t0[")]
    assert re.fullmatch(r'  t0\["[^"\[\]&<>%{}();]*"\]', label)


def test_a_chain_of_hundreds_is_followed(team: Path) -> None:
    waiting(team, **{f"BIZ_{number}": f"BIZ-{number + 1}" for number in range(1, 1500)}, BIZ_1500="")
    shown = lines(team, "BIZ-1")
    assert len(shown) == 1502
    assert len(shown[-2]) < 120
    assert len(heartbeat("deps", "--json", cwd=team).json["tasks"]) == 1500


def test_S2_while_a_source_is_down_what_it_held_is_unknown(team: Path) -> None:
    heartbeat("tick", "coo", cwd=team)
    (team / "multica.json").write_text("")
    done = heartbeat("deps", "BIZ-32", "--fresh", cwd=team)
    assert "the status of BIZ-33 is not known" in done.out
    assert heartbeat("deps", "--fresh", "--strict", cwd=team).code == 3
    assert heartbeat("deps", "--fresh", "--json", cwd=team).json["degraded"] is True


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["BIZ-99"], "no task is called 'BIZ-99'"),
        (["报价"], "may mean 2 tasks"),
        (["--json", "--format", "mermaid"], "--json and --format mermaid do not go together"),
        (["--format", "dot"], "dot"),
    ],
)
def test_a_wrong_call_is_a_mistake(team: Path, words: list[str], told: str) -> None:
    done = heartbeat("deps", *words, cwd=team)
    assert (done.code, told in done.err) == (2, True)


def test_B7_lost_memory_is_told(team: Path) -> None:
    lose_memory(team)
    done = heartbeat("deps", "BIZ-32", cwd=team)
    assert (done.code, "memory-lost" in done.err) == (0, True)


def test_dependencies_are_shown_where_nothing_can_be_written(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat("tick", "coo", cwd=team)
    cannot_write(monkeypatch)
    before = tree(team)
    assert "BIZ-33" in heartbeat("deps", "BIZ-32", cwd=team).out
    assert tree(team) == before


@pytest.mark.parametrize("words", [("deps",), ("deps", "--cycles"), ("deps", "--json")], ids=str)
def test_S2_a_source_that_could_not_be_read_is_named_once(team: Path, words: tuple[str, ...]) -> None:
    assert heartbeat(*words, cwd=team).err == ""
    (team / "multica.json").write_text("{")
    done = heartbeat(*words, cwd=team)
    assert done.code == 0
    assert [line.split()[1:3] for line in done.err.splitlines()] == [["multica", "failed"]]
