"""Rule F1: who is asked, as the roster or a file of providers says it."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heartbeat.breaker import Rules
from heartbeat.dispatch.providers import failover_of
from heartbeat.errors import RosterError, UsageError
from heartbeat.provider import NATIVE, Failover, Provider, Strategy
from heartbeat.roster.load import load_roster
from heartbeat.roster.model import Operator, Roster

TEAM = "agents:\n  coo: {class: high_frequency}\n"
MANAGED = "failover: {strategy: managed}\n"
SECONDS = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

AS_IT_WAS = """\
[
  {
    "name": "claude-haiku-4-5",
    "priority": 3,
    "max_retries": 3,
    "timeout_sec": 30,
    "enabled": true
  },
  {
    "name": "claude-sonnet-4-6",
    "priority": 1,
    "max_retries": 2,
    "timeout_sec": 45,
    "enabled": true
  },
  {
    "name": "claude-opus-4-6",
    "priority": 2,
    "max_retries": 3,
    "timeout_sec": 30,
    "enabled": false
  }
]
"""


def read(directory: Path, text: str, **environment: str) -> Failover:
    path = directory / "agents.yaml"
    path.write_text(text, encoding="utf-8")
    return failover_of(load_roster(path, environment), environment)


def beside(directory: Path, name: str, content: str) -> str:
    """A roster whose providers stand in a file of this content."""
    (directory / name).write_text(content, encoding="utf-8")
    return f"providers: {name}\n{MANAGED}{TEAM}"


def problems(directory: Path, name: str, content: str) -> list[str]:
    with pytest.raises(RosterError) as caught:
        read(directory, beside(directory, name, content))
    where = f"{directory / name}:"
    assert all(problem.startswith(where) for problem in caught.value.problems)
    return [problem.removeprefix(where) for problem in caught.value.problems]


def test_F1_without_a_word_models_are_left_to_openclaw(tmp_path: Path) -> None:
    assert read(tmp_path, TEAM) == Failover(Strategy.NATIVE, (Provider(NATIVE),), Rules())


def test_a_roster_made_by_hand_has_the_defaults(tmp_path: Path) -> None:
    roster = Roster(tmp_path / "agents.yaml", "UTC", Operator(), {}, {})
    assert failover_of(roster, {}) == Failover()


def test_F1_native_takes_its_numbers_from_the_first_that_is_enabled(tmp_path: Path) -> None:
    text = (
        "providers:\n  - {name: b, priority: 2, max_retries: 5, timeout: 10s, run_deadline: 30m}\n"
        f"  - {{name: a, priority: 1, max_retries: 9, enabled: false}}\n{TEAM}"
    )
    failover = read(tmp_path, text)
    assert failover.strategy is Strategy.NATIVE
    assert failover.providers == (
        Provider(NATIVE, model="", priority=1, max_retries=5, timeout=10 * SECONDS, run_deadline=30 * MINUTE),
    )


def test_F1_native_has_the_defaults_where_nobody_is_enabled(tmp_path: Path) -> None:
    failover = read(tmp_path, f"providers:\n  - {{name: a, max_retries: 9, enabled: false}}\n{TEAM}")
    assert failover.providers == (Provider(NATIVE),)


def test_F1_managed_has_them_by_priority_the_disabled_ones_too(tmp_path: Path) -> None:
    text = (
        "providers:\n  - {name: c, priority: 9, model: anthropic/opus}\n  - {name: a, enabled: false}\n"
        f"  - {{name: b, priority: 2}}\n{MANAGED}{TEAM}"
    )
    failover = read(tmp_path, text)
    assert [(each.name, each.model, each.priority) for each in failover.providers] == [
        ("a", "a", 2),
        ("b", "b", 2),
        ("c", "anthropic/opus", 9),
    ]
    assert [each.name for each in failover.enabled] == ["b", "c"]


def test_F2_the_numbers_of_the_breakers_are_the_rosters(tmp_path: Path) -> None:
    text = f"failover: {{open_after: 5, open_for: 1m, open_for_at_most: 2h}}\n{TEAM}"
    assert read(tmp_path, text).rules == Rules(open_after=5, open_for=MINUTE, open_for_at_most=120 * MINUTE)


def test_F2_a_probe_is_waited_for_longer_than_the_longest_turn(tmp_path: Path) -> None:
    text = f"providers:\n  - {{name: a}}\n  - {{name: b, run_deadline: 2h}}\n{MANAGED}{TEAM}"
    assert read(tmp_path, text).rules.probe_for == 125 * MINUTE
    assert read(tmp_path, TEAM).rules.probe_for == 15 * MINUTE
    assert read(tmp_path, f"providers:\n  - {{name: a, run_deadline: 1m}}\n{TEAM}").rules.probe_for == 15 * MINUTE


def test_F1_a_list_of_providers_as_json_is_read_as_it_is(tmp_path: Path) -> None:
    failover = read(tmp_path, beside(tmp_path, "provider_config.json", AS_IT_WAS))
    assert failover.providers == (
        Provider("claude-sonnet-4-6", "claude-sonnet-4-6", 1, max_retries=2, timeout=45 * SECONDS),
        Provider("claude-opus-4-6", "claude-opus-4-6", 2, enabled=False),
        Provider("claude-haiku-4-5", "claude-haiku-4-5", 3),
    )


@pytest.mark.parametrize(
    "content",
    [
        AS_IT_WAS.replace("  ", "\t"),
        AS_IT_WAS.replace("\n", ""),
        "﻿" + AS_IT_WAS,
        f'{{"providers": {AS_IT_WAS}}}',
        "providers:\n- {name: claude-haiku-4-5, priority: 3}\n- {name: claude-sonnet-4-6}\n- {name: claude-opus-4-6}\n",
        "- name: claude-haiku-4-5\n  priority: 7\n- name: claude-sonnet-4-6\n- name: claude-opus-4-6\n",
    ],
)
def test_the_file_may_be_written_in_many_ways(tmp_path: Path, content: str) -> None:
    failover = read(tmp_path, beside(tmp_path, "providers.yaml", content))
    names = sorted(each.name for each in failover.providers)
    assert names == ["claude-haiku-4-5", "claude-opus-4-6", "claude-sonnet-4-6"]


def test_references_in_the_file_are_resolved_and_its_secrets_stay_names(tmp_path: Path) -> None:
    content = "- {name: local, base_url: 'http://${HOST}:11435', api_key: '${KEY}'}\n"
    failover = read(tmp_path, beside(tmp_path, "p.yaml", content), HOST="127.0.0.1", KEY="sk-hush")
    assert "hush" not in repr(failover)
    assert failover.providers == (Provider("local", "local"),)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            '[\n  {"name": "a", "timeout_sec": 0},\n  {"nam": "b"}\n]\n',
            [
                "2:32: providers[0].timeout_sec: must be a number above 0, not `0`",
                "3:3: providers[1].name: is missing; write it",
                "3:4: providers[1]: unknown key `nam`; did you mean `name`?",
            ],
        ),
        (
            '[{"name": "a"}, {"name": "a"}]',
            ["1:26: providers[1].name: `a` is an earlier provider's name"],
        ),
        ('[{"name": "a", "name": "b"}]', ["1:16: `name` is written twice, first on line 1; keep one"]),
        ("- &x {name: a}\n- *x\n", None),
        ("!!python/object:os.system [a]\n", None),
        ("[5]\n", ["1:2: providers[0]: must be a mapping, not a number"]),
        ("[", None),
        ("", ["1:1: providers: a file of providers is a list of them, or a mapping with the one key `providers`"]),
        (
            "other.yaml\n",
            ["1:1: providers: a file of providers is a list of them, or a mapping with the one key `providers`"],
        ),
        (
            "providers: other.yaml\n",
            ["1:12: providers: a file of providers is a list of them, or a mapping with the one key `providers`"],
        ),
        (
            "providers: []\nagents: {}\n",
            ["1:1: providers: a file of providers is a list of them, or a mapping with the one key `providers`"],
        ),
    ],
)
def test_mistakes_in_the_file_are_told_with_their_place(tmp_path: Path, content: str, told: list[str] | None) -> None:
    found = problems(tmp_path, "p.yaml", content)
    assert found
    assert told is None or found == told


def test_R4_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    found = problems(tmp_path, "p.yaml", "- {name: a, api_key: sk-hush-hush}\n")
    assert len(found) == 1
    assert "hush" not in found[0]


def test_a_file_that_cannot_be_read_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"p\.yaml cannot be read: No such file") as caught:
        read(tmp_path, f"providers: p.yaml\n{TEAM}")
    assert "correct `providers`" in caught.value.advice
    (tmp_path / "p.yaml").mkdir()
    with pytest.raises(UsageError, match="are not a file"):
        read(tmp_path, f"providers: p.yaml\n{TEAM}")
    (tmp_path / "p.yaml").rmdir()
    os.mkfifo(tmp_path / "p.yaml")
    with pytest.raises(UsageError, match="are not a file"):
        read(tmp_path, f"providers: p.yaml\n{TEAM}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no provider is configured"),
        ("providers: []\n", "no provider is configured"),
        ("providers:\n  - {name: a, enabled: false}\n", "no provider is enabled"),
        ("providers:\n  - {name: a}\n  - {name: openclaw}\n", "no provider can be called openclaw"),
        ("providers:\n  - {name: multica, enabled: false}\n", "no provider can be called multica"),
        ("providers:\n  - {name: native}\n", "no provider can be called native"),
    ],
)
def test_managed_without_somebody_to_ask_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        read(tmp_path, f"{text}{MANAGED}{TEAM}")
    assert str(tmp_path) in str(caught.value)
    assert caught.value.advice


@pytest.mark.parametrize("extra", [{}, {"failover": {}, "providers": ()}, {"failover": None, "providers": None}])
def test_nothing_said_is_the_default(tmp_path: Path, extra: dict[str, Any]) -> None:
    roster = Roster(tmp_path / "agents.yaml", "UTC", Operator(), {}, {}, extra=extra)
    assert failover_of(roster, {}) == Failover()


def test_a_provider_stands_for_the_model_of_its_name_where_it_names_none(tmp_path: Path) -> None:
    extra = {"failover": {"strategy": "managed"}, "providers": ({"name": "anthropic/opus"},)}
    roster = Roster(tmp_path / "agents.yaml", "UTC", Operator(), {}, {}, extra=extra)
    assert failover_of(roster, {}).providers == (Provider("anthropic/opus", "anthropic/opus"),)
