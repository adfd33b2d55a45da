"""Child processes that misbehave (rule S4). Each child is a real program."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from heartbeat.systems.base import Deadline, FailureKind, TransportError
from heartbeat.systems.process import find_executable, run

ENVIRONMENT = {"PATH": os.environ["PATH"], "PATIENCE": "30"}


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", code]


def fails(argv: list[str], seconds: float = 20.0, **options: object) -> TransportError:
    with pytest.raises(TransportError) as caught:
        run(argv, deadline=Deadline.after(seconds), environment=ENVIRONMENT, **options)  # type: ignore[arg-type]
    return caught.value


def ended(pid: int) -> bool:
    """Whether a process is gone, or dead and waiting for somebody else to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_ended(pid: int) -> bool:
    limit = Deadline.after(10)
    while not ended(pid) and limit.left():
        os.sched_yield()
    return ended(pid)


def test_output_exit_code_and_the_end_of_the_complaints_are_returned() -> None:
    code = "import sys; print('{}'); sys.stderr.write('x' * 90_000 + 'the end'); sys.exit(3)"
    done = run(python(code), deadline=Deadline.after(20), environment=ENVIRONMENT)
    assert (done.code, done.stdout) == (3, b"{}\n")
    assert len(done.stderr) == 65_536
    assert done.stderr.endswith("the end")
    assert done.argv == tuple(python(code))


def test_S4_the_child_is_told_to_speak_utf8_and_gets_only_the_environment_that_was_given() -> None:
    code = "import os; print(os.environ.get('LC_ALL'), os.environ.get('PATIENCE'), os.environ.get('HOME'))"
    environment = {**ENVIRONMENT, "LC_ALL": "zh_CN.GBK"}
    done = run(python(code), deadline=Deadline.after(20), environment=environment)
    assert done.stdout == b"C.UTF-8 30 None\n"


def test_input_and_working_directory_reach_the_child(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), sys.stdin.read())"
    done = run(python(code), deadline=Deadline.after(20), environment=ENVIRONMENT, cwd=tmp_path, stdin="问".encode())
    assert done.stdout.decode() == f"{tmp_path.resolve()} 问\n"
    without = run(
        python("import sys; print(repr(sys.stdin.read()))"), deadline=Deadline.after(20), environment=ENVIRONMENT
    )
    assert without.stdout == b"''\n"


def test_nothing_is_ever_read_by_a_shell() -> None:
    hostile = "$(touch pwned); `id` | cat & --x '\" \n"
    code = "import sys; print(sys.argv[1:])"
    done = run([*python(code), hostile], deadline=Deadline.after(20), environment=ENVIRONMENT)
    assert done.stdout.decode().strip() == repr([hostile])


def test_S4_a_child_that_hangs_and_ignores_sigterm_is_killed_with_its_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-I', '-c', 'import signal, time;"
        " signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}'); time.sleep(60)"
    )
    began = time.monotonic()
    error = fails(python(code), seconds=2.0)
    assert error.kind is FailureKind.TIMEOUT
    assert "signal" in str(error), "the message names the command"
    assert time.monotonic() - began < 10
    assert all(wait_until_ended(int(pid)) for pid in pids.read_text().split())


def test_S4_a_child_that_ignores_sigterm_is_gone_at_the_deadline(tmp_path: Path) -> None:
    # Who waits for us leaves half a second later and may end: nobody would be there to kill the child then.
    pid = tmp_path / "pid"
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    late = []
    while not late or (late[-1] >= 0.4 and len(late) < 4):  # a busy machine is late now and then, a mistake always
        deadline = Deadline.after(2.0)
        with pytest.raises(TransportError) as caught:
            run(python(code), deadline=deadline, environment=ENVIRONMENT)
        late.append(time.monotonic() - deadline.at)
        assert caught.value.kind is FailureKind.TIMEOUT
        assert ended(int(pid.read_text()))
    assert late[-1] < 0.4, late


