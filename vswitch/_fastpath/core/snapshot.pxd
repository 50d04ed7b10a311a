"""The configuration as the fast path sees it: immutable once published, replaced whole.

A worker reads one snapshot for the length of a burst and adopts the next one between bursts (worker.pyx). Ports are found
by their id, bridges by theirs; an id without an owner has `kind` PORT_NONE. Tables that outlive a configuration (FDB,
counters, storm meters, memory ports' rings) are pointed at, never contained.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..filter.rule cimport Ruleset
from ..io.ring cimport MemoryPort, MemoryRings
from ..l2.fdb cimport Fdb
from ..l3.route cimport RouteTable
from ..qos.tree cimport Policer, Tree
from .blocks cimport BlockOwner
from .counters cimport MAX_WORKERS
from .ip cimport Ip

cdef enum PortKind:
    PORT_NONE = 0
    PORT_TAP
    PORT_PACKET
    PORT_MEMORY
    PORT_SELF                           # the switch itself: rings to and from the control side

cdef enum VlanMode:
    VLAN_ALL = 0                        # every VLAN passes, tagged as it is
    VLAN_ACCESS                         # one VLAN, untagged
    VLAN_TRUNK                          # the VLANs of the bitmap, tagged; `pvid`, if any, untagged

cdef enum:
    PORT_UP = 1
    PORT_ISOLATED = 2
    PORT_HAIRPIN = 4
    PORT_IP = 8                         # its frames may concern the IP stages: it is an uplink, or its bridge has hooks or a gateway

    OFFLOAD_CSUM = 1                    # what transmit to the port may leave undone
    OFFLOAD_TSO4 = 2
    OFFLOAD_TSO6 = 4
    OFFLOAD_USO4 = 8
    OFFLOAD_USO6 = 16

    STORM_CLASSES = 3                   # broadcast, multicast, unknown unicast

cdef enum DeviceKind:
    DEVICE_NAME = 0                     # a bridge or a VLAN of it, for rules to name: the switch has no address there
    DEVICE_NETWORK                      # ... where it is the gateway
    DEVICE_UPLINK                       # a port of no bridge, where the switch is a host and router

cdef enum NetworkMode:
    NETWORK_ROUTED = 0
    NETWORK_ISOLATED
    NETWORK_NAT

cdef enum:
    DEVICE_DHCP = 1                     # Device.services: what the control side wants to have
    DEVICE_DNS = 2
    DEVICE_RA = 4

cdef struct Address:
    Ip ip
    Ip network                          # ip & mask
    Ip mask
    Ip broadcast                        # of an IPv4 network of more than two addresses; else zero

cdef struct Device:
    # An interface of layer 3: what rules name, routes lead to and neighbours live on.
    uint16_t id                         # its index in Snapshot.devices
    uint8_t kind
    uint8_t mode                        # NetworkMode, of DEVICE_NETWORK
    uint8_t services
    uint8_t hooks                       # bridged frames of this device pass the IP hooks
    uint16_t vid                        # of DEVICE_NETWORK: its VLAN, 0 outside any
    uint16_t port                       # of DEVICE_UPLINK: the port's id; else NO_PORT
    uint16_t zone                       # of conntrack
    uint16_t router                     # index in Snapshot.routers
    uint16_t uplink                     # of NETWORK_NAT: the device to masquerade on; NO_DEVICE: any uplink
    uint32_t mtu
    uint64_t mac                        # the switch's own there, as wire.mac_at loads it; 0: none
    const Bridge *bridge                # NULL: an uplink
    uint32_t n_addresses
    const Address *addresses            # IPv4 and IPv6, the file's order

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
    uint16_t device                     # of an uplink; else NO_DEVICE
    uint64_t born                       # generation of the snapshot in which its id became its own
    uint32_t n_policers
    const Policer *policers
    const Tree *tree                    # its queueing disciplines; NULL: frames leave at once
    int fds[MAX_WORKERS]                # the queue that each worker sends through and, if it is its own, reads

cdef struct Bridge:
    Fdb *fdb
    uint16_t device                     # the bridge's own; NO_DEVICE: the IP stages do not know it
    const uint16_t *device_of           # 4096 device indices by VID; NULL: `device` for all
    uint32_t n_transparent
    const uint16_t *transparent         # port ids of the VLAN_ALL ports
    const uint32_t *rows                # members of VID v: member[rows[v]] .. member[rows[v + 1] - 1]; NULL: no members
    const uint16_t *members

cdef struct Snapshot:
    uint64_t generation
    uint32_t n_ports                    # ids run below this
    Port *ports
    Bridge *bridges
    Port self                           # where frames of the switch's own come from: SELF_PORT
    uint32_t n_devices
    Device *devices
    uint32_t n_routers
    RouteTable *routers                 # one a router: tenants with the same addresses have routers of their own
    bint nat                            # there is NAT somewhere: new connections are to be bound
    const Ruleset *rules                # NULL: none, every policy is ACCEPT

cdef class SnapshotOwner(BlockOwner):
    cdef Snapshot snapshot
    cdef object _tables                 # keeps the FDBs and memory ports of this picture alive
    cdef _fill_bridge(self, Bridge *bridge, view, list ports)
    cdef _fill_port(self, Port *port, view, dict memory)
    cdef _fill_policers(self, Port *port, views)
    cdef _fill_own_port(self, MemoryRings rings)
    cdef _fill_layer3(self, layer3)
    cdef _fill_routers(self, list tables)
    cdef _fill_device(self, Device *device, view)
    cdef _vlan_device(self, Bridge *bridge, view)
    cdef _bridge_device(self, Bridge *bridge, uint16_t id)
    cdef _concern_ip(self, const Bridge *bridge)
