"""What leaves the machine holds no secret (rule R4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.watch.masking import masked, secrets_of, tail


def test_what_the_roster_names_and_what_is_called_like_a_secret_is_hidden() -> None:
    environment = {
        "BOT": "https://bot.example/abc",
        "GATEWAY_TOKEN": "gateway-token-1",
        "API_KEY": "key-123456",
        "MONKEY": "see no evil",
        "PATH": "/usr/bin",
        "SHORT_TOKEN": "ok",
    }
    settings = ({"workboard": {"token_env": "UNSET"}}, {"ops": [{"url_env": "BOT"}]}, {"path": "PATH"})
    assert set(secrets_of(settings, environment)) == {"https://bot.example/abc", "gateway-token-1", "key-123456"}


def test_the_longest_goes_first_so_that_no_part_of_it_is_left() -> None:
    secrets = secrets_of({}, {"A_TOKEN": "abcdef", "B_TOKEN": "abcdefghij"})
    assert masked("abcdefghij abcdef", secrets) == "[hidden] [hidden]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [hidden]"),
        ("using bearer abcdefgh here", "using bearer [hidden] here"),
        ("token=abc123&x=1", "token=[hidden]&x=1"),
        ('{"api_key": "sk-12345"}', '{"api_key": "[hidden]"}'),
        ("password: hunter2", "password: [hidden]"),
        ("MY_SECRET = 'hunter2'", "MY_SECRET = '[hidden]'"),
        ("https://me:hunter2@host/path", "https://me:[hidden]@host/path"),
        ("the token was refused", "the token was refused"),
        ("https://host:8080/path", "https://host:8080/path"),
        ("3 tokens used", "3 tokens used"),
    ],
)
def test_what_is_introduced_as_a_secret_is_hidden(text: str, shown: str) -> None:
    assert masked(text, ()) == shown


def test_B8_control_characters_go_and_lines_and_tabs_stay() -> None:
    assert masked("\x1b[1;31ma\x1b[0m\tb\x00\x07\r\nc\x1b]0;title\x07d\ud800", ()) == "a\tb\ncd�"


def test_the_end_of_a_long_text_is_whole_lines() -> None:
    assert tail("one\ntwo\nthree", 100) == "one\ntwo\nthree"
    assert tail("one\ntwo\nthree", 9) == "three"
    assert tail("abcdef", 3) == "def"
    assert tail("心跳", 4) == "跳"


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_it_is_never_longer_than_asked_for_and_always_an_end(text: str, size: int) -> None:
    found = tail(text, size)
    assert len(found.encode("utf-8", "replace")) <= max(size, 0)
    assert text.encode("utf-8", "replace").decode().endswith(found) or found == text
