"""Where Multica is found: roster before environment before the tool's own file, and never a secret in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heartbeat.errors import UsageError
from heartbeat.systems.base import Deadline, FailureKind, ReadStatus, TransportError
from heartbeat.systems.multica.cli import TASK_VARIABLES, CommandTransport
from heartbeat.systems.multica.discovery import Connection, Setting, discover, normalise_server_url, only_workspace
from heartbeat.systems.multica.source import build, saved_issues
from tests.contract.suite import NOW
from tests.support.rosters import make_agent, make_roster

TOKEN = "mul_0123456789abcdef0123456789abcdef01234567"
VARIABLES = {
    "MULTICA_SERVER_URL": "https://variable.test",
    "MULTICA_WORKSPACE_ID": "workspace-of-variable",
    "MULTICA_TOKEN": "mul_variable",
}
FILE = {"server_url": "https://file.test", "workspace_id": "workspace-of-file", "token": "mul_file"}
ROSTER = {"server_url": "https://roster.test", "workspace_id": "workspace-of-roster", "token_env": "TEAM_TOKEN"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def configure(home: Path, content: object = FILE, profile: str | None = None) -> Path:
    folder = home / ".multica" / ("profiles/" + profile if profile else "")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def values(connection: Connection) -> list[str | None]:
    return [part and part.value for part in (connection.server, connection.workspace, connection.token)]


def test_the_roster_comes_before_the_environment_and_the_environment_before_the_file(home: Path) -> None:
    path = configure(home)
    environment = {"HOME": str(home), "TEAM_TOKEN": "mul_team"}
    everything = discover(ROSTER, {**environment, **VARIABLES})
    assert values(everything) == ["https://roster.test", "workspace-of-roster", "mul_team"]
    assert everything.token is not None
    assert everything.token.origin == "TEAM_TOKEN"
    assert values(discover({}, {**environment, **VARIABLES})) == [*VARIABLES.values()]
    from_file = discover({}, environment)
    assert values(from_file) == [*FILE.values()]
    assert from_file.server == Setting("https://file.test", str(path))


def test_each_value_is_looked_for_on_its_own(home: Path) -> None:
    configure(home, {"token": "mul_file"})
    mixed = discover({"workspace_id": "from-roster"}, {"HOME": str(home), "MULTICA_SERVER_URL": "http://variable.test"})
    assert values(mixed) == ["http://variable.test", "from-roster", "mul_file"]


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_value_counts_as_unset(home: Path, blank: str) -> None:
    configure(home)
    environment = {"HOME": str(home), "MULTICA_SERVER_URL": blank, "MULTICA_TOKEN": blank}
    assert values(discover({"workspace_id": blank}, environment)) == [*FILE.values()]


def test_a_profile_has_a_file_of_its_own(home: Path) -> None:
    configure(home)
    configure(home, {**FILE, "server_url": "https://profile.test"}, profile="dev")
    found = discover({"profile": "dev"}, {"HOME": str(home)})
    assert values(found)[0] == "https://profile.test"


@pytest.mark.parametrize("profile", ["../dev", "a/b", "..", ".", "-x", "a b", "/etc"])
def test_a_profile_that_is_no_plain_name_is_a_mistake_of_the_roster(home: Path, profile: str) -> None:
    with pytest.raises(UsageError, match=r"sources\.multica\.profile"):
        discover({"profile": profile}, {"HOME": str(home)})


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000])
def test_a_broken_file_counts_as_empty_and_is_told(home: Path, content: str) -> None:
    path = configure(home, content)
    found = discover({}, {"HOME": str(home)})
    assert values(found) == [None, None, None]
    assert found.problems
    assert str(path) in found.problems[0]
    absent = found.absent()
    assert absent is not None
    assert str(path) in absent


def test_without_any_trace_multica_is_absent(home: Path) -> None:
    assert "no server and no token" in (discover({}, {"HOME": str(home)}).absent() or "")


@pytest.mark.parametrize("name", ["MULTICA_SERVER_URL", "MULTICA_TOKEN"])
def test_a_server_or_a_token_alone_shows_that_multica_is_in_use(home: Path, name: str) -> None:
    found = discover({}, {"HOME": str(home), name: "http://x.test"})
    assert found.absent() is None
    with pytest.raises(TransportError) as caught:
        (found.required_server(), found.required_token())
    assert caught.value.kind is (FailureKind.AUTH if name == "MULTICA_SERVER_URL" else FailureKind.UNREACHABLE)
    assert caught.value.advice


def test_a_token_variable_alone_shows_that_multica_is_meant_to_be_in_use(home: Path) -> None:
    assert discover({"token_env": "TEAM_TOKEN"}, {"HOME": str(home)}).absent() is None


def test_R4_a_token_variable_that_is_not_set_is_a_failure_and_no_other_token_is_taken(home: Path) -> None:
    configure(home)
    found = discover({"token_env": "TEAM_TOKEN"}, {"HOME": str(home), "MULTICA_TOKEN": "mul_mine"})
    assert found.absent() is None
    with pytest.raises(TransportError, match="TEAM_TOKEN, which is not set") as caught:
        found.required_token()
    assert caught.value.kind is FailureKind.AUTH


def test_S1a_without_any_trace_the_source_is_disabled_unless_it_is_required_or_chosen(home: Path) -> None:
    environment = {"HOME": str(home), "PATH": str(home)}
    assert read({}, environment) == (ReadStatus.DISABLED, FailureKind.NOT_CONFIGURED)
    assert read({"required": True}, environment) == (ReadStatus.FAILED, FailureKind.NOT_CONFIGURED)
    assert read({"transport": "api"}, environment) == (ReadStatus.FAILED, FailureKind.NOT_CONFIGURED)
    assert read({"transport": "cli"}, environment) == (ReadStatus.FAILED, FailureKind.NOT_CONFIGURED)


def test_S1a_a_token_that_cron_does_not_have_is_a_failure_and_not_an_unused_source(home: Path) -> None:
    environment = {"HOME": str(home), "PATH": str(home)}
    settings = {"server_url": "http://127.0.0.1:9", "token_env": "TEAM_TOKEN"}
    assert read(settings, environment) == (ReadStatus.FAILED, FailureKind.AUTH)


def read(settings: dict[str, Any], environment: dict[str, str]) -> tuple[ReadStatus, FailureKind | None]:
    report = build(settings, make_roster(), environment).read(Deadline.after(30), NOW).report
    return report.status, report.kind


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.multica.ai", "https://api.multica.ai"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("ws://localhost:8080/ws", "http://localhost:8080"),
        ("wss://multica.test/ws/", "https://multica.test"),
        ("WSS://multica.test/ws?token=x#y", "https://multica.test"),
        ("https://multica.test/prefix/", "https://multica.test/prefix"),
        ("https://multica.test/prefix/ws", "https://multica.test/prefix/ws"),
        ("  https://multica.test  ", "https://multica.test"),
        ("https://user:password@multica.test:8443/x", "https://multica.test:8443/x"),
        ("ftp://multica.test/ws", "ftp://multica.test/ws"),
        ("multica.test", "multica.test"),
        ("http://[::1", "http://[::1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_is_understood_as_the_tool_does(text: str, url: str) -> None:
    assert normalise_server_url(text) == url


def test_the_only_workspace_is_taken_and_of_several_none() -> None:
    assert only_workspace([{"id": "w1", "slug": "acme"}]) == "w1"
    with pytest.raises(TransportError, match="2 workspaces: acme, beta") as several:
        only_workspace([{"id": "w1", "slug": "acme"}, {"id": "w2", "slug": "beta"}])
    assert several.value.kind is FailureKind.REFUSED
    assert "workspace_id" in several.value.advice
    for nothing in ([], [None, {"id": ""}]):
        with pytest.raises(TransportError, match="no workspace"):
            only_workspace(nothing)
    with pytest.raises(TransportError) as odd:
        only_workspace({"error": "x"})
    assert odd.value.kind is FailureKind.BAD_OUTPUT


def test_R4_no_token_shows_in_a_connection_a_transport_or_an_identity(home: Path) -> None:
    environment = {"HOME": str(home), **VARIABLES, "MULTICA_TOKEN": TOKEN}
    connection = discover({}, environment)
    source = build({}, make_roster(), environment)
    for told in (repr(connection), repr(CommandTransport(connection, environment)), repr(source), source.identity):
        assert TOKEN not in told


def test_an_identity_tells_apart_what_is_read_and_for_whom(home: Path) -> None:
    environment = {"HOME": str(home), **VARIABLES}
    different = [
        build(settings, make_roster(), environment).identity
        for settings in (
            {},
            {"transport": "api"},
            {"transport": "file", "path": "/a.json"},
            {"transport": "file", "path": "/b.json"},
            {"server_url": "http://other.test"},
            {"workspace_id": "other"},
            {"profile": "dev"},
        )
    ]
    different.append(build({}, make_roster(make_agent(multica_id="other")), environment).identity)
    assert len(set(different)) == len(different)
    assert build({}, make_roster(), environment).identity == different[0]


@pytest.mark.parametrize("settings", [{"transport": "carrier pigeon"}, {"transport": "file"}])
def test_settings_that_make_no_sense_are_a_mistake_of_the_roster(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"sources\.multica"):
        build(settings, make_roster(), {})


def test_auto_has_a_file_only_where_a_path_is_named(home: Path) -> None:
    def names(settings: dict[str, Any]) -> list[str]:
        source = build(settings, make_roster(), {"HOME": str(home), "PATH": str(home)})
        return [probe.transport for probe in source.probe(Deadline.after(5))]

    assert names({}) == ["api", "cli"]
    assert names({"path": home / "missing.json"}) == ["api", "cli", "file"]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"issues": [{"id": "a"}], "total": 1}, ""),
        ({"issues": [{"id": "a"}]}, ""),
        ([{"id": "a"}], ""),
        ({"issues": [{"id": "a"}], "total": 145, "has_more": True}, "the file holds 1 of 145 issues"),
        ({"issues": [{"id": "a"}], "total": "145"}, "the file holds 1 of 145 issues"),
        ({"issues": [{"id": "a"}], "total": 145.0}, "the file holds 1 of 145 issues"),
        ({"issues": [{"id": "a"}], "total": "many"}, ""),
        ({"issues": [{"id": "a"}], "total": True}, ""),
    ],
)
def test_S3_a_saved_page_of_several_is_partial(document: Any, problem: str) -> None:
    assert saved_issues(document).problem == problem


@pytest.mark.parametrize("document", [None, {}, {"issues": None}, {"issues": {}}, "text", 7, {"error": "x"}])
def test_a_saved_document_of_another_shape_is_bad_output(document: Any) -> None:
    with pytest.raises(TransportError) as caught:
        saved_issues(document)
    assert caught.value.kind is FailureKind.BAD_OUTPUT


def test_a_saved_document_may_bring_squads_and_runs() -> None:
    assert dict(saved_issues({"issues": [], "squads": [1], "runs": [2]}).extra) == {"squads": [1], "runs": [2]}


def test_every_variable_that_makes_the_tool_an_agents_run_is_known() -> None:
    assert {"MULTICA_AGENT_ID", "MULTICA_TASK_ID", "MULTICA_DAEMON_PORT"} <= TASK_VARIABLES
    assert not TASK_VARIABLES & {"MULTICA_TOKEN", "MULTICA_SERVER_URL", "MULTICA_WORKSPACE_ID"}
