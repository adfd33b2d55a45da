"""What each step writes and says, in the words of notices.py (rules L1 to L3, C2, D3 to D5). Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from heartbeat.action import Expectation, Level, Message, Operation, Write
from heartbeat.memory import Clock, Incident, Step
from heartbeat.notices import STATUS_WORDS, harmless, say
from heartbeat.policy import Charter, Member, Policy, Recovery
from heartbeat.rules import rounds, waiting
from heartbeat.rules.activity import is_running
from heartbeat.rules.stall import STALLED_ROUNDS, Stall
from heartbeat.task import CLOSED, NOBODY, Item, Owner, OwnerKind, Ref, Status, Task

NAMED = 10
"""How many tasks one message names."""


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What is known of a stalled task when something is said of it or done to it."""

    task: Task
    stall: Stall
    incident: Incident
    member: Member | None
    policy: Policy | None
    charter: Charter
    clocks: Mapping[Ref, Clock]

    def items_at_work(self) -> Iterator[Item]:
        for item in self.task.items:
            if is_running(item):
                yield item

    @property
    def backup(self) -> str:
        """Who takes over after a second recovery; empty where the roster names nobody (rule L3)."""
        return (self.member.backup or "") if self.member is not None else ""

    def key_of(self, step: Step, item: Item) -> str:
        """The idempotency key of a step on one item (rule L4)."""
        return f"{self.incident.id}/{step.value}/{item.ref}"

    def writes(self, step: Step, item: Item) -> Iterator[Write]:
        """What a step writes to one item; nothing for steps that only tell."""
        key = self.key_of(step, item)
        clock = None if self.stall.looping else self.clocks.get(item.ref)
        expect = at_work(item, clock, no_run=True)
        number = self.incident.number
        if step is Step.RECOVER:
            status = self._recovered_to(item)
            text = self._said("recover_loop" if self.stall.looping else "recover", number=number, status=_words(status))
            yield Write(key, item.ref, Operation.RECOVER, text, status, expect=expect)
            if item.ref.source == "todo" and self.charter.create_cards and len(self.task.items) == 1:
                owner = self.task.owner.id
                yield Write(f"{key}/card", item.ref, Operation.CREATE, text, agent=owner, title=item.title)
        elif step is Step.BLOCK:
            yield Write(key, item.ref, Operation.BLOCK, self._said("block", number=number), expect=expect)
        elif step is Step.HAND_OVER and self.backup and item.ref.source != "todo":
            text = say("hand_over", number=number, backup=self.backup, owner=_owner(self.task))
            # The recovery comes first and changes what was expected; now nobody may have changed it since.
            left = frozenset({self._recovered_to(item) or item.status})
            free = Expectation(statuses=left, claimant="", no_run=True)
            yield Write(key, item.ref, Operation.ASSIGN, text, agent=self.backup, expect=free)

    def _recovered_to(self, item: Item) -> Status | None:
        """Rule L2: a card goes back to todo; an issue is blocked, but follows the card where there is one."""
        if item.ref.source == "todo":
            return None
        has_card = any(
            other.ref.source == "workboard" and not other.archived and other.status not in CLOSED
            for other in self.task.items
        )
        if item.ref.source == "multica" and not has_card:
            return Status(self.charter.escalation.recovery_status)
        return Status.TODO

    def nudge(self) -> Message:
        assert self.policy is not None  # noqa: S101 - nobody climbs without numbers
        acts = self.policy.recovery is Recovery.ACT
        left = self.policy.recover_after - self.policy.suspect_after
        text = self._said(
            "nudge_loop" if self.stall.looping else "nudge", left=left, next=say("next_act" if acts else "next_notify")
        )
        return self._message("nudge", ("self",), Level.INFO, say("nudge_title", title=harmless(self.task.title)), text)

    def messages(self, step: Step) -> Iterator[Message]:
        assert self.policy is not None  # noqa: S101 - nobody climbs without numbers
        number, title = self.incident.number, harmless(self.task.title)
        notify = self.policy.notify
        if step is Step.NOTIFY:
            because = "；".join(each.message for each in self.stall.hindrances) or self.incident.why
            because = because or "recovery: notify"
            body = self._said("told", because=because)
            yield self._message("told", notify, Level.WARNING, say("told_title", title=title), body)
        elif step is Step.RECOVER and not (number == 1 and self.charter.escalation.first == "silent"):
            to = notify if number == 1 else tuple(dict.fromkeys((*notify, "coo")))
            status = self._recovered_to(next(self.items_at_work(), self.task.items[0]))
            body = self._said("recovered", number=number, status=_words(status))
            head = say("recovered_title", number=number, title=title)
            yield self._message("recovered", to, Level.WARNING, head, body)
        elif step is Step.HAND_OVER and self.backup:
            head = say("handed_title", backup=self.backup, title=title)
            to = tuple(dict.fromkeys((self.backup, "coo")))
            yield self._message("handed", to, Level.INFO, head, self._said("handed", backup=self.backup))
        elif step is Step.BLOCK:
            to = tuple(dict.fromkeys((*notify, "coo", "operator")))
            body = self._said("blocked", number=number)
            yield self._message("blocked", to, Level.CRITICAL, say("blocked_title", title=title), body)

    def _message(self, kind: str, to: tuple[str, ...], level: Level, title: str, body: str) -> Message:
        """One message per incident and level (rule O3)."""
        return Message(
            key=f"{self.incident.id}/{kind}",
            to=to,
            level=level,
            title=title,
            body=body,
            owner=self.task.owner,
            creator=_creator(self.task),
            task=self.task.key,
            incident=self.incident.id,
        )

    def _said(self, sentence: str, **facts: object) -> str:
        assert self.policy is not None  # noqa: S101 - nobody climbs without numbers
        return say(
            sentence,
            title=harmless(self.task.title),
            name=name_of(self.task),
            typed=typed(self.task),
            owner=_owner(self.task),
            idle=self.stall.idle,
            runtime=self.stall.runtime,
            recover_after=self.policy.recover_after,
            runtime_limit=self.policy.runtime_limit,
            rounds=STALLED_ROUNDS,
            **facts,
        )


