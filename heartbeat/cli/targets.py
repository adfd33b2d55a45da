"""Which schedulers a `cron` command means and what they keep: each is asked once, when its answer is first needed.

What is on schedule can be looked at and taken off by the roster's path alone, when the roster itself is gone or broken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from heartbeat.cli.session import Session, complain, state_of
from heartbeat.errors import HeartbeatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heartbeat.install.base import Style
    from heartbeat.install.install import Installed
    from heartbeat.roster.model import Roster
    from heartbeat.schedule.launch import Launch
    from heartbeat.watch.processes import Held


class Kind(StrEnum):
    """What `--target` takes."""

    CRONTAB = "crontab"
    SYSTEMD = "systemd"
    OPENCLAW = "openclaw"


@dataclass
class Schedules:
    """What every scheduler keeps for one roster. `problem` says why the roster could not be read: then nothing is known
    of it but its path. With `start` False systemd's units are written and nothing is run."""

    roster: Roster
    launch: Launch
    environment: Mapping[str, str]
    now: datetime
    problem: HeartbeatError | None = None
    start: bool = True
    user: str | None = None
    """Who the machine's systemd is to run the beats as; None for whoever it is already."""
    _seen: dict[str, Installed] = field(default_factory=dict)

    def at(self, name: str) -> Installed:
        """What the target of this name keeps; one that cannot be asked says why."""
        from heartbeat.install.install import look, target_called

        if name not in self._seen:
            target = target_called(name, self.roster, self.launch, self.environment, start=self.start, user=self.user)
            self._seen[name] = look(target, self.launch)
        return self._seen[name]

    @property
    def every(self) -> tuple[Installed, ...]:
        """All there are."""
        from heartbeat.install.install import NAMES

        return tuple(map(self.at, NAMES))

    def of(self, kind: Kind | None, system: bool | None) -> tuple[Installed, ...]:
        """Those that `--target` and `--system` name; all where neither does."""
        chosen = kind or (Kind.SYSTEMD if system is not None else None)
        return self.every if chosen is None else tuple(map(self.at, self._names(chosen, system)))

    def meant(self, kind: Kind | None, system: bool | None, style: Style | None) -> Installed:
        """The one that is named, that alone can do the style, that has the beats, or crontab. Raises UsageError where
        several have them, and what was said by one that is named and cannot be asked."""
        from heartbeat.install.install import option_of

        chosen = kind or (Kind.SYSTEMD if system is not None else _only_for(style))
        if chosen is None:
            beating = [each for each in self.every if each.standing.style is not None]
            if len(beating) > 1:
                options = " or ".join(f"--target {option_of(each.target.name)}" for each in beating)
                raise UsageError(
                    "beats of this roster are on schedule at several places", advice=f"say which: {options}"
                )
            if beating:
                return beating[0]
        found = self.at(self._names(chosen or Kind.CRONTAB, system)[0])
        if found.error is not None:
            raise found.error
        return found

    def _names(self, kind: Kind, system: bool | None) -> list[str]:
        """Names of the targets of a kind; of systemd's two the one that has something first, else the usual one."""
        from heartbeat.install.install import SYSTEMD_SYSTEM, SYSTEMD_USER

        if kind is not Kind.SYSTEMD:
            return [kind.value]
        if system is not None:
            return [SYSTEMD_SYSTEM if system else SYSTEMD_USER]
        names = [SYSTEMD_SYSTEM, SYSTEMD_USER] if os.getuid() == 0 else [SYSTEMD_USER, SYSTEMD_SYSTEM]
        return sorted(names, key=lambda name: not self.at(name).pieces)

    @cached_property
    def daemon(self) -> Held | None:
        """The daemon that beats on this state, as far as it can be seen from here."""
        from heartbeat.watch.processes import DAEMON, Doing, held

        living = (Doing.RUNNING, Doing.STOPPED)
        return next((e for e in held(self.launch.state) if f"{e.name}.lock" == DAEMON and e.doing in living), None)

    @property
    def is_watched(self) -> bool:
        """Whether a watchdog is on schedule. OpenClaw has none, and is not asked."""
        from heartbeat.install.install import CRONTAB, SYSTEMD_SYSTEM, SYSTEMD_USER

        return any(self.at(name).standing.watchdog for name in (CRONTAB, SYSTEMD_USER, SYSTEMD_SYSTEM))

    def left_out(self, after: Installed | None = None) -> tuple[str, ...]:
        """Agents for whom nothing is on schedule anywhere, while others have beats; nobody where it is not known, for a
        daemon beats or somebody could not be asked. `after` is one target as it is now."""
        name = "" if after is None else after.target.name
        every = [after if after is not None and each.target.name == name else each for each in self.every]
        beating = [each.beating(self.roster) for each in every]
        if not any(beating) or self.daemon is not None or any(each.unknown for each in every):
            return ()
        return tuple(agent for agent in self.roster.agents if not any(agent in each for each in beating))


def schedules(session: Session, *, start: bool = True, user: str | None = None) -> Schedules:
    """For a command that needs the roster; what is doubtful about how it would be started is said at once."""
    prepared = session.preparation()
    for warning in prepared.warnings:
        complain(warning)
    return Schedules(session.roster, prepared.launch, session.environment, session.now(), start=start, user=user)


def by_path(session: Session, *, start: bool = True) -> Schedules:
    """For a command that can do without it: where the roster or its environment cannot be read, its path is enough."""
    try:
        if session.environment_trouble is not None:
            raise session.environment_trouble
        return schedules(session, start=start)
    except UsageError as error:
        from heartbeat.roster.locate import meant_roster
        from heartbeat.roster.model import Operator, Roster
        from heartbeat.schedule.launch import Launch

        path = meant_roster(session.roster_path, session.environment, Path.cwd())
        roster = Roster(path, "UTC", Operator(), agents={}, sources={})
        home = session.environment.get("HEARTBEAT_HOME")
        state = Path(home).expanduser().absolute() if home else state_of(roster)
        launch = Launch(("heartbeat",), path, state, session.environment.get("PATH", ""))
        return Schedules(roster, launch, session.environment, session.now(), error, start)


def complain_of_unknown(seen: Sequence[Installed]) -> bool:
    """Name those that could not be asked on stderr; whether there are any."""
    for each in seen:
        if each.unknown:
            complain(f"what {each.target.name} has on schedule is not known: {each.problem}")
    return any(each.unknown for each in seen)


def remarks_on_others(known: Schedules, seen: Sequence[Installed]) -> Iterator[str]:
    """Sentences about schedules of other rosters that are gone or cannot be read."""
    from heartbeat.install.install import foreign_of
    from heartbeat.install.rivals import remarks_on

    yield from remarks_on(foreign_of(seen), known.roster, known.environment)


def refuse_beside_daemon(known: Schedules) -> None:
    """Raises UsageError where a daemon beats on this state, beside which nothing else should."""
    if known.daemon is not None:
        raise UsageError(
            f"a daemon beats on this state already: {known.daemon.holder}",
            advice=f"let it go on, or end it first (`kill -TERM {known.daemon.holder.pid}`, or `systemctl stop` for "
            "the unit that runs it); --beside installs all the same",
        )


def _only_for(style: Style | None) -> Kind | None:
    return {"daemon": Kind.SYSTEMD, "turn": Kind.OPENCLAW}.get(style or "")
