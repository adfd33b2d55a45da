"""What is on schedule for one roster at one target, and what becomes of it when agents are added or taken off. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from heartbeat.errors import Exit, UsageError
from heartbeat.install.base import Order, Style
from heartbeat.roster.model import Roster


class AbsentError(UsageError):
    """The scheduler is not on this machine at all, so that nothing can be on schedule there."""


class UnaskedError(UsageError):
    """The scheduler is there and could not be asked, so that nobody knows what is on schedule; nothing was done."""

    exit_code = Exit.INCOMPLETE


@dataclass(frozen=True, slots=True)
class Standing:
    """`style` is None where no beat is on schedule. `agents` are ids; empty, with a style, means everybody that the
    roster has, also later."""

    style: Style | None
    agents: tuple[str, ...] = ()
    watchdog: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing at all is on schedule."""
        return self.style is None and not self.watchdog


NOTHING = Standing(None)


@dataclass(frozen=True, slots=True)
class Other:
    """What a scheduler keeps for another roster. `agents` are those that have a job of their own there."""

    roster: Path
    standing: Standing
    agents: tuple[str, ...] = ()


def wanted_standing(standing: Standing, order: Order) -> Standing:
    """What should be on schedule after `install`. Raises UsageError where agents cannot be added to what stands."""
    return joined(standing, order) if order.agents else asked(order)


def asked(order: Order) -> Standing:
    """Exactly the order, whatever stands now."""
    if not order.beats:
        return Standing(None, (), order.watchdog)
    return Standing(order.style, _in_order(order.roster, order.agents), order.watchdog)


def joined(standing: Standing, order: Order) -> Standing:
    """The order's agents on top of those that have beats already. What the roster no longer has falls away.

    A target has one style a roster: two would make two jobs beat for the same agents. A watchdog that stands is kept.
    """
    there = standing.agents or tuple(order.roster.agents)
    others = tuple(agent for agent in there if agent in order.roster.agents and agent not in order.agents)
    if standing.style is None or (standing.agents and not others):
        return asked(order)
    if standing.style is not order.style:
        raise UsageError(
            f"other agents are on schedule in another style ({standing.style.value}, not {order.style.value})",
            advice="leave the agents out to change the style of all, or take the others off with `heartbeat cron "
            "remove` first",
        )
    watchdog = order.watchdog or standing.watchdog
    if not standing.agents:
        return replace(standing, watchdog=watchdog)
    kept = tuple(agent for agent in standing.agents if agent in order.roster.agents)
    return Standing(order.style, _in_order(order.roster, (*kept, *order.agents)), watchdog)


def left(standing: Standing, order: Order) -> Standing:
    """What stands after the order's agents are taken off; nothing where it names none.

    The last agent takes the watchdog along, which would otherwise report beats that nobody wants. Everybody but some is
    from then on a list: agents that the roster gets later are not on it.
    """
    if not order.agents:
        return NOTHING
    if standing.style is None:
        return standing
    there = standing.agents or tuple(order.roster.agents)
    rest = [agent for agent in there if agent not in order.agents and agent in order.roster.agents]
    if len(rest) == len(there):
        return standing
    return replace(standing, agents=_in_order(order.roster, rest)) if rest else NOTHING


def _in_order(roster: Roster, agents: Iterable[str]) -> tuple[str, ...]:
    """Each once, as the roster has them: the order in which they came to a schedule is no difference."""
    places = {agent: place for place, agent in enumerate(roster.agents)}
    return tuple(sorted(dict.fromkeys(agents), key=lambda agent: places.get(agent, len(places))))
