"""The one suite for automations: installed, compared, mended and taken off, on OpenClaw fake and real (contract 4)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import UsageError
from heartbeat.install.base import Applied, Style, Verb
from heartbeat.install.standing import NOTHING, Standing
from heartbeat.schedule.slots import next_slot
from heartbeat.systems.openclaw.automations import open_automations
from heartbeat.systems.openclaw.gateway import ADMIN
from tests.contract.automation_suite import (
    AGENTS,
    OTHER_ROSTER,
    AutomationCase,
    OpenAutomationCase,
    member,
    order_of,
)
from tests.real import automation_cases
from tests.real.turns import until
from tests.support import openclaw_automation_cases
from tests.support.rosters import make_agent

CASES: list[Any] = [*openclaw_automation_cases.CASES, *automation_cases.CASES]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AutomationCase]:
    opened: OpenAutomationCase = request.param
    with opened(tmp_path) as case:
        yield case


def verbs(applied: tuple[Applied, ...]) -> dict[str, Verb]:
    assert [each.error for each in applied] == [""] * len(applied)
    return {each.change.name: each.change.verb for each in applied}


def everyone(verb: Verb) -> dict[str, Verb]:
    return {f"hb:{agent}": verb for agent in AGENTS}


def decided(job: dict[str, Any]) -> tuple[Any, ...]:
    """What tells whether anybody touched an automation."""
    return job["id"], job["configRevision"], job["updatedAtMs"], job["enabled"]


def test_B2_every_agent_gets_one_automation_at_its_own_slots(case: AutomationCase) -> None:
    roster = case.team()
    assert verbs(case.install(roster)) == everyone(Verb.ADD)
    jobs = case.jobs()
    assert jobs.keys() == everyone(Verb.ADD).keys()
    for agent, job in ((agent, jobs[f"hb:{agent.id}"]) for agent in roster.agents.values()):
        made = datetime.fromtimestamp(job["createdAtMs"] / 1000, UTC)
        due = datetime.fromtimestamp(job["nextRunAtMs"] / 1000, UTC)
        assert due == next_slot(agent.policy, roster.timezone, made)
        assert job["agentId"] == agent.id
        assert job["payload"]["argv"][-3:] == ["tick", agent.id, "--scheduled"]
        assert job["delivery"] == {"mode": "none"}


def test_to_install_again_changes_nothing(case: AutomationCase) -> None:
    case.install(case.team())
    before = case.jobs()
    assert verbs(case.install(case.team())) == everyone(Verb.KEEP)
    assert {key: decided(job) for key, job in case.jobs().items()} == {key: decided(job) for key, job in before.items()}


def test_what_is_installed_is_told_with_its_revision(case: AutomationCase) -> None:
    roster = case.team()
    case.install(roster)
    target = case.target(roster)
    installed = target.installed(order_of(roster).launch)
    assert target.standing(installed) == Standing(Style.EACH)
    assert target.revisions == {key: job["configRevision"] for key, job in case.jobs().items()}
    assert {piece.name: piece.agent for piece in installed} == {f"hb:{agent}": agent for agent in AGENTS}
    assert case.target(roster).standing(()) == NOTHING


def test_an_agent_that_left_the_roster_loses_its_automation_and_no_other_does(case: AutomationCase) -> None:
    case.install(case.team())
    before = case.jobs()
    smaller = case.team(member("coo"), member("secretary"))
    assert verbs(case.install(smaller)) == {
        "hb:coo": Verb.KEEP,
        "hb:secretary": Verb.KEEP,
        "hb:architect": Verb.REMOVE,
    }
    after = case.jobs()
    assert {key: decided(job) for key, job in after.items()} == {
        key: decided(job) for key, job in before.items() if key != "hb:architect"
    }


def test_with_a_named_agent_nobody_else_is_touched(case: AutomationCase) -> None:
    case.install(case.team())
    edited = case.edit("architect", name="mine")
    smaller = case.team(member("coo", timedelta(minutes=15)), member("architect"))
    assert verbs(case.install(smaller, "coo")) == {
        "hb:coo": Verb.CHANGE,
        "hb:architect": Verb.KEEP,
        "hb:secretary": Verb.KEEP,
    }
    assert decided(case.job("architect")) == decided(edited)
    assert "hb:secretary" in case.jobs()


def test_what_is_left_of_a_smaller_roster_goes_when_all_the_others_are_named(case: AutomationCase) -> None:
    case.install(case.team())
    smaller = case.team(member("coo"), member("architect"))
    assert verbs(case.install(smaller, "coo"))["hb:secretary"] is Verb.KEEP
    assert verbs(case.install(smaller, "coo", "architect"))["hb:secretary"] is Verb.REMOVE


def test_agents_may_be_added_and_taken_off_one_by_one(case: AutomationCase) -> None:
    roster = case.team()
    verbs(case.install(roster, "coo"))
    verbs(case.install(roster, "secretary"))
    target = case.target(roster)
    assert target.standing(target.installed(order_of(roster).launch)) == Standing(Style.EACH, ("coo", "secretary"))
    verbs(case.remove(roster, "coo"))
    assert case.jobs().keys() == {"hb:secretary"}


def test_everybody_but_one_is_a_list_from_then_on(case: AutomationCase) -> None:
    roster = case.team()
    case.install(roster)
    case.edit("architect", trigger={"script": "json({fire: false})"}, name="mine")
    assert verbs(case.remove(roster, "coo"))["hb:coo"] is Verb.REMOVE
    assert case.job("architect")["trigger"] == {"script": "json({fire: false})"}
    assert case.job("architect")["name"] == "mine"
    target = case.target(roster)
    installed = target.installed(order_of(roster).launch)
    assert target.standing(installed) == Standing(Style.EACH, ("architect", "secretary"))
    assert verbs(case.install(roster)) == {
        "hb:coo": Verb.ADD,
        "hb:architect": Verb.CHANGE,
        "hb:secretary": Verb.CHANGE,
    }


def test_what_belongs_to_others_stays(case: AutomationCase) -> None:
    case.put("mine")
    case.install(case.team(member("coo"), name=OTHER_ROSTER))
    before = case.jobs()
    roster = case.team(member("architect"), member("secretary"))
    verbs(case.install(roster))
    verbs(case.remove(roster))
    assert {key: decided(job) for key, job in case.jobs().items()} == {key: decided(job) for key, job in before.items()}


@pytest.mark.parametrize("maker", ["another roster", "somebody"])
def test_an_automation_of_the_same_key_that_is_not_ours_is_not_taken_over(case: AutomationCase, maker: str) -> None:
    if maker == "another roster":
        case.install(case.team(member("coo"), name=OTHER_ROSTER))
    else:
        case.put("hb:coo")
    before = case.job("coo")
    refused, *others = case.install(case.team())
    assert "was not made for this roster" in refused.error
    assert "nothing was overwritten" in refused.error
    assert f"openclaw cron rm {before['id']}" in refused.advice
    assert (str(case.folder / OTHER_ROSTER) in refused.error) is (maker == "another roster")
    assert decided(case.job("coo")) == decided(before)
    assert [each.error for each in others] == ["", ""]


def test_a_new_rhythm_reaches_the_automation(case: AutomationCase) -> None:
    case.install(case.team())
    before = case.job("coo")
    faster = case.team(member("coo", timedelta(minutes=15)), member("architect"), member("secretary"))
    assert verbs(case.install(faster)) == {**everyone(Verb.KEEP), "hb:coo": Verb.CHANGE}
    after = case.job("coo")
    assert after["schedule"]["expr"] == "7-59/15 * * * *"
    assert after["id"] == before["id"]
    slower = case.team(member("coo", timedelta(minutes=45)), member("architect"), member("secretary"))
    verbs(case.install(slower))
    assert case.job("coo")["schedule"]["expr"] == "* * * * *"
    assert case.job("coo")["payload"]["argv"][-4:] == ["tick", "--due", "--scheduled", "coo"]
    assert verbs(case.install(slower)) == everyone(Verb.KEEP)


COMMAND = {"kind": "command", "argv": ["/bin/false"], "cwd": "/tmp"}
EDITS = {
    "name": {"name": "mine"},
    "description": {"description": "mine"},
    "command": {"payload": COMMAND},
    "limits": {"payload": {"kind": "command", "noOutputTimeoutSeconds": 5, "input": "x", "outputMaxBytes": 10}},
    "schedule": {"schedule": {"kind": "cron", "expr": "0 * * * *", "tz": "Asia/Shanghai"}},
    "delivery": {"delivery": {"mode": "none", "channel": "telegram", "to": "1"}},
    "condition": {"trigger": {"script": "json({fire: false})"}},
    "pace": {"pacing": {"min": "1h"}},
    "session": {"sessionTarget": "session:somewhere", "wakeMode": "next-heartbeat"},
    "owner": {"agentId": "architect"},
    "turn": {"payload": {"kind": "agentTurn", "message": "hi", "model": "loopback/silent"}},
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_was_edited_by_hand_is_seen_and_mended(case: AutomationCase, edit: str) -> None:
    roster = case.team(member("coo"))
    case.install(roster)
    before = case.job("coo")
    assert case.edit("coo", **EDITS[edit])["configRevision"] != before["configRevision"]
    assert verbs(case.install(roster)) == {"hb:coo": Verb.CHANGE}
    after = case.job("coo")
    assert (after["id"], after["configRevision"]) == (before["id"], before["configRevision"])
    assert verbs(case.install(roster)) == {"hb:coo": Verb.KEEP}


def test_what_is_the_operators_survives_a_mend(case: AutomationCase) -> None:
    roster = case.team(member("coo"))
    case.install(roster, style=Style.TURN)
    tuned = {"kind": "agentTurn", "model": "loopback/silent", "timeoutSeconds": 90, "toolsAllow": ["exec"]}
    case.edit("coo", payload=tuned, displayName="心跳", failureAlert={"after": 3})
    assert verbs(case.install(roster, style=Style.TURN)) == {"hb:coo": Verb.KEEP}
    case.edit("coo", payload={"kind": "agentTurn", "message": "hi"}, delivery={"mode": "none", "to": "1"})
    assert verbs(case.install(roster, style=Style.TURN)) == {"hb:coo": Verb.CHANGE}
    job = case.job("coo")
    assert {name: job["payload"][name] for name in tuned} == tuned
    assert (job["displayName"], job["failureAlert"], job["delivery"]) == ("心跳", {"after": 3}, {"mode": "none"})


def test_turns_take_the_place_of_beats_and_beats_that_of_turns(case: AutomationCase) -> None:
    roster = case.team()
    case.install(roster)
    before = case.jobs()
    assert verbs(case.install(roster, style=Style.TURN)) == everyone(Verb.CHANGE)
    turns = case.jobs()
    assert {key: job["id"] for key, job in turns.items()} == {key: job["id"] for key, job in before.items()}
    assert {job["payload"]["kind"] for job in turns.values()} == {"agentTurn"}
    assert verbs(case.install(roster, style=Style.TURN)) == everyone(Verb.KEEP)
    target = case.target(roster)
    assert target.standing(target.installed(order_of(roster).launch)) == Standing(Style.TURN)
    assert verbs(case.install(roster)) == everyone(Verb.CHANGE)
    assert {key: job["configRevision"] for key, job in case.jobs().items()} == {
        key: job["configRevision"] for key, job in before.items()
    }


def test_what_somebody_switched_off_stays_off_and_is_told(case: AutomationCase) -> None:
    case.install(case.team())
    off = case.edit("coo", enabled=False)
    coo, *others = done = case.install(case.team())
    assert verbs(done) == everyone(Verb.KEEP)
    assert coo.advice.endswith(f"`openclaw cron enable {off['id']}`")
    assert [each.advice for each in others] == ["", ""]
    faster = case.team(member("coo", timedelta(minutes=15)), member("architect"), member("secretary"))
    assert verbs(case.install(faster, "coo"))["hb:coo"] is Verb.CHANGE
    job = case.job("coo")
    assert (job["enabled"], job["schedule"]["expr"]) == (False, "7-59/15 * * * *")
    target = case.target(faster)
    (told,) = target.remarks(target.installed(order_of(faster).launch))
    assert told.startswith("coo is switched off in OpenClaw")
    case.edit("coo", enabled=True)
    assert verbs(case.install(faster)) == everyone(Verb.KEEP)
    assert target.remarks(target.installed(order_of(faster).launch)) == ()


def test_an_agent_that_openclaw_does_not_have_is_told_and_the_others_are_installed(case: AutomationCase) -> None:
    refused, *others = case.install(case.team(member("nobody"), *map(member, AGENTS)))
    assert "cron job agent is unavailable: nobody" in refused.error
    assert "openclaw agents add nobody" in refused.advice
    assert [each.error for each in others] == [""] * len(AGENTS)
    assert case.jobs().keys() == everyone(Verb.ADD).keys()


def test_an_expression_that_openclaw_does_not_read_is_told_in_its_words(case: AutomationCase) -> None:
    roster = case.team(make_agent("coo", cron="61 * * * *"), member("architect"))
    refused, other = case.install(roster, style=Style.TURN)
    assert "CronPattern: Invalid value for minute: 61" in refused.error
    assert "`cron`" in refused.advice
    assert other.error == ""


def test_what_somebody_edits_while_it_is_installed_is_not_overwritten(case: AutomationCase) -> None:
    case.install(case.team())
    faster = case.team(member("coo", timedelta(minutes=15)), member("architect"))
    target, planned = case.planned(faster)
    edited = [case.edit(agent, description=f"mine (roster {faster.path})") for agent in ("coo", "secretary")]
    changed, kept, removed = target.apply(planned)
    assert [each.change.verb for each in (changed, kept, removed)] == [Verb.CHANGE, Verb.KEEP, Verb.REMOVE]
    for refused in (changed, removed):
        assert "nothing was overwritten" in refused.error
        assert "heartbeat cron diff" in refused.advice
    assert "no longer matches the loaded version" in changed.error
    assert kept.error == ""
    assert [decided(case.job(agent)) for agent in ("coo", "secretary")] == [decided(job) for job in edited]


def test_what_somebody_takes_away_while_it_is_installed_is_no_failure_to_remove(case: AutomationCase) -> None:
    case.install(case.team())
    target, planned = case.planned(case.team(member("coo", timedelta(minutes=15)), member("architect")))
    for agent in ("coo", "secretary"):
        case.call("cron.remove", id=case.job(agent)["id"])
    changed, _, removed = target.apply(planned)
    assert "Automation not found" in changed.error
    assert removed.error == ""


@pytest.mark.parametrize("name", ["a copy", "the original"])
def test_of_two_automations_with_one_key_the_astray_one_is_removed(case: AutomationCase, name: str) -> None:
    roster = case.team(member("coo"))
    case.install(roster)
    first = case.edit("coo", agentId="architect", name="hb-original")
    made = case.put("hb:coo", "coo", description=first["description"], name=name)
    applied = case.install(roster)
    assert verbs(applied) == {"hb:coo": Verb.CHANGE, f"hb:coo ({first['id']})": Verb.REMOVE}
    assert case.job("coo")["id"] == made["id"]
    assert len(case.jobs()) == 1


def test_what_only_looks_asks_for_no_more_than_to_read(case: AutomationCase) -> None:
    if case.transport != "gateway":
        pytest.skip("the command line asks for what it likes")
    roster = case.team()
    case.target(roster).installed(order_of(roster).launch)
    assert case.scopes() == {("operator.read",)}
    _, planned = case.planned(roster)
    case.scopes()
    case.target(roster).apply(planned)
    assert case.scopes() == {("operator.admin",)}


def test_an_automation_is_run_now_and_its_run_is_told(case: AutomationCase) -> None:
    roster = case.team(member("coo"))
    case.install(roster)
    with open_automations(roster.sources["workboard"], case.environment, ADMIN) as automations:
        run = automations.run(case.job("coo")["id"])
        until(lambda: len(automations.runs(case.job("coo")["id"])) > 0)
        (ended,) = automations.runs(case.job("coo")["id"])
        assert automations.remove("nobody") is False
    assert (ended["runId"], ended["status"]) == (run, "ok")


def test_the_watchdog_is_not_put_where_it_would_end_with_what_it_watches(case: AutomationCase) -> None:
    roster = case.team()
    with pytest.raises(UsageError, match="would end with the Gateway") as told:
        case.target(roster).wanted(order_of(roster, beats=False), ())
    assert "--target crontab --watchdog-only" in told.value.advice
    *others, last = case.install(roster)
    assert [each.advice for each in others] == ["", ""]
    assert "--target crontab --watchdog-only" in last.advice


@pytest.mark.parametrize("style", [Style.DUE, Style.DAEMON])
def test_other_styles_are_refused_with_those_that_there_are(case: AutomationCase, style: Style) -> None:
    roster = case.team()
    with pytest.raises(UsageError, match="one automation an agent") as told:
        case.target(roster).wanted(order_of(roster, style=style), ())
    assert "each, turn" in told.value.advice
