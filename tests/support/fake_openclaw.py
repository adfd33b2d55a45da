"""A real executable called `openclaw` for tests, with the outputs of the real one (contract 1.2, 3), verbatim.

The program is a small Python script without imports beyond the standard library, and with few of those, since it is
started hundreds of times. It reads its orders from a JSON file beside it at every run and keeps a record of its
arguments, so that a test may change its mind and look back.
"""

from __future__ import annotations

import json
import os
import socketserver
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.support.fake_board import FakeBoard
from tests.support.fake_gateway import FakeGateway

VERSION_LINE = "OpenClaw 2026.9.6 (eb377ac)"


class Reach(StrEnum):
    """How the program gets on with the Gateway."""

    UP = "up"
    DOWN = "down"
    TIMEOUT = "timeout"
    DENIED = "denied"
    STARTING = "starting"
    NO_CREDENTIALS = "no credentials"


class Manner(StrEnum):
    """How the program behaves when it prints a list."""

    PLAIN = "plain"
    HANG = "hang"
    IGNORE_SIGTERM = "ignore sigterm"
    GRANDCHILD = "grandchild"
    """A grandchild in a session of its own keeps standard output open for a minute."""
    NOTHING = "nothing"
    EXIT_1 = "exit 1"
    """The list, and exit code 1."""
    BANNER = "banner"
    LOG_AFTER = "log after"
    COLOURS = "colours"
    BOM = "bom"
    GARBAGE = "garbage"
    CUT = "cut"
    FLOOD = "flood"
    CRASH = "crash"
    """Node's own complaint on stderr and exit code 1."""
    NO_NODE = "no node"
    LOCKED = "locked"
    TELLTALE = "telltale"
    """A complaint that repeats the token, and exit code 1."""
    TELLTALE_BANNER = "telltale banner"


