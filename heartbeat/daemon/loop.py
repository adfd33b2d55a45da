"""The daemon: one loop that lets everybody beat when due, and goes on whatever happens (rules B1, B2, B6).

What to do next is decided in agenda.py; here it is done. Clocks, waiting, the roster, the store and the world come from
outside, so that a week passes in a test in seconds.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from heartbeat.beat import Peers, Tick, tick
from heartbeat.daemon.agenda import (
    LOOK_AT_TURNS,
    Beat,
    End,
    Follow,
    Moment,
    Reload,
    after_tick,
    jitter,
    next_step,
    pause_after,
)
from heartbeat.daemon.clocks import Look, between
from heartbeat.daemon.orders import Orders
from heartbeat.daemon.readers import OneAtATime
from heartbeat.daemon.roster_file import RosterFile, Signature, chosen, differences
from heartbeat.daemon.supervisor import Supervisor
from heartbeat.daemon.turns import followed
from heartbeat.daemon.witness import GRACE, Witness
from heartbeat.deadline import Deadline
from heartbeat.dispatch.round import goes_on
from heartbeat.errors import HeartbeatError, StateError
from heartbeat.instants import format_duration
from heartbeat.observation import patience
from heartbeat.roster.model import Agent, Roster
from heartbeat.store.port import LogEntry, Store
from heartbeat.systems.snapshot import SnapshotCache
from heartbeat.watch.ping import Pinger

_REMIND = 3600.0
"""Seconds between two reminders that the roster on the disk was refused."""

_NOTES_KEPT = 100
"""Entries for the log that wait until the store can be used."""

_NAMED = 3
"""More agents than this are counted, not named."""

_RELOAD = 60.0
"""Seconds that reading a roster takes at most."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A roster, and the environment that it is used with."""

    roster: Roster
    environment: Mapping[str, str]


def _no_lines(done: Tick) -> Sequence[str]:
    return ()


def _no_show(line: str) -> None:
    """Where nobody reads."""


def _no_pings(loaded: Loaded) -> Pinger:
    """Where nobody rings when beats stop coming."""
    return Pinger("", lambda complaint: None)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything that the loop takes from outside."""

    look: Callable[[], Look]
    orders: Orders
    load: Callable[[], Loaded]
    """Reads the roster anew. Raises UsageError, RosterError."""
    signature: Callable[[], Signature | None]
    """Of the roster's file."""
    open_store: Callable[[], AbstractContextManager[Store]]
    cache: SnapshotCache
    locks: Path
    renew: Callable[[Deadline], None]
    """Puts off the time at which another daemon may take our place (see beside.only_daemon). Called at every step."""
    supervisor: Supervisor
    say: Callable[[str], None]
    """A line about what goes well."""
    complain: Callable[[str], None]
    """A line about what does not."""
    report: Callable[[Tick], Sequence[str]] = _no_lines
    """The lines that a tick deserves."""
    show: Callable[[str], None] = _no_show
    """Puts out one of them, as it is."""
    pinger: Callable[[Loaded], Pinger] = _no_pings
    """The dead-man's pings of one sweep."""
    peers: Peers = field(default_factory=Peers)
    host: str = ""
    window: timedelta = timedelta(0)
    """How far beats are spread at most (see agenda.Jitter)."""
    debug: bool = False
    """Whether to say where an error came from."""


