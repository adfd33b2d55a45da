"""The environment file: lines of NAME=value for schedulers, whose own environment is bare (rules R4, S1a).

One file serves `--env-file` and systemd's `EnvironmentFile=`, so that only what both read alike is taken: blank lines,
lines that begin with `#` or `;`, and NAME=value with the value bare, in '…' or in "…". There is no shell and no
expansion. No message ever repeats a value, or what may be one.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from heartbeat.errors import UsageError

FILE_NAME = "environment"
VARIABLE = "HEARTBEAT_ENV_FILE"
MAX_BYTES = 1024 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_QUOTES = "'\""
_MORE = "HERE='two words' and HERE=\"it's\" are understood"


@dataclass(frozen=True, slots=True)
class Environment:
    """What a file says. `warnings` are sentences about the file itself."""

    path: Path
    values: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def find_environment(explicit: str | None, environment: Mapping[str, str], cwd: Path) -> Path | None:
    """The file that is meant: `--env-file`, HEARTBEAT_ENV_FILE, else `environment` in heartbeat's configuration
    directory where there is one. A file that is named is taken at its word. Raises UsageError."""
    from heartbeat.roster.expansion import expand_home

    for origin, named in (("--env-file", explicit), (VARIABLE, environment.get(VARIABLE))):
        if named:
            try:
                path = cwd / expand_home(named, environment)
                if os.path.lexists(path):
                    return path.parent.resolve() / path.name if ".." in path.parts else path
            except ValueError as error:
                raise UsageError(f"{origin}: {error}", advice="name the file by its full path") from error
            raise UsageError(
                f"there is no environment file {path} ({origin})", advice=f"mend {origin}, or leave it out"
            )
    from heartbeat.roster.locate import user_roster

    usual = user_roster().with_name(FILE_NAME)
    return usual if os.path.lexists(usual) else None


def read_environment(path: Path) -> Environment:
    """The file's names and values. Raises UsageError with every mistake as `path:line: what, and the mend`."""
    content, mode = _content(path)
    values, mistakes = parse_environment(content)
    if mistakes:
        raise UsageError("\n".join(f"{path}:{line}: {told}" for line, told in mistakes), advice=_MORE)
    others = "others" if mode & stat.S_IRWXO else "its group" if mode & stat.S_IRWXG else ""
    warning = f"{path} can be read or changed by {others}, and may hold secrets: chmod 600 {path}"
    return Environment(path, values, (warning,) if others else ())


def parse_environment(content: bytes) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """Names and values, and mistakes with their line numbers. Pure."""
    values: dict[str, str] = {}
    mistakes: list[tuple[int, str]] = []
    first: dict[str, int] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        mistakes.extend((number, problem) for problem in _problems(line, values, first, number))
    return values, mistakes


def _problems(raw: bytes, values: dict[str, str], first: dict[str, int], number: int) -> Iterator[str]:
    """What is wrong with a line; a good one is taken into `values`."""
    try:
        line = raw.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        yield "is not UTF-8; save the file as UTF-8"
        return
    if line.startswith("\ufeff"):
        yield "begins with a byte order mark; save the file as UTF-8 without one"
        return
    line = line.strip(" \t")
    if not line or line[0] in "#;":
        if line.endswith("\\"):
            yield "is a comment that ends in a backslash, and would swallow the next line; take the backslash away"
        return
    if _CONTROL.search(line):
        yield "holds a control character; take it out"
        return
    name, equals, value = line.partition("=")
    name = name.rstrip(" \t")
    if not equals:
        yield "has no `=`; write NAME=value, or begin the line with # to leave it out"
    elif name.startswith("export "):
        yield "begins with `export`; this is no shell, write NAME=value"
    elif not _NAME.fullmatch(name):
        yield "has no name of a variable before its `=`: letters, digits and _, not beginning with a digit"
    elif name in first:
        yield f"sets {name} again (line {first[name]} does); keep one of them"
    else:
        first[name] = number
        try:
            values[name] = _value(value.strip(" \t"))
        except ValueError as error:
            yield f"{name}: {error}"


def _value(text: str) -> str:
    """The value of what stands behind `=`. Raises ValueError, which does not repeat it."""
    quote = text[:1]
    if quote and quote in _QUOTES:
        inside, closed, rest = text[1:].partition(quote)
        if not closed:
            raise ValueError(f"the value begins with {quote} and does not end with it on the same line")
        if rest:
            raise ValueError(f"there is something behind the closing {quote}; put the whole value into quotes once")
        if quote == '"' and "\\" in inside:
            raise ValueError("a backslash inside \"…\" is read in different ways; put the value into '…'")
        return inside
    odd = next((character for character in text if character in "\\'\""), "")
    if odd:
        other = '"…"' if odd == "'" else "'…'"
        raise ValueError(f"a bare value holds {odd}; put the whole value into {other}")
    return text


def _content(path: Path) -> tuple[bytes, int]:
    """The file's bytes and its mode; a link is followed, a FIFO is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(descriptor)
            raise UsageError(f"the environment file {path} is not a file", advice="name a file of NAME=value lines")
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError(f"there is no environment file {path}", advice="check where the link leads") from error
    except OSError as error:
        raise UsageError(
            f"the environment file {path} cannot be read: {error.strerror}", advice="check the path and its owner"
        ) from error
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"the environment file {path} is larger than 1 MiB", advice="this is no file of NAME=value lines"
        )
    return content, mode
