"""Everything that heartbeat raises on purpose, under one root; each class knows its exit code (rule B5).

A message is written for the person who reads it at night: what happened, where (file:line, command, URL without
secrets), and what to do. Anything else that escapes is a bug and ends with exit code 70.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command (rule B5)."""

    OK = 0
    FOUND = 1
    USAGE = 2
    INCOMPLETE = 3
    STATE = 4
    BUG = 70
    CANNOT_WRITE = 73
    INTERRUPTED = 130
    """128 + SIGINT, as shells tell of a command that Ctrl-C ended."""


class HeartbeatError(Exception):
    """The root. `advice` says what to do about it, in one sentence, or is empty."""

    exit_code: Exit = Exit.BUG

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class UsageError(HeartbeatError):
    """The call, the roster or the template is wrong; nothing was done."""

    exit_code = Exit.USAGE


class RosterError(UsageError):
    """The roster has mistakes. `problems` holds one `path:line:column: what, and the mend` each (rule R1)."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RefusedError(HeartbeatError):
    """What an agent asked for may not be done to this task now; nothing was written. Each line says one reason why."""

    exit_code = Exit.FOUND


class StateError(HeartbeatError):
    """The tool's own state cannot be used: locked for too long, damaged, or written by a newer version."""

    exit_code = Exit.STATE


class CannotWriteError(HeartbeatError):
    """A file could not be written, or writing it would destroy what is not ours."""

    exit_code = Exit.CANNOT_WRITE


class BrokenOffError(HeartbeatError):
    """A person ended the command with Ctrl-C before it had done anything."""

    exit_code = Exit.INTERRUPTED


class ConservationError(HeartbeatError):
    """Items went missing between source and worklist (rule S10). Always a bug of ours."""

    exit_code = Exit.BUG
