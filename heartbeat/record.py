"""What a beat leaves in the store: its judgement before anything is done, and its receipts at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from heartbeat.actions import entry_of
from heartbeat.memory import Incident, Step
from heartbeat.notify.inbox import shown
from heartbeat.notify.roles import addressed
from heartbeat.observation import Observation
from heartbeat.plan import Plan
from heartbeat.receipt import failure_receipt
from heartbeat.roster.model import Agent, Roster
from heartbeat.store.port import Entry, EntryKind, LogEntry, Receipt, Store
from heartbeat.store.port import Link as RememberedLink
from heartbeat.systems.base import ReadStatus

_SHORTEST_RETENTION = timedelta(days=2)
"""When an item was last seen is refreshed once a day only."""


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
        for report in seen.reports:
            if report.status is ReadStatus.COMPLETE and report.source in seen.identities:
                store.note_complete(report.source, seen.identities[report.source], report.read_at or at)
        store.remember_links(links)
        counted = (ref for ref in after.rounds if ref in judgement.task_of)
        store.note_sightings((*observation.undated, *counted), at)
        store.put_clocks(clock for ref, clock in after.clocks.items() if before.clocks.get(ref) != clock)
        store.drop_clocks(ref for ref in before.clocks if ref not in after.clocks)
        for source, windows in after.windows.items():
            if before.windows.get(source) != windows:
                store.put_windows(source, windows)
        store.put_rounds(row for ref, row in after.rounds.items() if before.rounds.get(ref) != row)
        store.put_rounds(plan.rounds)
        if after.waiting != before.waiting:
            store.note_waiting(after.waiting)
        for incident in plan.incidents:
            store.put_incident(incident)
        store.enqueue(_entries(observation, plan, at))
        store.add_log(
            LogEntry(at, note.action, note.message, note.agent, note.task, note.incident) for note in plan.notes
        )


def _entries(observation: Observation, plan: Plan, at: datetime) -> Iterable[Entry]:
    tasks = observation.judgement.tasks
    for planned in plan.writes:
        yield entry_of(planned, tasks[planned.task].owner, at)
    for message in (*plan.nudges, *plan.messages):
        yield from addressed(message, observation.roster, at)


def record_beats(
    store: Store, roster: Roster, receipts: Sequence[Receipt], shown_to: Mapping[str, Sequence[Entry]], at: datetime
) -> None:
    """The receipts, and with them that the messages on top of the worklists were shown (rule L1). One transaction.

    `shown_to` is by agent id.
    """
    with store.transaction():
        for receipt in receipts:
            store.add_receipt(receipt)
            entries = shown_to.get(receipt.agent, ())
            shown(store, (entry.key for entry in entries), receipt.id, at)
            for entry in entries:
                _nudged(store, entry, at)
        retention = roster.extra.get("retention")
        if isinstance(retention, timedelta):
            store.forget_before(at - max(retention, _SHORTEST_RETENTION))


def _nudged(store: Store, entry: Entry, at: datetime) -> None:
    """A nudge counts from when it was shown (rules L1, T6)."""
    if entry.kind is not EntryKind.INBOX or not entry.key.startswith(f"{entry.incident}/{Step.NUDGE.value}/"):
        return
    for incident in store.incidents(open_only=True):
        if incident.id == entry.incident and incident.nudged_at is None:
            store.put_incident(_with_nudge(incident, at))


def _with_nudge(incident: Incident, at: datetime) -> Incident:
    return replace(incident, nudged_at=at)


def record_failure(
    store: Store, roster: Roster, agents: Sequence[Agent], started: datetime, ended: datetime, error: BaseException
) -> None:
    """A beat that failed is on record too; the failure itself goes on to the caller."""
    with store.transaction():
        for agent in agents:
            store.add_receipt(failure_receipt(roster, agent, started, ended, error))
