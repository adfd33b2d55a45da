"""Our block in the scratch of a monitor: what a write would do, or why it may not. Pure (rules B7, I5).

Stricter than for files: a block that was edited is left alone, for the agent itself may write its scratch during a
turn, and nothing but the database holds what it wrote.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from heartbeat.instants import exact_duration
from heartbeat.render import RenderState
from heartbeat.render.files import RECOMMENDED_SIZE, difference
from heartbeat.render.managed import Block, Foreign, find_block, merge_into, refusal
from heartbeat.systems.openclaw.scratch import Monitor, Scratch

_EDITED = "it was edited inside the heartbeat block, by the agent or by hand"
_KEEP_ADVICE = (
    "move what is worth keeping (outside the markers it stays) and repeat with --force: the old text is kept in the "
    "state directory"
)
_SHORTEN_ADVICE = "shorten the template, or what others wrote into the scratch"


@dataclass(frozen=True, slots=True)
class ScratchResult:
    """One agent's scratch: what is there and what would be. Nothing was written yet.

    `size` is the whole new text's bytes, `block_size` our block's. `problem` and `advice` say why a write is refused.
    `backup` says that a forced write keeps the old text. `ours` says that a block of this agent's is there now.
    """

    agent_id: str
    state: RenderState
    before: str | None = None
    after: str | None = None
    diff: str = ""
    size: int = 0
    block_size: int = 0
    warnings: tuple[str, ...] = ()
    problem: str = ""
    advice: str = ""
    backup: bool = False
    ours: bool = False
    monitor: Monitor | None = None
    revision: int = 0
    block: str = field(default="", repr=False)

    @property
    def place(self) -> str:
        """What messages call it."""
        return place_of(self.agent_id)

    @property
    def differs(self) -> bool:
        """Whether the scratch is anything but what a render gives: what `--check` reports."""
        return self.state is not RenderState.UNCHANGED

    @property
    def is_unread(self) -> bool:
        """Whether nothing is known of the scratch."""
        return self.state is RenderState.UNREAD

    @property
    def has_no_monitor(self) -> bool:
        """Whether OpenClaw keeps no scratch for the agent."""
        return self.monitor is None and not self.is_unread

    @property
    def is_polled(self) -> bool:
        """Whether the monitor is there and on, so that the scratch is read."""
        return self.monitor is not None and self.monitor.enabled

    @property
    def never_written(self) -> bool:
        """Whether nobody ever wrote the scratch: OpenClaw imports a HEARTBEAT.md only then (contract 5)."""
        return self.monitor is not None and self.revision == 0

    @property
    def rhythm(self) -> str:
        """How often it is read, each time by a turn of the model; empty where that is not known, or never."""
        if self.monitor is None or not self.is_polled or self.monitor.every is None:
            return ""
        return f"a model turn every {exact_duration(self.monitor.every)}"


def place_of(agent_id: str) -> str:
    """What messages call an agent's scratch."""
    return f"monitor scratch of {agent_id}"


def plan_scratch(
    agent_id: str, block: str, monitor: Monitor, scratch: Scratch, *, force: bool = False
) -> ScratchResult:
    """What writing `block` (markers included, no newline at its end) into this scratch would do."""
    found = None if scratch.content is None else find_block(scratch.content)
    reason = _refusal(found, agent_id)
    merged = merge_into(scratch.content, block, agent_id=agent_id, force=True)
    size = len(merged.encode("utf-8", "surrogatepass"))
    too_large = size > scratch.limit
    problem = f"{size} bytes, and OpenClaw takes at most {scratch.limit}" if too_large else "" if force else reason
    return ScratchResult(
        agent_id=agent_id,
        state=RenderState.UNWRITABLE if too_large else _state(scratch.content, merged, found, agent_id),
        before=scratch.content,
        after=merged,
        diff=difference(place_of(agent_id), scratch.content or "", merged),
        size=size,
        block_size=len(block.encode()) + 1,
        warnings=tuple(_warnings(agent_id, monitor, size)),
        problem=f"{place_of(agent_id)}: {problem}" if problem else "",
        advice="" if not problem else _SHORTEN_ADVICE if too_large else _KEEP_ADVICE,
        backup=bool(reason),
        ours=isinstance(found, Block) and found.agent_id == agent_id,
        monitor=monitor,
        revision=scratch.revision,
        block=block,
    )


def without_monitor(agent_id: str) -> ScratchResult:
    """The result for an agent for whom OpenClaw keeps no monitor (contract 5)."""
    return ScratchResult(
        agent_id,
        RenderState.UNWRITABLE,
        problem=f"OpenClaw keeps no heartbeat monitor for {agent_id}: there is no scratch to write",
        advice=f'give it one in openclaw.json, agents.entries.{agent_id}.heartbeat: {{every: "30m"}} (each poll is a '
        "model turn, and only agents with such a block are polled then); or use --sink file, and name the file in "
        "AGENTS.md",
    )


def unread(agent_id: str, problem: str, advice: str) -> ScratchResult:
    """The result for an agent whose scratch could not be looked at."""
    return ScratchResult(agent_id, RenderState.UNREAD, problem=problem, advice=advice)


def _refusal(found: Block | Foreign | None, agent_id: str) -> str:
    edited = isinstance(found, Block) and found.edited
    return refusal(found, agent_id) or (_EDITED if edited else "")


def _state(before: str | None, after: str, found: Block | Foreign | None, agent_id: str) -> RenderState:
    if refusal(found, agent_id):
        return RenderState.FOREIGN
    if found is None:
        return RenderState.CREATED
    if isinstance(found, Block) and found.edited:
        return RenderState.DRIFTED
    return RenderState.UNCHANGED if before == after else RenderState.UPDATED


def _warnings(agent_id: str, monitor: Monitor, size: int) -> list[str]:
    told = []
    if not monitor.enabled:
        told.append(
            f"{place_of(agent_id)}: the monitor is switched off (heartbeat.every in openclaw.json), and nobody reads it"
        )
    if size > RECOMMENDED_SIZE:
        told.append(
            f"{place_of(agent_id)}: {size} bytes, more than the {RECOMMENDED_SIZE} that it should have: every poll "
            "puts all of it before the model"
        )
    return told
