"""From an order to what a scheduler keeps: what is there, what should be, the steps between, and who else has a say."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol, cast

from heartbeat.errors import HeartbeatError, UsageError
from heartbeat.install.base import Change, Order, Piece, Style, Target, Verb, changes
from heartbeat.install.rivals import shared
from heartbeat.install.standing import NOTHING, AbsentError, Other, Standing, UnaskedError
from heartbeat.instants import exact_duration
from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch

CRONTAB, SYSTEMD_USER, SYSTEMD_SYSTEM, OPENCLAW = NAMES = ("crontab", "systemd-user", "systemd-system", "openclaw")

_MINUTE = timedelta(minutes=1)


class Scheduler(Target, Protocol):
    """A target that also says what its pieces come to, and which styles it can do, its usual one first."""

    @property
    def styles(self) -> Sequence[Style]:
        """The styles that it can do; the first is what is meant where none is named."""
        ...

    def standing(self, installed: Sequence[Piece]) -> Standing:
        """What is on schedule. Pure."""
        ...

    def remarks(self, installed: Sequence[Piece]) -> Sequence[str]:
        """What `installed` found on schedule and does not run, though we want nothing else of it; a sentence each."""
        ...

    def others(self) -> Sequence[Other]:
        """What other rosters have on schedule, as `installed` has seen it."""
        ...


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A target that has beats of a roster on schedule, or, with `standing` None, one that could not be asked.

    `agents` are those that have a job of their own there; empty where one job is for all that the standing means.
    `roster` is whose schedule it is, None for the one that was asked about. `advice` belongs to the `problem`.
    """

    target: str
    standing: Standing | None
    problem: str = ""
    agents: tuple[str, ...] = ()
    roster: Path | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Installed:
    """What one target keeps for a roster. `problem` says why that is not known, or with `absent` why it is nothing;
    `error` is the same, to be raised. `others` is what it keeps for other rosters."""

    target: Scheduler
    pieces: tuple[Piece, ...] = ()
    standing: Standing = NOTHING
    problem: str = ""
    absent: bool = False
    remarks: tuple[str, ...] = ()
    others: tuple[Other, ...] = ()
    error: HeartbeatError | None = None

    @property
    def unknown(self) -> bool:
        """Whether it could not be asked, though it is there."""
        return bool(self.problem) and not self.absent

    def beating(self, roster: Roster) -> frozenset[str]:
        """The agents of the roster for whom something is on schedule here that runs."""
        if self.standing.style is None:
            return frozenset()
        jobs = [piece for piece in self.pieces if piece.agent]
        if jobs:
            return frozenset(piece.agent for piece in jobs if not piece.stopped) & frozenset(roster.agents)
        return frozenset(self.standing.agents or roster.agents) & frozenset(roster.agents)


def target_called(
    name: str,
    roster: Roster,
    launch: Launch,
    environment: Mapping[str, str],
    *,
    start: bool = True,
    user: str | None = None,
) -> Scheduler:
    """The target of that name. `user` is who the machine's systemd is to run the beats as, None for whoever it is
    already. Nothing is asked yet."""
    if name == CRONTAB:
        from heartbeat.install.crontab import CrontabTarget

        return CrontabTarget(roster, launch, environment)
    if name in (SYSTEMD_USER, SYSTEMD_SYSTEM):
        from heartbeat.install.systemd import SystemdTarget

        return SystemdTarget(roster, launch, environment, system=name == SYSTEMD_SYSTEM, start=start, user=user)
    from heartbeat.install.openclaw import OpenclawTarget

    return OpenclawTarget(roster, environment)


def targets(roster: Roster, launch: Launch, environment: Mapping[str, str]) -> tuple[Scheduler, ...]:
    """Every target there is. Nothing is asked yet."""
    return tuple(target_called(name, roster, launch, environment) for name in NAMES)


def look(target: Scheduler, launch: Launch) -> Installed:
    """What a target keeps for the roster of the launch; a target that cannot be asked says why."""
    try:
        pieces = target.installed(launch)
    except HeartbeatError as error:
        return Installed(target, problem=str(error), absent=isinstance(error, AbsentError), error=error)
    remarks, others = tuple(target.remarks(pieces)), tuple(target.others())
    return Installed(target, pieces, target.standing(pieces), remarks=remarks, others=others)


