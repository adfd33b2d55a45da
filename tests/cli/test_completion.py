"""What a shell offers behind `heartbeat`: in a real bash, and as zsh and fish ask for it (rule B8)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from heartbeat.action import marker_of
from heartbeat.cli.completion import MOST, mend_bash_words
from heartbeat.store.opening import open_store
from heartbeat.systems.snapshot_file import write_snapshot
from tests.cli.test_start_up import HEAVY
from tests.support.command import heartbeat, tree
from tests.support.operations import INCIDENT, message_entry
from tests.support.scripted_source import NOW, complete, item

BASH = shutil.which("bash")
AGENTS = ["coo", "architect", "costcodev"]


def offered(team: Path, *words: str, **environment: str) -> list[str]:
    """What bash would be told for these words, the last of which is being typed."""
    asked = {"COMP_WORDS": "\n".join(("heartbeat", *words)), "COMP_CWORD": str(len(words))}
    done = heartbeat(cwd=team, **{"_HEARTBEAT_COMPLETE": "complete_bash", **asked, **environment})
    assert (done.code, done.err) == (0, "")
    return done.out.split()


def beaten(team: Path) -> Path:
    """The team after a beat of everybody: its snapshots and its store are there."""
    assert heartbeat("tick", "--all", cwd=team).code == 0
    return team


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A directory with the command of this interpreter, to be put on PATH."""
    command = tmp_path / "program" / "heartbeat"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom heartbeat.cli.main import main\n\nmain()\n")
    command.chmod(0o755)
    return command.parent


@pytest.mark.skipif(BASH is None, reason="there is no bash here")
def test_a_real_bash_completes_what_the_installed_function_tells_it(team: Path, program: Path) -> None:
    beaten(team)
    script = """
        heartbeat --install-completion >/dev/null || exit 1
        source ~/.bashrc
        [[ $(complete -p heartbeat) == *-F\\ _heartbeat_completion\\ heartbeat ]] || exit 2
        try() {
            COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
            _heartbeat_completion heartbeat "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            echo "${COMPREPLY[*]}"
        }
        try heartbeat time
        try heartbeat tick ""
        try heartbeat tasks --agent = ar
        try heartbeat explain BIZ-3
        try heartbeat tick --format ""
        try heartbeat tick --roster ""
    """
    assert BASH is not None
    done = subprocess.run(
        [BASH, "--norc", "-c", script],
        cwd=team,
        env={"HOME": str(team), "PATH": f"{program}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["timeouts"],
        AGENTS,
        ["architect"],
        ["BIZ-31", "BIZ-32", "BIZ-33", "BIZ-34", "BIZ-35"],
        ["table", "md"],
        [],
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("tick", ""), AGENTS),
        (("tick", "co"), ["coo", "costcodev"]),
        (("tick", "coo", ""), ["architect", "costcodev"]),
        (("worklist", "ar"), ["architect"]),
        (("log", "--agent", "coo"), ["coo"]),
        (("start", "BIZ-31", "--as", "c"), ["coo", "costcodev"]),
        (("roster", "show", "x"), []),
        (("notify", "test", ""), ["ops"]),
        (("tasks", "--source", ""), ["workboard", "multica", "todo"]),
        (("tasks", "--status", "in_"), ["in_progress", "in_review"]),
        (("timeouts", "--fail-on", ""), ["suspected", "confirmed", "never"]),
        (("rounds", "e"), ["extend"]),
        (("tick", "--form"), ["--format"]),
        (("run", "--agents", "coo,a"), ["coo,architect"]),
    ],
)
def test_names_of_the_roster_and_words_of_the_command_are_offered(
    team: Path, words: tuple[str, ...], told: list[str]
) -> None:
    (team / "agents.yaml").write_text((team / "agents.yaml").read_text() + "\nchannels: {ops: {kind: file, path: o}}\n")
    assert offered(team, *words) == told


