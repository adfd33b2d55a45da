"""Turns by way of the `openclaw` program, where its Gateway cannot be talked to directly (rule X2, contract 6.1).

`openclaw agent` takes no idempotency key and stays until the turn has ended. So a small process of ours watches over
each call (supervise.py), and a folder for each dispatch id says what became of it (folder.py). Whoever is the first to
write `began` there has the id for good: no id makes two calls, whoever asks, dies or comes late.
"""

from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from heartbeat.attempt import Attempt, Cause, Engine, Failure
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Accepted, Going, Order, Sighting, StartError
from heartbeat.dispatch.command_result import Judged, judge
from heartbeat.dispatch.folder import RunFolder, runs_directory
from heartbeat.dispatch.supervise import (
    BEGAN,
    CHILD,
    ERRORS,
    LOG,
    ORDER,
    OUTPUT,
    RESULT,
    STOP,
    How,
    Said,
    process_in,
)
from heartbeat.dispatch.watched import PAUSE, is_alive, lives, seconds_of, signal_group, wait_for_end
from heartbeat.roster.model import Roster
from heartbeat.store.holder import Process, boot, state_of
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.systems.process import find_executable

MESSAGE = "message.md"
VOID = {"void": True}
"""Stands in `began` where it is settled that the command never begins."""

_NOBODY_SAW: Mapping[str, Any] = {"how": How.ENDED, "code": None, "killed": False}
"""The result of a command that ended while nobody watched over it."""
_SLACK = 60.0
"""Seconds beyond the turn's own limit: the program needs 3 to 46 s to start and to end (contract 1.2, 6.1), and the
Gateway ends the turn itself."""
_GRACE = 12.0
"""Seconds from SIGTERM to SIGKILL: the program has the Gateway end the turn meanwhile, and asks it several times."""
_SETTLE = 6.0
"""Seconds after the beginning in which an end is still an answer to the request: without a Gateway, or with an agent
that it does not know, the program ends within 2 to 5 (contract 6.1)."""
_MAX_BYTES = 16 * 1024 * 1024
"""Of each output; a turn's result has some 10 kB (contract 6.1)."""
_TAIL = 16 * 1024


def build(
    roster: Roster, environment: Mapping[str, str], runs: Path | None = None, *, settle: float = _SETTLE
) -> CommandSpawner:
    """The `openclaw` program as the roster's `sources.workboard` describes it; `runs` is where the folders are."""
    settings = roster.sources.get("workboard", {})
    return CommandSpawner(
        environment=environment,
        runs=runs or runs_directory(roster, environment),
        binary=str(settings.get("binary") or "openclaw"),
        url=settings.get("url"),
        token_env=settings.get("token_env"),
        settle=settle,
    )


