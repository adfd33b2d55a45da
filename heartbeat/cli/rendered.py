"""What `heartbeat render` says: lines for people, a document for programs, an exit code. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from heartbeat.cli.terminal import plain
from heartbeat.errors import Exit
from heartbeat.render import DIFFERS, RenderResult, RenderState
from heartbeat.sinks import Sink
from heartbeat.sinks.reach import Remark
from heartbeat.sinks.scratch import ScratchResult
from heartbeat.systems.openclaw.scratch import reads_scratch

Plan = RenderResult | ScratchResult


class Doing(StrEnum):
    """What was asked for."""

    WRITE = "write"
    CHECK = "check"
    DIFF = "diff"
    DRY_RUN = "dry-run"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One agent's text in one sink, and what became of it. `error` says why it was not written."""

    plan: Plan
    changed: bool = False
    backup: Path | None = None
    error: str = ""
    advice: str = ""

    @property
    def problem(self) -> str:
        """Why it is not, or would not be, written."""
        return self.error or self.plan.problem


@dataclass(frozen=True, slots=True)
class Report:
    """A whole call. `remarks` are by agent; `version` is OpenClaw's, None where it was not found out."""

    doing: Doing
    sinks: tuple[Sink, ...]
    outcomes: tuple[Outcome, ...]
    remarks: Mapping[str, Sequence[Remark]]
    version: str | None
    with_diff: bool = False


_DONE = {
    "created": "created",
    "updated": "updated",
    "drifted": "replaced (it was edited by hand inside the block)",
    "foreign": "replaced (heartbeat had not written it)",
}

_TOLD_BY_PLANS = frozenset({"file-differs", "file-taken"})
"""Remarks whose matter `--check` tells with the file itself."""

_DIFFERENCES = frozenset({"two-texts", "scratch-differs", "scratch-overwritten"})
"""Remarks that mean that something is not as the roster and the template give it."""


def exit_code(report: Report) -> Exit:
    """0; 1 where `--check` found something, 73 where something is not (or would not be) written, 3 where not all could
    be looked at."""
    refused = [outcome for outcome in report.outcomes if outcome.problem]
    unread = [outcome for outcome in refused if outcome.plan.state is RenderState.UNREAD]
    match report.doing:
        case Doing.WRITE if refused:
            return Exit.CANNOT_WRITE
        case Doing.DRY_RUN if len(refused) > len(unread):
            return Exit.CANNOT_WRITE
        case Doing.CHECK if _differing(report) or _differences(report):
            return Exit.FOUND
    return Exit.INCOMPLETE if unread else Exit.OK


def lines(report: Report) -> Iterator[str]:
    """Standard output, fit for a terminal (rule B8); in a diff control characters are visible already."""
    if report.with_diff:
        for outcome in report.outcomes:
            yield from outcome.plan.diff.split("\n")[:-1]
    match report.doing:
        case Doing.CHECK:
            yield from map(plain, _checked(report))
        case Doing.WRITE | Doing.DRY_RUN:
            yield from (plain(_done(each, report.doing)) for each in report.outcomes if not each.problem)


def _done(outcome: Outcome, doing: Doing) -> str:
    plan = outcome.plan
    touched = outcome.changed if doing is Doing.WRITE else plan.differs
    did = f"{'' if doing is Doing.WRITE else 'would be '}{_DONE[plan.state.value]}" if touched else "unchanged"
    kept = f", the old text is {outcome.backup}" if outcome.backup else ""
    cost = f", {plan.rhythm}" if isinstance(plan, ScratchResult) and plan.rhythm else ""
    return f"{plan.place}: {did}, {plan.size} bytes{kept}{cost}"


def _checked(report: Report) -> Iterator[str]:
    for outcome in _differing(report):
        plan = outcome.plan
        taken = [remark for remark in report.remarks.get(plan.agent_id, ()) if remark.code == "file-taken"]
        if taken and isinstance(plan, RenderResult):
            yield f"{plan.place}: {DIFFERS[plan.state.value]}: {taken[0].message} — {taken[0].advice}"
        else:
            yield _with_advice(plan.problem or f"{plan.place}: {DIFFERS[plan.state.value]}", plan.advice)
    for agent, remark in _differences(report):
        yield f"{remark.subject} of {agent}: {remark.message} — {remark.advice}"
    if exit_code(report) is Exit.OK:
        yield f"{len(report.outcomes)} {_word(report)} are as the roster and the template give them"


