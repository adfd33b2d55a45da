"""What a Multica server knows and how it shows it (contract 2.3 and 2.4), without any network.

Time stands still until a test moves it. `modern=False` is a server from before custom statuses and revisions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

WORKSPACE_ID = "0198f0a0-1111-7000-8000-000000000001"
ALICE = "0198f0a0-2222-7000-8000-000000000001"
BOB = "0198f0a0-2222-7000-8000-000000000002"
CODEX = "0198f0a0-3333-7000-8000-000000000001"
REVIEWER = "0198f0a0-3333-7000-8000-000000000002"
CORE_SQUAD = "0198f0a0-4444-7000-8000-000000000001"
RUNTIME_ID = "0198f0a0-5555-7000-8000-000000000001"
TOKEN = "mul_0123456789abcdef0123456789abcdef01234567"
SYSTEM = "00000000-0000-0000-0000-000000000000"

CATEGORIES = ("backlog", "todo", "in_progress", "in_review", "done", "blocked", "cancelled")
TERMINAL = frozenset({"done", "cancelled"})
ACTIVE_RUNS = frozenset({"queued", "dispatched", "running", "waiting_local_directory"})
PRIORITIES = ("urgent", "high", "medium", "low", "none")
PAGE_LIMIT = 100
COMMENT_LIMIT = 2000

Json = dict[str, Any]

_IDENTIFIER = re.compile(r"([A-Za-z0-9]+)-(\d+)")
_SORTED_FIELDS = ("position", "title", "created_at", "updated_at", "start_date", "due_date", "status")


class RefusalError(Exception):
    """The server says no: an HTTP status and the JSON body that comes with it."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        super().__init__(error)
        self.status = status
        self.body: Json = {"error": error, **more}


