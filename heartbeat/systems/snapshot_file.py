"""One complete read of one source as a file of JSON lines: written whole, or not at all; read whole, or not at all.

    {"format": 1, "identity": <digest>, "report": {…}}
    {"item": {…}}          one line each
    {"evidence": {…}}
    {"rejected": {…}}
    {"end": {"lines": <how many before this one>, "sha256": <of every byte before this line>}}

A file whose last line does not match what stands before it was cut or changed, and nothing of it is used. Text is
UTF-8 with lone surrogates passed through, so that whatever a source said comes back as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from heartbeat.durable import sync_directory
from heartbeat.systems import codec
from heartbeat.systems.base import Reading, ReadStatus, Rejected, SourceReport
from heartbeat.task import Evidence, Item, Presence, Ref

FORMAT = 1
"""Goes up whenever a file of the old kind would be misread; files of another format are ignored."""

_BUFFER = 1 << 20
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class DamagedSnapshotError(Exception):
    """The file cannot be trusted; the message says why, without the path."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line tells. Until the whole file was read, it is hearsay."""

    identity: str
    report: SourceReport
    read_at: datetime


def identity_digest(identity: str) -> str:
    """A source's identity as the header holds it: of one size, and told to nobody."""
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def write_snapshot(path: Path, reading: Reading, identity: str) -> None:
    """Replaces the file atomically (mode 0600). `identity` is a digest; the report must tell `read_at`.

    One writer at a time, since the temporary file has a fixed name: what a killed writer left is overwritten by the
    next. Raises OSError, and ValueError for what JSON cannot hold; the old file stands then.
    """
    if reading.report.read_at is None:
        raise ValueError("a snapshot needs the time when it was read")
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=_BUFFER) as file:
            digest = hashlib.sha256()
            lines = 0
            for lines, record in enumerate(_records(reading, identity), start=1):  # noqa: B007
                line = _line(record)
                digest.update(line)
                file.write(line)
            file.write(_line({"end": {"lines": lines, "sha256": digest.hexdigest()}}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def read_header(path: Path) -> Header | None:
    """The first line, unverified; None where there is no file. Raises DamagedSnapshotError."""
    try:
        with path.open("rb") as file:
            return _parse_header(file.readline())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedSnapshotError(error.strerror or str(error)) from error


def read_snapshot(path: Path) -> tuple[Header, Reading] | None:
    """The whole file, verified; None where there is none. Raises DamagedSnapshotError."""
    try:
        with path.open("rb", buffering=_BUFFER) as file:
            return _whole(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedSnapshotError(error.strerror or str(error)) from error


def peek_items(path: Path, most: int) -> Iterator[Item]:
    """Its first items, at most so many, unverified: for whoever must answer at once and may be wrong. Nothing of a
    file that is not there, of another format, or damaged."""
    with (
        suppress(OSError, DamagedSnapshotError, KeyError, TypeError, ValueError, RecursionError),
        path.open("rb") as file,
    ):
        _parse_header(file.readline())
        for line, _ in zip(file, range(most), strict=False):
            yield codec.decode_item(json.loads(line.decode("utf-8", "surrogatepass"))["item"])


def find_keys(path: Path, wanted: Collection[Ref]) -> dict[Ref, str]:
    """What people call those of the items that are in the file, unverified; nothing of a file that is no good. Lines
    are not decoded but for their beginnings, so that a board of 100,000 cards is looked through in a moment."""
    found: dict[Ref, str] = {}
    written = {(_text(ref.source), _text(ref.id)): ref for ref in wanted}
    with (
        suppress(OSError, DamagedSnapshotError, ValueError, RecursionError),
        path.open("rb", buffering=_BUFFER) as file,
    ):
        _parse_header(file.readline())
        for line in file:
            begins = _NAMED.match(line)
            if begins is None:
                break  # the items come first
            ref = written.get((begins[1], begins[2]))
            if ref is not None:
                found[ref] = json.loads(begins[3].decode("utf-8", "surrogatepass"))
    return found


def _text(value: str) -> bytes:
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


_TEXT = rb'("(?:[^"\\]|\\.)*")'
_NAMED = re.compile(rb'\{"item":\{"ref":\[' + _TEXT + rb"," + _TEXT + rb'\],"key":' + _TEXT)
"""How the line of an item begins, by the order in which the codec writes."""


def _records(reading: Reading, identity: str) -> Iterator[dict[str, Any]]:
    known = reading.presence is not None
    yield {
        "format": FORMAT,
        "identity": identity,
        "report": codec.encode_report(reading.report),
        "presence_known": known,
    }
    for item in reading.items:
        yield {"item": codec.encode_item(item)}
    for evidence in reading.evidence:
        yield {"evidence": codec.encode_evidence(evidence)}
    for rejected in reading.rejected:
        yield {"rejected": codec.encode_rejected(rejected)}
    for presence in reading.presence or ():
        yield {"presence": codec.encode_presence(presence)}


def _line(record: dict[str, Any]) -> bytes:
    return _ENCODER.encode(record).encode("utf-8", "surrogatepass") + b"\n"


def _parse_header(line: bytes) -> Header:
    try:
        record = json.loads(line.decode("utf-8", "surrogatepass"))
        if record["format"] != FORMAT:
            raise DamagedSnapshotError(f"it has format {record['format']!r}, and this heartbeat reads {FORMAT}")
        report = codec.decode_report(record["report"])
        identity = record["identity"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedSnapshotError(f"its first line is no header ({type(error).__name__})") from error
    if report.read_at is None or report.status is not ReadStatus.COMPLETE:
        raise DamagedSnapshotError("it is not of a complete read")
    return Header(identity, report, report.read_at)


def _whole(file: BinaryIO) -> tuple[Header, Reading]:
    first = file.readline()
    header = _parse_header(first)
    digest = hashlib.sha256(first)
    items: list[Item] = []
    evidence: list[Evidence] = []
    rejected: list[Rejected] = []
    presence: list[Presence] = []
    lines = 1
    try:
        for line in file:
            record = json.loads(line.decode("utf-8", "surrogatepass"))
            if "end" in record:
                if record["end"] != {"lines": lines, "sha256": digest.hexdigest()} or not line.endswith(b"\n"):
                    raise DamagedSnapshotError("its content does not match its last line")
                if file.read(1):
                    raise DamagedSnapshotError("it goes on after its last line")
                known = tuple(presence) if json.loads(first).get("presence_known") else None
                return header, Reading(header.report, tuple(items), tuple(evidence), tuple(rejected), presence=known)
            digest.update(line)
            lines += 1
            if "item" in record:
                items.append(codec.decode_item(record["item"]))
            elif "evidence" in record:
                evidence.append(codec.decode_evidence(record["evidence"]))
            elif "presence" in record:
                presence.append(codec.decode_presence(record["presence"]))
            else:
                rejected.append(codec.decode_rejected(record["rejected"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedSnapshotError(f"line {lines + 1} cannot be read ({type(error).__name__})") from error
    raise DamagedSnapshotError("it ends too early")
