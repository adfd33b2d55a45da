"""What the ladder does next with a task, and when at the earliest (rules T3 to T7, L1 to L3). Pure.

Nothing is reckoned out beside the rules: they themselves are asked, at every instant at which their answer may change,
on the assumption that nobody gives a sign of life meanwhile and that every source goes on being seen. So what is told
here is what the next beats will do, as long as nobody moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from heartbeat.judge import Judgement
from heartbeat.memory import EVERYBODY, Hold, Incident, Memory, Stage, Step, StepOutcome, Window
from heartbeat.plan import Acting
from heartbeat.planner import plan
from heartbeat.plural import counted
from heartbeat.policy import Charter, Recovery
from heartbeat.rules import stall
from heartbeat.rules.ladder import Climb, incident_id
from heartbeat.rules.talk import Talk, talks
from heartbeat.rules.windows import extended
from heartbeat.store.port import UNFINISHED, Entry, EntryKind
from heartbeat.task import Ref, Task

NOTHING = "none"
"""The action where nothing is to come."""


@dataclass(frozen=True, slots=True)
class Next:
    """The next thing that is done with a task: a `Step`'s value, or `none`.

    `at` is the earliest instant at which it is due; the first beat after that takes it. None where no instant can be
    told: nothing is to come, or it waits for somebody. `why` says what it waits for, or why nothing comes, and is empty
    where there is nothing but time to wait for.
    """

    action: str = NOTHING
    at: datetime | None = None
    why: str = ""


class Outlook:
    """What comes next, for the tasks of one look. `acting` is that of a look for which nobody acts; `entries` are the
    outbox's."""

    def __init__(self, judgement: Judgement, charter: Charter, acting: Acting, entries: Iterable[Entry] = ()) -> None:
        self.judgement = judgement
        self.charter = charter
        self.climbs = plan(judgement, acting, charter).climbs
        self._acting = acting
        self._incidents: dict[Ref, list[Incident]] = {}
        for incident in judgement.memory.incidents:
            for ref in incident.refs:
                self._incidents.setdefault(ref, []).append(incident)
        self._queued: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.kind is EntryKind.WRITE and entry.state in UNFINISHED and entry.payload.get("step"):
                self._queued.setdefault(entry.incident, []).append(entry)

    def next_step(self, task: Task) -> Next:
        """What the ladder does next with a task. A step that was decided and not carried out yet comes before any
        other; one that is due together with too many others waits for somebody (rule T6)."""
        incident = self.open_incident(task)
        queued = self._queued.get(incident.id) if incident is not None else None
        if queued:
            return _carried_out(queued, self.judgement.now)
        climbed = self.climbs.get(task.key)
        waits = "; ".join(climbed.waits) if climbed is not None else ""
        if self.judgement.memory.without:
            waits = "counted from now, as if a beat began to remember"
        for instant, climb in self._climbs(task):
            if climb is None or not climb.steps:
                continue
            action = _action(climb, task, self.charter)
            if instant > self.judgement.now:
                return Next(action, instant, waits)
            held = climb.due and climbed is not None and not climbed.steps
            return Next(action, None, f"{waits}; {_ways_out(incident)}") if held else Next(action, instant)
        return Next(why=self._why_nothing(task, climbed))

    def open_incident(self, task: Task) -> Incident | None:
        """The task's incident that is not over, as it is on record; of several the newest."""
        return next((each for each in self._of(task) if each.open), None)

    def _of(self, task: Task) -> tuple[Incident, ...]:
        """Every incident of a task that is remembered, each once, the newest first."""
        found = {each.id: each for ref in task.refs for each in self._incidents.get(ref, ())}
        return tuple(sorted(found.values(), key=lambda each: (each.opened_at, each.id), reverse=True))

    def _climbs(self, task: Task) -> Iterator[tuple[datetime, Climb | None]]:
        """Where the task stands now, and at each later instant at which that may change as long as nobody moves."""
        now = self.judgement.now
        # What a storm holds is asked about as if nothing did: `climbs` says that it does (rule T6).
        # A look that judged by the sources alone is followed by a beat that begins to remember (rules B5, T6).
        talk = talk_with(self.judgement, task, self.charter)
        shown_at = now if talk is None else talk.until
        memory = replace(
            self.judgement.memory, incidents=tuple(_shown(each, shown_at) for each in self._of(task)), without=False
        )
        scene = _alone(replace(self.judgement, memory=memory), task, self.charter, now)
        points = (each for each in _turning_points(scene, task, self.charter) if each > now)
        for instant in sorted({now, *points}):
            scene = _alone(scene, task, self.charter, instant)
            climb = plan(scene, self._acting, self.charter).climbs.get(task.key)
            yield instant, climb
            if climb is not None and climb.incident is not None:
                scene = replace(scene, memory=_with(scene.memory, climb.incident))

    def _why_nothing(self, task: Task, climb: Climb | None) -> str:
        policy, verdict = self.charter.policy_for(task.owner.id), self.judgement.stalls.get(task.key)
        incident = climb.incident if climb is not None else self.open_incident(task)
        resting = _resting(incident) if incident is not None else ""
        undone = [
            f"{taken.step.value} {taken.outcome.value}: {taken.detail}"
            for taken in (incident.steps if incident is not None else ())
            if taken.outcome in _UNDONE
        ]
        waits = climb.waits if climb is not None else ()
        if verdict is None or policy is None:
            return resting or "nobody works on it, so that nothing can stand still"
        if unseen := verdict.hindered_by(stall.UNSEEN):
            return f"nothing is done while {unseen[0].message}"
        if self.judgement.memory.observing:
            return "memory was lost and nobody has accepted that: heartbeat only observes"
        if policy.recovery is Recovery.OBSERVE:
            return "the roster says recovery: observe"
        if incident is None:
            over = next((each for each in self._of(task) if each.id == incident_id(verdict)), None)
            return f"incident {over.id} about the same silence is over: {over.why}" if over else "; ".join(waits)
        return "; ".join(dict.fromkeys((*([resting] if resting else []), *undone, *waits)))


