"""Where Multica is and how we may talk to it: roster, environment, or the tool's own configuration file.

Each of server, workspace and token is looked for in this order:

1. the roster's `server_url`, `workspace_id`, `token_env`: they are this team's explicit choice and play the part that
   the flags play for the multica command;
2. `MULTICA_SERVER_URL`, `MULTICA_WORKSPACE_ID`, `MULTICA_TOKEN`;
3. `~/.multica/config.json`, or `~/.multica/profiles/<profile>/config.json` where the roster names a profile.

A blank value counts as unset, and so does a configuration file that is missing or broken (contract 1.1), but a broken
one is reported. A `token_env` whose variable is not set is not replaced by another token: it would be somebody else's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from heartbeat.errors import UsageError
from heartbeat.plural import counted
from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.json_text import safe_excerpt

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Setting:
    """One value, which may be a secret, and where it came from, in words for a message."""

    value: str = field(repr=False)
    origin: str


@dataclass(frozen=True, slots=True)
class Connection:
    """What is known of how to reach Multica. `problems` are sentences about what stood in the way of knowing more."""

    server: Setting | None = None
    workspace: Setting | None = None
    token: Setting | None = field(default=None, repr=False)
    token_env: str | None = None
    """The variable that the roster names for the token; never its value."""
    profile: str | None = None
    problems: tuple[str, ...] = ()

    def absent(self) -> str | None:
        """Why there is nothing to talk to; None where an address or a credential shows that Multica is in use."""
        if self.server or self.token or self.token_env:
            return None
        place = str(configuration_file(None, self.profile)) if self.profile else "~/.multica/config.json"
        told = f"no server and no token in the roster, in MULTICA_SERVER_URL and MULTICA_TOKEN, or in {place}"
        return "; ".join((told, *self.problems))

    def required_server(self) -> Setting:
        """The server's address; raises TransportError where none is known."""
        if self.server is None:
            raise TransportError(
                FailureKind.UNREACHABLE,
                "; ".join(("the address of the Multica server is not known", *self.problems)),
                advice="set sources.multica.server_url or MULTICA_SERVER_URL, or run `multica setup`",
            )
        return self.server

    def required_token(self) -> Setting:
        """The token; raises TransportError where none is known."""
        if self.token is None and self.token_env:
            raise TransportError(
                FailureKind.AUTH,
                f"the roster takes the Multica token from {self.token_env}, which is not set here",
                advice=f"set {self.token_env} where heartbeat runs (cron has an environment of its own)",
            )
        if self.token is None:
            raise TransportError(
                FailureKind.AUTH,
                "; ".join(("no Multica token was found", *self.problems)),
                advice="set MULTICA_TOKEN or sources.multica.token_env, or run `multica login`",
            )
        return self.token


def discover(settings: Mapping[str, Any], environment: Mapping[str, str]) -> Connection:
    """The connection that the roster's settings and the environment describe; reads at most one file.

    Raises UsageError for a profile name that is no plain name.
    """
    profile = _text(settings.get("profile"))
    if profile is not None and not _PROFILE_NAME.fullmatch(profile):
        raise UsageError(
            f"sources.multica.profile: {safe_excerpt(profile)!r} is not a profile's name",
            advice="write the name alone, as after `multica --profile`",
        )
    path = configuration_file(environment, profile)
    configured, problem = _read_configuration(path)
    token_env = _text(settings.get("token_env"))
    server = (
        _setting(settings.get("server_url"), "the roster's server_url")
        or _setting(environment.get("MULTICA_SERVER_URL"), "MULTICA_SERVER_URL")
        or _setting(configured.get("server_url"), str(path))
    )
    return Connection(
        server=Setting(normalise_server_url(server.value), server.origin) if server else None,
        workspace=(
            _setting(settings.get("workspace_id"), "the roster's workspace_id")
            or _setting(environment.get("MULTICA_WORKSPACE_ID"), "MULTICA_WORKSPACE_ID")
            or _setting(configured.get("workspace_id"), str(path))
        ),
        token=(
            _setting(environment.get(token_env), token_env)
            if token_env
            else _setting(environment.get("MULTICA_TOKEN"), "MULTICA_TOKEN")
            or _setting(configured.get("token"), str(path))
        ),
        token_env=token_env,
        profile=profile,
        problems=(problem,) if problem else (),
    )


def configuration_file(environment: Mapping[str, str] | None, profile: str | None) -> Path:
    """Where the multica command keeps its configuration; `~` stays unresolved without an environment."""
    base = Path("~") if environment is None else Path(environment.get("HOME") or Path.home())
    folder = base / ".multica"
    return folder / "profiles" / profile / "config.json" if profile else folder / "config.json"


def normalise_server_url(text: str) -> str:
    """The address as the multica command understands it (contract 1.1).

    ws and wss become http and https, a path of `/ws` goes, any other path stays as a prefix without its last slash,
    query and fragment go. Text that is no such address stays as it is. Credentials inside the text go too: the token is
    what authenticates, and an address is shown.
    """
    text = text.strip()
    try:
        parts = urlsplit(text)
    except ValueError:
        return text.rpartition("@")[2]
    scheme = _SCHEMES.get(parts.scheme.lower())
    place = parts.netloc.rpartition("@")[2]
    if scheme is None or not place:
        return text.rpartition("@")[2]
    path = parts.path.rstrip("/")
    return f"{scheme}://{place}{'' if path == '/ws' else path}"


def only_workspace(rows: Any) -> str:
    """The id of the one workspace there is; raises TransportError where there is none or more than one."""
    if not isinstance(rows, list):
        raise TransportError(FailureKind.BAD_OUTPUT, "Multica answered the question for workspaces with no list")
    known = [row for row in rows if isinstance(row, dict) and _text(row.get("id"))]
    if len(known) == 1:
        return str(known[0]["id"])
    names = ", ".join(safe_excerpt(str(row.get("slug") or row.get("name") or row["id"]), 60) for row in known[:10])
    raise TransportError(
        FailureKind.REFUSED,
        f"the token's owner is in {counted(len(known), 'workspace')}: {names}"
        if known
        else "the token's owner has no workspace",
        advice="set sources.multica.workspace_id (a UUID; `multica workspace list --full-id` shows it)",
    )


def _read_configuration(path: Path) -> tuple[Mapping[str, Any], str]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not JSON"
        return {}, f"{path} cannot be read: {reason}"
    if not isinstance(value, dict):
        return {}, f"{path} cannot be read: it is not a JSON object"
    return value, ""


def _setting(value: object, origin: str) -> Setting | None:
    text = _text(value)
    return Setting(text, origin) if text else None


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
