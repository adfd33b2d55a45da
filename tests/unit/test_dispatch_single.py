"""One task that a person names: the same gates as a beat's, its start, and the wait for its end (rules X1, X5, F1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.attempt import Attempt, Cause, DeadLetter, Failure, LetterState, Life, Outcome
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import StartError
from heartbeat.dispatch.context import Context
from heartbeat.dispatch.follow import POLL, End, Followed, follow
from heartbeat.dispatch.providers import failover_of
from heartbeat.dispatch.single import Asked, Find, LockedError, Room, dispatch, rehearse
from heartbeat.dispatch.start import Result
from heartbeat.errors import RefusedError, UsageError
from heartbeat.memory import Hold, Pause, Rounds
from heartbeat.rules.dispatching import Continue, Reason, Skip, Start
from heartbeat.store.locks import exclusive
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import NOBODY, Dependency, DependencyKind, Item, Owner, OwnerKind, Ref, Status
from heartbeat.verbs.perform import the_task
from tests.support.dispatching import MANAGED, DispatchTeam, card, worker
from tests.support.engines import Answer, Fail, Hang, LoseRequest, Refuse, StandInSpawner
from tests.support.scripted_writer import Died, Fault, ScriptedSystem, ScriptedWorld

BROKEN = Failure(Cause.COUNTS, "500 Internal Server Error")
REFUSED = Failure(Cause.REFUSES, "401 Unauthorized")
POISON = Failure(Cause.TASK, "400 bad request")
LIMITED = Failure(Cause.COOLS, "429 too many requests", Outcome.RATE_LIMITED, retry_after=60.0)


def team(folder: Path, *items: Item, engine: StandInSpawner | None = None, **extra: Any) -> DispatchTeam:
    world = ScriptedWorld(ScriptedSystem(*items))
    idle = replace(worker("c"), policy=replace(worker("c").policy, dispatch="none"))
    return DispatchTeam(world, folder, (worker("a"), worker("b"), idle), engine=engine or StandInSpawner(), extra=extra)


def room(group: DispatchTeam, pause: Callable[[float], object] | None = None) -> Room:
    """Waiting moves the team's clock, and shows the board who is at work."""

    def wait(seconds: float) -> None:
        group.pauses.append(seconds)
        group.pass_time(timedelta(seconds=seconds))
        if pause is not None:
            pause(seconds)
        group.show_runs()

    peers = group.peers
    context = Context(
        group.roster,
        {},
        group.store,
        group.folder,
        lambda: group.now,
        Deadline.after(60),
        failover_of(group.roster, {}),
        writer=peers.writer,
        spawner=peers.spawner,
        pause=wait,
        chance=peers.chance,
    )
    group.show_runs()
    return Room(context, SnapshotCache(group.folder / "snapshots", read_only=True), peers.source)


def lose_answers(where: str, dispatch: str) -> None:
    """No answer of the engine's to a request for a turn arrives."""
    if where == "begun":
        raise StartError(Failure(Cause.ENGINE, "the connection was lost"), unknown=True)


def named(name: str, agent: str = "") -> Find:
    return lambda seen: the_task(seen, name, agent)


def ask(group: DispatchTeam, name: str, agent: str = "") -> Asked:
    return dispatch(room(group), named(name, agent), agent)


def reason(asked: Asked) -> Reason | None:
    return asked.refused.reason if asked.refused is not None else None


def test_a_named_task_is_started_whatever_comes_first_in_the_order_of_work(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), card("c2", "a"), engine=StandInSpawner(Hang()))
    asked = ask(group, "c2")
    assert isinstance(asked.decision, Start)
    assert asked.decision.told.startswith("c2 was asked for by name")
    assert asked.begun is not None
    assert asked.begun.result is Result.RUNNING
    assert (group.status("c2"), group.claimant("c2")) == (Status.IN_PROGRESS, "a")
    assert group.status("c1") is Status.TODO
    ((order),) = group.engine.orders
    assert order.message == asked.message
    assert group.pauses == []


def test_a_persons_word_stands_in_the_place_of_dispatch_none(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "c"))
    asked = ask(group, "c1")
    assert asked.begun is not None
    assert asked.begun.attempt.agent == "c"


