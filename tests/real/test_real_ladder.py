"""The ladder on a real board: beats, judgement, writes and messages as they are, against a Gateway as it is.

The first story runs by the wall clock, with thresholds of seconds. The others keep the thresholds of their class, and
set the team's clock forward by a beat at a time: idle time is what the team itself has watched (rule T6), so that a
board which does not change between two of its beats has not changed for ten minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from heartbeat.action import Operation, Voice, Write, signature
from heartbeat.memory import Ending, Rounds, Stage, Step, StepOutcome, StepTaken
from heartbeat.roster.model import Roster
from heartbeat.store.port import EntryState
from heartbeat.systems.base import Deadline
from heartbeat.systems.registry import build_writer
from heartbeat.systems.writing import Look, Writer, Written
from heartbeat.task import EvidenceKind, Owner, OwnerKind, Ref
from heartbeat.verbs.grant import grant
from tests.real.rpc import RpcError
from tests.real.team import RealTeam, beat_of, open_team
from tests.real.turns import turn, until
from tests.real.writer_cases import RealBoardWriterCase, open_case

pytestmark = pytest.mark.openclaw

WORKER = "architect"
BACKUP = "secretary"
OWNER = Owner(OwnerKind.AGENT, WORKER)

ROSTER = """\
operator: {name: Vincent, notify: [ops]}
recovery: act
sources: {workboard: {transport: gateway}}
channels:
  ops: {kind: file, path: ops.log, min_level: info}
agents:
  coo: {class: high_frequency, notify: [self], patrol: true}
  architect: {class: high_frequency, notify: [self], backup: secretary}
  secretary: {class: high_frequency, notify: [self]}
"""
"""Beats of 10 minutes, suspected after 20, recovered after 30."""

SECONDS = f"{ROSTER}classes:\n  high_frequency: {{every: 1s, suspect_after: 1s, recover_after: 2s}}\n"


@pytest.fixture
def case() -> Iterator[RealBoardWriterCase]:
    with open_case("gateway") as case:
        yield case


@pytest.fixture
def team(case: RealBoardWriterCase, tmp_path: Path) -> Iterator[RealTeam]:
    with open_team(case, tmp_path, ROSTER) as team:
        yield team


def taken(team: RealTeam, step: Step) -> StepTaken:
    found = team.newest.taken(step)
    assert found is not None, team.story()
    return found


def is_free(case: RealBoardWriterCase, ref: Ref, status: str = "todo") -> bool:
    return case.record(ref)["status"] == status and "claim" not in case.metadata(ref)


def signatures(case: RealBoardWriterCase, ref: Ref) -> list[tuple[Voice, str] | None]:
    """Who signed each comment on a card, None for somebody else's; each marker stands on it once."""
    found = [signature(text) for text in case.texts(ref)]
    ours = [each for each in found if each is not None]
    assert len(ours) == len(set(ours))
    return found


def claimant(case: RealBoardWriterCase, ref: Ref) -> str:
    claim: Mapping[str, str] = case.metadata(ref)["claim"]
    return claim["ownerId"]


