"""docs/json.md names every key of every document that a command really prints, in the section of its schema."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

from heartbeat import sample
from heartbeat.breaker import Breaker, State
from heartbeat.store.locks import exclusive
from heartbeat.store.port import EntryKind, Receipt, Store
from tests.support.command import heartbeat
from tests.support.fake_schedulers import fake_schedulers
from tests.support.hand_written import CREW, lay_out
from tests.support.operations import (
    AT,
    ENDED,
    FAILED,
    INCIDENT,
    MINUTE,
    NOW,
    TURN,
    issues,
    message_entry,
    put_turns,
    remembering,
    spent,
    write_entry,
)

ROOT = Path(__file__).parents[2]
SAMPLE = Path(sample.__file__).parent / "demo"
SECTION = re.compile(r"^## `(heartbeat\.[a-z]+/1)`[^\n]*\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SECTIONS = dict(SECTION.findall((ROOT / "docs" / "json.md").read_text()))
ELSEWHERE = {"heartbeat.message/1": "notify.md", "heartbeat.log-entry/1": "json.md"}
"""Schemas without a section of their own, and the document that names them."""

ELSEWHERE_TRIED = {"heartbeat.error/1"}
"""Documents of commands that fail: test_json_errors.py."""

DATA = {"counts", "details", "last_receipts", "unreadable_records"}
DATA |= {"ended", "outcomes", "payload", "without_turn_by_reason"}
"""Keys whose object is a table of names that are data."""

COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "heartbeat.tasks/1": [("tasks", "--all"), ("tasks", "--agent", "coo")],
    "heartbeat.tick/1": [("worklist", "coo"), ("tick", "coo", "--dry-run"), ("tick", "coo")],
    "heartbeat.ticks/1": [("tick", "--all", "--dry-run"), ("tick", "--all"), ("tick", "--due")],
    "heartbeat.receipts/1": [("receipts",)],
    "heartbeat.verb/1": [("start", "BIZ-28", "--as", "architect"), ("start", "给客户回访名单排序", "--as", "coo")],
    "heartbeat.dispatch/1": [
        ("dispatch", "BIZ-31"),
        ("dispatch", "BIZ-28", "--dry-run"),
        ("dispatch", "给客户回访名单"),
    ],
    "heartbeat.attempts/1": [("attempts",), ("attempts", "BIZ-31")],
    "heartbeat.abort/1": [("abort", TURN.id), ("abort", FAILED.id)],
    "heartbeat.providers/1": [("providers",), ("providers", "test", "--all")],
    "heartbeat.reset/1": [("providers", "reset", "--all")],
    "heartbeat.dlq/1": [
        ("dlq", "list", "--all"),
        ("dlq", "drop", TURN.letter, "--why", "x"),
        ("dlq", "retry", "--all"),
    ],
    "heartbeat.letter/1": [("dlq", "show", TURN.letter)],
    "heartbeat.cost/1": [("cost",), ("--roster", "started.yaml", "cost", "--agent", "coo", "--days", "1")],
    "heartbeat.incidents/1": [("incidents",)],
    "heartbeat.rounds/1": [("rounds",)],
    "heartbeat.pauses/1": [("pause",), ("pause", "coo", "--for", "2h", "--why", "x"), ("resume", "--all")],
    "heartbeat.hold/1": [("hold", "BIZ-28", "--for", "5m", "--why", "x"), ("hold", "BIZ-28", "--end")],
    "heartbeat.resolve/1": [("resolve", INCIDENT.id, "--why", "x")],
    "heartbeat.round/1": [("round", "c0ffee11")],
    "heartbeat.extend/1": [("rounds", "extend", "BIZ-28", "20")],
    "heartbeat.outbox/1": [
        ("outbox", "list", "--all"),
        ("outbox", "retry", "--all"),
        ("outbox", "drop", "1a2b3c4d/recover/multica:28", "--why", "x"),
    ],
    "heartbeat.log/1": [("log",)],
    "heartbeat.deps/1": [("deps",)],
    "heartbeat.gc/1": [("gc", "--dry-run")],
    "heartbeat.timeouts/1": [("timeouts",)],
    "heartbeat.explain/1": [
        ("explain", "BIZ-28"),
        ("explain", "c0ffee11"),
        ("explain", "BIZ-31"),
        ("explain", "BIZ-32"),
    ],
    "heartbeat.doctor/1": [("doctor",)],
    "heartbeat.acceptance/1": [("doctor", "--accept-loss", "ops")],
    "heartbeat.adoption/1": [("doctor", "--adopt")],
    "heartbeat.render/1": [
        ("render", "--all", "--check", "--diff"),
        ("render", "--all", "--force"),
        ("render", "coo", "--sink", "prompt"),
    ],
    "heartbeat.init/1": [("init", "--from", "old", "--dry-run")],
    "heartbeat.check/1": [("roster", "check")],
    "heartbeat.roster/1": [("roster", "show"), ("roster", "show", "coo")],
    "heartbeat.sync/1": [
        ("--roster", "live.yaml", "roster", "sync"),
        ("--roster", "live.yaml", "roster", "sync", "--write"),
    ],
    "heartbeat.schedule/1": [("cron", "diff"), ("cron", "install"), ("cron", "show"), ("cron", "remove", "coo")],
    "heartbeat.health/1": [("health",), ("health", "coo")],
    "heartbeat.watchdog/1": [("watchdog",)],
    "heartbeat.verify/1": [("verify", "coo")],
    "heartbeat.notify/1": [("notify", "test", "ops")],
    "heartbeat.simulate/1": [("simulate", "--days", "0.1")],
}
FILLED: dict[str, set[str]] = {
    "heartbeat.tasks/1": {"sources", "tasks", "findings"},
    "heartbeat.tick/1": {"messages", "attention", "tasks", "sources", "stall", "receipt", "missed", "backlog"},
    "heartbeat.ticks/1": {"ticks", "resting", "messages", "attention", "tasks", "stall", "receipt", "missed"}
    | {"backlog"},
    "heartbeat.receipts/1": {"receipts", "sources", "misses"},
    "heartbeat.verb/1": {"results", "refused", "advice"},
    "heartbeat.dispatch/1": {"attempts", "advice", "why", "dead_letter"},
    "heartbeat.attempts/1": {"attempts", "error", "refs"},
    "heartbeat.abort/1": {"attempt"},
    "heartbeat.providers/1": {"providers", "engines", "left", "checks", "tests", "ended"},
    "heartbeat.reset/1": {"breakers", "was", "because"},
    "heartbeat.dlq/1": {"letters", "refs", "attempts", "changed"},
    "heartbeat.letter/1": {"letter", "task", "attempts", "payload", "replayed_by"},
    "heartbeat.cost/1": {"days", "agents", "total", "budget", "today", "outcomes", "without_turn_by_reason"},
    "heartbeat.incidents/1": {"incidents", "steps"},
    "heartbeat.rounds/1": {"tasks"},
    "heartbeat.pauses/1": {"pauses", "holds", "changed"},
    "heartbeat.hold/1": {"hold", "refs"},
    "heartbeat.resolve/1": {"incident"},
    "heartbeat.outbox/1": {"entries"},
    "heartbeat.log/1": {"entries"},
    "heartbeat.deps/1": {"tasks", "waiting_on"},
    "heartbeat.timeouts/1": {"sources", "timeouts"},
    "heartbeat.explain/1": {"origins", "links", "reasons", "stall", "clocks", "waiting_on", "rounds", "hold"}
    | {"incidents", "outbox", "log"},
    "heartbeat.doctor/1": {"checks"},
    "heartbeat.render/1": {"results"},
    "heartbeat.init/1": {"systems", "tried", "files", "refused", "agents", "settings", "left_out", "next", "text"},
    "heartbeat.check/1": {"agents", "classes", "sources"},
    "heartbeat.roster/1": {"agents"},
    "heartbeat.sync/1": {"systems", "tried", "missing", "gone", "changed", "left_out", "unknown", "backup"},
    "heartbeat.schedule/1": {"targets", "pieces", "agents", "next", "changes", "before", "after", "launch"},
    "heartbeat.health/1": {"agents", "sources", "checks"},
    "heartbeat.watchdog/1": {"agents"},
    "heartbeat.verify/1": {"agents"},
    "heartbeat.simulate/1": {"timeline"},
}
"""What must not be empty in the documents of a schema, all of them together, or its keys would go unseen."""


@pytest.fixture
def busy(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The team of `prepared` for one test, and schedulers of its own."""
    monkeypatch.setenv("PATH", fake_schedulers(tmp_path / "bin").path)
    monkeypatch.setattr("heartbeat.cli.verify.wait", _interrupted)
    return Path(shutil.copytree(prepared, tmp_path / "team"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample team after four beats, with a blocked task to decide about, a message, a write, a pause and a hold."""
    team = Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("busy") / "team"))
    roster = team / "agents.yaml"
    roster.write_text(roster.read_text() + "channels:\n  ops: {kind: file, path: notifications.log}\n")
    (team / "started.yaml").write_text(roster.read_text() + "dispatch: openclaw\nbudget: {turns_per_day: 20}\n")
    issues(team, BIZ_28="blocked")
    live_agents(team)
    for minute in ("00", "15", "30", "45"):
        with freeze_time(f"2026-11-21T03:{minute}:00Z"):
            assert heartbeat("tick", "--all", cwd=team).code == 0
    said = (
        ("hold", "BIZ-31", "--for", "40m", "--why", "upload", "--as", "coo"),
        ("pause", "costcodev", "--for", "2h", "--why", "migration"),
    )
    with freeze_time(AT):
        for words in said:
            assert heartbeat(*words, cwd=team).code == 0
    with remembering(team) as store:
        store.put_incident(INCIDENT)
        store.put_incident(ENDED)
        store.put_rounds([spent()])
        put_turns(store)
        put_more_of_turns(store)
        store.enqueue([write_entry("1a2b3c4d/recover/multica:28", incident=INCIDENT.id)])
        store.enqueue([replace(message_entry("1a2b3c4d/recovered/coo"), kind=EntryKind.INBOX, target="coo")])
    return team


def put_more_of_turns(store: Store) -> None:
    """What is on record of a provider and of an engine, what a dead letter keeps, and a beat that started nothing."""
    store.put_breaker(Breaker("first", State.OPEN, 3, 1, NOW + 4 * MINUTE, why="500", changed_at=NOW - MINUTE))
    store.put_breaker(Breaker("openclaw"))
    letter = store.letter(TURN.letter)
    assert letter is not None
    store.put_letter(replace(letter, payload={"session": TURN.session, "reasons": ["first failed 4 times of 4"]}))
    at = NOW - 200 * MINUTE
    told = {"decision": "skip", "reason": "no_work", "told": "nothing is ready"}
    store.add_receipt(Receipt("idle", "coo", None, at, at, "done", degraded=False, dispatch=told))


def live_agents(team: Path) -> None:
    """Agents in an OpenClaw's configuration, a roster that is out of step with them, and files written by hand."""
    entries: dict[str, dict[str, str]] = {"main": {}, "coo": {"workspace": "/srv/coo"}, "newbie": {}}
    (team / ".openclaw").mkdir()
    (team / ".openclaw" / "openclaw.json").write_text(json.dumps({"agents": {"entries": entries}}))
    known = f"coo: {{class: high_frequency, notify: [self], multica_id: {CREW[0].uuid}}}"
    agents = f"agents:\n  {known}\n  gone: {{class: business}}\n"
    (team / "live.yaml").write_text(f"version: 1\nsources: {{multica: {{transport: api}}}}\n{agents}")
    (lay_out(team / "old", CREW[:2]) / "HEARTBEAT.md").write_text("# of another kind\n")


def _interrupted(seconds: float) -> None:
    """Nobody waits here: what is known by then is told."""
    raise KeyboardInterrupt


def names(schema: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """Every word in a code span of the section, and of the sections of the schemas that it refers to."""
    found: set[str] = set()
    for span in re.findall(r"`([^`]+)`", SECTIONS[schema]):
        if span in SECTIONS:
            found |= names(span, seen | {schema}) if span not in seen else set()
        else:
            found.update(re.findall(r"[a-z][a-z_]*", span))
    return found


def keys(value: Any) -> Iterator[str]:
    """The names of all values at whatever depth, but those that are data."""
    if isinstance(value, list):
        for each in value:
            yield from keys(each)
    elif isinstance(value, dict):
        for name, below in value.items():
            yield name
            if name not in DATA:
                yield from keys(below)


def filled(value: Any) -> Iterator[str]:
    """The names of lists and objects that hold something, and of texts."""
    if isinstance(value, list):
        for each in value:
            yield from filled(each)
    elif isinstance(value, dict):
        for name, below in value.items():
            if below:
                yield name
            yield from filled(below)


def documents(schema: str, team: Path) -> list[dict[str, Any]]:
    found = []
    for words in COMMANDS[schema]:
        with freeze_time(AT):
            done = heartbeat(*words, "--json", cwd=team)
        assert done.out, f"{words}: {done.err}"
        found.append(done.json)
    return found


@pytest.mark.parametrize("schema", COMMANDS)
def test_every_key_that_a_command_prints_is_described_in_the_section_of_its_schema(schema: str, busy: Path) -> None:
    printed = documents(schema, busy)
    assert {document["schema"] for document in printed} == {schema}
    described = names(schema) | {"schema"}
    assert sorted({key for document in printed for key in keys(document)} - described) == []
    assert FILLED.get(schema, set()) - {name for document in printed for name in filled(document)} == set()


@pytest.mark.parametrize(("schema", "whom"), [("heartbeat.tick/1", "coo"), ("heartbeat.ticks/1", "--all")])
def test_what_a_skipped_beat_prints_is_described_too(schema: str, whom: str, busy: Path) -> None:
    with freeze_time(AT), exclusive(busy / "state" / "locks" / "coo.lock"):
        document = heartbeat("tick", whom, "--json", cwd=busy).json
    assert document["schema"] == schema
    assert "skipped" in set(keys(document))
    assert set(keys(document)) <= names(schema) | {"schema"}


def test_every_schema_of_the_code_has_its_place_in_the_documents_and_here() -> None:
    code = "".join(path.read_text() for path in (ROOT / "heartbeat").rglob("*.py"))
    schemas = set(re.findall(r'"(heartbeat\.[a-z-]+/1)"', code))
    assert schemas == {*SECTIONS, *ELSEWHERE}
    assert set(COMMANDS) == set(SECTIONS) - ELSEWHERE_TRIED
    for schema, name in ELSEWHERE.items():
        assert f"`{schema}`" in (ROOT / "docs" / name).read_text()
