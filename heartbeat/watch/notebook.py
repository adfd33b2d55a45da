"""What the watchdog remembers, in a small file of its own: nothing in it is shared with what it watches.

The file lies in the user's state directory under `heartbeat/watchdog`, named after the roster, and never in the
directory that is watched: that may be full, read-only or gone, and all of that has to be told, once. Where it cannot be
written, or would be part of what is watched, the next place is taken: `heartbeat-watchdog` beside it, memory
(`XDG_RUNTIME_DIR`, `/dev/shm`), then the directory for temporary files. What was written last counts, wherever it is.
The file is replaced as a whole (rule B7); one that cannot be read is begun anew. A place that does not answer is passed
over for the rest of the run.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from heartbeat.durable import sync_directory
from heartbeat.instants import parse_instant, to_text
from heartbeat.watch.flips import NONE, Alarm, Alarms, Kind
from heartbeat.watch.patience import HangsError, within

PATIENCE = 3.0
"""Seconds that one place may take to answer."""
POSTS = 100
"""So many messages are kept at most; of what is older only the number."""

_FORMAT = 1
_LARGEST = 8 * 1024 * 1024
"""Bytes: what a team of thousands needs, many times over."""
_POSTS_BYTES = 1024 * 1024

_Found = TypeVar("_Found")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Seen:
    """Since when an agent has been watched with this rhythm."""

    since: datetime
    rhythm: str


@dataclass(frozen=True, slots=True)
class Post:
    """A message that is to be told. `done` are the channels that took it, `perhaps` those of which that is not known:
    an attempt ended without an answer, or without us. `about` are the troubles that it tells of; `earlier` is how many
    older messages were dropped that nobody had taken before it came."""

    key: str
    level: str
    title: str
    body: str
    at: datetime
    done: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class Notebook:
    """Everything that is remembered. `number` counts the times it was written. `state` is the directory that was
    watched, `beaten` whether a beat was ever seen in it, `memory` since when it has had its memory. `team` are the
    facts of the last good roster (facts.py). `not_before` is by channel when it may be tried again, where it said so.
    """

    number: int = 0
    state: str = ""
    beaten: bool = False
    memory: datetime | None = None
    seen: Mapping[str, Seen] = field(default_factory=dict)
    alarms: Alarms = NONE
    posts: tuple[Post, ...] = ()
    not_before: Mapping[str, datetime] = field(default_factory=dict)
    team: Mapping[str, Any] = field(default_factory=dict)


class Shelf:
    """The places where a roster's notebook may lie, best first. `name` is made from the roster's path."""

    def __init__(self, directories: Iterable[Path], name: str) -> None:
        self._paths = tuple(directory / f"{name}.json" for directory in directories)
        self._number = 0
        self._watched: Path | None = None
        self._below: frozenset[Path] = frozenset()
        self._hanging: dict[Path, HangsError] = {}

    def keep_apart(self, watched: Path) -> None:
        """From now on nothing is written to this directory, or below it, whatever links lead there."""
        if watched == self._watched:
            return
        self._watched = watched
        below = {path for path in self._paths if _is_below(path, watched)}
        with suppress(HangsError, OSError):
            real = within(PATIENCE, str(watched), lambda: {path for path in self._paths if _leads_below(path, watched)})
            below |= real
        self._below = frozenset(below)

    @property
    def locks(self) -> tuple[Path, ...]:
        """Where whoever uses the notebook may have its lock, best first: not where reading it did not come back."""
        return tuple(path.with_suffix(".lock") for path in self._own if path not in self._hanging)

    @property
    def _own(self) -> tuple[Path, ...]:
        """The places outside of what is watched; where it holds all of them, all."""
        return tuple(path for path in self._paths if path not in self._below) or self._paths

    def read(self) -> tuple[Notebook, tuple[str, ...]]:
        """The notebook that was written last, an empty one where there is none; and what could not be read."""
        found: list[Notebook] = []
        problems: list[str] = []
        for path in self._paths:
            try:
                text = self._patiently(path, partial(_text, path))
                found += [] if text is None else [_decode(json.loads(text))]
            except HangsError as error:
                problems.append(str(error))
            except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                problems.append(f"{path}: {getattr(error, 'strerror', None) or type(error).__name__}")
        newest = max(found, key=lambda book: book.number, default=Notebook())
        self._number = newest.number
        return newest, tuple(problems)

    def write(self, book: Notebook) -> tuple[Path | None, tuple[str, ...]]:
        """Keeps it in the first place that takes it, and removes older ones; where that was, None where it was
        nowhere, and what stood in the way."""
        self._number += 1
        content = _content(replace(book, number=self._number))
        if len(content) > _LARGEST:
            return None, (f"it would hold {len(content)} bytes, and {_LARGEST} can be read again",)
        problems: list[str] = []
        for path in self._own:
            try:
                self._patiently(path, partial(_replace, path, content))
            except HangsError as error:
                problems.append(str(error))
                continue
            except OSError as error:
                problems.append(f"{path}: {error.strerror or error}")
                continue
            for other in self._paths:
                if other != path:
                    with suppress(OSError, HangsError):
                        self._patiently(other, other.unlink)
            return path, tuple(problems)
        return None, tuple(problems)

    def _patiently(self, path: Path, use: Callable[[], _Found]) -> _Found:
        # What comes back late does no harm: the number tells an old notebook from a newer one elsewhere.
        if path in self._hanging:
            raise self._hanging[path]
        try:
            return within(PATIENCE, str(path), use)
        except HangsError as error:
            self._hanging[path] = error
            raise


def with_post(posts: Iterable[Post], post: Post, standing: Container[str]) -> tuple[Post, ...]:
    """The messages with one more, and not more than may be kept: the oldest go first, of those that are the newest word
    on what still stands the oldest last. The number of what went is kept with the next newer one."""
    every = (*posts, post)
    chosen = newest_first(every, standing)[:POSTS]
    while len(chosen) > 1 and sum(len(each.body.encode()) for each in chosen) > _POSTS_BYTES:
        chosen.pop()
    kept: list[Post] = []
    dropped = 0
    for each in every:
        if any(each is one for one in chosen):
            kept.append(replace(each, earlier=each.earlier + dropped))
            dropped = 0
        else:
            dropped += 1 + each.earlier
    return tuple(kept)


def newest_first(posts: Iterable[Post], standing: Container[str]) -> list[Post]:
    """Messages in the order in which they matter: the newest of all, then the newest word on each trouble that stands,
    then the others."""
    latest = list(reversed(tuple(posts)))
    told: set[str] = set()
    first: list[Post] = []
    for each in latest:
        stands = {key for key in each.about if key in standing}
        if each is latest[0] or not stands <= told:
            first.append(each)
        told |= stands
    return [*first, *(each for each in latest if not any(each is one for one in first))]


def _is_below(path: Path, directory: Path) -> bool:
    """As the paths are written."""
    return Path(os.path.normpath(path)).is_relative_to(os.path.normpath(directory))


def _leads_below(path: Path, directory: Path) -> bool:
    """Where they lead, which a disk that hangs does not tell."""
    return _is_below(Path(os.path.realpath(path)), Path(os.path.realpath(directory)))


def places(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a notebook may lie, best first."""
    from platformdirs import user_state_path

    own = f"heartbeat-watchdog-{os.geteuid()}"
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    memory = [Path(runtime) / own] if Path(runtime).is_absolute() else []
    memory += [Path("/dev/shm") / own] if Path("/dev/shm").is_dir() else []  # noqa: S108 - see _safe
    base = user_state_path("heartbeat", appauthor=False)
    beside = base.with_name("heartbeat-watchdog")
    return (base / "watchdog", beside, *memory, Path(tempfile.gettempdir()) / own)


