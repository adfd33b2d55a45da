"""Dead letters on a screen and as JSON, and what their tasks are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from heartbeat.cli.terminal import clipped
from heartbeat.errors import UsageError
from heartbeat.plural import counted

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.attempt import Attempt, DeadLetter
    from heartbeat.breaker import Breaker
    from heartbeat.cli.session import Session
    from heartbeat.observation import Observation
    from heartbeat.report.providers import Shut
    from heartbeat.roster.model import Agent
    from heartbeat.store.port import Store
    from heartbeat.task import Task

_TITLE = 60
_ERROR = 300
_WHOLE = 4000
_LISTED = 50
_COLOURS = {"exhausted": "bold red", "replaying": "yellow", "replayed": "green", "dropped": "dim"}


def named(letter: DeadLetter) -> str:
    """Whose it is, and what its task is called."""
    return f"{letter.agent}: {clipped(letter.title, _TITLE)}"


@dataclass(frozen=True, slots=True)
class Now:
    """A letter's task as the sources show it. `task` is None where they do not show it; `known` says whether every
    source that would was read completely."""

    task: Task | None
    known: bool

    @property
    def over(self) -> bool:
        return self.known and (self.task is None or self.task.closed)

    @property
    def told(self) -> str:
        if self.task is None:
            return "no source shows it any more" if self.known else "not known: not every source was read"
        status = "archived" if self.task.archived else self.task.status.value.replace("_", " ")
        over = ": it is over, and the next beat drops the letter" if self.over else ""
        return f"{self.task.items[0].key}, {status}{over}"


def task_of(seen: Observation | None, letter: DeadLetter) -> Now:
    """The task of a letter, by what was seen."""
    if seen is None:
        return Now(None, known=False)
    wanted = frozenset(letter.refs)
    tasks = (standing.task for standing in seen.assessment.standings)
    found = [task for task in tasks if not wanted.isdisjoint(task.refs)]
    open_first = sorted(found, key=lambda task: task.closed)
    complete = seen.judgement.scene.complete
    return Now(next(iter(open_first), None), known=all(ref.source in complete for ref in letter.refs))


def replayed_by(session: Session, letter: DeadLetter, breakers: Mapping[str, Breaker]) -> str:
    """Which beat replays an open letter, or why none does; where every way to a turn is shut, the first beat after one
    of them opens."""
    from heartbeat.attempt import LetterState
    from heartbeat.cli import tables
    from heartbeat.schedule.slots import next_slot

    if letter.state is LetterState.EXHAUSTED:
        return f"no beat: it is left for a person. `heartbeat dlq retry {letter.id}` tries again"
    if letter.state is LetterState.REPLAYING:
        return "its turn goes on: `heartbeat attempts` shows it"
    roster, now = session.roster, session.now()
    agent = roster.agents.get(letter.agent)
    if agent is None:
        return f"no beat: {letter.agent} is not in the roster any more"
    if agent.policy.dispatch == "none":
        by_hand = f"`heartbeat dlq retry {letter.id} --now` does"
        return f"no beat: the roster lets none start {agent.id} (`dispatch: none`); {by_hand}"
    # A letter that is due at a slot is replayed by that very beat, and a breaker that opens at a slot lets it through.
    just_before = timedelta(microseconds=1)
    due = max(now, letter.due_at - just_before)
    usual = next_slot(agent.policy, roster.timezone, due)
    shut = _shut(session, agent, breakers)
    if shut is None or (shut.until is not None and shut.until <= usual):
        return f"the beat of {agent.id} at {tables.local(usual, roster.timezone)}"
    why = clipped("; ".join(shut.reasons), _ERROR)
    if shut.until is None:
        return f"no beat as things stand: nobody can be asked: {why}"
    at = next_slot(agent.policy, roster.timezone, max(due, shut.until - just_before))
    until = tables.local(shut.until, roster.timezone)
    return (
        f"the beat of {agent.id} at {tables.local(at, roster.timezone)} at the earliest: nobody can be asked before "
        f"{until}: {why}; `heartbeat providers reset` opens the way now"
    )


def _shut(session: Session, agent: Agent, breakers: Mapping[str, Breaker]) -> Shut | None:
    """Why nobody can be asked for a turn of the agent now; None where somebody can."""
    from heartbeat.dispatch.preparation import engine_of
    from heartbeat.dispatch.providers import failover_of
    from heartbeat.report.providers import Shut, shut_for

    try:
        failover = failover_of(session.roster, session.environment)
    except UsageError as error:
        return Shut(None, (str(error),))
    return shut_for(agent.id, engine_of(agent), failover, breakers, session.now())


# JSON.


def document(letter: DeadLetter, now: datetime) -> dict[str, Any]:
    """One letter of `heartbeat.dlq/1`: everything but what was kept to try again."""
    from heartbeat.instants import to_text
    from heartbeat.rules.failover import LETTER_TRIES, is_due

    return {
        "id": letter.id,
        "state": letter.state.value,
        "due": is_due(letter, now),
        "due_at": to_text(letter.due_at),
        "tries": letter.tries,
        "tries_at_most": LETTER_TRIES,
        "poison": letter.poison,
        "agent": letter.agent,
        "task": letter.task,
        "refs": [str(ref) for ref in letter.refs],
        "title": letter.title,
        "created_at": to_text(letter.created_at),
        "closed_at": None if letter.closed_at is None else to_text(letter.closed_at),
        "error": letter.error,
        "attempts": list(letter.attempts),
    }


def attempts_of(store: Store, letter: DeadLetter) -> tuple[Attempt, ...]:
    """Those that the letter answers for, and those that replayed it."""
    found = store.attempts(refs=letter.refs)
    return tuple(each for each in found if each.id in letter.attempts or each.letter == letter.id)


def letter_document(
    letter: DeadLetter, tried: Sequence[Attempt], now: Now, session: Session, replay: str
) -> dict[str, Any]:
    """`heartbeat.letter/1`; `replay` says which beat replays it, empty for a closed one."""
    from heartbeat.cli import attempts
    from heartbeat.instants import to_text

    at = session.now()
    return {
        "schema": "heartbeat.letter/1",
        "generated_at": to_text(at),
        "letter": document(letter, at),
        "task": {
            "known": now.known,
            "over": now.over,
            "status": None if now.task is None else now.task.status.value,
            "key": None if now.task is None else now.task.key,
            "told": now.told,
        },
        "attempts": [attempts.document(each, at) for each in tried],
        "payload": dict(letter.payload),
        "replayed_by": replay or None,
    }


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of one letter: `due`, `left` (its task is over) or `dropped`; in words; and with `--now` its turn,
    and whether that was begun."""

    letter: DeadLetter
    change: str
    told: str
    begun: bool | None = None
    attempt: Attempt | None = None


