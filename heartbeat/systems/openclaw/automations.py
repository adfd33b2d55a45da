"""OpenClaw's automations (`cron.*`, contract 4): over the Gateway's WebSocket, else by `openclaw gateway call`.

Listing needs the scope to read. Everything that changes or runs one needs an administrator's, which is asked for here
and nowhere else, on a connection of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.json_text import safe_excerpt
from heartbeat.systems.openclaw.cli import CommandTransport
from heartbeat.systems.openclaw.gateway import ADMIN, READ, GatewayClient, GatewayError, GatewayTransport
from heartbeat.systems.writing import ConflictError

SECONDS = 30.0
"""For one request. Over the command line one takes 2 to 5 seconds (contract 3)."""
_DIAL_SHARE = 0.3
"""Of these, to reach the Gateway by WebSocket where the command line stands by."""
_PAGE = 200
"""The most that `cron.list` gives at once."""
_READS = 3
"""How often the list is read anew when it changes between two of its pages (rule S3): every run changes it."""

_NOT_ADMINISTRATOR = (
    "the shared token makes an administrator only on the Gateway's own machine: run the command there, or pair this "
    "machine's openclaw with it"
)
_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"cron job agent is unavailable: (?P<agent>\S+)"),
        "OpenClaw has no such agent: add it there (`openclaw agents add {agent}`), or let crontab beat it "
        "(`heartbeat cron install {agent} --target crontab`)",
    ),
    (
        re.compile(r"CronPattern: |has no upcoming run time and would never fire"),
        "OpenClaw reads cron expressions in its own way: write the agent's `cron` with plain numbers, or give it an "
        "`every`",
    ),
    (re.compile(r"Invalid timezone '"), "OpenClaw does not know the roster's `timezone`: write an IANA name"),
    (re.compile(r"missing scope: operator\.admin"), _NOT_ADMINISTRATOR),
    (re.compile(r"unknown method: cron\."), "this OpenClaw is too old for it: update OpenClaw"),
)
"""Refusals, in OpenClaw's words, and what to do about them."""

Requests = Callable[[str, Mapping[str, Any]], Any]
"""Sends one request and gives its payload. Raises GatewayError for a refusal, TransportError for everything else."""

Way = TypeVar("Way", GatewayTransport, CommandTransport)


@dataclass(frozen=True, slots=True)
class Automations:
    """The Gateway's scheduler. Automations go in and out as the raw records that the Gateway gives."""

    requests: Requests

    def ask(self, method: str, parameters: Mapping[str, Any]) -> Any:
        """The payload of one request. Raises TransportError, with OpenClaw's own words and what to do about them."""
        try:
            return self.requests(method, parameters)
        except TransportError as error:
            error.advice = next(
                (
                    advice.format(**found.groupdict())
                    for pattern, advice in _ADVICE
                    if (found := pattern.search(str(error))) is not None
                ),
                error.advice,
            )
            raise

    def listed(self) -> tuple[Mapping[str, Any], ...]:
        """Every automation there is, also what is switched off. Raises TransportError: part of a list is no list."""
        for _ in range(_READS):
            found = self._pages()
            if found is not None:
                return found
        raise TransportError(
            FailureKind.INCOMPLETE,
            f"the Gateway's automations changed each of the {_READS} times that they were listed",
            advice="try again",
        )

    def add(self, declaration: Mapping[str, Any]) -> Mapping[str, Any]:
        """The automation after `cron.add`: a new one, or the one of that agent and key, made to agree (contract 4)."""
        payload = self.ask("cron.add", declaration)
        return _record(payload.get("job") if isinstance(payload, Mapping) else None, "cron.add")

    def update(self, identifier: str, patch: Mapping[str, Any], revision: str) -> Mapping[str, Any]:
        """The automation after the patch. Raises ConflictError where its definition is not `revision` any more."""
        asked = {"id": identifier, "patch": patch, "expectedConfigRevision": revision}
        try:
            return _record(self.ask("cron.update", asked), "cron.update")
        except GatewayError as error:
            if error.details.get("code") in ("CRON_JOB_CHANGED", "CRON_JOB_NOT_FOUND"):
                raise ConflictError(str(error)) from error
            raise

    def remove(self, identifier: str) -> bool:
        """Takes it off and ends its run; False where it is not there any more."""
        try:
            self.ask("cron.remove", {"id": identifier})
        except GatewayError as error:
            if error.details.get("code") == "CRON_JOB_NOT_FOUND":
                return False
            raise
        return True

    def run(self, identifier: str) -> str:
        """Starts it now, whatever its schedule; the id of the run, which `runs` shows once it has ended."""
        payload = self.ask("cron.run", {"id": identifier, "mode": "force"})
        run = payload.get("runId") if isinstance(payload, Mapping) else None
        if not isinstance(run, str):
            raise TransportError(
                FailureKind.REFUSED,
                f"OpenClaw did not start the automation {identifier}: {safe_excerpt(repr(payload)[:500])}",
                advice="it may be running already; `openclaw cron runs ID` shows",
            )
        return run

    def runs(self, identifier: str, limit: int = 20) -> tuple[Mapping[str, Any], ...]:
        """Its latest runs that have ended, the newest first."""
        payload = self.ask("cron.runs", {"id": identifier, "limit": limit})
        return _records(payload, "entries", "cron.runs")

    def _pages(self) -> tuple[Mapping[str, Any], ...] | None:
        """All pages; None where the list changed between two of them."""
        found: dict[str, Mapping[str, Any]] = {}
        snapshot: Any = None
        while True:
            asked = {"includeDisabled": True, "includeDeliveryPreviews": False, "sortBy": "name", "limit": _PAGE}
            page = self.ask("cron.list", {**asked, "offset": len(found)} if found else asked)
            jobs = [_record(job, "cron.list") for job in _records(page, "jobs", "cron.list")]
            if found and page.get("snapshotRevision") != snapshot:
                return None
            snapshot, expected = page.get("snapshotRevision"), len(found) + len(jobs)
            found |= {job["id"]: job for job in jobs}
            has_more = page.get("hasMore") is True
            if len(found) != expected or (has_more and not jobs):
                return None  # a page that was there before, or that does not lead on
            if not has_more:
                return tuple(found.values()) if expected == page.get("total", expected) else None


