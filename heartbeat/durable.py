"""What makes a rename outlast a power failure (rule B7)."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Put the directory's entries on the disk: a new name counts only then. Raises OSError.

    Some file systems have no fsync for directories; there the rename itself is all that can be done.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
