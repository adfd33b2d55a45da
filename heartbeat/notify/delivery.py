"""Takes what is due from the outbox to its channels, and puts on record what came of it (rule O3, invariant I4).

Every entry is claimed before it is sent and settled after, each step committed. Whoever dies in between leaves a claim,
and what is claimed and abandoned is sent again under the same key: at most one repetition a crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from heartbeat.deadline import Deadline
from heartbeat.instants import format_duration, to_text
from heartbeat.notify import wording
from heartbeat.notify.batches import (
    LIMITS,
    STORM,
    Batch,
    next_minute,
    perhaps,
    sort_out,
    wait_after,
    wait_for_room,
)
from heartbeat.notify.channels import open_channel as open_roster_channel
from heartbeat.notify.channels.base import Channel, ChannelError, Failure
from heartbeat.notify.letter import letter_for
from heartbeat.notify.roles import Recipient, entry_for, key_for, level_of, message_key, successors
from heartbeat.roster.model import Roster
from heartbeat.store.port import UNFINISHED, Entry, EntryKind, EntryState, LogEntry, Store

ACTION = "notify"
"""The log's word for every attempt."""

Open = Callable[[str, Roster, Mapping[str, str]], Channel]

_LEAST_SECONDS = 1.0
"""With less time than this left, nothing is begun."""
_LONGEST_PAUSE = 2.0
"""Seconds to wait at most for room within the limits; a beat has better things to do."""
_WINDOW = max(span for _, span in LIMITS)
"""Sendings longer ago than this count for no limit."""
_LOG_ENTRIES = 500
"""How many entries of the log are read at first for sendings of the last minute; further back where these are newer."""


