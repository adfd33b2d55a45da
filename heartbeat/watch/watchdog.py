"""One look of the watchdog: does everybody beat, who has to be told, and did it reach them.

Of what it watches it only reads: the database, the lock files, the beats' log, the roster and its environment file. Its
memory (notebook.py), its lock and its way to people (delivery.py) are its own. Whatever breaks is one more thing to
tell, and whatever may hang is asked for a time that it keeps itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from heartbeat.action import marker_of
from heartbeat.deadline import Deadline
from heartbeat.errors import HeartbeatError, StateError
from heartbeat.instants import to_text
from heartbeat.notify.channels import open_channel as open_roster_channel
from heartbeat.notify.delivery import Open
from heartbeat.roster.model import Agent, Roster
from heartbeat.store.locks import try_exclusive
from heartbeat.store.port import Receipt
from heartbeat.watch import causes, facts, wording
from heartbeat.watch.causes import Likely, likely
from heartbeat.watch.delivery import Delivered, deliver, routes
from heartbeat.watch.flips import (
    BEATS,
    DISK,
    MEMORY,
    ROSTER,
    Alarms,
    Flip,
    Kind,
    Trouble,
    agent_of,
    turn,
    without_memory,
)
from heartbeat.watch.health import GOOD, Health, Status, health, reason
from heartbeat.watch.judgement import Scene, expected, judged, missing, replaced, unremembered, waited_for
from heartbeat.watch.masking import secrets_of
from heartbeat.watch.notebook import PATIENCE, Notebook, Post, Seen, Shelf, with_post
from heartbeat.watch.patience import within
from heartbeat.watch.ping import WATCHDOG, pinger_for
from heartbeat.watch.processes import Doing, author
from heartbeat.watch.records import Records, read
from heartbeat.watch.switch import first_look, tell_switch

SECONDS = 50.0
"""All of one run: the next one begins a minute later."""

_LONG = timedelta(seconds=2)
"""A run of at least this has its length remembered."""
_LOOK = 8.0
"""Seconds for the roster, and as many for the state."""
_LAST_PING = 6.0
_LEASE = 2 * SECONDS


@dataclass(frozen=True, slots=True)
class Room:
    """What one run works with. `path` is the roster's, also where there is none any more; `state_of` says where the
    beats of a roster keep their state."""

    path: Path
    load: Callable[[], Roster]
    state_of: Callable[[Roster], Path]
    environment: Mapping[str, str] = field(repr=False)
    shelf: Shelf
    clock: Callable[[], datetime]
    open_channel: Open = open_roster_channel
    author: Callable[[int, str, datetime], Doing] = author
    stopwatch: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Watched:
    """What one run found and did. `sentences` are by what they are about; `notes` are for whoever reads its output.

    `kept` is where the notebook lies now, None where it could be kept nowhere. `first` says that nothing was remembered
    of an earlier look. `message` is what this look had to tell, `delivered` what came of telling, `waiting` how many
    messages are still to be told; `reachable` says whether any channel leads to those who are to be told.
    """

    scene: Scene
    troubles: Mapping[str, Trouble]
    alarms: Alarms
    flips: tuple[Flip, ...]
    sentences: Mapping[str, str]
    message: wording.Told | None
    delivered: Delivered | None
    waiting: int
    reachable: bool
    kept: Path | None
    first: bool
    notes: tuple[str, ...]


@contextmanager
def alone(room: Room) -> Iterator[str]:
    """Makes sure that one watchdog runs at a time; gives who is in the way, or nothing. One that hangs is ended by its
    successor; where that cannot be, it is no reason not to watch."""
    _keep_apart(room)
    with ExitStack() as stack:
        yield _in_the_way(room.shelf, stack)


def _keep_apart(room: Room) -> None:
    """Lets the lock lie outside of what is watched, as far as that is known before anything is looked at."""
    book, _ = room.shelf.read()
    if book.state:
        room.shelf.keep_apart(Path(book.state))
        return
    with suppress(Exception):  # whatever is wrong with the roster is told by the look itself
        room.shelf.keep_apart(within(_LOOK, f"the roster {room.path}", lambda: room.state_of(room.load())))


def _in_the_way(shelf: Shelf, stack: ExitStack) -> str:
    for path in shelf.locks:
        with suppress(StateError):
            tried = try_exclusive(path, purpose="watchdog", until=Deadline.after(_LEASE))
            lock = within(2 * PATIENCE, str(path), tried.__enter__)
            stack.push(tried)
            overdue = lock.holder is not None and lock.holder.overdue is not None
            return "" if lock.held or overdue else lock.told_of_holder
    return ""


def watch(room: Room, *, dry_run: bool = False) -> Watched:
    """One run. With `dry_run` nothing is kept, sent or pinged. Raises HeartbeatError where there is neither a roster
    nor the memory of one."""
    deadline = Deadline.after(SECONDS)
    book, notes = room.shelf.read()
    roster, roster_trouble = _roster(room, book)
    room.shelf.keep_apart(room.state_of(roster))
    if dry_run:
        return _Run(room, book, roster, roster_trouble, deadline, dry_run=True).look(list(notes))
    complaints: list[str] = []
    with pinger_for(roster, WATCHDOG, room.environment, complaints.append).run() as pinged:
        found = _Run(room, book, roster, roster_trouble, deadline).look(list(notes))
        tell_switch(pinged, found, room)
        complaints += first_look(found)
    return replace(found, notes=(*found.notes, *complaints))


def _roster(room: Room, book: Notebook) -> tuple[Roster, str]:
    """The roster, or what is remembered of the last good one with what is wrong with it now."""
    try:
        return within(_LOOK, f"the roster {room.path}", room.load), ""
    except HeartbeatError as error:
        trouble: Exception = error
    except Exception as error:  # noqa: BLE001 - a bug that a roster brings to light must not blind the watchdog
        trouble = error
    try:
        return facts.decode(room.path, book.team), f"{trouble}" or type(trouble).__name__
    except (ValueError, TypeError, LookupError, AttributeError):
        raise trouble from None


@dataclass(slots=True)
class _Run:
    room: Room
    book: Notebook
    roster: Roster
    roster_trouble: str
    deadline: Deadline
    dry_run: bool = False
    kept: Path | None = None
    problems: tuple[str, ...] = ()

    def look(self, notes: list[str]) -> Watched:
        now, begun = self.room.clock(), self.room.stopwatch()
        scene, seen = self._scene(now)
        troubles, well, unknown = judged(scene, seen, self.book)
        if BEATS in well and BEATS in self.book.alarms.standing:
            # Whoever has not beaten yet has until its own next slot: its schedule has only just begun again.
            seen = {agent: replace(each, since=now) for agent, each in seen.items()}
            troubles, well, unknown = judged(scene, seen, self.book)
        alarms, flips = turn(self.book.alarms, troubles, well, unknown, now, scene.grace)
        book = replace(
            self.book,
            state=str(scene.records.state),
            seen=seen,
            alarms=alarms,
            beaten=self._beaten(scene),
            memory=self._memory(scene, alarms),
        )
        if not self.roster_trouble:
            book = replace(book, team=facts.encode(self.roster, scene.records.state))
        told = self._message(scene, flips)
        self._keep(_with_post(book, told, flips, now))
        if self.kept is None and not self.dry_run:
            notes.append(f"nothing can be remembered: {'; '.join(self.problems)}; alarms are told twice an hour")
            flips = without_memory(judged(scene, *unremembered(seen, now))[0], now)
            told = self._message(scene, flips)
        book = _with_post(book, told, flips, now)
        delivered = None if self.dry_run else self._deliver(book, now)
        if delivered is not None:
            notes += delivered.notes
            took = timedelta(seconds=self.room.stopwatch() - begun)
            if delivered.book != book or took >= _LONG:
                self._keep(replace(delivered.book, alarms=replace(delivered.book.alarms, took=took)))
        ways = routes(self.roster)
        return Watched(
            scene=scene,
            troubles=troubles,
            alarms=alarms,
            flips=flips,
            sentences={key: self._sentence(key, scene) for key in troubles},
            message=told,
            delivered=delivered,
            waiting=len(delivered.book.posts) if delivered is not None else len(book.posts),
            reachable=bool(ways.meant or ways.others),
            kept=self.kept,
            first=self.book.number == 0,
            notes=tuple(notes),
        )

    def _scene(self, now: datetime) -> tuple[Scene, dict[str, Seen]]:
        state = self.room.state_of(self.roster)

        def beats() -> Records:
            found = read(state, self.roster.agents, now, roster=self.roster, beats_only=True)
            if found.stranger is None:
                return found
            # Another team's receipts say nothing of these agents, and least of all that nothing starts their beats.
            return Records(
                now, state, exists=True, trouble=str(found.stranger), advice=found.stranger.advice, disk=found.disk
            )

        try:
            records = within(_LOOK, f"the state directory {state}", beats)
        except StateError as error:
            records = Records(now, state, exists=True, trouble=str(error), advice=error.advice)
        except Exception as error:  # noqa: BLE001 - what no check foresaw must be told, and not blind the watchdog
            records = Records(now, state, exists=True, trouble=f"a bug: {type(error).__name__}: {error}")
        seen = {agent.id: self._seen(agent, records, now) for agent in self.roster.agents.values()}
        healths = tuple(
            health(expected(agent, self.roster, seen[agent.id].since), records.record(agent.id), now)
            for agent in self.roster.agents.values()
        )
        return Scene(now, self.roster, self.roster_trouble, records, healths), seen

    def _seen(self, agent: Agent, records: Records, now: datetime) -> Seen:
        """Since when this agent is expected to beat like that, here. What memory lost cannot be held against it."""
        rhythm = facts.rhythm(agent.policy, self.roster.timezone)
        before = self.book.seen.get(agent.id) if self.book.state == str(records.state) else None
        anew = replaced(records, self.book) and not records.record(agent.id).receipts
        since = now if before is None or before.rhythm != rhythm or anew else min(before.since, now)
        if records.lost is not None and not records.record(agent.id).receipts:
            since = max(since, min(records.lost.at, now))
        return Seen(since, rhythm)

    def _beaten(self, scene: Scene) -> bool:
        before = self.book.beaten and self.book.state == str(scene.records.state)
        return before or any(each.last is not None for each in scene.healths)

    def _memory(self, scene: Scene, alarms: Alarms) -> datetime | None:
        """Since when there has been the memory that is taken for what is meant: another one only when it was told."""
        records, before = scene.records, self.book.memory
        if self.book.state != str(records.state) or before is None:
            return records.memory
        alarm = alarms.standing.get(MEMORY)
        if replaced(records, self.book) and (alarm is None or alarm.kind is not Kind.REPLACED):
            return before
        return records.memory or before

    def _message(self, scene: Scene, flips: tuple[Flip, ...]) -> wording.Told | None:
        if not flips:
            return None
        secrets = secrets_of((self.roster.sources, self.roster.channels, self.roster.extra), self.room.environment)
        setting = wording.Setting(str(self.room.path), str(scene.records.state), self.roster.timezone, secrets)
        return wording.message(flips, {flip.key: self._subject(flip.key, scene) for flip in flips}, setting)

    def _subject(self, key: str, scene: Scene) -> wording.Subject:
        agent = agent_of(key)
        records = scene.records
        if key == BEATS:
            return self._everybody(scene)
        if agent is None:
            trouble = _trouble_text(key, scene)
            return wording.Subject(wording.subject_name(key), trouble=trouble, state=str(records.state))
        found = next(each for each in scene.healths if each.agent == agent)
        member = self.roster.agents[agent]
        return wording.Subject(
            name=wording.agent_name(agent, member.name),
            health=found,
            rhythm=wording.rhythm_words(member.policy.cron, member.policy.every),
            cause=self._likely(found, scene) if found.status is Status.DOWN else None,
        )

    def _everybody(self, scene: Scene) -> wording.Subject:
        """What there is to say of all beats together, in a silence and after one."""
        members = self.roster.agents
        silent = [wording.agent_name(each.agent, members[each.agent].name) for each in missing(scene)]
        alarm = self.book.alarms.standing.get(BEATS)
        back = [
            each for each in scene.healths if each.status in GOOD or (alarm is not None and _since(each, alarm.since))
        ]
        newest = max((each for each in scene.healths if each.last), key=_last_began, default=None)
        worst = min(missing(scene), key=waited_for, default=None)
        return wording.Subject(
            name=wording.subject_name(BEATS),
            health=newest,
            cause=self._likely(worst, scene) if worst is not None else None,
            missing=tuple(silent),
            back=tuple(wording.agent_name(each.agent, members[each.agent].name) for each in back),
        )

    def _likely(self, found: Health, scene: Scene) -> Likely:
        def doing(receipt: Receipt) -> Doing:
            return self.room.author(receipt.pid, receipt.host, receipt.ended_at)

        return likely(found, scene.healths, scene.records, doing)

    def _sentence(self, key: str, scene: Scene) -> str:
        """What is wrong, in English, for a terminal, a log and the dead-man's switch."""
        agent = agent_of(key)
        if key == BEATS:
            worst = min(missing(scene), key=waited_for)
            what, mend = causes.told(self._likely(worst, scene), worst.agent, to_text)
            names = ", ".join(each.agent for each in missing(scene))
            return f"nobody beats: no receipt since the slot of {to_text(waited_for(worst))} ({names}); {what}; {mend}"
        if agent is None:
            return _trouble_text(key, scene)
        found = next(each for each in scene.healths if each.agent == agent)
        told = f"{agent} {found.status.value}: {reason(found, to_text)}"
        if found.status is not Status.DOWN:
            return told
        what, mend = causes.told(self._likely(found, scene), agent, to_text)
        return f"{told}; {what}; {mend}"

    def _deliver(self, book: Notebook, now: datetime) -> Delivered:
        until = Deadline(self.deadline.at - _LAST_PING)
        return deliver(
            book,
            self.roster,
            self.room.environment,
            now=now,
            deadline=until,
            keep=self._keep,
            open_channel=self.room.open_channel,
        )

    def _keep(self, book: Notebook) -> None:
        if not self.dry_run:
            self.kept, self.problems = self.room.shelf.write(book)


