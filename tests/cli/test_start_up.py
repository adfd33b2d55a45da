"""Start-up is part of the product: the command runs from cron thousands of times a day."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("httpx", "jinja2", "pydantic", "websockets", "sqlite3", "yaml", "rich", "croniter", "markdown_it", "asyncio")

SCRIPT = """
import json, sys
from heartbeat.cli.main import main
sys.argv = ["heartbeat", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps([code or 0, sorted(sys.modules)]))
"""


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["tick", "--help"]])
def test_version_and_help_import_nothing_heavy_and_no_source(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(words)], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert not [name for name in modules if name.split(".")[0] in HEAVY]
    assert not [name for name in modules if name.startswith("heartbeat.systems")]
