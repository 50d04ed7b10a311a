"""The neighbour table, driven in any order of events, against a dict.

Neighbours are asked for, answer, speak unasked, change their MAC, fall silent; frames wait, leave or fail; time
passes; some are fixed, deleted and flushed. After every step the two agree on every neighbour, and every frame comes
out once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

probe = pytest.importorskip("vswitch._fastpath._probe_router", reason="built without test doors (VSWITCH_PROBE=1)")
from vswitch._fastpath.l3.neighbour import NeighbourTable  # noqa: E402

VALID = ("reachable", "stale", "delay", "probe", "permanent")
DEVICES = (1, 2)
devices = st.sampled_from(DEVICES)
addresses = st.sampled_from(["10.0.0.2", "10.0.0.3", "fd00::2", "fe80::1"])
macs = st.sampled_from(["02:00:00:00:00:01", "02:00:00:00:00:02"])


@dataclass
class Entry:
    state: str
    mac: str | None
    changed_s: int
    confirmed_s: int
    used_s: int = 0
    tries: int = 0
    frames: list[tuple[bytes, int]] = field(default_factory=list)

    def now(self, now_s: int) -> str:
        """The state, whether or not a timer has run."""
        return "stale" if self.state == "reachable" and now_s >= self.confirmed_s + 30 else self.state

    def become(self, state: str, now_s: int, mac: str | None, tries: int = 0) -> None:
        """Enter a state."""
        self.state, self.changed_s, self.mac, self.tries = state, now_s, mac, tries


class NeighbourMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.table = NeighbourTable(limit=64)
        self.known: dict[tuple[int, str], Entry] = {}
        self.now_s = 1000
        self.frames = 0

    @rule(device=devices, address=addresses)
    def find(self, device: int, address: str) -> None:
        entry = self.known.get((device, address))
        state, mac = probe.neighbour(self.table, device, address, self.now_s)
        if entry is None:
            assert state == 0
            return
        assert bool(state & 0x9E) == (entry.state in VALID)
        assert mac == entry.mac
        entry.used_s = self.now_s

    @rule(device=devices, address=addresses, length=st.sampled_from([1, 60, 1526, 5000]), origin=st.integers(0, 3))
    def wait(self, device: int, address: str, length: int, origin: int) -> None:
        self.frames += 1
        frame = self.frames.to_bytes(4, "big") * (length // 4 + 1)
        result = probe.wait(self.table, device, address, frame, origin, self.now_s)
        entry = self.known.get((device, address))
        if entry is not None and entry.state in VALID:
            assert result == probe.RESOLVED
            return
        asks = entry is None or entry.state == "failed"
        if entry is None:
            entry = self.known[device, address] = Entry("incomplete", None, self.now_s, self.now_s, tries=1)
        elif asks:
            entry.become("incomplete", self.now_s, None, tries=1)
        fits = len(entry.frames) < 3
        if fits:
            entry.frames.append((frame, origin))
        assert result == probe.SOLICIT * asks + probe.QUEUED * fits

    @rule(device=devices, address=addresses, mac=st.none() | macs, create=st.booleans(), confirm=st.booleans(),
          override=st.booleans(), late=st.booleans())
    def hear(self, device: int, address: str, mac: str | None, create: bool, confirm: bool, override: bool,
             late: bool) -> None:
        how = probe.CREATE * create | probe.CONFIRM * confirm | probe.OVERRIDE * override | probe.LATE * late
        noted, released = probe.learn(self.table, device, address, mac, how, self.now_s)
        entry = self.known.get((device, address))
        if entry is None:
            assert noted == (create and mac is not None)
            if noted:
                self.known[device, address] = Entry("stale", mac, self.now_s, self.now_s)
            return
        assert [(frame, origin) for frame, origin, _ in released] == (entry.frames if noted else [])
        assert noted == self.believed(entry, mac, confirm, override and (not late or self.now_s > entry.changed_s))

    def believed(self, entry: Entry, mac: str | None, confirm: bool, override: bool) -> bool:
        valid = entry.state in VALID
        if entry.state == "permanent" or (mac is None and not valid):
            return False
        mac = mac or entry.mac
        if valid and mac != entry.mac and not override:
            if entry.state == "reachable":
                entry.become("stale", self.now_s, entry.mac)
            return False
        if valid and mac == entry.mac and not confirm:
            return True
        entry.become("reachable" if confirm else "stale", self.now_s, mac)
        entry.frames = []
        if confirm:
            entry.confirmed_s = self.now_s
        return True

    @rule(seconds=st.sampled_from([1, 1, 1, 3, 31, 700]))
    def second(self, seconds: int) -> None:
        self.now_s += seconds
        events = probe.sweep(self.table, self.now_s)
        assert probe.sweep(self.table, self.now_s) is None
        wanted = [event for key, entry in list(self.known.items()) if (event := self.tick(*key, entry))]
        assert sorted(events, key=repr) == sorted(wanted, key=repr)

    def tick(self, device: int, address: str, entry: Entry) -> tuple | None:
        state, now_s = entry.state, self.now_s
        last = max(entry.used_s, entry.changed_s, entry.confirmed_s)
        if state == "reachable" and entry.now(now_s) == "stale":
            entry.become("stale", now_s, entry.mac)
        elif state == "stale" and entry.used_s and entry.used_s >= entry.changed_s:
            entry.become("delay", now_s, entry.mac)
        elif (state == "delay" and now_s >= entry.changed_s + 5) or (
            state in ("incomplete", "probe") and now_s > entry.changed_s and entry.tries < 3
        ):
            entry.become("probe" if state == "delay" else state, now_s, entry.mac, entry.tries + 1)
            return ("solicit", device, address, entry.mac)
        elif state in ("incomplete", "probe") and now_s > entry.changed_s:
            frames, entry.frames = [(*frame, 7) for frame in entry.frames], []
            entry.become("failed", now_s, None)
            return ("failed", device, address, frames)
        elif (state == "failed" and now_s >= entry.changed_s + 30) or (state == "stale" and now_s >= last + 600):
            del self.known[device, address]
        return None

    @rule(device=devices, address=addresses, mac=macs)
    def fix(self, device: int, address: str, mac: str) -> None:
        entry = self.known.get((device, address))
        if entry is not None and entry.frames:
            with pytest.raises(ValueError, match="resolved"):
                self.table.add(device, address, mac, self.now_s)
            return
        self.table.add(device, address, mac, self.now_s)
        if entry is None:
            self.known[device, address] = Entry("permanent", mac, self.now_s, self.now_s)
        else:
            entry.become("permanent", self.now_s, mac)

    @rule(device=devices, address=addresses)
    def delete(self, device: int, address: str) -> None:
        assert self.table.delete(device, address) == ((device, address) in self.known)
        self.forget(device, address)

    @rule(device=st.none() | devices, permanent=st.booleans())
    def flush(self, device: int | None, permanent: bool) -> None:
        gone = [key for key, entry in self.known.items()
                if device in (None, key[0]) and (permanent or entry.state != "permanent")]
        assert self.table.flush(device, permanent) == len(gone)
        for key in gone:
            self.forget(*key)

    def forget(self, device: int, address: str) -> None:
        """Frames that wait keep their neighbour until the next second."""
        entry = self.known.get((device, address))
        if entry is not None and entry.frames:
            entry.become("incomplete", 0, None, tries=3)
        else:
            self.known.pop((device, address), None)

    @invariant()
    def the_tables_agree(self) -> None:
        if not hasattr(self, "table"):
            return
        rows = {(row.device, row.address): (row.state, row.mac) for row in self.table.rows(self.now_s)}
        assert rows == {key: (entry.now(self.now_s), entry.mac) for key, entry in self.known.items()}
        counters = self.table.counters()
        assert counters.entries == len(self.known)
        assert counters.pending == sum(entry.state in ("incomplete", "delay", "probe") for entry in self.known.values())
        waiting = [frame for entry in self.known.values() for frame, _ in entry.frames]
        assert counters.pool_bytes == 2048 * sum(-(-len(frame) // 2032) for frame in waiting)
        for device in DEVICES:
            assert self.table.device_entries(device) == sum(key[0] == device for key in self.known)


TestNeighbourTable = NeighbourMachine.TestCase
TestNeighbourTable.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def ask_for(table: NeighbourTable, device: int, count: int, now_s: int = 1) -> int:
    """How many of `count` unknown neighbours may be asked for."""
    addresses = [f"10.{device}.{n >> 8}.{n & 255}" for n in range(count)]
    return sum(probe.wait(table, device, address, b"", 0, now_s) == probe.SOLICIT for address in addresses)


def test_a_scan_takes_half_of_its_devices_share_and_nobody_elses() -> None:
    table = NeighbourTable(limit=64, device_limit=16)
    assert ask_for(table, 1, 100) == 8
    assert probe.learn(table, 1, "10.1.9.9", "02:00:00:00:00:01", probe.CREATE, 1) == (True, [])
    assert ask_for(table, 2, 100) == 8
    assert table.counters().refused == 184


def test_at_a_limit_the_failed_and_the_idle_make_room() -> None:
    table = NeighbourTable(limit=64, device_limit=4)
    for n in range(4):
        probe.learn(table, 1, f"10.1.0.{n}", "02:00:00:00:00:01", probe.CREATE, 100 + n)
    assert not probe.learn(table, 1, "10.1.0.9", "02:00:00:00:00:01", probe.CREATE, 104)[0]
    assert probe.learn(table, 1, "10.1.0.9", "02:00:00:00:00:01", probe.CREATE, 106)[0]
    assert probe.neighbour(table, 1, "10.1.0.0", 106)[0] == 0  # idle for longest
    assert (table.counters().recycled, table.counters().refused, table.device_entries(1)) == (1, 1, 4)


def test_a_full_table_holds_its_limit_whatever_is_asked() -> None:
    table = NeighbourTable(limit=1000, device_limit=1000)
    for n in range(3000):
        probe.learn(table, 1, f"10.1.{n >> 8}.{n & 255}", "02:00:00:00:00:01", probe.CREATE, n)
    assert len(table.rows(3000)) == table.counters().entries <= 1000
    assert probe.neighbour(table, 1, f"10.1.{2999 >> 8}.{2999 & 255}", 3000)[0] != 0


def test_the_pool_is_bounded_in_all_and_for_a_port() -> None:
    table = NeighbourTable(pool_bytes=400 * 2032)
    taken = [probe.wait(table, 1, f"10.1.0.{n}", bytes(60000), 5, 1) & probe.QUEUED for n in range(6)]
    assert taken == [1, 1, 1, 0, 0, 0]  # of 30 chunks each, 100 for a port
    assert probe.wait(table, 1, "10.1.1.1", bytes(60000), 6, 1) == probe.QUEUED | probe.SOLICIT
    assert table.counters().queue_full == 3


def test_no_room_for_a_permanent_neighbour_is_said() -> None:
    table = NeighbourTable(limit=8, device_limit=1)
    table.add(1, "10.0.0.1", "02:00:00:00:00:01", 1)
    with pytest.raises(ValueError, match="no room for 10.0.0.2"):
        table.add(1, "10.0.0.2", "02:00:00:00:00:01", 1)
    with pytest.raises(ValueError, match="not the MAC address of one station"):
        table.add(1, "10.0.0.2", "01:00:5e:00:00:01", 1)


def test_readers_never_see_a_neighbour_by_anothers_mac() -> None:
    table = NeighbourTable(limit=16, device_limit=16)
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(probe.churn, table, 40, 200_000) for _ in range(2)]
        reader = pool.submit(probe.look, table, 40, 400_000)
        for writer in writers:
            writer.result()
        assert reader.result()[1] == 0
    rows = table.rows()
    assert len(rows) == table.counters().entries == table.device_entries(1) <= 16
    assert len({row.address for row in rows}) == len(rows)
