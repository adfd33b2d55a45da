"""What `init` and `roster sync` found, as JSON and for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from heartbeat.instants import exact_duration
from heartbeat.plural import counted
from heartbeat.setup.begin import tried
from heartbeat.setup.discover import Look
from heartbeat.setup.drafts import Draft, LeftOut
from heartbeat.setup.drift import Changed, Drift
from heartbeat.setup.legacy import Said
from heartbeat.setup.scheduling import Coverage
from heartbeat.setup.sync import Comparison, Written


def system(look: Look[object]) -> dict[str, Any]:
    """How one system was asked."""
    return {
        "name": look.system,
        "transport": look.transport,
        "agents": len(look.agents),
        "tried": [
            {"transport": way.transport, "kind": way.kind.value if way.kind else None, "message": way.message}
            for way in look.tried
        ],
        "problems": list(look.problems),
    }


def agent(draft: Draft) -> dict[str, Any]:
    """An agent as drafted; `settings` are those that differ from its class's."""
    return {
        "id": draft.id,
        "name": draft.name or None,
        "class": draft.class_id,
        "why": draft.why,
        "multica_id": draft.multica_id or None,
        "workspace": draft.workspace or None,
        "settings": [
            {"setting": name, "value": _value(each.value), "why": each.why} for name, each in draft.settings.items()
        ],
        "patrol": draft.patrol,
        "checks": list(draft.checks),
        "notes": list(draft.notes),
    }


def left_out(each: LeftOut) -> dict[str, Any]:
    """Somebody who is only a comment."""
    return {
        "id": each.id or None,
        "name": each.name or None,
        "multica_id": each.multica_id or None,
        "workspace": each.workspace or None,
        "why": each.why,
    }


def _value(value: Said) -> Any:
    if isinstance(value, timedelta):
        return exact_duration(value)
    return list(value) if isinstance(value, tuple) else value


def sync_document(compared: Comparison, written: Written | None, covered: Sequence[Coverage]) -> dict[str, Any]:
    """`heartbeat.sync/1`."""
    drift = compared.drift
    return {
        "schema": "heartbeat.sync/1",
        "path": str(compared.path),
        "in_step": (written.left if written else drift).in_step,
        "systems": [system(look) for look in compared.found.looks],
        "unknown": list(drift.unknown),
        "missing": [agent(draft) for draft in drift.missing],
        "strangers": [left_out(each) for each in drift.strangers],
        "gone": list(drift.gone),
        "changed": [
            {"agent": each.agent, "key": each.key, "roster": each.roster or None, "actual": each.actual or None}
            | {"line": each.line, "why": each.why}
            for each in drift.changed
        ],
        "left_out": list(drift.left_out),
        "backup": str(written.backup) if written and written.backup else None,
        "paste": list(written.paste) if written else [],
        "schedule": [
            {"target": each.target, "covered": not (each.words or each.problem), "problem": each.problem or None}
            | {"command": _typed(each.words) if each.words else None}
            for each in covered
        ],
    }


def sync_lines(compared: Comparison, written: Written | None, covered: Sequence[Coverage]) -> Iterator[str]:
    """What differs, what was done about it, and what is left to do."""
    drift = compared.drift
    for look in compared.found.looks:
        for line in tried(look):
            yield f"{look.system}: {line}"
    yield from _not_in_use(compared)
    yield from _missing(drift)
    if drift.gone:
        yield "in the roster, and nowhere else:"
        yield from (f"  {name}  {compared.path}:{compared.line(name)}" for name in drift.gone)
    if drift.changed:
        yield "different:"
        yield from (f"  {_changed(each)}  {compared.path}:{each.line}" for each in drift.changed)
    if drift.left_out:
        yield f"left out on purpose: {', '.join(drift.left_out)}"
    if written is not None and written.backup is not None:
        yield f"{compared.path}: {written.told}, the old file is {written.backup}"
        yield from _schedule(covered, bool(drift.missing))
    elif written is not None and written.paste:
        yield f"{compared.path}: {written.told}"
        yield "paste these lines below `agents:` yourself, in the form that the file has:"
        yield from written.paste
    elif drift.in_step:
        yield f"{compared.path}: {counted(len(compared.roster.agents), 'agent')}, in step" + (
            " as far as is known" if drift.unknown else ""
        )
    elif drift.missing or drift.strangers:
        yield "`heartbeat roster sync --write` adds them"


def _not_in_use(compared: Comparison) -> Iterator[str]:
    """That Multica is not here, where somebody in the roster has a UUID of it."""
    multica = compared.found.multica
    number = sum(agent.multica_id is not None for agent in compared.roster.agents.values())
    if number and not multica.read and multica.system not in compared.drift.unknown:
        yield f"{multica.system}: not in use here, as nothing of it was found; {counted(number, 'UUID')} not compared"


def _missing(drift: Drift) -> Iterator[str]:
    if drift.missing:
        yield "not in the roster:"
    for draft in drift.missing:
        parts = (draft.id, draft.name, draft.class_id, draft.workspace, draft.multica_id)
        yield f"  {'  '.join(filter(None, parts))}"
    if drift.strangers:
        yield "not in the roster, and only to be named in a comment:"
    for each in drift.strangers:
        yield f"  {'  '.join(filter(None, (each.name or each.id, each.multica_id, each.why)))}"


def _changed(each: Changed) -> str:
    there = f"{each.actual} ({each.why})" if each.actual else f"none ({each.why})"
    return f"{each.agent}.{each.key}: {each.roster or 'none'} in the roster; {there}"


def _schedule(covered: Sequence[Coverage], added: bool) -> Iterator[str]:
    if added and not covered:
        yield "nothing is on schedule here: `heartbeat cron install` puts the team on one"
    for each in covered:
        if each.problem:
            yield f"what {each.target} has on schedule is not known: {each.problem}"
        elif each.words:
            yield f"{each.target} does not beat for the new agents yet: `{_typed(each.words)}`"
        else:
            yield f"{each.target} beats for the new agents too: its schedule is for everybody"


def _typed(words: Sequence[str]) -> str:
    return shlex.join(("heartbeat", *words))
