"""The store in one SQLite file: rollback journal, every commit on disk before it counts, one writer at a time.

What it keeps is told apart by noun: receipts, links, sightings, complete reads and tombstones here, the rest in the
modules that `SqliteStore` is put together from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from heartbeat.store.attempts import AttemptTables
from heartbeat.store.breakers import BreakerTable
from heartbeat.store.canonical import from_json, settled, to_json
from heartbeat.store.clocks import ClockTables
from heartbeat.store.columns import (
    bound,
    bound_if_any,
    instant,
    instant_if_any,
    json_array,
    json_object,
    number,
    ref_of,
    ref_values,
    stamp,
    stamp_if_any,
    text,
    text_if_any,
)
from heartbeat.store.database import integer, where
from heartbeat.store.incidents import IncidentTables
from heartbeat.store.ledger import LedgerTables
from heartbeat.store.letters import LetterTable
from heartbeat.store.outbox import OutboxTable
from heartbeat.store.port import SIGHTING_REFRESH, Belonging, Link, Receipt, Tombstone
from heartbeat.store.slots import SlotTables
from heartbeat.task import Ref

_RECEIPT_COLUMNS = (
    "id, agent, slot, started_at, ended_at, outcome, degraded, sources, buckets, rejected, reasons, version, host, "
    "pid, dispatch, level, level_reasons, first, rhythm"
)

_RETENTION: tuple[str, ...] = (
    """DELETE FROM receipts WHERE started_at < ?
        AND sequence NOT IN (SELECT max(sequence) FROM receipts GROUP BY agent)
        AND sequence NOT IN (SELECT max(sequence) FROM receipts WHERE slot IS NOT NULL GROUP BY agent)
        AND (agent, coalesce(slot, '')) NOT IN (
            SELECT agent, max(slot) FROM receipts WHERE slot IS NOT NULL GROUP BY agent
        )""",
    # Before the sightings and clocks, which tell how lately the item was there.
    """DELETE FROM rounds WHERE nullif(max(
        coalesce(turn_at, ''), coalesce(slot, ''), coalesce(progress_at, ''),
        coalesce(warned_at, ''), coalesce(paused_at, ''),
        coalesce((SELECT last_seen FROM sightings WHERE (source, id) = (rounds.source, rounds.id)), ''),
        coalesce((SELECT seen_at FROM clocks WHERE (source, id) = (rounds.source, rounds.id)), '')
    ), '') < ?""",
    "DELETE FROM sightings WHERE last_seen < ?",
    "DELETE FROM clocks WHERE seen_at < ?",
    "DELETE FROM windows WHERE until < ?",
    "DELETE FROM incidents WHERE stage = 'ended' AND coalesce(ended_at, opened_at) < ?",
    "DELETE FROM holds WHERE until < ?",
    "DELETE FROM pauses WHERE until < ?",
    "DELETE FROM outbox WHERE state NOT IN ('pending', 'claimed') AND coalesce(finished_at, created_at) < ?",
    "DELETE FROM log WHERE at < ?",
    "DELETE FROM misses WHERE last < ?",
    "DELETE FROM letters WHERE state IN ('replayed', 'dropped') AND coalesce(closed_at, created_at) < ?",
)
"""What `forget_before` carries out, in this order; each takes the limit. Own writes and attempts go last.

