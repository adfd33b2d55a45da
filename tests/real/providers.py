"""Providers of language models on loopback, three for each agent, that do what a test tells them: answer, refuse, hang,
be gone and come back, or have the agent run a command."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.fake_models import Behaviour

AGENTS = tuple(f"worker-{number:02}" for number in range(1, 25))
"""One for each test: what was refused to one agent is remembered by OpenClaw for a while (contract 6.3)."""
PLACES = ("first", "second", "third")

INPUT_TOKENS, OUTPUT_TOKENS = 1200, 12
"""What every request costs."""
PRICE = {"input": 3, "output": 15, "cacheRead": 0, "cacheWrite": 0}
"""In US dollars a million."""

SECONDS = 60.0
"""For whatever OpenClaw has to do in the end."""
_REFUSALS = {
    Behaviour.DENIED: (401, "Incorrect API key provided", "invalid_request_error"),
    Behaviour.UNKNOWN_MODEL: (404, "The model does not exist", "invalid_request_error"),
    Behaviour.FAILING: (500, "The server had an error", "server_error"),
    Behaviour.LIMITED: (429, "Rate limit reached for requests", "rate_limit_error"),
}
_PROMPT = "heartbeat 派给你一个任务"
_GLANCE = 0.1
"""Seconds between two looks whether somebody who waits for an answer is still there."""


class Diary:
    """What the providers met, in order: `asked NAME`, and `left NAME` where nobody waited for the answer any more."""

    def __init__(self) -> None:
        self._entries: list[str] = []
        self._changed = threading.Condition()

    @property
    def entries(self) -> tuple[str, ...]:
        with self._changed:
            return tuple(self._entries)

    def note(self, entry: str) -> None:
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()

    def wait_until(self, told: Callable[[Sequence[str]], bool], seconds: float = SECONDS) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: told(self._entries), seconds), self._entries


class Provider:
    """One OpenAI-compatible server with one model, `m`. It is gone until it is told to come."""

    behaviour = Behaviour.ANSWERS

    def __init__(self, name: str, diary: Diary) -> None:
        self.name = name
        self.diary = diary
        self.requests: list[dict[str, Any]] = []
        self.commands: Callable[[str], Sequence[str]] | None = None
        """What it has the agent run before it answers, by the words of the turn's message."""
        self._let_go = threading.Event()
        self._taken = _bound(0)
        self._port = int(self._taken.getsockname()[1])
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def model(self) -> str:
        """As a roster names it."""
        return f"{self.name}/m"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def turns(self) -> int:
        """How many turns asked it; one that calls tools asks several times."""
        return sum(1 for request in self.requests if _place(request)[1] == 0)

    def come(self, behaviour: Behaviour | None = None) -> None:
        """It listens from now on; a model that is gone does not come."""
        self.behaviour = behaviour or self.behaviour
        if self.behaviour is Behaviour.GONE:
            return
        if self._server is None:
            self._taken.close()
            self._server = _Server(self._port, self)
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
            self._thread.start()

    def go(self) -> None:
        """Nothing listens there any more; the port stays its own."""
        self.let_go()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(timeout=10.0)
            self._server = self._thread = None
            self._taken = _bound(self._port)

    def close(self) -> None:
        self.go()
        self._taken.close()

    def let_go(self) -> None:
        """Requests that are held are answered; later ones are held again."""
        held, self._let_go = self._let_go, threading.Event()
        held.set()

    def wait_until_asked(self, times: int = 1, seconds: float = SECONDS) -> None:
        self.diary.wait_until(lambda entries: entries.count(f"asked {self.name}") >= times, seconds)

    def wait_until_left(self, seconds: float = SECONDS) -> None:
        self.diary.wait_until(lambda entries: f"left {self.name}" in entries, seconds)

    def meet(self, request: dict[str, Any]) -> None:
        self.requests.append(request)
        self.diary.note(f"asked {self.name}")

    def is_awaited(self, connection: socket.socket) -> bool:
        """Holds the answer back; False where nobody waits for it any more."""
        let_go = self._let_go
        connection.settimeout(_GLANCE)
        while not let_go.is_set():
            try:
                left = connection.recv(1, socket.MSG_PEEK) == b""
            except TimeoutError:
                continue
            except OSError:
                left = True
            if left:
                self.diary.note(f"left {self.name}")
                return False
        connection.settimeout(None)
        return True

    def next_command(self, request: dict[str, Any]) -> str | None:
        """The next command of the turn, None where all were run."""
        prompt, done = _place(request)
        commands = self.commands(prompt) if self.commands is not None else ()
        return commands[done] if done < len(commands) else None


