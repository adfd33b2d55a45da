"""What each agent's part of the roster is to be, out of everything that is known of it. Pure.

Sources, the surest first: what a person answered, the agent's hand-written file, OpenClaw, Multica, its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from heartbeat.roster.check import COO, ROLES
from heartbeat.roster.classes import BUILT_IN
from heartbeat.setup.foreign import clean, fold
from heartbeat.setup.legacy import HandWritten, Said, shown
from heartbeat.setup.matching import Account, Matching, Person
from heartbeat.setup.phrases import NOTIFY, RECOVER, SUSPECT
from heartbeat.setup.proposal import PATROLS, WATCHERS, Proposal, propose

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Everything that is known of somebody who may come into the roster. `listed` says that OpenClaw has the agent."""

    id: str
    name: str = ""
    identity: str = ""
    workspace: str = ""
    listed: bool = False
    file: HandWritten | None = None

    @property
    def person(self) -> Person:
        """As the matching sees it."""
        told = self.file.name if self.file else ""
        return Person(self.id, self.name or told, self.identity or told, self.file.multica_id if self.file else "")

    @property
    def display_name(self) -> str:
        """The name to show: a person's own choice of one, else what OpenClaw calls it where that is not its id."""
        names = (self.file.name if self.file else "", self.name, self.identity)
        return next((clean(name, 80) for name in names if name and fold(name) != fold(self.id)), "")

    @property
    def proposal(self) -> Proposal:
        """Its class: as its file says, else by what it is called."""
        if self.file and self.file.class_id:
            return Proposal(self.file.class_id, True, "as its file says")
        return propose(filter(None, (self.id, self.display_name, self.name, self.identity)))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Somebody who does not come into the roster by itself, and why. Without an `id` it cannot be written as it is."""

    why: str
    id: str = ""
    name: str = ""
    multica_id: str = ""
    workspace: str = ""


@dataclass(frozen=True, slots=True)
class Override:
    """A setting that differs from its class's, and where that comes from."""

    value: Said
    why: str


