"""JSON as tools print it (rule S4): what is tolerated around it, and that a piece never passes for the whole."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.json_text import load_json, safe_excerpt

CARD: dict[str, Any] = {
    "id": "5b40becb-fa49-481f-95c3-56a6e47509da",
    "title": '写接口文档 “v2” \U0001f4c5 \\ {"cards": []}',
    "status": "running",
    "labels": ["heartbeat", "p1"],
    "position": 1000,
    "createdAt": 1795226214382,
    "metadata": {"comments": [{"id": "c1", "body": "line\nline ]}", "createdAt": 1795226214802}], "claim": None},
}
DOCUMENTS: dict[str, Any] = {
    "cards": {"cards": [CARD, {**CARD, "id": "2"}], "boards": [{"id": "default", "total": 2}], "statuses": ["todo"]},
    "nothing": {"cards": []},
    "list": [CARD, CARD],
    "numbers first": [1, None, {"cards": [CARD]}],
    "error": {"ok": False, "error": {"type": "cli_error", "message": "Card not found: x"}},
}
FORMS: dict[str, dict[str, Any]] = {
    "as node prints it": {"indent": 2, "ensure_ascii": False},
    "compact": {"separators": (",", ":"), "ensure_ascii": False},
    "escaped": {"indent": 1, "ensure_ascii": True},
}
BANNERS = ["", "\ufeff", "Gateway call: workboard.cards.list\n", "\x1b[33m[openclaw] config is old\x1b[0m\n\n"]


def refuses(text: bytes | str) -> TransportError:
    with pytest.raises(TransportError) as caught:
        load_json(text, what="openclaw")
    assert caught.value.kind is FailureKind.BAD_OUTPUT
    assert "openclaw" in str(caught.value)
    return caught.value


@pytest.mark.parametrize("banner", BANNERS)
@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("name", list(DOCUMENTS))
def test_S4_a_document_cut_at_any_byte_is_refused_and_never_a_smaller_one(name: str, form: str, banner: str) -> None:
    whole = (banner + json.dumps(DOCUMENTS[name], **FORMS[form])).encode()
    assert load_json(whole, what="openclaw")[0] == DOCUMENTS[name]
    for length in range(len(whole)):
        refuses(whole[:length])


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("name", ["cards", "list", "error"])
def test_S4_a_document_that_lost_its_beginning_is_refused(name: str, form: str) -> None:
    whole = json.dumps(DOCUMENTS[name], **FORMS[form]).encode()
    for start in range(1, len(whole)):
        refuses(whole[start:])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    ).filter(lambda value: isinstance(value, list | dict)),
    st.sampled_from(list(FORMS)),
    st.data(),
)
def test_S4_any_document_is_read_back_and_no_cut_of_it_is_read(value: Any, form: str, data: st.DataObject) -> None:
    text = json.dumps(value, **FORMS[form])
    assert load_json(text, what="openclaw") == (value, "")
    length = data.draw(st.integers(0, len(text) - 1))
    refuses(text[:length])


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_bad_output(data: bytes) -> None:
    with suppress(TransportError):
        load_json(data, what="openclaw")
        return
    assert refuses(data).args[0].isprintable()


@pytest.mark.parametrize(
    ("before", "after", "banner"),
    [
        ("", "\n", ""),
        ("\ufeff", "\r\n", ""),
        ("Gateway call: workboard.cards.list\n", "\n", "Gateway call: workboard.cards.list"),
        (
            "[openclaw] plugins loaded\n[2026-11-21 10:00] warning\n",
            "",
            "[openclaw] plugins loaded [2026-11-21 10:00] warning",
        ),
        ("\x1b[2K\rloading…\r", "", "loading…"),
        ("\x1b]0;title\x07\x1b[1mready\x1b[0m\n", "\x1b[0m\n", "ready"),
        ("", "\n[openclaw] done in 3 s\n2026-11-21 bye\n", "[openclaw] done in 3 s 2026-11-21 bye"),
        ("[12] worker\n", "\n", "[12] worker"),
    ],
)
def test_S4_a_banner_before_and_a_log_line_after_are_tolerated_and_reported(
    before: str, after: str, banner: str
) -> None:
    document = json.dumps(DOCUMENTS["cards"], indent=2)
    assert load_json(f"{before}{document}{after}", what="openclaw") == (DOCUMENTS["cards"], banner)


def test_S4_colours_inside_the_document_are_no_hindrance() -> None:
    assert load_json('\x1b[1m{\x1b[0m"cards": \x1b[32m[]\x1b[0m}', what="openclaw")[0] == {"cards": []}


@pytest.mark.parametrize("text", [b"", b"\n", b"\xef\xbb\xbf", b" \t\r\n", "\x1b[0m\n", b"\0\0"])
def test_nothing_is_said_to_be_nothing(text: bytes | str) -> None:
    assert str(refuses(text)) == "openclaw printed nothing"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!doctype html><html><body>502 Bad Gateway", "a web page"),
        ("Error: cannot find module", "something else"),
        ('{"cards": [NaN]}', "NaN"),
        ('{"cards": [-Infinity]}', "-Infinity"),
        ('{"cards": [1e999]}', "too large"),
        ('{"cards": [' + "9" * 5000 + "]}", "JSON with"),
        ("[" * 100_000, "deeply"),
        ('{"a":' * 100_000, "deeply"),
        ('{"a":' + "[" * 800 + '"\\ud800"' + "]" * 800 + "}", "deeply"),
        ('{"cards": []} {"cards": []}', "after the end"),
        ('{"cards": []}\n{"cards": []}', "after the end"),
        ('{"level": "info"}\n[\n  1,\n  2\n]', "after the end"),
        ('{"cards": ["a\x00b"]}', "damaged"),
        ("{'cards': []}", "something else"),
    ],
)
def test_garbage_is_bad_output_and_the_message_says_what_it_was(text: str, told: str) -> None:
    assert told in str(refuses(text))


def test_B8_the_excerpt_in_the_message_is_short_and_free_of_control_characters() -> None:
    message = str(refuses("oops \x07\x1b]8;;x\u202e\u200b " + "x" * 5000))
    assert len(message) < 300
    assert message.isprintable()
    assert safe_excerpt("a\x00b\n\u2028c") == "a b c"


def test_of_a_repeated_key_the_last_one_counts() -> None:
    assert load_json('{"cards": 1, "cards": []}', what="openclaw")[0] == {"cards": []}


def test_a_byte_that_is_no_utf8_and_a_lone_surrogate_become_replacement_characters() -> None:
    assert load_json(b'{"title": "caf\xe9"}', what="openclaw")[0] == {"title": "caf\ufffd"}
    value = load_json(r'{"\udead": ["\ud800x", "\ud83d\ude00"]}', what="openclaw")[0]
    assert value == {"\ufffd": ["\ufffdx", "\U0001f600"]}


@pytest.mark.parametrize(
    ("text", "value"), [("null\n", None), ("12", 12), ('"x"', "x"), ("true", True), ("\ufeff[]", [])]
)
def test_a_document_may_be_a_single_value(text: str, value: object) -> None:
    assert load_json(text, what="multica") == (value, "")
