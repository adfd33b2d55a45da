"""A Multica without a server: raw issues, comments and runs, and what each action bumps and starts (contract 3).

The issues are read by the real translation and written to by the real writer. A server before 0.4.30 has no revisions.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from heartbeat.simulate.faults import ABSENT, PARTIAL, failure, write_failure
from heartbeat.simulate.world import HEARTBEAT, World
from heartbeat.systems.base import Deadline, FailureKind, Fetched
from heartbeat.systems.multica.access import IssueGoneError, RevisionConflictError, Runs
from heartbeat.systems.multica.comments import NOTE
from heartbeat.systems.multica.issues import SOURCE
from heartbeat.task import Ref

Record = dict[str, Any]

_ACTIVE = frozenset({"queued", "running"})
_OUTPUT = "Done what there was to do."
"""What a run prints in the end; it becomes a comment of its agent that has said nothing else."""

_ASLEEP = frozenset({"backlog", "done", "cancelled"})
"""Moving an issue into one of these starts no run, wherever it comes from."""


@dataclass(frozen=True, slots=True)
class Course:
    """What becomes of a run: how long it lasts, and where it fails, the words of that and Multica's own for it."""

    lasts: timedelta
    error: str = ""
    reason: str = ""


class Worker(Protocol):
    """Who works in runs. Agents are named by their roster ids."""

    def begin(self, agent: str, issue: str) -> Course | None:
        """A run begins; None where it is nothing but a call to an agent that works otherwise."""
        ...

    def end(self, agent: str, issue: str) -> None:
        """A run that had a course has ended well."""
        ...


