"""What no section can tell by itself: names that must exist, be unique, or agree with each other (rules R1, R2).

Names are taken from the document as they were written, so that a section with a mistake is checked all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from heartbeat.instants import exact_duration
from heartbeat.roster.classes import BUILT_IN, NEEDED, agent_values, class_values
from heartbeat.roster.document import Document, Place, quoted
from heartbeat.roster.fields import nearest
from heartbeat.roster.sections import Notes, Parts

COO = "coo"
ROLES = ("self", "creator", "operator")
"""Whom a class or an agent may tell besides agents and channels. `coo` is the agent of that id."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)


def cross_check(document: Document, parts: Parts, notes: Notes) -> None:
    """Every disagreement between sections goes to the notes."""
    check = _Check(document, parts, notes)
    check.names()
    check.team()
    check.multica_ids()
    check.classes()
    check.backups()
    check.targets()
    check.thresholds()


class _Check:
    def __init__(self, document: Document, parts: Parts, notes: Notes) -> None:
        self._document = document
        self._parts = parts
        self._notes = notes
        self._disabled = {name for name in parts.agents if document.get(("agents", name, "enabled")) is False}
        self._class_of = {name: document.get(("agents", name, "class")) for name in parts.agents}

    def names(self) -> None:
        """Ids become paths, lock names and labels (rule R2); no two kinds of target may share one."""
        for section, known in (
            ("agents", self._parts.agents),
            ("classes", self._parts.classes),
            ("channels", self._parts.channels),
        ):
            for name in known:
                if not _NAME.fullmatch(name):
                    folded = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:64]
                    mend = f"; write for example {quoted(folded)}" if _NAME.fullmatch(folded) else ""
                    allowed = "1 to 64 lower-case letters, digits, `-` and `_`, beginning with a letter or digit"
                    self._notes.at_key((section, name), f"a name here is {allowed}{mend}")
        for name in self._parts.agents:
            if name in ROLES:
                self._notes.at_key(("agents", name), f"{quoted(name)} is a role in `notify`; give the agent another id")
        for name in self._parts.channels:
            if name in (COO, *ROLES) or name in self._parts.agents:
                self._notes.at_key(("channels", name), "`notify` already knows this name; give the channel another one")

    def team(self) -> None:
        if not self._parts.agents and self._document.get(("agents",)) in (None, {}):
            self._notes.at_key(("agents",), "the roster has no agents; write at least one under `agents:`")
        elif self._parts.agents and self._disabled == set(self._parts.agents):
            self._notes.at_key(("agents",), "every agent is `enabled: false`; there would be nobody left")

    def multica_ids(self) -> None:
        first: dict[str, str] = {}
        for name in self._parts.agents:
            place: Place = ("agents", name, "multica_id")
            written = self._document.get(place)
            if not isinstance(written, str):
                continue
            holder = first.setdefault(written.strip().lower(), name)
            if holder != name:
                line = self._document.of_value(("agents", holder, "multica_id")).line
                self._notes.at_value(
                    place, f"is also the id of {quoted(holder)} on line {line}; each agent has its own"
                )

    def classes(self) -> None:
        known = list(dict.fromkeys((*BUILT_IN, *self._parts.classes)))
        for name, chosen in self._class_of.items():
            if isinstance(chosen, str) and chosen.strip() not in known:
                guess = nearest(chosen, known)
                self._notes.at_value(("agents", name, "class"), f"there is no class {quoted(chosen)}{guess}")
        for name, section in self._parts.classes.items():
            missing = [key for key in NEEDED if key not in class_values(name, section)]
            if section is not None and missing:
                guess = nearest(name, tuple(BUILT_IN))
                mend = guess if guess.startswith("; did") else ""
                message = f"lacks {', '.join(missing)}: a class that is not built in has no defaults{mend}"
                self._notes.at_key(("classes", name), message)

    def backups(self) -> None:
        for name in self._parts.agents:
            place: Place = ("agents", name, "backup")
            backup = self._document.get(place)
            if not isinstance(backup, str):
                continue
            if backup == name:
                self._notes.at_value(place, "an agent cannot stand in for itself; name another one")
            elif backup not in self._parts.agents:
                guess = nearest(backup, tuple(self._parts.agents))
                self._notes.at_value(place, f"there is no agent {quoted(backup)}{guess}")
            elif backup in self._disabled:
                self._notes.at_value(place, f"{quoted(backup)} is `enabled: false`; name an agent that works")

    def targets(self) -> None:
        for name in self._parts.classes:
            self._targets(("classes", name, "notify"), ROLES)
        for name in self._parts.agents:
            self._targets(("agents", name, "notify"), ROLES)
        self._targets(("watchdog", "notify"), ("operator",))
        for place, target in self._written(("operator", "notify")):
            if target not in self._parts.channels:
                guess = nearest(target, tuple(self._parts.channels)) or "; channels are written under `channels:`"
                self._notes.at_value(place, f"there is no channel {quoted(target)}{guess}")
        self._default_coo()

    def thresholds(self) -> None:
        for name in {*self._parts.classes, *BUILT_IN}:
            section = self._parts.classes.get(name)
            if section is not None or name not in self._parts.classes:
                self._threshold(("classes", name), class_values(name, section))
        for name, agent in self._parts.agents.items():
            if agent is None or (agent.suspect_after is None and agent.recover_after is None):
                continue
            of_class = self._parts.classes.get(agent.class_id)
            if of_class is not None or agent.class_id not in self._parts.classes:
                self._threshold(("agents", name), agent_values(class_values(agent.class_id, of_class), agent))

    def _threshold(self, place: Place, values: dict[str, Any]) -> None:
        suspect, recover = values.get("suspect_after"), values.get("recover_after")
        if suspect is None or recover is None or recover >= suspect:
            return
        written = "recover_after" if (*place, "recover_after") in self._document.keys else "suspect_after"
        self._notes.at_value(
            (*place, written),
            f"recover_after ({exact_duration(recover)}) comes before suspect_after ({exact_duration(suspect)}); "
            f"make it {exact_duration(suspect)} or longer",
        )

    def _targets(self, place: Place, roles: Iterable[str]) -> None:
        known = (*roles, *self._parts.agents, *self._parts.channels)
        for where, target in self._written(place):
            if target in self._disabled:
                self._notes.at_value(where, f"{quoted(target)} is `enabled: false` and hears nothing; name another one")
            elif target not in known:
                self._notes.at_value(where, self._unknown_target(target, known))

    def _unknown_target(self, target: str, known: tuple[str, ...]) -> str:
        if target == COO:
            return "the roster has no agent `coo`; add one, or name somebody else, for example operator"
        if target in ROLES:
            return f"{quoted(target)} means nobody here; name operator, an agent or a channel"
        return f"there is no role, agent or channel {quoted(target)}{nearest(target, known)}"

    def _default_coo(self) -> None:
        """A built-in class tells `coo`: said once a class, at its first agent, where there is none."""
        if COO in self._parts.agents and COO not in self._disabled:
            return
        for class_id, defaults in BUILT_IN.items():
            if COO not in defaults["notify"] or ("classes", class_id, "notify") in self._document.keys:
                continue
            concerned = [
                name
                for name, chosen in self._class_of.items()
                if chosen == class_id
                and name not in self._disabled
                and ("agents", name, "notify") not in self._document.keys
            ]
            if concerned:
                state = (
                    "the agent `coo` is `enabled: false`" if COO in self._disabled else "the roster has no agent `coo`"
                )
                of = f", the class of {len(concerned)} such agents," if len(concerned) > 1 else ""
                self._notes.at_key(
                    ("agents", concerned[0]),
                    f"class {class_id}{of} tells `coo` by default, and {state}; "
                    "add one, or write for example `notify: [operator]`",
                )

    def _written(self, place: Place) -> Iterator[tuple[Place, str]]:
        """The targets of a `notify` as they were written, each with its place."""
        raw = self._document.get(place)
        if isinstance(raw, str):
            yield place, raw.strip()
        for index, target in enumerate(raw if isinstance(raw, list) else ()):
            if isinstance(target, str) and target.strip():
                yield (*place, index), target.strip()
