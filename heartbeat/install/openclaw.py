"""OpenClaw as the scheduler: one automation an agent, converged over the Gateway (contract 4)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from heartbeat.errors import HeartbeatError, UsageError
from heartbeat.install.base import Applied, Change, Order, Piece, Style, Verb
from heartbeat.install.standing import NOTHING, AbsentError, Other, Standing, UnaskedError, left, wanted_standing
from heartbeat.roster.model import Roster
from heartbeat.schedule.automation import (
    Definition,
    agent_of,
    beat_definition,
    declaration_of,
    definition_of,
    is_of_everybody,
    is_ours,
    is_switched_off,
    is_turn,
    noted,
    patch_of,
    read_text,
    rosters_of,
    text_of,
    turn_definition,
)
from heartbeat.schedule.launch import Launch
from heartbeat.schedule.rhythm import offsets_of
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.openclaw.automations import SECONDS, Automations, open_automations
from heartbeat.systems.openclaw.discovery import find_gateway
from heartbeat.systems.openclaw.gateway import ADMIN, READ
from heartbeat.systems.writing import ConflictError

Job = Mapping[str, Any]
"""An automation as the Gateway gives it."""

_LOOKING_SECONDS = 15.0
"""For one request that only looks: somebody waits for it who may not use OpenClaw's scheduler at all."""

_WATCHDOG = "heartbeat cron install --target crontab --watchdog-only"
_ELSEWHERE = f"what runs in OpenClaw ends with its Gateway; somebody else has to watch: `{_WATCHDOG}`"
_DEFINITIONS = {Style.EACH: beat_definition, Style.TURN: turn_definition}


