"""The turns of a fake Gateway (`agent`, `agent.wait`, `tasks.list`, `tasks.cancel`, `chat.abort`), with models that
behave as a test says (contract 6.2)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.automation_rules import Json, Refused, closed, invalid
from tests.support.fake_models import COMPLAINTS, Behaviour, Complaint
from tests.support.fake_runs import FakeRun, row_of, task_of
from tests.support.openclaw_sessions import FakeSessions

INVALID = "INVALID_REQUEST"
READ, WRITE, ADMIN = "operator.read", "operator.write", "operator.admin"
SCOPES: Mapping[str, str] = {
    "agent": WRITE,
    "agent.wait": WRITE,
    "chat.abort": WRITE,
    "models.list": READ,
    "sessions.patch": WRITE,
    "tasks.cancel": WRITE,
    "tasks.list": READ,
}
REMEMBERED_MS = 600_000
"""How long `agent.wait` remembers a turn that has ended."""
KEYS_MS = 300_000
"""How long an idempotency key is remembered after its turn has ended."""
WRITES = frozenset({"agent", "chat.abort", "sessions.patch", "tasks.cancel"})
INTERRUPTED = "Task execution process exited before restart."
TIMED_OUT = (
    "Request timed out before a response was generated. Please try again, or increase "
    "`agents.defaults.timeoutSeconds` in your config."
)

_AGENT_PARAMETERS = frozenset(
    {
        "message",
        "agentId",
        "provider",
        "model",
        "sessionId",
        "sessionKey",
        "thinking",
        "deliver",
        "timeout",
        "lane",
        "cwd",
        "extraSystemPrompt",
        "bootstrapContextMode",
        "idempotencyKey",
        "label",
    }
)
_LIST_PARAMETERS = frozenset({"status", "agentId", "sessionKey", "limit", "cursor", "sortBy"})
_KEY = re.compile(r"agent:([^:]+):")


@dataclass
class FakeTurns:
    """`clock` gives epoch milliseconds. `models` says how `provider/model` behaves; what is not there answers. The
    agents' own model is `default`. `requests` holds the turn and the model of every request that reached a model, in
    order."""

    clock: Callable[[], int]
    agents: Callable[[], Sequence[str]]
    sessions: FakeSessions
    models: dict[str, Behaviour] = field(default_factory=dict)
    default: str = "fake/m"
    lacking: set[str] = field(default_factory=set)
    """Models for which OpenClaw has no credentials."""
    fallback: str = ""
    """The model that OpenClaw goes on with where the agents' own fails."""
    priced: float = 0.0
    """US dollars that one request costs; 0 where no price is configured."""
    pinned: dict[str, str] = field(default_factory=dict)
    """The model that was set on a session, by its key."""
    runs: dict[str, FakeRun] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    messages: list[Json] = field(default_factory=list)
    """The parameters of every `agent` that began a turn."""

    def __post_init__(self) -> None:
        self._lock = threading.RLock()

    def handle(self, method: str, given: Json, scopes: frozenset[str], connection: object = None) -> Json:
        """The payload of the first answer. Raises Refused."""
        with self._lock:
            self._settle()
            match method:
                case "agent":
                    return self._agent(given, scopes, connection)
                case "agent.wait":
                    return self._wait(given)
                case "models.list":
                    return self._models(given)
                case "tasks.list":
                    return self._list(given)
                case "tasks.cancel":
                    return self._cancel(given)
                case "sessions.patch":
                    return self._patch(given)
                case _:
                    return self._abort(given, scopes, connection)

    def listen(self, run: str, told: Callable[[Json], None]) -> None:
        """Has the final frame told to whoever began the turn and stayed; at once where it has ended already."""
        with self._lock:
            self._settle()
            found = self.runs[run]
            if found.final is not None:
                told(found.final)
            else:
                found.listeners.append(told)

    # What happens there

    def let_go(self) -> None:
        """Every model that holds its answer back gives it."""
        with self._lock:
            for run in self.runs.values():
                if run.status == "running" and run.behaviour is Behaviour.HELD:
                    self._answer(run)

    def restart(self) -> None:
        """The Gateway dies and comes up again: it keeps its records, and takes up what it left unfinished."""
        with self._lock:
            self._settle()
            for run in self.runs.values():
                if run.status == "running":
                    self._close(run, "cancelled", INTERRUPTED, keep_frame=False)
                    self.sessions.records[run.key] |= {"status": "running", "abortedLastRun": True}
                run.forgotten = True

    def take_up(self, run: str) -> str:
        """Some seconds after a restart: a new turn in the same session goes on with the agent's own model."""
        with self._lock:
            old = self.runs[run]
            name = f"0a1b2c3d-0000-4000-8000-{len(self.runs):012x}"
            told = "[System] Your previous turn was interrupted by a gateway restart."
            self._begin(name, old.agent, old.key, told, self.pinned.get(old.key, self.default), None, None)
            return name

    def _settle(self) -> None:
        """What time alone has brought to an end."""
        now = self.clock()
        for run in self.runs.values():
            if run.status != "running":
                continue
            if run.until is not None and run.until <= now and (run.ends_at is None or run.ends_at > run.until):
                self._time_out(run)
            elif run.ends_at is not None and run.ends_at <= now:
                self._fail(run, COMPLAINTS[run.behaviour])

    # Requests

    def _agent(self, given: Json, scopes: frozenset[str], connection: object) -> Json:
        for name in ("message", "idempotencyKey"):
            if not given.get(name):
                raise invalid("agent", f"must have required property '{name}'")
        closed(given, _AGENT_PARAMETERS, "agent")
        agent, run = given.get("agentId") or self.agents()[0], given["idempotencyKey"]
        if agent not in self.agents():
            raise Refused(INVALID, f'invalid agent params: unknown agent id "{agent}"')
        if ("model" in given or "provider" in given) and ADMIN not in scopes:
            raise Refused(INVALID, "provider/model overrides are not authorized for this caller.")
        known = self.runs.get(run)
        if known is not None and not known.forgotten:
            if known.final is None:
                return {"runId": run, "status": "in_flight", "sessionKey": known.key, "agentId": known.agent}
            if self.clock() - (known.ended_at or 0) < KEYS_MS:
                if not known.final["ok"]:
                    raise Refused("UNAVAILABLE", known.error)
                payload: Json = known.final["payload"]
                return payload
        key = given.get("sessionKey") or f"agent:{agent}:main"
        owner = _KEY.match(key)
        if owner is not None and owner.group(1) != agent.lower():
            raise Refused(
                INVALID,
                "Multiple agents are configured, but session agent resolution has no explicit owner. The agent-scoped "
                f'session key belongs to "{owner.group(1)}", not "{agent}".',
            )
        key = key if owner is not None else f"agent:{agent}:{key}"
        accepted = {"runId": run, "sessionKey": key, "agentId": agent, "status": "accepted", "acceptedAt": self.clock()}
        if known is not None:
            self._spoil(known)
            return accepted
        self.messages.append(given)
        named, timeout = given.get("model") or self.pinned.get(key, self.default), given.get("timeout")
        self._begin(run, agent, key, given["message"], named, timeout, connection)
        return accepted

    def _begin(
        self, run: str, agent: str, key: str, message: str, named: str, timeout: int | None, connection: object
    ) -> None:
        now = self.clock()
        chosen = named
        if key not in self.pinned and named == self.default and self.fallback and self.models.get(named) in COMPLAINTS:
            self.requests.append((run, named))
            chosen = self.fallback
        provider, _, model = chosen.partition("/")
        behaviour = self.models.get(chosen, Behaviour.ANSWERS)
        complaint = COMPLAINTS.get(behaviour)
        self.runs[run] = begun = FakeRun(
            id=run,
            agent=agent,
            key=key,
            message=message,
            provider=provider,
            model=model,
            behaviour=behaviour,
            began_at=now,
            ends_at=now + complaint.milliseconds if complaint is not None else None,
            until=now + timeout * 1000 if timeout else None,
            begun_by=connection,
        )
        if behaviour is not Behaviour.GONE:
            self.requests.append((run, chosen))
        self.sessions.turn_begins(key, now, message, f"{run}:user")
        if behaviour is Behaviour.ANSWERS:
            self._answer(begun)
        self._settle()

    def _patch(self, given: Json) -> Json:
        if set(given) - {"key", "agentId", "model", "label"}:
            raise Refused(
                "FORBIDDEN", "missing scope: operator.admin", {"code": "MISSING_SCOPE", "missingScope": ADMIN}
            )
        key, model = given["key"], given.get("model")
        owner = _KEY.match(key)
        if owner is None or owner.group(1) not in self.agents():
            raise Refused("UNAVAILABLE", "Session patch failed unexpectedly. Retry the request.")
        providers = {named.partition("/")[0] for named in (*self.models, self.default)}
        if model is not None and model.partition("/")[0] not in providers:
            told = f'Unknown provider "{model.partition("/")[0]}". Use /models to list providers.'
            raise Refused(INVALID, told)
        if model is None:
            self.pinned.pop(key, None)
        else:
            self.pinned[key] = model
        if key not in self.sessions.records:
            self.sessions.put(key, createdVia="operator")
        return {
            "ok": True,
            "key": key,
            "resolved": dict(zip(("modelProvider", "model"), _pair(model or self.default).values(), strict=True)),
        }

    def _wait(self, given: Json) -> Json:
        if given.get("timeoutMs", 0) < 0:
            raise invalid("agent.wait", "at /timeoutMs: must be >= 0")
        closed(given, frozenset({"runId", "timeoutMs"}), "agent.wait")
        run = self.runs.get(given["runId"])
        unknown = {"runId": given["runId"], "status": "timeout"}
        if run is None or run.forgotten or run.ended_at is None or self.clock() - run.ended_at >= REMEMBERED_MS:
            return unknown
        ended: Json = {"runId": run.id, "endedAt": run.ended_at}
        receipt = {"runId": run.id, "requested": _pair(self.default), "effective": _pair(f"{run.provider}/{run.model}")}
        match run.status:
            case "completed":
                ended |= {"status": "ok", "stopReason": "stop", "terminalReceipt": receipt}
            case "cancelled":
                ended |= {"status": "error", "startedAt": run.began_at, "stopReason": "rpc"}
            case "timed_out":
                ended |= {
                    "status": "timeout",
                    "startedAt": run.began_at,
                    "error": run.error,
                    "timeoutPhase": "provider",
                }
                ended |= {"providerStarted": True, "livenessState": "paused", "terminalReceipt": receipt}
            case _:
                ended |= {"status": "error", "error": run.error}
        return ended

    def _models(self, given: Json) -> Json:
        closed(given, frozenset({"agentId", "view"}), "models.list")
        agent = given.get("agentId")
        if agent is None and len(self.agents()) > 1:
            told = "Multiple agents are configured, but this Gateway request has no explicit owner."
            raise Refused(INVALID, f"{told} Set agentId to one of the configured agents.")
        if agent is not None and agent not in self.agents():
            raise Refused(INVALID, f'unknown agent id "{agent}"')
        return {"models": [self._model(name) for name in sorted({*self.models, self.default})]}

    def _model(self, name: str) -> Json:
        provider, _, id_ = name.partition("/")
        marks = {"tags": ["default"]} if name == self.default else {}
        told: Json = {"id": id_, "name": id_, "provider": provider, "contextWindow": 128000, "reasoning": False}
        return {**told, **marks, "available": name not in self.lacking}

    def _list(self, given: Json) -> Json:
        closed(given, _LIST_PARAMETERS, "tasks.list")
        limit = given.get("limit", 100)
        if not 1 <= limit <= 500:
            raise invalid("tasks.list", "at /limit: must be <= 500" if limit > 500 else "at /limit: must be >= 1")
        owner = _KEY.match(given.get("sessionKey", ""))
        if owner is not None and owner.group(1) not in self.agents():
            raise Refused(INVALID, f'Unknown agent id "{owner.group(1)}"')
        wanted = [
            run
            for run in reversed(self.runs.values())
            if given.get("sessionKey") in (None, run.key)
            and (given.get("sessionKey") is not None or given.get("agentId") in (None, run.agent))
        ]
        offset = int(given["cursor"].split(".")[1]) if "cursor" in given else 0
        page = wanted[offset : offset + limit]
        more = {"nextCursor": f"1.{offset + limit}.0.0.x"} if offset + limit < len(wanted) else {}
        return {"tasks": [row_of(run) for run in page], **more}

    def _cancel(self, given: Json) -> Json:
        closed(given, frozenset({"taskId", "reason"}), "tasks.cancel")
        run = next((each for each in self.runs.values() if task_of(each) == given["taskId"]), None)
        if run is None:
            return {"found": False, "cancelled": False, "reason": "Task not found."}
        if run.status != "running":
            reason = "Task is already terminal."
            return {"found": True, "cancelled": False, "reason": reason, "task": row_of(run)}
        self._stop(run, given.get("reason") or "Cancelled by operator.")
        return {"found": True, "cancelled": True, "task": row_of(run)}

    def _abort(self, given: Json, scopes: frozenset[str], connection: object) -> Json:
        key, named = given["sessionKey"], given.get("runId")
        runs = [each for each in self.runs.values() if each.key == key and each.status == "running"]
        runs = [each for each in runs if named in (None, each.id)]
        if any(each.begun_by is not connection for each in runs) and ADMIN not in scopes:
            raise Refused(INVALID, "unauthorized")
        for run in runs:
            self._stop(run, "Cancelled by operator.")
        return {"ok": True, "aborted": bool(runs), "runIds": [each.id for each in runs]}

    # How turns end

    def _answer(self, run: FakeRun) -> None:
        usage = {"input": 1200, "output": 12, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 1212}
        self._said(run, "好的", stopReason="stop", usage={**usage, "cost": {"total": self.priced}})
        result = {"payloads": [{"text": "好的", "mediaUrl": None}], "meta": {"aborted": False, "stopReason": "stop"}}
        self._close(run, "completed", "", {"status": "ok", "summary": "completed", "result": result})

    def _fail(self, run: FakeRun, complaint: Complaint) -> None:
        usage = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0, "cost": {"total": 0}}
        marks = {"idempotencyKey": f"{run.id}:terminal-error"}
        self._said(run, complaint.line, stopReason="error", usage=usage, **marks)
        run.listed_as = complaint.listed_as
        self._close(run, "failed", complaint.told, {"status": "error", "summary": complaint.told})

    def _time_out(self, run: FakeRun) -> None:
        self._said(run, "", stopReason="aborted", errorMessage="request timed out")
        final = {"status": "timeout", "summary": "aborted", "timeoutPhase": "provider"}
        self._close(run, "timed_out", TIMED_OUT, final)

    def _stop(self, run: FakeRun, reason: str) -> None:
        self._close(run, "cancelled", reason, {"status": "timeout", "summary": "aborted", "stopReason": "rpc"})

    def _spoil(self, run: FakeRun) -> None:
        """A key that was sent again after it was forgotten: no model is asked, and the record is overwritten."""
        run.status, run.listed_as, run.forgotten = "failed", "", False
        run.error = f"⚠️ Agent run failed (model: {run.provider}/{run.model})."
        run.ended_at = self.clock()
        run.final = {"ok": False, "payload": {"runId": run.id, "status": "error", "summary": "failed"}}

    def _close(
        self, run: FakeRun, status: str, error: str, payload: Json | None = None, *, keep_frame: bool = True
    ) -> None:
        run.status, run.error, run.ended_at = status, error, self.clock()
        session = {"completed": "done", "failed": "failed", "timed_out": "timeout"}.get(status, "killed")
        self.sessions.turn_ends(run.key, self.clock(), session, run.id)
        if not keep_frame:
            return
        ok = status != "failed"
        run.final = {"ok": ok, "payload": {"runId": run.id, **(payload or {})}}
        if not ok:
            run.final["error"] = {"code": "UNAVAILABLE", "message": error}
        listeners, run.listeners = run.listeners, []
        for told in listeners:
            told(run.final)

    def _said(self, run: FakeRun, text: str, **fields: Any) -> None:
        content = [{"type": "text", "text": text}]
        about = {"role": "assistant", "content": content, "timestamp": self.clock(), "api": "openai-completions"}
        model = {"provider": run.provider, "model": run.model}
        self.sessions.add(run.key, {**about, **model, **fields, "__openclaw": {"runId": run.id}})


def _pair(named: str) -> Json:
    provider, _, model = named.partition("/")
    return {"provider": provider, "model": model}
