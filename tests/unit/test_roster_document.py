"""YAML with positions: what a scalar means, where things stand, what is refused."""

from __future__ import annotations

import pytest
import yaml

from heartbeat.roster import document as reading
from heartbeat.roster.document import Document, Mark, quoted, read_document


@pytest.fixture(params=["libyaml", "pure Python"], autouse=True)
def every_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = yaml.CSafeLoader if request.param == "libyaml" else yaml.SafeLoader
    monkeypatch.setattr(reading, "_LOADER", loader)


def read(text: str) -> Document:
    return read_document(text.encode())


def told(text: str) -> list[tuple[int, int, str]]:
    return [(problem.mark.line, problem.mark.column, problem.message) for problem in read(text).problems]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("off", "off"),
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("2026-12-01", "2026-12-01"),
        ("007", "007"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        (".5", ".5"),
        (".inf", ".inf"),
        ("9" * 5000, "9" * 5000),
        ("=", "="),
        ("12", 12),
        ("-5", -5),
        ("0", 0),
        ("1.5", 1.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", "~"),
        ("", None),
        ("'true'", "true"),
        ('"12"', "12"),
        ("46bdd4a6-5c64-475a-92ef-36a763602fa1", "46bdd4a6-5c64-475a-92ef-36a763602fa1"),
        ("[x, 1]", ["x", 1]),
        ("{on: off}", {"on": "off"}),
    ],
)
def test_a_plain_scalar_means_what_it_looks_like(written: str, meant: object) -> None:
    document = read(f"key: {written}\n")
    assert document.problems == []
    assert document.data == {"key": meant}
    assert type(document.data["key"]) is type(meant)


def test_every_key_and_value_knows_its_line_and_column() -> None:
    document = read("名: 值\nagents:\n  coo:\n    notify: [self, 运维, ops]\n")
    assert document.of_key(("名",)) == Mark(1, 1)
    assert document.of_value(("名",)) == Mark(1, 4)
    assert document.of_key(("agents", "coo")) == Mark(3, 3)
    assert document.of_value(("agents", "coo", "notify", 2)) == Mark(4, 24)


def test_what_is_not_there_stands_where_its_nearest_container_does() -> None:
    document = read("agents:\n  coo:\n    checks: [a]\n")
    assert document.of_key(("agents", "coo", "class")) == Mark(2, 3)
    assert document.of_value(("agents", "coo", "checks", 7)) == Mark(3, 5)
    assert document.of_value(("nothing", "of", "this")) == Mark(1, 1)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing() -> None:
    document = read_document(b"\xef\xbb\xbfa: 1\r\nb: x\r\n")
    assert document.data == {"a": 1, "b": "x"}
    assert document.of_value(("b",)) == Mark(2, 4)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n"])
def test_nothing_is_no_data_and_no_problem(text: str) -> None:
    document = read(text)
    assert document.data is None
    assert document.problems == []


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a: 1\n\tb: 2\n", 2, 1, "a tab indents this line; YAML wants spaces"),
        ("a: @x\n", 1, 4, "a value must not begin with `@`; put it in quotes"),
        ("a: {b: ${X}}\n", 1, 9, 'inside { } and [ ] a reference needs quotes: write "${NAME}"'),
        ("a: [1, 2\nb: 3\n", 2, 2, "the bracket opened on line 1, column 4, is not closed, or a comma is missing"),
        ("a: b: c\n", 1, 5, "a `: ` stands where no key can be; put the value in quotes, or mend the indentation"),
        ("a:1\nb: 2\n", 2, 2, "the key on the line above has no space after its `:`; add one"),
        ("a:\n  - b\n c: 1\n", 3, 2, "this line does not fit the indentation of the lines above"),
        (
            "a: 1\nb\nc: 2\n",
            2,
            1,
            "this line has no `: ` after its key, or does not fit the indentation of its neighbours",
        ),
    ],
)
def test_what_yaml_cannot_read_is_told_with_the_mend(text: str, line: int, column: int, message: str) -> None:
    assert told(text) == [(line, column, message)]
    assert read(text).data is None