def changes_document(done: Sequence[Changed], by: str, now: datetime) -> dict[str, Any]:
    """`heartbeat.dlq/1` after a change: the letters that were meant, as they are from then on."""
    from heartbeat.cli import attempts
    from heartbeat.instants import to_text

    return {
        "schema": "heartbeat.dlq/1",
        "generated_at": to_text(now),
        "by": by,
        "letters": [document(each.letter, now) for each in done],
        "changed": [
            {
                "id": each.letter.id,
                "change": each.change,
                "told": each.told,
                "begun": each.begun,
                "turn": None if each.attempt is None else attempts.document(each.attempt, now),
            }
            for each in done
        ],
    }


# Screens.


def print_letters(found: Sequence[DeadLetter], session: Session) -> None:
    """One row a letter."""
    from heartbeat.cli import tables, wording
    from heartbeat.cli.called import called

    now = session.now()
    fixed: dict[str, Any] = {"no_wrap": True}
    table = tables.grid(fixed, fixed, fixed, fixed, fixed, {"overflow": "fold"})
    shown = found[-_LISTED:]
    names = called(session.state, (str(ref) for each in shown for ref in each.refs))
    for each in shown:
        name = next((names[str(ref)] for ref in each.refs if str(ref) in names), each.task)
        said = tables.cell(f"{clipped(name, _TITLE)} {clipped(each.title, _TITLE)}")
        said.append("\n").append_text(tables.cell(clipped(each.error, _ERROR), "dim"))
        table.add_row(
            "",
            tables.cell(each.id),
            tables.cell(_state(each, now), _COLOURS.get(each.state.value, "")),
            tables.cell(_tries(each)),
            tables.cell(wording.age_of(each.created_at, now)),
            tables.cell(each.agent),
            said,
        )
    out = tables.console()
    if len(found) > len(shown):
        left = counted(len(found) - len(shown), "earlier one is", "earlier ones are")
        out.print(tables.cell(f"  {left} not listed: --json has them", "dim"))
    out.print(table)


