"""What every channel promises, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol

from heartbeat.deadline import Deadline
from heartbeat.errors import Exit, HeartbeatError
from heartbeat.notify.letter import Letter


class Failure(StrEnum):
    """Whether sending again can help: `permanent` waits for a person, `transient` for time."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"


class ChannelError(HeartbeatError):
    """A channel did not deliver. Neither message nor advice holds a secret (rule R4).

    `retry_after` is in seconds, where the other side said. `outcome_unknown` says that the letter may have arrived
    although no answer came.
    """

    exit_code = Exit.FOUND

    def __init__(
        self,
        kind: Failure,
        message: str,
        *,
        advice: str = "",
        retry_after: float | None = None,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(message, advice=advice)
        self.kind = kind
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown


class Channel(Protocol):
    """One way out. Its repr holds no secret."""

    @property
    def address(self) -> str:
        """Where it leads, without anything that could be a secret."""
        ...

    @property
    def seconds(self) -> float:
        """How long one sending may take."""
        ...

    def send(self, letter: Letter, deadline: Deadline) -> str:
        """Sends once, by the deadline, and returns what there is to tell of it, or nothing. Raises ChannelError."""
        ...


def from_environment(environment: Mapping[str, str], variable: str, what: str, channel: str) -> str:
    """The value of a variable that the roster names. Raises ChannelError, permanent, where it is not set."""
    value = environment.get(variable, "").strip()
    if not value:
        raise ChannelError(
            Failure.PERMANENT,
            f"channel {channel}: the variable {variable}, which holds its {what}, is not set",
            advice=f"set {variable} where heartbeat runs; cron's environment is shorter than a login shell's",
        )
    return value


def optional_secret(environment: Mapping[str, str], settings: Mapping[str, Any], key: str, channel: str) -> str:
    """The secret behind `<key>_env`, or nothing where the roster names none. Raises ChannelError, permanent, where its
    variable is not set."""
    variable = settings.get(f"{key}_env")
    return from_environment(environment, str(variable), key, channel) if variable else ""


def address_of(environment: Mapping[str, str], settings: Mapping[str, Any], channel: str) -> str:
    """The address behind `url_env`, or `url` itself where it never leaves this machine. A secret in either case."""
    if variable := settings.get("url_env"):
        return from_environment(environment, str(variable), "address", channel)
    return str(settings["url"])
