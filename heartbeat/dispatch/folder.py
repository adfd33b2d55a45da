"""A folder for each dispatch id that is started without an idempotency key: what we, the next beat and whoever watches
over the turn know of it together. It lies in the state directory, and holds a prompt and an answer: ours alone to read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from heartbeat.durable import sync_directory
from heartbeat.roster.model import Roster

KEPT = timedelta(days=1)
"""How long a folder that nobody waits for is left, for a person who wants to look into it."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)
_LARGEST = 1024 * 1024
"""Bytes of one of our own files; they are far smaller."""


def runs_directory(roster: Roster, environment: Mapping[str, str]) -> Path:
    """`runs` in the state directory, which is found as the commands find it: HEARTBEAT_HOME, the roster's `state`, else
    one for this roster in the user's home."""
    home = environment.get("HEARTBEAT_HOME")
    if home:
        return Path(home).expanduser().absolute() / "runs"
    if roster.state is not None:
        return roster.state / "runs"
    from platformdirs import user_state_path

    name = hashlib.sha256(str(roster.path.resolve()).encode()).hexdigest()[:12]
    return user_state_path("heartbeat", appauthor=False) / name / "runs"


class RunFolder:
    """What is on record of one dispatch id. Every file is either whole or not there. Methods raise OSError."""

    def __init__(self, runs: Path, dispatch: str) -> None:
        if not _ID.fullmatch(dispatch):
            raise ValueError(f"{dispatch!r} is no dispatch id")
        self.path = runs / dispatch

    def exists(self) -> bool:
        return self.path.is_dir()

    def make(self) -> None:
        """The folder, if it is not there yet; nobody else may look into it."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.mkdir(exist_ok=True, mode=0o700)
        sync_directory(self.path.parent)

    def put(self, name: str, content: bytes) -> None:
        """Writes a file, in place of the one that is there, and waits until it is on the disk."""
        new = self._written(content)
        try:
            new.replace(self.path / name)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        sync_directory(self.path)

    def put_new(self, name: str, value: Mapping[str, Any]) -> bool:
        """Writes a file that nobody has written before; False where somebody has. Of many that try one succeeds."""
        new = self._written(json.dumps(value).encode())
        try:
            os.link(new, self.path / name)
        except FileExistsError:
            return False
        finally:
            new.unlink(missing_ok=True)
        sync_directory(self.path)
        return True

    def put_json(self, name: str, value: Mapping[str, Any]) -> None:
        self.put(name, json.dumps(value).encode())

    def read_json(self, name: str) -> Mapping[str, Any] | None:
        """The object in a file; None where there is no such file. One that holds anything else is empty: it was there,
        and tells nothing."""
        try:
            with (self.path / name).open("rb") as file:
                value = json.loads(file.read(_LARGEST))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def read_end(self, name: str, limit: int) -> bytes:
        """The last `limit` bytes of a file; nothing where there is none."""
        try:
            with (self.path / name).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def size(self, name: str) -> int:
        with suppress(FileNotFoundError):
            return (self.path / name).stat().st_size
        return 0

    def remove(self) -> None:
        """The folder and all that is in it, if it is there."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path)

    def _written(self, content: bytes) -> Path:
        path = self.path / f".{uuid.uuid4().hex}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path


def idle_folders(runs: Path, wanted: Collection[str], *, older_than: timedelta = KEPT) -> list[RunFolder]:
    """Folders that nothing was written into for so long, and whose dispatch ids nobody waits for."""
    try:
        names = sorted(entry.name for entry in os.scandir(runs) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    before = time.time() - older_than.total_seconds()
    found = (RunFolder(runs, name) for name in names if name not in wanted and _ID.fullmatch(name))
    return [folder for folder in found if _changed(folder.path) < before]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
