"""Where a model's weights are: a folder, a hub's name, or a folder inside an installed package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from cluster.errors import ConfigurationError

PACKAGE = "package:"


def resolve(source: str) -> str:
    """A folder or a hub's name of `source`.

    `package:train.budgie/weights` is the folder `weights` in the package `train.budgie`.
    Raises ConfigurationError for a folder that is not there.
    """
    if source.startswith(PACKAGE):
        package, _, folder = source.removeprefix(PACKAGE).partition("/")
        try:
            path = Path(str(files(package))) / folder
        except ModuleNotFoundError:
            raise ConfigurationError(
                f"source={source!r}: there is no package {package!r}"
            ) from None
    elif source.startswith(("/", ".", "~")):
        path = Path(source).expanduser()
    else:
        return source
    if not path.is_dir():
        raise ConfigurationError(f"source={source!r}: there is no folder {path}")
    return str(path)
