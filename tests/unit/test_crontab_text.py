"""Our block in somebody's crontab: found, replaced and taken out, and not one byte beside it touched."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heartbeat.errors import UsageError
from heartbeat.schedule.crontab import (
    LONGEST_COMMAND,
    Job,
    block_text,
    command_text,
    find_blocks,
    is_below_assignment,
    is_fitting,
    portions,
    quoted,
    with_block,
    without_blocks,
)
from heartbeat.schedule.note import Note, id_of, read_note

ROSTER = Path("/etc/heartbeat/agents.yaml")
ID = id_of(ROSTER)
NOTE = Note(str(ROSTER), "due", (), watchdog=True)
JOB = Job("beats", "* * * * *", ("/usr/bin/env", "PATH=/bin", "/opt/heartbeat", "tick"), Path("/var/log/beats.log"))
BLOCK = block_text(ID, NOTE, [JOB])
OTHER = block_text("0badcafe", Note("/other/agents.yaml", "each", ("coo",)), [JOB])

FOREIGN = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            [
                b"",
                b"SHELL=/bin/bash",
                b"5 4 * * * run%in\\%put",
                b"# \xff\xfe",
                b"# >>> mine >>>",
                b"\xef\xbb\xbf# x",
                b"a\r",
            ]
        )
    ).map(b"\n".join),
    st.lists(st.sampled_from([b"x", b"\t", b'MAILTO=""'])).map(b"\r\n".join),
).filter(lambda table: b"\0" not in table and b"heartbeat" not in table)


@given(FOREIGN)
@example(b"")
@example(b"no newline at the end")
@example(b"# a\r\n* * * * * x\r\n")
@example(b"\n\n")
def test_whatever_stands_in_the_table_is_the_same_after_install_and_remove(table: bytes) -> None:
    installed = with_block(table, BLOCK, find_blocks(table))
    (block,) = find_blocks(installed)
    assert (block.id, block.text, block.note) == (ID, BLOCK, NOTE)
    assert without_blocks(installed, [block]) == table


@given(FOREIGN, FOREIGN)
def test_changing_the_block_changes_nothing_around_it(before: bytes, after: bytes) -> None:
    before = before + b"\n" if before else before
    quiet = b"SHELL" not in before
    table = before + BLOCK.encode() + after
    (block,) = find_blocks(table)
    changed = with_block(table, OTHER, [block])
    expected = before + OTHER.encode() + after if quiet else OTHER.encode() + before + after
    assert changed == expected
    assert without_blocks(table, [block]) == before + after


@pytest.mark.parametrize("setting", [b"SHELL=/bin/csh", b"CRON_TZ=Asia/Tokyo", b" TZ = UTC"])
def test_a_block_below_a_setting_that_would_count_for_it_moves_to_the_top(setting: bytes) -> None:
    table = setting + b"\n" + BLOCK.encode() + b"1 2 3 4 5 x\n"
    assert with_block(table, BLOCK, find_blocks(table)) == BLOCK.encode() + setting + b"\n1 2 3 4 5 x\n"


def test_two_rosters_have_a_block_each() -> None:
    table = with_block(with_block(b"# mine\n", BLOCK, ()), OTHER, ())
    mine, other = sorted(find_blocks(table), key=lambda block: block.id == "0badcafe")
    assert without_blocks(table, [mine]) == OTHER.encode() + b"# mine\n"
    assert without_blocks(table, [other]) == BLOCK.encode() + b"# mine\n"
    assert without_blocks(table, [mine, other]) == b"# mine\n"


def test_a_block_whose_lines_an_editor_has_ended_otherwise_is_still_found() -> None:
    table = b"# mine\r\n" + BLOCK.replace("\n", "\r\n").encode()
    (block,) = find_blocks(table)
    assert block.note == NOTE
    assert with_block(table, BLOCK, [block]) == b"# mine\r\n" + BLOCK.encode()


BEGIN, END = (line.encode() for line in (BLOCK.splitlines()[0], BLOCK.splitlines()[-1]))


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([b"# a", BEGIN, b"x"], "the block that begins in line 2 does not end"),
        ([b"# a", b"x", END], "line 3 ends a block that does not begin"),
        ([BEGIN, b"x", BEGIN, END], "the block that begins in line 1 does not end before line 3"),
        ([BEGIN, END, b"x", BEGIN, END], "lines 1 and 4 begin the same block"),
        ([BEGIN, END.replace(ID.encode(), b"0badcafe")], "line 2 ends a block that does not begin"),
        ([b"x", BEGIN[:-4], END], "line 2 is nearly one of heartbeat's markers"),
        ([b"", b"  #>>> heartbeat " + ID.encode() + b" >>>"], "line 2 is nearly one of heartbeat's markers"),
    ],
)
def test_damaged_markers_are_refused_with_their_lines(lines: list[bytes], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        find_blocks(b"\n".join((*lines, b"")))
    assert "crontab -e" in caught.value.advice


def test_a_nul_byte_is_refused_with_its_line() -> None:
    with pytest.raises(UsageError, match="line 2 of the crontab holds a NUL byte"):
        find_blocks(b"# a\n# \0\n")


def test_the_block_says_what_it_is() -> None:
    assert BLOCK.splitlines() == [
        f"# >>> heartbeat {ID} >>>",
        '# heartbeat schedule of "/etc/heartbeat/agents.yaml"; style: due; agents: everybody, also later; '
        "with watchdog",
        "# Written by `heartbeat cron install`, which replaces it as a whole; `heartbeat cron remove` takes it off.",
        "# beats",
        "* * * * * [ -d /var/log ] || mkdir -m700 /var/log; "
        "true >>/var/log/beats.log && exec >>/var/log/beats.log 2>&1; /usr/bin/env PATH=/bin /opt/heartbeat tick",
        f"# <<< heartbeat {ID} <<<",
    ]


def test_a_long_path_leaves_no_room_for_its_directory_and_the_beat_goes_on_all_the_same() -> None:
    log = Path("/data") / ("d" * 200) / "log" / "beats.log"
    argv = ["/opt/heartbeat", *["x" * 20] * 15]
    assert not is_fitting(argv, Path("/data") / ("d" * 600) / "beats.log")
    assert is_fitting(argv, log)
    text = command_text(argv, log)
    assert "mkdir" not in text
    assert text.startswith(f"true >>{log} && exec >>{log} 2>&1; /opt/heartbeat")


@example("/a", "due", ["everybody"], False)
@given(
    st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1),
    st.sampled_from(["", "due", "each", "daemon"]),
    st.lists(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True), unique=True),
    st.booleans(),
)
def test_a_note_says_the_same_when_it_is_read(roster: str, style: str, agents: list[str], watchdog: bool) -> None:
    note = Note(roster, style, tuple(agents) if style else (), watchdog)
    assert read_note(str(note)) == note
    assert read_note(f"{note}\r") == note


@pytest.mark.parametrize(
    "line", ["", "# heartbeat schedule", '# heartbeat schedule of "x"; style: often; agents: coo', "#"]
)
def test_other_lines_are_no_notes(line: str) -> None:
    assert read_note(line) is None


def as_vixie(command: str) -> str:
    """What cron hands to the shell (do_command.c of Vixie's cron): `%` ends it, a backslash before it goes."""
    out, index = [], 0
    while index < len(command):
        if command[index] == "\\" and command[index + 1 : index + 2] == "%":
            index += 1
        elif command[index] == "%":
            break
        out.append(command[index])
        index += 1
    return "".join(out)


def as_old_vixie(command: str) -> str:
    """The same, where two backslashes are one as well."""
    out, escaped = [], False
    for character in command:
        if escaped and character in "%\\":
            out[-1] = character
            escaped = False
            continue
        if not escaped and character == "%":
            break
        escaped = character == "\\"
        out.append(character)
    return "".join(out)


def as_busybox(command: str) -> str:
    """Nothing is special."""
    return command


WORD = st.text(
    st.one_of(st.sampled_from("%\\'\"$`!# \t;&|<>(){}[]*?~=^-"), st.characters(blacklist_categories=["Cs", "Cc"])),
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORD, min_size=1, max_size=8))
@example(["/opt/100%/it's/a \\\\ b\\%c/\\", "%", "\\%", "%%", "\\", "'\\'", ""])
def test_a_command_comes_out_of_cron_and_sh_as_it_went_in(words: list[str]) -> None:
    argv = ("printf", "%s\\0", *words)
    command = " ".join(map(quoted, argv))
    for cron in (as_vixie, as_old_vixie, as_busybox):
        done = subprocess.run(["/bin/sh", "-c", cron(command)], capture_output=True, check=True)
        assert done.stdout.decode().split("\0")[:-1] == words, cron.__name__


