"""The home that a command is about."""

from __future__ import annotations

import os
from pathlib import Path

from cluster.errors import ConfigurationError
from cluster.settings import Settings, settings


def settings_of(home: Path | None) -> Settings:
    """The settings with `home` in place of LORIKEET_HOME, for this process and its children.

    Raises ConfigurationError for a home that cannot be one.
    """
    if home is None and not os.environ.get("LORIKEET_HOME"):
        # Set but empty would mean the working directory, which nobody asked to be a home.
        os.environ.pop("LORIKEET_HOME", None)
    if home is not None:
        try:
            path = home.expanduser().resolve()
        except RuntimeError as error:  # ~nobody, or a loop of links
            raise ConfigurationError(f"{home} cannot be the home: {error}") from None
        if path.exists() and not path.is_dir():
            raise ConfigurationError(f"{path} cannot be the home: it is not a folder.")
        os.environ["LORIKEET_HOME"] = str(path)
    settings.cache_clear()
    return settings()
