"""See refuse.pxd. What QUEUE means is said in vswitch/filter/queue.py, whose other end this is."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ..core.context cimport Context
from ..core.frame cimport FRAME_FLOOD, FRAME_TAGGED, Frame
from ..core.native cimport count
from ..core.packet cimport NO_ENTRY, Packet
from ..core.verdict cimport *
from ..core.wire cimport ETH_HLEN, VLAN_HLEN
from ..io.own cimport OWN_QUEUE, OwnHeader, punt
from ..l3.answer cimport complain, reset
from ..l3.hop cimport untag
from .rule cimport QUEUE_BYPASS, TABLES, Target
from .walk cimport VERDICT_ACCEPT, VERDICT_DROP, VERDICT_QUEUE, VERDICT_REJECT

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
    """Hand the packet to the process that listens on the queue, if there is one; it comes back by ENTRY_HOOKS."""
    cdef OwnHeader header
    if ctx.queues == NULL or not (ctx.queues[number >> 6] >> (number & 63)) & 1:
        return PENDING if target != NULL and target.mode & QUEUE_BYPASS else QUEUE_UNATTENDED
    if frame.flags & FRAME_FLOOD:
        return QUEUE_UNATTENDED         # a copy of many has no way back of its own
    untag(frame)
    memset(&header, 0, sizeof(header))
    header.kind = OWN_QUEUE
    header.resume = <uint8_t>(hook * TABLES + table + 1)
    header.device = packet.in_dev
    header.vid = frame.vid
    header.port = packet.in_port
    header.queue = number
    header.mark = packet.mark
    header.ct = packet.ct
    header.serial = ctx.ct.entry[packet.ct].serial if packet.ct != NO_ENTRY else 0
    header.ct_info = packet.ct_info
    header.flags = packet.flags
    header.largest = packet.largest
    if not punt(ctx, frame.data, frame.len, &header):
        return QUEUE_FULL
    count(&ctx.origin.queued, 1)
    packet.ct = NO_ENTRY                # the control side answers for it now
    return DONE
