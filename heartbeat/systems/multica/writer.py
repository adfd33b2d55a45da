"""Writing to Multica (rules L2, L4, L6, T2): each operation a note, a change of fields, or both; none starts a run.

The note comes first. It holds the marker by which a write is known again when its answer was lost, and it wakes nobody.
Then the fields: over REST bound to the revision that was read just before; the command cannot bind. Finishing the last
open issue of a stage lets Multica itself wake the parent's agent; that is what stages are for, and it cannot be asked
not to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from heartbeat.action import Operation, Voice, Write
from heartbeat.roster.model import Roster
from heartbeat.systems.base import Deadline, FailureKind, Fetched, TransportError
from heartbeat.systems.multica.access import (
    Access,
    ApiAccess,
    CommandAccess,
    IssueGoneError,
    RevisionConflictError,
    Runs,
)
from heartbeat.systems.multica.channel import Channel, channels
from heartbeat.systems.multica.comments import Comments, read_comments
from heartbeat.systems.multica.issues import SOURCE, active_runs, status_of, translate
from heartbeat.systems.multica.orders import OPERATIONS, Order, is_assigned, order_of, starts_run
from heartbeat.systems.multica.ownership import View, own_changes, revision_number, with_own_edit
from heartbeat.systems.writing import ConflictError, Look, UnsupportedError, Written, shortened
from heartbeat.task import NOBODY, EvidenceKind, Item, Owner, OwnerKind, Ref, Status


def build(settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> IssueWriter | None:
    """The writer for the roster's `sources.multica`: over the API, else over the command, or over the one that the
    roster names; None where it reads a saved file. Raises UsageError."""
    ways: tuple[Channel[Access], ...] = channels(settings, environment, ApiAccess, CommandAccess)
    return IssueWriter(ways, roster.by_multica_id()) if ways else None


@dataclass(frozen=True, slots=True)
class IssueLook(Look):
    """A look at an issue, and what a write needs of it: the record, the comments, and the way by which they came."""

    channel: Channel[Access] | None = field(default=None, repr=False, compare=False)
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)
    comments: Comments = field(default_factory=Comments, repr=False)


class IssueWriter:
    """Implements Writer. `agents` maps Multica agent UUIDs in lower case to roster ids."""

    def __init__(self, channels: tuple[Channel[Access], ...], agents: Mapping[str, str]) -> None:
        self._channels = channels
        self._agents = agents
        self._uuids = {agent: uuid for uuid, agent in agents.items()}

    @property
    def source(self) -> str:
        return SOURCE

    def can(self, operation: Operation) -> bool:
        return operation in OPERATIONS

    def look(self, ref: Ref, owner: Owner, deadline: Deadline, now: datetime) -> IssueLook:
        """The issue by the first channel that works; a write based on it goes the same way. Raises TransportError."""
        absent: list[str] = []
        failed: list[tuple[str, TransportError]] = []
        present = [channel for channel in self._channels if _is_present(channel, absent)]
        for index, channel in enumerate(present):
            last = index == len(present) - 1
            share = deadline if last else deadline.at_most(deadline.left() / 2)
            try:
                with channel.open(share) as access:
                    return self._look(channel, access, ref, owner, now)
            except IssueGoneError:
                return IssueLook(item=None, active=False, channel=channel)
            except TransportError as error:
                failed.append((channel.name, error))
        raise _unreached(failed, absent)

    def apply(self, write: Write, look: Look, deadline: Deadline, now: datetime) -> Written:
        """See Writer. `look` must come from this writer. What an agent or a person says through heartbeat is theirs,
        and leaves nothing that is ours (rule T2).

        Raises UnsupportedError also where the server or the command is too old to be told to start no run.
        """
        if not isinstance(look, IssueLook):
            raise TypeError("a write to an issue needs a look that this writer took")
        if look.item is None or look.channel is None:
            raise ConflictError(f"{write.ref} is not in Multica any more")
        order = order_of(write, look.item, self._uuids)
        with look.channel.open(deadline) as access:
            hand = _Hand(access, look, look.item, order)
            try:
                hand.carry_out()
            except IssueGoneError as error:
                raise ConflictError(f"{look.item.key} was deleted meanwhile") from error
            return Written(hand.own_ids(now) if write.voice is Voice.RULE else (), hand.told())

    def _look(self, channel: Channel[Access], access: Access, ref: Ref, owner: Owner, now: datetime) -> IssueLook:
        """The record is read last, so that a change is bound to what is newest; what was said between the first and
        the last reading then counts as a change by somebody else."""
        comments = read_comments(access.comments(ref.id), ref, now, self._agents)
        runs = access.runs(ref.id, self._uuid(owner))
        record = access.issue(ref.id)
        squads = access.squads() if record.get("assignee_type") == "squad" else None
        extra = {"squads": squads, "runs": _each_once(runs)}
        translated = translate(Fetched((record,), extra=extra), now, agents=self._agents)
        if not translated.items or translated.items[0].ref != ref:
            raise TransportError(
                FailureKind.BAD_OUTPUT,
                f"Multica was asked for issue {ref.id} and sent another record",
                advice="check that the address is Multica's, and its version",
            )
        item = translated.items[0]
        return IssueLook(
            item=item,
            evidence=with_own_edit((*comments.evidence, *translated.evidence), comments),
            claimant=_claimant(item),
            active=self._is_active(ref, owner, runs),
            markers=frozenset(comments.notes),
            notes=_description(record),
            said=comments.said,
            channel=channel,
            record=record,
            comments=comments,
        )

    def _is_active(self, ref: Ref, owner: Owner, runs: Runs) -> bool | None:
        """Rule T7: whether a run is active on the issue, or on anything by its owner; None where either is unknown."""
        uuid = self._uuid(owner)
        for run in active_runs(_each_once(runs)) or ():
            by_owner = uuid is not None and str(run.get("agent_id")).lower() == uuid.lower()
            if by_owner or str(run.get("issue_id")).lower() == ref.id.lower():
                return True
        if runs.of_issue is None:
            return None
        return False if owner.kind is not OwnerKind.AGENT or runs.of_workspace is not None else runs.at_work

    def _uuid(self, owner: Owner) -> str | None:
        return self._uuids.get(owner.id, owner.id) if owner.kind is OwnerKind.AGENT else None


class _Hand:
    """Carries out one order on one issue, and keeps account of what came of it."""

    def __init__(self, access: Access, look: IssueLook, item: Item, order: Order) -> None:
        self._access = access
        self._look = look
        self._item = item
        self._id = item.ref.id
        self._order = order
        self._latest = look.record
        self._noted: str | None = None
        self._states: list[tuple[Mapping[str, Any], Mapping[str, str]]] = []
        """The record after each of our writes, and the fields that had been changed by then."""
        self._told: list[str] = []

    def carry_out(self) -> None:
        missing = self._order.missing(self._look.record)
        self._refuse_to_take_from_a_squad(missing)
        self._refuse_to_wake(missing)
        if missing:
            self._read_again()
        if self._order.note is not None and self._order.marker not in self._look.comments.notes:
            self._leave_note(self._order.note)
            if missing and not self._is_unbroken():
                self._read_again()
        if missing:
            self._change(missing)

    def told(self) -> str:
        return f"{self._item.key}: {', '.join(self._told) or 'nothing was left to do'}"

    def own_ids(self, now: datetime) -> tuple[str, ...]:
        """Evidence ids of the note and of the changes that were ours alone."""
        found = self._look.comments.notes.get(self._order.marker)
        edits = [each.id for each in self._look.evidence if each.own and each.kind is EvidenceKind.EDITED]
        # A note of this write that was there before means that an answer was lost, and with it the name of the change.
        ids = (*filter(None, (found, self._noted)), *(edits if found else ()), *self._own_changes(now))
        return tuple(dict.fromkeys(ids))

    def _refuse_to_take_from_a_squad(self, missing: Mapping[str, str]) -> None:
        """The agent that is to have it may be the very one that leads the squad, and has it already (rule S6a)."""
        if (
            "assignee_id" in missing
            and self._look.record.get("assignee_type") == "squad"
            and self._item.owner == NOBODY
        ):
            raise UnsupportedError(
                f"{self._item.key} belongs to a squad, and it is not known who leads it",
                advice="use the api transport: the multica command cannot list squads",
            )

    def _refuse_to_wake(self, missing: Mapping[str, str]) -> None:
        """Nothing is written where it might start a run in spite of us: not even the note, which would be untrue."""
        if "stage" not in self._look.record and (is_assigned(self._look.record) or "assignee_id" in missing):
            raise UnsupportedError(
                f"{self._item.key} is not written to: its Multica server cannot be told to start no run",
                advice="update the Multica server to 0.3.28 or later",
            )
        if missing and starts_run(self._look.record, missing) and not self._access.can_be_quiet():
            raise UnsupportedError(
                f"{self._item.key} cannot be changed from {self._item.raw_status} without starting a run: this version "
                "of the multica command does not know --no-start",
                advice="update the multica command to 0.4.26 or later, or use the api transport",
            )

    def _leave_note(self, text: str) -> None:
        answer = self._access.add_comment(self._id, text)
        self._noted = str(answer.get("id") or "") or None
        number = revision_number({"revision": answer.get("issue_revision")})
        if self._noted is None:
            raise TransportError(
                FailureKind.BAD_OUTPUT, f"Multica took a note on {self._item.key} and sent none", outcome_unknown=True
            )
        if number is None or revision_number(self._latest) is None:
            self._latest = self._access.issue(self._id)
        else:
            self._latest = {**self._latest, "revision": number}
        self._states.append((self._latest, {}))
        self._told.append("noted")

    def _change(self, missing: Mapping[str, str]) -> None:
        try:
            answer = self._put(missing)
        except RevisionConflictError:
            self._read_again()
            try:
                answer = self._put(missing)
            except RevisionConflictError as error:
                raise ConflictError(f"{self._item.key} keeps changing while it is written: {error}") from error
        self._latest = {**self._latest, **answer}
        left = self._order.missing(self._latest)
        if left:
            raise ConflictError(f"{self._item.key} was to have {_shown(left)} and has {_shown(self._latest, left)}")
        self._states.append((self._latest, missing))
        self._told.append(f"{_shown(missing)} set")

    def _put(self, missing: Mapping[str, str]) -> Mapping[str, Any]:
        return self._access.change(self._id, missing, revision_number(self._latest))

    def _is_unbroken(self) -> bool:
        """Whether nothing has happened since the look but our own note, as far as revisions tell."""
        first, last = revision_number(self._look.record), revision_number(self._latest)
        return first is not None and last == first + len(self._states)

    def _read_again(self) -> None:
        """Just before each write: somebody may have moved the issue or given it away (rule L6)."""
        record = self._access.issue(self._id)
        was, became = _hands(self._look.record), _hands(record)
        if was != became:
            raise ConflictError(f"{self._item.key} went from {' of '.join(was)} to {' of '.join(became)} meanwhile")
        self._latest = record

    def _own_changes(self, now: datetime) -> tuple[str, ...]:
        if not self._states:
            return ()
        comments = self._look.comments.ids
        if revision_number(self._look.record) is None:
            try:
                comments = read_comments(self._access.comments(self._id), self._item.ref, now).ids
            except TransportError as error:
                # It is written; only whose change the newest one is remains open, and then it is not ours.
                self._told.append(f"whether somebody else wrote meanwhile is not known ({error})")
                return ()
        before = View(self._look.record, self._look.comments.ids)
        notes = frozenset(filter(None, (self._noted,)))
        changes = (own_changes(before, View(state, comments), notes, fields) for state, fields in self._states)
        return tuple(each for ids in changes for each in ids)


def _is_present(channel: Channel[Access], absent: list[str]) -> bool:
    reason = channel.absent()
    if reason is not None:
        absent.append(f"{channel.name}: {reason}")
    return reason is None


def _unreached(failed: list[tuple[str, TransportError]], absent: list[str]) -> TransportError:
    """Every channel that there is was tried; the best one's failure is what counts."""
    if not failed:
        return TransportError(FailureKind.NOT_CONFIGURED, "; ".join(absent), advice="set up sources.multica")
    first = failed[0][1]
    if len(failed) == 1:
        return first
    told = "; ".join(f"{name}: {error}" for name, error in failed)
    return TransportError(first.kind, told, advice=first.advice, retry_after=first.retry_after)


def _each_once(runs: Runs) -> list[Any] | None:
    """All runs that are known, each once; None where none could be asked for."""
    if runs.of_issue is None and runs.of_workspace is None:
        return None
    rows = [row for row in (*(runs.of_issue or ()), *(runs.of_workspace or ())) if isinstance(row, Mapping)]
    return list({str(row.get("id") or repr(row)): row for row in rows}.values())


def _description(record: Mapping[str, Any]) -> str:
    text = record.get("description")
    return shortened(text) if isinstance(text, str) else ""


def _claimant(item: Item) -> str:
    """Multica knows no claims: whoever has an issue in progress holds it."""
    held = item.status is Status.IN_PROGRESS and item.owner.kind is OwnerKind.AGENT
    return item.owner.id if held else ""


def _hands(record: Mapping[str, Any]) -> tuple[str, str]:
    return status_of(record)[0] or "no status", str(record.get("assignee_id") or "nobody")


def _shown(fields: Mapping[str, Any], names: Mapping[str, str] | None = None) -> str:
    named = {name: fields.get(name) for name in names or fields if name != "assignee_type"}
    return ", ".join(f"{name.removesuffix('_id')} {value or 'none'}" for name, value in named.items())
