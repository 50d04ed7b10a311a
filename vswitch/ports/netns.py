"""Network namespaces: name to descriptor, identity, and running a few calls inside one.

A namespace is a property of a thread, so `inside` changes the calling thread only; whatever is opened in it (a socket,
/dev/net/tun) stays bound to the namespace for good, can be used from anywhere, and keeps the namespace alive. Entering
one takes CAP_SYS_ADMIN; without it, `inside` raises PermissionError.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from vswitch.ports.device import PortError

DIRECTORY = Path("/run/netns")
OWN = "/proc/thread-self/ns/net"
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def path_of(netns: str) -> Path:
    """Where a namespace, given by its name (as `ip netns` has it) or by a path, is to be found."""
    return DIRECTORY / netns  # an absolute path stays what it is


def open_namespace(netns: str) -> int:
    """Open a namespace by its name or path; returns the descriptor, the caller's to close.

    Raises PortError where there is none.
    """
    path = path_of(netns)
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise PortError("netns", netns, f"no such network namespace; `ip netns add {netns}` makes one") from None
    except OSError as error:
        raise PortError("netns", netns, f"cannot open {path}: {error.strerror}") from None


def identity(namespace: int | str | Path) -> int | None:
    """What all descriptors and paths of one namespace have in common: its inode number; None where there is none."""
    try:
        return os.stat(namespace).st_ino
    except OSError:
        return None


@contextlib.contextmanager
def inside(namespace: int | None) -> Iterator[None]:
    """Run the block with the calling thread in a namespace (None: where it is). Must not be left by `await`."""
    if namespace is None or identity(namespace) == identity(OWN):
        yield
        return
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(namespace)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:  # os.setns is Python 3.12's
        number = ctypes.get_errno()
        raise OSError(number, f"cannot enter the network namespace: {os.strerror(number)}")
