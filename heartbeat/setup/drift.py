"""What a roster and the agents that there are do not have in common. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from heartbeat.roster.check import COO
from heartbeat.roster.classes import BUILT_IN
from heartbeat.roster.document import Document
from heartbeat.roster.model import Agent, Roster
from heartbeat.setup.begin import Answers, Prospect, team_of
from heartbeat.setup.discover import Found
from heartbeat.setup.drafts import Candidate, Draft, LeftOut, Override, stranger, unusable
from heartbeat.setup.foreign import clean
from heartbeat.setup.matching import Account, Matching, Person, match
from heartbeat.setup.phrases import NOTIFY
from heartbeat.systems.openclaw.agents import OWN, OpenClawAgent


@dataclass(frozen=True, slots=True)
class Changed:
    """A setting of an agent that is not what a system says. An empty text stands for none; `line` is where the roster
    says it, or where the agent stands."""

    agent: str
    key: str
    roster: str
    actual: str
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Drift:
    """Every difference. `missing` could be added as agents, `strangers` as comments; `left_out` stand in the roster's
    comments already, and are no difference. `unknown` are systems that should have been asked and could not."""

    missing: tuple[Draft, ...] = ()
    strangers: tuple[LeftOut, ...] = ()
    gone: tuple[str, ...] = ()
    changed: tuple[Changed, ...] = ()
    left_out: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def in_step(self) -> bool:
        return not (self.missing or self.strangers or self.gone or self.changed)


def compare(
    roster: Roster,
    document: Document,
    text: str,
    found: Found,
    real: Callable[[str], str],
    *,
    knew_multica: bool = False,
) -> Drift:
    """The roster, as loaded, as plain data with lines, and as text for its comments, against what the systems say.
    `real` gives a path without links and dots. `knew_multica` says that Multica was read for this roster before."""
    view = _View(roster, document, text, found, real, knew_multica)
    return Drift(
        *view.missing(),
        view.gone(),
        view.changed(),
        view.left_out(),
        view.unknown(),
    )


class _View:
    def __init__(
        self,
        roster: Roster,
        document: Document,
        text: str,
        found: Found,
        real: Callable[[str], str],
        knew_multica: bool,
    ) -> None:
        self._roster = roster
        self._document = document
        self._text = text
        self._found = found
        self._real = real
        self._knew_multica = knew_multica
        written = document.get(("agents",))
        self._written: Mapping[str, Any] = written if isinstance(written, dict) else {}
        self._listed = {agent.id: agent for agent in found.openclaw.agents}
        self._accounts = {agent.id: Account(agent.id, agent.name) for agent in found.multica.agents}
        self._matching = self._matched()

    def missing(self) -> tuple[tuple[Draft, ...], tuple[LeftOut, ...]]:
        """Agents of OpenClaw that the roster lacks, as drafts; and who can only be a comment."""
        new = [agent for agent in self._listed.values() if self._is_new(agent)]
        usable = tuple(_candidate(agent) for agent in new if not unusable(agent.id))
        odd = tuple(
            LeftOut(f"OpenClaw's agent {clean(agent.id, 80)!r}: {unusable(agent.id)}")
            for agent in new
            if unusable(agent.id) and clean(agent.id, 80) not in self._text
        )
        only = tuple(self._stranger(account) for account in self._nobodys() if not self._has_comment_on(account.id))
        if not self._found.openclaw.read:
            only = ()  # some of them may be agents of OpenClaw that the roster lacks
        has_coo = COO in self._roster.agents
        prospect = Prospect(usable, (), replace(self._matching, strangers=()))
        team = team_of(prospect, Answers(), self._found, operator=self._roster.operator.name, has_coo=has_coo)
        return tuple(self._told_by_somebody(draft, team.has_coo or has_coo) for draft in team.drafts), (*odd, *only)

    def gone(self) -> tuple[str, ...]:
        """Agents of the roster that no system has. Only where every system that is in use could be asked."""
        if not self._found.openclaw.read or self._found.multica.failed:
            return ()
        return tuple(
            agent.id
            for agent in self._roster.agents.values()
            if agent.id not in self._listed and agent.id not in self._matching.matches
        )

    def changed(self) -> tuple[Changed, ...]:
        return tuple(
            change
            for agent in self._roster.agents.values()
            for change in (self._workspace(agent), self._multica_id(agent))
            if change is not None
        )

    def left_out(self) -> tuple[str, ...]:
        """Who is in no roster on purpose: agents that OpenClaw has for itself, and those that a comment names."""
        mine = [
            agent.id
            for agent in self._listed.values()
            if agent.id not in self._written and not self._is_new(agent) and not unusable(agent.id)
        ]
        theirs = [account for account in self._nobodys() if self._has_comment_on(account.id)]
        return (*mine, *(clean(account.name, 80) or account.id for account in theirs))

    def unknown(self) -> tuple[str, ...]:
        """Systems that the roster has something to do with, and that could not be asked."""
        openclaw, multica = self._found.openclaw, self._found.multica
        looks = ((openclaw, not openclaw.read), (multica, not multica.read and self._needs_multica()))
        return tuple(look.system for look, is_unknown in looks if is_unknown)

    def _needs_multica(self) -> bool:
        """Under `auto` a Multica of which nothing is to be found is not in use, unless it was read before (S1a)."""
        settings = self._roster.sources.get("multica", {})
        transport = settings.get("transport", "auto")
        if self._found.multica.failed or self._knew_multica or settings.get("required") or transport in ("api", "cli"):
            return True
        return transport != "auto" and any(agent.multica_id for agent in self._roster.agents.values())

    def _nobodys(self) -> tuple[Account, ...]:
        """Accounts that are nobody's, those that may be somebody's of the roster included."""
        doubtful = (
            account
            for doubt in self._matching.doubts
            if doubt.person.id in self._written
            for account in doubt.candidates
        )
        return tuple({account.id: account for account in (*self._matching.strangers, *doubtful)}.values())

    def _stranger(self, account: Account) -> LeftOut:
        """As a comment; never under an id that somebody has."""
        drafted = stranger(account)
        return replace(drafted, id="") if drafted.id in self._written or drafted.id in self._listed else drafted

    def _is_new(self, agent: OpenClawAgent) -> bool:
        if agent.id in self._written or (agent.id in OWN and len(self._listed) > 1):
            return False
        return not self._is_commented_out(agent.id)

    def _is_commented_out(self, agent: str) -> bool:
        pattern = rf"^[ \t]*#[# \t]*([\"']?){re.escape(agent)}\1[ \t]*:"
        return re.search(pattern, self._text, re.MULTILINE) is not None

    def _has_comment_on(self, account: str) -> bool:
        return re.search(rf"#.*{re.escape(account)}", self._text, re.IGNORECASE) is not None

    def _matched(self) -> Matching:
        """Everybody of the roster and everybody new against Multica's agents. A UUID that Multica does not know counts
        as none, so that a namesake with another one is found."""
        people = []
        for name, section in self._written.items():
            written = section.get("multica_id") if isinstance(section, dict) else None
            folded = written.strip().lower() if isinstance(written, str) else ""
            display = section.get("name") if isinstance(section, dict) else None
            listed = self._listed.get(name, OpenClawAgent(name))
            shown = display if isinstance(display, str) else listed.name
            people.append(Person(name, shown, listed.identity, folded if folded in self._accounts else ""))
        people += [
            _candidate(agent).person
            for agent in self._listed.values()
            if self._is_new(agent) and not unusable(agent.id)
        ]
        return match(people, self._accounts.values())

    def _workspace(self, agent: Agent) -> Changed | None:
        listed = self._listed.get(agent.id)
        if listed is None or not listed.workspace or self._found.openclaw.remote:
            return None
        mine = str(agent.workspace) if agent.workspace else ""
        if mine and self._real(mine) == self._real(listed.workspace):
            return None
        return Changed(
            agent.id, "workspace", mine, listed.workspace, self._line(agent, "workspace"), "OpenClaw has it elsewhere"
        )

    def _multica_id(self, agent: Agent) -> Changed | None:
        if not self._found.multica.read or (agent.multica_id and agent.multica_id in self._accounts):
            return None
        matched = self._matching.matches.get(agent.id)
        mine = agent.multica_id or ""
        line = self._line(agent, "multica_id")
        if matched is not None:
            if not mine and self._has_comment_on(matched.account.id):
                return None
            return Changed(agent.id, "multica_id", mine, matched.account.id, line, matched.why)
        if mine:
            return Changed(agent.id, "multica_id", mine, "", line, "Multica has no agent of this UUID, or hides it")
        return None

    def _line(self, agent: Agent, key: str) -> int:
        return self._document.of_key(("agents", agent.id, key)).line

    def _told_by_somebody(self, draft: Draft, has_coo: bool) -> Draft:
        """The draft, telling the operator where its class would tell a `coo` that there is not."""
        is_written = self._document.get(("classes", draft.class_id, "notify")) is not None
        usual: tuple[str, ...] = BUILT_IN[draft.class_id]["notify"]
        if has_coo or is_written or NOTIFY in draft.settings or COO not in usual:
            return draft
        instead = tuple("operator" if name == COO else name for name in usual)
        return replace(draft, settings={**draft.settings, NOTIFY: Override(instead, "this team has no coo")})


def _candidate(agent: OpenClawAgent) -> Candidate:
    return Candidate(agent.id, agent.name, agent.identity, agent.workspace, True)
