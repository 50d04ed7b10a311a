"""Test doors onto NAT: frames with their virtio-net headers in, bindings and rewritten frames out. Not in the wheel.

Every frame lies in memory of exactly its size, so that a sanitizer sees the first byte touched beyond it. The
dissection is a small stand-in for the switch's own.
"""
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from .core.frame cimport VNET_LEN, Frame
from .core.ip cimport (
    IPV6_HLEN, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, Ip, ip4_at, ip6_at, ip_is_v4, ip_store,
)
from .core.native cimport load16, load16be, store16be, store32be
from .core.packet cimport CT_REPLY, PACKET_CHANGED, Packet
from .core.snapshot cimport OFFLOAD_CSUM
from .core.verdict cimport NAT_EXHAUSTED
from .filter.conntrack cimport ConnectionTable, Conntrack, CtEntry, ct_hash
from .filter.confirm cimport ct_abandon
from .filter.nat cimport (
    NAT_NO_DEVICE, Nat, nat_borrowed, nat_confirm, nat_done, nat_init, nat_null, nat_rewrite, nat_setup, nat_setup_to,
    nat_strayed,
)
from .filter.natrange cimport (
    NAT_MAP_IPS, NAT_NETMAP, NAT_PERSISTENT, NAT_PROTO_OFFSET, NAT_PROTO_RANDOM, NAT_PROTO_SPECIFIED, NAT_RANDOM_FULLY,
    NatRange,
)
from .filter.rewrite cimport NatManip
from .filter.rows cimport connection_row
from .filter.track cimport ct_burst, ct_track

SRC, DST = NatManip.NAT_SRC, NatManip.NAT_DST
FLAGS = {"random": NAT_PROTO_RANDOM, "random_fully": NAT_RANDOM_FULLY, "persistent": NAT_PERSISTENT,
         "netmap": NAT_NETMAP, "offset": NAT_PROTO_OFFSET}


cdef Ip ip_of(str text):
    cdef bytes raw = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    return ip6_at(raw) if len(raw) == 16 else ip4_at(raw)


cdef str text_of(const Ip *ip):
    cdef uint8_t raw[16]
    ip_store(raw, ip, ip_is_v4(ip))
    return inet_ntop(AF_INET, raw[:4]) if ip_is_v4(ip) else inet_ntop(AF_INET6, raw[:16])


cdef class Rule:
    """What a rule's target asks for: addresses "A" or "A-B", ports (first, last), flags by name."""
    cdef NatRange range

    def __cinit__(self, manip, str addresses="", ports=None, *flags, uint16_t base=0):
        memset(&self.range, 0, sizeof(NatRange))
        self.range.manip = manip
        self.range.base_port = base
        for name in flags:
            self.range.flags |= FLAGS[name]
        if addresses:
            first, _, last = addresses.partition("-")
            self.range.min_ip = ip_of(first)
            self.range.max_ip = ip_of(last or first)
            self.range.flags |= NAT_MAP_IPS
        if ports:
            self.range.min_port, self.range.max_port = ports
            self.range.flags |= NAT_PROTO_SPECIFIED


cdef class Binder:
    """One worker's NAT state."""
    cdef Nat nat

    def __cinit__(self, uint64_t seed=1):
        nat_init(&self.nat, seed)

    def counters(self):
        return {"exhausted": self.nat.exhausted, "retried": self.nat.retried, "moved": self.nat.moved}


cdef void dissect(const Conntrack *ct, Packet *p, uint8_t *ip, uint16_t zone) noexcept nogil:
    memset(p, 0, sizeof(Packet))
    p.l3 = ip
    p.tuple.zone = zone
    p.zone = p.zone_reply = zone
    p.family = ip[0] >> 4
    if p.family == 4:
        p.length = load16be(ip + 2)
        p.tuple.proto = ip[9]
        p.src = ip4_at(ip + 12)
        p.dst = ip4_at(ip + 16)
        p.l4 = ip + (ip[0] & 15) * 4
    else:
        p.length = load16be(ip + 4) + IPV6_HLEN
        p.tuple.proto = ip[6]
        p.src = ip6_at(ip + 8)
        p.dst = ip6_at(ip + 24)
        p.l4 = ip + IPV6_HLEN
    p.l4_length = p.length - <uint32_t>(p.l4 - ip)
    dissect_l4(p)
    p.tuple.src = p.src
    p.tuple.dst = p.dst
    p.tuple.sport = p.sport
    p.tuple.dport = p.dport
    p.hash = ct_hash(ct, &p.tuple)

