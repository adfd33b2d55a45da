"""Notebooks of rosters that are gone: nobody opens them any more, and `heartbeat gc` clears them away.

One is abandoned when nobody has written to it for as long as anything is remembered, and neither its roster nor the
state that it watched is there.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

_LARGEST = 8 * 1024 * 1024


def abandoned(directories: Iterable[Path], before: datetime) -> tuple[Path, ...]:
    """The notebooks in these directories that nobody has written to since `before`, of rosters that are gone."""
    return tuple(path for directory in directories for path in _notebooks(directory) if _is_abandoned(path, before))


def remove(notebook: Path) -> None:
    """With its lock, and the directory for its log where that is empty. Raises OSError."""
    notebook.unlink(missing_ok=True)
    notebook.with_suffix(".lock").unlink(missing_ok=True)
    with suppress(OSError):
        notebook.with_suffix("").rmdir()


def _notebooks(directory: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from sorted(directory.glob("*.json"))


def _is_abandoned(path: Path, before: datetime) -> bool:
    """What cannot be read, or is not ours, is left alone."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size > _LARGEST:
            return False
        if found.st_mtime >= before.timestamp():
            return False
        told = json.loads(path.read_text(encoding="utf-8"))
        named = [told["state"], told["team"].get("roster", "")]
        return bool(told["state"]) and not any(name and os.path.lexists(name) for name in named)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False
