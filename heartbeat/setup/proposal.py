"""Which class an agent probably belongs to, by what it is called: a table, and a reason for each answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from heartbeat.setup.foreign import clean, fold

HIGH_FREQUENCY = "high_frequency"
DEVELOPER = "developer"
BUSINESS = "business"

_RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        BUSINESS,
        ("*prompt*", "*提示词*", "*business*develop*", "*content*", "*内容*"),
    ),
    (
        HIGH_FREQUENCY,
        (
            *("coo", "* coo", "coo *", "*chief*operat*", "*secretary*", "*assistant", "assistant*", "*coordinator*"),
            *("*dispatcher*", "*triage*", "*chief*of*staff*", "*运营总监*", "*秘书*", "*调度*", "*统筹*"),
        ),
    ),
    (
        DEVELOPER,
        (
            *("*developer*", "dev", "dev *", "* dev", "*dev", "*devops*", "*coder*", "*coding*", "*programmer*"),
            *("*engineer*", "*architect*", "*designer*", "*frontend*", "*backend*", "*fullstack*", "*full stack*"),
            *("*product*manager*", "*project*manager*", "*reviewer*", "*tester*", "qa", "* qa", "qa *", "sre", "cto"),
            *("*开发*", "*工程师*", "*架构*", "*设计师*", "*程序*", "*运维*", "*测试*", "*前端*", "*后端*"),
            *("*产品经理*", "*项目经理*", "*代码*"),
        ),
    ),
    (
        BUSINESS,
        (
            *("*specialist*", "*marketing*", "*market*", "*analyst*", "*analysis*", "*lawyer*", "*legal*", "*sales*"),
            *("*expert*", "*writer*", "*editor*", "*support*", "*finance*", "*account*", "*recruit*", "hr", "*seo*"),
            *("*市场*", "*法务*", "*律师*", "*文案*", "*客服*", "*销售*", "*财务*", "*人事*", "*视频*", "*专员*"),
        ),
    ),
)
"""Patterns over folded names, the first that fits decides. The odd ones come before what they would be taken for."""

WATCHERS = ("coo",)
"""Ids of agents that watch the team: nobody is told about them but themselves (rule R3)."""
PATROLS = ("coo", "secretary")
"""Ids of agents that see the whole team's backlog (rule L0)."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A class, whether anything speaks for it, and why, in words for a comment."""

    class_id: str
    sure: bool
    why: str


def propose(names: Iterable[str]) -> Proposal:
    """The class by what an agent goes by, the id first. Where nothing tells, `business`: the class that tells the
    fewest people and allows the fewest rounds."""
    for name in names:
        folded = fold(name)
        for class_id, patterns in _RULES:
            pattern = next((pattern for pattern in patterns if fnmatchcase(folded, pattern)), None)
            if pattern is not None:
                return Proposal(class_id, True, f"by its name, {clean(name, 60)}")
    return Proposal(BUSINESS, False, "nothing in its name tells: is it?")
