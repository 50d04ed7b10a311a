"""See refuse.pxd. What QUEUE means is said in vswitch/filter/queue.py, whose other end this is."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from ..core.context cimport Context
from ..core.frame cimport FRAME_FLOOD, FRAME_HAS_TAG, Frame
from ..core.ip cimport (
    PROTO_AH, PROTO_ESP, PROTO_GRE, PROTO_ICMP, PROTO_ICMPV6, PROTO_SCTP, PROTO_TCP, PROTO_UDP, PROTO_UDPLITE,
)
from ..core.native cimport count, spin_lock, spin_unlock
from ..core.packet cimport CT_RELATED, CT_REPLY, NO_ENTRY, PACKET_BAD_CHECKSUM, PACKET_LOCAL, Packet
from ..core.snapshot cimport OFFLOAD_CSUM
from ..core.verdict cimport *
from ..io.checksum cimport fold, sum_length, sum_pseudo6, sum_words
from ..io.own cimport OWN_QUEUE, OwnHeader, punt
from ..l3.answer cimport complain, reset
from ..l3.hop cimport untag
from .confirm cimport ct_attach, ct_detach
from .conntrack cimport CT_CONFIRMED, Conntrack, CtEntry, ct_lock, ct_same, ct_tuple
from .rule cimport HOOK_OUTPUT, QUEUE_BYPASS, Target, place
from .states cimport TCP_CLOSE
from .walk cimport VERDICT_ACCEPT, VERDICT_QUEUE, VERDICT_REJECT

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
            if reset(ctx, frame, packet):
                close_connection(ctx.ct, packet, ctx.now_s)
        elif may_complain(packet, hook) and sum_right(frame, packet):
            complain(ctx, frame, packet, <uint8_t>(arg >> 8), <uint8_t>arg, 0)
        return RULE_REJECT
    return <uint8_t>(RULE_RAW + table)

cdef void close_connection(Conntrack *ct, const Packet *packet, uint32_t now_s) noexcept nogil:
    """A reset has been said in the other end's name: the connection is over (nf_ct_set_closing)."""
    cdef CtEntry *entry = &ct.entry[packet.ct]
    if packet.ct == NO_ENTRY or packet.tuple.proto != PROTO_TCP:
        return
    spin_lock(ct_lock(ct, packet.ct))
    if entry.use == CT_CONFIRMED and ct_same(ct_tuple(entry, packet.ct_info & CT_REPLY), &packet.tuple):
        entry.state = TCP_CLOSE
        entry.expires_s = now_s + ct.shared.settings.tcp[TCP_CLOSE]
    spin_unlock(ct_lock(ct, packet.ct))

cdef inline bint may_complain(const Packet *packet, uint32_t hook) noexcept nogil:
    """Of its own ICMP the switch tells nobody but the books. (The kernel cannot: its ICMP socket is busy sending it.)"""
    return hook != HOOK_OUTPUT or packet.tuple.proto not in (PROTO_ICMP, PROTO_ICMPV6)

cdef bint sum_right(const Frame *frame, const Packet *packet) noexcept nogil:
    """Whether the payload is what was sent, so that the sender can be told (nf_reject_verify_csum). As the kernel has it,
    a protocol that it does not know is taken for one with a checksum over all of its payload. Zeros alone have a right
    one in IPv4."""
    cdef uint8_t proto = packet.tuple.proto
    cdef uint64_t total
    if packet.flags & PACKET_BAD_CHECKSUM or (
            packet.l4_length < 8 and proto in (PROTO_TCP, PROTO_UDP, PROTO_ICMP, PROTO_ICMPV6)):
        return False
    if proto in (PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, PROTO_ICMP, PROTO_ICMPV6, PROTO_SCTP, PROTO_GRE, PROTO_AH, PROTO_ESP,
                 PROTO_DCCP) or packet.l4 == NULL or frame.needs & OFFLOAD_CSUM:
        return True
    total = sum_words(packet.l4, packet.l4_length)
    if packet.family == 6:
        total += sum_length(packet.l4_length) + sum_pseudo6(packet.l3, proto)
    return total == 0 or fold(total) == 0xffff

cdef uint8_t queue(Context *ctx, Frame *frame, Packet *packet, uint32_t table, uint32_t hook, uint16_t number,
                   const Target *target) noexcept nogil:
    """Hand the packet to the process that listens on the queue, if there is one; it comes back by `come_back`.

    Of a flooded frame every copy is queued by itself, and knows its port: the frame itself stays as it is."""
    cdef bint bypass = target != NULL and target.mode & QUEUE_BYPASS
    cdef bint copy = frame.flags & FRAME_FLOOD != 0
    cdef bint answer = packet.flags & PACKET_LOCAL and packet.ct_info & CT_RELATED
    cdef bint held = packet.ct != NO_ENTRY and (copy or answer)     # here it lets go of its connection: `forget`
    cdef Frame away = frame[0]
    cdef OwnHeader header
    if ctx.queues == NULL or not (ctx.queues[number >> 6] >> (number & 63)) & 1:
        return PENDING if bypass else QUEUE_UNATTENDED
    if held:
        ct_attach(ctx.ct, packet)
    untag(&away)
    describe(ctx, &header, frame, packet)
    header.resume = place(table, hook) + 1
    header.queue = number
    header.bypass = bypass
    if not punt(ctx, away.data, away.len, &header):
        if held:
            ct_detach(ctx.ct, packet.ct, header.serial)
        return QUEUE_FULL
    count(&ctx.origin.queued, 1)
    if not copy:
        packet.ct = NO_ENTRY            # the control side answers for it now
    return DONE

cdef void describe(Context *ctx, OwnHeader *header, const Frame *frame, const Packet *packet) noexcept nogil:
    """All that is not in the frame. A packet of the switch's own belongs to the device that it concerns."""
    memset(header, 0, sizeof(OwnHeader))
    header.kind = OWN_QUEUE
    header.device = ctx.came_back.device if packet.flags & PACKET_LOCAL else packet.in_dev
    header.vid = frame.vid
    header.port = packet.in_port
    header.out = packet.out_port
    header.out_dev = packet.out_dev
    header.tci = frame.priority | (frame.flags & FRAME_HAS_TAG != 0)
    header.largest = packet.largest
    header.mark = packet.mark
    header.zone = packet.zone
    header.zone_reply = packet.zone_reply
    header.ct = packet.ct
    header.serial = ctx.ct.entry[packet.ct].serial if packet.ct != NO_ENTRY else 0
    header.ct_info = packet.ct_info
    header.flags = packet.flags
