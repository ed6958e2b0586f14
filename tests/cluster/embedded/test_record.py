from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.embedded.folders import private_folder
from cluster.embedded.record import (
    Part,
    ProductRecord,
    ProductState,
    home_lock,
    is_running,
    run_folder,
)
from cluster.errors import ConfigurationError, Conflict
from cluster.settings import Settings


def record(**changes: object) -> ProductRecord:
    values = {"pid": 1, "instance": "i", "url": "http://127.0.0.1:8000", **changes}
    return ProductRecord.model_validate(values)


def test_a_record_comes_back(tmp_path: Path) -> None:
    private_folder(run_folder(tmp_path))
    saved = record(parts=[Part(part="ray", started=1.0, seconds=2.0)], state=ProductState.READY)
    saved.save(tmp_path)
    assert ProductRecord.load(tmp_path) == saved
    ProductRecord.remove(tmp_path)
    assert ProductRecord.load(tmp_path) is None
    ProductRecord.remove(tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"pid": "x"}'])
def test_a_broken_record_is_none(tmp_path: Path, text: str) -> None:
    private_folder(run_folder(tmp_path))
    (run_folder(tmp_path) / "product.json").write_text(text)
    assert ProductRecord.load(tmp_path) is None


def test_a_home_has_one_owner(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    with home_lock(tmp_path):
        record(pid=42).save(tmp_path)
        assert is_running(tmp_path)
        with (
            pytest.raises(Conflict, match=r"already runs on .* at http://127.0.0.1:8000 \(pid 42"),
            home_lock(tmp_path),
        ):
            pass
    assert not is_running(tmp_path)


def test_a_dead_owner_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os; from pathlib import Path; from cluster.embedded.record import home_lock\n"
        f"with home_lock(Path({str(tmp_path)!r})): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (run_folder(tmp_path) / "up.lock").exists()
    assert not is_running(tmp_path)


def test_a_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    for name in ("new", "open"):
        private_folder(tmp_path / name)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700


def test_a_link_is_no_private_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="must be a folder of the user"):
        private_folder(tmp_path / "link")


def test_a_file_is_no_private_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="Cannot make the folder"):
        private_folder(tmp_path / "file")


def test_a_sockets_path_is_short(tmp_path: Path) -> None:
    near, far = Settings(home=tmp_path), Settings(home=tmp_path / ("long-" * 30))
    assert near.redis_socket == tmp_path / "redis" / "redis.sock"
    assert len(os.fsencode(far.redis_socket)) <= 107
    assert far.redis_socket.parent == far.short_folder != near.short_folder
