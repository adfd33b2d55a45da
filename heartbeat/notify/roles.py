"""Who hears of a message: roles to agents and channels (rules L2, L3, O3). Pure.

An agent is told in its inbox, on top of its next worklist; the operator through channels. Nothing is addressed to
nobody: what no channel of the operator takes goes to the coo's inbox, and without a coo to that of the first patrol
agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from heartbeat.action import Level, Message
from heartbeat.roster.model import Roster
from heartbeat.store.port import Entry, EntryKind
from heartbeat.task import Finding, Owner, OwnerKind

COO = "coo"


@dataclass(frozen=True, slots=True)
class Recipient:
    """An agent's inbox or a channel. No agent and channel of a roster share a name."""

    kind: EntryKind
    name: str


def addressed(message: Message, roster: Roster, now: datetime) -> tuple[Entry, ...]:
    """One outbox entry a recipient, due now. Its key is the message's and the recipient's name, so that whoever is
    named by several roles, or told again, hears it once.

    The payload is plain JSON: `title`, `body`, `level`, `task`, `incident`, and `to`, the roles as they were written.
    """
    payload = {
        "title": message.title,
        "body": message.body,
        "level": message.level.value,
        "task": message.task,
        "incident": message.incident,
        "to": list(message.to),
    }
    return tuple(
        entry_for(recipient, message.key, payload, now, task=message.task, incident=message.incident)
        for recipient in recipients(message, roster)
    )


def entry_for(
    recipient: Recipient,
    message_key: str,
    payload: Mapping[str, Any],
    now: datetime,
    *,
    task: str = "",
    incident: str = "",
) -> Entry:
    """What stands in the outbox for one message and one recipient."""
    return Entry(
        key=key_for(message_key, recipient.name),
        kind=recipient.kind,
        target=recipient.name,
        payload=payload,
        created_at=now,
        due_at=now,
        task=task,
        incident=incident,
    )


def key_for(message_key: str, recipient: str) -> str:
    """The outbox key of one message for one recipient."""
    return f"{message_key}/{recipient}"


def message_key(entry: Entry) -> str:
    """The message's own key, of an entry that `entry_for` made."""
    return entry.key.removesuffix(f"/{entry.target}")


def level_of(entry: Entry) -> Level:
    """How urgent a message in the outbox is; one of an unknown level is taken as a warning."""
    try:
        return Level(str(entry.payload.get("level")))
    except ValueError:
        return Level.WARNING


def recipients(message: Message, roster: Roster) -> tuple[Recipient, ...]:
    """Everybody whom the roles of a message mean, each once, in the order of the roles.

    A channel that stands in the roles itself hears only what its `min_level` lets through.
    """
    found: dict[Recipient, None] = {}
    for role in message.to:
        found.update(dict.fromkeys(_meant(role, message, roster)))
    return tuple(found)


def successors(roster: Roster, failed: str, level: Level) -> tuple[Recipient, ...]:
    """Who is told what a channel could not deliver: the operator's other channels in order, then the coo's inbox."""
    others = (one for one in _operator_channels(roster, level) if one.name != failed)
    return (*others, *_watcher(roster))


def findings(roster: Roster) -> tuple[Finding, ...]:
    """What a person should know of whom messages can reach."""
    if roster.operator.notify:
        return ()
    instead = next((f"the inbox of {one.name}" for one in _watcher(roster)), "nobody")
    message = f"no channel leads to the operator; what is meant for the operator goes to {instead}: set operator.notify"
    return (Finding("operator-unreachable", message),)


def _meant(role: str, message: Message, roster: Roster) -> tuple[Recipient, ...]:
    match role:
        case "self":
            return _owner(message.owner, message.level, roster)
        case "creator":
            return _owner(message.creator, message.level, roster)
        case "operator":
            return _operator(roster, message.level)
        case _ if role in roster.channels:
            return (Recipient(EntryKind.MESSAGE, role),) if _takes(roster, role, message.level) else ()
        case _:
            return _agent(role, message.level, roster)


def _owner(owner: Owner, level: Level, roster: Roster) -> tuple[Recipient, ...]:
    """A person is reached through the operator; who is nobody, or unknown here, through the coo."""
    if owner.kind is OwnerKind.PERSON:
        return _operator(roster, level)
    return _agent(owner.id, level, roster)


def _agent(name: str, level: Level, roster: Roster) -> tuple[Recipient, ...]:
    known = next((agent for agent in (name, COO) if agent in roster.agents), None)
    return _operator(roster, level) if known is None else (Recipient(EntryKind.INBOX, known),)


def _operator(roster: Roster, level: Level) -> tuple[Recipient, ...]:
    return _operator_channels(roster, level) or _watcher(roster)


def _operator_channels(roster: Roster, level: Level) -> tuple[Recipient, ...]:
    names = dict.fromkeys(roster.operator.notify)
    return tuple(Recipient(EntryKind.MESSAGE, name) for name in names if _takes(roster, name, level))


def _takes(roster: Roster, channel: str, level: Level) -> bool:
    settings = roster.channels.get(channel)
    return settings is not None and Level(settings.get("min_level", Level.INFO)).rank <= level.rank


def _watcher(roster: Roster) -> tuple[Recipient, ...]:
    """The last resort: the coo, else the first patrol agent, else the first agent of all."""
    patrols = (agent.id for agent in roster.agents.values() if agent.patrol)
    names = (*((COO,) if COO in roster.agents else ()), *patrols, *roster.agents)
    return tuple(Recipient(EntryKind.INBOX, name) for name in names[:1])
