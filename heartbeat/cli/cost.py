"""`heartbeat cost`: what turns have cost, by agent and day, and what the budget leaves of today. Read-only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heartbeat.cli import operators
from heartbeat.cli.session import DebugOption, JsonOption, RosterOption, Session
from heartbeat.plural import counted

if TYPE_CHECKING:
    from datetime import date

    from rich.table import Table

    from heartbeat.report.cost import Bill, Left, Line
    from heartbeat.rules.budget import Budget

_WIDE = 120
"""Columns from which a row tells why beats started nothing, and counts tokens to the last one."""
_ENDED = 8
"""Columns that how turns ended has at least."""
_ALL = 10**9
"""More receipts than there can be."""
_REASONS = 4
"""Reasons that are named in a row of the table; JSON has all."""


def cost(
    context: typer.Context,
    days: Annotated[int, typer.Option("--days", min=1, max=400, metavar="N", help="Today and the days before.")] = 7,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only of this agent.")] = None,
    json_output: JsonOption = False,
    roster: RosterOption = None,
    debug: DebugOption = False,
) -> None:
    """What turns have cost by agent and day, which beats started none and why, and what is left of today's budget."""
    from datetime import datetime, time, timedelta
    from zoneinfo import ZoneInfo

    from heartbeat.report.cost import bill, day_of, left
    from heartbeat.rules.budget import budget_of, day_began, day_ends

    session = Session(context, roster)
    now, team = session.now(), session.roster
    zone = ZoneInfo(team.timezone)
    today = day_of(now, zone)
    first = today - timedelta(days=days - 1)
    began, ends = day_began(now, team.timezone), day_ends(now, team.timezone)
    # Not so many times twenty-four hours back: a day on which the clocks change has another length.
    since = day_began(datetime.combine(first, time(12), zone), team.timezone)
    with session.store(read_only=True, on_record=True) as store:
        operators.warn_of_loss(store)
        attempts = store.attempts(agent=agent, since=since)
        receipts = store.receipts(agent, _ALL, since)
    known = {each.agent for each in attempts} | {each.agent for each in receipts}
    gone = sorted(known - team.agents.keys())
    if agent is not None and agent not in gone:
        team.chosen([agent])
    names = [agent] if agent is not None else [*team.agents, *gone]
    found = bill(names, attempts, receipts, first, today, zone)
    budget = budget_of(team.extra.get("budget", {}))
    started = [name for name in names if name in team.agents and team.agents[name].policy.dispatch != "none"]
    rest = [left(name, attempts, budget, began, ends) for name in started]
    view = _View(session, found, rest, budget, first, today)
    if json_output:
        from heartbeat.cli import documents

        documents.write(view.document())
    else:
        view.print()


