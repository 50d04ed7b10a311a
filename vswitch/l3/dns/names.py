"""The names that a network answers itself: those of leases and reservations, and of the hosts in the settings.

A host goes by its name alone and by its name in the network's domain. What is neither known nor the network's to know
is for the configured servers: `answer` gives None. The network's own domain, addresses of its own, and bare names are
never asked of others, for nobody else knows them, and nobody else needs to learn what the guests look for.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Protocol

from .. import text
from ..settings import Dns
from .message import Address, Code, Query, Type, address_record, pointer_record, reply, reverse_address

_ADDRESSES = (Type.A, Type.AAAA, Type.ANY)


class NameTable(Protocol):
    """Who knows names of hosts: `dhcp.leases.LeaseTable` is one."""

    def address_of(self, name: str) -> IPv4Address | None:
        """The address of a host, named by one label in lower case."""

    def name_of(self, address: IPv4Address) -> str | None:
        """The host that has an address."""


class Names:
    """What is known of a network's names. `domain` "": there is none."""

    def __init__(
        self,
        settings: Dns,
        domain: str = "",
        networks: Iterable[IPv4Network | IPv6Network] = (),
        tables: Iterable[NameTable] = (),
    ) -> None:
        self._domain = text.domain_name(settings.domain or domain) if settings.domain or domain else ""
        self._networks = tuple(networks)
        self._tables = tuple(tables)
        self._ttl_s = settings.ttl_s
        self._hosts: dict[str, list[Address]] = {}
        self._by_address: dict[Address, str] = {}
        for host in settings.hosts:
            name, address = text.host_name(host.name), text.either(host.address)
            self._hosts.setdefault(name, []).append(address)
            self._by_address.setdefault(address, name)

    def answer(self, query: Query) -> bytes | None:
        """The reply to a query, or None if others are to be asked."""
        if not query.internet:
            return None
        address = reverse_address(query.name)
        if address is not None:
            return self._pointer(query, address)
        label = self._label(query)
        if label is None:
            return None
        found = self._addresses(label)
        if not found and label:
            return reply(query, Code.NO_NAME)
        records = [address_record(address, self._ttl_s) for address in found if _asked(query, address)]
        return reply(query, Code.OK, records)

    def _label(self, query: Query) -> str | None:
        """The host that a name of the network stands for; "" is the domain itself, None a name of others."""
        name = query.name
        if self._domain and name == self._domain:
            return ""
        if self._domain and name.endswith("." + self._domain):
            return name.removesuffix("." + self._domain)
        bare = name and "." not in name and (query.type in _ADDRESSES or self._addresses(name))
        return name if bare else None

    def _addresses(self, label: str) -> list[Address]:
        """The addresses of a host: the first who knows it is believed, the settings before any guest."""
        if label in self._hosts:
            return self._hosts[label]
        found = (table.address_of(label) for table in self._tables)
        return [address for address in found if address is not None][:1]

    def _pointer(self, query: Query, address: Address) -> bytes | None:
        name = self._by_address.get(address)
        if name is None and isinstance(address, IPv4Address):
            name = next(filter(None, (table.name_of(address) for table in self._tables)), None)
        if name is None:
            ours = any(address in network for network in self._networks)
            return reply(query, Code.NO_NAME) if ours else None
        if query.type not in (Type.PTR, Type.ANY):
            return reply(query, Code.OK)
        full = f"{name}.{self._domain}" if self._domain else name
        return reply(query, Code.OK, [pointer_record(full, self._ttl_s)])


def _asked(query: Query, address: Address) -> bool:
    kind = Type.A if isinstance(address, IPv4Address) else Type.AAAA
    return query.type in (kind, Type.ANY)