def test_the_roster_that_is_meant_is_the_one_that_the_command_would_use(team: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("agents:\n  writer: {class: business}\n  gone: {class: business, enabled: false}\n")
    assert offered(team, "--roster", str(other), "tick", "") == ["writer"]
    assert offered(team, "tick", "--roster", str(other), "") == ["writer"]
    assert offered(team, "tick", "", HEARTBEAT_ROSTER=str(other)) == ["writer"]


def test_tasks_are_offered_as_the_last_beat_saw_them_without_asking_a_source(team: Path) -> None:
    assert offered(team, "explain", "") == [], "nobody has beaten yet"
    beaten(team)
    for name in ("workboard.json", "multica.json"):
        for file in team.rglob(name):
            file.unlink()
    for words in (("explain", "biz-3"), ("log", "--task", "BIZ-3"), ("rounds", "BIZ-3"), ("hold", "BIZ-3")):
        assert offered(team, *words) == ["BIZ-31", "BIZ-32", "BIZ-33", "BIZ-34", "BIZ-35"]
    assert "show" in offered(team, "rounds", "")


def test_incidents_and_what_waits_in_the_outbox_are_offered_by_their_ids(team: Path) -> None:
    waiting = message_entry("letter/1/ops")
    with open_store(team / "state", NOW) as store:
        store.put_incident(INCIDENT)
        store.enqueue([waiting])
    assert offered(team, "resolve", "") == [INCIDENT.id]
    assert offered(team, "outbox", "drop", "") == [marker_of(waiting.key)]
    assert offered(team, "outbox", "retry", marker_of(waiting.key), "") == [], "it is named already"


def test_a_store_that_somebody_else_holds_is_not_waited_for(team: Path) -> None:
    beaten(team)
    with closing(sqlite3.connect(team / "state" / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert offered(team, "resolve", "") == []


HOSTILE = [
    "$(touch harmed)",
    "`touch harmed`",
    "a b",
    "a;b",
    "*",
    "-rf",
    "a'b",
    'a"b',
    "a\nb",
    "a\\b",
    "\x1b[31mred",
    "a:b",
    "(a)",
    "任务",
    "",
]


def test_B8_nothing_that_a_shell_could_take_for_code_is_offered(team: Path) -> None:
    snapshots = team / "state" / "snapshots"
    snapshots.mkdir(parents=True)
    reading = complete(*(item(str(number), key=key) for number, key in enumerate((*HOSTILE, "OK-1"))))
    read = replace(reading, report=replace(reading.report, read_at=NOW))
    write_snapshot(snapshots / "workboard.jsonl", read, "x")
    assert offered(team, "explain", "") == ["OK-1"]
    (team / "agents.yaml").write_text("agents:\n" + "".join(f"  {json.dumps(key)}: {{}}\n" for key in HOSTILE if key))
    assert offered(team, "tick", "") == []


def test_of_very_many_tasks_some_are_offered_at_once(team: Path) -> None:
    snapshots = team / "state" / "snapshots"
    snapshots.mkdir(parents=True)
    reading = complete(*(item(str(number), key=f"BIZ-{number}") for number in range(20_000)))
    write_snapshot(snapshots / "multica.jsonl", replace(reading, report=replace(reading.report, read_at=NOW)), "x")
    assert len(offered(team, "explain", "BIZ-1")) == MOST


@pytest.mark.parametrize(
    "damage", [b"", b"\xff\xfe", b"agents: [", b"agents: [a, b]\n", b"agents: 7\n", b"a: &a [*a]\n"]
)
def test_a_roster_that_is_no_good_offers_nothing_and_says_nothing(team: Path, damage: bytes) -> None:
    (team / "agents.yaml").write_bytes(damage)
    for words in (("tick", ""), ("explain", ""), ("resolve", ""), ("outbox", "drop", ""), ("notify", "test", "")):
        assert offered(team, *words) == []


def test_a_roster_that_is_a_pipe_a_directory_or_gone_keeps_nobody_waiting(team: Path) -> None:
    path = team / "agents.yaml"
    path.unlink()
    assert offered(team, "tick", "") == []
    os.mkfifo(path)
    assert offered(team, "tick", "") == []
    path.unlink()
    path.mkdir()
    assert offered(team, "tick", "") == []
    assert offered(team, "--env-file", "/nowhere", "explain", "") == []


def test_damaged_snapshots_and_a_damaged_store_offer_nothing_and_say_nothing(team: Path) -> None:
    beaten(team)
    for path in (team / "state" / "snapshots").glob("*.jsonl"):
        path.write_bytes(b'{"format": 1}\n\xff\n')
    (team / "state" / "state.db").write_bytes(b"no database")
    assert offered(team, "explain", "") == offered(team, "resolve", "") == []


def test_B3_asking_changes_nothing_anywhere(team: Path) -> None:
    beaten(team)
    before = tree(team)
    for words in (("tick", ""), ("explain", "B"), ("resolve", ""), ("outbox", "retry", ""), ("rounds", "")):
        offered(team, *words)
    assert tree(team) == before


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_are_told_the_same(team: Path, shell: str) -> None:
    asked = {"_HEARTBEAT_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = heartbeat(cwd=team, _TYPER_COMPLETE_ARGS="heartbeat tick co", **asked)
    assert (done.code, done.err) == (0, "")
    expected = {"zsh": '_arguments \'*: :(("coo"\n"costcodev"))\'', "fish": "coo\ncostcodev"}
    assert done.out.strip() == expected[shell]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_heartbeat(team: Path, shell: str) -> None:
    done = heartbeat(cwd=team, _HEARTBEAT_COMPLETE=f"source_{shell}")
    assert done.code == 0
    assert f"_HEARTBEAT_COMPLETE=complete_{shell}" in done.out


@pytest.mark.parametrize("words", ["tick --", "time", "tasks --agent c"])
def test_a_key_press_imports_no_source_and_no_more_than_it_needs(team: Path, words: str) -> None:
    script = """
import json, os, sys
from heartbeat.cli.main import main
sys.argv = ["heartbeat"]
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""
    asked = {"COMP_WORDS": "\n".join(("heartbeat", *shlex.split(words))), "COMP_CWORD": str(len(words.split()))}
    environment = {**os.environ, **asked, "_HEARTBEAT_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=team, env=environment, capture_output=True, text=True, check=True
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    allowed = {"yaml"} if "--agent" in words else set()
    assert not [name for name in modules if name.split(".")[0] in set(HEAVY) - allowed]
    assert not [name for name in modules if name.startswith("heartbeat.systems")]


@pytest.mark.parametrize(
    ("words", "at", "mended", "then"),
    [
        (["hb", "tasks", "--agent", "=", "c"], 4, ["hb", "tasks", "--agent", "c"], 3),
        (["hb", "tasks", "--agent", "="], 3, ["hb", "tasks", "--agent", ""], 3),
        (["hb", "--as", "=", "coo", "--by", "=", "in"], 6, ["hb", "--as", "coo", "--by", "in"], 4),
        (["hb", "tasks", "--agent", "=", "coo"], 1, ["hb", "tasks", "--agent", "coo"], 1),
        (["hb", "note", "X", "a", "=", "b"], 5, ["hb", "note", "X", "a", "=", "b"], 5),
        (["hb", "tick", "c"], 2, ["hb", "tick", "c"], 2),
        (["hb", "="], 1, ["hb", "="], 1),
    ],
)  # fmt: skip
def test_an_equals_sign_that_bash_makes_a_word_of_is_none(
    words: list[str], at: int, mended: list[str], then: int
) -> None:
    environment = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(at)}
    mend_bash_words(environment)
    assert environment == {"COMP_WORDS": "\n".join(mended), "COMP_CWORD": str(then)}


@pytest.mark.parametrize("environment", [{}, {"COMP_WORDS": "hb\n="}, {"COMP_WORDS": "hb\n=", "COMP_CWORD": "x"}])
def test_words_that_no_bash_gave_are_left_alone(environment: Mapping[str, str]) -> None:
    given = dict(environment)
    mend_bash_words(given)
    assert given == environment
