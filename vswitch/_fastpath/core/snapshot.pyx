"""Builds a snapshot from the views of dataplane.py. See snapshot.pxd for what it is."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from cpython.mem cimport PyMem_Calloc, PyMem_Free

from ..io.ring cimport MemoryRings
from ..l2.fdb cimport ForwardingDatabase
from .counters cimport MAX_PORTS, MAX_WORKERS, SELF_PORT
from .packet cimport NO_DEVICE
from .snapshot cimport *

cdef dict KINDS = {"tap": PORT_TAP, "packet": PORT_PACKET, "memory": PORT_MEMORY}


cdef class _Block:
    cdef void *memory

    def __dealloc__(self):
        PyMem_Free(self.memory)


cdef class SnapshotOwner:
    """The memory of one snapshot: `bridges` and `ports` are dataplane.BridgeView and PortView, `fdbs` maps a bridge's id to
    its ForwardingDatabase, `memory` a port's id to its MemoryRings. Freed when no worker can look at it any more: whoever
    publishes the next one keeps this object until then."""

    def __init__(self, uint64_t generation, list bridges, list ports, dict fdbs, dict memory):
        cdef uint32_t n_bridges = 1 + max([view.id for view in bridges], default=0)
        self._blocks = []
        self._tables = (fdbs, memory)
        self.snapshot.generation = generation
        self.snapshot.n_ports = 1 + max([view.id for view in ports], default=0)
        self.snapshot.ports = <Port *>self._block(self.snapshot.n_ports * sizeof(Port))
        self.snapshot.bridges = <Bridge *>self._block(n_bridges * sizeof(Bridge))
        for view in bridges:
            self.snapshot.bridges[<uint32_t>view.id].fdb = &(<ForwardingDatabase>fdbs[view.id]).table
            self._fill_bridge(&self.snapshot.bridges[<uint32_t>view.id], view,
                              [port for port in ports if port.bridge == view.id])
        for view in ports:
            self._fill_port(&self.snapshot.ports[<uint32_t>view.id], view, memory)

    cdef void *_block(self, size_t size) except NULL:
        cdef _Block block = _Block()
        block.memory = PyMem_Calloc(1, max(size, 1))
        if block.memory == NULL:
            raise MemoryError
        self._blocks.append(block)
        return block.memory

    cdef _fill_bridge(self, Bridge *bridge, view, list ports):
        cdef uint16_t *ids
        cdef uint32_t *rows
        cdef uint32_t at = 0, vid
        transparent = [port.id for port in ports if port.vlan.transparent]
        ids = <uint16_t *>self._block(len(transparent) * sizeof(uint16_t))
        for port in transparent:
            ids[bridge.n_transparent] = port
            bridge.n_transparent += 1
        bridge.transparent = ids
        members = {}
        for port in ports:
            for member in port.vlan.members():
                members.setdefault(member, []).append(port.id)
        if not members:
            return
        rows = <uint32_t *>self._block(4097 * sizeof(uint32_t))
        ids = <uint16_t *>self._block(sum(map(len, members.values())) * sizeof(uint16_t))
        for vid in range(4096):
            rows[vid] = at
            for port in members.get(vid, ()):
                ids[at] = port
                at += 1
        rows[4096] = at
        bridge.rows = rows
        bridge.members = ids

    cdef _fill_port(self, Port *port, view, dict memory):
        cdef uint32_t worker
        cdef uint64_t *bits
        port.id = view.id
        port.device = NO_DEVICE
        port.kind = KINDS[view.kind]
        port.flags = (PORT_UP * view.up) | (PORT_ISOLATED * view.isolated) | (PORT_HAIRPIN * view.hairpin)
        port.offloads = view.offloads
        port.mtu = view.mtu
        port.mac_limit = view.mac_limit
        if view.bridge is not None:
            port.bridge = &self.snapshot.bridges[<uint32_t>view.bridge]
        if view.vlan.access is not None:
            port.vlan_mode, port.pvid = VLAN_ACCESS, view.vlan.access
        elif not view.vlan.transparent:
            port.vlan_mode, port.pvid = VLAN_TRUNK, view.vlan.native or 0
            bits = <uint64_t *>self._block(4096 // 8)
            for vid in view.vlan.members():
                bits[<uint32_t>vid >> 6] |= 1ULL << (<uint32_t>vid & 63)
            port.vlans = bits
        for index, rate in enumerate(view.storm):
            port.storm_interval_ns[<uint32_t>index] = 1000000000 // rate if rate else 0
        for worker in range(MAX_WORKERS):
            port.fds[worker] = view.fds[worker % len(view.fds)] if view.fds else -1
        if view.kind == "memory":
            port.memory = &(<MemoryRings>memory[view.id]).port
