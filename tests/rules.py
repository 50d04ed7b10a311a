"""Packets, connections and rulesets for the tests of the rule engine, and the rules' meaning in plain Python.

`evaluate` is the model: what iptables says a list of chains does to a packet, written without regard to speed. A test
runs the same chains through the fast path's doors (vswitch/_fastpath/_probe_rules.pyx) and compares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from vswitch._fastpath._probe_rules import Connection, Engine, Parcel
from vswitch._fastpath.filter.counters import RuleCounters
from vswitch._fastpath.filter.log import LogRings
from vswitch._fastpath.filter.ruleset import CompiledRuleset
from vswitch.filter.view import INVERT, LENIENT, AddressView, ChainView, DeviceView, MatchOp, RuleView, TargetOp

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
FRAGMENT, TO_US, LOCAL, ROUTED = 1, 16, 32, 64  # PACKET_*
NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED, REPLY = 1, 2, 4, 8, 16, 128
NONE16 = 0xFFFF
MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01")
DEVICES = (DeviceView(1500, 0, False), DeviceView(1400, 0, False), DeviceView(1300, 0, True))


def ip16(text: str) -> bytes:
    address = ip_address(text)
    return bytes(10) + b"\xff\xff" + address.packed if address.version == 4 else address.packed


def net16(text: str) -> tuple[bytes, bytes]:
    """`10.0.0.0/8` as a view has it; the mask may be an address."""
    address, _, mask = text.partition("/")
    width = 128 if ":" in address else 32
    bits = int(ip_address(mask)) if not mask.isdigit() else ((1 << int(mask)) - 1) << (width - int(mask))
    raw = bits.to_bytes(width // 8, "big")
    return ip16(address), (b"\xff" * 12 + raw if width == 32 else raw)


def checksum(content: bytes) -> int:
    total = sum(int.from_bytes(content[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(content), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


@dataclass(frozen=True)
class Pkt:
    """A packet as a test thinks of it."""

    src: str = "10.0.0.1"
    dst: str = "10.0.0.2"
    proto: int = TCP
    sport: int = 1000
    dport: int = 80
    tos: int = 0
    ttl: int = 64
    tcp_flags: int = 0x10
    options: bytes = b""
    icmp: tuple[int, int] = (8, 0)
    payload: int = 0
    fragment: bool = False
    cut: int | None = None  # bytes of layer 4 that are there
    mac_src: str = MACS[0]
    mac_dst: str = MACS[1]
    in_port: int = 1
    in_dev: int = 0
    out_port: int = 2
    out_dev: int = 0
    mark: int = 0
    ct_info: int = 0
    flags: int = 0
    hash: int = 0
    needs: int = 0

    @property
    def v6(self) -> bool:
        return ":" in self.src

    def layer4(self) -> bytes:
        """With a full checksum, or for needs=1 the partial one."""
        if self.proto == TCP:
            options = self.options + bytes(-len(self.options) % 4)
            body = self.sport.to_bytes(2, "big") + self.dport.to_bytes(2, "big") + bytes(8)
            body += bytes([(5 + len(options) // 4) << 4, self.tcp_flags]) + b"\x10\x00" + bytes(4)
            return self._checked(body + options + bytes(self.payload), 16)
        if self.proto == UDP:
            words = self.sport, self.dport, 8 + self.payload, 0
            return b"".join(word.to_bytes(2, "big") for word in words) + bytes(self.payload)
        return bytes(self.icmp) + bytes(6 + self.payload)

    def pseudo(self, length: int) -> bytes:
        ends = ip_address(self.src).packed + ip_address(self.dst).packed
        return ends + length.to_bytes(4, "big") + bytes([0, 0, 0, self.proto])

    def _checked(self, body: bytes, at: int) -> bytes:
        pseudo = self.pseudo(len(body))
        value = 0xFFFF - checksum(pseudo) if self.needs & 1 else checksum(pseudo + body)
        return body[:at] + value.to_bytes(2, "big") + body[at + 2 :]

    def frame(self) -> bytes:
        body = self.layer4()[: self.cut]
        ends = ip_address(self.src).packed + ip_address(self.dst).packed
        macs = bytes.fromhex((self.mac_dst + self.mac_src).replace(":", ""))
        if self.v6:
            first = (6 << 28 | self.tos << 20 | 0xABCDE).to_bytes(4, "big")
            first += len(body).to_bytes(2, "big") + bytes([self.proto, self.ttl])
            return macs + b"\x86\xdd" + first + ends + body
        head = bytes([0x45, self.tos]) + (20 + len(body)).to_bytes(2, "big") + b"\0\1"
        head += (100 if self.fragment else 0).to_bytes(2, "big") + bytes([self.ttl, self.proto])
        return macs + b"\x08\x00" + head + checksum(head + ends).to_bytes(2, "big") + ends + body

    @property
    def length(self) -> int:
        return len(self.frame()) - 14

    def parcel(self) -> Parcel:
        known = ("in_port", "out_port", "in_dev", "out_dev", "ct_info", "mark", "flags", "hash", "needs")
        return Parcel(self.frame(), **{name: getattr(self, name) for name in known})


@dataclass
class Conn:
    """A connection; `status` are the kernel's IPS_* bits."""

    original: tuple[str, str, int, int, int] = ("10.0.0.1", "10.0.0.2", 1000, 80, TCP)
    reply: tuple[str, str, int, int, int] = ("10.0.0.2", "10.0.0.1", 80, 1000, TCP)
    status: int = 8
    mark: int = 0
    expires_s: int = 100

    def entry(self) -> Connection:
        both = [(ip16(src), ip16(dst), *rest) for src, dst, *rest in (self.original, self.reply)]
        return Connection(both[0], both[1], self.status, self.mark, self.expires_s)


