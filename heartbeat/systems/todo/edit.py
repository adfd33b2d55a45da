"""Changing one line of a task list, and nothing else (rules S9, T9, B7).

An edit works on bytes: line endings, the missing newline at the end, the byte order mark and bytes that are no UTF-8
stay as they are. It is refused where the line is no longer what the caller saw, and where anybody writes to the file
between our reading and our replacing it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from heartbeat.action import signature
from heartbeat.errors import CannotWriteError
from heartbeat.systems.base import TransportError
from heartbeat.systems.todo.files import opened_folder, read_file, unchanged
from heartbeat.systems.todo.inline import ANNOTATION_OPEN, annotated_text, annotation_spans, has_open_comment
from heartbeat.systems.todo.markdown import line_spans, read_tasks

_CHARACTER = rb"(?:[\xc2-\xf4][\x80-\xbf]{1,3}|[^\[\]\r\n])(?:\xef\xb8\x8f)?"
_BOX = re.compile(
    rb"(?:\xef\xbb\xbf)?[ \t]*(?:(?:[-+*]|[0-9]{1,9}[.)])[ \t]+)+\[(?P<box>" + _CHARACTER + rb")\](?=[ \t\r\n]|\Z)"
)
_TAIL = re.compile(rb"[ \t]*(?:\r\n|\r|\n)?\Z")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class EditRefusedError(CannotWriteError):
    """The line is not what it was, or the file cannot be replaced without harm. Nothing was changed."""


class LineChangedError(EditRefusedError):
    """Somebody wrote to the file meanwhile, so that the line may not be what it was. Nothing was changed."""


class NotDurableError(CannotWriteError):
    """The line was changed, and a power failure may undo it."""


def edit_line(root: Path, path: str, number: int, expected: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Replace line `number` (from 1) of a workspace's file by what `change` makes of it; return the new line.

    `expected` is the whole line with its ending, as it was read. Where `change` leaves it as it is, nothing is written.
    Raises LineChangedError where the line, or the file meanwhile, is not what it was, EditRefusedError where this file
    or this change would do harm, and CannotWriteError where the system does not let us write. The file is then as it
    was, save for NotDurableError.
    """
    told = f"{root / path}:{number}"
    try:
        read = read_file(root, path)
    except TransportError as error:
        raise EditRefusedError(str(error), advice=error.advice) from error
    if read is None:
        raise LineChangedError(f"{told}: the file is gone")
    data, status = read
    spans = line_spans(data)
    start, end = spans[number - 1] if 1 <= number <= len(spans) else (0, 0)
    before = data[start:end]
    if before != expected or not before:
        raise LineChangedError(
            f"{told}: the line has changed since it was read", advice="read the file again and decide"
        )
    _check_permitted(root / path, status)
    after = change(before)
    if after == before:
        return before
    if line_spans(after) != [(0, len(after))] or _ending(after) != _ending(before):
        raise EditRefusedError(f"{told}: the change would not leave one line with its line ending")
    edited = data[:start] + after + data[end:]
    _check_same_tasks(data, edited, number, told)
    _replace(root, path, edited, status)
    return after


def set_box(line: bytes, character: str) -> bytes:
    """The task line with another character in its box. Raises EditRefusedError where the line has no box."""
    if len(character) != 1 or character in "[]" or not character.isprintable():
        raise ValueError(f"{character!r} cannot stand in a box")
    found = _BOX.match(line)
    if found is None:
        raise EditRefusedError("the line has no checkbox")
    start, end = found.span("box")
    return line[:start] + character.encode() + line[end:]


