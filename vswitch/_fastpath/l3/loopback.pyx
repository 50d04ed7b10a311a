"""See loopback.pxd. A unit of its own: answers to what source NAT made look like ours, before NAT has undone it, are all
that ever comes here."""
from libc.stdint cimport uint8_t

from ..core.context cimport Context
from ..core.frame cimport Frame
from ..core.ip cimport Ip, ip_equal
from ..core.packet cimport CT_NONE, CT_UNTRACKED, NO_DEVICE, NO_ENTRY, NO_PORT, Packet
from ..core.verdict cimport IP_SOURCE
from ..filter.conntrack cimport ct_hash
from ..filter.hooks cimport hook_input, hook_output_filter, hook_output_mangle, hook_postrouting, hook_prerouting
from .answer cimport serve_packet

cdef void begin_anew(Context *ctx, Packet *packet, const Device *device) noexcept nogil:
    """It had no connection as it left; as it comes in, in the zone that it comes to, it may have one."""
    packet.ct_info = CT_NONE
    packet.zone = packet.zone_reply = packet.tuple.zone = device.zone
    packet.hash = ct_hash(ctx.ct, &packet.tuple)

cdef uint8_t loop_back(Context *ctx, Frame *frame, Packet *packet, const Device *device) noexcept nogil:
    cdef Ip before
    cdef uint8_t verdict = hook_output_filter(ctx, frame, packet)
    packet.out_dev = NO_DEVICE
    packet.out_port = NO_PORT
    if not verdict:
        verdict = hook_output_mangle(ctx, frame, packet)
    if not verdict:
        verdict = hook_postrouting(ctx, frame, packet)
    before = packet.dst
    if packet.ct == NO_ENTRY and packet.ct_info != CT_UNTRACKED:
        begin_anew(ctx, packet, device)
    if not verdict:
        verdict = hook_prerouting(ctx, frame, packet)
    if verdict:
        return verdict
    if not ip_equal(&before, &packet.dst):
        return IP_SOURCE if packet.family == 4 else 0   # our own source: IPv4 takes it for stolen, as in the kernel
    verdict = hook_input(ctx, frame, packet)
    return verdict if verdict else serve_packet(ctx, frame, packet)