def test_an_open_quote_is_told_with_the_place_where_it_began() -> None:
    ((line, _, message),) = told('a: 1\nb: "x\nc: 2\n')
    assert line == 4
    assert message.startswith("the text in quotes that begins on line 2, column 4, cannot be read (")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x 1\n", [(1, 4, "anchors are refused; remove `&x` and write the value out where it is needed")]),
        (
            "a: &x 1\nb: *x\n",
            [
                (1, 4, "anchors are refused; remove `&x` and write the value out where it is needed"),
                (2, 4, "aliases are refused; write the value of `*x` out here"),
            ],
        ),
        (
            "a: !!python/object/apply:os.system [id]\n",
            [(1, 4, "tags are refused; remove `!!python/object/apply:os.system`")],
        ),
        ("a: ! 1\n", [(1, 4, "tags are refused; remove `!`")]),
        ("!mine {a: 1}\n", [(1, 1, "tags are refused; remove `!mine`")]),
        ("a: 1\nb: 2\na: 3\n", [(3, 1, "`a` is written twice, first on line 1; keep one")]),
        ("a: {b: 1, b: 2}\n", [(1, 11, "`b` is written twice, first on line 1; keep one")]),
        ("1: x\n", [(1, 1, 'a key must be text; write "1" in quotes')]),
        ("true: x\n", [(1, 1, 'a key must be text; write "true" in quotes')]),
        ("? [a, b]\n: c\n", [(1, 3, "a key must be text")]),
        ("? {a: b}\n: c\n", [(1, 3, "a key must be text")]),
        ("a: 1\n---\nb: 2\n", [(2, 1, "a second document begins here; a roster is one document, remove the `---`")]),
        ("a: 'x\u2028y'\n", [(1, 6, "the invisible character U+2028 has no place in a roster; remove it")]),
        (
            "a: \x07\x07\x1b\n",
            [(1, 4, "the invisible character U+0007 has no place in a roster; remove it (and 2 more like it)")],
        ),
    ],
)
def test_what_a_roster_does_not_need_is_refused(text: str, expected: list[tuple[int, int, str]]) -> None:
    assert told(text) == expected


def test_R1_every_refusal_is_told_and_not_only_the_first() -> None:
    text = "a: &x 1\nb: *x\nc: !t 2\nd: 1\nd: 2\n3: e\n"
    assert [line for line, _, _ in told(text)] == [1, 2, 3, 5, 6]


def test_the_first_of_two_equal_keys_is_kept_with_its_position() -> None:
    document = read("a: {b: 1}\na: {b: 2}\n")
    assert document.data == {"a": {"b": 1}}
    assert document.of_value(("a", "b")) == Mark(1, 8)


def test_nothing_is_known_of_a_refused_value() -> None:
    document = read("a:\n  b: &x [1]\n  c: *x\n  d: !t {e: 1}\n")
    assert not document.is_refused(("a", "b"))
    assert document.is_refused(("a", "c"))
    assert document.is_refused(("a", "d", "e"))


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        (b"a: 1\n\xe4\xb8\xadb\xff: 2\n", 2, 3, "byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"\xef\xbb\xbfa\xff: 2\n", 1, 2, "byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a: 1\n".encode("utf-16"), 1, 1, "UTF-16 text; save the file as UTF-8"),
        ("名: 值\n".encode("gbk"), 1, 1, "byte 0xc3 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_text_that_is_not_utf8_is_told_where_it_ends_to_be(
    content: bytes, line: int, column: int, message: str
) -> None:
    (problem,) = read_document(content).problems
    assert (problem.mark, problem.message) == (Mark(line, column), message)


def test_a_word_of_the_roster_is_shown_without_control_characters_and_cut() -> None:
    assert quoted("a\x1b[31m\nb") == "`a\\x1b[31m\\nb`"
    assert quoted("陆怀瑾") == "`陆怀瑾`"
    assert quoted("x" * 80) == "`" + "x" * 59 + "…`"
