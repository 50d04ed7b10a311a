"""Numbers and names of protocols and services.

Protocols are those that Debian's /etc/protocols names, the same on every host; services are the host's own, as for
iptables.
"""

from __future__ import annotations

import socket
from functools import lru_cache

from .complaint import Complaint

PROTOCOLS = {
    1: "icmp", 2: "igmp", 3: "ggp", 4: "ipencap", 5: "st", 6: "tcp", 8: "egp", 9: "igp", 12: "pup", 17: "udp",
    20: "hmp", 22: "xns-idp", 27: "rdp", 29: "iso-tp4", 33: "dccp", 36: "xtp", 37: "ddp", 38: "idpr-cmtp", 41: "ipv6",
    43: "ipv6-route", 44: "ipv6-frag", 45: "idrp", 46: "rsvp", 47: "gre", 50: "esp", 51: "ah", 57: "skip",
    58: "ipv6-icmp", 59: "ipv6-nonxt", 60: "ipv6-opts", 73: "rspf", 81: "vmtp", 88: "eigrp", 89: "ospf", 93: "ax.25",
    94: "ipip", 97: "etherip", 98: "encap", 103: "pim", 108: "ipcomp", 112: "vrrp", 115: "l2tp", 124: "isis",
    132: "sctp", 133: "fc", 135: "mobility-header", 136: "udplite", 137: "mpls-in-ip", 138: "manet", 139: "hip",
    140: "shim6", 141: "wesp", 142: "rohc",
}  # fmt: skip
ALIASES = {"all": 0, "ip": 0, "icmpv6": 58, "icmp6": 58, "ipv6-mh": 135, "mh": 135}
NUMBERS = {name: number for number, name in PROTOCOLS.items()} | ALIASES

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
WITH_PORTS = frozenset((6, 17, 33, 132))
WITH_PORTS_NAMES = "TCP, UDP, SCTP or DCCP"


@lru_cache(256)
def protocol_number(text: str) -> int:
    """A name in any case, or a number; 0 is any."""
    number = NUMBERS.get(text.lower())
    if number is not None:
        return number
    if text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) < 256:
        return int(text)
    raise Complaint(f'unknown protocol "{text.lower()}" specified')


def protocol_name(number: int) -> str:
    return PROTOCOLS.get(number) or str(number)


@lru_cache(1024)
def service_number(text: str) -> int | None:
    """The port that the host's list of services has for a name, of whatever protocol."""
    try:
        return socket.getservbyname(text)
    except (OSError, ValueError):
        return None


@lru_cache(4096)
def service_name(port: int, protocol: str) -> str:
    try:
        return socket.getservbyport(port, protocol)
    except OSError:
        return str(port)
