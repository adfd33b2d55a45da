"""Work that starts itself, from end to end: the command line, a real Gateway, real turns of agents, and models on
loopback that do as they are told (rules X1 to X6, F1 to F4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from heartbeat.attempt import Cause, LetterState, Life, Outcome
from heartbeat.breaker import State
from tests.real.dispatch_bench import Bench, bench, document, reports
from tests.real.providers import INPUT_TOKENS, OUTPUT_TOKENS
from tests.real.turns import until
from tests.support.fake_models import Behaviour

pytestmark = pytest.mark.openclaw


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as opened:
        yield opened


def test_X1_a_ready_card_is_claimed_worked_on_reported_and_collected_and_then_nothing_costs_anything(
    desk: Bench,
) -> None:
    desk.write_roster()
    desk.first.come()
    desk.first.commands = reports("done", output="report.md")
    ref = desk.ready()
    assert desk.tick("--due")["decision"] == "start"
    [attempt] = desk.attempts
    assert (attempt.life, attempt.session[:3]) == (Life.RUNNING, "hb-")
    desk.wait_for_end(attempt)
    assert desk.status(ref) == "done"
    assert [path.endswith("report.md") for path in desk.case.outputs(ref)] == [True]
    asked = len(desk.first.requests)
    assert asked == 3, "one command makes the file, one reports it, and one answer ends the turn"
    again = desk.tick()
    [ended] = desk.attempts
    assert (ended.outcome, ended.model, ended.error) == (Outcome.COMPLETED, desk.first.model, "")
    assert (ended.usage.input_tokens, ended.usage.output_tokens) == (3 * INPUT_TOKENS, 3 * OUTPUT_TOKENS)
    assert (again["decision"], again["reason"]) == ("skip", "no_work")
    assert desk.tick()["reason"] == "no_work"
    assert len(desk.first.requests) == asked
    assert desk.outcomes == {attempt.id: 1}


def test_X2_a_tick_ends_while_the_model_that_it_had_asked_still_thinks(desk: Bench) -> None:
    desk.write_roster()
    desk.first.come(Behaviour.HELD)
    desk.first.commands = reports("done", output="report.md")
    ref = desk.ready()
    assert desk.tick()["result"] == "running"
    desk.first.wait_until_asked()
    assert (desk.status(ref), desk.claimant(ref)) == ("running", desk.agent)
    assert desk.tick()["reason"] == "busy"
    desk.first.behaviour = Behaviour.ANSWERS
    desk.first.let_go()
    [attempt] = desk.attempts
    desk.wait_for_end(attempt)
    assert desk.tick()["reason"] == "no_work"
    assert desk.first.turns == 1


def test_F1_with_native_the_model_that_answered_is_on_record_and_not_the_one_that_was_asked(desk: Bench) -> None:
    desk.write_roster()
    primary, fallback, _ = desk.providers
    primary.come(Behaviour.DENIED)
    fallback.come()
    fallback.commands = reports("review", output="report.md")
    ref = desk.ready()
    desk.tick()
    [attempt] = desk.attempts
    assert (attempt.provider, attempt.model) == ("native", "")
    desk.wait_for_end(attempt)
    assert desk.status(ref) == "review"
    desk.tick()
    [ended] = desk.attempts
    assert (ended.outcome, ended.model) == (Outcome.COMPLETED, fallback.model)
    assert primary.turns == 1
    assert desk.shut() == {}


SLOW = pytest.mark.slow
"""OpenClaw itself tries these again and again, for one to two and a half minutes."""


@pytest.mark.parametrize(
    ("behaviour", "outcome", "cause", "deadline"),
    [
        (Behaviour.DENIED, Outcome.FAILED, Cause.REFUSES, "10m"),
        (Behaviour.HANGS, Outcome.TIMED_OUT, Cause.COUNTS, "8s"),
        pytest.param(Behaviour.GONE, Outcome.FAILED, Cause.COUNTS, "8s", marks=SLOW),
        pytest.param(Behaviour.FAILING, Outcome.FAILED, Cause.COUNTS, "10m", marks=SLOW),
        pytest.param(Behaviour.LIMITED, Outcome.RATE_LIMITED, Cause.COOLS, "10m", marks=SLOW),
    ],
    ids=str,
)
def test_F1_the_next_provider_takes_over_a_task_that_stays_its_agents_meanwhile(
    desk: Bench, behaviour: Behaviour, outcome: Outcome, cause: Cause, deadline: str
) -> None:
    desk.write_roster(deadline, "60s", "60s")
    first, second, third = desk.providers
    first.come(behaviour)
    second.come()
    third.come()
    second.commands = reports("done", output="report.md")
    ref = desk.ready()
    desk.tick()
    [begun] = desk.attempts
    assert (begun.provider, begun.model) == (first.name, first.model)
    desk.wait_for_end(begun, 300.0)
    assert (desk.status(ref), desk.claimant(ref)) == ("running", desk.agent)
    decided = desk.tick()
    assert decided["result"] == "running", decided
    failed, following = desk.attempts
    assert (failed.outcome, failed.cause, failed.was_turn) == (outcome, cause, True), failed.error
    assert (following.provider, following.session, following.number) == (second.name, begun.session, 2)
    assert desk.shut() == ({} if cause is Cause.COOLS else {first.name: State.OPEN})
    desk.wait_for_end(following)
    assert desk.status(ref) == "done"
    assert desk.tick()["reason"] == "no_work"
    assert (desk.attempts[-1].outcome, desk.attempts[-1].model) == (Outcome.COMPLETED, second.model)
    assert (second.turns, third.turns) == (1, 0)
    earlier, later = desk.runs(begun)
    assert earlier["endedAt"] <= later["createdAt"]
    if behaviour is Behaviour.HANGS:
        assert desk.diary.index(f"left {first.name}") < desk.diary.index(f"asked {second.name}")
    assert desk.told == ([] if cause is Cause.COOLS else ["breaker"])


def test_F1_a_turn_that_openclaw_does_not_end_at_its_deadline_is_stopped_before_the_next_one_begins(
    desk: Bench,
) -> None:
    desk.write_roster("60s", "60s")
    first, second, _ = desk.providers
    first.come(Behaviour.HANGS)
    second.come()
    second.commands = reports("done", output="report.md")
    ref = desk.ready()
    desk.tick()
    first.wait_until_asked()
    desk.let_time_pass()
    assert desk.tick()["result"] == "running"
    stopped, following = desk.attempts
    assert (stopped.outcome, stopped.cause) == (Outcome.TIMED_OUT, Cause.COUNTS)
    desk.wait_for_end(following)
    assert desk.status(ref) == "done"
    assert desk.diary.index(f"left {first.name}") < desk.diary.index(f"asked {second.name}")
    assert [run["status"] for run in desk.runs(stopped)] == ["cancelled", "completed"]
    assert desk.tick()["reason"] == "no_work"
    assert desk.outcomes == {stopped.id: 1, following.id: 1}


@pytest.mark.parametrize(
    "behaviours",
    [(Behaviour.HANGS, Behaviour.UNKNOWN_MODEL), pytest.param((Behaviour.GONE, Behaviour.GONE), marks=SLOW)],
    ids=["one hangs and one has no such model", "nobody listens"],
)
def test_F4_without_any_provider_the_card_waits_in_a_dead_letter_and_is_done_when_they_are_back(
    desk: Bench, behaviours: tuple[Behaviour, Behaviour]
) -> None:
    desk.write_roster("8s", "60s")
    first, second, _ = desk.providers
    ref = desk.ready()
    for provider, behaviour in zip((first, second), behaviours, strict=True):
        provider.come(behaviour)
        assert desk.tick()["result"] == "running"
        assert (desk.attempts[-1].provider, desk.claimant(ref)) == (provider.name, desk.agent)
        desk.wait_for_end(desk.attempts[-1], 300.0)
    assert desk.tick()["decision"] == "skip"
    [letter] = desk.letters
    assert (letter.state, letter.attempts) == (LetterState.WAITING, tuple(each.id for each in desk.attempts))
    assert (desk.status(ref), desk.claimant(ref)) == ("todo", "")
    assert desk.told == ["breaker", "breaker", "letter"]
    assert desk.tick()["reason"] == "dead_letter"
    asked = len(desk.diary)
    first.come(Behaviour.ANSWERS)
    first.commands = reports("review", output="report.md")
    assert desk.tick()["reason"] == "dead_letter", "it is not due yet"
    assert len(desk.diary) == asked
    desk.let_time_pass()
    assert desk.tick()["letter"] == letter.id
    assert [each.state for each in desk.letters] == [LetterState.REPLAYING]
    desk.wait_for_end(desk.attempts[-1])
    assert desk.status(ref) == "review"
    desk.tick()
    assert [each.state for each in desk.letters] == [LetterState.REPLAYED]
    assert [each.outcome for each in desk.attempts][2:] == [Outcome.COMPLETED]
    assert desk.shut() == {second.name: State.OPEN}
    assert desk.told == ["breaker", "breaker", "letter"]
    assert desk.outcomes == {each.id: 1 for each in desk.attempts}


@pytest.mark.parametrize(
    ("method", "arrives", "ids"),
    [("workboard.cards.claim", True, 2), ("agent", False, 2), ("agent", True, 1)],
    ids=["after the claim", "before the turn", "after its acceptance"],
)
def test_X6_whoever_is_killed_while_a_turn_is_started_leaves_it_to_the_next_beat(
    desk: Bench, method: str, arrives: bool, ids: int
) -> None:
    desk.write_roster()
    desk.first.come(Behaviour.HELD)
    desk.first.commands = reports("done", output="report.md")
    ref = desk.ready()
    caught = desk.tollgate.after(method) if arrives else desk.tollgate.before(method)
    process = desk.begin("tick", desk.agent, "--fresh")
    assert caught.there.wait(60.0)
    desk.die(process)
    caught.drop()
    [begun] = desk.attempts
    assert begun.life is (Life.SPAWNING if method == "agent" else Life.PLANNED)
    desk.tick()
    *dead, running = desk.attempts
    assert (running.life, running.number, len(desk.attempts)) == (Life.RUNNING, ids, ids)
    assert [each.was_turn for each in dead] == [False] * (ids - 1)
    desk.first.wait_until_asked()
    assert (desk.status(ref), desk.claimant(ref)) == ("running", desk.agent)
    desk.first.behaviour = Behaviour.ANSWERS
    desk.first.let_go()
    desk.wait_for_end(running)
    assert desk.status(ref) == "done"
    assert desk.tick()["reason"] == "no_work"
    assert desk.first.turns == 1
    assert [run["runId"] for run in desk.runs(running)] == [running.id]
    assert desk.outcomes == {each.id: 1 for each in desk.attempts}
    assert desk.attempts[-1].outcome is Outcome.COMPLETED


def test_X6_whoever_is_killed_while_a_turn_is_collected_leaves_its_end_to_the_next_beat(desk: Bench) -> None:
    desk.write_roster()
    desk.first.come()
    desk.first.commands = reports("done", output="report.md")
    desk.ready()
    desk.tick()
    [attempt] = desk.attempts
    desk.wait_for_end(attempt)
    caught = desk.tollgate.after("agent.wait")
    process = desk.begin("tick", desk.agent, "--fresh")
    assert caught.there.wait(60.0)
    desk.die(process)
    caught.drop()
    assert desk.attempts == (attempt,)
    assert desk.tick()["reason"] == "no_work"
    [ended] = desk.attempts
    assert (ended.outcome, ended.model) == (Outcome.COMPLETED, desk.first.model)
    assert desk.outcomes == {attempt.id: 1}
    assert desk.first.turns == 1


def test_X6_a_request_that_a_stalled_gateway_takes_after_the_next_beat_has_come_makes_one_turn(desk: Bench) -> None:
    desk.write_roster()
    desk.first.come(Behaviour.HELD)
    desk.ready()
    stalled = Event()

    def stall() -> None:
        desk.gateway.freeze()
        stalled.set()

    desk.tollgate.on("agent", stall)
    process = desk.begin("tick", desk.agent, "--fresh")
    try:
        assert stalled.wait(60.0)
        desk.die(process)
        callers = desk.tollgate.callers
        following = desk.begin("tick", desk.agent, "--fresh", "--json")
        until(lambda: desk.tollgate.callers > callers)
    finally:
        desk.gateway.thaw()
    assert document(following)["receipt"]["dispatch"]["reason"] == "busy"
    desk.first.wait_until_asked()
    [attempt] = desk.attempts
    assert [run["runId"] for run in desk.runs(attempt)] == [attempt.id]
    assert (attempt.life, desk.first.turns) == (Life.RUNNING, 1)


TICKS = 20


@pytest.mark.parametrize("rounds", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_X5_twenty_ticks_at_once_begin_one_turn(desk: Bench, rounds: int) -> None:
    desk.write_roster()
    desk.first.come(Behaviour.HELD)
    for number in range(1, rounds + 1):
        ref = desk.ready(f"第 {number} 件事")
        processes = [desk.begin("tick", desk.agent, "--fresh", "--json") for _ in range(TICKS)]
        skipped = [told for told in map(document, processes) if "skipped" in told]
        assert skipped, "they were to meet at the lock"
        desk.first.wait_until_asked(number)
        assert desk.first.turns == len(desk.attempts) == number
        assert (desk.status(ref), desk.claimant(ref)) == ("running", desk.agent)
        desk.case.call("complete", id=ref.id)
        desk.first.let_go()
        desk.wait_for_end(desk.attempts[-1])
    assert desk.tick()["reason"] == "no_work"
    assert desk.outcomes == {each.id: 1 for each in desk.attempts}
    assert desk.first.turns == rounds


def test_X6_a_gateway_that_dies_during_a_turn_and_takes_it_up_again_does_the_task_once(desk: Bench) -> None:
    desk.write_roster()
    desk.first.come(Behaviour.HELD)
    desk.first.commands = reports("done", output="report.md")
    ref = desk.ready()
    desk.tick()
    desk.first.wait_until_asked()
    [begun] = desk.attempts
    desk.gateway.kill()
    assert desk.tick()["decision"] == "skip"
    desk.gateway.start()
    assert desk.tick()["reason"] == "busy"
    desk.first.wait_until_asked(2)
    assert desk.tick()["reason"] == "busy"
    assert desk.attempts == (begun,)
    desk.first.behaviour = Behaviour.ANSWERS
    desk.first.let_go()
    until(lambda: desk.runs(begun)[-1]["status"] == "completed")
    assert desk.status(ref) == "done"
    assert desk.tick()["reason"] == "no_work"
    [ended] = desk.attempts
    assert (ended.outcome, ended.model) == (Outcome.COMPLETED, desk.first.model)
    assert desk.outcomes == {begun.id: 1}
    assert desk.first.turns == 2, "the one that was cut off, and OpenClaw's own that goes on with it"
    assert desk.methods.count("agent") == 1
