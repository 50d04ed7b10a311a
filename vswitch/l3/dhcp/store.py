"""Leases that outlive the process: a file of JSON lines, one a change, the last of an address counting.

A new lease must be on the disk before its client hears of it, or two clients might be told one address; so a line is
appended for every change and `commit` waits for the disk, on a thread, since a disk may take its time. When most lines
have been overtaken, and at every start, the file is written anew and put in the old one's place in one step.

A file that is damaged costs the damaged lines: each file's damage is one line in the log, and what can be read is
used. A disk that is full or gone costs the memory of leases, not the service: it is logged once, and each change tries
again. The file belongs to one thread and one process (the daemon's lock sees to that).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec

from .lease import Lease

_log = logging.getLogger(__name__)
_SLACK = 1024  # overtaken lines that a file may have, beside as many as those that count
_FILE_MAX = 64 << 20


class MemoryStore:
    """Leases that outlive the table, but not the process."""

    def __init__(self) -> None:
        self._lines: dict[IPv4Address, bytes] = {}

    def load(self) -> Mapping[IPv4Address, Lease]:
        """Copies of the leases that were put."""
        return {address: _decode(line) for address, line in self._lines.items()}

    def put(self, lease: Lease) -> None:
        """Remember a lease."""
        self._lines[lease.address] = _encode(lease)

    async def commit(self) -> None:
        """Nothing to wait for."""


class LeaseFile(MemoryStore):
    """Leases in a file, which is made with its first lease."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._fd: int | None = None
        self._count = 0  # lines in the file
        self._dirty = False
        self._failed = False

    def load(self) -> Mapping[IPv4Address, Lease]:
        """What the file holds, as far as it can be read."""
        self.close()
        self._lines.clear()
        faults = 0
        for line in self._read().split(b"\n"):
            try:
                if line:
                    self._lines[_decode(line).address] = line
            except (msgspec.DecodeError, ValueError):
                faults += 1
        if faults:
            _log.warning("%s: %d damaged lines: their leases are forgotten", self._path, faults)
        if self._lines or faults:
            self._rewrite()
        return super().load()

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                return file.read(_FILE_MAX)
        except FileNotFoundError:
            return b""
        except OSError as error:
            _log.warning("%s: cannot be read: %s: leases of earlier are forgotten", self._path, error.strerror)
            return b""

    def put(self, lease: Lease) -> None:
        """Append a lease."""
        super().put(lease)
        if self._fd is None or self._count > 2 * len(self._lines) + _SLACK:
            self._rewrite()
            return
        line = self._lines[lease.address] + b"\n"
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(0, "the disk is full")
        except OSError as error:
            self._complain(error)
            return
        self._count += 1
        self._dirty = True

    async def commit(self) -> None:
        """Return when all that was put is on the disk, or the log says that it is not."""
        if not self._dirty or self._fd is None:
            return
        self._dirty = False
        copy = os.dup(self._fd)  # the file may be written anew meanwhile
        try:
            await asyncio.to_thread(os.fdatasync, copy)
        except OSError as error:
            self._complain(error)
        finally:
            os.close(copy)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _rewrite(self) -> None:
        """Write the lines that count beside the file, and put them in its place."""
        self.close()
        beside = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o640)
            _write_all(self._fd, b"".join(line + b"\n" for line in self._lines.values()))
            os.fdatasync(self._fd)
            os.replace(beside, self._path)
            _sync_directory(self._path.parent)
        except OSError as error:
            self._complain(error)
            return
        self._count = len(self._lines)
        self._dirty = self._failed = False

    def _complain(self, error: OSError) -> None:
        self.close()
        if not self._failed:
            _log.error("%s: cannot be written: %s: a restart would forget leases", self._path, error.strerror)
        self._failed = True


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _encode(lease: Lease) -> bytes:
    return msgspec.json.encode(lease, enc_hook=str)


def _decode(line: bytes) -> Lease:
    return msgspec.json.decode(line, type=Lease, dec_hook=_address)


def _address(kind: type, value: Any) -> Any:
    """What JSON has no word for: the address. A wrong one raises ValueError, as wrong JSON does."""
    return kind(value)
