"""Text that leaves the machine, without what authenticates anybody (rule R4). Pure.

A log line may quote anything. What is known to be secret is hidden wherever it stands: the values of the variables that
the roster names and of those that are called like a secret. What only looks like one is hidden where it is introduced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from heartbeat.notify.letter import clean
from heartbeat.systems.http_words import hide

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|WEBHOOK|PRIVATE|(?:^|_)KEY(?:_|$)|(?:^|_)AUTH(?:_|$)")
_SHORTEST = 6
"""A shorter value is a word, and hiding it would spoil the text without keeping a secret."""

_INTRODUCED = re.compile(
    r"(?P<name>(?:bearer\s+|basic\s+)"
    r"|[\w-]*(?:token|secret|passw(?:or)?d|api[_-]?key|credential|authorization)[\w-]*[\"']?\s*[=:]\s*"
    r"(?:bearer\s+|basic\s+)?[\"']?)"
    r"(?P<secret>[^\s\"'@,;&]{3,})",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(?P<name>[a-z][a-z0-9+.-]*://[^\s/@:]*:)(?P<secret>[^\s/@]+)(?=@)", re.IGNORECASE)
_HIDDEN = "[hidden]"
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
"""What moves a cursor, colours text or sets a window's title."""


def secrets_of(settings: object, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What no text that leaves may hold, the longest first. `settings` is plain data in which `…_env` keys name
    variables: sections of a roster."""
    named = {environment.get(name, "") for name in _variables(settings)}
    called = {value for name, value in environment.items() if _SECRET_NAME.search(name.upper())}
    found = {value.strip() for value in named | called}
    return tuple(sorted((value for value in found if len(value) >= _SHORTEST), key=lambda value: (-len(value), value)))


def masked(text: str, secrets: tuple[str, ...]) -> str:
    """The text without those secrets, without what is introduced as one, and without control characters but line ends
    and tabs."""
    bare = hide(clean(_SEQUENCES.sub("", text)), secrets)
    for pattern in (_LOGIN, _INTRODUCED):
        bare = pattern.sub(lambda found: f"{found['name']}{_HIDDEN}", bare)
    return bare


def tail(text: str, size: int) -> str:
    """The end of a text in at most `size` bytes of UTF-8, whole lines where there are any."""
    data = text.encode("utf-8", "replace")
    if len(data) <= size:
        return text
    cut = data[-size:].decode("utf-8", "ignore")
    first, found, rest = cut.partition("\n")
    return rest if found and rest else first


def _variables(settings: object, key: str = "") -> Iterator[str]:
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from _variables(value, str(name))
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _variables(value)
    elif isinstance(settings, str) and key.endswith("_env"):
        yield settings
