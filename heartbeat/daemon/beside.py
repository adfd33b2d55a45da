"""Who else beats for the same roster. Two daemons are one too many, and so is a daemon beside a crontab (rule B1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from heartbeat.daemon.supervisor import Supervisor
from heartbeat.deadline import Deadline
from heartbeat.errors import UsageError
from heartbeat.install.base import Order, Style, Target
from heartbeat.install.install import Elsewhere, elsewhere, refuse_second
from heartbeat.install.rivals import remarks_on
from heartbeat.roster.model import Roster
from heartbeat.schedule.launch import Launch
from heartbeat.store.locks import Lock, try_exclusive

LOCK = "_daemon.lock"
"""No agent can be called so: their own locks are named by their ids."""

LEASE = 180.0
"""Seconds until the first renewal of the daemon's lock is overdue."""

ASKING = 60.0
"""Seconds that one scheduler may take to say what it has, and to spare: each gives up on itself before that."""


@contextmanager
def only_daemon(locks: Path, purpose: str) -> Iterator[Lock]:
    """The lock that a state's one daemon holds. Raises UsageError, naming the holder, where there is one already, and
    StateError where the state cannot be used.

    One that hangs or was stopped, and has not renewed its lock in time, is ended, and its place is taken.
    """
    with try_exclusive(locks / LOCK, purpose=purpose, until=Deadline.after(LEASE)) as lock:
        if not lock.held:
            raise UsageError(
                f"another daemon beats on this state already: {lock.told_of_holder} ({lock.path})",
                advice="let that one go on, or end it first (SIGTERM, or `systemctl stop` for the unit that runs it)",
            )
        yield lock


def take_time(supervisor: Supervisor, lock: Lock) -> None:
    """Before a scheduler is asked: systemd waits for our READY=1, and another daemon for our place, and neither knows
    what we are doing."""
    supervisor.needs(ASKING)
    lock.renew(Deadline.after(LEASE))


def beside(
    roster: Roster,
    launch: Launch,
    targets: Sequence[Target],
    names: Sequence[str],
    environment: Mapping[str, str],
    before_each: Callable[[], None] = lambda: None,
) -> tuple[str, ...]:
    """Asks the schedulers whether they beat for these agents too (all, where none is named), for this roster or
    another, which is read in this environment; sentences about what they would not say. Raises UsageError where one
    does.

    One that cannot be asked is no reason to stay away. A unit of the daemon itself is no other schedule: it may be what
    started us, and two daemons keep each other out.
    """
    found: list[Elsewhere] = []
    for target in targets:
        before_each()
        found += [each for each in elsewhere(launch, [target]) if not _is_our_unit(each)]
    try:
        refuse_second(Order(roster, launch, Style.DAEMON, tuple(names)), found, environment)
    except UsageError as error:
        raise UsageError(str(error), advice=f"{error.advice}; --beside beats all the same") from error
    unknown = (each for each in found if each.standing is None)
    return (
        *(
            f"whether {each.target} has beats of this roster on schedule is not known: {each.problem}"
            for each in unknown
        ),
        *remarks_on(found, roster, environment),
    )


def _is_our_unit(each: Elsewhere) -> bool:
    return each.roster is None and each.standing is not None and each.standing.style is Style.DAEMON
