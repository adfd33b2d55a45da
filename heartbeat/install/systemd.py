"""systemd as a scheduler, the user's own or the machine's: unit files of ours, and `systemctl` to start them.

A file is ours by the note in its first line. What the files say is compared; that a timer is switched off counts as a
difference too, where systemd can be asked. Without systemd, or without a way to talk to it, files are written all the
same, and what is left to run is said.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from heartbeat.errors import CannotWriteError, UsageError
from heartbeat.install.base import Applied, Change, Order, Piece, Style, Verb
from heartbeat.install.standing import NOTHING, Standing, left, wanted_standing
from heartbeat.render.replace import read_regular, replace_file
from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch
from heartbeat.schedule.note import Note, id_of, read_note
from heartbeat.schedule.units import (
    WATCHDOG,
    Place,
    Unit,
    daemon_units,
    due_units,
    each_units,
    watchdog_units,
)
from heartbeat.systems.base import Deadline, TransportError
from heartbeat.systems.process import run

STEM = "heartbeat"
SYSTEM_DIRECTORY = Path("/etc/systemd/system")

_SECONDS = 120.0
_NAME = re.compile(r"(heartbeat(?:-[0-9a-f]{8})?)(?:@([a-z0-9][a-z0-9_-]*)?|-watchdog)?\.(?:service|timer)")
_STATE = "# state: "
_RUNNING = frozenset({"active", "activating", "reloading"})
_STYLES = {style.value: style for style in (Style.DUE, Style.EACH, Style.DAEMON)}
_LINGERING = Path("/var/lib/systemd/linger")
_ELSEWHERE = {
    True: ("/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"),
    False: ("/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user"),
}
"""Where other packages' units lie; one of the same name there would be hidden by ours (systemd.unit(5))."""


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
        self._environment = _with_bus(environment, system)
        self.directory = directory or (SYSTEM_DIRECTORY if system else _user_directory(environment))
        self._others = tuple(map(Path, _ELSEWHERE[system])) if others is None else tuple(others)
        self._user = _user_name() if user is None else user

    def installed(self, launch: Launch) -> tuple[Piece, ...]:
        """Our unit files. Raises CannotWriteError where one cannot be read."""
        found = {name: text for name, text, note in self._units() if note is not None and _same(note, launch.roster)}
        states = self._states([name for name, text in found.items() if _is_started(text)])
        return tuple(Piece(name, text + states.get(name, ""), _agent_of(name)) for name, text in found.items())

    def standing(self, installed: Sequence[Piece]) -> Standing:
        """What the units say of themselves. Pure."""
        if not installed:
            return NOTHING
        notes = (read_note(piece.text.split("\n", 1)[0]) for piece in installed)
        note = next((each for each in notes if each is not None and each.style), None)
        watchdog = any(f"-{WATCHDOG}." in piece.name and not piece.agent for piece in installed)
        return Standing(_STYLES.get(note.style) if note else None, note.agents if note else (), watchdog)

    def remarks(self, installed: Sequence[Piece]) -> tuple[str, ...]:
        """Nothing: what does not run here is a difference."""
        return ()

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
        return tuple(installed) if rest == standing and order.agents else self._pieces(rest, order, installed)

    def apply(self, changes: Sequence[Change]) -> tuple[Applied, ...]:
        """Stops what goes, writes and removes files, starts what is there. A file that cannot be written or a unit that
        does not start keeps no other from it."""
        if all(change.verb is Verb.KEEP for change in changes):
            return tuple(map(Applied, changes))
        if any(change.after is not None for change in changes):
            self._make_state()
        stopped = {
            change.name: self._systemctl("disable", "--now", change.name) for change in changes if _stops(change)
        }
        put = {change.name: self._put(change) for change in changes if change.verb is not Verb.KEEP}
        starting = [change.name for change in changes if _starts(change) and put[change.name] is None]
        reloaded = self._systemctl("daemon-reload")
        started = {name: reloaded or self._start_unit(name) for name in starting}
        return tuple(self._applied(change, put, {**stopped, **started}, starting) for change in changes)

    def _make_state(self) -> None:
        """What is not there when a hardened unit starts cannot be made by it."""
        try:
            self._launch.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWriteError(
                f"the state directory {self._launch.state} cannot be made: {error.strerror}; nothing was changed",
                advice="run it as the user who owns the directory above it",
            ) from error

    def _pieces(self, standing: Standing, order: Order, installed: Sequence[Piece]) -> tuple[Piece, ...]:
        place = Place(self._stem(order.launch, installed), self._system, self._user, self._writable(order))
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
        return tuple(Piece(unit.name, unit.text, unit.agent) for unit in units)

    def _stem(self, launch: Launch, installed: Sequence[Piece]) -> str:
        """The one in use; else `heartbeat`, and with the roster's digits behind it where somebody else has that.

        Raises UsageError where both belong to others.
        """
        used = (found[1] for piece in installed if (found := _NAME.fullmatch(piece.name)))
        stem = next(used, None)
        if stem is not None:
            return stem
        taken = {found[1] for name in self._foreign(launch) if (found := _NAME.fullmatch(name))}
        for free in (STEM, f"{STEM}-{id_of(launch.roster)}"):
            if free not in taken:
                return free
        raise UsageError(
            f"{self.directory} holds units called {free}.* that are not heartbeat's",
            advice="move them away; what heartbeat has written begins with `# heartbeat schedule of`",
        )

    def _foreign(self, launch: Launch) -> Iterator[str]:
        """Names of units like ours that are another roster's, or somebody else's."""
        for name, _, note in self._units():
            if note is None or not _same(note, launch.roster):
                yield name
        for directory in self._others:
            if directory.resolve() != self.directory.resolve():
                yield from (path.name for path in directory.glob(f"{STEM}*"))

    def _units(self) -> Iterator[tuple[str, str, Note | None]]:
        """Units in our directory by name, with their text and the note of those that are heartbeat's."""
        try:
            names = sorted(path.name for path in self.directory.glob(f"{STEM}*") if _NAME.fullmatch(path.name))
        except OSError as error:
            raise CannotWriteError(f"{self.directory}: {error.strerror}", advice="check who owns it") from error
        for name in names:
            path = self.directory / name
            text = "" if path.is_symlink() else (read_regular(path) or b"").decode("utf-8", "replace")
            yield name, text, read_note(text.split("\n", 1)[0])

    def _states(self, names: Sequence[str]) -> dict[str, str]:
        """What is to be said of units that should run and do not; nothing where systemd cannot be asked."""
        if not names or not self._start:
            return {}
        words = ("show", "--property=Id,UnitFileState,ActiveState", "--", *names)
        try:
            done = run(self._argv(*words), deadline=Deadline.after(_SECONDS), environment=self._environment)
        except TransportError:
            return {}
        if done.code != 0:
            return {}
        states = {}
        for part in done.stdout.decode("utf-8", "replace").split("\n\n"):
            told = dict(line.split("=", 1) for line in part.splitlines() if "=" in line)
            wrong = [] if told.get("UnitFileState") == "enabled" else ["disabled"]
            wrong += [] if told.get("ActiveState") in _RUNNING else ["not running"]
            if wrong and "Id" in told:
                states[told["Id"]] = f"{_STATE}{', '.join(wrong)}\n"
        return states

    def _put(self, change: Change) -> OSError | None:
        """Write or remove one file, and what enabling has linked to it."""
        path = self.directory / change.name
        try:
            if change.after is None:
                for link in self.directory.glob(f"*.wants/{change.name}"):
                    link.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            else:
                self.directory.mkdir(parents=True, exist_ok=True)
                replace_file(path, change.after.text.encode())
        except OSError as error:
            return error
        return None

    def _applied(
        self, change: Change, put: Mapping[str, OSError | None], run: Mapping[str, str], starting: Sequence[str]
    ) -> Applied:
        path = self.directory / change.name
        failure, trouble = put.get(change.name), run.get(change.name, "")
        if failure is not None:
            mend = "run it as root, or install with --user" if self._system else "check who owns the directory"
            return Applied(change, f"{path}: {failure.strerror}", mend)
        names = " ".join(starting)
        if change.name in starting:
            left = f"systemctl {self._scope} daemon-reload && systemctl {self._scope} enable --now {names}"
            if not self._start:
                return Applied(change, advice=f"left to run: {left}")
            if trouble:
                return Applied(change, f"{path} is written, and not started: {trouble}", f"then run: {left}")
            return Applied(change, advice=self._lingering())
        if trouble and _is_booted():
            left = f"systemctl {self._scope} stop {change.name} && systemctl {self._scope} daemon-reload"
            return Applied(change, f"{path} is changed, and what ran may run on: {trouble}", f"run: {left}")
        return Applied(change)

    def _start_unit(self, name: str) -> str:
        return self._systemctl("enable", name) or self._systemctl("restart", name)

    def _systemctl(self, *words: str) -> str:
        """Run it; nothing where it went well, else what it said."""
        if not self._start:
            return ""
        try:
            done = run(self._argv(*words), deadline=Deadline.after(_SECONDS), environment=self._environment)
        except TransportError as error:
            return str(error)
        return "" if done.code == 0 else " ".join(done.stderr.split()) or f"exit {done.code}"

    def _argv(self, *words: str) -> tuple[str, ...]:
        return ("systemctl", self._scope, "--no-ask-password", *words)

    @property
    def _scope(self) -> str:
        return "--system" if self._system else "--user"

    def _lingering(self) -> str:
        """A user's systemd ends with the last session of the user, unless it is told to stay."""
        user = _account()
        if self._system or (_LINGERING / user).exists():
            return ""
        return f"it stops when {user} logs out, unless: loginctl enable-linger {user}"

    def _writable(self, order: Order) -> tuple[Path, ...]:
        """Where beats write, by themselves and through the tools that they start."""
        from heartbeat.systems.openclaw.discovery import state_directory

        roster = order.roster
        home = Path(self._environment.get("HOME") or "/")
        logs = (Path(str(each["path"])).parent for each in roster.channels.values() if each.get("kind") == "file")
        workspaces = (agent.workspace for agent in roster.agents.values() if agent.workspace is not None)
        tools = (state_directory(self._environment), home / ".multica", home / ".cache")
        apart = () if order.launch.apart is None else (order.launch.apart.parent,)
        temporary = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108
        every = dict.fromkeys((order.launch.state, *apart, *workspaces, *logs, *tools, *temporary))
        return tuple(path for path in every if not any(path != other and path.is_relative_to(other) for other in every))


