"""The run directory's lock."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vswitch.lock import LOCK_NAME, LockError, locked


def test_the_second_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(LockError) as refused, locked(tmp_path):
        pass
    text = str(refused.value)
    assert text.startswith(f'switch.run_dir: "{tmp_path}": another vswitchd (process {os.getpid()})')
    assert "\n" not in text


def test_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_file_left_by_a_killed_daemon_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("4194304000\n")
    with locked(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_full_disk_does_not_keep_the_lock_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with locked(tmp_path), pytest.raises(LockError), locked(tmp_path):
        pass


def test_the_directory_is_made(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_NAME).exists()


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LockError, match=r'switch.run_dir: ".*/file/run": Not a directory; choose'), locked(
        tmp_path / "file" / "run"
    ):
        pass
