"""What stands still, what comes next and when, who is silent, and the exit code of it all (rules T3, B2, B5, S2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.acting import acting
from heartbeat.errors import Exit
from heartbeat.memory import Ending, Hold, Pause, Rounds, Stage, Step
from heartbeat.policy import Recovery
from heartbeat.report.outlook import NOTHING, Next, Outlook
from heartbeat.report.timeouts import Report, SilentAgent, Sources, check, outcome, silent_agents, verdict
from heartbeat.rules.stall import Level
from heartbeat.schedule.slots import current_slot
from heartbeat.store.port import UNFINISHED, EntryKind
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.task import Evidence, EvidenceKind, Item, Owner, OwnerKind, Presence, Status
from tests.support.items import ALICE, NOW, card, issue
from tests.support.rosters import CLASS_POLICIES, make_agent
from tests.support.scripted_writer import Fault, ScriptedSystem, ScriptedWorld
from tests.support.team import Team, with_policy

MINUTE = timedelta(minutes=1)
WRITER = Owner(OwnerKind.AGENT, "writer")
SECOND = Owner(OwnerKind.AGENT, "second")
CONFIRMED = frozenset({Level.CONFIRMED})
SUSPECTED = frozenset({Level.SUSPECTED, Level.CONFIRMED})


def minutes(number: float) -> datetime:
    return NOW + number * MINUTE


def agents(**policy: Any) -> tuple[Any, ...]:
    return (
        make_agent("coo", "high_frequency", patrol=True, notify=("self",)),
        make_agent("writer", "high_frequency", notify=("coo",), backup="second", **policy),
        make_agent("second", "high_frequency", notify=("coo",)),
    )


def stuck(number: int = 1, owner: Owner = WRITER, **changes: Any) -> Item:
    fields: dict[str, Any] = {"owner": owner, "started_at": NOW, "updated_at": NOW, **changes}
    return card(number, f"Reconcile ledger {number}", Status.IN_PROGRESS, **fields)


def board(*items: Item) -> ScriptedSystem:
    system = ScriptedSystem(*items, name="workboard")
    for item in items:
        if item.status is Status.IN_PROGRESS:
            system.claimants[item.ref] = item.owner.id
    return system


def team(folder: Path, *systems: ScriptedSystem, **policy: Any) -> Team:
    return Team(ScriptedWorld(*systems), folder, agents(**policy))


def outlook(staff: Team) -> Outlook:
    seen = staff.observe()
    entries = staff.store.entries(kind=EntryKind.WRITE, states=UNFINISHED)
    return Outlook(seen.judgement, staff.roster.charter(), acting(seen, ()), entries)


def following(staff: Team, number: int = 1) -> Next:
    ahead = outlook(staff)
    key = str(stuck(number).ref)
    return ahead.next_step(ahead.judgement.tasks[key])


def report(staff: Team, agent: str | None = None, **sources: Any) -> Report:
    ahead = outlook(staff)
    policies = {each.id: each.policy for each in staff.agents}
    silent = silent_agents(policies, "UTC", ahead.judgement.memory.beats, staff.now)
    return check(ahead, sources=Sources(**sources), silent=silent, agent=agent)


# What comes next, at every stage of the ladder.


def test_T3_work_that_goes_on_is_nudged_when_it_has_been_silent_for_long_enough(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    staff.tick()
    assert following(staff) == Next("nudge", minutes(20))
    staff.pass_time(7 * MINUTE)
    assert following(staff) == Next("nudge", minutes(20))
    (item,) = staff.world["workboard"].items.values()
    staff.world["workboard"].say(item.ref, "half done", staff.now)
    assert following(staff) == Next("nudge", minutes(27))


def test_L1_L2_a_suspected_task_is_recovered_when_it_is_confirmed_and_its_nudge_is_old_enough(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    staff.tick()
    staff.beats(1)
    staff.pass_time(10 * MINUTE)
    assert following(staff) == Next("nudge", minutes(20))
    (found,) = report(staff).timeouts
    assert (found.stall.level, found.incident, found.step) == (Level.SUSPECTED, None, None)
    staff.tick()
    (found,) = report(staff).timeouts
    assert (found.step, found.next) == (Step.NUDGE, Next("recover", minutes(30)))
    assert found.incident is not None
    assert found.incident.stage is Stage.SUSPECTED
    staff.pass_time(9 * MINUTE)
    assert following(staff) == Next("recover", minutes(30))
    staff.pass_time(MINUTE)
    (found,) = report(staff).timeouts
    assert (found.stall.level, found.next) == (Level.CONFIRMED, Next("recover", minutes(30)))
    staff.tick()
    assert report(staff).timeouts == ()
    (incident,) = staff.incidents
    why = f"incident {incident.id} is over: the task is todo: whoever takes it begins anew"
    assert following(staff) == Next(NOTHING, None, why)


def test_T6_a_late_nudge_puts_the_recovery_off(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    staff.tick()
    staff.beats(1)
    staff.beat(every=17 * MINUTE)  # 27 minutes: nudged late
    assert following(staff) == Next("recover", minutes(37))
    staff.pass_time(4 * MINUTE)
    assert following(staff) == Next("recover", minutes(37), "its owner was nudged 4 minutes ago")


def test_L3_the_second_recovery_hands_over_and_the_third_blocks(tmp_path: Path) -> None:
    cards = board(stuck())
    (item,) = cards.items.values()
    staff = team(tmp_path, cards)
    staff.tick()
    staff.beats(4)
    for action, agent in (("hand_over", "writer"), ("block", "second")):
        cards.take(item.ref, agent, staff.now)
        taken_at = staff.now
        staff.beats(2)
        assert following(staff) == Next(action, taken_at + 30 * MINUTE)
        staff.beats(2)
    told = following(staff)
    assert (told.action, told.at) == (NOTHING, None)
    assert told.why == "the end of the ladder: it is left alone until somebody changes it"


def test_R3a_what_may_only_be_told_is_told_once(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()), recovery=Recovery.NOTIFY)
    staff.tick()
    staff.beats(2)
    assert following(staff) == Next("notify", minutes(30))
    staff.beats(1)
    told = following(staff)
    assert (told.action, told.at) == (NOTHING, None)
    assert told.why.startswith("it was told")
    (found,) = report(staff).timeouts
    assert found.step is Step.NOTIFY
    assert found.stall.level is Level.CONFIRMED


def test_R3a_what_is_only_observed_has_no_next_step(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()), recovery=Recovery.OBSERVE)
    staff.tick()
    staff.beats(4)
    assert following(staff) == Next(NOTHING, None, "the roster says recovery: observe")
    assert report(staff).count(Level.CONFIRMED) == 1


def test_T7_an_active_run_is_told_about_and_not_recovered(tmp_path: Path) -> None:
    cards = board(stuck())
    staff = team(tmp_path, cards)
    staff.tick()
    staff.beats(2)
    cards.presence = None  # it should tell and cannot
    assert following(staff) == Next("notify", minutes(30))


def test_T5_a_hold_puts_everything_off_until_it_is_over(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    staff.tick()
    staff.beats(1)
    staff.store.put_hold(Hold(stuck().ref, staff.now, minutes(70), "a long migration"))
    assert following(staff) == Next("nudge", minutes(70))
    staff.beats(2)
    assert report(staff).timeouts == ()
    assert report(staff).checked == 1


def test_a_pause_puts_the_recovery_off_until_it_is_over(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    staff.tick()
    staff.beats(2)
    staff.store.put_pause(Pause("writer", staff.now, minutes(95), "lunch"))
    assert following(staff).at == minutes(95)
    staff.pass_time(10 * MINUTE)
    told = following(staff)
    assert (told.action, told.at, told.why) == ("recover", minutes(95), "paused: lunch")
    staff.store.put_pause(Pause("writer", staff.now, None, "lunch"))
    told = following(staff)
    assert (told.action, told.at, told.why) == (NOTHING, None, "paused: lunch")


def test_B4_a_talk_puts_the_nudge_off_until_it_is_over_and_says_so(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    staff.extra = {"quiet_after_talk": 25 * MINUTE}
    staff.tick()
    staff.world["workboard"].presence = (Presence("writer", False, NOW, "agent:writer:main", talked_at=NOW),)
    staff.beats(2)
    (found,) = report(staff).timeouts
    said = "deferred: a person is talking to writer until 2026-11-21T04:25:00.000Z"
    assert found.next == Next("nudge", minutes(25), said)
    assert said in found.reasons
    assert (found.stall.level, found.step) == (Level.SUSPECTED, None)
    staff.pass_time(5 * MINUTE)
    assert following(staff) == Next("nudge", minutes(25))


def test_T6_two_looks_after_a_gap_come_before_any_recovery(tmp_path: Path) -> None:
    cards = board(stuck())
    staff = team(tmp_path, cards, recover_after=50 * MINUTE)
    staff.tick()
    staff.beats(2)
    staff.pass_time(timedelta(hours=2))
    cards.change(stuck().ref, NOW, reclaimed=True, status=Status.BLOCKED)
    cards.evidence.clear()  # its system did that
    told = following(staff)
    assert (told.action, told.at) == ("recover", staff.now + 10 * MINUTE)
    assert "not yet seen twice" in told.why


def test_T6_what_was_not_watched_puts_the_recovery_off(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()), recover_after=50 * MINUTE)
    staff.tick()
    staff.beats(2)
    staff.pass_time(timedelta(hours=2))
    assert following(staff) == Next("recover", staff.now + 30 * MINUTE)
    staff.tick()
    staff.pass_time(3 * MINUTE)
    assert following(staff) == Next("recover", staff.now + 27 * MINUTE)


def test_T6_what_was_quiet_by_the_clock_alone_is_told_and_not_suspected(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    staff.tick()
    assert report(staff).unwatched == ()
    staff.pass_time(timedelta(hours=2))
    staff.tick()
    found = report(staff)
    assert (found.checked, found.timeouts) == (1, ())
    (each,) = found.unwatched
    assert each.quiet >= timedelta(hours=2) > 60 * MINUTE > each.idle
    staff.store.put_hold(Hold(stuck().ref, staff.now, staff.now + 30 * MINUTE, "a long migration"))
    assert report(staff).unwatched == ()


def test_T4_a_looping_worker_is_nudged_when_its_runtime_is_over(tmp_path: Path) -> None:
    cards = board(stuck())
    staff = team(tmp_path, cards)
    staff.tick()
    for _ in range(5):
        staff.beat()
        cards.evidence.append(Evidence(stuck().ref, staff.now, EvidenceKind.CLAIM_HEARTBEAT, str(staff.now)))
    assert following(staff) == Next("nudge", minutes(70))
    staff.store.put_rounds([Rounds(stuck().ref, used=3, idle=3, progress_at=NOW)])
    assert following(staff) == Next("nudge", minutes(60))


def test_L5_a_sign_of_life_ends_the_incident_and_the_ladder_begins_anew(tmp_path: Path) -> None:
    cards = board(stuck())
    staff = team(tmp_path, cards)
    staff.tick()
    staff.beats(2)
    staff.pass_time(4 * MINUTE)
    cards.say(stuck().ref, "half done", staff.now)
    assert following(staff) == Next("nudge", minutes(44))


def test_T6_too_many_at_once_wait_for_somebody(tmp_path: Path) -> None:
    staff = team(tmp_path, board(*(stuck(number) for number in range(1, 6))))
    staff.tick()
    staff.beats(3)
    told = following(staff, 3)
    assert (told.action, told.at) == ("recover", None)
    because, _, ways_out = told.why.partition("; ")
    assert because == "5 tasks were due at once, more than 3: one alarm instead"
    (incident,) = [each for each in staff.store.incidents() if stuck(3).ref in each.refs]
    assert f"`heartbeat resolve {incident.id} --why …`" in ways_out
    assert "`escalation.storm`" in ways_out


def test_L4_a_step_that_was_decided_and_not_carried_out_is_due_when_it_is_tried_again(tmp_path: Path) -> None:
    cards = board(stuck())
    staff = team(tmp_path, cards)
    staff.tick()
    staff.beats(2)
    cards.fail_writes(Fault.DOWN)
    staff.beats(1)
    (entry,) = staff.store.entries(kind=EntryKind.WRITE)
    told = following(staff)
    assert (told.action, told.at) == ("recover", entry.due_at)
    assert told.why.startswith("tried 1 time in vain: workboard: refused")
    (found,) = report(staff).timeouts
    assert found.step is Step.RECOVER


def test_an_ended_incident_is_not_opened_again_for_the_same_silence(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    staff.tick()
    staff.beats(2)
    (incident,) = staff.incidents
    staff.store.put_incident(
        replace(incident, stage=Stage.ENDED, ending=Ending.RESOLVED, ended_at=staff.now, why="she is ill (Vincent)")
    )
    told = following(staff)
    assert (told.action, told.at) == (NOTHING, None)
    assert told.why == f"incident {incident.id} about the same silence is over: she is ill (Vincent)"


def test_B7_while_memory_is_lost_nothing_is_done(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck()))
    staff.tick()
    staff.beats(2)
    ahead = outlook(staff)
    lost = replace(ahead.judgement, memory=replace(ahead.judgement.memory, observing=True))
    told = Outlook(lost, ahead.charter, acting(staff.observe(), ())).next_step(lost.tasks[str(stuck().ref)])
    assert told.why == "memory was lost and nobody has accepted that: heartbeat only observes"


@pytest.mark.parametrize("status", [Status.TODO, Status.DONE, Status.IN_REVIEW])
def test_what_nobody_works_on_has_no_next_step(tmp_path: Path, status: Status) -> None:
    staff = team(tmp_path, board(card(1, "Reconcile ledger 1", status, owner=WRITER)))
    staff.tick()
    assert following(staff).action == NOTHING
    assert following(staff).at is None


Change = Callable[[Team, int], None]


def nothing(staff: Team, minute: int) -> None:
    """Nobody moves."""


def a_comment(staff: Team, minute: int) -> None:
    if minute == 33:
        staff.world["workboard"].say(stuck().ref, "going on", staff.now)


def a_hold(staff: Team, minute: int) -> None:
    if minute == 14:
        staff.store.put_hold(Hold(stuck().ref, staff.now, staff.now + 31 * MINUTE, "migration"))


def a_pause(staff: Team, minute: int) -> None:
    if minute == 22:
        staff.store.put_pause(Pause("*", staff.now, staff.now + 33 * MINUTE, "holiday"))


def a_new_claim(staff: Team, minute: int) -> None:
    if minute in (41, 83):
        staff.world["workboard"].take(stuck().ref, "writer", staff.now)


def a_run(staff: Team, minute: int) -> None:
    busy = 25 <= minute < 64
    staff.world["workboard"].presence = None if busy else ()


def an_outage(staff: Team, minute: int) -> None:
    down = TransportError(FailureKind.UNREACHABLE, "down")
    staff.world["workboard"].failure = down if 12 <= minute < 58 else None


def a_talk(staff: Team, minute: int) -> None:
    staff.extra = {"quiet_after_talk": 22 * MINUTE}
    if minute in (5, 14, 34):
        said = Presence("writer", False, None, "agent:writer:main", talked_at=staff.now)
        staff.world["workboard"].presence = (said,)


def a_failed_write(staff: Team, minute: int) -> None:
    if minute == 29:
        staff.world["workboard"].fail_writes(Fault.DOWN, Fault.DOWN)


@pytest.mark.parametrize("recovery", list(Recovery))
@pytest.mark.parametrize(
    "change",
    [nothing, a_comment, a_hold, a_pause, a_new_claim, a_run, a_talk, an_outage, a_failed_write],
    ids=lambda f: f.__name__,
)
def test_what_is_foretold_is_what_the_next_beat_does(tmp_path: Path, change: Change, recovery: Recovery) -> None:
    staff = team(tmp_path, board(stuck()), recovery=recovery)
    staff.tick()
    for minute in range(1, 130):
        staff.pass_time(MINUTE)
        change(staff, minute)
        if minute % 10:
            continue
        ahead = outlook(staff)
        task = ahead.judgement.tasks.get(str(stuck().ref))
        told = ahead.next_step(task) if task is not None else Next()
        due = told.at is not None and told.at <= staff.now
        before = deeds(staff)
        staff.tick()
        new = {word for word, *_ in deeds(staff) - before}
        assert new <= {told.action, "recover"} if due else new == set(), (minute, told, new)
        assert (told.action in new) is due, (minute, told, new)


def deeds(staff: Team) -> set[tuple[object, ...]]:
    """Every step of every incident, and every attempt at a write."""
    steps = {(taken.step.value, each.id) for each in staff.incidents for taken in each.steps}
    tries = {
        (str(entry.payload["step"]), entry.key, entry.attempts) for entry in staff.store.entries(kind=EntryKind.WRITE)
    }
    return steps | tries


# What is reported.


def test_the_worst_and_longest_stand_first_and_the_rest_is_only_counted(tmp_path: Path) -> None:
    cards = board(stuck(1), stuck(2, SECOND), stuck(3), stuck(4), card(5, "Not begun", owner=WRITER))
    staff = team(tmp_path, cards)
    coo, writer, second = staff.agents
    staff.agents = (coo, writer, with_policy(second, suspect_after=10 * MINUTE, recover_after=15 * MINUTE))
    staff.tick()
    staff.pass_time(4 * MINUTE)
    cards.say(stuck(2, SECOND).ref, "was there", staff.now)
    cards.say(stuck(3).ref, "was there", staff.now)
    staff.pass_time(16 * MINUTE)
    cards.say(stuck(4).ref, "going on", staff.now)
    staff.pass_time(4 * MINUTE)
    found = report(staff)
    assert [(each.task.items[0].key, each.stall.level, each.stall.idle) for each in found.timeouts] == [
        ("00000002", Level.CONFIRMED, 20 * MINUTE),
        ("00000001", Level.SUSPECTED, 24 * MINUTE),
        ("00000003", Level.SUSPECTED, 20 * MINUTE),
    ]
    assert (found.checked, found.count(Level.CONFIRMED), found.count(Level.SUSPECTED)) == (4, 1, 2)
    alone = report(staff, "second")
    assert (alone.checked, [each.task.items[0].key for each in alone.timeouts]) == (1, ["00000002"])


def test_what_persons_do_and_what_nobody_answers_for_is_left_out_and_said(tmp_path: Path) -> None:
    stranger = Owner(OwnerKind.AGENT, "stranger")
    staff = team(tmp_path, board(stuck(1, ALICE), stuck(2, stranger), stuck(3)))
    staff.tick()
    assert (report(staff).checked, report(staff).left_out) == (2, 1)
    staff.agents = tuple(replace(agent, patrol=False) for agent in staff.agents)
    assert (report(staff).checked, report(staff).left_out) == (1, 2)


def test_S2_work_that_cannot_be_seen_is_unknown_and_never_fine(tmp_path: Path) -> None:
    strange = replace(stuck(2), status=Status.UNKNOWN, raw_status="paused")
    staff = team(tmp_path, board(stuck(1), strange))
    staff.tick()
    found = report(staff)
    assert found.checked == 1
    ((unjudged,), because) = found.unjudged, found.unjudged[0].reasons
    assert unjudged.task.key == str(strange.ref)
    assert because == ("00000002: status 'paused' is not known to heartbeat",)
    assert outcome(found, CONFIRMED) is Exit.INCOMPLETE
    assert verdict(found, CONFIRMED).startswith("UNKNOWN: 1 task could not be judged; 1 task in progress checked")


def test_S2_a_task_of_which_one_origin_is_out_of_sight_is_unknown(tmp_path: Path) -> None:
    cards, issues = board(stuck(1)), ScriptedSystem(name="multica")
    twin = issue(7, "Reconcile ledger 1", Status.IN_PROGRESS, owner=WRITER, started_at=NOW, updated_at=NOW)
    issues.items[twin.ref] = twin
    staff = team(tmp_path, cards, issues)
    staff.tick()
    staff.beats(1)
    assert (report(staff).checked, report(staff).unjudged) == (1, ())
    staff.pass_time(30 * MINUTE)
    assert report(staff).count(Level.CONFIRMED) == 1
    issues.failure = TransportError(FailureKind.UNREACHABLE, "down")
    found = report(staff)
    assert (found.checked, found.timeouts, len(found.unjudged)) == (0, (), 1)


def test_B5_without_memory_it_is_judged_by_the_sources_alone(tmp_path: Path) -> None:
    staff = team(tmp_path, board(stuck(1)))
    staff.pass_time(40 * MINUTE)
    seen = staff.observe()
    assert seen.judgement.stalls[str(stuck().ref)].level is Level.NONE
    alone = replace(seen.judgement, memory=replace(seen.judgement.memory, without=True))
    ahead = Outlook(alone, staff.roster.charter(), acting(seen, ()))
    found = check(ahead, sources=Sources(), silent=())
    assert found.memory is False
    told = ahead.next_step(alone.tasks[str(stuck().ref)])
    assert told == Next("nudge", minutes(60), "counted from now, as if a beat began to remember")


# Who is silent.


BEATS = {"coo": minutes(0), "writer": minutes(0)}


@pytest.mark.parametrize(
    ("now", "silent"),
    [(0, []), (10, []), (19, []), (20, ["coo"]), (29, ["coo"]), (30, ["coo", "writer"]), (10_000, ["coo", "writer"])],
)
def test_L0_an_agent_is_silent_that_left_no_receipt_since_the_last_slot_but_one(now: int, silent: list[str]) -> None:
    policies = {
        "coo": CLASS_POLICIES["high_frequency"],
        "writer": CLASS_POLICIES["business"],
        "new": CLASS_POLICIES["business"],
    }
    found = silent_agents(policies, "UTC", BEATS, minutes(now))
    assert [each.agent for each in found] == silent
    assert {each.agent: each.missed_since for each in found} == {
        agent: minutes(10 if agent == "coo" else 15) for agent in silent
    }
    assert {each.last_beat for each in found} <= {NOW}


def test_B2_missed_since_is_the_first_slot_after_the_last_beat_whenever_that_was() -> None:
    policy = CLASS_POLICIES["high_frequency"]
    (found,) = silent_agents({"coo": policy}, "UTC", {"coo": minutes(13.5)}, minutes(47))
    assert found == SilentAgent("coo", minutes(13.5), minutes(20))
    # Late and failed beats are receipts too; one that the clock dates ahead is not silent.
    assert silent_agents({"coo": policy}, "UTC", {"coo": minutes(500)}, minutes(47)) == ()


@pytest.mark.parametrize(
    ("cron", "last", "now", "missed"),
    [
        ("0 9 * * 1-5", "2026-11-20T01:00:05", "2026-11-24T02:00:00", "2026-11-23T01:00:00"),
        ("*/15 * * * *", "2026-11-20T01:02:00", "2026-11-21T02:00:00", "2026-11-20T01:15:00"),
        ("30 3 1 * *", "2026-01-05T00:00:00", "2026-11-21T02:00:00", "2026-01-31T19:30:00"),
    ],
)
def test_B2_slots_of_a_cron_expression_are_missed_one_by_one(cron: str, last: str, now: str, missed: str) -> None:
    policy = replace(CLASS_POLICIES["business"], cron=cron)
    at = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (last, now, missed)]
    (found,) = silent_agents({"writer": policy}, "Asia/Shanghai", {"writer": at[0]}, at[1])
    assert found.missed_since == at[2]
    assert current_slot(policy, "Asia/Shanghai", at[2]) == at[2]
    assert current_slot(policy, "Asia/Shanghai", at[2] - timedelta(seconds=1)) <= at[0]


# Red or green.


@pytest.fixture(scope="module")
def suspected(tmp_path_factory: pytest.TempPathFactory) -> Report:
    staff = team(tmp_path_factory.mktemp("suspected"), board(stuck()))
    staff.tick()
    staff.beats(2)
    return report(staff)


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Report:
    staff = team(tmp_path_factory.mktemp("confirmed"), board(stuck()), recovery=Recovery.OBSERVE)
    staff.tick()
    staff.beats(4)
    return report(staff)


CLEAN = Report(NOW, 3, (), (), (), Sources())
SILENT = (SilentAgent("coo", NOW, minutes(10)),)
GAPS: list[dict[str, Any]] = [
    {"sources": Sources(("workboard",))},
    {"sources": Sources(("workboard", "todo"), blind=True)},
    {"sources": Sources(malformed={"multica": 2})},
    {"memory_lost": True},
]


def test_B5_nothing_found_and_everything_seen_is_0() -> None:
    for failing in (SUSPECTED, CONFIRMED, frozenset[Level]()):
        assert outcome(CLEAN, failing) is Exit.OK
    assert verdict(CLEAN, CONFIRMED) == "OK: 3 tasks in progress checked: 0 confirmed, 0 suspected"


@pytest.mark.parametrize("gap", GAPS, ids=str)
def test_B5_what_could_not_be_checked_is_3_and_never_green(gap: dict[str, Any], suspected: Report) -> None:
    for failing in (SUSPECTED, CONFIRMED, frozenset[Level]()):
        assert outcome(replace(CLEAN, **gap), failing) is Exit.INCOMPLETE
    assert outcome(replace(suspected, **gap), CONFIRMED) is Exit.INCOMPLETE
    assert verdict(replace(CLEAN, **gap), CONFIRMED).startswith("UNKNOWN: ")


@pytest.mark.parametrize("gap", [{}, *GAPS], ids=str)
def test_B5_what_was_found_counts_before_what_is_not_known(
    gap: dict[str, Any], suspected: Report, confirmed: Report
) -> None:
    assert outcome(replace(suspected, **gap), SUSPECTED) is Exit.FOUND
    assert outcome(replace(confirmed, **gap), SUSPECTED) is Exit.FOUND
    assert outcome(replace(confirmed, **gap), CONFIRMED) is Exit.FOUND
    assert outcome(replace(CLEAN, silent=SILENT, **gap), CONFIRMED) is Exit.FOUND
    assert verdict(replace(confirmed, **gap), CONFIRMED).startswith("FOUND: 1 task in progress checked: 1 confirmed")


def test_B5_below_the_asked_level_and_with_never_nothing_fails(suspected: Report, confirmed: Report) -> None:
    assert outcome(suspected, CONFIRMED) is Exit.OK
    assert verdict(suspected, CONFIRMED).startswith("NOTED: ")
    for found in (suspected, confirmed, replace(CLEAN, silent=SILENT)):
        assert outcome(found, frozenset()) is Exit.OK
        assert verdict(found, frozenset()).startswith("NOTED: ")


def test_the_verdict_is_one_line_that_says_everything(confirmed: Report) -> None:
    said = verdict(replace(confirmed, silent=SILENT, sources=Sources(("todo",), {"multica": 1})), CONFIRMED)
    assert said == (
        "FOUND: 1 task in progress checked: 1 confirmed, 0 suspected; silent: coo; not read completely: todo; "
        "1 record of multica could not be read"
    )
