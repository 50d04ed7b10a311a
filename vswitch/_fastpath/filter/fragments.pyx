"""See fragments.pxd."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from ..core.context cimport Context, Extra
from ..core.extra cimport extra_add, extra_room
from ..core.frame cimport ENTRY_HOOKS, Frame
from ..core.native cimport store16be
from ..core.packet cimport Packet
from ..core.verdict cimport *
from ..core.wire cimport ETH_HLEN, ETH_MACS
from ..l3.reassemble cimport GATHER_DROP, GATHER_HELD, Gathered, Slot, copy_whole, gather, release

cdef uint8_t hold_fragment(Context *ctx, Frame *frame, const Packet *packet) noexcept nogil:
    cdef Slot *slot = NULL
    cdef uint8_t verdict = PENDING
    cdef Gathered gathered = gather(ctx.fragments, ctx.counters, packet, ctx.now_s, &slot, &verdict)
    if gathered == GATHER_HELD:
        return DONE
    if gathered == GATHER_DROP:
        return verdict
    return go_on(ctx, frame, packet, slot)

cdef uint8_t go_on(Context *ctx, const Frame *frame, const Packet *packet, Slot *slot) noexcept nogil:
    """The whole packet takes the place of the fragment that completed it, in the books too."""
    cdef uint8_t *data = extra_room(ctx)
    cdef uint32_t length = copy_whole(slot, data + ETH_HLEN) if data != NULL else 0
    cdef uint16_t largest = slot.largest
    cdef Extra *extra
    release(ctx.fragments, ctx.counters, slot)
    if not length:
        return GENERATED_FULL if data == NULL else FRAGMENT_MALFORMED
    memcpy(data, frame.data, ETH_MACS)
    store16be(data + ETH_MACS, 0x0800 if packet.family == 4 else 0x86dd)
    extra = extra_add(ctx, ETH_HLEN + length, packet.in_port, ENTRY_HOOKS, packet.in_dev)
    extra.vid = frame.vid
    extra.largest = largest
    return DONE
