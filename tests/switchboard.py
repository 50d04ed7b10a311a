"""A switch of memory ports, driven frame by frame at a time of the test's choice: no thread, no device, no root."""

from __future__ import annotations

import struct
import time
from dataclasses import replace

from vswitch._fastpath import _probe
from vswitch._fastpath.l2.fdb import ForwardingDatabase
from vswitch.dataplane import BridgeView, Dataplane, Offload, PortView, VlanMode

BROADCAST = "ff:ff:ff:ff:ff:ff"
SECOND = 1_000_000_000
ALL_OFFLOADS = Offload(31)


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def station(number: int) -> str:
    """The address of the test's station number so-and-so."""
    return "02:00:" + number.to_bytes(4, "big").hex(":")


def tag(vid: int, priority: int = 0, tpid: int = 0x8100) -> bytes:
    """A VLAN tag; `priority` is PCP and DEI, 0 to 15."""
    return struct.pack("!HH", tpid, priority << 12 | vid)


def ethernet(dst: str, src: str, *tags: bytes, payload: bytes = b"", ethertype: int = 0x88B5) -> bytes:
    """A frame of a local experimental EtherType (802.1Q-2018 annex H), 60 bytes or more."""
    frame = mac(dst) + mac(src) + b"".join(tags) + struct.pack("!H", ethertype) + payload
    return frame.ljust(60, b"\0")


class Switchboard:
    """`await Switchboard.make({"a": {...}, ...})`: one bridge, a memory port a name, each with PortView's fields."""

    def __init__(self) -> None:
        self.dataplane = Dataplane(workers=1, busy_poll_us=0)
        self.now_ns = time.monotonic_ns()
        self.views: dict[str, PortView] = {}
        self.bridge = BridgeView(0, "br0")

    @classmethod
    async def make(cls, ports: dict[str, dict], **bridge) -> Switchboard:
        board = cls()
        board.bridge = replace(board.bridge, **bridge)
        for name, fields in ports.items():
            board.add(name, **fields)
        await board.publish()
        return board

    def add(self, name: str, **fields) -> None:
        fields = {"bridge": 0, "offloads": ALL_OFFLOADS} | fields
        if isinstance(fields.get("trunk"), (list, tuple)):
            fields["trunk"] = frozenset(fields["trunk"])
        vlan = VlanMode(fields.pop("access", None), fields.pop("trunk", None), fields.pop("native", None))
        self.views[name] = PortView(id=self.dataplane.port_ids.allocate(name), name=name, kind="memory", fds=(),
                                    vlan=vlan, memory=self.dataplane.memory_port(name), **fields)

    async def change(self, name: str, **fields) -> None:
        self.views[name] = replace(self.views[name], **fields)
        await self.publish()

    async def publish(self) -> None:
        await self.dataplane.publish([self.bridge], self.views.values())

    def step(self, *names: str) -> int:
        """Serve the ports (all of them) until nothing waits."""
        ids = [self.views[name].id for name in names or self.views]
        return _probe.step(self.dataplane.workers.workers[0], ids, self.now_ns)

    def send(self, port: str, *frames: bytes, vnet: bytes | None = None) -> dict[str, list[bytes]]:
        """Frames into a port; what comes out of which, by name. Checks the books afterwards."""
        assert self.views[port].memory.inject(frames, None if vnet is None else [vnet] * len(frames)) == len(frames)
        self.step(port)
        out = {name: view.memory.collect() for name, view in self.views.items()}
        self.check_books()
        return {name: frames for name, frames in out.items() if frames}

    def counters(self, port: str):
        return self.dataplane.port_counters(self.views[port].id)

    def drops(self, port: str) -> dict[str, int]:
        return self.counters(port).drops

    def check_books(self) -> None:
        for name in self.views:
            assert self.counters(name).balance == 0, (name, self.counters(name))

    @property
    def table(self) -> ForwardingDatabase:
        """The bridge's own, which can be asked about the board's time."""
        return self.dataplane._fdbs[self.bridge.id]

    @property
    def now_s(self) -> int:
        return self.now_ns // SECOND

    def fdb(self) -> dict[tuple[int, str], str]:
        """{(vlan, mac): port name}"""
        names = {view.id: name for name, view in self.views.items()}
        return {(row.vlan, row.mac): names[row.port] for row in self.table.entries(self.now_s)}
