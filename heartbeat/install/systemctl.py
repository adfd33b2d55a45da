"""`systemctl`, by which one systemd is asked and told: the user's own, or the machine's. Nothing here raises.

Many units go into one call, and a call that hangs is the last one: two hundred units must not wait for a systemd that
does not answer one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.process import run

LOOKING_SECONDS = 15.0
"""What systemd knows by heart it says at once."""

DOING_SECONDS = 180.0
"""To stop a daemon takes as long as its unit gives it, which is two minutes and a half (TimeoutStopSec=)."""

_RUNNING = frozenset({"active", "activating", "reloading"})


@dataclass(frozen=True, slots=True)
class State:
    """Of a unit that is to be on by itself."""

    enabled: bool = False
    running: bool = False

    def __str__(self) -> str:
        """What is wrong with it; nothing where all is well."""
        wrong = [] if self.enabled else ["disabled"]
        return ", ".join(wrong if self.running else [*wrong, "not running"])


@dataclass(frozen=True, slots=True)
class Answer:
    """The states of units by name, or why systemd could not be asked for them."""

    states: Mapping[str, State] = field(default_factory=dict)
    silent: str = ""


class Systemctl:
    """One systemd. `environment` is what the command is found and run with."""

    def __init__(self, environment: Mapping[str, str], *, system: bool) -> None:
        self._system = system
        self._environment = _with_bus(environment, system)
        self._hangs = ""

    @property
    def scope(self) -> str:
        """The option that names it."""
        return "--system" if self._system else "--user"

    def ask(self, names: Sequence[str]) -> Answer:
        """How these units are."""
        if not names:
            return Answer()
        told, trouble = self._run(("show", "--property=Id,UnitFileState,ActiveState", "--", *names), LOOKING_SECONDS)
        if trouble:
            return Answer(silent=trouble)
        states = {}
        for part in told.split("\n\n"):
            lines = dict(line.split("=", 1) for line in part.splitlines() if "=" in line)
            enabled, running = lines.get("UnitFileState") == "enabled", lines.get("ActiveState") in _RUNNING
            states[lines.get("Id", "")] = State(enabled, running)
        return Answer({name: states.get(name, State()) for name in names})

    def reload(self) -> str:
        """Have the unit files read anew; what went wrong, or nothing."""
        return self._run(("daemon-reload",), DOING_SECONDS)[1]

    def start(self, names: Sequence[str]) -> dict[str, str]:
        """Switch them on, for now and for later; by name what went wrong with those that are not."""
        failed = self._all(("enable",), names, lambda state: state.enabled)
        rest = [name for name in names if name not in failed]
        return {**failed, **self._all(("restart",), rest, lambda state: state.running)}

    def stop(self, names: Sequence[str]) -> dict[str, str]:
        """Switch them off, for now and for later; by name what went wrong with those that are not."""
        return self._all(("disable", "--now"), names, lambda state: not (state.enabled or state.running))

    def may_run(self) -> bool:
        """Whether there may be such a systemd, be it that it does not answer: the machine was started by systemd
        (sd_booted(3)), or the user's own keeps its socket where we look for it."""
        own = Path(self._environment.get("XDG_RUNTIME_DIR") or "/nonexistent") / "systemd" / "private"
        return Path("/run/systemd/system").is_dir() or (not self._system and own.exists())

    def _all(self, words: Sequence[str], names: Sequence[str], well: Callable[[State], bool]) -> dict[str, str]:
        """One call for all of them; where that fails, those with whom all is well all the same are left out."""
        if not names:
            return {}
        _, trouble = self._run((*words, *names), DOING_SECONDS)
        if not trouble:
            return {}
        answer = self.ask(names) if len(names) > 1 else Answer()
        return {name: trouble for name in names if name not in answer.states or not well(answer.states[name])}

    def _run(self, words: Sequence[str], seconds: float) -> tuple[str, str]:
        """What it said on standard output, and what went wrong."""
        if self._hangs:
            return "", self._hangs
        argv = ("systemctl", self.scope, "--no-ask-password", *words)
        try:
            done = run(argv, deadline=Deadline.after(seconds), environment=self._environment)
        except TransportError as error:
            if error.kind is FailureKind.TIMEOUT:
                self._hangs = f"systemctl {self.scope} {words[0]} has not ended within {seconds:.0f}s"
            return "", self._hangs or str(error)
        if done.code != 0:
            return "", " ".join(done.stderr.split()) or f"exit {done.code}"
        return done.stdout.decode("utf-8", "replace"), ""


def _with_bus(environment: Mapping[str, str], system: bool) -> Mapping[str, str]:
    """With the way to the user's systemd, which a shell without a login session does not know."""
    runtime = Path(f"/run/user/{os.getuid()}")
    if system or environment.get("XDG_RUNTIME_DIR") or not runtime.is_dir():
        return environment
    return {**environment, "XDG_RUNTIME_DIR": str(runtime)}