Rounds go when the newest time that is known of their item is earlier: a turn, a slot, a warning, a pause, its last
sighting, its clock. So neither the budget of an item that is still noted nor one that was spent lately is lost, and
rounds of which nothing tells a time stay.
"""


class SqliteStore(
    SlotTables, ClockTables, IncidentTables, LedgerTables, OutboxTable, AttemptTables, BreakerTable, LetterTable
):
    """Fulfils `Store`. Made by opening.py, which has checked the file."""

    def add_receipt(self, receipt: Receipt) -> None:
        values = _receipt_values(settled(receipt))
        with self._writing():
            if self._execute("SELECT 1 FROM receipts WHERE id = ?", (values[0],)):
                raise ValueError(f"receipt {receipt.id!r} is recorded already")
            self._execute(
                f"INSERT INTO receipts ({_RECEIPT_COLUMNS}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608
                values,
            )

    def receipts(self, agent: str | None = None, limit: int = 50, since: datetime | None = None) -> tuple[Receipt, ...]:
        clause, values = where(("agent = ?", bound_if_any(agent)), ("started_at >= ?", stamp_if_any(since)))
        return self._receipts(f"{clause} ORDER BY sequence DESC LIMIT ?", (*values, integer(limit)))

    def last_receipt(self, agent: str) -> Receipt | None:
        return next(iter(self.receipts(agent, 1)), None)

    def last_receipts(self) -> Mapping[str, Receipt]:
        newest = self._receipts("WHERE sequence IN (SELECT max(sequence) FROM receipts GROUP BY agent)", ())
        return {receipt.agent: receipt for receipt in newest}

    def last_beats(self) -> Mapping[str, Receipt]:
        newest = dict(self.last_receipts())
        for agent in [agent for agent, receipt in newest.items() if receipt.outcome == "interrupted"]:
            whole = "WHERE agent = ? AND outcome <> 'interrupted' ORDER BY sequence DESC LIMIT 1"
            newest |= {receipt.agent: receipt for receipt in self._receipts(whole, (bound(agent),))}
        return {agent: receipt for agent, receipt in newest.items() if receipt.outcome != "interrupted"}

    def began_between(self, since: datetime, until: datetime) -> bool:
        question = "SELECT 1 FROM receipts WHERE started_at BETWEEN ? AND ? LIMIT 1"
        return bool(self._execute(question, (stamp(since), stamp(until))))

    def belonging(self) -> Belonging | None:
        rows = self._execute("SELECT path, agents, since FROM belonging")
        with self._decoding("belonging"):
            for path, agents, since in rows:
                return Belonging(text(path), tuple(json_array(agents)), instant(since))
        return None

    def note_belonging(self, belonging: Belonging) -> None:
        values = (bound(belonging.path), bound(to_json(belonging.agents)), stamp(belonging.since))
        self._write_all("INSERT OR REPLACE INTO belonging (place, path, agents, since) VALUES (1, ?, ?, ?)", [values])

    def remember_links(self, links: Iterable[Link]) -> None:
        rows = [
            (*ref_values(link.first), *ref_values(link.second), bound(link.via), stamp(link.made_at)) for link in links
        ]
        self._write_all("INSERT INTO links VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)

    def links(self) -> tuple[Link, ...]:
        rows = self._execute("SELECT first_source, first_id, second_source, second_id, via, made_at FROM links")
        with self._decoding("links"):
            links = [
                Link(ref_of(row[0], row[1]), ref_of(row[2], row[3]), text(row[4]), instant(row[5])) for row in rows
            ]
        return tuple(sorted(links, key=lambda link: (link.first, link.second)))

    def note_sightings(self, refs: Iterable[Ref], at: datetime) -> None:
        now, due = stamp(at), stamp(at - SIGHTING_REFRESH)
        rows = []
        for source, ids in _ids_by_source(refs).items():
            last_seen = self._sightings(source, "last_seen")
            rows += [
                (bound(source), bound(id_), now, now)
                for id_ in sorted(ids)
                if id_ not in last_seen or last_seen[id_] <= due
            ]
        self._write_all(
            "INSERT INTO sightings VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET last_seen = excluded.last_seen", rows
        )

    def first_seen(self, refs: Iterable[Ref]) -> Mapping[Ref, datetime]:
        found: dict[Ref, datetime] = {}
        for source, ids in _ids_by_source(refs).items():
            first_seen = self._sightings(source, "first_seen")
            with self._decoding("sightings"):
                found |= {Ref(source, id_): instant(first_seen[id_]) for id_ in ids & first_seen.keys()}
        return found

    def note_complete(self, source: str, identity: str, at: datetime) -> None:
        self._write_all(
            "INSERT INTO completions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at",
            [(bound(source), bound(identity), stamp(at))],
        )

    def last_complete(self, source: str) -> datetime | None:
        ((latest,),) = self._execute("SELECT max(at) FROM completions WHERE source = ?", (bound(source),))
        with self._decoding("completions"):
            return None if latest is None else instant(latest)

    def tombstone(self) -> Tombstone | None:
        rows = self._execute(
            "SELECT at, reason, quarantined FROM tombstones WHERE accepted_at IS NULL ORDER BY sequence DESC LIMIT 1"
        )
        with self._decoding("tombstones"):
            for at, reason, quarantined in rows:
                return Tombstone(instant(at), text(reason), text_if_any(quarantined))
        return None

    def accept_tombstone(self, by: str, at: datetime) -> Tombstone | None:
        accepted_at = stamp(at)
        with self._writing():
            standing = self.tombstone()
            if standing is not None:
                self._execute(
                    "UPDATE tombstones SET accepted_at = ?, accepted_by = ? WHERE accepted_at IS NULL",
                    (accepted_at, bound(by)),
                )
        return standing

    def forget_before(self, instant: datetime) -> int:
        limit = stamp(instant)
        with self._writing():
            forgotten = sum(self._change(statement, (limit,)) for statement in _RETENTION)
            named = frozenset(id_ for letter in self.letters(open_only=True) for id_ in letter.attempts)
            return forgotten + self._forget_own(limit) + self._forget_attempts(limit, named)

    def _forget_own(self, limit: str) -> int:
        """Comes after the clocks, which tell whose own writes are still needed."""
        rows = self._execute(
            "SELECT DISTINCT source, id FROM own WHERE at < ? AND (source, id) NOT IN (SELECT source, id FROM clocks)",
            (limit,),
        )
        if not rows:
            return 0
        with self._decoding("own"):
            unclocked = {ref_of(source, id_) for source, id_ in rows}
        standing = {ref for incident in self.incidents(open_only=True) for ref in (incident.ref, *incident.refs)}
        return self._write_all(
            "DELETE FROM own WHERE source = ? AND id = ? AND at < ?",
            [(*ref_values(ref), limit) for ref in sorted(unclocked - standing)],
        )

    def decode_everything(self) -> None:
        """Reads and decodes every row: the part of a thorough examination that SQLite cannot do. Raises StateError."""
        self._receipts("", ())
        self.links()
        self.tombstone()
        self.belonging()
        seen = self._execute("SELECT source, id, first_seen, last_seen FROM sightings")
        with self._decoding("sightings"):
            for source, id_, first, last in seen:
                ref_of(source, id_), instant(first), instant(last)
        completions = self._execute("SELECT source, identity, at FROM completions")
        with self._decoding("completions"):
            for source, identity, at in completions:
                text(source), text(identity), instant(at)
        noted = self._execute("SELECT at FROM own")
        with self._decoding("own"):
            for (at,) in noted:
                instant(at)
        for table in (
            self.clocks,
            self.windows,
            self.own,
            self.waiting,
            self.incidents,
            self.rounds,
            self.holds,
            self.pauses,
            self.entries,
            self.log,
            self.misses,
            self.attempts,
            self.breakers,
            self.letters,
            self._check_attempt_refs,
        ):
            table()

    def _receipts(self, clauses: str, values: tuple[Any, ...]) -> tuple[Receipt, ...]:
        rows = self._execute(f"SELECT {_RECEIPT_COLUMNS} FROM receipts {clauses}", values)  # noqa: S608
        with self._decoding("receipts"):
            return tuple(_receipt(row) for row in rows)

    def _sightings(self, source: str, column: str) -> dict[str, str]:
        """Id to `column`, for every sighting of a source: one query however many refs are asked for."""
        rows = self._execute(f"SELECT id, {column} FROM sightings WHERE source = ?", (bound(source),))  # noqa: S608
        with self._decoding("sightings"):
            return {text(id_): text(value) for id_, value in rows}


def _receipt_values(receipt: Receipt) -> tuple[Any, ...]:
    return (
        bound(receipt.id),
        bound(receipt.agent),
        stamp_if_any(receipt.slot),
        stamp(receipt.started_at),
        stamp(receipt.ended_at),
        receipt.outcome,
        int(receipt.degraded),
        bound(to_json(receipt.sources)),
        bound(to_json(receipt.buckets)),
        bound(to_json(receipt.rejected)),
        bound(to_json(receipt.reasons)),
        bound(receipt.version),
        bound(receipt.host),
        receipt.pid,
        bound(to_json(receipt.dispatch)),
        bound(receipt.level),
        bound(to_json(receipt.level_reasons)),
        int(receipt.first),
        bound(receipt.rhythm),
    )


def _receipt(row: tuple[Any, ...]) -> Receipt:
    return Receipt(
        id=text(row[0]),
        agent=text(row[1]),
        slot=instant_if_any(row[2]),
        started_at=instant(row[3]),
        ended_at=instant(row[4]),
        outcome=row[5],
        degraded=bool(row[6]),
        sources=tuple(from_json(text(row[7]))),
        buckets=from_json(text(row[8])),
        rejected=tuple(from_json(text(row[9]))),
        reasons=tuple(from_json(text(row[10]))),
        version=text(row[11]),
        host=text(row[12]),
        pid=number(row[13]),
        dispatch=json_object(row[14]),
        level=text(row[15]),
        level_reasons=tuple(json_array(row[16])),
        first=bool(row[17]),
        rhythm=text(row[18]),
    )


def _ids_by_source(refs: Iterable[Ref]) -> dict[str, set[str]]:
    by_source: defaultdict[str, set[str]] = defaultdict(set)
    for ref in refs:
        by_source[ref.source].add(ref.id)
    return by_source
