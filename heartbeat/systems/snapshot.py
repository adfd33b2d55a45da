"""The shared snapshot: one read of a source serves every agent's beat, and an outage is never absence (rules S2, S5).

One file a source keeps its last complete read, under the state directory. It answers two questions: is there a read
young enough to be used instead of reading again, and what did a source say last that cannot be read now?

Only a complete read is ever kept. A failure is not kept, not even for a moment: whoever waited for a read that failed
reads for itself if its own deadline allows. That costs little, since beats that start together run out of time
together, and a remembered failure would outlive the moment in which the source came back.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from heartbeat.errors import StateError
from heartbeat.instants import format_duration, to_text
from heartbeat.store.locks import Lock, try_exclusive
from heartbeat.systems.base import Deadline, FailureKind, Reading, ReadStatus, Source, SourceReport
from heartbeat.systems.snapshot_file import (
    DamagedSnapshotError,
    Header,
    identity_digest,
    read_header,
    read_snapshot,
    write_snapshot,
)
from heartbeat.task import Finding

AHEAD = timedelta(minutes=1)
"""How far in the future a snapshot may have been read and still be fresh. Beats that start in the same minute stamp
their reads with their own start, so that a slow starter meets a snapshot a little younger than itself. Anything
further ahead means that the clock was set back, and how old the snapshot is cannot be known."""

_GRACE = 5.0
"""Seconds beyond its deadline after which nobody waits for a reader any more: it is stopped, or hangs."""


class SnapshotCache:
    """The snapshots of one state directory. With `read_only` no file is made or changed, lock files included (B3).

    Threads may share it as long as each reads another source.
    """

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        self._directory = directory
        self._read_only = read_only
        self._shelves: dict[str, _Shelf] = {}

    def read(
        self,
        source: Source,
        *,
        deadline: Deadline,
        now: datetime,
        ttl: timedelta,
        fresh: bool = False,
        last_complete: datetime | None = None,
    ) -> Reading:
        """What the source says, from a snapshot younger than `ttl` where that will do, else from the source itself.

        Of all processes that need it at the same time one reads; the others wait for that, at most until their
        deadline. `fresh` asks the source in any case and waits for nobody. `report.read_at` tells when the data was
        read, or where only stale items are left, when those were. `last_complete` is what the store knows of complete
        reads, should the snapshot be gone (rule S1a). What is wrong with a snapshot is a finding in the report.
        """
        shelf = _Shelf(self._path(source.name, "jsonl"), identity_digest(source.identity), now)
        self._shelves[source.name] = shelf
        usable = source.shareable and not fresh
        reading = shelf.fresh(now, ttl) if usable else None
        if reading is None:
            reading = (
                source.read(deadline, now)
                if self._read_only
                else self._read_in_turn(source, shelf, deadline, ttl, usable=usable)
            )
        if reading.report.status is ReadStatus.DISABLED:
            reading = shelf.missed(reading, last_complete)
        return self.with_stale(reading)

    def with_stale(self, reading: Reading) -> Reading:
        """The reading with those items of the last complete one that did not come now, if it is not complete (S2).

        For a source that `read` was called for; it is what `read` itself does at its end.
        """
        shelf = self._shelves.get(reading.report.source)
        if shelf is None:
            return reading
        if reading.report.status in {ReadStatus.PARTIAL, ReadStatus.FAILED} and not reading.stale:
            reading = shelf.with_stale(reading)
        return shelf.with_findings(reading)

    def _read_in_turn(
        self, source: Source, shelf: _Shelf, deadline: Deadline, ttl: timedelta, *, usable: bool
    ) -> Reading:
        """Read the source and keep what it said, or use what another process read while this one waited for it."""
        began = time.monotonic()
        while True:
            with ExitStack() as stack:
                lock = self._lock(stack, source.name, shelf, deadline, waits=usable)
                # Whoever waited is no longer at the instant when the wait began, and the snapshot is younger too.
                present = shelf.now + timedelta(seconds=time.monotonic() - began)
                if not (usable and shelf.is_fresh(present, ttl)):
                    if usable and lock is not None and not lock.held:
                        return _still_being_read(source.name, lock)
                    reading = source.read(deadline, shelf.now)
                    if lock is not None and lock.held:
                        shelf.keep(reading)
                    return reading
            # Loaded without the lock, so that a queue of beats loads side by side.
            young = shelf.fresh(present, ttl)
            if young is not None:
                return young
            usable = False  # its first line promised more than it keeps

    def _lock(self, stack: ExitStack, name: str, shelf: _Shelf, deadline: Deadline, *, waits: bool) -> Lock | None:
        """The turn to read; None where it cannot be had, and then everybody reads for itself: the file system gives no
        locks, or whoever reads is over its time. A reader harms nobody, so it is passed by and not ended."""
        until = Deadline(deadline.at + _GRACE)
        tried = try_exclusive(
            self._path(name, "lock"), deadline if waits else None, purpose=f"reading {name}", until=until, fence=False
        )
        try:
            lock = stack.enter_context(tried)
        except StateError as error:
            shelf.find("snapshot-not-locked", f"{error}; {name} was read without sharing it")
            return None
        if not lock.held and lock.holder is not None and lock.holder.overdue is not None:
            shelf.find("snapshot-reader-hangs", f"{lock.holder} does not end; {name} was read without sharing it")
            return None
        return lock

    def _path(self, name: str, suffix: str) -> Path:
        return self._directory / f"{quote(name, safe='')}.{suffix}"


class _Shelf:
    """The snapshot of one source during one call, and what was found wrong with it."""

    def __init__(self, path: Path, identity: str, now: datetime) -> None:
        self.now = now
        self._path = path
        self._identity = identity
        self._findings: list[Finding] = []
        self._distrusted: tuple[int, int, int] | None = None

    def find(self, code: str, message: str) -> None:
        finding = Finding(code, message)
        if finding not in self._findings:
            self._findings.append(finding)

    def is_fresh(self, now: datetime, ttl: timedelta) -> bool:
        """Whether the file's first line promises a read that is young enough; only loading it proves that."""
        header = self._header()
        return header is not None and self._serves(header, now, ttl)

    def fresh(self, now: datetime, ttl: timedelta) -> Reading | None:
        if not self.is_fresh(now, ttl):
            return None
        loaded = self._load()
        return loaded[1] if loaded is not None and self._serves(loaded[0], now, ttl) else None

    def keep(self, reading: Reading) -> None:
        """A complete reading becomes the snapshot. Where it cannot be written, the reading is no worse for it."""
        if reading.report.status is not ReadStatus.COMPLETE:
            return
        report = replace(reading.report, read_at=reading.report.read_at or self.now)
        try:
            write_snapshot(self._path, replace(reading, report=report), self._identity)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.find("snapshot-not-written", f"{self._path} could not be written: {reason}; every beat reads anew")

    def missed(self, reading: Reading, last_complete: datetime | None) -> Reading:
        """Nothing of the source is to be found: a failure, if it was ever read completely (rule S1a)."""
        header = self._header()
        known = [header.read_at] if header is not None else []
        when = max(known + ([last_complete] if last_complete is not None else []), default=None)
        if when is None and self._distrusted is None:
            return reading
        told = f"it was last read completely {self._ago(when)}" if when is not None else "it was read completely before"
        report = replace(
            reading.report,
            status=ReadStatus.FAILED,
            kind=FailureKind.NOT_INSTALLED,
            message=_joined(reading.report.message, f"{told}, so this is an outage"),
            advice="check PATH, HOME and the variables that heartbeat runs with (cron gives it very few); if the "
            "source was given up, take it out of the roster's `sources`",
        )
        return replace(reading, report=report)

    def with_stale(self, reading: Reading) -> Reading:
        loaded = self._load()
        if loaded is None or loaded[0].identity != self._identity:
            return reading
        header, kept = loaded
        came = {item.ref for item in reading.items}
        stale = tuple(item for item in kept.items if item.ref not in came)
        report = reading.report
        shown = f"{len(stale)} items" if len(stale) != 1 else "1 item"
        message = _joined(report.message, f"showing {shown} of the last complete read, {self._ago(header.read_at)}")
        read_at = report.read_at if reading.items else header.read_at
        report = replace(report, message=message, read_at=read_at)
        return replace(reading, report=report, stale=stale, stale_at=header.read_at)

    def with_findings(self, reading: Reading) -> Reading:
        new = tuple(finding for finding in self._findings if finding not in reading.report.findings)
        return replace(reading, report=replace(reading.report, findings=reading.report.findings + new))

    def _serves(self, header: Header, now: datetime, ttl: timedelta) -> bool:
        return header.identity == self._identity and -AHEAD <= now - header.read_at < ttl

    def _header(self) -> Header | None:
        signature = self._signature()
        if signature is None or signature == self._distrusted:
            return None
        try:
            return read_header(self._path)
        except DamagedSnapshotError as error:
            self._distrust(signature, error)
            return None

    def _load(self) -> tuple[Header, Reading] | None:
        signature = self._signature()
        if signature is None or signature == self._distrusted:
            return None
        try:
            return read_snapshot(self._path)
        except DamagedSnapshotError as error:
            self._distrust(signature, error)
            return None

    def _signature(self) -> tuple[int, int, int] | None:
        """Tells one version of the file from the next: each is a new file."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.find("snapshot-damaged", f"{self._path} cannot be used: {error.strerror or error}")
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _distrust(self, signature: tuple[int, int, int], error: DamagedSnapshotError) -> None:
        self._distrusted = signature
        self.find("snapshot-damaged", f"{self._path} was not used: {error}; the next complete read replaces it")

    def _ago(self, instant: datetime) -> str:
        age = self.now - instant
        return f"{format_duration(age)} ago" if age >= timedelta(0) else f"at {to_text(instant)}"


def _still_being_read(name: str, lock: Lock) -> Reading:
    return Reading(
        SourceReport(
            source=name,
            status=ReadStatus.FAILED,
            kind=FailureKind.TIMEOUT,
            message=f"another heartbeat is still reading it: {lock.holder or 'who, is not known'}",
            advice="see whether that process hangs; `--fresh` reads without waiting for it",
        )
    )


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
