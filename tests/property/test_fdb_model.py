"""The forwarding database, driven through a switch in any order of events, against a dict (tests/l2_model.py).

Stations speak, move, fall silent and come back; time passes; entries are swept, fixed, removed and flushed; ports go
down, leave the bridge and change their limits. After every step the two agree on the whole table and all its counters,
and every frame goes where the model says.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.l2_model import Bridge, Entry, Table

pytest.importorskip("vswitch._fastpath._probe", reason="built without test doors (VSWITCH_PROBE=1)")

from tests.switchboard import BROADCAST, SECOND, Switchboard, ethernet, mac, station, tag

PORTS = ("a", "b", "c")
COUNTERS = ("learn_events", "moves", "limit_hits", "aged", "static_conflicts")

ports = st.sampled_from(PORTS)
stations = st.sampled_from([station(n) for n in range(5)])
vlans = st.sampled_from([0, 10, 20])


class ForwardingDatabaseMachine(RuleBasedStateMachine):
    @initialize(limit=st.integers(2, 12), ageing_s=st.sampled_from([0, 3, 10]),
                limits=st.tuples(*[st.integers(0, 2)] * len(PORTS)))
    def start(self, limit: int, ageing_s: int, limits: tuple[int, ...]) -> None:
        self.runner = asyncio.Runner()
        ports = {name: {"mac_limit": most} for name, most in zip(PORTS, limits, strict=True)}
        self.board = self.runner.run(Switchboard.make(ports, mac_limit=limit, ageing_s=ageing_s))
        self.model = Bridge(self.board.views, Table(limit, ageing_s), self.board.now_s)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()

    @rule(port=ports, src=stations, dst=st.one_of(stations, st.just(BROADCAST)), vlan=vlans)
    def speak(self, port: str, src: str, dst: str, vlan: int) -> None:
        frame = ethernet(dst, src, *([tag(vlan)] if vlan else []))
        assert self.board.send(port, frame) == {name: [out] for name, out in self.model.receive(port, frame).items()}

    @rule(quarters=st.integers(1, 24))
    def wait(self, quarters: int) -> None:
        self.board.now_ns += quarters * SECOND // 4
        self.model.now_s = self.board.now_s

    @rule()
    def sweep(self) -> None:
        assert self.board.table.age(self.board.now_s) == self.model.table.sweep(self.model.now_s)

    @rule(address=stations, vlan=vlans, port=ports)
    def fix(self, address: str, vlan: int, port: str) -> None:
        self.board.dataplane.fdb_add_static(0, address, vlan, self.board.views[port].id)
        self.model.table.entries[vlan, mac(address)] = Entry(port, 0, static=True)

    @rule(address=stations, vlan=vlans)
    def remove(self, address: str, vlan: int) -> None:
        known = self.model.table.entries.pop((vlan, mac(address)), None) is not None
        assert self.board.dataplane.fdb_remove(0, address, vlan) == known

    @rule(port=st.none() | ports, vlan=st.none() | vlans, dynamic_only=st.booleans())
    def flush(self, port: str | None, vlan: int | None, dynamic_only: bool) -> None:
        gone = self.model.table.discard(lambda key, entry: port in (None, entry.port) and vlan in (None, key[0])
                                        and not (dynamic_only and entry.static))
        number = None if port is None else self.board.views[port].id
        assert self.board.dataplane.fdb_flush(0, port=number, vlan=vlan, dynamic_only=dynamic_only) == gone

    @rule(ageing_s=st.sampled_from([0, 1, 5]))
    def change_ageing(self, ageing_s: int) -> None:
        self.board.bridge = replace(self.board.bridge, ageing_s=ageing_s)
        self.runner.run(self.board.publish())
        self.model.table.ageing_s = ageing_s

    @rule(port=ports, change=st.one_of(
        st.fixed_dictionaries({"mac_limit": st.integers(0, 3)}),
        st.fixed_dictionaries({"up": st.booleans()}),
        st.fixed_dictionaries({"bridge": st.sampled_from([0, 0, None])}),
    ))
    def change_port(self, port: str, change: dict) -> None:
        old = self.board.views[port]
        self.runner.run(self.board.change(port, **change))
        self.model.forget(old, self.board.views[port])

    @invariant()
    def the_tables_agree(self) -> None:
        if not hasattr(self, "board"):
            return
        table, now_s = self.model.table, self.model.now_s
        names = {view.id: name for name, view in self.board.views.items()}
        rows = {(row.vlan, mac(row.mac)): (names[row.port], row.static, row.age_s)
                for row in self.board.table.entries(now_s)}
        assert rows == {key: (entry.port, entry.static, 0 if entry.static else now_s - entry.seen_s)
                        for key, entry in table.entries.items() if not table.aged(entry, now_s)}
        counters = self.board.dataplane.fdb_counters(0)
        assert (counters.entries, counters.learned, counters.evicted) == (len(table.entries), table.learned(), 0)
        assert {name: getattr(counters, name) for name in COUNTERS} == {name: table.counts[name] for name in COUNTERS}
        for name, view in self.board.views.items():
            assert self.board.table.port_learned(view.id) == table.learned(name)


TestForwardingDatabase = ForwardingDatabaseMachine.TestCase
TestForwardingDatabase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