def _user_directory(environment: Mapping[str, str]) -> Path:
    """Where a user's own units belong (systemd.unit(5))."""
    home = Path(environment.get("HOME") or Path.home())
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user"


def _with_bus(environment: Mapping[str, str], system: bool) -> Mapping[str, str]:
    """With the way to the user's systemd, which a shell without a login session does not know."""
    runtime = Path(f"/run/user/{os.getuid()}")
    if system or environment.get("XDG_RUNTIME_DIR") or not runtime.is_dir():
        return environment
    return {**environment, "XDG_RUNTIME_DIR": str(runtime)}


def _user_name() -> str:
    """Who the machine's systemd is to run the beats as; nobody else than root where root installs them."""
    return "" if os.getuid() == 0 else _account()


def _account() -> str:
    """The account's name; its number where it has none, which systemd understands as well."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _same(note: Note, roster: Path) -> bool:
    return note.roster == str(roster) or os.path.realpath(note.roster) == os.path.realpath(roster)


def _agent_of(name: str) -> str:
    found = _NAME.fullmatch(name)
    return (found[2] or "") if found else ""


def _is_started(text: str) -> bool:
    """Whether the unit is one that is switched on by itself: a timer, or a service that stays."""
    return "\n[Install]\n" in text


def _starts(change: Change) -> bool:
    changed = change.verb in (Verb.ADD, Verb.CHANGE)
    return changed and change.after is not None and _is_started(change.after.text)


def _stops(change: Change) -> bool:
    """Whether something ran by this unit that must not run any more."""
    return (
        change.before is not None
        and _is_started(change.before.text)
        and (change.after is None or not _is_started(change.after.text))
    )


def _is_booted() -> bool:
    """Whether this machine was started by systemd at all (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()