class OpenclawTarget:
    """Implements Target. What it installs belongs to one roster: an automation's description, command or message names
    it, and those of other rosters on the same Gateway are left alone.

    An automation that somebody switched off stays so: what `openclaw cron disable` did, `openclaw cron enable` undoes.
    One that OpenClaw switched off after its failures runs again with the next installation.
    """

    name = "openclaw"
    styles = tuple(_DEFINITIONS)

    def __init__(
        self,
        roster: Roster,
        environment: Mapping[str, str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = roster.sources.get("workboard", {})
        self._environment = environment
        self._clock = clock
        self._roster = roster.path
        self._seen: dict[str, Job] = {}
        self._listed: tuple[Job, ...] = ()

    @property
    def revisions(self) -> Mapping[str, str]:
        """OpenClaw's `configRevision` of each of our automations, by name, as it was last seen."""
        return {name: str(job.get("configRevision")) for name, job in self._seen.items()}

    def installed(self, launch: Launch) -> tuple[Piece, ...]:
        self._roster = launch.roster
        with self._gateway(READ, _LOOKING_SECONDS) as automations:
            self._listed = automations.listed()
        self._seen = self._ours(self._listed)
        return tuple(_piece(name, job) for name, job in self._seen.items())

    def others(self) -> tuple[Other, ...]:
        """What other rosters have on schedule, as `installed` has seen it."""
        found: dict[Path, list[Piece]] = {}
        for job in filter(is_ours, self._listed):
            if not self._is_own(job):
                for roster in sorted(rosters_of(job))[:1]:
                    found.setdefault(roster, []).append(_piece(str(job["declarationKey"]), job))
        return tuple(
            Other(roster, self.standing(pieces), tuple(dict.fromkeys(piece.agent for piece in pieces)))
            for roster, pieces in found.items()
        )

    def standing(self, installed: Sequence[Piece]) -> Standing:
        """What is on schedule here. Pure."""
        definitions = [read_text(piece.text) for piece in installed]
        if not definitions:
            return NOTHING
        turns = Counter(map(is_turn, definitions))
        everybody = any(map(is_of_everybody, definitions))
        agents = () if everybody else tuple(dict.fromkeys(piece.agent for piece in installed))
        return Standing(Style.TURN if turns[True] > turns[False] else Style.EACH, agents, watchdog=False)

    def wanted(self, order: Order, installed: Sequence[Piece]) -> tuple[Piece, ...]:
        if not order.beats:
            raise UsageError(
                "the watchdog is not put into OpenClaw: it would end with the Gateway that it has to watch",
                advice=f"`{_WATCHDOG}`",
            )
        if order.style not in _DEFINITIONS:
            raise UsageError(
                f"OpenClaw keeps one automation an agent, and nothing of the style {order.style.value}",
                advice=f"take one of {', '.join(self.styles)}, or another target",
            )
        return self._pieces(wanted_standing(self.standing(installed), order), order, installed)

    def without(self, order: Order, installed: Sequence[Piece]) -> tuple[Piece, ...]:
        return self._pieces(left(self.standing(installed), order), order, installed)

    def apply(self, changes: Sequence[Change]) -> tuple[Applied, ...]:
        if all(change.verb is Verb.KEEP for change in changes):
            return tuple(self._with_hint(Applied(change)) for change in changes)
        with self._gateway(ADMIN, SECONDS) as automations:
            jobs = automations.listed()
            seen = self._seen or self._ours(jobs)
            failures = {change.name: _failure(automations, change, seen, jobs) for change in changes}
            try:
                self._seen = self._ours(automations.listed())
            except TransportError as error:
                return tuple(_unknown(change, failures[change.name] or error) for change in changes)
        found = {name: _piece(name, job) for name, job in self._seen.items()}
        checked = [_checked(change, failures[change.name], found.get(change.name)) for change in changes]
        added = [applied for applied in checked if applied.change.verb is Verb.ADD and not applied.error]
        return tuple(self._with_hint(applied, applied in added[-1:]) for applied in checked)

    def _pieces(self, standing: Standing, order: Order, installed: Sequence[Piece]) -> tuple[Piece, ...]:
        """Those of the standing. Where agents are named, what is there for others stays as it is, but for the note
        whether it is one of everybody's; what is there for agents that the roster has no more goes with the last."""
        if standing.style is None:
            return ()
        everybody = not standing.agents
        agents = standing.agents or tuple(order.roster.agents)
        others: list[Piece] = []
        if order.agents:
            agents = tuple(agent for agent in agents if agent in order.agents)
            others = [_noted(piece, everybody) for piece in installed if piece.agent not in order.agents]
            others = others if any(piece.agent in order.roster.agents for piece in others) else []
        there = {piece.agent: read_text(piece.text) for piece in reversed(installed)}
        define = _DEFINITIONS[standing.style]
        offsets = offsets_of(ZoneInfo(order.roster.timezone), self._clock())
        pieces = []
        for agent in order.roster.chosen(agents):
            definition = define(agent, order.roster, order.launch, everybody=everybody, offsets=offsets)
            if is_switched_off(there.get(agent.id, {})):
                definition = {**definition, "enabled": False}
            pieces.append(Piece(str(definition["declarationKey"]), text_of(definition), agent.id))
        return (*pieces, *others)

    def _ours(self, jobs: Sequence[Job]) -> dict[str, Job]:
        """This roster's automations by name: the declaration key, and for a second one of a key its id as well."""
        found: dict[str, Job] = {}
        for job in sorted(jobs, key=_is_astray):
            if is_ours(job) and self._is_own(job):
                key = str(job["declarationKey"])
                found[f"{key} ({job['id']})" if key in found else key] = job
        return dict(sorted(found.items()))

    def _is_own(self, job: Job) -> bool:
        """Whether it names this roster, by whatever path."""
        real = os.path.realpath(self._roster)
        return any(roster == self._roster or os.path.realpath(roster) == real for roster in rosters_of(job))

    def remarks(self, installed: Sequence[Piece]) -> tuple[str, ...]:
        """What is on schedule and does not run, a sentence each."""
        there = [piece for piece in installed if piece.name in self._seen]
        return tuple(sentence for piece in there if (sentence := _remark(piece, str(self._seen[piece.name]["id"]))))

    def _with_hint(self, applied: Applied, is_last_added: bool = False) -> Applied:
        """With what is good to know where all went well."""
        after = applied.change.after
        if applied.error or after is None:
            return applied
        remarks = self.remarks((after,))
        return replace(applied, advice=remarks[0] if remarks else _ELSEWHERE if is_last_added else "")

    @contextmanager
    def _gateway(self, scope: str, seconds: float) -> Iterator[Automations]:
        try:
            with open_automations(self._settings, self._environment, scope, seconds) as automations:
                yield automations
        except TransportError as error:
            if error.kind is FailureKind.NOT_CONFIGURED or not self._is_set_up():
                raise AbsentError(f"there is no OpenClaw here: {error}", advice=error.advice) from error
            raise UnaskedError(f"OpenClaw's automations cannot be used: {error}", advice=error.advice) from error

    def _is_set_up(self) -> bool:
        """Whether anything says where a Gateway is. The program alone is no OpenClaw that anybody has used here."""
        try:
            settings = self._settings
            found = find_gateway(self._environment, url=settings.get("url"), token_env=settings.get("token_env"))
        except HeartbeatError:
            return True
        return found is not None


def _noted(piece: Piece, everybody: bool) -> Piece:
    return Piece(piece.name, text_of(noted(read_text(piece.text), everybody)), piece.agent)


def _piece(name: str, job: Job) -> Piece:
    stopped = job.get("enabled") is False
    return Piece(name, text_of(definition_of(job)), agent_of(str(job["declarationKey"])), stopped)


def _remark(piece: Piece, identifier: str) -> str:
    """Why an automation that stands there starts nothing, and what to do; nothing where it runs."""
    definition = read_text(piece.text)
    if is_switched_off(definition):
        return (
            f"{piece.agent} is switched off in OpenClaw and stays so; to switch it on: "
            f"`openclaw cron enable {identifier}`"
        )
    if not piece.stopped:
        return ""
    return (
        f"{piece.agent} does not beat: {definition['enabled']}; `openclaw cron runs {identifier}` shows why, and "
        "`heartbeat cron install --target openclaw` switches it on again"
    )


def _is_astray(job: Job) -> bool:
    """Whether it belongs to another agent than its key says: of two with one key, that is the one too many."""
    return agent_of(str(job.get("declarationKey"))) != job.get("agentId")


def _failure(
    automations: Automations, change: Change, seen: Mapping[str, Job], jobs: Sequence[Job]
) -> TransportError | None:
    """Carries out one change; what stood against it, or None."""
    try:
        match change.verb:
            case Verb.ADD:
                _add(automations, _wanted(change), jobs)
            case Verb.CHANGE:
                _converge(automations, _wanted(change), _standing(change, seen))
            case Verb.REMOVE:
                _remove(automations, _standing(change, seen), jobs)
    except TransportError as error:
        return error
    return None


def _wanted(change: Change) -> Definition:
    if change.after is None:
        raise ValueError(f"{change.verb} of {change.name} without what is wanted")
    return read_text(change.after.text)


def _standing(change: Change, seen: Mapping[str, Job]) -> Job:
    if change.name not in seen:
        raise ConflictError(f"the automation {change.name} is not there any more")
    return seen[change.name]


def _add(automations: Automations, wanted: Definition, jobs: Sequence[Job]) -> None:
    """OpenClaw knows an automation by agent and key: to add one that somebody else has made would take it over."""
    same = (wanted["declarationKey"], wanted["agentId"])
    for job in jobs:
        if (job.get("declarationKey"), job.get("effectiveAgentId", job.get("agentId"))) == same:
            if rosters_of(job) & rosters_of(wanted):
                raise ConflictError("somebody else has installed it meanwhile, and otherwise")
            rosters = ", ".join(map(str, sorted(rosters_of(job)))) or "none"
            raise ConflictError(
                f"OpenClaw has an automation {same[0]} of {same[1]} already, which was not made for this roster "
                f"(it names {rosters})",
                advice=f"look at it (`openclaw cron show {job['id']}`); if nobody needs it, take it off "
                f"(`openclaw cron rm {job['id']}`) and install again",
            )
    automations.add(wanted)


def _converge(automations: Automations, wanted: Definition, job: Job) -> None:
    """One guarded update, which refuses an automation that has been edited since it was looked at. It merges payload
    and delivery; what that leaves over is cleared by declaring the whole anew, which ignores half of the fields."""
    patch = patch_of(wanted, definition_of(job))
    updated = automations.update(job["id"], patch, str(job.get("configRevision")))
    if definition_of(updated) != wanted:
        automations.add(declaration_of(wanted, updated))


def _remove(automations: Automations, job: Job, jobs: Sequence[Job]) -> None:
    """OpenClaw removes whatever stands there; so it is compared with what was looked at, a moment before."""
    present = next((each for each in jobs if each["id"] == job["id"]), None)
    if present is not None and present.get("configRevision") != job.get("configRevision"):
        raise ConflictError("somebody has edited the automation since it was looked at")
    automations.remove(job["id"])


def _checked(change: Change, failure: TransportError | None, found: Piece | None) -> Applied:
    """What came of a change, by what stands there now: a lost answer is no failure, and a given one no proof."""
    if change.verb is Verb.KEEP or _text(change.after) == _text(found):
        return Applied(change)
    if isinstance(failure, ConflictError):
        return Applied(change, f"{failure}; nothing was overwritten", failure.advice or "look at `heartbeat cron diff`")
    if failure is not None:
        return Applied(change, str(failure), failure.advice)
    return Applied(change, "OpenClaw keeps it otherwise than asked", "look at `heartbeat cron diff`, and install again")


def _unknown(change: Change, failure: TransportError) -> Applied:
    if change.verb is Verb.KEEP:
        return Applied(change)
    return Applied(change, f"it is not known what came of it: {failure}", failure.advice)


def _text(piece: Piece | None) -> str | None:
    return None if piece is None else piece.text
