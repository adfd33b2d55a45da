"""The cache of installations, with a build of a moment in the place of npm's minute."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from tests.real.install import (
    LAUNCHER,
    MARKER,
    OpenClawInstallation,
    _run,
    cache_directory,
    place,
)
from tests.real.install import (
    InstallError as InstallationError,
)


def test_what_is_complete_is_not_built_again(tmp_path: Path) -> None:
    builds: list[Path] = []
    first = place(tmp_path, "key", builds.append)
    assert place(tmp_path, "key", builds.append) == first == tmp_path / "key"
    assert len(builds) == 1


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(root: Path) -> None:
        (root / "half").mkdir()
        raise InstallationError("npm: 503")

    with pytest.raises(InstallationError, match="503"):
        place(tmp_path, "key", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def test_what_an_interrupted_installation_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / "key.partial-killed" / "node").mkdir(parents=True)
    (tmp_path / "key" / "half-deleted").mkdir(parents=True)
    (tmp_path / "other-key.partial-x").mkdir()
    root = place(tmp_path, "key", lambda root: root.joinpath("built").touch())
    assert sorted(path.name for path in root.iterdir()) == ["built", MARKER]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.lock", "other-key.partial-x"]


def test_of_two_installations_at_once_one_waits_and_builds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[Path] = []
    building, waiting, go_on = threading.Event(), threading.Event(), threading.Event()

    def tell(message: str) -> None:
        # Caught here, and not from the output: what is printed while that is read and emptied can get lost.
        if "waiting for another installation" in message:
            waiting.set()

    def slow(root: Path) -> None:
        builds.append(root)
        building.set()
        assert go_on.wait(30)

    monkeypatch.setattr("tests.real.install._tell", tell)
    threads = [threading.Thread(target=place, args=(tmp_path, "key", slow)) for _ in range(2)]
    threads[0].start()
    assert building.wait(30)
    threads[1].start()
    assert waiting.wait(30)
    assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert len(builds) == 1
    assert (tmp_path / "key" / MARKER).exists()


def test_the_launcher_finds_its_node_wherever_the_cache_stands(tmp_path: Path) -> None:
    installation = OpenClawInstallation(tmp_path / "a cache restored 'elsewhere'")
    for path in (installation.node, installation.launcher):
        path.parent.mkdir(parents=True)
    installation.launcher.write_text(LAUNCHER)
    installation.node.write_text('#!/bin/sh\nprintf "%s\\n" "$NODE_COMPILE_CACHE" "$@"\n')
    for path in (installation.node, installation.launcher):
        path.chmod(0o755)
    environment = {"PATH": f"{installation.bin_directory}:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", "-c", "openclaw 'two words' --json"], env=environment, capture_output=True, text=True, check=True
    )
    cache, entry, *arguments = done.stdout.splitlines()
    assert Path(os.path.normpath(cache)) == installation.compile_cache
    assert Path(os.path.normpath(entry)) == installation.entry
    assert arguments == ["two words", "--json"]


def test_a_step_that_fails_shows_its_command_and_the_end_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(InstallationError, match=r"(?s)sh -c .*exit code 3.*no such package"):
        _run(["sh", "-c", "echo no such package >&2; exit 3"], tmp_path, {"PATH": "/usr/bin:/bin"}, 30.0)


def test_a_step_that_hangs_is_killed(tmp_path: Path) -> None:
    with pytest.raises(InstallationError, match=r"did not end within 0 s"):
        _run(["sh", "-c", "sleep 60 & wait"], tmp_path, {"PATH": "/usr/bin:/bin"}, 0.2)


def test_the_cache_folder_is_a_setting(tmp_path: Path) -> None:
    assert cache_directory({"HEARTBEAT_TEST_CACHE": str(tmp_path)}) == tmp_path
    assert cache_directory({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "heartbeat-tests"
    assert cache_directory({}) == Path.home() / ".cache" / "heartbeat-tests"
