"""What one beat does about starting its agents (rules X1, X5, X6, F1, F4)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from heartbeat.attempt import Cause, Failure, LetterState, Life, Outcome
from heartbeat.beat import tick
from heartbeat.breaker import Breaker, State
from heartbeat.deadline import Deadline
from heartbeat.dispatch.letters import retry
from heartbeat.dispatch.round import Dispatched
from heartbeat.dispatch.start import Result
from heartbeat.rules.dispatching import Continue, Reason, Skip, Start
from heartbeat.store.port import Entry, EntryKind, EntryState
from heartbeat.systems.base import FailureKind, PartlyHeardError, TransportError
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Presence, Status
from tests.support.dispatching import MANAGED, REFUSED, DispatchTeam, card, worker
from tests.support.engines import Answer, Fail, Hang, LoseAnswer, LoseRequest, StandInSpawner
from tests.support.rosters import make_agent
from tests.support.scripted_writer import Fault, ScriptedSystem, ScriptedWorld


def team(folder: Path, *items: object, engine: StandInSpawner | None = None, **extra: object) -> DispatchTeam:
    world = ScriptedWorld(ScriptedSystem(*items))  # type: ignore[arg-type]
    return DispatchTeam(world, folder, (worker("a"), worker("b")), engine=engine or StandInSpawner(), extra=extra)


def test_X1_ready_work_is_claimed_and_its_agent_started_and_the_turn_collected_by_a_later_beat(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang()))
    first = group.dispatched("a")
    assert isinstance(first.decision, Start)
    [attempt] = group.attempts
    assert attempt.life is Life.RUNNING
    assert group.claimant("c1") == "a"
    assert group.status("c1") is Status.IN_PROGRESS
    second = group.dispatched("a")
    assert isinstance(second.decision, Skip)
    assert second.decision.reason is Reason.BUSY
    group.engine.finish(attempt.id)
    third = group.dispatched("a")
    assert group.attempts[0].outcome is Outcome.COMPLETED
    assert isinstance(third.decision, Continue)


def failure(cause: Cause, message: str = "", outcome: Outcome = Outcome.FAILED) -> Failure:
    return Failure(cause, message or cause.value, outcome)


def test_X5_a_spawn_that_nobody_takes_gives_the_claim_back_and_the_card_its_earlier_status(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    group.engine.down = True
    found = group.dispatched("a")
    assert found.begun is not None
    assert found.begun.result is Result.FAILED
    assert group.status("c1") is Status.TODO
    assert group.claimant("c1") == ""
    [attempt] = group.attempts
    assert (attempt.outcome, attempt.cause, attempt.tries) == (Outcome.SPAWN_FAILED, Cause.ENGINE, 4)
    assert group.pauses == [1.0, 2.0, 4.0]
    assert group.store.breakers()["openclaw"].failures == 1
    assert "native" not in group.store.breakers()
    group.engine.down = False
    assert group.dispatched("a").begun.result is Result.RUNNING  # type: ignore[union-attr]


def test_F1_a_turn_that_ended_badly_is_followed_on_the_same_provider_and_then_on_the_next(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), **MANAGED)
    group.engine.always("first", Fail(REFUSED))
    group.engine.always("second", Answer())
    group.every = timedelta(seconds=30)
    for _ in range(5):
        group.dispatched("a")
    assert [each.provider for each in group.attempts] == ["first", "first", "first", "second", "second"]
    assert [each.outcome for each in group.attempts[:4]] == [Outcome.FAILED] * 3 + [Outcome.COMPLETED]
    assert [each.model for each in group.attempts[:4]] == ["first/m"] * 3 + ["second/m"]
    assert len({each.session for each in group.attempts}) == 1
    assert group.store.breakers()["first"].state is State.OPEN


def test_F3_a_401_goes_straight_to_the_next_provider_and_people_are_told_once(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), **MANAGED)
    group.engine.always("first", Fail(failure(Cause.REFUSES, "401")))
    group.every = timedelta(seconds=30)
    for _ in range(3):
        group.dispatched("a")
    assert [each.provider for each in group.attempts] == ["first", "second", "second"]
    told = [each for each in group.store.entries() if each.key.startswith("breaker/first")]
    assert len({each.key for each in told}) == len(told) > 0


def test_F3_a_429_cools_its_provider_down_and_counts_as_no_failure(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), **MANAGED)
    group.engine.always("first", Fail(failure(Cause.COOLS, "429", Outcome.RATE_LIMITED)))
    group.every = timedelta(seconds=10)
    group.dispatched("a")
    group.dispatched("a")
    assert [each.provider for each in group.attempts][:2] == ["first", "second"] or group.attempts[
        1
    ].provider == "first"
    assert group.store.breakers()["first"].failures == 0


def test_F4_when_all_providers_fail_the_task_becomes_a_dead_letter_and_is_replayed_when_it_is_due(
    tmp_path: Path,
) -> None:
    group = team(tmp_path, card("c1", "a"), **MANAGED)
    for name in ("first", "second", "third"):
        group.engine.always(name, Fail(REFUSED))
    group.every = timedelta(seconds=10)
    while not group.letters:
        group.dispatched("a")
    [letter] = group.letters
    assert letter.state is LetterState.WAITING
    assert group.status("c1") is Status.TODO
    assert group.claimant("c1") == ""
    assert group.engine.running == []
    started = len(group.attempts)
    found = group.dispatched("a")
    assert isinstance(found.decision, Skip)
    assert found.decision.reason is Reason.DEAD_LETTER
    for name in ("first", "second", "third"):
        group.engine.always(name, Answer())
    group.pass_time(timedelta(minutes=6))
    found = group.dispatched("a")
    assert isinstance(found.decision, Start)
    assert len(group.attempts) == started + 1
    states = [group.letters[0].state]
    group.dispatched("a")
    states.append(group.letters[0].state)
    assert states == [LetterState.REPLAYING, LetterState.REPLAYED]


def test_F4_a_task_that_is_refused_itself_is_a_dead_letter_at_once_and_nobody_is_blamed(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), **MANAGED)
    group.engine.always("first", Fail(failure(Cause.TASK, "400")))
    group.dispatched("a")
    found = group.dispatched("a")
    [letter] = group.letters
    assert letter.poison
    assert isinstance(found.decision, Skip)
    assert len(group.attempts) == 1
    assert group.store.breakers().get("first", Breaker("first")).failures == 0


def test_F3_what_was_refused_for_its_own_sake_is_never_tried_again_before_a_person_says_so(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), **MANAGED)
    group.engine.script_for("first", Fail(failure(Cause.TASK, "400")))
    for _ in range(3):
        group.dispatched("a")
    group.pass_time(timedelta(days=1))
    found = group.dispatched("a")
    assert len(group.attempts) == 1
    assert isinstance(found.decision, Skip)
    assert "the task itself was refused" in found.decision.told
    [letter] = group.letters
    assert letter.state is LetterState.EXHAUSTED
    told = [entry for entry in group.store.entries() if entry.key.startswith(f"letter/{letter.id}")]
    assert told
    assert all("不自动重试" in str(entry.payload["body"]) for entry in told)
    with group.store.transaction():
        retry(group.store, letter, "Vincent", group.now)
    group.dispatched("a")
    assert len(group.attempts) == 2


def test_X5_never_more_turns_at_once_than_the_roster_allows(tmp_path: Path) -> None:
    group = team(
        tmp_path, card("c1", "a"), card("c2", "b"), engine=StandInSpawner(Hang(), Hang()), limits={"running": 1}
    )
    group.beat("a", "b")
    assert len(group.engine.running) == 1
    skipped = next(each for each in group.beat("a", "b").round.dispatched.values() if isinstance(each.decision, Skip))
    assert skipped.decision.reason in (Reason.LIMIT, Reason.BUSY)  # type: ignore[union-attr]


def test_X6_an_answer_that_never_came_is_asked_for_again_under_the_same_id_and_makes_one_turn(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(LoseAnswer(Hang())))
    group.dispatched("a")
    assert len(group.engine.started) == 1
    [attempt] = group.attempts
    assert attempt.id == group.engine.started[0]
    assert attempt.life is Life.RUNNING


def test_X1_work_in_progress_is_continued_before_new_work_is_claimed(tmp_path: Path) -> None:
    group = team(tmp_path, card("new", "a"), card("old", "a", Status.IN_PROGRESS))
    found = group.dispatched("a")
    assert isinstance(found.decision, Continue)
    assert found.decision.task.key == "workboard:old"
    assert group.status("new") is Status.TODO


def test_X1_a_task_that_somebody_else_takes_meanwhile_is_left_and_the_next_one_is_started(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), card("c2", "a"))
    board = group.world["workboard"]
    board.fail_writes(Fault.CONFLICT)
    found = group.dispatched("a")
    assert found.begun is not None
    assert found.begun.result is Result.RUNNING
    assert [each.outcome for each in group.attempts] == [Outcome.ABORTED, None]
    assert group.attempts[1].task == "workboard:c2"


def test_X1_with_dispatch_none_nothing_is_started_and_nothing_is_recorded_of_it(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "coo"))
    group.agents = (make_agent("coo", "high_frequency"),)
    done = group.beat("coo")
    assert done.round.dispatched == {}
    assert done.beats[0].receipt is not None
    assert done.beats[0].receipt.dispatch == {}
    assert group.attempts == ()


def test_X1_why_nothing_was_started_stands_in_the_receipt(tmp_path: Path) -> None:
    group = team(tmp_path)
    [beat] = group.beat("a").beats
    assert beat.receipt is not None
    assert beat.receipt.dispatch["decision"] == "skip"
    assert beat.receipt.dispatch["reason"] == "no_work"


def test_X4_what_waits_in_the_agents_inbox_is_in_its_prompt(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"))
    payload = {"title": "somebody waits", "body": "for your answer", "level": "info"}
    group.store.enqueue([Entry("letter", EntryKind.INBOX, "a", payload, group.now, group.now)])
    group.dispatched("a")
    [order] = group.engine.orders
    before, _, data = order.message.partition("=====")
    assert "somebody waits: for your answer" in data
    assert "somebody waits" not in before
    assert "`inbox`" in before


def test_X6_a_request_that_may_have_arrived_keeps_its_claim_although_the_engine_is_gone_then(tmp_path: Path) -> None:
    engine = StandInSpawner(LoseAnswer(Hang()))
    group = team(tmp_path, card("c1", "a"), engine=engine)
    asked: list[str] = []

    def gone(step: str, dispatch: str) -> None:
        if step == "begun":
            asked.append(dispatch)
            engine.down = True

    engine.at = gone
    found = group.dispatched("a")
    assert found.begun is not None
    assert found.begun.result is Result.UNKNOWN
    assert group.claimant("c1") == "a"
    engine.down, engine.at = False, None
    group.dispatched("a")
    assert engine.started == asked[:1]
    assert group.attempts[0].life is Life.RUNNING


def test_F2_beats_that_are_killed_before_they_ask_keep_nobody_away_from_the_engine(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(*[LoseRequest()] * 12))
    for _ in range(4):
        group.dispatched("a")
    assert Outcome.SPAWN_FAILED in [each.outcome for each in group.attempts]
    assert group.store.breakers().get("openclaw", Breaker("openclaw")).failures == 0
    assert group.engine.overlapping == []


def test_S5_a_snapshot_from_before_our_own_claim_is_no_conflict_with_ourselves(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang(), Hang()))
    board, roster = group.world["workboard"], group.roster
    board.shared = True

    def beat() -> Dispatched:
        group.show_runs()
        done = tick(
            roster,
            roster.chosen(["a"]),
            {},
            group.store,
            SnapshotCache(tmp_path / "kept"),
            tmp_path,
            clock=lambda: group.now,
            peers=group.peers,
            deadline=Deadline.after(60),
        )
        return done.round.dispatched["a"]

    beat()
    group.pass_time(timedelta(seconds=30))
    group.engine.finish(group.attempts[0].id, Fail(REFUSED))
    found = beat()
    assert isinstance(found.decision, Continue)
    assert found.begun is not None
    assert found.begun.result is Result.RUNNING
    assert len(group.attempts) == 2
    group.engine.finish(group.attempts[1].id)
    group.pass_time(timedelta(hours=1))
    reads = board.reads
    beat()
    assert board.reads == reads + 1


def test_X6_hooks_are_run_when_all_else_is_done_and_not_at_all_once_the_roster_has_them_no_more(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    hook = ("/bin/sh", "-c", f"echo $HEARTBEAT_OUTCOME >> {marks}")
    group = team(tmp_path, card("c1", "a"), on_complete=(hook,))
    group.dispatched("a")
    group.extra = {"on_complete": (hook,)}
    group.beat("a")
    assert not marks.exists(), "not before the beat is over"
    [entry] = group.run_hooks()
    assert marks.read_text() == "completed\n"
    assert entry.state is EntryState.DONE
    group.extra = {}
    group.dispatched("a")
    queued = [each for each in group.store.entries(kind=EntryKind.HOOK) if each.state is not EntryState.DONE]
    assert all(each.state is EntryState.DROPPED for each in queued)
    assert marks.read_text() == "completed\n"


def test_X6_a_turn_that_its_engine_does_not_list_yet_is_not_lost(tmp_path: Path) -> None:
    group = team(tmp_path, card("c1", "a"), engine=StandInSpawner(Hang(), Hang()))
    group.dispatched("a")
    group.engine.lose(group.attempts[0].id)
    group.every = timedelta(seconds=5)
    group.dispatched("a")
    assert group.attempts[0].life is Life.RUNNING
    group.every = timedelta(minutes=1)
    group.dispatched("a")
    assert group.attempts[0].outcome is Outcome.LOST


def talked_since_the_look(folder: Path) -> DispatchTeam:
    """The beat of `a` has read the board, and then a person speaks with `b`, for whom there is work."""
    group = team(folder, card("c2", "b"), engine=StandInSpawner(Hang()))
    group.fresh, board = False, group.world["workboard"]
    board.shared = True
    group.tick("a")
    group.pass_time(timedelta(minutes=2))
    board.presence = (Presence("b", False, group.now, "agent:b:main", talked_at=group.now),)
    group.pass_time(timedelta(minutes=2))
    return group


def test_B4_nobody_is_started_whom_a_person_has_begun_to_talk_to_since_the_board_was_read(tmp_path: Path) -> None:
    group = talked_since_the_look(tmp_path)
    board = group.world["workboard"]
    found = group.tick("b").round.dispatched["b"]
    assert board.reads == 1
    assert isinstance(found.decision, Skip)
    assert found.decision.reason is Reason.TALKING
    assert found.decision.told == "deferred: a person is talking to b until 2026-11-21T04:12:00.000Z"
    assert board.heard == [frozenset({"b"})]
    group.pass_time(timedelta(minutes=15))
    assert isinstance(group.tick("b").round.dispatched["b"].decision, Start)


def test_B4_T7_nobody_is_started_where_it_cannot_be_asked_anew(tmp_path: Path) -> None:
    group = talked_since_the_look(tmp_path)
    group.world["workboard"].deaf = TransportError(FailureKind.TIMEOUT, "no answer")
    found = group.tick("b").round.dispatched["b"]
    assert isinstance(found.decision, Skip)
    assert found.decision.reason is Reason.DEGRADED
    assert found.decision.told == "whether a turn is running cannot be known: workboard did not tell"


def test_B4_T7_who_could_not_be_heard_is_not_started_and_those_who_could_are(tmp_path: Path) -> None:
    names = ("w0", "w1", "w2")
    world = ScriptedWorld(ScriptedSystem(*(card(f"c{name}", name) for name in names)))
    group = DispatchTeam(
        world, tmp_path, (worker("idle"), *map(worker, names)), engine=StandInSpawner(*(Hang() for _ in names))
    )
    group.fresh, board = False, world["workboard"]
    board.shared = True
    group.tick("idle")
    group.pass_time(timedelta(minutes=4))
    talk = Presence("w0", False, group.now, "agent:w0:main", talked_at=group.now)
    board.deaf = PartlyHeardError(FailureKind.TIMEOUT, "no answer", heard=(talk,), unheard=frozenset({"w1"}))
    found = {name: each.decision for name, each in group.tick(*names).round.dispatched.items()}
    assert isinstance(found["w2"], Start)
    reasons = {name: each.reason for name, each in found.items() if isinstance(each, Skip)}
    assert reasons == {"w0": Reason.TALKING, "w1": Reason.DEGRADED}
    assert board.heard == [frozenset(names)]


def test_B4_one_question_is_for_all_who_are_about_to_be_started(tmp_path: Path) -> None:
    names = [f"w{number}" for number in range(30)]
    world = ScriptedWorld(ScriptedSystem(*(card(f"c{name}", name) for name in names)))
    engine = StandInSpawner(*(Hang() for _ in names))
    group = DispatchTeam(world, tmp_path, (worker("idle"), *map(worker, names)), engine=engine)
    group.fresh, board = False, world["workboard"]
    board.shared = True
    group.tick("idle")
    group.pass_time(timedelta(minutes=4))
    started = [each for each in group.tick(*names).round.dispatched.values() if each.started is not None]
    assert len(started) == 4
    assert board.heard == [frozenset(names)]
