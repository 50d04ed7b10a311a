"""The switch's own port: packets that the control side is to see (DHCP, DNS, a user's queue), and frames that it makes.

Both ways are rings of records (io/ring.pxd): a virtio-net header, an OwnHeader, the frame from its destination MAC on, without
any VLAN tag: `device` says where it belongs. The worker that punts tells the control side by an eventfd; the control side's
frames are all taken by one worker. A full ring drops by name, PUNT_FULL.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.context cimport Context, Extra
from ..core.counters cimport SELF_PORT
from ..core.extra cimport extra_add, extra_refused, extra_room
from ..core.frame cimport ENTRY_HOOKS, ENTRY_LINK, ENTRY_OUTPUT, FRAME_MAX, VNET_LEN, Entry, Frame
from ..core.native cimport count, write
from ..core.packet cimport Packet
from ..core.verdict cimport *
from .memory cimport next_record
from .ring cimport MemoryPort, Ring, ring_commit, ring_reserve

cdef enum OwnKind:
    # To the control side
    OWN_SERVICE = 1                     # for a service of the switch: DHCP, DNS, router solicitations
    OWN_QUEUE                           # a user's process is to judge it
    OWN_LOG                             # the first bytes of a packet that a LOG rule has seen
    # From it
    OWN_TICK = 16                       # a second has passed: no frame
    OWN_PACKET                          # an IP packet of the switch's own: OUTPUT, then routed
    OWN_FRAME                           # a frame of its own, MACs and device settled
    OWN_RESUME                          # a packet that came by OWN_QUEUE goes on

cdef struct OwnHeader:
    # 24 bytes, little-endian; dataplane.py has the same.
    uint8_t kind
    uint8_t resume                      # hook * TABLES + table + 1
    uint16_t device
    uint16_t port                       # where it came in
    uint16_t queue
    uint32_t mark
    uint32_t id                         # of a LOG rule; what the control side likes
    uint64_t time_ns

cdef inline bint punt(Context *ctx, const uint8_t *data, uint32_t length, const OwnHeader *header) noexcept nogil:
    """Hand a copy of the frame to the control side; false: it reads no faster."""
    cdef MemoryPort *memory = ctx.snapshot.self.memory
    cdef uint64_t size = VNET_LEN + sizeof(OwnHeader) + length, one = 1
    cdef uint8_t *room
    if memory == NULL:
        return False
    room = ring_reserve(&memory.tx[ctx.worker], size)
    if room == NULL:
        return False
    memcpy(room, data - VNET_LEN, VNET_LEN)
    memcpy(room + VNET_LEN, header, sizeof(OwnHeader))
    memcpy(room + VNET_LEN + sizeof(OwnHeader), data, length)
    ring_commit(&memory.tx[ctx.worker], size)
    write(memory.notify, &one, sizeof(one))
    return True

cdef inline bint take_own(Context *ctx) noexcept nogil:
    """What the control side has sent joins the extra frames, as many as there is room for. Whether a tick was among them."""
    cdef MemoryPort *memory = ctx.snapshot.self.memory
    cdef const uint8_t *record
    cdef uint8_t *data
    cdef OwnHeader header
    cdef uint64_t length
    cdef bint tick = False
    while True:
        data = extra_room(ctx)
        record = next_record(memory, &length) if data != NULL else NULL
        if record == NULL:
            return tick
        if length < VNET_LEN + sizeof(OwnHeader) or length > VNET_LEN + sizeof(OwnHeader) + FRAME_MAX:
            continue
        memcpy(&header, record + VNET_LEN, sizeof(OwnHeader))
        if header.kind == OWN_TICK:
            tick = True
            continue
        length -= VNET_LEN + sizeof(OwnHeader)
        memcpy(data - VNET_LEN, record, VNET_LEN)
        memcpy(data, record + VNET_LEN + sizeof(OwnHeader), length)
        add_own(ctx, &header, <uint32_t>length)

cdef inline void add_own(Context *ctx, const OwnHeader *header, uint32_t length) noexcept nogil:
    cdef uint8_t entry = ENTRY_OUTPUT if header.kind == OWN_PACKET else ENTRY_LINK
    cdef uint16_t origin = SELF_PORT
    cdef Extra *extra
    if header.kind == OWN_RESUME:
        entry = ENTRY_HOOKS
        origin = header.port
    extra = extra_add(ctx, length, origin, entry, header.device)
    extra.mark = header.mark
    extra.resume = header.resume