_SCRIPT = r"""#!{interpreter} -IS
import json, os, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "orders.json"), encoding="utf-8") as file:
    ORDERS = json.load(file)
ARGUMENTS = sys.argv[1:]
with open(os.path.join(HERE, "calls.jsonl"), "a", encoding="utf-8") as file:
    environment = {{name: value for name, value in os.environ.items() if name.startswith("OPENCLAW_")}}
    file.write(json.dumps({{"argv": ARGUMENTS, "environment": environment, "pid": os.getpid()}}) + "\n")

DISABLED = (
    'The `openclaw workboard` command is provided by the "workboard" plugin, but that bundled plugin is disabled by '
    "default. Run `openclaw plugins enable workboard` to enable that CLI surface."
)
MISMATCH = "unauthorized: gateway token mismatch (use this gateway's gateway.auth.token or pair the device)"
CREDENTIALS = (
    "gateway {{}} requires credentials before opening a websocket\n"
    "Fix: configure gateway.auth token/password, pair this device, or pass --token/--password.\n"
    "Config: /state/openclaw.json"
)


def put(value):
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def fail(error, complaint="", **more):
    sys.stdout.write(put({{"ok": False, "error": error, **more}}))
    sys.stderr.write(complaint)
    sys.exit(1)


def cli_error(message, complaint=None):
    fail({{"type": "cli_error", "message": message}}, message + "\n" if complaint is None else complaint)


def failed(message):
    cli_error(message, "[openclaw] The CLI command failed.\n[openclaw] Reason: " + message + "\n")


def option(name):
    return ARGUMENTS[ARGUMENTS.index(name) + 1] if name in ARGUMENTS else None


def board_of(card):
    return card.get("metadata", {{}}).get("automation", {{}}).get("boardId", "default")


def cards_of(board):
    return [card for card in ORDERS["cards"] if board is None or board_of(card) == board.lower()]


def say(value):
    text, manner = put(value), ORDERS["manner"]
    if manner == "hang":
        time.sleep(60)
    elif manner == "ignore sigterm":
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    elif manner == "grandchild":
        import subprocess

        subprocess.Popen(["sleep", "20"], start_new_session=True)
    elif manner == "nothing":
        return
    elif manner == "banner":
        text = "\x1b[33m[openclaw] config was migrated\x1b[0m\nGateway call: workboard.cards.list\n" + text
    elif manner == "log after":
        text += "[openclaw] 2026-11-21 closed\n"
    elif manner == "colours":
        text = text.replace('"cards"', '\x1b[32m"cards"\x1b[0m')
    elif manner == "bom":
        text = "\ufeff" + text
    elif manner == "garbage":
        text = "Segmentation fault (core dumped)\n"
    elif manner == "cut":
        text = text[: len(text) // 2]
    elif manner == "flood":
        for _ in range(100000):
            sys.stdout.write("x" * 65536)
    elif manner == "crash":
        sys.stderr.write("node:internal/modules/cjs/loader:1215\nError: Cannot find module 'x'\n")
        sys.exit(1)
    elif manner == "no node":
        sys.stderr.write("/usr/bin/env: 'node': No such file or directory\n")
        sys.exit(127)
    elif manner == "telltale":
        sys.stderr.write("no such token: " + os.environ["OPENCLAW_GATEWAY_TOKEN"] + "\n")
        sys.exit(1)
    elif manner == "telltale banner":
        text = "using token " + os.environ["OPENCLAW_GATEWAY_TOKEN"] + "\n" + text
    elif manner == "locked":
        failed("another OpenClaw process owns state-lifecycle")
    sys.stdout.write(text)
    sys.stdout.flush()
    sys.exit(1 if manner == "exit 1" else 0)


def gateway_call():
    method = ARGUMENTS[2]
    try:
        parameters = json.loads(option("--params") or "{{}}")
    except ValueError:
        cli_error("--params must be valid JSON.", "")
    url = "ws://127.0.0.1:" + os.environ.get("OPENCLAW_GATEWAY_PORT", "18789")
    gateway = {{"url": url, "urlSource": "local loopback", "bindDetail": "Bind: loopback"}}
    reach = ORDERS["reach"] if ORDERS["only"] in ("", method) else "up"
    if reach == "no credentials":
        cli_error(CREDENTIALS.format(method))
    if reach == "down":
        told = "Gateway not reachable at " + url + " (ECONNREFUSED)."
        fail({{"type": "gateway_transport_error", "kind": "closed", "message": told}}, gateway=gateway)
    if reach == "timeout":
        told = "gateway timeout after " + option("--timeout") + "ms"
        fail({{"type": "gateway_transport_error", "kind": "timeout", "message": told}}, gateway=gateway)
    error = {{"type": "gateway_request_error", "retryable": False}}
    if reach == "denied":
        details = {{"code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch"}}
        complaint = "gateway connect failed: GatewayClientRequestError: " + MISMATCH + "\n"
        fail({{**error, "code": "INVALID_REQUEST", "message": MISMATCH, "details": details}}, complaint)
    if reach == "starting":
        fail({{**error, "code": "UNAVAILABLE", "message": "gateway starting; retry shortly", "retryable": True}})
    if method.startswith("workboard.") and not ORDERS["plugin"]:
        fail({{**error, "code": "INVALID_REQUEST", "message": "unknown method: " + method}})
    if ORDERS["relay"]:
        relayed(method, parameters, error, gateway)
    elif method == "workboard.cards.list":
        say({{"cards": cards_of(parameters.get("boardId")), **ORDERS["around"]}})
    elif method == "sessions.list":
        wanted = "hasActiveRun" if parameters.get("activeOnly") else "lastInteractionAt"
        sessions = [session for session in ORDERS["sessions"] if session.get(wanted)]
        say({{"ts": ORDERS["ts"], "count": len(sessions), "nextOffset": None, "hasMore": False, "sessions": sessions}})
    elif method == "chat.history":
        said = ORDERS["messages"].get(parameters["sessionKey"], [])
        say({{"sessionKey": parameters["sessionKey"], "messages": said, "hasMore": False, "totalMessages": len(said)}})
    else:
        fail({{**error, "code": "INVALID_REQUEST", "message": "unknown method: " + method}})


def relayed(method, parameters, error, gateway):
    import socket

    with socket.create_connection(("127.0.0.1", ORDERS["relay"]), timeout=30) as relay:
        relay.sendall(json.dumps({{"method": method, "params": parameters}}).encode() + b"\n")
        answer = relay.makefile("r", encoding="utf-8").readline()
    if not answer:
        lost = "gateway closed (1006 abnormal closure (no close frame)): no close reason"
        told = {{"kind": "closed", "message": lost, "code": 1006, "reason": "no close reason"}}
        fail({{"type": "gateway_transport_error", **told}}, gateway=gateway)
    answer = json.loads(answer)
    if answer["error"] is not None:
        fail({{**error, **answer["error"]}})
    say(answer["payload"])


def workboard():
    if not ORDERS["plugin"]:
        cli_error(DISABLED)
    if ARGUMENTS[1] == "list":
        status = option("--status")
        cards = cards_of(option("--board"))
        say({{"cards": [card for card in cards if status is None or card["status"] == status]}})
    elif ARGUMENTS[1] == "show":
        found = [card for card in ORDERS["cards"] if card["id"].startswith(ARGUMENTS[2])]
        if not found:
            failed("Card not found: " + ARGUMENTS[2])
        if len(found) > 1:
            failed("Ambiguous card id prefix: " + ARGUMENTS[2] + " (" + str(len(found)) + " matches)")
        say({{"card": found[0]}})


if ARGUMENTS == ["--version"]:
    print("{version}")
elif ARGUMENTS[:2] == ["gateway", "call"]:
    gateway_call()
elif ARGUMENTS[:1] == ["workboard"]:
    workboard()
elif ARGUMENTS == ["agents", "list", "--json"]:
    say(ORDERS["agents"])
else:
    cli_error("OpenClaw does not recognize the command " + repr(ARGUMENTS))
"""