def look_again(seen: Installed, steps: Sequence[Change]) -> Installed:
    """The same target after these changes, as far as they tell. Pure."""
    pieces = tuple(step.after for step in steps if step.after is not None)
    return replace(seen, pieces=pieces, standing=seen.target.standing(pieces))


def elsewhere(launch: Launch, targets: Sequence[Target]) -> tuple[Elsewhere, ...]:
    """Which of these targets have beats on schedule, for this roster or another, and which could not be asked."""
    return who_beats([look(cast(Scheduler, target), launch) for target in targets])


def who_beats(seen: Sequence[Installed], here: str = "") -> tuple[Elsewhere, ...]:
    """Who has beats on schedule, by what was seen: this roster's at other targets than `here`, other rosters' anywhere.

    A watchdog alone is no beat, nor is a turn of an agent, which leaves no receipt; and a scheduler that is not on this
    machine has none. One that could not be asked may have some.
    """
    found = []
    for each in seen:
        name, no_beats = each.target.name, (None, Style.TURN)
        if each.unknown and name != here:
            advice = "" if each.error is None else each.error.advice
            found.append(Elsewhere(name, None, each.problem, advice=advice))
        elif each.standing.style not in no_beats and name != here:
            jobs = tuple(dict.fromkeys(piece.agent for piece in each.pieces if piece.agent))
            found.append(Elsewhere(name, each.standing, agents=jobs))
        found += [its for its in foreign_of([each]) if its.standing is not None and its.standing.style not in no_beats]
    return tuple(found)


def foreign_of(seen: Sequence[Installed]) -> tuple[Elsewhere, ...]:
    """What was seen of other rosters, watchdogs and turns included."""
    return tuple(
        Elsewhere(each.target.name, its.standing, agents=its.agents or its.standing.agents, roster=its.roster)
        for each in seen
        for its in each.others
    )


def added(order: Order, standing: Standing) -> tuple[str, ...]:
    """The agents who would have beats by the order, and have none by what stands at its target."""
    if not order.beats or order.style is Style.TURN:
        return ()
    there = () if standing.style in (None, Style.TURN) else standing.agents or order.chosen
    return tuple(agent for agent in order.chosen if agent not in there)


def refuse_unasked(order: Order, standing: Standing, others: Sequence[Elsewhere]) -> None:
    """Raises UnaskedError where agents would come to the target who may have their beats somewhere that could not be
    asked. What stands at the target already may be renewed."""
    unasked = [each for each in others if each.standing is None]
    if not unasked or not added(order, standing):
        return
    names = " and ".join(each.target for each in unasked)
    advice = next((each.advice for each in unasked if each.advice), "mend that first")
    problems = "; ".join(each.problem for each in unasked)
    raise UnaskedError(
        f"whether {names} has these beats on schedule already is not known: {problems}",
        advice=f"{advice}; --beside installs them all the same",
    )


def refuse_second(
    order: Order,
    others: Sequence[Elsewhere],
    environment: Mapping[str, str] = os.environ,
    standing: Standing = NOTHING,
) -> tuple[str, ...]:
    """Raises UsageError where beats of these agents are on schedule already, at another target or for another roster:
    one of the two would look for nothing. Other rosters are read in this environment.

    What stands at the target already may be renewed beside another roster's: that is returned, in a sentence each.
    """
    if not order.beats or order.style is Style.TURN:
        return ()
    notes = []
    chosen = set(order.chosen)
    for each in others:
        if each.standing is None:
            continue
        if each.roster is not None:
            try:
                _refuse_rival(order, each, environment)
            except UsageError as rival:
                if added(order, standing):
                    raise
                notes.append(f"{rival}; {rival.advice}")
            continue
        there = each.agents or each.standing.agents or tuple(order.roster.agents)
        twice = [agent for agent in there if agent in chosen]
        if not twice:
            continue
        whose = ", ".join(twice) if each.agents or each.standing.agents else "everybody"
        named = "" if set(twice) == set(there) else f" {' '.join(twice)}"
        raise UsageError(
            f"{each.target} has the beats of {whose} on schedule already",
            advice=f"one schedule an agent is enough: first `heartbeat cron remove{named} --target "
            f"{option_of(each.target)}`, or change that one",
        )
    return tuple(notes)


