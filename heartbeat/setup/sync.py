"""Bringing a roster's file in step with the agents that there are: read, compare, add, replace (rule B7)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from heartbeat.errors import CannotWriteError, RosterError, UsageError
from heartbeat.render.replace import advice_for, keep_backup, read_regular, replace_file
from heartbeat.roster.document import Document, read_document
from heartbeat.roster.load import roster_of
from heartbeat.roster.model import Roster
from heartbeat.setup.discover import PATIENCE, Found, discover
from heartbeat.setup.document import agent_lines, left_out_lines
from heartbeat.setup.drift import Drift, compare
from heartbeat.setup.insertion import OddFormError, indentation, inserted
from heartbeat.systems.registry import plug_in_names


@dataclass(frozen=True, slots=True)
class Comparison:
    """A roster's file as it was read, and what differs. `file` is what `path` leads to, where that is a link."""

    path: Path
    file: Path
    content: bytes
    roster: Roster
    document: Document
    found: Found
    drift: Drift

    def line(self, agent: str) -> int:
        """Where an agent stands."""
        return self.document.of_key(("agents", agent)).line


@dataclass(frozen=True, slots=True)
class Written:
    """What was added, in words, the old file, and what still differs. Without a `backup` nothing was added: there was
    nothing, or the file has another form than usual, and `paste` are the lines for a person to put there."""

    told: str
    backup: Path | None
    left: Drift
    paste: tuple[str, ...] = ()


def look(
    path: Path,
    environment: Mapping[str, str],
    on_progress: Callable[[str], None],
    patience: float = PATIENCE,
    *,
    knew_multica: bool = False,
) -> Comparison:
    """Reads the roster and asks the systems that it names. `knew_multica` says that Multica was read for this roster
    before. Raises UsageError, RosterError, CannotWriteError."""
    file = path.resolve()
    content = _content(file)
    roster = roster_of(path, content, environment, plug_in_names)
    document = read_document(content)
    found = discover(roster.sources, environment, on_progress, patience)
    drift = compare(roster, document, content.decode("utf-8-sig"), found, os.path.realpath, knew_multica=knew_multica)
    return Comparison(path, file, content, roster, document, found, drift)


def add(compared: Comparison, environment: Mapping[str, str]) -> Written:
    """Adds the missing agents at the end of `agents:`, and the strangers as comments; keeps the old file.

    Raises UsageError where the file was changed meanwhile, and CannotWriteError.
    """
    drift = compared.drift
    if not drift.missing and not drift.strangers:
        return Written("nothing to add", None, drift)
    lines = _lines(compared, environment, "  ")
    try:
        lines = _lines(compared, environment, indentation(compared.content.decode()))
        new = _extended(compared, lines, environment)
    except (OddFormError, RosterError) as error:
        return Written(f"nothing was added: {error}", None, drift, tuple(filter(None, lines)))
    try:
        if _content(compared.file) != compared.content:
            told = f"{compared.path} was changed while the systems were asked; nothing was written"
            raise UsageError(told, advice="run it again")
        backup = keep_backup(compared.file)
        replace_file(compared.file, new)
    except OSError as error:
        told = f"{compared.file}: cannot be written: {error.strerror or error}"
        raise CannotWriteError(told, advice=advice_for(error)) from error
    numbers = ((len(drift.missing), "added"), (len(drift.strangers), "named in comments"))
    told = ", ".join(f"{number} {what}" for number, what in numbers if number)
    return Written(told, backup, replace(drift, missing=(), strangers=()))


def _content(file: Path) -> bytes:
    content = read_regular(file)
    if content is None:
        raise UsageError(f"there is no roster {file}", advice="`heartbeat init` writes one")
    return content


def _extended(compared: Comparison, lines: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """The file's new content, which was read as a roster. Raises OddFormError and RosterError."""
    new = inserted(compared.content.decode(), lines, [draft.id for draft in compared.drift.missing]).encode()
    roster_of(compared.path, new, environment, plug_in_names)
    return new


def _lines(compared: Comparison, environment: Mapping[str, str], indent: str) -> list[str]:
    home = environment.get("HOME", "")
    lines: list[str] = []
    for draft in compared.drift.missing:
        lines += ["", *agent_lines(draft, home, indent=indent)]
    if compared.drift.strangers:
        lines += ["", *left_out_lines(compared.drift.strangers, home, indent)]
    return lines