def test_L1_to_L3_a_card_left_alone_is_nudged_recovered_handed_over_and_blocked_by_the_wall_clock(
    case: RealBoardWriterCase, tmp_path: Path
) -> None:
    with open_team(case, tmp_path, SECONDS) as team:
        ref = team.work("对账", WORKER)

        suspected = team.beat_in_real_time_until(lambda: bool(team.incidents))
        (nudge,) = beat_of(suspected, WORKER).inbox
        receipt = beat_of(suspected, WORKER).receipt
        assert receipt is not None
        kept = team.store.entry(nudge.key)
        assert kept is not None
        assert (kept.state, kept.result) == (EntryState.DONE, f"on the worklist of receipt {receipt.id}")
        assert team.newest.stage is Stage.SUSPECTED
        assert team.newest.nudged_at is not None
        assert (claimant(case, ref), case.texts(ref)) == (WORKER, [])

        team.beat_in_real_time_until(lambda: is_free(case, ref))
        assert (team.newest.stage, team.newest.number) == (Stage.RECOVERED, 1)
        assert taken(team, Step.RECOVER).outcome is StepOutcome.DONE
        (first,) = signatures(case, ref)
        assert first is not None
        assert first[0] is Voice.RULE
        team.beat_in_real_time_until(lambda: not team.newest.open)
        assert team.newest.ending is Ending.HANDED_OVER
        assert team.inbox("coo") == []

        team.claim(ref, WORKER)
        team.beat_in_real_time_until(lambda: case.record(ref)["agentId"] == BACKUP)
        assert is_free(case, ref)
        assert team.newest.number == 2
        assert [taken(team, step).outcome for step in (Step.RECOVER, Step.HAND_OVER)] == [StepOutcome.DONE] * 2
        assert len(signatures(case, ref)) == 3
        team.beat_in_real_time_until(lambda: bool(team.inbox("coo")))
        titles = [each.payload["title"] for each in team.inbox("coo")]
        assert sorted(titles) == ["任务已自动恢复（第 2 次）：对账", f"任务已转交 {BACKUP}：对账"]
        assert team.operators_mail == []

        team.claim(ref, BACKUP)
        team.beat_in_real_time_until(lambda: is_free(case, ref, "blocked"))
        assert (team.newest.stage, team.newest.number) == (Stage.LEFT_ALONE, 3)
        assert taken(team, Step.BLOCK).outcome is StepOutcome.DONE
        assert len(signatures(case, ref)) == 4
        team.beat_in_real_time_until(lambda: bool(team.operators_mail))
        assert len(team.inbox("coo")) == 3
        (letter,) = team.operators_mail
        assert (letter["level"], letter["title"]) == ("critical", "任务已阻塞，需要您决定：对账")

        before = case.record(ref)
        seen = team.beats(20)
        assert [each.plan.writes + each.plan.messages for each in seen] == [()] * 20
        assert [each.task.ref for each in beat_of(seen[-1], "coo").attention] == [ref]
        assert case.record(ref) == before
        assert [each.stage for each in team.incidents] == [Stage.LEFT_ALONE, Stage.ENDED, Stage.ENDED]

        case.comment_as_other(ref, "我来看一下")
        changed = case.record(ref)
        team.beats(3)
        assert (team.newest.stage, team.newest.ending) == (Stage.ENDED, Ending.PROGRESS)
        assert case.record(ref) == changed
        assert len(team.incidents) == 3


@pytest.mark.parametrize(
    ("method", "number", "told"),
    [
        pytest.param("runs", 1, "belongs to secretary now", id="after the sweep"),
        pytest.param("runs", 2, "is claimed by secretary now", id="after the look"),
        pytest.param("release", 1, "somebody else claimed the card meanwhile", id="just before the write"),
    ],
)
def test_L6_a_claim_that_changed_hands_meanwhile_is_not_taken_away(
    team: RealTeam, case: RealBoardWriterCase, method: str, number: int, told: str
) -> None:
    ref = team.work("对账", WORKER)
    team.tick()
    team.beats(2)
    assert team.newest.stage is Stage.SUSPECTED
    seized: list[object] = []

    def seize() -> None:
        team.seize(ref, BACKUP)
        seized.append(case.record(ref))

    before_call(case, f"workboard.cards.{method}", number, seize)
    team.beat()
    assert seized == [case.record(ref)], "it is as its new owner made it"
    assert claimant(case, ref) == BACKUP
    outcome = taken(team, Step.RECOVER)
    assert outcome.outcome is StepOutcome.CONFLICT
    assert told in outcome.detail
    team.beat()
    assert team.newest.ending is Ending.HANDED_OVER
    team.beat()
    assert len(team.incidents) == 1, "whoever has it now has time of its own"
    assert [each.payload["title"] for each in team.inbox(WORKER)] == ["疑似超时：对账"], "nobody is told of a recovery"
    assert seized == [case.record(ref)]