@dataclass
class MulticaRecords:
    """One workspace with two people, two agents and a squad that Codex leads; tests add issues, runs and comments."""

    modern: bool = True
    heeds_quiet: bool = True
    """False is a server from before 0.3.28: it starts runs whatever `suppress_run` says, and knows no stages."""
    now: datetime = datetime(2026, 11, 21, 3, 0, 0, 4512, tzinfo=UTC)
    prefix: str = "ACM"
    tokens: dict[str, str] = field(default_factory=lambda: {TOKEN: ALICE})
    workspaces: list[Json] = field(default_factory=list)
    agents: dict[str, Json] = field(default_factory=dict)
    squads: dict[str, Json] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=lambda: {key: key for key in CATEGORIES})
    issues: dict[str, Json] = field(default_factory=dict)
    comments: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Json] = field(default_factory=dict)
    outside_window: set[str] = field(default_factory=set)
    """Issues that a plan limit hides: absent from lists, 402 when asked for (contract 4)."""
    lying_total: int | None = None
    """What a list says its total is, true or not."""
    ignores_offset: bool = False
    writes: list[str] = field(default_factory=list)
    """Everything that a request changed, in words; what a test sets up is not among it."""
    started: list[str] = field(default_factory=list)
    """Every run that a request started, or would have started had none been waiting: `ACM-1 <agent>`."""

    def __post_init__(self) -> None:
        self.add_workspace(WORKSPACE_ID, "Acme", "acme")
        for agent_id, name in ((CODEX, "Codex"), (REVIEWER, "Reviewer")):
            self.add_agent(agent_id, name)
        self.squads[CORE_SQUAD] = {"id": CORE_SQUAD, "name": "Core", "leader_id": CODEX}
        if self.modern:
            self.statuses["human_review"] = "in_review"

    # What tests set up. None of it counts as a write.

    def pass_time(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    def add_workspace(self, workspace_id: str, name: str, slug: str) -> None:
        self.workspaces.append({"id": workspace_id, "name": name, "slug": slug, "issue_prefix": self.prefix})

    def add_agent(self, agent_id: str, name: str, **fields: Any) -> None:
        """An agent that everybody may run, unless `permission_mode` is private and `owner_id` somebody else."""
        self.agents[agent_id] = {
            "id": agent_id,
            "workspace_id": WORKSPACE_ID,
            "name": name,
            "status": "idle",
            "runtime_id": RUNTIME_ID,
            "runtime_bound": True,
            "permission_mode": "public_to",
            "owner_id": ALICE,
            "archived_at": None,
            **fields,
        }

    def add_issue(self, title: Any, **fields: Any) -> Json:
        """An issue as the database holds it; `fields` are the API's names, times are datetimes."""
        number = 1 + max((issue["number"] for issue in self.issues.values()), default=0)
        issue: Json = {
            "id": f"0198f0a0-7777-7000-8000-{number:012d}",
            "workspace_id": WORKSPACE_ID,
            "number": number,
            "title": title,
            "description": None,
            "status": "todo",
            "priority": "none",
            "assignee_type": None,
            "assignee_id": None,
            "creator_type": "member",
            "creator_id": ALICE,
            "parent_issue_id": None,
            "project_id": None,
            "position": -float(number),
            "stage": None,
            "start_date": None,
            "due_date": None,
            "created_at": self.now,
            "updated_at": self.now,
            "last_activity_at": self.now,
            "revision": 1,
            "metadata": {},
            "properties": {},
            "labels": [],
            **fields,
        }
        self.issues[issue["id"]] = issue
        return issue

    def add_run(self, issue_id: str, agent_id: str, status: str = "running", **fields: Any) -> Json:
        started = self.now if status in {"running", "completed", "failed"} else None
        run: Json = {
            "id": f"0198f0a0-9999-7000-8000-{len(self.runs) + 1:012d}",
            "agent_id": agent_id,
            "runtime_id": RUNTIME_ID,
            "issue_id": issue_id,
            "workspace_id": WORKSPACE_ID,
            "status": status,
            "priority": PRIORITIES[::-1].index(self.issues[issue_id]["priority"]),
            "dispatched_at": started,
            "started_at": started,
            "completed_at": self.now if status not in ACTIVE_RUNS and status != "deferred" else None,
            "result": None,
            "error": None,
            "attempt": 1,
            "max_attempts": 2,
            "created_at": self.now,
            "delivered_comment_ids": [],
            "kind": "direct",
            "attribution": {"source": "direct_human", "precise": True},
            **fields,
        }
        self.runs[run["id"]] = run
        return run

    def add_comment(self, issue_id: str, author_type: str, author_id: str, content: str, **fields: Any) -> Json:
        comment: Json = {
            "id": f"0198f0a0-8888-7000-8000-{len(self.comments) + 1:012d}",
            "issue_id": issue_id,
            "author_type": author_type,
            "author_id": author_id,
            "content": content,
            "type": "comment",
            "parent_id": None,
            "created_at": self.now,
            "updated_at": self.now,
            "revision": 1,
            "resolved_at": None,
            "resolved_by_type": None,
            "resolved_by_id": None,
            "reactions": [],
            "attachments": [],
            **fields,
        }
        self.comments[comment["id"]] = comment
        return comment

    # Reading.

    def find(self, reference: str) -> Json:
        """An issue by UUID or identifier, in any case; refuses with 404 or, outside the window, 402."""
        match = _IDENTIFIER.fullmatch(reference)
        if match and match[1].upper() == self.prefix.upper():
            found = [issue for issue in self.issues.values() if issue["number"] == int(match[2])]
        else:
            found = [issue for issue in self.issues.values() if issue["id"] == reference.lower()]
        if not found:
            raise RefusalError(404, "issue not found")
        if found[0]["id"] in self.outside_window:
            raise RefusalError(
                402,
                "issue_outside_creation_window",
                message="This issue is outside of your plan's window.",
                limit=100,
                policy_revision=3,
            )
        return found[0]

    def category(self, issue: Json) -> str:
        """The status's category; a key that the catalogue does not have is its own."""
        status = str(issue["status"])
        return self.statuses.get(status, status)

    def list_issues(self, query: Mapping[str, str]) -> Json:
        """`GET /api/issues`: the filters, orders and limits of contract 2.3 that matter to a poller."""
        visible = [issue for issue in self.issues.values() if issue["id"] not in self.outside_window]
        if query.get("open_only") == "true":
            rows = [issue for issue in visible if self.category(issue) not in TERMINAL]
            return {"issues": [self.issue_json(issue) for issue in rows], "total": len(rows)}
        rows = self._ordered([issue for issue in visible if self._matches(issue, query)], query)
        total = len(rows) if self.lying_total is None else self.lying_total
        offset = 0 if self.ignores_offset else _number(query.get("offset"), 0)
        limit = min(_number(query.get("limit"), PAGE_LIMIT) or PAGE_LIMIT, PAGE_LIMIT)
        return {"issues": [self.issue_json(issue) for issue in rows[offset : offset + limit]], "total": total}

    def children(self, issue: Json) -> list[Json]:
        rows = [child for child in self.issues.values() if child["parent_issue_id"] == issue["id"]]
        return sorted(rows, key=lambda child: int(child["number"]))

    def comments_of(self, issue: Json, query: Mapping[str, str]) -> tuple[list[Json], bool]:
        """Oldest first, the newest 2,000 at most, and whether older ones were left out."""
        rows = [comment for comment in self.comments.values() if comment["issue_id"] == issue["id"]]
        rows.sort(key=lambda comment: (comment["created_at"], comment["id"]))
        if "since" in query:
            try:
                since = datetime.fromisoformat(query["since"])
            except ValueError:
                raise RefusalError(400, "invalid since parameter; expected RFC3339 format") from None
            rows = [comment for comment in rows if comment["created_at"] > since]
            return [self.comment_json(comment) for comment in rows[:COMMENT_LIMIT]], len(rows) > COMMENT_LIMIT
        if query.get("roots_only") == "true":
            rows = [comment for comment in rows if comment["parent_id"] is None]
        return [self.comment_json(comment) for comment in rows[-COMMENT_LIMIT:]], len(rows) > COMMENT_LIMIT

    def runs_of(self, issue: Json, *, active: bool = False) -> list[Json]:
        """Newest first."""
        rows = [run for run in self.runs.values() if run["issue_id"] == issue["id"]]
        rows = [run for run in rows if not active or run["status"] in ACTIVE_RUNS]
        return [run_json(run) for run in sorted(rows, key=lambda run: (run["created_at"], run["id"]), reverse=True)]

    def snapshot(self) -> list[Json]:
        """All active runs, and the last ended one of each agent."""
        rows = sorted(self.runs.values(), key=lambda run: (run["created_at"], run["id"]), reverse=True)
        last = {run["agent_id"]: run for run in reversed(rows) if run["status"] in {"completed", "failed"}}
        shown = [run for run in rows if run["status"] in ACTIVE_RUNS or last.get(run["agent_id"]) is run]
        return [run_json(run) for run in shown]

    # What the API shows.

    def agent_json(self, agent: Json) -> Json:
        """An agent that has a run going is working, whatever else it was; a run that waits is not going."""
        going = any(
            run["agent_id"] == agent["id"] and run["status"] in ACTIVE_RUNS - {"queued"} for run in self.runs.values()
        )
        return {**agent, "status": "working" if going and agent["status"] == "idle" else agent["status"]}

    def identifier(self, issue: Json) -> str:
        return f"{self.prefix}-{issue['number']}"

    def issue_json(self, issue: Json, *, labels: bool = True) -> Json:
        shown = {**issue, "identifier": self.identifier(issue), "status_category": self.category(issue)}
        shown |= {name: whole_seconds(issue[name]) for name in ("created_at", "updated_at")}
        shown["last_activity_at"] = fine_seconds(issue["last_activity_at"])
        if not self.modern:
            for name in ("status_category", "revision", "last_activity_at"):
                del shown[name]
        if not self.heeds_quiet:
            del shown["stage"]
        if not labels:
            del shown["labels"]
        return shown

    def comment_json(self, comment: Json) -> Json:
        shown = {**comment, **{name: whole_seconds(comment[name]) for name in ("created_at", "updated_at")}}
        if not self.modern:
            del shown["revision"]
        return shown

    def metadata_json(self, issue: Json) -> Json:
        revision = {"issue_revision": issue["revision"]} if self.modern else {}
        return {"metadata": dict(issue["metadata"]), **revision}

    def _matches(self, issue: Json, query: Mapping[str, str]) -> bool:
        def among(names: tuple[str, ...], value: Any) -> bool:
            wanted = next((query[name] for name in names if name in query), None)
            return wanted is None or str(value) in wanted.split(",")

        if "metadata" in query:
            wanted = json.loads(query["metadata"])
            if any(issue["metadata"].get(name) != value for name, value in wanted.items()):
                return False
        moment = query.get("date_field")
        if moment in {"created_at", "updated_at"}:
            start, end = (datetime.fromisoformat(query[name]) for name in ("date_start", "date_end"))
            if not start <= issue[moment] < end:
                return False
        return (
            among(("statuses", "status"), issue["status"])
            and among(("status_categories", "status_category"), self.category(issue))
            and among(("priorities", "priority"), issue["priority"])
            and among(("assignee_ids", "assignee_id"), issue["assignee_id"])
            and among(("assignee_types",), issue["assignee_type"])
            and among(("ids",), issue["id"])
        )

    def _ordered(self, rows: list[Json], query: Mapping[str, str]) -> list[Json]:
        """Equal ones: newest first, then by id downwards; a missing date comes last in both directions."""
        name = query.get("sort", "position")
        down = query.get("direction", "desc" if name == "last_activity" else "asc") == "desc"
        keys: dict[str, Callable[[Json], Any]] = {
            "priority": lambda issue: PRIORITIES.index(issue["priority"]),
            "last_activity": lambda issue: issue["last_activity_at"],
            **{name: itemgetter(name) for name in _SORTED_FIELDS},
        }
        if name not in keys:
            raise RefusalError(400, "invalid sort")
        rows = sorted(rows, key=lambda issue: (issue["created_at"], issue["id"]), reverse=True)
        missing = [issue for issue in rows if keys[name](issue) is None]
        present = [issue for issue in rows if keys[name](issue) is not None]
        # A reversed sort keeps equal ones in their order too.
        return sorted(present, key=keys[name], reverse=down) + missing


def run_json(run: Json) -> Json:
    names = ("dispatched_at", "started_at", "completed_at", "created_at")
    return {**run, **{name: whole_seconds(run[name]) for name in names}}


def whole_seconds(moment: Any) -> Any:
    """RFC 3339, cut to whole seconds. Whatever is no datetime stays, so that a test can store what it likes."""
    if not isinstance(moment, datetime):
        return moment
    text = moment.replace(microsecond=0).isoformat()
    return text.replace("+00:00", "Z")


def fine_seconds(moment: Any) -> Any:
    """RFC 3339 with as many digits of a second as there are."""
    if not isinstance(moment, datetime):
        return moment
    whole, _, fraction = moment.isoformat().removesuffix("+00:00").partition(".")
    digits = fraction.rstrip("0")
    return f"{whole}.{digits}Z" if digits else f"{whole}Z"


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdigit() else otherwise
