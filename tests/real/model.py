"""Language models on loopback: one that never answers, so that an agent's turn lasts as long as a test wants, and one
that always says the same at once."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class SilentModel:
    """Takes requests as an OpenAI-compatible server does and holds them until it is closed."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="loopback-model", daemon=True)
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return _Silent

    @property
    def requests(self) -> int:
        """How often it has been asked for anything."""
        return self._server.requests

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.ended = threading.Event()
        self.requests = 0
        self.counted = threading.Lock()


class CurtModel(SilentModel):
    """Answers every request with one word, as a stream."""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return _Curt


class _Silent(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        with self.server.counted:
            self.server.requests += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.ended.wait()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has upstream
        """Says nothing."""


class _Curt(_Silent):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for part in (
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "好的"}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}},
        ):
            chunk = {"id": "answer", "object": "chat.completion.chunk", "created": 1, "model": "silent", **part}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True
