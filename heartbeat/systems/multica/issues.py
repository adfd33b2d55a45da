"""Multica issues in the words of heartbeat: items, evidence, and what was odd about them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from heartbeat.instants import not_after, parse_instant
from heartbeat.systems.base import Fetched, Rejected, Translated, cut
from heartbeat.task import (
    CLOSED,
    NOBODY,
    Dependency,
    DependencyKind,
    Evidence,
    EvidenceKind,
    Finding,
    Item,
    Owner,
    OwnerKind,
    Presence,
    Priority,
    Ref,
    Status,
)

SOURCE = "multica"

STATUSES = {
    "backlog": Status.BACKLOG,
    "todo": Status.TODO,
    "in_progress": Status.IN_PROGRESS,
    "in_review": Status.IN_REVIEW,
    "blocked": Status.BLOCKED,
    "done": Status.DONE,
    "cancelled": Status.CANCELLED,
}
"""Rule S6: the seven categories, which are also the built-in keys."""

PRIORITIES = {
    "urgent": Priority.URGENT,
    "high": Priority.HIGH,
    "medium": Priority.NORMAL,
    "low": Priority.LOW,
    "none": Priority.NONE,
}
"""Rule S7."""

ENDED_RUNS = frozenset({"completed", "failed", "cancelled"})
"""Every other state of a run, one that we do not know included, means that work goes on or is about to (rule T7)."""

CARD_KEY = "workboard_card"
"""Metadata that names the WorkBoard card of the same task (rule M1a)."""
DEPENDENCY_KEYS = ("depends_on", "blocked_by")
"""Metadata that names issues to wait for (rule D1)."""

_FIRST_STAGE = 1
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9]*-\d+", re.ASCII)
_SEPARATOR = re.compile(r"[,;\s，；、]+")
_NAMED_IN_FINDING = 5

_SENTENCES = {
    "clock-skew": "a time lies more than 5 minutes ahead of this machine's clock and was taken as now",
    "repeated-record": "came more than once with the same id; the first record counts",
    "unreadable-due-date": "the due date is no date and was left out",
    "unreadable-dependency": "what it waits for cannot be read, so it waits until that is mended",
    "unreadable-metadata": "the metadata is no object, so dependencies in it cannot be seen",
    "unknown-owner": "assigned to something that is neither an agent, a squad nor a member",
    "squad-without-leader": "assigned to a squad that has no leader or is not known, so it has no owner",
    "unknown-status": "the status is not one that heartbeat knows; it is shown and never acted on",
    "untitled": "there is no title; the identifier stands in for it",
}
"""Findings about single issues, by code; one for all issues of a kind."""


def translate(fetched: Fetched, now: datetime, *, agents: Mapping[str, str]) -> Translated:
    """Issues as they came from any transport to items, evidence and who is at work.

    `agents` maps Multica agent UUIDs in lower case to roster ids. `fetched.extra` may hold `squads` and `runs` (lists
    as the API sends them) or, where they could not be read, `squads_problem` and `runs_problem`. A record without an
    id is rejected; everything else that is odd is shown as an item and said in a finding.
    """
    squads = _squad_leaders(fetched.extra.get("squads"))
    runs = active_runs(fetched.extra.get("runs"))
    reader = _Reader(now, agents, squads, None if runs is None else _by_issue(runs))
    for record in fetched.records:
        reader.read(record)
    findings = [*reader.findings()]
    squads_problem = fetched.extra.get("squads_problem")
    if reader.of_squads and squads is None:
        why = squads_problem or "the data has no squads"
        told = (
            f"{len(reader.of_squads)} issues belong to squads whose leaders are not known ({why}): they have no owner"
        )
        findings.append(Finding("unknown-squads", told, tuple(reader.of_squads)))
    if runs is None and reader.items:
        why = fetched.extra.get("runs_problem") or "the data has no runs"
        findings.append(
            Finding("unknown-runs", f"it is not known which agents are at work in Multica right now ({why})")
        )
    return Translated(
        tuple(reader.items),
        tuple(reader.evidence),
        tuple(reader.rejected),
        tuple(findings),
        None if runs is None else tuple(reader.presences(runs)),
    )


@dataclass(slots=True)
class _Reader:
    """Goes through the records of one read, and collects."""

    now: datetime
    agents: Mapping[str, str]
    squads: Mapping[str, str] | None
    runs: Mapping[str, Sequence[Mapping[str, Any]]] | None
    items: list[Item] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    of_squads: list[Ref] = field(default_factory=list)
    _noted: dict[str, list[Item]] = field(default_factory=dict)
    _seen: dict[str, Item] = field(default_factory=dict)
    _owners: dict[tuple[OwnerKind, str], Owner] = field(default_factory=dict)

    def read(self, record: Any) -> None:
        if not isinstance(record, Mapping):
            self.rejected.append(Rejected(SOURCE, None, "the record is not an object", cut(record)))
            return
        identity = _text(record.get("id"))
        if identity is None:
            self.rejected.append(Rejected(SOURCE, None, "the record has no id", cut(record)))
            return
        if identity in self._seen:
            self._note("repeated-record", self._seen[identity])
            return
        self._read_issue(record, identity)

    def findings(self) -> Iterable[Finding]:
        for code, items in sorted(self._noted.items()):
            refs = tuple(item.ref for item in items)
            yield Finding(code, f"{_names(items)}: {_SENTENCES[code]}", refs)

    def _read_issue(self, record: Mapping[str, Any], identity: str) -> None:
        ref = Ref(SOURCE, identity)
        notes: set[str] = set()
        raw_status, status = status_of(record)
        if status is Status.UNKNOWN:
            notes.add("unknown-status")
        identifier = _text(record.get("identifier"))
        key = identifier or identity[:8]
        title = _text(record.get("title"))
        if title is None:
            notes.add("untitled")
        metadata = record.get("metadata")
        known = metadata if isinstance(metadata, Mapping) else {}
        depends_on = _dependencies(record, known, notes)
        runs = () if self.runs is None else self.runs.get(identity.lower(), ())
        updated_at = self._instant(record.get("updated_at"), notes)
        item = Item(
            ref=ref,
            key=key,
            title=title or key,
            status=status,
            raw_status=raw_status,
            priority=PRIORITIES.get(str(record.get("priority")), Priority.NONE),
            owner=self._owner(record, ref, notes),
            created_at=self._instant(record.get("created_at"), notes),
            updated_at=updated_at,
            started_at=min(filter(None, (self._instant(run.get("started_at"), notes) for run in runs)), default=None),
            due=_due(record.get("due_date"), notes),
            revision=revision_of(record),
            aliases=(identifier.upper(), identity) if identifier else (identity,),
            mentions=tuple(name.lower() for name in _names_in(known.get(CARD_KEY))),
            depends_on=depends_on,
            parent=_text(record.get("parent_issue_id")),
            stage=_stage(record.get("stage")),
            creator=self._creator(record),
        )
        self._seen[identity] = item
        self.items.append(item)
        if status not in CLOSED:
            self._collect_evidence(item, record, runs, notes)
        for code in notes:
            self._note(code, item)

    def _collect_evidence(
        self, item: Item, record: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], notes: set[str]
    ) -> None:
        """The last change, and the runs that go on.

        A list of issues does not tell what changed or by whom, only that the revision is another one. So the change is
        named by its revision: whoever wrote it knows which revision the write made (rule T2). `last_activity_at` also
        moves where `updated_at` does not, as when a comment is edited (contract 3).
        """
        last_activity = self._instant(record.get("last_activity_at"), notes)
        changed = max(filter(None, (item.updated_at, last_activity)), default=None)
        if changed is not None:
            self.evidence.append(Evidence(item.ref, changed, EvidenceKind.EDITED, change_id(item.revision)))
        for run in runs:
            at = self._seen_at_work(run, notes) or self.now
            self.evidence.append(Evidence(item.ref, at, EvidenceKind.RUN, _run_id(run)))

    def presences(self, runs: Iterable[Mapping[str, Any]]) -> Iterable[Presence]:
        """Who is at work, or about to be (rule T7): one for each run that has not ended, also one that belongs to no
        issue. A run that names neither an agent nor an issue of ours says nothing."""
        by_id = {identity.lower(): item.ref for identity, item in self._seen.items()}
        for run in runs:
            uuid = _text(run.get("agent_id"))
            agent = self._agent(uuid).id if uuid else ""
            ref = by_id.get((_text(run.get("issue_id")) or "").lower())
            if agent or ref:
                yield Presence(agent, True, self._seen_at_work(run, set()), _run_id(run), ref)

    def _seen_at_work(self, run: Mapping[str, Any], notes: set[str]) -> datetime | None:
        times = (self._instant(run.get(key), notes) for key in ("started_at", "dispatched_at", "created_at"))
        return next(filter(None, times), None)

    def _creator(self, record: Mapping[str, Any]) -> Owner:
        """Who made it: an agent, a person, or nobody that the record tells of."""
        kind, identity = record.get("creator_type"), _text(record.get("creator_id"))
        if identity is None or kind not in ("agent", "member"):
            return NOBODY
        return self._agent(identity) if kind == "agent" else self._shared(OwnerKind.PERSON, identity)

    def _owner(self, record: Mapping[str, Any], ref: Ref, notes: set[str]) -> Owner:
        """Rule S6a: an agent, the agent that leads a squad, a person, or nobody."""
        kind = record.get("assignee_type")
        assignee = _text(record.get("assignee_id"))
        if kind is None or assignee is None:
            if kind is not None or record.get("assignee_id") is not None:  # they come together or not at all
                notes.add("unknown-owner")
            return NOBODY
        if kind == "member":
            return self._shared(OwnerKind.PERSON, assignee)
        if kind == "agent":
            return self._agent(assignee)
        if kind != "squad":
            notes.add("unknown-owner")
            return NOBODY
        self.of_squads.append(ref)
        leader = None if self.squads is None else self.squads.get(assignee.lower())
        if leader is None:
            if self.squads is not None:
                notes.add("squad-without-leader")
            return NOBODY
        return self._agent(leader)

    def _agent(self, uuid: str) -> Owner:
        return self._shared(OwnerKind.AGENT, self.agents.get(uuid.lower(), uuid))

    def _shared(self, kind: OwnerKind, identity: str) -> Owner:
        """One object for each owner, however many issues it has."""
        return self._owners.setdefault((kind, identity), Owner(kind, identity))

    def _instant(self, value: object, notes: set[str]) -> datetime | None:
        instant, corrected = not_after(parse_instant(value), self.now)
        if corrected:
            notes.add("clock-skew")
        return instant

    def _note(self, code: str, item: Item) -> None:
        noted = self._noted.setdefault(code, [])
        if not noted or noted[-1].ref != item.ref:
            noted.append(item)


def _squad_leaders(rows: object) -> dict[str, str] | None:
    """Squad UUID to its leader's agent UUID; None where no list of squads came."""
    if not isinstance(rows, list):
        return None
    pairs = ((_text(row.get("id")), _text(row.get("leader_id"))) for row in rows if isinstance(row, Mapping))
    return {squad.lower(): leader for squad, leader in pairs if squad and leader}


