"""A language model on loopback that keeps every prompt and always answers the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "NO_REPLY"
"""What OpenClaw takes for "nothing to tell anybody"."""


class ListeningModel:
    """Answers as an OpenAI-compatible server does, in a stream or at once."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="listening-model", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        """What users, people or not, said to it, one entry a request."""
        return ["\n".join(_said(request)) for request in tuple(self._server.requests)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10.0)


def _said(request: dict[str, Any]) -> Iterator[str]:
    for message in request["messages"]:
        if message["role"] == "user":
            content = message["content"]
            yield content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.requests: list[dict[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.server.requests.append(request)
        self.send_response(200)
        if request.get("stream"):
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for delta, reason in (({"role": "assistant", "content": ANSWER}, None), ({}, "stop")):
                choice = {"index": 0, "delta": delta, "finish_reason": reason}
                chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "silent"}
                self._write(f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n")
            self._write("data: [DONE]\n\n")
        else:
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            message = {"role": "assistant", "content": ANSWER}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "silent", "usage": usage}
            self._write(json.dumps({**whole, "choices": [choice]}))
        self.close_connection = True

    def _write(self, text: str) -> None:
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has upstream
        """Says nothing."""
