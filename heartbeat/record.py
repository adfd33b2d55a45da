"""What a beat leaves in the store: its judgement before anything is done, and its receipts at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from heartbeat.actions import entry_of
from heartbeat.memory import Incident, Miss, MissReason, Rounds, Step, StepOutcome
from heartbeat.notify.inbox import is_nudge, shown
from heartbeat.notify.roles import addressed
from heartbeat.observation import Observation
from heartbeat.plan import Plan
from heartbeat.receipt import failure_receipt, interruption_receipt
from heartbeat.retention import clock_has_held, limit_of
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.due import passed_over
from heartbeat.schedule.slots import current_slot
from heartbeat.store.port import Entry, EntryState, LogEntry, Receipt, Store
from heartbeat.store.port import Link as RememberedLink
from heartbeat.systems.base import ReadStatus

_Key = TypeVar("_Key")


def record_judgement(store: Store, observation: Observation, plan: Plan, at: datetime) -> None:
    """What was seen, what it means, and what is to be done, in one transaction, before any of it is done (I4)."""
    judgement = observation.judgement
    after, before = judgement.memory, judgement.before
    links = [
        RememberedLink(link.first, link.second, link.via, at)
        for link in observation.assessment.links
        if link.via != "remembered"
    ]
    seen = observation.sweep
    with store.transaction():
        # Another tick may have put its own judgement on record since this one began to look (rule B1 is for one agent).
        # What it changed stands, and is judged anew by the next beat; overwriting it would undo what it has done.
        plan = _without(plan, _taken_over(store.incidents(), plan.incidents, before.incidents))
        for report in seen.reports:
            if report.status is ReadStatus.COMPLETE and report.source in seen.identities:
                store.note_complete(report.source, seen.identities[report.source], report.read_at or at)
        store.remember_links(links)
        counted = (ref for ref in after.rounds if ref in judgement.task_of)
        store.note_sightings((*observation.undated, *counted), at)
        clocks = _untouched(store.clocks(), before.clocks)
        store.put_clocks(
            clock for ref, clock in after.clocks.items() if before.clocks.get(ref) != clock and clocks(ref)
        )
        store.drop_clocks(ref for ref in before.clocks if ref not in after.clocks and clocks(ref))
        windows = _untouched(store.windows(), before.windows)
        for source, seen_in in after.windows.items():
            if before.windows.get(source) != seen_in and windows(source):
                store.put_windows(source, seen_in)
        stored = store.rounds()
        spent = {**after.rounds, **{row.ref: row for row in plan.rounds}}
        store.put_rounds(
            _reconciled(row, before.rounds.get(ref), stored.get(ref))
            for ref, row in spent.items()
            if before.rounds.get(ref) != row
        )
        if after.waiting != before.waiting and store.waiting() == before.waiting:
            store.note_waiting(after.waiting)
        for incident in plan.incidents:
            store.put_incident(incident)
        store.enqueue(_entries(observation, plan, at))
        for planned in plan.writes:
            known = store.entry(planned.write.key)
            if known is not None and known.state is EntryState.CONFLICT:
                # It is planned again, so what stood against it may be over.
                store.settle_entry(known.key, EntryState.PENDING, at, error=known.error, due_at=at)
        store.add_log(
            LogEntry(at, note.action, note.message, note.agent, note.task, note.incident) for note in plan.notes
        )


def _untouched(stored: Mapping[_Key, object], before: Mapping[_Key, object]) -> Callable[[_Key], bool]:
    """Whether a row is still as it was when this beat began to look."""
    return lambda key: stored.get(key) == before.get(key)


def _taken_over(stored: Iterable[Incident], planned: Iterable[Incident], before: Iterable[Incident]) -> frozenset[str]:
    """Ids of the incidents that another tick has opened, moved on or ended meanwhile."""
    now, then = {each.id: each for each in stored}, {each.id: each for each in before}
    return frozenset(each.id for each in planned if now.get(each.id) != then.get(each.id))


def _without(plan: Plan, incidents: frozenset[str]) -> Plan:
    """The plan without what it has for these incidents."""
    if not incidents:
        return plan
    return replace(
        plan,
        writes=tuple(each for each in plan.writes if each.incident not in incidents),
        messages=tuple(each for each in plan.messages if each.incident not in incidents),
        nudges=tuple(each for each in plan.nudges if each.incident not in incidents),
        incidents=tuple(each for each in plan.incidents if each.id not in incidents),
        notes=tuple(each for each in plan.notes if each.incident not in incidents),
    )


def _reconciled(row: Rounds, before: Rounds | None, stored: Rounds | None) -> Rounds:
    """Our changes on top of what stands now: a pause or an extension by somebody else is not undone."""
    if stored is None or stored == before:
        return row
    base = before or Rounds(row.ref)
    ours = {each.name: getattr(row, each.name) for each in fields(row)}
    return replace(stored, **{name: value for name, value in ours.items() if value != getattr(base, name)})


def _entries(observation: Observation, plan: Plan, at: datetime) -> Iterable[Entry]:
    tasks = observation.judgement.tasks
    for planned in plan.writes:
        then = (entry for message in planned.then for entry in addressed(message, observation.roster, at))
        yield entry_of(planned, tasks[planned.task].owner, at, then)
    for message in (*plan.nudges, *plan.messages):
        yield from addressed(message, observation.roster, at)


@dataclass(frozen=True, slots=True)
class Kept:
    """A receipt as it stands on record, and the slots that passed before it without one."""

    receipt: Receipt
    missed: Miss | None = None


def record_beats(
    store: Store,
    roster: Roster,
    receipts: Sequence[Receipt],
    shown_to: Mapping[str, Sequence[Entry]],
    at: datetime,
    stuck: Mapping[str, datetime] | None = None,
) -> tuple[Kept, ...]:
    """The receipts, and with them that the messages on top of the worklists were shown (rule L1). One transaction.

    `shown_to` and `stuck` are by agent id; `stuck` tells since when a beat hung that had to be ended first. Returns
    what is on record now, in the order of the receipts. The caller holds the locks of these agents.
    """
    kept = tuple(_answered(store, roster, receipt, at, stuck or {}) for receipt in receipts)
    with store.transaction():
        for each in kept:
            _keep(store, each)
            entries = shown_to.get(each.receipt.agent, ())
            shown(store, (entry.key for entry in entries), each.receipt.id, at)
            for entry in entries:
                _nudged(store, entry, at)
        retention = roster.extra.get("retention")
        if isinstance(retention, timedelta) and clock_has_held(store, roster, at):
            store.forget_before(limit_of(retention, roster, at))
    return kept


def _answered(store: Store, roster: Roster, receipt: Receipt, at: datetime, stuck: Mapping[str, datetime]) -> Kept:
    """A receipt with the slot that it answers, and the slots that passed before that without one (rule B2).

    A slot has one receipt (invariant I6): a further beat within it, by hand or after the clock was set back, has none.
    It tells what passed all the same: where the clock once ran ahead, its slot may be the only one of late that was
    answered then.
    """
    slot, agent = receipt.slot, receipt.agent
    last = store.last_receipt(agent)
    whole = last if last is None or last.outcome != "interrupted" else store.last_beats().get(agent)
    receipt = replace(receipt, first=whole is None)
    if slot is None:
        return Kept(receipt)
    if store.slot_taken(agent, slot):
        receipt = replace(receipt, slot=None)
    policy, timezone = roster.agents[agent].policy, roster.timezone
    began, rhythm = (None, "") if whole is None else (whole.started_at, whole.rhythm)
    span = passed_over(policy, timezone, began, slot, rhythm, partial(store.last_slot, agent))
    if span is None:
        return Kept(receipt)
    hung = agent in stuck and current_slot(policy, timezone, stuck[agent]) <= span.first
    busy = hung or (last is not None and last.started_at <= span.first < last.ended_at)
    reason = MissReason.BUSY if busy else MissReason.COALESCED
    return Kept(receipt, Miss(agent, span.first, span.last, span.count, reason, at))


def _keep(store: Store, kept: Kept) -> None:
    if kept.missed is not None:
        store.note_misses([kept.missed])
    store.add_receipt(kept.receipt)


def _nudged(store: Store, entry: Entry, at: datetime) -> None:
    """A nudge counts from when it was shown (rules L1, T6)."""
    if not is_nudge(entry):
        return
    for incident in store.incidents(open_only=True):
        if incident.id == entry.incident and incident.nudged_at is None:
            store.put_incident(_with_nudge(incident, at))


def _with_nudge(incident: Incident, at: datetime) -> Incident:
    steps = tuple(
        replace(taken, outcome=StepOutcome.DONE) if taken.step is Step.NUDGE else taken for taken in incident.steps
    )
    return replace(incident, nudged_at=at, steps=steps)


def record_failure(
    store: Store,
    roster: Roster,
    agents: Sequence[Agent],
    started: datetime,
    ended: datetime,
    error: BaseException,
    stuck: Mapping[str, datetime] | None = None,
) -> None:
    """A beat that failed is on record too, and so is one that was ended from outside, by a signal or Ctrl-C. What ended
    it goes on to the caller. `stuck` as in `record_beats`."""
    told = interruption_receipt if isinstance(error, SystemExit | KeyboardInterrupt) else failure_receipt
    receipts = (told(roster, agent, started, ended, error) for agent in agents)
    kept = [_answered(store, roster, receipt, ended, stuck or {}) for receipt in receipts]
    with store.transaction():
        for each in kept:
            _keep(store, each)
