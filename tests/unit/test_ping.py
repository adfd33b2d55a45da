"""Dead-man's pings, against a server on loopback that keeps what comes."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import typer

from heartbeat.errors import StateError
from heartbeat.watch import ping
from heartbeat.watch.ping import BEATS, MAX_BODY, WATCHDOG, Pinger, pinger, pinger_for
from tests.support.fake_channels import FakeReceiver, hangs, says
from tests.support.rosters import make_roster

CHECK = "/5f6c1e0a-1111-2222-3333-secretcheck0"


def pings(receiver: FakeReceiver, path: str = CHECK, **environment: str) -> tuple[Pinger, list[str]]:
    complaints: list[str] = []
    settings = {"ping_url_env": "HC_URL"}
    found = pinger(settings, WATCHDOG, {"HC_URL": receiver.origin + path, **environment}, complaints.append)
    return found, complaints


def paths(receiver: FakeReceiver) -> list[str]:
    return [urlsplit(request.path).path for request in receiver.requests]


def bodies(receiver: FakeReceiver) -> list[str]:
    return [request.body.decode() for request in receiver.requests]


def test_a_run_that_ends_well_is_a_start_and_the_address_itself_under_one_run_id() -> None:
    with FakeReceiver(says(200, b"OK")) as receiver:
        found, complaints = pings(receiver)
        with found.run() as run:
            run.text = "3 agents beat"
        assert paths(receiver) == [f"{CHECK}/start", CHECK]
        assert bodies(receiver) == ["", "3 agents beat"]
        ids = {parse_qs(urlsplit(request.path).query)["rid"][0] for request in receiver.requests}
        assert ids == {found.run_id}
        assert str(uuid.UUID(found.run_id)) == found.run_id
        assert receiver.requests[0].headers["content-type"] == "text/plain; charset=utf-8"
        assert complaints == []


def test_a_block_that_raises_is_a_failure_and_the_error_goes_on() -> None:
    with FakeReceiver(says(200, b"OK")) as receiver:
        found, _ = pings(receiver)

        def beat() -> None:
            with found.run() as run:
                run.text = "begun"
                raise StateError("disk full", advice="make room")

        with pytest.raises(StateError, match="disk full"):
            beat()
        assert paths(receiver) == [f"{CHECK}/start", f"{CHECK}/fail"]
        assert bodies(receiver)[1] == "begun\nStateError: disk full\nmake room"


@pytest.mark.parametrize(
    ("end", "path"),
    [
        (typer.Exit(0), CHECK),
        (SystemExit(0), CHECK),
        (SystemExit(None), CHECK),
        (typer.Exit(1), f"{CHECK}/fail"),
        (SystemExit(143), f"{CHECK}/fail"),
        (KeyboardInterrupt(), f"{CHECK}/fail"),
    ],
    ids=repr,
)
def test_a_command_that_ends_with_exit_code_0_ended_well(end: BaseException, path: str) -> None:
    with FakeReceiver(says(200, b"OK")) as receiver:
        found, _ = pings(receiver)
        with pytest.raises(type(end)), found.run(start=False):
            raise end
        assert paths(receiver) == [path]


def test_a_run_that_says_so_failed() -> None:
    with FakeReceiver(says(200, b"OK")) as receiver:
        found, _ = pings(receiver)
        with found.run(start=False) as run:
            run.failed, run.text = True, "coo is down"
        assert (paths(receiver), bodies(receiver)) == ([f"{CHECK}/fail"], ["coo is down"])


def test_a_run_that_did_nothing_is_silent_and_one_that_failed_is_not() -> None:
    with FakeReceiver(says(200, b"OK")) as receiver:
        found, _ = pings(receiver)
        with found.run(start=False) as run:
            run.silent = True
        assert receiver.requests == []
        with found.run(start=False) as run:
            run.silent = run.failed = True
        assert paths(receiver) == [f"{CHECK}/fail"]


def test_the_query_of_an_address_is_kept_and_the_event_stands_before_it() -> None:
    with FakeReceiver(says(200, b"OK")) as receiver:
        found, _ = pings(receiver, "/ping-key/team-beats/?create=1")
        found.start()
        found.fail("no")
        assert [request.path for request in receiver.requests] == [
            f"/ping-key/team-beats/start?create=1&rid={found.run_id}",
            f"/ping-key/team-beats/fail?create=1&rid={found.run_id}",
        ]


def test_R4_a_body_holds_no_secret_and_no_control_character_and_of_a_long_one_the_end() -> None:
    with FakeReceiver(says(200, b"OK")) as receiver:
        found, _ = pings(receiver, BOT_TOKEN="t0ken-of-the-bot")
        secret = Pinger("x", found.complain, found.url, ("t0ken-of-the-bot",))
        secret.fail(f"\x1b[31mred\x1b[0m t0ken-of-the-bot {found.url}\x00 \ud83d Authorization: Bearer abc.def\nlast")
        body = bodies(receiver)[0]
        assert body == "red [hidden] [hidden] � Authorization: Bearer [hidden]\nlast"
        secret.fail("\n".join(f"第 {number} 行" for number in range(3000)))
        long = receiver.requests[1].body
        assert len(long) <= MAX_BODY
        assert long.decode().splitlines()[-1] == "第 2999 行"
        assert long.decode().splitlines()[0].startswith("第 ")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (404, "answered 404"),
        (500, "answered 500"),
        (302, "answered 302, a redirect, which is not followed"),
        (429, "answered 429"),
    ],
)
def test_a_ping_that_is_refused_is_complained_of_once_a_run_and_never_raised(status: int, told: str) -> None:
    with FakeReceiver(says(status, b"no", Location="https://elsewhere.example/x")) as receiver:
        found, complaints = pings(receiver)
        with found.run():
            pass
        (complaint,) = complaints
        assert complaint.startswith("dead-man's ping (watchdog.ping_url_env: HC_URL) not sent: http://127.0.0.1:")
        assert told in complaint
        assert "secretcheck" not in complaint
        assert len(receiver.requests) == 2


@pytest.mark.parametrize("answer", [b"OK (not found)", b"OK (rate limited)"])
def test_a_ping_that_was_accepted_and_not_counted_is_complained_of(answer: bytes) -> None:
    with FakeReceiver(says(200, answer)) as receiver:
        found, complaints = pings(receiver)
        found.succeed()
        assert len(complaints) == 1
        assert answer.decode() in complaints[0]


@pytest.mark.parametrize("answer", [b"", b"OK", b"<html>fine</html>", b'{"ok": true}', b"\xff\xfe"])
def test_whatever_else_a_success_answers_is_a_success(answer: bytes) -> None:
    with FakeReceiver(says(200, answer)) as receiver:
        found, complaints = pings(receiver)
        found.succeed()
        assert complaints == []


def test_a_server_that_hangs_costs_no_more_than_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "SECONDS", 0.2)
    with FakeReceiver(hangs) as receiver:
        found, complaints = pings(receiver)
        found.start()
        assert "did not answer in time" in complaints[0]


@pytest.fixture
def without_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A name server that does not answer until it is told to."""
    answers = threading.Event()

    def hangs(*about: object, **more: object) -> object:
        answers.wait(30)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    yield answers
    answers.set()


