"""A Multica run in place of an OpenClaw turn: begun by leaving the backlog, or by a rerun (contract 3, what starts a
run).

Multica takes no idempotency key. So before anything is asked for, the runs that the issue has are written down in the
folder of the dispatch id: a run of the same agent that is not among them came after, and no clock is needed to see it.
A rerun answers with its run, which is then known for certain. Where the answer was lost, a new run of this agent on
this issue is taken for ours, also where a person started it in the same moment: then there is one run too few, never
one too many. Nothing is begun where a run goes on or waits. Multica gives its agents their own prompt and model, so
those of the order are not used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from heartbeat.attempt import Attempt, Cause, Engine, Failure, Outcome
from heartbeat.deadline import Deadline
from heartbeat.dispatch.base import Accepted, Going, Order, Sighting, StartError
from heartbeat.dispatch.folder import RunFolder, runs_directory
from heartbeat.dispatch.multica_outcome import sighting_of
from heartbeat.dispatch.multica_runs import (
    Access,
    ApiAccess,
    CommandAccess,
    Record,
    is_active,
    refusal_of,
)
from heartbeat.roster.model import Roster
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.multica.channel import Channel, channels
from heartbeat.systems.multica.issues import SOURCE, status_of
from heartbeat.task import Ref, Status

BASELINE = "multica.json"
_OUT_OF_BACKLOG = "todo"
"""What an issue becomes that leaves the backlog; to take it up is the agent's own first step."""
_ARRIVES_WITHIN = 60.0
"""Seconds after which a request whose answer was lost, and of which there is no run, counts as never arrived."""
_GONE = "issue not found"
_UNASSIGNED = "issue is not assigned to an agent or squad"
_CAUSES = {400: Cause.TASK, 402: Cause.REFUSES, 403: Cause.REFUSES, 404: Cause.NONE, 409: Cause.NONE}
"""What the server's refusal to begin a run means; everything else is between us and Multica."""

Answer = TypeVar("Answer")


def build(
    roster: Roster,
    environment: Mapping[str, str],
    runs: Path | None = None,
    *,
    clock: Callable[[], float] = time.time,
) -> MulticaSpawner | None:
    """The way to the Multica of the roster's `sources.multica`: over the API, else over the command, or over the one
    that the roster names; None where there is none, or only a saved file. Raises UsageError."""
    if SOURCE not in roster.sources:
        return None
    ways: Sequence[Channel[Access]] = channels(roster.sources[SOURCE], environment, ApiAccess, CommandAccess)
    if not ways:
        return None
    uuids = {agent: uuid for uuid, agent in roster.by_multica_id().items()}
    return MulticaSpawner(ways, uuids, runs or runs_directory(roster, environment), clock=clock)


