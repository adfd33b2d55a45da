"""From roster to files: what would change (a plan that touches nothing), and carrying it out (rules B7, I5).

A file is read as bytes and replaced as a whole: a temporary file beside it, fsync, rename, fsync of the directory.
"""

from __future__ import annotations

import difflib
import errno
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from heartbeat.errors import CannotWriteError, UsageError
from heartbeat.render.confined import Limits
from heartbeat.render.managed import (
    OVERWRITE_ADVICE,
    Block,
    enclose,
    find_block,
    forges_marker,
    merge_into,
    refusal,
)
from heartbeat.render.replace import LINK_ADVICE, advice_for, keep_backup, read_regular, replace_file
from heartbeat.render.template import TemplateFile, default_template, read_template, render_texts
from heartbeat.render.values import values_of
from heartbeat.roster.model import Agent, Roster

FILE_NAME = "HEARTBEAT.md"

RECOMMENDED_SIZE = 5 * 1024
"""Bytes that a heartbeat file should stay under: every beat pays for them (template v2.0's context rule)."""


class RenderState(StrEnum):
    """What a write would do to the file, or why it would not."""

    UNCHANGED = "unchanged"
    CREATED = "created"
    UPDATED = "updated"
    DRIFTED = "drifted"
    """Our block was edited by hand; a write replaces it."""
    FOREIGN = "foreign"
    """Not ours, or its markers are broken: refused without force."""
    UNWRITABLE = "unwritable"
    """There is no place for it: no workspace, a link that leaves it, not a regular file. Force does not help."""
    UNREAD = "unread"
    """What is there could not be looked at, so that nothing is known of it."""


DIFFERS = {
    "created": "missing",
    "updated": "out of date",
    "drifted": "edited by hand inside the heartbeat block",
    "foreign": "not written by heartbeat",
    "unwritable": "cannot be written",
    "unread": "could not be looked at",
}
"""What a render state means for what is there."""


