"""One daemon to a run directory: an flock(2) on a file in it, held as long as the daemon lives.

The kernel lets go of the lock when its holder ends, however it ends, so a daemon that was killed leaves nothing to
clear away. The file itself stays: removing it would let a third daemon lock a new file of the same name while a
second still waits for the old one. It holds the process id of the last holder, for the refused one to name.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_NAME = "vswitchd.lock"


class LockError(Exception):
    """The run directory cannot be had; the text names path, value and remedy."""


@contextmanager
def locked(run_dir: str | Path) -> Iterator[None]:
    """Make the run directory and hold its lock for the block. Raises LockError."""
    file = _open(Path(run_dir))
    try:
        _lock(file, run_dir)
        with suppress(OSError):  # a full disk: the lock holds without it
            os.ftruncate(file, 0)
            os.pwrite(file, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(file)


def _open(run_dir: Path) -> int:
    try:
        run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        return os.open(run_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        right = "choose a directory that this user may write, or start as root"
        raise LockError(f'switch.run_dir: "{run_dir}": {error.strerror}; {right}') from error


def _lock(file: int, run_dir: str | Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 16, 0).decode(errors="replace").strip() or "unknown"
        right = f"another vswitchd (process {holder}) runs there; stop it or choose another directory"
        raise LockError(f'switch.run_dir: "{run_dir}": {right}') from None
