"""Units for systemd, as text (systemd.service(5), systemd.timer(5), systemd.exec(5)). Pure.

A set of units has a stem: `heartbeat.service` and `.timer` for everybody, `heartbeat@.service` with a
`heartbeat@AGENT.timer` for each agent, `heartbeat-watchdog.service` and `.timer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from pathlib import Path

from heartbeat.deadline import LONGEST_BEAT
from heartbeat.roster.model import Agent, Roster
from heartbeat.schedule.launch import Launch
from heartbeat.schedule.note import Note
from heartbeat.schedule.rhythm import CALENDAR_EACH_MINUTE, calendar
from heartbeat.schedule.surroundings import surroundings

WATCHDOG = "watchdog"

_HOW = "# Written by `heartbeat cron install`, which replaces it; settings of your own belong in `systemctl edit`."
_SAFE = re.compile(r"[\w@%+=:,./-]+", re.ASCII)

_GRACE = timedelta(minutes=2)
"""What a beat has beyond its own deadline to start and to end in, before systemd takes it for stuck."""

_WATCHDOG_SECONDS = 600
_STOP_SECONDS = 150
_RESTART_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where units are for. `system` is the machine's own systemd; `user` is who the beats run as there, empty for root.
    `writable` are the directories that they may write to, and matter to the machine's systemd only."""

    stem: str = "heartbeat"
    system: bool = False
    user: str = ""
    writable: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit file: its name, its text, and the agent whose job it is alone."""

    name: str
    text: str
    agent: str = ""


HARDENING = (
    "UMask=0077",
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures=native",
)
"""What works for everybody. Node asks for its addresses over netlink, and makes code as it runs."""

SYSTEM_HARDENING = (
    "ProtectSystem=strict",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
)
"""What a user's systemd cannot do (it ends units with status 218) or does not really do, for want of privileges.

No PrivateTmp: OpenClaw keeps its log, and tools their sockets, in the /tmp that all of them see.
"""


def due_units(launch: Launch, roster: Roster, agents: Sequence[str], place: Place) -> tuple[Unit, ...]:
    """One job a minute: whoever is due beats. No agents means everybody."""
    about = f"beats of {' '.join(agents) or 'all agents'} that are due"
    service = _service(
        Note(str(launch.roster), "due", tuple(agents)),
        f"heartbeat: {about}",
        (*_beat(launch.due(agents), roster, agents), *_common(launch, roster, place)),
    )
    timer = _timer(launch, f"heartbeat: each minute, {about}", CALENDAR_EACH_MINUTE)
    return Unit(f"{place.stem}.service", service), Unit(f"{place.stem}.timer", timer)


def each_units(
    launch: Launch, roster: Roster, agents: Sequence[Agent], place: Place, *, everybody: bool
) -> tuple[Unit, ...]:
    """One timer an agent, at exactly its slots; one that looks each minute where systemd cannot say them."""
    service = _service(
        Note(str(launch.roster), "each", () if everybody else tuple(agent.id for agent in agents)),
        "heartbeat: a beat of %i",
        (*_beat(launch.due(), roster, [agent.id for agent in agents], "%i"), *_common(launch, roster, place)),
    )
    timers = (
        Unit(
            f"{place.stem}@{agent.id}.timer",
            _timer(launch, f"heartbeat: beats of {agent.id}", calendar(agent.policy) or CALENDAR_EACH_MINUTE),
            agent.id,
        )
        for agent in agents
    )
    return Unit(f"{place.stem}@.service", service), *timers


def daemon_units(launch: Launch, roster: Roster, agents: Sequence[str], place: Place) -> tuple[Unit, ...]:
    """One process that stays, tells systemd that it lives, and is started again when it does not."""
    lines = (
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={command_line(launch.daemon(agents))}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        f"WatchdogSec={_WATCHDOG_SECONDS}",
        "Restart=always",
        f"RestartSec={_RESTART_SECONDS}",
        f"KillMode={_kill_mode(roster) or 'mixed'}",
        f"TimeoutStopSec={_STOP_SECONDS}",
        *_common(launch, roster, place),
    )
    note = Note(str(launch.roster), "daemon", tuple(agents))
    wanted_by = "multi-user.target" if place.system else "default.target"
    text = _service(note, f"heartbeat: beats of {' '.join(agents) or 'all agents'}", lines)
    return (Unit(f"{place.stem}.service", f"{text}\n[Install]\nWantedBy={wanted_by}\n"),)


def watchdog_units(launch: Launch, roster: Roster, place: Place) -> tuple[Unit, ...]:
    """A look each minute at whether the beats come, by units that share nothing with theirs."""
    note, stem = Note(str(launch.roster)), f"{place.stem}-{WATCHDOG}"
    lines = (
        "Type=oneshot",
        f"ExecStart={command_line(launch.watchdog())}",
        f"TimeoutStartSec={_seconds(_GRACE)}",
        *_common(launch, roster, place),
    )
    service = _service(note, "heartbeat: do the beats come?", lines)
    timer = _timer(launch, "heartbeat: each minute, do the beats come?", CALENDAR_EACH_MINUTE)
    return Unit(f"{stem}.service", service), Unit(f"{stem}.timer", timer)


def _service(note: Note, description: str, lines: Iterable[str]) -> str:
    return "\n".join(
        (str(note), _HOW, "[Unit]", f"Description={description}", "", "[Service]", *lines, ""),
    )


def _beat(argv: Sequence[str], roster: Roster, agents: Sequence[str], instance: str = "") -> tuple[str, ...]:
    every = max((agent.policy.every for agent in roster.chosen(agents or tuple(roster.agents))), default=_GRACE)
    limit = min(every / 2, timedelta(seconds=LONGEST_BEAT)) + _GRACE
    mode = _kill_mode(roster)
    return (
        "Type=oneshot",
        f"ExecStart={' '.join(filter(None, (command_line(argv), instance)))}",
        f"TimeoutStartSec={_seconds(limit)}",
        *((f"KillMode={mode}",) if mode else ()),
    )


def _kill_mode(roster: Roster) -> str:
    """`process` where a turn may be watched by a process of its own, which must outlive whoever started it (rule X2);
    else systemd's usual way."""
    starts = any(agent.policy.dispatch == "openclaw" for agent in roster.agents.values())
    return "process" if starts else ""


