"""What only a person can say, asked one thing at a time: who is in charge, where, which class, who is who."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from heartbeat.roster.classes import BUILT_IN
from heartbeat.setup.begin import Answers, Prospect
from heartbeat.setup.drafts import Candidate
from heartbeat.setup.foreign import clean
from heartbeat.setup.matching import Account, settle

Ask = Callable[[str, str], str]
"""Puts a question, with the answer that is taken where none is given, and gives the answer back."""
Say = Callable[[str], None]
"""Puts a line before a question."""


@dataclass(frozen=True, slots=True)
class Replies:
    """Everything that a person said."""

    operator: str
    timezone: str
    answers: Answers


def interview(prospect: Prospect, operator: str, timezone: str, ask: Ask, say: Say) -> Replies:
    """Asks what is not known; nobody is asked about what is."""
    name = clean(ask("Who is in charge of the team", operator), 80) or operator
    return Replies(
        name, _timezone(timezone, ask, say), Answers(_classes(prospect, ask, say), _accounts(prospect, ask, say))
    )


def _timezone(found: str, ask: Ask, say: Say) -> str:
    while True:
        answer = ask("Time zone", found).strip()
        try:
            ZoneInfo(answer)
        except (KeyError, ValueError, OSError):
            say(f"{clean(answer, 60)!r} is no time zone that this machine knows; write a name such as Asia/Shanghai")
            continue
        return answer


def _classes(prospect: Prospect, ask: Ask, say: Say) -> dict[str, str]:
    """A class for each agent whose name tells none."""
    answers: dict[str, str] = {}
    for candidate in prospect.candidates:
        if candidate.proposal.sure:
            continue
        while candidate.id not in answers:
            answer = ask(f"Class of {_called(candidate)} ({', '.join(BUILT_IN)})", candidate.proposal.class_id).strip()
            chosen = [class_id for class_id in BUILT_IN if answer and class_id.startswith(answer.lower())]
            if len(chosen) == 1:
                answers[candidate.id] = chosen[0]
            else:
                say(f"{clean(answer, 60)!r} is none of {', '.join(BUILT_IN)}")
    return answers


def _accounts(prospect: Prospect, ask: Ask, say: Say) -> dict[str, Account | None]:
    """The account of everybody who may have one: of those with several namesakes, and of those without any, as long as
    accounts are left over."""
    answers: dict[str, Account | None] = {}
    by_id = {candidate.id: candidate for candidate in prospect.candidates}
    for doubt in prospect.matching.doubts:
        given = {account.id for account in answers.values() if account is not None}
        choices = [account for account in doubt.candidates if account.id not in given]
        answers[doubt.person.id] = _choice(by_id[doubt.person.id], choices, ask, say)
    for person in prospect.matching.alone:
        choices = list(settle(prospect.matching, answers).strangers)
        if choices:
            answers[person.id] = _choice(by_id[person.id], choices, ask, say)
    return answers


def _choice(candidate: Candidate, choices: Sequence[Account], ask: Ask, say: Say) -> Account | None:
    if not choices:
        return None
    say(f"Which agent of Multica is {_called(candidate)}?")
    for number, account in enumerate(choices, 1):
        say(f"  {number}  {clean(account.name, 60) or '(without a name)'}  {account.id}")
    while True:
        answer = ask("Its number, or 0 for none", "0").strip()
        if answer.isascii() and answer.isdigit() and int(answer[:6]) <= len(choices):
            return choices[int(answer) - 1] if int(answer) else None
        say(f"{clean(answer, 60)!r} is no number from 0 to {len(choices)}")


def _called(candidate: Candidate) -> str:
    return f"{candidate.id} ({candidate.display_name})" if candidate.display_name else candidate.id
