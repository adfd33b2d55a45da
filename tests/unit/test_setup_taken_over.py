"""`init --from`: every number, name and check of the hand-written files is in the roster that is made of them.

What a file says is compared with tables that were written by hand, and never with what the parser makes of it.
"""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.roster.document import read_document
from heartbeat.roster.model import Agent, Roster
from heartbeat.setup.begin import Answers, finished, prospect, team_of
from heartbeat.setup.discover import nobody_asked
from heartbeat.setup.document import Plan
from heartbeat.setup.old_files import Gathered, gather
from tests.support.hand_written import CREW, Sheet, in_one, lay_out, write
from tests.unit.test_rendered_facts import FACTS, sample

DEPLOYED = Path(__file__).resolve().parents[3] / "shared" / "seeds"
"""The files that the sample roster was made from, where they are at hand."""


def taken_over(place: Path) -> tuple[Gathered, str, Roster, tuple[str, ...]]:
    """What was read, the text, the roster, and the notes."""
    gathered = gather(place)
    team = team_of(prospect(nobody_asked(), gathered.files), Answers(), nobody_asked(), operator="Vincent")
    plan = Plan(team, "Asia/Shanghai", "Vincent", "/state", "/home/v")
    text, roster = finished(plan, place / "agents.yaml", {}, lambda: ())
    return gathered, text, roster, team.notes


def minutes(duration: timedelta) -> float:
    return duration.total_seconds() / 60


def numbers(agent: Agent) -> dict[str, Any]:
    policy = agent.policy
    return {
        "every": minutes(policy.every),
        "suspect": minutes(policy.suspect_after),
        "recover": minutes(policy.recover_after),
        "wait": minutes(policy.dependency_wait),
        "rounds": policy.max_rounds,
    }


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Roster, tuple[str, ...]]:
    _, text, roster, notes = taken_over(lay_out(tmp_path_factory.mktemp("crew")))
    return text, roster, notes


@pytest.mark.parametrize("sheet", CREW, ids=lambda sheet: sheet.id)
def test_every_number_of_a_file_is_in_the_roster(sheet: Sheet, crew: tuple[str, Roster, tuple[str, ...]]) -> None:
    _, roster, _ = crew
    agent = roster.agents[sheet.id]
    assert numbers(agent) == {
        "every": sheet.every,
        "suspect": sheet.suspect,
        "recover": sheet.recover,
        "wait": sheet.wait,
        "rounds": sheet.rounds,
    }
    usual = {"high_frequency": 60, "developer": 120, "business": 90}[sheet.class_id]
    assert minutes(agent.policy.runtime_limit) == (sheet.runtime or usual)
    assert agent.policy.notify == sheet.heard
    assert (agent.name, agent.multica_id, agent.class_id) == (sheet.name, sheet.uuid, sheet.class_id)
    assert agent.checks == tuple(check.replace("**", "") for check in sheet.checks)
    assert agent.patrol is sheet.patrol


def test_nothing_in_files_that_agree_with_themselves_is_worth_a_note(crew: tuple[str, Roster, tuple[str, ...]]) -> None:
    text, roster, notes = crew
    assert notes == ()
    assert set(roster.agents) == {sheet.id for sheet in CREW}
    assert "Left out" not in text


def test_a_number_that_its_class_has_is_not_repeated_and_another_one_is(
    crew: tuple[str, Roster, tuple[str, ...]],
) -> None:
    written = read_document(crew[0].encode()).data["agents"]
    settings = {
        name: set(agent) - {"name", "class", "multica_id", "checks", "patrol"} for name, agent in written.items()
    }
    assert {name: keys for name, keys in settings.items() if keys} == {
        "coo": {"notify"},
        "pilot": {"every"},
        "sail-maker": {"suspect_after", "recover_after", "max_rounds"},
        "keel": {"runtime_limit"},
        "rigger": {"notify"},
        "purser": {"every", "suspect_after", "recover_after", "dependency_wait", "max_rounds"},
        "cook": {"notify"},
        "notary": {"runtime_limit"},
    }
    assert written["purser"]["every"] == "30m"
    line = write(CREW[1]).splitlines().index("### 心跳频率：5 分钟") + 1
    assert f"every: 5m  # line {line} of its file; its class has 10m" in crew[0]


@pytest.mark.parametrize("fence", ["````", "```", "~~~"])
def test_one_document_with_all_of_them_says_the_same_as_fourteen_files(
    fence: str, tmp_path: Path, crew: tuple[str, Roster, tuple[str, ...]]
) -> None:
    document = tmp_path / "all.md"
    document.write_text(in_one(fence=fence), "utf-8")
    for place in (document, tmp_path):
        gathered, _, roster, notes = taken_over(place)
        assert notes == ()
        assert gathered.refused == ()
        assert roster.agents == crew[1].agents


