"""Whose a message is: by what the client calls itself, and by the port it came from.

A client is its client id (option 61) or, when it has none, its MAC (RFC 2131, 4.2); the client of a reservation is
its MAC, whatever it calls itself. The names are cheap to forge, the port is not: whoever turns up behind another port
in the name of a client that holds a lease is another client, unless the lease's port is no longer `attached`. So nobody
renews, releases or declines for others; a guest that moves between ports at hand gets a new address while the old one
runs out, and one whose port was made anew keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .. import text
from ..wire import Malformed, mac_text
from .lease import Client
from .leases import LeaseTable
from .message import Message, Option

_IDENTITY_MAX = 255
_TELLING = ("isatap", "localhost", "wpad")  # names that hosts trust of their own accord: not for a guest to take


def identify(message: Message, port: str, leases: LeaseTable, attached: Callable[[str], bool]) -> Client:
    """Who sent a message. Raises Malformed."""
    mac = mac_text(message.chaddr)
    called = message.options.get(Option.CLIENT_ID, b"")
    if len(called) > _IDENTITY_MAX:
        raise Malformed("options")
    client = Client(mac, mac, port, host_name(message))
    if leases.reservation(mac):
        return client
    if called:
        client = replace(client, identity=f"id:{called.hex()}")
    apart = replace(client, identity=f"{client.identity}@{port}")
    return apart if _holds(apart, leases) or _is_elsewhere(client, leases, attached) else client


def _holds(client: Client, leases: LeaseTable) -> bool:
    lease = leases.find(client)
    return lease is not None and lease.busy()


def _is_elsewhere(client: Client, leases: LeaseTable, attached: Callable[[str], bool]) -> bool:
    """Whether the client of that identity is behind another port, so that this one is a stranger or has moved."""
    lease = leases.find(client)
    return lease is not None and lease.busy() and lease.port != client.port and attached(lease.port)


def host_name(message: Message) -> str:
    """The name that a client gives itself, its first label, if it is one that a host can have."""
    name = message.options.get(Option.HOST_NAME, b"").rstrip(b"\0")
    try:
        label = text.host_name(name.decode("ascii").split(".")[0])
    except ValueError:
        return ""
    return "" if label in _TELLING else label
