"""Hooks are run when a beat is over: nothing of it waits for them, and nobody is kept out by them (rule X6)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from heartbeat.store.opening import open_store
from heartbeat.store.port import Entry, EntryKind, EntryState

HEARTBEAT = (sys.executable, "-m", "heartbeat")


def with_hook(team: Path, script: str) -> None:
    """A hook of a turn that has ended is due, and the roster has its command."""
    argv = ["/bin/sh", "-c", script]
    roster = team / "agents.yaml"
    roster.write_text(f"{roster.read_text()}on_complete: [{json.dumps(argv)}]\n")
    now, payload = datetime.now(UTC), {"argv": argv, "facts": {"dispatch": "hb-1"}}
    with open_store(team / "state", now) as store:
        store.enqueue([Entry("hook:hb-1:0", EntryKind.HOOK, argv[0], payload, now, now, task="workboard:c1")])


def beat(team: Path) -> subprocess.CompletedProcess[str]:
    """A real one, whose output somebody reads through a pipe."""
    environment = {**os.environ, "HEARTBEAT_HOME": str(team / "state")}
    return subprocess.run(
        [*HEARTBEAT, "tick", "coo"],
        cwd=team,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_X6_a_hook_that_ends_its_beat_keeps_no_worklist_receipt_or_message_from_leaving(team: Path) -> None:
    with_hook(team, f"touch {team}/began; kill -9 $PPID")
    now = datetime.now(UTC)
    letter = {"level": "info", "title": "for the agent", "body": "read this", "to": "coo"}
    with open_store(team / "state", now) as store:
        store.enqueue([Entry("told/1", EntryKind.INBOX, "coo", letter, now, now)])
    done = beat(team)
    assert (team / "began").exists(), done.stderr
    assert done.returncode == -signal.SIGKILL
    assert "for the agent" in done.stdout
    with open_store(team / "state", now) as store:
        assert [each.agent for each in store.receipts()] == ["coo"]
        assert [each.state for each in store.entries(kind=EntryKind.INBOX) if each.key == "told/1"] == [EntryState.DONE]


def test_B1_while_a_hook_runs_nobody_is_kept_from_the_agent(team: Path) -> None:
    """It may well ask heartbeat for something itself."""
    said = team / "said"
    with_hook(team, f"{' '.join(HEARTBEAT)} tick coo > {said} 2>&1")
    done = beat(team)
    assert done.returncode == 0, done.stderr
    assert "another tick" not in said.read_text()
    with open_store(team / "state", datetime.now(UTC)) as store:
        assert len(store.receipts()) == 2
        assert [each.state for each in store.entries(kind=EntryKind.HOOK)] == [EntryState.DONE]