@dataclass(slots=True)
class Delivered:
    """What one delivery did, in messages: a digest counts as many as it stands for.

    `failed` are those whose attempt failed, `dead` of them never to be tried again on their channel. `left` were due
    and not tried: no time, no room within the limits, a crowded minute, or a channel that had just failed.
    """

    sent: int = 0
    failed: int = 0
    dead: int = 0
    digested: int = 0
    left: int = 0
    notes: list[str] = field(default_factory=list)
    """One sentence an attempt that did not simply succeed."""


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A batch that is ours, and how often each of its entries was tried, this time included."""

    batch: Batch
    attempts: Mapping[str, int]
    at: datetime


def deliver(
    store: Store,
    roster: Roster,
    environment: Mapping[str, str],
    *,
    now: datetime,
    deadline: Deadline,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    open_channel: Open = open_roster_channel,
    pause: Callable[[float], None] = time.sleep,
) -> Delivered:
    """Sends the messages that are due at `now`, until nothing is left or the deadline comes.

    `clock` dates claims, attempts and limits; `pause` waits, in seconds. Must not be called inside a transaction.
    What channels do is never raised; raises StateError where the store fails.
    """
    delivery = _Delivery(store, roster, environment, now, deadline, clock, open_channel, pause)
    targets: frozenset[str] | None = None
    # What dies on a channel goes on to the next one at once. Every message visits a channel once at most.
    for _ in range(len(roster.channels) + 1):
        delivery.run(targets)
        if not delivery.handed_on:
            break
        targets = frozenset(delivery.handed_on)
    return delivery.done


class _Delivery:
    def __init__(
        self,
        store: Store,
        roster: Roster,
        environment: Mapping[str, str],
        now: datetime,
        deadline: Deadline,
        clock: Callable[[], datetime],
        open_channel: Open,
        pause: Callable[[float], None],
    ) -> None:
        self._store = store
        self._roster = roster
        self._environment = environment
        self._now = now
        self._deadline = deadline
        self._clock = clock
        self._open_channel = open_channel
        self._pause = pause
        self.done = Delivered()
        self._left: set[str] = set()
        self.handed_on: set[str] = set()

    def run(self, targets: frozenset[str] | None) -> None:
        """One pass over all channels, or over some; those with the most urgent message first."""
        self.handed_on = set()
        due: dict[str, list[Entry]] = {}
        for entry in self._store.entries(kind=EntryKind.MESSAGE, states=UNFINISHED):
            if entry.is_due(self._now) and (targets is None or entry.target in targets):
                due.setdefault(entry.target, []).append(entry)
        for name, entries in sorted(due.items(), key=lambda each: -max(level_of(entry).rank for entry in each[1])):
            self._serve(name, entries)

    def _serve(self, name: str, entries: Sequence[Entry]) -> None:
        now = self._clock()
        sorted_out = sort_out(entries, now)
        self._postpone(sorted_out.waiting, next_minute(now))
        batches = sorted_out.batches
        for index, batch in enumerate(batches):
            rest = [entry for later in batches[index:] for entry in later.entries]
            if self._deadline.left() < _LEAST_SECONDS:
                self._leave(rest)
                return
            room_at = self._room(name)
            if room_at is not None:
                self._postpone(rest, room_at)
                return
            again_at = self._attempt(name, batch)
            if again_at is not None:
                # A channel that just failed would fail the others too; they keep their attempts.
                self._postpone(rest[len(batch.entries) :], again_at)
                return

    def _room(self, name: str) -> datetime | None:
        """Waits a little for room within the limits; None where there is room now, else when there will be."""
        wait = wait_for_room(self._sendings(name), self._clock())
        if not wait:
            return None
        seconds = wait.total_seconds()
        if seconds > min(_LONGEST_PAUSE, self._deadline.left() - _LEAST_SECONDS):
            return self._clock() + wait
        self._pause(seconds)
        wait = wait_for_room(self._sendings(name), self._clock())
        return self._clock() + wait if wait else None

    def _sendings(self, name: str) -> Iterable[datetime]:
        """When this channel was used lately, by whichever process, however much else the log holds of that time."""
        since = self._clock() - _WINDOW
        limit = _LOG_ENTRIES
        log = self._store.log(limit=limit)
        while len(log) == limit and log[0].at > since:
            limit *= 4
            log = self._store.log(limit=limit)
        return [entry.at for entry in log if entry.action == ACTION and entry.details.get("channel") == name]

    def _postpone(self, entries: Iterable[Entry], due_at: datetime) -> None:
        """To a later time, without an attempt. A claim without its process stays as it is: it says what happened."""
        entries = tuple(entries)
        self._leave(entries)
        pending = [entry for entry in entries if entry.state is EntryState.PENDING]
        if not pending:
            return
        at = self._clock()
        with self._store.transaction():
            for entry in pending:
                found = self._store.entry(entry.key)
                if found is not None and found.state is EntryState.PENDING:
                    self._store.settle_entry(
                        entry.key, EntryState.PENDING, at, error=found.error, result=found.result, due_at=due_at
                    )

    def _leave(self, entries: Iterable[Entry]) -> None:
        self._left.update(entry.key for entry in entries)
        self.done.left = len(self._left)

    def _attempt(self, name: str, batch: Batch) -> datetime | None:
        """One letter, claimed, sent, settled. Where the channel failed for a while, returns when to try it again."""
        claimed = self._claim(batch)
        if claimed is None:
            return None
        try:
            channel = self._open_channel(name, self._roster, self._environment)
            note = channel.send(claimed.batch.letter, self._deadline.at_most(channel.seconds))
        except ChannelError as error:
            return self._failed(name, claimed, error)
        except Exception as error:  # noqa: BLE001 - a bug in one channel must stop neither the beat nor other channels
            # Without its words: nobody has made sure that they hold no secret.
            bug = ChannelError(
                Failure.TRANSIENT,
                f"a bug in channel {name}: {type(error).__name__}",
                advice=f"run `heartbeat notify test {name} --debug` and report what it prints",
                outcome_unknown=True,
            )
            return self._failed(name, claimed, bug)
        self._succeeded(name, claimed, channel.address, note)
        return None

    def _claim(self, batch: Batch) -> _Claimed | None:
        """All of a batch in one commit, except what another process has taken; None where that is everything."""
        at = self._clock()
        ours: list[Entry] = []
        attempts: dict[str, int] = {}
        with self._store.transaction():
            for entry in batch.entries:
                before = self._store.claim_entry(entry.key, at)
                if before is None:
                    continue
                abandoned = before.state is EntryState.CLAIMED and before.claimed_at == entry.claimed_at
                if before.state is EntryState.PENDING or abandoned:
                    ours.append(entry)
                    attempts[entry.key] = before.attempts + 1
        return _Claimed(batch.only(ours), attempts, at) if ours else None

    def _succeeded(self, name: str, claimed: _Claimed, address: str, note: str) -> None:
        letter, count = claimed.batch.letter, len(claimed.batch.entries)
        result = (
            f"sent to {address}" + (f", {note}" if note else "") + (f", in a digest of {count}" if count > 1 else "")
        )
        if letter.repeat:
            result += "; it may have arrived before, from an attempt that ended without an answer"
        at = self._clock()
        with self._store.transaction():
            for entry in claimed.batch.entries:
                self._store.settle_entry(entry.key, EntryState.DONE, at, result=result)
            self._log(name, claimed, "sent", result)
        self.done.sent += count
        self.done.digested += count if count > 1 else 0
        if letter.repeat:
            self.done.notes.append(f"{name}: {result}")

    def _failed(self, name: str, claimed: _Claimed, error: ChannelError) -> datetime | None:
        entries = claimed.batch.entries
        at = self._clock()
        waits = {entry.key: self._wait(claimed.attempts[entry.key], error) for entry in entries}
        dead = [entry for entry in entries if waits[entry.key] is None]
        living = [entry for entry in entries if waits[entry.key] is not None]
        result = perhaps(claimed.batch.letter) if error.outcome_unknown or claimed.batch.letter.repeat else ""
        # A letter that may have arrived stays together, so that it goes out again as what it was.
        longest = max(filter(None, waits.values()), default=timedelta(0))
        told = f"{error}; {error.advice}" if error.advice else str(error)
        with self._store.transaction():
            for entry in living:
                due_at = at + (longest if result else waits[entry.key] or longest)
                self._store.settle_entry(entry.key, EntryState.PENDING, at, error=told, result=result, due_at=due_at)
            for entry in dead:
                self._store.settle_entry(entry.key, EntryState.DEAD, at, error=told, result=result)
            handed = self._hand_on(name, dead, at)
            again = f"; again in {format_duration(longest)}" if living else ""
            lost = f"; {len(dead)} given up, {handed}" if dead else ""
            self._log(name, claimed, "failed" if living else "dead", f"{told}{again}{lost}")
        self.done.failed += len(entries)
        self.done.dead += len(dead)
        self.done.digested += len(entries) if len(entries) > 1 else 0
        self.done.notes.append(f"{name}: {told}{again}{lost}")
        if error.kind is Failure.PERMANENT:
            return None
        return at + max(wait_after(1) or timedelta(0), timedelta(seconds=error.retry_after or 0))

    def _wait(self, attempts: int, error: ChannelError) -> timedelta | None:
        wait = wait_after(attempts)
        if wait is None or error.kind is Failure.PERMANENT:
            return None
        return max(wait, timedelta(seconds=error.retry_after or 0))

    def _hand_on(self, channel: str, dead: Sequence[Entry], at: datetime) -> str:
        """Puts what a channel gave up on the next one, or into the last inbox; returns where, for the log."""
        groups: dict[Recipient, list[Entry]] = {}
        for entry in dead:
            recipient = self._successor(channel, entry)
            if recipient is not None:
                groups.setdefault(recipient, []).append(entry)
        for recipient, entries in groups.items():
            if recipient.kind is EntryKind.MESSAGE:
                self.handed_on.add(recipient.name)
            self._store.enqueue(self._told_elsewhere(recipient, channel, entries, at))
        if not groups:
            return "others were told" if dead else ""
        return "told " + ", ".join(
            f"the inbox of {recipient.name}" if recipient.kind is EntryKind.INBOX else recipient.name
            for recipient in groups
        )

    def _successor(self, channel: str, entry: Entry) -> Recipient | None:
        """Who has not been told yet; None where somebody else was told, or is about to be, or nobody is left."""
        for recipient in successors(self._roster, channel, level_of(entry)):
            known = self._store.entry(key_for(message_key(entry), recipient.name))
            if known is None:
                return recipient
            if known.state not in (EntryState.DEAD, EntryState.DROPPED):
                return None
        return None

    def _told_elsewhere(
        self, recipient: Recipient, channel: str, entries: Sequence[Entry], at: datetime
    ) -> Iterable[Entry]:
        """A storm goes into an inbox as one message; a channel makes its own digest."""
        if recipient.kind is EntryKind.INBOX and len(entries) > STORM:
            digest = letter_for(entries)
            payload = {
                "title": wording.undelivered(digest.title, channel),
                "body": digest.body,
                "level": digest.level.value,
                "task": "",
                "incident": "",
                "to": list(digest.to),
            }
            return [entry_for(recipient, digest.key, payload, at)]
        return [
            entry_for(
                recipient,
                message_key(entry),
                {**entry.payload, "title": wording.undelivered(str(entry.payload.get("title", "")), channel)},
                # Due with this very delivery, which asks for what was due at its own `now`.
                min(at, self._now),
                task=entry.task,
                incident=entry.incident,
            )
            for entry in entries
        ]

    def _log(self, name: str, claimed: _Claimed, outcome: str, message: str) -> None:
        letter, entries = claimed.batch.letter, claimed.batch.entries
        one = entries[0] if len(entries) == 1 else None
        details = {
            "channel": name,
            "outcome": outcome,
            "key": letter.key,
            "level": letter.level.value,
            "messages": len(entries),
            "attempt": max(claimed.attempts.values()),
            "repeat": letter.repeat,
            "claimed_at": to_text(claimed.at),
        }
        self._store.add_log(
            [
                LogEntry(
                    at=claimed.at,
                    action=ACTION,
                    message=f"{name}: {message}",
                    task=one.task if one else "",
                    incident=one.incident if one else "",
                    details=details,
                )
            ]
        )