cdef void dissect_l4(Packet *p) noexcept nogil:
    if p.tuple.proto == PROTO_ICMP or p.tuple.proto == PROTO_ICMPV6:
        p.sport = load16(p.l4 + 4)
        p.dport = load16(p.l4)
    elif p.tuple.proto == PROTO_TCP or p.tuple.proto == PROTO_UDP or p.tuple.proto == PROTO_UDPLITE:
        p.sport = load16(p.l4)
        p.dport = load16(p.l4 + 2)
        p.tcp_flags = p.l4[13] if p.tuple.proto == PROTO_TCP else 0


cdef class Passage:
    """A frame on its way through the hooks. vnet: its virtio-net header; l3: where its IP header begins."""
    cdef ConnectionTable table
    cdef Binder binder
    cdef Packet packet
    cdef Frame lies
    cdef uint8_t *block
    cdef uint32_t worker
    cdef uint32_t now
    cdef readonly int reason

    def __cinit__(self, ConnectionTable table, Binder binder, bytes frame, uint32_t now=1000, bytes vnet=bytes(12),
                  uint32_t l3=14, uint32_t worker=0, uint16_t zone=0, zone_reply=None):
        cdef uint32_t size = VNET_LEN + <uint32_t>len(frame)
        self.table, self.binder, self.worker, self.now = table, binder, worker, now
        self.block = <uint8_t *>malloc(size)
        if self.block == NULL:
            raise MemoryError
        memcpy(self.block, <const uint8_t *>vnet, VNET_LEN)
        memcpy(self.block + VNET_LEN, <const uint8_t *>frame, len(frame))
        memset(&self.lies, 0, sizeof(Frame))
        self.lies.data = self.block + VNET_LEN
        self.lies.len = <uint32_t>len(frame)
        self.lies.needs = OFFLOAD_CSUM if self.block[0] & 1 else 0
        dissect(table.view(worker), &self.packet, self.lies.data + l3, zone)
        self.packet.zone_reply = zone if zone_reply is None else zone_reply
        self.reason = ct_track(table.view(worker), &self.packet, <uint64_t>now * 1000000000, now)

    def __dealloc__(self):
        free(self.block)

    cdef CtEntry *entry(self) noexcept nogil:
        return &self.table.views[self.worker].entry[self.packet.ct]

    @property
    def frame(self):
        return self.lies.data[:self.lies.len]

    @property
    def vnet(self):
        return self.block[:VNET_LEN]

    @property
    def info(self):
        return self.packet.ct_info

    @property
    def reply(self):
        return bool(self.packet.ct_info & CT_REPLY)

    @property
    def header(self):
        """What later stages take the packet's addresses and ports for, and whether they were changed."""
        return (text_of(&self.packet.src), load16be(&self.packet.sport), text_of(&self.packet.dst),
                load16be(&self.packet.dport), bool(self.packet.flags & PACKET_CHANGED))

    def row(self):
        cdef Conntrack *ct = self.table.view(self.worker)
        return connection_row(self.packet.ct, self.entry(), &ct.account[self.packet.ct], self.now)

    def done(self, manip):
        return bool(nat_done(self.entry(), manip))

    def setup(self, Rule rule):
        return nat_setup(self.table.view(self.worker), &self.binder.nat, &self.packet, &rule.range, self.now)

    def setup_to(self, Rule rule, str address, uint16_t device=NAT_NO_DEVICE):
        cdef Ip ip = ip_of(address)
        return nat_setup_to(self.table.view(self.worker), &self.binder.nat, &self.packet, &rule.range, &ip, device,
                            self.now)

    def null(self, manip):
        nat_null(self.entry(), manip)

    def rewrite(self, int hook):
        return nat_rewrite(self.entry(), &self.packet, &self.lies, hook)

    def confirm(self):
        return nat_confirm(self.table.view(self.worker), &self.binder.nat, &self.packet, &self.lies, self.now)

    def abandon(self):
        ct_abandon(self.table.view(self.worker), &self.packet)

    def strayed(self, uint16_t device):
        return bool(nat_strayed(self.entry(), &self.packet, device))

    def borrowed(self, uint16_t device, str address=None):
        cdef Ip ip
        if address is None:
            return bool(nat_borrowed(self.entry(), device, NULL))
        ip = ip_of(address)
        return bool(nat_borrowed(self.entry(), device, &ip))

    def become(self, Passage other):
        """The entry is another connection's now, as seen by a worker that still has this packet in hand."""
        self.entry().original = other.entry().original
        self.entry().reply = other.entry().reply

    def repeat(self, int hook, uint64_t times):
        """nat_rewrite of so many bursts of 32 copies of the frame: what it costs is the caller's to measure."""
        cdef uint64_t n
        cdef int at, reason = 0
        cdef CtEntry *entry = self.entry()
        cdef Packet packets[32]
        cdef Frame frames[32]
        cdef uint32_t size = VNET_LEN + self.lies.len
        cdef uint8_t *copies = <uint8_t *>malloc(32 * size)
        if copies == NULL:
            raise MemoryError
        for at in range(32):
            memcpy(copies + at * size, self.block, size)
            packets[at] = self.packet
            frames[at] = self.lies
            frames[at].data = copies + at * size + VNET_LEN
            packets[at].l3 = frames[at].data + (self.packet.l3 - self.lies.data)
            packets[at].l4 = frames[at].data + (self.packet.l4 - self.lies.data)
        with nogil:
            for n in range(times):
                for at in range(32):
                    reason |= nat_rewrite(entry, &packets[at], &frames[at], hook)
        free(copies)
        return reason