def test_L6_a_claim_that_changed_hands_before_its_card_is_blocked_is_not_taken_away(
    team: RealTeam, case: RealBoardWriterCase
) -> None:
    ref = recovered_twice(team)
    team.claim(ref, BACKUP)
    team.beats(3)
    before_call(case, "workboard.cards.runs", 2, lambda: team.seize(ref, WORKER))
    team.beat()
    assert (case.record(ref)["status"], claimant(case, ref)) == ("running", WORKER)
    assert taken(team, Step.BLOCK).outcome is StepOutcome.CONFLICT
    assert len(signatures(case, ref)) == 3
    assert team.operators_mail == []


def recovered_twice(team: RealTeam) -> Ref:
    """A card that its worker let lie two times, and that was handed over."""
    ref = team.work("对账", WORKER)
    team.tick()
    team.beats(4)
    team.claim(ref, WORKER)
    team.beats(4)
    assert is_free(team.case, ref)
    assert team.newest.number == 2
    return ref


def before_call(case: RealBoardWriterCase, method: str, number: int, act: Callable[[], object]) -> None:
    """Does something just before heartbeat's so many-th request of a method reaches the Gateway."""
    left = [number]

    def rewrite(frame: str) -> str:
        if json.loads(frame)["method"] == method:
            left[0] -= 1
            if left[0] == 0:
                act()
        return frame

    case.wiretap.rewrite = rewrite


Fault = Callable[[RealTeam], AbstractContextManager[None]]


class DiedError(BaseException):
    """The process ends here."""


@dataclass(frozen=True, slots=True)
class MortalWriter:
    """The real writer in a process that dies once its write was carried out."""

    writer: Writer

    @property
    def source(self) -> str:
        return self.writer.source

    def can(self, operation: Operation) -> bool:
        return self.writer.can(operation)

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> Look:
        return self.writer.look(ref, owner, deadline, now)

    def apply(self, write: Write, look: Look, deadline: Deadline, now: datetime) -> Written:
        self.writer.apply(write, look, deadline, now)
        raise DiedError


def build_mortal(name: str, roster: Roster, environment: Mapping[str, str]) -> Writer | None:
    writer = build_writer(name, roster, environment)
    return None if writer is None else MortalWriter(writer)


@contextmanager
def lost_answer(team: RealTeam, method: str) -> Iterator[None]:
    team.case.wiretap.loses = lambda called: called == f"workboard.cards.{method}"
    yield
    assert team.case.wiretap.loses is None


@contextmanager
def death(team: RealTeam) -> Iterator[None]:
    living = team.peers
    team.peers = replace(living, writer=build_mortal)
    with pytest.raises(DiedError):
        yield
    team.peers = living


