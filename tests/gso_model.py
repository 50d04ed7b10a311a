"""Super-frames made by scapy, and two plain models of what becomes of them.

`super_frame` builds a frame and its virtio-net header as a guest's kernel would. `expected_segments` is the slow
oracle: scapy takes the super-frame apart and builds every segment anew, lengths and checksums included.
`checksum_holds` is the quick one, for tests that make many frames: RFC 1071 written plainly.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

NEEDS_CSUM = 1
DATA_VALID = 2
TCPV4, UFO, TCPV6, UDP_L4, ECN = 1, 3, 4, 5, 0x80

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
IP4 = IP(src="10.0.0.1", dst="10.0.0.2", id=0x1234, flags="DF")
IP6 = IPv6(src="fd00::1", dst="fd00::2", fl=0x12345)
TIMESTAMP = [("NOP", None), ("NOP", None), ("Timestamp", (0x01020304, 0x05060708))]
TCP_DATA = TCP(sport=40000, dport=40001, seq=1000, ack=77, flags="A", window=500, options=TIMESTAMP)
UDP_DATA = UDP(sport=40000, dport=40001)
VLAN = Dot1Q(vlan=100, prio=5)
SERVICE_VLAN = Dot1AD(vlan=200)


def vnet(
    flags: int = 0, gso_type: int = 0, hdr_len: int = 0, gso_size: int = 0, csum_start: int = 0, csum_offset: int = 0
) -> bytes:
    """A struct virtio_net_hdr_v1."""
    return struct.pack("<BBHHHHH", flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, 0)


def payload(length: int) -> bytes:
    """Bytes that differ from place to place, so that a slice taken wrongly shows."""
    return bytes((i * 7 + i // 251) & 0xFF for i in range(length))


def ones_sum(content: bytes) -> int:
    """The folded sum of big-endian words (RFC 1071), not complemented."""
    words = struct.unpack(f">{(len(content) + 1) // 2}H", content + bytes(len(content) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True)
class SuperFrame:
    """A frame, its virtio-net header, and where things lie in it."""

    vnet: bytes
    frame: bytes
    l3_off: int
    l4_off: int
    hdr_len: int
    mss: int

    @property
    def payload(self) -> bytes:
        """What the segments carry."""
        return self.frame[self.hdr_len :]

    @property
    def csum_at(self) -> int:
        """Where the layer 4 checksum lies in the frame."""
        return self.l4_off + struct.unpack_from("<H", self.vnet, 8)[0]

    def patched(self, at: int, content: bytes) -> SuperFrame:
        """The same with some bytes of the frame replaced."""
        frame = self.frame[:at] + content + self.frame[at + len(content) :]
        return SuperFrame(self.vnet, frame, self.l3_off, self.l4_off, self.hdr_len, self.mss)


def super_frame(
    content: bytes, mss: int, *, ip: Packet = IP4, l4: Packet = TCP_DATA, tags: tuple[Packet, ...] = ()
) -> SuperFrame:
    """A super-frame with a partial checksum; ip may bring IPv6 extension headers along."""
    packet = ETHER.copy()
    for layer in (*tags, ip, l4):
        packet = packet / layer
    built = bytes(packet / Raw(content))
    hdr_len = len(built) - len(content)
    l4_off = hdr_len - len(bytes(l4))
    offset = 6 if UDP in l4 else 16
    gso_type = UDP_L4 if UDP in l4 else TCPV6 if IPv6 in ip else TCPV4
    # Scapy's full checksum less the sum of what it covers leaves the pseudo-header's, whatever is in that.
    at = l4_off + offset
    bare = built[l4_off:at] + bytes(2) + built[at + 2 :]
    full = int.from_bytes(built[at : at + 2], "big")
    pseudo = ones_sum(struct.pack(">HH", full ^ 0xFFFF, ones_sum(bare) ^ 0xFFFF))
    frame = built[:at] + pseudo.to_bytes(2, "big") + built[at + 2 :]
    header = vnet(NEEDS_CSUM, gso_type, hdr_len, mss, l4_off, offset)
    return SuperFrame(header, frame, 14 + 4 * len(tags), l4_off, hdr_len, mss)


def expected_segments(whole: SuperFrame) -> list[bytes]:
    """The segments as scapy builds them from the headers of the super-frame."""
    pieces = [whole.payload[i : i + whole.mss] for i in range(0, len(whole.payload), whole.mss)] or [b""]
    return [_segment(whole, pieces, index) for index in range(len(pieces))]


def _segment(whole: SuperFrame, pieces: list[bytes], index: int) -> bytes:
    packet = Ether(whole.frame[: whole.hdr_len]) / Raw(pieces[index])
    if IP in packet:
        packet[IP].id = (packet[IP].id + index) & 0xFFFF
        packet[IP].len = packet[IP].chksum = None
    else:
        packet[IPv6].plen = None
    if UDP in packet:
        packet[UDP].len = packet[UDP].chksum = None
    else:
        tcp = packet[TCP]
        tcp.seq = (tcp.seq + index * whole.mss) & 0xFFFFFFFF
        tcp.flags = str(tcp.flags).translate(_flags_lost(index == 0, index == len(pieces) - 1))
        tcp.chksum = None
    return bytes(packet)


def _flags_lost(first: bool, last: bool) -> dict[int, None]:
    return dict.fromkeys(map(ord, ("" if first else "C") + ("" if last else "FP")))


def checksum_holds(segment: bytes, l3_off: int, l4_off: int, protocol: int) -> bool:
    """Whether the checksums of a segment without routing header are right (RFC 9293, 768, 8200)."""
    ip, l4 = segment[l3_off:l4_off], segment[l4_off:]
    if ip[0] >> 4 == 4:
        if ones_sum(ip) != 0xFFFF:
            return False
        pseudo = ip[12:20] + struct.pack(">HH", protocol, len(l4))
    else:
        pseudo = ip[8:40] + struct.pack(">II", len(l4), protocol)
    return ones_sum(pseudo + l4) == 0xFFFF
