"""The folders of a home that nobody else may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cluster.errors import ConfigurationError


def private_folder(path: Path) -> Path:
    """Make `path` with mode 0700, or take it if it is ours and closed to others.

    Raises ConfigurationError: another user who made it first could read or swap what is in it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise ConfigurationError(f"Cannot make the folder {path}: {error.strerror}.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigurationError(f"{path} must be a folder of the user who starts Lorikeet.")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)
    return path
