"""A verb from the look to the last write: in a scripted world, with a store, and with everything that can go wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartbeat.action import Operation, Output, OutputType, Voice, signature
from heartbeat.actions import carry_out
from heartbeat.deadline import Deadline
from heartbeat.errors import RefusedError, UsageError
from heartbeat.memory import EVERYBODY, Pause, Rounds
from heartbeat.roster.model import Roster
from heartbeat.store.locks import try_exclusive
from heartbeat.store.memory import MemoryStore
from heartbeat.store.port import EntryState, Store
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import NOBODY, Evidence, EvidenceKind, Item, Owner, OwnerKind, Ref, Status
from heartbeat.verbs.perform import Performance, perform
from heartbeat.verbs.words import Command, Verb
from tests.support.items import ARCHITECT, NOW, card, explicit, issue, line
from tests.support.rosters import make_agent, make_coo, make_roster
from tests.support.scripted_writer import Died, Fault, ScriptedSystem, ScriptedWorld

TITLE = "登录页报错需要修复"
CARD, ISSUE, LINE = card(1, TITLE).ref, issue(31, TITLE).ref, line(5, TITLE).ref


@dataclass
class Desk:
    """Where an agent types commands: a world, a store, a clock that moves on with each look at it."""

    world: ScriptedWorld
    folder: Path
    store: Store = field(default_factory=MemoryStore)
    now: datetime = NOW
    agents: tuple[Any, ...] = ()

    @property
    def roster(self) -> Roster:
        agents = self.agents or (make_coo(), make_agent("architect", "developer"))
        return make_roster(*agents, sources={name: {} for name in self.world.systems})

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=10)
        return self.now

    def say(self, verb: Verb, name: str = TITLE, why: str = "", agent: str = "coo", **changes: Any) -> Performance:
        return perform(
            self.roster,
            {},
            self.store,
            SnapshotCache(self.folder / "snapshots"),
            self.folder,
            name=name,
            command=Command(verb, agent, why, changes.pop("outputs", ())),
            clock=self.clock,
            cwd=self.folder,
            deadline=Deadline.after(60),
            source=self.world.source,
            writer=self.world.writer,
            **{"turn": 0.0, **changes},
        )

    def beat(self, after: timedelta = timedelta(hours=2)) -> None:
        """The next beat carries out what is left."""
        self.now += after
        carry_out(
            self.store,
            self.roster,
            {},
            self.folder,
            clock=self.clock,
            deadline=Deadline.after(60),
            build=self.world.writer,
        )

    def states(self, performance: Performance) -> list[str]:
        return [result.state for result in performance.results]

    def statuses(self) -> list[Status]:
        return [item.status for system in self.world.systems.values() for item in system.items.values()]

    def texts(self) -> list[list[str]]:
        return [list(system.texts.get(ref, ())) for system in self.world.systems.values() for ref in system.items]


def three_origins(folder: Path, status: Status = Status.TODO, **changes: Any) -> Desk:
    """One task with a card, an issue and a line."""
    world = ScriptedWorld(
        ScriptedSystem(card(1, TITLE, status, **changes), name="workboard"),
        ScriptedSystem(issue(31, TITLE, status, **changes), name="multica"),
        ScriptedSystem(line(5, TITLE, status, **changes), name="todo"),
    )
    return Desk(world, folder)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return three_origins(tmp_path)


@pytest.fixture
def working(tmp_path: Path) -> Desk:
    return three_origins(tmp_path, Status.IN_PROGRESS, started_at=NOW - timedelta(hours=1))


def test_a_task_of_three_origins_is_taken_and_finished_everywhere(desk: Desk) -> None:
    started = desk.say(Verb.START)
    assert started.ok
    assert [result.ref for result in started.results] == [CARD, ISSUE, LINE]
    assert desk.states(started) == ["done"] * 3
    assert desk.statuses() == [Status.IN_PROGRESS] * 3
    assert desk.world["workboard"].claimants == {CARD: "coo"}
    assert desk.world["workboard"].claim_seconds[CARD] == 7200
    assert desk.texts() == [[], [], []]
    finished = desk.say(Verb.DONE, why="修好了", outputs=(Output("https://git.test/pull/7", OutputType.CODE),))
    assert finished.ok
    assert desk.statuses() == [Status.DONE] * 3
    for (said,) in desk.texts():
        assert said.startswith("coo：已完成。修好了 [via hb:")
        assert signature(said) is not None
    assert [
        system.outputs[ref][0].path
        for system, ref in zip(desk.world.systems.values(), (CARD, ISSUE, LINE), strict=True)
    ] == ["https://git.test/pull/7"] * 3


def test_review_and_reject_leave_the_reason_for_the_next_attempt(working: Desk) -> None:
    assert working.say(Verb.REVIEW).ok
    assert working.statuses() == [Status.IN_REVIEW, Status.IN_REVIEW, Status.IN_PROGRESS]
    assert working.say(Verb.REJECT, why="缺少测试").ok
    assert working.statuses() == [Status.TODO] * 3
    assert all("coo：退回重做。原因：缺少测试" in texts[-1] for texts in working.texts())
    assert working.say(Verb.START).ok
    assert working.say(Verb.BLOCK, why="等财务").ok
    assert working.statuses() == [Status.BLOCKED] * 3


def test_a_note_goes_everywhere_and_changes_nothing_else(working: Desk) -> None:
    assert working.say(Verb.NOTE, why="还在查").ok
    assert working.statuses() == [Status.IN_PROGRESS] * 3
    assert [len(texts) for texts in working.texts()] == [1, 1, 1]
    assert {write.operation for write in working.world.effects} == {Operation.COMMENT}


def test_T2_what_an_agent_says_through_us_counts_as_its_own_sign_of_life(working: Desk) -> None:
    working.say(Verb.NOTE, why="还在查")
    assert working.store.own() == frozenset()
    assert {write.voice for write in working.world.effects} == {Voice.AGENT}
    assert not any(each.own for system in working.world.systems.values() for each in system.evidence)


def test_to_start_what_is_in_progress_already_says_so(working: Desk) -> None:
    again = working.say(Verb.START)
    assert again.ok
    assert {result.message for result in again.results} == {"in progress already"}
    assert working.world.effects == []


def test_the_agent_is_the_one_that_is_named_else_the_owner(desk: Desk) -> None:
    assert desk.say(Verb.NOTE, why="一", agent="").command.agent == "coo"
    assert desk.say(Verb.NOTE, why="一", agent="architect").command.agent == "architect"
    with pytest.raises(UsageError, match="no agent called 'nobody'"):
        desk.say(Verb.NOTE, why="一", agent="nobody")
    for system, ref in zip(desk.world.systems.values(), (CARD, ISSUE, LINE), strict=True):
        system.change(ref, NOW, owner=NOBODY)
    with pytest.raises(UsageError, match="not clear who speaks"):
        desk.say(Verb.START, agent="")
    assert desk.say(Verb.START, agent="architect").ok
    assert {item.owner for system in desk.world.systems.values() for item in system.items.values()} == {ARCHITECT}


def test_a_task_is_found_by_any_name_and_a_name_of_several_is_asked_back(desk: Desk) -> None:
    for name in ("BIZ-31", "00000001", "TODO.md:5", TITLE, str(CARD)):
        assert desk.say(Verb.NOTE, name, why=name).task.refs == (CARD, ISSUE, LINE)
    with pytest.raises(UsageError, match="no task called 'BIZ-99' in any source"):
        desk.say(Verb.START, "BIZ-99")
    other = issue(32, "登录页报错：写文档", owner=ARCHITECT)
    desk.world["multica"].items[other.ref] = other
    assert desk.say(Verb.START, "登录页报错").task.refs[0] == CARD, "the agent's own"
    assert desk.say(Verb.NOTE, "登录页报错", why="二", agent="architect").task.refs == (other.ref,)
    with pytest.raises(
        UsageError, match=r"may mean 2 tasks: workboard:\S+ \(00000001 登录页报错需要修复\); multica:\S+ \(BIZ-32"
    ):
        desk.say(Verb.NOTE, "登录页报错", why="一", agent="")
    desk.world["multica"].items[other.ref] = replace(other, status=Status.DONE)
    assert desk.say(Verb.NOTE, "登录页报错", why="三", agent="").task.refs[0] == CARD, "the open one"


def test_S2_a_source_that_fails_stops_every_verb_on_its_tasks(desk: Desk) -> None:
    desk.say(Verb.NOTE, why="一")
    desk.world["multica"].failure = TransportError(FailureKind.UNREACHABLE, "nothing answers")
    before = list(desk.world.effects)
    with pytest.raises(RefusedError, match="multica"):
        desk.say(Verb.START)
    with pytest.raises(RefusedError, match="multica could not be, completely"):
        desk.say(Verb.START, "BIZ-99")
    assert desk.world.effects == before
    assert not [entry for entry in desk.store.entries() if entry.state is EntryState.PENDING]


def test_every_refusal_writes_nothing_and_keeps_nothing(desk: Desk) -> None:
    desk.world["workboard"].items[CARD] = card(1, TITLE, depends_on=explicit("BIZ-77"))
    waiting = issue(77, "先做的事情在这里")
    desk.world["multica"].items[waiting.ref] = waiting
    with pytest.raises(RefusedError, match="waits: BIZ-77 is todo"):
        desk.say(Verb.START)
    desk.store.put_pause(Pause(EVERYBODY, NOW, None, "发布窗口", "Vincent"))
    with pytest.raises(RefusedError, match="everybody is paused: 发布窗口"):
        desk.say(Verb.NOTE, why="一")
    desk.store.drop_pause(EVERYBODY)
    with pytest.raises(RefusedError, match="belongs to coo, not to architect"):
        desk.say(Verb.BLOCK, why="一", agent="architect")
    assert (desk.store.entries(), desk.store.log(), desk.world.effects) == ((), (), [])


def test_C2_rounds_that_are_used_up_keep_a_task_from_being_started(desk: Desk) -> None:
    desk.store.put_rounds([Rounds(ISSUE, used=50)])
    with pytest.raises(RefusedError, match="has used 50 of 50 rounds"):
        desk.say(Verb.START)
    desk.store.put_rounds([Rounds(ISSUE, used=50, extra=20)])
    assert desk.say(Verb.START).ok


def test_work_that_needs_an_output_may_have_shown_it_earlier(working: Desk) -> None:
    working.agents = (make_coo(require_output=True),)
    with pytest.raises(RefusedError, match="nothing to show yet"):
        working.say(Verb.DONE)
    assert working.say(Verb.REVIEW, outputs=(Output("https://git.test/pull/7"),)).ok
    assert working.say(Verb.DONE).ok


def test_whoever_accepts_work_is_held_to_what_its_owner_must_show(tmp_path: Path) -> None:
    desk = three_origins(tmp_path, Status.IN_REVIEW, owner=ARCHITECT)
    desk.agents = (make_coo(), make_agent("architect", "developer", require_output=True))
    with pytest.raises(RefusedError, match="work of architect is done only with an output"):
        desk.say(Verb.DONE)
    assert desk.say(Verb.DONE, outputs=(Output("https://git.test/7"),)).ok


@pytest.mark.parametrize(
    ("address", "hidden"),
    [
        ("https://me@git.test/x", "me@"),
        ("https://git.test/x?a=1&API_Key=hush", "hush"),
        ("https://t/#token=hush", "hush"),
    ],
)
def test_B8_an_address_with_a_secret_is_refused_and_not_told_back(working: Desk, address: str, hidden: str) -> None:
    with pytest.raises(UsageError) as caught:
        working.say(Verb.NOTE, why="一", outputs=(Output(address),))
    assert "without secrets" in caught.value.advice
    assert hidden not in str(caught.value)


def test_B8_a_path_that_cannot_be_looked_at_is_a_wrong_call(working: Desk) -> None:
    (working.folder / "circle").symlink_to("circle")
    for path in ("a" * 300, "circle"):
        with pytest.raises(UsageError, match="cannot be looked at"):
            working.say(Verb.NOTE, why="一", outputs=(Output(path),))


def test_an_output_that_a_source_does_not_tell_of_was_shown_all_the_same(tmp_path: Path) -> None:
    desk = Desk(ScriptedWorld(ScriptedSystem(line(5, TITLE, Status.IN_PROGRESS), name="todo")), tmp_path)
    desk.agents = (make_coo(require_output=True),)
    assert desk.say(Verb.NOTE, why="一稿", outputs=(Output("https://git.test/pull/7"),)).ok
    desk.world["todo"].evidence.clear()
    assert desk.say(Verb.DONE).ok


def test_a_proof_on_a_card_is_an_output_too(working: Desk) -> None:
    working.agents = (make_coo(require_output=True),)
    working.world["workboard"].evidence.append(Evidence(CARD, NOW, EvidenceKind.PROOF, "proof-1"))
    assert working.say(Verb.DONE).ok


def test_a_patrol_agent_accepts_what_another_agent_handed_in(tmp_path: Path) -> None:
    desk = three_origins(tmp_path, Status.IN_REVIEW, owner=ARCHITECT)
    assert desk.say(Verb.REJECT, why="缺少测试").ok
    assert {item.owner for system in desk.world.systems.values() for item in system.items.values()} == {ARCHITECT}
    with pytest.raises(RefusedError, match="belongs to architect"):
        desk.say(Verb.START)


def test_whoever_made_a_task_answers_for_it(tmp_path: Path) -> None:
    desk = three_origins(tmp_path, Status.IN_REVIEW, owner=ARCHITECT, creator=Owner(OwnerKind.AGENT, "writer"))
    desk.agents = (make_coo(), make_agent("architect", "developer"), make_agent("writer"), make_agent("tester"))
    with pytest.raises(RefusedError, match="belongs to architect"):
        desk.say(Verb.DONE, agent="tester")
    assert desk.say(Verb.DONE, agent="writer").ok


# Somebody else is quicker.


def test_L6_when_somebody_else_took_the_card_the_other_records_are_left_alone(desk: Desk) -> None:
    board = desk.world["workboard"]
    board.meanwhile = lambda: board.take(CARD, "architect", desk.now)
    lost = desk.say(Verb.START)
    assert not lost.ok
    assert desk.states(lost) == ["conflict"] * 3
    assert "00000001 is in progress now" in lost.results[0].message
    assert desk.world.effects == []
    with pytest.raises(RefusedError, match="belongs to architect, not to coo"):
        desk.say(Verb.START)


def test_L6_a_refusal_of_the_system_itself_is_a_conflict_too(desk: Desk) -> None:
    desk.world["workboard"].fail_writes(Fault.CONFLICT)
    assert desk.states(desk.say(Verb.START)) == ["conflict"] * 3
    assert desk.world.effects == []
    again = desk.say(Verb.START)
    assert again.ok, "a new use of the command, with a key of its own"
    assert desk.states(again) == ["done"] * 3


def test_a_conflict_on_a_lesser_record_leaves_the_others_done(working: Desk) -> None:
    issues = working.world["multica"]
    issues.meanwhile = lambda: issues.change(ISSUE, working.now, owner=ARCHITECT)
    finished = working.say(Verb.DONE)
    assert working.states(finished) == ["done", "conflict", "done"]
    assert not finished.ok
    assert "BIZ-31 belongs to architect now" in finished.results[1].message


def test_a_transport_that_cannot_is_said_before_anything_is_written(desk: Desk) -> None:
    desk.world["todo"].operations = frozenset()
    with pytest.raises(RefusedError, match=r"heartbeat cannot write to TODO.md:5 \(todo\): claim"):
        desk.say(Verb.START)
    desk.world["todo"].operations = frozenset(Operation)
    desk.world["multica"].fail_writes(Fault.UNSUPPORTED)
    assert desk.states(desk.say(Verb.START)) == ["done", "dead", "done"]


# Answers are lost, processes die, systems are down.


@pytest.mark.parametrize(
    ("verb", "fault"),
    [
        (verb, fault)
        for verb in Verb
        for fault in (Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.HALF, Fault.MUTE, Fault.DOWN)
        if (verb, fault) != (Verb.START, Fault.MUTE)
    ],
)
def test_I4_a_write_whose_answer_was_lost_is_finished_by_the_same_command(
    tmp_path: Path, verb: Verb, fault: Fault
) -> None:
    desk = three_origins(tmp_path, Status.TODO if verb is Verb.START else Status.IN_PROGRESS)
    desk.world["workboard"].fail_writes(fault)
    first = desk.say(verb, why="因为")
    assert not first.ok
    assert desk.states(first) == ["pending"] * 3
    assert fault.value in first.results[0].message
    assert "the next beat goes on with it, and so does the same command" in first.results[0].message
    assert "what comes before it is not done yet" in first.results[1].message
    assert desk.world["multica"].effects == []
    second = desk.say(verb, why="因为")
    assert second.ok
    assert desk.states(second) == ["done"] * 3
    assert [len(texts) for texts in desk.texts()] == [1, 1, 1]


@pytest.mark.parametrize("fault", [Fault.DIES_BEFORE, Fault.DIES_AFTER])
@pytest.mark.parametrize("system", ["workboard", "multica", "todo"])
@pytest.mark.parametrize("verb", [Verb.START, Verb.DONE, Verb.NOTE])
def test_I4_a_command_that_died_is_finished_by_the_same_command(
    tmp_path: Path, verb: Verb, system: str, fault: Fault
) -> None:
    desk = three_origins(tmp_path, Status.TODO if verb is Verb.START else Status.IN_PROGRESS)
    desk.world[system].fail_writes(fault)
    with pytest.raises(Died):
        desk.say(verb, why="因为")
    assert desk.say(verb, why="因为").ok
    assert [len(texts) for texts in desk.texts()] == [1, 1, 1]
    assert len(desk.store.entries()) == 3


@pytest.mark.parametrize("verb", [Verb.DONE, Verb.REVIEW, Verb.NOTE])
def test_I4_what_a_command_left_is_finished_by_the_next_beat(tmp_path: Path, verb: Verb) -> None:
    desk = three_origins(tmp_path, Status.IN_PROGRESS)
    desk.world["multica"].fail_writes(Fault.LOST_AFTER)
    first = desk.say(verb, why="因为")
    assert desk.states(first) == ["done", "pending", "done"]
    desk.beat()
    assert {entry.state for entry in desk.store.entries()} == {EntryState.DONE}
    assert [len(texts) for texts in desk.texts()] == [1, 1, 1]
    again = desk.say(verb, why="因为")
    assert again.ok
    if verb is not Verb.NOTE:
        assert set(desk.states(again)) == {"already"}
        assert [len(texts) for texts in desk.texts()] == [1, 1, 1]


def test_I4_a_rejection_that_set_the_card_free_and_said_nothing_says_it_still(working: Desk) -> None:
    board = working.world["workboard"]
    board.fail_writes(Fault.MUTE)
    assert working.states(working.say(Verb.REJECT, why="缺少测试")) == ["pending"] * 3
    board.change(CARD, working.now, owner=NOBODY)
    again = working.say(Verb.REJECT, why="缺少测试", agent="coo")
    assert again.ok, [result.message for result in again.results]
    assert [len(texts) for texts in working.texts()] == [1, 1, 1]


@pytest.mark.parametrize("system", ["workboard", "multica", "todo"])
def test_I4_a_start_that_said_nothing_is_known_again_by_its_claim(desk: Desk, system: str) -> None:
    desk.world[system].fail_writes(Fault.LOST_AFTER)
    first = desk.say(Verb.START)
    assert "pending" in desk.states(first)
    again = desk.say(Verb.START)
    assert again.ok
    assert "found: an earlier attempt had taken effect" in [result.message for result in again.results]
    assert {entry.state for entry in desk.store.entries()} == {EntryState.DONE}
    assert len(desk.world[system].effects) == 1


@pytest.mark.parametrize("system", ["workboard", "multica", "todo"])
def test_I4_a_start_that_a_beat_went_on_with_ends_well_at_the_latest_with_the_next_one(desk: Desk, system: str) -> None:
    desk.world[system].fail_writes(Fault.LOST_AFTER)
    desk.say(Verb.START)
    desk.beat(timedelta(minutes=10))
    assert desk.say(Verb.START).ok
    assert desk.statuses() == [Status.IN_PROGRESS] * 3
    assert len(desk.world[system].effects) == 1


def test_a_command_that_stopped_half_way_goes_on_although_the_task_is_split_now(working: Desk) -> None:
    working.world["multica"].fail_writes(Fault.DOWN)
    assert working.states(working.say(Verb.DONE)) == ["done", "pending", "done"]
    assert working.statuses() == [Status.DONE, Status.IN_PROGRESS, Status.DONE]
    with pytest.raises(RefusedError, match=r"`done` of \S+ is not finished on multica; BIZ-31 \(multica\)") as told:
        working.say(Verb.REVIEW)
    assert told.value.advice == "repeat it, or wait for the next beat: heartbeat done 00000001 --as coo"
    assert working.say(Verb.NOTE, why="还在查").ok
    assert working.say(Verb.DONE).ok
    assert working.statuses() == [Status.DONE] * 3


def test_M4_closing_one_record_does_not_set_the_others_free(working: Desk) -> None:
    working.world["multica"].fail_writes(Fault.DOWN)
    working.say(Verb.DONE)
    assert {(link.first, link.second) for link in working.store.links()} >= {(ISSUE, CARD)}
    with pytest.raises(RefusedError, match=r"`done` of \S+ is not finished on multica"):
        working.say(Verb.REVIEW, "BIZ-31")


def test_a_pause_also_holds_what_was_begun_before(working: Desk) -> None:
    working.world["workboard"].fail_writes(Fault.DOWN)
    working.say(Verb.DONE)
    working.store.put_pause(Pause("coo", NOW, None, "发布窗口"))
    with pytest.raises(RefusedError, match="paused"):
        working.say(Verb.DONE)
    assert working.world.effects == []


# The same command again.


@pytest.mark.parametrize("verb", [Verb.DONE, Verb.REVIEW, Verb.REJECT, Verb.BLOCK, Verb.NOTE])
def test_L4_a_command_that_was_done_says_so(working: Desk, verb: Verb) -> None:
    assert working.say(verb, why="因为").ok
    written = len(working.world.effects)
    again = working.say(verb, why="因为")
    assert again.ok
    assert {result.message for result in again.results} == {"done already, by the same command"}
    assert len(working.world.effects) == written


def test_a_second_note_is_a_new_one_and_so_is_the_same_one_a_beat_later(working: Desk) -> None:
    working.say(Verb.NOTE, why="还在等")
    working.say(Verb.NOTE, why="快好了")
    assert [len(texts) for texts in working.texts()] == [2, 2, 2]
    working.now += timedelta(minutes=10)
    working.say(Verb.NOTE, why="还在等")
    assert [len(texts) for texts in working.texts()] == [3, 3, 3]


def test_T5_work_that_begins_anew_is_said_anew(desk: Desk) -> None:
    for _ in range(3):
        assert set(desk.states(desk.say(Verb.START))) == {"done"}
        assert set(desk.states(desk.say(Verb.REVIEW))) == {"done"}
        assert set(desk.states(desk.say(Verb.REJECT, why="缺少测试"))) == {"done"}
    assert [len(texts) for texts in desk.texts()] == [6, 6, 6]


def test_T5_work_that_begins_anew_is_said_anew_even_when_the_clock_stands(desk: Desk) -> None:
    desk.clock = lambda: desk.now  # type: ignore[method-assign]
    for _ in range(3):
        assert set(desk.states(desk.say(Verb.START))) == {"done"}
        assert set(desk.states(desk.say(Verb.REJECT, why="缺少测试"))) == {"done"}
    assert [len(texts) for texts in desk.texts()] == [3, 3, 3]


def test_two_equal_commands_at_once_are_one(working: Desk) -> None:
    """The second one finds the first one's writes on record before any was carried out."""
    with try_exclusive(working.folder / "_outbox.lock", purpose="a beat"):
        first = working.say(Verb.NOTE, why="一")
        assert working.states(first) == ["pending"] * 3
        assert "(a beat) since" in first.results[0].message
        assert "writes at the same time" in first.results[0].message
        assert working.states(working.say(Verb.NOTE, why="一")) == ["pending"] * 3
    assert working.say(Verb.NOTE, why="一").ok
    assert [len(texts) for texts in working.texts()] == [1, 1, 1]


