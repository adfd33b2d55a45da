"""The directory of one systemd in which our unit files lie among those of others.

A file is ours by the note in its first line that names our roster. No other is ever written over or removed, whatever
stood there when somebody thought out what to do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heartbeat.errors import CannotWriteError
from heartbeat.render.replace import read_regular, replace_file
from heartbeat.schedule.note import Note, read_note
from heartbeat.schedule.units import Unit

STEM = "heartbeat"
SYSTEM_DIRECTORY = Path("/etc/systemd/system")

_NAME = re.compile(r"(heartbeat(?:-[0-9a-f]{8})?)(?:@([a-z0-9][a-z0-9_-]*)?|-watchdog)?\.(?:service|timer)")
_ELSEWHERE = {
    True: ("/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"),
    False: ("/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user"),
}
"""Where other packages' units lie; one of the same name there would be hidden by ours (systemd.unit(5))."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file was not written or removed."""

    reason: str
    advice: str


@dataclass(frozen=True, slots=True)
class UnitFiles:
    """Of `roster`, in `directory`; `others` are the directories of the same systemd that packages use."""

    directory: Path
    others: tuple[Path, ...]
    roster: Path

    def found(self) -> Iterator[tuple[str, str, Note | None]]:
        """Units called like ours by name, with their text, and the note of those that are of any roster's schedule.

        Raises CannotWriteError where one cannot be read.
        """
        try:
            names = sorted(path.name for path in self.directory.glob(f"{STEM}*") if _NAME.fullmatch(path.name))
        except OSError as error:
            raise CannotWriteError(f"{self.directory}: {error.strerror}", advice="check who owns it") from error
        for name in names:
            text = _text(self.directory / name)
            yield name, text, read_note(text.split("\n", 1)[0])

    def foreign(self) -> Iterator[str]:
        """Names of units like ours that are another roster's, or somebody else's."""
        for name, _, note in self.found():
            if not self.is_ours(note):
                yield name
        for directory in self.others:
            if directory.resolve() != self.directory.resolve():
                yield from (path.name for path in directory.glob(f"{STEM}*"))

    def is_ours(self, note: Note | None) -> bool:
        """Whether it names our roster, by whatever path."""
        if note is None:
            return False
        return note.roster == str(self.roster) or os.path.realpath(note.roster) == os.path.realpath(self.roster)

    def is_foreign(self, name: str) -> bool:
        """Whether what stands there at this moment is not ours."""
        path = self.directory / name
        if not os.path.lexists(path):
            return False
        try:
            return not self.is_ours(read_note(_text(path).split("\n", 1)[0]))
        except CannotWriteError:
            return True

    def is_linked(self, name: str) -> bool:
        """Whether somebody has enabled it, as far as the links beside it tell."""
        return any(self.directory.glob(f"*.wants/{name}"))

    def put(self, name: str, text: str | None) -> Refusal | None:
        """Write the file; with None remove it, and what enabling has linked to it."""
        path = self.directory / name
        if self.is_foreign(name):
            return Refusal(f"{path} is not heartbeat's, and stays as it is", "move it away, and run this again")
        try:
            if text is None:
                for link in self.directory.glob(f"*.wants/{name}"):
                    link.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            else:
                self.directory.mkdir(parents=True, exist_ok=True)
                replace_file(path, text.encode())
        except OSError as error:
            root = self.directory == SYSTEM_DIRECTORY
            return Refusal(
                f"{path}: {error.strerror}",
                "run it as root, or install with --user" if root else "check who owns the directory",
            )
        return None


def directory_of(environment: Mapping[str, str], *, system: bool) -> Path:
    """Where the machine's administrator and a user keep units of their own (systemd.unit(5))."""
    if system:
        return SYSTEM_DIRECTORY
    home = Path(environment.get("HOME") or Path.home())
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user"


def directories_of_others(*, system: bool) -> tuple[Path, ...]:
    """Where packages keep theirs."""
    return tuple(map(Path, _ELSEWHERE[system]))


def agent_of(name: str) -> str:
    """Whose unit it is by its name; empty where it is everybody's."""
    found = _NAME.fullmatch(name)
    return (found[2] or "") if found else ""


def stems_in(names: Iterable[str]) -> tuple[str, ...]:
    """What units like ours begin with, each once."""
    return tuple(dict.fromkeys(found[1] for name in names if (found := _NAME.fullmatch(name))))


def touched_by(units: Sequence[Unit]) -> frozenset[str]:
    """What these units are called, and what their timers start: of a template, the instances."""
    started = (f"{unit.name.removesuffix('.timer')}.service" for unit in units if unit.name.endswith(".timer"))
    return frozenset((*(unit.name for unit in units), *started))


def _text(path: Path) -> str:
    """Of a plain file. A link is somebody's word (`systemctl mask`, `systemctl link`), and no unit is a pipe."""
    if path.is_symlink() or not path.is_file():
        return ""
    return (read_regular(path) or b"").decode("utf-8", "replace")
