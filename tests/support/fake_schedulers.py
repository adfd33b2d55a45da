"""A `crontab` and a `systemctl` for tests, in a directory to be put first on PATH: what they keep lies beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Debian's crontab: no table is exit 1, a carriage return at the end of a line is listed as `\r`, and a table must end
# with a newline and hold no command of more than 998 bytes.
_CRONTAB = r"""#!/bin/sh
here=${0%/*}
table=$here/table
echo "$*" >>"$here/crontab.calls"
if [ -e "$here/crontab.refuses" ]; then cat "$here/crontab.refuses" >&2; exit 1; fi
case $1 in
-l)
  [ -e "$table" ] || { echo "no crontab for $(id -un)" >&2; exit 1; }
  if [ -e "$here/other.writer" ] && [ "$(grep -c -e -l "$here/crontab.calls")" -ge 2 ]; then
    cat "$here/other.writer" >>"$table"; rm "$here/other.writer"
  fi
  sed 's/\r$/\\r/' "$table" ;;
-e)
  [ -e "$here/no.editor" ] && exit 1
  cp "$table" "$here/edited" && /bin/sh -c "$VISUAL $here/edited" ;;
-r) rm -f "$table" ;;
-)
  cat >"$here/new"
  if [ -s "$here/new" ] && [ -n "$(tail -c 1 "$here/new" | tr -d '\n')" ]; then
    echo "new crontab file is missing newline before EOF, can't install." >&2; exit 1
  fi
  if [ -e "$here/loses.writes" ]; then exit 0; fi
  cp "$here/new" "$table" ;;
*) echo "usage error" >&2; exit 1 ;;
esac
"""

_SYSTEMCTL = r"""#!/bin/sh
here=${0%/*}
echo "$*" >>"$here/systemctl.calls"
if [ -e "$here/no.bus" ]; then echo "Failed to connect to bus: No medium found" >&2; exit 1; fi
if [ -e "$here/hangs" ]; then exec sleep 600; fi
shift 2
verb=$1
shift
case $verb in
show)
  shift 2
  for name; do
    if [ -e "$here/on/$name" ]; then printf 'Id=%s\nActiveState=active\nUnitFileState=enabled\n\n' "$name"
    elif [ -e "$here/enabled/$name" ]; then printf 'Id=%s\nActiveState=inactive\nUnitFileState=enabled\n\n' "$name"
    else printf 'Id=%s\nActiveState=inactive\nUnitFileState=disabled\n\n' "$name"; fi
  done ;;
enable) mkdir -p "$here/enabled" && for name; do : >"$here/enabled/$name"; done ;;
restart)
  mkdir -p "$here/on"
  code=0
  for name; do
    if [ -e "$here/fails.to.start" ] && grep -qxF "$(cat "$here/fails.to.start")" <<END
$name
END
    then echo "Job for $name failed." >&2; code=1
    else : >"$here/on/$name"; fi
  done
  exit $code ;;
disable) shift; for name; do rm -f "$here/on/$name" "$here/enabled/$name"; done ;;
daemon-reload) : ;;
*) echo "Unknown command verb $verb." >&2; exit 1 ;;
esac
"""


@dataclass(frozen=True)
class FakeSchedulers:
    """The directory, and what the two commands have kept in it."""

    folder: Path

    @property
    def path(self) -> str:
        """A PATH that begins with them."""
        return f"{self.folder}:{os.environ['PATH']}"

    @property
    def table(self) -> bytes | None:
        path = self.folder / "table"
        return path.read_bytes() if path.exists() else None

    def put_table(self, table: bytes) -> None:
        (self.folder / "table").write_bytes(table)

    def set(self, switch: str, text: str = "") -> None:
        """Turn a behaviour on: crontab.refuses, other.writer, no.editor, loses.writes, no.bus, hangs,
        fails.to.start (which holds the name of a unit)."""
        (self.folder / switch).write_text(text)

    def unset(self, switch: str) -> None:
        (self.folder / switch).unlink()

    @property
    def running(self) -> set[str]:
        """Units that systemctl has started and not stopped."""
        return {path.name for path in (self.folder / "on").glob("*")}

    def calls(self, command: str) -> list[str]:
        path = self.folder / f"{command}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def forget_calls(self) -> None:
        for path in self.folder.glob("*.calls"):
            path.unlink()


def fake_schedulers(folder: Path) -> FakeSchedulers:
    """Both commands in a new directory."""
    folder.mkdir()
    for name, text in (("crontab", _CRONTAB), ("systemctl", _SYSTEMCTL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return FakeSchedulers(folder)
