"""What the fake `openclaw` does (see fake_openclaw.py): nothing but the standard library, and little of that.

It reads its orders from a JSON file beside the program at every run and keeps a record of its arguments.
"""

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

VERSION_LINE = "OpenClaw 2026.9.6 (eb377ac)"
ORDERS: "dict[str, Any]" = {}
ARGUMENTS: "list[str]" = []
DISABLED = (
    'The `openclaw workboard` command is provided by the "workboard" plugin, but that bundled plugin is disabled by '
    "default. Run `openclaw plugins enable workboard` to enable that CLI surface."
)
MISMATCH = "unauthorized: gateway token mismatch (use this gateway's gateway.auth.token or pair the device)"
CREDENTIALS = (
    "gateway {} requires credentials before opening a websocket\n"
    "Fix: configure gateway.auth token/password, pair this device, or pass --token/--password.\n"
    "Config: /state/openclaw.json"
)


def put(value: "Any") -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def fail(error: "Any", complaint: str = "", **more: "Any") -> "NoReturn":
    sys.stdout.write(put({"ok": False, "error": error, **more}))
    sys.stderr.write(complaint)
    sys.exit(1)


def cli_error(message: str, complaint: "str | None" = None) -> "NoReturn":
    fail({"type": "cli_error", "message": message}, message + "\n" if complaint is None else complaint)


def failed(message: str) -> "NoReturn":
    cli_error(message, "[openclaw] The CLI command failed.\n[openclaw] Reason: " + message + "\n")


def option(name: str) -> "Any":
    return ARGUMENTS[ARGUMENTS.index(name) + 1] if name in ARGUMENTS else None


def board_of(card: "Any") -> str:
    return card.get("metadata", {}).get("automation", {}).get("boardId", "default")


def cards_of(board: "str | None") -> "list[Any]":
    return [card for card in ORDERS["cards"] if board is None or board_of(card) == board.lower()]


def say(value: "Any") -> None:
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


def gateway_call() -> None:
    method = ARGUMENTS[2]
    try:
        parameters = json.loads(option("--params") or "{}")
    except ValueError:
        cli_error("--params must be valid JSON.", "")
    url = "ws://127.0.0.1:" + os.environ.get("OPENCLAW_GATEWAY_PORT", "18789")
    gateway = {"url": url, "urlSource": "local loopback", "bindDetail": "Bind: loopback"}
    reach = ORDERS["reach"] if ORDERS["only"] in ("", method) else "up"
    if reach == "no credentials":
        cli_error(CREDENTIALS.format(method))
    if reach == "down":
        told = "Gateway not reachable at " + url + " (ECONNREFUSED)."
        fail({"type": "gateway_transport_error", "kind": "closed", "message": told}, gateway=gateway)
    if reach == "timeout":
        told = "gateway timeout after " + option("--timeout") + "ms"
        fail({"type": "gateway_transport_error", "kind": "timeout", "message": told}, gateway=gateway)
    error = {"type": "gateway_request_error", "retryable": False}
    if reach == "denied":
        details = {"code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch"}
        complaint = "gateway connect failed: GatewayClientRequestError: " + MISMATCH + "\n"
        fail({**error, "code": "INVALID_REQUEST", "message": MISMATCH, "details": details}, complaint)
    if reach == "starting":
        fail({**error, "code": "UNAVAILABLE", "message": "gateway starting; retry shortly", "retryable": True})
    if method.startswith("workboard.") and not ORDERS["plugin"]:
        fail({**error, "code": "INVALID_REQUEST", "message": "unknown method: " + method})
    if ORDERS["relay"]:
        relayed(method, parameters, error, gateway)
    elif method == "workboard.cards.list":
        say({"cards": cards_of(parameters.get("boardId")), **ORDERS["around"]})
    elif method == "sessions.list":
        wanted = "hasActiveRun" if parameters.get("activeOnly") else "lastInteractionAt"
        sessions = [session for session in ORDERS["sessions"] if session.get(wanted)]
        say({"ts": ORDERS["ts"], "count": len(sessions), "nextOffset": None, "hasMore": False, "sessions": sessions})
    elif method == "chat.history":
        said = ORDERS["messages"].get(parameters["sessionKey"], [])
        say({"sessionKey": parameters["sessionKey"], "messages": said, "hasMore": False, "totalMessages": len(said)})
    else:
        fail({**error, "code": "INVALID_REQUEST", "message": "unknown method: " + method})


def relayed(method: str, parameters: "Any", error: "dict[str, Any]", gateway: "dict[str, Any]") -> None:
    import socket

    with socket.create_connection(("127.0.0.1", ORDERS["relay"]), timeout=30) as relay:
        relay.sendall(json.dumps({"method": method, "params": parameters}).encode() + b"\n")
        answer = relay.makefile("r", encoding="utf-8").readline()
    if not answer:
        lost = "gateway closed (1006 abnormal closure (no close frame)): no close reason"
        told = {"kind": "closed", "message": lost, "code": 1006, "reason": "no close reason"}
        fail({"type": "gateway_transport_error", **told}, gateway=gateway)
    answer = json.loads(answer)
    if answer["error"] is not None:
        fail({**error, **answer["error"]})
    say(answer["payload"])


def workboard() -> None:
    if not ORDERS["plugin"]:
        cli_error(DISABLED)
    if ARGUMENTS[1] == "list":
        status = option("--status")
        cards = cards_of(option("--board"))
        say({"cards": [card for card in cards if status is None or card["status"] == status]})
    elif ARGUMENTS[1] == "show":
        found = [card for card in ORDERS["cards"] if card["id"].startswith(ARGUMENTS[2])]
        if not found:
            failed("Card not found: " + ARGUMENTS[2])
        if len(found) > 1:
            failed("Ambiguous card id prefix: " + ARGUMENTS[2] + " (" + str(len(found)) + " matches)")
        say({"card": found[0]})


def main() -> None:
    here = os.path.dirname(os.path.abspath(sys.argv[0]))  # noqa: PTH100, PTH120 - pathlib takes its time to load
    with open(here + "/orders.json", encoding="utf-8") as file:  # noqa: PTH123
        ORDERS.update(json.load(file))
    ARGUMENTS[:] = sys.argv[1:]
    with open(here + "/calls.jsonl", "a", encoding="utf-8") as file:  # noqa: PTH123
        environment = {name: value for name, value in os.environ.items() if name.startswith("OPENCLAW_")}
        file.write(json.dumps({"argv": ARGUMENTS, "environment": environment, "pid": os.getpid()}) + "\n")
    if ARGUMENTS == ["--version"]:
        print(VERSION_LINE)
    elif ARGUMENTS[:2] == ["gateway", "call"]:
        gateway_call()
    elif ARGUMENTS[:1] == ["workboard"]:
        workboard()
    elif ARGUMENTS == ["agents", "list", "--json"]:
        say(ORDERS["agents"])
    else:
        cli_error("OpenClaw does not recognize the command " + repr(ARGUMENTS))
