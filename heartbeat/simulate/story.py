"""What a beat leaves on a simulation's timeline: what was seen and judged, what was done about it, and whom it started.

Also keeps what nobody can tell afterwards, for the numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from heartbeat.attempt import Attempt, LetterState, Outcome
from heartbeat.beat import Beat, Tick
from heartbeat.memory import Incident, Step
from heartbeat.rules.dispatching import Skip
from heartbeat.rules.ladder import Situation
from heartbeat.simulate.jobs import Job
from heartbeat.simulate.neglect import WILLED, Neglect
from heartbeat.simulate.store import SimulatedStore
from heartbeat.simulate.team import SimulatedTeam
from heartbeat.simulate.world import Kind, Moment
from heartbeat.store.port import LogEntry
from heartbeat.systems.base import ReadStatus
from heartbeat.task import Ref, State

STORM = "storm/"
"""How the key of the one alarm begins that stands for many (rule T6)."""

_TOLD_OTHERWISE = frozenset(
    {
        "notify",
        "write-done",
        "step-recover",
        "step-hand-over",
        "step-block",
        "dispatch-planned",
        "letter-retry",
    }
)
"""Entries of the log that the timeline tells in other words: by the message, the write, what opened the incident, the
turn that was started, or what a person did."""

_KINDS: Mapping[str, Kind] = {
    "incident": Kind.INCIDENT,
    "write": Kind.WRITE,
    "notify": Kind.MESSAGE,
    "dispatch": Kind.TURN,
    "dead": Kind.TURN,
    "letter": Kind.TURN,
}

_WORDS: Mapping[str, str] = {
    "incident-opened": "suspects a stall",
    "incident-ended": "the incident is over",
    "step-nudge": "nudges its worker, on top of its next worklist",
    "step-notify": "tells of it, since it may not act",
    "write-conflict": "lets it be, since somebody acted meanwhile",
    "write-retry": "could not do it, and will try again",
    "write-dead": "gives it up",
    "rounds-warned": "warns of the rounds used",
    "rounds-exhausted": "pauses it, its rounds being used up",
    "notify": "could not deliver",
    "dispatch-started": "starts {agent} on it",
    "dispatch-ended": "its turn with {provider} came to nothing",
    "dispatch-retry": "asks {provider} again for a turn",
    "dispatch-unknown": "does not know whether its turn began",
    "dispatch-found": "finds that its turn had begun",
    "dispatch-overdue": "cannot stop its turn, which is over its time",
    "dead-letter": "nobody is left to ask: it is a dead letter now",
    "letter-replayed": "the dead letter is done with",
    "letter-dropped": "the dead letter is dropped",
}
"""What the log's actions are in a story."""

_REPLAYED = "starts {agent} on it again, out of its dead letter"


