"""The daemon's loop on virtual clocks: who beats when, and what it takes in its stride (rules B1, B2, B6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import RosterError, StateError, UsageError
from heartbeat.roster.model import Operator, Roster
from heartbeat.store.locks import try_exclusive
from heartbeat.watch.ping import Pinger
from tests.support.daemon_world import Machine, Stage, with_agents
from tests.support.rosters import make_agent, make_roster
from tests.support.scripted_writer import ScriptedSystem, ScriptedWorld

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
START = datetime(2026, 11, 2, 12, 3, tzinfo=UTC)
COO = make_agent("coo", "high_frequency", patrol=True, notify=("self",))
WRITER = make_agent("writer", "business")


def team(*agents: Any) -> Roster:
    return make_roster(*(agents or (COO, WRITER)), timezone="UTC", operator=Operator(), sources={"workboard": {}})


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(Machine(START), tmp_path, team(), ScriptedWorld(ScriptedSystem()))


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return START.replace(hour=hour, minute=minute, second=second)


def test_B2_everybody_beats_at_once_and_then_at_each_slot(stage: Stage) -> None:
    stage.run(HOUR)
    assert stage.slots("coo") == [at(12, minute) for minute in range(0, 60, 10)] + [at(13, 0)]
    assert stage.slots("writer") == [at(12, minute) for minute in range(0, 60, 15)] + [at(13, 0)]
    begun = [receipt.started_at for receipt in reversed(stage.store.receipts("coo"))]
    assert begun == [START, *(at(12, minute) for minute in range(10, 60, 10)), at(13, 0)]
    assert stage.complained == []


def test_those_who_are_due_together_share_one_look_at_the_sources(stage: Stage) -> None:
    stage.run(HOUR)
    assert [len(tick.beats) for tick in stage.ticks] == [2, 1, 1, 1, 2, 1, 1, 1, 2]
    assert stage.world["workboard"].reads == len(stage.ticks)
    together = [tick for tick in stage.ticks if len(tick.beats) == 2]
    assert [tick.observation.at for tick in together if tick.observation] == [START, at(12, 30), at(13, 0)]


def test_the_jitter_holds_a_beat_back_by_less_than_its_window_and_those_due_meanwhile_join(stage: Stage) -> None:
    soon = make_agent("soon", "high_frequency", anchor=timedelta(seconds=1))
    stage.roster = team(COO, soon)
    stage.window = timedelta(seconds=20)
    stage.run(3 * HOUR)
    begun = [tick.observation.at for tick in stage.ticks[1:] if tick.observation]
    late = [
        instant - instant.replace(minute=instant.minute - instant.minute % 10, second=0, microsecond=0)
        for instant in begun
    ]
    assert all(timedelta(0) <= each < timedelta(seconds=21) for each in late)
    assert len(set(late)) > 10
    assert sum(len(tick.beats) == 2 for tick in stage.ticks) >= 15
    assert set(stage.slots("soon")) == {slot + timedelta(seconds=1) for slot in stage.slots("coo") if slot}


def test_only_the_named_agents_beat(stage: Stage) -> None:
    stage.run(HOUR, "writer")
    assert stage.slots("coo") == []
    assert len(stage.slots("writer")) == 5
    with pytest.raises(UsageError, match="none of nobody is in it"):
        stage.daemon("nobody")


def test_a_slot_that_somebody_else_answered_is_left_alone(stage: Stage) -> None:
    stage.run(5 * MINUTE)
    stage.run(10 * MINUTE)
    assert stage.slots("coo") == [at(12, 0), at(12, 10)]
    assert "the daemon ends (SIGTERM) after 0 beats" not in stage.said[:2]


@pytest.mark.parametrize(
    ("ahead", "told"),
    [
        (HOUR, "the clock was set forward by 1h"),
        (-HOUR, "the clock was set back by 1h"),
        (timedelta(days=1), "the clock was set forward by 1d"),
        (-timedelta(days=1), "the clock was set back by 1d"),
        (5 * MINUTE, "the clock was set forward by 5m"),
        (-5 * MINUTE, "the clock was set back by 5m"),
    ],
)
def test_B6_a_clock_that_is_set_is_noticed_within_half_a_minute_and_beats_go_on(
    stage: Stage, ahead: timedelta, told: str
) -> None:
    begun: list[datetime] = []
    stage.trouble = lambda name, arguments: begun.append(stage.machine.true) if name == "add_receipt" else None
    stage.machine.plan(START + 20 * MINUTE, lambda: setattr(stage.machine, "ahead", ahead))
    stage.run(2 * HOUR, "coo")
    assert stage.complained == [told]
    after = [instant for instant in begun if instant >= START + 20 * MINUTE]
    assert after[0] - (START + 20 * MINUTE) <= 15 * MINUTE
    assert all(later - one <= 15 * MINUTE for one, later in pairwise(after))
    if abs(ahead) >= HOUR:
        assert after[0] - (START + 20 * MINUTE) <= timedelta(seconds=30)


def test_B2_a_sleep_is_made_up_for_by_one_beat_and_the_slots_that_it_took_are_on_record(stage: Stage) -> None:
    stage.machine.plan(START + 20 * MINUTE, lambda: stage.machine.sleep(5 * HOUR))
    stage.run(6 * HOUR, "coo")
    assert stage.complained == ["the machine slept for 5h"]
    (miss,) = stage.store.misses("coo")
    assert (miss.first, miss.last, miss.count) == (at(12, 30), at(17, 10), 29)
    assert len(stage.slots("coo")) == len(set(stage.slots("coo")))


def test_a_process_that_stood_still_says_so(stage: Stage) -> None:
    stage.machine.plan(START + 20 * MINUTE, lambda: stage.machine.spend(timedelta(minutes=3)))
    stage.run(HOUR, "coo")
    (said,) = stage.complained
    assert said.startswith("this process stood still for ")


def test_a_state_that_cannot_be_used_is_tried_again_later_and_later_and_the_slot_is_not_lost(stage: Stage) -> None:
    tries: list[datetime] = []

    def locked(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open":
            tries.append(stage.machine.true)
            if at(12, 10) <= stage.machine.true < at(12, 15):
                raise StateError("the database is locked", advice="see who has it")

    stage.trouble = locked
    stage.run(HOUR, "coo")
    seconds = [(each - at(12, 10)).total_seconds() for each in tries if at(12, 10) <= each < at(12, 20)]
    assert seconds == [0, 30, 90, 210, 450]
    assert "the beat of coo failed: the database is locked" in stage.complained
    assert "see who has it; the next try is in 30s" in stage.complained
    assert "beats work again, after 4 that failed" in stage.said
    assert stage.slots("coo") == [at(12, minute) for minute in range(0, 60, 10)] + [at(13, 0)]
    assert stage.store.misses() == ()
    noted = [entry.message for entry in stage.store.log() if entry.action == "beat-failed"]
    assert noted == ["the beat of coo failed: the database is locked"] * 4


def test_a_state_that_stays_unusable_is_tried_every_five_minutes_and_the_daemon_ends_as_ever(stage: Stage) -> None:
    tries: list[datetime] = []

    def full(name: str, arguments: tuple[Any, ...]) -> None:
        tries.append(stage.machine.true)
        raise StateError("the disk is full")

    stage.trouble = full
    stage.run(2 * HOUR)
    assert len(tries) < 35
    assert stage.said[-1] == "the daemon ends (SIGTERM) after 0 beats"
    assert stage.complained[-1] == "that is not on record: the disk is full"


def test_B2_a_beat_that_finds_a_bug_is_on_record_and_the_next_one_comes_in_time(stage: Stage) -> None:
    def broken(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "remember_links" and at(12, 10) <= stage.machine.true < at(12, 20):
            raise KeyError("surprise")

    stage.trouble, stage.debug = broken, True
    stage.run(HOUR)
    receipts = {receipt.slot: receipt for receipt in stage.store.receipts("coo")}
    assert receipts[at(12, 10)].outcome == "failed"
    assert receipts[at(12, 10)].reasons == ("KeyError: 'surprise'",)
    assert receipts[at(12, 20)].outcome == "done"
    assert len(receipts) == 7
    assert "the beat of coo failed: a bug: KeyError: 'surprise'" in stage.complained
    assert any("Traceback" in line for line in stage.complained)
    actions = [(entry.action, entry.at) for entry in stage.store.log() if entry.action.startswith("beat-")]
    assert actions == [
        ("beat-failed", at(12, 10)),
        ("beat-failed", at(12, 15)),
        ("beat-recovered", at(12, 20)),
    ], "that the store says who is due is no beat"


def test_an_agent_that_somebody_else_beats_for_is_asked_for_again_and_said_once(stage: Stage, tmp_path: Path) -> None:
    with try_exclusive(tmp_path / "locks" / "coo.lock", purpose="tick coo"):
        stage.run(5 * MINUTE)
    skipped = [beat.skipped for tick in stage.ticks for beat in tick.beats if beat.agent.id == "coo"]
    assert len(skipped) == 1
    assert skipped[0].startswith("another tick of coo is running")
    assert stage.slots("coo") == []
    assert len(stage.slots("writer")) == 1
    stage.run(MINUTE)
    assert stage.slots("coo") == [at(12, 0)]


@dataclass
class Rings(Pinger):
    """A dead-man's check that keeps what it is sent."""

    sent: list[tuple[str, str]] = field(default_factory=list)

    def _send(self, suffix: str, text: str) -> None:
        self.sent.append((suffix, text))


