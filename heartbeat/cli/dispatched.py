"""What `heartbeat dispatch` tells of a request: on the screen, and as `heartbeat.dispatch/1` (docs/json.md)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from heartbeat.cli import attempts, zone

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.attempt import Attempt, DeadLetter
    from heartbeat.dispatch.follow import Followed
    from heartbeat.dispatch.single import Asked
    from heartbeat.rules.dispatching import Reason, Skip
    from heartbeat.store.port import Store

SCHEMA = "heartbeat.dispatch/1"

_TITLE = 60


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a request. `status` is `planned`, `refused`, `dead_letter`, `running`, `unknown`, or the outcome
    of the last attempt; `last` is the attempt that is told of, `attempts` all of this request."""

    status: str
    last: Attempt | None = None
    attempts: tuple[Attempt, ...] = ()
    reason: str | None = None
    error: str = ""
    advice: str = ""
    letter: DeadLetter | None = None
    until: datetime | None = None
    waited_out: bool = False
    """The time to wait was over before the end."""
    left: bool = False
    """Whoever waited did not want to any more."""


def told_of(asked: Asked, followed: Followed | None, store: Store) -> Told:
    """What to tell of a request, and of the wait for its end where somebody waited."""
    from heartbeat.dispatch.start import Result
    from heartbeat.rules.dispatching import Reason

    if followed is not None:
        return _told_of_waiting(asked, followed)
    begun = asked.begun
    if begun is None:
        skip = asked.refused
        if skip is None:
            return Told("planned")
        running = asked.running if skip.reason is Reason.BUSY else None
        return Told(
            "refused",
            running,
            (running,) if running is not None else (),
            reason=skip.reason.value,
            error=_busy(asked, running) if running is not None else skip.told,
            advice=_advice(asked, skip),
            letter=_open_letter(asked, store),
            until=skip.until,
        )
    last, letter = begun.attempt, _open_letter(asked, store) if begun.result is Result.DEAD_LETTER else None
    if begun.result is Result.CONFLICT:
        told = f"somebody else was quicker with {asked.task.items[0].key}: {begun.told}"
        return Told("refused", last, begun.attempts, reason="conflict", error=told, advice="look at it again")
    status = begun.result.value
    if begun.result is Result.FAILED:
        status = last.outcome.value if last.outcome is not None else "failed"
    return Told(status, last, begun.attempts, error=begun.told, letter=letter)


def told_of_leaving(attempt: Attempt) -> Told:
    """Whoever waited has gone; the turn goes on."""
    from heartbeat.attempt import Life

    return Told("running" if attempt.life is Life.RUNNING else "unknown", attempt, (attempt,), left=True)


def _told_of_waiting(asked: Asked, followed: Followed) -> Told:
    from heartbeat.dispatch.follow import End

    early = asked.begun.attempts[:-1] if asked.begun is not None else ()
    every = tuple({each.id: each for each in (*early, *followed.attempts)}.values())
    last = every[-1]
    if followed.end is End.DEAD_LETTER:
        return Told("dead_letter", last, every, error=followed.told, letter=followed.letter)
    if followed.end is End.COMPLETED:
        return Told("completed", last, every)
    if followed.end is End.TIME_UP:
        status = last.outcome.value if last.outcome is not None else last.life.value
        word = status if last.is_finished or status == "running" else "unknown"
        return Told(word, last, every, error=followed.told, waited_out=True)
    status = last.outcome.value if last.outcome is not None else "failed"
    error = "; ".join(dict.fromkeys(filter(None, (last.error, followed.told))))
    return Told(status, last, every, error=error)


def _open_letter(asked: Asked, store: Store) -> DeadLetter | None:
    return next(iter(store.letters(refs=asked.task.refs, open_only=True)), None)


def _typed(asked: Asked) -> str:
    from heartbeat.cli.terminal import clipped

    return shlex.quote(clipped(asked.task.items[0].key, _TITLE))


def _advice(asked: Asked, skip: Skip) -> str:
    """What to do about a refusal."""
    from heartbeat.rules.dispatching import Reason

    agent, name, running = asked.agent.id, _typed(asked), asked.running
    if skip.reason is Reason.BUSY and running is not None:
        return how_to_go_on(asked, running)
    if skip.until is not None and skip.reason in (Reason.TALKING, Reason.BREAKER_OPEN, Reason.BUDGET):
        from heartbeat.cli.tables import local

        return f"{ADVICE[skip.reason].format(agent=agent, task=name)}; until {local(skip.until, _zone(asked))}"
    return ADVICE[skip.reason].format(agent=agent, task=name)


def _zone(asked: Asked) -> str:
    return asked.observation.roster.timezone


ADVICE: Mapping[Reason | str, str] = {
    "none": "set `dispatch` for the agent in the roster",
    "observing": "`heartbeat doctor` tells what was lost, and how to go on without it",
    "paused": "whoever paused that ends it: `heartbeat resume {agent}`, or `heartbeat resume --all`",
    "busy": "try again when that has ended; `heartbeat attempts` shows what heartbeat has started",
    "no_work": "`heartbeat explain {task}` tells why it is where it is",
    "talking": "a person talks to {agent}: wait until that is over",
    "degraded": "`heartbeat doctor` says why; then try again",
    "limit": "wait for one of them to end (`heartbeat attempts`), or raise `limits.running` in the roster",
    "budget": "raise `budget` in the roster, or wait for tomorrow",
    "no_time": "try again: reading everything took too long",
    "changed": "try again in a moment; `heartbeat outbox` shows what is still to be written",
    "held": "`heartbeat hold {task} --end` lifts it",
    "waiting": "finish what it waits for first; `heartbeat deps {task}` shows that",
    "rounds_exhausted": "whoever is in charge may grant more: `heartbeat rounds extend {task} 20`",
    "dead_letter": "it is a dead letter now; the same command tries it again, `heartbeat explain {task}` tells more",
    "breaker_open": "`heartbeat explain {task}` tells who was asked, and why not again",
    "engine": "with `dispatch: multica` an agent works on Multica's issues only: change that in the roster",
}
"""What to do about a refusal, by its reason."""