@dataclass(frozen=True, slots=True)
class Draft:
    """One agent of the roster. `notes` are sentences for a person, to stand beside it."""

    id: str
    class_id: str
    why: str
    name: str = ""
    multica_id: str = ""
    why_multica: str = ""
    workspace: str = ""
    settings: Mapping[str, Override] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    patrol: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Team:
    """Everybody, in the order in which the roster names them. `notes` are about files, `path:line: …`."""

    drafts: tuple[Draft, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_coo(self) -> bool:
        return any(draft.id == COO for draft in self.drafts)


def one_of_each(files: Sequence[HandWritten]) -> tuple[dict[str, HandWritten], tuple[str, ...]]:
    """One file an agent, the first, and what the others say otherwise. A UUID is only one agent's."""
    kept: dict[str, HandWritten] = {}
    notes: list[str] = []
    holders: dict[str, str] = {}
    for file in files:
        first = kept.setdefault(file.id, file)
        if first is not file:
            notes += _differences(file, first)
            notes += (f"{file.path}:{note.line}: {note.message}" for note in file.notes)
            continue
        holder = holders.setdefault(file.multica_id, file.id) if file.multica_id else file.id
        if holder != file.id:
            notes.append(f"{file.place}: the Multica UUID {file.multica_id} is {holder}'s already, and left out here")
            kept[file.id] = replace(file, multica_id="")
    return kept, tuple(notes)


def candidates(
    listed: Iterable[tuple[str, str, str, str]], files: Mapping[str, HandWritten], own: Iterable[str]
) -> tuple[tuple[Candidate, ...], tuple[LeftOut, ...]]:
    """Who may come into the roster, and who does not. `listed` are OpenClaw's agents: id, name, identity, workspace;
    `own` are the ids of those that it has for itself."""
    found: dict[str, Candidate] = {}
    left: list[LeftOut] = []
    kept_back: list[Candidate] = []
    for name, display, identity, workspace in listed:
        candidate = Candidate(name, display, identity, workspace, True, files.get(name))
        reason = unusable(name)
        if reason:
            left.append(LeftOut(f"OpenClaw's agent {clean(name, 80)!r}: {reason}"))
        elif name in own and candidate.file is None:
            kept_back.append(candidate)
        else:
            found[name] = candidate
    for name, file in files.items():
        if reason := unusable(name):
            left.append(LeftOut(f"{file.place}: the agent {name!r}: {reason}"))
        elif name not in found:
            found[name] = Candidate(name, workspace=file.workspace, file=file)
    if not found:
        found.update((candidate.id, candidate) for candidate in kept_back)
    else:
        why = "OpenClaw's own: it takes messages and hands them on"
        left += [LeftOut(why, each.id, each.display_name, workspace=each.workspace) for each in kept_back]
    return tuple(found.values()), tuple(left)


def unusable(agent: str) -> str:
    """Why an id cannot stand in a roster (rule R2), or nothing."""
    if not _ID.fullmatch(agent):
        return "an id is 1 to 64 lower-case letters, digits, `-` and `_`, beginning with a letter or digit"
    return "`notify` has this word for a role" if agent in ROLES else ""


def draft_team(
    people: Sequence[Candidate],
    left_out: Sequence[LeftOut],
    matching: Matching,
    *,
    classes: Mapping[str, str],
    operator: str,
    openclaw_read: bool,
    multica_read: bool,
    has_coo: bool = False,
) -> Team:
    """The whole team. `classes` are a person's answers by id; `has_coo` says that there is a `coo` besides these."""
    names = {fold(candidate.display_name): candidate.id for candidate in people if candidate.display_name}
    names |= {fold(candidate.id): candidate.id for candidate in people}
    hearing = _Hearing(names, operator, has_coo or any(candidate.id == COO for candidate in people))
    notes = [
        f"{each.file.path}:{note.line}: {note.message}" for each in people if each.file for note in each.file.notes
    ]
    drafts: list[Draft] = []
    for candidate in people:
        proposal = candidate.proposal
        if candidate.id in classes and classes[candidate.id] != proposal.class_id:
            proposal = Proposal(classes[candidate.id], True, "chosen by hand")
        elif candidate.id in classes:
            proposal = Proposal(proposal.class_id, True, proposal.why if proposal.sure else "chosen by hand")
        settings, problems = _settings(candidate, proposal.class_id, hearing)
        notes += problems
        drafts.append(
            Draft(
                candidate.id,
                proposal.class_id,
                proposal.why if proposal.sure else f"{proposal.why} {_others(proposal.class_id)}?",
                candidate.display_name,
                *_multica(candidate, matching),
                candidate.workspace or (candidate.file.workspace if candidate.file else ""),
                settings,
                candidate.file.checks if candidate.file else (),
                candidate.id in PATROLS or (candidate.file is not None and candidate.file.patrol),
                tuple(_notes(candidate, matching, openclaw_read=openclaw_read, multica_read=multica_read)),
            )
        )
    order = {class_id: index for index, class_id in enumerate(BUILT_IN)}
    drafts.sort(key=lambda draft: order.get(draft.class_id, len(order)))
    strangers = [stranger(account) for account in matching.strangers]
    return Team(tuple(drafts), (*left_out, *strangers), tuple(notes))


def stranger(account: Account) -> LeftOut:
    """An agent of Multica that is nobody's in OpenClaw, under the id that its name would give."""
    folded = re.sub(r"[^a-z0-9]+", "-", fold(account.name)).strip("-")[:64]
    usable = folded if folded and not unusable(folded) else ""
    return LeftOut("only Multica has it", usable, clean(account.name, 80), account.id)


@dataclass(frozen=True, slots=True)
class _Hearing:
    """Who can be told: agents by their folded ids and display names, the operator's name, whether there is a coo."""

    names: Mapping[str, str]
    operator: str
    has_coo: bool

    def of_class(self, class_id: str) -> tuple[str, ...]:
        """Whom a class tells, in a roster that may have no coo."""
        told: tuple[str, ...] = BUILT_IN[class_id]["notify"]
        return tuple("operator" if name == COO and not self.has_coo else name for name in told)

    def target(self, name: str) -> str | None:
        """The roster's word for somebody, or None where nobody is known by that name."""
        if name in ROLES:
            return name
        if name == COO:
            return COO if self.has_coo else "operator"
        folded = fold(name)
        if self.operator and folded == fold(self.operator):
            return "operator"
        return self.names.get(folded)


def _settings(candidate: Candidate, class_id: str, hearing: _Hearing) -> tuple[dict[str, Override], list[str]]:
    """What differs from the class, and what could not be taken over."""
    file = candidate.file
    defaults = BUILT_IN[class_id]
    settings: dict[str, Override] = {}
    notes: list[str] = []
    for setting, value in file.said.items() if file else ():
        if setting != NOTIFY and value != defaults[setting]:
            settings[setting] = Override(value, f"line {file.lines[setting]} of its file")  # type: ignore[union-attr]
    if file:
        notes += _put_in_order(settings, defaults, file)
    told: Said = file.said.get(NOTIFY, ()) if file else ()
    heard: tuple[str, ...] = ()
    why = ""
    if file and isinstance(told, tuple) and told:
        place = f"{file.path}:{file.lines[NOTIFY]}"
        found = {name: hearing.target(name) for name in told}
        notes += [
            f"{place}: nobody here is called {clean(name, 60)!r}, who would be told; left out"
            for name, target in found.items()
            if target is None
        ]
        heard = tuple(dict.fromkeys(target for target in found.values() if target is not None))
        why = f"line {file.lines[NOTIFY]} of its file"
    elif candidate.id in WATCHERS:
        heard, why = ("self",), "nobody else watches the watcher"
    if heard and heard != hearing.of_class(class_id):
        settings[NOTIFY] = Override(heard, why)
    return settings, notes


def _put_in_order(settings: dict[str, Override], defaults: Mapping[str, timedelta], file: HandWritten) -> Iterable[str]:
    """Recovering never comes before suspecting; a file that says so is taken at its word for the latter."""
    suspect = settings[SUSPECT].value if SUSPECT in settings else defaults[SUSPECT]
    recover = settings[RECOVER].value if RECOVER in settings else defaults[RECOVER]
    if isinstance(suspect, timedelta) and isinstance(recover, timedelta) and recover < suspect:
        line = file.lines.get(RECOVER) or file.lines.get(SUSPECT, file.line)
        told = f"recover_after {shown(recover)} would come before suspect_after {shown(suspect)}; made {shown(suspect)}"
        yield f"{file.path}:{line}: {told}"
        settings[RECOVER] = Override(suspect, "not before suspect_after")


def _multica(candidate: Candidate, matching: Matching) -> tuple[str, str]:
    matched = matching.matches.get(candidate.id)
    if matched is None:
        return "", ""
    named = matched.account.name and fold(matched.account.name) not in (
        fold(candidate.id),
        fold(candidate.display_name),
    )
    return matched.account.id, f"{matched.why}: {clean(matched.account.name, 60)}" if named else matched.why


def _notes(candidate: Candidate, matching: Matching, *, openclaw_read: bool, multica_read: bool) -> Iterable[str]:
    if openclaw_read and not candidate.listed:
        yield "OpenClaw has no agent of this id."
    doubt = next((doubt for doubt in matching.doubts if doubt.person.id == candidate.id), None)
    if doubt is not None:
        yield "Which agent of Multica is it, if any?"
        for account in doubt.candidates:
            yield f"multica_id: {account.id}  # {clean(account.name, 60)}"
    elif multica_read and candidate.id not in matching.matches:
        yield "Multica has no agent of this name."
    elif multica_read and not matching.matches[candidate.id].listed:
        yield "Multica has no agent of this UUID, or hides it."


def _others(class_id: str) -> str:
    return " or ".join(other for other in BUILT_IN if other != class_id)


def _differences(file: HandWritten, first: HandWritten) -> Iterable[str]:
    yield f"{file.place}: a second file of {file.id}; {first.place} counts"
    for setting in dict.fromkeys((*first.said, *file.said)):
        mine, theirs = file.said.get(setting), first.said.get(setting)
        if mine is not None and mine != theirs:
            said = f"{shown(theirs)} on line {first.lines[setting]} there" if theirs is not None else "nothing there"
            yield f"{file.path}:{file.lines[setting]}: {setting} {shown(mine)} here, {said}, which counts"
    for what, one, other in (
        ("name", file.name, first.name),
        ("Multica UUID", file.multica_id, first.multica_id),
        ("class", file.class_id or "", first.class_id or ""),
        ("checks", shown(file.checks), shown(first.checks) if not file.checks else shown(file.checks)),
    ):
        if one != other:
            yield f"{file.place}: {what} {clean(one, 80) or 'not said'} here, {clean(other, 80) or 'not said'} there"
    for check in file.checks:
        if check not in first.checks:
            yield f"{file.place}: the check {check!r} is not in {first.place}, and left out"