def _common(launch: Launch, roster: Roster, place: Place) -> Iterator[str]:
    """Who it runs as, what it is given, and what it may not do."""
    if place.system and place.user:
        yield f"User={place.user}"
    for name, value in surroundings(launch, roster):
        yield f"Environment={quoted(f'{name}={value}')}"
    if launch.environment_file is not None:
        # With a dash: a file that is gone is told by the program, which knows better than not to start.
        yield f"EnvironmentFile=-{_pattern(launch.environment_file)}"
    yield from HARDENING
    if place.system:
        yield from SYSTEM_HARDENING
        if place.writable:
            yield f"ReadWritePaths={' '.join(quoted(f'-{path}') for path in place.writable)}"


def _timer(launch: Launch, description: str, on_calendar: str) -> str:
    return "\n".join(
        (
            str(Note(str(launch.roster))),
            _HOW,
            "[Unit]",
            f"Description={description}",
            "",
            "[Timer]",
            f"OnCalendar={on_calendar}",
            "AccuracySec=1s",
            "Persistent=true",
            "",
            "[Install]",
            "WantedBy=timers.target",
            "",
        )
    )


def command_line(argv: Sequence[str]) -> str:
    """An ExecStart= that starts exactly these words: no variable, no specifier, no shell (systemd.service(5)).

    A program whose path systemd would refuse for a quote or a backslash, or might look for variables in, is started by
    env, as an argument like any other.
    """
    program, *words = argv if _SAFE.fullmatch(argv[0]) else ("/usr/bin/env", *argv)
    return " ".join((quoted(program), *(quoted(word).replace("$", "$$") for word in words)))


def quoted(word: str) -> str:
    """A word for a list in a unit file, specifiers switched off."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return escaped if _SAFE.fullmatch(word) else f'"{escaped}"'


def _pattern(path: Path) -> str:
    """A path where systemd takes the rest of the line as a pattern of names, and knows no quotes."""
    return re.sub(r"([*?\[\\])", r"\\\1", str(path)).replace("%", "%%")


def _seconds(duration: timedelta) -> int:
    return ceil(duration.total_seconds())