@dataclass(frozen=True, slots=True)
class RenderResult:
    """One agent's file: what is there and what would be. Nothing was written yet.

    `size` is the whole new file's bytes, `block_size` our block's. `problem` and `advice` say why a write is refused.
    `backup` says that a forced write keeps the old file.
    """

    agent_id: str
    path: Path
    """The file itself: where the name in the workspace is a symbolic link, what it points to."""
    state: RenderState
    before: bytes | None
    after: bytes | None
    diff: str
    size: int
    block_size: int
    warnings: tuple[str, ...] = ()
    problem: str = ""
    advice: str = ""
    backup: bool = False
    make_directory: bool = False

    @property
    def place(self) -> str:
        """What messages call it."""
        return str(self.path)

    @property
    def differs(self) -> bool:
        """Whether the file is anything but what a render gives: what `--check` reports."""
        return self.state is not RenderState.UNCHANGED


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: nothing where `changed` is false."""

    path: Path
    changed: bool
    backup: Path | None = None


def render_agent(
    roster: Roster,
    agent: Agent,
    *,
    template: Path | None = None,
    command: str = "heartbeat",
    limits: Limits | None = None,
) -> str:
    """The agent's whole block, markers included, LF, ending in a newline. Reads the template, writes nothing.

    The template is `template`, else the agent's, else the roster's, else the one that comes with heartbeat.
    Raises UsageError (`path:line: what`) for a template that is wrong.
    """
    return render_blocks(roster, (agent,), template=template, command=command, limits=limits)[agent.id] + "\n"


def plan_render(
    roster: Roster,
    agents: Sequence[Agent],
    *,
    template: Path | None = None,
    command: str = "heartbeat",
    out: Path | None = None,
    force: bool = False,
    limits: Limits | None = None,
) -> list[RenderResult]:
    """What rendering these agents would write, in their order; touches nothing.

    The file is HEARTBEAT.md of the agent's workspace, or DIR/<agent id>/HEARTBEAT.md with `out`. A file that must not
    be written is a result with a `problem`, so that one agent does not stop the others. Raises UsageError for a
    template that is wrong and for two agents with one file.
    """
    _refuse_shared_files(agents, out)
    blocks = render_blocks(roster, agents, template=template, command=command, limits=limits)
    return [_plan_file(agent, blocks[agent.id], out, force) for agent in agents]


def render_blocks(
    roster: Roster,
    agents: Sequence[Agent],
    *,
    template: Path | None = None,
    command: str = "heartbeat",
    limits: Limits | None = None,
) -> Mapping[str, str]:
    """Agent id to block, markers included, LF, without a newline at its end; agents that share a template are rendered
    together. Raises UsageError for a template that is wrong."""
    by_template: dict[Path, list[Agent]] = {}
    fallback: Path | None = None
    for agent in agents:
        path = template or agent.template or roster.template
        if path is None:
            path = fallback = fallback or default_template()
        by_template.setdefault(path, []).append(agent)
    blocks: dict[str, str] = {}
    for path, members in by_template.items():
        source = read_template(path)
        texts = render_texts(source, [values_of(roster, agent, command=command) for agent in members], limits=limits)
        for agent, text in zip(members, texts, strict=True):
            blocks[agent.id] = _enclose(agent, text, source)
    return blocks


def _enclose(agent: Agent, text: str, source: TemplateFile) -> str:
    forged = forges_marker(text)
    if forged is not None:
        raise UsageError(
            f"{source.path}: line {forged} of what it renders for {agent.id} looks like a marker of heartbeat's own",
            advice="leave out lines that begin with <!-- heartbeat:begin or <!-- heartbeat:end: they are added",
        )
    return enclose(text, agent_id=agent.id, template_digest=source.digest)


def _refuse_shared_files(agents: Sequence[Agent], out: Path | None) -> None:
    if out is not None:
        return
    owners: dict[Path, str] = {}
    for agent in agents:
        if agent.workspace is None:
            continue
        target = Path(os.path.realpath(agent.workspace / FILE_NAME))
        first = owners.setdefault(target, agent.id)
        if first != agent.id:
            raise UsageError(
                f"{target}: both {first} and {agent.id} would be written into this file",
                advice="give each agent its own workspace in the roster, or render with --out DIR",
            )


def _plan_file(agent: Agent, block: str, out: Path | None, force: bool) -> RenderResult:
    try:
        path, make_directory = _place(agent, out)
        before = read_regular(path)
    except CannotWriteError as error:
        return RenderResult(
            agent_id=agent.id,
            path=_nominal_path(agent, out),
            state=RenderState.UNWRITABLE,
            before=None,
            after=None,
            diff="",
            size=0,
            block_size=len(block.encode()) + 1,
            problem=str(error),
            advice=error.advice,
        )
    text = None if before is None else before.decode("utf-8", "surrogateescape")
    found = None if text is None else find_block(text)
    reason = refusal(found, agent.id)
    merged = merge_into(text, block, agent_id=agent.id, force=True)
    after = merged.encode("utf-8", "surrogateescape")
    return RenderResult(
        agent_id=agent.id,
        path=path,
        state=_state(before, after, found if isinstance(found, Block) else None, bool(reason)),
        before=before,
        after=after,
        diff=difference(str(path), text or "", merged),
        size=len(after),
        block_size=len(block.encode()) + 1,
        warnings=_warnings(path, len(after), len(block.encode()) + 1),
        problem="" if force or not reason else f"{path}: {reason}",
        advice="" if force or not reason else OVERWRITE_ADVICE,
        backup=bool(reason),
        make_directory=make_directory,
    )


def _state(before: bytes | None, after: bytes, found: Block | None, refused: bool) -> RenderState:
    if refused:
        return RenderState.FOREIGN
    if before is None:
        return RenderState.CREATED
    if found is not None and found.edited:
        return RenderState.DRIFTED
    return RenderState.UNCHANGED if before == after else RenderState.UPDATED


def _warnings(path: Path, size: int, block_size: int) -> tuple[str, ...]:
    if size <= RECOMMENDED_SIZE:
        return ()
    return (
        f"{path}: {size} bytes, more than the {RECOMMENDED_SIZE} that a heartbeat file should have "
        f"({block_size} of them rendered, {size - block_size} from others)",
    )


def _nominal_path(agent: Agent, out: Path | None) -> Path:
    if out is not None:
        return out / agent.id / FILE_NAME
    return (agent.workspace or Path(agent.id)) / FILE_NAME


def _place(agent: Agent, out: Path | None) -> tuple[Path, bool]:
    """The file to write, links followed, and whether its directory is to be made first."""
    try:
        return _look_for_place(agent, out)
    except OSError as error:
        path = _nominal_path(agent, out)
        raise CannotWriteError(f"{path}: cannot be reached: {error.strerror}", advice=_advice_for(error)) from error


def _advice_for(error: OSError) -> str:
    """A directory that is not to be written to need not be the one."""
    elsewhere = "; or use --out DIR" if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) else ""
    return f"{advice_for(error)}{elsewhere}"


def _look_for_place(agent: Agent, out: Path | None) -> tuple[Path, bool]:
    if out is not None:
        directory = out / agent.id
        if directory.exists() and not directory.is_dir():
            raise CannotWriteError(f"{directory}: not a directory", advice="choose another directory for --out")
        return _inside(directory / FILE_NAME, directory), not directory.exists()
    if agent.workspace is None:
        raise CannotWriteError(
            f"agent {agent.id} has no workspace", advice="add `workspace:` to it in the roster, or use --out DIR"
        )
    if not agent.workspace.is_dir():
        what = "is not a directory" if agent.workspace.exists() else "does not exist"
        raise CannotWriteError(
            f"{agent.workspace}: the workspace of {agent.id} {what}",
            advice="create it, mend `workspace:` in the roster, or use --out DIR",
        )
    return _inside(agent.workspace / FILE_NAME, agent.workspace), False


def _inside(path: Path, directory: Path) -> Path:
    """The path with a symbolic link followed; raises CannotWriteError where that leads out of `directory`."""
    if not path.is_symlink():
        return path
    # realpath, unlike Path.resolve before Python 3.13, also ends on a link that leads to itself.
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise CannotWriteError(f"{path}: a symbolic link that leads to itself", advice=LINK_ADVICE)
    if not target.is_relative_to(os.path.realpath(directory)):
        raise CannotWriteError(f"{path}: a symbolic link to {target}, outside the workspace", advice=LINK_ADVICE)
    if not target.parent.is_dir():
        raise CannotWriteError(f"{path}: a symbolic link into a directory that is not there", advice=LINK_ADVICE)
    return target


def difference(place: str, before: str, after: str) -> str:
    """A unified diff that is safe to print: line endings taken as LF, other control characters made visible."""
    name = _visible_text(place)
    lines = difflib.unified_diff(
        _visible_lines(before), _visible_lines(after), f"{name} (as it is)", f"{name} (rendered)", lineterm=""
    )
    return "".join(f"{line}\n" for line in lines)


def _visible_lines(text: str) -> list[str]:
    if not text:
        return []
    return [_visible_text(line) for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n")]


def _visible_text(text: str) -> str:
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character == "\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    return character.encode("unicode_escape").decode("ascii")


def write(result: RenderResult) -> Written:
    """Carry out one result: all or nothing, the file's mode kept, a backup where it was not ours.

    Raises CannotWriteError where the plan refused it, where the file changed since, or where the system refuses.
    """
    if result.problem or result.after is None:
        raise CannotWriteError(result.problem, advice=result.advice)
    if result.state is RenderState.UNCHANGED:
        return Written(result.path, changed=False)
    try:
        if result.make_directory:
            result.path.parent.mkdir(parents=True, exist_ok=True)
        if read_regular(result.path) != result.before:
            raise CannotWriteError(
                f"{result.path}: changed while it was being rendered", advice="run the command again"
            )
        backup = keep_backup(result.path) if result.backup else None
        try:
            replace_file(result.path, result.after)
        except BaseException:
            # Where the old file still stands, the backup is a second name of it: later edits in place would reach both.
            if backup is not None and backup.samefile(result.path):
                backup.unlink()
            raise
    except OSError as error:
        raise CannotWriteError(
            f"{result.path}: cannot be written: {error.strerror or error}", advice=_advice_for(error)
        ) from error
    return Written(result.path, changed=True, backup=backup)
