"""Whoever dies around a supervised `openclaw agent`: there is one turn at most, and what became of it can be told."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heartbeat.attempt import Cause, Outcome
from heartbeat.deadline import Deadline
from heartbeat.dispatch import command
from heartbeat.dispatch.base import Going, Order, Sighting, StartError
from heartbeat.dispatch.watched import is_alive
from heartbeat.store.holder import groups_started_by, process_of, state_of
from tests.contract.spawner_suite import PATIENCE
from tests.support.child import child
from tests.support.command_spawner_cases import CommandCase, open_command_case, soon
from tests.support.fake_models import Behaviour


@pytest.fixture
def case(tmp_path: Path) -> Iterator[CommandCase]:
    with open_command_case(tmp_path) as opened:
        yield opened


BEGUN = 7
"""The first step at which the process that watches has been started."""
STARTER = """
import os, pickle, signal, sys
from pathlib import Path

order, spawner, seconds, step = pickle.loads(bytes.fromhex(sys.argv[1]))
if step:
    from heartbeat.dispatch import command, folder
    steps = 0
    def dying(function):
        def called(*arguments, **named):
            global steps
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)
        return called
    for name in ("make", "put", "put_json"):
        setattr(folder.RunFolder, name, dying(getattr(folder.RunFolder, name)))
    command.CommandSpawner._supervised = dying(command.CommandSpawner._supervised)
    command.CommandSpawner._has_begun = dying(command.CommandSpawner._has_begun)
    command._heard = dying(command._heard)
