"""`heartbeat cost`: turns by agent and day, beats that asked no model, and what is left of today's budget."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time

from heartbeat.attempt import Outcome, Usage
from heartbeat.store.port import Receipt, Store
from tests.support.command import Result, heartbeat, tree
from tests.support.operations import AT, MINUTE, NOW, remembering
from tests.support.receipts import attempt, over

DAY = timedelta(days=1)


@pytest.fixture
def started(team: Path) -> Path:
    """The sample team with a turn today, two yesterday, and beats that found nothing to do."""
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text() + "dispatch: openclaw\nbudget: {turns_per_day: 2, cost_per_day_usd: 1.5}\n")
    with remembering(team) as store:
        turn(store, 1, -DAY, Usage(1000, 100, 0.5))
        turn(store, 2, -DAY, Usage(), outcome=Outcome.FAILED)
        turn(store, 3, -5 * MINUTE, Usage(2000, 200, 0.25))
        for number in range(6):
            beat(store, number, number * MINUTE, reason="no_work" if number else "busy")
    return team


def turn(store: Store, number: int, when: timedelta, usage: Usage, outcome: Outcome = Outcome.COMPLETED) -> None:
    at = NOW + when
    begun = attempt(number, agent="coo", planned_at=at, accepted_at=at, usage=usage)
    assert store.add_attempt(over(begun, at + MINUTE, outcome))


def beat(store: Store, number: int, before: timedelta, *, reason: str, agent: str = "coo") -> None:
    told = {"decision": "skip", "reason": reason}
    at = NOW - before
    store.add_receipt(Receipt(f"{agent}-{number}", agent, None, at, at, "done", degraded=False, dispatch=told))


def at_four(team: Path, *words: str) -> Result:
    with freeze_time(AT):
        return heartbeat("cost", *words, cwd=team)


def lines(done: Result) -> list[str]:
    return [" ".join(line.split()) for line in done.out.splitlines()]


def test_each_day_has_a_row_an_agent_and_then_come_all_days_together(started: Path) -> None:
    done = at_four(started)
    assert done.code == 0, done.err
    told = lines(done)
    assert told[0] == "2026-11-20 (Asia/Shanghai)"
    assert told[1] == "coo 2 turns 1 completed, 1 failed 1,000 tokens in, 100 out (1 not told) $0.5000 (1 not told)"
    assert told[3] == "Today, 2026-11-21 (Asia/Shanghai)"
    today = "coo 1 turn 1 completed 2,000 tokens in, 200 out $0.2500 6 beats started none: 5 no work, 1 busy"
    assert told[4] == today
    assert "All 7 days, from 2026-11-15" in told
    whole = next(line for line in told if line.startswith("all "))
    assert whole.startswith("all 3 turns 2 completed, 1 failed 3,000 tokens in, 300 out (1 not told) $0.7500")


def test_beats_with_nothing_to_do_are_seen_to_cost_nothing(started: Path) -> None:
    told = "6 of 6 beats asked no model and cost 0 tokens; in 5 of them there was nothing to do"
    assert told in lines(at_four(started))
    document = at_four(started, "--json").json
    assert document["total"]["without_turn_by_reason"] == {"no_work": 5, "busy": 1}
    assert document["total"]["beats_without_turn"] == 6
    idle = [each for each in document["agents"] if each["agent"] == "architect"]
    assert [(each["turns"], each["input_tokens"], each["cost_usd"]) for each in idle] == [(0, 0, 0.0)]


def test_what_is_left_of_today_is_told_for_each_agent_that_is_started(started: Path) -> None:
    told = lines(at_four(started))
    assert "Left today, of 2 turns, $1.50 for each agent" in told
    assert "coo 1 turn, $1.2500" in told
    assert "architect 2 turns, $1.5000" in told
    with remembering(started) as store:
        turn(store, 4, -MINUTE, Usage())
    told = lines(at_four(started))
    assert "coo 0 turns, $1.2500 at most (1 turn did not tell); nothing more is started today" in told
    [coo] = [each for each in at_four(started, "--json").json["today"] if each["agent"] == "coo"]
    assert (coo["turns"], coo["turns_left"], coo["cost_left_usd"], coo["tokens_left"]) == (2, 0, 1.25, None)
    assert coo["cost_not_told"] == 1


def test_a_day_is_one_of_the_rosters_time_zone(started: Path) -> None:
    roster = started / "agents.yaml"
    roster.write_text(roster.read_text().replace("Asia/Shanghai", "America/Los_Angeles"))
    with freeze_time(AT):
        document = heartbeat("cost", "--days", "2", "--json", cwd=started).json
    assert (document["first_day"], document["last_day"]) == ("2026-11-19", "2026-11-20")
    assert [(each["day"], each["turns"]) for each in document["days"]] == [("2026-11-19", 2), ("2026-11-20", 1)]


def test_a_day_of_twenty_five_hours_counts_from_its_first(started: Path) -> None:
    roster = started / "agents.yaml"
    roster.write_text(roster.read_text().replace("Asia/Shanghai", "America/Los_Angeles"))
    with remembering(started) as store:
        turn(store, 9, datetime(2026, 11, 1, 7, 0, tzinfo=UTC) - NOW, Usage(1, 1, 0.0))
    with freeze_time("2026-11-02T20:00:00Z"):
        document = heartbeat("cost", "--days", "2", "--json", cwd=started).json
    assert [(each["day"], each["turns"]) for each in document["days"]] == [("2026-11-01", 1)]


def test_one_agent_and_one_day_alone_can_be_asked_for(started: Path) -> None:
    document = at_four(started, "--agent", "coo", "--days", "1", "--json").json
    assert [(each["agent"], each["turns"]) for each in document["days"]] == [("coo", 1)]
    assert [each["agent"] for each in document["agents"]] == ["coo"]
    assert "All " not in at_four(started, "--days", "1").out
    assert at_four(started, "--agent", "stranger").code == 2
    assert at_four(started, "--days", "0").code == 2


def test_an_agent_that_has_gone_still_has_what_it_cost(started: Path) -> None:
    with remembering(started) as store:
        gone = attempt(9, agent="gone", planned_at=NOW, accepted_at=NOW, usage=Usage(7, 7, None))
        store.add_attempt(over(gone, NOW))
    document = at_four(started, "--json").json
    assert [each["turns"] for each in document["agents"] if each["agent"] == "gone"] == [1]
    assert "gone" not in [each["agent"] for each in document["today"]]
    assert at_four(started, "--agent", "gone", "--json").json["total"]["input_tokens"] == 7


def test_agents_that_heartbeat_does_not_start_are_one_line(team: Path) -> None:
    with freeze_time(AT):
        assert heartbeat("tick", "--all", cwd=team).code == 0
    told = lines(at_four(team, "--days", "1"))
    assert told[1] == "3 agents that heartbeat does not start: 3 beats, no model asked"
    assert "3 of 3 beats asked no model and cost 0 tokens" in told
    assert told[-1] == "the roster lets heartbeat start nobody (`dispatch: none`)"


def test_without_a_budget_that_is_said(started: Path) -> None:
    roster = started / "agents.yaml"
    roster.write_text(roster.read_text().split("budget:")[0])
    assert "no `budget` in the roster: nothing limits what a day may cost" in at_four(started).out


def test_without_state_nothing_is_on_record_and_nothing_is_made(team: Path) -> None:
    before = tree(team)
    done = at_four(team)
    assert "no beat and no turn is on record" in done.out
    assert "no beat was ever recorded" in done.err
    assert tree(team) == before


def test_what_runs_and_what_nobody_took_is_told_apart(started: Path) -> None:
    with remembering(started) as store:
        refused = attempt(7, agent="architect", planned_at=NOW)
        store.add_attempt(over(refused, NOW, Outcome.SPAWN_FAILED))
        store.add_attempt(replace(attempt(8, agent="architect", planned_at=NOW), accepted_at=NOW))
    [line] = [line for line in lines(at_four(started, "--days", "1")) if line.startswith("architect 1 turn ")]
    assert line == "architect 1 turn 1 running, 1 not accepted tokens not told cost not told"
