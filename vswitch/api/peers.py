"""Who is at the other end of the control socket, and whether they may command the switch.

The kernel tells: SO_PEERCRED gives the process, user and group that connected, SO_PEERGROUPS the supplementary
groups. Nothing that the client says about itself is believed. Root, the daemon's own user and the members of one
configured group are let in. A group that does not exist on this host lets nobody in.

Credentials are those at connect(): a user who was added to the group since must log in again, as with any socket.
"""

from __future__ import annotations

import array
import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass

SO_PEERGROUPS = 59  # asm-generic/socket.h; the socket module has no name for it
_UCRED = struct.Struct("iII")
_MAX_GROUPS = 256  # Python asks the kernel for at most 1,024 bytes


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected: ids as the kernel recorded them."""

    pid: int
    uid: int
    groups: frozenset[int]

    def __str__(self) -> str:
        try:
            return f"user {pwd.getpwuid(self.uid).pw_name} (uid {self.uid})"
        except KeyError:
            return f"uid {self.uid}"


def peer_of(sock: socket.socket) -> Peer:
    """The peer of a connected unix socket. Raises OSError when it is gone."""
    pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid, uid, frozenset({gid, *_supplementary(sock, uid, gid)}))


def _supplementary(sock: socket.socket, uid: int, gid: int) -> list[int]:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * _MAX_GROUPS)
    except OSError:  # a kernel before 4.13, or more groups than we asked for
        return _listed_groups(uid, gid)
    return list(array.array("I", raw))


def _listed_groups(uid: int, gid: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return []


def group_id(name: str) -> int | None:
    """The id of a group of this host, or None when it has none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):  # ValueError: a NUL
        return None


def refusal(peer: Peer, group: str) -> str | None:
    """Why the peer may not command this switch, in one line; None when it may."""
    if peer.uid in (0, os.geteuid()):
        return None
    gid = group_id(group)
    if gid is None:
        return f"{peer} may not control this switch: only root may (group '{group}' does not exist on this host)"
    if gid not in peer.groups:
        return f"{peer} may not control this switch: right: root or a member of group '{group}'"
    return None
