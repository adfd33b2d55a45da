"""From what was found to a finished roster: who comes in, what is to be asked, the text, and its proof. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from heartbeat.errors import RosterError, UsageError
from heartbeat.plural import counted
from heartbeat.roster.load import roster_of
from heartbeat.roster.model import Agent, Roster
from heartbeat.setup.discover import Found, Look
from heartbeat.setup.document import Plan, compose
from heartbeat.setup.drafts import (
    Candidate,
    Draft,
    LeftOut,
    Override,
    Team,
    candidates,
    draft_team,
    one_of_each,
    stranger,
)
from heartbeat.setup.legacy import HandWritten
from heartbeat.setup.matching import Account, Matching, match, settle
from heartbeat.setup.phrases import NOTIFY
from heartbeat.setup.scalars import path_scalar
from heartbeat.systems.base import FailureKind
from heartbeat.systems.openclaw.agents import OWN


@dataclass(frozen=True, slots=True)
class Prospect:
    """Who may come into the roster, before anybody was asked. `notes` are about files."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]
    matching: Matching
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """What a person said, by agent id; empty where nobody was asked."""

    classes: Mapping[str, str] = field(default_factory=dict)
    accounts: Mapping[str, Account | None] = field(default_factory=dict)


def prospect(found: Found, files: Iterable[HandWritten] = ()) -> Prospect:
    """Everybody that OpenClaw has or a hand-written file is about, and who in Multica they are. Where there is nobody,
    Multica's agents are the team."""
    kept, notes = one_of_each(tuple(files))
    listed = ((agent.id, agent.name, agent.identity, agent.workspace) for agent in found.openclaw.agents)
    people, left_out = candidates(listed, kept, OWN)
    accounts = tuple(Account(agent.id, agent.name) for agent in found.multica.agents)
    if not people:
        theirs = _of_multica(accounts)
        chosen = {candidate.id: account for candidate, account in theirs}
        people = tuple(candidate for candidate, _ in theirs)
        return Prospect(people, left_out, settle(Matching(strangers=accounts), chosen, ""), notes)
    return Prospect(people, left_out, match([each.person for each in people], accounts), notes)


def team_of(prospect: Prospect, answers: Answers, found: Found, *, operator: str, has_coo: bool = False) -> Team:
    """The whole team, drafted. `has_coo` says that there is a `coo` besides these."""
    team = draft_team(
        prospect.candidates,
        prospect.left_out,
        settle(prospect.matching, answers.accounts),
        classes=answers.classes,
        operator=operator,
        openclaw_read=found.openclaw.read,
        multica_read=found.multica.read,
        has_coo=has_coo,
    )
    team = replace(team, notes=(*prospect.notes, *team.notes))
    return _without_workspaces(team) if found.openclaw.remote else team


def example() -> Team:
    """A team of one, for a roster that is to be filled in by hand."""
    alone = {NOTIFY: Override(("self",), "nobody else watches the watcher")}
    return Team((Draft("coo", "high_frequency", "an example: put your own agents here", settings=alone, patrol=True),))


def finished(
    plan: Plan, path: Path, environment: Mapping[str, str], plug_ins: Callable[[], Iterable[str]]
) -> tuple[str, Roster]:
    """The text, and the roster that it is; checked to say what was meant. A mistake in it is a bug."""
    text = compose(plan)
    try:
        roster = roster_of(path, text.encode(), environment, plug_ins)
    except RosterError as error:
        raise RuntimeError(f"the roster that was made has mistakes: {error}") from error
    wrong = [told for draft in plan.team.drafts for told in _unlike(draft, roster.agents.get(draft.id))]
    if wrong or len(roster.agents) != len(plan.team.drafts):
        raise RuntimeError(f"the roster that was made says something else: {'; '.join(wrong) or 'other agents'}")
    return text, roster


def nothing_found(found: Found) -> UsageError:
    """The refusal to write a roster of nobody, with everything that was tried."""
    lines = ["no agents were found, so no roster was written"]
    advice = []
    for look in found.looks:
        lines += [f"{look.system}: {line}" for line in tried(look)]
        advice += [attempt.advice for attempt in look.tried if attempt.advice]
    hints = (*dict.fromkeys(advice), "`heartbeat init --empty` writes a roster to fill in by hand")
    return UsageError("\n".join(lines), advice="; ".join(hints))


def tried(look: Look[object]) -> tuple[str, ...]:
    """How each way to ask a system ended, a line each."""
    if look.read:
        lines = [f"{counted(len(look.agents), 'agent')}, by {look.transport}"]
        lines += [f"{way.transport} did not work: {way.message}" for way in look.tried if _broken(way.kind)]
        return (*lines, *look.problems)
    if not look.tried:
        return ("the roster reads it from a saved file, and there is nobody to ask",)
    return tuple(f"{way.transport}: {way.message}" for way in look.tried)


def origins(found: Found, files: Iterable[HandWritten], place: str) -> tuple[str, ...]:
    """What a roster was made from, in words for its head."""
    told = [f"{look.system} (by {look.transport})" for look in found.looks if look.read]
    told += [f"{look.system} could not be asked" for look in found.looks if look.failed]
    number = len(tuple(files))
    if number:
        told.append(f"{number} hand-written files in {place}")
    return (", ".join(told),) if told else ()


def _broken(kind: FailureKind | None) -> bool:
    return kind not in (None, FailureKind.NOT_CONFIGURED)


def _of_multica(accounts: tuple[Account, ...]) -> tuple[tuple[Candidate, Account], ...]:
    """Multica's agents under the ids that their names give, where nobody else is known."""
    people: dict[str, tuple[Candidate, Account]] = {}
    for account in accounts:
        drafted = stranger(account)
        if drafted.id:
            people.setdefault(drafted.id, (Candidate(drafted.id, drafted.name), account))
    return tuple(people.values())


def _without_workspaces(team: Team) -> Team:
    """Workspaces of another machine cannot be read here."""
    return replace(
        team,
        drafts=tuple(
            replace(draft, workspace="", notes=(f"On the Gateway's machine: {draft.workspace}", *draft.notes))
            if draft.workspace
            else draft
            for draft in team.drafts
        ),
        left_out=tuple(replace(each, workspace="") for each in team.left_out),
    )


def _unlike(draft: Draft, agent: Agent | None) -> Iterable[str]:
    """In what an agent of the roster is not what was drafted."""
    if agent is None:
        yield f"{draft.id} is missing"
        return
    policy = agent.policy
    pairs: list[tuple[str, object, object]] = [
        ("name", draft.name or draft.id, agent.name),
        ("class", draft.class_id, agent.class_id),
        ("multica_id", draft.multica_id or None, agent.multica_id),
        ("patrol", draft.patrol, agent.patrol),
        ("checks", draft.checks, agent.checks),
    ]
    pairs += [(name, override.value, getattr(policy, name)) for name, override in draft.settings.items()]
    if draft.workspace and path_scalar(draft.workspace, "") is not None:
        pairs.append(("workspace", Path(draft.workspace), agent.workspace))
    for name, meant, said in pairs:
        if meant != said:
            yield f"{draft.id}.{name} is {said!r}, not {meant!r}"
