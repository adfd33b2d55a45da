"""JSON as tools really print it: banners before, log lines after, and sometimes cut in the middle (rule S4). Pure.

The one thing that must never happen is that a cut document passes for a smaller one. So exactly one start is tried:
the first line that begins like a document. What follows the document must be plain lines; a bracket, a quote or a
comma there means that the value found was only a piece of something larger.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from heartbeat.systems.base import FailureKind, TransportError

_ANSI = re.compile(r"\x1b(?:\[[0-9;:?<=>]*[ -/]*[A-Za-z]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>78cDEHM])")
_OPENING = r"\{\s*[\"}]|\[\s*(?:[\[{\"\]]|(?:-?\d[\d.eE+-]*|true|false|null)\s*(?:,|\]\s*(?:[\r\n]|\Z)))"
"""How a document begins; `[openclaw] ready` and `[2026-11-21 10:00] warning` are log lines."""
_START = re.compile(rf"(?:\A|[\r\n])[ \t\ufeff]*(?={_OPENING})")
_SCALAR = re.compile(r"\s*(?:null|true|false|-?\d[\d.eE+-]*|\"[^\n]*\")\s*\Z")
_REMAINDER = re.compile(rf"[{{}}\]\",:]|\[\Z|{_OPENING}")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_EXCERPT = 120
_BANNER = 500


def load_json(text: bytes | str, *, what: str) -> tuple[Any, str]:
    """The one JSON document in a tool's output, and whatever stood around it (the banner, cleaned and cut).

    Bytes are read as UTF-8; a byte that is none becomes U+FFFD, as do lone surrogates. Of a repeated key the last one
    counts. Raises TransportError BAD_OUTPUT, naming `what`, for nothing, garbage, HTML, a cut document, two documents,
    NaN, infinity and nesting that is too deep.
    """
    text = _ANSI.sub("", _decoded(text))
    if not text.strip("\ufeff \t\r\n\0"):
        raise TransportError(FailureKind.BAD_OUTPUT, f"{what} printed nothing")
    start = _START.search(text)
    if start is None:
        return _scalar(text, what), ""
    value, end = _parse(text, start.end(), what)
    rest = text[end:]
    _refuse_remainder(rest, what)
    if _SURROGATE_ESCAPE.search(text):
        try:
            value = _without_surrogates(value)
        except RecursionError as error:
            raise _too_deep(what) from error
    return value, _cleaned(f"{text[: start.start()]}\n{rest}", _BANNER)


def safe_excerpt(text: str, limit: int = _EXCERPT) -> str:
    """The beginning of a text from outside on one line, without control characters, for an error message."""
    return _cleaned(text[: limit * 4], limit)


def _decoded(text: bytes | str) -> str:
    return text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text


def _parse(text: str, start: int, what: str) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        place = f"at character {error.pos - start:,} of {len(text) - start:,}"
        raise TransportError(
            FailureKind.BAD_OUTPUT,
            f"{what} printed JSON that is cut off or damaged {place} ({error.msg}): {safe_excerpt(text[start:])!r}",
        ) from error
    except ValueError as error:
        raise TransportError(FailureKind.BAD_OUTPUT, f"{what} printed JSON with {error}") from error
    except RecursionError as error:
        raise _too_deep(what) from error


def _too_deep(what: str) -> TransportError:
    return TransportError(FailureKind.BAD_OUTPUT, f"{what} printed JSON that is nested too deeply")


def _scalar(text: str, what: str) -> Any:
    """A document that is a single word, number or string: only where nothing else was printed."""
    bare = text.lstrip("\ufeff")
    if _SCALAR.match(bare):
        try:
            return json.loads(bare, parse_constant=_refuse_constant, parse_float=_finite)
        except ValueError:
            pass  # said below, as for every other text that is not JSON
    is_page = bare.lstrip()[:1] == "<"
    raise TransportError(
        FailureKind.BAD_OUTPUT,
        f"{what} printed {'a web page' if is_page else 'something else'} instead of JSON: {safe_excerpt(bare)!r}",
    )


def _refuse_remainder(rest: str, what: str) -> None:
    first, *lines = re.split(r"[\r\n]+", rest)
    offending = first.strip() or next((line for line in map(str.strip, lines) if _REMAINDER.match(line)), "")
    if offending:
        raise TransportError(
            FailureKind.BAD_OUTPUT,
            f"{what} printed more after the end of its JSON; it may be a piece of something larger: "
            f"{safe_excerpt(offending)!r}",
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that is too large")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _without_surrogates(value: Any) -> Any:
    """The value with U+FFFD for every lone surrogate: such text can be neither stored nor printed."""
    if isinstance(value, str):
        return _SURROGATE.sub("�", value)
    if isinstance(value, list):
        return [_without_surrogates(member) for member in value]
    if isinstance(value, dict):
        return {_SURROGATE.sub("�", key): _without_surrogates(member) for key, member in value.items()}
    return value


def _cleaned(text: str, limit: int) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text[: limit * 4])
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
