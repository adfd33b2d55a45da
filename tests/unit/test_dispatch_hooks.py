"""Commands of `on_complete`: at least once for every turn, never without an end, and told where they fail (rule X6)."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

from heartbeat.attempt import Cause, Failure, Outcome
from heartbeat.deadline import Deadline
from heartbeat.dispatch.hooks import TRIES, run_hooks
from heartbeat.roster.model import Operator
from heartbeat.store.port import Entry, EntryKind, EntryState
from tests.support.daemon_world import Machine, Stage
from tests.support.dispatching import DispatchTeam, card, worker
from tests.support.engines import Fail, Hang, StandInSpawner
from tests.support.items import NOW
from tests.support.rosters import make_roster
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

WRITES_DOWN = (
    "import json, os, sys; open(sys.argv[1], 'a').write(json.dumps("
    "{'id': os.environ['HEARTBEAT_DISPATCH'], 'how': os.environ['HEARTBEAT_OUTCOME'], 'in': json.load(sys.stdin)})"
    " + chr(10))"
)


def team(folder: Path, *argv: str, engine: StandInSpawner | None = None) -> DispatchTeam:
    world = ScriptedWorld(ScriptedSystem(card("c1", "a", title="Say $(rm -rf /) `now`")))
    extra = {"on_complete": (argv,)}
    return DispatchTeam(world, folder, (worker("a"),), engine=engine or StandInSpawner(Hang()), extra=extra)


def hooks(group: DispatchTeam) -> list[Entry]:
    return list(group.store.entries(kind=EntryKind.HOOK))


def run(group: DispatchTeam) -> None:
    run_hooks(group.store, group.roster, {}, group.folder, clock=lambda: group.now, deadline=Deadline.after(30))


def test_X6_each_turn_is_told_to_each_hook_once_however_it_ended(tmp_path: Path) -> None:
    book = tmp_path / "book"
    group = team(tmp_path, sys.executable, "-c", WRITES_DOWN, str(book))
    for act in (None, Fail(Failure(Cause.COUNTS, "it broke"))):
        group.engine.script(Hang())
        group.dispatched("a")
        group.engine.finish(group.engine.running[0], act)
    for _ in range(3):
        group.dispatched("a")
        for dispatch in group.engine.running:
            group.engine.lose(dispatch)
    told = [json.loads(line) for line in book.read_text().splitlines()]
    assert [each["how"] for each in told[:2]] == [Outcome.COMPLETED, Outcome.FAILED]
    assert [each["id"] for each in told] == [each.id for each in group.attempts[: len(told)]]
    assert told[0]["in"]["title"] == "Say $(rm -rf /) `now`"


def test_X6_a_hook_that_fails_is_tried_again_given_up_and_told_once(tmp_path: Path) -> None:
    group = team(tmp_path, sys.executable, "-c", "import sys; sys.exit('no room\\x1b[31m')")
    group.dispatched("a")
    group.engine.finish(group.engine.running[0])
    group.dispatched("a")
    for _ in range(6):
        group.pass_time(timedelta(minutes=5))
        run(group)
    [entry] = hooks(group)
    assert (entry.state, entry.attempts) == (EntryState.DEAD, TRIES)
    told = [each for each in group.messages("ops") if each.key.startswith("undone/hook:")]
    assert len(told) == 1
    assert "no room" in str(told[0].payload["body"])
    assert "\x1b" not in str(told[0].payload)


def test_X6_a_hook_that_ends_whoever_runs_it_is_given_up_and_told(tmp_path: Path) -> None:
    book = tmp_path / "book"
    group = team(tmp_path, sys.executable, "-c", WRITES_DOWN, str(book))
    now = group.now
    payload = {"argv": [sys.executable, "-c", WRITES_DOWN, str(book)], "facts": {"title": "t"}}
    group.store.enqueue([Entry("hook:hb-1:0", EntryKind.HOOK, sys.executable, payload, now, now, task="workboard:c1")])
    for _ in range(TRIES):
        assert group.store.claim_entry("hook:hb-1:0", now) is not None, "and the process died"
    run(group)
    assert not book.exists()
    assert [each.state for each in hooks(group)] == [EntryState.DEAD]
    told = [each for each in group.messages("ops") if each.key.startswith("undone/hook:")]
    assert ["ended each time" in str(each.payload["body"]) for each in told] == [True]


def test_X6_a_daemon_shows_what_a_beat_did_before_it_runs_a_hook_and_goes_on_whatever_that_does(
    tmp_path: Path,
) -> None:
    machine, mark = Machine(NOW), tmp_path / "mark"
    argv = ("/bin/sh", "-c", f"touch {mark}; exit 3")
    agent = worker("a")
    roster = make_roster(
        agent,
        timezone="UTC",
        operator=Operator(),
        sources={"workboard": {}},
        extra={"on_complete": (argv,)},
        path=tmp_path / "r",
    )
    stage = Stage(machine, tmp_path, roster, ScriptedWorld(ScriptedSystem()))
    payload = {"argv": list(argv), "facts": {"dispatch": "hb-1"}}
    stage.store.enqueue([Entry("hook:hb-1:0", EntryKind.HOOK, argv[0], payload, NOW, NOW, task="workboard:c1")])
    before: list[bool] = []

    class Shown(list[str]):
        def append(self, line: str) -> None:
            before.append(mark.exists())
            super().append(line)

    stage.shown = Shown()
    stage.run(timedelta(minutes=11))
    assert before[0] is False
    assert mark.exists()
    assert len(stage.slots("a")) == 2
    [entry] = stage.store.entries(kind=EntryKind.HOOK)
    assert entry.attempts >= 1
    assert "exit code 3" in entry.error
