"""Why a task is where it is: everything that any rule knows of it, put together. Pure; nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from heartbeat.attempt import Attempt, DeadLetter, LetterState
from heartbeat.instants import to_text
from heartbeat.judge import Judgement
from heartbeat.memory import EVERYBODY, Clock, Hold, Incident, Pause, Rounds
from heartbeat.plural import counted
from heartbeat.policy import Policy, Recovery
from heartbeat.report.outlook import Next, Outlook, hold_on, talk_with
from heartbeat.rules import rounds, stall
from heartbeat.rules.activity import ACTIVITY, PROGRESS, is_running
from heartbeat.rules.dependencies import Gate, Wait
from heartbeat.rules.dispatching import Continue, Decision, Skip
from heartbeat.rules.dispatching import Reason as NotStarted
from heartbeat.rules.stall import Stall
from heartbeat.store.port import Entry, Link, LogEntry
from heartbeat.task import NOBODY, Evidence, Finding, Owner, OwnerKind, Presence, Ref, Task
from heartbeat.worklist import Standing

SIGNS = 20
"""How many of a task's newest signs are told."""

NEWS = 20
"""How many of its newest log entries are told."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that happened to a task. `own`: heartbeat's rules wrote it. `counts` is `progress`, `activity` or
    `nothing` (rules T1, T2)."""

    evidence: Evidence
    own: bool
    counts: str


