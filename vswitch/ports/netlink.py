"""Links as netlink tells of them, and plain requests about them.

`Link` is one network device at one moment. The functions talk to the kernel by pyroute2 in the calling thread and in
its namespace, and wait for the answer: call them from a thread of the pool, within `netns.inside` where need be. News
about links come by `watch.py`.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import IFF_LOWER_UP, IFF_UP, ifinfmsg

ADDR_GEN_MODE_NONE = 1  # linux/if_link.h: IN6_ADDR_GEN_MODE_NONE


@dataclass(frozen=True, slots=True)
class Link:
    """A network device as it was: `up` is the administrator's will, `carrier` whether somebody is at the other end."""

    name: str
    ifindex: int
    up: bool
    carrier: bool
    mtu: int
    mac: str | None
    alias: str | None = None
    kind: str | None = None  # as `ip -d link` names it: veth, tun, bridge ...; None: a NIC


def parse_link(message: ifinfmsg) -> Link:
    """The link that a netlink message (RTM_NEWLINK) describes."""
    info = message.get("linkinfo")
    carrier = message.get("carrier")
    return Link(
        name=message.get("ifname"),
        ifindex=message["index"],
        up=bool(message["flags"] & IFF_UP),
        carrier=bool(message["flags"] & IFF_LOWER_UP) if carrier is None else bool(carrier),
        mtu=message.get("mtu"),
        mac=message.get("address"),
        alias=message.get("ifalias"),
        kind=info.get("kind") if info else None,
    )


def read_link(name: str) -> Link | None:
    """The device of that name, or None where there is none. Raises OSError."""
    with IPRoute() as netlink:
        try:
            return parse_link(netlink.link("get", ifname=name)[0])
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise OSError(error.code, str(error)) from None


def change_link(ifindex: int, **attributes: Any) -> None:
    """Change a link in one request: `mtu`, `address`, `state` ("up", "down"), `ifalias`, `net_ns_fd`. Raises OSError."""
    _request("set", index=ifindex, **attributes)


def delete_link(ifindex: int) -> None:
    """Delete a link. Raises OSError."""
    _request("del", index=ifindex)


def silence_ipv6(ifindex: int) -> None:
    """Keep the kernel from giving a link an IPv6 address of its own accord. Does nothing on a host without IPv6."""
    mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", ADDR_GEN_MODE_NONE)]}
    try:
        _request("set", index=ifindex, IFLA_AF_SPEC={"attrs": [("AF_INET6", mode)]})
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            raise


def _request(command: str, **attributes: Any) -> None:
    with IPRoute() as netlink:
        try:
            netlink.link(command, **attributes)
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from None


def monitor_socket() -> socket.socket:
    """A socket of the calling thread's namespace that hears of every change of a link. Raises OSError."""
    rtmgrp_link = 1
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    sock.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE: a host may make hundreds of links at once
    sock.bind((0, rtmgrp_link))
    return sock
