"""A DHCP client's messages, made and read by scapy: an opinion of the protocol that is not the server's own."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from vswitch.l3.dhcp.server import DhcpServer, Subnet
from vswitch.l3.dhcp.store import MemoryStore
from vswitch.l3.settings import Dhcp

GATEWAY = "10.0.0.1"
EVERYBODY = "255.255.255.255"
GATEWAY_MAC = "02:00:00:00:00:01"
SUBNET = Subnet(IPv4Interface("10.0.0.1/24"), GATEWAY_MAC)
RANGE = ("10.0.0.100", "10.0.0.103")


class Clock:
    """Time that passes when told to."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def server(
    store: object = None,
    clock: Clock | None = None,
    probe: object = None,
    gone: tuple[str, ...] = (),
    **settings: object,
) -> DhcpServer:
    """A server of 10.0.0.100 to .103, or as the settings say; the ports that are `gone` are attached no more."""
    table = Dhcp(**{"range": RANGE, **settings})
    return DhcpServer(table, SUBNET, store or MemoryStore(), clock or Clock(), probe, lambda port: port not in gone)


def mac(number: int) -> str:
    """The MAC of the numbered client."""
    return f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


@dataclass
class Answer:
    """A reply as the client sees it."""

    kind: str
    address: str
    options: dict[str, object]
    frame: Ether


_KINDS = {2: "offer", 5: "ack", 6: "nak"}


def read(frames: list[bytes]) -> Answer | None:
    """The one reply, or None; its checksums are scapy's."""
    if not frames:
        return None
    (frame,) = frames
    packet = Ether(frame)
    again = packet.copy()
    del again[IP].chksum, again[UDP].chksum, again[IP].len, again[UDP].len
    assert bytes(again) == frame
    options = {option[0]: option[1] if len(option) == 2 else list(option[1:])
               for option in packet[DHCP].options if isinstance(option, tuple)}
    return Answer(_KINDS[options["message-type"]], packet[BOOTP].yiaddr, options, packet)


class Client:
    """One client behind one port of a server."""

    def __init__(self, to: DhcpServer, number: int = 1, port: str = "tap1", **options: object) -> None:
        self.server = to
        self.mac = mac(number)
        self.port = port
        self.options = options

    async def send(self, kind: str, **fields: object) -> Answer | None:
        """Send a message and give the reply. Fields of scapy's BOOTP go there, the rest are options."""
        return read(await self.server.handle(self.frame(kind, **fields), self.port))

    def frame(
        self, kind: str, eth_src: str | None = None, dst: str = EVERYBODY, raw: bytes = b"", **fields: object
    ) -> bytes:
        """The frame of a message."""
        bootp = {key: fields.pop(key) for key in ("ciaddr", "giaddr", "flags", "xid", "op", "chaddr") if key in fields}
        bootp.setdefault("chaddr", bytes.fromhex(self.mac.replace(":", "")))
        options = [("message-type", kind), *{**self.options, **fields}.items(), raw, "end"]
        eth_dst = "ff:ff:ff:ff:ff:ff" if dst == EVERYBODY else GATEWAY_MAC
        return bytes(
            Ether(src=eth_src or self.mac, dst=eth_dst) / IP(src=bootp.get("ciaddr", "0.0.0.0"), dst=dst)
            / UDP(sport=68, dport=67) / BOOTP(**{"xid": 7, **bootp}) / DHCP(options=options)
        )

    async def lease(self, **fields: object) -> str:
        """Discover, request, and the address."""
        offer = await self.send("discover", **fields)
        assert offer and offer.kind == "offer", self.server.ignored
        ack = await self.take(offer.address)
        assert ack and ack.kind == "ack", self.server.ignored
        return ack.address

    async def take(self, address: str, **fields: object) -> Answer | None:
        """Request an offered address."""
        return await self.send("request", requested_addr=address, server_id=GATEWAY, **fields)

    async def renew(self, address: str) -> Answer | None:
        """Renew: unicast, from the address."""
        return await self.send("request", ciaddr=address, dst=GATEWAY)

    async def release(self, address: str) -> None:
        """Give the address back."""
        assert await self.send("release", ciaddr=address, server_id=GATEWAY, dst=GATEWAY) is None


def states(to: DhcpServer) -> dict[str, str]:
    """The state of every address of which there is a record."""
    return {str(IPv4Address(report.address)): report.state for report in to.reports()}
