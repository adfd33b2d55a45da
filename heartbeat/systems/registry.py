"""Which sources there are. A new one is a package and one line: here, or in the entry-point group of a plug-in.

A factory takes the source's roster settings (checked plain data; a built-in source's paths are absolute), the roster
and the environment, and returns a `Source`, or a `Writer` for it. Plug-ins are looked up only for names that are not
built in, so that start-up stays quick. A plug-in without a writer can be read, and is only told about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from heartbeat.errors import UsageError
from heartbeat.roster.model import Roster
from heartbeat.systems.base import Source
from heartbeat.systems.writing import Writer, WriterFactory

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

ENTRY_POINT_GROUP = "heartbeat.sources"
WRITER_GROUP = "heartbeat.writers"

SourceFactory = Callable[[Mapping[str, Any], Roster, Mapping[str, str]], Source]

BUILT_IN = {
    "workboard": "heartbeat.systems.openclaw.source:build",
    "multica": "heartbeat.systems.multica.source:build",
    "todo": "heartbeat.systems.todo.source:build",
}
"""In source order: it decides a task's canonical key and breaks ties (rules M3, M5)."""

WRITERS = {
    "workboard": "heartbeat.systems.openclaw.writer:build",
    "multica": "heartbeat.systems.multica.writer:build",
    "todo": "heartbeat.systems.todo.writer:build",
}


def source_order(roster: Roster) -> tuple[str, ...]:
    """Names of the roster's sources: the built-in ones in their order, then plug-ins by name."""
    built_in = [name for name in BUILT_IN if name in roster.sources]
    return (*built_in, *sorted(name for name in roster.sources if name not in BUILT_IN))


def plug_in_names() -> tuple[str, ...]:
    """Names of installed third-party sources."""
    return tuple(sorted(point.name for point in _installed(ENTRY_POINT_GROUP)))


def build_source(name: str, roster: Roster, environment: Mapping[str, str]) -> Source:
    """The source called `name` with the roster's settings; raises UsageError where no such source is installed."""
    return _factory(name)(roster.sources[name], roster, environment)


def build_writer(name: str, roster: Roster, environment: Mapping[str, str]) -> Writer | None:
    """The writer of the source called `name`; None where it cannot be written to: no such writer, or a transport that
    only reads."""
    factory = _writer_factory(name)
    return None if factory is None else factory(roster.sources[name], roster, environment)


def _factory(name: str) -> SourceFactory:
    if name in BUILT_IN:
        return cast(SourceFactory, _attribute(BUILT_IN[name]))
    for point in _installed(ENTRY_POINT_GROUP):
        if point.name == name:
            return cast(SourceFactory, point.load())
    raise UsageError(
        f"no source called {name!r} is installed",
        advice=f"known sources: {', '.join((*BUILT_IN, *plug_in_names()))}; a plug-in registers itself in the "
        f"entry-point group {ENTRY_POINT_GROUP}",
    )


def _writer_factory(name: str) -> WriterFactory | None:
    if name in WRITERS:
        return cast(WriterFactory, _attribute(WRITERS[name]))
    for point in _installed(WRITER_GROUP):
        if point.name == name:
            return cast(WriterFactory, point.load())
    return None


def _installed(group: str) -> EntryPoints:
    """What plug-ins have registered; a beat without plug-ins need not load what finds them."""
    from importlib.metadata import entry_points

    return entry_points(group=group)


def _attribute(place: str) -> Any:
    """What `module:attribute` names; the module is imported now and not before."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
