"""Test doors onto l3/: routes, neighbours, ARP, neighbour discovery, ICMP; not in the wheel.

Every frame is copied into memory of exactly its size, so that a sanitizer sees the first byte read beyond it. Where
an answer may be longer than the question there is room behind the frame, forbidden until the answer is written.
"""
from ipaddress import ip_address

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cimport vswitch._fastpath.l3.address as address
cimport vswitch._fastpath.l3.arp as arp
cimport vswitch._fastpath.l3.echo as echo
cimport vswitch._fastpath.l3.icmp as icmp
cimport vswitch._fastpath.l3.limit as limit
cimport vswitch._fastpath.l3.nd as nd
cimport vswitch._fastpath.l3.resolve as resolve
cimport vswitch._fastpath.l3.hop as rewrite
from vswitch._fastpath.core.frame cimport Frame
from vswitch._fastpath.core.ip cimport Ip, ip4_at, ip6_at
from vswitch._fastpath.core.native cimport load16be, memory_allow, memory_forbid, monotonic_ns
from vswitch._fastpath.core.packet cimport PACKET_FRAGMENT, PACKET_MORE, Packet
from vswitch._fastpath.core.snapshot cimport Address, Device
from vswitch._fastpath.l3.neighbour cimport NeighbourTable, neighbour_find
from vswitch._fastpath.l3.route cimport Route, Routes, route_find

OTHER, LEARNED, ANSWERED = resolve.HEARD_OTHER, resolve.HEARD_LEARNED, resolve.HEARD_ANSWERED
SPOOFED, MALFORMED = resolve.HEARD_SPOOFED, resolve.HEARD_MALFORMED
CREATE, CONFIRM = resolve.LEARN_CREATE, resolve.LEARN_CONFIRM
OVERRIDE, LATE = resolve.LEARN_OVERRIDE, resolve.LEARN_LATE
QUEUED, SOLICIT, RESOLVED = resolve.WAIT_QUEUED, resolve.WAIT_SOLICIT, resolve.WAIT_RESOLVED

cdef enum:
    ROOM = 64                           # behind a frame, as FRAME_TAIL
    FRAME_LARGEST = 70000


cdef class _Exact:
    """A private copy of some bytes, with `room` forbidden bytes behind it."""
    cdef uint8_t *data
    cdef uint32_t length, room

    def __cinit__(self, bytes content, uint32_t room=0):
        self.length, self.room = <uint32_t>len(content), room
        self.data = <uint8_t *>malloc(self.length + room)
        if self.data == NULL:
            raise MemoryError
        memcpy(self.data, <const uint8_t *>content, self.length)
        if room:
            memory_forbid(self.data + self.length, room)

    def __dealloc__(self):
        if self.room:
            memory_allow(self.data + self.length, self.room)
        free(self.data)


cdef Ip _ip(str text) except *:
    cdef Ip ip
    packed = ip_address(text).packed
    raw = packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed
    memcpy(&ip, <const char *>raw, 16)
    return ip


cdef uint64_t _mac(mac) except? 0:
    return int.from_bytes(bytes.fromhex(mac.replace(":", "")), "little") if mac else 0


cdef str _mac_text(uint64_t number):
    return (<object>number).to_bytes(6, "little").hex(":")


