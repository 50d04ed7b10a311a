"""The configuration as the fast path sees it: immutable once published, replaced whole.

A worker reads one snapshot for the length of a burst and adopts the next one between bursts (worker.pyx). Ports are found
by their id, bridges by theirs; an id without an owner has `kind` PORT_NONE. Tables that outlive a configuration (FDB,
counters, storm meters, memory ports' rings) are pointed at, never contained.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..io.ring cimport MemoryPort
from ..l2.fdb cimport Fdb
from .counters cimport MAX_WORKERS

cdef enum PortKind:
    PORT_NONE = 0
    PORT_TAP
    PORT_PACKET
    PORT_MEMORY

cdef enum VlanMode:
    VLAN_ALL = 0                        # every VLAN passes, tagged as it is
    VLAN_ACCESS                         # one VLAN, untagged
    VLAN_TRUNK                          # the VLANs of the bitmap, tagged; `pvid`, if any, untagged

cdef enum:
    PORT_UP = 1
    PORT_ISOLATED = 2
    PORT_HAIRPIN = 4

    OFFLOAD_CSUM = 1                    # what transmit to the port may leave undone
    OFFLOAD_TSO4 = 2
    OFFLOAD_TSO6 = 4
    OFFLOAD_USO4 = 8
    OFFLOAD_USO6 = 16

    STORM_CLASSES = 3                   # broadcast, multicast, unknown unicast

cdef struct Port:
    uint16_t id
    uint8_t kind
    uint8_t vlan_mode
    uint8_t flags
    uint8_t offloads
    uint16_t pvid                       # VLAN_ACCESS: its VLAN; VLAN_TRUNK: the native VLAN or 0
    const uint64_t *vlans               # VLAN_TRUNK: a bit a VID, 4096 of them
    const Bridge *bridge                # NULL: belongs to none
    MemoryPort *memory
    uint32_t mtu                        # bytes of layer 3
    uint32_t mac_limit                  # learned addresses; 0: no limit
    uint64_t storm_interval_ns[STORM_CLASSES]   # between two frames at the limit's rate; 0: no limit
    int fds[MAX_WORKERS]                # the queue that each worker sends through and, if it is its own, reads

cdef struct Bridge:
    Fdb *fdb
    uint32_t n_transparent
    const uint16_t *transparent         # port ids of the VLAN_ALL ports
    const uint32_t *rows                # members of VID v: member[rows[v]] .. member[rows[v + 1] - 1]; NULL: no members
    const uint16_t *members

cdef struct Snapshot:
    uint64_t generation
    uint32_t n_ports                    # ids run below this
    Port *ports
    Bridge *bridges

cdef class SnapshotOwner:
    cdef Snapshot snapshot
    cdef list _blocks                   # what the pointers point into
    cdef object _tables                 # keeps the FDBs and memory ports of this picture alive
    cdef void *_block(self, size_t size) except NULL
    cdef _fill_bridge(self, Bridge *bridge, view, list ports)
    cdef _fill_port(self, Port *port, view, dict memory)
