"""The block of a file that is ours, between two comment lines; everything else in the file belongs to others. Pure.

    <!-- heartbeat:begin agent=coo template=0123456789ab digest=ba9876543210 -->
    …
    <!-- heartbeat:end -->

`digest` is taken over the lines between, whatever their line endings, so that an edit by hand shows and a checkout
with CRLF does not. A file is text decoded as UTF-8 with `surrogateescape`: bytes that are no UTF-8 come out as they
went in.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from heartbeat.errors import CannotWriteError

_BEGIN_WORD = "<!-- heartbeat:begin"
_END = "<!-- heartbeat:end -->"
_END_WORD = "<!-- heartbeat:end"
_BEGIN = re.compile(
    r"<!-- heartbeat:begin agent=([a-z0-9][a-z0-9_-]{0,63}) template=([0-9a-f]{12}) digest=([0-9a-f]{12}) -->", re.ASCII
)
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Block:
    """Our block as it stands in a file. `start` and `stop` are offsets in the text: the end marker's own line ending
    lies outside. `edited` says that the lines between are not those that were written."""

    agent_id: str
    template: str
    start: int
    stop: int
    newline: str
    edited: bool


@dataclass(frozen=True, slots=True)
class Foreign:
    """Why a file cannot be taken for ours; `message` names lines as `line 7`."""

    message: str


def digest(body: str) -> str:
    """The first 12 hex digits of the SHA-256 of a text with its line endings taken as LF."""
    plain = body.replace("\r\n", "\n")
    return hashlib.sha256(plain.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def enclose(body: str, *, agent_id: str, template_digest: str) -> str:
    """The block for a body (LF, ends with a newline): two marker lines around it, no newline after the last."""
    begin = f"{_BEGIN_WORD} agent={agent_id} template={template_digest} digest={digest(body)} -->"
    return f"{begin}\n{body}{_END}"


def body_of(block: str) -> str:
    """The body of a block that `enclose` made: what stands between its markers, ending with a newline."""
    return block.partition("\n")[2].removesuffix(_END)


def forges_marker(body: str) -> int | None:
    """The number of the first line in `body` that would be taken for a marker of ours, or None."""
    for number, line in enumerate(body.split("\n"), 1):
        if line.startswith((_BEGIN_WORD, _END_WORD)):
            return number
    return None


def find_block(text: str) -> Block | Foreign | None:
    """Our block in a file's text; None where the file says nothing (white space); why it is not ours otherwise."""
    if not text.removeprefix(_BYTE_ORDER_MARK).strip():
        return None
    begins: list[tuple[int, int, str]] = []
    ends: list[tuple[int, int, str]] = []
    offset = 0
    for number, line in enumerate(text.split("\n"), 1):
        start = offset
        offset += len(line) + 1
        if number == 1 and line.startswith(_BYTE_ORDER_MARK):
            line, start = line[1:], start + 1
        if line.startswith(_BEGIN_WORD):
            begins.append((number, start, line))
        elif line.startswith(_END_WORD):
            ends.append((number, start, line))
    if not begins and not ends:
        return Foreign("it was not written by heartbeat: it has no heartbeat markers")
    problem = _marker_problem(begins, ends)
    if problem:
        return Foreign(problem)
    (_, start, begin), (_, end_start, _) = begins[0], ends[0]
    matched = _BEGIN.fullmatch(begin.removesuffix("\r"))
    if matched is None:
        return Foreign(f"line {begins[0][0]}: the begin marker is damaged")
    agent_id, template, expected = matched.groups()
    body = text[start + len(begin) + 1 : end_start]
    return Block(
        agent_id=agent_id,
        template=template,
        start=start,
        stop=end_start + len(_END),
        newline="\r\n" if begin.endswith("\r") else "\n",
        edited=digest(body) != expected,
    )


def _marker_problem(begins: list[tuple[int, int, str]], ends: list[tuple[int, int, str]]) -> str:
    begin_lines = ", ".join(str(number) for number, _, _ in begins)
    end_lines = ", ".join(str(number) for number, _, _ in ends)
    if not ends:
        return f"line {begin_lines}: a begin marker without an end marker"
    if not begins:
        return f"line {end_lines}: an end marker without a begin marker"
    if len(begins) > 1 or len(ends) > 1:
        return f"more than one block: begin markers in line {begin_lines}, end markers in line {end_lines}"
    if ends[0][0] < begins[0][0]:
        return f"line {end_lines}: the end marker stands before the begin marker in line {begin_lines}"
    if ends[0][2].rstrip() != _END:
        return f"line {end_lines}: the end marker is damaged"
    return ""


def merge_into(existing: str | None, block: str, *, agent_id: str, force: bool = False) -> str:
    """The file's text with `block` in the place of ours; what stands outside our markers is kept as it is.

    None or white space alone gives a new file. A file that is not ours (no markers, broken markers, another agent's
    block) raises CannotWriteError; with `force` it is replaced as a whole (the caller keeps a backup).
    """
    found = None if existing is None else find_block(existing)
    reason = refusal(found, agent_id)
    if existing is None or found is None or (reason and force):
        return block + "\n"
    if reason or isinstance(found, Foreign):
        raise CannotWriteError(reason, advice=OVERWRITE_ADVICE)
    return existing[: found.start] + block.replace("\n", found.newline) + existing[found.stop :]


OVERWRITE_ADVICE = "move what is worth keeping and repeat with --force: the old file is kept as a .bak beside it"


def refusal(found: Block | Foreign | None, agent_id: str) -> str:
    """Why a file with `found` in it must not be rewritten for this agent; empty where it may be."""
    if isinstance(found, Foreign):
        return found.message
    if found is not None and found.agent_id != agent_id:
        return f"it holds the block of agent {found.agent_id}, not of {agent_id}"
    return ""
