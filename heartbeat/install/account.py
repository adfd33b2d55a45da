"""An account of this machine that beats are to run as, where root puts them on schedule for it."""

from __future__ import annotations

import os
import pwd
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from heartbeat.errors import CannotWriteError, UsageError
from heartbeat.install.base import Piece
from heartbeat.schedule.launch import Launch

_NOT_ITS_OWN = frozenset({"XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"})
"""What says where the files of whoever runs this command are."""

_READ, _ENTER = 4, 1
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_USER = re.compile(r"^User=(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Account:
    """Its name, its numbers, and where it is at home."""

    name: str
    uid: int
    gid: int
    groups: frozenset[int]
    home: Path

    def environment(self, around: Mapping[str, str]) -> dict[str, str]:
        """What systemd gives it, as far as paths depend on that."""
        kept = {name: value for name, value in around.items() if name not in _NOT_ITS_OWN}
        return {**kept, "HOME": str(self.home)}

    def refuse(self, launch: Launch) -> None:
        """Raises UsageError where it could not start heartbeat, by the permissions of the files and of what links lead
        to; what is not there yet is no obstacle."""
        programs = [(Path(each), _READ | _ENTER) for each in (launch.program[0], sys.executable)]
        needed = [*programs, (launch.roster, _READ), (launch.state.parent, _ENTER)]
        needed += [] if launch.environment_file is None else [(launch.environment_file, _READ)]
        needed += [(path.resolve(), bits) for path, bits in needed]
        for path, bits in needed:
            for step, wanted in (*((each, _ENTER) for each in reversed(path.parents)), (path, bits)):
                if not self._may(step, wanted):
                    raise UsageError(
                        f"{self.name} may not {'use' if step == path else 'enter'} {step}, and beats that run as "
                        f"{self.name} need {path}; nothing was changed",
                        advice="have it where that user may read it: the program, the roster, and the state directory "
                        "that the roster names (`state:`)",
                    )

    def make(self, directory: Path) -> None:
        """A directory of its own, with what is missing above it. Raises CannotWriteError where it is another's.

        Root goes by descriptors here: in a directory of somebody else's, a name may become a link at any time.
        """
        base = next(each for each in (directory, *directory.parents) if each.exists())
        descriptor = os.open(base, _DIRECTORY)
        try:
            for name in directory.relative_to(base).parts:
                if directory.is_relative_to(self.home):
                    self._refuse_of_others(descriptor, directory)
                os.mkdir(name, 0o700, dir_fd=descriptor)
                below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
                os.fchown(descriptor, self.uid, self.gid)
            self._refuse_of_others(descriptor, directory)
        finally:
            os.close(descriptor)

    def _refuse_of_others(self, descriptor: int, directory: Path) -> None:
        owner = os.fstat(descriptor).st_uid
        if owner != self.uid:
            raise CannotWriteError(
                f"{directory} belongs to {name_of(owner)}, and beats that run as {self.name} could not write there; "
                "nothing was changed",
                advice=f"give it away with `chown -R {self.name} {directory}`, or name another one in the roster "
                "(`state:`)",
            )

    def _may(self, path: Path, bits: int) -> bool:
        try:
            found = path.stat()
        except OSError:
            return True
        mode = stat.S_IMODE(found.st_mode)
        mode >>= 6 if found.st_uid == self.uid else 3 if found.st_gid in self.groups else 0
        return mode & bits == bits


def account_called(name: str) -> Account | None:
    """None where this machine has no such account."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = frozenset(os.getgrouplist(found.pw_name, found.pw_gid))
    return Account(found.pw_name, found.pw_uid, found.pw_gid, groups, Path(found.pw_dir))


def refuse_as_user(name: str, *, system: bool) -> None:
    """Raises UsageError where `--as-user` cannot be what is meant."""
    if not system:
        raise UsageError(
            "--as-user is for the machine's systemd, which alone runs things as somebody else",
            advice="use it with --system; for another schedule run the command as that user: "
            f"`sudo -u {name} heartbeat cron install`",
        )
    if account_called(name) is None:
        raise UsageError(f"--as-user: there is no user {name!r} on this machine", advice="see `getent passwd`")


def warning_to_root(roster: Path) -> Iterator[str]:
    """That root is about to put on schedule what belongs to somebody else."""
    try:
        owner = roster.stat().st_uid
    except OSError:
        return
    if os.geteuid() == 0 and owner != 0:
        name = name_of(owner)
        yield (
            f"{roster} belongs to {name}, and what root puts on schedule runs as root, and what it writes is root's: "
            f"run this as {name}, or use `--system --as-user {name}`"
        )


def user_in(pieces: Iterable[Piece | None]) -> str:
    """Whom the units name that systemd is to run them as; empty where none does."""
    texts = (piece.text for piece in pieces if piece is not None)
    return next((found[1] for text in texts if (found := _USER.search(text))), "")


def name_of(uid: int) -> str:
    """The account's name; its number where it has none, which systemd understands as well."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
