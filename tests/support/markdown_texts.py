"""Hypothesis strategies for Markdown files as people and accidents make them."""

from __future__ import annotations

from hypothesis import strategies as st

LINES = (
    "- [ ] plain",
    "- [x] done 🔺",
    "* [X] star",
    "+ [-] plus",
    "1. [ ] one",
    "7) [/] seven",
    "  - [ ] nested",
    "    - [!] deeper",
    "      continued",
    "- - [ ] two at once",
    "-\t[ ] tab",
    "\t- [ ] tab before",
    "- [ ]",
    "- [ ] ",
    "-",
    "- bullet",
    "-[ ] near",
    "- [] near",
    "- ［ ］ full width",
    "- [x](https://example.test) link",
    "- [a]: /reference",
    "[a]: /reference 'title",
    "> - [ ] quoted",
    ">> deeper quote",
    "lazy line",
    "```",
    "~~~ text",
    "    - [ ] indented code",
    "<!--",
    "-->",
    "<!-- one line -->",
    "<div>",
    "</div>",
    "<script>",
    "# Heading",
    "## 已完成",
    "Underlined",
    "===",
    "---",
    "***",
    "| a | [ ] |",
    "| - | --- |",
    "- [ ] 中文任务 ⛔ a1",
    "- [ ] `code",
    "- [\x00] nul",
    "- [🚧] emoji",
    "- [ ] <!-- open",
    "",
    "",
    "   ",
    "\u3000- [ ] wide space",
    "- [ ] a\x0bb\x0cc\x85d\u2028e",
)

ENDINGS = (b"\n", b"\r\n", b"\r")

_line = st.one_of(
    st.sampled_from(LINES).map(str.encode),
    st.text(alphabet="-*+>[] x1.)#`<!=|\t\\:中\x00", max_size=12).map(str.encode),
    st.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")),
)


@st.composite
def files(draw: st.DrawFn, line: st.SearchStrategy[bytes] = _line) -> bytes:
    """The bytes of a file: any lines, any line endings, with or without a byte order mark and a final newline."""
    lines = draw(st.lists(st.tuples(line, st.sampled_from(ENDINGS)), max_size=14))
    content = b"".join(text + ending for text, ending in lines)
    if lines and draw(st.booleans()):
        content = content[: -len(lines[-1][1])]
    return (b"\xef\xbb\xbf" if draw(st.booleans()) else b"") + content