cdef class ProbeDevice:
    """A Device with addresses like "10.0.0.1/24"."""
    cdef Device device
    cdef Address addresses[8]

    def __init__(self, uint16_t id, str mac, *texts):
        cdef Ip all_ones
        memset(&self.device, 0, sizeof(Device))
        memset(self.addresses, 0, sizeof(self.addresses))
        self.device.id = id
        self.device.mac = _mac(mac)
        self.device.addresses = self.addresses
        self.device.n_addresses = len(texts)
        for index, text in enumerate(texts):
            self._fill(&self.addresses[<uint32_t>index], text)

    cdef _fill(self, Address *a, str text):
        ip, prefix = text.split("/")
        bits = int(prefix) + (96 if "." in ip else 0)
        mask = ((1 << 128) - (1 << 128 - bits)).to_bytes(16)
        memcpy(&a.mask, <const char *>mask, 16)
        a.ip = _ip(ip)
        a.network.high, a.network.low = a.ip.high & a.mask.high, a.ip.low & a.mask.low
        if "." in ip and bits < 127:
            a.broadcast.high, a.broadcast.low = a.network.high, a.network.low | ~a.mask.low

    def owns(self, str ip):
        cdef Ip number = _ip(ip)
        return bool(address.device_owns(&self.device, &number))

    def on_link(self, str ip):
        cdef Ip number = _ip(ip)
        return bool(address.device_on_link(&self.device, &number))

    def martian(self, str ip):
        cdef Ip number = _ip(ip)
        return bool(address.martian_source(&self.device, &number))

    def joined(self, str ip):
        cdef Ip number = _ip(ip)
        return bool(address.device_joined(&self.device, &number))

    def source(self, str destination):
        cdef Ip number = _ip(destination), source
        if not address.source_for(&self.device, &number, &source):
            return None
        return _text(&source)


cdef str _text(const Ip *ip):
    raw = (<const char *>ip)[:16]
    return str(ip_address(raw[12:] if raw[:12] == bytes(10) + b"\xff\xff" else raw))


def find(Routes routes not None, str ip):
    """route_find: (network, prefix, gateway, device) or None."""
    cdef Ip number = _ip(ip)
    cdef const Route *route = route_find(&routes.table, &number)
    if route == NULL:
        return None
    return (<const char *>&route.network)[:16], route.prefix, (<const char *>&route.gateway)[:16], route.device


def time_routes(Routes routes not None, list ips, uint32_t rounds):
    """Nanoseconds a look-up."""
    cdef Ip numbers[256]
    cdef uint64_t started, found = 0
    cdef uint32_t i, n = min(256, len(ips)), j
    for i in range(n):
        numbers[i] = _ip(ips[i])
    with nogil:
        started = monotonic_ns()
        for j in range(rounds):
            for i in range(n):
                found += route_find(&routes.table, &numbers[i]) != NULL
        started = monotonic_ns() - started
    return <double>started / (rounds * n), found


def neighbour(NeighbourTable table not None, uint16_t device, str ip, uint32_t now_s):
    """neighbour_find: (state, MAC)."""
    cdef Ip number = _ip(ip)
    cdef uint64_t mac = 0
    state = neighbour_find(&table.table, device, &number, now_s, &mac)
    return state, _mac_text(mac) if mac else None


def time_neighbours(NeighbourTable table not None, uint16_t device, list ips, uint32_t rounds):
    """Nanoseconds a look-up."""
    cdef Ip numbers[256]
    cdef uint64_t started, found = 0, mac
    cdef uint32_t i, n = min(256, len(ips)), j
    for i in range(n):
        numbers[i] = _ip(ips[i])
    with nogil:
        started = monotonic_ns()
        for j in range(rounds):
            for i in range(n):
                found += neighbour_find(&table.table, device, &numbers[i], 1, &mac) != 0
        started = monotonic_ns() - started
    return <double>started / (rounds * n), found


cdef inline void _nth(uint32_t n, Ip *ip, uint64_t *mac) noexcept nogil:
    """An address of its own for every number, and the MAC that goes with it."""
    ip.high, ip.low = 0, <uint64_t>n << 32 | 0xffff0000ULL
    mac[0] = <uint64_t>(n + 1) * 0x10101 << 8 | 2


def churn(NeighbourTable table not None, uint32_t addresses, uint32_t rounds):
    """Keep learning addresses in turn, each long after the last, so that all take each other's place. Holds no GIL."""
    cdef uint64_t mac
    cdef uint32_t i, waiting
    cdef Ip ip
    with nogil:
        for i in range(rounds):
            _nth(i % addresses, &ip, &mac)
            resolve.neighbour_learn(&table.table, 1, &ip, mac, resolve.LEARN_CREATE, 10 + i * 10, &waiting)


def look(NeighbourTable table not None, uint32_t addresses, uint32_t rounds):
    """Look for the same addresses meanwhile: how often one was known, and how often by another's MAC. Holds no GIL."""
    cdef uint64_t mac, found, known = 0, wrong = 0
    cdef uint32_t i
    cdef Ip ip
    with nogil:
        for i in range(rounds):
            _nth(i % addresses, &ip, &mac)
            if neighbour_find(&table.table, 1, &ip, 1, &found) == resolve.NUD_STALE:
                known += 1
                wrong += found != mac
    return known, wrong