def complaints(report: Report) -> Iterator[str]:
    """Standard error: warnings, refusals (each once), what nobody reads, and how many are not as they should be."""
    yield from (warning for outcome in report.outcomes for warning in outcome.plan.warnings)
    refused = [outcome for outcome in report.outcomes if outcome.problem]
    unread = [outcome for outcome in refused if outcome.plan.state is RenderState.UNREAD]
    told = unread if report.doing is Doing.CHECK else refused
    yield from dict.fromkeys(_with_advice(each.problem, each.advice or each.plan.advice) for each in told)
    for agent, remarks in report.remarks.items():
        for remark in remarks:
            if remark.serious and remark.code not in _TOLD_BY_PLANS | _DIFFERENCES:
                yield _with_advice(f"{remark.subject} of {agent}: {remark.message}", remark.advice)
    total, word = len(report.outcomes), _word(report)
    if report.doing is Doing.CHECK:
        if differing := len(_differing(report)):
            yield f"{differing} of {total} {word} differ from what the roster and the template give"
        if unread:
            yield f"{len(unread)} of {total} {word} could not be looked at"
    elif refused and report.doing is not Doing.DIFF:
        not_written = "were not written" if report.doing is Doing.WRITE else "would not be written"
        yield f"{len(refused)} of {total} {word} {not_written}"


def _differing(report: Report) -> list[Outcome]:
    return [each for each in report.outcomes if each.plan.differs and each.plan.state is not RenderState.UNREAD]


def _differences(report: Report) -> list[tuple[str, Remark]]:
    """Differences in what was not asked for, and was looked at all the same."""
    if Sink.SCRATCH in report.sinks:
        return []
    pairs = ((agent, remark) for agent, remarks in report.remarks.items() for remark in remarks)
    return [(agent, remark) for agent, remark in pairs if remark.code in _DIFFERENCES]


def _word(report: Report) -> str:
    if len(report.sinks) > 1:
        return "texts"
    return "files" if Sink.FILE in report.sinks else "monitor scratches"


def _with_advice(message: str, advice: str) -> str:
    return f"{message} — {advice}" if advice else message


def document(report: Report, roster: str) -> dict[str, Any]:
    """`heartbeat.render/1`."""
    version = report.version
    return {
        "schema": "heartbeat.render/1",
        "roster": roster,
        "doing": report.doing.value,
        "openclaw": {"version": version, "reads": None if version is None else _read_by(version)},
        "results": [_row(outcome, report.with_diff) for outcome in report.outcomes],
        "remarks": [
            {
                "agent": agent,
                "code": remark.code,
                "subject": remark.subject,
                "serious": remark.serious,
                "message": remark.message,
                "advice": remark.advice,
            }
            for agent, remarks in report.remarks.items()
            for remark in remarks
        ],
        "exit_code": int(exit_code(report)),
    }


def prompt_document(agent: str, text: str, roster: str) -> dict[str, Any]:
    """`heartbeat.render/1` of `--sink prompt`."""
    row = {"agent": agent, "sink": Sink.PROMPT.value, "text": text, "size": len(text.encode())}
    return {"schema": "heartbeat.render/1", "roster": roster, "doing": "print", "results": [row], "exit_code": 0}


def _read_by(version: str) -> str:
    return (Sink.SCRATCH if reads_scratch(version) else Sink.FILE).value


def _row(outcome: Outcome, with_diff: bool) -> dict[str, Any]:
    plan = outcome.plan
    row: dict[str, Any] = {
        "agent": plan.agent_id,
        "sink": (Sink.SCRATCH if isinstance(plan, ScratchResult) else Sink.FILE).value,
        "place": plan.place,
        "state": plan.state.value,
        "changed": outcome.changed,
        "backup": None if outcome.backup is None else str(outcome.backup),
        "size": plan.size,
        "block_size": plan.block_size,
        "warnings": list(plan.warnings),
        "problem": outcome.problem,
        "advice": outcome.advice or plan.advice,
    }
    if isinstance(plan, ScratchResult):
        row["monitor"] = _monitor(plan)
    if with_diff:
        row["diff"] = plan.diff
    return row


def _monitor(plan: ScratchResult) -> dict[str, Any] | None:
    if plan.monitor is None:
        return None
    every = plan.monitor.every
    seconds = None if every is None else round(every.total_seconds(), 3)
    return {"id": plan.monitor.id, "enabled": plan.monitor.enabled, "poll_seconds": seconds}
