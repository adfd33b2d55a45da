"""Writing a file that is not there yet: whole or not at all, and never over another one (rule B7)."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from heartbeat.durable import sync_directory
from heartbeat.errors import CannotWriteError, UsageError
from heartbeat.render.replace import advice_for

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})


def refuse_existing(path: Path) -> None:
    """Raises UsageError where there is something already, a broken link included."""
    if os.path.lexists(path):
        raise UsageError(
            f"{path} exists already, and is never overwritten",
            advice="`heartbeat roster sync` shows which agents it lacks, and adds them with --write; --into names "
            "another file",
        )


def create(path: Path, content: bytes) -> None:
    """The file, with its directory. Raises UsageError where it has come to exist meanwhile, and CannotWriteError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(path, content)
    except FileExistsError:
        refuse_existing(path)
        raise CannotWriteError(f"{path.parent} is not a directory", advice="name another file") from None
    except OSError as error:
        told = f"{path}: cannot be written: {error.strerror or error}"
        raise CannotWriteError(told, advice=advice_for(error)) from error


def _create(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        _take_place(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    sync_directory(path.parent)


def _take_place(temporary: Path, path: Path) -> None:
    """Gives the finished file its name, where nothing has it. A link does so at once; where the file system has none,
    the name is taken first and then filled."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        temporary.replace(path)