def test_what_is_in_progress_goes_on_once_its_turn_has_ended(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang(), Hang()))
    first = ask(group, "c1").begun
    assert first is not None
    busy = ask(group, "c1")
    assert reason(busy) is Reason.BUSY
    assert busy.running is not None
    assert busy.running.id == first.attempt.id
    group.engine.finish(first.attempt.id)
    again = ask(group, "c1")
    assert isinstance(again.decision, Continue)
    assert [each.outcome for each in group.attempts] == [Outcome.COMPLETED, None]
    assert group.engine.overlapping == []


def test_X5_another_card_in_progress_holds_its_agents_only_slot(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a", Status.IN_PROGRESS), card("c2", "a"))
    asked = ask(group, "c2")
    assert reason(asked) is Reason.BUSY
    assert asked.refused is not None
    assert "c1 is in progress" in asked.refused.told
    assert group.engine.orders == []


def _hold(group: DispatchTeam) -> None:
    group.store.put_hold(Hold(Ref("workboard", "c1"), group.now, group.now + timedelta(hours=1), "upload", "ops"))


def _pause(group: DispatchTeam) -> None:
    group.store.put_pause(Pause("a", group.now, None, "migration", "ops"))


def _rounds(group: DispatchTeam) -> None:
    limit = group.roster.agents["a"].policy.max_rounds
    group.store.put_rounds([Rounds(Ref("workboard", "c1"), used=limit, turn_at=group.now, slot=group.now)])


def _no_presence(group: DispatchTeam) -> None:
    group.world["workboard"].presence = None


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (_hold, Reason.HELD),
        (_pause, Reason.PAUSED),
        (_rounds, Reason.ROUNDS_EXHAUSTED),
        (_no_presence, Reason.DEGRADED),
    ],
)
def test_every_gate_of_a_beat_stands_before_a_named_task_too(
    tmp_path: Path, arrange: Callable[[DispatchTeam], None], expected: Reason
) -> None:
    group = team(tmp_path, card("c1", "a"))
    prepared = room(group)
    arrange(group)
    asked = dispatch(prepared, named("c1"))
    assert reason(asked) is expected
    assert group.engine.orders == []
    assert group.attempts == ()
    assert group.world.effects == []


def test_a_budget_and_the_number_of_running_turns_are_kept(tmp_path: Path) -> None:
    group = team(tmp_path / "1", card("c1", "a"), card("c2", "a"), budget={"turns_per_day": 1})
    assert ask(group, "c1").begun is not None
    assert reason(ask(group, "c1")) is Reason.BUDGET
    full = team(tmp_path / "2", card("c1", "a"), card("c2", "b"), engine=StandInSpawner(Hang()), limits={"running": 1})
    assert ask(full, "c1").begun is not None
    assert reason(ask(full, "c2")) is Reason.LIMIT


@pytest.mark.parametrize("status", [Status.DONE, Status.IN_REVIEW, Status.BLOCKED, Status.CANCELLED])
def test_what_is_neither_todo_nor_in_progress_is_refused_with_what_it_is(tmp_path: Path, status: Status) -> None:
    asked = ask(team(tmp_path, card("c1", "a", status)), "c1")
    assert reason(asked) is Reason.NO_WORK
    assert asked.refused is not None
    assert status.value.replace("_", " ") in asked.refused.told


def test_D4_what_waits_is_refused_with_what_it_waits_for(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), card("c2", "a", depends_on=(Dependency(DependencyKind.EXPLICIT, "c1"),)))
    asked = ask(group, "c2")
    assert reason(asked) is Reason.WAITING
    assert asked.refused is not None
    assert "c1" in asked.refused.told


def test_whose_task_it_is_not_is_refused(tmp_path: Path) -> None:
    person = Owner(OwnerKind.PERSON, "vincent")
    group = team(
        tmp_path, card("c1", "a"), replace(card("c2", "a"), owner=NOBODY), replace(card("c3", "a"), owner=person)
    )
    with pytest.raises(RefusedError, match="c1 belongs to a, not to b"):
        ask(group, "c1", "b")
    with pytest.raises(RefusedError, match="c2 belongs to nobody"):
        ask(group, "c2")
    with pytest.raises(RefusedError, match="a person"):
        ask(group, "c3")
    with pytest.raises(UsageError, match="no task called 'c9'"):
        ask(group, "c9")
    assert group.attempts == ()


