"""Whoever dies in the middle of a beat, at whatever step: the next beats finish it, and everything happens once.

The beat in question recovers a task of two origins, hands one over, blocks one for good, pauses one, warns of one, and
writes to channel and inboxes (see tests/support/crash_child.py). What it leaves is compared with an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from heartbeat.store.opening import open_store
from heartbeat.store.port import UNFINISHED
from tests.support.bombs import Bomb
from tests.support.child import Child, child
from tests.support.crash_child import (
    AGENTS,
    EVERY,
    LATER,
    Outcome,
    beat,
    copied,
    go_on,
    letters,
    outcome,
    prepare,
)
from tests.support.scripted_writer import Died

COO, OWNERS = AGENTS[:1], AGENTS[1:]
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Stage:
    """A team just before the beat in question, what came of it when nobody disturbed it, and its steps."""

    folder: Path
    now: datetime
    outcome: Outcome
    steps: tuple[str, ...]

    def at(self, *names: str) -> Iterator[int]:
        """The first and the last step of each name."""
        for name in names:
            found = [number for number, step in enumerate(self.steps) if step == name]
            yield from sorted({found[0], found[-1]})


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = tmp_path_factory.mktemp("crashes")
    now = prepare(folder / "team")
    calm, bomb = copied(folder / "team", folder / "calm"), Bomb()
    beat(calm, now, bomb=bomb)
    go_on(calm, now)
    return Stage(folder / "team", now, outcome(calm, now), tuple(bomb.steps))


@pytest.fixture(scope="module")
def nursery() -> Iterator[Child]:
    """A process whose children live through one beat each."""
    with child("from tests.support.crash_child import main\nmain()") as mother:
        assert mother.line() == "ready"
        yield mother


def ask(mother: Child, stage: Stage, folder: Path, how: str, index: int, *groups: tuple[str, ...]) -> list[int]:
    """How the children ended: exit code, or the signal's number below zero."""
    assert mother.process.stdin is not None
    words = (folder, stage.now.isoformat(), how, index, *(",".join(group) for group in groups or (AGENTS,)))
    mother.process.stdin.write(f"{' '.join(map(str, words))}\n".encode())
    mother.process.stdin.flush()
    return [int(code) for code in mother.line().split()]


def assert_as_undisturbed(stage: Stage, folder: Path, *, repeated: int = 0, told: str) -> None:
    """The same end, and every letter once; `repeated` of them may have arrived twice."""
    found = outcome(folder, stage.now + LATER * EVERY)
    assert found == stage.outcome, told
    often = [key for key, count in letters(folder).items() if count != 1]
    assert len(often) <= repeated, (told, often)
    assert all(letters(folder)[key] == 2 for key in often), told


def may_repeat(steps: list[str]) -> int:
    """One letter may arrive twice where its process died after it was sent and before that was on record (I4)."""
    last = max((number for number, step in enumerate(steps) if step == "after a letter"), default=None)
    return int(last is not None and "after the commit" not in steps[last:])


def test_the_beat_in_question_does_everything_and_each_thing_once(stage: Stage) -> None:
    kinds = {"a look", "an effect", "claim_entry", "note_own", "a letter"}
    assert {f"{when} {kind}" for when in ("before", "after") for kind in kinds} <= set(stage.steps)
    assert stage.steps.count("after an effect") == 7
    assert stage.steps.count("after a letter") == 5
    assert all(count == 1 for found in stage.outcome.markers.values() for count in found.values())
    assert not UNFINISHED & set(stage.outcome.outbox.values())
    assert any(key.startswith("wait:") for key in stage.outcome.outbox)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_I4_a_beat_that_dies_at_any_step_is_finished_by_the_next_ones_and_everything_happens_once(
    stage: Stage, tmp_path: Path, every: bool
) -> None:
    """Between the end of a step and the beginning of the next one nothing is kept anywhere: who dies at the one leaves
    what who dies at the other leaves. And at the first and the last step of each name a process is killed indeed, by
    the next test but one. Only `every` tries them here as well."""
    killed = set(stage.at(*dict.fromkeys(stage.steps)))
    for index, name in enumerate(stage.steps):
        follows = name.startswith("before") and stage.steps[index - 1].startswith("after")
        if not every and (follows or index in killed):
            continue
        folder, bomb = copied(stage.folder, tmp_path / str(index)), Bomb(index)
        with pytest.raises(Died):
            beat(folder, stage.now, bomb=bomb)
        go_on(folder, stage.now)
        told = f"died at step {index}, {name}"
        assert_as_undisturbed(stage, folder, repeated=may_repeat(bomb.steps), told=told)


