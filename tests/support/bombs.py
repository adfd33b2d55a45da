"""Everything that a beat does to store, world and channels, counted step by step, and stopped at any one of them.

A `Bomb` counts; `BombedStore`, `BombedWorld` and `BombedChannel` tell it of every step. What it does at its step is its
`fuse`: raise `Died`, kill the process, or let somebody else run for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from heartbeat.deadline import Deadline
from heartbeat.peers import Peers
from heartbeat.roster.model import Roster
from heartbeat.systems.base import TransportError
from heartbeat.systems.writing import Look, Written
from tests.support.scripted_writer import Died, Fault, ScriptedSystem, ScriptedWorld

WRITES = frozenset(
    {
        "accept_tombstone",
        "add_attempt",
        "add_log",
        "add_receipt",
        "advance_attempt",
        "claim_entry",
        "drop_breaker",
        "drop_clocks",
        "drop_hold",
        "drop_pause",
        "enqueue",
        "forget_before",
        "note_complete",
        "note_misses",
        "note_own",
        "note_sightings",
        "note_waiting",
        "put_breaker",
        "put_clocks",
        "put_hold",
        "put_incident",
        "put_letter",
        "put_pause",
        "put_rounds",
        "put_windows",
        "remember_links",
        "settle_entry",
    }
)
"""The store's methods that write; outside of a transaction each is a commit of its own."""


class Bomb:
    """Counts steps and lights its fuse at one of them; `at` None counts only.

    A fuse that raises `Died` has killed the process: from then on nothing works any more, as for the dead. With
    `deadly=False` the fuse lets the beat go on, and no effect is cut in two.
    """

    def __init__(self, at: int | None = None, fuse: Callable[[], None] | None = None, *, deadly: bool = True) -> None:
        self.at = at
        self.deadly = deadly
        self.steps: list[str] = []
        self.dead = False
        self._fuse = fuse or _die

    @property
    def is_next(self) -> bool:
        return self.at == len(self.steps)

    def alive(self) -> None:
        if self.dead:
            raise Died

    def step(self, name: str) -> None:
        self.alive()
        lit = self.is_next
        self.steps.append(name)
        if lit:
            try:
                self._fuse()
            except Died:
                self.dead = True
                raise


def _die() -> None:
    raise Died


class BombedStore:
    """A store whose commits are steps: before and after each, whether of a transaction or of a single write."""

    def __init__(self, store: Any, bomb: Bomb) -> None:
        self._store = store
        self._bomb = bomb
        self._inside = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._bomb.alive()
            if name not in WRITES or self._inside:
                return found(*arguments, **named)
            self._bomb.step(f"before {name}")
            result = found(*arguments, **named)
            self._bomb.step(f"after {name}")
            return result

        return call

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._bomb.step("before a transaction")
        with self._store.transaction():
            self._inside = True
            try:
                yield
                self._bomb.step("before the commit")
            finally:
                self._inside = False
        self._bomb.step("after the commit")


class BombedWriter:
    """A scripted system's writer whose looks and effects are steps, with one in the middle of each effect."""

    def __init__(self, system: ScriptedSystem, bomb: Bomb) -> None:
        self._system = system
        self._bomb = bomb

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def look(self, *arguments: Any) -> Look:
        self._bomb.step("before a look")
        look = self._system.look(*arguments)
        self._bomb.step("after a look")
        return look

    def apply(self, *arguments: Any) -> Written:
        self._bomb.step("before an effect")
        if self._bomb.is_next and self._bomb.deadly:
            self._system.fail_writes(Fault.HALF)
            with suppress(TransportError):
                self._system.apply(*arguments)
        self._bomb.step("amid an effect")
        written = self._system.apply(*arguments)
        self._bomb.step("after an effect")
        return written


class BombedWorld:
    """A world whose writers are bombed."""

    def __init__(self, world: ScriptedWorld, bomb: Bomb) -> None:
        self._world = world
        self._bomb = bomb

    def source(self, name: str, roster: Roster, environment: Mapping[str, str]) -> ScriptedSystem:
        return self._world.source(name, roster, environment)

    def writer(self, name: str, roster: Roster, environment: Mapping[str, str]) -> BombedWriter | None:
        system = self._world.writer(name, roster, environment)
        return None if system is None else BombedWriter(system, self._bomb)


class BombedChannel:
    """A channel that tells every letter's key to `sent`, with a step before and after."""

    address = "a postbox"
    seconds = 1.0

    def __init__(self, sent: Callable[[str], None], bomb: Bomb) -> None:
        self._sent = sent
        self._bomb = bomb

    def send(self, letter: Any, deadline: Deadline) -> str:
        self._bomb.step("before a letter")
        self._sent(letter.key)
        self._bomb.step("after a letter")
        return "kept"


def bombed_peers(
    world: ScriptedWorld, sent: Callable[[str], None], bomb: Bomb, pause: Callable[[float], None] = lambda seconds: None
) -> Peers:
    """The world, its writers and its channels, all bombed. `sent` is told the key of each letter."""
    bombed, channel = BombedWorld(world, bomb), BombedChannel(sent, bomb)
    return Peers(bombed.source, bombed.writer, lambda name, roster, environment: channel, pause)  # type: ignore[arg-type, return-value]
