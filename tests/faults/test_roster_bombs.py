"""Rosters that were made to hurt: each ends soon, with a roster error that shows no secret."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartbeat.errors import RosterError, UsageError
from heartbeat.roster.document import MAX_BYTES, MAX_DEPTH, MAX_PROBLEMS, read_document
from heartbeat.roster.load import MAX_TOLD, load_roster
from heartbeat.roster.schema import (
    CHANNELS,
    SOURCES,
    AgentSection,
    ClassSection,
    ProviderSection,
    TopSection,
    known_keys,
)


def problems_of(tmp_path: Path, content: str | bytes) -> tuple[str, ...]:
    path = tmp_path / "agents.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RosterError) as caught:
        load_roster(path, {})
    assert all(problem.startswith(f"{path}:") for problem in caught.value.problems)
    return caught.value.problems


def test_an_alias_bomb_is_refused_and_never_expanded(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    problems = problems_of(tmp_path, "\n".join(lines))
    refused = [problem for problem in problems if "aliases are refused" in problem]
    assert len(refused) > 10
    assert all(len(problem) < 500 for problem in problems)


def test_an_alias_to_itself_is_refused(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "agents: &a {coo: *a}\n")
    assert [problem.rsplit(":", 1)[-1].split(";")[0] for problem in problems] == [
        " anchors are refused",
        " aliases are refused",
    ]


@pytest.mark.parametrize("bracket", ["[", "{a: ", "- ", "? "])
def test_a_text_nested_ever_deeper_is_given_up(tmp_path: Path, bracket: str) -> None:
    (problem,) = problems_of(tmp_path, bracket * (MAX_BYTES // len(bracket)))
    assert problem.endswith(f"nested deeper than {MAX_DEPTH} levels; a roster needs five")


def test_the_deepest_text_allowed_is_read() -> None:
    deep = read_document(("[" * MAX_DEPTH + "]" * MAX_DEPTH).encode())
    deeper = read_document(("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).encode())
    assert deep.problems == []
    assert len(deeper.problems) == 1


def test_a_text_of_one_mebibyte_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    assert "no agents" in problems_of(tmp_path, "version: 1 #" + "x" * (MAX_BYTES - 12))[0]
    (problem,) = problems_of(tmp_path, "version: 1 #" + "x" * (MAX_BYTES - 11))
    assert problem.endswith(":1:1: larger than 1 MiB; this is no roster")


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system", "!!python/name:os.system", "!!binary", "!!set", "!include", "!!timestamp"],
)
def test_a_tag_is_refused_and_its_value_not_looked_at(tmp_path: Path, tag: str) -> None:
    problems = problems_of(tmp_path, f"agents: {tag} [touch /tmp/never]\n")
    assert problems == (f"{tmp_path / 'agents.yaml'}:1:9: tags are refused; remove `{tag}`",)


def test_a_nul_byte_is_told_with_its_place(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "version: 1\nstate: a\0b\n")
    assert problem.endswith(":2:9: the invisible character U+0000 has no place in a roster; remove it")


def test_a_nul_behind_an_escape_reaches_no_path(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, 'state: "a\\0b"\nagents: {w: {class: business}}\n')
    assert problems == (
        f"{tmp_path / 'agents.yaml'}:1:8: state: must be one line without control or direction characters",
    )


def test_a_file_that_is_not_utf8_is_told_with_its_place(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, b"version: 1\nstate: \xff\xfe\n")
    assert problem.endswith(":2:8: byte 0xff is not UTF-8; save the file as UTF-8")


def test_endless_mistakes_are_counted_and_not_all_told(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "agents:\n" + "  w: {class: business}\n" * 500)
    assert len(problems) == MAX_TOLD + 1
    assert problems[-1].endswith(f"agents.yaml: and {499 - MAX_TOLD} more mistakes")
    assert len(read_document(b"- &a\n" * 200_000).problems) == MAX_PROBLEMS


@pytest.mark.parametrize("kind", ["directory", "fifo", "device", "missing", "long"])
def test_what_is_no_file_is_a_usage_error_and_hangs_nobody(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "agents.yaml"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "long":
        path = tmp_path / ("x" * 5000)
    with pytest.raises(UsageError) as caught:
        load_roster(path, {})
    assert not isinstance(caught.value, RosterError)
    assert caught.value.advice


SECRETS = [
    "sources: {multica: {token: hunter2}}",
    "sources: {multica: {token: '${hunter2}'}}",
    "sources: {multica: {token: '${NAME:-hunter2}'}}",
    "sources: {multica: {token: [hunter2]}}",
    "sources: {multica: {token hunter2}}",
    "sources: {multica: {token=hunter2}}",
    "sources: {multica: {token_env: hunter2}}",
    "sources: {multica: {server_url: 'https://me:hunter2@multica.example'}}",
    "sources: {multica: {server_url: 'hunter2'}}",
    "sources: {workboard: {url: 'ws://hunter2@127.0.0.1:1'}}",
    "sources: {workboard: {url: 'ws://127.0.0.1:hunter2'}}",
    "sources: {workboard: {url: '${HUNTER}'}}",
    "sources: {jira: {url: 'https://me:hunter2@jira.example'}}",
    "sources: {jira: {url: '${LOGIN}'}}",
    "sources: {jira: {password: hunter2}}",
    "sources: {jira: {deep: [{api_key: hunter2}]}}",
    "sources: {jira: {jira_token_env: hunter2}}",
    "channels: {a: {kind: feishu, url: 'https://open.feishu.example/hook/hunter2'}}",
    "channels: {a: {kind: feishu, url_env: 'https://open.feishu.example/hook/hunter2'}}",
    "channels: {a: {kind: webhook, url: 'http://127.0.0.1:1/', token: hunter2}}",
    "channels: {a: {kind: webhook, url: 'http://127.0.0.1.hunter2.example/'}}",
    "channels: {a: {kind: apprise, url: 'tgram://hunter2'}}",
    "watchdog: {ping_url: 'https://ping.example/hunter2'}",
    "watchdog: {beats_ping_url: 'https://ping.example/hunter2'}",
    "watchdog: {beats_ping_url_env: 'https://ping.example/hunter2'}",
    "providers: [{name: a, api_key: hunter2}]",
    "providers: [{name: a, base_url: 'https://x:hunter2@models.example'}]",
    'sources: {multica: {token: "hunter2\\q"}}',
]


@pytest.mark.parametrize("line", SECRETS)
def test_R4_a_secret_in_the_roster_is_refused_and_never_repeated(tmp_path: Path, line: str) -> None:
    path = tmp_path / "agents.yaml"
    path.write_text(f"agents: {{w: {{class: business}}}}\n{line}\n", encoding="utf-8")
    with pytest.raises(RosterError) as caught:
        load_roster(path, {"HUNTER": "hunter2", "LOGIN": "https://hunter2@jira.example"}, lambda: ["jira"])
    assert "hunter2" not in str(caught.value)
    assert all(":2:" in problem for problem in caught.value.problems)


KEYS = sorted(
    {
        *known_keys(TopSection),
        *known_keys(ClassSection),
        *known_keys(AgentSection),
        *known_keys(ProviderSection),
        *(key for model in (*SOURCES.values(), *CHANNELS.values()) for key in known_keys(model)),
        *SOURCES,
        *("plug_in", "coo", "w", "business", "window", "first", "parent", "grace", "running", "turns_per_day", ""),
    }
)
WORDS = ["coo", "w", "business", "self", "10m", "auto", "file", "feishu", "~", "~x", "${A}", "${", "/x", "* * * * *"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=8)
)
DATA: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=40,
)
QUIET = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def loads_or_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(UsageError):
        load_roster(path, {"HOME": "/home/nobody", "A": "a"}, lambda: ["plug_in"])


@QUIET
@given(text=st.text(max_size=200))
def test_any_text_loads_or_is_a_roster_error(tmp_path: Path, text: str) -> None:
    loads_or_is_refused(tmp_path / "agents.yaml", text.encode("utf-8", "replace"))


@QUIET
@given(content=st.binary(max_size=200))
def test_any_bytes_load_or_are_a_roster_error(tmp_path: Path, content: bytes) -> None:
    loads_or_is_refused(tmp_path / "agents.yaml", content)


@QUIET
@given(data=st.dictionaries(st.sampled_from(KEYS), DATA, max_size=8))
def test_any_data_under_known_keys_loads_or_is_a_roster_error(tmp_path: Path, data: dict[str, Any]) -> None:
    text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
    loads_or_is_refused(tmp_path / "agents.yaml", text.encode("utf-8", "replace"))


@QUIET
@given(
    cut=st.integers(0, 6000), insert=st.sampled_from(["", "\t", "&a ", "*a", "- ", ": ", "{", "]", '"', "!!x ", "\n"])
)
def test_the_sample_cut_or_mutilated_anywhere_loads_or_is_a_roster_error(tmp_path: Path, cut: int, insert: str) -> None:
    sample = (Path(__file__).parents[2] / "agents.yaml").read_text("utf-8")
    loads_or_is_refused(tmp_path / "agents.yaml", (sample[:cut] + insert).encode())
    loads_or_is_refused(tmp_path / "agents.yaml", (sample[:cut] + insert + sample[cut:]).encode())