def _busy(asked: Asked, running: Attempt) -> str:
    """Which turn is in the way."""
    own = not set(running.refs).isdisjoint(asked.task.refs)
    where = f"{asked.task.items[0].key} has" if own else f"{asked.agent.id} has, on {running.task or running.title},"
    return f"{where} a turn that has not ended: {running.id}, {attempts.standing(running, asked.observation.at)}"


def how_to_go_on(asked: Asked, attempt: Attempt) -> str:
    """Where to look, how to wait, how to stop."""
    stops = f"`heartbeat abort {attempt.id[: attempts.SHORT]}` stops it"
    if set(attempt.refs).isdisjoint(asked.task.refs):
        return f"`heartbeat attempts --agent {asked.agent.id}` shows it, {stops}"
    name = _typed(asked)
    return f"`heartbeat dispatch {name} --wait` waits for its end, `heartbeat attempts {name}` shows it, {stops}"


def print_plan(asked: Asked) -> None:
    """What would be done, and the prompt as the agent would get it."""
    from heartbeat.cli.terminal import clipped, plain

    plan, task, provider = asked.plan, asked.task, asked.provider
    if plan is None or provider is None:
        return
    verb = "go on with" if plan.continued else "be started on"
    typer.echo(plain(f"{asked.agent.id} would {verb} {task.items[0].key} {clipped(task.title, _TITLE)}"))
    who = f"{provider.name} ({provider.model})" if provider.model else provider.name
    rows = [("why", asked.decision.told), ("with", f"{who}, at {plan.engine.value}"), ("session", plan.session)]
    for item in plan.items:
        status = item.status.value.replace("_", " ")
        rows.append(("claims", f"{item.key} on {item.ref.source}, {status} now"))
    if plan.letter is not None:
        rows.append(("replays", f"dead letter {plan.letter.id}, {plan.letter.tries} replays so far"))
    _print_rows(rows)
    typer.echo("")
    for line in asked.message.splitlines():
        typer.echo(plain(zone.shown(line)))


def print_turn(told: Told, asked: Asked) -> None:
    """The last attempt: how it stands, with whom, and how to go on where it runs."""
    from heartbeat.cli.terminal import clipped, plain

    last = told.last
    if last is None:
        return
    name = f"{asked.task.items[0].key} {clipped(asked.task.title, _TITLE)}"
    typer.echo(plain(f"{asked.agent.id}: {name}: {told.status.replace('_', ' ')}"))
    rows = [("dispatch", last.id), ("attempt", f"{last.number}, with {attempts.asked(last)}")]
    rows += [("session", last.session), ("cost", attempts.cost(last)), ("error", told.error)]
    if told.letter is not None:
        rows.append(("letter", f"{told.letter.id}, {told.letter.state.value}; {told.letter.tries} replays so far"))
    _print_rows(row for row in rows if row[1])
    if told.status in ("running", "unknown"):
        typer.echo(how_to_go_on(asked, last))


def _print_rows(rows: Iterable[tuple[str, str]]) -> None:
    from heartbeat.cli.terminal import clipped

    for name, said in rows:
        typer.echo(f"  {name:<9} {clipped(zone.shown(said), 1000)}")


def document(told: Told, asked: Asked | None, now: datetime, name: str, agent: str) -> dict[str, Any]:
    """`heartbeat.dispatch/1`. `name` and `agent` are what was asked for, where nothing more is known."""
    from heartbeat.instants import to_text

    last, plan = told.last, asked.plan if asked is not None else None
    use = asked.provider if asked is not None else None
    provider = last.provider if last is not None else use.name if use is not None else None
    model = last.model if last is not None else use.model if use is not None else None
    session = last.session if last is not None else plan.session if plan is not None else None
    return {
        "schema": SCHEMA,
        "generated_at": to_text(now),
        "degraded": asked.observation.sweep.degraded if asked is not None else None,
        "status": told.status,
        "reason": told.reason,
        "error": told.error or None,
        "advice": told.advice or None,
        "until": to_text(told.until) if told.until is not None else None,
        "task": asked.task.key if asked is not None else name,
        "title": asked.task.title if asked is not None else None,
        "agent": asked.agent.id if asked is not None else agent or None,
        "engine": last.engine.value if last is not None else plan.engine.value if plan is not None else None,
        "dispatch": last.id if last is not None else None,
        "attempt": last.number if last is not None else None,
        "provider": provider,
        "model": model or None,
        "session_key": session or None,
        "why": asked.decision.told if asked is not None else None,
        "claims": [
            {"ref": str(item.ref), "key": item.key, "status": item.status.value}
            for item in (plan.items if plan is not None else ())
        ],
        "prompt": asked.message if asked is not None and told.status == "planned" else None,
        "dead_letter": attempts.letter_document(told.letter) if told.letter is not None else None,
        "attempts": [attempts.document(each, now) for each in told.attempts],
    }