def at_work(item: Item, clock: Clock | None, *, no_run: bool) -> Expectation:
    """What must still be so just before the write: the same worker, the same epoch, and no sign of life that the clock
    has not seen, where one is given (rule L6)."""
    newest = clock.newest if clock is not None else None
    began = clock.began_at if clock is not None else None
    return Expectation(
        statuses=frozenset({item.status}),
        owner=item.owner,
        began_at=item.started_at,
        idle_since=newest[0] if newest else began,
        seen=newest[1] if newest else "",
        revision=None if item.updated_at is not None else item.revision,
        no_run=no_run,
    )


def rounds_message(task: Task, verdict: rounds.Verdict, policy: Policy, pausing: bool, acts: bool) -> Message:
    """What is told of a task whose rounds run out; that it was paused is another message than that it should be."""
    kind = "rounds_pause" if pausing else "rounds_warn"
    title = harmless(task.title)
    return Message(
        key=f"{verdict.key}:paused" if pausing and acts else verdict.key,
        to=tuple(dict.fromkeys((*policy.notify, "coo"))) if pausing else policy.notify,
        level=Level.WARNING,
        title=say(f"{kind}_title", title=title),
        body=say(
            f"{kind}_told",
            title=title,
            name=name_of(task),
            typed=typed(task),
            owner=_owner(task),
            used=verdict.rounds.used,
            limit=verdict.limit,
            paused=say("paused") if acts else "",
        ),
        owner=task.owner,
        creator=_creator(task),
        task=task.key,
    )


def notice_message(notice: waiting.Notice, tasks: Mapping[str, Task]) -> Message:
    """What is told of work that waits (rules D3 to D5)."""
    facts = notice.facts
    names = "、".join(harmless(one.name) for one in facts.waiting[:NAMED])
    about = tasks.get(notice.blocker or notice.task)
    subject = tasks.get(notice.task)
    first = facts.waiting[0]
    if notice.kind is waiting.NoticeKind.WAIT and about is not None:
        title, name = harmless(about.title), name_of(about)
        head = say("wait_title", title=title)
        told = {"title": title, "name": name, "typed": typed(about), "count": len(facts.waiting), "waiting": names}
        body = say("wait", **told, waited=facts.longest)
    elif notice.kind is waiting.NoticeKind.CYCLE:
        count = len(facts.waiting)
        head, body = say("cycle_title", count=count), say("cycle", names=names)
    else:
        title = harmless(first.title)
        head = say("dead_wait_title", title=title)
        because = say(f"gate_{facts.gate.value}" if facts.gate else "gate_open", target=harmless(facts.target))
        body = say("dead_wait", title=title, name=harmless(first.name), because=because)
    return Message(
        key=notice.key,
        to=notice.to,
        level=notice.level,
        title=head,
        body=body,
        owner=subject.owner if subject else NOBODY,
        creator=_creator(subject) if subject else NOBODY,
        task=notice.task,
    )


def typed(task: Task) -> str:
    """The task's name as it is typed into a shell: a key may hold anything that a file's name or an id may."""
    return shlex.quote(task.items[0].key if task.items[0].key.isprintable() else task.key)


def name_of(task: Task) -> str:
    """What people call this task, harmless in any text."""
    return harmless(task.items[0].key)


def _owner(task: Task) -> str:
    return harmless(task.owner.id) or say("nobody")


def _creator(task: Task) -> Owner:
    return next((item.creator for item in task.items if item.creator.kind is not OwnerKind.NOBODY), NOBODY)


def _words(status: Status | None) -> str:
    return STATUS_WORDS.get(status.value if status else "todo", "")