cdef list _released(NeighbourTable table, uint32_t waiting):
    cdef resolve.WaitingFrame frame
    cdef uint8_t *out = <uint8_t *>malloc(FRAME_LARGEST)
    found = []
    while resolve.neighbour_release(&table.table, &waiting, out, &frame):
        found.append((out[:frame.length], frame.origin, frame.in_dev))
    free(out)
    return found


def learn(NeighbourTable table not None, uint16_t device, str ip, mac, uint32_t how, uint32_t now_s):
    """neighbour_learn: (noted, frames released)."""
    cdef Ip number = _ip(ip)
    cdef uint32_t waiting
    noted = resolve.neighbour_learn(&table.table, device, &number, _mac(mac), how, now_s, &waiting)
    return bool(noted), _released(table, waiting)


def wait(NeighbourTable table not None, uint16_t device, str ip, bytes frame not None, uint16_t origin, uint32_t now_s):
    """neighbour_wait"""
    cdef Ip number = _ip(ip)
    cdef _Exact exact = _Exact(frame)
    return resolve.neighbour_wait(&table.table, device, &number, exact.data, exact.length, origin, 7, now_s)


def sweep(NeighbourTable table not None, uint32_t now_s):
    """A second's timers: a list of ("solicit", device, ip, mac or None) and ("failed", device, ip, frames).

    None: another worker has served them."""
    cdef resolve.NeighbourSweep sweep
    cdef resolve.NeighbourEvent event
    if not resolve.sweep_begin(&table.table, &sweep, now_s):
        return None
    found = []
    while resolve.sweep_next(&table.table, &sweep, &event):
        if event.kind == resolve.NEIGHBOUR_SOLICIT:
            found.append(("solicit", event.device, _text(&event.ip), _mac_text(event.mac) if event.mac else None))
        else:
            found.append(("failed", event.device, _text(&event.ip), _released(table, event.waiting)))
    return found


cdef bint _dissect(Packet *p, uint8_t *l3, uint32_t room):
    """What l3/dissect.pxd does for whole, well-formed packets: enough for these doors."""
    cdef uint32_t at
    cdef uint8_t proto
    memset(p, 0, sizeof(Packet))
    p.l3 = l3
    if room >= 20 and l3[0] >> 4 == 4:
        p.family, p.length, at, proto = 4, load16be(l3 + 2), (l3[0] & 15) * 4, l3[9]
        p.ttl, p.tos = l3[8], l3[1]
        if at < 20 or p.length < at or p.length > room:
            return False
        p.src, p.dst = ip4_at(l3 + 12), ip4_at(l3 + 16)
        p.flags = PACKET_FRAGMENT if load16be(l3 + 6) & 0x1fff else 0
        p.flags |= PACKET_MORE if load16be(l3 + 6) & 0x2000 else 0
    elif room >= 40 and l3[0] >> 4 == 6:
        p.family, p.length, at, proto = 6, 40 + load16be(l3 + 4), 40, l3[6]
        p.ttl, p.tos = l3[7], <uint8_t>(load16be(l3) >> 4)
        if p.length > room:
            return False
        p.src, p.dst = ip6_at(l3 + 8), ip6_at(l3 + 24)
        if proto == 0 and p.length >= 48 and 40 + (l3[41] + 1) * 8 <= p.length:
            proto = l3[40]
            at += (l3[41] + 1) * 8
    else:
        return False
    p.tuple.proto = proto
    p.l4_length = p.length - at
    if not p.flags & PACKET_FRAGMENT:
        p.l4 = l3 + at
    return True


cdef Frame _frame(_Exact exact):
    cdef Frame frame
    memset(&frame, 0, sizeof(frame))
    frame.data, frame.len = exact.data, exact.length
    return frame