def test_a_command_waits_for_its_turn(working: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as other:
        other.enter_context(try_exclusive(working.folder / "_outbox.lock", purpose="a beat"))
        monkeypatch.setattr("heartbeat.verbs.perform.time.sleep", lambda seconds: other.close())
        assert working.say(Verb.NOTE, why="一", turn=5.0).ok


def test_each_verb_is_in_the_log_once(working: Desk) -> None:
    working.say(Verb.NOTE, why="还在查", outputs=(Output("https://git.test/pull/7"),))
    working.say(Verb.NOTE, why="还在查", outputs=(Output("https://git.test/pull/7"),))
    (logged,) = [entry for entry in working.store.log() if entry.action == "verb-note"]
    assert (logged.agent, logged.task, logged.message) == ("coo", str(CARD), f"{TITLE}: 还在查")
    assert logged.details == {"outputs": ["https://git.test/pull/7"]}


# Outputs.


def test_an_output_is_a_file_that_is_there(working: Desk) -> None:
    workspace = working.folder / "workspace"
    (workspace / "docs").mkdir(parents=True)
    (workspace / "report.md").write_text("x")
    working.agents = (make_coo(workspace=workspace),)
    for number, path in enumerate(["report.md", "docs", str(workspace / "report.md"), "workspace/report.md"]):
        assert working.say(Verb.NOTE, why=str(number), outputs=(Output(path),)).ok
    assert [output.path for output in working.world["workboard"].outputs[CARD]][-1] == "report.md"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("nowhere.md", "there is no such file"),
        ("/etc/hostname", "lies neither in"),
        ("../outside.md", "lies neither in"),
        ("a\nb", "control characters"),
        ("a\x1b[31m", "control characters"),
        ("\udc80", "control characters"),
        ("", "is empty"),
        ("x" * 1001, "longer than 1000"),
        ("https://me:hush@git.test/x", "user name or a password"),
        ("https://", "is no address"),
        ("https://git.test/a b", "is no address"),
        ("http://[::1", "is no address"),
    ],
)
def test_B8_an_output_that_nobody_would_find_is_refused(tmp_path: Path, path: str, told: str) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "outside.md").write_text("x")
    desk = three_origins(folder, Status.IN_PROGRESS)
    with pytest.raises(UsageError, match=told) as caught:
        desk.say(Verb.NOTE, why="一", outputs=(Output(path),))
    assert "hush" not in f"{caught.value}{caught.value.advice}"
    assert desk.world.effects == []