def test_S4_a_polite_child_may_clean_up_when_its_time_is_over(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = (
        "import pathlib, signal, sys, time;"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(mark)!r}).write_text('tidy'), sys.exit(0)));"
        "time.sleep(60)"
    )
    assert fails(python(code), seconds=2.0).kind is FailureKind.TIMEOUT
    assert mark.read_text() == "tidy"


def test_S4_a_grandchild_in_its_own_session_that_holds_the_output_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-I', '-c', 'import time; time.sleep(60)'], start_new_session=True);"
        f"open({str(pid)!r}, 'w').write(str(child.pid)); print('[]')"
    )
    began = time.monotonic()
    done = run(python(code), deadline=Deadline.after(30), environment=ENVIRONMENT)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert done.stdout == b"[]\n"
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_S4_a_flood_is_stopped_at_the_cap(stream: str) -> None:
    code = f"import sys\nwhile True: sys.{stream}.write('x' * 65536)"
    error = fails(python(code), max_bytes=1_000_000)
    assert error.kind is FailureKind.TOO_LARGE
    assert "1,000,000" in str(error)


def test_S4_a_short_flood_that_ends_by_itself_is_too_large_all_the_same() -> None:
    assert fails(python("print('x' * 2000)"), max_bytes=1000).kind is FailureKind.TOO_LARGE


def test_a_child_killed_by_a_signal_says_which() -> None:
    done = run(python("import os; os.kill(os.getpid(), 9)"), deadline=Deadline.after(20), environment=ENVIRONMENT)
    assert done.code == -9


def test_a_missing_program_and_a_bare_path_say_what_is_missing(tmp_path: Path) -> None:
    error = fails(["openclaw-that-is-not-there", "list"])
    assert error.kind is FailureKind.NOT_INSTALLED
    assert "openclaw-that-is-not-there" in str(error)
    assert error.advice
    with pytest.raises(TransportError) as caught:
        run(["python3"], deadline=Deadline.after(20), environment={"PATH": str(tmp_path)})
    assert caught.value.kind is FailureKind.NOT_INSTALLED
    assert str(tmp_path) in str(caught.value)


def test_a_program_that_is_none_and_a_directory_that_is_missing_are_told_apart(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    assert fails([str(broken)]).kind is FailureKind.NOT_INSTALLED
    lost = tmp_path / "lost"
    lost.write_text("#!/no/such/interpreter\n")
    lost.chmod(0o755)
    assert fails([str(lost)]).kind is FailureKind.NOT_INSTALLED
    assert fails(python("pass"), cwd=tmp_path / "nowhere").kind is FailureKind.NOT_FOUND


def test_an_argument_that_no_program_can_take_is_refused() -> None:
    assert fails([*python("pass"), "a\0b"]).kind is FailureKind.REFUSED


def test_without_time_left_nothing_is_started(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    error = fails(python(f"open({str(mark)!r}, 'w')"), seconds=0.0)
    assert error.kind is FailureKind.TIMEOUT
    assert not mark.exists()


def test_an_interrupt_leaves_no_child_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    def interrupted(stream: object) -> int:
        if pid.exists() and pid.read_text():
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr("heartbeat.systems.process._size", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(python(code), deadline=Deadline.after(20), environment=ENVIRONMENT)
    assert wait_until_ended(int(pid.read_text()))


def test_a_program_is_looked_up_on_the_path_that_was_given(tmp_path: Path) -> None:
    program = tmp_path / "openclaw"
    program.write_text("#!/bin/sh\n")
    assert find_executable("openclaw", {"PATH": str(tmp_path)}) is None, "not executable"
    program.chmod(0o755)
    assert find_executable("openclaw", {"PATH": str(tmp_path)}) == str(program)
    assert find_executable(str(program), {"PATH": "/nowhere"}) == str(program)
    assert find_executable("openclaw", {"PATH": ""}) is None
