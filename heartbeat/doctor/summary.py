"""The doctor's checks as people read them: what matters most first, and what is said of many agents said once. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from heartbeat.doctor.check import Check, Level

AGENT = "AGENT"
"""Stands for each of them, where many are told the same."""


@dataclass(slots=True)
class Remark:
    """One thing to read. `agents` are those whom it is said of, empty where it is about no agent."""

    check: Check
    agents: list[str] = field(default_factory=list)

    @property
    def is_shared(self) -> bool:
        """Whether it is said of more than one."""
        return len(self.agents) > 1


def summary(checks: Iterable[Check], team: Collection[str]) -> Sequence[Remark]:
    """Worst first, else in the order in which they came. `team` are the ids of all agents."""
    found: dict[tuple[str, ...], Remark] = {}
    for check in checks:
        if check.area not in team:
            found[("", str(len(found)))] = Remark(check)
            continue
        general = _generalised(check)
        known = found.setdefault((general.subject, general.level, general.message, general.advice), Remark(check))
        known.agents.append(check.area)
        if known.is_shared:
            known.check = _shared(general, known.agents, everybody=len(known.agents) == len(team))
    order = list(Level)
    return sorted(found.values(), key=lambda each: order.index(each.check.level), reverse=True)


def _generalised(check: Check) -> Check:
    """The same with AGENT in the place of the agent's id, wherever that stands as a word of its own."""
    word = re.compile(rf"(?<![\w-]){re.escape(check.area)}(?![\w-])")
    return Check("", check.subject, check.level, word.sub(AGENT, check.message), word.sub(AGENT, check.advice))


def _shared(general: Check, agents: Sequence[str], *, everybody: bool) -> Check:
    """What is said of these agents together; one `render` does for all of them."""
    whom = "--all" if everybody else " ".join(agents)
    advice = general.advice.replace(f"render {AGENT}", f"render {whom}")
    return Check("", general.subject, general.level, general.message, advice)