def active_runs(rows: object) -> list[Mapping[str, Any]] | None:
    """The runs that have not ended; None where no list of runs came."""
    if not isinstance(rows, list):
        return None
    return [row for row in rows if isinstance(row, Mapping) and str(row.get("status")) not in ENDED_RUNS]


def _by_issue(runs: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Issue UUID to its runs, oldest first."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        issue = _text(run.get("issue_id"))
        if issue is not None:
            found.setdefault(issue.lower(), []).append(run)
    for of_issue in found.values():
        of_issue.sort(key=lambda run: (str(run.get("created_at")), str(run.get("id"))))
    return found


def _run_id(run: Mapping[str, Any]) -> str:
    return _text(run.get("id")) or "run without an id"


def revision_of(record: Mapping[str, Any]) -> str | None:
    """What changes whenever the issue does: its revision, on servers before 0.4.30 the time of its last change."""
    return _text(record.get("revision")) or _text(record.get("updated_at"))


def change_id(revision: str | None) -> str:
    """The evidence id of the change that led to a revision."""
    return f"rev:{revision or 'unknown'}"


def status_of(record: Mapping[str, Any]) -> tuple[str, Status]:
    """The server's word and what it means (rule S6). Without a word the status is not known, whatever its category:
    such an issue still stands in its place among its siblings and holds back what waits for it (rule S3)."""
    word, category = record.get("status"), record.get("status_category")
    if not isinstance(word, str) or not word.strip():
        return "" if word is None else cut(word, 40), Status.UNKNOWN
    known_by = category if isinstance(category, str) and category else word.strip()
    return word.strip(), STATUSES.get(known_by, Status.UNKNOWN)


def _dependencies(record: Mapping[str, Any], metadata: Mapping[str, Any], notes: set[str]) -> tuple[Dependency, ...]:
    """What the issue waits for. What cannot be read of that is a dependency on something that does not exist: were it
    left out, the issue would look free to start."""
    names = [_canonical(name) for key in DEPENDENCY_KEYS for name in _names_in(metadata.get(key))]
    unreadable = [key for key in DEPENDENCY_KEYS if not _is_readable(metadata.get(key))]
    if record.get("metadata") is not None and not isinstance(record["metadata"], Mapping):
        notes.add("unreadable-metadata")
        unreadable += ["metadata"] if record["metadata"] else []
    parent = _text(record.get("parent_issue_id"))
    unreadable += ["parent_issue_id"] if parent is None and record.get("parent_issue_id") not in (None, "") else []
    unreadable += ["stage"] if record.get("stage") is not None and _whole(record["stage"]) is None else []
    if unreadable:
        notes.add("unreadable-dependency")
    targets = [*names, *(f"(unreadable {key})" for key in unreadable)]
    explicit = (Dependency(DependencyKind.EXPLICIT, target) for target in targets)
    above = (Dependency(DependencyKind.PARENT, parent),) if parent else ()
    return (*dict.fromkeys(explicit), *above)


def _canonical(name: str) -> str:
    """Identifiers in upper case, as their issues' aliases are; any other name as it was written."""
    return name.upper() if _IDENTIFIER.fullmatch(name) else name


def _names_in(value: object) -> list[str]:
    """The names in a metadata value: people separate them by commas of any script, semicolons or blanks."""
    texts = map(_text, value if isinstance(value, list) else [value])
    return [name for text in texts if text for name in _SEPARATOR.split(text) if name]


def _is_readable(value: object) -> bool:
    """Whether all that a metadata value names was understood; nothing, blank text and `false` name nothing."""
    members = value if isinstance(value, list) else [value]
    return all(
        member is None or member is False or (isinstance(member, str | int) and member is not True)
        for member in members
    )


def _text(value: object) -> str | None:
    """Text without blanks around it, a whole number as text, None for anything else and for nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def _due(value: object, notes: set[str]) -> date | None:
    if value is None or value == "":
        return None
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        notes.add("unreadable-due-date")
        return None


def _stage(value: object) -> int | None:
    """Stages count from 1. One that cannot be read counts as the first, so that no later one passes it by."""
    if value is None:
        return None
    number = _whole(value)
    if number is None:
        return _FIRST_STAGE
    return number if number >= _FIRST_STAGE else None


def _whole(value: object) -> int | None:
    """A whole number, also as text or as one that came through a float."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = _text(value)
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,9}", text) else None


def _names(items: Sequence[Item]) -> str:
    shown = ", ".join(item.key for item in items[:_NAMED_IN_FINDING])
    more = len(items) - _NAMED_IN_FINDING
    return f"{shown} and {more} more" if more > 0 else shown