def hear_arp(ProbeDevice device not None, NeighbourTable table not None, bytes frame not None, uint32_t now_s=100):
    """arp_hear: (what it was, the answer or None, frames released)."""
    cdef _Exact exact = _Exact(frame, ROOM)
    cdef Frame f = _frame(exact)
    cdef uint32_t waiting
    heard = arp.arp_hear(&device.device, &table.table, &f, now_s, &waiting)
    return heard, f.data[:f.len] if heard == ANSWERED else None, _released(table, waiting)


def hear_nd(ProbeDevice device not None, NeighbourTable table not None, bytes frame not None, bint partial=False,
            uint32_t now_s=100):
    """nd_hear: as hear_arp; None: not a packet that the router hands to it."""
    cdef _Exact exact = _Exact(frame, ROOM)
    cdef Frame f = _frame(exact)
    cdef Packet p
    cdef uint32_t waiting
    if len(frame) < 14 or not _dissect(&p, exact.data + 14, exact.length - 14) or p.family != 6 or p.tuple.proto != 58 \
            or p.l4_length < 4 or p.l4[0] not in (135, 136):
        return None
    heard = nd.nd_hear(&device.device, &table.table, &f, &p, partial, now_s, &waiting)
    return heard, f.data[:f.len] if heard == ANSWERED else None, _released(table, waiting)


def ask(ProbeDevice device not None, str source, str target, mac=None):
    """arp_request or nd_solicit, by the target's family; nd_announce for an IPv6 address of our own."""
    cdef Ip own = _ip(source), other = _ip(target)
    cdef uint8_t out[128]
    cdef uint32_t length
    if "." in target:
        length = arp.arp_request(out, &device.device, &own, &other, _mac(mac))
    elif source == target:
        length = nd.nd_announce(out, &device.device, &own)
    else:
        length = nd.nd_solicit(out, &device.device, &own, &other, _mac(mac))
    return out[:length]


def turn(bytes packet not None, str source, bint partial=False):
    """echo_turn on an IP packet: the reply; None: no echo request, or a wrong checksum."""
    cdef _Exact exact = _Exact(packet)
    cdef Ip own = _ip(source)
    cdef Packet p
    if not _dissect(&p, exact.data, exact.length) or not echo.echo_is_request(&p) \
            or not echo.echo_turn(&p, &own, partial):
        return None
    return exact.data[:p.length]


def error(bytes packet not None, uint8_t kind, uint8_t code, uint32_t info, str source, ProbeDevice device=None):
    """icmp_error; None: none may be sent about such a packet."""
    cdef _Exact exact = _Exact(packet)
    cdef _Exact out = _Exact(bytes(1280))
    cdef Ip own = _ip(source)
    cdef Packet p
    if not _dissect(&p, exact.data, exact.length) \
            or not icmp.icmp_answerable(&p, NULL if device is None else &device.device, kind, code):
        return None
    length = icmp.icmp_error(out.data, &p, kind, code, info, &own)
    return out.data[:length]


def reset(bytes packet not None, bint partial=False):
    """tcp_reset; None: none may be sent."""
    cdef _Exact exact = _Exact(packet)
    cdef _Exact out = _Exact(bytes(60))
    cdef Packet p
    if not _dissect(&p, exact.data, exact.length) or not echo.tcp_resettable(&p, partial):
        return None
    length = echo.tcp_reset(out.data, &p, p.tos)
    return out.data[:length]


def decrement(bytes packet not None):
    """ttl_decrement"""
    cdef _Exact exact = _Exact(packet)
    cdef Packet p
    if not _dissect(&p, exact.data, exact.length):
        return None
    rewrite.ttl_decrement(&p)
    return exact.data[:exact.length]


def macs(bytes frame not None, str dst, str src):
    """set_macs, then set_destination with the same"""
    cdef _Exact exact = _Exact(frame)
    rewrite.set_macs(exact.data, _mac(dst), _mac(src))
    rewrite.set_destination(exact.data, _mac(dst))
    return exact.data[:exact.length]


def allowed(limit.IcmpLimiter limiter not None, uint16_t device, str host, uint64_t now_ns):
    """icmp_allowed"""
    cdef Ip number = _ip(host)
    return bool(limit.icmp_allowed(limiter.limits, device, &number, now_ns))
