"""Task lines become items (rules S6 to S9, T9). Pure.

The id of an item must outlive edits of its line: it is the line's own marker where it has one, else a digest of where
it stands and what it says, without its markers. So to tick a box, to set a date or to annotate a line keeps the id.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from heartbeat.action import Voice, signature
from heartbeat.roster.model import Roster
from heartbeat.systems.base import Translated
from heartbeat.systems.todo.headings import says_done, says_priority
from heartbeat.systems.todo.inline import without_annotations
from heartbeat.systems.todo.markdown import TaskLine, TaskList
from heartbeat.systems.todo.markers import Markers, fold, owner_pattern, read_markers
from heartbeat.task import (
    NOBODY,
    Dependency,
    DependencyKind,
    Finding,
    Item,
    Owner,
    OwnerKind,
    Priority,
    Ref,
    Status,
)

SOURCE = "todo"

MAXIMUM_TITLE = 1000
"""Characters of a title that are kept. The id and the revision are made from all of it."""

_BY_BOX = {
    "x": Status.DONE,
    "X": Status.DONE,
    "/": Status.IN_PROGRESS,
    "🚧": Status.IN_PROGRESS,
    "-": Status.CANCELLED,
    "!": Status.BLOCKED,
    "⛔": Status.BLOCKED,
}
"""Any white space is an empty box; any other character is a status that we do not know (rule S6)."""

_STRUCK = re.compile(r"~~(?P<text>(?:(?!~~).)+)~~\W*(?:done|已完成|完成)?[\W\d]*", re.IGNORECASE)
_EMPHASIS = re.compile(r"[*~`]+")
_NAMED_AT_MOST = 8

_INSTRUCTIONS = frozenset({"agents.md"})
"""Files that every workspace has for its agent to read: that they hold no tasks is no news, and their plain bullets are
rules to live by, not work."""


@dataclass(frozen=True, slots=True)
class TaskFile:
    """One file that was read. `agents` are those whose workspace it is in, in roster order; the first names its ids."""

    agents: tuple[str, ...]
    path: str
    """Relative to the workspace, with forward slashes."""
    content: TaskList

    @property
    def name(self) -> str:
        """The file as findings call it."""
        return f"{self.agents[0]}/{self.path}"


def holds_instructions(path: str) -> bool:
    """Whether a file is for the agent to obey rather than a list of work."""
    return path.rpartition("/")[2].casefold() in _INSTRUCTIONS


@dataclass(frozen=True, slots=True)
class Owners:
    """Who may stand after an @. Build it with `owners_of`."""

    by_name: Mapping[str, Owner]
    pattern: re.Pattern[str] | None


def owners_of(roster: Roster) -> Owners:
    """The roster's agents by id and by name, and the operator by name and as `@operator` (rule S6a)."""
    by_name: dict[str, Owner] = {}
    person = Owner(OwnerKind.PERSON, roster.operator.name or "operator")
    names = [(name, person) for name in ("operator", roster.operator.name)]
    names += [(agent.name, Owner(OwnerKind.AGENT, agent.id)) for agent in reversed(tuple(roster.agents.values()))]
    names += [(agent.id, Owner(OwnerKind.AGENT, agent.id)) for agent in roster.agents.values()]
    for name, owner in names:  # the later wins: ids before names, names before the operator
        if name.strip():
            by_name[fold(name)] = owner
    return Owners(by_name, owner_pattern(by_name))


def translate(files: Sequence[TaskFile], owners: Owners) -> Translated:
    """Every task line of these files as an item, and what a person should know of the rest."""
    items: list[Item] = []
    findings: list[Finding] = []
    for file in files:
        found = _FileItems(file, owners)
        items += found.items()
        findings += found.findings()
    findings += _repeated_ids(items)
    return Translated(tuple(items), findings=tuple(findings))


def items_by_line(file: TaskFile, owners: Owners) -> tuple[tuple[TaskLine, Item], ...]:
    """The items of one file, as `translate` gives them, each with the line that it was made of."""
    return tuple(_FileItems(file, owners).items_by_line())


