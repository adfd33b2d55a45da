"""A real OpenClaw Gateway on loopback with a HOME of its own, which ends with the tests and leaves nothing behind."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import WebSocketException

from tests.real import supervisor
from tests.real.install import OpenClawInstallation
from tests.real.rpc import READ_AND_WRITE, GatewayConnection, RpcError

AGENTS = ("coo", "architect", "secretary")
READY_SECONDS = 120.0
"""Ready in 9 s on a quiet machine, in 40 s on a slow and busy one."""
PATIENCE = 15.0
"""Seconds after TERM, of which it needs one."""
STOP_SECONDS = 2 * PATIENCE + 10.0
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class GatewayFailedError(Exception):
    """The Gateway did not come up; the message ends with its log."""


class RealGateway:
    """A Gateway with the workboard plug-in and a few agents. A context manager: entered, it is ready.

    It may be stopped and started again within the context; boards stay. Its agents can take turns only where the
    address of a model is given.
    """

    def __init__(
        self, installation: OpenClawInstallation, agents: Sequence[str] = AGENTS, *, model: str | None = None
    ) -> None:
        self.installation = installation
        self.agents = tuple(agents)
        self.model = model
        self.token = secrets.token_hex(16)
        self.port = _free_port()
        self.home = Path(tempfile.mkdtemp(prefix="heartbeat-openclaw-")).resolve()
        self._process: subprocess.Popen[str] | None = None
        self._pid = 0
        self._connection: GatewayConnection | None = None
        self._configure()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    @property
    def state_directory(self) -> Path:
        return self.home / ".openclaw"

    @property
    def log(self) -> Path:
        return self.home / "gateway.log"

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to talk to this Gateway, by WebSocket or by the command `openclaw`, and nothing else."""
        return {
            "HOME": str(self.home),
            "PATH": f"{self.installation.bin_directory}:{SYSTEM_PATH}",
            "TMPDIR": str(self.home / "tmp"),
            "LC_ALL": "C.UTF-8",
            "OPENCLAW_GATEWAY_PORT": str(self.port),
            "OPENCLAW_GATEWAY_TOKEN": self.token,
            "OPENCLAW_NO_AUTO_UPDATE": "1",
            "OPENCLAW_DISABLE_BONJOUR": "1",
        }

    @property
    def is_up(self) -> bool:
        """Whether its process runs; it need not be ready."""
        return self._process is not None and self._process.poll() is None

    def workspace(self, agent: str) -> Path:
        return self.home / "workspaces" / agent

    def start(self) -> None:
        """Launches the Gateway and waits until it takes a connection; raises GatewayFailedError."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Starts the process and returns at once."""
        if self._process is not None:
            raise AssertionError("the Gateway is running already")
        command = [str(self.installation.node), str(self.installation.entry), "gateway", "run"]
        options = ["--port", str(self.port), "--bind", "loopback", "--auth", "token", "--token", self.token]
        own = [sys.executable, "-E", "-s", supervisor.__file__, str(self.home), str(self.log), str(PATIENCE)]
        # The token is given by flag; in the environment it would reach what the Gateway starts.
        environment = {k: v for k, v in self.environment.items() if not k.startswith("OPENCLAW_GATEWAY_")}
        self._process = subprocess.Popen(
            [*own, *command, *options],
            env={**environment, "NODE_COMPILE_CACHE": str(self.installation.compile_cache)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._pid = int(self._process.stdout.readline())

    def wait_until_listening(self, seconds: float = READY_SECONDS) -> None:
        """Returns when the port opens, a second or two before the Gateway is ready; raises GatewayFailedError."""
        until = time.monotonic() + seconds
        while not self._listens():
            self._check(until, seconds, "its port is closed")
            time.sleep(0.01)

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Returns when a handshake succeeds; raises GatewayFailedError."""
        until = time.monotonic() + seconds
        self.wait_until_listening(seconds)
        while True:
            try:
                with self.connect():
                    return
            except (OSError, RpcError, TimeoutError, WebSocketException) as error:
                self._check(until, seconds, str(error))
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends the Gateway and everything it started: TERM to its process group, then KILL. Its state stays."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.stdin is not None
        assert process.stdout is not None
        with process, process.stdout:
            try:
                process.stdin.write("stop\n")
                process.stdin.close()
            except BrokenPipeError:
                pass  # the Gateway ended by itself, and the supervisor with it
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._pid, signal.SIGKILL)
                process.kill()
                raise

    def close(self) -> None:
        """Stops the Gateway and removes its HOME."""
        try:
            self.stop()
        finally:
            supervisor.forget(self.home)

    def freeze(self) -> None:
        """Suspends the Gateway: its port stays open, and nothing answers."""
        os.killpg(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self._pid, signal.SIGCONT)

    def connect(self, token: str | None = None, scopes: Sequence[str] = READ_AND_WRITE) -> GatewayConnection:
        """A new connection; the caller closes it."""
        return GatewayConnection(self.url, self.token if token is None else token, scopes=scopes)

    @property
    def connection(self) -> GatewayConnection:
        """One connection that is kept for the tests' own calls; a new one where the Gateway ended it."""
        if self._connection is not None and not self._connection.is_open:
            self._connection.close()
            self._connection = None
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

    def call(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The payload of one request; raises RpcError where the Gateway refuses it."""
        return self.connection.call(method, params)

    def log_tail(self, characters: int = 4000) -> str:
        """The end of what the Gateway printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-characters:] if self.log.exists() else ""

    def _configure(self) -> None:
        """What `config set`, `plugins enable` and `agents add` would write, in a moment instead of a minute.

        Everything that would leave this machine is off: update checks, the model catalogue, mDNS.
        """
        for directory in (self.state_directory, self.home / "tmp", *map(self.workspace, self.agents)):
            directory.mkdir(parents=True)
        agents: dict[str, Any] = {"ownership": "explicit"}
        models: dict[str, Any] = {"catalogRefresh": {"enabled": False}}
        if self.model is not None:
            provider = {"baseUrl": self.model, "apiKey": "none", "api": "openai-completions"}
            models["providers"] = {"loopback": {**provider, "models": [{"id": "silent", "name": "silent"}]}}
            agents["defaults"] = {"model": {"primary": "loopback/silent"}}
        entries = {agent: {"workspace": str(self.workspace(agent))} for agent in self.agents}
        configuration = {
            "gateway": {"mode": "local"},
            "plugins": {"allow": ["workboard"], "entries": {"workboard": {"enabled": True}}},
            "agents": {**agents, "entries": entries},
            "logging": {"file": str(self.home / "openclaw.log")},
            "update": {"checkOnStart": False},
            "models": models,
            "discovery": {"mdns": {"mode": "off"}},
        }
        (self.state_directory / "openclaw.json").write_text(json.dumps(configuration, indent=2), encoding="utf-8")

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        except OSError:
            return False
        return True

    def _check(self, until: float, seconds: float, last: str) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise GatewayFailedError(f"the Gateway ended with exit code {self._process.returncode}\n{self.log_tail()}")
        if time.monotonic() > until:
            raise GatewayFailedError(f"the Gateway was not ready within {seconds:.0f} s ({last})\n{self.log_tail()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
