"""Random matches, in iptables' words. `rules.py` puts them together.

Two things are kept out on purpose. What a clock decides: `limit` appears only so generous that it never bites. And
what would tell apart two right choices of NAT: no match cuts a range of addresses or ports from which NAT may choose.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.oracle import topology
from tests.oracle.scenario import SERVICES

STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")
LOW_PORTS = "1:511"
HIGH_PORTS = "1024:65535"  # with LOW_PORTS: the classes within which the kernel picks a port
DSCPS = ("0", "2", "4", "18", "46")
ICMP_TYPES = {4: ("8", "0", "3", "3/3", "11", "echo-request", "any"), 6: ("128", "129", "1", "1/4", "echo-reply")}

IN_CHAINS = ("PREROUTING", "INPUT", "FORWARD")
OUT_CHAINS = ("FORWARD", "OUTPUT", "POSTROUTING")


class Matches:
    """Matches for the rules of one family."""

    def __init__(self, rng: random.Random, family: int) -> None:
        self.rng = rng
        self.family = family
        self.icmp = "icmp" if family == 4 else "icmpv6"

    def some(self, hooks: frozenset[str]) -> list[str]:
        """None to three matches that a chain reached from these hooks may have."""
        words = []
        protocol = self.rng.choices(("", "tcp", "udp", self.icmp), (5, 3, 2, 1))[0]
        if protocol:
            words.append(self.protocol(protocol))
        makers = self.rng.sample(self._makers(hooks), self.rng.choices((0, 1, 2), (5, 4, 1))[0])
        return words + [maker() for maker in makers]

    def protocol(self, name: str) -> str:
        """-p, with what belongs to it."""
        if name == self.icmp:
            flag = "--icmp-type" if self.family == 4 else "--icmpv6-type"
            match = f" -m {'icmp' if self.family == 4 else 'icmp6'} {self._not()}{flag} "
            return f"-p {name}" + (match + self.rng.choice(ICMP_TYPES[self.family]) if self._maybe(0.6) else "")
        ports = f" -m {name} {self._not()}{self._ports()}" if self._maybe(0.5) else ""
        if name == "tcp":
            ports += self._maybe(0.25) * self._tcp()
        ports = ports or self._multiport()
        return f"-p {name}{ports}" if ports or self._maybe(0.9) else f"! -p {name}"

    def _makers(self, hooks: frozenset[str]) -> list[Callable[[], str]]:
        makers = [self._source, self._destination, self._conntrack, self._conntrack, self._state, self._mark,
                  self._connmark, self._iprange, self._length, self._tos, self._dscp, self._ttl, self._addrtype,
                  self._comment, self._limit, self._pkttype]  # fmt: skip
        if self.family == 4:
            makers.append(lambda: f"{self._not()}-f")
        if hooks <= set(IN_CHAINS):
            makers += [lambda: self._at_device("-i"), self._mac]
        if hooks <= set(OUT_CHAINS):
            makers.append(lambda: self._at_device("-o"))
        return makers

    def _maybe(self, share: float) -> bool:
        return self.rng.random() < share

    def _not(self) -> str:
        return "! " if self._maybe(0.15) else ""

    def _at_device(self, option: str) -> str:
        """iptables-save forgets "! -i +", which never matches."""
        device = self._device()
        return f"{self._not() if device != '+' else ''}{option} {device}"

    def _device(self) -> str:
        return self.rng.choice(("a", "b", "a", "b", "+", "a+", "c"))

    def _ports(self) -> str:
        if self._maybe(0.7):
            return f"--dport {self.rng.choice((*SERVICES[:4], '1:1023', LOW_PORTS, HIGH_PORTS))}"
        return f"--sport {self.rng.choice((*SERVICES[:4], LOW_PORTS, HIGH_PORTS))}"

    def _multiport(self) -> str:
        if not self._maybe(0.25):
            return ""
        ports = ",".join(map(str, sorted(self.rng.sample(SERVICES[:4], 2))))
        return f" -m multiport {self._not()}{self.rng.choice(('--dports', '--sports', '--ports'))} {ports},{HIGH_PORTS}"

    def _tcp(self) -> str:
        flags = ("--syn", "--tcp-flags SYN,RST,ACK,FIN SYN", "--tcp-flags ALL ACK,PSH", "--tcp-flags FIN,RST RST",
                 "--tcp-flags ALL NONE", "--tcp-option 2", "--tcp-flags ACK ACK")  # fmt: skip
        return f" -m tcp {self._not()}{self.rng.choice(flags)}"

    def _source(self) -> str:
        return self._address("-s")

    def _destination(self) -> str:
        return self._address("-d")

    def _address(self, which: str) -> str:
        """One station, the first sixteen, all, anywhere. NAT's choices are within all together or not at all."""
        port, number = self.rng.choice(topology.PORTS), self.rng.choice(topology.STATIONS[:6])
        part, whole = (28, 24) if self.family == 4 else (124, 64)
        choices = (topology.text(port, self.family, number), f"{topology.text(port, self.family, 0)}/{part}",
                   f"{topology.text(port, self.family, 0)}/{whole}", topology.text(port, self.family, topology.ROUTER),
                   "0.0.0.0/0" if self.family == 4 else "::/0")  # fmt: skip
        address = self.rng.choices(choices, (3, 3, 4, 1, 1))[0]
        return f"{'' if address.endswith('/0') else self._not()}{which} {address}"

    def _iprange(self) -> str:
        port = self.rng.choice(topology.PORTS)
        low, high = topology.text(port, self.family, 2), topology.text(port, self.family, self.rng.randint(3, 20))
        return f"-m iprange {self._not()}{self.rng.choice(('--src-range', '--dst-range'))} {low}-{high}"

    def _conntrack(self) -> str:
        options = [f"--ctstate {self._states()}"] * 5
        options += [f"--ctstatus {self.rng.choice(('SEEN_REPLY', 'ASSURED', 'CONFIRMED', 'NONE', 'EXPECTED'))}",
                    f"--ctproto {self.rng.choice(('6', '17'))}", f"--ctstate {self.rng.choice(('SNAT', 'DNAT'))}",
                    f"--ctorigsrc {topology.text('a', self.family, self.rng.choice((2, 3)))}",
                    f"--ctorigdst {topology.text('b', self.family, self.rng.choice((1, 2, 3)))}",
                    f"--ctorigdstport {self.rng.choice(SERVICES)}"]  # fmt: skip
        option = self.rng.choice(options)
        if self._maybe(0.15):
            return f"-m conntrack {option} --ctdir {self.rng.choice(('ORIGINAL', 'REPLY'))}"
        return f"-m conntrack {self._not()}{option}"

    def _state(self) -> str:
        return f"-m state {self._not()}--state {self._states()}"

    def _states(self) -> str:
        return ",".join(self.rng.sample(STATES, self.rng.choice((1, 1, 2, 3))))

    def _mark(self) -> str:
        return f"-m mark {self._not()}--mark {self.rng.choice(('0x0', '0x1', '0x2/0x2', '0x10/0xf0'))}"

    def _connmark(self) -> str:
        return f"-m connmark {self._not()}--mark {self.rng.choice(('0x0', '0x1', '0x2/0x2', '0x10/0xf0'))}"

    def _mac(self) -> str:
        mac = topology.mac(self.rng.choice(topology.PORTS), self.rng.choice((1, 2, 3, 4, 5))).hex(":")
        return f"-m mac {self._not()}--mac-source {mac}"

    def _length(self) -> str:
        return f"-m length {self._not()}--length {self.rng.choice(('0:60', '40', '61:200', '100:', '1000:1500'))}"

    def _tos(self) -> str:
        return f"-m tos {self._not()}--tos {self.rng.choice(('0x00/0xff', '0x10/0x3f', '0xb8/0xfc'))}"

    def _dscp(self) -> str:
        return f"-m dscp {self._not()}--dscp {self.rng.choice(DSCPS)}"

    def _ttl(self) -> str:
        name = "ttl" if self.family == 4 else "hl"
        return f"-m {name} --{name}-{self.rng.choice(('eq 61', 'eq 60', 'lt 61', 'gt 2'))}"

    def _addrtype(self) -> str:
        kind = self.rng.choice(("LOCAL", "UNICAST"))
        return f"-m addrtype {self._not()}{self.rng.choice(('--src-type', '--dst-type'))} {kind}"

    def _comment(self) -> str:
        return f'-m comment --comment "number {self.rng.randrange(100)}"'

    def _limit(self) -> str:
        return "-m limit --limit 10000/sec --limit-burst 10000"

    def _pkttype(self) -> str:
        return f"-m pkttype {self._not()}--pkt-type {self.rng.choice(('unicast', 'unicast', 'multicast'))}"