@dataclass(frozen=True, slots=True)
class Bond:
    """Why two refs are one task. `via` is how that was first known: `reference`, `title`; `made_at` is when, None
    where it is not on record yet."""

    first: Ref
    second: Ref
    via: str
    made_at: datetime | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A dependency that is not satisfied. `title` and `owner` are the blocker's, where there is one.

    `since` is when it was first seen; at `told_at` the blocker's owner is told (rule D4). None where it is not known
    and where nobody is told.
    """

    wait: Wait
    since: datetime | None
    told_at: datetime | None
    title: str = ""
    owner: Owner = NOBODY


@dataclass(frozen=True, slots=True)
class Reason:
    """What one rule says: its number, what it is about in a word, and a sentence."""

    rule: str
    about: str
    message: str


@dataclass(frozen=True, slots=True)
class Records:
    """What the store knows, of any task."""

    links: Sequence[Link] = ()
    incidents: Sequence[Incident] = ()
    entries: Sequence[Entry] = ()
    log: Sequence[LogEntry] = ()
    attempts: Sequence[Attempt] = ()
    letters: Sequence[DeadLetter] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """What the next beat of its agent would decide about a turn on it (rule X1). `decision` is `continue`, `start` or
    `none`; `reason` a word of rules/dispatching.py, or `order` where another task goes first, and empty where one is
    started. `until` is when that may change by itself, where it is known."""

    decision: str
    told: str
    reason: str = ""
    provider: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """One task with all that is known of it. `standing` is None where no source shows it any more.

    `records` holds what is on record about this task only: incidents newest first, the outbox earliest first, the
    newest of the log, oldest first, its attempts, oldest first, and its dead letters. `stall` is None where nobody
    works on it, or where it is nobody's to judge; `turn` where no agent of the roster would be started on it.
    """

    refs: tuple[Ref, ...]
    title: str
    owner: Owner
    standing: Standing | None
    policy: Policy | None
    stall: Stall | None
    bonds: tuple[Bond, ...]
    clocks: tuple[Clock, ...]
    signs: tuple[Sign, ...]
    presence: tuple[Presence, ...]
    waits: tuple[Waiting, ...]
    blocks: tuple[Standing, ...]
    """Who waits for it."""
    rounds: Rounds | None
    limit: int | None
    hold: Hold | None
    pause: Pause | None
    records: Records
    findings: tuple[Finding, ...]
    next: Next
    reasons: tuple[Reason, ...]
    turn: Turn | None = None

    @property
    def letter(self) -> DeadLetter | None:
        """Its open dead letter (rule F4)."""
        return next((each for each in self.records.letters if each.is_open), None)


def explain(
    outlook: Outlook,
    refs: Sequence[Ref],
    *,
    title: str,
    owner: Owner,
    records: Records,
    findings: Iterable[Finding] = (),
    silent: Mapping[str, datetime] | None = None,
    decision: Decision | None = None,
) -> Explanation:
    """The explanation of the task that these refs are, whether or not a source shows it now.

    `records` is what the store holds, about anything; `findings` those of this look, about anything; `silent` since
    when agents have left no receipt; `decision` is what the next beat of its agent would decide.
    """
    judgement, charter = outlook.judgement, outlook.charter
    task = next((judgement.task_of[ref] for ref in refs if ref in judgement.task_of), None)
    standing = next((each for each in judgement.standings if task is not None and each.task.key == task.key), None)
    about = frozenset(refs) | (frozenset((*task.refs, *task.absent)) if task is not None else frozenset())
    owner, title = (task.owner, task.title) if task is not None else (owner, title)
    policy = charter.policy_for(owner.id) if owner.kind is not OwnerKind.PERSON else None
    spent = _rounds(judgement, task, about)
    told = Explanation(
        refs=(*(task.refs if task is not None else ()), *sorted(about - frozenset(task.refs if task else ()))),
        title=title,
        owner=owner,
        standing=standing,
        policy=policy,
        stall=judgement.stalls.get(task.key) if task is not None else None,
        bonds=tuple(_bonds(task, records.links, about)),
        clocks=tuple(judgement.memory.clocks[ref] for ref in sorted(about) if ref in judgement.memory.clocks),
        signs=tuple(_signs(judgement, about)),
        presence=tuple(each for each in judgement.scene.presence if _concerns(each, about, owner)),
        waits=tuple(_waiting(judgement, standing, policy)) if standing is not None else (),
        blocks=tuple(
            each
            for each in judgement.standings
            if task is not None and any(wait.blocker == task.key for wait in each.waits)
        ),
        rounds=spent,
        limit=rounds.limit_of(spent, policy) if spent is not None and policy is not None else None,
        hold=hold_on(judgement.memory, about, judgement.now),
        pause=judgement.memory.paused(owner.id, judgement.now) if owner.kind is OwnerKind.AGENT else None,
        records=_about(records, about),
        findings=tuple(each for each in findings if not about.isdisjoint(each.refs)),
        next=outlook.next_step(task) if task is not None else Next(why=_out_of_sight(about, judgement)),
        reasons=(),
        turn=_turn(decision, task) if decision is not None and task is not None else None,
    )
    return replace(told, reasons=tuple(_reasons(told, outlook, silent or {})))


def _turn(decision: Decision, task: Task) -> Turn | None:
    """What a decision for its agent means for one task."""
    if task.closed:
        return None
    if not isinstance(decision, Skip) and decision.task.key == task.key:
        word = "continue" if isinstance(decision, Continue) else "start"
        return Turn(word, decision.told, provider=decision.provider.name)
    passed = next((each for each in decision.passed if each.task.key == task.key), None)
    if passed is not None:
        return Turn("none", passed.told, passed.reason.value, until=passed.until)
    if isinstance(decision, Skip):
        return Turn("none", decision.told, decision.reason.value, until=decision.until)
    return Turn("none", f"{decision.task.items[0].key} goes first", "order")


def _out_of_sight(about: frozenset[Ref], judgement: Judgement) -> str:
    """An outage is not absence (rule S2)."""
    unread = sorted({ref.source for ref in about} & judgement.scene.incomplete)
    return f"it cannot be seen now: {', '.join(unread)} was not read" if unread else "no source shows it any more"


def _bonds(task: Task | None, remembered: Iterable[Link], about: frozenset[Ref]) -> Iterator[Bond]:
    kept = {frozenset((each.first, each.second)): each for each in remembered if {each.first, each.second} <= about}
    for link in task.links if task is not None else ():
        known = kept.pop(frozenset((link.first, link.second)), None)
        yield Bond(link.first, link.second, known.via if known else link.via, known.made_at if known else None)
    yield from (Bond(each.first, each.second, each.via, each.made_at) for each in kept.values())


def _rounds(judgement: Judgement, task: Task | None, about: frozenset[Ref]) -> Rounds | None:
    known = judgement.memory.rounds
    rows = [known[ref] for ref in sorted(about) if ref in known]
    if not rows:
        return None
    return rounds.together(task, known) if task is not None else max(rows, key=lambda row: row.used)


def _signs(judgement: Judgement, about: frozenset[Ref]) -> Iterator[Sign]:
    """The newest, newest first, each once."""
    found = {(each.ref, each.id, each.kind): each for each in judgement.scene.evidence if each.ref in about}
    newest = sorted(found.values(), key=lambda each: (each.at, each.kind, each.id), reverse=True)
    for each in newest[:SIGNS]:
        own = each.own or (each.ref, each.id) in judgement.memory.own
        counts = "progress" if each.kind in PROGRESS else "activity" if each.kind in ACTIVITY else "nothing"
        yield Sign(each, own, "nothing" if own else counts)


def _concerns(presence: Presence, about: frozenset[Ref], owner: Owner) -> bool:
    if presence.ref is not None:
        return presence.ref in about
    return owner.kind is OwnerKind.AGENT and presence.agent == owner.id


def _waiting(judgement: Judgement, standing: Standing, policy: Policy | None) -> Iterator[Waiting]:
    for wait in standing.waits:
        known = [
            since
            for ref in standing.task.refs
            if (since := judgement.memory.waiting.get((ref, wait.target))) is not None
        ]
        since = min(known, default=None)
        tells = since is not None and policy is not None and wait.gate is Gate.OPEN and wait.blocker is not None
        blocker = judgement.tasks.get(wait.blocker or "")
        yield Waiting(
            wait,
            since,
            since + policy.dependency_wait if tells and since is not None and policy is not None else None,
            blocker.title if blocker is not None else "",
            blocker.owner if blocker is not None else NOBODY,
        )


def _about(records: Records, about: frozenset[Ref]) -> Records:
    """What is on record of one task, under whichever of its refs."""
    names = frozenset(map(str, about))
    incidents = [each for each in records.incidents if not about.isdisjoint((each.ref, *each.refs))]
    ids = frozenset(each.id for each in incidents)
    log = [each for each in records.log if each.task in names or each.incident in ids]
    return Records(
        incidents=tuple(sorted(incidents, key=lambda each: (each.opened_at, each.id), reverse=True)),
        entries=tuple(each for each in records.entries if each.task in names or each.incident in ids),
        log=tuple(log[-NEWS:]),
        attempts=tuple(each for each in records.attempts if not about.isdisjoint(each.refs)),
        letters=tuple(each for each in records.letters if not about.isdisjoint(each.refs)),
    )


_RULES: Mapping[str, str] = {
    stall.UNSEEN: "S2",
    stall.HELD: "T5",
    stall.RUN_ACTIVE: "T7",
    stall.RUN_UNKNOWN: "T7",
    stall.NOT_SETTLED: "T6",
}


def _reasons(told: Explanation, outlook: Outlook, silent: Mapping[str, datetime]) -> Iterator[Reason]:
    """What every rule has to say, in the order in which they are asked."""
    judgement, standing = outlook.judgement, told.standing
    if standing is None:
        gone = _out_of_sight(frozenset(told.refs), judgement)
        yield Reason("S2", "origin", f"{gone}; what follows is what heartbeat remembers")
    else:
        yield Reason("M4", "status", _status(standing.task))
        yield Reason("S6a", "owner", _owner(told))
        waits = frozenset(wait.reason for wait in standing.waits)
        yield from (Reason("S6", "state", each) for each in standing.reasons if each not in waits)
        yield from (Reason("D4", "waiting", each.wait.reason) for each in told.waits)
    yield from _of_stall(told, judgement)
    if told.rounds is not None and told.limit is not None:
        used = f"{told.rounds.used} of {counted(told.limit, 'round')} used"
        yield Reason("C1", "rounds", f"{used}, {told.rounds.idle} in a row without progress")
    if told.turn is not None and told.turn.reason != NotStarted.NONE:
        yield Reason("X1", "turn", _of_turn(told.turn))
    if told.letter is not None:
        yield Reason("F4", "dead letter", _of_letter(told.letter))
    climb = outlook.climbs.get(standing.task.key) if standing is not None else None
    if climb is not None:
        yield Reason("L1", "ladder", _stage(climb.incident))
        yield from (Reason("L1", "ladder", each) for each in climb.waits)
    if told.policy is not None and told.stall is not None:
        allowed = Recovery.OBSERVE if judgement.memory.observing else told.policy.recovery
        yield Reason("R3a", "recovery", _RECOVERY[allowed])
    if told.pause is not None:
        until = f"until {to_text(told.pause.until)}" if told.pause.until else "until it is resumed"
        whom = "everybody" if told.pause.agent == EVERYBODY else told.owner.id
        yield Reason("L0", "pause", f"{whom} is paused {until}: {told.pause.why or 'no reason given'}")
    talk = talk_with(judgement, standing.task, outlook.charter) if standing is not None else None
    if talk is not None:
        message = f"a person is talking to {talk.agent}, last heard {to_text(talk.at)}: not nudged before"
        yield Reason("B4", "talk", f"{message} {to_text(talk.until)}")
    if told.owner.id in silent:
        since = to_text(silent[told.owner.id])
        yield Reason("L0", "silence", f"{told.owner.id} has left no receipt since {since}: a patrol agent acts for it")


def _status(task: Task) -> str:
    said = ", ".join(f"{item.key} says {item.raw_status or item.status.value}" for item in task.items)
    archived = ", and archived" if task.archived else ""
    return f"{task.status.value.replace('_', ' ')}{archived}: {said}"


def _owner(told: Explanation) -> str:
    kind, name = told.owner.kind, told.owner.id
    if kind is OwnerKind.NOBODY:
        return "nobody owns it" + ("" if told.policy is not None else "; the roster has no patrol agent to act for it")
    if kind is OwnerKind.PERSON:
        return f"{name} is a person: it stands on nobody's worklist and is never called stalled"
    return f"owned by {name}"


def _of_stall(told: Explanation, judgement: Judgement) -> Iterator[Reason]:
    if told.stall is None:
        yield Reason("T3", "stall", _why_not_judged(told))
        return
    yield from (Reason("T4" if told.stall.looping else "T3", "stall", each) for each in told.stall.reasons)
    known = frozenset(told.stall.reasons)
    for each in told.stall.hindrances:
        if not any(each.message in reason for reason in known):
            yield Reason(_RULES.get(each.code, "T6"), "stall", each.message)


def _why_not_judged(told: Explanation) -> str:
    task = told.standing.task if told.standing is not None else None
    if task is None:
        return "not judged: there is nothing to look at"
    if task.closed:
        return "not judged: it is closed"
    if told.owner.kind is OwnerKind.PERSON:
        return "not judged: it is a person's"
    if not any(map(is_running, task.items)):
        return "not judged: nobody has begun it"
    return "not judged: the roster has no numbers for its owner, and no patrol agent"


def _of_turn(turn: Turn) -> str:
    if turn.decision == "none":
        return f"the next beat starts no turn on it ({turn.reason}): {turn.told}"
    return f"the next beat starts a turn on it: {turn.told}"


def _of_letter(letter: DeadLetter) -> str:
    tries = counted(letter.tries, "failed replay")
    if letter.state is LetterState.EXHAUSTED:
        return f"{letter.id} is left for a person after {tries}: {letter.error}"
    if letter.state is LetterState.REPLAYING:
        return f"{letter.id} is being replayed, after {tries}: {letter.error}"
    return f"{letter.id} is replayed from {to_text(letter.due_at)} on, after {tries}: {letter.error}"


_RECOVERY: Mapping[Recovery, str] = {
    Recovery.OBSERVE: "heartbeat only observes it",
    Recovery.NOTIFY: "heartbeat may tell people about it, and may not change it",
    Recovery.ACT: "heartbeat may take it from its worker",
}


def _stage(incident: Incident | None) -> str:
    if incident is None:
        return "no incident"
    number = f", recovery {incident.number} within the window" if incident.number else ""
    return f"incident {incident.id}: {incident.stage.value.replace('_', ' ')}{number}"
