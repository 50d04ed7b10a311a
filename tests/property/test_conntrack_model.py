"""The connection table in any order of events, against a plain dict.

Flows of UDP ask, answer, are dropped by a rule, expire, are deleted and flushed; time passes; sweeps run or do not;
ports have budgets. After every step the two agree on every connection: its state as its packets see it, whether it is
assured, how long it is kept; and the table has lost no entry.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from scapy.layers.inet import IP, UDP

probe = pytest.importorskip("vswitch._fastpath._probe_conntrack", reason="built without test doors (VSWITCH_PROBE=1)")

from vswitch._fastpath.core.verdict import Verdict

from tests.conntrack_wire import Wire

PORTS = 2
flows = st.integers(0, 5)
zones = st.integers(0, 1)
ports = st.integers(0, PORTS - 1)


def datagram(flow: int, back: bool) -> bytes:
    there = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5000 + flow, dport=53)
    answer = IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=53, dport=5000 + flow)
    return bytes(answer if back else there)


@dataclass
class Connection:
    owner: int
    back: bool                          # the direction of its first packet
    stream: float                       # when it is a stream, if it is answered
    expires: int
    replied: bool = False
    assured: bool = False

    def packet(self, back: bool, now: float) -> str:
        """Another packet: what it counts as."""
        reply = back != self.back
        streaming = self.replied and now > self.stream
        self.assured |= streaming
        self.expires = int(now) + (120 if streaming else 30)
        info = "ESTABLISHED<" if reply else "ESTABLISHED" if self.replied else "NEW"
        self.replied |= reply
        return info


class ConnectionTableMachine(RuleBasedStateMachine):
    @initialize(budgets=st.tuples(*[st.integers(0, 3)] * PORTS))
    def start(self, budgets: tuple[int, ...]) -> None:
        self.wire = Wire(64)
        self.budgets = budgets
        for port, budget in enumerate(budgets):
            self.wire.table.set_budget(port, budget)
        # By flow and zone; those that have expired, too, until they are swept.
        self.known: dict[tuple[int, int], Connection] = {}

    @property
    def now(self) -> int:
        return int(self.wire.now)

    def alive(self, key: tuple[int, int]) -> Connection | None:
        found = self.known.get(key)
        return found if found and found.expires > self.now else None

    def spare(self, port: int) -> bool:
        """Whether the port may begin one more, and if need be at the cost of which it has."""
        mine = [key for key, found in self.known.items() if found.owner == port]
        return not self.budgets[port] or len(mine) < self.budgets[port]

    @rule(flow=flows, zone=zones, port=ports, back=st.booleans(), dropped=st.booleans())
    def packet(self, flow: int, zone: int, port: int, back: bool, dropped: bool) -> None:
        key, found = (flow, zone), self.alive((flow, zone))
        if not found and not self.spare(port):
            return                      # whom it may push out is chance: tests/fastpath/test_conntrack_table.py
        probe.burst(self.wire.table)
        tracked = self.wire.track(datagram(flow, back), zone=zone, port=port)
        assert tracked.reason == 0
        if dropped:
            tracked.abandon()
        else:
            assert tracked.confirm(self.now) == 0
        seen = tracked.info + ("<" if tracked.reply else "")
        if found:
            assert seen == found.packet(back, self.wire.now)
            return
        assert seen == "NEW"
        if not dropped:
            self.known[key] = Connection(port, back, self.wire.now + 2, self.now + 30)

    @rule(flow=flows, zone=zones, port=ports)
    def refused(self, flow: int, zone: int, port: int) -> None:
        if self.alive((flow, zone)) or self.spare(port):
            return
        mine = [found for found in self.known.values() if found.owner == port]
        if any(not found.assured or found.expires <= self.now for found in mine):
            return
        tracked = self.wire.track(datagram(flow, False), zone=zone, port=port)
        assert tracked.reason == int(Verdict.CONNTRACK_BUDGET)

    @rule(quarters=st.integers(1, 200))
    def wait(self, quarters: int) -> None:
        self.wire.now += quarters / 4

    @rule()
    def sweep(self) -> None:
        over = [key for key, found in self.known.items() if found.expires <= self.now]
        assert self.wire.table.sweep(self.now) == len(over)
        for key in over:
            del self.known[key]

    @rule(flow=flows, zone=zones)
    def delete(self, flow: int, zone: int) -> None:
        for row in self.wire.rows():
            if self.key(row) == (flow, zone):
                assert self.wire.table.delete(row.index, row.serial)
                del self.known[flow, zone]

    @rule()
    def flush(self) -> None:
        assert self.wire.table.flush() == len(self.known)
        self.known.clear()

    @staticmethod
    def key(row: object) -> tuple[int, int]:
        asked = row.original.dport == 53
        return (row.original.sport if asked else row.original.dport) - 5000, row.original.zone

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "wire"):
            return
        rows = {self.key(row): (row.owner, bool(row.status & 2), bool(row.status & 4), row.timeout_s)
                for row in self.wire.rows()}
        assert rows == {key: (found.owner, found.replied, found.assured, found.expires - self.now)
                        for key, found in self.known.items() if found.expires > self.now}
        counters = self.wire.table.counters()
        assert counters.entries == counters.used == len(self.known)
        free, used, ever = probe.census(self.wire.table)
        assert free + used == ever
        assert len(probe.slots(self.wire.table)) == 2 * used


ConnectionTableMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestConnectionTable = ConnectionTableMachine.TestCase