class MulticaSpawner:
    """Implements Spawner. `uuids` maps roster ids to Multica agent UUIDs; `runs` is where the folders are."""

    def __init__(
        self,
        channels: Sequence[Channel[Access]],
        uuids: Mapping[str, str],
        runs: Path,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._channels = channels
        self._uuids = uuids
        self._runs = runs
        self._clock = clock

    @property
    def engine(self) -> Engine:
        return Engine.MULTICA

    def start(self, order: Order, deadline: Deadline) -> Accepted:
        """See Spawner. `run` is the run's UUID."""
        attempt = order.attempt
        issue, agent = _issue_of(attempt), self._uuids.get(attempt.agent)
        if issue is None:
            raise _not_for_multica(f"{attempt.title!r} has no issue in Multica that a run could be of")
        if agent is None:
            told = f"the roster does not say who {attempt.agent} is in Multica"
            raise _not_for_multica(told, f"set multica_id for {attempt.agent}: `multica agent list --output json`")
        folder = RunFolder(self._runs, attempt.id)
        try:
            was_asked = folder.exists()
            try:
                with self._open(deadline, lambda access: access.issue(issue.id)) as (access, record):
                    return Accepted(self._begin(access, folder, record, issue, agent))
            except TransportError as error:
                refused = _refused(error)
                if not refused.unknown and not was_asked:
                    folder.remove()
                raise refused from error
        except OSError as error:
            told = f"what is to be known of a run cannot be written into {self._runs}: {error.strerror or error}"
            raise StartError(Failure(Cause.ENGINE, told), advice="make room on that disk") from error

    def look(self, attempt: Attempt, deadline: Deadline) -> Sighting:
        """See Spawner. A run that Multica itself tried again is as the last of its tries is."""
        issue = _issue_of(attempt)
        if issue is None:
            return Sighting(Going.UNKNOWN)
        try:
            with self._open(deadline, lambda access: access.runs(issue.id)) as (_, runs):
                run, doubtful = self._found(attempt, runs)
        except TransportError as error:
            if _is_gone(error):
                return Sighting(Going.UNKNOWN)
            raise
        if run is None:
            return Sighting(Going.RUNNING if doubtful else Going.UNKNOWN)
        return Sighting(Going.RUNNING) if is_active(run) else sighting_of(run)

    def abort(self, attempt: Attempt, deadline: Deadline) -> bool:
        """See Spawner. A run is cancelled at the server; the agent's machine follows within seconds."""
        issue = _issue_of(attempt)
        if issue is None:
            return True
        try:
            with self._open(deadline, lambda access: access.runs(issue.id)) as (access, runs):
                run, doubtful = self._found(attempt, runs)
                if run is None:
                    return not doubtful
                return not is_active(run) or not is_active(access.cancel(str(run.get("id"))))
        except TransportError as error:
            if refusal_of(error)[0] == 404 and refusal_of(error)[1] in (_GONE, "task not found"):
                return True
            raise

    def forget(self, attempt: Attempt) -> None:
        """Removes what is on record of a run whose outcome was collected. Raises TransportError."""
        try:
            RunFolder(self._runs, attempt.id).remove()
        except OSError as error:
            raise _unreadable(error, self._runs) from error

    # Starting

    def _begin(self, access: Access, folder: RunFolder, record: Record, issue: Ref, agent: str) -> str:
        runs = access.runs(issue.id)
        noted = folder.read_json(BASELINE)
        known = _known(noted) if noted else frozenset(_id(run) for run in runs)
        if noted and (found := new_run(runs, agent, known)) is not None:
            return _id(found)
        _refuse_unless_free(access, record, runs, issue, agent)
        folder.make()
        folder.put_json(BASELINE, {"issue": issue.id, "agent": agent, "known": sorted(known), "at": self._clock()})
        began_unseen = False
        try:
            if status_of(record)[1] is Status.BACKLOG:
                access.leave_backlog(issue.id, _OUT_OF_BACKLOG)
                began_unseen = True
                found = new_run(access.runs(issue.id), agent, known)
                if found is not None:
                    return _id(found)
                began_unseen = False
            # Out of the backlog, and nobody was woken: a rerun says why.
            return _named(access.rerun(issue.id))
        except TransportError as error:
            error.outcome_unknown = error.outcome_unknown or began_unseen
            found = None
            if error.outcome_unknown:
                with suppress(TransportError):
                    found = new_run(access.runs(issue.id), agent, known)
            if found is None:
                raise
            return _id(found)

    # Looking

    def _found(self, attempt: Attempt, runs: Sequence[Record]) -> tuple[Record | None, bool]:
        """The run of an attempt; None where there is none. Then: whether one may still come."""
        if attempt.run:
            named = next((run for run in runs if _id(run) == attempt.run), None)
            return (_last_try(named, runs), False) if named is not None else (None, False)
        try:
            noted = RunFolder(self._runs, attempt.id).read_json(BASELINE)
        except OSError as error:
            raise _unreadable(error, self._runs) from error
        if not noted:
            return None, False
        found = new_run(runs, str(noted.get("agent")), _known(noted))
        if found is not None:
            return _last_try(found, runs), False
        at = noted.get("at")
        return None, isinstance(at, int | float) and 0 <= self._clock() - at < _ARRIVES_WITHIN

    @contextmanager
    def _open(self, deadline: Deadline, ask: Callable[[Access], Answer]) -> Iterator[tuple[Access, Answer]]:
        """The first channel that answers a question which changes nothing, and its answer. Raises TransportError."""
        absent = [(each.name, each.absent()) for each in self._channels]
        present = [each for each, (_, why) in zip(self._channels, absent, strict=True) if why is None]
        if not present:
            told = "; ".join(f"{name}: {why}" for name, why in absent)
            raise TransportError(FailureKind.NOT_CONFIGURED, told, advice="set up sources.multica")
        with ExitStack() as stack:
            failed: list[tuple[str, TransportError]] = []
            for index, channel in enumerate(present):
                share = deadline if index == len(present) - 1 else deadline.at_most(deadline.left() / 2)
                try:
                    access = stack.enter_context(channel.open(share))
                    answer = ask(access)
                    break
                except TransportError as error:
                    if _is_gone(error):
                        raise
                    failed.append((channel.name, error))
            else:
                raise _unreached(failed)
            yield access, answer


def new_run(runs: Sequence[Record], agent: str, known: frozenset[str]) -> Record | None:
    """Of the runs that are not known yet, the one that an agent's dispatch began: one that goes on before those that
    ended, a cancelled one last, since it may have been replaced; among equals the first. Multica's own tries to do a
    known run again are not new."""
    candidates = [
        run
        for run in reversed(runs)
        if _id(run) and _id(run) not in known and _same(run.get("agent_id"), agent) and not _retries(run, runs, known)
    ]
    return min(candidates, key=lambda run: (not is_active(run), run.get("status") == "cancelled"), default=None)


def _retries(run: Record, runs: Sequence[Record], known: frozenset[str]) -> bool:
    """Whether Multica began it by itself, to try a run again that was there before."""
    by_id = {_id(each): each for each in runs}
    for _ in range(len(runs) + 1):
        parent = str(run.get("parent_task_id") or "")
        if parent in known:
            return True
        if parent not in by_id:
            return False
        run = by_id[parent]
    return False


def _last_try(run: Record, runs: Sequence[Record]) -> Record:
    """A run, or the last of those by which Multica tried it again."""
    children = {str(each.get("parent_task_id") or ""): each for each in reversed(runs)}
    for _ in range(len(runs)):
        following = children.get(_id(run))
        if following is None or following is run:
            break
        run = following
    return run


def _refuse_unless_free(access: Access, record: Record, runs: Sequence[Record], issue: Ref, agent: str) -> None:
    """Raises StartError where a run goes on or waits, or the issue is another's by now."""
    name = str(record.get("identifier") or issue.id)
    active = next((run for run in runs if is_active(run)), None)
    if active is not None:
        raise _not_wanted(f"{name} has run {_id(active)} already, which is {active.get('status')}")
    if not _is_assigned(access, record, agent):
        raise _not_wanted(f"{name} is not this agent's in Multica any more")
    busy = access.at_work(agent)
    if busy:
        raise _not_wanted(f"the agent has something else to do in Multica: {busy}")


def _is_assigned(access: Access, record: Record, agent: str) -> bool:
    assignee = record.get("assignee_id")
    if record.get("assignee_type") == "squad":
        leader = access.leader(str(assignee))
        return leader is None or _same(leader, agent)
    return record.get("assignee_type") == "agent" and _same(assignee, agent)


def _not_wanted(why: str) -> StartError:
    return StartError(Failure(Cause.NONE, why, Outcome.ABORTED))


def _not_for_multica(why: str, advice: str = "use `dispatch: openclaw` for it") -> StartError:
    return StartError(Failure(Cause.TASK, why), advice=advice)


def _refused(error: TransportError) -> StartError:
    """What it means that Multica did not begin a run."""
    status, said, code = refusal_of(error)
    cause = Cause.ENGINE if error.outcome_unknown else _CAUSES.get(status or 0, Cause.ENGINE)
    if status == 404 and not _is_gone(error):
        cause = Cause.ENGINE
    if said == _UNASSIGNED:
        cause = Cause.NONE
    told = f"{error} ({code})" if code else str(error)
    outcome = Outcome.ABORTED if cause is Cause.NONE else Outcome.FAILED
    failure = Failure(cause, told, outcome, retry_after=error.retry_after, code=status)
    return StartError(failure, unknown=error.outcome_unknown, advice=error.advice)


def _unreached(failed: Sequence[tuple[str, TransportError]]) -> TransportError:
    """Every channel that there is was tried; the best one's failure is what counts."""
    first = failed[0][1]
    if len(failed) == 1:
        return first
    told = "; ".join(f"{name}: {error}" for name, error in failed)
    return TransportError(first.kind, told, advice=first.advice, retry_after=first.retry_after)


def _unreadable(error: OSError, runs: Path) -> TransportError:
    told = f"what is known of a run cannot be read from {runs}: {error.strerror or error}"
    return TransportError(FailureKind.REFUSED, told, advice="see who owns the directory, and that the disk is whole")


def _is_gone(error: TransportError) -> bool:
    status, said, _ = refusal_of(error)
    return status == 404 and said == _GONE


def _issue_of(attempt: Attempt) -> Ref | None:
    return next((ref for ref in attempt.refs if ref.source == SOURCE), None)


def _known(noted: Mapping[str, object]) -> frozenset[str]:
    known = noted.get("known")
    return frozenset(map(str, known)) if isinstance(known, list) else frozenset()


def _id(run: Record) -> str:
    return str(run.get("id") or "")


def _named(run: Record) -> str:
    if not _id(run):
        told = "Multica began a run and did not say which"
        raise TransportError(FailureKind.BAD_OUTPUT, told, outcome_unknown=True)
    return _id(run)


def _same(one: object, other: str) -> bool:
    return str(one).lower() == other.lower()