def test_a_link_out_of_the_workspace_is_no_output_of_it(
    working: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.md"
    outside.write_text("x")
    (working.folder / "link.md").symlink_to(outside)
    with pytest.raises(UsageError, match="lies neither in"):
        working.say(Verb.NOTE, why="一", outputs=(Output("link.md"),))


# What others see.


def test_S5_the_snapshot_that_serves_other_commands_shows_what_was_written(tmp_path: Path) -> None:
    board = ScriptedSystem(card(1, TITLE), name="workboard")
    board.shared = True
    desk = Desk(ScriptedWorld(board), tmp_path)
    assert desk.say(Verb.START).ok
    reading = SnapshotCache(tmp_path / "snapshots").read(
        board, deadline=Deadline.after(5), now=desk.now, ttl=timedelta(minutes=5)
    )
    assert board.reads == 2, "one look before, one after, and none for the others"
    assert [item.status for item in reading.items] == [Status.IN_PROGRESS]


def test_S5_a_verb_never_goes_by_a_snapshot(tmp_path: Path) -> None:
    board = ScriptedSystem(card(1, TITLE), name="workboard")
    board.shared = True
    desk = Desk(ScriptedWorld(board), tmp_path)
    cache = SnapshotCache(tmp_path / "snapshots")
    cache.read(board, deadline=Deadline.after(5), now=desk.now, ttl=timedelta(minutes=5))
    board.take(CARD, "architect", desk.now)
    with pytest.raises(RefusedError, match="belongs to architect"):
        desk.say(Verb.START)


# Whatever goes wrong.

_VERBS = st.sampled_from([Verb.START, Verb.DONE, Verb.REVIEW, Verb.REJECT, Verb.BLOCK, Verb.NOTE])
_FAULTS = st.lists(st.sampled_from([None, *set(Fault) - {Fault.CONFLICT, Fault.UNSUPPORTED}]), min_size=0, max_size=4)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(verb=_VERBS, faults=st.tuples(_FAULTS, _FAULTS, _FAULTS), outputs=st.booleans(), silent=st.booleans())
def test_I4_whatever_goes_wrong_a_command_that_is_repeated_is_done_and_visible_once(
    tmp_path_factory: pytest.TempPathFactory,
    verb: Verb,
    faults: tuple[list[Fault | None], ...],
    outputs: bool,
    silent: bool,
) -> None:
    desk = three_origins(tmp_path_factory.mktemp("desk"), Status.TODO if verb is Verb.START else Status.IN_PROGRESS)
    for system, each in zip(desk.world.systems.values(), faults, strict=True):
        system.fail_writes(*each)
    shown = (Output("https://git.test/7"),) if outputs and verb in (Verb.DONE, Verb.REVIEW, Verb.NOTE) else ()
    why = "" if silent and verb in (Verb.START, Verb.DONE, Verb.REVIEW) else "因为"
    done = _until_ok(lambda: desk.say(verb, why=why, outputs=shown))
    assert done.ok
    said = [len(texts) for texts in desk.texts()]
    if verb is Verb.START and why:  # a claim that shows is taken for done, whatever came with it
        assert set(said) <= {0, 1}
    else:
        assert said == [0 if verb is Verb.START else 1] * 3
    assert [len(system.outputs.get(ref, ())) for system, ref in _systems(desk)] == [len(shown)] * 3
    expected = {
        Verb.START: [Status.IN_PROGRESS] * 3,
        Verb.DONE: [Status.DONE] * 3,
        Verb.REVIEW: [Status.IN_REVIEW, Status.IN_REVIEW, Status.IN_PROGRESS],
        Verb.REJECT: [Status.TODO] * 3,
        Verb.BLOCK: [Status.BLOCKED] * 3,
        Verb.NOTE: [Status.IN_PROGRESS] * 3,
    }
    assert desk.statuses() == expected[verb]
    assert {entry.state for entry in desk.store.entries()} == {EntryState.DONE}


def _until_ok(command: Callable[[], Performance]) -> Performance:
    """As an agent would: again, until it is done."""
    for _ in range(20):
        try:
            performance = command()
        except Died:
            continue
        if performance.ok:
            return performance
    raise AssertionError("never done")


def _systems(desk: Desk) -> list[tuple[ScriptedSystem, Ref]]:
    return [(system, item.ref) for system in desk.world.systems.values() for item in _items(system)]


def _items(system: ScriptedSystem) -> list[Item]:
    return list(system.items.values())
