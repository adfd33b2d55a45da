"""The daemon: one loop that lets everybody beat when due, and goes on whatever happens (rules B1, B2, B6).

What to do next is decided in agenda.py; here it is done. Clocks, waiting, the roster, the store and the world come from
outside, so that a week passes in a test in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from heartbeat.beat import Tick, tick
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
from heartbeat.daemon.clocks import between
from heartbeat.daemon.journal import Journal, advice_on, named, told_of
from heartbeat.daemon.readers import OneAtATime
from heartbeat.daemon.roster_file import RosterFile, chosen, differences
from heartbeat.daemon.surroundings import Loaded, Surroundings
from heartbeat.daemon.turns import followed
from heartbeat.daemon.witness import GRACE, Witness
from heartbeat.deadline import Deadline
from heartbeat.dispatch.hooks import TOGETHER, run_hooks
from heartbeat.dispatch.round import goes_on
from heartbeat.errors import StateError
from heartbeat.instants import format_duration
from heartbeat.observation import patience
from heartbeat.roster.model import Agent

_REMIND = 3600.0
"""Seconds between two reminders that the roster on the disk was refused."""

_RELOAD = 60.0
"""Seconds that reading a roster takes at most."""


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
        self._journal = Journal(around.say, around.complain, self._wall, before=around.before, debug=around.debug)
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
        self._journal.tell(f"the daemon runs for {named(self._agents)} of {self._loaded.roster.path}", "daemon-started")
        self._around.supervisor.ready()
        self._status()

    def _end(self) -> None:
        self._around.supervisor.stopping()
        beats = "1 beat" if self._beats == 1 else f"{self._beats} beats"
        self._journal.tell(f"the daemon ends ({self._stopping()}) after {beats}", "daemon-ended")
        self._promise(0.0, "the end")
        try:
            with self._around.open_store() as store:
                self._journal.put(store)
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
            self._journal.warn(sentence, "clock")
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
        if done.hooks_wait:
            self._run_hooks(loaded)

    def _run_hooks(self, loaded: Loaded) -> None:
        """Of turns that have ended; when everything of the beat is out."""
        around = self._around
        try:
            self._promise(TOGETHER, "the hooks")
            with around.open_store() as store:
                run_hooks(store, loaded.roster, loaded.environment, around.locks, clock=self._wall)
        except Exception as error:  # noqa: BLE001 - a hook that cannot be run now is run after the next beat
            self._journal.warn(f"hooks could not be run: {told_of(error)}", "hooks-failed")
            self._journal.trace(error)

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
            if told_of(error) != self._unseen_turns:
                self._unseen_turns = told_of(error)
                self._journal.warn(f"running turns could not be looked at: {self._unseen_turns}", "turns-failed")
                self._journal.trace(error)

    def _look_at_turns(self) -> None:
        self._turns_at = self._awake() + LOOK_AT_TURNS

    def _tick(self, agents: tuple[Agent, ...], loaded: Loaded, deadline: Deadline, *, extra: bool) -> Tick:
        """Their beats; with `extra` one more within a slot that is answered already, on a fresh look."""
        around = self._around
        with around.open_store() as store:
            self._journal.put(store)
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
        self._trouble = told_of(error)
        self._journal.warn(f"the beat of {named(agents)} failed: {self._trouble}", "beat-failed")
        again = f"the next try is in {format_duration(pause)}" if self._unusable else ""
        advice = "; ".join(filter(None, (advice_on(error), again)))
        if advice:
            self._around.complain(advice)
        self._journal.trace(error)

    def _recovered(self, beaten: int) -> None:
        if self._failures and (beaten or self._unusable):
            self._journal.tell(f"beats work again, after {self._failures} that failed", "beat-recovered")
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
            self._journal.trace(error)
        else:
            self._refused = ""
            self._agenda.clear()
            self._journal.tell(f"the roster was read anew; {'; '.join(told) or 'nothing changes'}", "roster-reloaded")
        around.supervisor.ready()

    def _use(self, loaded: Loaded, agents: tuple[Agent, ...]) -> None:
        around = self._around
        self._spread = jitter(around.window, loaded.roster, around.host)
        self._loaded, self._agents = loaded, agents

    def _refuse(self, error: Exception) -> None:
        mistakes = told_of(error).splitlines()
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        self._refused = f"{mistakes[0]}{more}"
        self._remind_at = self._awake() + _REMIND
        self._journal.note("roster-refused", f"the roster was refused, the earlier one stays in use: {self._refused}")
        for line in ("the roster is refused, and the earlier one stays in use:", *mistakes, advice_on(error)):
            if line:
                self._around.complain(line)

    # What the supervisor shows.

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
