"""The packaged sample team, unpacked for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import heartbeat.sample

AT = "2026-11-21T04:00:00Z"


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A directory with agents.yaml, its saved board, issues and workspaces."""
    sample = Path(heartbeat.sample.__file__).parent / "demo"
    return Path(shutil.copytree(sample, tmp_path / "team"))
