"""Whether what was rendered reaches the agent: which text this OpenClaw reads, what stands there, what became of the
file. Pure.

Before 2026.8 OpenClaw reads HEARTBEAT.md. From then on it reads the scratch of the agent's monitor, if it has one, and
the file only where AGENTS.md tells the agent to (contract 5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from heartbeat.instants import to_text
from heartbeat.render import DIFFERS, RenderResult, RenderState
from heartbeat.render.managed import Block, find_block
from heartbeat.sinks.migrated import Migrated
from heartbeat.sinks.notes import Note
from heartbeat.sinks.scratch import ScratchResult
from heartbeat.systems.openclaw.scratch import reads_scratch

FILE, SCRATCH = "HEARTBEAT.md", "monitor scratch"
"""What a remark is about."""

_NAMES_THE_FILE = re.compile(r"HEARTBEAT\.md")
_TELLS_THE_AGENT = re.compile(r"HEARTBEAT\.md|heartbeat worklist")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one agent's instructions.

    `version` is OpenClaw's, None where no OpenClaw answered. `file` is None where the agent has no workspace to look
    at, `scratch` where nobody looked at it. `agents_md` is the text of its AGENTS.md. `migrated` is the file's copy
    where `openclaw doctor --fix` took it away. `command` is what to type for `heartbeat` with this roster. `note` says
    that heartbeat wrote the scratch once.
    """

    agent: str
    version: str | None
    file: RenderResult | None
    scratch: ScratchResult | None
    agents_md: str
    migrated: Migrated | None
    command: str
    note: Note | None = None

    @property
    def file_is_there(self) -> bool:
        """Whether there is a file, ours or not."""
        return self.file is not None and self.file.before is not None

    @property
    def file_is_missing(self) -> bool:
        """Whether there could be a file, and is none."""
        return self.file is not None and self.file.state is RenderState.CREATED and self.file.before is None

    @property
    def scratch_is_overwritten(self) -> bool:
        """Whether heartbeat wrote the scratch, and what stands there now has none of our markers."""
        scratch = self.scratch
        return scratch is not None and scratch.monitor is not None and self.note is not None and not scratch.ours

    @property
    def scratch_is_meant(self) -> bool:
        """Whether it is the scratch that the agent is to be given its instructions by."""
        scratch = self.scratch
        return scratch is not None and scratch.is_polled and (scratch.ours or self.scratch_is_overwritten)

    @property
    def scratch_serves(self) -> bool:
        """Whether the agent is given what the roster says now, by its monitor."""
        scratch = self.scratch
        return scratch is not None and scratch.is_polled and scratch.state is RenderState.UNCHANGED


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that keeps the instructions from the agent (`serious`), or will, with what to do. `code` is one of
    `file-differs`, `file-taken`, `file-unread`, `file-in-danger`, `two-texts`, `scratch-differs`,
    `scratch-overwritten`, `monitor-off`."""

    code: str
    subject: str
    serious: bool
    message: str
    advice: str


def remarks(facts: Facts) -> tuple[Remark, ...]:
    """Everything that is to be said about one agent, the most important first."""
    return (*_file(facts), *_scratch(facts), *_reading(facts))


def _file(facts: Facts) -> Iterator[Remark]:
    """What is wrong with the file itself."""
    plan = facts.file
    if plan is None or not plan.differs:
        return
    if not facts.file_is_missing:
        told = plan.problem or DIFFERS[plan.state.value]
        if facts.scratch is not None and facts.scratch.ours and not facts.scratch.differs:
            told += "; the monitor's scratch is up to date, and says something else"
        yield Remark("file-differs", FILE, True, told, _advice(facts, plan.advice))
        return
    named = _NAMES_THE_FILE.search(facts.agents_md) is not None
    if facts.migrated is not None:
        yield _taken(facts, facts.migrated, named)
    elif named or not facts.scratch_is_meant:
        yield Remark("file-differs", FILE, True, DIFFERS[plan.state.value], _advice(facts, plan.advice))


def _advice(facts: Facts, given: str) -> str:
    return given or f"{facts.command} render {facts.agent}"


def _taken(facts: Facts, migrated: Migrated, named: bool) -> Remark:
    """`openclaw doctor --fix` moved the file into the scratch."""
    render = f"{facts.command} render {facts.agent}"
    told = f"`openclaw doctor --fix` took it away ({to_text(migrated.at)}) and keeps it as {migrated.copy}"
    scratch = facts.scratch
    if scratch is None or scratch.state is RenderState.UNREAD:
        told += "; what the monitor's scratch holds now was not looked at"
    elif not scratch.ours:
        told += "; the monitor's scratch does not hold it any more"
    elif scratch.state is RenderState.UNCHANGED:
        told += "; the monitor's scratch holds the same, and is up to date"
    else:
        told += f"; the monitor's scratch has its text, {DIFFERS[scratch.state.value]}"
    if facts.scratch_serves and not named:
        return Remark("file-taken", FILE, False, told, f"from now on `{_into_scratch(facts)}`")
    if named:
        told += "; AGENTS.md tells the agent to read the file"
    if scratch is not None and scratch.has_no_monitor:
        advice = f"the file again: `{render}`; the agent has no monitor any more, whose scratch could hold it"
    else:
        advice = f"{_mend(facts)}, and name no HEARTBEAT.md in AGENTS.md; or the file again: `{render}`"
    return Remark("file-taken", FILE, True, told, advice)


def _into_scratch(facts: Facts) -> str:
    return f"{facts.command} render {facts.agent} --sink scratch"


def _or_scratch(facts: Facts) -> str:
    """The other way, where there is one: OpenClaw keeps a scratch only for an agent that has a monitor."""
    scratch = facts.scratch
    if scratch is not None and scratch.has_no_monitor:
        return ""
    where = "" if scratch is not None and scratch.monitor is not None else " if it has one,"
    return (
        f"; or write the scratch of its monitor,{where} which is a model turn at every poll: `{_into_scratch(facts)}`"
    )


def _mend(facts: Facts) -> str:
    """How the scratch becomes what the roster gives. Nobody is told to force what was never ours."""
    state = None if facts.scratch is None else facts.scratch.state
    if state is RenderState.DRIFTED or (state is RenderState.FOREIGN and facts.scratch_is_overwritten):
        return f"`{_into_scratch(facts)} --force` (the old text is kept in the state directory)"
    return f"`{_into_scratch(facts)}`"


def _scratch(facts: Facts) -> Iterator[Remark]:
    """What is wrong with our block in the scratch; a scratch that only others wrote is theirs."""
    scratch = facts.scratch
    if scratch is None:
        return
    if facts.scratch_is_overwritten and not (facts.file_is_missing and facts.migrated is not None):
        yield _overwritten(facts, scratch)
    if not scratch.ours:
        return
    if scratch.differs and _contradict(facts):
        told = f"HEARTBEAT.md and the scratch say different things: the scratch is {DIFFERS[scratch.state.value]}"
        yield Remark("two-texts", SCRATCH, True, told, _mend(facts))
    elif scratch.differs and facts.migrated is None:
        told = scratch.problem or DIFFERS[scratch.state.value]
        yield Remark("scratch-differs", SCRATCH, True, told, _mend(facts))
    if scratch.monitor is not None and not scratch.monitor.enabled:
        told = "the agent's heartbeat is switched off in OpenClaw, and nobody reads its scratch"
        advice = (
            f"agents.entries.{facts.agent}.heartbeat.every in openclaw.json, or `--sink file` and a line in AGENTS.md"
        )
        yield Remark("monitor-off", SCRATCH, True, told, advice)


def _overwritten(facts: Facts, scratch: ScratchResult) -> Remark:
    """Our block is gone with its markers: most likely the agent itself dropped it in a turn."""
    empty = scratch.state is RenderState.CREATED
    now = "it is empty now" if empty else "it was rewritten without our block: the agent itself may do so in a turn"
    meant = "" if facts.note is None else f"; or, if it is meant so, delete {facts.note.path}"
    return Remark("scratch-overwritten", SCRATCH, True, f"heartbeat wrote it, and {now}", f"{_mend(facts)}{meant}")


def _contradict(facts: Facts) -> bool:
    """Whether file and scratch hold blocks of ours that are not the same."""
    file = "" if facts.file is None else (facts.file.before or b"").decode("utf-8", "surrogateescape")
    blocks = [_block_in(file), _block_in((facts.scratch and facts.scratch.before) or "")]
    return None not in blocks and blocks[0] != blocks[1]


def _block_in(text: str) -> str | None:
    found = find_block(text)
    return text[found.start : found.stop].replace("\r\n", "\n") if isinstance(found, Block) else None


def _reading(facts: Facts) -> Iterator[Remark]:
    """Whether anything reads the file, and for how long it will be there."""
    if facts.version is None or not reads_scratch(facts.version) or facts.file is None or facts.scratch_serves:
        return
    gone = facts.file_is_missing and (facts.migrated is not None or facts.scratch_is_meant)
    if not gone and _TELLS_THE_AGENT.search(facts.agents_md) is None:
        yield Remark(
            "file-unread",
            FILE,
            True,
            f"OpenClaw {facts.version} does not read it by itself, and AGENTS.md does not mention it",
            f"add a line to AGENTS.md: at every heartbeat read HEARTBEAT.md and run `{facts.command} worklist "
            f"{facts.agent}`{_or_scratch(facts)}",
        )
    scratch = facts.scratch
    if facts.file_is_there and scratch is not None and scratch.is_polled and scratch.never_written:
        yield Remark(
            "file-in-danger",
            FILE,
            False,
            "the next `openclaw doctor --fix` moves it into the scratch of the agent's monitor",
            "render it again after that, or keep it elsewhere: `--out DIR`, and that path in AGENTS.md",
        )
