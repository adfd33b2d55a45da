"""The ladder, rung by rung: every stage with every situation, times exactly on the boundary (rules L1 to L6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.memory import Clock, Ending, Incident, Mark, Stage, Step, StepOutcome, StepTaken
from heartbeat.policy import Escalation, Recovery
from heartbeat.rules.ladder import TRANSITIONS, Climb, Situation, climb, incident_id
from heartbeat.rules.stall import Hindrance, Level, Stall
from heartbeat.rules.talk import Talk
from heartbeat.task import EvidenceKind, Status, Task
from tests.support.items import COO, NOW, card
from tests.support.rosters import CLASS_POLICIES

POLICY = CLASS_POLICIES["high_frequency"]
ESCALATION = Escalation()
MINUTE = timedelta(minutes=1)
BEGAN = NOW - timedelta(hours=2)
ITEM = card(7, "Reconcile the ledger", Status.IN_PROGRESS, started_at=BEGAN)
NUDGED_LONG_AGO = NOW - (POLICY.recover_after - POLICY.suspect_after)


def task_of(status: Status = Status.IN_PROGRESS, **changes: Any) -> Task:
    item = replace(ITEM, status=status)
    return Task((item,), status, item.priority, COO, None, **changes)


def stall(level: Level, *, idle: timedelta = 40 * MINUTE, hindrances: tuple[str, ...] = (), **changes: Any) -> Stall:
    last = Mark(NOW - idle, EvidenceKind.COMMENT, "event-1", ITEM.ref)
    fields: dict[str, Any] = {
        "task": str(ITEM.ref),
        "level": level,
        "idle": idle,
        "quiet": idle,
        "runtime": timedelta(hours=2),
        "activity": last,
        "progress": last,
        "epoch": "epoch-1",
        "hindrances": tuple(Hindrance(code, code) for code in hindrances),
        "reasons": ("as told",),
    }
    return Stall(**{**fields, **changes})


def incident(stage: Stage = Stage.SUSPECTED, **changes: Any) -> Incident:
    fields: dict[str, Any] = {
        "id": "aaaaaaaa",
        "ref": ITEM.ref,
        "refs": (ITEM.ref,),
        "epoch": "epoch-1",
        "title": ITEM.title,
        "owner": COO,
        "opened_at": NOW - 20 * MINUTE,
        "stage": stage,
        "nudged_at": NUDGED_LONG_AGO,
        "steps": (StepTaken(Step.NUDGE, NOW - 20 * MINUTE, StepOutcome.DONE),),
    }
    return Incident(**{**fields, **changes})


def recovered(
    ago: timedelta, *, step: Step = Step.RECOVER, outcome: StepOutcome = StepOutcome.DONE, id_: str = "old"
) -> Incident:
    at = NOW - ago
    return incident(Stage.ENDED, id=id_, recovered_at=at, ended_at=at, steps=(StepTaken(step, at, outcome),), number=1)


def look(
    seen: Stall | None,
    current: Incident | None = None,
    history: tuple[Incident, ...] = (),
    *,
    task: Task | None = None,
    allowed: Recovery = Recovery.ACT,
    silent: bool = False,
    clocks: tuple[Clock, ...] = (),
    held: str = "",
    talk: Talk | None = None,
) -> Climb:
    return climb(
        task or task_of(),
        seen,
        current,
        history,
        policy=POLICY,
        escalation=ESCALATION,
        allowed=allowed,
        silent=silent,
        clocks=clocks,
        now=NOW,
        held=held,
        talk=talk,
    )


@pytest.mark.parametrize("level", [Level.SUSPECTED, Level.CONFIRMED])
def test_L1_an_incident_opens_with_one_nudge_and_nothing_else_whatever_the_first_look_says(level: Level) -> None:
    climbed = look(stall(level))
    assert climbed.steps == (Step.NUDGE,)
    assert climbed.incident is not None
    assert climbed.incident.stage is Stage.SUSPECTED
    assert not climbed.due


TALK = Talk("coo", NOW - 4 * MINUTE, NOW + 6 * MINUTE)
UNNUDGED = incident(nudged_at=None, steps=())
NOT_SHOWN = incident(nudged_at=None, steps=(StepTaken(Step.NUDGE, NOW - MINUTE, StepOutcome.DUE),))


@pytest.mark.parametrize("level", [Level.SUSPECTED, Level.CONFIRMED])
@pytest.mark.parametrize("silent", [False, True])
def test_B4_while_a_person_talks_to_its_owner_an_incident_opens_without_the_nudge(level: Level, silent: bool) -> None:
    climbed = look(stall(level), talk=TALK, silent=silent)
    assert (climbed.steps, climbed.waits[-1]) == ((), TALK.told)
    assert climbed.incident is not None
    assert (climbed.incident.steps, climbed.incident.nudged_at, climbed.incident.why) == ((), None, TALK.why)
    assert climbed.incident.id == getattr(look(stall(level)).incident, "id", ""), "it is the same one without a talk"


@pytest.mark.parametrize("level", [Level.SUSPECTED, Level.CONFIRMED])
@pytest.mark.parametrize("current", [UNNUDGED, NOT_SHOWN])
def test_B4_nothing_follows_while_the_nudge_waits_for_the_end_of_the_talk(level: Level, current: Incident) -> None:
    climbed = look(stall(level), current, talk=TALK)
    assert climbed.steps == ()
    assert climbed.incident == replace(current, why=TALK.why)
    assert climbed.waits[-1] == TALK.told
    again = look(stall(level), climbed.incident, talk=replace(TALK, until=NOW + 9 * MINUTE))
    assert again.incident == climbed.incident, "a further word is no further deferral"


@pytest.mark.parametrize("level", [Level.SUSPECTED, Level.CONFIRMED])
def test_B4_after_the_talk_the_nudge_is_taken_under_the_key_it_would_have_had(level: Level) -> None:
    climbed = look(stall(level), replace(UNNUDGED, why=TALK.why))
    assert climbed.steps == (Step.NUDGE,)
    assert climbed.incident is not None
    assert (climbed.incident.id, climbed.incident.why) == (UNNUDGED.id, "")


def test_B4_a_talk_that_is_over_leaves_no_word_on_an_incident_whose_nudge_is_about_to_be_shown() -> None:
    climbed = look(stall(Level.SUSPECTED), replace(NOT_SHOWN, why=TALK.why))
    assert (climbed.steps, climbed.incident) == ((), NOT_SHOWN)


def test_B4_what_comes_after_the_nudge_goes_on_during_a_talk() -> None:
    assert look(stall(Level.CONFIRMED), incident(), talk=TALK).steps == (Step.RECOVER,)
    assert look(stall(Level.CONFIRMED), incident(), talk=TALK, allowed=Recovery.NOTIFY).steps == (Step.NOTIFY,)
    nudged_long_ago = replace(NOT_SHOWN, steps=(StepTaken(Step.NUDGE, NUDGED_LONG_AGO, StepOutcome.DUE),))
    fell_silent = look(stall(Level.CONFIRMED), nudged_long_ago, talk=TALK, silent=True)
    assert fell_silent.steps == (Step.RECOVER,), "nobody waits for a worklist that will not come (L0)"


def test_B4_where_nobody_would_be_nudged_nothing_is_deferred() -> None:
    observed = look(stall(Level.SUSPECTED), talk=TALK, allowed=Recovery.OBSERVE)
    assert (getattr(observed.incident, "why", None), observed.waits) == ("", ())
    assert look(stall(Level.NONE), talk=TALK) == look(stall(Level.NONE))
    paused = look(stall(Level.SUSPECTED), UNNUDGED, talk=TALK, held="paused: moving house")
    assert paused.incident == UNNUDGED


def test_B4_a_talk_keeps_no_incident_from_ending() -> None:
    over = look(stall(Level.NONE), replace(UNNUDGED, why=TALK.why), talk=TALK).incident
    assert over is not None
    assert over.ending is Ending.PROGRESS


def test_L1_a_second_look_at_a_suspected_task_nudges_no_second_time() -> None:
    assert look(stall(Level.SUSPECTED), incident()).steps == ()


def test_L1_the_incident_of_a_quiet_spell_has_the_same_name_for_whoever_sees_it() -> None:
    first, later = stall(Level.SUSPECTED), replace(stall(Level.CONFIRMED), idle=timedelta(hours=3))
    assert incident_id(first) == incident_id(replace(later, activity=first.activity))
    assert incident_id(first) != incident_id(replace(first, epoch="epoch-2"))


def test_L2_a_confirmed_task_is_recovered_once() -> None:
    climbed = look(stall(Level.CONFIRMED), incident())
    assert climbed.steps == (Step.RECOVER,)
    assert climbed.incident is not None
    assert (climbed.incident.stage, climbed.incident.number) == (Stage.RECOVERED, 1)
    assert climbed.incident.recovered_at == NOW
    again = look(stall(Level.CONFIRMED), climbed.incident)
    assert again.steps == ()
    assert again.incident == climbed.incident


def test_T6_a_nudge_must_have_been_shown_for_the_whole_time_between_the_thresholds() -> None:
    early = incident(nudged_at=NUDGED_LONG_AGO + timedelta(microseconds=1))
    assert look(stall(Level.CONFIRMED), early).steps == ()
    assert look(stall(Level.CONFIRMED), incident(nudged_at=NUDGED_LONG_AGO)).steps == (Step.RECOVER,)


def test_T6_a_nudge_that_nobody_was_shown_lets_nothing_be_written() -> None:
    climbed = look(stall(Level.CONFIRMED), incident(nudged_at=None))
    assert climbed.steps == ()
    assert "shown" in climbed.waits[0]


def test_L0_where_nobody_can_show_a_nudge_it_counts_from_when_it_was_made() -> None:
    climbed = look(stall(Level.SUSPECTED), silent=True)
    assert climbed.incident is not None
    assert climbed.incident.nudged_at == NOW
    assert look(stall(Level.CONFIRMED), incident(nudged_at=None), silent=True).steps == (Step.RECOVER,)


def test_R3a_what_was_only_observed_is_nudged_first_once_heartbeat_may_act() -> None:
    observed = look(stall(Level.CONFIRMED), allowed=Recovery.OBSERVE).incident
    assert observed is not None
    climbed = look(stall(Level.CONFIRMED), observed)
    assert climbed.steps == (Step.NUDGE,)
    assert climbed.incident is not None
    assert climbed.incident.stage is Stage.SUSPECTED


def test_a_pause_opens_no_incident() -> None:
    climbed = look(stall(Level.CONFIRMED), held="paused: maintenance")
    assert (climbed.incident, climbed.steps) == (None, ())


@pytest.mark.parametrize("code", ["not-settled"])
def test_T6_before_two_looks_nothing_is_written_and_nobody_told(code: str) -> None:
    climbed = look(stall(Level.CONFIRMED, hindrances=(code,)), incident())
    assert climbed.steps == ()
    assert climbed.incident == incident()


@pytest.mark.parametrize("code", ["run-active", "run-unknown"])
def test_T7_while_a_run_is_active_or_unknown_people_are_told_instead_once(code: str) -> None:
    seen = stall(Level.CONFIRMED, hindrances=(code,))
    climbed = look(seen, incident())
    assert climbed.steps == (Step.NOTIFY,)
    assert climbed.incident is not None
    assert climbed.incident.stage is Stage.TOLD
    assert look(seen, climbed.incident).steps == ()
    assert look(stall(Level.CONFIRMED), climbed.incident).steps == (Step.RECOVER,)


def test_R3a_notify_tells_and_never_writes() -> None:
    climbed = look(stall(Level.CONFIRMED), incident(), allowed=Recovery.NOTIFY)
    assert climbed.steps == (Step.NOTIFY,)


def test_R3a_observe_records_the_incident_and_takes_no_step() -> None:
    opened = look(stall(Level.SUSPECTED), allowed=Recovery.OBSERVE)
    assert opened.incident is not None
    assert (opened.steps, opened.incident.steps) == ((), ())
    assert look(stall(Level.CONFIRMED), incident(), allowed=Recovery.OBSERVE).steps == ()


def test_L3_the_second_recovery_within_a_day_hands_the_task_over() -> None:
    climbed = look(stall(Level.CONFIRMED), incident(), (recovered(timedelta(hours=24)),))
    assert climbed.steps == (Step.RECOVER, Step.HAND_OVER)
    assert climbed.incident is not None
    assert climbed.incident.number == 2


def test_L3_a_recovery_just_over_a_day_ago_does_not_count() -> None:
    climbed = look(stall(Level.CONFIRMED), incident(), (recovered(timedelta(hours=24, microseconds=1)),))
    assert climbed.steps == (Step.RECOVER,)


def test_L3_the_third_recovery_blocks_the_task_and_leaves_it_alone() -> None:
    history = (recovered(timedelta(hours=3), id_="one"), recovered(timedelta(hours=1), id_="two"))
    climbed = look(stall(Level.CONFIRMED), incident(), history)
    assert climbed.steps == (Step.BLOCK,)
    assert climbed.incident is not None
    assert climbed.incident.stage is Stage.LEFT_ALONE


def test_L3_incidents_that_never_reached_recovery_and_those_that_met_a_conflict_do_not_count() -> None:
    told = incident(Stage.ENDED, id="told", steps=(StepTaken(Step.NOTIFY, NOW, StepOutcome.DONE),))
    conflicted = recovered(timedelta(hours=1), outcome=StepOutcome.CONFLICT, id_="conflict")
    assert look(stall(Level.CONFIRMED), incident(), (told, conflicted)).steps == (Step.RECOVER,)


def left_alone(**changes: Any) -> Incident:
    steps = (StepTaken(Step.BLOCK, NOW - 30 * MINUTE, StepOutcome.DONE),)
    return incident(Stage.LEFT_ALONE, steps=steps, recovered_at=NOW - 30 * MINUTE, number=3, **changes)


def clock(activity_ago: timedelta) -> Clock:
    mark = Mark(NOW - activity_ago, EvidenceKind.COMMENT, "theirs", ITEM.ref)
    return Clock(ITEM.ref, "", BEGAN, NOW, activity=mark)


def test_L3_what_is_left_alone_stays_so_until_somebody_changes_it() -> None:
    blocked = task_of(Status.BLOCKED)
    alone = look(None, left_alone(), task=blocked, clocks=(clock(30 * MINUTE),))
    assert (alone.incident, alone.steps) == (left_alone(), ())
    changed = look(None, left_alone(), task=blocked, clocks=(clock(30 * MINUTE - timedelta(microseconds=1)),))
    assert changed.incident is not None
    assert changed.incident.ending is Ending.PROGRESS


def test_L5_a_closed_task_ends_its_incident_as_done() -> None:
    for stage in (Stage.SUSPECTED, Stage.TOLD, Stage.RECOVERED, Stage.LEFT_ALONE):
        climbed = look(None, incident(stage), task=task_of(Status.DONE))
        assert climbed.incident is not None
        assert climbed.incident.ending is Ending.DONE


def test_L5_activity_ends_a_suspected_incident_with_its_reason() -> None:
    climbed = look(stall(Level.NONE, idle=MINUTE), incident())
    assert climbed.incident is not None
    assert (climbed.incident.ending, climbed.incident.why) == (Ending.PROGRESS, "as told")


def test_L5_a_new_epoch_ends_the_incident_as_handed_over() -> None:
    climbed = look(stall(Level.NONE, epoch="epoch-2"), incident())
    assert climbed.incident is not None
    assert climbed.incident.ending is Ending.HANDED_OVER


def test_L5_a_card_that_is_back_in_todo_by_our_recovery_ends_the_incident() -> None:
    steps = (StepTaken(Step.RECOVER, NOW - MINUTE, StepOutcome.DONE),)
    current = incident(Stage.RECOVERED, steps=steps, recovered_at=NOW - MINUTE)
    climbed = look(None, current, task=task_of(Status.TODO))
    assert climbed.incident is not None
    assert climbed.incident.ending is Ending.HANDED_OVER


def test_L2_an_issue_that_we_blocked_keeps_its_incident_open() -> None:
    steps = (StepTaken(Step.RECOVER, NOW - MINUTE, StepOutcome.DONE),)
    current = incident(Stage.RECOVERED, steps=steps, recovered_at=NOW - MINUTE)
    assert look(None, current, task=task_of(Status.BLOCKED)).incident == current


def test_L6_a_conflict_ends_the_incident_since_somebody_else_acted() -> None:
    steps = (StepTaken(Step.RECOVER, NOW - MINUTE, StepOutcome.CONFLICT, "claimed by architect now"),)
    current = incident(Stage.RECOVERED, steps=steps, recovered_at=NOW - MINUTE)
    climbed = look(stall(Level.CONFIRMED), current)
    assert climbed.incident is not None
    assert (climbed.incident.ending, climbed.incident.why) == (Ending.HANDED_OVER, "claimed by architect now")


def test_L4_a_recovery_whose_end_is_not_known_yet_is_not_repeated_and_does_not_end() -> None:
    steps = (StepTaken(Step.RECOVER, NOW - MINUTE, StepOutcome.DUE),)
    current = incident(Stage.RECOVERED, steps=steps, recovered_at=NOW - MINUTE)
    climbed = look(stall(Level.CONFIRMED), current)
    assert (climbed.incident, climbed.steps) == (current, ())


@pytest.mark.parametrize("code", ["held", "unseen"])
def test_S2_T5_while_a_task_is_held_or_unseen_its_incident_neither_ends_nor_goes_on(code: str) -> None:
    for stage in (Stage.SUSPECTED, Stage.TOLD):
        climbed = look(stall(Level.NONE, hindrances=(code,)), incident(stage))
        assert (climbed.incident, climbed.steps) == (incident(stage), ())


def test_S2_an_outage_ends_no_incident() -> None:
    unseen = task_of(Status.BLOCKED, stale=(ITEM.ref,))
    assert look(None, left_alone(), task=unseen).incident == left_alone()


def test_a_storm_or_a_pause_holds_what_is_due() -> None:
    climbed = look(stall(Level.CONFIRMED), incident(), held="paused: maintenance")
    assert (climbed.steps, climbed.waits) == ((), ("paused: maintenance",))


def test_an_incident_that_a_person_resolved_is_not_opened_again_by_the_same_spell() -> None:
    seen = stall(Level.CONFIRMED)
    resolved = incident(Stage.ENDED, id=incident_id(seen), ending=Ending.RESOLVED)
    assert look(seen, None, (resolved,)).incident is None
    later = replace(seen, activity=Mark(NOW - 35 * MINUTE, EvidenceKind.COMMENT, "event-2", ITEM.ref))
    assert look(later, None, (resolved,)).incident is not None


def test_the_table_leads_up_or_out_and_nowhere_else() -> None:
    order = [None, Stage.SUSPECTED, Stage.TOLD, Stage.RECOVERED, Stage.LEFT_ALONE, Stage.ENDED]
    for (stage, situation), move in TRANSITIONS.items():
        assert order.index(move.stage) > order.index(stage), (stage, situation)
        assert Stage.ENDED is not stage


LEVELS = st.sampled_from(Level)
CODES = st.sets(st.sampled_from(["run-active", "run-unknown", "not-settled", "held", "unseen"])).map(tuple)


@given(
    seen=st.lists(st.tuples(LEVELS, CODES, st.sampled_from(Status)), min_size=1, max_size=12),
    allowed=st.sampled_from(Recovery),
)
def test_L4_whatever_is_seen_each_step_of_an_incident_is_taken_once(
    seen: list[tuple[Level, tuple[str, ...], Status]], allowed: Recovery
) -> None:
    current: Incident | None = None
    history: list[Incident] = []
    for level, codes, status in seen:
        climbed = look(
            stall(level, hindrances=codes) if status is Status.IN_PROGRESS else None,
            current,
            tuple(history),
            task=task_of(status),
            allowed=allowed,
        )
        assert allowed is not Recovery.OBSERVE or not climbed.steps
        if climbed.incident is None:
            continue
        taken = [each.step for each in climbed.incident.steps]
        assert len(taken) == len(set(taken))
        assert set(climbed.steps) <= set(taken)
        done = replace(
            climbed.incident,
            steps=tuple(replace(each, outcome=StepOutcome.DONE) for each in climbed.incident.steps),
            nudged_at=NUDGED_LONG_AGO,
        )
        current = done if done.open else None
        if current is None:
            history.append(replace(done, id=f"{done.id}-{len(history)}"))


@given(st.sampled_from(Stage), st.sampled_from(Situation))
def test_every_stage_and_situation_is_either_in_the_table_or_stays(stage: Stage, situation: Situation) -> None:
    move = TRANSITIONS.get((stage, situation))
    assert move is None or move.stage is not stage
