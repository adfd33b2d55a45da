"""The packaged sample team, unpacked for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import freezegun
import pytest

import heartbeat.sample

AT = "2026-11-21T04:00:00Z"


# To freeze time is to search every module for clocks, at every call of the command. There are none to freeze in these.
freezegun.configure(
    extend_ignore_list=["hypothesis", "jinja2", "markdown_it", "pydantic", "pygments", "rich", "syrupy", "websockets"]
)
# A module that has changed since is searched again. It is known by its names, listed and hashed; to count them will do.
freezegun.api._get_module_attributes_hash = lambda module: f"{id(module)}-{len(vars(module))}"  # type: ignore[attr-defined]


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A directory with agents.yaml, its saved board, issues and workspaces."""
    sample = Path(heartbeat.sample.__file__).parent / "demo"
    return Path(shutil.copytree(sample, tmp_path / "team"))
