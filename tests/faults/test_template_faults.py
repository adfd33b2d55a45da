"""Templates that loop, hoard, include, pry or say nothing: each ends with a clear error, and soon (rules R2, B7)."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from heartbeat.errors import HeartbeatError, UsageError
from heartbeat.render import Limits, render_agent
from heartbeat.render.confined import LimitError, run_confined
from tests.support.rosters import make_coo, make_roster

QUICK = Limits(seconds=0.4)
SMALL = Limits(memory=64 * 1024 * 1024)


def render(tmp_path: Path, source: str | bytes, limits: Limits | None = None) -> str:
    path = tmp_path / "custom.j2"
    path.write_bytes(source.encode() if isinstance(source, str) else source)
    return render_agent(make_roster(), make_coo(), template=path, limits=limits)


def refusal(tmp_path: Path, source: str | bytes, limits: Limits | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        render(tmp_path, source, limits)
    assert str(caught.value).startswith(f"{tmp_path / 'custom.j2'}:")
    return str(caught.value).removeprefix(f"{tmp_path / 'custom.j2'}:").strip() + (
        f" | {caught.value.advice}" if caught.value.advice else ""
    )


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("一\n{{ agnet.name }}\n", "2: 'agnet' is undefined; did you mean 'agent'?"),
        ("{{ agent.nmae }}", "1: 'nmae' is undefined; did you mean 'name'?"),
        ("{{ qqqqqq }}", "1: 'qqqqqq' is undefined; known are agent, command, every,"),
        ("{{ agent.qqqqqq }}", "1: 'qqqqqq' is undefined; known are id, name, class_id,"),
        ("{{ agent.name.qqqqqq }}", "1: 'qqqqqq' is undefined"),
        ("一\n二\n{% if nope %}x{% endif %}", "3: 'nope' is undefined"),
        ("{% for x in nope %}x{% endfor %}", "1: 'nope' is undefined"),
        ("{{ agent.checks[99] }}", "1: '99' is undefined"),
    ],
)
def test_R2_an_unknown_name_is_named_with_its_line_and_the_known_ones(tmp_path: Path, source: str, what: str) -> None:
    found = refusal(tmp_path, source)
    assert found.startswith(what)
    assert "the values are: agent, command, every" in found


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("一\n{% if x %}\n", 2),
        ("{{ agent.name }\n", 1),
        ("一\n二\n{% endfor %}", 3),
        ("{{ agent.name | nofilter }}", 1),
        ("{% frobnicate %}", 1),
        ("一\n{{ 'unterminated }}", 2),
        ("{{ agent.checks | random }}", 1),
    ],
)
def test_a_syntax_error_is_told_with_its_line(tmp_path: Path, source: str, line: int) -> None:
    assert refusal(tmp_path, source).startswith(f"{line}: ")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("一\n{{ 1 // 0 }}", "2: ZeroDivisionError"),
        ("{{ 'x' + 1 }}", "1: TypeError"),
        ("{{ every() }}", "1: TypeError"),
        ("{{ 'x' * 10 ** 20 }}", "1: OverflowError"),
        ("{{ lipsum() }}", "1: 'lipsum' is undefined"),
    ],
)
def test_an_error_while_rendering_is_told_with_its_line(tmp_path: Path, source: str, what: str) -> None:
    assert refusal(tmp_path, source).startswith(what)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("一\n{% include '/etc/passwd' %}", "2: include is not allowed"),
        ("{% include 'HEARTBEAT.md.j2' ignore missing %}做", "1: include is not allowed"),
        ("{% if false %}{% include agent.name %}{% endif %}做", "1: include is not allowed"),
        ("{% import '../x' as x %}做", "1: import is not allowed"),
        ("{% from 'x' import y %}做", "1: import is not allowed"),
        ("{% extends '/etc/passwd' %}", "1: extends is not allowed"),
    ],
)
def test_R2_a_template_reaches_no_other_file(tmp_path: Path, source: str, what: str) -> None:
    assert refusal(tmp_path, source).startswith(what)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ agent['__class__'] }}{{ ''['__class__']['__base__'] }}",
        "{{ ''|attr('__class__') }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ '{0.__class__.__mro__}'.format('') }}",
        "{{ '{a.__class__}'.format_map({'a': 1}) }}",
        "{{ (agent.checks | map(attribute='__class__') | list)[0].mro() }}",
        "{{ agent.checks.append('x') }}",
        "{{ agent.update({'id': 'x'}) }}",
        "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
        "{{ range.__class__ }}",
        "{{ range(10 ** 9) | length }}",
        "{% macro m() %}x{% endmacro %}{{ m.__globals__ }}",
    ],
)
def test_R2_the_sandbox_holds(tmp_path: Path, source: str) -> None:
    assert refusal(tmp_path, f"做\n{source}\n").startswith("2: ")


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set x = 3 ** (10 ** 8) %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% for a in range(99999) %}{% set x = range(99999) | list %}{% endfor %}",
    ],
)
def test_a_template_that_does_not_end_is_ended(tmp_path: Path, source: str) -> None:
    found = refusal(tmp_path, source, QUICK)
    assert found.startswith("the template did not finish within 0.4 s | look for a loop")


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10 ** 10 }}",
        "{{ 'x' | center(10 ** 10) }}",
        "{{ '%10000000000d' | format(1) }}",
        "{% set n = namespace(x='xx') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{{ range(99999) | list * 10000 }}",
    ],
)
def test_a_template_that_hoards_memory_is_ended(tmp_path: Path, source: str) -> None:
    assert refusal(tmp_path, source, SMALL).startswith("the template needs more than 64 MiB of memory")


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{{ 'x' * 2000 }}{% endfor %}",
        "{{ 'x' * 1048577 }}",
        "{{ '查' * 349526 }}",
    ],
)
def test_an_output_of_more_than_1_MiB_is_refused(tmp_path: Path, source: str) -> None:
    assert refusal(tmp_path, source).startswith("renders more than 1048576 bytes")


def test_an_output_of_just_1_MiB_is_not(tmp_path: Path) -> None:
    assert len(render(tmp_path, "{{ 'x' * 1048576 }}")) > 1048576


def test_a_macro_that_calls_itself_for_ever_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").startswith(
        "a macro calls itself without end"
    )


@pytest.mark.parametrize("source", ["", "# 标题\n", "{# 注释 #}", "{% if false %}做{% endif %}", "<!-- 做 -->"])
def test_B7_a_template_that_renders_to_nothing_is_refused(tmp_path: Path, source: str) -> None:
    assert refusal(tmp_path, source).startswith("what it renders has nothing to act on")


def test_a_template_that_is_no_text_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "一\n二\n".encode() + b"\xff\xfe").startswith("3: not UTF-8")
    assert refusal(tmp_path, b"x" * (1024 * 1024 + 1)).startswith("larger than 1048576 bytes")


def test_a_template_that_is_not_there_or_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, what in (("missing", "no such template"), ("", "not a regular file"), ("fifo", "not a regular file")):
        with pytest.raises(UsageError, match=what):
            render_agent(make_roster(), make_coo(), template=tmp_path / name)


def test_a_lone_surrogate_in_the_output_becomes_a_question_mark(tmp_path: Path) -> None:
    assert "\n做?\n" in render(tmp_path, r"做{{ '\ud800' }}")


def children() -> set[str]:
    """Numbers of this process's children, also of those that ended and were not waited for."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            found |= {process.name} if int(parent) == os.getpid() else set()
    return found


