"""Taps at the level of /dev/net/tun: python-pytun opens and sets them up, ioctls add what it lacks.

Every queue has a virtio-net header in front of each frame, of 12 bytes in those that the switch reads and writes; it is
non-blocking and closed on exec. The functions work in the calling thread's namespace and may block for the kernel's
link lock: call them from the pool.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

import pytun

from vswitch.dataplane import Offload
from vswitch.ports.device import PortError

DEVICE = "/dev/net/tun"
ROOT = 0
VNET_HDR_LEN = 12  # struct virtio_net_hdr_v1: with num_buffers

# linux/if_tun.h
IFF_VNET_HDR = 0x4000
IFF_PERSIST = 0x0800
TUNSETOWNER = 0x400454CC
TUNSETOFFLOAD = 0x400454D0
TUNSETGROUP = 0x400454CE
TUNGETIFF = 0x800454D2
TUNSETVNETHDRSZ = 0x400454D8
TUNGETDEVNETNS = 0x54E3

# linux/if_tun.h: TUN_F_*. The kernel takes both USO flags or none, and none of all without CSUM.
TUN_F = {
    Offload.CSUM: 0x01,
    Offload.TSO4: 0x02,
    Offload.TSO6: 0x04,
    Offload.USO4: 0x20,
    Offload.USO6: 0x40,
}
USO = Offload.USO4 | Offload.USO6
TSO = Offload.TSO4 | Offload.TSO6
ALL = Offload.CSUM | TSO | USO
#: What is tried in turn: Linux 6.2 brought USO.
LADDER = (ALL, Offload.CSUM | TSO, Offload.CSUM)

Queue = pytun.TunTapDevice


def open_queues(name: str, count: int) -> list[Queue]:
    """Open a tap, new or persistent, with `count` queues. Raises PortError; then none stays open."""
    flags = IFF_VNET_HDR | (pytun.IFF_MULTI_QUEUE if count > 1 else 0)
    queues: list[Queue] = []
    try:
        for _ in range(count):
            queues.append(_open_queue(name, flags))
            _keep_for_us(queues[-1])
            fcntl.ioctl(queues[-1].fileno(), TUNSETVNETHDRSZ, struct.pack("i", VNET_HDR_LEN))
    except OSError as error:
        close_queues(queues)
        raise PortError("name", name, _refusal(error, count)) from None
    return queues


def _open_queue(name: str, flags: int) -> Queue:
    queue = Queue(name=name, flags=pytun.IFF_TAP | pytun.IFF_NO_PI | flags)
    fd = queue.fileno()
    os.set_inheritable(fd, False)
    os.set_blocking(fd, False)
    return queue


def _keep_for_us(queue: Queue) -> None:
    """A tap of nobody's takes further queues, and so frames, from anybody. One that others made persistent is theirs."""
    if not _flags(queue.fileno()) & IFF_PERSIST:
        fcntl.ioctl(queue.fileno(), TUNSETOWNER, os.geteuid())


def _refusal(error: OSError, count: int) -> str:
    """What stands in the way, in one line."""
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"there is no {DEVICE}; `modprobe tun`, or give the container that device"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"no privilege to make a tap; it takes CAP_NET_ADMIN and access to {DEVICE}"
    if error.errno == errno.EBUSY:
        return "this tap is in use by another process"
    if error.errno in (errno.EINVAL, errno.EEXIST):
        return f"a device of that name exists already, and it is not a tap with {count} queue{'s'[: count > 1]}"
    return f"cannot make the tap: {error.strerror or error}"


def close_queues(queues: list[Queue]) -> None:
    """Close a tap's queues; one that is not persistent goes with the last of them. Blocks for some 20 ms."""
    for queue in queues:
        queue.close()


def set_offloads(queue: Queue, wanted: Offload) -> Offload:
    """Tell a tap what frames it may be given and may give; returns what this kernel takes of it. Raises OSError."""
    for step in LADDER:
        flags = sum(bit for offload, bit in TUN_F.items() if offload in step & wanted)
        try:
            fcntl.ioctl(queue.fileno(), TUNSETOFFLOAD, flags)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            continue
        return step & wanted
    return Offload(0)


def device_name(fd: int) -> str | None:
    """What a tap's device is called now, wherever it is; None when it is no more."""
    try:
        return _ifreq(fd)[:16].partition(b"\0")[0].decode()
    except OSError as error:
        if error.errno in (errno.EBADFD, errno.EBADF):
            return None
        raise


def _ifreq(fd: int) -> bytearray:
    """A tap's struct ifreq: its name and its flags."""
    request = bytearray(40)
    fcntl.ioctl(fd, TUNGETIFF, request)
    return request


def _flags(fd: int) -> int:
    return int.from_bytes(_ifreq(fd)[16:18], "little")


def device_namespace(fd: int) -> int | None:
    """A descriptor, the caller's to close, of the namespace a tap's device is in now; None when it is no more."""
    try:
        return fcntl.ioctl(fd, TUNGETDEVNETNS, 0)
    except OSError as error:
        if error.errno in (errno.EBADFD, errno.EBADF, errno.EINVAL):  # EINVAL: the namespace is coming down
            return None
        raise


def make_persistent(name: str, *, owner: int | None, group: int | None, multi_queue: bool) -> None:
    """Make a tap that stays when its maker closes it, for another process to open by name. Raises PortError.

    Without `owner` and `group` it is root's: a tap of nobody's the kernel lets anybody open.
    """
    if owner is None and group is None:
        owner = ROOT
    flags = IFF_VNET_HDR | (pytun.IFF_MULTI_QUEUE if multi_queue else 0)
    try:
        queue = _open_queue(name, flags)
        try:
            if owner is not None:
                fcntl.ioctl(queue.fileno(), TUNSETOWNER, owner)
            if group is not None:
                fcntl.ioctl(queue.fileno(), TUNSETGROUP, group)
            queue.persist(True)
        finally:
            queue.close()
    except OSError as error:
        raise PortError("name", name, _refusal(error, 1)) from None


def end_persistence(name: str, *, multi_queue: bool) -> None:
    """Delete a persistent tap that nobody has open. Raises OSError."""
    queue = _open_queue(name, IFF_VNET_HDR | (pytun.IFF_MULTI_QUEUE if multi_queue else 0))
    queue.persist(False)
    queue.close()