@dataclass(frozen=True, slots=True)
class CommandSpawner:
    """Implements Spawner. `url` and `token_env` are the roster's; they reach the program by its environment alone."""

    environment: Mapping[str, str] = field(repr=False)
    runs: Path
    binary: str = "openclaw"
    url: str | None = None
    token_env: str | None = None
    settle: float = _SETTLE
    grace: float = _GRACE
    slack: float = _SLACK

    @property
    def engine(self) -> Engine:
        return Engine.OPENCLAW

    def absent(self) -> str | None:
        """Why there is nothing to start; None where it is worth trying."""
        if find_executable(self.binary, self.environment) is not None:
            return None
        return f"no program {self.binary} on the PATH"

    def knows(self, attempt: Attempt) -> bool:
        """Whether a turn was ever asked for in this way; another way to the same engine knows nothing of it."""
        return self._folder(attempt).exists()

    def start(self, order: Order, deadline: Deadline) -> Accepted:
        """See Spawner. Accepted means that the program runs and has not ended within some seconds: it tells nothing
        before the turn's end."""
        try:
            return self._start(order, deadline)
        except OSError as error:
            raise _unwritable(error, self.runs) from error

    def look(self, attempt: Attempt, deadline: Deadline) -> Sighting:
        """See Spawner. A turn of which nobody can tell any more how it ended is one that ended as LOST."""
        try:
            return self._look(self._folder(attempt))
        except OSError as error:
            raise _unreadable(error, self.runs) from error

    def abort(self, attempt: Attempt, deadline: Deadline) -> bool:
        """See Spawner. The program is told to end, and has the Gateway end the turn; where it had to be killed, or said
        that the Gateway did not confirm, the turn may go on there."""
        try:
            return self._abort(self._folder(attempt), deadline)
        except OSError as error:
            raise _unreadable(error, self.runs) from error

    def forget(self, attempt: Attempt) -> None:
        """Removes what is on record of a turn whose outcome was collected. Raises TransportError."""
        try:
            self._folder(attempt).remove()
        except OSError as error:
            raise _unreadable(error, self.runs) from error

    def _folder(self, attempt: Attempt) -> RunFolder:
        return RunFolder(self.runs, attempt.id)

    # Starting

    def _start(self, order: Order, deadline: Deadline) -> Accepted:
        folder = self._folder(order.attempt)
        accepted = Accepted(order.attempt.id, _session(order.attempt))
        if self._has_begun(folder):
            return accepted
        program = find_executable(self.binary, self.environment)
        if program is None:
            raise StartError(
                Failure(Cause.ENGINE, f"no program {self.binary} on the PATH {self.environment.get('PATH', '')!r}"),
                advice="install OpenClaw, or name it in sources.workboard.binary; cron's PATH is shorter than yours",
            )
        folder.make()
        folder.put(MESSAGE, order.message.encode("utf-8", "replace"))
        told = {
            "argv": [program, *_arguments(order, folder.path / MESSAGE)],
            "seconds": order.run_seconds + self.slack,
            "grace": self.grace,
            "max_bytes": _MAX_BYTES,
            "boot": boot(),
            "begin_by": deadline.at,
        }
        folder.put_json(ORDER, told)
        said = self._supervised(folder, deadline)
        if folder.read_json(BEGAN) is None and self._settle_that_it_never_begins(folder):
            raise StartError(
                Failure(Cause.ENGINE, f"`{self.binary} agent` could not be started: {self._log(folder, said)}"),
                advice="the machine may be crowded; the next beat tries again",
            )
        judged = self._judged(folder)
        if judged is not None and not judged.taken:
            failure = judged.sighting.failure or Failure(Cause.ENGINE, "the program ended at once, without a word")
            if not judged.maybe:
                folder.remove()
            raise StartError(failure, unknown=judged.maybe, advice=judged.advice)
        return accepted

    def _has_begun(self, folder: RunFolder) -> bool:
        """Whether the id is used. What is certain never to have been a turn is cleared away, and may be asked again."""
        began = folder.read_json(BEGAN)
        if began is None:
            return False
        judged = self._judged(folder)
        if began == VOID or (judged is not None and not judged.taken and not judged.maybe):
            folder.remove()
            return False
        return True

    def _supervised(self, folder: RunFolder, deadline: Deadline) -> str:
        """Starts the process that watches, and listens until the program has begun and had its time to settle. What was
        said."""
        argv = [sys.executable, "-P", "-m", "heartbeat.dispatch.supervise", str(folder.path), repr(deadline.at)]
        with (folder.path / LOG).open("ab") as log:
            watcher = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._child_environment(),
                start_new_session=True,
            )
        with watcher:
            try:
                stream = watcher.stdout or io.BytesIO()
                said = _heard(stream, deadline, until=Said.BEGAN)
                if Said.BEGAN in said:
                    said += _heard(stream, deadline.at_most(self.settle), until=Said.ENDED)
            finally:
                # What watches has left for a session of its own. This is but what it left behind, or never came so far.
                watcher.kill()
        return ", ".join(said.split())

    def _settle_that_it_never_begins(self, folder: RunFolder) -> bool:
        """From now on it cannot begin any more, however late whoever was to begin wakes up; False where it has."""
        try:
            if not folder.put_new(BEGAN, VOID) and folder.read_json(BEGAN) != VOID:
                return False
        except FileNotFoundError:
            return True
        return True

    def _log(self, folder: RunFolder, said: str) -> str:
        written = folder.read_end(LOG, _TAIL).decode("utf-8", "replace").strip().splitlines()
        folder.remove()
        return safe_excerpt(written[-1] if written else said or "it gave no sign of life", 300)

    # Looking

    def _look(self, folder: RunFolder) -> Sighting:
        began = folder.read_json(BEGAN)
        if began is None:
            order = folder.read_json(ORDER)
            if order is not None and order.get("boot") == boot() and seconds_of(order, "begin_by") > time.monotonic():
                return Sighting(Going.RUNNING)  # somebody may be about to begin
            if not folder.exists() or self._settle_that_it_never_begins(folder):
                began = VOID
        if began == VOID:
            folder.remove()
            return Sighting(Going.UNKNOWN)
        judged = self._judged(folder)
        if judged is not None:
            return judged.sighting
        if self._watcher(folder) or self._orphan(folder) is not None:
            return Sighting(Going.RUNNING)
        # It may have ended between those two looks; else nobody is left who could tell, and what it printed must do.
        return (self._judged(folder) or self._judgement(folder, _NOBODY_SAW)).sighting

    def _judged(self, folder: RunFolder) -> Judged | None:
        """What is to be thought of a command that ended; None where nobody has told that it did."""
        result = folder.read_json(RESULT)
        return None if result is None else self._judgement(folder, result or _NOBODY_SAW)

    def _judgement(self, folder: RunFolder, told: Mapping[str, Any]) -> Judged:
        output = folder.read_end(OUTPUT, _MAX_BYTES + 1)
        errors = folder.read_end(ERRORS, _TAIL).decode("utf-8", "replace")
        token = self._child_environment().get("OPENCLAW_GATEWAY_TOKEN", "")
        return judge(told, output, errors, self.binary, secrets=(token,) if token else ())

    def _watcher(self, folder: RunFolder) -> bool:
        """Whether the process that watches is alive."""
        return lives(folder.read_json(BEGAN) or {}, folder, self.grace)

    def _orphan(self, folder: RunFolder) -> Process | None:
        """The command that nobody watches over any more, if it still runs."""
        process = process_in(folder.read_json(CHILD) or {})
        return process if process is not None and is_alive(process) else None

    # Ending

    def _abort(self, folder: RunFolder, deadline: Deadline) -> bool:
        began = folder.read_json(BEGAN)
        if began is None and (not folder.exists() or self._settle_that_it_never_begins(folder)):
            began = VOID
        if began == VOID:
            folder.remove()
            return True
        if self._judged(folder) is None:
            folder.put(STOP, b"")
            self._end_stopped_watcher(folder, deadline)
            self._wait_for_result(folder, deadline)
        judged = self._judged(folder)
        if judged is None and not self._watcher(folder):
            self._end_orphan(folder, deadline)
            judged = self._judged(folder)
        return judged is not None and judged.over

    def _end_stopped_watcher(self, folder: RunFolder, deadline: Deadline) -> None:
        """One that was stopped hears nothing, and would go on with its work whenever it is let."""
        watcher = process_in(folder.read_json(BEGAN) or {})
        if watcher is not None and is_alive(watcher) and state_of(watcher.pid) in "Tt":
            with suppress(ProcessLookupError, PermissionError):
                os.kill(watcher.pid, signal.SIGKILL)
            wait_for_end(watcher, deadline.at_most(self.grace))

    def _wait_for_result(self, folder: RunFolder, deadline: Deadline) -> None:
        while not folder.has(RESULT) and self._watcher(folder) and deadline.left() > 0:
            time.sleep(min(PAUSE, deadline.left()))

    def _end_orphan(self, folder: RunFolder, deadline: Deadline) -> None:
        """Does what the process that watches would have done, and leaves its result."""
        child = self._orphan(folder)
        if child is None:
            folder.put_new(RESULT, _NOBODY_SAW)
            return
        signal_group(child, signal.SIGTERM)
        wait_for_end(child, deadline.at_most(self.grace))
        killed = is_alive(child)
        if killed:
            signal_group(child, signal.SIGKILL)
            wait_for_end(child, deadline.at_most(self.grace))
        if not is_alive(child):
            folder.put_new(RESULT, {"how": How.STOPPED, "code": None, "killed": killed})

    def _child_environment(self) -> dict[str, str]:
        environment = dict(self.environment)
        if self.url:
            environment["OPENCLAW_GATEWAY_URL"] = self.url
        token = environment.get(self.token_env, "") if self.token_env else ""
        if token:
            environment["OPENCLAW_GATEWAY_TOKEN"] = token
        return {**environment, "LC_ALL": "C.UTF-8"}


