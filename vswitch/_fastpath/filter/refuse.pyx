"""See refuse.pxd. What QUEUE means is said in vswitch/filter/queue.py, whose other end this is."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from ..core.context cimport Context
from ..core.frame cimport FRAME_FLOOD, FRAME_HAS_TAG, Frame
from ..core.native cimport count
from ..core.packet cimport NO_ENTRY, PACKET_LOCAL, Packet
from ..core.verdict cimport *
from ..io.own cimport OWN_QUEUE, OwnHeader, punt
from ..l3.answer cimport complain, reset
from ..l3.hop cimport untag
from .confirm cimport ct_abandon, ct_hold
from .rule cimport QUEUE_BYPASS, Target, place
from .walk cimport VERDICT_ACCEPT, VERDICT_QUEUE, VERDICT_REJECT

cdef uint8_t refuse(Context *ctx, Frame *frame, Packet *packet, uint8_t verdict, uint32_t table, uint32_t hook, uint16_t arg,
                    const Target *target) noexcept nogil:
    if verdict == VERDICT_ACCEPT:
        return PENDING
    if verdict == VERDICT_QUEUE:
        return queue(ctx, frame, packet, table, hook, arg, target)
    if verdict == VERDICT_REJECT:
        if arg == 0:
            reset(ctx, frame, packet)
        else:
            complain(ctx, frame, packet, <uint8_t>(arg >> 8), <uint8_t>arg, 0)
        return RULE_REJECT
    return <uint8_t>(RULE_RAW + table)

cdef uint8_t queue(Context *ctx, Frame *frame, Packet *packet, uint32_t table, uint32_t hook, uint16_t number,
                   const Target *target) noexcept nogil:
    """Hand the packet to the process that listens on the queue, if there is one; it comes back by `come_back`.

    Of a flooded frame every copy is queued by itself, and knows its port: the frame itself stays as it is."""
    cdef bint bypass = target != NULL and target.mode & QUEUE_BYPASS
    cdef bint copy = frame.flags & FRAME_FLOOD != 0
    cdef Frame away = frame[0]
    cdef Packet held = packet[0]
    cdef OwnHeader header
    if ctx.queues == NULL or not (ctx.queues[number >> 6] >> (number & 63)) & 1:
        return PENDING if bypass else QUEUE_UNATTENDED
    if copy:
        ct_hold(ctx.ct, packet)
    untag(&away)
    describe(ctx, &header, frame, packet)
    header.resume = place(table, hook) + 1
    header.queue = number
    header.bypass = bypass
    if not punt(ctx, away.data, away.len, &header):
        if copy:
            ct_abandon(ctx.ct, &held)
        return QUEUE_FULL
    count(&ctx.origin.queued, 1)
    if not copy:
        packet.ct = NO_ENTRY            # the control side answers for it now
    return DONE

cdef void describe(Context *ctx, OwnHeader *header, const Frame *frame, const Packet *packet) noexcept nogil:
    """All that is not in the frame. A packet of the switch's own belongs to the device that it leaves by."""
    memset(header, 0, sizeof(OwnHeader))
    header.kind = OWN_QUEUE
    header.device = packet.out_dev if packet.flags & PACKET_LOCAL else packet.in_dev
    header.vid = frame.vid
    header.port = packet.in_port
    header.out = packet.out_port
    header.out_dev = packet.out_dev
    header.tci = frame.priority | (frame.flags & FRAME_HAS_TAG != 0)
    header.largest = packet.largest
    header.mark = packet.mark
    header.zone = packet.zone
    header.ct = packet.ct
    header.serial = ctx.ct.entry[packet.ct].serial if packet.ct != NO_ENTRY else 0
    header.ct_info = packet.ct_info
    header.flags = packet.flags