def hold_on(memory: Memory, refs: Iterable[Ref], now: datetime) -> Hold | None:
    """The longest hold that stands on any of a task's refs (rule T5)."""
    holds = (memory.holds[ref] for ref in refs if ref in memory.holds)
    return max((hold for hold in holds if now < hold.until), key=lambda hold: hold.until, default=None)


def talk_with(judgement: Judgement, task: Task, charter: Charter) -> Talk | None:
    """The talk that keeps heartbeat from nudging the task's owner at that instant (rule B4)."""
    return talks(judgement.scene.presence, charter.quiet_after_talk, judgement.now).get(task.owner.id)


def _ways_out(incident: Incident | None) -> str:
    """How a storm ends, which nothing ends by itself (rule T6); `incident` is the one on record."""
    name = incident.id if incident is not None else "INCIDENT"
    settle = f"`heartbeat resolve {name} --why …` if it needs nothing"
    return f"{settle}, or raise `escalation.storm` in the roster to let them be recovered"


def _carried_out(queued: Iterable[Entry], now: datetime) -> Next:
    """The first of the writes that wait in the outbox."""
    first = min(queued, key=lambda entry: (entry.due_at, entry.key))
    tried = f"tried {counted(first.attempts, 'time')} in vain: {first.error}" if first.error else ""
    return Next(str(first.payload["step"]), max(first.due_at, now), tried)


def _action(climb: Climb, task: Task, charter: Charter) -> str:
    """The step by which people know what happens; a hand-over is one only where somebody is there to take it."""
    member = charter.members.get(task.owner.id)
    steps = [step for step in climb.steps if step is not Step.HAND_OVER or (member is not None and member.backup)]
    return steps[-1].value


def _shown(incident: Incident, at: datetime) -> Incident:
    """A nudge that its owner has not seen is shown then at the earliest. What holds an open one is left out here."""
    if incident.open:
        incident = replace(incident, why="", storm=0)
    if incident.open and incident.nudged_at is None and incident.taken(Step.NUDGE) is not None:
        return replace(incident, nudged_at=at)
    return incident


def _with(memory: Memory, incident: Incident) -> Memory:
    others = tuple(each for each in memory.incidents if each.id != incident.id)
    return replace(memory, incidents=(incident, *others))


def _alone(judgement: Judgement, task: Task, charter: Charter, instant: datetime) -> Judgement:
    """The judgement of this one task at an instant up to which every source that is complete now was watched."""
    scene, memory = judgement.scene, judgement.memory
    windows = {
        source: _watched(known, judgement.now, instant, charter.beat) if source in scene.complete else known
        for source, known in memory.windows.items()
    }
    memory = replace(memory, windows=windows)
    stalls = stall.stalls(
        [task],
        incomplete=scene.incomplete,
        presence=scene.presence,
        presence_unknown=scene.presence_unknown,
        presence_known=scene.presence_known,
        unknown_ids=scene.unknown_ids,
        memory=memory,
        charter=charter,
        now=instant,
    )
    return replace(
        judgement,
        now=instant,
        tasks={task.key: task},
        task_of=dict.fromkeys(task.refs, task),
        memory=memory,
        stalls=stalls,
        spending=(),
        notices=(),
    )


def _watched(windows: Sequence[Window], now: datetime, until: datetime, beat: timedelta) -> tuple[Window, ...]:
    """A look now, and no gap from then on."""
    *earlier, last = extended(windows, now, beat)
    return (*earlier, Window(last.began, until))


def _turning_points(judgement: Judgement, task: Task, charter: Charter) -> Iterator[datetime]:
    """Every instant at which a rule may say something else of a task on which nobody moves."""
    memory, now = judgement.memory, judgement.now
    policy, verdict = charter.policy_for(task.owner.id), judgement.stalls.get(task.key)
    if policy is None or verdict is None:
        return
    yield now + (policy.suspect_after - verdict.idle)
    yield now + (policy.recover_after - verdict.idle)
    yield now + (policy.runtime_limit - verdict.runtime)
    for ref in (*task.refs, *task.absent):
        known = memory.windows.get(ref.source, ())
        if known:
            yield known[-1].began + charter.beat
    for incident in memory.incidents:
        if incident.open and incident.nudged_at is not None:
            yield incident.nudged_at + (policy.recover_after - policy.suspect_after)
    hold = hold_on(memory, task.refs, now)
    if hold is not None:
        yield hold.until
    for pause in memory.pauses:
        if pause.agent in (task.owner.id, EVERYBODY) and pause.until is not None:
            yield pause.until
    talk = talk_with(judgement, task, charter)
    if talk is not None:
        yield talk.until


_RESTING: Mapping[Stage, str] = {
    Stage.TOLD: "it was told, and heartbeat may not act on it",
    Stage.RECOVERED: "it was recovered: whoever takes it up begins anew",
    Stage.LEFT_ALONE: "the end of the ladder: it is left alone until somebody changes it",
}


def _resting(incident: Incident) -> str:
    if incident.stage is Stage.ENDED:
        return f"incident {incident.id} is over: {incident.why}"
    return _RESTING.get(incident.stage, "")


_UNDONE = frozenset({StepOutcome.FAILED, StepOutcome.CONFLICT})
