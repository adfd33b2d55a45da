"""What every channel promises: it delivers, or says why not, by the deadline and without a secret (rules O3, R4)."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from heartbeat.action import Level
from heartbeat.cli import notify
from heartbeat.deadline import Deadline
from heartbeat.errors import Exit, UsageError
from heartbeat.notify.channels import KINDS, open_channel
from heartbeat.notify.channels.base import Channel, ChannelError, Failure
from heartbeat.notify.channels.feishu import FeishuChannel, signature
from heartbeat.notify.channels.file import FileChannel
from heartbeat.notify.channels.web import web_address
from heartbeat.notify.letter import MAX_BYTES, Letter
from heartbeat.roster.schema import CHANNELS
from tests.support.fake_channels import (
    HOOK,
    QUEUED,
    UNSUPPORTED,
    FakeBot,
    FakeReceiver,
    FakeSender,
    Respond,
    apprise_package,
    hangs,
    openclaw_command,
    resets,
    says,
)
from tests.support.rosters import make_roster

NOW = datetime(2026, 11, 21, 4, 10, tzinfo=UTC)
SECRET = "the-secret-of-the-receiver"
SLOW_MACHINE = 5.0
LETTER = Letter(
    key="3f2a91bc/notify/ops",
    level=Level.WARNING,
    title="任务超时：写周报",
    body="任务「写周报」已 45m 没有活动。\n\n查看：heartbeat explain 3f2a91bc",
    keys=("3f2a91bc/notify/ops",),
    task="workboard:1",
    incident="3f2a91bc",
    to=("coo", "operator"),
)


@pytest.fixture
def bot() -> Iterator[FakeBot]:
    with FakeBot(lambda: NOW, SECRET) as fake:
        yield fake


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with FakeReceiver() as fake:
        yield fake


def opened(settings: dict[str, Any], environment: dict[str, str] | None = None, **roster: Any) -> Channel:
    return open_channel("ops", make_roster(channels={"ops": settings}, **roster), environment or {})


def feishu(bot: FakeReceiver, secret: str = SECRET) -> FeishuChannel:
    return FeishuChannel(web_address(bot.origin + HOOK, "ops", secret), secret, clock=lambda: NOW)


def failure(channel: Channel, letter: Letter = LETTER, seconds: float = 20.0) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        channel.send(letter, Deadline.after(seconds))
    return caught.value


def test_every_kind_that_a_roster_may_name_can_be_opened() -> None:
    assert set(KINDS) == set(CHANNELS)


# Feishu


def test_O3_a_signed_message_arrives_at_the_bot(bot: FakeBot) -> None:
    assert feishu(bot).send(LETTER, Deadline.after(20)) == ""
    ((title, body),) = bot.texts
    assert title == "任务超时：写周报"
    assert body == "任务「写周报」已 45m 没有活动。\n查看：heartbeat explain 3f2a91bc"


def test_O3_the_signature_is_the_hmac_of_nothing_under_time_and_secret() -> None:
    # openssl dgst -sha256 -hmac $'1599360473\ndemo' -binary < /dev/null | base64
    assert signature("1599360473", "demo") == "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="


@pytest.mark.parametrize("secret", ["", "another-secret"])
def test_O3_a_bot_that_checks_signatures_refuses_a_wrong_one(bot: FakeBot, secret: str) -> None:
    error = failure(feishu(bot, secret))
    assert (error.kind, error.outcome_unknown) == (Failure.PERMANENT, False)
    assert "code 19021: sign match fail" in str(error)
    assert "clock" in error.advice


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"code": 19024, "msg": "Key Words Not Found"}, Failure.PERMANENT),
        ({"code": 19001, "msg": "param invalid: incoming webhook access token invalid"}, Failure.PERMANENT),
        ({"code": 9499, "msg": "Bad Request"}, Failure.PERMANENT),
        ({"code": 9499, "msg": "too many request"}, Failure.TRANSIENT),
        ({"code": 11232, "msg": "frequency limited psm[lark.oapi.app_platform_runtime]"}, Failure.TRANSIENT),
        ({"code": 55001, "msg": "internal error"}, Failure.TRANSIENT),
        ({"StatusCode": 19021, "StatusMessage": "sign match fail"}, Failure.PERMANENT),
        ({"StatusCode": 1, "code": 0, "msg": "half a success"}, Failure.TRANSIENT),
        ({"code": None, "msg": "no number"}, Failure.TRANSIENT),
    ],
)
def test_O3_http_200_with_a_code_is_a_failure(receiver: FakeReceiver, answer: dict[str, Any], kind: Failure) -> None:
    receiver.respond = says(200, answer)
    error = failure(feishu(receiver))
    assert (error.kind, error.outcome_unknown) == (kind, False)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("answer", [{"StatusCode": 0, "StatusMessage": "success"}, {"code": 0, "data": {}}])
def test_O3_either_form_of_success_counts(receiver: FakeReceiver, answer: dict[str, Any]) -> None:
    receiver.respond = says(200, answer)
    assert feishu(receiver).send(LETTER, Deadline.after(20)) == ""


@pytest.mark.parametrize("body", [b"", b"<html>sign in to the guest network</html>", b"[]", b'{"ok":true}', b"OK"])
def test_O3_http_200_from_something_that_is_not_feishu_is_no_delivery(receiver: FakeReceiver, body: bytes) -> None:
    receiver.respond = says(200, body)
    error = failure(feishu(receiver))
    assert (error.kind, error.outcome_unknown) == (Failure.TRANSIENT, True)
    assert "not as Feishu does" in str(error)


@pytest.mark.parametrize(
    "body", ["长" * 30_000, "\n".join(f"{n} 行" for n in range(9_000)), '"\\' * 20_000, "a\n" * 9000]
)
def test_O3_no_message_is_larger_than_feishu_takes(bot: FakeBot, body: str) -> None:
    feishu(bot).send(replace(LETTER, body=body), Deadline.after(20))
    assert len(bot.requests[0].body) <= MAX_BYTES
    assert len(bot.requests[0].body) > MAX_BYTES * 0.9
    assert bot.texts[0][1].endswith("…")


def test_B8_no_title_can_mention_everybody(bot: FakeBot) -> None:
    feishu(bot).send(
        replace(LETTER, title='<at user_id="all">x</at>', body='<at user_id="all"></at>'), Deadline.after(20)
    )
    parts = [part for line in bot.requests[0].json["content"]["post"]["zh_cn"]["content"] for part in line]
    assert {part["tag"] for part in parts} == {"text"}


def test_O3_what_may_be_a_repetition_says_so_to_people(bot: FakeBot) -> None:
    feishu(bot).send(replace(LETTER, repeat=True, body=""), Deadline.after(20))
    assert bot.texts == [("（可能重复）任务超时：写周报", "（可能重复）任务超时：写周报")]


def test_O3_a_limit_that_comes_as_an_http_error_passes(receiver: FakeReceiver) -> None:
    receiver.respond = says(400, {"code": 99991400, "msg": "request trigger frequency limit"})
    assert failure(feishu(receiver)).kind is Failure.TRANSIENT


# Both channels that post

POSTING: list[Callable[[FakeReceiver], Channel]] = [
    feishu,
    lambda fake: opened(
        {"kind": "webhook", "url_env": "HOOK", "token_env": "TOKEN"}, {"HOOK": fake.origin + HOOK, "TOKEN": SECRET}
    ),
]
posting = pytest.mark.parametrize("channel_of", POSTING, ids=["feishu", "webhook"])

PAST = format_datetime(NOW)


@posting
@pytest.mark.parametrize(
    ("respond", "kind", "unknown", "retry_after", "told"),
    [
        (says(429, {"msg": "slow down"}, Retry_After="90"), Failure.TRANSIENT, False, 90.0, "answered 429: slow down"),
        (says(429, Retry_After=PAST, Date=PAST), Failure.TRANSIENT, False, 0.0, "answered 429"),
        (says(500, {"message": "no database"}), Failure.TRANSIENT, False, None, "answered 500: no database"),
        (says(502, b"<html>bad gateway</html>"), Failure.TRANSIENT, True, None, "answered 502"),
        (says(503, Retry_After="7"), Failure.TRANSIENT, False, 7.0, "answered 503"),
        (says(504), Failure.TRANSIENT, True, None, "answered 504"),
        (says(400, {"error": "no such field"}), Failure.PERMANENT, False, None, "answered 400: no such field"),
        (says(401), Failure.PERMANENT, False, None, "answered 401"),
        (says(404), Failure.PERMANENT, False, None, "answered 404"),
        (
            says(302, Location="https://elsewhere.test/"),
            Failure.PERMANENT,
            False,
            None,
            "302, a redirect, which is not",
        ),
        (says(307, Location=HOOK), Failure.PERMANENT, False, None, "307, a redirect, which is not"),
        (resets, Failure.TRANSIENT, True, None, "cannot be reached: "),
    ],
)
def test_O3_what_a_receiver_answers_is_judged_and_told(
    receiver: FakeReceiver,
    channel_of: Callable[[FakeReceiver], Channel],
    respond: Respond,
    kind: Failure,
    unknown: bool,
    retry_after: float | None,
    told: str,
) -> None:
    receiver.respond = respond
    error = failure(channel_of(receiver))
    assert (error.kind, error.outcome_unknown, error.retry_after) == (kind, unknown, retry_after)
    assert told in str(error)
    assert error.advice
    assert len(receiver.requests) == 1


@posting
def test_O3_a_receiver_that_hangs_is_left_at_the_deadline(
    receiver: FakeReceiver, channel_of: Callable[[FakeReceiver], Channel]
) -> None:
    receiver.respond = hangs
    began = time.monotonic()
    error = failure(channel_of(receiver), seconds=0.5)
    assert time.monotonic() - began < 0.5 + SLOW_MACHINE
    assert (error.kind, error.outcome_unknown) == (Failure.TRANSIENT, True)
    assert "did not answer in time" in str(error)


@posting
def test_O3_without_time_nothing_is_sent(receiver: FakeReceiver, channel_of: Callable[[FakeReceiver], Channel]) -> None:
    error = failure(channel_of(receiver), seconds=0)
    assert (error.kind, error.outcome_unknown) == (Failure.TRANSIENT, False)
    assert receiver.requests == []


@posting
def test_O3_a_receiver_that_is_down_is_known_not_to_have_it(channel_of: Callable[[FakeReceiver], Channel]) -> None:
    with FakeReceiver() as gone:
        channel = channel_of(gone)
    error = failure(channel)
    assert (error.kind, error.outcome_unknown) == (Failure.TRANSIENT, False)
    assert "refused" in str(error)


@posting
@pytest.mark.parametrize(
    "respond",
    [
        says(404, {"msg": f"no hook at {HOOK}, signed {SECRET}"}),
        says(404, f"<html>{HOOK} {SECRET}</html>".encode()),
        says(200, {"code": 1, "msg": f"{HOOK} {SECRET}"}),
        says(302, Location=f"https://elsewhere.test{HOOK}?t={SECRET}"),
        hangs,
        resets,
    ],
)
def test_R4_no_error_no_log_and_no_repr_holds_a_secret(
    receiver: FakeReceiver,
    channel_of: Callable[[FakeReceiver], Channel],
    respond: Respond,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.respond = respond
    channel = channel_of(receiver)
    seen = [repr(channel), str(channel), channel.address]
    try:
        channel.send(LETTER, Deadline.after(1.0))
    except ChannelError as error:
        chain: BaseException | None = error
        while chain is not None:
            seen += [str(chain), repr(chain)]
            chain = chain.__cause__ or chain.__context__
        seen.append(error.advice)
    text = "\n".join([*seen, caplog.text])
    for secret in (HOOK, HOOK.rpartition("/")[2], SECRET):
        assert secret not in text


# The generic web hook


def test_O3_a_web_hook_gets_the_whole_message_and_its_token(receiver: FakeReceiver) -> None:
    settings = {"kind": "webhook", "url_env": "HOOK", "token_env": "TOKEN"}
    channel = opened(settings, {"HOOK": f"{receiver.origin}/in/?team=1", "TOKEN": SECRET})
    channel.send(LETTER, Deadline.after(20))
    (request,) = receiver.requests
    assert request.path == "/in/?team=1"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["content-type"] == "application/json"
    assert request.json == {
        "schema": "heartbeat.message/1",
        "key": "3f2a91bc/notify/ops",
        "level": "warning",
        "title": "任务超时：写周报",
        "body": LETTER.body,
        "task": "workboard:1",
        "incident": "3f2a91bc",
        "to": ["coo", "operator"],
        "count": 1,
        "keys": ["3f2a91bc/notify/ops"],
        "repeat": False,
    }


@pytest.mark.parametrize(
    "respond", [says(200, b"ok"), says(204), says(202, b"<html></html>"), says(200, b"x" * 2_000_000)]
)
def test_O3_a_web_hook_may_answer_what_it_likes(receiver: FakeReceiver, respond: Respond) -> None:
    receiver.respond = respond
    opened({"kind": "webhook", "url": f"{receiver.origin}/in"}).send(LETTER, Deadline.after(20))
    assert "authorization" not in receiver.requests[0].headers


def test_O3_no_web_hook_gets_more_than_20_kilobytes(receiver: FakeReceiver) -> None:
    keys = tuple(f"incident-{number}/notify/ops" for number in range(3_000))
    letter = replace(LETTER, body="长" * 9_000, keys=keys, count=3_000)
    opened({"kind": "webhook", "url": f"{receiver.origin}/in"}).send(letter, Deadline.after(20))
    (request,) = receiver.requests
    assert MAX_BYTES * 0.9 < len(request.body) <= MAX_BYTES
    assert request.json["count"] == 3_000
    assert request.json["keys"][0] == keys[0]


# Secrets come late


@pytest.mark.parametrize(
    ("settings", "environment", "variable"),
    [
        ({"kind": "feishu", "url_env": "HOOK"}, {}, "HOOK"),
        ({"kind": "feishu", "url_env": "HOOK", "secret_env": "SIGN"}, {"HOOK": "https://bot.test/x"}, "SIGN"),
        ({"kind": "webhook", "url_env": "HOOK"}, {"HOOK": "  "}, "HOOK"),
        ({"kind": "webhook", "url_env": "HOOK", "token_env": "TOKEN"}, {"HOOK": "https://hook.test/x"}, "TOKEN"),
        ({"kind": "apprise", "url_env": "HOOK"}, {}, "HOOK"),
    ],
)
def test_R4_a_variable_that_is_not_set_is_named(
    settings: dict[str, Any], environment: dict[str, str], variable: str
) -> None:
    with pytest.raises(ChannelError, match=f"the variable {variable}, which holds its") as caught:
        opened(settings, environment)
    assert caught.value.kind is Failure.PERMANENT
    assert "cron" in caught.value.advice


@pytest.mark.parametrize(
    "value", ["hunter2-secret", "ftp://hunter2-secret/", "https://[hunter2-secret", "https://x/hunter2 secret"]
)
def test_R4_an_address_that_is_none_is_not_repeated(value: str) -> None:
    with pytest.raises(ChannelError, match="no web address") as caught:
        opened({"kind": "webhook", "url_env": "HOOK"}, {"HOOK": value})
    assert "hunter2" not in f"{caught.value} {caught.value.advice}"


def test_O3_a_channel_that_left_the_roster_cannot_be_opened() -> None:
    with pytest.raises(ChannelError, match="no channel ops any more") as caught:
        open_channel("ops", make_roster(), {})
    assert caught.value.kind is Failure.PERMANENT


# File


def test_O3_a_file_gets_one_line_a_message_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "made" / "for it" / "notifications.log"
    channel = FileChannel(path, clock=lambda: NOW)
    for number in range(3):
        channel.send(replace(LETTER, key=f"k{number}"), Deadline.after(5))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["key"] for line in lines] == ["k0", "k1", "k2"]
    assert lines[0]["schema"] == "heartbeat.message/1"
    assert lines[0]["at"] == "2026-11-21T04:10:00.000Z"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_O3_a_line_that_somebody_left_unfinished_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"cut')
    FileChannel(path).send(LETTER, Deadline.after(5))
    assert path.read_text().splitlines()[0] == '{"cut'
    assert json.loads(path.read_text().splitlines()[1])["key"] == LETTER.key


def test_O3_lines_of_many_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def write() -> None:
        for _ in range(10):
            FileChannel(path).send(replace(LETTER, body="x" * 10_000), Deadline.after(30))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [json.loads(line)["body"] for line in path.read_text().splitlines()] == ["x" * 10_000] * 40


def test_O3_a_link_or_a_fifo_in_the_files_place_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    link = tmp_path / "link"
    link.symlink_to(target)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, told in ((link, "symbolic link"), (fifo, "not a regular file"), (tmp_path, "directory")):
        error = failure(FileChannel(path))
        assert error.kind is Failure.PERMANENT
        assert told in str(error)
    assert not target.exists()


def test_O3_a_full_disk_passes_and_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    FileChannel(path).send(LETTER, Deadline.after(5))
    before = path.read_bytes()
    real_write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        return real_write(descriptor, data[:-10])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        error = failure(FileChannel(path))
    assert error.kind is Failure.TRANSIENT
    assert "No space left" in str(error)
    assert path.read_bytes() == before


# OpenClaw

CHAT = {"kind": "openclaw", "channel": "telegram", "target": "-100123", "account": "work"}


def test_O3_the_gateway_sends_with_our_key_and_the_scope_to_write() -> None:
    with FakeSender() as gateway:
        note = opened(CHAT, gateway.environment()).send(LETTER, Deadline.after(20))
    assert note.startswith("by the Gateway at ws://127.0.0.1:")
    assert gateway.scopes == [["operator.write"]]
    assert gateway.sent == [
        {
            "to": "-100123",
            "message": f"{LETTER.title}\n{LETTER.body}",
            "channel": "telegram",
            "accountId": "work",
            "idempotencyKey": LETTER.key,
        }
    ]


@pytest.mark.parametrize("by_command", [False, True])
def test_O3_what_openclaw_may_repeat_says_so_to_people(by_command: bool, tmp_path: Path) -> None:
    again = replace(LETTER, repeat=True)
    text = f"（可能重复）{LETTER.title}\n{LETTER.body}"
    if by_command:
        environment = {**openclaw_command(tmp_path / "bin", {"action": "send"}), "HOME": str(tmp_path)}
        opened(CHAT, environment).send(again, Deadline.after(30))
        assert f"--message={text}" in json.loads((tmp_path / "bin" / "arguments.json").read_text())
        return
    with FakeSender() as gateway:
        opened(CHAT, gateway.environment()).send(again, Deadline.after(20))
    assert [sent["message"] for sent in gateway.sent] == [text]


def test_O3_what_the_gateway_has_queued_counts_as_sent() -> None:
    with FakeSender(reply=QUEUED) as gateway:
        note = opened(CHAT, gateway.environment()).send(LETTER, Deadline.after(20))
    assert note.startswith("queued by OpenClaw, which goes on trying: ")
    assert "Telegram bot token missing" in note
    assert len(gateway.sent) == 1


@pytest.mark.parametrize(
    ("reply", "kind", "unknown"),
    [
        (UNSUPPORTED, Failure.PERMANENT, False),
        ({"code": "UNAVAILABLE", "message": "OutboundDeliveryError: 502"}, Failure.TRANSIENT, False),
        ("drop", Failure.TRANSIENT, True),
    ],
)
def test_O3_how_the_gateway_refuses_is_judged(reply: Any, kind: Failure, unknown: bool) -> None:
    with FakeSender(reply=reply) as gateway:
        error = failure(opened(CHAT, gateway.environment()))
    assert (error.kind, error.outcome_unknown) == (kind, unknown)
    assert len(gateway.sent) == 1


def test_R4_a_wrong_token_is_permanent_and_not_told(tmp_path: Path) -> None:
    with FakeSender() as gateway:
        environment = {**gateway.environment(), "OPENCLAW_GATEWAY_TOKEN": "a-wrong-token"}
        error = failure(opened(CHAT, environment))
    assert error.kind is Failure.PERMANENT
    assert "a-wrong-token" not in f"{error} {error.advice} {opened(CHAT, environment)!r}"


def test_O3_without_a_gateway_the_command_sends(tmp_path: Path) -> None:
    printed = {"action": "send", "channel": "telegram", "handledBy": "core", "payload": {"to": "telegram:-100123"}}
    environment = {**openclaw_command(tmp_path / "bin", printed), "HOME": str(tmp_path)}
    assert opened(CHAT, environment).send(LETTER, Deadline.after(30)) == "by `openclaw message send`"
    assert json.loads((tmp_path / "bin" / "arguments.json").read_text()) == [
        "message",
        "send",
        "--channel=telegram",
        "--target=-100123",
        "--account=work",
        f"--message={LETTER.title}\n{LETTER.body}",
        "--json",
    ]


def test_O3_a_gateway_that_is_down_leaves_it_to_the_command(tmp_path: Path) -> None:
    with FakeSender() as gone:
        environment = gone.environment()
    environment |= openclaw_command(tmp_path / "bin", {"action": "send"})
    assert opened(CHAT, environment).send(LETTER, Deadline.after(30)) == "by `openclaw message send`"


@pytest.mark.parametrize(
    ("printed", "code", "kind", "unknown", "told"),
    [
        (
            {"ok": False, "error": {"type": "cli_error", "message": "Channel is unavailable: feishu"}},
            1,
            Failure.PERMANENT,
            False,
            "Channel is unavailable: feishu",
        ),
        (
            {"ok": False, "error": {"type": "cli_error", "message": "another OpenClaw process owns state-lifecycle"}},
            1,
            Failure.TRANSIENT,
            False,
            "another OpenClaw process",
        ),
        (
            {
                "ok": False,
                "error": {"type": "gateway_transport_error", "kind": "timeout", "message": "gateway timeout"},
            },
            1,
            Failure.TRANSIENT,
            True,
            "gateway timeout",
        ),
        (
            {"ok": False, "error": {"type": "gateway_transport_error", "kind": "closed", "message": "not reachable"}},
            1,
            Failure.TRANSIENT,
            False,
            "not reachable",
        ),
        ({"action": "send"}, 3, Failure.TRANSIENT, True, "exit code 3"),
    ],
)
def test_O3_how_the_command_fails_is_judged(
    tmp_path: Path, printed: dict[str, Any], code: int, kind: Failure, unknown: bool, told: str
) -> None:
    environment = {**openclaw_command(tmp_path / "bin", printed, code), "HOME": str(tmp_path)}
    error = failure(opened(CHAT, environment))
    assert (error.kind, error.outcome_unknown) == (kind, unknown)
    assert told in str(error)


def test_O3_a_delivery_that_the_command_saw_queued_counts_as_sent(tmp_path: Path) -> None:
    printed = {"ok": False, "error": {"type": "gateway_request_error", **QUEUED}}
    environment = {**openclaw_command(tmp_path / "bin", printed, 1), "HOME": str(tmp_path)}
    assert "queued by OpenClaw" in opened(CHAT, environment).send(LETTER, Deadline.after(30))


def test_O3_a_command_that_does_not_end_may_have_sent_and_its_text_is_not_told(tmp_path: Path) -> None:
    environment = {**openclaw_command(tmp_path / "bin", {}), "HOME": str(tmp_path)}
    program = tmp_path / "bin" / "openclaw"
    program.write_text(f"#!{sys.executable}\nimport threading\nthreading.Event().wait(60)\n")
    error = failure(opened(CHAT, environment), seconds=1.0)
    assert (error.kind, error.outcome_unknown) == (Failure.TRANSIENT, True)
    assert "did not end in time" in str(error)
    assert "写周报" not in str(error)


def test_O3_neither_gateway_nor_command_waits_for_a_person(tmp_path: Path) -> None:
    error = failure(opened(CHAT, {"HOME": str(tmp_path), "PATH": str(tmp_path)}))
    assert error.kind is Failure.PERMANENT
    assert "no Gateway is configured, and there is no program openclaw" in str(error)


# apprise

MANY = {"kind": "apprise", "url_env": "URLS"}


def test_O3_apprise_gets_title_body_and_urgency(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "apprise", apprise_package(True, sent))
    channel = opened(MANY, {"URLS": "tgram://123:bot-token/42, json://127.0.0.1/hook"})
    channel.send(LETTER, Deadline.after(5))
    assert sent == [
        {"title": LETTER.title, "body": LETTER.body, "notify_type": "warning", "body_format": "text"},
    ]
    assert channel.address == "tgram://…, json://…"
    assert "bot-token" not in repr(channel)


def test_O3_apprise_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ChannelError, match="is not installed") as caught:
        opened(MANY, {"URLS": "tgram://123:bot-token/42"})
    assert caught.value.advice == "pip install 'heartbeat-agents[apprise]'"
    assert caught.value.kind is Failure.PERMANENT


def test_R4_an_address_that_apprise_does_not_know_is_counted_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", apprise_package(True, []))
    with pytest.raises(ChannelError, match=r"address number 2 \(tgrm://…\)") as caught:
        opened(MANY, {"URLS": "json://127.0.0.1/x tgrm://123:bot-token/42"})
    assert "bot-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("outcome", "urls", "unknown", "told"),
    [
        (False, "json://127.0.0.1/x", False, "reports a failure"),
        (False, "json://127.0.0.1/x,json://127.0.0.1/y", True, "reports a failure"),
        (RuntimeError("bot-token in a message"), "json://127.0.0.1/x", False, "failed with RuntimeError"),
    ],
)
def test_O3_how_apprise_fails_is_told_without_its_words(
    monkeypatch: pytest.MonkeyPatch, outcome: Any, urls: str, unknown: bool, told: str
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", apprise_package(outcome, []))
    error = failure(opened(MANY, {"URLS": urls}))
    assert (error.kind, error.outcome_unknown) == (Failure.TRANSIENT, unknown)
    assert told in str(error)
    assert "bot-token" not in str(error)


def test_O3_apprise_that_hangs_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setitem(sys.modules, "apprise", apprise_package(released, []))
    try:
        error = failure(opened(MANY, {"URLS": "json://127.0.0.1/x"}), seconds=0.2)
    finally:
        released.set()
    assert (error.kind, error.outcome_unknown) == (Failure.TRANSIENT, True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own imports on some versions of Python
def test_O3_the_real_apprise_delivers_and_fails_as_its_stand_in(receiver: FakeReceiver) -> None:
    pytest.importorskip("apprise")
    channel = opened(MANY, {"URLS": receiver.origin.replace("http://", "json://") + "/hook"})
    channel.send(LETTER, Deadline.after(20))
    assert receiver.requests[0].json["title"] == LETTER.title
    receiver.respond = says(500)
    assert failure(channel).kind is Failure.TRANSIENT
    with pytest.raises(ChannelError, match="does not know"):
        opened(MANY, {"URLS": "nonsense://x"})


# The command

ROSTER = """\
version: 1
operator: {name: Vincent, notify: [ops]}
channels:
  ops: {kind: file, path: notifications.log}
  feishu: {kind: feishu, url_env: FEISHU_WEBHOOK}
