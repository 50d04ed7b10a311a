"""A bridge in plain Python, written from 802.1Q and docs/: what property tests hold the fast path against.

`Table` is the forwarding database: a dict, with ageing and limits. `Bridge` says what becomes of one frame: which bytes
leave through which ports, and what the origin port's books say afterwards. Nothing here is quick.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vswitch.dataplane import PortView

BURST_NS = 10**8                        # how much of a storm limit may be used at once
FRAME_MAX = 65600


@dataclass
class Entry:
    port: str
    seen_s: int
    static: bool = False


@dataclass
class Table:
    """(VLAN, MAC) -> Entry. An aged entry is unknown at once, but keeps its place until it is swept."""

    limit: int = 8192
    ageing_s: int = 300
    entries: dict[tuple[int, bytes], Entry] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def aged(self, entry: Entry, now_s: int) -> bool:
        return bool(self.ageing_s) and not entry.static and now_s - entry.seen_s >= self.ageing_s

    def learned(self, port: str | None = None) -> int:
        return sum(not entry.static and port in (None, entry.port) for entry in self.entries.values())

    def learn(self, key: tuple[int, bytes], port: str, port_limit: int, now_s: int) -> None:
        entry = self.entries.get(key)
        port_full = port_limit and self.learned(port) >= port_limit
        if entry is None:
            if port_full or self.learned() >= self.limit:
                self.counts["limit_hits"] += 1
            else:
                self.entries[key] = Entry(port, now_s)
                self.counts["learn_events"] += 1
        elif entry.static:
            self.counts["static_conflicts"] += entry.port != port
        elif entry.port == port:
            entry.seen_s = now_s
        elif port_full:
            self.counts["limit_hits"] += 1
            del self.entries[key]
        else:
            self.counts["moves"] += 1
            self.entries[key] = Entry(port, now_s)

    def find(self, key: tuple[int, bytes], now_s: int) -> str | None:
        entry = self.entries.get(key)
        return None if entry is None or self.aged(entry, now_s) else entry.port

    def discard(self, condition) -> int:
        """Remove the entries that `condition(key, entry)` holds of; returns how many."""
        gone = [key for key, entry in self.entries.items() if condition(key, entry)]
        for key in gone:
            del self.entries[key]
        return len(gone)

    def sweep(self, now_s: int) -> int:
        aged = self.discard(lambda _, entry: self.aged(entry, now_s))
        self.counts["aged"] += aged
        return aged


@dataclass(frozen=True)
class Inside:
    """A frame within the bridge: its VLAN, what the tag it came with said, and what is behind that."""

    vid: int
    priority: int
    had_tag: bool
    macs: bytes
    rest: bytes                         # from the EtherType on

    @property
    def layer_3(self) -> int:
        tags = 0
        while tags < 2 and len(self.rest) >= 4 * tags + 6 and self.rest[4 * tags:][:2] in (b"\x81\x00", b"\x88\xa8"):
            tags += 1
        return len(self.rest) - 2 - 4 * tags


class Dropped(Exception):
    """A frame ended at the door; the argument is the reason."""


def mode(port: PortView) -> str:
    return "access" if port.vlan.access is not None else "all" if port.vlan.transparent else "trunk"


def carries(port: PortView, vid: int) -> bool:
    if mode(port) == "all":
        return True
    return vid in {port.vlan.access, port.vlan.native, *(port.vlan.trunk or ())}


def enter(port: PortView, frame: bytes) -> Inside:
    """The frame as it is inside, or Dropped."""
    if len(frame) < 14 or len(frame) > FRAME_MAX:
        raise Dropped("runt" if len(frame) < 14 else "oversized")
    if frame[6] & 1 or frame[6:12] == bytes(6):
        raise Dropped("source_multicast" if frame[6] & 1 else "source_zero")
    if frame[:5] == bytes.fromhex("0180c20000") and frame[5] < 16:
        raise Dropped("link_local")
    had_tag = frame[12:14] == b"\x81\x00"
    if had_tag and len(frame) < 18:
        raise Dropped("truncated_tag")
    if port.bridge is None:
        raise Dropped("no_bridge")
    tci = int.from_bytes(frame[14:16], "big") if had_tag else 0
    return Inside(classify(port, tci & 0xFFF), tci & 0xF000, had_tag, frame[:12], frame[16 if had_tag else 12 :])


def classify(port: PortView, vid: int) -> int:
    """The VLAN of a frame that arrives with this VID, 0 for none; or Dropped."""
    if vid == 4095:
        raise Dropped("vlan_reserved")
    if mode(port) == "all":
        return vid
    if vid == 0:
        joined = port.vlan.access or port.vlan.native
        if not joined:
            raise Dropped("untagged_not_allowed")
        return joined
    if mode(port) == "access" or not carries(port, vid):
        raise Dropped("tag_not_allowed")
    return vid


def leave(port: PortView, frame: Inside) -> bytes:
    """The bytes that the port sends."""
    tagged = {
        "all": frame.vid != 0 or frame.had_tag,
        "access": False,
        "trunk": frame.vid != port.vlan.native,
    }[mode(port)]
    tag = b"\x81\x00" + (frame.priority | frame.vid).to_bytes(2, "big") if tagged else b""
    return frame.macs + tag + frame.rest


class Bridge:
    """`ports` are the switch's own views, by name, and may change between frames. Time moves by `now_s` alone."""

    def __init__(self, ports: dict[str, PortView], table: Table, now_s: int) -> None:
        self.ports, self.table, self.now_s = ports, table, now_s
        self.books: dict[str, Counter[str]] = {}
        self.flooded: Counter[tuple[str, int]] = Counter()

    def receive(self, name: str, frame: bytes) -> dict[str, bytes]:
        """What leaves by which port; the books of the port it came by are brought up to date."""
        books = self.books.setdefault(name, Counter())
        books.update(rx_frames=1, rx_bytes=len(frame))
        try:
            inside = enter(self.ports[name], frame)
            ports = self._destinations(self.ports[name], inside)
        except Dropped as reason:
            books[str(reason)] += 1
            return {}
        fits = [port for port in ports if inside.layer_3 <= port.mtu]
        books.update(copied=len(ports) - 1, delivered=len(fits), exceeds_mtu=len(ports) - len(fits))
        out = {port.name: leave(port, inside) for port in fits}
        for port, sent in out.items():
            self.books.setdefault(port, Counter()).update(tx_frames=1, tx_bytes=len(sent))
        return out

    def _destinations(self, source: PortView, frame: Inside) -> list[PortView]:
        dst, src = frame.macs[:6], frame.macs[6:]
        self.table.learn((frame.vid, src), source.name, source.mac_limit, self.now_s)
        known = None if dst[0] & 1 else self.table.find((frame.vid, dst), self.now_s)
        if known is None or known not in self.ports or self.ports[known].bridge != source.bridge:
            return self._flood(source, frame, dst)
        port = self.ports[known]
        if reason := self._refusal(source, port, frame.vid):
            raise Dropped(reason)
        return [port]

    def _flood(self, source: PortView, frame: Inside, dst: bytes) -> list[PortView]:
        kind = 0 if dst == b"\xff" * 6 else 1 if dst[0] & 1 else 2
        if rate := source.storm[kind]:
            if self.flooded[source.name, kind] > BURST_NS // (10**9 // rate):
                raise Dropped(("storm_broadcast", "storm_multicast", "storm_unknown_unicast")[kind])
            self.flooded[source.name, kind] += 1
        ports = [port for port in self.ports.values()
                 if port.bridge == source.bridge and not self._refusal(source, port, frame.vid)]
        if not ports:
            raise Dropped("no_destination")
        return ports

    def _refusal(self, source: PortView, port: PortView, vid: int) -> str | None:
        """Why a frame from `source` must not leave through `port`."""
        if port is source and not port.hairpin:
            return "hairpin"
        if port.isolated and source.isolated:
            return "isolated"
        if not carries(port, vid):
            return "egress_vlan"
        return None if port.up else "port_down"

    def forget(self, old: PortView, new: PortView | None) -> None:
        """What a port's change makes untrue."""
        if new is None or new.storm != old.storm:
            for kind in range(3):
                del self.flooded[old.name, kind]
        if old.bridge is None:
            return
        if new is None or new.bridge != old.bridge:
            self.table.discard(lambda _, entry: entry.port == old.name)
        elif new.vlan != old.vlan or (old.up and not new.up):
            self.table.discard(lambda _, entry: entry.port == old.name and not entry.static)
