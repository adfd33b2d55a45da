"""From verdicts to actions: which steps are taken now, and what is to be written and said (rules L, C, D). Pure.

Everything here has an idempotency key made of what it is about, so that a plan made twice is carried out once (L4).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from heartbeat.action import Level, Message, Operation, Write
from heartbeat.instants import to_text
from heartbeat.judge import Judgement
from heartbeat.memory import Clock, Ending, Incident, Stage, Step
from heartbeat.notices import harmless, say
from heartbeat.plan import Acting, Note, Plan, Planned, joined
from heartbeat.policy import Charter, Member, Policy, Recovery
from heartbeat.rules import rounds
from heartbeat.rules.activity import is_running
from heartbeat.rules.ladder import Climb, climb, ended
from heartbeat.rules.talk import Talk, says_deferred, talks
from heartbeat.rules.windows import settled
from heartbeat.steps import NAMED, StepFacts, at_work, name_of, notice_message, rounds_message, typed
from heartbeat.task import NOBODY, OwnerKind, Ref, Status, Task

_DAY = timedelta(days=1)


def plan(judgement: Judgement, acting: Acting, charter: Charter) -> Plan:
    """The steps that are due for the tasks that this tick acts for."""
    return _Planner(judgement, acting, charter).plan()


class _Planner:
    def __init__(self, judgement: Judgement, acting: Acting, charter: Charter) -> None:
        self._seen = judgement
        self._acting = acting
        self._charter = charter
        self._now = judgement.now
        self._talks = talks(judgement.scene.presence, charter.quiet_after_talk, judgement.now)
        self._incidents = judgement.memory.incidents
        self._open = {ref: each for each in reversed(self._incidents) if each.open for ref in each.refs}
        self._by_ref: dict[Ref, list[Incident]] = {}
        for each in self._incidents:
            for ref in each.refs:
                self._by_ref.setdefault(ref, []).append(each)

    def plan(self) -> Plan:
        climbs = self._climbs()
        due = [key for key, each in climbs.items() if each.due and self._somebody_acts_for(self._seen.tasks[key])]
        size = max((len(due), *(self._storm_of(self._seen.tasks[key]) for key in due)), default=0)
        storm = size > self._charter.escalation.storm
        if storm:
            climbs |= {key: self._held_by_storm(key, size) for key in due}
        told = frozenset(due if storm else ())
        mine = {
            key: each
            for key, each in climbs.items()
            if self._acts_for(self._seen.tasks[key]) or each.is_over or key in told
        }
        parts = [self._of_climb(key, each) for key, each in mine.items()]
        parts += [self._of_storm(due)] if storm else []
        spending = (each for each in self._seen.spending if self._acts_for(self._seen.tasks[each.task]))
        parts += [self._of_rounds(verdict) for verdict in spending]
        parts += [self._of_vanished(), self._of_notices()]
        return joined(parts, climbs)

    def _held_by_storm(self, key: str, size: int) -> Climb:
        """What was part of a storm stays held, also when others of it were resolved, until the roster allows as many at
        once: nobody who resolves one means to let the rest go (rule T6)."""
        held = self._climb(
            key, f"{size} tasks were due at once, more than {self._charter.escalation.storm}: one alarm instead"
        )
        if held.incident is None:
            return held
        return replace(held, incident=replace(held.incident, storm=size))

    def _storm_of(self, task: Task) -> int:
        """How many were due in the storm that the task is part of; 0 where it is part of none."""
        incident = self._incident_of(task)
        return incident.storm if incident is not None else 0

    def _climbs(self) -> dict[str, Climb]:
        """Every task with a stall or an open incident, in the order of work."""
        found: dict[str, Climb] = {}
        stalls = self._seen.stalls
        for key, task in self._seen.tasks.items():
            if key in stalls or self._incident_of(task) is not None:
                each = self._climb(key)
                if each is not None:
                    found[key] = each
        return found

    def _climb(self, key: str, held: str = "") -> Climb:
        task = self._seen.tasks[key]
        member, policy = self._rules_for(task)
        if policy is None:
            return self._without_numbers(task)
        owner = task.owner.id if task.owner.kind is OwnerKind.AGENT else ""
        pause = self._seen.memory.paused(owner, self._now)
        if pause is not None:
            held = f"paused: {pause.why}"
        current = self._incident_of(task)
        return climb(
            task,
            self._seen.stalls.get(key),
            current,
            [each for each in self._history_of(task) if each is not current],
            policy=policy,
            escalation=self._charter.escalation,
            allowed=self._allowed(policy),
            silent=member is None or owner in self._acting.silent,
            clocks=self._clocks_of(task),
            now=self._now,
            held=held,
            talk=self._talks.get(owner),
        )

    def _without_numbers(self, task: Task) -> Climb:
        """Work of nobody, or of a stranger, where no patrol agent acts for it: an incident may only end."""
        incident = self._incident_of(task)
        stall = self._seen.stalls.get(task.key)
        over = ended(task, stall, incident, self._clocks_of(task), self._now) if incident is not None else None
        return Climb(over or incident, waits=("nobody in the roster has numbers for it",))

    def _somebody_acts_for(self, task: Task) -> bool:
        """Whether any tick would act for it: what nobody can act for must not hold up what somebody can (rule T6)."""
        return bool(self._charter.patrols) or (
            task.owner.id in self._charter.members and task.owner.id not in self._acting.silent
        )

    def _clocks_of(self, task: Task) -> list[Clock]:
        """Without those that moved by what turned out to be ours: a look may see the effect of a write before it is
        known whose it is, when an answer was lost or its process died (rules T2, L3)."""
        known = (self._seen.memory.clocks.get(ref) for ref in task.refs)
        own = self._seen.memory.own
        return [clock for clock in known if clock and not (clock.activity and (clock.ref, clock.activity.id) in own)]

    def _history_of(self, task: Task) -> tuple[Incident, ...]:
        """The task's incidents, each once: a task of several origins finds them by any of its refs."""
        found = {each.id: each for ref in task.refs for each in self._by_ref.get(ref, ())}
        return tuple(found.values())

    def _allowed(self, policy: Policy) -> Recovery:
        return Recovery.OBSERVE if self._seen.memory.observing else policy.recovery

    def _rules_for(self, task: Task) -> tuple[Member | None, Policy | None]:
        member = self._charter.members.get(task.owner.id) if task.owner.kind is OwnerKind.AGENT else None
        return member, self._charter.policy_for(task.owner.id)

    def _incident_of(self, task: Task) -> Incident | None:
        return next((self._open[ref] for ref in task.refs if ref in self._open), None)

    def _acts_for(self, task: Task) -> bool:
        """Rule L0: the owner's tick acts; a patrol's for tasks of nobody, of strangers, and of the silent."""
        owner = task.owner
        if owner.kind is OwnerKind.AGENT and owner.id in self._acting.agents:
            return True
        if not self._acting.patrol:
            return False
        return (
            owner.kind is not OwnerKind.AGENT
            or owner.id not in self._charter.members
            or (owner.id in self._acting.silent)
        )

    # One climb: its incident, its writes and what is said.

    def _of_climb(self, key: str, each: Climb) -> Plan:
        task, incident = self._seen.tasks[key], each.incident
        before = self._incident_of(task)
        if incident is None or incident == before:
            return Plan()
        stall = self._seen.stalls.get(key)
        if stall is None or not each.steps:
            return Plan(incidents=(incident,), notes=tuple(_transition(before, incident, task, self._talks)))
        clocks = self._seen.memory.clocks
        facts = StepFacts(task, stall, incident, *self._rules_for(task), self._charter, clocks)
        writes = tuple(write for step in each.steps for write in self._writes(step, facts))
        if not any(planned.step is Step.HAND_OVER for planned in writes):
            # Without a backup there is nobody to hand over to, and nothing that would ever end the step.
            steps = tuple(taken for taken in incident.steps if taken.step is not Step.HAND_OVER)
            incident = replace(incident, steps=steps)
        return Plan(
            writes=writes,
            messages=tuple(facts.messages(Step.NOTIFY)) if Step.NOTIFY in each.steps else (),
            nudges=tuple(facts.nudge() for step in each.steps if step is Step.NUDGE),
            incidents=(incident,),
            notes=tuple(_transition(before, incident, task, self._talks)),
        )

    def _writes(self, step: Step, facts: StepFacts) -> Iterator[Planned]:
        """What a step writes. What is told of a recovery is told when it was carried out, not before."""
        then = tuple(facts.messages(step))
        for item in facts.items_at_work():
            recovery = facts.key_of(Step.RECOVER, item)
            for write in facts.writes(step, item):
                after = "" if write.key == recovery or step is Step.BLOCK else recovery
                yield Planned(write, facts.task.key, facts.incident.id, step, after, then)

    def _of_storm(self, due: Sequence[str]) -> Plan:
        """One alarm for all of them, and one a day for as long as its oldest incident stands (rule T6): what is held
        waits for a person."""
        tasks = [self._seen.tasks[key] for key in due]
        incidents = [found for task in tasks if (found := self._incident_of(task)) is not None]
        oldest = min((incident.opened_at for incident in incidents), default=self._now)
        names = "、".join(harmless(task.items[0].key) for task in tasks[:NAMED]) + ("…" if len(tasks) > NAMED else "")
        lasted = (self._now - oldest) // _DAY
        message = Message(
            key=f"storm/{to_text(oldest)}/{lasted}",
            to=("coo", "operator"),
            level=Level.CRITICAL,
            title=say("storm_title", count=len(due)),
            body=say("storm", count=len(due), storm=self._charter.escalation.storm, names=names),
            owner=NOBODY,
            creator=NOBODY,
        )
        allowed = any(self._allowed(policy) is not Recovery.OBSERVE for policy in self._policies(tasks))
        new = not any(self._storm_of(task) for task in tasks)
        note = Note("storm", f"{len(due)} tasks are due at once: one alarm, no recovery until somebody decides")
        return Plan(messages=(message,) if allowed else (), notes=(note,) if new else ())

    def _policies(self, tasks: Iterable[Task]) -> Iterator[Policy]:
        for task in tasks:
            _, policy = self._rules_for(task)
            if policy is not None:
                yield policy

    # Incidents whose task is gone.

    def _of_vanished(self) -> Plan:
        """Ended once their sources were read completely, twice, without them (rules L5, S2)."""
        gone = [
            incident
            for incident in self._incidents
            if incident.open and not any(ref in self._seen.task_of for ref in incident.refs)
            and all(self._sees(ref.source) or not self._is_read(ref.source) for ref in incident.refs)
        ]  # fmt: skip
        ended = tuple(
            replace(
                incident,
                stage=Stage.ENDED,
                ended_at=self._now,
                ending=Ending.VANISHED,
                why="the task is in no source any more",
            )
            for incident in gone
        )
        notes = tuple(Note("incident-ended", f"{each.title}: {each.why}", "", str(each.ref), each.id) for each in ended)
        return Plan(incidents=ended, notes=notes)

    def _is_read(self, source: str) -> bool:
        """Whether the source is still in use: what was taken out of the roster does not come back by itself."""
        return source in self._seen.scene.complete or source in self._seen.scene.incomplete

    def _sees(self, source: str) -> bool:
        known = self._seen.memory.windows.get(source, ())
        return source in self._seen.scene.complete and settled(known, self._now, self._charter.beat)

    # Rounds (rules C2, C3).

    def _of_rounds(self, verdict: rounds.Verdict) -> Plan:
        task = self._seen.tasks[verdict.task]
        if not all(self._sees(ref.source) for ref in task.refs):
            return Plan()  # due again at the next look, which sees enough (rules S2, T6)
        policy = self._rules_for(task)[1]
        allowed = Recovery.OBSERVE if policy is None else self._allowed(policy)
        if policy is None or allowed is Recovery.OBSERVE or self._seen.memory.paused(task.owner.id, self._now):
            return Plan()
        pausing = verdict.spend is rounds.Spend.EXHAUSTED
        acts = allowed is Recovery.ACT and not verdict.hindrances
        note = Note(
            "rounds-exhausted" if pausing else "rounds-warned",
            f"{task.title}: {verdict.rounds.used} of {verdict.limit} rounds used",
            task.owner.id,
            task.key,
        )
        stamp = rounds.paused if pausing else rounds.warned
        # A pause counts when it was carried out, and is told then (see actions.py).
        settled_now = not pausing or allowed is Recovery.NOTIFY
        message = rounds_message(task, verdict, policy, pausing, acts)
        return Plan(
            writes=tuple(self._rounds_writes(task, verdict, pausing, message)) if acts else (),
            messages=() if pausing and acts else (message,),
            rounds=stamp(task, self._seen.memory.rounds, self._now) if settled_now else (),
            notes=(note,) if settled_now else (),
        )

    def _rounds_writes(self, task: Task, verdict: rounds.Verdict, pausing: bool, message: Message) -> Iterator[Planned]:
        """A pause blocks every item at work; a warning stands on the first of them (rule C3)."""
        kind = "rounds_pause" if pausing else "rounds_warn"
        marks = [clock.progress.at for clock in self._clocks_of(task) if clock.progress is not None]
        facts = {"used": verdict.rounds.used, "limit": verdict.limit, "name": name_of(task), "typed": typed(task)}
        text = say(kind, **facts, progress=to_text(max(marks)) if marks else say("nobody"))
        working = [item for item in task.items if is_running(item)]
        for item in working if pausing else working[:1]:
            if item.status is Status.IN_PROGRESS:
                yield Planned(
                    Write(
                        key=f"{verdict.key}/{item.ref}",
                        ref=item.ref,
                        operation=Operation.BLOCK if pausing else Operation.COMMENT,
                        text=text,
                        expect=at_work(item, None, no_run=pausing),
                    ),
                    task.key,
                    then=(message,) if pausing else (),
                )

    # Waiting (rules D3 to D5).

    def _of_notices(self) -> Plan:
        """Told by the tick of whoever waits, or of a patrol."""
        if self._seen.memory.observing:
            return Plan()
        told = [
            notice
            for notice in self._seen.notices
            if any(self._tells(key) for key in {notice.task, *(one.task for one in notice.facts.waiting)})
        ]
        return Plan(messages=tuple(notice_message(notice, self._seen.tasks) for notice in told))

    def _tells(self, key: str) -> bool:
        task = self._seen.tasks.get(key)
        if task is None:
            return self._acting.patrol
        policy = self._rules_for(task)[1]
        if policy is None or policy.recovery is Recovery.OBSERVE:
            return False
        return self._acts_for(task) and self._seen.memory.paused(task.owner.id, self._now) is None


def _transition(before: Incident | None, after: Incident, task: Task, talking: Mapping[str, Talk]) -> Iterator[Note]:
    """What the log tells of a climb; that a person keeps the nudge away once a talk, when it begins to (rule B4)."""
    owner = task.owner.id
    if before is None:
        yield Note("incident-opened", f"{task.title}: suspected", owner, task.key, after.id)
    elif after.stage is Stage.ENDED:
        yield Note("incident-ended", f"{task.title}: {after.why}", owner, task.key, after.id)
    if says_deferred(after.why) and owner in talking and (before is None or before.why != after.why):
        yield Note("deferred", f"{task.title}: {talking[owner].told}", owner, task.key, after.id)
    known = before.steps if before else ()
    for taken in after.steps[len(known) :]:
        yield Note(f"step-{taken.step.value.replace('_', '-')}", task.title, owner, task.key, after.id)