@dataclass(slots=True)
class Story:
    """Tells of one beat after the other. `opened` maps incident ids to their task's name, and to whether somebody
    worked on the task when they opened; `told` names the tasks that somebody was told of."""

    team: SimulatedTeam
    store: SimulatedStore
    beats: int = 0
    degraded: int = 0
    opened: dict[str, tuple[str, bool]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    """Beats in which heartbeat started nobody that it might have started, by reason."""
    neglect: Neglect = field(init=False)
    _statuses: dict[str, tuple[ReadStatus, str]] = field(default_factory=dict)
    _planned: dict[str, str] = field(default_factory=dict)
    """Why a turn was planned as it was, by dispatch id."""

    def __post_init__(self) -> None:
        self.neglect = Neglect(self.team.turns.failover.rules)

    def note(self, done: Tick, before: Collection[str], acts: Iterable[Moment]) -> None:
        """What was seen and judged first, then what was done about it. `before` names the tasks that were worked on
        when the beat began, `acts` are what happened in the world while it lasted."""
        for beat in done.beats:
            self.beats += beat.receipt is not None
            self.degraded += beat.receipt is not None and beat.receipt.degraded
            if self.team.engine_of(beat.agent.id) is not None:
                self._note_turn(beat)
        self._note_sources(done)
        for incident in done.plan.incidents:
            self._note_incident(incident, before)
        if any(message.key.startswith(STORM) for message in done.plan.messages):
            held = (key for key, climb in done.plan.climbs.items() if climb.situation is Situation.HELD)
            self.told.update(map(self.team.name_of, held))
        for entry in self.store.news:
            if not _is_outcome(entry):
                self._note_log(entry, done)
        self.team.world.moments += (replace(act, task=self.team.name_of(act.task)) for act in acts)
        for entry in self.store.news:
            if _is_outcome(entry):
                self._note_log(entry, done)
        self.store.news.clear()

    def _note_turn(self, beat: Beat) -> None:
        """Whether a turn was started for an agent, and whether one should have been."""
        decision = beat.turn.decision if beat.turn is not None else None
        if isinstance(decision, Skip):
            self.skipped[decision.reason.value] += 1
        name, own = beat.agent.id, beat.worklist
        known = [job for each in own.in_state(State.READY) if (job := self._job(each.task.refs))] if own else []
        ready = [job for job in known if self.team.can_be_started_on(name, job)]
        willed = isinstance(decision, Skip) and decision.reason in WILLED
        if willed or self.team.world.down or not self.team.may_be_started(name):
            self.neglect.begin_anew(ready)
            return
        given_up = {ref for each in self.store.letters() if each.state is LetterState.EXHAUSTED for ref in each.refs}
        left = [job for job in ready if not given_up.isdisjoint(job.refs)]
        self.neglect.note(beat.agent.policy, ready, left, self.team.world.now)

    def _note_sources(self, done: Tick) -> None:
        for report in done.observation.sweep.reports if done.observation else ():
            status = (report.status, report.kind.value if report.kind else "")
            known = self._statuses.get(report.source, (ReadStatus.COMPLETE, ""))
            if status[0] is not ReadStatus.DISABLED and status != known:
                self._statuses[report.source] = status
                told = f"heartbeat: {report.source} is {report.status.value}"
                self.team.world.tell(Kind.SOURCE, told, why=report.message)

    def _note_incident(self, incident: Incident, before: Collection[str]) -> None:
        job = self._job(incident.refs)
        name = job.name if job else incident.title
        if incident.id not in self.opened:
            self.opened[incident.id] = (name, job is not None and job.name in before)
        if incident.taken(Step.NOTIFY) is not None:
            self.told.add(name)

    def _note_log(self, entry: LogEntry, done: Tick) -> None:
        if entry.action == "dispatch-planned":
            self._planned[str(entry.details["dispatch"])] = entry.message
        if entry.action in _TOLD_OTHERWISE and not _is_failed_letter(entry):
            return
        if entry.action.startswith("dispatch-") and self._is_usual(entry):
            return
        replayed = entry.action == "dispatch-started" and self._is_replay(entry)
        words = _REPLAYED if replayed else _WORDS.get(entry.action, entry.action.replace("-", " "))
        self.team.world.tell(
            _KINDS.get(entry.action.partition("-")[0], Kind.STEP),
            f"heartbeat: {words.format(agent=entry.agent, provider=entry.details.get('provider', ''))}",
            task=self.team.name_of(entry.task) if entry.task else "",
            agent=entry.agent,
            why=self._why(entry, done),
        )

    def _is_usual(self, entry: LogEntry) -> bool:
        """What goes as it should is told once for a task: not each turn that completed, and the next one like it."""
        attempt = self.store.attempt(str(entry.details["dispatch"]))
        if attempt is None:
            return False
        if entry.action == "dispatch-ended":
            return attempt.outcome is Outcome.COMPLETED
        before = self._before(attempt)
        return (
            entry.action == "dispatch-started"
            and before is not None
            and before.outcome is Outcome.COMPLETED
            and before.provider == attempt.provider
        )

    def _is_replay(self, entry: LogEntry) -> bool:
        attempt = self.store.attempt(str(entry.details["dispatch"]))
        return attempt is not None and bool(attempt.letter)

    def _before(self, attempt: Attempt) -> Attempt | None:
        """The attempt on the same task before this one."""
        earlier = [each for each in self.store.attempts(refs=attempt.refs) if each.number < attempt.number]
        return earlier[-1] if earlier else None

    def _why(self, entry: LogEntry, done: Tick) -> str:
        """For what opens or climbs, the verdict's own reasons; for a turn, those of the choice; for the rest, the log's
        words."""
        seen = done.observation
        if entry.action == "dispatch-started":
            return self._planned.pop(str(entry.details["dispatch"]), "")
        if seen is not None and entry.action.startswith(("incident-opened", "step-")):
            stall = seen.judgement.stalls.get(entry.task)
            climb = done.plan.climbs.get(entry.task)
            waits = climb.waits if climb is not None else ()
            if stall is not None:
                return "; ".join((*stall.reasons, *waits))
        return entry.message.partition(": ")[2] or entry.message

    def _job(self, refs: Iterable[Ref]) -> Job | None:
        return next((self.team.by_ref[ref] for ref in refs if ref in self.team.by_ref), None)


def _is_outcome(entry: LogEntry) -> bool:
    return entry.action == "notify" or entry.action.startswith("write-")


def _is_failed_letter(entry: LogEntry) -> bool:
    return entry.action == "notify" and entry.details.get("outcome") not in ("sent", None)
