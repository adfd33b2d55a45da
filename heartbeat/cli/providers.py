"""`heartbeat providers`: who is asked for turns, how each of them stands, and whether they work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from heartbeat.cli import operators
from heartbeat.cli.operators import AsOption, DefaultCommandGroup
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session, progress
from heartbeat.cli.terminal import clipped
from heartbeat.errors import Exit, RefusedError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.attempt import Engine
    from heartbeat.cli.provided import Tested
    from heartbeat.dispatch.readiness import Finding, Readiness
    from heartbeat.provider import Failover, Provider
    from heartbeat.roster.model import Agent, Roster
    from heartbeat.store.port import Store

app = typer.Typer(
    help="Who is asked for turns, how each stands, and whether they work.",
    cls=DefaultCommandGroup,
    rich_markup_mode=None,
)

NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="NAME...", help="Providers as `heartbeat providers` lists them.")
]

_NAME = 60
_NEAR = 0.6
"""How alike two names are of which one may be a slip of the other."""
_LONGEST_TURN = 120.0
"""Seconds that a turn of `test --turn` may take where nothing else is said."""
_LOOK = 60.0
"""Seconds for everything that is tested without a turn."""


@app.callback()
def providers() -> None:
    """Who is asked for turns, how each stands, and whether they work."""


@app.command("list")
def list_(
    context: typer.Context,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Each provider in the order in which they are asked, and the engines; the default of this group. Read-only."""
    from heartbeat.report.providers import LATELY, overview

    session = Session(context, roster)
    failover = _failover(session)
    now = session.now()
    with session.store(read_only=True, on_record=True) as store:
        operators.warn_of_loss(store)
        attempts = store.attempts(since=now - LATELY)
        agents = _started(session.roster)
        seen = overview(failover, frozenset(agents.values()), store.breakers(), attempts, now, agents)
    from heartbeat.cli import documents, provided

    if json_output:
        documents.write(provided.of_standings(seen, failover, session.roster, now))
    else:
        provided.print_standings(seen, failover, session, now)


@app.command("reset")
def reset(
    context: typer.Context,
    names: NamesArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="Every breaker there is, the engines' too.")] = False,
    why: Annotated[str | None, typer.Option("--why", metavar="TEXT", help="Why, for the log.")] = None,
    as_agent: AsOption = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Close a breaker and end a rate limit's time now: the next turn asks the provider again."""
    from heartbeat.attempt import Engine

    session = Session(context, roster)
    by = operators.author(session, as_agent)
    _one_of(names, everything, "nothing is named to be reset")
    configured = tuple(each.name for each in _failover(session).providers)
    said = operators.remark(why)
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        with store.transaction():
            known = store.breakers()
            meant = _meant(names or (), _resettable(session.roster, configured, tuple(known)), tuple(Engine))
            chosen = tuple(known) if everything else _with_own(meant, known)
            done = [_closed(store, name, by, said, session.now()) for name in chosen]
    if json_output:
        from heartbeat.cli import documents, provided

        documents.write(provided.of_reset(done, by, session.now()))
        return
    for each in done:
        typer.echo(f"{clipped(each.name, _NAME)}: {each.told}")
    if not done:
        typer.echo("No breaker is on record: nobody has failed yet.")


