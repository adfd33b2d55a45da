"""Adding agents to a roster's text: every byte that stands there stays, or nothing is added."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartbeat.roster.document import read_document
from heartbeat.setup.insertion import OddFormError, indentation, inserted
from tests.unit.test_rendered_facts import SAMPLE

NEW = ("", "  newbie:", "    class: business  # by its name")
PLAIN = """version: 1
# the team
agents:
  coo: {class: high_frequency, notify: [self]}
  dev:
    class: developer
    # every: 10m

  # qa: {class: developer}

# what is read
sources:
  todo: {}
"""


def added(text: str) -> str:
    """The text with the new agent; what is not the new lines is byte for byte what it was."""
    new = inserted(text, NEW, ["newbie"])
    newline = "\r\n" if "\r\n" in text else "\n"
    block = "".join(f"{line}{newline}" for line in NEW)
    before, found, after = new.partition(block)
    assert found == block
    assert before + after in (text, text + newline)
    assert list(read_document(new.encode()).data["agents"]) == [*read_document(text.encode()).data["agents"], "newbie"]
    return new


def test_a_new_agent_stands_after_the_last_one_and_its_comments_and_before_the_next_section() -> None:
    new = added(PLAIN)
    assert new.index("# qa:") < new.index("newbie:") < new.index("# what is read")


def test_the_sample_roster_takes_a_new_agent_at_its_end() -> None:
    text = SAMPLE.read_text("utf-8")
    assert added(text) == text + "\n".join(NEW) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "agents:\n  coo: {class: business}",
        "agents:\r\n  coo:\r\n    class: business\r\n\r\nversion: 1\r\n",
        "\ufeffagents:\n  coo:\n    class: business\n",
        "---\nagents:\n  coo:\n    class: business\n...\n",
        "# 甲\n'agents':\n  coo:\n    class: business\n    name: |-\n      甲\n      # 乙\n\nversion: 1\n",
        'agents:\n  coo:\n    class: business\n    name: "a\n      b"\n#end\n',
        "agents:   # everybody\n\n  # first\n  coo:\n    class: business\n\n\n\nversion: 1\n",
    ],
)
def test_line_endings_marks_and_every_form_of_text_stay(text: str) -> None:
    added(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("agents: {coo: {class: business}}\n", "no block"),
        ("agents:\n  {coo: {class: business}}\n", "no block"),
        ("{agents: {coo: {class: business}}}\n", "one pair of braces"),
        ("agents:\n  ? coo\n  : {class: business}\n", "beginning of a line"),
        ("agents:\n  coo:\r    class: business\n", "carriage return"),
        ("agents:\n      coo:\n        class: business\n", "could not be read"),
        ("agents:\n coo:\n  class: business\n", "something else"),
        ("agents:\n  newbie: {class: business}\n", "could not be read"),
    ],
)
def test_in_any_other_form_nothing_is_added_and_the_reason_is_told(text: str, why: str) -> None:
    with pytest.raises(OddFormError, match=why):
        inserted(text, NEW, ["newbie"])


def test_the_indentation_is_the_files_own() -> None:
    assert indentation("agents:\n      coo:\n        class: business\n") == "      "
    assert indentation(PLAIN) == "  "


def test_comments_alone_may_be_added_and_nothing_that_says_more() -> None:
    comment = ("", "  # codex: {class: business}")
    assert inserted(PLAIN, comment, []).count("# codex") == 1
    with pytest.raises(OddFormError, match="something else"):
        inserted(PLAIN, ("  sneaky: {class: business}",), [])
    with pytest.raises(OddFormError):
        inserted(PLAIN, ("timezone: UTC", *NEW), ["newbie"])


SPACES = st.sampled_from(["", "\n", "# x\n", "  # y\n", "    # z\n", "\n\n"])


@given(st.lists(SPACES, min_size=5, max_size=5), st.booleans(), st.booleans())
def test_whatever_stands_between_the_lines_stays_where_it_is(gaps: list[str], below: bool, windows: bool) -> None:
    head, first, inner, tail, end = gaps
    text = f"{head}agents:\n{first}  coo:\n{inner}    class: business\n{tail}"
    text += f"version: 1\n{end}" if below else end
    added(text.replace("\n", "\r\n") if windows else text)