def rule(
    number: int, *matches: tuple[int, int, Any], do: tuple[int, tuple[Any, ...]] = (TargetOp.ACCEPT, ())
) -> RuleView:
    return RuleView(number, matches, do)


def forward(rules: list[RuleView], policy: int = TargetOp.ACCEPT, table: int = 3, hook: int = 2) -> list[ChainView]:
    """One chain, by default FORWARD of table filter; its policy counts by id 999."""
    return [ChainView(table, hook, rules, policy, 999)]


def engine(chains: Sequence[ChainView], v6: bool = False, generation: int = 1, addresses: Sequence[AddressView] = (),
           counters: RuleCounters | None = None, paths: int = 65536) -> Engine:  # fmt: skip
    both = ([], list(chains)) if v6 else (list(chains), [])
    compiled = CompiledRuleset(generation, *both, devices=DEVICES, addresses=addresses, capacity=1000, paths=paths)
    return Engine(compiled, counters or RuleCounters(1000), LogRings())


# The model


@dataclass
class State:
    """A packet on its way through the model, and what has been done to it."""

    pkt: Pkt
    conn: Conn | None
    counted: Counter[int] = field(default_factory=Counter)
    meters: dict[int, float] = field(default_factory=dict)
    class_id: int = 0


class HotDrop(Exception):
    """A header is cut short."""


def evaluate(chains: Sequence[ChainView], table: int, hook: int, state: State) -> str:
    """The verdict of one table at one hook."""
    for chain in chains:
        if chain.table == table and chain.hook == hook:
            try:
                verdict = _chain(chains, chain, state)
            except HotDrop:
                return "DROP"
            if verdict is None:
                state.counted[chain.policy_id] += 1
                verdict = "DROP" if chain.policy == TargetOp.DROP else "ACCEPT"
            return verdict
    return "ACCEPT"


def _chain(chains: Sequence[ChainView], chain: ChainView, state: State) -> str | None:
    """None: the end of the chain, or RETURN."""
    for number, matches, (op, args) in chain.rules:
        if not all(holds(match, state) for match in matches):
            continue
        state.counted[number] += 1
        if op in (TargetOp.ACCEPT, TargetOp.DROP, TargetOp.REJECT):
            return TargetOp(op).name
        if op == TargetOp.RETURN:
            return None
        if op == TargetOp.GOTO:
            return _chain(chains, chains[args[0]], state)
        if op == TargetOp.JUMP:
            if (verdict := _chain(chains, chains[args[0]], state)) is not None:
                return verdict
            continue
        edit(op, args, state)
    return None


def edit(op: int, args: tuple[Any, ...], state: State) -> None:
    pkt, conn = state.pkt, state.conn
    if op == TargetOp.MARK:
        state.pkt = replace(pkt, mark=(pkt.mark & ~args[1] & 0xFFFFFFFF) ^ args[0])
    elif op == TargetOp.TOS:
        state.pkt = replace(pkt, tos=(pkt.tos & ~args[1] & 0xFF) ^ args[0])
    elif op == TargetOp.TTL:
        state.pkt = replace(pkt, ttl=max(0, min(255, (args[1], pkt.ttl + args[1], pkt.ttl - args[1])[args[0]])))
    elif op == TargetOp.CLASSIFY:
        state.class_id = args[0]
    elif op == TargetOp.CONNMARK and conn is not None:
        mode, value, ctmask, nfmask, shift = args
        if mode == 0:
            conn.mark = _shifted((conn.mark & ~ctmask & 0xFFFFFFFF) ^ value, shift)
        elif mode == 1:
            conn.mark = (conn.mark & ~ctmask & 0xFFFFFFFF) ^ _shifted(pkt.mark & nfmask, shift)
        else:
            state.pkt = replace(pkt, mark=(pkt.mark & ~nfmask & 0xFFFFFFFF) ^ _shifted(conn.mark & ctmask, shift))


def _shifted(mark: int, left: int) -> int:
    return (mark << left if left >= 0 else mark >> -left) & 0xFFFFFFFF


def holds(match: tuple[int, int, Any], state: State) -> bool:
    op, flags, args = match
    answer = answer_of(op, flags, args, state)
    return answer if isinstance(answer, bool) else answer[0] ^ bool(flags & INVERT)


