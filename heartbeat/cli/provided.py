"""Providers on a screen and as JSON: how they stand, and what came of a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from heartbeat.cli.terminal import clipped
from heartbeat.plural import counted

if TYPE_CHECKING:
    from datetime import datetime

    from heartbeat.cli.providers import Reset
    from heartbeat.cli.session import Session
    from heartbeat.dispatch.readiness import Finding, Readiness
    from heartbeat.dispatch.trial import Tried
    from heartbeat.provider import Failover
    from heartbeat.report.providers import Overview, Standing
    from heartbeat.roster.model import Agent, Roster

SCHEMA = "heartbeat.providers/1"

_NAME = 60
_BECAUSE = 300
_COLOURS = {"works": "green", "doubtful": "yellow", "fails": "bold red", "untested": "dim"}
_STATES = {"closed": "green", "open": "bold red", "half_open": "yellow"}


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test came to. `turns` are those that were asked for, and `told` what came of asking, by provider; None
    where no turn was wanted."""

    report: Readiness
    agents: Sequence[Agent]
    turns: Mapping[str, Tried] = field(default_factory=dict)
    told: Mapping[str, Finding] | None = None

    @property
    def providers(self) -> tuple[Finding, ...]:
        """One finding a provider: of its turn, else of the look."""
        told = self.told or {}
        return tuple(told.get(each.subject, each) for each in self.report.providers)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.report.engine, *self.providers)


def told_of(name: str, tried: Tried) -> Finding:
    """What came of a turn, in one sentence."""
    from heartbeat.attempt import Outcome
    from heartbeat.dispatch.readiness import Finding, Verdict

    attempt = tried.attempt
    if attempt.outcome is None:
        return Finding(name, Verdict.FAILS, tried.told, "`heartbeat attempts` shows what becomes of it")
    seconds = _seconds(tried)
    took = "" if seconds is None else f" in {seconds:.1f} s"
    if attempt.outcome is not Outcome.COMPLETED:
        ended = attempt.outcome.value.replace("_", " ")
        return Finding(name, Verdict.FAILS, f"a turn of {attempt.agent} {ended}{took}: {attempt.error}", "")
    usage = attempt.usage
    tokens = [
        f"{counted(count, 'token')} {way}"
        for count, way in ((usage.input_tokens, "in"), (usage.output_tokens, "out"))
        if count is not None
    ]
    cost = [] if usage.cost_usd is None else [f"${usage.cost_usd:.4f}"]
    told = ", ".join([attempt.model or "model not told", *(tokens or ["tokens not told"]), *cost])
    return Finding(name, Verdict.WORKS, f"a turn of {attempt.agent} completed{took}: {told}")


def _seconds(tried: Tried) -> float | None:
    attempt = tried.attempt
    if attempt.ended_at is None:
        return None
    return max(0.0, (attempt.ended_at - (attempt.spawned_at or attempt.planned_at)).total_seconds())


# JSON.


def of_standings(seen: Overview, failover: Failover, roster: Roster, now: datetime) -> dict[str, Any]:
    """`heartbeat.providers/1`: how they stand."""
    from heartbeat.instants import to_text

    return {
        "schema": SCHEMA,
        "generated_at": to_text(now),
        "strategy": failover.strategy.value,
        "agents": [each.id for each in roster.agents.values() if each.policy.dispatch != "none"],
        "next": next((each.name for each in seen.providers if each.next), None),
        "next_told": seen.next,
        "providers": [_standing_document(each, now) for each in seen.providers],
        "engines": [_standing_document(each, now) for each in seen.engines],
        "left": [_standing_document(each, now) for each in seen.left],
    }


def _standing_document(standing: Standing, now: datetime) -> dict[str, Any]:
    from heartbeat.instants import to_text
    from heartbeat.report.providers import state_told

    def text(instant: datetime | None) -> str | None:
        return None if instant is None else to_text(instant)

    breaker, provider = standing.breaker, standing.provider
    document: dict[str, Any] = {
        "name": standing.name,
        "state": standing.state.value,
        "told": state_told(standing, now),
        "available_at": text(standing.available_at),
        "until": text(breaker.until) if standing.state.value == "open" else None,
        "failures": breaker.failures,
        "openings": breaker.openings,
        "cooling_until": text(breaker.cooled_until) if standing.cooling else None,
        "probe": breaker.probe or None,
        "because": breaker.why,
        "changed_at": text(breaker.changed_at),
        "running": standing.running,
        "ended": {outcome.value: count for outcome, count in standing.ended.items()},
        "last": _last_document(standing),
        "shut_for": list(standing.shut),
        "next": standing.next,
    }
    if provider is not None:
        document |= {
            "enabled": provider.enabled,
            "model": provider.model or None,
            "priority": provider.priority,
            "max_retries": provider.max_retries,
            "timeout_seconds": provider.timeout.total_seconds(),
            "run_deadline_seconds": provider.run_deadline.total_seconds(),
        }
    return document


def _last_document(standing: Standing) -> dict[str, Any] | None:
    """The turn of the last day that ended last."""
    from heartbeat.instants import to_text

    last = standing.last
    if last is None or last.outcome is None or last.ended_at is None:
        return None
    return {"dispatch": last.id, "outcome": last.outcome.value, "ended_at": to_text(last.ended_at)}


