"""A switch that routes: networks, uplinks and the machines behind them, rules in the words of iptables.

    host = RouterHost(lab, "h")
    guest = host.station("a", "10.0.0.2/24", gateway="10.0.0.1")           # a port on br0
    world = host.uplink("w", "203.0.113.2/24", "203.0.113.254/24")         # a cable, and a machine at its far end
    host.network("br0", "10.0.0.1/24", mode="nat")
    host.start()
    host.iptables("-A", "FORWARD", "-p", "tcp", "--dport", "22", "-j", "DROP")

Stations speak IPv6 where they have such an address, and are silent otherwise; they do not look for others with their
own address, so that they can be used at once. `probe` is a traceroute of one packet: who answers what.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.lab import Lab, inside, wait_for
from tests.switchhost import LIMIT_S, Guest, SwitchHost

# linux/in.h, linux/in6.h, linux/errqueue.h: what the socket module lacks
IP_RECVERR, IPV6_RECVERR = 11, 25
EXTENDED_ERROR = struct.Struct("=IBBBBII")  # struct sock_extended_err; the address of the sender follows it


@dataclass(frozen=True)
class Complaint:
    """An ICMP error as the sender of the packet is told of it."""

    error: int
    sender: str
    kind: int
    code: int


class RouterHost(SwitchHost):
    """A switch with networks on br0 and its VLANs."""

    def __init__(self, lab: Lab, stem: str, **switch: object) -> None:
        super().__init__(lab, stem, state_dir=str(lab.path(f"{stem}-state")), **switch)
        self.networks: dict[tuple[str, str], dict[str, object]] = {}
        self.routes: list[dict[str, object]] = []
        self.conntrack_keys: dict[str, object] = {}
        self._gateways: list[tuple[str, str, str]] = []

    def tables(self) -> list[tuple[str, dict[str, object]]]:
        """The configuration's tables, with the router's."""
        networks = [("[[network]]", keys) for keys in self.networks.values()]
        routes = [("[[route]]", keys) for keys in self.routes]
        conntrack = [("[conntrack]", self.conntrack_keys)] if self.conntrack_keys else []
        return super().tables() + networks + routes + conntrack

    def network(self, name: str, *addresses: str, **keys: object) -> None:
        """Have a network, named as in rules: br0 or br0.10."""
        bridge, _, vlan = name.partition(".")
        where: dict[str, object] = {"bridge": bridge} | ({"vlan": int(vlan)} if vlan else {})
        self.networks[name, str(keys.get("router", "main"))] = where | {"address": list(addresses)} | keys

    def station(self, stem: str, *addresses: str, gateway: str | list[str] = (), **keys: object) -> Guest:
        """Have a guest on a tap of br0, with addresses and default routes once the daemon runs."""
        netns = _namespace(self.lab, stem, *addresses)
        guest = Guest(self.port(self.lab.name(stem), netns=netns, **keys), netns)
        self._configure(guest, addresses, gateway)
        return guest

    def uplink(self, stem: str, address: str | list[str], *far: str, mtu: int = 1500, **keys: object) -> Guest:
        """Have a netdev uplink; returns the machine at the far end of its cable, which has the addresses `far`."""
        netns = _namespace(self.lab, stem, *far)
        near, device = self.lab.veth(f"{stem}0", stem, near_netns=self.netns, far_netns=netns)
        for name, place in ((near, self.netns), (device, netns)):
            self.lab.ip("link", "set", name, "mtu", str(mtu), netns=place)
        self.ports[near] = {"kind": "netdev", "address": address} | keys
        machine = Guest(device, netns)
        self._configure(machine, far, ())
        return machine

    def name_of_uplink(self, machine: Guest) -> str:
        """The port at this end of the machine's cable."""
        return f"{machine.name}0"

    def _configure(self, guest: Guest, addresses: tuple[str, ...], gateway: str | list[str]) -> None:
        self._addresses += [(guest.name, address, guest.netns) for address in addresses]
        gateways = [gateway] if isinstance(gateway, str) else list(gateway)
        self._gateways += [(guest.name, address, guest.netns) for address in gateways]

    def start(self) -> None:
        """Start the daemon; the machines get their addresses and default routes when it runs."""
        super().start()
        for device, gateway, netns in self._gateways:
            family = "-6" if ":" in gateway else "-4"
            self.lab.ip(family, "route", "add", "default", "via", gateway, "dev", device, netns=netns)

    # Commands in the words of others: `words` by vswitchctl, the others by the control socket itself, which is quicker

    def words(self, *words: str, check: bool = True) -> str:
        """Run vswitchctl with these words; returns what it prints for people."""
        return self.lab.run(*self._ctl(*words, output=()), check=check).stdout

    def iptables(self, *words: str, program: str = "iptables") -> None:
        """`vswitchctl iptables WORDS`, which must do."""
        answer = self.post("iptables", {"program": program, "argv": list(words), "stdin": ""})
        assert answer["code"] == 0, answer

    def flush(self) -> None:
        """`vswitchctl conntrack -F`."""
        assert self.post("conntrack", {"argv": ["-F"]})["code"] == 0

    def rules(self, program: str, text: str, *argv: str) -> None:
        """Give iptables-restore (or another `program`) a text."""
        answer = self.post("iptables", {"program": program, "argv": list(argv), "stdin": text})
        assert answer["code"] == 0, answer

    def connections(self, *words: str) -> list[str]:
        """The lines of `conntrack -L WORDS`."""
        answer = self.post("conntrack", {"argv": ["-L", *words]})
        assert answer["code"] == 0, answer
        return answer["stdout"].splitlines()

    def count(self) -> int:
        """How many connections there are."""
        return int(self.post("conntrack", {"argv": ["-C"]})["stdout"])

    def packets(self, pattern: str, program: str = "iptables-save") -> int:
        """The packets that the one rule or policy whose line matches has counted."""
        saved = self.post("iptables", {"program": program, "argv": ["-c"], "stdin": ""})["stdout"]
        lines = [line for line in saved.splitlines() if re.search(pattern, line)]
        assert len(lines) == 1, f"{pattern}: {lines}\n{saved}"
        return int(re.search(r"\[(\d+):\d+\]", lines[0])[1])

    def drops(self) -> dict[str, int]:
        """Drops by reason, over all ports."""
        total: dict[str, int] = {}
        for port in self.get("stats"):
            for reason, frames in port["drops"].items():
                total[reason] = total.get(reason, 0) + frames
        return total