def answer_of(op: int, flags: int, args: Any, state: State) -> bool | tuple[bool]:
    """(yes or no,) to be inverted, or a plain bool that `!` does not touch."""
    pkt = state.pkt
    whole = {MatchOp.SPORT, MatchOp.DPORT, MatchOp.MULTIPORT, MatchOp.TCP_FLAGS, MatchOp.TCP_OPTION, MatchOp.ICMP}
    if op in whole:
        if pkt.fragment:
            return False
        least = 4 if op == MatchOp.MULTIPORT else 20 if pkt.proto == TCP else 8
        if len(pkt.layer4()[: pkt.cut]) < least:
            raise HotDrop
    if MatchOp.CTSTATE <= op <= MatchOp.CTDIR or op == MatchOp.CONNMARK:
        return _connection_answer(op, flags, args, state)
    if op in (MatchOp.IN, MatchOp.OUT):
        port, device = (pkt.in_port, pkt.in_dev) if op == MatchOp.IN else (pkt.out_port, pkt.out_dev)
        return (bool(args.any or args.ports >> port & 1 or args.devices >> device & 1),)
    return (bool(PLAIN[op](pkt, args)),)


def _in(ip: str, net: tuple[bytes, bytes]) -> bool:
    address, mask = (int.from_bytes(part, "big") for part in net)
    return int.from_bytes(ip16(ip), "big") & mask == address


PLAIN = {
    MatchOp.SRC: lambda pkt, args: _in(pkt.src, args),
    MatchOp.DST: lambda pkt, args: _in(pkt.dst, args),
    MatchOp.PROTO: lambda pkt, args: pkt.proto == args[0],
    MatchOp.SPORT: lambda pkt, args: args[0] <= pkt.sport <= args[1],
    MatchOp.DPORT: lambda pkt, args: args[0] <= pkt.dport <= args[1],
    MatchOp.SRC_RANGE: lambda pkt, args: args[0] <= ip16(pkt.src) <= args[1],
    MatchOp.DST_RANGE: lambda pkt, args: args[0] <= ip16(pkt.dst) <= args[1],
    MatchOp.FRAGMENT: lambda pkt, args: pkt.fragment,
    MatchOp.MULTIPORT: lambda pkt, args: any(
        first <= port <= last
        for first, last in args[1]
        for port in ((pkt.sport,), (pkt.dport,), (pkt.sport, pkt.dport))[args[0]]
    ),
    MatchOp.TCP_FLAGS: lambda pkt, args: pkt.tcp_flags * (pkt.proto == TCP) & args[0] == args[1],
    MatchOp.ICMP: lambda pkt, args: args[0] is None or (pkt.icmp[0] == args[0] and args[1] <= pkt.icmp[1] <= args[2]),
    MatchOp.MARK: lambda pkt, args: pkt.mark & args[1] == args[0],
    MatchOp.MAC: lambda pkt, args: bytes.fromhex(pkt.mac_src.replace(":", "")) == args[0],
    MatchOp.LENGTH: lambda pkt, args: args[0] <= pkt.length <= args[1],
    MatchOp.TOS: lambda pkt, args: pkt.tos & args[1] == args[0],
    MatchOp.TTL: lambda pkt, args: args[0] <= pkt.ttl <= args[1],
    MatchOp.PKTTYPE: lambda pkt, args: {MACS[2]: 1, MACS[3]: 2}.get(pkt.mac_dst, 0) == args[0],
    MatchOp.NEVER: lambda pkt, args: False,
}


def _connection_answer(op: int, flags: int, args: Any, state: State) -> bool | tuple[bool]:
    pkt, conn = state.pkt, state.conn
    if op == MatchOp.CTSTATE:
        if conn is None:
            return (bool(args[0] & (256 if pkt.ct_info & UNTRACKED else 1)),)
        bits = {NEW: 8, ESTABLISHED: 2, RELATED: 4}[pkt.ct_info & 0x7F]
        return (bool(args[0] & (bits | (64 if conn.status & 16 else 0) | (128 if conn.status & 32 else 0))),)
    if conn is None:
        return bool(flags & LENIENT)
    if op in (MatchOp.CTORIGSRC, MatchOp.CTORIGDST, MatchOp.CTREPLSRC, MatchOp.CTREPLDST):
        return (_in((*conn.original[:2], *conn.reply[:2])[op - MatchOp.CTORIGSRC], args),)
    if MatchOp.CTORIGSRCPORT <= op <= MatchOp.CTREPLDSTPORT:
        port = (*conn.original[2:4], *conn.reply[2:4])[op - MatchOp.CTORIGSRCPORT]
        return (args[0] <= port <= args[1],)
    return (
        {
            MatchOp.CTPROTO: lambda: conn.original[4] == args[0],
            MatchOp.CTSTATUS: lambda: conn.status & args[0] != 0,
            MatchOp.CTDIR: lambda: bool(pkt.ct_info & REPLY) == bool(args[0]),
            MatchOp.CONNMARK: lambda: conn.mark & args[1] == args[0],
            MatchOp.CTEXPIRE: lambda: args[0] <= conn.expires_s <= args[1],
        }[op](),
    )


