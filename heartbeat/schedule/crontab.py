"""Our block of a crontab, between two comment lines; everything else in the table belongs to others. Pure.

    # >>> heartbeat 1a2b3c4d >>>
    # heartbeat schedule of "/etc/heartbeat/agents.yaml"; style: due; agents: everybody, also later
    …
    # <<< heartbeat 1a2b3c4d <<<

The digits are taken from the roster's path: two rosters of one user have a block each. A new block stands at the top,
since assignments such as SHELL or CRON_TZ count for the lines below them; it assigns nothing itself, so that nothing
below it is touched either. A table is bytes: what others wrote in it need not be UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from heartbeat.errors import UsageError
from heartbeat.schedule.note import Note, read_note

LONGEST_COMMAND = 998
"""Bytes that Debian's cron takes behind the five fields; its crontab refuses more, and older crons cut it off."""

BELOW_ASSIGNMENT = "# state: a SHELL=, CRON_TZ= or TZ= above counts for it\n"
"""What is said of a block that does not run as it was written; it stands in no table."""

_COUNTS_BELOW = re.compile(rb"^[ \t]*(?:SHELL|CRON_TZ|TZ)[ \t]*=", re.MULTILINE)
_MARKER = re.compile(rb"# (>>>|<<<) heartbeat ([0-9a-f]{8}) \1")
_LIKE_A_MARKER = re.compile(rb"\s*#\s*(?:>>>|<<<)\s*heartbeat\b")
_HOW = "# Written by `heartbeat cron install`, which replaces it as a whole; `heartbeat cron remove` takes it off."
_SAFE = re.compile(r"[\w@+=:,./-]+", re.ASCII)
_DAMAGED = (
    "mend it with `crontab -e`: a block is one `# >>> heartbeat ID >>>` line and one `# <<< heartbeat ID <<<` line"
)


LOGGED = "2>&1;"
"""The word before the command itself."""


@dataclass(frozen=True, slots=True)
class Job:
    """A line that starts something, and the comment above it. `fields` are the five that say when."""

    about: str
    fields: str
    argv: tuple[str, ...]
    log: Path


@dataclass(frozen=True, slots=True)
class Block:
    """A block of heartbeat's as it stands in a table, of whatever roster. `start` and `stop` are offsets of bytes."""

    id: str
    start: int
    stop: int
    line: int
    text: str
    note: Note | None


def block_text(block_id: str, note: Note, jobs: Sequence[Job]) -> str:
    """The whole block, LF and a last newline. Raises UsageError for a command that is too long for cron."""
    lines = [f"# >>> heartbeat {block_id} >>>", str(note), _HOW]
    for job in jobs:
        lines += [f"# {job.about}", f"{job.fields} {_fitting(command_text(job.argv, job.log), job.about)}"]
    return "\n".join((*lines, f"# <<< heartbeat {block_id} <<<", ""))


def command_text(argv: Sequence[str], log: Path) -> str:
    """The command as cron hands it to /bin/sh, what it prints appended to a log.

    A log that cannot be opened must not keep it from starting: what it prints goes to cron's mail then. Its directory
    is made anew where somebody has removed it, but not the one above: a state that is not mounted must not begin anew
    because of a log. With a long path there is no room for that, and the beat matters more.
    """
    into, directory = f">>{quoted(str(log))}", quoted(str(log.parent))
    text = " ".join(("true", into, "&&", "exec", into, LOGGED, *map(quoted, argv)))
    made = f"[ -d {directory} ] || mkdir -m700 {directory}; {text}"
    return made if _size(made) <= LONGEST_COMMAND else text


def is_fitting(argv: Sequence[str], log: Path) -> bool:
    """Whether cron takes the command in one line."""
    return _size(command_text(argv, log)) <= LONGEST_COMMAND