def _refuse_rival(order: Order, other: Elsewhere, environment: Mapping[str, str]) -> None:
    """Raises UsageError where another roster has beats of these agents on schedule, or has the same state directory."""
    same, one_state = shared(order, other, environment)
    option = f"--roster {shlex.quote(str(other.roster))}"
    if same:
        whose = ", ".join(same)
        some = "" if len(same) == len(order.chosen) else f"{' '.join(same.values())} "
        raise UsageError(
            f"{other.target} has the beats of {whose} on schedule already, for another roster: {other.roster}",
            advice=f"one roster an agent is enough: first `heartbeat cron remove {some}{option}`, or leave it out here",
        )
    if one_state:
        raise UsageError(
            f"{other.target} has beats of another roster on schedule that keeps its state in {order.launch.state} too: "
            f"{other.roster}",
            advice=f"give one of them a `state:` of its own, or take the other off: `heartbeat cron remove {option}`",
        )


def option_of(name: str) -> str:
    """What `--target` takes for a target of this name."""
    kind, _, scope = name.partition("-")
    return f"{kind} --{scope}" if scope else kind


def completed(
    standing: Standing,
    roster: Roster,
    launch: Launch,
    default: Style,
    *,
    agents: Sequence[str] = (),
    everybody: bool = False,
    style: Style | None = None,
    beats: bool | None = None,
    watchdog: bool | None = None,
    watched: bool = False,
) -> Order:
    """An order in which what is not said stays as it stands; where nothing stands, it is everybody, with a watchdog
    unless the roster is `watched` from another target already.

    Raises UsageError where the agents on schedule are all gone from the roster.
    """
    kept = tuple(agent for agent in standing.agents if agent in roster.agents)
    if standing.agents and not (kept or agents or everybody):
        raise UsageError(
            f"none of the agents on schedule ({', '.join(standing.agents)}) is in {launch.roster} any more",
            advice="take them off with `heartbeat cron remove`, or put everybody on: `heartbeat cron install --all`",
        )
    return Order(
        roster,
        launch,
        style or standing.style or default,
        tuple(agents) or (() if everybody else kept),
        beats=(standing.style is not None or not standing.watchdog) if beats is None else beats,
        watchdog=(standing.watchdog or (standing.is_empty and not watched)) if watchdog is None else watchdog,
    )


def asked_changes(target: Scheduler, order: Order, pieces: Sequence[Piece]) -> tuple[Change, ...]:
    """From what is installed to the order. Raises UsageError where the target cannot do that."""
    return changes(pieces, target.wanted(order, pieces))


def differs_now(seen: Installed, roster: Roster, launch: Launch) -> bool:
    """Whether what is installed would be written otherwise today, for the roster, the program or its places changed."""
    if not seen.pieces:
        return False
    try:
        order = completed(seen.standing, roster, launch, seen.target.styles[0])
        return any(map(is_change, asked_changes(seen.target, order, seen.pieces)))
    except HeartbeatError:
        return True


def removing_changes(target: Scheduler, order: Order, pieces: Sequence[Piece]) -> tuple[Change, ...]:
    """From what is installed to what is left without the order's agents."""
    return changes(pieces, target.without(order, pieces))


def is_change(change: Change) -> bool:
    return change.verb is not Verb.KEEP


def difference(target: str, steps: Sequence[Change]) -> Iterator[str]:
    """A unified diff, line by line, from what is installed to what is wanted."""
    for change in filter(is_change, steps):
        before, after = (piece.text.splitlines() if piece else [] for piece in (change.before, change.after))
        names = f"{target}: {change.name} (installed)", f"{target}: {change.name} (wanted)"
        yield from difflib.unified_diff(before, after, *names, lineterm="")


def too_quick(order: Order, target: str) -> Iterator[str]:
    """Sentences about agents that are due more often than the target starts anything."""
    exact = target != CRONTAB and order.style is Style.EACH
    if not order.beats or order.style in (Style.DAEMON, Style.TURN) or exact:
        return
    for agent in order.roster.chosen(order.chosen):
        if agent.policy.cron is None and agent.policy.every < _MINUTE:
            yield (
                f"{agent.id} is due every {exact_duration(agent.policy.every)}, and {target} starts its jobs once a "
                "minute at most: the slots between are on record as missed; `heartbeat run` beats as often as asked"
            )
