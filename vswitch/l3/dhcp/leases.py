"""The addresses of a network: who has which, what is free, and how much of it one port may have.

Every address has at most one record and every client at most one address, so the table is bounded by the ranges. An
address is free (in `_free`, longest unused first) or reserved for a MAC, unless its record is busy: offered, bound, or
declined, which is in quarantine because somebody answers there. A record that ends becomes `expired` and frees the
address, but remembers whose it was.

The budget: the clients behind one port hold at most `per_port` addresses, offered and bound together, and have as many
in quarantine. A lease belongs to the port from which its client last spoke; it moves to another port, when the server
lets it, if that port's budget has room for it. So a port that asks for everything, in whatever names, gets its share.
Reserved addresses are counted too, but given in any case: the administrator gave them.

The table belongs to one thread. Times are passed in; what must outlive the process is put into the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface
from typing import Protocol

from ...config.text import normal_mac
from .. import text
from ..report import LeaseReport, LeaseState
from ..settings import Dhcp, Reservation
from .lease import Client, Lease

OFFER_S = 60.0
QUARANTINE_S = 600.0
_SWEEP_S = 1.0


class Store(Protocol):
    """Where leases outlive the process."""

    def load(self) -> Mapping[IPv4Address, Lease]:
        """The leases that were put, the last of each address."""

    def put(self, lease: Lease) -> None:
        """Have a lease remembered; certain only after `commit`."""

    async def commit(self) -> None:
        """Return when all that was put is on the disk."""


class NoAddress(Exception):
    """A client cannot have an address; `str()` is the reason: "over budget" or "no free address"."""


class LeaseTable:
    """The leases of one network."""

    def __init__(self, settings: Dhcp, network: IPv4Interface, store: Store, now: float) -> None:
        self.reserved = {normal_mac(entry.mac): entry for entry in settings.reservations}
        self._owners = {text.ipv4(entry.address): mac for mac, entry in self.reserved.items()}
        self._reserved_names = {entry.name.lower(): text.ipv4(entry.address) for entry in self.reserved.values()}
        self._reserved_names.pop("", None)
        pool = text.addresses(text.ranges(settings.range), network)
        self._free = {address: None for address in pool if address not in self._owners}
        self._pool = frozenset(self._free)
        self._per_port = settings.per_port
        self._records: dict[IPv4Address, Lease] = {}
        self._by_identity: dict[str, Lease] = {}
        self._names: dict[str, Lease] = {}
        self._held: Counter[str] = Counter()
        self._declined: Counter[str] = Counter()
        self._store = store
        self._swept = now
        for lease in store.load().values():
            self._restore(lease, now)

    def _restore(self, lease: Lease, now: float) -> None:
        """Take a lease of an earlier life, if the settings of this one still have its address for that client."""
        if lease.mac in self.reserved:
            ours = self._owners.get(lease.address) == lease.mac
            lease.identity = lease.identity and lease.mac
        else:
            ours = lease.address in self._pool
        if not ours or lease.state == "offered" or lease.identity in self._by_identity:
            return
        state, lease.state = lease.state, "expired"
        self._records[lease.address] = lease
        if lease.identity:
            self._by_identity[lease.identity] = lease
        if lease.expires > now:
            self._enter(lease, state, lease.expires)
            self._name(lease, lease.name)

    # Finding

    def find(self, client: Client) -> Lease | None:
        """The client's record, which may have expired."""
        return self._by_identity.get(client.identity)

    def holder(self, address: IPv4Address) -> Lease | None:
        """Who has an address now."""
        lease = self._records.get(address)
        return lease if lease and lease.busy() else None

    def reservation(self, mac: str) -> Reservation | None:
        """What is reserved for a MAC."""
        return self.reserved.get(mac)

    def address_of(self, name: str) -> IPv4Address | None:
        """The address that goes by a host's name (in lower case): a reservation's, or a bound lease's."""
        lease = self._names.get(name)
        return self._reserved_names.get(name) or (lease.address if lease else None)

    def name_of(self, address: IPv4Address) -> str | None:
        """The name that an address goes by."""
        owner = self._owners.get(address)
        if owner and self.reserved[owner].name:
            return self.reserved[owner].name.lower()
        lease = self._records.get(address)
        return lease.name or None if lease and self._names.get(lease.name) is lease else None

    def reports(self, now: float) -> list[LeaseReport]:
        """Every record, by address."""
        self.sweep(now)
        return [self._records[address].report(now) for address in sorted(self._records)]

    def states(self, now: float) -> Counter[str]:
        """How many records there are, by state."""
        self.sweep(now)
        return Counter(lease.state for lease in self._records.values())

    # Giving

    def offer(self, client: Client, asked: IPv4Address | None, now: float) -> tuple[Lease, bool]:
        """An address for a client, and whether nobody has vouched for it since it was free. Raises NoAddress."""
        self.sweep(now)
        lease = self.find(client)
        if lease and lease.state in ("offered", "bound"):
            self._move(lease, client.port)
            return lease, False
        reserved = self.reservation(client.mac)
        if reserved is None and self._held[client.port] >= self._per_port:
            raise NoAddress("over budget")
        address = text.ipv4(reserved.address) if reserved else self._choose(lease, asked)
        return self._take(address, client, now), reserved is None

    def _choose(self, last: Lease | None, asked: IPv4Address | None) -> IPv4Address:
        """What the client had, else what it wants, else what has been free for the longest (RFC 2131, 4.3.1)."""
        for address in (last.address if last else None, asked):
            if address in self._free:
                return address
        if not self._free:
            raise NoAddress("no free address")
        return next(iter(self._free))

    def _take(self, address: IPv4Address, client: Client, now: float) -> Lease:
        if old := self._records.get(address):
            self._forget(old)
        if old := self.find(client):
            self._forget(old)
        lease = Lease(
            address=address, identity=client.identity, mac=client.mac, port=client.port, state="expired", expires=now
        )
        self._records[address] = self._by_identity[client.identity] = lease
        self._enter(lease, "offered", now + OFFER_S)
        return lease

    def bind(self, lease: Lease, client: Client, expires: float) -> None:
        """Make an offered, bound or expired lease of the client's its own until then. Raises NoAddress."""
        if lease.busy():
            self._move(lease, client.port)
        elif self._held[client.port] >= self._per_port and not self.reservation(client.mac):
            raise NoAddress("over budget")
        lease.mac, lease.port = client.mac, client.port
        self._enter(lease, "bound", expires)
        self._name(lease, client.name)
        self._store.put(lease)

    def _move(self, lease: Lease, port: str) -> None:
        if lease.port == port:
            return
        if self._held[port] >= self._per_port and not self.reservation(lease.mac):
            raise NoAddress("over budget")
        self._enter(lease, lease.state, lease.expires, port)

    def _name(self, lease: Lease, wish: str) -> None:
        """Give a bound lease the reserved name, or the wished one if no other has it."""
        if self._names.get(lease.name) is lease:
            del self._names[lease.name]
        reserved = self.reservation(lease.mac)
        if reserved and reserved.name:
            wish = reserved.name.lower()
        elif wish in self._names or wish in self._reserved_names:
            wish = ""
        lease.name = wish
        if wish:
            self._names[wish] = lease

    # Taking back

    def end(self, lease: Lease, now: float) -> None:
        """A lease is over before its time: released, or an offer that was not taken."""
        bound = lease.state == "bound"
        self._enter(lease, "expired", now)
        if bound:
            self._store.put(lease)

    def quarantine(self, lease: Lease, now: float, blame: bool) -> None:
        """Keep an address from everybody for a while; by a client's word (`blame`) only within its port's budget."""
        if blame and self._declined[lease.port] >= self._per_port:
            self.end(lease, now)
            return
        if self._by_identity.get(lease.identity) is lease:
            del self._by_identity[lease.identity]
        self._enter(lease, "expired", now)
        lease.identity = lease.name = ""  # nobody's, so that its client is given another
        if not blame:
            lease.mac = lease.port = ""
        self._enter(lease, "declined", now + QUARANTINE_S)
        self._store.put(lease)

    def sweep(self, now: float) -> None:
        """End what has run out; at most once a second, for it looks at every record."""
        if not 0 <= now - self._swept < _SWEEP_S:
            self._swept = now
            for lease in [lease for lease in self._records.values() if lease.busy() and lease.expires <= now]:
                self._enter(lease, "expired", lease.expires)

    def _forget(self, lease: Lease) -> None:
        self._enter(lease, "expired", lease.expires)
        del self._records[lease.address]
        if self._by_identity.get(lease.identity) is lease:
            del self._by_identity[lease.identity]

    def _enter(self, lease: Lease, state: LeaseState, expires: float, port: str | None = None) -> None:
        """The one place where a lease changes its state: free addresses, names and budgets follow."""
        for counter in self._counters(lease):
            counter[lease.port] -= 1
            if not counter[lease.port]:
                del counter[lease.port]
        if state in ("expired", "declined") and self._names.get(lease.name) is lease:
            del self._names[lease.name]
        lease.state, lease.expires = state, expires
        lease.port = lease.port if port is None else port
        for counter in self._counters(lease):
            counter[lease.port] += 1
        if lease.busy():
            self._free.pop(lease.address, None)
        elif lease.address in self._pool:
            self._free.setdefault(lease.address)

    def _counters(self, lease: Lease) -> Iterator[Counter[str]]:
        if lease.state in ("offered", "bound"):
            yield self._held
        elif lease.state == "declined":
            yield self._declined
