"""Our packages' log lines go to the worker's standard error, which Ray keeps in a file."""

from __future__ import annotations

import logging
import sys

PACKAGES = ("cluster", "deployments", "rag", "train")


def configure() -> None:
    """Once a process. `sys.stderr` is Serve's there, a logger that holds lines back."""
    for package in PACKAGES:
        logger = logging.getLogger(package)
        if not logger.handlers:
            handler = logging.StreamHandler(sys.__stderr__)
            handler.setFormatter(
                logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
            )
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
            logger.propagate = False
