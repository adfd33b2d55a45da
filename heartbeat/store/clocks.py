"""What the file keeps of time: clocks, windows of sight, own writes, and waits (rules T1, T2, T5, T6, D4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from heartbeat.memory import Clock, Mark, Window
from heartbeat.store.canonical import from_json, to_json
from heartbeat.store.columns import (
    bound,
    bound_if_any,
    instant,
    number,
    ref_of,
    ref_values,
    stamp,
    stamp_if_any,
    text,
    text_if_any,
)
from heartbeat.store.database import Database
from heartbeat.task import EvidenceKind, Ref

_CLOCK_COLUMNS = "source, id, epoch, began_at, seen_at, activity, progress, newest_at, newest_id, revision"


class ClockTables(Database):
    """The tables `clocks`, `windows`, `own` and `waiting`."""

    def clocks(self) -> Mapping[Ref, Clock]:
        rows = self._execute(f"SELECT {_CLOCK_COLUMNS} FROM clocks")  # noqa: S608
        with self._decoding("clocks"):
            return {clock.ref: clock for clock in map(_clock, rows)}

    def put_clocks(self, clocks: Iterable[Clock]) -> None:
        rows = [_clock_values(clock) for clock in clocks]
        self._write_all(
            f"INSERT OR REPLACE INTO clocks ({_CLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            rows,
        )

    def drop_clocks(self, refs: Iterable[Ref]) -> None:
        self._write_all("DELETE FROM clocks WHERE source = ? AND id = ?", [ref_values(each) for each in refs])

    def windows(self) -> Mapping[str, tuple[Window, ...]]:
        rows = self._execute("SELECT source, position, began, until FROM windows ORDER BY source, position")
        found: dict[str, list[Window]] = {}
        with self._decoding("windows"):
            for source, position, began, until in rows:
                number(position)
                found.setdefault(text(source), []).append(Window(instant(began), instant(until)))
        return {source: tuple(windows) for source, windows in found.items()}

    def put_windows(self, source: str, windows: Iterable[Window]) -> None:
        spans = sorted((stamp(window.began), stamp(window.until)) for window in windows)
        rows = [(bound(source), position, *span) for position, span in enumerate(spans)]
        with self._writing():
            self._change("DELETE FROM windows WHERE source = ?", (bound(source),))
            self._write_all("INSERT INTO windows (source, position, began, until) VALUES (?, ?, ?, ?)", rows)

    def note_own(self, ref: Ref, ids: Iterable[str], at: datetime) -> None:
        noted = stamp(at)
        self._write_all(
            "INSERT INTO own (source, id, evidence, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(*ref_values(ref), bound(id_), noted) for id_ in ids],
        )

    def own(self) -> frozenset[tuple[Ref, str]]:
        rows = self._execute("SELECT source, id, evidence FROM own")
        with self._decoding("own"):
            return frozenset((ref_of(source, id_), text(evidence)) for source, id_, evidence in rows)

    def note_waiting(self, waiting: Mapping[tuple[Ref, str], datetime]) -> None:
        rows = [(*ref_values(ref), bound(target), stamp(since)) for (ref, target), since in waiting.items()]
        with self._writing():
            self._change("DELETE FROM waiting", ())
            self._write_all("INSERT INTO waiting (source, id, target, since) VALUES (?, ?, ?, ?)", rows)

    def waiting(self) -> Mapping[tuple[Ref, str], datetime]:
        rows = self._execute("SELECT source, id, target, since FROM waiting")
        with self._decoding("waiting"):
            return {(ref_of(source, id_), text(target)): instant(since) for source, id_, target, since in rows}


def _clock_values(clock: Clock) -> tuple[Any, ...]:
    newest_at, newest_id = clock.newest or (None, None)
    return (
        *ref_values(clock.ref),
        bound(clock.epoch),
        stamp(clock.began_at),
        stamp(clock.seen_at),
        _mark_value(clock.activity),
        _mark_value(clock.progress),
        stamp_if_any(newest_at),
        bound_if_any(newest_id),
        bound_if_any(clock.revision),
    )


def _clock(row: tuple[Any, ...]) -> Clock:
    source, id_, epoch, began_at, seen_at, activity, progress, newest_at, newest_id, revision = row
    return Clock(
        ref=ref_of(source, id_),
        epoch=text(epoch),
        began_at=instant(began_at),
        seen_at=instant(seen_at),
        activity=_mark(activity),
        progress=_mark(progress),
        newest=None if newest_at is None else (instant(newest_at), text(newest_id)),
        revision=text_if_any(revision),
    )


def _mark_value(mark: Mark | None) -> str | bytes | None:
    if mark is None:
        return None
    return bound(to_json([stamp(mark.at), mark.kind.value, mark.id, mark.ref.source, mark.ref.id]))


def _mark(value: object) -> Mark | None:
    if value is None:
        return None
    at, kind, id_, source, ref_id = from_json(text(value))
    return Mark(instant(at), EvidenceKind(kind), text(id_), ref_of(source, ref_id))
