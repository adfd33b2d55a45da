"""Whose card it is (rule S6a; claims by contract 1.4). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from heartbeat.instants import parse_instant
from heartbeat.roster.model import Roster
from heartbeat.systems.openclaw.shape import text_or_none
from heartbeat.task import NOBODY, Owner, OwnerKind

GRACE = timedelta(minutes=5)
"""A running card stays claimed for this long after its claim has expired (contract 1.4)."""

_SESSION = re.compile(r"agent:([^:]+):.*", re.DOTALL)
_PERSON = re.compile(r"(?:user|human|person):.+|[^@\s]+@[^@\s]+\.[^@\s]+")


@dataclass(frozen=True, slots=True)
class Team:
    """Who is who: the roster's agent ids by their folded form, and the person in charge."""

    agents: Mapping[str, str]
    operator: str = ""

    @classmethod
    def of(cls, roster: Roster) -> Team:
        agents = {agent_id.casefold(): agent_id for agent_id in roster.agents}
        return cls(agents, roster.operator.name.strip().casefold())

    def owner(self, name: str) -> Owner:
        """An owner by the name that a card gives: an agent id, a session key of one, a person, or an unknown agent."""
        stripped = name.strip()
        session = _SESSION.fullmatch(stripped)
        stripped = session.group(1) if session else stripped
        folded = stripped.casefold()
        if not folded:
            return NOBODY
        if folded in self.agents:
            return Owner(OwnerKind.AGENT, self.agents[folded])
        is_person = folded == self.operator or _PERSON.fullmatch(folded) is not None
        return Owner(OwnerKind.PERSON if is_person else OwnerKind.AGENT, stripped)


def owner_of(
    record: Mapping[str, Any], claim: Mapping[str, Any], *, running: bool, now: datetime, team: Team
) -> tuple[Owner, bool]:
    """The live claim's owner, else the assigned agent, else nobody; and whether there is a live claim."""
    claimant = text_or_none(claim, "ownerId")
    if claimant is not None and is_live(claim, running, now):
        return team.owner(claimant), True
    assigned = text_or_none(record, "agentId") or text_or_none(record, "agent_id")
    return (team.owner(assigned) if assigned else NOBODY), False


def is_live(claim: Mapping[str, Any], running: bool, now: datetime) -> bool:
    """Whether a claim still holds its card. One that does not say when it ends does not end."""
    expires_at = parse_instant(claim.get("expiresAt"))
    return expires_at is None or now < expires_at + (GRACE if running else timedelta(0))