@dataclass(slots=True)
class _FileItems:
    """The items of one file, and what was noticed on the way."""

    file: TaskFile
    owners: Owners
    seen: Counter[tuple[tuple[str, ...], str]] = field(default_factory=Counter)
    taken: set[str] = field(default_factory=set)
    by_headings: dict[tuple[str, ...], tuple[bool, Priority]] = field(default_factory=dict)
    notes: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    refs: dict[str, list[Ref]] = field(default_factory=dict)
    count: int = 0

    def items(self) -> Iterator[Item]:
        return (item for _, item in self.items_by_line())

    def items_by_line(self) -> Iterator[tuple[TaskLine, Item]]:
        for task in self.file.content.tasks:
            struck = _STRUCK.fullmatch(task.text) if task.box is None else None
            text = struck["text"] if struck else task.text
            markers = read_markers(text, self.owners.pattern)
            if not markers.title:
                self._note("blank", task)
                continue
            self.count += 1
            yield task, self._item(task, markers, struck is not None)

    def _item(self, task: TaskLine, markers: Markers, struck: bool) -> Item:
        under_done, heading_priority = self._headings(task.headings)
        status = _status(task.box, markers, struck, under_done)
        priority = markers.priority if markers.priority is not Priority.NONE else heading_priority
        ref = Ref(SOURCE, f"{self.file.name}#{self._marker(task, markers)}")
        owner = self._owner(task, markers, ref)
        place = f"{self.file.path}:{task.line}"
        if task.box is not None and task.box.isspace() and under_done and status is Status.DONE:
            self._note("under-done", task, ref=ref)
        for unread in markers.unread:
            self._note("unread", task, unread, ref)
        box = "-" if task.box is None else f"[{task.box}]"
        return Item(
            ref=ref,
            key=markers.id or markers.ticket or place,
            title=_cut(markers.title),
            status=status,
            raw_status=box,
            priority=priority,
            owner=owner,
            due=markers.due,
            location=place if owner.id in self.file.agents else f"{self.file.name}:{task.line}",
            revision=_digest(box, without_annotations(task.text, _says_an_agent), status.value, priority.value),
            aliases=(markers.id,) if markers.id else (),
            mentions=markers.mentions,
            depends_on=tuple(Dependency(DependencyKind.EXPLICIT, target) for target in markers.depends_on),
        )

    def _marker(self, task: TaskLine, markers: Markers) -> str:
        """What names the line within its file. Where two lines carry the same marker, the first one keeps it."""
        where = tuple(_normalised(heading) for heading in task.headings)
        title = _normalised(markers.title)
        self.seen[where, title] += 1
        digest = _digest(*where, title, str(self.seen[where, title]))
        own = markers.id or markers.ticket
        if own is None:
            return digest
        marker = own if own.casefold() not in self.taken else f"{own}~{digest}"
        self.taken.add(own.casefold())
        return marker

    def _owner(self, task: TaskLine, markers: Markers, ref: Ref) -> Owner:
        named = self.owners.by_name.get(markers.owner) if markers.owner is not None else None
        if named is not None:
            return named
        # A pattern takes more letters for the same than `fold` does (ı for i): such a name is a stranger's too.
        for stranger in (*markers.strangers, *filter(None, (markers.owner,))):
            self._note("stranger", task, stranger, ref)
        if len(self.file.agents) == 1:
            return Owner(OwnerKind.AGENT, self.file.agents[0])
        self._note("shared", task, ref=ref)
        return NOBODY

    def _headings(self, headings: tuple[str, ...]) -> tuple[bool, Priority]:
        if headings not in self.by_headings:
            self.by_headings[headings] = says_done(headings), says_priority(headings)
        return self.by_headings[headings]

    def _note(self, what: str, task: TaskLine, text: str = "", ref: Ref | None = None) -> None:
        self.notes.setdefault(what, []).append((task.line, text))
        if ref is not None:
            self.refs.setdefault(what, []).append(ref)

    def findings(self) -> Iterator[Finding]:
        """Call after `items` is used up."""
        content, name = self.file.content, self.file.name
        if content.has_text and not self.count and not holds_instructions(self.file.path):
            yield Finding(
                "todo-no-tasks",
                f"{self.file.agents[0]}: 0 tasks read from {self.file.path}, {_count(content.lines, 'line')}, "
                f"{_count(content.bullets, 'bullet')} without checkboxes; write tasks as `- [ ] …`, or set "
                "`todo.bullets: true` to read plain bullets",
            )
        if content.near_misses:
            yield Finding(
                "todo-near-miss",
                f"{name}: {_count(len(content.near_misses), 'line')} with a checkbox that Markdown does not take for a "
                f"task ({_lines(content.near_misses)}); a task is written `- [ ] …`, on a line of its own",
            )
        if content.too_deep is not None:
            yield Finding("todo-too-deep", f"{name}:{content.too_deep}: nested deeper than is read; indent less")
        if content.has_invalid_bytes:
            yield Finding("todo-not-utf8", f"{name}: not all of it is UTF-8; what is not shows as �. Save it as UTF-8")
        for what, sentence in _SENTENCES.items():
            if what in self.notes:
                lines, texts = zip(*self.notes[what], strict=True)
                message = sentence.format(
                    name=name,
                    lines=_lines(lines),
                    texts=_listed([_cut(text, 40) for text in dict.fromkeys(texts)]),
                    agents=", ".join(self.file.agents),
                    agent=self.file.agents[0],
                )
                yield Finding(f"todo-{what}", message, tuple(self.refs.get(what, ())))


