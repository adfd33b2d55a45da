"""What the supervisor hears, and that nobody vouches for a loop that hangs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from heartbeat.daemon.supervisor import Supervisor
from heartbeat.daemon.witness import GRACE, INTERVAL, Witness


@pytest.fixture
def ears(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(ears: socket.socket) -> list[str]:
    said = []
    while True:
        try:
            said.append(ears.recv(65536).decode())
        except BlockingIOError:
            return said


Hire = Callable[..., Supervisor]


@pytest.fixture
def hire(ears: socket.socket) -> Iterator[Hire]:
    """Makes supervisors with these variables, whose complaints fail the test."""
    with ExitStack() as stack:

        def hired(**variables: str) -> Supervisor:
            told = Supervisor.of({"NOTIFY_SOCKET": ears.getsockname(), **variables}, pytest.fail)
            return stack.enter_context(closing(told))

        yield hired


def test_every_message_is_one_datagram_of_lines(ears: socket.socket, hire: Hire) -> None:
    told = hire()
    told.ready()
    told.reloading(12.345678)
    told.status("14 agents; next coo\nat 12:10")
    told.status("14 agents; next coo at 12:10")
    told.status("")
    told.alive()
    told.needs(30)
    told.stopping()
    assert heard(ears) == [
        "READY=1",
        "RELOADING=1\nMONOTONIC_USEC=12345678",
        "STATUS=14 agents; next coo at 12:10",
        "STATUS=",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=30000000",
        "STOPPING=1",
    ]
    told.close()
    told.ready()
    assert heard(ears) == []


def test_without_a_supervisor_nothing_is_said_and_nothing_fails() -> None:
    told = Supervisor.of({}, pytest.fail)
    assert not told.listens
    assert told.watchdog is None
    told.ready()
    told.close()


def test_a_supervisor_that_is_gone_is_complained_of_once(tmp_path: Path) -> None:
    complaints: list[str] = []
    told = Supervisor.of({"NOTIFY_SOCKET": str(tmp_path / "gone")}, complaints.append)
    told.ready()
    told.alive()
    told.close()
    assert complaints == ["systemd cannot be told how things are (NOTIFY_SOCKET): No such file or directory"]


@pytest.mark.parametrize(
    ("variables", "watchdog"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_only_where_it_names_us(variables: dict[str, str], watchdog: float | None) -> None:
    assert Supervisor.of(variables, pytest.fail).watchdog == watchdog


class Scene:
    """A witness whose looks are the test's doing."""

    def __init__(self, told: Supervisor) -> None:
        self.now = 1000.0
        self.order = ""
        self.said: list[str] = []
        self.complaints: list[str] = []
        self.witness = Witness(told, lambda: self.now, lambda: self.order, self.said.append, self.complaints.append)

    def look(self, after: float) -> None:
        self.now += after
        self.witness.look()


def test_it_vouches_for_a_long_beat_until_its_deadline_and_not_for_one_that_hangs(
    ears: socket.socket, hire: Hire
) -> None:
    scene = Scene(hire(WATCHDOG_USEC="20000000"))
    assert scene.witness.interval == INTERVAL
    scene.witness.promise(300, "the beat of coo")
    scene.look(0)
    scene.look(300)
    scene.look(GRACE - 1)
    assert heard(ears) == ["WATCHDOG=1"] * 3
    scene.look(1)
    scene.look(100)
    assert heard(ears) == []
    assert scene.complaints == [
        "the beat of coo should have ended 1m ago and goes on; the supervisor is not told any more that all is well"
    ]
    scene.witness.promise(30, "a wait")
    scene.look(1)
    assert heard(ears) == ["WATCHDOG=1"]
    assert scene.complaints[1:] == ["it goes on after all"]


def test_without_a_watchdog_a_hanging_beat_is_told_all_the_same(ears: socket.socket, hire: Hire) -> None:
    scene = Scene(hire())
    scene.witness.promise(0, "a reload")
    scene.look(GRACE + 60)
    assert scene.complaints == ["a reload should have ended 2m ago and goes on"]
    assert heard(ears) == []


def test_an_end_that_takes_long_asks_for_time_and_says_what_it_waits_for(ears: socket.socket, hire: Hire) -> None:
    scene = Scene(hire(WATCHDOG_USEC="1000000"))
    assert scene.witness.interval == 0.5
    scene.witness.promise(300, "the beat of coo")
    scene.order = "SIGTERM"
    scene.look(1)
    scene.look(1)
    assert heard(ears) == ["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=2500000"] * 2
    assert scene.said == ["SIGTERM: the beat of coo ends first; once more, and it is broken off"]
    scene.look(400)
    assert heard(ears) == []


def test_its_thread_ends_with_the_block(ears: socket.socket, hire: Hire) -> None:
    scene = Scene(hire(WATCHDOG_USEC="2000"))
    ears.settimeout(30)
    with scene.witness:
        assert ears.recv(100) == b"WATCHDOG=1"
    ears.setblocking(False)
    heard(ears)
    assert not scene.witness._thread.is_alive()
    assert heard(ears) == []
