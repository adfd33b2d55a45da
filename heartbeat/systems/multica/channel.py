"""The ways to one Multica, the API before the command, whatever is to be done there (contract 2). I/O only.

Who needs them brings its own access: a class for what it asks over an open connection, one for each way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from heartbeat.systems.base import Deadline
from heartbeat.systems.multica.api import ApiTransport
from heartbeat.systems.multica.cli import CommandTransport
from heartbeat.systems.multica.discovery import discover
from heartbeat.systems.multica.source import chosen_transport, live_transports

if TYPE_CHECKING:
    from heartbeat.systems.http import HttpClient

AccessT = TypeVar("AccessT")
AccessT_co = TypeVar("AccessT_co", covariant=True)


class Channel(Protocol[AccessT_co]):
    """One way to Multica."""

    @property
    def name(self) -> str: ...

    def absent(self) -> str | None:
        """Why there is no such way here; None where there is."""
        ...

    def open(self, deadline: Deadline) -> AbstractContextManager[AccessT_co]:
        """Raises TransportError."""
        ...


@dataclass(frozen=True, slots=True)
class ApiChannel(Generic[AccessT]):
    """Implements Channel over REST."""

    transport: ApiTransport
    access: Callable[[HttpClient], AccessT]

    @property
    def name(self) -> str:
        return self.transport.name

    def absent(self) -> str | None:
        return self.transport.absent()

    @contextmanager
    def open(self, deadline: Deadline) -> Iterator[AccessT]:
        with self.transport.open(deadline) as client:
            yield self.access(client)


@dataclass(frozen=True, slots=True)
class CommandChannel(Generic[AccessT]):
    """Implements Channel over the multica command."""

    transport: CommandTransport
    access: Callable[[CommandTransport, Deadline, str | None], AccessT]
    """Of the command, until when, and the workspace, where it has to be named."""

    @property
    def name(self) -> str:
        return self.transport.name

    def absent(self) -> str | None:
        return self.transport.absent()

    @contextmanager
    def open(self, deadline: Deadline) -> Iterator[AccessT]:
        yield self.access(self.transport, deadline, self.transport.workspace(deadline))


def channels(
    settings: Mapping[str, Any],
    environment: Mapping[str, str],
    over_api: Callable[[HttpClient], AccessT],
    over_command: Callable[[CommandTransport, Deadline, str | None], AccessT],
) -> tuple[Channel[AccessT], ...]:
    """Those that the roster's `sources.multica` allows, the best one first; none where it names a saved file.

    Raises UsageError.
    """
    chosen = chosen_transport(settings)
    if chosen == "file":
        return ()
    api, command = live_transports(settings, discover(settings, environment), environment)
    ways: dict[str, Channel[AccessT]] = {
        "api": ApiChannel(api, over_api),
        "cli": CommandChannel(command, over_command),
    }
    return tuple(ways.values()) if chosen == "auto" else (ways[chosen],)
