"""See refuse.pxd. What QUEUE means is said in vswitch/filter/queue.py, whose other end this is."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from ..core.context cimport Context
from ..core.frame cimport FRAME_FLOOD, FRAME_TAGGED, Frame
from ..core.ip cimport (
    PROTO_AH, PROTO_ESP, PROTO_GRE, PROTO_ICMP, PROTO_ICMPV6, PROTO_SCTP, PROTO_TCP, PROTO_UDP, PROTO_UDPLITE,
)
from ..core.native cimport count
from ..core.packet cimport NO_ENTRY, PACKET_BAD_CHECKSUM, Packet
from ..core.snapshot cimport OFFLOAD_CSUM
from ..core.verdict cimport *
from ..core.wire cimport ETH_HLEN, VLAN_HLEN
from ..io.checksum cimport fold, sum_length, sum_pseudo6, sum_words
from ..io.own cimport OWN_QUEUE, OwnHeader, punt
from ..l3.answer cimport complain, reset
from ..l3.hop cimport untag
from .rule cimport QUEUE_BYPASS, TABLES, Target
from .walk cimport VERDICT_ACCEPT, VERDICT_DROP, VERDICT_QUEUE, VERDICT_REJECT

cdef enum:
    PROTO_DCCP = 33


cdef uint8_t refuse(Context *ctx, Frame *frame, Packet *packet, uint8_t verdict, uint32_t table, uint32_t hook, uint16_t arg,
                    const Target *target) noexcept nogil:
    if verdict == VERDICT_ACCEPT:
        return PENDING
    if verdict == VERDICT_QUEUE:
        return queue(ctx, frame, packet, table, hook, arg, target)
    if verdict == VERDICT_REJECT:
        if arg == 0:
            reset(ctx, frame, packet)
        elif sum_right(frame, packet):
            complain(ctx, frame, packet, <uint8_t>(arg >> 8), <uint8_t>arg, 0)
        return RULE_REJECT
    return <uint8_t>(RULE_RAW + table)

cdef bint sum_right(const Frame *frame, const Packet *packet) noexcept nogil:
    """Whether the payload is what was sent, so that the sender can be told (nf_reject_verify_csum). As the kernel has it, a
    protocol that it does not know is taken for one with a checksum over all of its payload."""
    cdef uint8_t proto = packet.tuple.proto
    cdef uint64_t total
    if packet.flags & PACKET_BAD_CHECKSUM:
        return False
    if proto in (PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, PROTO_ICMP, PROTO_ICMPV6, PROTO_SCTP, PROTO_GRE, PROTO_AH, PROTO_ESP,
                 PROTO_DCCP) or packet.l4 == NULL or frame.needs & OFFLOAD_CSUM:
        return True
    total = sum_words(packet.l4, packet.l4_length)
    if packet.family == 6:
        total += sum_length(packet.l4_length) + sum_pseudo6(packet.l3, proto)
    return fold(total) == 0xffff

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
