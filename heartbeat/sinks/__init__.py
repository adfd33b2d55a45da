"""Where an agent's instructions go besides HEARTBEAT.md: the scratch of OpenClaw's monitor, the prompt of a turn."""

from __future__ import annotations

from enum import StrEnum


class Sink(StrEnum):
    """What `heartbeat render --sink` takes."""

    FILE = "file"
    """HEARTBEAT.md in the agent's workspace, which OpenClaw before 2026.8 reads by itself."""
    SCRATCH = "scratch"
    """The scratch of the agent's heartbeat monitor, which OpenClaw reads from 2026.8 on."""
    PROMPT = "prompt"
    """Standard output, for the message that starts a turn."""
