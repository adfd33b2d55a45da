"""Replacing one file as a whole, and keeping the old one: the only place here that writes (rule B7).

Everything raises OSError as the system gives it, but for `read_regular`, whose refusals are sentences.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from heartbeat.durable import sync_directory
from heartbeat.errors import CannotWriteError

LINK_ADVICE = "remove the link, so that a file can stand in its place"

_MAXIMUM_SIZE = 4 * 1024 * 1024


def read_regular(path: Path) -> bytes | None:
    """The file's bytes; None where there is none. Never waits on a FIFO, never follows a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CannotWriteError(f"{path}: cannot be read: {error.strerror}", advice=advice_for(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CannotWriteError(f"{path}: not a regular file", advice="move it away")
    with os.fdopen(descriptor, "rb") as file:
        try:
            raw = file.read(_MAXIMUM_SIZE + 1)
        except OSError as error:
            raise CannotWriteError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > _MAXIMUM_SIZE:
        raise CannotWriteError(f"{path}: larger than {_MAXIMUM_SIZE} bytes", advice="this is no heartbeat file")
    return raw


_NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV},
)
"""How FAT, some network shares and the kernel's protection of links say that a copy has to do."""


def keep_backup(path: Path) -> Path:
    """A backup of the file under the first free name: HEARTBEAT.md.bak, .bak.1, .bak.2 and so on."""
    number = 0
    while True:
        backup = path.with_name(f"{path.name}.bak" + (f".{number}" if number else ""))
        try:
            os.link(path, backup, follow_symlinks=False)
        except FileExistsError:
            number += 1
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            if _copy_to_new(path, backup):
                return backup
            number += 1
        else:
            return backup


def _copy_to_new(path: Path, backup: Path) -> bool:
    """Copy with mode and times; False where the name is taken already."""
    try:
        descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "wb") as copy:
            copy.write(path.read_bytes())
            copy.flush()
            os.fsync(descriptor)
        shutil.copystat(path, backup)
    except BaseException:
        backup.unlink(missing_ok=True)
        raise
    return True


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file: whoever reads it sees the old whole or the new whole."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _take_after(path, descriptor)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def _take_after(path: Path, descriptor: int) -> None:
    """Give the new file the old one's owner, group and mode. A new file has 0644 less the umask."""
    try:
        old = path.lstat()
    except FileNotFoundError:
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        # Only root may give a file away; for others the agent's file becomes ours, readable by the mode it had.
        with suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


_AS_OWNER = "run it as the user who owns the directory, or let this user write there"

_ADVICE: Mapping[int, str] = {
    errno.ENOSPC: "make room on the disk and run it again; the old file is untouched",
    errno.EDQUOT: "the quota is used up: make room and run it again; the old file is untouched",
    errno.EROFS: "the file system is read-only: remount it for writing",
    errno.EACCES: _AS_OWNER,
    errno.EPERM: _AS_OWNER,
    errno.ELOOP: LINK_ADVICE,
}


def advice_for(error: OSError) -> str:
    """What to do about a refusal of the system."""
    return _ADVICE.get(error.errno or 0, "check the disk and the directory, then run it again")