def of_reset(done: Sequence[Reset], by: str, now: datetime) -> dict[str, Any]:
    """`heartbeat.reset/1`."""
    from heartbeat.instants import to_text

    breakers = [
        {"name": each.name, "reset": bool(each.was), "was": list(each.was), "because": each.because, "told": each.told}
        for each in done
    ]
    return {"schema": "heartbeat.reset/1", "generated_at": to_text(now), "by": by, "breakers": breakers}


def of_test(tested: Tested, failover: Failover, now: datetime) -> dict[str, Any]:
    """`heartbeat.providers/1` of a test: what was looked at, and what came of the turns."""
    from heartbeat.instants import to_text

    return {
        "schema": SCHEMA,
        "generated_at": to_text(now),
        "strategy": failover.strategy.value,
        "agents": [each.id for each in tested.agents],
        "with_turn": tested.told is not None,
        "checks": [_finding(each) for each in tested.report.engine],
        "tests": [{**_finding(each), "turn": _turn(tested.turns.get(each.subject), now)} for each in tested.providers],
    }


def _finding(each: Finding) -> dict[str, Any]:
    return {"subject": each.subject, "verdict": each.verdict.value, "message": each.told, "advice": each.advice}


def _turn(tried: Tried | None, now: datetime) -> dict[str, Any] | None:
    from heartbeat.cli import attempts

    return None if tried is None else attempts.document(tried.attempt, now)


# Tables.


def print_standings(seen: Overview, failover: Failover, session: Session, now: datetime) -> None:
    from heartbeat.cli import tables
    from heartbeat.provider import Strategy

    out = tables.console()
    native = failover.strategy is Strategy.NATIVE
    heading = "one record for all models: OpenClaw chooses them" if native else "in the order in which they are asked"
    out.print(tables.cell(f"Providers, {heading} (strategy {failover.strategy.value})", "bold"))
    out.print(_standings(seen.providers, failover, session, now))
    for line in _remarks(seen, failover, session.roster):
        out.print(tables.cell(line, "dim"), soft_wrap=True)
    if seen.engines:
        out.print()
        out.print(tables.cell("Engines", "bold"))
        out.print(_standings(seen.engines, failover, session, now))
    if seen.left:
        out.print()
        out.print(tables.cell("On record, and not in the roster now", "bold"))
        out.print(_standings(seen.left, failover, session, now))


def _remarks(seen: Overview, failover: Failover, roster: Roster) -> Iterable[str]:
    from heartbeat.provider import Strategy

    if failover.strategy is Strategy.NATIVE:
        yield (
            "  OpenClaw goes from model to model by its own fallbacks; what is on record here is how whole turns end. "
            "`failover.strategy: managed` lets heartbeat choose"
        )
        if roster.extra.get("providers"):
            yield "  the roster's `providers` are not asked by name; retries and deadlines are those of the first"
    if not any(each.next for each in seen.providers):
        yield f"  {seen.next}"
    if not any(each.policy.dispatch != "none" for each in roster.agents.values()):
        yield "  the roster lets heartbeat start nobody (`dispatch: none`): no beat asks any of them"


def _standings(standings: Iterable[Standing], failover: Failover, session: Session, now: datetime) -> Any:
    from heartbeat.cli import tables
    from heartbeat.report.providers import ended_told, explained, last_told, limits_told, state_told

    def show(instant: datetime) -> str:
        return tables.local(instant, session.roster.timezone)

    fixed: dict[str, Any] = {"no_wrap": True}
    table = tables.grid(fixed, fixed, fixed, {"overflow": "fold"})
    for each in standings:
        colour = "dim" if not each.enabled else "yellow" if each.cooling else _STATES[each.state.value]
        ended = ended_told(each)
        said = tables.cell(f"last day: {ended}" if ended else "last day: no turn")
        lines = [*explained(each, failover.rules, show), *filter(None, (last_told(each, now, show),))]
        if each.breaker.why and not (each.is_well and not each.breaker.failures):
            lines.append(f"because: {clipped(each.breaker.why, _BECAUSE)}")
        if each.provider is not None:
            lines.append(limits_told(each.provider))
        for line in lines:
            said.append("\n").append_text(tables.cell(line, "dim"))
        model = (each.provider.model or "-") if each.provider is not None else ""
        mark = tables.cell(state_told(each, now), colour)
        if each.next:
            mark.append_text(tables.cell(", next"))
        table.add_row("", tables.cell(clipped(each.name, _NAME)), mark, tables.cell(clipped(model, _NAME)), said)
    return table


def print_test(tested: Tested) -> None:
    """What was looked at, what came of it, and what was not tested."""
    from heartbeat.cli import tables

    out = tables.console()
    table = tables.grid({"no_wrap": True}, {"no_wrap": True}, {"overflow": "fold"})
    for each in tested.findings:
        said = tables.cell(each.told)
        if each.advice:
            said.append("\n").append_text(tables.cell(each.advice, "dim"))
        verdict = tables.cell(each.verdict.value, _COLOURS[each.verdict.value])
        table.add_row("", tables.cell(clipped(each.subject, _NAME)), verdict, said)
    out.print(table)
    if tested.told is None:
        told = "  no model was asked: whether it answers is not tested; --turn asks each for one short turn"
        out.print(tables.cell(f"{told}, which costs what a turn costs", "dim"), soft_wrap=True)
