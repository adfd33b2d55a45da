"""cron/ holds what `heartbeat cron install` writes today (`python -m tests.support.cron_folder` renews it)."""

from __future__ import annotations

import json

from tests.support.cron_folder import files, present


def test_the_folder_holds_what_is_written_today() -> None:
    wanted, there = files(), present()
    assert sorted(there) == sorted(wanted)
    for name, text in wanted.items():
        assert there[name] == text, f"cron/{name}: python -m tests.support.cron_folder renews it"


def test_what_is_json_is_json() -> None:
    automations = json.loads(files()["openclaw.json"])
    assert {each["agentId"] for each in automations} >= {"coo", "prompt-engineer"}
    assert len(automations) == 15


def test_nothing_of_this_machine_is_in_it() -> None:
    for name, text in present().items():
        assert "/root" not in text, name
        assert "/tmp/" not in text, name