def test_every_sweep_in_which_somebody_beat_pings_and_a_failed_one_says_so(stage: Stage) -> None:
    rings = Rings("check", lambda complaint: None)
    stage.pinger = lambda loaded: rings

    def broken(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "remember_links" and at(12, 10) <= stage.machine.true < at(12, 15):
            raise KeyError("surprise")

    stage.trouble = broken
    stage.run(20 * MINUTE)
    assert rings.sent == [
        ("", "coo done\nwriter done"),
        ("/fail", "KeyError: 'surprise'"),
        ("", "writer done"),
        ("", "coo done"),
    ]
    assert stage.shown == ["coo done", "writer done", "writer done", "coo done"]


# Another roster.


def test_a_changed_file_is_read_when_it_has_come_to_rest(stage: Stage) -> None:
    new = make_agent("new", "business")
    after = with_agents(team(), COO, new)

    def saved() -> None:
        stage.change(after)
        stage.machine.plan(stage.machine.true + timedelta(seconds=1.5), lambda: stage.change(after))

    stage.machine.plan(at(12, 5), saved)
    stage.run(HOUR)
    assert "the roster was read anew; added: new; removed: writer" in stage.said
    first = next(tick for tick in stage.ticks if any(beat.agent.id == "new" for beat in tick.beats))
    assert first.observation is not None
    assert timedelta(seconds=2) < first.observation.at - at(12, 5) <= timedelta(seconds=35)
    assert stage.slots("writer") == [at(12, 0)]
    assert len(stage.slots("new")) == 5
    assert len(stage.slots("coo")) == 7


def test_SIGHUP_reads_the_roster_at_once_whether_it_changed_or_not(stage: Stage) -> None:
    stage.machine.plan(at(12, 5), lambda: stage.machine.order(reload=True))
    quicker = make_agent("coo", "high_frequency", every=5 * MINUTE, patrol=True, notify=("self",))

    def saved() -> None:
        stage.change(with_agents(team(), quicker, make_agent("writer", cron="0 * * * *")))
        stage.machine.order(reload=True)

    stage.machine.plan(at(12, 31), saved)
    stage.run(HOUR)
    assert "the roster was read anew; nothing changes" in stage.said
    assert (
        "the roster was read anew; coo every 5m instead of every 10m; writer cron '0 * * * *' instead of every 15m"
        in stage.said
    )
    assert stage.slots("coo")[-6:] == [at(12, 35), at(12, 40), at(12, 45), at(12, 50), at(12, 55), at(13, 0)]
    assert stage.slots("writer") == [at(12, 0), at(12, 15), at(12, 30), at(13, 0)]


def test_R1_a_bad_roster_is_refused_with_its_mistakes_and_the_last_good_one_stays(stage: Stage) -> None:
    mistakes = RosterError(("agents.yaml:3:5: unknown key `evry`; did you mean `every`?", "agents.yaml:9:1: no class"))
    stage.machine.plan(at(12, 5), lambda: stage.change(mistakes))
    stage.machine.plan(at(15, 1), lambda: stage.change(team()))
    stage.run(4 * HOUR)
    assert stage.complained[:3] == [
        "the roster is refused, and the earlier one stays in use:",
        "agents.yaml:3:5: unknown key `evry`; did you mean `every`?",
        "agents.yaml:9:1: no class",
    ]
    reminders = stage.complained[3:]
    assert len(reminders) == 2
    assert all("still refused" in line and "agents.yaml:3:5" in line and "and 1 more" in line for line in reminders)
    assert "the roster was read anew; nothing changes" in stage.said
    assert len(stage.slots("coo")) == 25
    actions = [entry.action for entry in stage.store.log()]
    assert actions.count("roster-refused") == actions.count("roster-reloaded") == 1


def test_a_roster_that_has_none_of_the_named_agents_any_more_is_refused(stage: Stage) -> None:
    stage.machine.plan(at(12, 5), lambda: stage.change(team(COO)))
    stage.run(HOUR, "writer")
    assert any("none of writer is in it" in line for line in stage.complained)
    assert len(stage.slots("writer")) == 5


def test_a_bug_that_a_roster_finds_does_not_end_the_beats(stage: Stage) -> None:
    def broken() -> None:
        stage.version += 1
        stage.roster = None  # type: ignore[assignment]

    stage.machine.plan(at(12, 5), broken)
    stage.run(HOUR)
    assert any("a bug: AttributeError" in line for line in stage.complained)
    assert len(stage.slots("coo")) == 7


# The end.


def test_an_order_to_stop_lets_the_running_beat_come_to_its_end(stage: Stage) -> None:
    def stop(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "note_complete" and stage.machine.true >= at(12, 10):
            stage.machine.order("SIGTERM")

    stage.trouble = stop
    stage.run(HOUR)
    assert stage.slots("coo") == [at(12, 0), at(12, 10)]
    assert stage.said[-1] == "the daemon ends (SIGTERM) after 3 beats"
    assert [entry.action for entry in stage.store.log()] == ["daemon-started", "daemon-ended"]


def test_a_daemon_with_nothing_to_do_looks_up_twice_a_minute_and_leaves_the_state_alone(stage: Stage) -> None:
    opened: list[datetime] = []
    stage.trouble = lambda name, arguments: opened.append(stage.machine.true) if name == "open" else None
    stage.roster = team(make_agent("rare", every=timedelta(days=1)))
    stage.run(3 * HOUR)
    assert 350 <= stage.machine.waits <= 370
    assert len(opened) == 2  # the first beat and the end