def _place(request: dict[str, Any]) -> tuple[str, int]:
    """Where a turn stands: the prompt that heartbeat sent, and how many commands were run since."""
    done = 0
    for message in reversed(request["messages"]):
        if message["role"] == "user" and _PROMPT in _text(message):
            return _text(message), done
        done += message["role"] == "tool"
    raise AssertionError("heartbeat did not send this")


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def _bound(port: int) -> socket.socket:
    """A port that is taken, and refuses whoever comes."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    return taken


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, provider: Provider) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.provider = provider


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    _calls = itertools.count(1)

    def do_POST(self) -> None:
        provider = self.server.provider
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.close_connection = True
        behaviour = provider.behaviour
        provider.meet(request)
        if behaviour in _REFUSALS:
            self._refuse(*_REFUSALS[behaviour])
        elif behaviour not in (Behaviour.HELD, Behaviour.HANGS) or provider.is_awaited(self.connection):
            self._answer(provider.next_command(request))

    def _refuse(self, status: int, message: str, kind: str) -> None:
        body = json.dumps({"error": {"message": message, "type": kind}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "2")
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, command: str | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for choice, reason in _said() if command is None else _called(command, next(self._calls)):
            self._write({"choices": [{"index": 0, "delta": choice, "finish_reason": reason}]})
        usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS}
        self._write({"choices": [], "usage": {**usage, "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _write(self, part: dict[str, Any]) -> None:
        chunk = {"id": "answer", "object": "chat.completion.chunk", "created": 1, "model": "m", **part}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has upstream
        """Says nothing."""


def _said() -> Iterator[tuple[dict[str, Any], str | None]]:
    yield {"role": "assistant", "content": "好的"}, None
    yield {}, "stop"


def _called(command: str, number: int) -> Iterator[tuple[dict[str, Any], str | None]]:
    """A call of the agent's shell, which waits for the command's end."""
    call = {"index": 0, "id": f"call_{number}", "type": "function", "function": {"name": "exec", "arguments": ""}}
    arguments = json.dumps({"command": command, "timeoutSeconds": 60, "yieldMs": 60_000})
    yield {"role": "assistant", "content": None, "tool_calls": [call]}, None
    yield {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}, None
    yield {}, "tool_calls"


class Providers:
    """Those of all agents, in the order of their places."""

    def __init__(self) -> None:
        self.diary = Diary()
        self.of: dict[str, tuple[Provider, ...]] = {
            agent: tuple(Provider(f"{agent}-{place}", self.diary) for place in PLACES) for agent in AGENTS
        }

    def close(self) -> None:
        for provider in itertools.chain.from_iterable(self.of.values()):
            provider.close()

    def configure(self, configuration: dict[str, Any]) -> None:
        """Makes them known to OpenClaw; each agent's own model is its first, and its second is OpenClaw's fallback."""
        entry = {"id": "m", "name": "m", "contextWindow": 128_000, "maxTokens": 4096, "cost": PRICE}
        configuration["models"]["providers"] = {
            each.name: {
                "baseUrl": each.url,
                "apiKey": f"key-of-{each.name}",
                "api": "openai-completions",
                "models": [entry],
            }
            for each in itertools.chain.from_iterable(self.of.values())
        }
        for agent, (first, second, _) in self.of.items():
            models = {"primary": first.model, "fallbacks": [second.model]}
            configuration["agents"]["entries"][agent]["model"] = models
