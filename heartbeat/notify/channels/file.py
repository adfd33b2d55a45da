"""A log of messages: one line of JSON each, on the disk before it counts as sent."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heartbeat.deadline import Deadline
from heartbeat.durable import sync_directory
from heartbeat.instants import to_text
from heartbeat.notify.channels.base import ChannelError, Failure
from heartbeat.notify.letter import Letter, document
from heartbeat.roster.model import Roster

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE})
_LOCK_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class FileChannel:
    """Implements Channel. The file is made with mode 0600 in a directory that is made where there is none."""

    path: Path
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    seconds: float = 5.0

    @property
    def address(self) -> str:
        return str(self.path)

    def send(self, letter: Letter, deadline: Deadline) -> str:
        line = json.dumps({"at": to_text(self.clock()), **document(letter)}, ensure_ascii=False, separators=(",", ":"))
        try:
            self._append(line.encode("utf-8", "backslashreplace") + b"\n", deadline)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._refused("is a symbolic link, which is not followed") from error
            raise ChannelError(
                Failure.TRANSIENT if error.errno in _PASSING else Failure.PERMANENT,
                f"{self.path}: {error.strerror or error}",
                advice="make room, or let heartbeat write there",
            ) from error
        return ""

    def _append(self, line: bytes, deadline: Deadline) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = not self.path.exists()
        descriptor = os.open(self.path, _FLAGS, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._refused("is not a regular file")
            self._lock(descriptor, deadline)
            _write_whole(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_directory(self.path.parent)

    def _lock(self, descriptor: int, deadline: Deadline) -> None:
        """Two lines never mix, and whoever takes back half a line takes back its own."""
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if deadline.left() <= 0:
                    raise ChannelError(
                        Failure.TRANSIENT, f"{self.path}: another process holds its lock", advice="it is tried again"
                    ) from error
                time.sleep(_LOCK_PAUSE)
            else:
                return

    def _refused(self, what: str) -> ChannelError:
        return ChannelError(Failure.PERMANENT, f"{self.path} {what}", advice="name a plain file in the roster")


def build(name: str, settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> FileChannel:
    """From `path`."""
    return FileChannel(Path(settings["path"]))


def _write_whole(descriptor: int, line: bytes) -> None:
    """The whole line or nothing of it; a line that somebody left unfinished is ended first. Raises OSError."""
    size = os.fstat(descriptor).st_size
    data = line if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n" else b"\n" + line
    try:
        written = 0
        while written < len(data):
            written += os.write(descriptor, data[written:])
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
