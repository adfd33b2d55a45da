"""The `file` transport: a JSON document that somebody saved, read as a source's records."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heartbeat.systems.base import Deadline, FailureKind, Fetched, TransportError
from heartbeat.systems.json_text import load_json
from heartbeat.task import Finding

MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SavedFile:
    """Implements Transport. `extract` picks the records out of the document and raises TransportError BAD_OUTPUT where
    it has another shape; `what` names the document in messages ("WorkBoard cards")."""

    path: Path
    what: str
    extract: Callable[[Any], Fetched]
    name: str = "file"
    max_bytes: int = MAX_BYTES

    def absent(self) -> str | None:
        """Never: a file that is named and missing is a failure, not a source that is not used."""
        return None

    def fetch(self, deadline: Deadline) -> Fetched:
        """Raises TransportError: NOT_FOUND, REFUSED (no regular file, no permission), TOO_LARGE, BAD_OUTPUT."""
        document, banner = load_json(self._content(), what=f"the {self.what} file {self.path}")
        fetched = self.extract(document)
        if not banner:
            return fetched
        finding = Finding("tool-banner", f"{self.path} holds more than JSON: {banner}")
        return replace(fetched, findings=(*fetched.findings, finding))

    def version(self, deadline: Deadline) -> str | None:
        return None

    def _content(self) -> bytes:
        try:
            # Looked at before it is opened: to open a FIFO waits, and to open a device may do something.
            self._check(self.path.stat())
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                self._check(os.fstat(descriptor))
                content = file.read(self.max_bytes + 1)
        except FileNotFoundError as error:
            raise TransportError(
                FailureKind.NOT_FOUND,
                f"{self.path}: no such file",
                advice="save the file there, or correct `path` in the roster",
            ) from error
        except OSError as error:
            raise TransportError(FailureKind.REFUSED, f"{self.path}: {error.strerror or error}") from error
        if len(content) > self.max_bytes:
            raise self._too_large(len(content))
        return content

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise TransportError(
                FailureKind.REFUSED,
                f"{self.path} is not a regular file, and nothing else is read",
                advice="correct `path` in the roster",
            )
        if status.st_size > self.max_bytes:
            raise self._too_large(status.st_size)

    def _too_large(self, size: int) -> TransportError:
        return TransportError(
            FailureKind.TOO_LARGE, f"{self.path} has {size:,} bytes; more than {self.max_bytes:,} are not read"
        )
