"""systemd as a scheduler, the user's own or the machine's: unit files of ours, and `systemctl` to start them.

What the files say is compared; that a timer is switched off counts as a difference too, and so does that nobody can
tell. Without systemd, or without a way to talk to it, files are written all the same, and what is left to run is said
each time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heartbeat.errors import CannotWriteError, UsageError
from heartbeat.install.account import Account, account_called, name_of, user_in
from heartbeat.install.base import Applied, Change, Order, Piece, Style, Verb
from heartbeat.install.standing import NOTHING, Other, Standing, left, wanted_standing
from heartbeat.install.systemctl import Systemctl
from heartbeat.install.unit_files import (
    STEM,
    Refusal,
    UnitFiles,
    agent_of,
    directories_of_others,
    directory_of,
    stems_in,
    touched_by,
)
from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch
from heartbeat.schedule.note import id_of, read_note
from heartbeat.schedule.units import (
    WATCHDOG,
    Place,
    Unit,
    daemon_units,
    due_units,
    each_units,
    watchdog_units,
)

_STATE = "# state: "
_UNKNOWN = "not known"
_STYLES = {style.value: style for style in (Style.DUE, Style.EACH, Style.DAEMON)}
_LINGERING = Path("/var/lib/systemd/linger")


@dataclass(frozen=True, slots=True)
class _Hints:
    """What somebody else has to run where we cannot: names of what is to be started, and to be stopped."""

    scope: str
    starting: Sequence[str]
    stopping: Sequence[str]

    @property
    def to_start(self) -> str:
        return f"systemctl {self.scope} daemon-reload && systemctl {self.scope} enable --now {' '.join(self.starting)}"

    @property
    def to_stop(self) -> str:
        return f"systemctl {self.scope} stop {' '.join(self.stopping)} && systemctl {self.scope} daemon-reload"


class SystemdTarget:
    """Implements Target. `system` is the machine's own systemd, which needs root. With `start` False files are written
    and removed, and nothing is run."""

    styles = (Style.DUE, Style.EACH, Style.DAEMON)

    def __init__(
        self,
        roster: Roster,
        launch: Launch,
        environment: Mapping[str, str],
        *,
        system: bool,
        start: bool = True,
        directory: Path | None = None,
        others: Sequence[Path] | None = None,
        user: str | None = None,
    ) -> None:
        self.name = "systemd-system" if system else "systemd-user"
        self._system = system
        self._launch = launch
        self._roster = roster
        self._start = start
        self._environment = environment
        self._systemctl = Systemctl(environment, system=system)
        self._silent = ""
        self.directory = directory or directory_of(environment, system=system)
        self._files = UnitFiles(
            self.directory, directories_of_others(system=system) if others is None else tuple(others), launch.roster
        )
        self._user = user

    def installed(self, launch: Launch) -> tuple[Piece, ...]:
        """Our unit files. Raises CannotWriteError where one cannot be read."""
        found = {name: text for name, text, note in self._files.found() if self._files.is_ours(note)}
        wrong = self._wrong([name for name, text in found.items() if _is_started(text)])
        lines = {name: f"{_STATE}{told}\n" for name, told in wrong.items()}
        return tuple(
            Piece(name, text + lines.get(name, ""), agent_of(name), stopped=wrong.get(name, _UNKNOWN) != _UNKNOWN)
            for name, text in found.items()
        )

    def others(self) -> tuple[Other, ...]:
        """What the units of other rosters in our directory say of themselves."""
        found: dict[str, list[Piece]] = {}
        for name, text, note in self._files.found():
            if note is not None and not self._files.is_ours(note):
                found.setdefault(note.roster, []).append(Piece(name, text, agent_of(name)))
        jobs = ((roster, pieces, dict.fromkeys(each.agent for each in pieces)) for roster, pieces in found.items())
        return tuple(Other(Path(roster), self.standing(own), tuple(filter(None, by))) for roster, own, by in jobs)

    def standing(self, installed: Sequence[Piece]) -> Standing:
        """What the units say of themselves. Pure."""
        if not installed:
            return NOTHING
        notes = (read_note(piece.text.split("\n", 1)[0]) for piece in installed)
        note = next((each for each in notes if each is not None and each.style), None)
        watchdog = any(f"-{WATCHDOG}." in piece.name and not piece.agent for piece in installed)
        return Standing(_STYLES.get(note.style) if note else None, note.agents if note else (), watchdog)

    def remarks(self, installed: Sequence[Piece]) -> tuple[str, ...]:
        """That nobody can tell; what is known not to run is a difference."""
        asked = installed and self._silent
        return (f"whether it runs is not known, {self.name} cannot be asked: {self._silent}",) if asked else ()

    def wanted(self, order: Order, installed: Sequence[Piece]) -> tuple[Piece, ...]:
        if order.beats and order.style not in self.styles:
            raise UsageError(
                f"systemd starts programs, and no turns of agents (style {order.style.value})",
                advice="leave the style out (one job a minute: whoever is due), use --each or --daemon, or "
                "`--target openclaw`",
            )
        return self._pieces(wanted_standing(self.standing(installed), order), order, installed)

    def without(self, order: Order, installed: Sequence[Piece]) -> tuple[Piece, ...]:
        standing = self.standing(installed)
        rest = left(standing, order)
        here = any(piece.agent in order.agents for piece in installed)
        stays = rest == standing and order.agents and not here
        return tuple(installed) if stays else self._pieces(rest, order, installed)

    def apply(self, changes: Sequence[Change]) -> tuple[Applied, ...]:
        """Stops what goes, writes and removes files, starts what is there. A file that cannot be written or a unit that
        does not start keeps no other from it."""
        doing = [change for change in changes if change.verb is not Verb.KEEP]
        if any(change.after is not None for change in doing):
            self._make_state(user_in(change.after for change in doing))
        off = [change.name for change in doing if _stops(change) and not self._files.is_foreign(change.name)]
        refused = self._systemctl.stop(off) if self._start else {}
        texts = {change.name: None if change.after is None else change.after.text for change in doing}
        put = {name: self._files.put(name, text) for name, text in texts.items()}
        starting = [change.name for change in doing if _starts(change) and put[change.name] is None]
        if doing and self._start:
            reloaded = self._systemctl.reload()
            refused |= dict.fromkeys(starting, reloaded) if reloaded else self._systemctl.start(starting)
        hints = _Hints(self._systemctl.scope, (*starting, *self._never_started(changes)), off)
        came = ((change, put.get(change.name), refused.get(change.name, "")) for change in changes)
        return tuple(self._applied(*each, hints) for each in came)

    def _never_started(self, changes: Sequence[Change]) -> tuple[str, ...]:
        """What stays as it is and nobody has switched on yet; where systemd is asked, that is a difference."""
        if self._start:
            return ()
        kept = (change.name for change in changes if change.verb is Verb.KEEP and _is_on_by_itself(change.after))
        return tuple(name for name in kept if not self._files.is_linked(name))

    def _make_state(self, user: str) -> None:
        """What is not there when a hardened unit starts cannot be made by it."""
        account = self._account(user)
        if account is not None:
            account.refuse(self._launch)
        apart = self._apart(account) if self._system else ()
        for directory in (self._launch.state, *apart):
            try:
                if account is None:
                    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                else:
                    account.make(directory)
            except OSError as error:
                raise CannotWriteError(
                    f"the state directory {directory} cannot be made: {error.strerror}; nothing was changed",
                    advice="run it as the user who owns the directory above it",
                ) from error

    def _account(self, user: str) -> Account | None:
        """Of whom the beats run as, where that is somebody else than who runs this."""
        return None if not user or user == name_of(os.geteuid()) else account_called(user)

    def _apart(self, account: Account | None) -> tuple[Path, ...]:
        """Where the watchdog has what it remembers; nowhere for an account that has no home."""
        if self._launch.apart is None or not (account is None or account.home.is_dir()):
            return ()
        place = self._launch.apart.parent
        if account is None:
            return (place,)
        base = account.home / ".local" / "state"
        return (base / "heartbeat" / place.name if place.name == "watchdog" else base / place.name,)

    def _pieces(self, standing: Standing, order: Order, installed: Sequence[Piece]) -> tuple[Piece, ...]:
        """The units that this takes, under the first stem of ours under which nothing of others is in their way.

        Raises UsageError where there is none.
        """
        if standing.is_empty:
            return ()
        foreign = frozenset(self._files.foreign())
        stems = (STEM, f"{STEM}-{id_of(order.launch.roster)}")
        used = stems_in(piece.name for piece in installed)
        for stem in dict.fromkeys((*used, *(each for each in stems if each not in stems_in(foreign)))):
            units = self._units_called(stem, standing, order, self._runs_as(installed))
            if foreign.isdisjoint(touched_by(units)):
                return tuple(Piece(unit.name, unit.text, unit.agent) for unit in units)
        names = " and ".join(f"{stem}.*" for stem in stems)
        raise UsageError(
            f"{self.directory} holds units called {names} that are not heartbeat's",
            advice="move them away; what heartbeat has written begins with `# heartbeat schedule of`",
        )

    def _runs_as(self, installed: Sequence[Piece]) -> str:
        """Who is asked for; else who it is already."""
        if self._user is not None:
            return self._user
        return user_in(installed) if installed else _user_name()

    def _units_called(self, stem: str, standing: Standing, order: Order, user: str) -> list[Unit]:
        place = Place(stem, self._system, user, self._writable(order, user))
        units: list[Unit] = []
        if standing.style is Style.DUE:
            units += due_units(order.launch, order.roster, standing.agents, place)
        elif standing.style is Style.DAEMON:
            units += daemon_units(order.launch, order.roster, standing.agents, place)
        elif standing.style is Style.EACH:
            agents = order.roster.chosen(standing.agents or tuple(order.roster.agents))
            units += each_units(order.launch, order.roster, agents, place, everybody=not standing.agents)
        if standing.watchdog:
            units += watchdog_units(order.launch, order.roster, place)
        return units

    def _wrong(self, names: Sequence[str]) -> dict[str, str]:
        """What is to be said of units that should run and do not, or of which nobody knows."""
        self._silent = ""
        if not self._start:
            return {}
        answer = self._systemctl.ask(names)
        self._silent = answer.silent
        if answer.silent:
            return dict.fromkeys(names, _UNKNOWN)
        return {name: told for name in names if (told := str(answer.states[name]))}

    def _applied(self, change: Change, failure: Refusal | None, trouble: str, hints: _Hints) -> Applied:
        path = self.directory / change.name
        if failure is not None:
            return Applied(change, failure.reason, failure.advice)
        if change.name in hints.starting:
            if not self._start:
                return Applied(change, advice=f"left to run: {hints.to_start}")
            if trouble:
                running = self._daemon_told(change, " goes on as it was")
                return Applied(
                    change, f"{path} is written, and not started: {trouble}{running}", f"then run: {hints.to_start}"
                )
            return Applied(change, advice=self._lingering())
        if change.name not in hints.stopping:
            return Applied(change)
        if not self._start:
            return Applied(change, advice=f"left to run: {hints.to_stop}")
        if not trouble:
            return Applied(change)
        running = self._daemon_told(change, " runs")
        if running or self._systemctl.may_run():
            now = "gone" if change.after is None else "changed"
            return Applied(
                change, f"{path} is {now}, and what ran may run on: {trouble}{running}", f"run: {hints.to_stop}"
            )
        return Applied(
            change,
            advice=f"systemd could not be told ({trouble}); if it runs all the same, what it has loaded runs on until: "
            f"{hints.to_stop}",
        )

    def _daemon_told(self, change: Change, how: str) -> str:
        """The process that a unit of the daemon has left behind, as far as its lock tells."""
        from heartbeat.watch.processes import DAEMON, Doing, held

        if change.before is None or "\nType=notify\n" not in change.before.text:
            return ""
        living = (Doing.RUNNING, Doing.STOPPED)
        locks = (each for each in held(self._launch.state) if f"{each.name}.lock" == DAEMON and each.doing in living)
        return next((f"; the daemon (pid {each.holder.pid}){how}" for each in locks), "")

    def _lingering(self) -> str:
        """A user's systemd ends with the last session of the user, unless it is told to stay."""
        user = name_of(os.getuid())
        if self._system or (_LINGERING / user).exists():
            return ""
        return f"it stops when {user} logs out, unless: loginctl enable-linger {user}"

    def _writable(self, order: Order, user: str) -> tuple[Path, ...]:
        """Where beats write, by themselves and through the tools that they start."""
        from heartbeat.systems.openclaw.discovery import state_directory

        roster, account = order.roster, self._account(user)
        environment = self._environment if account is None else account.environment(self._environment)
        home = Path(environment.get("HOME") or "/")
        logs = (Path(str(each["path"])).parent for each in roster.channels.values() if each.get("kind") == "file")
        workspaces = (agent.workspace for agent in roster.agents.values() if agent.workspace is not None)
        tools = (state_directory(environment), home / ".multica", home / ".cache")
        temporary = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108
        every = dict.fromkeys((order.launch.state, *self._apart(account), *workspaces, *logs, *tools, *temporary))
        return tuple(path for path in every if not any(path != other and path.is_relative_to(other) for other in every))


def _user_name() -> str:
    """Who the machine's systemd is to run the beats as; nobody else than root where root installs them."""
    return "" if os.getuid() == 0 else name_of(os.getuid())


def _is_started(text: str) -> bool:
    """Whether the unit is one that is switched on by itself: a timer, or a service that stays."""
    return "\n[Install]\n" in text


def _is_on_by_itself(piece: Piece | None) -> bool:
    return piece is not None and _is_started(piece.text)


def _starts(change: Change) -> bool:
    return change.verb in (Verb.ADD, Verb.CHANGE) and _is_on_by_itself(change.after)


def _stops(change: Change) -> bool:
    """Whether something ran by this unit that must not run any more."""
    return _is_on_by_itself(change.before) and not _is_on_by_itself(change.after)
