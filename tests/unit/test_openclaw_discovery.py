"""Where the Gateway is: the environment, the roster, OpenClaw's own state directory (rules S1a, R4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbeat.systems.base import FailureKind, TransportError
from heartbeat.systems.openclaw.discovery import GatewayAddress, find_gateway, is_loopback, shown_url, state_directory


def configure(home: Path, text: str, folder: str = ".openclaw") -> dict[str, str]:
    directory = home / folder
    directory.mkdir(parents=True)
    (directory / "openclaw.json").write_text(text, encoding="utf-8")
    return {"HOME": str(home)}


def found(environment: dict[str, str], **roster: str) -> tuple[str, str | None]:
    address = find_gateway(environment, **roster)
    assert address is not None
    return address.url, address.token


def refused(environment: dict[str, str], **roster: str) -> TransportError:
    with pytest.raises(TransportError) as caught:
        find_gateway(environment, **roster)
    return caught.value


def test_S1a_where_nothing_speaks_of_a_gateway_there_is_none(tmp_path: Path) -> None:
    assert find_gateway({"HOME": str(tmp_path)}) is None
    assert find_gateway(configure(tmp_path, '{"agents": {}}')) is None


def test_S1a_the_state_directory_gives_port_and_token(tmp_path: Path) -> None:
    environment = configure(tmp_path, '{"gateway": {"port": 18999, "auth": {"mode": "token", "token": "t1"}}}')
    assert found(environment) == ("ws://127.0.0.1:18999", "t1")


def test_S1a_comments_and_trailing_commas_are_allowed_there(tmp_path: Path) -> None:
    environment = configure(tmp_path, "// mine\n{gateway: {port: '19001', auth: {token: 't1',},},}")
    assert found(environment) == ("ws://127.0.0.1:19001", "t1")


def test_without_a_port_the_default_one_is_taken(tmp_path: Path) -> None:
    assert found(configure(tmp_path, '{"gateway": {"mode": "local"}}')) == ("ws://127.0.0.1:18789", None)
    assert found({"HOME": "/nowhere", "OPENCLAW_GATEWAY_TOKEN": "t"}) == ("ws://127.0.0.1:18789", "t")


def test_the_environment_goes_before_the_file_piece_by_piece(tmp_path: Path) -> None:
    environment = configure(tmp_path, '{"gateway": {"port": 18999, "auth": {"token": "filed"}}}')
    assert found({**environment, "OPENCLAW_GATEWAY_PORT": "19002"}) == ("ws://127.0.0.1:19002", "filed")
    assert found({**environment, "OPENCLAW_GATEWAY_TOKEN": "named"}) == ("ws://127.0.0.1:18999", "named")
    url = "wss://gateway.test/claw"
    assert found({**environment, "OPENCLAW_GATEWAY_URL": url, "OPENCLAW_GATEWAY_PORT": "1"}) == (url, "filed")


def test_the_roster_goes_before_everything_and_its_variable_is_the_only_one_asked(tmp_path: Path) -> None:
    environment = configure(tmp_path, '{"gateway": {"port": 18999, "auth": {"token": "filed"}}}')
    environment |= {"OPENCLAW_GATEWAY_URL": "ws://other.test", "OPENCLAW_GATEWAY_TOKEN": "named", "MINE": "mine"}
    assert found(environment, url="ws://127.0.0.1:5", token_env="MINE") == ("ws://127.0.0.1:5", "mine")
    assert found(environment, token_env="MISSING") == ("ws://other.test", None)


def test_R4_a_token_may_be_a_reference_to_the_environment(tmp_path: Path) -> None:
    environment = configure(tmp_path, '{"gateway": {"auth": {"token": "${CLAW_TOKEN}"}}}')
    assert found({**environment, "CLAW_TOKEN": "resolved"})[1] == "resolved"
    address = find_gateway(environment)
    assert address is not None
    assert address.token is None
    assert "CLAW_TOKEN" in address.token_origin


def test_a_state_directory_of_its_own_and_a_home_sign_are_followed(tmp_path: Path) -> None:
    configure(tmp_path, '{"gateway": {"port": 19007}}', "elsewhere")
    assert found({"HOME": str(tmp_path), "OPENCLAW_STATE_DIR": str(tmp_path / "elsewhere")})[0].endswith(":19007")
    assert found({"HOME": str(tmp_path), "OPENCLAW_STATE_DIR": "~/elsewhere"})[0].endswith(":19007")
    assert state_directory({"HOME": "/h"}) == Path("/h/.openclaw")
    assert state_directory({}) == Path.home() / ".openclaw"


@pytest.mark.parametrize("token", ["7", "null", '""', '{"source": "env", "id": "X"}', '["t"]'])
def test_a_token_that_is_no_text_is_no_token(tmp_path: Path, token: str) -> None:
    assert found(configure(tmp_path, f'{{"gateway": {{"auth": {{"token": {token}}}}}}}'))[1] is None


@pytest.mark.parametrize("port", ["0", "65536", "-1", "abc", "1.5", "true", "12 34"])
def test_a_port_that_is_none_is_refused_with_the_place_where_it_stands(tmp_path: Path, port: str) -> None:
    error = refused({"HOME": str(tmp_path), "OPENCLAW_GATEWAY_PORT": port})
    assert error.kind is FailureKind.REFUSED
    assert "OPENCLAW_GATEWAY_PORT" in str(error)
    filed = refused(
        configure(tmp_path, f'{{"gateway": {{"port": {port if port == "true" else repr(port)}}}}}'.replace("'", '"'))
    )
    assert "openclaw.json" in str(filed)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "file:///x",
        "127.0.0.1:18789",
        "ws://",
        "ws://user:hunter2@h.test",
        "ws://h.test/?token=hunter2",
        "ws://h.test/#hunter2",
        "ws://h.test:99999",
        "ws://[::1",
        "javascript:hunter2",
    ],
)
def test_R4_only_a_plain_websocket_address_gets_the_token_and_no_secret_of_another_shows(url: str) -> None:
    error = refused({"HOME": "/nowhere", "OPENCLAW_GATEWAY_URL": url, "OPENCLAW_GATEWAY_TOKEN": "t"})
    assert error.kind is FailureKind.REFUSED
    assert "OPENCLAW_GATEWAY_URL" in str(error)
    assert "hunter2" not in str(error) + error.advice


def test_R4_a_damaged_file_is_told_without_a_word_of_its_content(tmp_path: Path) -> None:
    error = refused(configure(tmp_path, '{"gateway": {"auth": {"token": "hunter2'))
    assert error.kind is FailureKind.BAD_OUTPUT
    assert "openclaw.json" in str(error)
    assert "hunter2" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_an_unreadable_file_is_no_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = configure(tmp_path, "{}")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    error = refused(environment)
    assert error.kind is FailureKind.REFUSED
    assert "Permission denied" in str(error)


def test_R4_the_token_is_not_in_the_representation() -> None:
    assert "hunter2" not in repr(GatewayAddress("ws://h.test", "hunter2", "a", "b"))


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("ws://127.0.0.1:1", True),
        ("ws://127.8.8.8", True),
        ("ws://localhost:1", True),
        ("ws://[::1]:1", True),
        ("ws://127.evil.test", False),
        ("ws://10.0.0.1", False),
        ("ws://[::1", False),
    ],
)
def test_what_is_this_machine(url: str, here: bool) -> None:
    assert is_loopback(url) is here


def test_R4_an_address_is_shown_without_what_could_be_secret() -> None:
    assert shown_url("wss://u:p@h.test:1/x?token=t#f") == "wss://h.test:1/x"
    assert shown_url("ws://[::1]:5/") == "ws://[::1]:5/"