@pytest.mark.parametrize(
    "layout", ["{id}.md", "{id}/HEARTBEAT.md", "a/b/workspace-{id}/heartbeat.md", "{id}/x.markdown"]
)
def test_the_layout_does_not_matter(layout: str, tmp_path: Path, crew: tuple[str, Roster, tuple[str, ...]]) -> None:
    for sheet in CREW:
        path = tmp_path / layout.format(id=sheet.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write(sheet), "utf-8")
    (tmp_path / "README.md").write_text("# 说明\n\n心跳每 5 分钟一次。\n", "utf-8")
    gathered, _, roster, _ = taken_over(tmp_path)
    assert gathered.others == 1
    without = {name: (agent.policy, agent.checks, agent.multica_id) for name, agent in roster.agents.items()}
    assert without == {name: (agent.policy, agent.checks, agent.multica_id) for name, agent in crew[1].agents.items()}


@pytest.fixture(scope="module")
def deployed() -> tuple[Gathered, Roster, tuple[str, ...]]:
    if not DEPLOYED.is_dir():
        pytest.skip("the files that the sample roster was made from are not at hand")
    gathered, _, roster, notes = taken_over(DEPLOYED)
    return gathered, roster, notes


@pytest.mark.parametrize("agent_id", FACTS)
def test_the_deployed_files_give_the_numbers_that_were_read_off_them_by_hand(
    agent_id: str, deployed: tuple[Gathered, Roster, tuple[str, ...]]
) -> None:
    facts, agent = FACTS[agent_id], deployed[1].agents[agent_id]
    hours = {"1h": 60, "2h": 120}
    assert numbers(agent) == {
        "every": facts.every,
        "suspect": facts.suspect,
        "recover": facts.recover,
        "wait": hours[facts.wait],
        "rounds": facts.rounds,
    }
    assert minutes(agent.policy.runtime_limit) == facts.runtime
    assert (agent.name, agent.multica_id, agent.class_label) == (facts.name, facts.multica_id, facts.label)
    assert len(agent.checks) == len(facts.checks)
    assert all(check in own for check, own in zip(facts.checks, agent.checks, strict=True))


@pytest.mark.parametrize("agent_id", FACTS)
def test_the_deployed_files_give_the_agents_of_the_sample_roster(
    agent_id: str, deployed: tuple[Gathered, Roster, tuple[str, ...]]
) -> None:
    made, ours = deployed[1].agents[agent_id], sample().agents[agent_id]
    for name in ("every", "suspect_after", "recover_after", "runtime_limit", "dependency_wait", "max_rounds", "notify"):
        assert getattr(made.policy, name) == getattr(ours.policy, name), name
    assert (made.name, made.class_id, made.multica_id, made.patrol) == (
        ours.name,
        ours.class_id,
        ours.multica_id,
        ours.patrol,
    )
    folded = [unicodedata.normalize("NFKC", check) for check in made.checks]
    assert folded == [unicodedata.normalize("NFKC", check) for check in ours.checks[: len(made.checks)]]


def test_of_the_deployed_document_nothing_is_left_unsaid(deployed: tuple[Gathered, Roster, tuple[str, ...]]) -> None:
    gathered, roster, notes = deployed
    assert sorted(roster.agents) == sorted(FACTS)
    assert notes == ()
    assert [each.why for each in gathered.refused] == [
        "it is a template with placeholders, and about no agent",
        "it is a template with placeholders, and about no agent",
        "it is a template with placeholders, and about no agent",
        "it names no agent: its heading has no `NAME(id)`, and no line says `OpenClaw Agent ID`",
    ]


def test_an_old_file_is_what_init_takes_over_and_a_rendered_one_is_refused(tmp_path: Path) -> None:
    from heartbeat.render import render_agent
    from heartbeat.render.managed import enclose

    body = render_agent(sample(), sample().agents["coo"])
    (tmp_path / "HEARTBEAT.md").write_text(enclose(body, agent_id="coo", template_digest="0" * 12), "utf-8")
    (tmp_path / "old.md").write_text(write(CREW[0]), "utf-8")
    gathered = gather(tmp_path)
    assert [file.id for file in gathered.files] == ["coo"]
    assert [each.why for each in gathered.refused] == [
        "heartbeat wrote it: its numbers come from a roster, which is what to copy"
    ]


def test_a_file_that_lies_in_a_workspace_tells_where_that_is(tmp_path: Path) -> None:
    lay_out(tmp_path / "a", CREW[:2])
    (tmp_path / "a" / "coo" / "AGENTS.md").write_text("# AGENTS\n")
    third = tmp_path / "workspace-dock-engineer" / "HEARTBEAT.md"
    third.parent.mkdir()
    third.write_text(write(CREW[2]), "utf-8")
    _, _, roster, _ = taken_over(tmp_path)
    assert {agent.id: agent.workspace for agent in roster.agents.values()} == {
        "coo": tmp_path / "a" / "coo",
        "pilot": None,
        "dock-engineer": third.parent,
    }
