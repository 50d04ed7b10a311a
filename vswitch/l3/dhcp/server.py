"""The DHCP server of a network (RFC 2131): frames in, frames out.

    server = DhcpServer(settings, Subnet(IPv4Interface("10.0.0.1/24"), mac), LeaseFile(path), probe=in_use)
    for answer in await server.handle(frame, port):
        ...send it out by the port that `frame` came in by

It is the one server of its network and knows the port behind which a client sits, so it believes less than others do:
`chaddr` must be the Ethernet source, nobody speaks for the client of another port (identity.py), a port asks no more
often than its meter lets it and gets no more than its budget (leases.py). Relayed messages are ignored, since no relay
leads here. What is ignored is counted by reason in `ignored`, what is done and answered by kind in `messages`.

A fresh address is first looked for on the network: `probe` says whether anybody answers there. `handle` waits for
that, and for the disk before a new lease is acknowledged; the state is right whenever it waits, so any number of
calls may be under way. One thread, one event loop.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from .. import text
from ..meter import Meter
from ..report import LeaseReport
from ..settings import Dhcp
from ..wire import BROADCAST, Datagram, Malformed, build_udp, mac_bytes, parse_udp, unicast
from . import options
from .identity import identify
from .lease import Client, Lease
from .leases import LeaseTable, NoAddress, Store
from .message import BROADCAST_FLAG, CLIENT_PORT, NOWHERE, SERVER_PORT, Kind, Message, Option, build, parse

EVERYBODY = IPv4Address("255.255.255.255")
MESSAGES_A_SECOND, MESSAGES_BURST = 20, 60  # of one port
_PROBES = 4  # addresses found in use, one after another, before a client has to ask again
_LEASE_MIN_S = 60
_REQUEST, _REPLY = 1, 2

Probe = Callable[[IPv4Address], Awaitable[bool]]


class Ignored(Exception):
    """A message that gets no answer; `str()` is the reason, one of a fixed few."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """The network that a server serves: its own address there, its MAC, and whether it leads anywhere."""

    address: IPv4Interface
    mac: str
    mtu: int = 1500
    gateway: bool = True


class DhcpServer:
    """The server of one network."""

    def __init__(
        self,
        settings: Dhcp,
        subnet: Subnet,
        store: Store,
        clock: Callable[[], float] = time.time,
        probe: Probe | None = None,
        attached: Callable[[str], bool] = lambda port: True,
    ) -> None:
        self.leases = LeaseTable(settings, subnet.address, store, clock())
        self.messages: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self._settings = settings
        self._network = subnet.address
        self._mac = mac_bytes(subnet.mac)
        self._mtu = max(subnet.mtu, 576)
        self._options = options.encode(settings, subnet.address, subnet.mtu, subnet.gateway)
        self._store = store
        self._clock = clock
        self._probe = probe
        self._attached = attached
        self._probing: set[IPv4Address] = set()
        self._meter = Meter(MESSAGES_A_SECOND, MESSAGES_BURST)
        self._answers: dict[int, Callable[[Client, Message], Awaitable[Message | None]]] = {
            Kind.DISCOVER: self._discover,
            Kind.REQUEST: self._request,
            Kind.DECLINE: self._decline,
            Kind.RELEASE: self._release,
            Kind.INFORM: self._inform,
        }

    async def handle(self, frame: bytes, port: str, checked: bool = False) -> list[bytes]:
        """The answer to an untagged frame from a port. `checked`: the UDP checksum is known to be right, or partial."""
        try:
            request = self._accepted(frame, port, checked)
            client = identify(request, port, self.leases, self._attached)
            reply = await self._answers[request.kind](client, request)
        except (Malformed, NoAddress, Ignored) as reason:
            self.ignored[str(reason)] += 1
            return []
        self.messages[Kind(request.kind).name] += 1
        if reply is None:
            return []
        self.messages[Kind(reply.kind).name] += 1
        return [self._frame(request, reply)]

    def reports(self) -> list[LeaseReport]:
        """The leases, by address."""
        return self.leases.reports(self._clock())

    def lease_states(self) -> Counter[str]:
        """How many leases there are, by state."""
        return self.leases.states(self._clock())

    # Who speaks, and to whom

    def _accepted(self, frame: bytes, port: str, checked: bool) -> Message:
        """The message in a frame, if it is one that the server answers."""
        if not self._meter.allow(port, self._clock()):
            raise Ignored("too fast")
        datagram = parse_udp(frame, checked)
        if not self._for_us(datagram):
            raise Ignored("not for the server")
        message = parse(datagram.payload)
        if message.op != _REQUEST or message.kind not in self._answers:
            raise Ignored("not a request")
        if message.chaddr != datagram.eth_src or not unicast(message.chaddr):
            raise Ignored("speaks for another")
        if message.giaddr != NOWHERE or Option.RELAY_AGENT in message.options:
            raise Ignored("relayed")
        return message

    def _for_us(self, datagram: Datagram) -> bool:
        ours = (EVERYBODY, self._network.ip, self._network.network.broadcast_address)
        return datagram.dport == SERVER_PORT and datagram.eth_dst in (BROADCAST, self._mac) and datagram.dst in ours

    def _for_another_server(self, message: Message) -> bool:
        return message.options.get(Option.SERVER, self._network.ip.packed) != self._network.ip.packed

    # The exchange

    async def _discover(self, client: Client, message: Message) -> Message:
        for _ in range(_PROBES):
            lease, fresh = self.leases.offer(client, message.address(Option.REQUESTED), self._clock())
            if lease.address in self._probing:
                raise Ignored("being probed")
            if not fresh or not await self._in_use(lease):
                terms = options.lifetimes(self._seconds(message))
                return self._reply(message, Kind.OFFER, lease.address, terms)
        raise NoAddress("no free address")

    async def _in_use(self, lease: Lease) -> bool:
        """Whether somebody has an offered address already, which is then kept from everybody for a while."""
        if self._probe is None:
            return False
        self._probing.add(lease.address)
        proved = used = False
        try:
            used = await self._probe(lease.address)
            proved = True
        finally:
            self._probing.discard(lease.address)
            ours = self.leases.holder(lease.address) is lease and lease.state == "offered"
            if ours and not proved:
                self.leases.end(lease, self._clock())
        if not ours:
            raise Ignored("overtaken")
        if used:
            self.leases.quarantine(lease, self._clock(), blame=False)
        return used

    async def _request(self, client: Client, message: Message) -> Message:
        """Selecting, init-reboot, renewing or rebinding, which differ in what the client sends (RFC 2131, 4.3.2)."""
        address = message.ciaddr if message.ciaddr != NOWHERE else message.address(Option.REQUESTED)
        lease = self.leases.find(client)
        if self._for_another_server(message):
            if lease and lease.state == "offered" and lease.port == client.port:
                self.leases.end(lease, self._clock())
            raise Ignored("for another server")
        if address is None:
            raise Malformed("options")
        if self.leases.reservation(client.mac) and (lease is None or not lease.busy()):
            lease, _ = self.leases.offer(client, None, self._clock())
        if lease and lease.address == address and address not in self._probing:
            return await self._acknowledge(client, message, lease)
        if Option.SERVER in message.options or lease or self._wrong(address):
            return self._refuse(message)
        raise Ignored("unknown client")

    def _wrong(self, address: IPv4Address) -> bool:
        """Whether a client of whom there is no record is surely wrong about its address."""
        return not text.client_address(address, self._network) or self.leases.holder(address) is not None

    async def _acknowledge(self, client: Client, message: Message, lease: Lease) -> Message:
        renewed = lease.state == "bound"
        seconds = self._seconds(message)
        self.leases.bind(lease, client, self._clock() + seconds)
        if not renewed:
            await self._store.commit()
        terms = options.lifetimes(seconds)
        reserved = self.leases.reservation(client.mac)
        if reserved and reserved.name:
            terms[Option.HOST_NAME] = reserved.name.encode()
        return self._reply(message, Kind.ACK, lease.address, terms)

    def _seconds(self, message: Message) -> int:
        """The length of a lease: the network's, or less if the client wants less."""
        wish = int.from_bytes(message.options.get(Option.LEASE, b"\xff" * 4), "big")
        return min(self._settings.lease_s, max(wish, _LEASE_MIN_S))

    def _refuse(self, message: Message) -> Message:
        return self._reply(message, Kind.NAK, NOWHERE, {Option.MESSAGE: b"not your address here"})

    async def _decline(self, client: Client, message: Message) -> None:
        lease = self._own(client, message, message.address(Option.REQUESTED))
        self.leases.quarantine(lease, self._clock(), blame=True)

    async def _release(self, client: Client, message: Message) -> None:
        lease = self._own(client, message, message.ciaddr)
        self.leases.end(lease, self._clock())

    def _own(self, client: Client, message: Message, address: IPv4Address | None) -> Lease:
        """The lease that a client gives back: its own, from the port where it was given."""
        lease = self.leases.find(client)
        if self._for_another_server(message):
            raise Ignored("for another server")
        if lease is None or not lease.busy() or lease.address != address or lease.port != client.port:
            raise Ignored("not its lease")
        return lease

    async def _inform(self, client: Client, message: Message) -> Message:
        if not text.client_address(message.ciaddr, self._network):
            raise Ignored("not of this network")
        return self._reply(message, Kind.ACK, NOWHERE, {})

    # The answer

    def _reply(self, message: Message, kind: Kind, address: IPv4Address, terms: dict[int, bytes]) -> Message:
        """A reply, its own options first; a client's identity comes back as it was (RFC 6842)."""
        own = {int(Option.KIND): bytes((kind,)), int(Option.SERVER): self._network.ip.packed} | terms
        if Option.CLIENT_ID in message.options:
            own[Option.CLIENT_ID] = message.options[Option.CLIENT_ID]
        if kind != Kind.NAK:
            own |= {code: value for code, value in options.wanted(self._options, message).items() if code not in own}
        ciaddr = message.ciaddr if kind == Kind.ACK else NOWHERE
        return Message(_REPLY, message.xid, message.chaddr, 0, message.flags, ciaddr, address, options=own)

    def _frame(self, request: Message, reply: Message) -> bytes:
        """The frame of a reply, to where RFC 2131, 4.1 has it."""
        if reply.kind == Kind.NAK or (reply.ciaddr == NOWHERE and request.flags & BROADCAST_FLAG):
            eth_dst, dst = BROADCAST, EVERYBODY
        else:
            eth_dst, dst = request.chaddr, reply.ciaddr if reply.ciaddr != NOWHERE else reply.yiaddr
        payload = build(reply, min(request.max_size, self._mtu))
        return build_udp(Datagram(self._mac, eth_dst, self._network.ip, dst, SERVER_PORT, CLIENT_PORT, payload))
