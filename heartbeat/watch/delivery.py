"""How the watchdog's messages reach people: its own way through the channels, past the outbox that it watches.

Every message goes to each channel that `watchdog.notify` means, and is tried at every run until it was taken. Where
none of those took it, the operator's other channels are tried in order until one does. What waits for a channel goes
out as one message, what matters most first. Before an attempt it is on record that the message may have arrived: an
attempt that ends without an answer, or without us, is repeated as a repetition (invariant I4). A channel that keeps us
beyond its time is left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from heartbeat.action import Level, Message, marker_of
from heartbeat.deadline import Deadline
from heartbeat.instants import format_duration
from heartbeat.notify.channels.base import ChannelError, Failure
from heartbeat.notify.delivery import Open
from heartbeat.notify.letter import Letter, clean, longest, one_line
from heartbeat.notify.roles import recipients
from heartbeat.roster.model import Roster
from heartbeat.store.port import EntryKind
from heartbeat.task import NOBODY
from heartbeat.watch import wording
from heartbeat.watch.notebook import Notebook, Post, newest_first
from heartbeat.watch.patience import HangsError, within

OTHERS_TOLD = timedelta(hours=1)
"""How long a channel is still tried for a message that another one has taken."""
GIVEN_UP_AFTER = timedelta(days=3)
"""How long a message is kept that nobody takes: what stands is told again every day."""

_LEAST_SECONDS = 1.0
_BODY_BYTES = 14_000
_CROWDED_MINUTES = frozenset({0, 30})
"""When the schedulers of the world send, only what is critical goes (rule O3)."""
_SHARE = 0.6
"""Of the time that is left, so much for one channel: the next must have its chance."""
_TO_TELL = 0.9
"""Of a channel's time, so much for the channel itself: who gives up in time can say why."""


@dataclass(frozen=True, slots=True)
class Routes:
    """Names of channels: those that are meant, and those that are tried where all of them fail."""

    meant: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(slots=True)
class Delivered:
    """What came of a delivery. `sent` and `failed` hold names of channels, `notes` a sentence a failure."""

    book: Notebook
    sent: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def routes(roster: Roster) -> Routes:
    """Whom the roster wants to be told. An agent's inbox lies in the database that is watched: it is no way out, and
    the operator is told instead. A channel takes what comes from here from level critical on, the good news too."""
    to = tuple(roster.extra.get("watchdog", {}).get("notify", ("operator",)))
    message = Message("watchdog", to, Level.CRITICAL, "", "", NOBODY, NOBODY)
    meant = [one.name for one in recipients(message, roster) if one.kind is EntryKind.MESSAGE]
    operator = [one.name for one in recipients(replace(message, to=("operator",)), roster)]
    others = [name for name in operator if name not in meant and name in roster.channels]
    return Routes(tuple(dict.fromkeys(meant)), tuple(dict.fromkeys(others)))


def deliver(
    book: Notebook,
    roster: Roster,
    environment: Mapping[str, str],
    *,
    now: datetime,
    deadline: Deadline,
    keep: Callable[[Notebook], None],
    open_channel: Open,
) -> Delivered:
    """Sends what waits, until nothing is left or the deadline comes. `keep` puts the notebook on the disk."""
    ways = routes(roster)
    done = Delivered(book)
    delivery = _Delivery(done, roster, environment, now, deadline, keep, open_channel)
    for name in ways.meant:
        delivery.serve(name, lambda post: True)
    for name in ways.others:
        # What the channels that are meant do not take is told by the first other one that does.
        delivery.serve(name, lambda post: not post.done)
    waiting = [post for post in done.book.posts if _waits(post, ways, now)]
    left = tuple(post for post in waiting if now - post.at < GIVEN_UP_AFTER)
    if len(left) < len(waiting):
        done.notes.append(f"given up, since nobody took it in {format_duration(GIVEN_UP_AFTER)}: {waiting[0].title}")
    done.book = replace(done.book, posts=left)
    return done


def _waits(post: Post, ways: Routes, now: datetime) -> bool:
    if not post.done:
        return True
    return now - post.at < OTHERS_TOLD and any(name not in post.done for name in ways.meant)