@contextmanager
def open_automations(
    settings: Mapping[str, Any], environment: Mapping[str, str], scope: str = READ, seconds: float = SECONDS
) -> Iterator[Automations]:
    """The Gateway's scheduler, for a few requests with this scope, each of which may take so many seconds. Raises
    TransportError where there is no way to it.

    `settings` are the roster's for the source `workboard`: transport, url, token_env, binary. What could not even
    connect by WebSocket goes through the command line, which may know the Gateway by another configuration.
    """
    with ExitStack() as stack:
        yield Automations(_way(stack, settings, environment, scope, seconds))


def _way(
    stack: ExitStack, settings: Mapping[str, Any], environment: Mapping[str, str], scope: str, seconds: float
) -> Requests:
    wanted, url, token_env = settings.get("transport", "auto"), settings.get("url"), settings.get("token_env")
    program = settings.get("binary") or "openclaw"
    absent: list[str] = []
    socket, command, failed = None, None, None
    if wanted != "cli":
        socket = _present(GatewayTransport(environment, url=url, token_env=token_env), absent)
    if wanted != "gateway":
        command = _present(CommandTransport(environment, program, url=url, token_env=token_env), absent)
    if socket is not None:
        try:
            return _by_socket(stack, socket, scope, seconds, is_last=command is None)
        except TransportError as error:
            if command is None:
                raise
            failed = error
    if command is None:
        raise TransportError(
            FailureKind.NOT_CONFIGURED,
            "; ".join(absent),
            advice="run it where OpenClaw is installed, or name the Gateway in the roster (`url` of source workboard)",
        )
    return _by_command(command, seconds, failed)


def _present(way: Way, absent: list[str]) -> Way | None:
    reason = way.absent()
    if reason is not None:
        absent.append(reason)
    return way if reason is None else None


def _by_socket(stack: ExitStack, socket: GatewayTransport, scope: str, seconds: float, *, is_last: bool) -> Requests:
    address = socket.address()
    client = stack.enter_context(GatewayClient(address, (scope,)))
    client.connect(Deadline.after(seconds if is_last else seconds * _DIAL_SHARE))
    if scope == ADMIN and ADMIN not in client.granted:
        raise TransportError(
            FailureKind.AUTH,
            f"the Gateway at {address.shown} does not let us administer it (granted: "
            f"{', '.join(client.granted) or 'nothing'})",
            advice=_NOT_ADMINISTRATOR,
        )

    def ask(method: str, parameters: Mapping[str, Any]) -> Any:
        try:
            return client.call(method, parameters, Deadline.after(seconds))
        except TransportError as error:
            error.outcome_unknown = not (isinstance(error, GatewayError) and error.code)
            raise

    return ask


def _by_command(command: CommandTransport, seconds: float, failed: TransportError | None) -> Requests:
    def ask(method: str, parameters: Mapping[str, Any]) -> Any:
        try:
            return command.call(method, parameters, Deadline.after(seconds))
        except TransportError as error:
            if failed is not None and not isinstance(error, GatewayError):
                error.args = (f"{error}; before that: {failed}",)
            raise

    return ask


def _records(payload: Any, name: str, method: str) -> tuple[Mapping[str, Any], ...]:
    found = payload.get(name) if isinstance(payload, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(entry, Mapping) for entry in found):
        raise _shapeless(method, payload)
    return tuple(found)


def _record(job: Any, method: str) -> Mapping[str, Any]:
    if not isinstance(job, Mapping) or not isinstance(job.get("id"), str):
        raise _shapeless(method, job)
    return job


def _shapeless(method: str, payload: Any) -> TransportError:
    return TransportError(
        FailureKind.BAD_OUTPUT,
        f"the Gateway answered {method} with something else: {safe_excerpt(repr(payload)[:500])}",
        advice="this version of OpenClaw may be newer than heartbeat knows",
        outcome_unknown=method not in ("cron.list", "cron.runs"),
    )