FAULTS: Mapping[str, Fault] = {
    "the reclaim's answer is lost": partial(lost_answer, method="reclaim"),
    "the release's answer is lost": partial(lost_answer, method="release"),
    "the process dies": death,
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_L4_a_recovery_whose_answer_never_came_is_finished_by_the_next_beat_with_one_comment(
    team: RealTeam, case: RealBoardWriterCase, fault: Fault
) -> None:
    ref = team.work("对账", WORKER)
    team.tick()
    team.beats(2)
    with fault(team):
        team.beat()
    assert is_free(case, ref)
    assert taken(team, Step.RECOVER).outcome is StepOutcome.DUE
    team.beat()
    assert taken(team, Step.RECOVER).outcome is StepOutcome.DONE
    assert is_free(case, ref)
    assert len(signatures(case, ref)) == 1
    team.beat()
    assert team.newest.ending is Ending.HANDED_OVER, team.newest.why
    team.claim(ref, WORKER)
    team.beats(4)
    assert team.newest.number == 2, "what it did counts"


def test_L3_a_block_whose_answer_never_came_is_known_as_ours_and_the_card_is_left_alone(
    team: RealTeam, case: RealBoardWriterCase
) -> None:
    ref = recovered_twice(team)
    team.claim(ref, BACKUP)
    with lost_answer(team, "block"):
        team.beats(4)
    assert is_free(case, ref, "blocked")
    before = case.record(ref)
    team.beats(20)
    assert (team.newest.stage, team.newest.number) == (Stage.LEFT_ALONE, 3)
    assert taken(team, Step.BLOCK).outcome is StepOutcome.DONE
    assert case.record(ref) == before
    assert len(signatures(case, ref)) == 4


def test_T7_a_card_whose_agent_has_a_run_is_left_to_it_until_the_run_ends(
    team: RealTeam, case: RealBoardWriterCase
) -> None:
    ref = team.work("对账", WORKER)
    before = case.record(ref)
    team.tick()
    with turn_of_the_worker(team, ref):
        team.beats(12)
        assert team.incidents == (), "who works for two hours without a word is not silent"
        assert case.record(ref) == before
    team.beats(2)
    assert team.newest.stage is Stage.SUSPECTED
    team.beat()
    assert taken(team, Step.RECOVER).outcome is StepOutcome.DONE
    assert is_free(case, ref)


def test_T7_an_agent_that_runs_in_circles_is_told_about_and_its_card_not_touched_while_it_runs(
    team: RealTeam, case: RealBoardWriterCase
) -> None:
    ref = team.work("对账", WORKER)
    before = case.record(ref)
    team.tick()
    for _ in range(3):
        with turn_of_the_worker(team, ref):
            team.beat()
    assert team.incidents == ()
    with turn_of_the_worker(team, ref):
        team.beats(5)
        assert team.newest.stage is Stage.TOLD, "an hour has passed, and three rounds without progress"
        assert [each.payload["title"] for each in team.inbox(WORKER)] == NUDGED_AND_TOLD
        assert case.record(ref) == before
    team.beat()
    assert taken(team, Step.RECOVER).outcome is StepOutcome.DONE
    assert is_free(case, ref)
    (text,) = case.texts(ref)
    assert "没有进展" in text


def test_T7_a_run_that_begins_after_the_sweep_stops_the_recovery(team: RealTeam, case: RealBoardWriterCase) -> None:
    ref = team.work("对账", WORKER)
    before = case.record(ref)
    team.tick()
    team.beats(2)
    with ExitStack() as stack:
        begin = partial(stack.enter_context, turn_of_the_worker(team, ref))
        before_call(case, "workboard.cards.runs", 1, begin)
        team.beat()
        outcome = taken(team, Step.RECOVER)
        assert (outcome.outcome, case.record(ref)) == (StepOutcome.HINDERED, before)
        assert "a run on" in outcome.detail
        team.beats(3)
        assert case.record(ref) == before
    team.beats(3)
    assert taken(team, Step.RECOVER).outcome is StepOutcome.DONE
    assert (len(team.incidents), team.newest.number) == (2, 1), "what came to nothing does not count"


def test_T7_while_it_cannot_be_known_whether_there_is_a_run_people_are_told_and_nothing_is_written(
    team: RealTeam, case: RealBoardWriterCase
) -> None:
    ref = team.work("对账", WORKER)
    before = case.record(ref)
    case.wiretap.rewrite = lambda frame: frame.replace('"sessions.list"', '"sessions.unheard"')
    team.tick()
    team.beats(4)
    assert (team.newest.stage, case.record(ref)) == (Stage.TOLD, before)
    assert [each.payload["title"] for each in team.inbox(WORKER)] == NUDGED_AND_TOLD
    case.wiretap.rewrite = str
    team.beat()
    assert taken(team, Step.RECOVER).outcome is StepOutcome.DONE
    assert is_free(case, ref)


NUDGED_AND_TOLD = ["疑似超时：对账", "任务超时（仅通知）：对账"]


def active(team: RealTeam, ref: Ref) -> bool:
    look = team.case.writer.look(ref, OWNER, Deadline.after(30.0), team.now)
    assert look.active is not None
    return look.active


@contextmanager
def turn_of_the_worker(team: RealTeam, ref: Ref) -> Iterator[None]:
    """A run that Gateway and writer see as long as the block lasts, and no longer."""
    with turn(team.case.gateway, WORKER, f"agent:{WORKER}:hb-{ref.id}"):
        until(lambda: active(team, ref))
        yield
    until(lambda: not active(team, ref))


def test_T2_our_own_comment_never_resets_the_clock_and_a_foreign_one_does(
    team: RealTeam, case: RealBoardWriterCase
) -> None:
    ref = team.work("对账", WORKER)
    team.tick()
    team.store.put_rounds([Rounds(ref, used=40, turn_at=team.now, slot=team.now)])
    team.beat()
    (ours,) = signatures(case, ref)
    assert ours is not None, "at 40 of 50 rounds a warning is written on the card"
    assert ours[0] is Voice.RULE
    assert {each.own for each in case.read().evidence if each.kind is EvidenceKind.COMMENT} == {True}
    team.beat()
    assert team.newest.stage is Stage.SUSPECTED, "after 20 minutes, whatever we wrote after 10"

    case.comment_as_other(ref, "还在等银行回复")
    team.beats(2)
    assert [each.ending for each in team.incidents] == [Ending.PROGRESS]
    assert claimant(case, ref) == WORKER
    team.beat()
    assert [each.stage for each in team.incidents] == [Stage.SUSPECTED, Stage.ENDED]
    team.beat()
    assert is_free(case, ref)
    assert [each and each[0] for each in signatures(case, ref)] == [Voice.RULE, None, Voice.RULE]


def test_C2_a_card_whose_rounds_are_used_up_is_blocked_and_can_be_claimed_again_once_it_is_granted_more(
    team: RealTeam, case: RealBoardWriterCase
) -> None:
    ref = case.make("对账", agentId=WORKER, maxRetries=1)
    case.call("block", id=ref.id, reason="等供应商回复")
    case.call("unblock", id=ref.id)
    team.claim(ref, WORKER)
    team.tick()
    team.store.put_rounds([Rounds(ref, used=50, turn_at=team.now, slot=team.now)])
    team.beat()
    assert is_free(case, ref, "blocked")
    assert case.metadata(ref)["failureCount"] == 2
    (_, reason) = case.texts(ref)
    assert "已用 50 轮，达到上限 50 轮" in reason
    team.beats(3)
    assert case.texts(ref)[1:] == [reason]

    case.call("unblock", id=ref.id)
    with pytest.raises(RpcError, match="exhausted its retry budget"):
        team.claim(ref, WORKER)
    case.call("move", id=ref.id, status="blocked")
    seen = team.beat().observation
    assert seen is not None
    policy = team.roster.agents[WORKER].policy
    grant(team.store, seen.judgement.task_of[ref], policy, more=20, by="Vincent", why="", now=team.now)
    team.beat()
    assert is_free(case, ref)
    assert case.metadata(ref).get("failureCount", 0) == 0
    team.claim(ref, WORKER)
    team.beat()
    assert claimant(case, ref) == WORKER
    assert [each.action for each in team.store.log()].count("rounds-exhausted") == 1


def test_T8_a_card_that_openclaw_blocked_for_its_workers_silence_is_recovered_without_waiting_for_more(
    team: RealTeam, case: RealBoardWriterCase
) -> None:
    ref = team.work("对账", WORKER)
    let_claim_expire(team, ref)
    case.call("dispatch")
    assert is_free(case, ref, "blocked")
    blocked = case.record(ref)
    team.tick()
    assert (team.newest.stage, case.record(ref)) == (Stage.SUSPECTED, blocked), "at first sight its owner is nudged"
    team.beat()
    assert taken(team, Step.RECOVER).outcome is StepOutcome.DONE
    assert is_free(case, ref)
    assert len(signatures(case, ref)) == 1
    team.claim(ref, WORKER)
    team.beat()
    assert not team.newest.open


def let_claim_expire(team: RealTeam, ref: Ref) -> None:
    """Makes a card's claim an hour older than it is, which is beyond its end and OpenClaw's patience after it."""
    claim = team.case.metadata(ref)["claim"]
    hour = int(timedelta(hours=1).total_seconds() * 1000)
    now = claim["claimedAt"]
    aged = {**claim, "claimedAt": now - hour, "lastHeartbeatAt": now - hour, "expiresAt": now - hour // 2}
    team.case.call("update", id=ref.id, patch={"metadata": {"claim": aged}})