def _safe(directory: Path) -> None:
    """Makes the directory, and raises OSError where somebody else could put something into it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(1, "this directory is not ours alone", str(directory))


def _text(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, _READ)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(1, "this file is not ours", str(path))
        content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"larger than {_LARGEST} bytes")
        return content


def _content(book: Notebook) -> bytes:
    return json.dumps(_encode(book), ensure_ascii=False, indent=1).encode("utf-8", "replace")


def _replace(path: Path, content: bytes) -> None:
    _safe(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with os.fdopen(os.open(temporary, _MAKE, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def _encode(book: Notebook) -> dict[str, Any]:
    alarms = book.alarms
    return {
        "format": _FORMAT,
        "number": book.number,
        "state": book.state,
        "beaten": book.beaten,
        "memory": _stamp(book.memory),
        "seen": {name: {"since": to_text(each.since), "rhythm": each.rhythm} for name, each in book.seen.items()},
        "looked_at": _stamp(alarms.looked_at),
        "awake_since": _stamp(alarms.awake_since),
        "took": alarms.took.total_seconds(),
        "noticed": {key: to_text(at) for key, at in alarms.noticed.items()},
        "alarms": {
            key: {
                "kind": alarm.kind.value,
                "since": to_text(alarm.since),
                "opened_at": to_text(alarm.opened_at),
                "told_at": to_text(alarm.told_at),
                "mark": alarm.mark,
            }
            for key, alarm in alarms.standing.items()
        },
        "posts": [
            {
                "key": post.key,
                "level": post.level,
                "title": post.title,
                "body": post.body,
                "at": to_text(post.at),
                "done": list(post.done),
                "perhaps": list(post.perhaps),
                "about": list(post.about),
                "earlier": post.earlier,
            }
            for post in book.posts
        ],
        "not_before": {name: to_text(at) for name, at in book.not_before.items()},
        "team": dict(book.team),
    }


def _decode(told: Mapping[str, Any]) -> Notebook:
    if told["format"] != _FORMAT:
        raise ValueError("another format")
    standing = {str(key): _alarm(each) for key, each in told["alarms"].items()}
    noticed = {str(key): _at(at) for key, at in told["noticed"].items()}
    looked_at, awake_since = parse_instant(told["looked_at"]), parse_instant(told["awake_since"])
    took = timedelta(seconds=float(told.get("took", 0)))
    return Notebook(
        number=int(told["number"]),
        state=str(told["state"]),
        beaten=bool(told["beaten"]),
        memory=parse_instant(told.get("memory")),
        seen={str(name): Seen(_at(each["since"]), str(each["rhythm"])) for name, each in told["seen"].items()},
        alarms=Alarms(standing, noticed, looked_at, awake_since, took),
        posts=tuple(
            Post(
                str(each["key"]),
                str(each["level"]),
                str(each["title"]),
                str(each["body"]),
                _at(each["at"]),
                tuple(map(str, each["done"])),
                tuple(map(str, each["perhaps"])),
                tuple(map(str, each.get("about", ()))),
                int(each.get("earlier", 0)),
            )
            for each in told["posts"]
        ),
        not_before={str(name): _at(at) for name, at in told["not_before"].items()},
        team=dict(told["team"]),
    )


def _alarm(told: Mapping[str, Any]) -> Alarm:
    since, opened_at, told_at = (_at(told[name]) for name in ("since", "opened_at", "told_at"))
    return Alarm(Kind(told["kind"]), since, opened_at, told_at, str(told["mark"]))


def _stamp(instant: datetime | None) -> str | None:
    return None if instant is None else to_text(instant)


def _at(value: object) -> datetime:
    instant = parse_instant(value)
    if instant is None:
        raise ValueError("no instant where one belongs")
    return instant