def _since(found: Health, instant: datetime) -> bool:
    """Whether it has beaten since then and is not down again."""
    return found.status is Status.LATE and found.last is not None and found.last.started_at >= instant


def _last_began(found: Health) -> datetime:
    return found.at if found.last is None else found.last.started_at


def _trouble_text(key: str, scene: Scene) -> str:
    """What is known of a trouble that is no agent's, with what to do."""
    records = scene.records
    if key == ROSTER:
        return "; ".join(scene.roster_trouble.splitlines()[:3])
    if key == MEMORY:
        return records.lost.reason if records.lost is not None else _replaced(records)
    if key == DISK and records.disk is not None:
        state = "read-only" if records.disk.read_only else f"{records.disk.free // 1024} KiB free"
        return f"{records.disk.path}: {state}"
    if records.trouble:
        return f"{records.trouble}; {records.advice}" if records.advice else records.trouble
    return f"there is no database in {records.state}, and there was one"


def _replaced(records: Records) -> str:
    since = "" if records.memory is None else f" since {to_text(records.memory)}"
    return (
        f"there is a new memory in {records.state}{since}, and what was there before is gone: put a backup back while "
        "no beat runs, unless that is meant"
    )


def _with_post(book: Notebook, told: wording.Told | None, flips: Iterable[Flip], now: datetime) -> Notebook:
    if told is None:
        return book
    key = f"watchdog/{marker_of(f'{told.title}{chr(10)}{told.body}')}/{to_text(now)}"
    post = Post(key, told.level.value, told.title, told.body, now, about=tuple(flip.key for flip in flips))
    return replace(book, posts=with_post(book.posts, post, book.alarms.standing))
