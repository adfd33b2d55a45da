"""Dead-man's pings: a service elsewhere rings when they stop coming (healthchecks' protocol).

A check has an address. POST to `ADDRESS/start` when a run begins, to `ADDRESS` when it ended well, to `ADDRESS/fail`
when it did not, all with `?rid=`, one UUID a run. The body is text for people, at most 10 kB. The address is itself a
secret. What goes wrong is complained of once a run and never raised: a ping must not fail what it reports of. Nor must
it delay it: the first ping of a run goes out beside the run, and one that does not end is left behind.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from heartbeat.errors import HeartbeatError
from heartbeat.roster.model import Roster
from heartbeat.watch.masking import masked, secrets_of, tail

if TYPE_CHECKING:
    from heartbeat.watch.patience import Asked

WATCHDOG = "ping_url"
"""The roster's key for the watchdog's own check: its runs, and whether all is well."""
BEATS = "beats_ping_url"
"""The roster's key for a check that every scheduled beat pings."""

SECONDS = 5.0
"""How long one ping may take, looking up its name included."""
_TO_TELL = 0.9
"""Of that, so much for the request itself: who gives up in time can say why."""
MAX_BODY = 10_000
"""Bytes; what a service of one's own keeps of a body unless told otherwise."""

_UNKNOWN = ("not found", "rate limited")
"""In the answer of a ping that was accepted with 200 and not counted."""

Complain = Callable[[str], None]


@dataclass(slots=True)
class Run:
    """How the run that is under way will be told. `failed` sends `/fail`; `silent` sends nothing at its end, because
    nothing was done; `text` is the body."""

    failed: bool = False
    silent: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Ping:
    """One that is on its way, to an address as it may be shown."""

    shown: str
    asked: Asked[str]


@dataclass(slots=True)
class Pinger:
    """The pings of one run to one check. Without an address none are sent. Its repr holds no secret."""

    setting: str
    """How a complaint names the check."""
    complain: Complain
    url: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    problem: str = ""
    """Why there is no address although the roster names one; told when something would be sent."""
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    _complained: bool = False

    @property
    def active(self) -> bool:
        return bool(self.url)

    def start(self) -> None:
        """A run begins."""
        self._send("/start", "")

    def succeed(self, text: str = "") -> None:
        """It ended well."""
        self._send("", text)

    def fail(self, text: str) -> None:
        """It did not. `text` says why; of a long one the end is sent."""
        self._send("/fail", text)

    @contextmanager
    def run(self, *, start: bool = True) -> Iterator[Run]:
        """Pings around the block: at its begin (unless told otherwise), beside it, and at its end, not before the first
        one has ended; an exception is a failure, and goes on."""
        started = self._ask("/start", "") if start else None
        run = Run()
        try:
            yield run
        except BaseException as error:
            if not _ends_well(error):
                run.failed, run.text = True, "\n".join(filter(None, (run.text, _told(error))))
            self._end(run, started)
            raise
        self._end(run, started)

    def _end(self, run: Run, started: Ping | None) -> None:
        self._hear(started)
        if run.silent and not run.failed:
            return
        if run.failed:
            self.fail(run.text)
        else:
            self.succeed(run.text)

    def _send(self, suffix: str, text: str) -> None:
        self._hear(self._ask(suffix, text))

    def _ask(self, suffix: str, text: str) -> Ping | None:
        """One ping, on its way; None where there is nothing to send."""
        if self.problem:
            self._complain(self.problem)
        if not self.url:
            return None
        # Not in the ping's own thread: two threads that import each other's half would see unfinished modules.
        from heartbeat.deadline import Deadline
        from heartbeat.notify.channels.base import ChannelError
        from heartbeat.notify.channels.web import post_text, web_address
        from heartbeat.watch.patience import Asked

        try:
            address = web_address(_with(self.url, suffix, self.run_id), self.setting, self.url)
        except (ChannelError, ValueError):
            self._complain("its address is no web address; it begins with https:// and has no blanks in it")
            return None
        body = tail(masked(text, (*self.secrets, self.url)), MAX_BODY)
        deadline = Deadline.after(SECONDS * _TO_TELL)
        advice = "see whether names can be looked up from this machine"
        return Ping(address.shown, Asked(SECONDS, address.shown, lambda: post_text(address, body, deadline), advice))

    def _hear(self, ping: Ping | None) -> None:
        """Waits for what came of a ping."""
        if ping is None:
            return
        from heartbeat.notify.channels.base import ChannelError
        from heartbeat.watch.patience import HangsError

        try:
            answer = ping.asked.answer()
        except (ChannelError, HangsError) as error:
            self._complain(f"{error}; {error.advice}" if error.advice else str(error))
        except Exception as error:  # noqa: BLE001 - whatever breaks in here, what is reported of must go on
            self._complain(f"a bug: {type(error).__name__}")
        else:
            if any(word in answer.lower() for word in _UNKNOWN):
                self._complain(f"{ping.shown} answered {answer!r}: it did not count the ping")

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            self.complain(f"dead-man's ping ({self.setting}) not sent: {what}")


def pinger_for(roster: Roster, key: str, environment: Mapping[str, str], complain: Complain) -> Pinger:
    """The pings of one run to the roster's check WATCHDOG or BEATS; none where the roster names no address."""
    settings = roster.extra.get("watchdog", {})
    secrets = secrets_of((roster.sources, roster.channels, roster.extra), environment) if settings else ()
    return pinger(settings, key, environment, complain, secrets)


def pinger(
    settings: Mapping[str, Any],
    key: str,
    environment: Mapping[str, str],
    complain: Complain,
    secrets: tuple[str, ...] = (),
) -> Pinger:
    """The same from the roster's section `watchdog` alone. `secrets` are kept out of every body.

    A variable that is named and not set is complained of when something would be sent.
    """
    variable = settings.get(f"{key}_env")
    if not variable:
        return Pinger(f"watchdog.{key}", complain, str(settings.get(key) or ""), secrets)
    url = environment.get(str(variable), "").strip()
    problem = "" if url else "the variable is not set; set it where the scheduler runs"
    return Pinger(f"watchdog.{key}_env: {variable}", complain, url, secrets, problem)


def _with(url: str, suffix: str, run_id: str) -> str:
    """The address of one event: before the query, and with the run's id in it. Raises ValueError for no address."""
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, f"rid={run_id}")))
    return parts._replace(path=parts.path.rstrip("/") + suffix, query=query, fragment="").geturl()


def _ends_well(error: BaseException) -> bool:
    """Whether what ended a command says that all is well: exit code 0, as sys.exit and typer say it."""
    code = error.code if isinstance(error, SystemExit) else getattr(error, "exit_code", 1)
    return code in (0, None)


def _told(error: BaseException) -> str:
    advice = f"\n{error.advice}" if isinstance(error, HeartbeatError) and error.advice else ""
    return f"{type(error).__name__}: {error}{advice}"