from heartbeat.deadline import Deadline
spawner.start(order, Deadline.after(seconds))
print("accepted", flush=True)
sys.stdin.readline()
"""


def starting(case: CommandCase, order: Order, *, seconds: float = PATIENCE, step: int = 0) -> Any:
    """Another process that starts the turn; with `step` it kills itself before it takes that step."""
    import pickle

    return child(STARTER, pickle.dumps((order, case.spawner(), seconds, step)).hex())


def test_X2_the_turn_goes_on_when_whoever_started_it_is_killed_with_all_it_started(case: CommandCase) -> None:
    order = case.order(Behaviour.HELD)
    with starting(case, order) as starter:
        assert starter.line() == "accepted"
        assert groups_started_by(starter.pid) == (), "it has left the family"
        starter.kill()
    assert case.look(order).going is Going.RUNNING
    case.let_go()
    assert case.ended(order).outcome is Outcome.COMPLETED
    assert case.calls(order) == 1


def test_X2_what_watches_belongs_to_no_session_and_keeps_no_file_of_its_starter(case: CommandCase) -> None:
    order = case.order(Behaviour.HELD)
    kept = case.home / "kept"
    with kept.open("w") as file:
        os.set_inheritable(file.fileno(), False)
        case.start(order)
        case.asked(order)
        for process in (case.watcher(order), case.child(order)):
            assert os.getsid(process.pid) == process.pid
            targets = [str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
            assert str(kept) not in targets
    (call,) = case.program.record("called")
    assert call["group"] == call["leader"] == call["pid"] == case.child(order).pid


@pytest.mark.parametrize("step", range(1, 9))
def test_X6_a_starter_that_dies_at_any_step_leaves_an_id_that_still_makes_one_turn(
    case: CommandCase, step: int
) -> None:
    order = case.order()
    with starting(case, order, seconds=1.5, step=step) as starter:
        assert starter.end() == -signal.SIGKILL, "there are so many steps"
    case.start(order)
    assert case.ended(order).outcome is Outcome.COMPLETED
    assert case.calls(order) == 1


@pytest.mark.parametrize("step", range(1, 9))
def test_X6_a_starter_that_dies_at_any_step_is_found_out_by_looking(case: CommandCase, step: int) -> None:
    """UNKNOWN is final: nothing begins afterwards."""
    order = case.order()
    with starting(case, order, seconds=0.5 if step < BEGUN else PATIENCE, step=step) as starter:
        assert starter.end() == -signal.SIGKILL
    if step >= BEGUN:
        case.waited(lambda: case.calls(order) > 0)
    seen = case.ended(order)
    begun = case.calls(order)
    assert seen.outcome is (Outcome.COMPLETED if begun else None)
    assert seen.going is (Going.ENDED if begun else Going.UNKNOWN)
    assert case.folder(order).exists() is bool(begun)


def test_X6_a_turn_whose_watcher_was_killed_is_seen_to_go_on_and_to_end(case: CommandCase) -> None:
    order = case.order(Behaviour.HELD)
    case.start(order)
    case.asked(order)
    os.kill(case.watcher(order).pid, signal.SIGKILL)
    case.waited(lambda: not is_alive(case.watcher(order)))
    assert case.look(order) == Sighting(Going.RUNNING)
    case.start(order)
    case.let_go()
    seen = case.ended(order)
    assert (seen.outcome, seen.exit_code, seen.model) == (Outcome.COMPLETED, None, "fake/held")
    assert case.calls(order) == 1


@pytest.mark.parametrize(
    ("model", "certain"), [("hangs", True), ("default signals", True), ("stubborn", False), ("unconfirmed", False)]
)
def test_F1_a_turn_whose_watcher_was_killed_can_still_be_ended(case: CommandCase, model: str, certain: bool) -> None:
    order = replace(case.order(), model=f"fake/{model}")
    case.start(order)
    case.asked(order)
    process = case.child(order)
    os.kill(case.watcher(order).pid, signal.SIGKILL)
    case.waited(lambda: not is_alive(case.watcher(order)))
    assert case.spawner().abort(order.attempt, soon()) is certain
    assert not is_alive(process)
    assert case.look(order).outcome is Outcome.ABORTED


def test_X6_a_program_that_was_killed_leaves_a_turn_that_is_lost(case: CommandCase) -> None:
    order = case.order(Behaviour.HANGS)
    case.start(order)
    case.asked(order)
    os.kill(case.child(order).pid, signal.SIGKILL)
    seen = case.ended(order)
    assert (seen.outcome, seen.exit_code) == (Outcome.LOST, -signal.SIGKILL)
    assert seen.failure is not None
    assert seen.failure.cause is Cause.ENGINE
    assert not case.spawner().abort(order.attempt, soon()), "it may go on at the Gateway"


def test_X6_where_both_were_killed_the_turn_is_lost_and_not_begun_again(case: CommandCase) -> None:
    order = case.order(Behaviour.HANGS)
    case.start(order)
    case.asked(order)
    processes = case.watcher(order), case.child(order)
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    case.waited(lambda: not any(map(is_alive, processes)))
    assert case.look(order).outcome is Outcome.LOST
    case.start(order)
    assert case.look(order).outcome is Outcome.LOST
    assert case.calls(order) == 1


def test_X6_a_number_that_another_process_has_by_now_is_not_taken_for_the_program(case: CommandCase) -> None:
    order = case.order(Behaviour.HANGS)
    case.start(order)
    case.asked(order)
    watcher, process = case.watcher(order), case.child(order)
    for each in (watcher, process):
        os.kill(each.pid, signal.SIGKILL)
    case.waited(lambda: not is_alive(watcher) and not is_alive(process))
    ourselves = process_of(os.getpid())
    assert ourselves is not None
    told = {"pid": ourselves.pid, "boot": ourselves.boot, "namespace": ourselves.namespace, "started": 1}
    case.folder(order).put_json("child", told)
    case.folder(order).put_json("began", told)
    assert case.look(order).outcome is Outcome.LOST
    assert not case.spawner().abort(order.attempt, soon()), "and we are still here"


def test_F1_a_program_that_does_not_end_is_ended_with_its_whole_group(case: CommandCase) -> None:
    order = replace(case.order(run_seconds=0.0), model="fake/stubborn")
    case.spawner(slack=1.0).start(order, soon())
    case.asked(order)
    process = case.child(order)
    seen = case.ended(order)
    assert (seen.outcome, seen.exit_code) == (Outcome.TIMED_OUT, -signal.SIGKILL)
    assert seen.failure is not None
    assert seen.failure.cause is Cause.COUNTS
    assert not is_alive(process)


def test_F1_what_the_program_started_ends_with_it(case: CommandCase) -> None:
    order = replace(case.order(), model="fake/family")
    case.start(order)
    case.waited(lambda: bool(case.program.record("grandchild")))
    grandchild = process_of(case.program.record("grandchild")[0]["child"])
    assert grandchild is not None
    assert case.spawner().abort(order.attempt, soon())
    case.waited(lambda: not is_alive(grandchild))


def test_a_program_that_floods_its_output_is_ended(case: CommandCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_MAX_BYTES", 100_000)
    order = replace(case.order(), model="fake/flood")
    case.start(order)
    process = case.child(order)
    seen = case.ended(order)
    assert (seen.outcome, seen.failure is not None and seen.failure.cause) == (Outcome.FAILED, Cause.ENGINE)
    assert "far more" in str(seen.failure)
    assert not is_alive(process)


def test_F1_a_turn_whose_watcher_was_stopped_can_still_be_ended(case: CommandCase) -> None:
    order = case.order(Behaviour.HANGS)
    case.start(order)
    case.asked(order)
    watcher, process = case.watcher(order), case.child(order)
    os.kill(watcher.pid, signal.SIGSTOP)
    case.waited(lambda: state_of(watcher.pid) == "T")
    assert case.look(order).going is Going.RUNNING
    assert case.spawner().abort(order.attempt, soon())
    assert not is_alive(watcher)
    assert not is_alive(process)
    assert case.look(order).outcome is Outcome.ABORTED


def test_F1_an_abort_that_has_no_time_to_wait_is_uncertain_and_takes_effect_all_the_same(case: CommandCase) -> None:
    order = replace(case.order(), model="fake/stubborn")
    case.start(order)
    case.asked(order)
    assert not case.spawner().abort(order.attempt, Deadline.after(0.0))
    assert case.ended(order).outcome is Outcome.ABORTED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_watcher_that_is_told_to_end_ends_the_turn_first(case: CommandCase, number: signal.Signals) -> None:
    """As when the machine is shut down."""
    order = case.order(Behaviour.HANGS)
    case.start(order)
    case.asked(order)
    os.kill(case.watcher(order).pid, number)
    assert case.ended(order).outcome is Outcome.ABORTED
    assert case.program.record("stopped")
    assert case.spawner().abort(order.attempt, soon())


def test_a_watcher_hears_nothing_of_a_terminal_that_closes(case: CommandCase) -> None:
    order = case.order(Behaviour.HELD)
    case.start(order)
    case.asked(order)
    os.kill(case.watcher(order).pid, signal.SIGHUP)
    case.let_go()
    assert case.ended(order).outcome is Outcome.COMPLETED


def test_an_abort_that_came_before_the_program_was_begun_keeps_it_from_beginning(case: CommandCase) -> None:
    order = case.order()
    case.folder(order).make()
    told = {"argv": [str(case.program.program)], "seconds": 1, "grace": 1, "max_bytes": 1, "begin_by": 0.0}
    case.folder(order).put_json("order.json", told)
    case.folder(order).put("stop", b"")
    assert case.watched(order) == ["ended"]
    assert case.program.record() == []
    assert case.look(order).outcome is Outcome.ABORTED


@pytest.mark.parametrize(
    ("program", "told"),
    [("#!/bin/sh\necho 'no such module' >&2\nexit 1\n", "no such module"), ("#!/bin/sh\nexec sleep 60\n", "no sign")],
    ids=["dies", "hangs"],
)
def test_S4_a_watcher_that_never_begins_is_not_waited_for_beyond_the_deadline(
    case: CommandCase, monkeypatch: pytest.MonkeyPatch, program: str, told: str
) -> None:
    order, python = case.order(), case.home / "python"
    python.write_text(program)
    python.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(python))
        with pytest.raises(StartError, match=told) as failed:
            case.spawner().start(order, Deadline.after(1.0))
    assert (failed.value.failure.cause, failed.value.unknown) == (Cause.ENGINE, False)
    assert case.look(order) == Sighting(Going.UNKNOWN)
    case.start(order)
    assert case.ended(order).outcome is Outcome.COMPLETED, "the id was not used up"


def test_a_foreign_module_in_the_working_directory_is_not_run(
    case: CommandCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents write into the directories in which heartbeat may be called."""
    package = case.home / "heartbeat"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit(99)\n")
    monkeypatch.chdir(case.home)
    order = case.order()
    case.start(order)
    assert case.ended(order).outcome is Outcome.COMPLETED


def test_a_watcher_without_a_folder_says_so_and_begins_nothing(case: CommandCase) -> None:
    assert case.watched(case.order()) == ["expired"]


def test_X6_a_watcher_that_comes_second_leaves_the_turn_to_the_first(case: CommandCase) -> None:
    order = case.order(Behaviour.HELD)
    case.start(order)
    case.asked(order)
    assert case.watched(order) == ["taken"]
    case.let_go()
    assert case.ended(order).outcome is Outcome.COMPLETED
    assert case.calls(order) == 1