_SENTENCES = {
    "blank": "{name}: checkboxes without text are no tasks ({lines})",
    "under-done": "{name}: open boxes under a heading that says done count as done ({lines}); move what is not",
    "unread": "{name}: markers that could not be read: {texts} ({lines})",
    "stranger": "{name}: {texts}: nobody in the roster; these lines keep their workspace's owner ({lines})",
    "shared": "{name}: the workspace belongs to {agents}, so that lines without an @agent belong to nobody ({lines})",
}


def _says_an_agent(annotation: str) -> bool:
    """Whether an agent or a person says it through heartbeat: then it is news (rule T2), and ours is not (T9)."""
    signed = signature(annotation)
    return signed is not None and signed[0] is Voice.AGENT


def _status(box: str | None, markers: Markers, struck: bool, under_done: bool) -> Status:
    """The box decides; markers and headings refine what it leaves open."""
    if box is None:
        status = Status.DONE if struck else Status.TODO
    else:
        bare = box.removesuffix("\ufe0f")
        status = Status.TODO if bare.isspace() else _BY_BOX.get(bare, Status.UNKNOWN)
    if status is Status.TODO and markers.in_progress:
        status = Status.IN_PROGRESS
    if status in (Status.TODO, Status.IN_PROGRESS) and markers.blocked:
        status = Status.BLOCKED
    return Status.DONE if status is Status.TODO and under_done else status


def _repeated_ids(items: Sequence[Item]) -> Iterator[Finding]:
    """🆔 marks that several lines carry: what waits for one of them cannot tell which."""
    by_id: dict[str, list[Item]] = {}
    for item in items:
        for alias in item.aliases:
            by_id.setdefault(alias.casefold(), []).append(item)
    for same in by_id.values():
        if len(same) > 1:
            places = _listed([item.location or item.key for item in same])
            refs = tuple(item.ref for item in same)
            yield Finding("todo-repeated-id", f"🆔 {same[0].aliases[0]} stands on several lines: {places}", refs)


def _normalised(text: str) -> str:
    """A title or heading as ids are made from it. To change this gives every unmarked TODO line a new identity."""
    return " ".join(_EMPHASIS.sub("", unicodedata.normalize("NFKC", text)).casefold().split())


def _digest(*parts: str) -> str:
    joined = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(joined).hexdigest()[:12]


def _cut(text: str, limit: int = MAXIMUM_TITLE) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _lines(numbers: Sequence[int]) -> str:
    word = "line" if len(set(numbers)) == 1 else "lines"
    return f"{word} {_listed([str(number) for number in dict.fromkeys(numbers)])}"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _NAMED_AT_MOST
    return ", ".join(texts[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