class Daemon:
    """One run of the loop, for the agents with these names, or for all that the roster has at any time.

    Raises UsageError where the roster has none of them, and what reading the roster raises.
    """

    def __init__(self, surroundings: Surroundings, names: Sequence[str] = ()) -> None:
        around = self._around = surroundings
        self._names = tuple(names)
        self._file = RosterFile.read(around.signature())
        loaded = around.load()
        self._use(loaded, chosen(loaded.roster, names))
        self._peers = replace(around.peers, source=OneAtATime(around.peers.source))
        self._agenda: dict[str, datetime] = {}
        self._seen = around.look()
        self._waited: float | None = None
        self._witness = Witness(around.supervisor, self._awake, self._stopping, around.say, around.complain)
        self._beats = 0
        self._failures = 0
        self._unusable = 0
        """How often in a row the state could not be used."""
        self._held_until = 0.0
        self._again: frozenset[str] = frozenset()
        """Whose turn was found to have ended badly by a beat of others: they beat at once (rule F1)."""
        self._unseen_turns = ""
        """Why running turns could not be looked at the last time, so that it is said once."""
        self._turns_at: float | None = None
        """When running turns are looked at next; None where none is known to run."""
        self._trouble = ""
        """Why the last beats failed."""
        self._refused = ""
        """What is wrong with the roster on the disk, where the one in use is an earlier one."""
        self._remind_at = 0.0
        self._skipped: set[str] = set()
        """Who was skipped last, since others beat for it, so that it is said once."""
        self._notes: deque[LogEntry] = deque(maxlen=_NOTES_KEPT)

    @property
    def agents(self) -> tuple[Agent, ...]:
        """Whoever it beats for now."""
        return self._agents

    def run(self) -> None:
        """Until an order to stop comes. Raises nothing that a beat or a reload raises."""
        with self._witness:
            self._begin()
            while True:
                moment = self._notice()
                step = next_step(moment, self._agents, self._agenda, self._spread)
                if isinstance(step, End):
                    break
                if isinstance(step, Reload):
                    self._reload()
                elif isinstance(step, Beat):
                    self._beat(step.agents)
                elif isinstance(step, Follow):
                    self._follow()
                else:
                    self._wait(step.seconds)
                self._status()
            self._end()

    # Start and end.

    def _begin(self) -> None:
        self._tell(f"the daemon runs for {named(self._agents)} of {self._loaded.roster.path}", "daemon-started")
        self._around.supervisor.ready()
        self._status()

    def _end(self) -> None:
        self._around.supervisor.stopping()
        beats = "1 beat" if self._beats == 1 else f"{self._beats} beats"
        self._tell(f"the daemon ends ({self._stopping()}) after {beats}", "daemon-ended")
        self._promise(0.0, "the end")
        try:
            with self._around.open_store() as store:
                self._put_notes(store)
        except StateError as error:
            self._around.complain(f"that is not on record: {error}")

    # What the present is, and what happened since the last step.

    def _notice(self) -> Moment:
        """Looks at the clocks, at the roster's file, and at what is ordered."""
        around, before = self._around, self._seen
        now = self._seen = around.look()
        gap = between(before, now, self._waited)
        self._waited = None
        for sentence in gap.told():
            self._warn(sentence, "clock")
        if gap.moved:
            self._agenda.clear()
        self._file = self._file.looked_at(around.signature(), now.awake)
        if self._refused and now.awake >= self._remind_at:
            self._remind_at = now.awake + _REMIND
            around.complain(f"the roster on the disk is still refused, and an earlier one in use: {self._refused}")
        return Moment(
            now.wall,
            stopping=bool(around.orders.stopping),
            reload=around.orders.take_reload() or self._file.settles_in(now.awake) == 0,
            held=max(0.0, self._held_until - now.awake),
            turns=None if self._turns_at is None else self._turns_at - now.awake,
        )

    def _wait(self, seconds: float) -> None:
        settles = self._file.settles_in(self._seen.awake)
        asked = seconds if settles is None else min(seconds, settles)
        self._promise(asked, "a wait")
        self._around.orders.wait(asked)
        self._waited = asked

    # A beat.

    def _beat(self, agents: tuple[Agent, ...], *, extra: bool = False) -> None:
        loaded = self._loaded
        deadline = patience([agent.policy for agent in agents])
        self._promise(deadline.left(), f"the beat of {named(agents)}")
        try:
            with self._around.pinger(loaded).run(start=False) as ping:
                done = self._tick(agents, loaded, deadline, extra=extra)
                if done.round.is_going_on:
                    self._look_at_turns()
                self._again |= frozenset(goes_on(done.round.collected)) - {agent.id for agent in agents}
                if self._again:
                    self._turns_at = self._awake()
                beaten = sum(beat.receipt is not None for beat in done.beats)
                self._agenda = after_tick(self._agenda, agents, done, loaded.roster.timezone, self._wall())
                told = self._around.report(self._unsaid(done))
                ping.silent, ping.text = not beaten, "\n".join(told)
        except Exception as error:  # noqa: BLE001 - whatever ends one beat must not end those of the others
            self._failed(agents, error)
            return
        self._recovered(beaten)
        self._beats += beaten
        for line in told:
            self._around.show(line)

    # Turns that go on between beats.

    def _follow(self) -> None:
        """Collects what has ended; whoever's turn ended badly beats once more, for the next attempt (rule F1)."""
        loaded, around = self._loaded, self._around
        deadline = patience([agent.policy for agent in self._agents])
        self._promise(deadline.left(), "a look at running turns")
        self._turns_at = None
        try:
            with around.open_store() as store:
                seen = followed(loaded, store, around.locks, self._wall, deadline, self._peers.means)
            for line in seen.told:
                around.say(line)
            agents = tuple(agent for agent in self._agents if agent.id in self._again.union(seen.again))
            self._again, self._unseen_turns = frozenset(), ""
            if seen.runs:
                self._look_at_turns()
            if agents:
                self._beat(agents, extra=True)
        except Exception as error:  # noqa: BLE001 - what cannot be collected now is collected by the next beat
            self._look_at_turns()
            if _what(error) != self._unseen_turns:
                self._unseen_turns = _what(error)
                self._warn(f"running turns could not be looked at: {self._unseen_turns}", "turns-failed")
                self._trace(error)

    def _look_at_turns(self) -> None:
        self._turns_at = self._awake() + LOOK_AT_TURNS

    def _tick(self, agents: tuple[Agent, ...], loaded: Loaded, deadline: Deadline, *, extra: bool) -> Tick:
        """Their beats; with `extra` one more within a slot that is answered already, on a fresh look."""
        around = self._around
        with around.open_store() as store:
            self._put_notes(store)
            return tick(
                loaded.roster,
                agents,
                loaded.environment,
                store,
                around.cache,
                around.locks,
                clock=self._wall,
                fresh=extra,
                only_due=not extra,
                peers=self._peers,
                deadline=deadline,
            )

    def _failed(self, agents: tuple[Agent, ...], error: Exception) -> None:
        """The receipts that there can be are written (see beat.tick). After a while the store is asked who is due."""
        self._failures += 1
        self._unusable = self._unusable + 1 if isinstance(error, StateError) else 0
        # A beat that failed otherwise has its receipt: it is not tried again before the next slot.
        pause = pause_after(max(1, self._unusable))
        self._held_until = self._awake() + pause
        for agent in agents:
            self._agenda.pop(agent.id, None)
        self._trouble = _what(error)
        self._warn(f"the beat of {named(agents)} failed: {self._trouble}", "beat-failed")
        again = f"the next try is in {format_duration(pause)}" if self._unusable else ""
        advice = "; ".join(filter(None, (_advice(error), again)))
        if advice:
            self._around.complain(advice)
        self._trace(error)

    def _recovered(self, beaten: int) -> None:
        if self._failures and (beaten or self._unusable):
            self._tell(f"beats work again, after {self._failures} that failed", "beat-recovered")
            self._failures, self._unusable, self._trouble = 0, 0, ""

    def _unsaid(self, done: Tick) -> Tick:
        """The tick without those who were skipped the last time too."""
        skipped = {beat.agent.id for beat in done.beats if beat.receipt is None}
        known = skipped & self._skipped
        self._skipped = self._skipped - {beat.agent.id for beat in done.beats} | skipped
        return replace(done, beats=tuple(beat for beat in done.beats if beat.agent.id not in known))

    # Another roster.

    def _reload(self) -> None:
        around = self._around
        self._promise(_RELOAD, "a reload")
        around.supervisor.reloading(self._awake())
        self._file = RosterFile.read(around.signature())
        try:
            loaded = around.load()
            agents = chosen(loaded.roster, self._names)
            told = tuple(differences(self._loaded.roster, loaded.roster, self._agents, agents))
            self._use(loaded, agents)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with this roster must not end the beats of the last
            self._refuse(error)
            self._trace(error)
        else:
            self._refused = ""
            self._agenda.clear()
            self._tell(f"the roster was read anew; {'; '.join(told) or 'nothing changes'}", "roster-reloaded")
        around.supervisor.ready()

    def _use(self, loaded: Loaded, agents: tuple[Agent, ...]) -> None:
        around = self._around
        self._spread = jitter(around.window, loaded.roster, around.host)
        self._loaded, self._agents = loaded, agents

    def _refuse(self, error: Exception) -> None:
        mistakes = _what(error).splitlines()
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        self._refused = f"{mistakes[0]}{more}"
        self._remind_at = self._awake() + _REMIND
        self._note("roster-refused", f"the roster was refused, the earlier one stays in use: {self._refused}")
        for line in ("the roster is refused, and the earlier one stays in use:", *mistakes, _advice(error)):
            if line:
                self._around.complain(line)

    # Words.

    def _tell(self, sentence: str, action: str) -> None:
        self._around.say(sentence)
        self._note(action, sentence)

    def _warn(self, sentence: str, action: str) -> None:
        self._around.complain(sentence)
        self._note(action, sentence)

    def _note(self, action: str, sentence: str) -> None:
        """For the log, at the next time that the store is open."""
        self._notes.append(LogEntry(self._wall(), action, sentence))

    def _put_notes(self, store: Store) -> None:
        if self._notes:
            store.add_log(self._notes)
            self._notes.clear()

    def _trace(self, error: Exception) -> None:
        if self._around.debug:
            for block in traceback.format_exception(error):
                for line in block.splitlines():
                    self._around.complain(line)

    def _status(self) -> None:
        """One line of how things are, for `systemctl status`."""
        if not self._around.supervisor.listens:
            return
        parts = [named(self._agents), self._next(), self._trouble and f"beats fail: {self._trouble}"]
        if self._refused:
            parts.append(f"the roster on the disk is refused: {self._refused}")
        self._around.supervisor.status("; ".join(filter(None, parts)))

    def _next(self) -> str:
        if len(self._agenda) < len(self._agents):
            return ""
        due = min(self._agenda.values()).astimezone(ZoneInfo(self._loaded.roster.timezone))
        who = tuple(agent for agent in self._agents if self._agenda[agent.id] == due)
        return f"next {named(who)} at {due:%H:%M:%S}"

    # The present.

    def _wall(self) -> datetime:
        return self._around.look().wall

    def _awake(self) -> float:
        return self._around.look().awake

    def _stopping(self) -> str:
        return self._around.orders.stopping

    def _promise(self, seconds: float, what: str) -> None:
        """What comes next takes at most so long: for who vouches for us, and for who would take our place."""
        self._witness.promise(seconds, what)
        self._around.renew(Deadline.after(seconds + GRACE))


def named(agents: Sequence[Agent]) -> str:
    """Agents in a sentence: a few by name, many by number."""
    return ", ".join(agent.id for agent in agents) if len(agents) <= _NAMED else f"{len(agents)} agents"


def _what(error: Exception) -> str:
    if isinstance(error, HeartbeatError):
        return str(error) or type(error).__name__
    return f"a bug: {type(error).__name__}: {error}"


def _advice(error: Exception) -> str:
    if isinstance(error, HeartbeatError):
        return error.advice
    return "start the daemon with --debug and report what it prints"
