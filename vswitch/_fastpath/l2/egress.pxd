"""Egress: give a frame the form that a port wants it in, and queue it there.

It leaves as it lies in the burst's memory where it can. Where the port wants a tag that it lacks, or lacks the tag that it
has, a header block (virtio-net header, MACs, tag) goes in front of the shared rest.
"""
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from ..core.context cimport Context
from ..core.frame cimport FRAME_CUT, FRAME_TAGGED, VNET_LEN, Frame
from ..core.native cimport store16be
from ..core.snapshot cimport Port
from ..core.tx cimport TxEntry
from ..core.wire cimport ETH_HLEN, ETH_MACS, ETH_P_8021Q, VLAN_HLEN
from ..io.queue cimport next_entry, send
from ..io.segment cimport bounce, complete, finish
from ..io.vnet cimport VnetHdr, vnet_shift
from ..l3.fragment cimport fragment
from .vlan cimport leaves_tagged

cdef inline void enqueue(Context *ctx, const Port *port, const Frame *frame) noexcept nogil:
    """One copy of the frame for the port. The frame's memory must stay as it is until transmit."""
    cdef TxEntry entry
    cdef TxEntry *next
    cdef bint tagged = leaves_tagged(port, frame)
    if frame.flags & FRAME_CUT:
        name_fragments(ctx, port, frame, tagged)
        form(&entry, frame, tagged)
        cut_up(ctx, port, &entry, ETH_HLEN + VLAN_HLEN * tagged, frame.cut if frame.cut < port.mtu else port.mtu)
    elif frame.needs & ~port.offloads and port.tree == NULL:
        form(&entry, frame, tagged)
        finish(ctx, port, &entry, ETH_HLEN + VLAN_HLEN * tagged)
    else:
        next = next_entry(ctx, port)
        form(next, frame, tagged)
        if port.tree != NULL:           # its disciplines look at the frame; what the port cannot do is done when it leaves
            next.frame = <uint8_t>(frame - ctx.burst.frames)
            next.l2_len = <uint8_t>(ETH_HLEN + VLAN_HLEN * tagged)
            next.needs = frame.needs

cdef inline void name_fragments(Context *ctx, const Port *port, const Frame *frame, bint tagged) noexcept nogil:
    """Whose fragments those are that will be put for the port."""
    ctx.io[port.id].frame = <uint8_t>(frame - ctx.burst.frames)
    ctx.io[port.id].l2_len = <uint8_t>(ETH_HLEN + VLAN_HLEN * tagged)

cdef inline void cut_up(Context *ctx, const Port *port, const TxEntry *entry, uint32_t l2_len, uint32_t size) noexcept nogil:
    """Send the frame of `entry` as IP fragments of at most `size` bytes; what checksum was open is complete then."""
    cdef uint8_t *data = bounce(ctx, entry)
    complete(data, entry.head_len + entry.body_len - VNET_LEN)
    send(ctx, port, &ctx.io[port.id])
    fragment(ctx, port, &ctx.io[port.id], data, l2_len, size, entry.counted)

cdef inline void form(TxEntry *entry, const Frame *frame, bint tagged) noexcept nogil:
    entry.held = 0
    if tagged == <bint>(frame.flags & FRAME_TAGGED):
        entry.head = frame.data - VNET_LEN
        entry.head_len = VNET_LEN + frame.len
        entry.body_len = 0
        entry.counted = frame.len
        return
    memcpy(entry.block, frame.data - VNET_LEN, VNET_LEN + ETH_MACS)
    entry.head = entry.block
    if tagged:
        push_tag(entry, frame)
    else:
        pop_tag(entry, frame)
    entry.counted = entry.head_len + entry.body_len - VNET_LEN

cdef inline void push_tag(TxEntry *entry, const Frame *frame) noexcept nogil:
    store16be(entry.block + VNET_LEN + ETH_MACS, ETH_P_8021Q)
    store16be(entry.block + VNET_LEN + ETH_MACS + 2, frame.priority | frame.vid)
    entry.head_len = VNET_LEN + ETH_MACS + VLAN_HLEN
    entry.body = frame.data + ETH_MACS
    entry.body_len = frame.len - ETH_MACS
    if frame.needs:
        vnet_shift(<VnetHdr *>entry.block, VLAN_HLEN)

cdef inline void pop_tag(TxEntry *entry, const Frame *frame) noexcept nogil:
    entry.head_len = VNET_LEN + ETH_MACS
    entry.body = frame.data + ETH_MACS + VLAN_HLEN
    entry.body_len = frame.len - ETH_MACS - VLAN_HLEN
    if frame.needs:
        vnet_shift(<VnetHdr *>entry.block, -VLAN_HLEN)
