"""The Serve configuration that `up` deploys: found, read, and given this product's address."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from cluster.errors import ConfigurationError

NAME = "serve_config.yaml"


def default_config() -> Path:
    """The file that comes with Lorikeet: beside the packages in a checkout, in share/ if installed.

    Raises ConfigurationError where neither is there.
    """
    checkout = Path(__file__).resolve().parents[2] / NAME
    installed = Path(sys.prefix) / "share" / "lorikeet" / NAME
    for path in (checkout, installed):
        if path.is_file():
            return path
    raise ConfigurationError(f"{NAME} is missing; name one with --config.")


def read_config(path: Path) -> dict[str, Any]:
    """Raises ConfigurationError naming the file and what is wrong. Serve itself checks the rest."""
    try:
        config: Any = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    applications = config.get("applications") if isinstance(config, dict) else None
    if not isinstance(applications, list) or not applications:
        raise ConfigurationError(f"{path}: applications must be a list with at least one entry.")
    for index, application in enumerate(applications):
        if not isinstance(application, dict) or not application.get("name"):
            raise ConfigurationError(f"{path}: applications[{index}].name is missing.")
    if not isinstance(config.setdefault("http_options", {}), dict):
        raise ConfigurationError(f"{path}: http_options must be a mapping.")
    return dict(config)


def at_address(config: dict[str, Any], host: str | None, port: int | None) -> dict[str, Any]:
    """A copy that listens on `host` and `port` where they are given."""
    http = dict(config.get("http_options") or {})
    http["host"] = host or http.get("host") or "127.0.0.1"
    http["port"] = port or http.get("port") or 8000
    return {**config, "http_options": http}


def chat_model(config: dict[str, Any]) -> str | None:
    """The first language model, for the example that `up` prints."""
    for application in config["applications"]:
        if str(application.get("import_path", "")).startswith("deployments.llm"):
            return str((application.get("args") or {}).get("name") or application["name"])
    return None