def test_B1_while_somebody_serves_the_agent_nothing_is_begun_and_it_is_told_who(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    with exclusive(tmp_path / "a.lock", purpose="tick"), pytest.raises(LockedError, match=r"pid \d+ \(tick\)"):
        ask(group, "c1")
    assert group.attempts == ()
    assert ask(group, "c1").begun is not None


def test_X6_what_a_dead_process_left_is_given_back_first_and_the_named_task_is_started(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), card("c2", "a"))
    group.world["workboard"].fail_writes(Fault.DIES_AFTER)
    with pytest.raises(Died):
        ask(group, "c1")
    assert [each.life for each in group.attempts] == [Life.PLANNED]
    assert group.status("c1") is Status.IN_PROGRESS
    asked = ask(group, "c2")
    assert asked.begun is not None, asked.refused
    assert [each.outcome for each in group.attempts] == [Outcome.ABORTED, None]
    assert group.status("c1") is Status.TODO


def letter(group: DispatchTeam, state: LetterState, tries: int) -> DeadLetter:
    """A dead letter of c1 that is not due."""
    known = DeadLetter(
        id="dl-1",
        task="workboard:c1",
        refs=(Ref("workboard", "c1"),),
        title="Work on c1",
        agent="a",
        created_at=group.now,
        due_at=group.now + timedelta(hours=5),
        error="all failed",
        tries=tries,
        state=state,
    )
    group.store.put_letter(known)
    return known


@pytest.mark.parametrize(("state", "tries"), [(LetterState.WAITING, 1), (LetterState.EXHAUSTED, 5)])
def test_F4_asking_for_a_dead_letters_task_is_its_replay(tmp_path: Path, state: LetterState, tries: int) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang()))
    letter(group, state, tries)
    asked = ask(group, "c1")
    assert asked.begun is not None
    assert asked.begun.attempt.letter == "dl-1"
    assert [each.state for each in group.letters] == [LetterState.REPLAYING]
    group.engine.finish(asked.begun.attempt.id)
    group.dispatched("a")
    assert [each.state for each in group.letters] == [LetterState.REPLAYED]


def test_F4_an_exhausted_letter_whose_replay_was_never_asked_for_is_left_for_a_person_as_before(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    letter(group, LetterState.EXHAUSTED, 5)
    group.world["workboard"].fail_writes(Fault.CONFLICT)
    asked = ask(group, "c1")
    assert asked.begun is not None
    assert asked.begun.result is Result.CONFLICT
    assert [each.state for each in group.letters] == [LetterState.EXHAUSTED]


def test_B3_a_rehearsal_tells_everything_and_changes_nothing(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), **MANAGED)
    asked = rehearse(room(group), named("c1"))
    assert asked.plan is not None
    assert [item.key for item in asked.plan.items] == ["c1"]
    assert asked.provider is not None
    assert (asked.provider.name, asked.provider.model) == ("first", "first/m")
    assert "c1" in asked.message
    assert asked.begun is None
    assert (group.attempts, group.engine.orders, group.world.effects, group.store.log()) == ((), [], [], ())


# Waiting for the end.


def wait(
    group: DispatchTeam,
    name: str,
    *,
    timeout: timedelta | None = None,
    meanwhile: Callable[[float], object] | None = None,
) -> tuple[Followed, list[str]]:
    told: list[str] = []
    prepared = room(group, meanwhile)
    asked = dispatch(prepared, named(name))
    assert asked.begun is not None
    until = None if timeout is None else group.now + timeout
    return follow(prepared, asked, asked.begun.attempt, until=until, tell=told.append), told


def outcomes(attempts: tuple[Attempt, ...]) -> list[tuple[str, Outcome | None]]:
    return [(each.provider, each.outcome) for each in attempts]


def test_waiting_ends_when_the_turn_completes(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    group.engine = StandInSpawner(Answer(takes=timedelta(minutes=3)), clock=lambda: group.now)
    found, told = wait(group, "c1")
    assert found.end is End.COMPLETED
    assert group.now - group.attempts[0].planned_at >= timedelta(minutes=3)
    assert told[0].startswith("attempt 1 runs with native: hb-")
    assert told[-1] == "attempt 1 completed"


def test_F1_waiting_follows_the_chain_from_provider_to_provider(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Fail(REFUSED), Fail(BROKEN)), **MANAGED)
    found, told = wait(group, "c1")
    assert found.end is End.COMPLETED
    assert outcomes(found.attempts) == [
        ("first", Outcome.FAILED),
        ("second", Outcome.FAILED),
        ("second", Outcome.COMPLETED),
    ]
    assert sum(line.startswith("attempt 2") for line in told) == 2
    assert group.engine.overlapping == []


