"""agents.yaml as text: it reads back as what was meant, whatever names come from outside."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartbeat.roster.document import read_document
from heartbeat.setup.begin import Answers, example, finished, prospect, team_of
from heartbeat.setup.discover import MULTICA, OPENCLAW, Found, Look, nobody_asked
from heartbeat.setup.document import Plan, channel_name, workspace_pattern
from heartbeat.setup.drafts import Draft, LeftOut, Override, Team
from heartbeat.setup.foreign import clean
from heartbeat.setup.scalars import path_scalar, scalar, written
from heartbeat.systems.multica.agents import MulticaAgent
from heartbeat.systems.openclaw.agents import OpenClawAgent

HOSTILE = [
    "{{ 7 * 7 }}",
    "a: b",
    "a # b",
    "- x",
    "'",
    '"',
    "\\",
    "*alias",
    "&anchor",
    "!!python/object",
    "no",
    "true",
    "~",
    "null",
    "1:30",
    "007",
    "12",
    "1.5",
    "2026-11-21",
    "---",
    "...",
    "%TAG",
    "@x",
    "`x`",
    "[a, b]",
    "{a: b}",
    "a\nb: c",
    "\x1b[31mred",
    "a\u2028b",
    "\u202eright",
    "\u200bzero",
    "👩\u200d💻",
    "$(rm -rf /)",
    "${HOME}",
    "${NOT_SET}",
    "陆怀瑾",
    "，：",
    "\ufeffbom",
    "x" * 700,
    "\ud800",
]
UUID = "0198f0a0-3333-7000-8000-000000000001"


def roster_of(team: Team, **changes: object) -> tuple[str, object]:
    plan = replace(Plan(team, "Asia/Shanghai", "Vincent", "/home/v/state", "/home/v"), **changes)  # type: ignore[arg-type]
    return finished(plan, Path("/rosters/agents.yaml"), {"HOME": "/home/v"}, lambda: ())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_from_outside_is_data_wherever_it_stands(name: str) -> None:
    """`finished` compares the roster that loads with what was meant, name for name."""
    found = Found(
        Look(OPENCLAW, (OpenClawAgent("coo", name, name), OpenClawAgent("b", "", name, f"/w/{name}")), "gateway"),
        Look(MULTICA, (MulticaAgent(UUID, name), MulticaAgent(UUID[:-1] + "2", name)), "api", problems=(name,)),
    )
    seen = prospect(found)
    team = team_of(seen, Answers(), found, operator="Vincent")
    text, roster = roster_of(team, operator=clean(name, 80) or "x", origins=(name,))
    assert roster.operator.name == (clean(name, 80) or "x")  # type: ignore[attr-defined]
    assert all(line.isprintable() or "\u200d" in line for line in text.split("\n"))


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.text(max_size=40))
@settings(max_examples=60)
def test_whatever_text_there_is_a_roster_is_made_that_loads(names: list[str], place: str) -> None:
    drafts = tuple(
        Draft(f"a{number}", "business", name, clean(name, 80), workspace=f"/{place}", checks=(clean(name, 80) or "x",))
        for number, name in enumerate(names)
    )
    left = tuple(LeftOut(name, "b", name, UUID, f"/{place}") for name in names)
    text, _ = roster_of(Team(drafts, left))
    assert read_document(text.encode()).problems == []


@given(st.text(max_size=40))
def test_a_scalar_reads_back_as_itself_in_a_block_and_between_brackets(text: str) -> None:
    shown = scalar(text)
    if "\ud800" <= max(text, default="") <= "\udfff" or re.search("[\ud800-\udfff]", text):
        return
    for line, wanted in (
        (f"a: {shown}  # b\n", {"a": text}),
        (f"[{shown}, b]\n", [text, "b"]),
        (f"{shown}: b\n", {text: "b"}),
    ):
        document = read_document(line.encode())
        assert document.problems == []
        assert document.data == wanted


def test_plain_words_stay_plain() -> None:
    for text in ("陆怀瑾", "Vincent", "PR/Code Review 状态", "a-b_c", "全平台积压巡检：WorkBoard + Multica"):
        assert scalar(text) == text


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/v/.openclaw/workspace-coo", "~/.openclaw/workspace-coo"),
        ("/home/vera/x", "/home/vera/x"),
        ("/home/v", "/home/v"),
        ("/a/${HOME}/b", '"/a/$${HOME}/b"'),
        ("/a b/{x}", '"/a b/{x}"'),
        ("relative", None),
        ("~/x", None),
        ("/a\nb", None),
        ("/a ", None),
        ("/" + "x" * 600, None),
    ],
)
def test_a_path_means_the_same_directory_in_a_roster_or_is_not_written(path: str, shown: str | None) -> None:
    assert path_scalar(path, "/home/v") == shown


@pytest.mark.parametrize(
    "value",
    [
        timedelta(seconds=5400),
        timedelta(seconds=90),
        timedelta(days=1, minutes=1),
        timedelta(seconds=0.5),
        timedelta(weeks=3),
    ],
)
def test_a_time_reads_back_exactly(value: timedelta) -> None:
    from heartbeat.instants import parse_duration

    assert parse_duration(written(value)) == value


def draft(agent: str, workspace: str = "") -> Draft:
    return Draft(agent, "business", "", workspace=workspace)


def test_a_pattern_stands_for_workspaces_only_where_all_are_known() -> None:
    both = (draft("coo", "/w/workspace-coo"), draft("dev", "/w/workspace-dev"))
    assert workspace_pattern(both) == "/w/workspace-{id}"
    assert workspace_pattern((*both, draft("x", "/elsewhere/x"))) == "/w/workspace-{id}"
    assert workspace_pattern((*both, draft("x"))) == ""
    assert (
        workspace_pattern((draft("coo", "/agents/coo/home"), draft("dev", "/agents/dev/home"))) == "/agents/{id}/home"
    )
    assert workspace_pattern((draft("o", "/w/coo"), draft("v", "/w/dev"))) == ""
    assert workspace_pattern((draft("a", "/w/{x}/a"), draft("b", "/w/{x}/b"))) == ""


def test_agents_whose_workspace_does_not_fit_the_pattern_have_their_own() -> None:
    team = Team((draft("coo", "/home/v/w/coo"), draft("dev", "/home/v/w/dev"), draft("odd", "/srv/odd place")))
    text, roster = roster_of(
        replace(team, drafts=(replace(team.drafts[0], class_id="high_frequency"), *team.drafts[1:]))
    )
    assert 'workspaces: "~/w/{id}"' in text
    assert text.count("workspace:") == 1
    assert {agent.id: str(agent.workspace) for agent in roster.agents.values()} == {  # type: ignore[attr-defined]
        "coo": "/home/v/w/coo",
        "dev": "/home/v/w/dev",
        "odd": "/srv/odd place",
    }


def test_a_team_without_a_coo_tells_the_operator_and_one_with_a_coo_its_coo() -> None:
    alone = Team((Draft("dev", "developer", ""), Draft("sec", "high_frequency", "")))
    text, roster = roster_of(alone)
    assert "developer: {notify: [operator, creator]}" in text
    assert roster.agents["dev"].policy.notify == ("operator", "creator")  # type: ignore[attr-defined]
    assert roster.agents["sec"].policy.notify == ("operator",)  # type: ignore[attr-defined]
    told = {"notify": Override(("self",), "")}
    text, roster = roster_of(Team((Draft("coo", "high_frequency", "", settings=told), *alone.drafts)))
    assert roster.agents["dev"].policy.notify == ("coo", "creator")  # type: ignore[attr-defined]


def test_the_channel_has_a_name_that_no_agent_has() -> None:
    assert channel_name(["a"]) == "ops"
    assert channel_name(["ops", "notifications"]) == "ops-log"
    _, roster = roster_of(
        Team((Draft("ops", "business", ""), Draft("null", "business", ""), Draft("12", "business", "")))
    )
    assert roster.operator.notify == ("notifications",)  # type: ignore[attr-defined]
    assert set(roster.agents) == {"ops", "null", "12"}  # type: ignore[attr-defined]


def test_who_is_left_out_comes_in_by_taking_the_comment_away() -> None:
    left = (
        LeftOut("OpenClaw's own: it takes messages and hands them on", "main", workspace="/home/v/.openclaw/workspace"),
        LeftOut("only Multica has it", "codex", "Codex", UUID),
        LeftOut("only Multica has it", "", "??", UUID[:-1] + "2"),
        LeftOut("OpenClaw's agent 'X Y': no id"),
    )
    text, _ = roster_of(Team((Draft("coo", "high_frequency", "", settings={"notify": Override(("self",), "")}),), left))
    taken_in = re.sub(r"^(  )# (?=(?:main|codex|an-id-of-your-choice): )", r"\1", text, flags=re.MULTILINE)
    agents = read_document(taken_in.encode()).data["agents"]
    assert agents["main"] == {"class": "business", "workspace": "~/.openclaw/workspace"}
    assert agents["codex"] == {"class": "business", "name": "Codex", "multica_id": UUID}
    assert set(agents) == {"coo", "main", "codex", "an-id-of-your-choice"}
    assert "  # OpenClaw's agent 'X Y': no id\n" in text


def test_the_example_of_an_empty_roster_loads_and_says_that_it_is_one() -> None:
    text, roster = roster_of(example(), guess="/home/v/.openclaw/workspace-{id}")
    assert list(roster.agents) == ["coo"]  # type: ignore[attr-defined]
    assert "put your own agents here" in text
    assert '# workspaces: "~/.openclaw/workspace-{id}"' in text


def test_a_roster_that_would_say_something_else_is_a_bug_and_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heartbeat.setup.begin.compose", lambda plan: "version: 1\nagents: {coo: {class: developer}}\n")
    team = Team((Draft("coo", "developer", "", name="陆"),))
    with pytest.raises(RuntimeError, match=r"coo\.name is 'coo', not '陆'"):
        roster_of(team)
    monkeypatch.setattr("heartbeat.setup.begin.compose", lambda plan: "agents: {coo: {clas: developer}}\n")
    with pytest.raises(RuntimeError, match="has mistakes"):
        roster_of(team)


def test_nobody_asked_is_nobody_found() -> None:
    assert [look.read or look.failed for look in nobody_asked().looks] == [False, False]
