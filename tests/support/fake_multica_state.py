"""What writing to a Multica server changes, bumps and starts (contract 3), without any network.

Every write that takes effect is noted in `writes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.support.fake_multica_records import (
    ACTIVE_RUNS,
    ALICE,
    CATEGORIES,
    SYSTEM,
    TERMINAL,
    Json,
    MulticaRecords,
    RefusalError,
    run_json,
)

_STATUS_KEY = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")
_METADATA_KEY = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,63}")
_MENTION = re.compile(r"mention://(agent|squad|member|all|issue)/([0-9A-Za-z-]+)")
_ISSUE_FIELDS = frozenset(
    {
        "title",
        "description",
        "status",
        "priority",
        "assignee_type",
        "assignee_id",
        "position",
        "start_date",
        "due_date",
        "parent_issue_id",
        "project_id",
        "stage",
    }
)


@dataclass
class MulticaState(MulticaRecords):
    """A server's records and the rules by which requests change them."""

    def update(self, issue: Json, patch: Json) -> Json:
        """`PUT /api/issues/{id}`; the answer has no labels."""
        expected = patch.get("expected_revision")
        if self.modern and expected is not None and expected != issue["revision"]:
            raise RefusalError(
                409,
                "resource changed since it was loaded",
                code="revision_conflict",
                expected_revision=expected,
                actual_revision=issue["revision"],
                resource_type="issue",
                resource_id=issue["id"],
            )
        if ("assignee_type" in patch) != ("assignee_id" in patch):
            raise RefusalError(400, "assignee_type and assignee_id must be provided together")
        changes = {name: value for name, value in patch.items() if name in _ISSUE_FIELDS}
        if "status" in changes:
            changes["status"] = self._status_key(changes["status"])
        changes = {name: value for name, value in changes.items() if issue[name] != value}
        if not changes:
            return self.issue_json(issue, labels=False)
        before = self.category(issue)
        issue.update(changes)
        self._bump(issue, activity=set(changes) != {"position"})
        self.writes.append(f"PUT {self.identifier(issue)} {json.dumps(changes, ensure_ascii=False, sort_keys=True)}")
        starts = self._starts_by_status(before, self.category(issue)) if "status" in changes else False
        if "assignee_id" in changes and issue["assignee_type"] in {"agent", "squad"}:
            starts = starts or self.category(issue) != "backlog"
        if starts and not (self.heeds_quiet and patch.get("suppress_run") is True):
            self._start_assignee(issue)
        if before not in TERMINAL and self.category(issue) in TERMINAL:
            self._close_barrier(issue)
        return self.issue_json(issue, labels=False)

    def comment(self, issue: Json, body: Json, *, author_type: str = "member", author_id: str = ALICE) -> Json:
        """`POST /api/issues/{id}/comments`, and whom it wakes."""
        content = self._content(body)
        kind = body.get("type") or "comment"
        if kind not in {"comment", "progress_update"}:
            raise RefusalError(400, "invalid comment type")
        parent_id = body.get("parent_id")
        if parent_id is not None and parent_id not in self.comments:
            raise RefusalError(400, "invalid parent comment")
        comment = self.add_comment(issue["id"], author_type, author_id, content, type=kind, parent_id=parent_id)
        self._bump(issue)
        self.writes.append(f"POST {self.identifier(issue)} comment {content!r}")
        answer = self._comment_answer(comment, issue)
        outcomes = self._wake(issue, comment, body.get("suppress_agent_ids") or ())
        return {**answer, "trigger_outcomes": outcomes} if outcomes else answer

    def edit_comment(self, comment: Json, body: Json) -> Json:
        """An edit cancels what the comment had started and counts as a new one; `updated_at` of the issue stays."""
        content = self._content(body)
        issue = self.issues[comment["issue_id"]]
        if content != comment["content"]:
            comment.update(content=content, updated_at=self.now, revision=comment["revision"] + 1)
            self._bump(issue, updated=False)
            self.writes.append(f"PUT {self.identifier(issue)} comment {content!r}")
            self._cancel_runs_started_by(comment)
            self._wake(issue, comment, body.get("suppress_agent_ids") or ())
        return self._comment_answer(comment, issue)

    def delete_comment(self, comment: Json) -> None:
        issue = self.issues[comment["issue_id"]]
        del self.comments[comment["id"]]
        self._bump(issue, updated=False)
        self.writes.append(f"DELETE {self.identifier(issue)} comment {comment['id']}")
        self._cancel_runs_started_by(comment)

    def set_metadata(self, issue: Json, key: str, body: Json) -> Json:
        if not _METADATA_KEY.fullmatch(key):
            raise RefusalError(400, "key must match ^[a-zA-Z_][a-zA-Z0-9_.-]{0,63}$")
        value = body.get("value")
        if not isinstance(value, str | int | float | bool):
            raise RefusalError(400, "value must be a string, number, or boolean")
        changed = {**issue["metadata"], key: value}
        if len(changed) > 50 or len(json.dumps(changed).encode()) > 8192:
            raise RefusalError(400, "metadata is too large")
        self._change_metadata(issue, changed, f"PUT {self.identifier(issue)} metadata {key}={value!r}")
        return self.metadata_json(issue)

    def delete_metadata(self, issue: Json, key: str) -> Json:
        rest = {name: value for name, value in issue["metadata"].items() if name != key}
        self._change_metadata(issue, rest, f"DELETE {self.identifier(issue)} metadata {key}")
        return self.metadata_json(issue)

    def create(self, body: Json) -> Json:
        title = body.get("title")
        if not isinstance(title, str) or not title.strip():
            raise RefusalError(400, "title is required")
        wanted = (" ".join(title.lower().split()), body.get("project_id"), body.get("parent_issue_id"))
        for other in self.issues.values():
            known = (" ".join(str(other["title"]).lower().split()), other["project_id"], other["parent_issue_id"])
            if known == wanted and self.category(other) not in TERMINAL and body.get("allow_duplicate") is not True:
                existing = self.issue_json(other, labels=False)
                raise RefusalError(409, "active duplicate issue exists", code="active_duplicate_issue", issue=existing)
        fields = {name: value for name, value in body.items() if name in _ISSUE_FIELDS - {"title", "status"}}
        issue = self.add_issue(title, **fields, status=self._status_key(body.get("status") or "todo"))
        self.writes.append(f"POST {self.identifier(issue)} {title!r}")
        if issue["assignee_type"] in {"agent", "squad"} and self.category(issue) != "backlog":
            self._start_assignee(issue)
        return self.issue_json(issue)

    def delete(self, issue: Json) -> None:
        del self.issues[issue["id"]]
        for child in self.children(issue):
            child["parent_issue_id"] = None
        self._cancel(run for run in self.runs.values() if run["issue_id"] == issue["id"])
        self.writes.append(f"DELETE {self.identifier(issue)}")

    def cancel_run(self, run_id: str) -> Json:
        if run_id not in self.runs:
            raise RefusalError(404, "task not found")
        self._cancel([self.runs[run_id]])
        self.writes.append(f"POST run {run_id} cancel")
        return run_json(self.runs[run_id])

    def rerun(self, issue: Json) -> Json:
        agent = self._agent_of(issue)
        if agent is None:
            raise RefusalError(400, "issue is not assigned to an agent or squad")
        if not self._may_run(agent):
            told = "you may not run this agent"
            raise RefusalError(403, told, reason_code="invocation_not_allowed")
        same = [run for run in self.runs.values() if (run["issue_id"], run["agent_id"]) == (issue["id"], agent)]
        self._cancel(run for run in same if run["status"] in {"queued", "dispatched", "deferred"})
        self.writes.append(f"POST {self.identifier(issue)} rerun")
        return run_json(self.add_run(issue["id"], agent, "queued"))

    # How it works inside.

    def _status_key(self, value: Any) -> str:
        key = str(value).strip().lower()
        if not _STATUS_KEY.fullmatch(key) or key not in self.statuses:
            raise RefusalError(400, f'invalid status "{value}"; valid values: {", ".join(self._status_order())}')
        return key

    def _status_order(self) -> list[str]:
        return sorted(self.statuses, key=lambda key: CATEGORIES.index(self.statuses[key]))

    def _bump(self, issue: Json, *, updated: bool = True, activity: bool = True) -> None:
        issue["revision"] += 1
        if updated:
            issue["updated_at"] = self.now
        if activity:
            issue["last_activity_at"] = self.now

    def _change_metadata(self, issue: Json, metadata: Json, told: str) -> None:
        """The same value again bumps `updated_at` and nothing else."""
        if metadata == issue["metadata"]:
            issue["updated_at"] = self.now
        else:
            issue["metadata"] = metadata
            self._bump(issue)
        self.writes.append(told)

    def _content(self, body: Json) -> str:
        content = str(body.get("content") or "").replace("\0", "")
        if not content.strip():
            raise RefusalError(400, "content is required")
        return content

    def _comment_answer(self, comment: Json, issue: Json) -> Json:
        revision = {"issue_revision": issue["revision"]} if self.modern else {}
        return {**self.comment_json(comment), **revision}

    def _agent_of(self, issue: Json) -> str | None:
        """The agent that runs the issue: its assignee, or the leader of the squad."""
        if issue["assignee_type"] == "squad":
            leader: str | None = self.squads.get(issue["assignee_id"], {}).get("leader_id")
            return leader
        return issue["assignee_id"] if issue["assignee_type"] == "agent" else None

    @staticmethod
    def _starts_by_status(before: str, after: str) -> bool:
        return before == "backlog" and after not in {"backlog", "done", "cancelled"}

    def _start_assignee(self, issue: Json) -> None:
        agent = self._agent_of(issue)
        if agent is not None:
            self._enqueue(issue, agent)

    def _enqueue(self, issue: Json, agent: str, **fields: Any) -> str:
        """Queue a run; at most one of a pair of issue and agent waits at any time. Gives the outcome's word."""
        if not self._may_run(agent):
            return "blocked"
        self.started.append(f"{self.identifier(issue)} {agent}")
        for run in self.runs.values():
            pending = run["status"] in {"queued", "dispatched"}
            if pending and (run["issue_id"], run["agent_id"]) == (issue["id"], agent):
                return "coalesced"
        self.add_run(issue["id"], agent, "queued", **fields)
        return "queued"

    def _may_run(self, agent: str) -> bool:
        known = self.agents.get(agent)
        return known is not None and (known["permission_mode"] != "private" or known["owner_id"] == ALICE)

    def _wake(self, issue: Json, comment: Json, suppressed: Iterable[str]) -> list[Json]:
        """Start the runs that a member's comment starts; gives the outcomes of explicit mentions."""
        content = comment["content"]
        if content.split()[0].lower() == "/note" or comment["author_type"] != "member":
            return []
        spared = set(suppressed)
        mentions = _MENTION.findall(content)
        explicit = [(kind, name) for kind, name in mentions if kind in {"agent", "squad"}]
        started_by = {"kind": "comment", "trigger_comment_id": comment["id"]}
        outcomes = []
        for kind, name in dict.fromkeys(explicit):
            agent = name if kind == "agent" else self.squads.get(name, {}).get("leader_id")
            if agent is None or agent in spared:
                continue
            outcome = self._enqueue(issue, agent, **started_by)
            reason = "invocation_not_allowed" if outcome == "blocked" else outcome
            outcomes.append({"target_type": kind, "target_id": name, "status": outcome, "reason_code": reason})
        if not explicit and not any(kind in {"member", "all"} for kind, _ in mentions):
            for agent in self._implicit_targets(issue, comment):
                if agent not in spared:
                    self._enqueue(issue, agent, **started_by)
        return outcomes

    def _implicit_targets(self, issue: Json, comment: Json) -> list[str]:
        """Top-level: the assignee. A reply: the agent that is answered, else the agents that the thread began with."""
        if comment["parent_id"] is None:
            assignee = self._agent_of(issue)
            return [assignee] if assignee else []
        parent = root = self.comments[comment["parent_id"]]
        if parent["author_type"] == "agent":
            return [parent["author_id"]]
        while root["parent_id"] is not None:
            root = self.comments[root["parent_id"]]
        mentioned = [name for kind, name in _MENTION.findall(root["content"]) if kind == "agent"]
        started = [run["agent_id"] for run in self.runs.values() if run.get("trigger_comment_id") == root["id"]]
        return list(dict.fromkeys(mentioned + started))

    def _close_barrier(self, child: Json) -> None:
        """When the last child of a stage ends, the parent gets a system comment and its agent a run."""
        parent = self.issues.get(child["parent_issue_id"])
        if parent is None or self.category(parent) in {*TERMINAL, "backlog"} or parent["assignee_type"] == "member":
            return
        siblings = self.children(parent)
        staged = [sibling for sibling in siblings if sibling["stage"] is not None]
        if staged and child["stage"] is None:
            return
        waited_for = [sibling for sibling in staged if sibling["stage"] <= child["stage"]] if staged else siblings
        if all(self.category(sibling) in TERMINAL for sibling in waited_for):
            self.add_comment(parent["id"], "system", SYSTEM, "All sub-issues are finished.", type="system")
            self._bump(parent)
            self._start_assignee(parent)

    def _cancel_runs_started_by(self, comment: Json) -> None:
        self._cancel(run for run in self.runs.values() if run.get("trigger_comment_id") == comment["id"])

    def _cancel(self, runs: Iterable[Json]) -> None:
        for run in runs:
            if run["status"] in ACTIVE_RUNS or run["status"] == "deferred":
                run.update(status="cancelled", completed_at=self.now)
