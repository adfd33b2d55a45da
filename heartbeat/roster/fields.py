"""What a single value of the roster may be: one function per kind, from what YAML gave to what the program uses.

Each raises Mistake. Secrets, addresses and references are never repeated in it: what stands there by mistake may be a
password (rule R4).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from heartbeat.instants import parse_duration
from heartbeat.roster.document import Mistake, quoted
from heartbeat.roster.expansion import Expansion

MAX_TEXT = 500
MAX_DURATION = timedelta(days=3660)
MAX_COUNT = 10**15

_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
_LOGIN = re.compile(r"\s*[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#\s]*@", re.ASCII)
_NO_LOGIN = "holds a user name or password; take it out, secrets stand in the environment"
_SECRET_REFERENCE = re.compile(rf"\$\{{({_VARIABLE.pattern})\}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Variable:
    """The name of an environment variable that holds a secret."""

    name: str


def kind_of(value: object) -> str:
    """What a value is, for a message; never the value itself."""
    if isinstance(value, bool):
        return "true or false"
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (str, "text"),
        ((int, float), "a number"),
        (list, "a list"),
        (dict, "a mapping"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "nothing")


def nearest(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?`, or the known words where they are few, or nothing."""
    folded = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold()[:80], folded, 1, 0.7)
    if close:
        return f"; did you mean `{folded[close[0]]}`?"
    return f"; known here: {', '.join(known)}" if known and len(known) <= 12 else ""


def text(value: Any) -> str:
    """One line of visible text of at most 500 characters."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Mistake("is empty; give it a value or remove the line")
    if isinstance(value, bool | int | float):
        raise Mistake(f"must be text; write {_as_written(value)} in quotes")
    if not isinstance(value, str):
        raise Mistake(f"must be text, not {kind_of(value)}")
    stripped = value.strip()
    if any(unicodedata.category(character) in _CONTROLS or character in _DIRECTIONS for character in stripped):
        raise Mistake("must be one line without control or direction characters")
    if len(stripped) > MAX_TEXT:
        raise Mistake(f"is longer than {MAX_TEXT} characters")
    return stripped


def flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Mistake(f"must be true or false, not {_shown(value)}")


def duration(value: Any) -> timedelta:
    """`90s`, `20m`, `1h30m`, `2d`; at most ten years."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Mistake(f"{value} has no unit; write {value}m for minutes or {value}s for seconds")
    if not isinstance(value, str):
        raise Mistake(f"must be a duration such as 10m, not {kind_of(value)}")
    try:
        parsed = parse_duration(value)
    except ValueError as error:
        raise Mistake(f"{quoted(value)} is no duration; write 90s, 20m, 1h30m or 2d") from error
    if parsed > MAX_DURATION:
        raise Mistake(f"{quoted(value)} is longer than ten years; write a shorter one")
    return parsed


def count(value: Any) -> int:
    """A whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_COUNT:
        raise Mistake(f"must be a whole number of at least 1, not {_shown(value)}")
    return value


def natural(value: Any) -> int:
    """A whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise Mistake(f"must be a whole number of at least 0, not {_shown(value)}")
    return value


def amount(value: Any) -> float:
    """A number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_COUNT:
        raise Mistake(f"must be a number above 0, not {_shown(value)}")
    return float(value)


def seconds(value: Any) -> timedelta:
    """A bare number, where the key's own name says that it counts seconds."""
    number = amount(value)
    if not math.isfinite(number) or number > MAX_DURATION.total_seconds():
        raise Mistake("is longer than ten years; write a shorter time")
    return timedelta(seconds=number)


def choice(*words: str) -> Callable[[Any], str]:
    """One of a few words."""

    def chosen(value: Any) -> str:
        if isinstance(value, str) and value in words:
            return value
        guess = nearest(value, words) if isinstance(value, str) else ""
        mend = guess if guess.startswith("; did") else ""
        raise Mistake(f"must be one of {', '.join(words)}, not {_shown(value)}{mend}")

    return chosen


def version(value: Any) -> int:
    if value != 1 or isinstance(value, bool):
        raise Mistake("this heartbeat reads version 1; write `version: 1`")
    return 1


def as_list(value: Any) -> Any:
    """A single text counts as a list of one."""
    return [value] if isinstance(value, str) else value


def multica_id(value: Any) -> str:
    """A UUID, in lower case."""
    folded = value.strip().lower() if isinstance(value, str) else ""
    if not _UUID.fullmatch(folded):
        raise Mistake("must be the agent's UUID as `multica agent list` shows it: 8-4-4-4-12 hexadecimal digits")
    return folded


def timezone(value: Any) -> str:
    """A name of the IANA time zone database."""
    from zoneinfo import ZoneInfo, available_timezones

    name = text(value)
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        close = get_close_matches(name, available_timezones(), 1, 0.6)
        mend = f"; did you mean `{close[0]}`?" if close else "; write a name such as Asia/Shanghai"
        raise Mistake(f"{quoted(name)} is no time zone that this machine knows{mend}") from error
    return name


