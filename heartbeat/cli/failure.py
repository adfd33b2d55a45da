"""An error as JSON: what a call with `--json` prints where it ends before its own document (docs/json.md).

The words on stderr are the same with and without it; programs need not read them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from heartbeat.cli import printed
from heartbeat.errors import HeartbeatError, RosterError

SCHEMA = "heartbeat.error/1"

_PLACE = re.compile(r"(?P<file>[^\n]+?):(?P<line>\d+)(?::(?P<column>\d+))?: (?P<message>\S.*)")
"""`path:line:column: what`, as errors about files begin their lines; some know no column."""
_PATH = re.compile(r"/|[^\s:]+\.[a-z]+:")
"""How such a line begins where it is not certain that it names a file: an absolute path, or a name with an ending."""


def is_wanted(words: Sequence[str]) -> bool:
    """Whether these words of a command line ask for JSON, and nothing of it was printed yet."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options and not printed.has_begun()


def tell(error: BaseException, code: int, words: Sequence[str], now: datetime, *, message: str, advice: str) -> None:
    """Print the one document of a call that failed, where it is wanted. With `--follow` it is one line, as all else."""
    if not is_wanted(words):
        return
    document = of(error, code, now, message=message, advice=advice)
    if "--follow" in words:
        printed.write_line(document)
        printed.flush()
    else:
        printed.write(document)


def of(error: BaseException, code: int, now: datetime, *, message: str, advice: str) -> dict[str, Any]:
    """`heartbeat.error/1`."""
    from heartbeat.instants import to_text

    findings = _findings(error)
    places = ({key: each[key] for key in ("file", "line", "column")} for each in findings)
    return {
        "schema": SCHEMA,
        "generated_at": to_text(now),
        "exit_code": code,
        "message": message,
        "advice": advice or None,
        "where": next((place for place in places if place["file"]), None),
        "findings": findings,
    }


def _findings(error: BaseException) -> list[dict[str, Any]]:
    """Every mistake of a roster; of another error those lines that name a place."""
    if isinstance(error, RosterError):
        return [_finding(problem) for problem in error.problems]
    told = str(error).splitlines() if isinstance(error, HeartbeatError) else []
    return [_finding(line) for line in told if _PATH.match(line) and _PLACE.fullmatch(line)]


def _finding(text: str) -> dict[str, Any]:
    found = _PLACE.fullmatch(text)
    if found is None:
        return {"file": None, "line": None, "column": None, "message": text}
    column = found["column"]
    return {
        "file": found["file"],
        "line": int(found["line"]),
        "column": None if column is None else int(column),
        "message": found["message"],
    }
