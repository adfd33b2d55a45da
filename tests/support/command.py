"""The `heartbeat` command run inside the test process: quick, with its own arguments, directory and environment."""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from heartbeat.cli import main as command
from heartbeat.cli import session


@dataclass(frozen=True)
class Result:
    """What a call printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


def heartbeat(*words: str | Path, cwd: Path, **environment: str) -> Result:
    """One call with nothing in the environment but HOME (the directory itself) and what is given."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    home = {"HOME": str(cwd), "PATH": os.environ.get("PATH", ""), **environment}
    before = Path.cwd()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    session._added.clear()  # nothing of an earlier call's environment is in this one's
    os.chdir(cwd)
    try:
        with (
            patch.dict(os.environ, home, clear=True),
            patch.object(sys, "argv", ["heartbeat", *map(str, words)]),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = _run()
    finally:
        os.chdir(before)
        gc.enable()  # the command changes these for its own process
        for number, handler in handlers.items():
            signal.signal(number, handler)
    out.flush()
    return Result(code, out.buffer.getvalue().decode(), err.getvalue())  # type: ignore[attr-defined]


_application = command.application


@cache
def _application_once() -> Any:
    """The command's parsers know nothing of a call, and to build them takes longer than most calls do."""
    return _application()


def _run() -> int:
    completing = "_HEARTBEAT_COMPLETE" in os.environ
    try:
        with patch.object(command, "application", _application if completing else _application_once):
            command.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def tree(directory: Path) -> dict[str, bytes | None]:
    """Every file below a directory with its bytes, and every directory: to show that nothing changed."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }
