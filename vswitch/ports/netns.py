"""Network namespaces: name to descriptor, identity, and running a few calls inside one.

A namespace is a property of a thread, so `inside` changes the calling thread only; whatever is opened in it (a socket,
/dev/net/tun, a file of /proc/thread-self/net) stays bound to the namespace for good and can be used from anywhere.
That is why a tap is made in its namespace rather than moved there, and why a monitor in a guest's namespace needs no
thread of its own. Entering one takes CAP_SYS_ADMIN; holding CAP_NET_ADMIN alone, `inside` raises PermissionError.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from vswitch.ports.device import PortError

DIRECTORY = Path("/run/netns")
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def open_namespace(netns: str) -> int:
    """Open a namespace by its name (as `ip netns` has it) or by a path; returns the descriptor, the caller's to close.

    Raises PortError where there is none.
    """
    path = DIRECTORY / netns  # an absolute path stays what it is
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise PortError("netns", netns, f"no such network namespace; `ip netns add {netns}` makes one") from None
    except OSError as error:
        raise PortError("netns", netns, f"cannot open {path}: {error.strerror}") from None


def open_own() -> int:
    """Open the calling thread's namespace; returns the descriptor, the caller's to close."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def identity(namespace: int) -> int:
    """What two descriptors of one namespace have in common: its inode number."""
    return os.fstat(namespace).st_ino


@contextlib.contextmanager
def inside(namespace: int | None) -> Iterator[None]:
    """Run the block with the calling thread in a namespace (None: where it is). Must not be left by `await`."""
    if namespace is None:
        yield
        return
    home = open_own()
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