def test_no_child_is_left_behind(tmp_path: Path) -> None:
    before = children()
    refusal(tmp_path, "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", QUICK)
    render(tmp_path, "做")
    assert children() <= before


def open_descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    render(tmp_path, "做")
    before = open_descriptors()
    render(tmp_path, "做")
    refusal(tmp_path, "{{ nope }}")
    assert open_descriptors() == before


def test_an_interrupt_while_waiting_ends_the_child_too() -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    def interrupt_the_parent_and_stay() -> None:
        os.write(writing, str(os.getpid()).encode())
        os.kill(os.getppid(), signal.SIGUSR1)
        signal.pause()

    reading, writing = os.pipe()
    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupted):
            run_confined(interrupt_the_parent_and_stay, Limits(seconds=30))
        child = int(os.read(reading, 20))
    finally:
        signal.signal(signal.SIGUSR1, previous)
        os.close(reading)
        os.close(writing)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_child_that_dies_says_how() -> None:
    with pytest.raises(LimitError, match="signal 9"):
        run_confined(lambda: os.kill(os.getpid(), signal.SIGKILL), Limits())


def test_an_error_that_escapes_in_the_child_is_a_bug_with_its_words() -> None:
    def fail() -> None:
        raise ValueError("the words")

    with pytest.raises(HeartbeatError, match="ValueError: the words") as caught:
        run_confined(fail, Limits())
    assert caught.value.exit_code == 70


def test_an_answer_beyond_the_limit_is_refused() -> None:
    with pytest.raises(LimitError, match="gave more than 1000 bytes"):
        run_confined(lambda: "x" * 2000, Limits(answer=1000))
