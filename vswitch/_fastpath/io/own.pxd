"""The switch's own port: packets that the control side is to see (DHCP, DNS, a user's queue), and frames that it makes.

Both ways are rings of records (io/ring.pxd): a virtio-net header, an OwnHeader, the frame from its destination MAC on, without
any VLAN tag: `device` says where it belongs. The worker that punts tells the control side by an eventfd; the control side's
frames are all taken by one worker. A full ring drops by name, PUNT_FULL.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.context cimport Context, Extra
from ..core.counters cimport SELF_PORT
from ..core.extra cimport extra_add, extra_again, extra_room
from ..core.frame cimport ENTRY_LINK, ENTRY_OUTPUT, ENTRY_RETURN, FRAME_MAX, VNET_LEN
from ..core.native cimport count, write
from ..core.packet cimport PACKET_LOCAL
from ..core.verdict cimport PENDING
from .memory cimport next_record
from .ring cimport MemoryPort, ring_commit, ring_reserve

cdef enum OwnKind:
    # To the control side
    OWN_SERVICE = 1                     # for a service of the switch: DHCP, DNS, router solicitations
    OWN_QUEUE                           # a user's process is to judge it
    # From it
    OWN_TICK = 16                       # a second has passed: no frame
    OWN_PACKET                          # an IP packet of the switch's own: OUTPUT, then routed
    OWN_FRAME                           # a frame of its own, MACs and device settled
    OWN_RESUME                          # a packet that came by OWN_QUEUE goes on
    OWN_DISCARD                         # ... or ends

cdef struct OwnHeader:
    # 40 bytes, little-endian; vswitch/own.py has the same.
    uint8_t kind
    uint8_t resume                      # where it was queued: `place` + 1 (filter/rule.pxd)
    uint16_t device                     # where it belongs, and its VLAN there
    uint16_t vid
    uint16_t port                       # where it came in; of a DISCARD NO_PORT: that one is no more
    uint16_t queue
    uint16_t largest                    # Packet.largest
    uint32_t mark
    uint32_t ct                         # the connection's entry, and the serial number that tells whether it still is
    uint32_t serial
    uint8_t ct_info
    uint8_t flags                       # Packet.flags
    uint16_t out                        # the port that it leaves by, as far as that is known; else NO_PORT
    uint16_t tci                        # see Extra
    uint16_t zone
    uint8_t bypass                      # QUEUE: it passes should nobody listen any more
    uint8_t reason                      # DISCARD: the name of its end
    uint16_t out_dev
    uint16_t zone_reply
    uint16_t pad

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
    cdef Extra *extra
    if header.kind == OWN_RESUME or header.kind == OWN_DISCARD:
        extra = add_returned(ctx, header, length)
    else:
        extra = extra_add(ctx, length, SELF_PORT, entry, header.device)
    extra.mark = header.mark
    extra.vid = header.vid
    extra.largest = header.largest
    extra.resume = header.resume

cdef inline Extra *add_returned(Context *ctx, const OwnHeader *header, uint32_t length) noexcept nogil:
    """A packet that a user's process has judged: no longer queued, in the books of the port that it came from."""
    cdef uint8_t entry = ENTRY_OUTPUT if header.flags & PACKET_LOCAL else ENTRY_RETURN
    cdef Extra *extra
    if header.port > SELF_PORT:
        extra = extra_add(ctx, length, SELF_PORT, entry, header.device)
    else:
        count(&ctx.counters[header.port].queued, <uint64_t>-1)
        extra = extra_again(ctx, length, header.port, entry, header.device)
    extra.reason = header.reason if header.kind == OWN_DISCARD else <uint8_t>PENDING
    extra.ct = header.ct
    extra.serial = header.serial
    extra.ct_info = header.ct_info
    extra.flags = header.flags
    extra.out = header.out
    extra.tci = header.tci
    extra.zone = header.zone
    extra.zone_reply = header.zone_reply
    return extra