def test_F4_waiting_ends_at_the_dead_letter(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Fail(POISON)), **MANAGED)
    found, _ = wait(group, "c1")
    assert found.end is End.DEAD_LETTER
    assert found.letter is not None
    assert found.letter.poison
    assert found.told == POISON.message
    assert group.letters == (found.letter,)


def test_F3_a_rate_limit_is_waited_for(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Fail(LIMITED)))
    found, told = wait(group, "c1")
    assert found.end is End.COMPLETED
    assert any("the next attempt waits" in line and "cools down" in line for line in told)
    assert 60 <= sum(group.pauses) < 120


def test_waiting_ends_with_its_time_and_the_turn_goes_on(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang()))
    found, _ = wait(group, "c1", timeout=timedelta(seconds=30))
    assert found.end is End.TIME_UP
    assert [each.life for each in found.attempts] == [Life.RUNNING]
    assert sum(group.pauses) == 30
    assert len(group.engine.running) == 1


def test_a_beat_that_goes_on_meanwhile_is_followed(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang(), Answer()))
    beaten: list[object] = []

    def meanwhile(seconds: float) -> None:
        if not beaten:
            group.engine.finish(group.engine.running[0], Fail(BROKEN))
            beaten.append(group.dispatched("a"))

    found, _ = wait(group, "c1", meanwhile=meanwhile)
    assert beaten
    assert found.end is End.COMPLETED
    assert [each.number for each in found.attempts] == [1, 2]
    assert len(group.engine.started) == 2


def test_a_turn_that_nobody_answered_for_is_found_out_while_waiting(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang(), at=lose_answers))

    def meanwhile(seconds: float) -> None:
        if seconds == POLL:
            group.engine.finish(group.engine.running[0])

    found, told = wait(group, "c1", meanwhile=meanwhile)
    assert told[0].startswith("attempt 1 may run")
    assert found.end is End.COMPLETED
    assert len(group.engine.started) == 1


def test_a_request_that_never_arrived_is_made_again_while_waiting(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(*[LoseRequest()] * 4))
    found, _ = wait(group, "c1")
    assert outcomes(found.attempts) == [("native", Outcome.SPAWN_FAILED), ("native", Outcome.COMPLETED)]


def test_an_engine_that_cannot_be_asked_meanwhile_is_told_once_and_asked_again(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang()))
    waits: list[float] = []

    def meanwhile(seconds: float) -> None:
        waits.append(seconds)
        group.engine.down = len(waits) < 5
        if len(waits) == 5:
            group.engine.finish(group.engine.running[0])

    found, told = wait(group, "c1", meanwhile=meanwhile)
    assert found.end is End.COMPLETED
    assert sum("cannot be looked at now" in line for line in told) == 1


def test_work_that_is_done_although_its_turn_ended_badly_is_not_begun_again(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang()))

    def meanwhile(seconds: float) -> None:
        if group.engine.running:
            group.world["workboard"].change(Ref("workboard", "c1"), group.now, status=Status.DONE)
            group.engine.finish(group.engine.running[0], Fail(BROKEN))

    found, _ = wait(group, "c1", meanwhile=meanwhile)
    assert found.end is End.STOPPED
    assert "done" in found.told
    assert len(group.engine.started) == 1


def test_a_source_that_fails_meanwhile_ends_the_waiting_with_what_is_known(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang()))

    def meanwhile(seconds: float) -> None:
        if group.engine.running:
            group.world["workboard"].failure = TransportError(FailureKind.UNREACHABLE, "nothing answers")
            group.engine.finish(group.engine.running[0], Fail(BROKEN))

    found, _ = wait(group, "c1", meanwhile=meanwhile)
    assert found.end is End.STOPPED
    assert [each.outcome for each in found.attempts] == [Outcome.FAILED]


def test_F1_a_refusal_at_the_door_goes_on_to_the_next_provider_at_once(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), **MANAGED)
    group.engine.script_for("first", Refuse(REFUSED))
    asked = ask(group, "c1")
    assert asked.begun is not None
    assert [each.provider for each in asked.begun.attempts] == ["first", "second"]
    assert asked.begun.result is Result.RUNNING
    assert isinstance(asked.decision, Start)
    assert not isinstance(asked.decision, Skip)
