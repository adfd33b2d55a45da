"""The automations of a fake Gateway (`cron.*`), kept, made to agree and refused as the real one does (contract 4).

`methods` is open: whoever imitates more of `cron.` puts a `Method` there.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.automation_rules import (
    ADD,
    FINDABLE,
    LABEL,
    LIST,
    MOST,
    OWNERLESS,
    PATCH,
    RESERVED,
    RUNS,
    SYSTEM,
    Json,
    Refused,
    allow_tools,
    between,
    check_shapes,
    closed,
    digest,
    forget_failures,
    identified,
    invalid,
    next_run,
    normal,
    other_id,
    patched,
    preview,
    revision,
    stagger,
)

READ = "operator.read"
ADMIN = "operator.admin"

_CONVERGED = ("schedule", "pacing", "trigger", "payload", "delivery", "displayName")
"""What `cron.add` makes agree with what is declared."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method: the scope that it needs, what it does with its parameters, and whether it changes anything."""

    scope: str
    handle: Callable[[Json], Any]
    writes: bool = False


@dataclass
class FakeAutomations:
    """`clock` gives epoch milliseconds, `agents` whom OpenClaw has; the first of them is the default."""

    clock: Callable[[], int]
    agents: Callable[[], Sequence[str]]
    jobs: dict[str, Json] = field(default_factory=dict)
    entries: list[Json] = field(default_factory=list)
    """Runs that have ended, the newest first."""
    execute: Callable[[Json], tuple[str, str]] = lambda job: ("ok", "")
    """What a run of an automation comes to: its status, and what it printed."""
    after_page: Callable[[], None] | None = None
    """What happens once the next page of the list has been given."""

    def __post_init__(self) -> None:
        self._ids = 0
        self.methods: dict[str, Method] = {
            "cron.list": Method(READ, self.list),
            "cron.get": Method(READ, self.get),
            "cron.runs": Method(READ, self.runs),
            "cron.status": Method(READ, self.status),
            "cron.add": Method(ADMIN, self.add, writes=True),
            "cron.update": Method(ADMIN, self.update, writes=True),
            "cron.remove": Method(ADMIN, self.remove, writes=True),
            "cron.run": Method(ADMIN, self.run, writes=True),
        }

    # What tests and other fakes use

    def present(self) -> int:
        return self.clock()

    def find(self, identifier: Any, *, noun: str = "Automation") -> Json:
        """The record as it is kept; raises Refused where there is none."""
        job = self.jobs.get(identifier)
        if job is None:
            told = f"{noun} not found: {identifier}. {FINDABLE}"
            raise Refused("INVALID_REQUEST", told, {"code": "CRON_JOB_NOT_FOUND", "jobId": identifier})
        return job

    def put(self, **fields: Any) -> Json:
        """Puts one there without asking, as the system does."""
        now = self.present()
        job = {
            "id": self._identifier(),
            "enabled": True,
            "createdAtMs": now,
            "updatedAtMs": now,
            "sessionTarget": "isolated",
            "wakeMode": "now",
            "state": {},
            **copy.deepcopy(fields),
        }
        self.jobs[job["id"]] = job
        self._plan(job)
        return job

    def named(self, key: str, agent: str | None = None) -> Json:
        """The one of this declaration key, and of this agent where one is given."""
        (job,) = (
            job
            for job in self.jobs.values()
            if job.get("declarationKey") == key and agent in (None, job.get("agentId"))
        )
        return job

    def fail(self, job: Json, times: int) -> None:
        """So many scheduled runs in a row fail; the tenth switches it off."""
        now = self.present()
        state = job["state"]
        state |= {"consecutiveErrors": times, "lastRunStatus": "error", "lastRunAtMs": now}
        if times >= 10:
            job["enabled"] = False
            state.pop("nextRunAtMs", None)
            state["autoDisabled"] = {"reason": "consecutive-failures", "atMs": now, "consecutiveErrors": times}

    def view(self, job: Json) -> Json:
        """A record as it is given to clients."""
        state = job["state"]
        shown = {"nextRunAtMs": state.get("nextRunAtMs"), "lastRunAtMs": state.get("lastRunAtMs")}
        shown["lastRunStatus"] = state.get("lastRunStatus")
        present = {name: value for name, value in shown.items() if value is not None}
        return copy.deepcopy({**job, "configRevision": revision(job), **present})

    # Methods

    def list(self, params: Json) -> Json:
        closed(params, LIST, "cron.list")
        between(params, "limit", 1, MOST, "cron.list")
        between(params, "offset", 0, None, "cron.list")
        found = [
            job
            for job in self.jobs.values()
            if (job["enabled"] or params.get("includeDisabled"))
            and params.get("agentId") in (None, self._owner(job))
            and str(params.get("query", "")).lower()
            in " ".join(str(job.get(name, "")) for name in ("id", "name", "description", "agentId")).lower()
        ]
        by = params.get("sortBy", "nextRunAtMs")
        found.sort(key=lambda job: job["state"].get(by, 2**53) if by == "nextRunAtMs" else job[by])
        if params.get("sortDir") == "desc":
            found.reverse()
        total = len(found)
        offset = min(params.get("offset", 0), total)
        limit = min(params.get("limit", total or 50), MOST)
        page = [{**self.view(job), "effectiveAgentId": self._owner(job)} for job in found[offset : offset + limit]]
        following = offset + len(page) if offset + len(page) < total else None
        answer = {
            "jobs": page,
            "snapshotRevision": digest([self.view(job) for job in found]),
            "total": total,
            "offset": offset,
            "limit": limit,
            "hasMore": following is not None,
            "nextOffset": following,
        }
        if params.get("includeDeliveryPreviews") is not False:
            answer["deliveryPreviews"] = {job["id"]: preview(job) for job in page}
        if self.after_page is not None:
            happens, self.after_page = self.after_page, None
            happens()
        return answer

    def status(self, params: Json) -> Json:
        closed(params, frozenset(), "cron.status")
        nexts = [job["state"]["nextRunAtMs"] for job in self.jobs.values() if "nextRunAtMs" in job["state"]]
        return {"enabled": True, "storage": "sqlite", "jobs": len(self.jobs), "nextWakeAtMs": min(nexts, default=None)}

    def get(self, params: Json) -> Json:
        return self.view(self.find(identified(params, frozenset(), "cron.get"), noun="cron job"))

    def add(self, params: Json) -> Json:
        key = params.get("declarationKey")
        if isinstance(key, str) and not key.strip():
            raise invalid("cron.add", "declarationKey must not be blank")
        if "enabled" in params and not isinstance(params["enabled"], bool):
            raise invalid("cron.add", "enabled must be a boolean")
        closed(params, ADD, "cron.add")
        for name in ("name", "schedule", "payload"):
            if name not in params:
                raise invalid("cron.add", f"must have required property '{name}'")
        if isinstance(key, str) and len(key) > LABEL:
            raise invalid("cron.add", f"at /declarationKey: must not have more than {LABEL} characters")
        wanted = normal(params)
        check_shapes(wanted, "cron.add")
        reserved = next((name for name in RESERVED if key and key.startswith(name)), None)
        if reserved is not None:
            told = f'cron declarationKey namespace "{reserved}" is system-owned; jobs cannot be created with it'
            raise invalid("cron.add", told)
        owner = self._available(wanted)
        same = [job for job in self.jobs.values() if key and job.get("declarationKey") == key]
        standing = next((job for job in same if self._owner(job) == owner), None)
        if standing is None:
            job = self._created(wanted)
            answer = {"created": True, "job": self.view(job)} if key else self.view(job)
        else:
            updated = self._converge(standing, wanted, "enabled" in params)
            answer = {"created": False, "updated": updated, "job": self.view(standing)}
        return {**answer, "deliveryPreview": preview(wanted)}

    def update(self, params: Json) -> Json:
        identifier = identified(params, frozenset({"patch", "expectedConfigRevision"}), "cron.update")
        patch = params.get("patch")
        if not isinstance(patch, dict):
            raise invalid("cron.update", "must have required property 'patch'")
        for name in patch:
            if name not in PATCH:
                raise invalid("cron.update", f"at /patch: unexpected property '{name}'; {other_id('id')}")
        job = self.find(identifier)
        self._refuse_system(job, "edited")
        expected, actual = params.get("expectedConfigRevision"), revision(job)
        if expected is not None and expected != actual:
            raise Refused(
                "INVALID_REQUEST",
                "cron job definition no longer matches the loaded version; review the latest version before retrying",
                {"code": "CRON_JOB_CHANGED", "expectedConfigRevision": expected, "actualConfigRevision": actual},
            )
        changed = patched(job, normal(patch, defaults=False))
        check_shapes(changed, "cron.update")
        if "agentId" in patch:
            self._available(changed)
        self._keep(job, changed)
        if patch.get("enabled") is True:
            forget_failures(job)
        self._plan(job)
        return self.view(job)

    def remove(self, params: Json) -> Json:
        job = self.find(identified(params, frozenset(), "cron.remove"))
        self._refuse_system(job, "removed")
        del self.jobs[job["id"]]
        return {"ok": True, "removed": True}

    def run(self, params: Json) -> Json:
        job = self.find(identified(params, frozenset({"mode", "expectedProcessInstanceId"}), "cron.run"))
        now = self.present()
        run = f"manual:{job['id']}:{now}:{len(self.entries) + 1}"
        status, summary = self.execute(job)
        job["state"] |= {"lastRunAtMs": now, "lastRunStatus": status, "lastStatus": status, "lastDurationMs": 20}
        job["state"]["consecutiveErrors"] = 0 if status == "ok" else job["state"].get("consecutiveErrors", 0) + 1
        job["updatedAtMs"] = now + 20
        ended = {"ts": now + 20, "jobId": job["id"], "action": "finished", "status": status, "runId": run}
        completion = "succeeded" if status == "ok" else "failed"
        told = {"summary": summary} if summary else {}
        self.entries.insert(
            0,
            {**ended, **told, "completionStatus": completion, "runAtMs": now, "durationMs": 20, "jobName": job["name"]},
        )
        return {"ok": True, "enqueued": True, "runId": run, "processInstanceId": str(uuid.UUID(int=1))}

    def runs(self, params: Json) -> Json:
        closed(params, RUNS, "cron.runs")
        between(params, "limit", 1, MOST, "cron.runs")
        identifier = params.get("id", params.get("jobId"))
        found = [entry for entry in self.entries if identifier in (None, entry["jobId"])]
        if identifier is not None and not found:
            self.find(identifier)
        offset, limit = params.get("offset", 0), params.get("limit", 50)
        page = found[offset : offset + limit]
        following = offset + len(page) if offset + len(page) < len(found) else None
        more = {"hasMore": following is not None, "nextOffset": following}
        return {"entries": copy.deepcopy(page), "total": len(found), "offset": offset, "limit": limit, **more}

    # How the real one keeps them

    def _identifier(self) -> str:
        self._ids += 1
        return str(uuid.UUID(int=0x5EED_0000_0000_4000_8000_0000_0000_0000 + self._ids))

    def _owner(self, job: Mapping[str, Any]) -> str | None:
        """Whose it is: the first agent's where it does not say."""
        return job.get("agentId") or next(iter(self.agents()), None)

    def _available(self, job: Mapping[str, Any]) -> str:
        owner = self._owner(job)
        if owner is None:
            raise Refused("UNAVAILABLE", OWNERLESS)
        if owner not in self.agents():
            raise Refused("UNAVAILABLE", f"Error: cron job agent is unavailable: {owner}")
        return owner

    def _refuse_system(self, job: Mapping[str, Any], deed: str) -> None:
        if str(job.get("declarationKey", "")).startswith(SYSTEM):
            raise Refused("UNAVAILABLE", f"Error: system-owned monitor jobs cannot be {deed} by cron clients")

    def _created(self, wanted: Json) -> Json:
        schedule = wanted["schedule"]
        if schedule["kind"] == "every":
            schedule.setdefault("anchorMs", self.present())
        stagger(schedule, {})
        allow_tools(wanted, {})
        return self.put(**wanted)

    def _converge(self, job: Json, wanted: Json, enabled_explicit: bool) -> bool:
        """Schedule, pacing, trigger, payload, delivery and display name, and `enabled` where it was said; nothing
        else. Whether any of them changed."""
        before = copy.deepcopy(job)
        schedule = wanted["schedule"]
        if schedule["kind"] == "every" and "anchorMs" not in schedule:
            standing = job["schedule"]
            same = standing["kind"] == "every" and standing["everyMs"] == schedule["everyMs"]
            schedule["anchorMs"] = standing["anchorMs"] if same else self.present()
        stagger(schedule, job["schedule"])
        changed = {name: value for name, value in job.items() if name not in _CONVERGED}
        changed |= {name: wanted[name] for name in _CONVERGED if name in wanted}
        changed["enabled"] = wanted.get("enabled", True) if enabled_explicit else job["enabled"]
        allow_tools(changed, before)
        compared = (*_CONVERGED, "scheduledToolPolicy", *(["enabled"] if enabled_explicit else []))
        stopped = enabled_explicit and "autoDisabled" in job["state"]
        if all(before.get(name) == changed.get(name) for name in compared) and not stopped:
            return False
        self._keep(job, changed)
        if enabled_explicit and job["enabled"] and (not before["enabled"] or stopped):
            forget_failures(job)
        self._plan(job)
        return True

    def _keep(self, job: Json, changed: Json) -> None:
        state, now = job["state"], max(self.present(), job["updatedAtMs"] + 1)
        job.clear()
        job |= {**copy.deepcopy(changed), "state": state, "updatedAtMs": now}

    def _plan(self, job: Json) -> None:
        job["state"].pop("nextRunAtMs", None)
        if job["enabled"]:
            job["state"]["nextRunAtMs"] = next_run(job["schedule"], self.present())
