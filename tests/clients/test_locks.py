"""The clients' lock files name versions and digests, and no place to fetch from."""

from __future__ import annotations

import json
import re

from tests.clients.installed import CLIENTS


def test_pythons() -> None:
    text = (CLIENTS / "python.txt").read_text()
    assert "://" not in text
    assert not re.search(r"--(extra-)?index|--find-links|@ ", text)
    pins = dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)$", text, re.MULTILINE))
    wanted = (CLIENTS / "python.in").read_text().split()
    assert set(wanted) <= set(pins), "run tests/clients/lock.sh"


def test_nodes() -> None:
    lock = json.loads((CLIENTS / "node" / "package-lock.json").read_text())
    asked = json.loads((CLIENTS / "node" / "package.json").read_text())["dependencies"]
    packages = dict(lock["packages"])
    assert packages.pop("")["dependencies"] == asked, "run tests/clients/lock.sh"
    assert packages
    for package in packages.values():
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package
