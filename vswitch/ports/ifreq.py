"""A device by the ioctls that every Linux has: what it is like, and giving it what its port asks for.

An `Interface` belongs to the namespace of the thread that made it and can be used from any other. Its calls may wait
for the kernel's link lock: use it in a thread of the pool.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import socket
import struct
from typing import TYPE_CHECKING

import msgspec

from vswitch.ports.device import PortError
from vswitch.ports.netlink import ARPHRD_ETHER, Link

if TYPE_CHECKING:
    from vswitch.config.model import Port

# linux/sockios.h, linux/if.h
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
SIOCGIFADDR = 0x8915
SIOCGIFMTU = 0x8921
SIOCSIFMTU = 0x8922
SIOCSIFHWADDR = 0x8924
SIOCGIFHWADDR = 0x8927
SIOCGIFINDEX = 0x8933
IFF_UP = 0x1
IFF_RUNNING = 0x40


class Interface:
    """The device called `name`. Every call raises OSError, with ENODEV where there is none."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def __enter__(self) -> Interface:
        return self

    def __exit__(self, *exception: object) -> None:
        self._sock.close()

    def link(self) -> Link:
        """The device as it is now."""
        flags = self.flags
        (ifindex,) = struct.unpack_from("i", self._ask(SIOCGIFINDEX))
        up, carrier = bool(flags & IFF_UP), bool(flags & IFF_RUNNING)
        return Link(self._name.decode(), ifindex, up, carrier, self.mtu, self.mac)

    @property
    def flags(self) -> int:
        """IFF_* flags."""
        return struct.unpack_from("H", self._ask(SIOCGIFFLAGS))[0]

    def bring_up(self) -> None:
        """Set the device up."""
        self._ask(SIOCSIFFLAGS, struct.pack("H", self.flags | IFF_UP))

    @property
    def mtu(self) -> int:
        """The MTU in bytes."""
        return struct.unpack_from("i", self._ask(SIOCGIFMTU))[0]

    @mtu.setter
    def mtu(self, value: int) -> None:
        self._ask(SIOCSIFMTU, struct.pack("i", value))

    @property
    def address(self) -> str:
        """The host's IPv4 address on the device; EADDRNOTAVAIL where it has none."""
        return socket.inet_ntoa(self._ask(SIOCGIFADDR)[4:8])

    @property
    def mac(self) -> str:
        """The MAC address, lower case, with colons."""
        return self._ask(SIOCGIFHWADDR)[2:8].hex(":")

    @mac.setter
    def mac(self, value: str) -> None:
        self._ask(SIOCSIFHWADDR, struct.pack("H6s", ARPHRD_ETHER, bytes.fromhex(value.replace(":", ""))))

    def _ask(self, request: int, value: bytes = b"") -> bytes:
        """Exchange a struct ifreq: a name of 16 bytes and a value of 24."""
        return fcntl.ioctl(self._sock, request, struct.pack("16s24s", self._name, value))[16:]


def read(name: str) -> Link:
    """The device called `name` as it is now. Raises PortError."""
    with Interface(name) as device:
        try:
            return device.link()
        except OSError:
            raise PortError("name", name, "no such device") from None


def host_address(name: str) -> str | None:
    """The host's IPv4 address on the device called `name`, if it has one and there is such a device."""
    with Interface(name) as device, contextlib.suppress(OSError):
        return device.address
    return None


def set_up(name: str, port: Port, original: Link, *, up: bool = False) -> Link:
    """Give the device called `name` the port's MAC and MTU, or else those it had originally, and bring it up if asked.

    Returns the link as it is then. Raises PortError, and then puts back what it changed.
    """
    old = read(name)
    mac, mtu = (port.mac or original.mac).lower(), port.mtu or original.mtu
    with Interface(name) as device:
        key, value = "name", name
        try:
            if mac != old.mac:
                key, value = "mac", mac  # before it is up: there are devices that take it only then
                device.mac = mac
            if mtu != old.mtu:
                key, value = "mtu", str(mtu)
                device.mtu = mtu
            if up and not old.up:
                key, value = "name", name
                device.bring_up()
            return device.link()
        except OSError as error:
            with contextlib.suppress(OSError):
                device.mac, device.mtu = old.mac, old.mtu
            raise PortError(key, value, f"{name} refuses that: {error.strerror}") from None


def give_back(name: str, port: Port, original: Link) -> None:
    """Take back the MAC and MTU that the port asked for, and leave what others have changed since. Raises PortError."""
    now = read(name)
    mac, mtu = original.mac if port.mac else now.mac, original.mtu if port.mtu else now.mtu
    bare = msgspec.structs.replace(port, mac=None, mtu=None)
    set_up(name, bare, dataclasses.replace(now, mac=mac, mtu=mtu))