class _Relay(socketserver.ThreadingTCPServer):
    """Hands the program's requests to a fake Gateway, one a connection, as lines of JSON."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, gateway: FakeGateway) -> None:
        super().__init__(("127.0.0.1", 0), _RelayHandler)
        self.gateway = gateway


class _RelayHandler(socketserver.StreamRequestHandler):
    server: _Relay

    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        error, payload, lost = self.server.gateway.answer(request["method"], request["params"])
        if not lost:
            text = json.dumps({"error": error, "payload": payload}, ensure_ascii=False)
            self.wfile.write(text.encode("utf-8", "surrogatepass") + b"\n")


class FakeOpenClaw:
    """The program in a directory of its own, ready to be put on a PATH.

    It lists the cards that a board has when it is made, and the sessions that it is ordered to list; while it is
    `connected` to a fake Gateway it asks that for everything.
    """

    def __init__(self, directory: Path, board: FakeBoard | None = None) -> None:
        self.directory = directory / "openclaw-bin"
        self.directory.mkdir(parents=True)
        self.program = self.directory / "openclaw"
        self.program.write_text(_SCRIPT.format(interpreter=sys.executable, version=VERSION_LINE), encoding="utf-8")
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self._orders: dict[str, Any] = {
            "reach": Reach.UP,
            "manner": Manner.PLAIN,
            "plugin": True,
            "cards": [],
            "around": {},
            "sessions": [],
            "messages": {},
            "ts": 0,
            "relay": 0,
            "only": "",
        }
        listed = board.call("cards.list") if board is not None else {"cards": []}
        self.order(cards=listed.pop("cards"), around=listed)

    def order(self, **orders: Any) -> None:
        """Changes how it behaves from the next run on: reach, manner, plugin, cards, around, sessions, messages (by
        session key) and the Gateway's time `ts`; `only` names the one method of the Gateway for which `reach` holds."""
        self._orders |= orders
        text = json.dumps(self._orders)
        (self.directory / "orders.json").write_text(text, encoding="utf-8")

    @contextmanager
    def connected(self, gateway: FakeGateway) -> Iterator[None]:
        """As long as it lasts, every `gateway call` is answered by this Gateway's methods, which need not listen."""
        with _Relay(gateway) as relay:
            thread = threading.Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.01}, name="fake-relay")
            thread.start()
            self.order(relay=relay.server_address[1])
            try:
                yield
            finally:
                self.order(relay=0)
                relay.shutdown()
                thread.join(timeout=10)

    def environment(self, home: Path) -> dict[str, str]:
        """An environment in which nothing but this program is to be found (and what its script runs)."""
        return {"PATH": f"{self.directory}{os.pathsep}{os.defpath}", "HOME": str(home)}

    def runs(self) -> list[dict[str, Any]]:
        """Every run so far: `argv`, `environment` (OPENCLAW_… only), `pid`."""
        record = self.directory / "calls.jsonl"
        if not record.exists():
            return []
        return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]

    def writes(self) -> list[str]:
        """Runs that would have changed something."""
        cards = ("workboard.cards.list", "workboard.cards.runs")
        reads = (*cards, "sessions.list", "chat.history", "agents.list", "models.list")
        lists = (["workboard", "list"], ["agents", "list"])
        harmless = (["--version"], *lists, *(["gateway", "call", method] for method in reads))
        return [
            " ".join(run["argv"])
            for run in self.runs()
            if not any(run["argv"][: len(words)] == words for words in harmless)
        ]

    def remove(self) -> None:
        """Uninstalls the program."""
        self.program.unlink()
