"""The ladder: what becomes of a stall, rung by rung, as a table of transitions (rules L1 to L6, T6). Pure.

An incident is one quiet spell of one task. It opens at `suspected` with a nudge; at `confirmed` the task is recovered
once; the second recovery within the window hands the task over, the third blocks it, and then it is left alone until
somebody changes it. Where heartbeat may not act, it tells; where it cannot know yet, it waits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import count

from heartbeat.memory import Clock, Ending, Incident, Stage, Step, StepOutcome, StepTaken
from heartbeat.plural import counted
from heartbeat.policy import Escalation, Policy, Recovery
from heartbeat.rules.activity import NO_EPOCH
from heartbeat.rules.stall import Level, Stall
from heartbeat.rules.talk import Talk, says_deferred
from heartbeat.task import Status, Task

_LAST = 3
"""The recovery that ends the ladder (rule L3)."""


class Situation(StrEnum):
    """What a look says of a task's incident."""

    CALM = "calm"
    SUSPECTED = "suspected"
    HELD = "held"
    """Confirmed or not, nothing may be done about it yet: two looks, the nudge's time, a hold, a storm, a pause."""
    TELL = "tell"
    """Confirmed, and telling is all that heartbeat may do: by the roster, or because of a run (rules R3a, T7)."""
    FIRST = "first"
    AGAIN = "again"
    LAST = "last"


RECOVERIES = frozenset({Situation.FIRST, Situation.AGAIN, Situation.LAST})


@dataclass(frozen=True, slots=True)
class Move:
    """Where a rung leads, and the steps to take on the way."""

    stage: Stage
    steps: tuple[Step, ...] = ()


_OPENING = Move(Stage.SUSPECTED, (Step.NUDGE,))
_RUNGS: Mapping[Situation, Move] = {
    Situation.FIRST: Move(Stage.RECOVERED, (Step.RECOVER,)),
    Situation.AGAIN: Move(Stage.RECOVERED, (Step.RECOVER, Step.HAND_OVER)),
    Situation.LAST: Move(Stage.LEFT_ALONE, (Step.BLOCK,)),
}

TRANSITIONS: Mapping[tuple[Stage | None, Situation], Move] = {
    # No incident yet. Whatever a first look says, the ladder is climbed from its foot (rules L1, T6).
    **{(None, situation): _OPENING for situation in Situation if situation not in (Situation.CALM, Situation.HELD)},
    # Suspected: wait, tell, or recover.
    (Stage.SUSPECTED, Situation.CALM): Move(Stage.ENDED),
    (Stage.SUSPECTED, Situation.TELL): Move(Stage.TOLD, (Step.NOTIFY,)),
    **{(Stage.SUSPECTED, situation): move for situation, move in _RUNGS.items()},
    # Told: the same, as soon as heartbeat may act.
    (Stage.TOLD, Situation.CALM): Move(Stage.ENDED),
    **{(Stage.TOLD, situation): move for situation, move in _RUNGS.items()},
    # Recovered, or left alone: until somebody changes the task.
    (Stage.RECOVERED, Situation.CALM): Move(Stage.ENDED),
    (Stage.LEFT_ALONE, Situation.CALM): Move(Stage.ENDED),
}
"""From a stage (None: no incident) by a situation; what is not listed stays as it is."""


@dataclass(frozen=True, slots=True)
class Climb:
    """What one look makes of one task. `incident` is its new state, None where there is none to speak of.

    `due` says that somebody would be told or the task recovered by these steps: what a storm counts (rule T6).
    `waits` says in words why nothing more is done yet.
    """

    incident: Incident | None
    steps: tuple[Step, ...] = ()
    situation: Situation = Situation.CALM
    waits: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        return self.incident is not None and not self.incident.open

    @property
    def due(self) -> bool:
        return bool({Step.NOTIFY, Step.RECOVER, Step.BLOCK} & set(self.steps))


