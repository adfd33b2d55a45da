"""Whoever dies while a turn is started or collected, at whatever step: one turn a dispatch id, one outcome, and the
next beats go on (rules X2, X5, X6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from heartbeat.action import Write
from heartbeat.attempt import Cause, Engine, Failure, LetterState, Life, Outcome
from heartbeat.beat import tick
from heartbeat.daemon.surroundings import Loaded
from heartbeat.daemon.turns import followed
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Spawner
from heartbeat.dispatch.claims import CLAIM, GIVE_BACK, may_be_taken_over
from heartbeat.memory import Pause
from heartbeat.peers import Peers
from heartbeat.roster.model import Roster
from heartbeat.store.locks import try_exclusive
from heartbeat.store.opening import open_store
from heartbeat.store.port import UNFINISHED, EntryKind, Store
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.task import Status
from tests.support.bombs import Bomb, BombedStore, bombed_peers
from tests.support.dispatching import MANAGED, REFUSED, DispatchTeam, card, worker
from tests.support.engines import Fail, Hang, Refuse, StandInSpawner
from tests.support.scripted_writer import Died, ScriptedSystem, ScriptedWorld


@dataclass(slots=True)
class Scene:
    """A team over a database, and an engine that tells a bomb of what it does."""

    group: DispatchTeam

    def beat(self, bomb: Bomb | None = None) -> None:
        """One beat; with a bomb, one that may not end."""
        group, fuse = self.group, bomb or Bomb()
        group.engine.at = lambda step, dispatch: fuse.step(step)
        group.show_runs()
        group.pass_time(group.every)
        group.store.close()
        with open_store(group.folder / "state", group.now) as store, suppress(Died):
            self._tick(fuse, store)
        group.engine.at = None
        group.store = open_store(group.folder / "state", group.now)

    def _tick(self, bomb: Bomb, store: Store) -> None:
        group, roster = self.group, self.group.roster

        def spawner(engine: Engine, roster: Roster, environment: Mapping[str, str]) -> Spawner:
            return group.engine

        peers: Peers = replace(bombed_peers(group.world, lambda key: None, bomb), spawner=spawner, chance=lambda: 0.0)
        tick(
            roster,
            roster.chosen(["a"]),
            {},
            BombedStore(store, bomb),  # type: ignore[arg-type]
            SnapshotCache(group.folder / "snapshots", read_only=True),
            group.folder / "locks",
            clock=lambda: group.now,
            fresh=True,
            peers=peers,
            deadline=Deadline.after(60),
        )

    def outcomes(self) -> Counter[str]:
        """How often the end of each dispatch id was put on record."""
        entries = self.group.store.log()
        return Counter(str(entry.details["dispatch"]) for entry in entries if entry.action == "dispatch-ended")


def scene(folder: Path, status: Status = Status.TODO, **extra: object) -> Scene:
    world = ScriptedWorld(ScriptedSystem(card("c1", "a", status)))
    engine = StandInSpawner()
    for name in ("native", "first", "second", "third"):
        engine.always(name, Hang())
    folder.mkdir(parents=True, exist_ok=True)
    group = DispatchTeam(world, folder, (worker("a"),), engine=engine, extra=extra)
    group.store = open_store(folder / "state", group.now)
    return Scene(group)


def steps_of(folder: Path, prepare: Callable[[Scene], None], every: bool, **extra: object) -> list[int]:
    """The steps of an undisturbed beat after `prepare`. Between the end of one and the beginning of the next nothing is
    kept anywhere: who dies at the one leaves what who dies at the other leaves, and only `every` names both."""
    play = scene(folder, **extra)
    prepare(play)
    bomb = Bomb()
    play.beat(bomb)
    follows = [False, *(before.startswith("after") for before in bomb.steps)]
    return [
        number for number, name in enumerate(bomb.steps) if every or not (follows[number] and name.startswith("before"))
    ]


def nothing(play: Scene) -> None:
    """The task is ready."""


def running(play: Scene) -> None:
    """The turn runs, and has ended by the next beat."""
    play.beat()
    [dispatch] = play.group.engine.running
    play.group.engine.finish(dispatch)


def failing(play: Scene) -> None:
    """The turn ran on the last provider, and has ended badly by the next beat."""
    play.beat()
    [dispatch] = play.group.engine.running
    play.group.engine.finish(dispatch, Fail(REFUSED))


EVERY_STEP = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
ONLY_ONE = {**MANAGED, "providers": ({**MANAGED["providers"][0], "max_retries": 0},)}


@EVERY_STEP
def test_X6_whoever_dies_while_a_turn_is_started_leaves_one_turn_and_one_outcome(tmp_path: Path, every: bool) -> None:
    for step in steps_of(tmp_path / "calm", nothing, every):
        play = scene(tmp_path / str(step))
        play.beat(Bomb(step))
        play.beat()
        group = play.group
        assert len(group.engine.running) == 1, f"step {step}"
        assert group.engine.overlapping == []
        assert group.status("c1") is Status.IN_PROGRESS
        [dispatch] = group.engine.running
        group.engine.finish(dispatch)
        play.beat()
        assert group.store.attempt(dispatch).outcome is Outcome.COMPLETED, f"step {step}"  # type: ignore[union-attr]
        assert play.outcomes()[dispatch] == 1
        assert max(play.outcomes().values()) == 1
        assert [turn.dispatch for turn in group.engine.turns if turn.ended].count(dispatch) == 1
        completed = [each for each in group.attempts if each.outcome is Outcome.COMPLETED]
        assert len(completed) == 1, f"step {step}: more than one turn before the first was collected"
        group.store.close()


@EVERY_STEP
def test_X6_whoever_dies_while_a_turn_is_collected_leaves_its_outcome_on_record_once(
    tmp_path: Path, every: bool
) -> None:
    for step in steps_of(tmp_path / "calm", running, every):
        play = scene(tmp_path / str(step))
        running(play)
        [first] = [each.id for each in play.group.attempts]
        play.beat(Bomb(step))
        play.beat()
        group = play.group
        assert group.store.attempt(first).outcome is Outcome.COMPLETED, f"step {step}"  # type: ignore[union-attr]
        assert play.outcomes()[first] == 1
        assert group.engine.overlapping == []
        assert len(group.engine.running) == 1, f"step {step}: the task goes on with its next turn"
        group.store.close()


@EVERY_STEP
def test_F4_whoever_dies_while_a_dead_letter_is_made_leaves_one_letter_and_the_card_as_it_was(
    tmp_path: Path, every: bool
) -> None:
    for step in steps_of(tmp_path / "calm", failing, every, **ONLY_ONE):
        play = scene(tmp_path / str(step), **ONLY_ONE)
        failing(play)
        play.beat(Bomb(step))
        group = play.group
        group.every = group.every / 10
        play.beat()
        [letter] = group.letters
        assert letter.state is LetterState.WAITING, f"step {step}"
        assert letter.tries == 0
        assert len(letter.attempts) == 1
        assert group.status("c1") is Status.TODO, f"step {step}"
        assert group.claimant("c1") == ""
        assert all(each.life is Life.ENDED for each in group.attempts)
        told = [entry for entry in group.store.entries() if entry.key.startswith("letter/")]
        assert len({entry.key for entry in told}) == len(told)
        group.store.close()


def names_of(folder: Path, **extra: object) -> list[str]:
    """The steps of a beat that starts a turn."""
    play = scene(folder, **extra)
    bomb = Bomb()
    play.beat(bomb)
    play.group.store.close()
    return bomb.steps


def claimed_and_died(names: list[str]) -> int:
    """Just after the card was claimed; nothing was asked of the engine."""
    return names.index("after an effect")


def asked_and_died(names: list[str]) -> int:
    """While the turn was being asked for; it did not begin."""
    return names.index("asked")


FIRST_DEATHS = pytest.mark.parametrize("death", [claimed_and_died, asked_and_died])


def rests(play: Scene) -> None:
    """The agent is paused: it does not go on with anything."""
    play.group.store.put_pause(Pause("a", play.group.now, None, "on leave"))


def is_paused(play: Scene) -> bool:
    return bool(play.group.store.pauses())


def given_back(play: Scene) -> list[Write]:
    return [write for write in play.group.world["workboard"].effects if write.key.startswith(GIVE_BACK)]


@EVERY_STEP
@FIRST_DEATHS
def test_X5_whoever_dies_after_an_orphan_ended_leaves_a_card_that_the_next_beat_gives_back_once(
    tmp_path: Path, every: bool, death: Callable[[list[str]], int]
) -> None:
    number = death(names_of(tmp_path / "names"))

    def orphaned(play: Scene) -> None:
        play.beat(Bomb(number))
        rests(play)
        assert play.group.status("c1") is Status.IN_PROGRESS

    for step in steps_of(tmp_path / "calm", orphaned, every):
        play = scene(tmp_path / str(step))
        orphaned(play)
        play.beat(Bomb(step))
        play.beat()
        group = play.group
        assert all(each.life is Life.ENDED for each in group.attempts), f"step {step}"
        assert group.status("c1") is Status.TODO, f"step {step}"
        assert group.claimant("c1") == ""
        assert len(given_back(play)) == 1, f"step {step}"
        assert not group.store.entries(kind=EntryKind.WRITE, states=UNFINISHED), f"step {step}"
        play.beat()
        assert len(given_back(play)) == 1, f"step {step}"
        assert max(play.outcomes().values()) == 1
        group.store.close()


@EVERY_STEP
@FIRST_DEATHS
def test_X1_whoever_dies_twice_over_a_card_leaves_one_turn_on_it_and_no_other(
    tmp_path: Path, every: bool, death: Callable[[list[str]], int]
) -> None:
    number = death(names_of(tmp_path / "names"))

    def orphaned(play: Scene) -> None:
        play.beat(Bomb(number))

    for step in steps_of(tmp_path / "calm", orphaned, every):
        play = scene(tmp_path / str(step))
        orphaned(play)
        play.beat(Bomb(step))
        play.beat()
        group = play.group
        assert len(group.engine.running) == 1, f"step {step}"
        assert group.engine.overlapping == []
        assert group.status("c1") is Status.IN_PROGRESS, f"step {step}"
        assert group.claimant("c1") == "a"
        play.beat()
        assert group.status("c1") is Status.IN_PROGRESS, f"step {step}: nobody takes it from its turn"
        assert not group.store.entries(kind=EntryKind.WRITE, states=UNFINISHED), f"step {step}"
        group.store.close()


def refused(play: Scene) -> None:
    """The engine takes nothing."""
    play.group.engine.script(*(Refuse(Failure(Cause.ENGINE, "the Gateway is restarting")) for _ in range(4)))


@EVERY_STEP
def test_X5_whoever_dies_after_the_engine_took_nothing_leaves_a_card_that_the_next_beat_gives_back_once(
    tmp_path: Path, every: bool
) -> None:
    for step in steps_of(tmp_path / "calm", refused, every):
        play = scene(tmp_path / str(step))
        refused(play)
        play.beat(Bomb(step))
        rests(play)
        play.beat()
        group = play.group
        assert group.engine.started == []
        assert all(each.life is Life.ENDED for each in group.attempts), f"step {step}"
        assert group.status("c1") is Status.TODO, f"step {step}"
        assert group.claimant("c1") == ""
        claims = [write for write in group.world["workboard"].effects if write.key.startswith(CLAIM)]
        assert len(given_back(play)) == len(claims), f"step {step}"
        group.store.close()


@FIRST_DEATHS
def test_X5_what_the_dead_left_behind_is_given_back_by_the_daemons_next_look(
    tmp_path: Path, death: Callable[[list[str]], int]
) -> None:
    number = death(names_of(tmp_path / "names"))

    def orphaned(play: Scene) -> None:
        play.beat(Bomb(number))
        rests(play)

    def look(group: DispatchTeam) -> None:
        loaded, means = Loaded(group.roster, {}), group.peers.means
        followed(loaded, group.store, group.folder / "locks", lambda: group.now, Deadline.after(60), means)

    ended, locked = 0, False
    for step in steps_of(tmp_path / "calm", orphaned, False):
        play = scene(tmp_path / str(step))
        orphaned(play)
        play.beat(Bomb(step))
        group = play.group
        if all(each.life is Life.ENDED for each in group.attempts):
            ended += 1
            waits = any(map(may_be_taken_over, group.store.entries(kind=EntryKind.WRITE, states=UNFINISHED)))
            if waits and not locked:
                locked = True
                with try_exclusive(group.folder / "locks" / "a.lock", purpose="tick") as lock:
                    assert lock.held
                    look(group)
                    assert group.status("c1") is Status.IN_PROGRESS, "somebody is at it"
            look(group)
            assert group.status("c1") is Status.TODO, f"step {step}"
            look(group)
            assert len(given_back(play)) == 1, f"step {step}"
        group.store.close()
    assert locked
    assert ended > 5


def test_X5_a_beat_of_somebody_else_leaves_alone_what_the_next_attempt_may_go_on_with(tmp_path: Path) -> None:
    play = scene(tmp_path)
    group = play.group
    group.agents = (worker("a"), worker("b"))
    seen: list[tuple[Status, int]] = []

    def meanwhile(seconds: float) -> None:
        """Between two attempts of `a`, `b` beats."""
        tick(
            group.roster,
            group.roster.chosen(["b"]),
            {},
            group.store,
            SnapshotCache(group.folder / "snapshots", read_only=True),
            group.folder / "locks",
            clock=lambda: group.now,
            fresh=True,
            peers=group.peers,
            deadline=Deadline.after(60),
        )
        seen.append((group.status("c1"), len(given_back(play))))

    group.extra = MANAGED
    group.engine.script(Refuse(Failure(Cause.COUNTS, "500")))
    tick(
        group.roster,
        group.roster.chosen(["a"]),
        {},
        group.store,
        SnapshotCache(group.folder / "snapshots", read_only=True),
        group.folder / "locks",
        clock=lambda: group.now,
        fresh=True,
        peers=replace(group.peers, pause=meanwhile),
        deadline=Deadline.after(60),
    )
    assert seen == [(Status.IN_PROGRESS, 0)]
    assert [each.life for each in group.attempts] == [Life.ENDED, Life.RUNNING]
    assert group.claimant("c1") == "a"
    assert given_back(play) == []
    group.store.close()


@pytest.mark.parametrize("step", ["asked", "begun"])
def test_X2_a_request_that_was_under_way_when_its_process_died_makes_one_turn(tmp_path: Path, step: str) -> None:
    play = scene(tmp_path)
    names: list[str] = []
    bomb = Bomb()
    play.beat(bomb)
    names = bomb.steps
    again = scene(tmp_path / "again")
    again.beat(Bomb(names.index(step)))
    assert len(again.group.engine.started) == (1 if step == "begun" else 0)
    [attempt] = again.group.attempts
    assert attempt.life is Life.SPAWNING
    again.beat()
    assert len(again.group.engine.started) == 1
    assert len(again.group.engine.running) == 1