class VirtualMultica:
    """One workspace. `agents` maps agent UUIDs to roster ids; a run in which nobody works lasts `run`."""

    def __init__(self, world: World, agents: Mapping[str, str], *, revisions: bool, run: timedelta) -> None:
        self._world = world
        self._agents = agents
        self._revisions = revisions
        self._run = run
        self._issues: dict[str, Record] = {}
        self._comments: dict[str, list[Record]] = {}
        self._runs: list[Record] = []
        self._history: dict[str, list[Record]] = {}
        """Every run of an issue, newest first."""
        self._ends: dict[str, datetime] = {}
        self._courses: dict[str, Course] = {}
        self._starters: dict[str, str] = {}
        self.worker: Worker | None = None
        self._numbers = 0
        self.worked_on: list[tuple[str, str]] = []
        """(issue, agent) of the runs that have ended since somebody looked."""

    def create(self, title: str, agent: str, *, status: str, priority: str) -> str:
        """An issue by a person, made in the backlog and moved without a run; its id."""
        now, identity = self._seconds(), self._world.identifier()
        self._numbers += 1
        number = self._numbers
        self._issues[identity] = {
            "id": identity,
            "identifier": f"SIM-{number}",
            "number": number,
            "title": title,
            "status": status,
            "status_category": status,
            "priority": "medium" if priority == "normal" else priority,
            "assignee_type": "agent",
            "assignee_id": agent,
            "creator_type": "member",
            "creator_id": "00000000-0000-4000-8000-000000000001",
            "parent_issue_id": None,
            "stage": None,
            "due_date": None,
            "created_at": now,
            "updated_at": now,
            "metadata": {},
            **({"revision": 1, "last_activity_at": self._precise()} if self._revisions else {}),
        }
        self._comments[identity] = []
        return identity

    def issue(self, identity: str) -> Record:
        """The issue as it stands; raises IssueGoneError."""
        if identity not in self._issues:
            raise IssueGoneError(FailureKind.NOT_FOUND, "issue not found")
        return self._issues[identity]

    def known(self, identity: str) -> Record | None:
        return self._issues.get(identity)

    def delete(self, identity: str) -> None:
        self._issues.pop(identity, None)
        self._comments.pop(identity, None)
        for run in self._history.pop(identity, []):
            if run["status"] in _ACTIVE:
                run["status"] = "cancelled"

    def issues(self) -> list[Record]:
        return list(self._issues.values())

    def comments(self, identity: str) -> list[Record]:
        self.issue(identity)
        return self._comments[identity]

    def runs(self) -> list[Record]:
        """Those that have not ended, as the workspace's snapshot lists them."""
        return [run for run in self._runs if run["status"] in _ACTIVE]

    def runs_of(self, identity: str) -> list[Record]:
        """All of an issue, whatever became of them, newest first."""
        self.issue(identity)
        return self._history.get(identity, [])

    def agent_of(self, run: Record) -> str:
        """The roster's name for whose run it is."""
        return self._agents.get(str(run["agent_id"]).lower(), "")

    def rerun(self, identity: str) -> Record:
        """A new run of the issue's agent, in place of one that waits; the run (contract 3)."""
        issue = self.issue(identity)
        for run in self.runs():
            if run["status"] == "queued" and run["issue_id"] == identity:
                run["status"] = "cancelled"
        return self._start(issue, "asked for a rerun")

    def cancel(self, name: str) -> Record | None:
        """Ends a run that goes on; the run as it is then, None where there is none."""
        found = next((run for runs in self._history.values() for run in runs if run["id"] == name), None)
        if found is not None and found["status"] in _ACTIVE:
            found["status"] = "cancelled"
            self.settle()
        return found

    def comment(self, identity: str, content: str, author: tuple[str, str]) -> Record:
        """Bumps the issue; without `/note` a person's words on an agent's issue start a run (contract 3)."""
        issue = self.issue(identity)
        self._bump(issue)
        comment = {
            "id": self._world.identifier(),
            "issue_id": identity,
            "author_type": author[0],
            "author_id": author[1],
            "content": content,
            "type": "comment",
            "created_at": self._seconds(),
            **({"issue_revision": issue["revision"]} if self._revisions else {}),
        }
        self._comments[identity].append(comment)
        if author[0] == "member" and content.split(None, 1)[:1] != [NOTE]:
            self._start(issue, "commented without /note")
        return comment

    def change(self, identity: str, fields: Mapping[str, str], *, quiet: bool, expected: int | None = None) -> Record:
        """Sets fields; bumps where something changes. Raises RevisionConflictError."""
        issue = self.issue(identity)
        if expected is not None and self._revisions and expected != issue["revision"]:
            raise RevisionConflictError(FailureKind.REFUSED, "revision_conflict")
        changed = {name: value for name, value in fields.items() if issue.get(name) != value}
        if not changed:
            return issue
        before = issue["status"]
        issue |= changed
        issue["status_category"] = issue["status"]
        self._bump(issue)
        leaves_backlog = before == "backlog" and issue["status"] not in _ASLEEP
        if not quiet and (leaves_backlog or ("assignee_id" in changed and issue["status"] != "backlog")):
            self._start(issue, "assigned it" if "assignee_id" in changed else "moved it out of the backlog")
        return issue

    def settle(self) -> None:
        """Ends the runs whose time has come: each leaves its output as a comment of its agent (contract 3)."""
        for run in self._runs:
            if run["status"] == "queued" and not self._is_busy(run):
                self._begin(run)
            elif run["status"] == "running" and self._ends[run["id"]] <= self._world.now:
                self._end(run)
        self._runs = self.runs()

    def _end(self, run: Record) -> None:
        course, issue, author = self._courses.pop(run["id"], None), run["issue_id"], ("agent", run["agent_id"])
        run["status"] = "completed" if course is None or not course.error else "failed"
        if issue not in self._issues:
            return
        if course is None:
            self.comment(issue, _OUTPUT, author)
            self.worked_on.append((issue, self.agent_of(run)))
        elif course.error:
            run |= {"error": course.error, "failure_reason": course.reason}
            self.comment(issue, course.error, author)["type"] = "system"
        else:
            before = len(self._comments[issue])
            if self.worker is not None:
                self.worker.end(self.agent_of(run), issue)
            if not any(each["author_id"] == run["agent_id"] for each in self._comments[issue][before:]):
                self.comment(issue, _OUTPUT, author)

    def _start(self, issue: Record, why: str) -> Record:
        """At most one queued run for an issue and its agent; those of one pair follow each other. The run that is to
        come, or has begun."""
        agent = str(issue["assignee_id"])
        pair = [run for run in self.runs() if run["issue_id"] == issue["id"] and run["agent_id"] == agent]
        queued = next((run for run in pair if run["status"] == "queued"), None)
        if queued is not None:
            return queued
        run = {
            "id": self._world.identifier(),
            "agent_id": agent,
            "issue_id": issue["id"],
            "status": "queued",
            "created_at": self._seconds(),
            "dispatched_at": None,
            "started_at": None,
        }
        self._runs.append(run)
        self._history.setdefault(issue["id"], []).insert(0, run)
        self._starters[run["id"]] = self._world.actor
        if not pair:
            self._begin(run)
        if self._world.actor != HEARTBEAT or run["id"] not in self._courses:
            self._world.count_run(self._agents.get(agent.lower(), agent), str(issue["identifier"]), why)
        return run

    def _begin(self, run: Record) -> None:
        run |= {"status": "running", "dispatched_at": self._seconds(), "started_at": self._seconds()}
        with self._world.acting(self._starters.pop(run["id"], self._world.actor)):
            course = self.worker.begin(self.agent_of(run), run["issue_id"]) if self.worker is not None else None
        if course is not None:
            self._courses[run["id"]] = course
        self._ends[run["id"]] = self._world.now + (self._run if course is None else course.lasts)
        self._world.plan(self._ends[run["id"]], self.settle)

    def _is_busy(self, queued: Record) -> bool:
        pair = (queued["issue_id"], queued["agent_id"])
        return any(run["status"] == "running" and (run["issue_id"], run["agent_id"]) == pair for run in self._runs)

    def _bump(self, issue: Record) -> None:
        issue["updated_at"] = self._seconds()
        if self._revisions:
            issue["revision"] += 1
            issue["last_activity_at"] = self._precise()

    def _seconds(self) -> str:
        return self._world.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _precise(self) -> str:
        return self._world.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class IssueTransport:
    """Implements Transport over a virtual Multica."""

    world: World
    multica: VirtualMultica
    name: str = "simulated"

    def absent(self) -> str | None:
        return "nothing of it is to be found" if self.world.down.get(SOURCE) == ABSENT else None

    def fetch(self, deadline: Deadline) -> Fetched:
        kind = self.world.down.get(SOURCE)
        if kind not in (None, PARTIAL):
            raise failure(SOURCE, kind)
        issues = self.multica.issues()
        extra = {"squads": [], "runs": self.multica.runs()}
        if kind == PARTIAL:
            return Fetched(issues[::2], f"{len(issues[::2])} of {len(issues)} issues came", extra=extra)
        return Fetched(issues, extra=extra)

    def version(self, deadline: Deadline) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class IssueChannel:
    """Implements the writer's Channel, and Access, by a member's token."""

    world: World
    multica: VirtualMultica
    name: str = "simulated"
    binds: bool = True

    def absent(self) -> str | None:
        return None

    @contextmanager
    def open(self, deadline: Deadline) -> Iterator[IssueChannel]:
        kind = self.world.down.get(SOURCE)
        if kind is not None:
            raise write_failure(SOURCE, kind)
        yield self

    def issue(self, identity: str) -> Mapping[str, Any]:
        return copy.deepcopy(self.multica.issue(identity))

    def comments(self, identity: str) -> list[Any]:
        return copy.deepcopy(self.multica.comments(identity))

    def squads(self) -> list[Any]:
        return []

    def runs(self, identity: str, agent: str | None) -> Runs:
        runs = copy.deepcopy(self.multica.runs())
        return Runs([run for run in runs if run["issue_id"] == identity], runs)

    def add_comment(self, identity: str, text: str) -> Mapping[str, Any]:
        return copy.deepcopy(self.multica.comment(identity, text, ("member", "heartbeat")))

    def change(self, identity: str, fields: Mapping[str, str], revision: int | None) -> Mapping[str, Any]:
        return copy.deepcopy(self.multica.change(identity, fields, quiet=True, expected=revision))

    def can_be_quiet(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class IssuePiece:
    """Implements Piece: a task's issue, in the hands of agents and people. `uuids` maps roster ids to UUIDs."""

    multica: VirtualMultica
    id: str
    uuids: Mapping[str, str]

    @property
    def ref(self) -> Ref:
        return Ref(SOURCE, self.id)

    def take(self, agent: str, *, alone: bool = True) -> bool:
        issue = self.multica.issue(self.id)
        if issue["assignee_id"] != self.uuids.get(agent) or issue["status"] not in ("backlog", "todo"):
            return False
        self.multica.change(self.id, {"status": "in_progress"}, quiet=True)
        return True

    def is_with(self, agent: str) -> bool:
        issue = self.multica.known(self.id)
        return issue is not None and issue["status"] == "in_progress" and issue["assignee_id"] == self.uuids.get(agent)

    def breathe(self, agent: str) -> None:
        """Multica knows no heartbeat of a worker."""

    def say(self, who: str, text: str) -> None:
        self.multica.comment(self.id, text, self._author(who))

    def finish(self, who: str) -> None:
        self.multica.change(self.id, {"status": "done"}, quiet=True)

    def move(self, status: str) -> None:
        self.multica.change(self.id, {"status": status}, quiet=False)

    def assign(self, agent: str) -> None:
        fields = {"status": "todo", "assignee_type": "agent", "assignee_id": self.uuids[agent]}
        self.multica.change(self.id, fields, quiet=False)

    def clear_away(self) -> None:
        self.multica.delete(self.id)

    def _author(self, who: str) -> tuple[str, str]:
        return ("agent", self.uuids[who]) if who in self.uuids else ("member", "a person")