def incident_id(stall: Stall, earlier: Iterable[Incident] = ()) -> str | None:
    """The name of a quiet spell: the task, its epoch, and the last sign of life (of progress, for a looping worker).

    A spell whose incident ended (by a conflict, say) and that goes on gets the next name; None where a person resolved
    it: then it is not opened again.
    """
    known = {old.id: old for old in earlier}
    for number in count():
        name = _spell(stall, number)
        if name not in known:
            return name
        if known[name].ending is Ending.RESOLVED:
            return None
    raise AssertionError("there are always more numbers")


def _spell(stall: Stall, number: int) -> str:
    last = stall.progress if stall.looping else stall.activity
    spell = f"{stall.task}|{stall.epoch}|{'loop' if stall.looping else 'idle'}|{last.at.isoformat() if last else ''}"
    spell += f"|{number}" if number else ""
    return hashlib.sha256(spell.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def climb(
    task: Task,
    stall: Stall | None,
    incident: Incident | None,
    history: Iterable[Incident],
    *,
    policy: Policy,
    escalation: Escalation,
    allowed: Recovery,
    silent: bool,
    clocks: Iterable[Clock],
    now: datetime,
    held: str = "",
    talk: Talk | None = None,
) -> Climb:
    """One look at one task: where its incident stands now, and which steps to take.

    `incident` is the open one, `history` the task's others. `silent`: nobody can show its owner a nudge. `held` is a
    reason from outside (a pause, a storm) to do nothing more. `clocks` are those of the task's items. While `talk` goes
    on its owner is not nudged (rule B4), and what has to come after the nudge waits with it (rule T6).
    """
    earlier = tuple(history)
    if incident is not None:
        closed = ended(task, stall, incident, clocks, now)
        if closed is not None:
            return Climb(closed, (), Situation.CALM)
        hindered = _hindered(incident)
        if hindered is not None:
            return _told_instead(incident, hindered, now)
    number = 1 + sum(_counts(old, escalation.window, now) for old in earlier)
    situation, waits = _situation(
        stall,
        incident,
        number,
        policy=policy,
        allowed=allowed,
        silent=silent,
        now=now,
        held=held,
        split=task.split,
    )
    if incident is None:
        return _foot(task, stall, earlier, situation, waits, allowed=allowed, silent=silent, now=now, talk=talk)
    if situation is Situation.CALM:
        # What ends an incident was asked above; a task that is merely not judged now keeps it.
        return Climb(incident, (), Situation.HELD, waits)
    lacking = _lacks_its_nudge(incident) and allowed is not Recovery.OBSERVE and not held
    if talk is not None and (lacking or (_has_a_nudge_to_show(incident) and not silent)):
        return Climb(replace(incident, why=talk.why), (), situation, (*waits, talk.told))
    if says_deferred(incident.why):
        incident = replace(incident, why="")
    move = TRANSITIONS.get((incident.stage, situation))
    if lacking:
        # Whoever should have been nudged was not: heartbeat only observed, or a person was talking. Without that
        # nothing may follow (T6).
        move, situation = _OPENING, Situation.SUSPECTED
    if move is None:
        return Climb(incident, (), situation, waits)
    steps = () if allowed is Recovery.OBSERVE else move.steps
    after = _with_steps(replace(incident, stage=move.stage, why="", storm=0), steps, number, silent, now)
    return Climb(after, steps, situation, waits)


def ended(
    task: Task, stall: Stall | None, incident: Incident, clocks: Iterable[Clock], now: datetime
) -> Incident | None:
    """The incident after its end, where it is over; None where it goes on (rule L5)."""
    over = _ending(task, stall, incident, tuple(clocks))
    if over is None:
        return None
    return replace(incident, stage=Stage.ENDED, ended_at=now, ending=over[0], why=over[1])


def _hindered(incident: Incident) -> StepTaken | None:
    """The step that came upon a run when it was to be carried out."""
    return next((taken for taken in incident.steps if taken.outcome is StepOutcome.HINDERED), None)


def _told_instead(incident: Incident, hindered: StepTaken, now: datetime) -> Climb:
    """Back to where it may be tried again, and people are told once (rule T7)."""
    steps = tuple(taken for taken in incident.steps if taken.step not in _WRITTEN)
    told = () if incident.taken(Step.NOTIFY) else (Step.NOTIFY,)
    taken = tuple(StepTaken(step, now, StepOutcome.DONE) for step in told)
    after = replace(
        incident, stage=Stage.TOLD, steps=(*steps, *taken), number=0, recovered_at=None, why=hindered.detail
    )
    return Climb(after, told, Situation.TELL, (hindered.detail,))


def _foot(
    task: Task,
    stall: Stall | None,
    earlier: Iterable[Incident],
    situation: Situation,
    waits: tuple[str, ...],
    *,
    allowed: Recovery,
    silent: bool,
    now: datetime,
    talk: Talk | None,
) -> Climb:
    """A task without an open incident: one is opened where it stands still, and nobody resolved this very spell."""
    move = TRANSITIONS.get((None, situation))
    name = incident_id(stall, earlier) if stall is not None and move is not None else None
    if stall is None or move is None or name is None:
        return Climb(None, (), situation, waits)
    steps = () if allowed is Recovery.OBSERVE or talk is not None else move.steps
    deferred = talk if allowed is not Recovery.OBSERVE else None
    opened = Incident(
        id=name,
        ref=task.ref,
        refs=task.refs,
        epoch=stall.epoch,
        title=task.title,
        owner=task.owner,
        opened_at=now,
        stage=move.stage,
        why=deferred.why if deferred is not None else "",
    )
    waits = (*waits, deferred.told) if deferred is not None else waits
    return Climb(_with_steps(opened, steps, 0, silent, now), steps, situation, waits)


def _lacks_its_nudge(incident: Incident) -> bool:
    return incident.stage is Stage.SUSPECTED and incident.taken(Step.NUDGE) is None and incident.nudged_at is None


def _has_a_nudge_to_show(incident: Incident) -> bool:
    """Whether its nudge waits for the owner's next worklist."""
    nudge = incident.taken(Step.NUDGE)
    return incident.stage is Stage.SUSPECTED and nudge is not None and incident.nudged_at is None


def _with_steps(incident: Incident, steps: Sequence[Step], number: int, silent: bool, now: datetime) -> Incident:
    taken = tuple(
        StepTaken(step, now, StepOutcome.DONE if _is_over(step, silent) else StepOutcome.DUE)
        for step in steps
        if incident.taken(step) is None
    )
    recovering = {Step.RECOVER, Step.BLOCK} & set(steps)
    return replace(
        incident,
        steps=(*incident.steps, *taken),
        number=number if recovering else incident.number,
        recovered_at=now if recovering else incident.recovered_at,
        nudged_at=now if silent and Step.NUDGE in steps else incident.nudged_at,
    )


def _is_over(step: Step, silent: bool) -> bool:
    """Whether a step is done by being taken: what is told is in the outbox's hands; a nudge must still be shown."""
    return step is Step.NOTIFY or (step is Step.NUDGE and silent)


def _counts(old: Incident, window: timedelta, now: datetime) -> bool:
    """Only incidents that reached recovery count, and only those that carried it out (rule L3)."""
    if old.recovered_at is None or now - old.recovered_at > window:
        return False
    taken = old.taken(Step.BLOCK) or old.taken(Step.RECOVER)
    return taken is not None and taken.outcome is StepOutcome.DONE


def _situation(
    stall: Stall | None,
    incident: Incident | None,
    number: int,
    *,
    policy: Policy,
    allowed: Recovery,
    silent: bool,
    now: datetime,
    held: str,
    split: bool,
) -> tuple[Situation, tuple[str, ...]]:
    if stall is None or stall.level is Level.NONE:
        return Situation.CALM, ()
    if held and incident is None:
        return Situation.HELD, (held,)
    if stall.level is Level.SUSPECTED:
        return Situation.SUSPECTED, ()
    waits = tuple(_waits(stall, incident, policy, silent, now, held))
    if incident is None:
        return Situation.SUSPECTED, waits
    if waits or allowed is Recovery.OBSERVE:
        return Situation.HELD, waits
    runs = tuple(each.message for each in stall.hindrances if each.code in _RUNS)
    if allowed is Recovery.NOTIFY or runs or split:
        return Situation.TELL, runs or ("its records disagree" if split else "the roster says recovery: notify",)
    return (Situation.FIRST, Situation.AGAIN, Situation.LAST)[min(number, _LAST) - 1], ()


_RUNS = frozenset({"run-active", "run-unknown"})


def _waits(
    stall: Stall, incident: Incident | None, policy: Policy, silent: bool, now: datetime, held: str
) -> Iterable[str]:
    if held:
        yield held
    yield from (each.message for each in stall.hindrances if each.code not in _RUNS)
    if incident is None:
        return
    nudge = incident.taken(Step.NUDGE)
    # An owner who fell silent since will not be shown it; it had as long as everybody else to come and look (rule L0).
    nudged_at = incident.nudged_at or (nudge.at if silent and nudge is not None else None)
    patience = policy.recover_after - policy.suspect_after
    if nudged_at is None:
        yield "its owner has not been shown the nudge yet"
    elif now - nudged_at < patience:
        yield f"its owner was nudged {counted(int((now - nudged_at).total_seconds() // 60), 'minute')} ago"


def _ending(task: Task, stall: Stall | None, incident: Incident, clocks: Sequence[Clock]) -> tuple[Ending, str] | None:
    """Whether the incident is over, and why (rule L5)."""
    if task.closed:
        return Ending.DONE, "the task is closed"
    if task.stale or task.absent or task.status is Status.UNKNOWN:
        return None
    if incident.stage in (Stage.SUSPECTED, Stage.TOLD):
        return _ending_of_a_stall(task, stall, incident)
    since = incident.recovered_at or incident.opened_at
    recovery = incident.taken(Step.BLOCK) or incident.taken(Step.RECOVER)
    if recovery is not None and recovery.outcome is StepOutcome.CONFLICT:
        return Ending.HANDED_OVER, recovery.detail or "somebody else acted meanwhile"
    if recovery is not None and recovery.outcome is StepOutcome.FAILED:
        return Ending.GIVEN_UP, recovery.detail or "the recovery was given up"
    if recovery is None or any(each.step in _WRITTEN and each.outcome is StepOutcome.DUE for each in incident.steps):
        # What shows on the task may be our own write, of which nobody has heard yet what came of it.
        return None
    signs = [clock.activity.at for clock in clocks if clock.activity is not None]
    if signs and max(signs) > since:
        return Ending.PROGRESS, "somebody changed the task"
    if recovery.outcome is StepOutcome.DONE and task.status not in (Status.BLOCKED, Status.IN_PROGRESS):
        said = task.status.value.replace("_", " ")
        return Ending.HANDED_OVER, f"the task is {said}: whoever takes it begins anew"
    began = max((clock.began_at for clock in clocks if clock.epoch != NO_EPOCH), default=None)
    if task.status is Status.IN_PROGRESS and began is not None and began >= since:
        return Ending.HANDED_OVER, "somebody claimed the task anew"
    return None


def _ending_of_a_stall(task: Task, stall: Stall | None, incident: Incident) -> tuple[Ending, str] | None:
    if stall is None:
        return Ending.PROGRESS, f"the task is {task.status.value.replace('_', ' ')}"
    if stall.epoch != incident.epoch:
        return Ending.HANDED_OVER, "somebody claimed the task anew"
    if stall.level is Level.NONE and not any(each.code in _UNDECIDED for each in stall.hindrances):
        return Ending.PROGRESS, stall.reasons[0] if stall.reasons else "there is activity again"
    return None


_WRITTEN = frozenset({Step.RECOVER, Step.HAND_OVER, Step.BLOCK})
"""Steps that write to the task."""

_UNDECIDED = frozenset({"held", "unseen"})
"""While a hold stands, or the task cannot be seen, its incident neither ends nor goes on (rules T5, S2)."""