@app.command("test")
def try_out(
    context: typer.Context,
    names: NamesArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="Every provider that is enabled.")] = False,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="AGENT", help="Ask as this agent; else the first that is started.")
    ] = None,
    turn: Annotated[
        bool, typer.Option("--turn", help="Ask for one short real turn of each. It costs what a turn costs.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=30.0, metavar="SECONDS", help="With --turn: for each turn.")
    ] = _LONGEST_TURN,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """Do they work? Without --turn no model is asked: whether OpenClaw answers, and knows agent and model. Exit 1 where
    one does not."""
    session = Session(context, roster)
    _one_of(names, everything, "nothing is named to be tested")
    failover = _failover(session)
    enabled = tuple(each.name for each in failover.enabled)
    chosen = enabled if everything else _meant(names or (), tuple(each.name for each in failover.providers))
    asked = _agents(session.roster, agent)
    wanted = [each for each in failover.providers if each.name in chosen]
    report = _examined(session, failover, asked, wanted, everybody=agent is None)
    from heartbeat.cli import documents, provided

    tested = provided.Tested(report, asked)
    if turn:
        tested = _turns(session, failover, tested, timeout)
    if json_output:
        documents.write(provided.of_test(tested, failover, session.now()))
    else:
        provided.print_test(tested)
    if any(each.verdict.value == "fails" for each in tested.findings):
        raise typer.Exit(Exit.FOUND)


def _failover(session: Session) -> Failover:
    from heartbeat.dispatch.providers import failover_of

    return failover_of(session.roster, session.environment)


def _started(roster: Roster) -> dict[str, Engine]:
    """Whom the roster lets heartbeat start, and at which engine."""
    from heartbeat.attempt import Engine

    names = {engine.value: engine for engine in Engine}
    return {each.id: names[each.policy.dispatch] for each in roster.agents.values() if each.policy.dispatch in names}


def _resettable(roster: Roster, configured: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Every name that a breaker of this team may have: the roster's providers, the engines that it starts agents at
    with their own choice of models, and what is on record."""
    from heartbeat.attempt import Engine
    from heartbeat.provider import MULTICA_NATIVE, NATIVE, breaker_of

    engines = _started(roster)
    owns = {Engine.OPENCLAW: NATIVE, Engine.MULTICA: MULTICA_NATIVE}
    used = dict.fromkeys((*configured, *(owns[engine] for engine in engines.values())))
    own = [breaker_of(owns[engine], agent) for agent, engine in engines.items() if owns[engine] in used]
    above = (name.partition("/")[0] for name in known if "/" in name)
    return tuple(dict.fromkeys((*used, *(engine.value for engine in engines.values()), *known, *above, *own)))


def _one_of(names: Sequence[str] | None, everything: bool, nothing: str) -> None:
    if everything and names:
        raise UsageError("--all and names do not go together", advice="use one of them")
    if not everything and not names:
        raise UsageError(nothing, advice="name providers, or use --all; `heartbeat providers` lists them")


def _meant(names: Iterable[str], known: Sequence[str], also: Sequence[str] = ()) -> tuple[str, ...]:
    """The names, each once; `also` are allowed and not offered. Raises UsageError for another, with the nearest."""
    from difflib import get_close_matches

    for name in names:
        if name not in known and name not in also:
            near = get_close_matches(name, known, n=1, cutoff=_NEAR)
            nearest = f"perhaps {near[0]}; " if near else ""
            raise UsageError(
                f"no provider is called {clipped(name, _NAME)!r}; nothing was done",
                advice=f"{nearest}there are: {', '.join(dict.fromkeys(clipped(each, _NAME) for each in known))}",
            )
    return tuple(dict.fromkeys(names))


def _with_own(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """With each agent's own breaker, where an engine's own choice of models is meant for all of them."""
    from heartbeat.provider import OWN_CHOICE

    found = dict.fromkeys(names)
    own = {name: [each for each in known if each.startswith(f"{name}/")] for name in OWN_CHOICE & found.keys()}
    return tuple(each for name in found for each in own.get(name) or (name,))


# Resetting.


@dataclass(frozen=True, slots=True)
class Reset:
    """One breaker that was closed: what it was, empty where there was nothing to reset, and why it had opened."""

    name: str
    was: tuple[str, ...]
    because: str
    told: str


def _closed(store: Store, name: str, by: str, why: str, now: datetime) -> Reset:
    """Closes one breaker. What was begun before is late from now on, and tells nothing of the provider any more."""
    from heartbeat.breaker import Breaker, State, is_cooling, state_at
    from heartbeat.store.port import LogEntry

    before = store.breakers().get(name, Breaker(name))
    state = state_at(before, now)
    was = [state.value.replace("_", "-")] if state is not State.CLOSED else []
    was += ["rate-limited"] if is_cooling(before, now) else []
    if state is State.CLOSED and before.failures:
        was.append("one failure on" if before.failures == 1 else f"{before.failures} failures in a row on")
    if not was:
        return Reset(name, (), "", "nothing to reset, it is asked as ever")
    told = f"{name}: reset by {by}{f': {why}' if why else ''}; it was {', '.join(was)}"
    details = {"provider": name, "by": by, "why": why, "was": was, "because": before.why}
    store.put_breaker(Breaker(name, changed_at=now))
    store.add_log([LogEntry(now, "provider-reset", told, details=details)])
    return Reset(name, tuple(was), before.why, f"reset, it is asked again from now on; it was {', '.join(was)}")


# Testing.


def _agents(roster: Roster, name: str | None) -> tuple[Agent, ...]:
    """Whom to test with: the one that is named, else all that are started at OpenClaw, else the first."""
    if name is not None:
        return roster.chosen([name])
    started = tuple(each for each in roster.agents.values() if each.policy.dispatch == "openclaw")
    return started or tuple(roster.agents.values())[:1]


def _examined(
    session: Session, failover: Failover, asked: Sequence[Agent], wanted: Sequence[Provider], *, everybody: bool
) -> Readiness:
    """With `everybody` also at Multica, where somebody is started there."""
    from dataclasses import replace

    from heartbeat.attempt import Engine
    from heartbeat.deadline import Deadline
    from heartbeat.dispatch.readiness import examine_multica, examine_openclaw

    progress("asking OpenClaw …")
    roster, environment = session.roster, session.environment
    ids = [each.id for each in asked]
    found = examine_openclaw(roster, environment, failover, ids, Deadline.after(_LOOK), providers=wanted)
    theirs = [each for each in roster.agents.values() if everybody and each.policy.dispatch == Engine.MULTICA]
    if theirs:
        progress("asking Multica …")
        other = examine_multica(roster, environment, theirs, Deadline.after(_LOOK))
        found = replace(found, engine=(*found.engine, *other.engine))
    return found


def _turns(session: Session, failover: Failover, looked: Tested, seconds: float) -> Tested:
    """One turn with each, one after the other; none with whom the look has shown not to work."""
    from dataclasses import replace

    from heartbeat.cli.dispatch import context_of
    from heartbeat.cli.provided import told_of
    from heartbeat.dispatch.readiness import Finding, Verdict
    from heartbeat.dispatch.trial import Tried, try_turn

    turns: dict[str, Tried] = {}
    told: dict[str, Finding] = {}
    by, agent = operators.author(session, None), looked.agents[0].id
    with session.store(read_only=False) as store:
        operators.warn_of_loss(store)
        for each in looked.report.providers:
            provider = failover.named(each.subject)
            if provider is None or each.verdict in (Verdict.FAILS, Verdict.UNTESTED):
                continue
            progress(f"asking {provider.name} for a turn of {agent} …")
            try:
                tried = try_turn(context_of(session, store, seconds=seconds), agent, provider, by)
            except RefusedError as error:
                said = f"no turn was asked for: {error}"
                told[provider.name] = Finding(provider.name, Verdict.FAILS, said, error.advice)
                continue
            turns[provider.name] = tried
            told[provider.name] = _with_breaker(store, told_of(provider.name, tried), agent, session.now())
    return replace(looked, turns=turns, told=told)


def _with_breaker(store: Store, found: Finding, agent: str, now: datetime) -> Finding:
    """One that works, and that nobody asks all the same: an open breaker hears of its own probe alone."""
    from dataclasses import replace

    from heartbeat.breaker import Breaker, State, is_cooling, state_at
    from heartbeat.dispatch.readiness import Verdict
    from heartbeat.provider import breaker_of

    name = breaker_of(found.subject, agent)
    breaker = store.breakers().get(name, Breaker(name))
    asked = state_at(breaker, now) is State.CLOSED and not is_cooling(breaker, now)
    if asked or found.verdict is not Verdict.WORKS:
        return found
    return replace(found, advice=f"beats do not ask it yet: `heartbeat providers reset {name}` lets them")