def annotate(line: bytes, text: str) -> bytes:
    """The line with `<!-- heartbeat: text -->` at its end; the line itself where that stands there already.

    `text` may be anything: what would end the comment, open a code span or break the line is made harmless. Raises
    EditRefusedError where a comment that is still open would swallow ours.
    """
    comment = f"{ANNOTATION_OPEN} {harmless(text)} -->".encode()
    if comment in line:
        return line
    if has_open_comment(line.decode("utf-8", "replace")):
        raise EditRefusedError("the line opens a comment that it does not close", advice="close the comment")
    tail = _TAIL.search(line)
    position = tail.start() if tail else len(line)
    return line[:position] + b" " + comment + line[position:]


def keep_annotations(line: bytes, newest: int) -> bytes:
    """The line with no more than the newest so many of the annotations that heartbeat signed; other comments stay."""
    text = line.decode("utf-8", "surrogateescape")
    ours = [span for span in annotation_spans(text) if signature(annotated_text(text[slice(*span)])) is not None]
    for start, end in reversed(ours[: max(0, len(ours) - newest)]):
        text = text[:start].removesuffix(" ") + text[end:]
    return text.encode("utf-8", "surrogateescape")


def harmless(text: str) -> str:
    """A text that can stand in an HTML comment within one line: it ends neither, and opens no code span."""
    flat = " ".join(_UNPRINTABLE.sub(" ", text).split()).replace("`", "'")
    while "--" in flat:
        flat = flat.replace("--", "- -")
    return flat.encode("utf-8", "replace").decode().removesuffix("-").strip()


def _ending(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]


def _check_permitted(told: Path, status: os.stat_result) -> None:
    if not status.st_mode & 0o222:
        raise EditRefusedError(f"{told} is read-only", advice="make it writable (chmod u+w)")
    if status.st_nlink > 1:
        raise EditRefusedError(
            f"{told} has {status.st_nlink} names (hard links), and to replace one would part them",
            advice="keep one of them and make the others symbolic links",
        )


def _check_same_tasks(before: bytes, after: bytes, number: int, told: str) -> None:
    """A change of one line must leave the file with the same lines, and with the same ones of them tasks."""
    old, new = read_tasks(before), read_tasks(after)
    places = [(task.line, task.depth) for task in old.tasks]
    if number not in (line for line, _ in places):
        raise LineChangedError(f"{told}: the line is not a task", advice="read the file again and decide")
    if old.lines != new.lines or places != [(task.line, task.depth) for task in new.tasks]:
        raise EditRefusedError(f"{told}: the change would make other lines than this one mean something else")


def _replace(root: Path, path: str, content: bytes, status: os.stat_result) -> None:
    """Temporary file, fsync, rename, fsync of the directory (rule B7); only over the file whose state is `status`."""
    told = root / path
    try:
        with opened_folder(root, path) as (folder, name):
            temporary = f".heartbeat-{secrets.token_hex(8)}.tmp"
            try:
                _write(folder, temporary, content, status)
                if not unchanged(status, os.stat(name, dir_fd=folder, follow_symlinks=False)):
                    raise LineChangedError(
                        f"{told}: somebody wrote to the file meanwhile", advice="read the file again and decide"
                    )
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            _sync(folder)
    except TransportError as error:
        raise EditRefusedError(str(error), advice=error.advice) from error
    except OSError as error:
        raise CannotWriteError(
            f"{told}: cannot be replaced: {error.strerror or error}",
            advice="make room and let heartbeat's user write to the folder; the file is as it was",
        ) from error


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        # Some file systems have no fsync for directories. Whatever else is wrong, the file has been replaced.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            message = f"the line was changed, but it may not outlast a power failure: {error.strerror or error}"
            raise NotDurableError(message, advice="check the disk") from error


def _write(folder: int, name: str, content: bytes, like: os.stat_result) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        new = os.fstat(descriptor)
        if (new.st_uid, new.st_gid) != (like.st_uid, like.st_gid):
            # Only root may give a file away; the group alone may still be ours to give.
            with suppress(PermissionError):
                os.fchown(descriptor, -1, like.st_gid)
                os.fchown(descriptor, like.st_uid, -1)
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
        file.write(content)
        file.flush()
        os.fsync(descriptor)
