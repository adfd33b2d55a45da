"""What a roster and the agents that there are do not have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heartbeat.roster.document import read_document
from heartbeat.roster.load import roster_of
from heartbeat.setup.discover import MULTICA, OPENCLAW, Found, Look
from heartbeat.setup.document import agent_lines
from heartbeat.setup.drift import Drift, compare
from heartbeat.systems.base import Attempt, FailureKind
from heartbeat.systems.multica.agents import MulticaAgent
from heartbeat.systems.openclaw.agents import OpenClawAgent


def uuid(number: int) -> str:
    return f"0198f0a0-3333-7000-8000-{number:012d}"


ROSTER = f"""version: 1
workspaces: /w/{{id}}
agents:
  coo: {{class: high_frequency, multica_id: {uuid(1)}, notify: [self]}}
  dev:
    class: developer
    name: 石砚
    multica_id: {uuid(2)}
  alone: {{class: business}}
"""
OURS = [
    OpenClawAgent("main", workspace="/w/main"),
    *(OpenClawAgent(x, workspace=f"/w/{x}") for x in ("coo", "dev", "alone")),
]
THEIRS = [MulticaAgent(uuid(1), "COO"), MulticaAgent(uuid(2), "石砚")]


def look(system: str, agents: Any, transport: str | None = "gateway", kind: FailureKind | None = None) -> Look[Any]:
    tried = (Attempt("gateway", kind, "told"),)
    return Look(system, tuple(agents), transport, tried) if transport else Look(system, tried=tried)


def drift(
    openclaw: Any = OURS, multica: Any = THEIRS, text: str = ROSTER, *, remote: bool = False, **ends: FailureKind
) -> Drift:
    """`openclaw_kind` and `multica_kind` say how a system failed that is given as None."""
    looks = [
        look(system, [], None, ends.get(f"{system.lower()}_kind", FailureKind.UNREACHABLE))
        if agents is None
        else look(system, agents)
        for system, agents in ((OPENCLAW, openclaw), (MULTICA, multica))
    ]
    first = Look(OPENCLAW, looks[0].agents, looks[0].transport, looks[0].tried, remote=remote)
    roster = roster_of(Path("/r/agents.yaml"), text.encode(), {})
    return compare(roster, read_document(text.encode()), text, Found(first, looks[1]), lambda path: path.rstrip("/"))


def test_a_roster_of_everybody_is_in_step() -> None:
    found = drift()
    assert found.in_step
    assert found == Drift(left_out=("main",))


def test_a_new_agent_is_drafted_with_its_workspace_class_and_account() -> None:
    newbie = OpenClawAgent("qa-engineer", "质检", workspace="/q")
    (draft,) = drift([*OURS, newbie], [*THEIRS, MulticaAgent(uuid(3), "质检")]).missing
    assert (draft.id, draft.name, draft.class_id, draft.workspace, draft.multica_id) == (
        "qa-engineer",
        "质检",
        "developer",
        "/q",
        uuid(3),
    )


def test_a_commented_agent_is_left_out_on_purpose() -> None:
    newbie = OpenClawAgent("qa", workspace="/q")
    stranger = MulticaAgent(uuid(3), "Codex")
    for comment in ("  # qa: {class: business}", "  #qa:", "# #  'qa' : x"):
        text = f"{ROSTER}{comment}\n  # codex: {{multica_id: {uuid(3)}}}\n"
        found = drift([*OURS, newbie], [*THEIRS, stranger], text)
        assert found.in_step
        assert found.left_out == ("main", "qa", "Codex")
    assert not drift([*OURS, newbie], text=f"{ROSTER}# qa is on holiday\n").in_step


def test_an_agent_that_only_multica_has_can_only_be_a_comment() -> None:
    found = drift(multica=[*THEIRS, MulticaAgent(uuid(3), "Codex"), MulticaAgent(uuid(4), "DEV!")])
    assert [(each.id, each.multica_id) for each in found.strangers] == [("codex", uuid(3)), ("", uuid(4))]
    assert found.missing == ()


def test_two_namesakes_in_multica_of_an_agent_without_one_are_told() -> None:
    found = drift(multica=[*THEIRS, MulticaAgent(uuid(3), "alone"), MulticaAgent(uuid(4), "Alone")])
    assert {each.multica_id for each in found.strangers} == {uuid(3), uuid(4)}
    assert found.changed == ()


def test_a_uuid_that_multica_does_not_know_is_told_with_the_namesake_if_there_is_one() -> None:
    (gone,) = drift(multica=THEIRS[:1]).changed
    assert (gone.agent, gone.key, gone.roster, gone.actual, gone.line) == ("dev", "multica_id", uuid(2), "", 8)
    (moved,) = drift(multica=[THEIRS[0], MulticaAgent(uuid(9), "石砚")]).changed
    assert (moved.roster, moved.actual) == (uuid(2), uuid(9))
    (new,) = drift(multica=[*THEIRS, MulticaAgent(uuid(3), "Alone")]).changed
    assert (new.agent, new.roster, new.actual, new.line) == ("alone", "", uuid(3), 9)


def test_a_workspace_elsewhere_is_told_and_not_where_it_is_on_another_machine() -> None:
    moved = [*OURS[:2], OpenClawAgent("dev", workspace="/new/dev"), OURS[3]]
    (change,) = drift(moved).changed
    assert (change.agent, change.key, change.roster, change.actual, change.line) == (
        "dev",
        "workspace",
        "/w/dev",
        "/new/dev",
        5,
    )
    assert drift(moved, remote=True).in_step
    assert drift([*OURS[:2], OpenClawAgent("dev", workspace="/w/dev/"), OURS[3]]).in_step
    assert drift([*OURS[:2], OpenClawAgent("dev"), OURS[3]]).in_step


def test_an_agent_that_no_system_has_is_gone_and_one_that_multica_has_is_not() -> None:
    assert drift(OURS[:2]).gone == ("alone",)
    assert drift(OURS[:2], THEIRS[:1]).gone == ("dev", "alone")


def test_S2_what_could_not_be_asked_is_unknown_and_nobody_is_gone() -> None:
    down = drift(None)
    assert (down.gone, down.missing, down.changed) == ((), (), ())
    assert down.unknown == (OPENCLAW,)
    assert drift(OURS[:2], None).gone == ()
    assert drift(OURS[:2], None).unknown == (MULTICA,)


def test_S1a_a_multica_of_which_nothing_is_found_is_not_in_use_unless_it_is_asked_for() -> None:
    absent = drift(OURS, None, multica_kind=FailureKind.NOT_CONFIGURED)
    assert (absent.unknown, absent.changed) == ((), ())
    assert absent.in_step
    for settings in ("{transport: api}", "{transport: cli}", "{transport: auto, required: true}"):
        text = f"{ROSTER}sources:\n  multica: {settings}\n"
        assert drift(OURS, None, text, multica_kind=FailureKind.NOT_CONFIGURED).unknown == (MULTICA,)


def test_a_team_without_multica_needs_none() -> None:
    text = "version: 1\nworkspaces: /w/{id}\nagents:\n  coo: {class: high_frequency, notify: [self]}\n"
    found = drift(OURS[:2], None, text, multica_kind=FailureKind.NOT_CONFIGURED)
    assert found.in_step
    assert found.unknown == ()


def test_a_disabled_agent_is_in_the_roster() -> None:
    text = ROSTER.replace("alone: {class: business}", "alone: {class: business, enabled: false}")
    assert drift(text=text).in_step


def test_an_id_that_a_roster_cannot_have_is_told_once_and_then_a_comment() -> None:
    odd = OpenClawAgent("creator", workspace="/c")
    (told,) = drift([*OURS, odd]).strangers
    assert "`notify` has this word for a role" in told.why
    assert drift([*OURS, odd], text=f"{ROSTER}  # {told.why}\n").in_step


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ("", "[operator, creator]"),
        ("classes: {developer: {label: X}}\n", "[operator, creator]"),
        ("classes: {developer: {notify: [creator]}}\n", None),
    ],
)
def test_in_a_team_without_a_coo_a_new_agent_tells_the_operator(classes: str, told: str | None) -> None:
    text = f"version: 1\nworkspaces: /w/{{id}}\n{classes}agents:\n  dev: {{class: business, notify: [creator]}}\n"
    (draft,) = drift([OURS[2], OpenClawAgent("qa-tester", workspace="/w/qa-tester")], None, text).missing
    lines = [line.strip() for line in agent_lines(draft, "/")]
    assert [line for line in lines if line.startswith("notify:")] == (
        [f"notify: {told}  # this team has no coo"] if told else []
    )
    roster_of(Path("/r/agents.yaml"), f"{text}{chr(10).join(agent_lines(draft, '/'))}\n".encode(), {})


def test_main_alone_is_somebody() -> None:
    text = "version: 1\nagents:\n  coo: {class: high_frequency, notify: [self]}\n"
    assert [draft.id for draft in drift(OURS[:1], None, text).missing] == ["main"]
