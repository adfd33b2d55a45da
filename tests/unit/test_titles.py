"""Rule M1b: which titles are the same, and which say too little."""

from __future__ import annotations

import pytest

from heartbeat.titles import identifiers, nearly_equal, normalised, tells_enough


@pytest.mark.parametrize(
    ("title", "normal"),
    [
        ("BIZ-31 登录页报错", "登录页报错"),
        ("【BIZ-31】登录页 报错！", "登录页报错"),
        ("🔥 Fix the Login-Page", "fix the login page"),
        ("ＦＩＸ the login page", "fix the login page"),
        ("fix the login page <!-- heartbeat: idle -->", "fix the login page"),
        ("fix the login page c2fe13c7", "fix the login page"),
        ("fix c2fe13c7-4ff5-400d-976d-c69a6940dcf7 the login page", "fix the login page"),
        ("Weekly report 45", "weekly report 45"),
        ("修复 login 页面", "修复login页面"),
        ("", ""),
        ("🔥🔥", ""),
    ],
)
def test_M1_a_title_is_compared_by_its_words_alone(title: str, normal: str) -> None:
    assert normalised(title) == normal


def test_M1_a_word_of_eight_letters_a_to_f_is_no_card_id() -> None:
    assert normalised("a defaced facade") == "a defaced facade"


@pytest.mark.parametrize(
    ("normal", "enough"),
    [
        ("登录页报", True),
        ("登录页", False),
        ("deploy it", True),
        ("abcdefg", False),
        ("abcdefgh", True),
        ("12345678", False),
    ],
)
def test_M1_eight_letters_or_four_cjk_characters_are_enough(normal: str, enough: bool) -> None:
    assert tells_enough(normal) is enough


def test_every_identifier_in_a_title_is_found() -> None:
    assert identifiers("biz-31: after BIZ-7, see x1-2") == {"BIZ-31", "BIZ-7", "X1-2"}
    assert identifiers("2026-11-21 covid19-") == frozenset()


def test_M2_titles_that_differ_by_a_letter_are_nearly_equal_and_numbered_ones_are_not() -> None:
    titles = ["review the login flow", "review the login flows", "weekly report 45", "weekly report 46"]
    assert list(nearly_equal(titles)) == [("review the login flow", "review the login flows")]
