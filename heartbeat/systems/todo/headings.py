"""What a heading says of the items under it: that they are done, or how urgent they are (rule S9). Pure.

The nearest heading that says anything decides. To take open work for done loses it, to show done work is noise: so a
heading counts as "done" only where nothing in it speaks against that (`Definition of Done`, `未完成`, `to be done`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from heartbeat.task import Priority

_DONE = re.compile(
    r"""(?<![a-z])(?:done|completed|finished|archived?)(?![a-z])
    |^\W*complete\W*$
    |已完成|已办结|已结束|已关闭|归档|存档
    |完成的|(?:^|\W|近|日|天|周|月|年|部)完成(?:任务|事项|项|列表)?(?:\W|$)""",
    re.VERBOSE,
)

_AGAINST_DONE = re.compile(
    r"""(?<![a-z])(?:not|un|yet|never|be|get|gets|getting|to|todo|must|should|when|until|before|if|is|how|what|criteria
        |definition|checklist|policy|process|procedure|rules?|plan|half|almost|partly|partially|nearly|[a-z]{1,8}n['’]t)(?![a-z])
    |in[ -]?progress|ongoing
    |[未待需要应须否没不难再准]|尽快|进行中|如何|怎[么样]|标准|条件|定义|流程|规则|策略|机制|计划|方法|部分
    |(?<![0-9])[0-9]{1,2}[ ]?[%％]|[?？]""",
    re.VERBOSE,
)

_OPEN = re.compile(
    r"""(?<![a-z])(?:to[ -]?do|open|next|backlog|doing|in[ -]?progress|ongoing|pending|waiting|blocked)(?![a-z])
    |未完成|待完成|待办|进行中|未开始|下一步|阻塞""",
    re.VERBOSE,
)

_PRIORITIES: tuple[tuple[re.Pattern[str], Priority], ...] = tuple(
    (re.compile(pattern), priority)
    for pattern, priority in (
        (r"(?<![a-z0-9])p0(?![a-z0-9])|(?<!not )(?<!non-)(?<![a-z])(?:urgent|critical|asap)(?![a-z])", Priority.URGENT),
        (r"(?<![不非无])(?:紧急|加急|特急)|🔺", Priority.URGENT),
        (r"(?<![a-z0-9])p1(?![a-z0-9])|(?<![a-z])high[ -]prio(?:rity)?(?![a-z])|^\W*high\W*$", Priority.HIGH),
        (r"(?<![a-z])priority\W{1,3}high(?![a-z])|高优|优先级\W{0,3}高|⏫", Priority.HIGH),
        (r"(?<![a-z0-9])p2(?![a-z0-9])|(?<![a-z])(?:medium|normal)[ -]prio(?:rity)?(?![a-z])", Priority.NORMAL),
        (r"^\W*(?:medium|normal)\W*$|(?<![a-z])priority\W{1,3}(?:medium|normal)(?![a-z])", Priority.NORMAL),
        (r"[中普]优|普通优先|优先级\W{0,3}(?:中|普通)|🔼", Priority.NORMAL),
        (r"(?<![a-z0-9])p3(?![a-z0-9])|(?<![a-z])low[ -]prio(?:rity)?(?![a-z])|^\W*low\W*$", Priority.LOW),
        (r"(?<![a-z])priority\W{1,3}low(?![a-z])|低优|优先级\W{0,3}低|🔽|⏬", Priority.LOW),
    )
)
"""The most urgent first: a heading that names a range counts as its upper end."""


def says_done(headings: Sequence[str]) -> bool:
    """Whether what stands under these headings (outermost first) is finished or archived."""
    for heading in reversed(headings):
        folded = heading.casefold()
        if _DONE.search(folded):
            return _AGAINST_DONE.search(folded) is None and _OPEN.search(folded) is None
        if _OPEN.search(folded):
            return False
    return False


def says_priority(headings: Sequence[str]) -> Priority:
    """How urgent the headings (outermost first) say that it is; NONE where they say nothing."""
    for heading in reversed(headings):
        folded = heading.casefold()
        for pattern, priority in _PRIORITIES:
            if pattern.search(folded):
                return priority
    return Priority.NONE