def test_I4_to_die_in_three_beats_in_a_row_repeats_three_letters_at_most_and_nothing_else(
    stage: Stage, tmp_path: Path
) -> None:
    for index in stage.at("amid an effect", "after an effect", "after a letter", "after the commit"):
        folder = copied(stage.folder, tmp_path / str(index))
        repeated = 0
        for number in range(3):
            bomb = Bomb(max(0, index - 7 * number))
            with suppress(Died):  # what is left to do may take fewer steps
                beat(folder, stage.now + number * 4 * 60 * SECOND, bomb=bomb)
            repeated += may_repeat(bomb.steps)
        go_on(folder, stage.now + EVERY)
        assert_as_undisturbed(stage, folder, repeated=repeated, told=f"died thrice from step {index} on")


def test_I4_kill_9_anywhere_is_finished_by_another_process(stage: Stage, nursery: Child, tmp_path: Path) -> None:
    for index in sorted(stage.at(*dict.fromkeys(stage.steps))):
        folder = copied(stage.folder, tmp_path / str(index))
        assert ask(nursery, stage, folder, "kill", index) == [-9]
        go_on(folder, stage.now)
        repeated = may_repeat(list(stage.steps[: index + 1]))
        assert_as_undisturbed(stage, folder, repeated=repeated, told=f"killed at step {index}, {stage.steps[index]}")


def test_B2_a_beat_that_is_terminated_says_so_leaves_its_slot_open_and_the_next_one_finishes_it(
    stage: Stage, nursery: Child, tmp_path: Path
) -> None:
    kinds = ("before the commit", "after the commit", "after a look", "amid an effect", "after an effect")
    for index in stage.at(*kinds, "before a letter", "after a letter"):
        folder = copied(stage.folder, tmp_path / str(index))
        assert ask(nursery, stage, folder, "term", index) == [128 + 15]
        with open_store(folder / "state", stage.now) as store:
            last = store.last_receipts()
        said = {agent: (each.started_at, each.outcome) for agent, each in last.items()}
        assert said == dict.fromkeys(AGENTS, (stage.now, "interrupted"))
        assert all("ended by SIGTERM" in each.reasons[0] and each.slot is None for each in last.values())
        go_on(folder, stage.now)
        repeated = may_repeat(list(stage.steps[: index + 1]))
        assert_as_undisturbed(
            stage, folder, repeated=repeated, told=f"terminated at step {index}, {stage.steps[index]}"
        )


def everybody(minute: int) -> tuple[str, ...]:
    return AGENTS


def only_the_coo_of_late(minute: int) -> tuple[str, ...]:
    """The owners have missed two slots, so that the coo acts for them; and now they beat as well (rule L0)."""
    return COO if minute >= 120 else AGENTS


TWO_AT_ONCE = [
    (everybody, COO, OWNERS),
    (only_the_coo_of_late, COO, OWNERS),
    (only_the_coo_of_late, OWNERS, COO),
]


@pytest.mark.parametrize(
    ("presence", "first", "other"),
    [
        pytest.param(*TWO_AT_ONCE[0], id="coo"),
        pytest.param(*TWO_AT_ONCE[1], id="both-act"),
        pytest.param(*TWO_AT_ONCE[2], id="both-act-too", marks=pytest.mark.slow),
    ],
)
def test_L0_a_whole_tick_of_others_at_any_step_of_a_tick_changes_nothing(
    presence: Callable[[int], tuple[str, ...]], first: tuple[str, ...], other: tuple[str, ...], tmp_path: Path
) -> None:
    now = prepare(tmp_path / "team", presence)
    calm, bomb = copied(tmp_path / "team", tmp_path / "calm"), Bomb()
    beat(calm, now, first, bomb=bomb)
    beat(calm, now + SECOND, other)
    go_on(calm, now)
    stage = Stage(tmp_path / "team", now, outcome(calm, now), tuple(bomb.steps))
    assert not UNFINISHED & set(stage.outcome.outbox.values())
    # Inside of a transaction nobody else can write; between a step's end and the next one's beginning nothing happens.
    for index in (
        number for number, step in enumerate(stage.steps) if step.startswith("before") and "commit" not in step
    ):
        folder = copied(stage.folder, tmp_path / str(index))
        meanwhile = Bomb(index, lambda folder=folder: beat(folder, now + SECOND, other), deadly=False)  # type: ignore[misc]
        beat(folder, now, first, bomb=meanwhile)
        go_on(folder, now)
        assert_as_undisturbed(stage, folder, told=f"the others beat at step {index}, {stage.steps[index]}")


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_L0_two_processes_that_tick_at_the_same_time_do_everything_once(
    nursery: Child, tmp_path: Path, times: int
) -> None:
    now = prepare(tmp_path / "team", only_the_coo_of_late)
    calm = copied(tmp_path / "team", tmp_path / "calm")
    beat(calm, now, COO)
    beat(calm, now + SECOND, OWNERS)
    go_on(calm, now)
    stage = Stage(tmp_path / "team", now, outcome(calm, now), ())
    for number in range(times):
        folder = copied(stage.folder, tmp_path / str(number))
        assert ask(nursery, stage, folder, "run", 0, COO, OWNERS) == [0, 0]
        go_on(folder, now)
        assert_as_undisturbed(stage, folder, told=f"run {number}")
