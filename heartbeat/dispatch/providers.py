"""The roster's providers and its failover settings, as the rules want them (rules F1, F2).

The providers may stand in a file of their own, YAML or JSON: a list, or a mapping with the one key `providers`. Its
entries are those of the roster, so that a list of `{name, priority, max_retries, timeout_sec, enabled}` is read as it
is.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heartbeat.attempt import Engine
from heartbeat.breaker import Rules
from heartbeat.errors import RosterError, UsageError
from heartbeat.provider import MULTICA_NATIVE, NATIVE, RUN_DEADLINE, Failover, Provider, Strategy
from heartbeat.roster.model import Roster

if TYPE_CHECKING:
    from heartbeat.roster.document import Document

RESERVED = frozenset({NATIVE, MULTICA_NATIVE, *Engine})
"""Names under which a breaker stands that is not one model's."""

AFTER_THE_RUN = timedelta(minutes=5)
"""How much longer than the longest turn a probe is waited for: a turn is collected by a beat, not at its end."""

_SECTION = "providers"
_KEYS = frozenset(field.name for field in fields(Provider))


def failover_of(roster: Roster, environment: Mapping[str, str]) -> Failover:
    """What the roster says of failover, complete; somebody in it is enabled.

    With `native` it is one provider, `native`, whose numbers are those of the first enabled one that is configured.
    Raises RosterError for mistakes in a file of providers, as `path:line:column: what, and the mend`, and UsageError
    where that file cannot be read, where `managed` has nobody to ask, or where a provider has a reserved name.
    """
    settings: Mapping[str, Any] = roster.extra.get("failover") or {}
    strategy = Strategy(settings.get("strategy", Strategy.NATIVE))
    configured = roster.extra.get(_SECTION) or ()
    origin = configured if isinstance(configured, Path) else roster.path
    providers = _in_order(_read(configured, environment) if isinstance(configured, Path) else configured)
    chosen = _managed(providers, origin) if strategy is Strategy.MANAGED else (_native(providers),)
    return Failover(strategy, chosen, _rules(settings, chosen))


def rules_of(roster: Roster) -> Rules:
    """The breakers' numbers alone, as far as they stand in the roster itself: its providers may not be readable."""
    return _rules(roster.extra.get("failover") or {}, ())


def _in_order(entries: Iterable[Mapping[str, Any]]) -> tuple[Provider, ...]:
    """By priority; those of one priority as they are written."""
    providers = (Provider(**{"model": entry["name"], **_known(entry)}) for entry in entries)
    return tuple(sorted(providers, key=lambda provider: provider.priority))


def _known(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name in _KEYS}


def _native(providers: Iterable[Provider]) -> Provider:
    first = next((each for each in providers if each.enabled), Provider(NATIVE))
    return replace(first, name=NATIVE, model="", priority=1)


def _managed(providers: tuple[Provider, ...], origin: Path) -> tuple[Provider, ...]:
    taken = [each.name for each in providers if each.name in RESERVED]
    if taken:
        raise UsageError(
            f"{origin}: no provider can be called {taken[0]}: heartbeat keeps a record of its own under that name",
            advice="give it another name; `model` says which model it stands for",
        )
    if not any(each.enabled for each in providers):
        raise UsageError(
            f"{origin}: `failover.strategy` is managed, and no provider is {'enabled' if providers else 'configured'}",
            advice="enable one under `providers`, or write `strategy: native` to leave models to OpenClaw",
        )
    return providers


def _rules(settings: Mapping[str, Any], providers: Iterable[Provider]) -> Rules:
    """The roster's numbers; a probe is given up later where turns may last longer."""
    usual = Rules()
    longest = max((each.run_deadline for each in providers), default=RUN_DEADLINE) + AFTER_THE_RUN
    return replace(
        usual,
        open_after=settings.get("open_after", usual.open_after),
        open_for=settings.get("open_for", usual.open_for),
        open_for_at_most=settings.get("open_for_at_most", usual.open_for_at_most),
        probe_for=max(usual.probe_for, longest),
    )


def _read(path: Path, environment: Mapping[str, str]) -> tuple[Mapping[str, Any], ...]:
    """The entries of a file of providers, checked as those of the roster are. Raises RosterError, UsageError."""
    from heartbeat.roster.document import read_document
    from heartbeat.roster.expansion import Expansion
    from heartbeat.roster.sections import Notes, check_sections

    document = _as_section(read_document(_content(path)))
    notes = Notes(document)
    entries: Any = ()
    if isinstance(document.data[_SECTION], list):
        entries = check_sections(document, notes, Expansion(environment, path.parent), tuple).providers
    elif not document.problems:
        notes.at_value((_SECTION,), "a file of providers is a list of them, or a mapping with the one key `providers`")
    problems = sorted({*document.problems, *notes.problems})
    if problems:
        raise RosterError(tuple(f"{path}:{each.mark.line}:{each.mark.column}: {each.message}" for each in problems))
    return tuple(entries)


def _as_section(document: Document) -> Document:
    """The same text as if it stood in a roster under `providers`, where every value knows its place in this file."""
    data = document.data
    if isinstance(data, dict) and set(data) == {_SECTION}:
        return document
    return replace(
        document,
        data={_SECTION: data},
        keys={(_SECTION, *place): mark for place, mark in document.keys.items()},
        values={(_SECTION, *place): mark for place, mark in document.values.items()},
        refused={(_SECTION, *place) for place in document.refused},
    )


def _content(path: Path) -> bytes:
    from heartbeat.roster.document import MAX_BYTES

    advice = "save the providers there, or correct `providers` in the roster"
    try:
        # Looked at before it is opened: to open a FIFO waits, and to open a device may do something.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"the providers {path} are not a file", advice=advice)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"the providers {path} cannot be read: {reason}", advice=advice) from error