class _View:
    """One bill, for people and as JSON."""

    def __init__(
        self, session: Session, found: Bill, rest: Sequence[Left], budget: Budget, first: date, today: date
    ) -> None:
        self._session = session
        self._found = found
        self._rest = rest
        self._budget = budget
        self._first = first
        self._today = today

    def document(self) -> dict[str, Any]:
        """`heartbeat.cost/1`."""
        from heartbeat.instants import to_text

        budget = self._budget
        return {
            "schema": "heartbeat.cost/1",
            "generated_at": to_text(self._session.now()),
            "timezone": self._session.roster.timezone,
            "first_day": self._first.isoformat(),
            "last_day": self._today.isoformat(),
            "days": [_line_document(each) for each in self._found.lines],
            "agents": [_line_document(each) for each in self._found.totals],
            "total": _line_document(self._found.total),
            "budget": {
                "turns_per_day": budget.turns_per_day,
                "tokens_per_day": budget.tokens_per_day,
                "cost_per_day_usd": budget.cost_per_day_usd,
            },
            "today": [_left_document(each) for each in self._rest],
        }

    def print(self) -> None:
        from heartbeat.cli import tables

        out = tables.console(tables.TERMINAL)
        zone = self._session.roster.timezone
        for day in sorted({each.day for each in self._found.lines if each.day is not None}):
            lines = [each for each in self._found.lines if each.day == day]
            told = "Today, " if day == self._today else ""
            out.print(tables.cell(f"{told}{day.isoformat()} ({zone})", "bold"))
            _print_lines(lines)
        if self._first != self._today:
            days = (self._today - self._first).days + 1
            out.print(tables.cell(f"All {days} days, from {self._first.isoformat()}", "bold"))
            _print_lines([*(each for each in self._found.totals if not each.is_empty), self._found.total])
        total = self._found.total
        if total.is_empty:
            out.print(tables.cell("  no beat and no turn is on record"))
        else:
            out.print(tables.cell(_without(total), "dim"), soft_wrap=True)
        self._print_budget()

    def _print_budget(self) -> None:
        from heartbeat.cli import tables

        out, allowed = tables.console(tables.TERMINAL), _allowed(self._budget)
        if not self._rest:
            out.print(tables.cell("  the roster lets heartbeat start nobody (`dispatch: none`)", "dim"))
            return
        if not allowed:
            out.print(tables.cell("  no `budget` in the roster: nothing limits what a day may cost", "dim"))
            return
        out.print()
        out.print(tables.cell(f"Left today, of {allowed} for each agent", "bold"))
        table = tables.grid({"no_wrap": True}, {"overflow": "fold"})
        for each in self._rest:
            told, over = _left_told(each)
            table.add_row("", tables.cell(each.agent), tables.cell(told, "bold yellow" if over else ""))
        out.print(table)


def _print_lines(lines: Iterable[Line]) -> None:
    """A row for each agent that had a turn, or that heartbeat starts; the others together in one."""
    from heartbeat.cli import tables

    out, quiet = tables.console(tables.TERMINAL), []
    narrow = out.width < _WIDE
    fixed: dict[str, Any] = {"no_wrap": True}
    right: dict[str, Any] = {"no_wrap": True, "justify": "right"}
    reasons = () if narrow else ({"overflow": "fold"},)
    table: Table = tables.grid(fixed, right, {"overflow": "fold", "min_width": _ENDED}, right, right, *reasons)
    for each in lines:
        if each.agent and not (each.turns or each.unasked or each.beats > each.off):
            quiet.append(each)
            continue
        whose, turns, ended = each.agent or "all", _turns(each.turns), _ended(each)
        cells: tuple[str, ...]
        if narrow:
            cells = (whose, turns, ended, _few_tokens(each), _few_dollars(each))
        else:
            cells = (whose, turns, ended, _tokens(each), _dollars(each), _idle(each))
        style = "" if each.agent else "bold"
        table.add_row("", *(tables.cell(text, style) for text in cells))
    if table.row_count:
        out.print(table)
    if quiet:
        beats = sum(each.beats for each in quiet)
        told = f"{counted(len(quiet), 'agent')} that heartbeat does not start: {counted(beats, 'beat')}"
        out.print(tables.cell(f"  {told}, no model asked", "dim"))
    out.print()


def _turns(number: int) -> str:
    return counted(number, "turn")


def _ended(line: Line) -> str:
    told = [f"{count} {name.replace('_', ' ')}" for name, count in line.ended.items()]
    if line.unasked:
        told.append(f"{line.unasked} not accepted")
    return ", ".join(told)


def _tokens(line: Line) -> str:
    if not line.turns:
        return "0 tokens"
    if line.unknown_tokens == line.turns:
        return "tokens not told"
    unknown = f" ({line.unknown_tokens} not told)" if line.unknown_tokens else ""
    return f"{line.input_tokens:,} tokens in, {line.output_tokens:,} out{unknown}"


def _dollars(line: Line) -> str:
    if line.turns and line.unknown_cost == line.turns:
        return "cost not told"
    unknown = f" ({line.unknown_cost} not told)" if line.unknown_cost else ""
    return f"${line.cost_usd:,.4f}{unknown}"


