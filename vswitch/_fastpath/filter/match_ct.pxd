"""What rules ask of a packet's connection: conntrack, state, connmark.

All fields of one `-m conntrack` hold together. A packet without a connection answers none of them but --ctstate, and
where a match has that one, the kernel looks at no other field: LENIENT.

An entry may be changing under another worker's hands, so status and mark are the walk's own copies, taken when its key
was: what a path says must follow from its key.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport ip_within
from ..core.packet cimport CT_ESTABLISHED, CT_NEW, CT_RELATED, CT_REPLY, CT_UNTRACKED, Tuple
from .conntrack cimport CtEntry, IPS_DST_NAT, IPS_DST_NAT_DONE, IPS_SRC_NAT, IPS_SRC_NAT_DONE
from .rule cimport *
from .walk cimport *

cdef enum:
    NEVER = 2                           # match.pxd's Answer
    ALWAYS = 3

cdef extern from *:
    uint16_t bswap16 "__builtin_bswap16"(uint16_t v) noexcept nogil

cdef inline uint32_t match_connection(Walk *walk, const Match *m) noexcept nogil:
    cdef CtEntry *entry = walk.entry
    if m.op == MATCH_CTSTATE:
        return match_ctstate(walk, m)
    if entry == NULL:
        return ALWAYS if m.invert & MATCH_LENIENT else NEVER
    if m.op == MATCH_CONNMARK:
        walk.mask[KEY_MARK] |= <uint64_t>m.mask << 32
        return walk.connmark & m.mask == m.value
    if m.op == MATCH_CTPROTO:
        return entry.original.proto == m.value
    if m.op == MATCH_CTDIR:
        return (walk.packet.ct_info & CT_REPLY != 0) == m.value
    if m.op == MATCH_CTSTATUS:
        walk.mask[KEY_STATUS] |= m.value
        return match_ctstatus(<uint32_t>walk.key[KEY_STATUS], m.value)
    if m.op == MATCH_CTEXPIRE:
        return match_ctexpire(walk, m)
    return match_cttuple(walk, m)

cdef inline uint32_t match_ctstate(Walk *walk, const Match *m) noexcept nogil:
    cdef uint32_t state = ctstate(walk.packet.ct_info, walk.entry != NULL)
    if walk.zones and walk.entry == NULL and not walk.packet.ct_info:
        state = CTSTATE_NEW             # in table raw, once a rule has chosen a zone: the kernel sees its template
    if m.value & (CTSTATE_SNAT | CTSTATE_DNAT) and walk.entry != NULL:
        walk.mask[KEY_STATUS] |= IPS_SRC_NAT | IPS_DST_NAT
        if walk.key[KEY_STATUS] & IPS_SRC_NAT:
            state |= CTSTATE_SNAT
        if walk.key[KEY_STATUS] & IPS_DST_NAT:
            state |= CTSTATE_DNAT
    return state & m.value != 0

cdef inline uint32_t ctstate(uint8_t ct_info, bint tracked) noexcept nogil:
    """Before conntrack has looked at a packet, in table raw, it is INVALID."""
    if not tracked:
        return CTSTATE_UNTRACKED if ct_info & CT_UNTRACKED else CTSTATE_INVALID
    if ct_info & CT_ESTABLISHED:
        return CTSTATE_ESTABLISHED
    if ct_info & CT_RELATED:
        return CTSTATE_RELATED
    return CTSTATE_NEW if ct_info & CT_NEW else CTSTATE_INVALID

cdef inline uint32_t match_ctstatus(uint32_t status, uint32_t asked) noexcept nogil:
    return status & asked != 0

cdef inline uint32_t match_ctexpire(Walk *walk, const Match *m) noexcept nogil:
    """The seconds that the connection has left: another number with each packet."""
    cdef int32_t left = <int32_t>(walk.entry.expires_s - <uint32_t>(walk.now_ns // 1000000000ULL))
    walk.uncacheable = True
    if left < 0:
        left = 0
    return m.value <= <uint32_t>left and <uint32_t>left <= m.mask

cdef inline uint32_t match_cttuple(Walk *walk, const Match *m) noexcept nogil:
    """An address or a port of either tuple. NAT may still change that of the reply, and says so in the status."""
    cdef const Tuple *original = &walk.entry.original
    cdef const Tuple *reply = &walk.entry.reply
    if m.op == MATCH_CTORIGSRC:
        return ip_within(&original.src, &m.ip, &m.ip_mask)
    if m.op == MATCH_CTORIGDST:
        return ip_within(&original.dst, &m.ip, &m.ip_mask)
    if m.op == MATCH_CTORIGSRCPORT:
        return match_port(original.sport, m)
    if m.op == MATCH_CTORIGDSTPORT:
        return match_port(original.dport, m)
    walk.mask[KEY_STATUS] |= IPS_SRC_NAT | IPS_DST_NAT | IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE
    if m.op == MATCH_CTREPLSRC:
        return ip_within(&reply.src, &m.ip, &m.ip_mask)
    if m.op == MATCH_CTREPLDST:
        return ip_within(&reply.dst, &m.ip, &m.ip_mask)
    return match_port(reply.sport if m.op == MATCH_CTREPLSRCPORT else reply.dport, m)

cdef inline uint32_t match_port(uint16_t port, const Match *m) noexcept nogil:
    return m.value <= bswap16(port) and bswap16(port) <= m.mask
