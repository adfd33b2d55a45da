"""`heartbeat doctor` where it may not look (rule B8): a finding with advice, never a bug."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import heartbeat


def test_what_another_user_may_not_look_at_is_a_finding(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert heartbeat("tick", "--all", cwd=team).code == 0
    state, look, may = team / "state", os.stat, os.access

    def forbidden(path: Any) -> bool:
        return isinstance(path, str | Path) and state in Path(path).parents

    def stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if forbidden(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look(path, *arguments, **options)

    def access(path: Any, *arguments: Any, **options: Any) -> bool:
        return not forbidden(path) and path != state and may(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "access", access)
    done = heartbeat("doctor", "--json", cwd=team)
    assert done.code == 1, done.err
    found = {(each["area"], each["subject"]): each for each in done.json["checks"]}
    assert found["state", "directory"]["message"] == f"{state} cannot be written: every beat fails"
    assert "Permission denied" in found["state", "store"]["message"]
    assert found["state", "store"]["advice"].startswith("run as the user who owns the state directory")
