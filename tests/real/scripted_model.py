"""Language models on loopback, one for each behaviour, and which of their requests belongs to which turn."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.real.gateway import RealGateway
from tests.support.fake_models import Behaviour

_REFUSALS: dict[Behaviour, tuple[int, str, str]] = {
    Behaviour.DENIED: (401, "Incorrect API key provided", "invalid_request_error"),
    Behaviour.MALFORMED: (400, "Invalid request", "invalid_request_error"),
    Behaviour.UNKNOWN_MODEL: (404, "The model does not exist", "invalid_request_error"),
    Behaviour.FAILING: (500, "The server had an error", "server_error"),
    Behaviour.LIMITED: (429, "Rate limit reached for requests", "rate_limit_error"),
}
_NOBODY = "http://127.0.0.1:9/v1"
"""Where nothing listens."""
_PRICE = {"input": 3, "output": 15, "cacheRead": 0, "cacheWrite": 0}


def _name(behaviour: Behaviour) -> str:
    return behaviour.value.replace(" ", "-")


class ScriptedModels:
    """An OpenAI-compatible server; the first part of a path says which model is asked."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="scripted-models", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.let_go()
        self._server.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10.0)

    def let_go(self) -> None:
        """Every request that is held is answered; later ones are held again."""
        held, self._server.held = self._server.held, threading.Event()
        held.set()

    def calls(self, word: str) -> int:
        """How many requests had this word in what was said last."""
        return sum(1 for said in tuple(self._server.said) if word in said)

    def provide(self, gateway: RealGateway, default: Behaviour) -> None:
        """Makes every model known to a Gateway that has not been started, and one of them the agents' own."""
        path = gateway.state_directory / "openclaw.json"
        configuration = json.loads(path.read_text(encoding="utf-8"))
        configuration["models"]["providers"] = {_name(each): self._provider(each) for each in Behaviour}
        configuration["agents"]["defaults"] = {"model": {"primary": f"{_name(default)}/m"}}
        path.write_text(json.dumps(configuration, indent=2), encoding="utf-8")

    def _provider(self, behaviour: Behaviour) -> dict[str, Any]:
        own = f"http://127.0.0.1:{self._server.server_port}/{_name(behaviour)}/v1"
        model = {"id": "m", "name": "m", "contextWindow": 128_000, "maxTokens": 4096, "cost": _PRICE}
        return {
            "baseUrl": _NOBODY if behaviour is Behaviour.GONE else own,
            "apiKey": f"key-of-{_name(behaviour)}",
            "api": "openai-completions",
            "models": [model],
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.said: list[str] = []
        self.held = threading.Event()
        self.ended = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.server.said.append(_said_last(request["messages"]))
        behaviour = next(each for each in Behaviour if self.path.startswith(f"/{_name(each)}/"))
        if behaviour in _REFUSALS:
            self._refuse(*_REFUSALS[behaviour])
            return
        if behaviour is Behaviour.HANGS:
            self.server.ended.wait()
        else:
            if behaviour is Behaviour.HELD:
                self.server.held.wait()
            self._answer()
        self.close_connection = True

    def _refuse(self, status: int, message: str, kind: str) -> None:
        body = json.dumps({"error": {"message": message, "type": kind}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "2")
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for part in (
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "好的"}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 1200, "completion_tokens": 12, "total_tokens": 1212}},
        ):
            chunk = {"id": "answer", "object": "chat.completion.chunk", "created": 1, "model": "m", **part}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has upstream
        """Says nothing."""


def _said_last(messages: list[dict[str, Any]]) -> str:
    """What was said since the model last answered."""
    answered = max((index for index, each in enumerate(messages) if each["role"] == "assistant"), default=-1)
    return json.dumps(messages[answered + 1 :], ensure_ascii=False)
