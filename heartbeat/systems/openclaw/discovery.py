"""Where the Gateway is, found as OpenClaw's own tools find it: the environment, then its state directory (rule S1a)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from heartbeat.systems.base import FailureKind, TransportError

DEFAULT_PORT = 18789
"""The Gateway's port where nothing else is configured (contract 2.1)."""

_URL = "OPENCLAW_GATEWAY_URL"
_PORT = "OPENCLAW_GATEWAY_PORT"
_TOKEN = "OPENCLAW_GATEWAY_TOKEN"  # noqa: S105 - the name of a variable
_STATE = "OPENCLAW_STATE_DIR"
_CONFIGURATION_BYTES = 4 * 1024 * 1024
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """A Gateway's WebSocket address and token, and where each was found, for messages. The token is never shown."""

    url: str
    token: str | None = field(repr=False)
    url_origin: str
    token_origin: str

    @property
    def shown(self) -> str:
        """The address without anything that could be a secret."""
        return shown_url(self.url)

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.url)


def shown_url(url: str) -> str:
    """An address without user, password, query and fragment; nothing of a text that is no address."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        host = port = ""
    if not host:
        return "(no address at all)"
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, host + port, parts.path, "", ""))


def is_loopback(url: str) -> bool:
    """Whether an address is this very machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def state_directory(environment: Mapping[str, str]) -> Path:
    """OpenClaw's state directory (contract 10); it need not exist."""
    home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    configured = environment.get(_STATE, "").strip()
    if configured == "~" or configured.startswith("~/"):
        return home / configured[2:]
    return Path(configured) if configured else home / ".openclaw"


def find_gateway(
    environment: Mapping[str, str], *, url: str | None = None, token_env: str | None = None
) -> GatewayAddress | None:
    """The Gateway's address, or None where nothing says that there is one.

    `url` and `token_env` (the name of a variable) come from the roster and go first. Address and token may come from
    different places. Raises TransportError where what is configured cannot be used.
    """
    place, origin = _named_url(environment, url)
    token, token_origin = _named_token(environment, token_env)
    if place is not None and token is not None:
        return GatewayAddress(_checked(place, origin), token, origin, token_origin)
    path = state_directory(environment) / "openclaw.json"
    gateway = _gateway_section(path)
    if gateway is None and place is None and token is None and token_env is None:
        return None
    if place is None:
        place, origin = _filed_url(gateway, path)
    if token is None and token_env is None:
        token, token_origin = _filed_token(gateway, path, environment)
    return GatewayAddress(_checked(place, origin), token, origin, token_origin)


def _named_url(environment: Mapping[str, str], url: str | None) -> tuple[str | None, str]:
    if url:
        return url, "`url` in the roster"
    if named := environment.get(_URL, "").strip():
        return named, _URL
    if port := environment.get(_PORT, "").strip():
        return f"ws://127.0.0.1:{_port(port, _PORT)}", _PORT
    return None, ""


def _named_token(environment: Mapping[str, str], token_env: str | None) -> tuple[str | None, str]:
    name = token_env or _TOKEN
    return environment.get(name, "").strip() or None, name


def _filed_url(gateway: Mapping[str, Any] | None, path: Path) -> tuple[str, str]:
    port = (gateway or {}).get("port")
    if port is None:
        return f"ws://127.0.0.1:{DEFAULT_PORT}", f"the default port {DEFAULT_PORT}"
    origin = f"gateway.port in {path}"
    return f"ws://127.0.0.1:{_port(port, origin)}", origin


def _filed_token(
    gateway: Mapping[str, Any] | None, path: Path, environment: Mapping[str, str]
) -> tuple[str | None, str]:
    authentication = (gateway or {}).get("auth")
    token = authentication.get("token") if isinstance(authentication, dict) else None
    origin = f"gateway.auth.token in {path}"
    if not isinstance(token, str) or not token:
        return None, origin
    names = _REFERENCE.findall(token)
    if not all(environment.get(name) for name in names):
        return None, f"{origin} ({', '.join(names)} is not set)"
    return _REFERENCE.sub(lambda found: environment[found.group(1)], token), origin


def _port(value: object, origin: str) -> int:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise TransportError(
            FailureKind.REFUSED, f"{origin} holds no port number", advice="write a number from 1 to 65535"
        )
    return int(text)


def _checked(url: str, origin: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
        plain = parts.username is None and not parts.query and not parts.fragment
    except ValueError:
        usable = plain = False
    if not usable or not plain:
        raise TransportError(
            FailureKind.REFUSED,
            f"{origin} is no address of a Gateway: {shown_url(url)}",
            advice="write ws://HOST:PORT or wss://HOST:PORT, without user, password or query; the token is a setting "
            "of its own",
        )
    return url


def _gateway_section(path: Path) -> Mapping[str, Any] | None:
    """`gateway` of openclaw.json; None where there is no such file or it says nothing of a Gateway."""
    section = (read_configuration(path) or {}).get("gateway")
    return section if isinstance(section, dict) else None


def read_configuration(path: Path) -> Mapping[str, Any] | None:
    """openclaw.json; None where there is no such file or it holds no object. It may hold secrets. Raises TransportError
    where it cannot be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            text = file.read(_CONFIGURATION_BYTES).decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise TransportError(FailureKind.REFUSED, f"{path}: {error.strerror or error}") from error
    document = _parsed(text, path)
    return document if isinstance(document, dict) else None


def _parsed(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass  # comments and trailing commas are allowed there; the slower reader decides
    import json5

    try:
        return json5.loads(text)
    except (ValueError, RecursionError):
        # Without the parser's own words: they quote the file, and the file holds secrets.
        raise TransportError(
            FailureKind.BAD_OUTPUT, f"{path} is not JSON5", advice="`openclaw doctor` names the mistake"
        ) from None