def test_the_log_is_appended_to_wherever_it_is(tmp_path: Path) -> None:
    log = tmp_path / "100% it's" / "beats.log"
    log.parent.mkdir()
    for _ in range(2):
        command = as_vixie(command_text(("printf", "%s\\n", "a b"), log))
        subprocess.run(["/bin/sh", "-c", command], check=True)
    assert log.read_text() == "a b\na b\n"


@pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not here")
def test_busyboxs_shell_reads_it_alike() -> None:
    argv = ("printf", "%s\\n", "it's 100% \\\\ $HOME")
    done = subprocess.run(
        ["busybox", "sh", "-c", " ".join(map(quoted, argv))], capture_output=True, text=True, check=True
    )
    assert done.stdout == "it's 100% \\\\ $HOME\n"


def test_a_line_is_as_long_as_debians_cron_takes_and_no_longer() -> None:
    def job(length: int) -> Job:
        rest = len(command_text(("x" * LONGEST_COMMAND,), Path("/l"))) - LONGEST_COMMAND
        return Job("beats of coo", "* * * * *", ("x" * (length - rest),), Path("/l"))

    assert f" {command_text(job(LONGEST_COMMAND).argv, Path('/l'))}\n" in block_text(ID, NOTE, [job(LONGEST_COMMAND)])
    with pytest.raises(UsageError, match=r"the line for beats of coo is 999 bytes long, and cron takes 998") as caught:
        block_text(ID, NOTE, [job(LONGEST_COMMAND + 1)])
    assert "--target systemd" in caught.value.advice


