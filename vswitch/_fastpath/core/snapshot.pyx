"""Builds a snapshot from the views of dataplane.py. See snapshot.pxd for what it is."""
from ipaddress import ip_address, ip_network

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from vswitch.qos.view import Shape

from ..filter.ruleset cimport CompiledRuleset
from ..io.ring cimport MemoryRings
from ..l2.fdb cimport ForwardingDatabase
from ..l3.route cimport Routes, RouteTable
from ..qos.tree cimport POLICERS, CompiledTree, Policer, shape_of
from .counters cimport MAX_PORTS, MAX_WORKERS, SELF_PORT
from .ip cimport Ip, ip6_at
from .packet cimport NO_DEVICE, NO_PORT
from .snapshot cimport *

cdef uint64_t mac_number(str mac) except? 0:
    """"52:54:00:12:34:56" as wire.mac_at loads it."""
    return int.from_bytes(bytes.fromhex(mac.replace(":", "")), "little")


cdef Ip ip_of(address):
    """An address of the ipaddress module."""
    raw = packed(address)
    return ip6_at(<const uint8_t *>raw)


def packed(address):
    """The 16 bytes of core/ip.pxd."""
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def tuple_of(route):
    """A RouteView as Routes takes it."""
    network = ip_network(route.network)
    gateway = packed(ip_address(route.gateway)) if route.gateway else bytes(16)
    return packed(network.network_address), network.prefixlen + (96 if network.version == 4 else 0), gateway, route.device


cdef dict KINDS = {"tap": PORT_TAP, "packet": PORT_PACKET, "memory": PORT_MEMORY}


