"""From an order to what a scheduler keeps: what is there, what should be, the steps between, and who else has a say."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, cast

from heartbeat.errors import HeartbeatError, UsageError
from heartbeat.install.base import Change, Order, Piece, Style, Target, Verb, changes
from heartbeat.install.standing import NOTHING, AbsentError, Standing
from heartbeat.instants import format_duration
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


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A target that has beats of a roster on schedule, or, with `standing` None, one that could not be asked.

    `agents` are those that have a job of their own there; empty where one job is for all that the standing means.
    """

    target: str
    standing: Standing | None
    problem: str = ""
    agents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Installed:
    """What one target keeps for a roster. `problem` says why that is not known, or with `absent` why it is nothing."""

    target: Scheduler
    pieces: tuple[Piece, ...] = ()
    standing: Standing = NOTHING
    problem: str = ""
    absent: bool = False
    remarks: tuple[str, ...] = ()


def target_called(
    name: str, roster: Roster, launch: Launch, environment: Mapping[str, str], *, start: bool = True
) -> Scheduler:
    """The target of that name. Nothing is asked yet."""
    if name == CRONTAB:
        from heartbeat.install.crontab import CrontabTarget

        return CrontabTarget(roster, launch, environment)
    if name in (SYSTEMD_USER, SYSTEMD_SYSTEM):
        from heartbeat.install.systemd import SystemdTarget

        return SystemdTarget(roster, launch, environment, system=name == SYSTEMD_SYSTEM, start=start)
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
        return Installed(target, problem=str(error), absent=isinstance(error, AbsentError))
    return Installed(target, pieces, target.standing(pieces), remarks=tuple(target.remarks(pieces)))


def elsewhere(launch: Launch, targets: Sequence[Target]) -> tuple[Elsewhere, ...]:
    """Which of these targets have beats of the roster on schedule, and which could not be asked.

    A watchdog alone is no beat, nor is a turn of an agent, which leaves no receipt; and a scheduler that is not on this
    machine has none.
    """
    seen = [look(cast(Scheduler, target), launch) for target in targets]
    return tuple(
        Elsewhere(
            each.target.name,
            None if each.problem else each.standing,
            each.problem,
            tuple(dict.fromkeys(piece.agent for piece in each.pieces if piece.agent)),
        )
        for each in seen
        if (each.problem and not each.absent) or each.standing.style not in (None, Style.TURN)
    )


def refuse_second(order: Order, others: Sequence[Elsewhere]) -> None:
    """Raises UsageError where another target has beats of these agents already: one of them would look for nothing."""
    if not order.beats or order.style is Style.TURN:
        return
    chosen = set(order.chosen)
    for each in others:
        if each.standing is None:
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
) -> Order:
    """An order in which what is not said stays as it stands; where nothing stands, it is everybody, with a watchdog.

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
        watchdog=(standing.watchdog or standing.is_empty) if watchdog is None else watchdog,
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
                f"{agent.id} is due every {format_duration(agent.policy.every)}, and {target} starts its jobs once a "
                "minute at most: the slots between are on record as missed; `heartbeat run` beats as often as asked"
            )
