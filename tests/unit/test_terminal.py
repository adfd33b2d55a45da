"""Rule B8 on a terminal: nothing foreign moves the cursor, hides text, or turns its direction."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.cli.terminal import clipped, columns, plain

ESC = "\x1b"
HOSTILE = st.text(
    st.sampled_from(
        list("\x1b\x9b\x9d\x07\x00\r\n\t\x7f[]()\\;0123mJHP^_X#%?ab登🔥\u200b\u200d\u202e\u2066\ufeff\ud800")
    )
    | st.characters(),
    max_size=60,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{ESC}[31mred{ESC}[0m", "red"),
        (f"{ESC}[2J{ESC}[Hgone?", "gone?"),
        (f"{ESC}[38;5;196;1mbold{ESC}[m", "bold"),
        (f"{ESC}[?1049hscreen{ESC}[?1049l", "screen"),
        (f"{ESC}]0;a window title\x07title", "title"),
        (f"{ESC}]8;;https://example.org{ESC}\\link{ESC}]8;;{ESC}\\", "link"),
        (f"{ESC}]52;c;Y3VybA=={ESC}\\clipboard", "clipboard"),
        (f"{ESC}Pq#0;2;0;0;0{ESC}\\sixel", "sixel"),
        (f"{ESC}_application{ESC}\\a", "a"),
        (f"{ESC}^privacy{ESC}\\b", "b"),
        (f"{ESC}cc", "c"),
        (f"{ESC}(0lines{ESC}(B", "lines"),
        (f"a{ESC}7b{ESC}8c", "abc"),
        ("\x9b31mc1", "31mc1"),
        ("\x9d0;t\x9cc1", "0;tc1"),
        ("a\x00b\x07c\x08d\x7fe", "abcde"),
        ("a\r\nb\tc\vd\fe\u2028f\u2029g\x85h", "a  b c d e f g h"),
        ("over\rwritten", "over written"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
        ("\u2066a\u2069\u200e\u200fb\u061c", "ab"),
        ("ze\u200bro\ufeff wi\u2060dth\u00ad", "zero width"),
        ("\U000e0041tag", "tag"),
        ("\ud800half a pair\udfff", "half a pair"),
        ("\ue000private\U0010ffff", "private"),
        ("  登录页\u3000报错  ", "登录页\u3000报错"),
        ("👩\u200d💻 works", "👩\u200d💻 works"),
        ("क्\u200dष", "क्\u200dष"),
        ("e\u0301", "e\u0301"),
        ("", ""),
        (ESC, ""),
        (f"{ESC}[", ""),
        (f"{ESC}{ESC}[31m[31mtwice", "[31mtwice"),
        ("--help $(rm -rf /) `x` <b> {{ x }}", "--help $(rm -rf /) `x` <b> {{ x }}"),
    ],
)  # fmt: skip
def test_B8_what_a_terminal_would_obey_is_taken_out_and_the_rest_stays(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(HOSTILE)
def test_B8_whatever_comes_is_one_line_without_a_control_or_direction_character(text: str) -> None:
    shown = plain(text)
    categories = {unicodedata.category(character) for character in shown if character not in "\u200c\u200d"}
    assert categories.isdisjoint({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
    assert shown.splitlines() in ([], [shown])
    shown.encode("utf-8")


@given(HOSTILE)
def test_B8_what_is_plain_stays_as_it_is(text: str) -> None:
    once = plain(text)
    assert plain(once) == once or once != once.strip()


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=60))
def test_B8_ordinary_text_in_any_script_is_not_touched(text: str) -> None:
    assert plain(text) == text


@given(HOSTILE, st.integers(1, 60))
def test_clipped_text_fits_its_columns_and_says_that_it_was_cut(text: str, width: int) -> None:
    shown, whole = clipped(text, width), plain(text)
    assert columns(shown) <= width
    if columns(whole) <= width:
        assert shown == whole
    else:
        assert shown.endswith("…")
        assert whole.startswith(shown[:-1])


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("登录页报错", 10, "登录页报错"),
        ("登录页报错", 9, "登录页报…"),
        ("登录页报错", 8, "登录页…"),
        ("登录页报错", 1, "…"),
        ("e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"),
        (f"{ESC}[31mabcdef{ESC}[0m", 6, "abcdef"),
        ("", 1, ""),
    ],
)
def test_clipping_counts_columns_and_not_characters(text: str, width: int, shown: str) -> None:
    assert clipped(text, width) == shown


@pytest.mark.parametrize("text", ["abc", "登录页", "e\u0301", ""])
def test_columns_are_what_a_terminal_needs(text: str) -> None:
    assert columns(text) == {"abc": 3, "登录页": 6, "e\u0301": 1, "": 0}[text]


@pytest.mark.parametrize(
    "piece",
    ["a", "登", "\x00", "\u202e", "\x9b", "[31m", *(ESC + rest for rest in ("", "[", "[0", "[31m", "]", "P", "("))],
)
def test_B8_a_title_of_a_megabyte_is_read_in_one_pass(piece: str) -> None:
    """Every pattern here would take hours if it were matched from each of its beginnings to the end."""
    text = piece * (1_000_000 // len(piece))
    shown = plain(text)
    assert len(shown) <= len(text)
    assert re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", shown) is None
    assert columns(clipped(text, 80)) <= 80