@dataclass(slots=True)
class _Delivery:
    done: Delivered
    roster: Roster
    environment: Mapping[str, str]
    now: datetime
    deadline: Deadline
    keep: Callable[[Notebook], None]
    open_channel: Open

    def serve(self, name: str, wanted: Callable[[Post], bool]) -> None:
        """Everything that waits for one channel: what may have arrived before apart from the rest, each as one."""
        waiting = [post for post in self.done.book.posts if name not in post.done and wanted(post)]
        again = [post for post in waiting if name in post.perhaps]
        for group, repeat in ((again, True), ([post for post in waiting if post not in again], False)):
            if group and not self._send(name, group, repeat):
                return

    def _send(self, name: str, posts: Sequence[Post], repeat: bool) -> bool:
        """Whether the channel may be tried for more."""
        book = self.done.book
        letter = letter_of(posts, self.roster, repeat, book.alarms.standing)
        if self.now.minute in _CROWDED_MINUTES and letter.level is not Level.CRITICAL:
            return True
        # One that lies further ahead was noted by a clock that was set back since (rule B6).
        wait = book.not_before.get(name, self.now) - self.now
        if self.deadline.left() < _LEAST_SECONDS or timedelta(0) < wait <= OTHERS_TOLD:
            self.done.failed.append(name)
            return False
        keys = {post.key for post in posts}
        self._change(keys, lambda post: replace(post, perhaps=_with(post.perhaps, name)))
        try:
            channel = self.open_channel(name, self.roster, self.environment)
            seconds = min(channel.seconds, max(_LEAST_SECONDS, self.deadline.left() * _SHARE))
            deadline = self.deadline.at_most(seconds * _TO_TELL)
            within(
                seconds,
                f"the channel {name}",
                lambda: channel.send(letter, deadline),
                "see whether names can be looked up from this machine",
            )
        except ChannelError as error:
            self._failed(name, keys, repeat or error.outcome_unknown, error)
            return False
        except HangsError as error:
            unknown = ChannelError(Failure.TRANSIENT, str(error), advice=error.advice, outcome_unknown=True)
            self._failed(name, keys, True, unknown)
            return False
        except Exception as error:  # noqa: BLE001 - a bug in one channel must not keep the others from being tried
            # Without its words: nobody has made sure that they hold no secret.
            advice = f"run `heartbeat notify test {name} --debug` and report what it prints"
            self.done.notes.append(f"{name}: a bug: {type(error).__name__}; {advice}")
            self.done.failed.append(name)
            return False
        self._change(keys, lambda post: replace(post, done=_with(post.done, name), perhaps=_less(post.perhaps, name)))
        self.done.sent.append(name)
        return True

    def _failed(self, name: str, keys: set[str], perhaps: bool, error: ChannelError) -> None:
        if not perhaps:
            self._change(keys, lambda post: replace(post, perhaps=_less(post.perhaps, name)))
        if error.retry_after:
            wait = timedelta(seconds=min(error.retry_after, OTHERS_TOLD.total_seconds()))
            book = self.done.book
            self.done.book = replace(book, not_before={**book.not_before, name: self.now + wait})
            self.keep(self.done.book)
        self.done.failed.append(name)
        self.done.notes.append(f"{name}: {error}; {error.advice}" if error.advice else f"{name}: {error}")

    def _change(self, keys: set[str], change: Callable[[Post], Post]) -> None:
        posts = tuple(change(post) if post.key in keys else post for post in self.done.book.posts)
        self.done.book = replace(self.done.book, posts=posts)
        self.keep(self.done.book)


def letter_of(posts: Sequence[Post], roster: Roster, repeat: bool, standing: Container[str]) -> Letter:
    """One message as it is. Several as one, each with its time: the newest first, then the newest word on each trouble
    that stands, then the others from the newest back. Where there is no room for all, the last ones are counted."""
    level = max(map(_level, posts), key=lambda each: each.rank)
    keys = tuple(post.key for post in posts)
    first, number = posts[0], sum(1 + post.earlier for post in posts)
    alone = number == 1
    body = clean(first.body) if alone else _together(newest_first(posts, standing), number, roster.timezone)
    return Letter(
        key=first.key if alone else f"watchdog/{marker_of(chr(10).join(sorted(keys)))}",
        level=level,
        title=one_line(first.title if alone else wording.several(number)),
        body=longest(body, _fits),
        keys=keys,
        count=number,
        to=tuple(roster.extra.get("watchdog", {}).get("notify", ())),
        repeat=repeat,
    )


def _together(posts: Sequence[Post], number: int, zone: str) -> str:
    """As many of the messages as there is room for, in this order, at least the first."""
    parts = [clean(f"{wording.dated(post.at, post.title, zone)}\n{post.body}") for post in posts]
    for count in range(len(parts), 1, -1):
        text = "\n\n".join(parts[:count]) + _rest(number - count)
        if _fits(text):
            return text
    rest = _rest(number - 1)
    return longest(parts[0], lambda text: _fits(text + rest)) + rest


def _rest(number: int) -> str:
    return f"\n\n{wording.unlisted(number)}" if number else ""


def _fits(text: str) -> bool:
    return len(text.encode()) <= _BODY_BYTES


def _level(post: Post) -> Level:
    try:
        return Level(post.level)
    except ValueError:
        return Level.CRITICAL


def _with(names: Iterable[str], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*names, name)))


def _less(names: Iterable[str], name: str) -> tuple[str, ...]:
    return tuple(each for each in names if each != name)
