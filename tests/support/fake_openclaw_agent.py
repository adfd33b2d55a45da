"""A real executable called `openclaw` that knows `agent` alone, with the outputs of the real one (contract 6.1),
verbatim. It behaves as the model that it is asked for says: `--model=fake/held`; and as its orders say of the Gateway.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

_SCRIPT = r"""#!{interpreter} -IS
import json, os, signal, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "orders.json"), encoding="utf-8") as file:
    ORDERS = json.load(file)
ARGUMENTS = dict(part[2:].partition("=")[::2] for part in sys.argv[2:])
SESSION, MODEL = ARGUMENTS.get("session-key"), ARGUMENTS.get("model", "fake/answers")
BEHAVIOUR = MODEL.partition("/")[2]
RUN = "2ec465a0-ad71-4b70-80b4-e1149942248d"


def note(word, **more):
    line = json.dumps({{"word": word, "session": SESSION, "pid": os.getpid(), **more}}) + "\n"
    with open(os.path.join(HERE, "record.jsonl"), "a", encoding="utf-8") as file:
        file.write(line)


def finish(document, code, complaint=""):
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()
    sys.stderr.write(complaint)
    sys.stderr.flush()
    note("ended", code=code)
    os._exit(code)


def cli_error(message, complaint=None, **more):
    told = (
        "[openclaw] The CLI command failed.\n[openclaw] Reason: " + message + "\n"
        "[openclaw] Debug: set OPENCLAW_DEBUG=1 to include the stack trace.\n"
    )
    finish({{"ok": False, **more, "error": {{"type": "cli_error", "message": message}}}}, 1, complaint or told)


def turn(status, summary, text, **more):
    meta = {{
        "durationMs": 687,
        "agentMeta": {{
            "sessionId": "68ac29d9-3160-4b1e-9697-52da9a9b2ccc",
            "sessionFile": "agent:" + ARGUMENTS["agent"] + ":" + SESSION,
            "provider": "fake",
            "model": BEHAVIOUR,
            "usage": {{"input": 1200, "output": 12, "cacheRead": 30, "cacheWrite": 0, "total": 1242}},
            "costUsd": 0.00125,
        }},
        "aborted": status != "ok",
        "executionTrace": {{"winnerProvider": "fake", "winnerModel": BEHAVIOUR, "fallbackUsed": False}},
    }}
    if status != "ok":
        del meta["executionTrace"], meta["agentMeta"]["usage"], meta["agentMeta"]["costUsd"]
        meta["error"] = {{"kind": "incomplete_turn", "message": text}}
    payloads = [{{"text": text, "mediaUrl": None}}]
    document = {{"runId": RUN, "status": status, "summary": summary, **more}}
    return {{**document, "result": {{"payloads": payloads, "meta": meta}}}}


def stopped(number, frame):
    if BEHAVIOUR == "unconfirmed":
        sys.stderr.write("Interrupted by SIGTERM; Gateway run " + RUN + " was not confirmed aborted.\n")
        sys.stderr.flush()
    note("stopped")
    os._exit(128 + number)


def timed_out():
    told = (
        "Request timed out before a response was generated. Please try again, or increase "
        "`agents.defaults.timeoutSeconds` in your config."
    )
    finish(turn("timeout", "aborted", told, timeoutPhase="provider", providerStarted=True), 1)


with open(ARGUMENTS["message-file"], encoding="utf-8") as file:
    MESSAGE = file.read()
note("called", argv=sys.argv[1:], message=MESSAGE, group=os.getpgid(0), leader=os.getsid(0),
     environment={{name: value for name, value in os.environ.items() if name.startswith(("OPENCLAW_", "LC_"))}})
if ORDERS["reach"] == "down":
    told = "Gateway not reachable at ws://127.0.0.1:18990 (ECONNREFUSED).\nStart it with `openclaw gateway run`."
    hint = "Gateway agent call connection closed; the Gateway may still be running this turn. Check it.\n"
    cli_error(told, hint + told + "\n")
