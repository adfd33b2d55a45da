"""Install the built wheel into an empty environment and use it from an empty directory, as a new user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

CONSTRAINTS = Path(__file__).with_name("constraints.txt").resolve()


def main(directory: str) -> None:
    (wheel,) = Path(directory).resolve().glob("*.whl")
    with tempfile.TemporaryDirectory(prefix="heartbeat-wheel-") as scratch:
        home = Path(scratch)
        venv.create(home / "venv", with_pip=True)
        python = home / "venv" / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--constraint", str(unhashed(home)), str(wheel)], check=True)
        use(python.with_name("heartbeat"), home / "empty")
    print(f"{wheel.name}: installs and works from an empty directory")


def unhashed(home: Path) -> Path:
    """The pinned versions without hashes: pip cannot check the hash of a wheel that was built a minute ago."""
    lines = [line.split(" ")[0] for line in CONSTRAINTS.read_text().splitlines() if line[:1].isalnum()]
    path = home / "versions.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def use(heartbeat: Path, directory: Path) -> None:
    """The main commands, on what the wheel brings along."""
    directory.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [str(heartbeat), *words], cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            sys.exit(f"heartbeat {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    assert run("--version").startswith("heartbeat ")
    assert "BIZ-31" in run("demo", "--into", "sample")
    roster = ("--roster", "sample/agents.yaml")
    tick = json.loads(run(*roster, "tick", "coo", "--json"))
    assert tick["schema"] == "heartbeat.tick/1"
    assert tick["degraded"] is False
    assert any(len(task["refs"]) > 1 for task in tick["tasks"])
    assert tick["receipt"]["id"][:8] in run(*roster, "receipts", "--agent", "coo")
    run(*roster, "render", "--all", "--out", "rendered")
    run(*roster, "render", "--all", "--out", "rendered", "--check")
    assert len(list((directory / "rendered").glob("*/HEARTBEAT.md"))) == 3


if __name__ == "__main__":
    main(sys.argv[1])
