"""The services that the package `apprise` knows, by its own addresses (`tgram://…`, `mailtos://…`)."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from heartbeat.action import Level
from heartbeat.deadline import Deadline
from heartbeat.notify.channels.base import ChannelError, Failure, address_of
from heartbeat.notify.letter import Letter
from heartbeat.roster.model import Roster

_TYPES = {Level.INFO: "info", Level.WARNING: "warning", Level.CRITICAL: "failure"}


@dataclass(frozen=True, slots=True)
class AppriseChannel:
    """Implements Channel. apprise logs into loggers of its own, which nothing here turns on."""

    name: str
    address: str
    services: Any = field(repr=False)
    seconds: float = 30.0

    def send(self, letter: Letter, deadline: Deadline) -> str:
        outcome: list[bool | str] = []

        def notify() -> None:
            try:
                sent = self.services.notify(
                    title=letter.heading,
                    body=letter.body or letter.title,
                    notify_type=_TYPES[letter.level],
                    body_format="text",
                )
                outcome.append(bool(sent))
            except Exception as error:  # noqa: BLE001 - a hundred plug-ins, any of which may fail in its own way
                outcome.append(type(error).__name__)

        # apprise has time limits of its own and no deadline; what outlasts ours is left behind.
        thread = threading.Thread(target=notify, name=f"apprise-{self.name}", daemon=True)
        thread.start()
        thread.join(deadline.left())
        if not outcome:
            raise self._failed("did not end in time", outcome_unknown=True)
        if outcome[0] is not True:
            told = f"failed with {outcome[0]}" if isinstance(outcome[0], str) else "reports a failure"
            raise self._failed(told, outcome_unknown=len(self.services) > 1)
        return ""

    def _failed(self, told: str, *, outcome_unknown: bool) -> ChannelError:
        return ChannelError(
            Failure.TRANSIENT,
            f"channel {self.name}: apprise ({self.address}) {told}",
            advice="try its address by hand with `apprise -vv`",
            outcome_unknown=outcome_unknown,
        )


def build(name: str, settings: Mapping[str, Any], roster: Roster, environment: Mapping[str, str]) -> AppriseChannel:
    """From `url` or `url_env`: one address of apprise's, or several with blanks or commas between. Raises
    ChannelError, permanent, where the package is missing or does not know an address."""
    urls = [url for url in re.split(r"[\s,]+(?=[a-z][a-z0-9+]*://)", address_of(environment, settings, name)) if url]
    try:
        package = import_module("apprise")
    except ImportError as error:
        raise ChannelError(
            Failure.PERMANENT,
            f"channel {name} is of kind apprise, and the package apprise is not installed",
            advice="pip install 'heartbeat-agents[apprise]'",
        ) from error
    services = package.Apprise()
    for place, url in enumerate(urls, start=1):
        if not services.add(url):
            raise ChannelError(
                Failure.PERMANENT,
                f"channel {name}: apprise does not know its address number {place} ({_scheme(url)})",
                advice="`apprise --details` lists the services and how their addresses are written",
            )
    return AppriseChannel(name, ", ".join(dict.fromkeys(_scheme(url) for url in urls)), services)


def _scheme(url: str) -> str:
    found = re.match(r"[a-z][a-z0-9+]{0,30}(?=://)", url)
    return f"{found[0]}://…" if found else "no address at all"