if ORDERS["reach"] == "unknown agent":
    cli_error('Unknown agent id "' + ARGUMENTS["agent"] + '". Use "openclaw agents list" to see configured agents.')
if ORDERS["reach"] == "lost":
    told = "gateway closed (1006 abnormal closure (no close frame)): no close reason"
    hint = "Gateway agent call connection closed; the Gateway may still be running this turn. Check it.\n"
    cli_error(told, hint + told + "\n")
if ORDERS["reach"] == "no node":
    sys.stderr.write("/usr/bin/env: 'node': No such file or directory\n")
    sys.stderr.flush()
    os._exit(127)

signal.signal(signal.SIGTERM, signal.SIG_IGN if BEHAVIOUR == "stubborn" else stopped)
if BEHAVIOUR == "default signals":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
note("turn", message=MESSAGE, timeout=ARGUMENTS["timeout"])
if BEHAVIOUR == "family":
    import subprocess

    told = [sys.executable, "-IS", "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"]
    note("grandchild", child=subprocess.Popen(told).pid)
if BEHAVIOUR in ("held", "hangs", "stubborn", "unconfirmed", "family", "default signals"):
    until = time.monotonic() + float(ARGUMENTS["timeout"])
    while BEHAVIOUR != "held" or not os.path.exists(os.path.join(HERE, "let-go")):
        if time.monotonic() > until and BEHAVIOUR != "stubborn":
            timed_out()
        time.sleep(0.01)
if BEHAVIOUR == "flood":
    while True:
        sys.stdout.write("x" * 65536)
if BEHAVIOUR == "crash":
    sys.stderr.write("node:internal/modules/cjs/loader:1215\nError: Cannot find module 'x'\n")
    sys.stderr.flush()
    os._exit(1)
if BEHAVIOUR == "telltale":
    cli_error("nobody knows " + os.environ.get("OPENCLAW_GATEWAY_TOKEN", ""), runId=RUN, origin="gateway")
if BEHAVIOUR == "cut":
    sys.stdout.write(json.dumps(turn("ok", "completed", "done"))[:200])
    sys.stdout.flush()
    os._exit(0)
if BEHAVIOUR in ORDERS["complaints"]:
    cli_error(ORDERS["complaints"][BEHAVIOUR], runId=RUN, origin="gateway")
if BEHAVIOUR == "aborted":
    finish(turn("timeout", "aborted", "This operation was aborted", stopReason="rpc"), 1)
finish(turn("ok", "completed", "done"), 0)
"""


class FakeOpenClawAgent:
    """The program in a directory of its own. `complaints` say how a model's refusal is told, by the model's name."""

    def __init__(self, directory: Path, complaints: dict[str, str] | None = None) -> None:
        self.directory = directory / "openclaw-agent-bin"
        self.directory.mkdir(parents=True)
        self.program = self.directory / "openclaw"
        self.program.write_text(_SCRIPT.format(interpreter=sys.executable), encoding="utf-8")
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)
        self._orders: dict[str, Any] = {"reach": "up", "complaints": complaints or {}}
        self.order()

    def order(self, **orders: Any) -> None:
        """`reach`: up, down, unknown agent, lost (the connection, after the request was sent), no node."""
        self._orders |= orders
        (self.directory / "orders.json").write_text(json.dumps(self._orders), encoding="utf-8")

    def let_go(self) -> None:
        """Every model that holds its answer back gives it."""
        (self.directory / "let-go").touch()

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """An environment in which nothing but this program is to be found (and what its script runs)."""
        return {"PATH": f"{self.directory}{os.pathsep}{os.defpath}", "HOME": str(home), **more}

    def record(self, word: str = "", session: str = "") -> list[dict[str, Any]]:
        """What it noted, oldest first: `called` at each start, `turn` when a model is asked, `stopped`, `ended`."""
        path = self.directory / "record.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines]
        return [row for row in rows if word in ("", row["word"]) and session in ("", row["session"])]