cdef class SnapshotOwner(BlockOwner):
    """The memory of one snapshot: `bridges` and `ports` are dataplane.BridgeView and PortView, `fdbs` maps a bridge's id to
    its ForwardingDatabase, `memory` a port's id to its MemoryRings, `trees` to its CompiledTree, `born` to the generation in which the id became its. Freed when no worker can look at it any more: whoever
    publishes the next one keeps this object until then."""

    def __init__(self, uint64_t generation, list bridges, list ports, dict fdbs, dict memory, layer3=None,
                 trees=(), born=()):
        cdef uint32_t n_bridges = 1 + max([view.id for view in bridges], default=0)
        self._tables = (fdbs, memory, layer3, trees)
        self.snapshot.generation = generation
        self.snapshot.n_ports = 1 + max([view.id for view in ports], default=0)
        self.snapshot.ports = <Port *>self._block(self.snapshot.n_ports * sizeof(Port))
        self.snapshot.bridges = <Bridge *>self._block(n_bridges * sizeof(Bridge))
        for view in bridges:
            self.snapshot.bridges[<uint32_t>view.id].device = NO_DEVICE
            self.snapshot.bridges[<uint32_t>view.id].fdb = &(<ForwardingDatabase>fdbs[view.id]).table
            self._fill_bridge(&self.snapshot.bridges[<uint32_t>view.id], view,
                              [port for port in ports if port.bridge == view.id])
        for view in ports:
            self._fill_port(&self.snapshot.ports[<uint32_t>view.id], view, memory)
        for id, tree in dict(trees).items():
            if id < self.snapshot.n_ports:
                self.snapshot.ports[<uint32_t>id].tree = &(<CompiledTree>tree).tree
        for id, generation_of in dict(born).items():
            if id < self.snapshot.n_ports:
                self.snapshot.ports[<uint32_t>id].born = generation_of
        self._fill_own_port(memory.get(SELF_PORT))
        if layer3 is not None:
            self._fill_layer3(layer3)

    cdef _fill_own_port(self, MemoryRings rings):
        cdef Port *port = &self.snapshot.self
        port.id = SELF_PORT
        port.device = NO_DEVICE
        port.flags = PORT_UP | PORT_IP
        if rings is not None:
            port.kind = PORT_SELF
            port.memory = &rings.port

    cdef _fill_policers(self, Port *port, views):
        cdef Policer *policer = <Policer *>self._block(len(views) * sizeof(Policer))
        if len(views) > POLICERS:
            raise ValueError(f"{len(views)} policers on one port: {POLICERS} are the most")
        port.n_policers, port.policers = len(views), policer
        for index, view in enumerate(views):
            policer = <Policer *>port.policers + <uint32_t>index
            policer.any_vlan, policer.vlan = view.vlan is None, view.vlan or 0
            policer.marks, policer.mark = view.mark is not None, view.mark or 0
            if view.rate:
                policer.rate = shape_of(Shape(view.rate))
                policer.burst_ns = 10**9 * view.burst // view.rate
            if view.frame_rate:
                policer.frame_ns = 10**9 // view.frame_rate
                policer.frame_burst_ns = 10**9 * max(view.frame_burst - 1, 0) // view.frame_rate

    cdef _fill_layer3(self, layer3):
        """Devices, after ports and bridges, which point back at theirs; then routes and rules."""
        self.snapshot.n_devices = 1 + max([view.id for view in layer3.devices], default=0)
        self.snapshot.devices = <Device *>self._block(self.snapshot.n_devices * sizeof(Device))
        for view in layer3.devices:
            self._fill_device(&self.snapshot.devices[<uint32_t>view.id], view)
            if view.bridge is not None and view.vid:
                self._vlan_device(&self.snapshot.bridges[<uint32_t>view.bridge], view)
        for view in layer3.devices:
            if view.bridge is not None and not view.vid:
                self._bridge_device(&self.snapshot.bridges[<uint32_t>view.bridge], view.id)
        self._fill_routers([Routes([tuple_of(route) for route in routes]) for routes in layer3.routers])
        if layer3.rules is not None:
            self.snapshot.rules = &(<CompiledRuleset>layer3.rules).rules
        self.snapshot.nat = layer3.nat

    cdef _fill_routers(self, list tables):
        """`tables` are Routes, which own what the route tables point into."""
        cdef uint32_t i
        self._blocks.append(tables)
        self.snapshot.n_routers = len(tables)
        self.snapshot.routers = <RouteTable *>self._block(len(tables) * sizeof(RouteTable))
        for i in range(self.snapshot.n_routers):
            self.snapshot.routers[i] = (<Routes>tables[i]).table

    cdef _fill_device(self, Device *device, view):
        cdef Address *addresses = <Address *>self._block(len(view.addresses) * sizeof(Address))
        device.id = view.id
        device.kind = view.kind
        device.mode = view.mode
        device.services = view.services
        device.hooks = view.hooks
        device.vid = view.vid
        device.port = NO_PORT if view.port is None else view.port
        device.zone = view.zone
        device.router = view.router
        device.uplink = NO_DEVICE if view.uplink is None else view.uplink
        device.mtu = view.mtu
        device.mac = mac_number(view.mac) if view.mac else 0
        device.addresses = addresses
        for interface in view.addresses:
            fill_address(&addresses[device.n_addresses], interface)
            device.n_addresses += 1
        if view.bridge is not None:
            device.bridge = &self.snapshot.bridges[<uint32_t>view.bridge]
        else:
            self.snapshot.ports[<uint32_t>view.port].device = view.id
            self.snapshot.ports[<uint32_t>view.port].flags |= PORT_IP

    cdef _vlan_device(self, Bridge *bridge, view):
        cdef uint32_t vid
        cdef uint16_t *table
        if bridge.device_of == NULL:
            table = <uint16_t *>self._block(4096 * sizeof(uint16_t))
            for vid in range(4096):
                table[vid] = NO_DEVICE
            bridge.device_of = table
        (<uint16_t *>bridge.device_of)[<uint32_t>view.vid] = view.id
        self._concern_ip(bridge)

    cdef _bridge_device(self, Bridge *bridge, uint16_t id):
        """The bridge's own device has all VLANs that have none."""
        cdef uint32_t vid
        bridge.device = id
        if bridge.device_of != NULL:
            for vid in range(4096):
                if bridge.device_of[vid] == NO_DEVICE:
                    (<uint16_t *>bridge.device_of)[vid] = id
        self._concern_ip(bridge)

    cdef _concern_ip(self, const Bridge *bridge):
        cdef uint32_t id
        for id in range(self.snapshot.n_ports):
            if self.snapshot.ports[id].kind != PORT_NONE and self.snapshot.ports[id].bridge == bridge:
                self.snapshot.ports[id].flags |= PORT_IP

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
        self._fill_policers(port, view.policers)
        if view.kind == "memory":
            port.memory = &(<MemoryRings>memory[view.id]).port


cdef void fill_address(Address *address, interface) except *:
    network = interface.network
    address.ip = ip_of(interface.ip)
    address.network = ip_of(network.network_address)
    address.mask = ip_of(network.netmask)
    if network.version == 4:
        address.mask.high = 0xffffffffffffffffULL
        address.mask.low |= 0xffffffffULL
        if network.prefixlen < 31:
            address.broadcast = ip_of(network.broadcast_address)