def test_bytes_count_and_not_characters() -> None:
    with pytest.raises(UsageError, match="bytes long"):
        block_text(ID, NOTE, [Job("beats", "* * * * *", ("工" * 400,), Path("/l"))])


def test_a_logs_directory_that_is_gone_comes_back_but_not_the_one_above_it(tmp_path: Path) -> None:
    log = tmp_path / "st ate" / "log" / "beats.log"
    command = as_vixie(command_text(("echo", "beat"), log))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, list(tmp_path.iterdir())) == ("beat\n", [])
    log.parent.parent.mkdir()
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr, log.read_text()) == ("", "", "beat\n")
    assert log.parent.stat().st_mode & 0o777 == 0o700


@given(st.lists(st.from_regex(r"[a-z]{1,12}", fullmatch=True), unique=True, max_size=40), st.integers(1, 60))
def test_names_in_portions_are_the_names_and_every_portion_but_a_lone_one_fits(names: list[str], room: int) -> None:
    def fits(portion: Sequence[str]) -> bool:
        return len(" ".join(portion)) <= room

    found = list(portions(names, fits))
    assert [name for portion in found for name in portion] == names
    assert all(fits(portion) or len(portion) == 1 for portion in found)
    assert all(not fits((*before, after[0])) for before, after in pairwise(found))


def test_a_block_knows_whether_something_above_counts_for_it() -> None:
    for above, counts in (
        (b"# SHELL=/bin/fish\nMAILTO=me\n", False),
        (b"SHELL=/bin/fish\n", True),
        (b"TZ=Asia/Tokyo\n", True),
    ):
        table = above + BLOCK.encode() + b"CRON_TZ=UTC\n"
        (block,) = find_blocks(table)
        assert is_below_assignment(table, block) == counts


def test_a_log_that_cannot_be_opened_does_not_keep_the_command_from_starting(tmp_path: Path) -> None:
    command = as_vixie(command_text(("touch", str(tmp_path / "ran")), tmp_path / "gone" / "beats.log"))
    assert subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert (tmp_path / "ran").exists()