def _namespace(lab: Lab, stem: str, *addresses: str) -> str:
    """A namespace with IPv6 only where it is wanted, which uses its addresses and asks for routers without delay."""
    ipv6 = any(":" in address for address in addresses)
    netns = lab.namespace(stem, ipv6=ipv6)
    if ipv6:
        for key, value in (("accept_dad", 0), ("router_solicitation_delay", 0)):
            lab.sysctl(f"net/ipv6/conf/all/{key}", value, netns=netns)
            lab.sysctl(f"net/ipv6/conf/default/{key}", value, netns=netns)
    return netns


# Packets by hand


def datagram(netns: str, family: int = socket.AF_INET) -> socket.socket:
    """A UDP socket in a namespace."""
    with inside(netns):
        sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(LIMIT_S)
    return sock


def family_of(address: str) -> int:
    """The socket family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def probe(netns: str, address: str, ttl: int = 64, port: int = 33434) -> Complaint:
    """Send a datagram to where nobody listens; returns the ICMP error that comes back."""
    six = ":" in address
    with datagram(netns, family_of(address)) as sock:
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.sendto(b"who is there?", (address, port))
        return wait_for(lambda: _complaint(sock, six), LIMIT_S, f"an error of a datagram to {address}, TTL {ttl}")


def _complaint(sock: socket.socket, six: bool) -> Complaint | None:
    sock.setblocking(False)
    try:
        _, ancillary, _, _ = sock.recvmsg(2048, 512, socket.MSG_ERRQUEUE)
    except BlockingIOError:
        return None
    data = ancillary[0][2]
    error, _, kind, code, _, _, _ = EXTENDED_ERROR.unpack_from(data)
    rest = data[EXTENDED_ERROR.size :]
    sender = ipaddress.ip_address(rest[8:24] if six else rest[4:8])
    return Complaint(error, str(sender), kind, code)


@contextmanager
def listening(netns: str, address: str, kind: int = socket.SOCK_STREAM, port: int = 0) -> Iterator[socket.socket]:
    """A socket of a server in a namespace."""
    with inside(netns):
        sock = socket.socket(family_of(address), kind)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(LIMIT_S)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(128)
        yield sock


def reach(netns: str, address: str, port: int, limit_s: float = LIMIT_S) -> socket.socket:
    """A TCP connection from a namespace to a server."""
    with inside(netns):
        sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    sock.settimeout(limit_s)
    try:
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


# Meanwhile


@contextmanager
def repeating(action: Callable[[int], None]) -> Iterator[list[int]]:
    """Do something over and over on a thread of its own, at least once; the list has what was done."""
    ending, done, failures = threading.Event(), [], []

    def work() -> None:
        try:
            while not ending.is_set() or not done:
                action(len(done))
                done.append(len(done))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        ending.set()
        thread.join()
    assert not failures, failures
