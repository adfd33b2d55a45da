"""What this user can see of a path: where one may not look, there is nothing to be found."""

from __future__ import annotations

from pathlib import Path


def exists(path: Path) -> bool:
    """False also where this user may not look: what stands in the way is the directory above it."""
    try:
        return path.exists()
    except PermissionError:
        return False


def is_directory(path: Path) -> bool:
    """False also where this user may not look."""
    try:
        return path.is_dir()
    except PermissionError:
        return False


def size_of(path: Path) -> int | None:
    """In bytes; None where it cannot be told."""
    try:
        return path.stat().st_size
    except OSError:
        return None
