"""The same instructions as the text of a message: for a spawn, a job of one's own, a conversation. Pure but for the
template that is read."""

from __future__ import annotations

from pathlib import Path

from heartbeat.render import render_blocks
from heartbeat.render.managed import body_of
from heartbeat.roster.model import Agent, Roster


def prompt_text(roster: Roster, agent: Agent, *, template: Path | None = None, command: str = "heartbeat") -> str:
    """What HEARTBEAT.md holds, without the markers: nobody compares a message later. Ends with a newline.

    Raises UsageError (`path:line: what`) for a template that is wrong.
    """
    return body_of(render_blocks(roster, (agent,), template=template, command=command)[agent.id])
