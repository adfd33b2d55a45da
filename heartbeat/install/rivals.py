"""Schedules of other rosters: whether they beat for agents of ours, or for a roster that is not there any more.

Two rosters may well have an agent of the same id each, and two teams of one user are nobody's mistake. Two of them are
the same agent where they are the same to the systems: one Multica agent, one workspace, or one id on one Gateway.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from heartbeat.errors import HeartbeatError
from heartbeat.install.base import Order
from heartbeat.roster.model import Agent, Roster


class Foreign(Protocol):
    """What of another roster's schedule matters here. `agents` are those that it names; empty means everybody."""

    @property
    def target(self) -> str: ...

    @property
    def roster(self) -> Path | None: ...

    @property
    def agents(self) -> tuple[str, ...]: ...


def is_gone(roster: Path) -> bool:
    """Whether there is no such file; one that may not be looked at is there."""
    try:
        return stat.S_ISDIR(roster.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def shared(order: Order, other: Foreign, environment: Mapping[str, str]) -> tuple[dict[str, str], bool]:
    """By id, which of the order's agents another roster's schedule beats for, under the name that they have there; and
    whether that roster keeps its state where this one does. Nothing of a roster that is gone or cannot be read."""
    try:
        theirs = _load(other, environment)
    except HeartbeatError:
        theirs = None
    if theirs is None:
        return {}, False
    ours = order.roster
    there = [theirs.agents[name] for name in other.agents or tuple(theirs.agents) if name in theirs.agents]
    gateways = _gateway(ours, environment), _gateway(theirs, environment)
    common = _Common(gateways[0] is not None and gateways[0] == gateways[1], _asks(ours) and _asks(theirs))
    same = {agent.id: each.id for agent in ours.chosen(order.chosen) for each in there if _is_same(agent, each, common)}
    state = order.launch.state
    return same, theirs.state is not None and os.path.realpath(theirs.state) == os.path.realpath(state)


def remarks_on(others: Sequence[Foreign], ours: Roster, environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence about each schedule of a roster that is gone, or that cannot be read and so not be compared."""
    for other in others:
        if other.roster is None:
            continue
        if is_gone(other.roster):
            yield told_of_orphan(other)
            continue
        try:
            _load(other, environment)
        except HeartbeatError as error:
            names = [name for name in other.agents or tuple(ours.agents) if name in ours.agents]
            if names:
                reason = (str(error).splitlines() or ["it cannot be read"])[0]
                yield (
                    f"whether what {other.target} has on schedule for {other.roster} is for the same agents is not "
                    f"known: {reason}"
                )


def told_of_orphan(other: Foreign) -> str:
    """That somebody has to take it off, and how. A Gateway may serve other machines, where the roster is."""
    where = "not on this machine: where nobody needs it," if other.target == "openclaw" else "not there any more:"
    return (
        f"{other.target} has a schedule of {other.roster}, which is {where} "
        f"`heartbeat cron remove --roster {shlex.quote(str(other.roster))}` takes it off"
    )


def _load(other: Foreign, environment: Mapping[str, str]) -> Roster | None:
    """The other roster; None where it is gone."""
    if other.roster is None or is_gone(other.roster):
        return None
    from heartbeat.roster.load import load_roster
    from heartbeat.systems.registry import plug_in_names

    return load_roster(other.roster, environment, plug_in_sources=plug_in_names)


@dataclass(frozen=True, slots=True)
class _Common:
    """Which systems two rosters both read."""

    gateway: bool
    multica: bool


def _is_same(ours: Agent, theirs: Agent, common: _Common) -> bool:
    if common.gateway and ours.id == theirs.id:
        return True
    if common.multica and ours.multica_id and ours.multica_id.lower() == (theirs.multica_id or "").lower():
        return True
    both = ours.workspace is not None and theirs.workspace is not None
    return both and os.path.realpath(str(ours.workspace)) == os.path.realpath(str(theirs.workspace))


def _asks(roster: Roster) -> bool:
    """Whether it reads Multica itself, and no saved file."""
    settings = roster.sources.get("multica")
    return settings is not None and settings.get("transport") != "file"


def _gateway(roster: Roster, environment: Mapping[str, str]) -> str | None:
    """Where the roster's cards are: its Gateway's address; None where it reads no Gateway."""
    settings = roster.sources.get("workboard")
    if settings is None or settings.get("transport") == "file":
        return None
    from heartbeat.systems.openclaw.discovery import find_gateway

    try:
        found = find_gateway(environment, url=settings.get("url"), token_env=settings.get("token_env"))
    except HeartbeatError:
        return None
    return None if found is None else found.url
