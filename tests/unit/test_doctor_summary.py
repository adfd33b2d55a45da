"""The doctor's checks as people read them."""

from __future__ import annotations

from heartbeat.doctor.check import Check, Level
from heartbeat.doctor.summary import summary

TEAM = ("coo", "architect", "coo-2")


def missing(agent: str) -> Check:
    return Check(agent, "HEARTBEAT.md", Level.WARNING, "missing", f"heartbeat render {agent}")


def test_what_is_said_of_everybody_is_said_once_with_one_command_for_all() -> None:
    (remark,) = summary([missing(agent) for agent in TEAM], TEAM)
    assert (remark.agents, remark.is_shared) == (list(TEAM), True)
    assert (remark.check.message, remark.check.advice) == ("missing", "heartbeat render --all")


def test_what_is_said_of_some_names_them_in_the_command() -> None:
    (remark,) = summary([missing("coo"), missing("coo-2")], TEAM)
    assert remark.check.advice == "heartbeat render coo coo-2"


def test_an_agents_own_words_stay_as_they_are() -> None:
    first, second = summary([missing("coo"), Check("architect", "HEARTBEAT.md", Level.WARNING, "out of date")], TEAM)
    assert (first.check, second.check.message) == (missing("coo"), "out of date")
    assert first.agents == ["coo"]
    assert not first.is_shared


def test_an_id_within_a_longer_word_is_no_id() -> None:
    checks = [
        Check(agent, "workspace", Level.WARNING, f"/w/{agent} does not exist, cooler", f"mkdir /w/{agent}")
        for agent in ("coo", "coo-2")
    ]
    (remark,) = summary(checks, TEAM)
    assert (remark.check.message, remark.check.advice) == ("/w/AGENT does not exist, cooler", "mkdir /w/AGENT")


def test_what_differs_by_more_than_the_name_is_not_thrown_together() -> None:
    checks = [
        Check(agent, "HEARTBEAT.md", Level.WARNING, f"{size} bytes")
        for agent, size in zip(TEAM, (1, 2, 2), strict=True)
    ]
    assert [remark.agents for remark in summary(checks, TEAM)] == [["coo"], ["architect", "coo-2"]]


def test_the_worst_comes_first_and_else_the_order_stays() -> None:
    checks = [
        Check("program", "heartbeat", Level.OK, ""),
        Check("todo", "files", Level.NOTE, ""),
        missing("coo"),
        Check("state", "store", Level.FAILED, ""),
        Check("people", "alarms", Level.WARNING, ""),
        Check("state", "disk", Level.OK, ""),
    ]
    told = [(remark.check.area, remark.check.subject) for remark in summary(checks, TEAM)]
    assert told == [
        ("state", "store"),
        ("coo", "HEARTBEAT.md"),
        ("people", "alarms"),
        ("todo", "files"),
        ("program", "heartbeat"),
        ("state", "disk"),
    ]


def test_two_equal_checks_that_are_about_no_agent_are_both_told() -> None:
    twice = [Check("openclaw", "heartbeat", Level.NOTE, "?")] * 2
    assert len(summary(twice, TEAM)) == 2
