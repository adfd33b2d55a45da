"""What stands between a whole roster and its agents: the facts are gathered here, and judged by `reach`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from heartbeat.render import RenderResult
from heartbeat.roster.model import Agent, Roster
from heartbeat.sinks.migrated import migrated_file
from heartbeat.sinks.notes import read_notes
from heartbeat.sinks.reach import Facts, Remark, remarks
from heartbeat.sinks.visit import Visit

SOURCE = "workboard"
"""The source whose settings lead to OpenClaw."""


def expects_openclaw(roster: Roster) -> bool:
    """Whether the roster has to do with a running OpenClaw. With saved cards alone nobody's Gateway is looked for."""
    return SOURCE in roster.sources and roster.sources[SOURCE].get("transport") != "file"


def survey(
    team: Sequence[Agent],
    files: Mapping[str, RenderResult],
    seen: Visit | None,
    version: str | None,
    environment: Mapping[str, str],
    *,
    command: str,
    state: Path,
) -> dict[str, tuple[Remark, ...]]:
    """Agent id to remarks. `files` and `seen` are what was looked at; `version` is None where no OpenClaw answered.

    Reads AGENTS.md of each workspace, what OpenClaw keeps of files that it took away, and what is noted in the state
    directory of scratches that heartbeat wrote.
    """
    notes = read_notes(state, (agent.id for agent in team))
    scratches = {} if seen is None else {result.agent_id: result for result in seen.results}
    return {
        agent.id: remarks(
            Facts(
                agent=agent.id,
                version=version,
                file=files.get(agent.id),
                scratch=scratches.get(agent.id),
                agents_md="" if agent.workspace is None else _text(agent.workspace / "AGENTS.md"),
                migrated=migrated_file(agent.id, environment),
                command=command,
                note=notes.get(agent.id),
            )
        )
        for agent in team
    }


def _text(path: Path) -> str:
    """A file that is not there, or not for us to read, tells nobody anything."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:
        return ""