def _arguments(order: Order, message: Path) -> Sequence[str]:
    """Values are joined to their flags, so that none of them can be taken for one."""
    attempt = order.attempt
    model = (f"--model={order.model}",) if order.model else ()
    return (
        "agent",
        f"--agent={attempt.agent}",
        f"--session-key={attempt.session}",
        f"--message-file={message}",
        f"--timeout={max(1, round(order.run_seconds))}",
        "--json",
        *model,
    )


def _session(attempt: Attempt) -> str:
    """The session as OpenClaw names it; an attempt that was accepted has it so already."""
    named = attempt.session
    return named if named.startswith("agent:") else f"agent:{attempt.agent}:{named}"


def _heard(stream: IO[bytes], deadline: Deadline, *, until: str) -> str:
    """What is said until that word, the end, or the deadline."""
    poll = select.poll()
    poll.register(stream, select.POLLIN | select.POLLHUP)
    said = b""
    while until.encode() not in said and poll.poll(deadline.left() * 1000):
        more = os.read(stream.fileno(), 4096)
        if not more:
            break
        said += more
    return said.decode("ascii", "replace")


def _unwritable(error: OSError, runs: Path) -> StartError:
    told = f"what is to be known of a turn cannot be written into {runs}: {error.strerror or error}"
    return StartError(Failure(Cause.ENGINE, told), advice="make room on that disk, and see who owns the directory")


def _unreadable(error: OSError, runs: Path) -> TransportError:
    told = f"what is known of a turn cannot be read from {runs}: {error.strerror or error}"
    return TransportError(FailureKind.REFUSED, told, advice="see who owns the directory, and that the disk is whole")