def _few_tokens(line: Line) -> str:
    """For a narrow terminal: thousands are enough."""
    if not line.turns or line.unknown_tokens == line.turns:
        return _tokens(line)
    least = "at least " if line.unknown_tokens else ""
    return f"{least}{_thousands(line.input_tokens)} in, {_thousands(line.output_tokens)} out"


def _thousands(number: int) -> str:
    return str(number) if number < 1000 else f"{number / 1000:,.1f}k"


def _few_dollars(line: Line) -> str:
    if line.turns and line.unknown_cost == line.turns:
        return "cost not told"
    return f"{'at least ' if line.unknown_cost else ''}${line.cost_usd:,.4f}"


def _idle(line: Line) -> str:
    """Beats that could have started a turn and did not, with the most frequent reasons."""
    count = sum(line.idle.values())
    if not count:
        return ""
    named = [f"{number} {name.replace('_', ' ')}" for name, number in line.idle.items()]
    more = f", {counted(len(named) - _REASONS, 'more reason')}" if len(named) > _REASONS else ""
    return f"{counted(count, 'beat')} started none: {', '.join(named[:_REASONS])}{more}"


def _without(total: Line) -> str:
    nothing = total.idle.get("no_work", 0)
    told = f"  {total.without_turn:,} of {counted(total.beats, 'beat')} asked no model and cost 0 tokens"
    return f"{told}; in {nothing:,} of them there was nothing to do" if nothing else told


def _allowed(budget: Budget) -> str:
    told = []
    if budget.turns_per_day is not None:
        told.append(counted(budget.turns_per_day, "turn"))
    if budget.tokens_per_day is not None:
        told.append(counted(budget.tokens_per_day, "token"))
    if budget.cost_per_day_usd is not None:
        told.append(f"${budget.cost_per_day_usd:,.2f}")
    return ", ".join(told)


def _left_told(left: Left) -> tuple[str, bool]:
    """What is left, and whether nothing is of something."""
    told = []
    if left.turns is not None:
        told.append(_turns(left.turns))
    if left.tokens is not None:
        told.append(f"{counted(left.tokens, 'token')}{_untold(left.spent.unknown_tokens)}")
    if left.cost_usd is not None:
        told.append(f"${left.cost_usd:,.4f}{_untold(left.spent.unknown_cost)}")
    over = any(each == 0 for each in (left.turns, left.tokens, left.cost_usd) if each is not None)
    stop = "; nothing more is started today" if over else ""
    return ", ".join(told) + stop, over


def _untold(turns: int) -> str:
    """What is left may be less: some turns have not told what they used."""
    return f" at most ({_turns(turns)} did not tell)" if turns else ""


def _line_document(line: Line) -> Mapping[str, Any]:
    return {
        **({"agent": line.agent} if line.agent else {}),
        **({"day": line.day.isoformat()} if line.day is not None else {}),
        "turns": line.turns,
        "outcomes": dict(line.ended),
        "not_accepted": line.unasked,
        "beats": line.beats,
        "beats_with_turn": line.started,
        "beats_without_turn": line.without_turn,
        "without_turn_by_reason": dict(line.idle),
        "beats_not_asked": line.off,
        "input_tokens": line.input_tokens,
        "output_tokens": line.output_tokens,
        "cost_usd": line.cost_usd,
        "tokens_not_told": line.unknown_tokens,
        "cost_not_told": line.unknown_cost,
    }


def _left_document(left: Left) -> Mapping[str, Any]:
    spent = left.spent
    return {
        "agent": left.agent,
        "turns": spent.turns,
        "tokens": spent.tokens,
        "cost_usd": spent.cost_usd,
        "tokens_not_told": spent.unknown_tokens,
        "cost_not_told": spent.unknown_cost,
        "turns_left": left.turns,
        "tokens_left": left.tokens,
        "cost_left_usd": left.cost_usd,
    }