def _state(letter: DeadLetter, now: datetime) -> str:
    from heartbeat.attempt import LetterState
    from heartbeat.instants import format_duration
    from heartbeat.rules.failover import is_due

    if letter.state is not LetterState.WAITING:
        return letter.state.value
    return "due now" if is_due(letter, now) else f"due in {format_duration(letter.due_at - now)}"


def _tries(letter: DeadLetter) -> str:
    from heartbeat.rules.failover import LETTER_TRIES

    return f"{letter.tries} of {LETTER_TRIES} tries"


def print_letter(letter: DeadLetter, tried: Sequence[Attempt], now: Now, session: Session, replay: str) -> None:
    """One letter with everything; `replay` says which beat replays it, empty for a closed one."""
    from heartbeat.cli import attempts, tables

    at, zone = session.now(), session.roster.timezone
    out = tables.console()
    out.print(tables.cell(f"{letter.id} {named(letter)}", "bold"))
    facts = [
        ("state", f"{_state(letter, at)}, {_tries(letter)}"),
        ("task", f"{letter.task}{'; the task itself was refused' * letter.poison}"),
        ("now", now.told),
        ("since", tables.local(letter.created_at, zone)),
        ("closed", "" if letter.closed_at is None else tables.local(letter.closed_at, zone)),
        ("replay", replay),
        ("error", clipped(letter.error, _WHOLE)),
    ]
    facts += [(name, clipped(_plain(value), _WHOLE)) for name, value in letter.payload.items()]
    table = tables.grid({"no_wrap": True, "style": "dim"}, {"overflow": "fold"})
    for name, told in facts:
        if told:
            table.add_row("", tables.cell(clipped(name, _TITLE)), tables.cell(told))
    out.print(table)
    if not tried:
        out.print(tables.cell("  none of its attempts is on record any more", "dim"))
        return
    out.print()
    out.print(tables.cell(f"Attempts ({len(tried)})", "bold"))
    fixed: dict[str, Any] = {"no_wrap": True}
    listed = tables.grid(fixed, fixed, fixed, fixed, fixed, {"overflow": "fold"})
    for each in tried:
        replay = ", a replay" if each.letter == letter.id else ""
        listed.add_row(
            "",
            tables.cell(each.id[: attempts.SHORT], "dim"),
            tables.cell(tables.local(each.accepted_at or each.planned_at, zone)),
            tables.cell(f"#{each.number}{replay}"),
            tables.cell(attempts.standing(each, at), attempts.colour(each)),
            tables.cell(attempts.asked(each)),
            attempts.said(each),
        )
    out.print(listed)


def _plain(value: Any) -> str:
    """A value of the payload: text as it is, lists with `; ` between."""
    import json

    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "; ".join(value)
    return json.dumps(value, ensure_ascii=False)
