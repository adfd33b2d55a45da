"""The environment file: what is understood, what is refused with its line, and that no value is ever repeated."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.errors import UsageError
from heartbeat.roster.environment import find_environment, parse_environment, read_environment

UNDERSTOOD = rb"""
# a comment, and another with a backslash \ in it
; so is this
TOKEN=abc123
  INDENTED =  bare value # not a comment
URL='https://example.net/$HOME/%i "quoted" back\slash'
WORDS="it's two words"
EMPTY=
NOTHING=''
EQUALS=a=b==
_under9=x
"""


def test_what_is_understood() -> None:
    values, mistakes = parse_environment(UNDERSTOOD)
    assert mistakes == []
    assert values == {
        "TOKEN": "abc123",
        "INDENTED": "bare value # not a comment",
        "URL": 'https://example.net/$HOME/%i "quoted" back\\slash',
        "WORDS": "it's two words",
        "EMPTY": "",
        "NOTHING": "",
        "EQUALS": "a=b==",
        "_under9": "x",
    }


def test_carriage_returns_end_lines_too() -> None:
    assert parse_environment(b"A=1\r\nB='2'\r\n") == ({"A": "1", "B": "2"}, [])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"s3cr3t-value", "has no `=`"),
        (b"export TOKEN=s3cr3t", "begins with `export`"),
        (b"9LIVES=s3cr3t", "has no name of a variable"),
        (b"s3cr3t-name=x", "has no name of a variable"),
        (b"=s3cr3t", "has no name of a variable"),
        ("NÄME=s3cr3t".encode(), "has no name of a variable"),
        (b"TOKEN='s3cr3t", "begins with ' and does not end with it"),
        (b'TOKEN="s3cr3t', 'begins with " and does not end with it'),
        (b"TOKEN='a's3cr3t", "something behind the closing '"),
        (b"TOKEN='s3cr3t' # why", "something behind the closing '"),
        (b'TOKEN="s3cr3t\\n"', "a backslash inside"),
        (b"TOKEN=s3cr3t\\", "a bare value holds \\"),
        (b"TOKEN=it's-s3cr3t", "a bare value holds '"),
        (b'TOKEN={"s3cr3t": 1}', 'a bare value holds "'),
        (b"TOKEN=s3cr3t\x07", "holds a control character"),
        (b"TOKEN=s3cr3t\xff", "is not UTF-8"),
        (b"# a comment that goes on \\", "would swallow the next line"),
    ],
)
def test_what_is_not_is_refused_with_its_line_and_without_its_value(line: bytes, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, b"GOOD=1\n" + line + b"\nALSO=2\n")
    with pytest.raises(UsageError) as caught:
        read_environment(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert told in str(caught.value)
    assert "s3cr3t" not in str(caught.value) + caught.value.advice


def test_every_mistake_is_told_at_once() -> None:
    _, mistakes = parse_environment(b"A=1\nb\nA=2\n\xef\xbb\xbf\n")
    assert [line for line, _ in mistakes] == [2, 3, 4]
    assert mistakes[1][1] == "sets A again (line 1 does); keep one of them"


def test_a_byte_order_mark_is_named() -> None:
    assert parse_environment(b"\xef\xbb\xbfA=1\n")[1] == [
        (1, "begins with a byte order mark; save the file as UTF-8 without one")
    ]


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
        st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="'")),
    )
)
def test_any_value_in_single_quotes_comes_out_as_it_went_in(values: dict[str, str]) -> None:
    content = "".join(f"{name}='{value}'\n" for name, value in values.items())
    assert parse_environment(content.encode()) == (values, [])


def write(directory: Path, content: bytes, mode: int = 0o600) -> Path:
    path = directory / "environment"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("mode", "whose"), [(0o640, "its group"), (0o604, "others"), (0o666, "others"), (0o620, "its group")]
)
def test_a_file_that_others_can_read_is_a_warning(mode: int, whose: str, tmp_path: Path) -> None:
    read = read_environment(write(tmp_path, b"A=1\n", mode))
    assert read.values == {"A": "1"}
    assert read.warnings == (
        f"{read.path} can be read or changed by {whose}, and may hold secrets: chmod 600 {read.path}",
    )


def test_a_file_of_its_owner_alone_is_no_warning(tmp_path: Path) -> None:
    assert read_environment(write(tmp_path, b"A=1\n")).warnings == ()


def test_what_is_no_file_is_refused_and_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, told in (
        (tmp_path, "is not a file"),
        (tmp_path / "fifo", "is not a file"),
        (tmp_path / "missing", "there is no environment file"),
    ):
        with pytest.raises(UsageError, match=told):
            read_environment(path)


def test_a_file_that_is_far_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        read_environment(write(tmp_path, b"#" * (1024 * 1024 + 1)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of a user without configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def test_the_places_are_tried_in_order(here: Path) -> None:
    assert find_environment(None, {}, here) is None
    usual = here / "config" / "heartbeat" / "environment"
    usual.parent.mkdir(parents=True)
    usual.touch()
    assert find_environment(None, {}, here) == usual
    (here / "variable").touch()
    environment = {"HEARTBEAT_ENV_FILE": "variable"}
    assert find_environment(None, environment, here) == here / "variable"
    (here / "named").touch()
    assert find_environment("named", environment, here) == here / "named"
    assert find_environment("", {"HEARTBEAT_ENV_FILE": ""}, here) == usual


def test_a_tilde_is_home_and_dots_are_resolved(here: Path) -> None:
    (here / "environment").touch()
    assert find_environment("~/environment", {"HOME": str(here)}, Path("/")) == here / "environment"
    (here / "below").mkdir()
    assert find_environment("below/../environment", {}, here) == here / "environment"


@pytest.mark.parametrize(
    ("explicit", "environment", "origin"),
    [("no", {}, "--env-file"), (None, {"HEARTBEAT_ENV_FILE": "no"}, "HEARTBEAT_ENV_FILE")],
)
def test_a_named_file_that_is_missing_is_not_replaced_by_another(
    explicit: str | None, environment: dict[str, str], origin: str, here: Path
) -> None:
    usual = here / "config" / "heartbeat" / "environment"
    usual.parent.mkdir(parents=True)
    usual.touch()
    with pytest.raises(UsageError) as caught:
        find_environment(explicit, environment, here)
    assert str(caught.value) == f"there is no environment file {here / 'no'} ({origin})"
