"""Whether turns could be started, and what stands on record that keeps them from it (rules X2, F1 to F4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from heartbeat.attempt import Engine
from heartbeat.breaker import State, is_cooling, state_at
from heartbeat.dispatch.hooks import program_of
from heartbeat.dispatch.providers import failover_of
from heartbeat.dispatch.readiness import Finding, Verdict, examine_claims, examine_multica, examine_openclaw
from heartbeat.dispatch.uptime import uptime
from heartbeat.doctor.check import Check, Known, Level
from heartbeat.errors import HeartbeatError
from heartbeat.instants import to_text
from heartbeat.roster.model import Roster
from heartbeat.rules.unfinished import exhausted, overdue, overdue_told
from heartbeat.systems.base import Deadline
from heartbeat.systems.process import find_executable

_TURNS = "turns"
"""The area of what concerns the starting of agents."""

_OF_VERDICT = {Verdict.WORKS: Level.OK, Verdict.DOUBTFUL: Level.WARNING, Verdict.FAILS: Level.FAILED}


def check_turns(roster: Roster, environment: Mapping[str, str], deadline: Deadline) -> Iterator[Check]:
    """Whether turns could be started, where some agent is to be (rules X2, F1). No model is asked."""
    of_engine = {
        engine: [each for each in roster.agents.values() if each.policy.dispatch == engine] for engine in Engine
    }
    found: list[Finding] = []
    try:
        failover = failover_of(roster, environment)
    except HeartbeatError as error:
        told = f"{error}: nobody is started"
        yield Check(_TURNS, "providers", Level.FAILED, told, error.advice or "correct it; beats go on without turns")
    else:
        at_openclaw = [each.id for each in of_engine[Engine.OPENCLAW]]
        if at_openclaw:
            seen = examine_openclaw(roster, environment, failover, at_openclaw, deadline, providers=failover.enabled)
            found += seen.findings
    if of_engine[Engine.MULTICA]:
        found += examine_multica(roster, environment, of_engine[Engine.MULTICA], deadline).findings
    if of_engine[Engine.OPENCLAW]:
        found += examine_claims(roster, environment)
    yield from _hooks(roster, environment)
    for each in found:
        if each.verdict is not Verdict.UNTESTED:
            yield Check(_TURNS, each.subject, _OF_VERDICT[each.verdict], each.told, each.advice)


def _hooks(roster: Roster, environment: Mapping[str, str]) -> Iterator[Check]:
    """Whether the commands of `on_complete` are there to be run; none of them is."""
    commands = {tuple(argv) for argv in roster.extra.get("on_complete", ())}
    for program in sorted({program_of(argv, roster) for argv in commands}):
        if find_executable(program, environment) is None:
            told = f"on_complete: {program} is no program that can be run"
            advice = "a name with a slash is looked for where the roster lies, any other on the PATH"
            yield Check(_TURNS, "hooks", Level.WARNING, told, advice)


def check_what_is_left(known: Known, now: datetime) -> Iterator[Check]:
    """What stands on record that keeps turns from being started, or waits for a person (rules F2, F4, X6)."""
    for breaker in known.breakers:
        name = breaker.provider
        if state_at(breaker, now) is not State.CLOSED:
            until = "" if breaker.until is None else f" until {to_text(breaker.until)}"
            state = "open" if state_at(breaker, now) is State.OPEN else "on trial"
            because = f": {breaker.why}" if breaker.why else ""
            advice = f"mend it, then `heartbeat providers reset {name}`; `heartbeat providers test {name}` tries it"
            yield Check(_TURNS, name, Level.WARNING, f"its breaker is {state}{until}{because}", advice)
        elif is_cooling(breaker, now) and breaker.cooled_until is not None:
            told = f"rate-limited until {to_text(breaker.cooled_until)}"
            yield Check(_TURNS, name, Level.NOTE, told, "nothing: it is asked again then")
    up = uptime()
    late = overdue(known.attempts, now, up)
    if late:
        advice = "`heartbeat attempts` shows them, `heartbeat abort` stops one"
        yield Check(_TURNS, "overdue", Level.FAILED, overdue_told(late, now, up), advice)
    given_up = exhausted(known.letters)
    if given_up:
        which = "a dead letter is" if len(given_up) == 1 else f"{len(given_up)} dead letters are"
        advice = "`heartbeat dlq` lists them; retry them, or drop them"
        yield Check(_TURNS, "letters", Level.WARNING, f"{which} left for a person", advice)
