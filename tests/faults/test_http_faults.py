"""JSON over HTTP when things go wrong: what is reported, what is asked again, and that the deadline always holds."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import pytest

from heartbeat.systems.base import Deadline, FailureKind
from heartbeat.systems.http import TRIES, HttpClient
from heartbeat.systems.http_error import HttpError
from heartbeat.systems.http_words import parse_retry_after, without_credentials
from tests.support.fake_multica_records import TOKEN, WORKSPACE_ID
from tests.support.fake_multica_server import FakeMultica, answers, drips, hangs, resets

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Workspace-ID": WORKSPACE_ID}
SLOW_MACHINE = 5.0
"""Seconds that any of these may take more than the deadline on a crowded machine."""

Respond = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def server() -> Iterator[FakeMultica]:
    with FakeMultica() as server:
        yield server


class Mocked:
    """A client whose server is a function; keeps the waits between tries instead of waiting."""

    def __init__(self, respond: Respond, *, seconds: float = 60.0, max_bytes: int = 1024 * 1024) -> None:
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

        def count(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return respond(request)

        self.client = HttpClient(
            "https://multica.test/base/",
            deadline=Deadline.after(seconds),
            headers=HEADERS,
            max_bytes=max_bytes,
            transport=httpx.MockTransport(count),
            pause=self.waits.append,
        )

    def get_error(self) -> HttpError:
        with self.client, pytest.raises(HttpError) as caught:
            self.client.get("/api/issues")
        return caught.value


def always(status: int, content: bytes | str = b"", **headers: str) -> Respond:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: httpx.Response(status, content=content, headers=named)


def client_of(server: FakeMultica, seconds: float) -> HttpClient:
    return HttpClient(server.url, deadline=Deadline.after(seconds), headers=HEADERS, pause=lambda wait: None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailureKind.REFUSED),
        (401, FailureKind.AUTH),
        (402, FailureKind.REFUSED),
        (403, FailureKind.AUTH),
        (404, FailureKind.NOT_FOUND),
        (405, FailureKind.REFUSED),
        (408, FailureKind.TIMEOUT),
        (409, FailureKind.REFUSED),
        (418, FailureKind.REFUSED),
        (429, FailureKind.RATE_LIMITED),
        (500, FailureKind.SERVER_ERROR),
        (502, FailureKind.SERVER_ERROR),
        (503, FailureKind.SERVER_ERROR),
        (504, FailureKind.SERVER_ERROR),
        (599, FailureKind.SERVER_ERROR),
    ],
)
def test_S1_every_status_has_its_kind(status: int, kind: FailureKind) -> None:
    error = Mocked(always(status, '{"error":"because"}')).get_error()
    assert error.kind is kind
    assert error.status == status
    assert f"GET https://multica.test/base/api/issues answered {status}: because" in str(error)


@pytest.mark.parametrize(
    "content", [b"<html>hi</html>", b"", b"[1, 2", b"ok", b'{"a":NaN}', b"[" * 100_000, b"\xff\xfe"]
)
def test_a_good_status_with_anything_but_json_is_bad_output(content: bytes) -> None:
    error = Mocked(always(200, content)).get_error()
    assert error.kind is FailureKind.BAD_OUTPUT
    assert error.status == 200


def test_json_with_a_byte_order_mark_and_a_wrong_content_type_is_read() -> None:
    mocked = Mocked(always(200, b'\xef\xbb\xbf{"a": "\xe7\x99\xbb"}', content_type="text/plain"))
    with mocked.client as client:
        answer = client.get("/x")
    assert answer.value == {"a": "登"}
    assert answer.headers["content-type"] == "text/plain"


def test_an_answer_without_content_has_no_value() -> None:
    with Mocked(always(204)).client as client:
        assert client.delete("/x").value is None


def test_what_a_server_says_is_quoted_on_one_line_without_control_characters_and_cut() -> None:
    body = '{"error":"line\\none\\u001b[31m red \\u202e ' + "x" * 5000 + '"}'
    message = str(Mocked(always(500, body)).get_error())
    assert "\n" not in message
    assert "\x1b" not in message
    assert "\u202e" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<html>Bad gateway</html>", "an HTML page"),
        (b"", "an empty body"),
        (b"404 page not found", "'404 page not found'"),
        (b'{"error":{"message":"nested"}}', "nested"),
        (b'{"code":7}', "a JSON object without an error text"),
    ],
)
def test_an_error_page_of_any_form_is_described(content: bytes, told: str) -> None:
    assert told in str(Mocked(always(500, content)).get_error())


@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize("frame", ["%s", '{"error":"bad header Bearer %s here"}', "<p>%s</p>", "x" * 100 + " %s"])
def test_R4_a_token_that_the_server_echoes_is_not_shown(status: int, frame: str) -> None:
    # As one that cannot be parsed, so that the body is quoted.
    content = frame % TOKEN if status != 200 else (frame % TOKEN) + "!"
    error = Mocked(always(status, content)).get_error()
    assert TOKEN[:12] not in str(error)
    assert TOKEN not in repr(error)


def test_R4_neither_the_client_nor_an_address_with_a_password_shows_a_secret() -> None:
    client = HttpClient("http://user:hunter2@127.0.0.1:9/x?key=hunter2", deadline=Deadline.after(1), headers=HEADERS)
    with client:
        assert "hunter2" not in repr(client)
        assert TOKEN not in repr(client)
    assert without_credentials("https://u:p@h/a?b#c") == "https://h/a"


@pytest.mark.parametrize("token", ["mul_abc\n", "mul_abc\r\nX-Evil: 1", "mul_登录", "", " "])
def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(HttpError) as caught:
        HttpClient("http://127.0.0.1:9", deadline=Deadline.after(1), headers={"Authorization": f"Bearer {token}"})
    assert caught.value.kind is FailureKind.AUTH
    assert "abc" not in str(caught.value)


def test_a_redirect_is_told_and_not_followed() -> None:
    mocked = Mocked(always(302, location="https://u:p@evil.test/login?next=secret"))
    error = mocked.get_error()
    assert len(mocked.requests) == 1
    assert error.kind is FailureKind.BAD_OUTPUT
    assert "https://evil.test/login;" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7.5 ", 7.5),
        ("0", 0.0),
        ("-30", 0.0),
        ("9" * 400, 7 * 86400.0),
        ("Sat, 21 Nov 2026 04:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 03:00:00 GMT", 0.0),
        ("Sat, 21 Nov 2099 03:00:00 GMT", 7 * 86400.0),
        ("soon", None),
        ("", None),
        ("inf", None),
        ("nan", None),
        ("1e9", None),
        ("٣", None),
        ("Sat, 99 Nov 2026 04:00:30 GMT", None),
    ],
)
def test_retry_after_makes_sense_in_every_form(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_read_is_tried_three_times_where_the_failure_may_pass(status: int) -> None:
    mocked = Mocked(always(status))
    error = mocked.get_error()
    assert len(mocked.requests) == TRIES == 3
    assert str(error).endswith("(try 3)")
    assert 0 < mocked.waits[0] < mocked.waits[1]


@pytest.mark.parametrize("status", [400, 401, 402, 404, 500])
def test_a_failure_that_does_not_pass_is_not_asked_again(status: int) -> None:
    mocked = Mocked(always(status))
    mocked.get_error()
    assert len(mocked.requests) == 1


def test_a_read_that_works_at_the_second_try_has_worked() -> None:
    pending = [httpx.Response(503), httpx.Response(200, json={"ok": True})]
    mocked = Mocked(lambda request: pending.pop(0))
    with mocked.client as client:
        assert client.get("/x").value == {"ok": True}


def test_retry_after_is_the_least_wait() -> None:
    mocked = Mocked(always(429, retry_after="20"))
    error = mocked.get_error()
    assert mocked.waits == [20.0, 20.0]
    assert error.retry_after == 20.0
    assert "it asks to wait 20s" in str(error)


@pytest.mark.parametrize("wait", ["3600", "9" * 50, "Sat, 21 Nov 2099 03:00:00 GMT"])
def test_a_retry_after_that_does_not_fit_into_the_deadline_ends_the_read_at_once(wait: str) -> None:
    mocked = Mocked(always(429, retry_after=wait), seconds=60)
    error = mocked.get_error()
    assert len(mocked.requests) == 1
    assert mocked.waits == []
    assert error.kind is FailureKind.RATE_LIMITED


def test_a_date_in_retry_after_is_read_by_the_clock_of_the_server_that_wrote_it() -> None:
    date, later = "Tue, 01 Jan 2019 00:00:00 GMT", "Tue, 01 Jan 2019 00:00:09 GMT"
    assert Mocked(always(429, date=date, retry_after=later)).get_error().retry_after == 9.0


@pytest.mark.parametrize("write", ["post", "put", "delete"])
def test_a_write_is_never_repeated(write: str) -> None:
    mocked = Mocked(always(503))
    with mocked.client, pytest.raises(HttpError):
        getattr(mocked.client, write)("/x")
    assert len(mocked.requests) == 1


def test_a_conflict_brings_its_code_and_its_body() -> None:
    body = '{"code":"revision_conflict","error":"resource changed since it was loaded","actual_revision":5}'
    error = Mocked(always(409, body)).get_error()
    assert error.code == "revision_conflict"
    assert error.body["actual_revision"] == 5


def test_an_answer_that_is_too_large_is_left_where_the_limit_is() -> None:
    error = Mocked(always(200, b"[" + b" " * 2_000_000), max_bytes=1024 * 1024).get_error()
    assert error.kind is FailureKind.TOO_LARGE
    assert "1 MiB" in str(error)


def test_the_limit_counts_what_a_compressed_answer_grows_to() -> None:
    bomb = gzip.compress(b"[" + b" " * 20_000_000)
    error = Mocked(always(200, bomb, content_encoding="gzip"), max_bytes=1024 * 1024).get_error()
    assert error.kind is FailureKind.TOO_LARGE


def test_a_body_that_cannot_be_decompressed_is_bad_output() -> None:
    error = Mocked(always(200, b"not gzip", content_encoding="gzip")).get_error()
    assert error.kind is FailureKind.BAD_OUTPUT


@pytest.mark.parametrize(
    ("failure", "kind", "tries"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), FailureKind.UNREACHABLE, 1),
        (httpx.ConnectError("[Errno -2] Name or service not known"), FailureKind.UNREACHABLE, 1),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]"), FailureKind.UNREACHABLE, 1),
        (httpx.ConnectTimeout("timed out"), FailureKind.TIMEOUT, 1),
        (httpx.ReadTimeout("timed out"), FailureKind.TIMEOUT, 1),
        (httpx.ReadError("[Errno 104] Connection reset by peer"), FailureKind.UNREACHABLE, 3),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), FailureKind.UNREACHABLE, 3),
        (httpx.LocalProtocolError(f"Illegal header value b'Bearer {TOKEN}'"), FailureKind.UNREACHABLE, 1),
        (httpx.UnsupportedProtocol("Request URL has an unsupported protocol"), FailureKind.UNREACHABLE, 1),
    ],
)
def test_a_connection_that_fails_has_its_kind(failure: Exception, kind: FailureKind, tries: int) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise failure

    mocked = Mocked(fail)
    error = mocked.get_error()
    assert error.kind is kind
    assert len(mocked.requests) == tries
    assert TOKEN not in str(error)


@pytest.mark.parametrize("address", ["", "multica.test", "ftp://multica.test", "http://", "http://[::1", "http://a b"])
def test_an_address_that_is_none_is_unreachable(address: str) -> None:
    with (
        pytest.raises(HttpError) as caught,
        HttpClient(address, deadline=Deadline.after(1), headers=HEADERS) as client,
    ):
        client.get("/api/issues")
    assert caught.value.kind is FailureKind.UNREACHABLE


def test_nobody_listening_is_unreachable(server: FakeMultica) -> None:
    server.close()
    with client_of(server, 5) as client, pytest.raises(HttpError, match="Connection refused") as caught:
        client.get("/api/issues")
    assert caught.value.kind is FailureKind.UNREACHABLE


def test_a_connection_that_is_reset_is_asked_again(server: FakeMultica) -> None:
    server.break_with(resets, times=2)
    with client_of(server, 30) as client:
        assert client.get("/api/issues").value["total"] == 0
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "fault",
    [hangs, drips(0.02), drips(0.02, head=True)],
    ids=["no answer", "a body byte by byte", "headers byte by byte"],
)
def test_S4_the_deadline_ends_a_request_however_the_server_stalls(server: FakeMultica, fault: object) -> None:
    server.break_with(fault)
    began = time.monotonic()
    with client_of(server, 0.3) as client, pytest.raises(HttpError) as caught:
        client.get("/api/issues")
    assert time.monotonic() - began < 0.3 + SLOW_MACHINE
    assert caught.value.kind is FailureKind.TIMEOUT


def test_S4_a_reused_connection_is_watched_too(server: FakeMultica) -> None:
    with client_of(server, 1.0) as client:
        client.get("/api/issues")
        server.break_with(drips(0.02))
        with pytest.raises(HttpError) as caught:
            client.get("/api/issues")
    assert caught.value.kind is FailureKind.TIMEOUT


def test_no_time_left_sends_nothing(server: FakeMultica) -> None:
    with client_of(server, 0) as client, pytest.raises(HttpError) as caught:
        client.get("/api/issues")
    assert caught.value.kind is FailureKind.TIMEOUT
    assert server.requests == []


def test_L4_a_write_whose_answer_is_lost_may_have_been_carried_out(server: FakeMultica) -> None:
    issue = server.state.add_issue("登录页报错")
    server.break_with(hangs, method="POST", after=True)
    with client_of(server, 1.0) as client, pytest.raises(HttpError) as caught:
        client.post(f"/api/issues/{issue['id']}/comments", {"content": "/note hello"})
    assert caught.value.outcome_unknown
    assert len(server.state.writes) == 1


def test_L4_a_write_that_was_refused_or_never_sent_was_not_carried_out(server: FakeMultica) -> None:
    with client_of(server, 5) as client:
        with pytest.raises(HttpError) as refused:
            client.put("/api/issues/ACM-99", {"status": "todo"})
        server.close()
    with client_of(server, 5) as client, pytest.raises(HttpError) as unsent:
        client.put("/api/issues/ACM-99", {"status": "todo"})
    assert not refused.value.outcome_unknown
    assert not unsent.value.outcome_unknown


def test_a_proxy_of_the_environment_is_not_used_for_loopback(
    server: FakeMultica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with client_of(server, 10) as client:
        assert client.get("/health").value == {"status": "ok"}


def test_a_proxy_variable_that_makes_no_sense_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "carrier-pigeon://127.0.0.1:9")
    with pytest.raises(HttpError, match="proxy") as caught:
        HttpClient("http://multica.test", deadline=Deadline.after(1))
    assert "environment" in caught.value.advice


def test_an_error_answer_is_read_only_as_far_as_it_is_quoted(server: FakeMultica) -> None:
    server.break_with(answers(500, b"<html>" + b"x" * 5_000_000))
    with client_of(server, 10) as client, pytest.raises(HttpError, match="an HTML page"):
        client.get("/api/issues")