def cron(value: Any) -> str:
    """Five fields that cron and heartbeat read alike; the expression with single spaces.

    Refused besides what croniter refuses: seconds and years, names such as @daily, random and hashed fields, `N/step`
    (croniter counts from N to the end, cron does not), and steps that lead out of the field at once.
    """
    fields = text(value).split()
    if len(fields) != len(_CRON_FIELDS):
        raise Mistake(
            f"{quoted(value)} must have five fields: minute, hour, day of month, month, day of week; "
            'write for example "*/10 8-20 * * 1-5"'
        )
    expression = " ".join(fields)
    for field, (name, pattern, span) in zip(fields, _CRON_FIELDS, strict=True):
        if not pattern.fullmatch(field):
            raise Mistake(f"{quoted(expression)}: {quoted(field)} cannot stand for the {name}")
        for part in field.split(","):
            base, slash, step = part.partition("/")
            if slash and base.isdigit():
                ranged = f" or a range such as `{base}-{span}/{step}`" if int(base[:6]) < span else ""
                raise Mistake(
                    f"{quoted(expression)}: cron and heartbeat differ on {quoted(part)}; write `*/{step}`{ranged}"
                )
            if step.isdigit() and int(step[:6]) > span:
                raise Mistake(f"{quoted(expression)}: a step of {step[:6]} is too long for the {name}; at most {span}")
    from croniter import croniter

    try:
        croniter.expand(expression, strict=True)
        croniter(expression, _SOME_DAY).get_prev()
    except (ValueError, KeyError, IndexError) as error:
        raise Mistake(f"{quoted(expression)} never comes or is out of range; check it field by field") from error
    return expression


_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
"""Where to look for a time at which an expression comes; any day serves."""

_CRON_FIELDS = (
    ("minute", re.compile(r"[0-9*,/-]+"), 59),
    ("hour", re.compile(r"[0-9*,/-]+"), 23),
    ("day of month", re.compile(r"[0-9*,/?lL-]+"), 31),
    ("month", re.compile(r"(?:[a-z]{3}|[0-9*,/-])+", re.IGNORECASE | re.ASCII), 12),
    ("day of week", re.compile(r"(?:[a-z]{3}|[0-9*,/?#lL-])+", re.IGNORECASE | re.ASCII), 7),
)


def todo_file(value: Any) -> str:
    """A file of the workspace, globs allowed: inside it, and not HEARTBEAT.md (rule S9)."""
    name = text(value)
    if name.startswith(("/", "~")) or ".." in name.split("/"):
        raise Mistake(f"{quoted(name)} leads out of the workspace; name a file inside it")
    if name.rpartition("/")[2].casefold() == "heartbeat.md":
        raise Mistake("HEARTBEAT.md is never read for tasks: what heartbeat writes must not come back as work")
    return name


def commands(value: Any) -> tuple[str, ...]:
    """One command as a list of words; nothing is run through a shell."""
    if not isinstance(value, list) or not value:
        raise Mistake('must be a list of words such as [notify-send, "done"]; there is no shell')
    return tuple(text(word) for word in value)


def expanded(value: Any, expansion: Expansion) -> str:
    """Text with its references to the environment resolved."""
    return expansion.text(text(value))


def free_text(value: str, expansion: Expansion) -> str:
    """Any text of a plug-in's settings with its references resolved; an address in it holds no password."""
    resolved = expansion.text(value)
    if _LOGIN.match(resolved):
        raise Mistake(_NO_LOGIN)
    return resolved


def path(value: Any, expansion: Expansion) -> Path:
    """An absolute path; a relative one starts from the roster's directory."""
    return expansion.path(text(value))


def workspaces(value: Any, expansion: Expansion) -> Path:
    """Where each agent's workspace is: a directory of directories named by agent, or a path that holds `{id}`."""
    pattern = path(value, expansion)
    if any(brace in str(pattern).replace("{id}", "") for brace in "{}"):
        raise Mistake("knows no braces but {id}, the agent's id")
    return pattern


def program(value: Any, expansion: Expansion) -> str:
    """A command's name, looked up in PATH, or a path where there is a slash in it."""
    name = expansion.text(text(value))
    return str(expansion.path(text(value))) if "/" in name or name.startswith("~") else name


def address(*schemes: str) -> Callable[[Any, Expansion], str]:
    """An address with one of the schemes, without a user name or password in it."""

    def checked(value: Any, expansion: Expansion) -> str:
        resolved = expansion.text(text(value))
        _split(resolved, schemes)
        return resolved

    return checked


def variable(value: Any) -> Variable:
    """The name of an environment variable. Capitals only, so that a secret put here by mistake is seldom one."""
    if isinstance(value, str) and _VARIABLE.fullmatch(value.strip()):
        return Variable(value.strip())
    raise Mistake("must be the name of an environment variable, in capitals; never the secret itself")


def secret(value: Any) -> Variable:
    """`${NAME}` and nothing else."""
    match = _SECRET_REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise Mistake(
            "a secret must not stand in the roster; write ${NAME}, in capitals, and set NAME where heartbeat runs"
        )
    return Variable(match[1])


def secret_address(value: Any) -> Variable | str:
    """`${NAME}`, since the address is itself the secret; written out only where it stays on this machine."""
    if isinstance(value, str) and "${" not in value and _is_loopback(value.strip()):
        return value.strip()
    return secret(value)


def _is_loopback(value: str) -> bool:
    try:
        host = _split(value, ("http", "https")).hostname or ""
    except ValueError:
        return False
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _split(value: str, schemes: Sequence[str]) -> SplitResult:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Mistake("is no address; check its host and port") from error
    if parts.scheme.lower() not in schemes:
        raise Mistake(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if not host or any(character.isspace() or not character.isprintable() for character in value):
        raise Mistake("is no address; check its host and port")
    if "@" in parts.netloc:
        raise Mistake(_NO_LOGIN)
    return parts


def _as_written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: object) -> str:
    """A value for a message: short and on one line."""
    if value is None:
        return "nothing"
    return quoted(_as_written(value)) if isinstance(value, str | bool | int | float) else kind_of(value)
