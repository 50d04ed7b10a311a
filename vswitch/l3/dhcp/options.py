"""What clients of a network are told beside their address: the options of a reply, by the network's settings.

They are encoded once, when the settings come into force. A reply carries those that the client asks for (option 55),
in the client's order of preference, or all when it names none; the mask goes with every address. A client that takes
classless routes ignores the router option (RFC 3442), so the default route is among the routes too.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from .. import text
from ..settings import Dhcp
from .message import Message, Option

_DEFAULT = IPv4Network(0).supernet(new_prefix=0)


def encode(settings: Dhcp, network: IPv4Interface, mtu: int, gateway: bool) -> dict[int, bytes]:
    """Every option of the network, most important first; without `gateway` the network is no way out by itself."""
    router = text.ipv4(settings.router) if settings.router else None
    if settings.router is None and gateway:
        router = network.ip
    servers = (network.ip,) if settings.dns is None else tuple(map(text.ipv4, settings.dns))
    routes = b"".join(_routes(settings, router))
    found = {
        Option.MASK: network.netmask.packed,
        Option.ROUTES: routes if settings.routes else b"",
        Option.ROUTER: router.packed if router else b"",
        Option.DNS: b"".join(server.packed for server in servers),
        Option.DOMAIN: settings.domain.encode(),
        Option.MTU: (settings.mtu or mtu).to_bytes(2, "big"),
        Option.BROADCAST: network.network.broadcast_address.packed,
    }
    raw = dict(map(text.raw_option, settings.options))
    return {int(code): value for code, value in {**found, **raw}.items() if value}


def _routes(settings: Dhcp, router: IPv4Address | None) -> Iterator[bytes]:
    for route in settings.routes:
        yield _route(text.ipv4_prefix(route.to), text.ipv4(route.via))
    if router:
        yield _route(_DEFAULT, router)


def _route(to: IPv4Network, via: IPv4Address) -> bytes:
    """A destination is written with as many bytes as its prefix reaches into."""
    return bytes((to.prefixlen,)) + to.network_address.packed[: (to.prefixlen + 7) // 8] + via.packed


def wanted(options: dict[int, bytes], request: Message) -> dict[int, bytes]:
    """Those of the options that go into the reply to a request."""
    asked = request.options.get(Option.PARAMETERS)
    if asked is None:
        return options
    codes = dict.fromkeys((Option.MASK, *asked))
    return {int(code): options[code] for code in codes if code in options}


def lifetimes(seconds: int) -> dict[int, bytes]:
    """The lease's length and when it is to be renewed, in the proportions of RFC 2131, 4.4.5."""
    times = {Option.LEASE: seconds, Option.RENEWAL: seconds // 2, Option.REBINDING: seconds * 7 // 8}
    return {int(code): value.to_bytes(4, "big") for code, value in times.items()}