def test_a_name_server_that_hangs_costs_no_more_than_the_deadline(
    without_names: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ping, "SECONDS", 0.1)
    complaints: list[str] = []
    pinger({"ping_url": f"https://hc.example.org{CHECK}"}, WATCHDOG, {}, complaints.append).succeed()
    assert not without_names.is_set()
    (complaint,) = complaints
    # A machine that is slow enough has no time left to ask at all.
    assert complaint.startswith(
        "dead-man's ping (watchdog.ping_url) not sent: https://hc.example.org/… did not answer "
    )
    assert "names can be looked up from this machine" in complaint or "in time" in complaint


def test_what_is_pinged_around_does_not_wait_for_the_first_ping(without_names: threading.Event) -> None:
    complaints: list[str] = []
    found = pinger({"ping_url": f"https://hc.example.org{CHECK}"}, WATCHDOG, {}, complaints.append)
    with found.run():
        assert complaints == [], "nothing was waited for"
        without_names.set()
    assert "cannot be reached" in complaints[0]


def test_the_last_ping_is_sent_after_the_first_one_has_ended() -> None:
    first = threading.Event()

    def slow_start(handler: Any, request: Any) -> None:
        if urlsplit(request.path).path.endswith("/start"):
            first.wait(30)
        says(200, b"OK")(handler, request)

    with FakeReceiver(slow_start) as receiver:
        found, complaints = pings(receiver)
        threading.Timer(0.1, first.set).start()
        with found.run():
            pass
        assert paths(receiver) == [f"{CHECK}/start", CHECK]
        assert (first.is_set(), complaints) == (True, [])


def test_nobody_there_is_complained_of_without_the_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}{CHECK}"
    complaints: list[str] = []
    pinger({"ping_url": url}, WATCHDOG, {}, complaints.append).succeed()
    assert "cannot be reached" in complaints[0]
    assert "secretcheck" not in complaints[0]


@pytest.mark.parametrize("url", ["not an address", "ftp://host/x", "https://", "http://[::1", "https://a b/c"])
def test_what_is_no_address_is_complained_of_and_not_repeated(url: str) -> None:
    complaints: list[str] = []
    pinger({"ping_url_env": "HC_URL"}, WATCHDOG, {"HC_URL": url}, complaints.append).succeed()
    assert complaints == [
        "dead-man's ping (watchdog.ping_url_env: HC_URL) not sent: its address is no web address; it begins with "
        "https:// and has no blanks in it"
    ]


def test_a_variable_that_is_not_set_is_complained_of_and_nothing_is_sent() -> None:
    complaints: list[str] = []
    found = pinger({"beats_ping_url_env": "HC_BEATS"}, BEATS, {"HC_BEATS": " "}, complaints.append)
    with found.run(start=False) as run:
        run.silent = True
    assert (found.active, complaints) == (False, [])
    with found.run():
        pass
    assert complaints == [
        "dead-man's ping (watchdog.beats_ping_url_env: HC_BEATS) not sent: the variable is not set; set it where the "
        "scheduler runs"
    ]


def test_a_roster_without_a_check_pings_nobody(tmp_path: Path) -> None:
    complaints: list[str] = []
    for key in (WATCHDOG, BEATS):
        found = pinger_for(make_roster(), key, {}, complaints.append)
        with found.run():
            pass
        assert not found.active
    assert complaints == []


def test_R4_a_pinger_never_shows_its_address() -> None:
    found = Pinger("watchdog.ping_url", print, "https://hc.example/secretcheck", ("another-secret",))
    assert "secret" not in repr(found)


def test_the_secrets_of_the_roster_are_hidden_in_what_is_sent() -> None:
    roster = make_roster(
        channels={"bot": {"kind": "feishu", "url_env": "BOT"}},
        extra={"watchdog": {"ping_url_env": "HC_URL"}},
    )
    with FakeReceiver(says(200, b"OK")) as receiver:
        environment = {"HC_URL": receiver.origin + CHECK, "BOT": "https://bot.example/hook/abcdef"}
        pinger_for(roster, WATCHDOG, environment, print).fail("posted to https://bot.example/hook/abcdef")
        assert bodies(receiver) == ["posted to [hidden]"]
