"""Links as netlink speaks of them: values, and messages to and from them.

Nothing here waits or keeps state. Requests and news are the matter of `watch.py`.

A namespace other than our own is named by its nsid, a number that the kernel keeps for it in ours. By it links there
are asked about and heard of without entering the namespace and, what counts for guests, without keeping it alive: a
socket opened in a namespace holds it for as long as it is open.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_GETLINK, RTM_GETNSID, RTM_NEWLINK, RTM_NEWNSID, RTMGRP_LINK
from pyroute2.netlink.rtnl.ifinfmsg import IFF_LOWER_UP, IFF_UP, ifinfmsg
from pyroute2.netlink.rtnl.nsidmsg import nsidmsg

SO_RCVBUFFORCE = 33
SOL_NETLINK = 270
NETLINK_LISTEN_ALL_NSID = 8
RTMGRP_NSID = 1 << 27
#: Room for the news of hundreds of links made at once.
BUFFER_BYTES = 4 << 20
ARPHRD_ETHER = 1  # linux/if_arp.h
ADDR_GEN_MODE_NONE = 1  # linux/if_link.h: IN6_ADDR_GEN_MODE_NONE
ANY_NSID = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Link:
    """A network device at one moment: `up` is the administrator's will, `carrier` whether anybody is connected."""

    name: str
    ifindex: int
    up: bool
    carrier: bool
    mtu: int
    mac: str | None
    alias: str | None = None
    kind: str | None = None  # as `ip -d link` names it: veth, tun, bridge ...; None: a NIC
    ethernet: bool = True  # its frames have Ethernet headers; not so: loopback, tunnels of layer 3
    master: int = 0  # the ifindex of the kernel bridge, bond or the like that it belongs to


def parse_link(message: ifinfmsg) -> Link:
    """The link that a message (RTM_NEWLINK, RTM_DELLINK) describes."""
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
        ethernet=message["ifi_type"] == ARPHRD_ETHER,
        master=message.get("master") or 0,
    )


def get_request(nsid: int | None, *, name: str | None = None, ifindex: int = 0) -> ifinfmsg:
    """Ask for one link, by name or index."""
    return _request(RTM_GETLINK, NLM_F_REQUEST, ifindex, IFLA_IF_NETNSID=nsid, IFLA_IFNAME=name)


def dump_request(nsid: int | None) -> ifinfmsg:
    """Ask for all links."""
    return _request(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 0, IFLA_IF_NETNSID=nsid)


def delete_request(ifindex: int) -> ifinfmsg:
    """Delete a link of our namespace."""
    return _request(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, ifindex)


def change_request(
    ifindex: int, *, alias: str | None = None, namespace: int | None = None, ipv6: bool = True
) -> ifinfmsg:
    """Change a link of our namespace.

    `namespace` (a descriptor) moves it there; with `ipv6` False the kernel gives it no IPv6 address of its own accord.
    """
    values: dict[str, object] = {"IFLA_IFALIAS": alias, "IFLA_NET_NS_FD": namespace}
    if not ipv6:
        mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", ADDR_GEN_MODE_NONE)]}
        values["IFLA_AF_SPEC"] = {"attrs": [("AF_INET6", mode)]}
    return _request(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, ifindex, **values)


def nsid_request(namespace: int) -> nsidmsg:
    """Ask which nsid a namespace, given by a descriptor, has in ours; negative: none."""
    return _nsid(RTM_GETNSID, NLM_F_REQUEST, NETNSA_FD=namespace)


def new_nsid_request(namespace: int) -> nsidmsg:
    """Give a namespace an nsid in ours."""
    return _nsid(RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, NETNSA_FD=namespace, NETNSA_NSID=ANY_NSID)


def _request(kind: int, flags: int, ifindex: int, **attributes: object) -> ifinfmsg:
    request = ifinfmsg()
    request["header"].update(type=kind, flags=flags)
    request["index"] = ifindex
    request["attrs"] = [(key, value) for key, value in attributes.items() if value is not None]
    return request


def _nsid(kind: int, flags: int, **attributes: int) -> nsidmsg:
    request = nsidmsg()
    request["header"].update(type=kind, flags=flags)
    request["attrs"] = list(attributes.items())
    return request


def link_socket() -> tuple[socket.socket, bool]:
    """A socket that hears of every change of a link; and whether in other namespaces too (CAP_NET_BROADCAST).

    Raises OSError.
    """
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    everywhere = False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    except PermissionError:  # no CAP_NET_ADMIN: as much as anybody may have
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    with contextlib.suppress(PermissionError):
        sock.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        everywhere = True
    sock.bind((0, RTMGRP_LINK | RTMGRP_NSID))
    return sock, everywhere
