"""Network address translation: what a connection is bound to, and what that means for its packets.

    nat_setup, nat_setup_to, nat_null   the first packet, at each of the two hooks it passes: choose the reply tuple
    nat_rewrite                         every packet, at both hooks: write what the tuples ask for
    nat_confirm                         the first packet, at its last hook: enter the connection, or choose again

The reply tuple is the binding, and the index of connections is what makes it unique: there is no second table. A port
is free if nobody is found under the reply tuple that it would make. Two workers may find the same port free at once;
then `ct_confirm` finds the clash, and the later one chooses again and rewrites its packet again, once (nat_confirm).
Where no rule matched nothing is looked up at all: whether the mirrored tuple is another's (of a translated
connection, say) shows when the connection is confirmed, and only then is it given another source port, as by the
kernel's null binding.

A connection is translated when its two tuples are no mirror images, and they say all: a packet must leave looking
like the inverse of what the other direction's packets look like when they arrive. PREROUTING and OUTPUT put the
destination right, INPUT and POSTROUTING the source; a status bit tells whether there is anything to do, with the
roles of SNAT and DNAT swapped for packets in reply direction.

Thread safety: `Nat` is one worker's; counters may be read by others. An unconfirmed entry is its worker's. A
confirmed one may be deleted, and be another connection's, at any time: nat_rewrite copies first, without the lock,
and then looks whether the entry still is the packet's. A reused entry is emptied, as free, before anything new is
written to it (ct_take).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.frame cimport Frame
from ..core.ip cimport Ip, ip_equal
from ..core.packet cimport CT_RELATED, CT_REPLY, Packet
from ..core.verdict cimport CONNTRACK_CLASH, NAT_MALFORMED
from .confirm cimport ct_confirm
from .conntrack cimport (
    CT_ORIGINAL, CT_REPLY_DIR, IPS_DST_NAT, IPS_DST_NAT_DONE, IPS_SRC_NAT, IPS_SRC_NAT_DONE, Conntrack, CtEntry,
    ct_tuple,
)
from .natport cimport NatPorts
from .natrange cimport NatRange
from .quote cimport quote_rewrite
from .rewrite cimport NAT_DST, NAT_SRC, NatEnd, NatManip, nat_inverse, proto_is_icmp, rewrite_packet, still_same
from .rule cimport HOOK_INPUT, HOOK_POSTROUTING

cdef enum:
    NAT_NO_DEVICE = 0xffff
    NAT_CHOICES = 64                    # as many as a burst may have unconfirmed connections

cdef struct NatChoice:                  # the ports that an unconfirmed entry may choose from, should it have to again
    uint32_t index
    uint32_t serial
    uint16_t min_port
    uint16_t max_port

cdef struct Nat:                        # one worker's
    NatPorts ports
    uint64_t exhausted                  # connections that found no free port
    uint64_t retried                    # clashes when confirming that a second choice was made for
    uint64_t moved                      # connections given another source port though no rule asked for it
    NatChoice choice[NAT_CHOICES]

cdef void nat_init(Nat *nat, uint64_t seed) noexcept nogil
cdef uint8_t nat_setup(Conntrack *ct, Nat *nat, const Packet *packet, const NatRange *rule,
                       uint32_t now_s) noexcept nogil
cdef uint8_t nat_setup_to(Conntrack *ct, Nat *nat, const Packet *packet, const NatRange *rule, const Ip *address,
                          uint16_t device, uint32_t now_s) noexcept nogil
cdef uint8_t nat_reallocate(Conntrack *ct, Nat *nat, const Packet *packet, uint32_t now_s) noexcept nogil
cdef uint8_t nat_retry(Conntrack *ct, Nat *nat, Packet *packet, Frame *frame, uint32_t now_s) noexcept nogil


cdef inline NatManip nat_manip(int hook) noexcept nogil:
    return NAT_SRC if hook == HOOK_POSTROUTING or hook == HOOK_INPUT else NAT_DST

cdef inline bint nat_done(const CtEntry *entry, NatManip manip) noexcept nogil:
    """Whether this half is bound, so that no rules need be walked."""
    return entry.status & (IPS_SRC_NAT_DONE if manip == NAT_SRC else IPS_DST_NAT_DONE)

cdef inline void nat_null(CtEntry *entry, NatManip manip) noexcept nogil:
    """No rule matched: bind the unconfirmed entry's half to what it is."""
    entry.status |= IPS_SRC_NAT_DONE if manip == NAT_SRC else IPS_DST_NAT_DONE


cdef inline uint32_t nat_bit(NatManip manip, int direction) noexcept nogil:
    """The status bit that asks for this half of the translation of a packet in that direction."""
    return IPS_SRC_NAT if <int>manip == direction else IPS_DST_NAT

cdef inline uint8_t nat_rewrite(const CtEntry *entry, Packet *packet, Frame *frame, int hook) noexcept nogil:
    """Do what the packet's entry asks for at this hook; 0, or the reason to drop the packet, then untouched."""
    cdef NatManip manip = nat_manip(hook)
    cdef int direction = CT_REPLY_DIR if packet.ct_info & CT_REPLY else CT_ORIGINAL
    cdef NatEnd end
    if packet.ct_info & CT_RELATED and proto_is_icmp(packet.tuple.proto):
        return quote_rewrite(entry, packet, frame, manip, direction) if entry.status & (IPS_SRC_NAT | IPS_DST_NAT) else 0
    if not entry.status & nat_bit(manip, direction):
        return 0
    end = nat_inverse(ct_tuple(entry, 1 - direction), manip)
    # An answer has its entry from the packet that it answers; the packet of a new one may change the tuple meanwhile.
    if not packet.ct_info & CT_RELATED and not still_same(entry, &packet.tuple, direction):
        return NAT_MALFORMED
    rewrite_packet(packet, frame, manip, &end)
    return 0

cdef inline uint8_t nat_confirm(Conntrack *ct, Nat *nat, Packet *packet, Frame *frame, uint32_t now_s) noexcept nogil:
    """ct_confirm for a packet that has passed its last hook, INPUT or POSTROUTING; 0, or the reason to drop it.

    Call ct_abandon then, as for every packet dropped."""
    cdef int reason = ct_confirm(ct, packet, now_s)
    if reason == CONNTRACK_CLASH:
        return nat_retry(ct, nat, packet, frame, now_s)
    return <uint8_t>reason


cdef inline bint nat_strayed(const CtEntry *entry, const Packet *packet, uint16_t device) noexcept nogil:
    """Whether a masqueraded connection's packet leaves by another device than the one whose address it borrowed.

    The route changed: drop the packet (NAT_STRAYED) and delete the connection, so that the next one begins anew.
    """
    return entry.masquerade_dev != NAT_NO_DEVICE and not packet.ct_info & CT_REPLY and entry.masquerade_dev != device

cdef inline bint nat_borrowed(const CtEntry *entry, uint16_t device, const Ip *address) noexcept nogil:
    """For the control side: whether the connection borrowed this address of the device; NULL: any of its addresses."""
    return (entry.masquerade_dev == device
            and (address == NULL or ip_equal(&entry.reply.dst, address)))