cdef void udp_to(const Conntrack *ct, Packet *p, Frame *frame, uint8_t *data, uint32_t client,
                 uint16_t sport) noexcept nogil:
    """An empty datagram from a client, 10.0.0.0 and so on, to 192.0.2.1:53."""
    cdef uint8_t *ip = data + VNET_LEN + 14
    memset(data, 0, VNET_LEN + 42)
    memset(frame, 0, sizeof(Frame))
    frame.data = data + VNET_LEN
    frame.len = 42
    ip[0] = 0x45
    ip[9] = PROTO_UDP
    store16be(ip + 2, 28)
    store32be(ip + 12, 0x0a000000 + client)
    store32be(ip + 16, 0xc0000201)
    store16be(ip + 20, sport)
    store16be(ip + 22, 53)
    store16be(ip + 24, 8)
    dissect(ct, p, ip, 0)

def stream(ConnectionTable table, Binder binder, Rule rule, uint32_t worker, uint32_t first, uint32_t clients,
           uint32_t now, uint16_t sport=1024):
    """New connections of so many clients, one each, without the GIL: (confirmed, exhausted, dropped otherwise)."""
    cdef Conntrack *ct = table.view(worker)
    cdef uint8_t data[128]
    cdef Packet packet
    cdef Frame frame
    cdef uint32_t client, confirmed = 0, exhausted = 0, dropped = 0
    cdef int reason
    with nogil:
        for client in range(first, first + clients):
            ct_burst(ct)
            udp_to(ct, &packet, &frame, data, client, sport)
            reason = ct_track(ct, &packet, <uint64_t>now * 1000000000, now)
            if not reason:
                nat_null(&ct.entry[packet.ct], NatManip.NAT_DST)
                reason = nat_setup(ct, &binder.nat, &packet, &rule.range, now)
            if not reason:
                reason = nat_rewrite(&ct.entry[packet.ct], &packet, &frame, 4)
            if not reason:
                reason = nat_confirm(ct, &binder.nat, &packet, &frame, now)
            if reason:
                ct_abandon(ct, &packet)
            confirmed += reason == 0
            exhausted += reason == NAT_EXHAUSTED
            dropped += reason != 0 and reason != NAT_EXHAUSTED
    return confirmed, exhausted, dropped
