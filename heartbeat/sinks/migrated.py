"""What `openclaw doctor --fix` did with a HEARTBEAT.md: from 2026.8 on it imports the file into the scratch of the
agent's monitor, keeps a copy below OpenClaw's state directory and removes the file (contract 5, 10).

It does so only where the agent's monitor is on and its scratch was never written, or holds the very same text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from heartbeat.render.managed import Block, find_block
from heartbeat.systems.openclaw.discovery import state_directory

_FOLDER = Path("backups", "heartbeat-migration")
_LARGEST = 256 * 1024
"""The most bytes that OpenClaw imports."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """OpenClaw's copy of a file of ours, and when it made it."""

    copy: Path
    at: datetime


def migrated_file(agent: str, environment: Mapping[str, str]) -> Migrated | None:
    """The newest of the agent's files that holds our block; None where there is none, or where OpenClaw's state
    directory is not within this user's reach."""
    folder = state_directory(environment) / _FOLDER
    try:
        # The name goes on with the SHA-256 of the text. Beside each copy the file itself lies in a folder of its own.
        copies = [path for path in folder.glob("*.md") if _is_copy(path.name, agent) and path.is_file()]
        dated = sorted(((path.stat().st_mtime, path) for path in copies), reverse=True)
        for seconds, path in dated:
            with path.open("rb") as file:
                block = find_block(file.read(_LARGEST).decode("utf-8", "surrogateescape"))
            if isinstance(block, Block) and block.agent_id == agent:
                return Migrated(path, datetime.fromtimestamp(seconds, UTC))
    except OSError:
        return None
    return None


def _is_copy(name: str, agent: str) -> bool:
    return re.fullmatch(re.escape(agent) + r"-[0-9a-f]{64}\.md", name) is not None