agents:
  coo: {class: high_frequency, notify: [self], patrol: true}
"""


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FEISHU_WEBHOOK", raising=False)
    path = tmp_path / "agents.yaml"
    path.write_text(ROSTER)
    return path


def heartbeat(*words: str) -> Any:
    application = typer.Typer()
    application.add_typer(notify.app, name="notify")
    application.command()(lambda: None)
    return CliRunner().invoke(application, words)


def test_the_command_sends_a_test_message_and_says_where(team: Path) -> None:
    log = team.parent / "notifications.log"
    done = heartbeat("notify", "test", "ops", "--roster", str(team))
    assert (done.exit_code, done.stdout) == (0, f"ops (file): sent to {log}\n")
    message = json.loads(log.read_text())
    assert message["title"] == "heartbeat 测试消息"
    assert "频道 ops" in message["body"]


def test_the_command_prints_json(team: Path) -> None:
    done = heartbeat("notify", "test", "ops", "--json", "--roster", str(team))
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "schema": "heartbeat.notify/1",
        "channel": "ops",
        "kind": "file",
        "address": str(team.parent / "notifications.log"),
        "sent": True,
        "note": "",
        "failure": None,
        "outcome_unknown": False,
        "message": "",
        "advice": "",
    }


def test_the_command_ends_with_1_and_says_why_when_it_could_not_send(team: Path) -> None:
    done = heartbeat("notify", "test", "feishu", "--roster", str(team))
    assert isinstance(done.exception, ChannelError)
    assert done.exception.exit_code is Exit.FOUND
    assert "the variable FEISHU_WEBHOOK" in str(done.exception)
    shown = heartbeat("notify", "test", "feishu", "--json", "--roster", str(team))
    assert shown.exit_code == 1
    told = json.loads(shown.stdout)
    assert (told["sent"], told["failure"], told["address"]) == (False, "permanent", None)


def test_the_command_lists_the_channels_when_it_does_not_know_one(team: Path) -> None:
    done = heartbeat("notify", "test", "opps", "--roster", str(team))
    assert isinstance(done.exception, UsageError)
    assert done.exception.advice == "its channels are ops, feishu"