def portions(names: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> Iterator[tuple[str, ...]]:
    """The names in as few portions as fit, in their order. One that does not fit alone is a portion all the same."""
    portion: tuple[str, ...] = ()
    for name in names:
        if portion and not fits((*portion, name)):
            yield portion
            portion = ()
        portion = (*portion, name)
    yield portion


def quoted(word: str) -> str:
    """A word for /bin/sh as it must stand in a crontab.

    Cron reads `%` as a newline and takes a backslash before it away; some crons (busybox) do neither, and some also
    make one backslash of two. So `\\%` stands outside of quotes, where a shell that still sees the backslash drops it,
    and no other backslash is followed by one or by `%`.
    """
    if word and _SAFE.fullmatch(word):
        return word
    return "".join(_pieces(word)) or "''"


def _pieces(word: str) -> Iterator[str]:
    for number, part in enumerate(word.split("%")):
        if number:
            yield "\\%"
        cuts = [at for at in range(1, len(part)) if part[at - 1 : at + 1] == "\\\\"]
        for start, stop in pairwise((0, *cuts, len(part))):
            if stop > start:
                yield _single(part[start:stop])


def _single(text: str) -> str:
    """In single quotes, even where sh would not ask for them: a bare backslash would be taken away."""
    return text if _SAFE.fullmatch(text) else "'" + text.replace("'", "'\"'\"'") + "'"


def _fitting(command: str, about: str) -> str:
    size = _size(command)
    if size > LONGEST_COMMAND:
        raise UsageError(
            f"the line for {about} is {size} bytes long, and cron takes {LONGEST_COMMAND}: {command[:200]}…",
            advice="make its paths or its PATH shorter, or use `--target systemd`, which has no such limit",
        )
    return command


def _size(command: str) -> int:
    return len(command.encode("utf-8", "surrogateescape"))


def find_blocks(table: bytes) -> tuple[Block, ...]:
    """Every block of heartbeat's, in the order of the table.

    Raises UsageError, naming lines, where a marker is damaged, doubled or without its other one: what would be replaced
    is not known then. A NUL byte is refused too: cron would not read what stands behind it.
    """
    blocks: list[Block] = []
    opened: tuple[bytes, int, int] | None = None
    offset = 0
    for number, whole in enumerate(_lines(table), start=1):
        line = whole.rstrip(b"\r\n")
        if b"\0" in line:
            raise UsageError(f"line {number} of the crontab holds a NUL byte", advice="take it out with `crontab -e`")
        found = _MARKER.fullmatch(line)
        if found is None and _LIKE_A_MARKER.match(line):
            raise _damaged(f"line {number} is nearly one of heartbeat's markers")
        if found is not None and found[1] == b">>>":
            if opened is not None:
                raise _damaged(f"the block that begins in line {opened[1]} does not end before line {number}")
            opened = found[2], number, offset
        offset += len(whole)
        if found is not None and found[1] == b"<<<":
            if opened is None or opened[0] != found[2]:
                raise _damaged(f"line {number} ends a block that does not begin")
            blocks.append(_block(opened, offset, table))
            opened = None
    if opened is not None:
        raise _damaged(f"the block that begins in line {opened[1]} does not end")
    for earlier, later in _doubled(blocks):
        raise _damaged(f"lines {earlier.line} and {later.line} begin the same block")
    return tuple(blocks)


def _lines(table: bytes) -> list[bytes]:
    """Lines as cron sees them: a newline ends one, and a carriage return is a character like any other."""
    return [line + b"\n" for line in table.split(b"\n")[:-1]] + [table.rsplit(b"\n", 1)[-1]]


def _block(opened: tuple[bytes, int, int], stop: int, table: bytes) -> Block:
    name, line, start = opened
    text = table[start:stop].decode("utf-8", "surrogateescape")
    notes = (read_note(each) for each in text.split("\n"))
    return Block(name.decode(), start, stop, line, text, next((note for note in notes if note), None))


def _doubled(blocks: Sequence[Block]) -> Iterator[tuple[Block, Block]]:
    first: dict[str, Block] = {}
    for block in blocks:
        if block.id in first:
            yield first[block.id], block
        first.setdefault(block.id, block)


def _damaged(what: str) -> UsageError:
    return UsageError(f"the crontab cannot be changed: {what}", advice=_DAMAGED)


def with_block(table: bytes, text: str, replaced: Sequence[Block]) -> bytes:
    """The table with the block in the place of those that it replaces.

    It goes to the top where it is new, and where an assignment above would count for it: of a shell that is not sh, or
    of another time zone.
    """
    at = min((block.start for block in replaced), default=0)
    if _COUNTS_BELOW.search(table[:at]):
        at = 0
    rest = without_blocks(table, replaced)
    return rest[:at] + text.encode("utf-8", "surrogateescape") + rest[at:]


def is_below_assignment(table: bytes, block: Block) -> bool:
    """Whether what stands above the block makes another shell or another time zone of its own."""
    return _COUNTS_BELOW.search(table[: block.start]) is not None


def without_blocks(table: bytes, blocks: Sequence[Block]) -> bytes:
    """The table without these blocks, every other byte as it was."""
    for block in sorted(blocks, key=lambda each: each.start, reverse=True):
        table = table[: block.start] + table[block.stop :]
    return table
