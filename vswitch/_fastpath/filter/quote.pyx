"""Translation of ICMP errors: of the packet that they quote, then of themselves (nf_nat_icmp_reply_translation).

An error travels against the packet it quotes. Where the destination of a packet in its direction is put right, so is
the quote's source, which is the same end of the connection, and the other way round. The quoting packet's own source
becomes the connection's end, whoever along the way wrote it: as in the kernel, a translated network's routers stay
hidden.

A quote is often cut off after 8 bytes of layer 4: the ports are there, TCP's checksum is not; what is there is put
right. Lengths are checked here, for a quote is not what `dissect` looked at. The quote must hold what the
connection's packets held at that place, else it belongs to another connection (the entry was reused meanwhile).
Redirects never make sense on the other side of a translation and are refused, at the first hook, whichever end is due.

Out of line, for it is rare. Thread safety: as in rewrite.pxd.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from ..core.frame cimport Frame
from ..core.ip cimport (
    IPV4_HLEN, IPV6_HLEN, PROTO_AH, PROTO_DSTOPTS, PROTO_FRAGMENT, PROTO_HOPOPTS, PROTO_ICMP, PROTO_ROUTING, PROTO_TCP,
    PROTO_SCTP, PROTO_UDP, PROTO_UDPLITE, Ip, ip4_at, ip6_at, ip_equal, ip_store,
)
from ..core.native cimport load16, load16be, store16
from ..core.packet cimport PACKET_LOCAL, Packet, Tuple
from ..core.verdict cimport NAT_MALFORMED
from ..io.checksum cimport adjust, delta16, nonzero
from .conntrack cimport IPS_DST_NAT, IPS_DST_NAT_DONE, IPS_SRC_NAT, IPS_SRC_NAT_DONE, CtEntry, ct_tuple
from .rewrite cimport (
    ICMP_CHECKSUM_AT, ICMP_ID_AT, IPV4_CHECKSUM, NAT_DST, NAT_SRC, TCP_CHECKSUM_AT, UDP_CHECKSUM_AT, NatEnd, NatManip,
    icmp_has_id, ip_delta, nat_inverse, proto_is_icmp, rewrite_address, still_same, update_icmp,
)

cdef enum:
    ICMP_HLEN = 8
    QUOTED_L4 = 8                       # bytes of layer 4 that every quote must have (RFC 792)
    ICMP4_REDIRECT = 5
    ICMP6_REDIRECT = 137
    FRAGMENT_OFFSET = 0x1fff            # IPv4's, in units of 8 bytes
    FRAGMENT6_OFFSET = 0xfff8

cdef struct Quote:
    uint8_t *ip
    uint8_t *l4
    uint32_t l4_length                  # quoted bytes from l4 on, at least QUOTED_L4
    uint8_t proto
    bint is_v4
    NatManip manip                      # which of its ends is translated

cdef uint8_t quote_rewrite(const CtEntry *entry, Packet *packet, Frame *frame, int manip, int direction) noexcept nogil:
    """0, or NAT_MALFORMED with nothing changed, for an entry that is translated at all. manip: of the outer packet."""
    cdef NatManip outer = <NatManip>manip
    cdef Tuple here = ct_tuple(entry, direction)[0]
    cdef NatEnd end = nat_inverse(ct_tuple(entry, 1 - direction), outer)
    cdef Quote quote
    cdef uint32_t addresses
    if is_redirect(packet):
        return NAT_MALFORMED
    if not entry.status & (IPS_SRC_NAT if manip == direction else IPS_DST_NAT):
        return 0
    quote.manip = NAT_DST if outer == NAT_SRC else NAT_SRC
    if not still_same(entry, &here, direction) or not quote_parse(&quote, packet) or not belongs(packet, &quote, &here):
        return NAT_MALFORMED
    addresses = ip_delta(&packet.src if outer == NAT_SRC else &packet.dst, &end.ip, packet.family == 4)
    update_icmp(packet, frame, quote_translate(&quote, &end), addresses)
    rewrite_address(packet, outer, &end.ip, addresses)
    return 0

cdef uint8_t quote_unbound(const CtEntry *entry, const Packet *packet) noexcept nogil:
    """The same for an entry that is not translated. Has NAT not settled both of its ends, it may yet be: no redirect then.
    (Such is one that an answer to an answer has confirmed: no packet of its own has come as far.)"""
    if entry.status & IPS_SRC_NAT_DONE and entry.status & IPS_DST_NAT_DONE:
        return 0
    return NAT_MALFORMED if proto_is_icmp(packet.tuple.proto) and is_redirect(packet) else 0

cdef inline bint is_redirect(const Packet *packet) noexcept nogil:
    return packet.l4[0] == (ICMP4_REDIRECT if packet.family == 4 else ICMP6_REDIRECT)


cdef inline bint quote_parse(Quote *quote, const Packet *packet) noexcept nogil:
    """Find the quoted packet's headers; false: cut off, or no first fragment."""
    if packet.l4 == NULL or packet.l4_length < ICMP_HLEN + IPV4_HLEN:
        return False
    quote.ip = packet.l4 + ICMP_HLEN
    quote.is_v4 = packet.family == 4
    if quote.ip[0] >> 4 != packet.family:
        return False
    if quote.is_v4:
        return quote_parse4(quote, packet.l4_length - ICMP_HLEN)
    return quote_parse6(quote, packet.l4_length - ICMP_HLEN)

cdef inline bint quote_parse4(Quote *quote, uint32_t room) noexcept nogil:
    cdef uint32_t header = (quote.ip[0] & 15) * 4
    if header < IPV4_HLEN or room < header + quoted_least(quote.ip[9]):
        return False
    quote.l4 = quote.ip + header
    quote.l4_length = room - header
    quote.proto = quote.ip[9]
    return not load16be(quote.ip + 6) & FRAGMENT_OFFSET

cdef inline bint quote_parse6(Quote *quote, uint32_t room) noexcept nogil:
    """Every step moves on by 8 bytes or more, and never so far that the next header's 8 are not there."""
    cdef uint32_t at = IPV6_HLEN, size
    if room < IPV6_HLEN:
        return False
    quote.proto = quote.ip[6]
    while is_extension(quote.proto):
        if room < at + 8:
            return False
        size = (<uint32_t>quote.ip[at + 1] + 1) * 8
        if quote.proto == PROTO_FRAGMENT:
            size = 8
            if load16be(quote.ip + at + 2) & FRAGMENT6_OFFSET:
                return False
        elif quote.proto == PROTO_AH:
            size = (<uint32_t>quote.ip[at + 1] + 2) * 4
        quote.proto = quote.ip[at]
        at += size
    if room < at + quoted_least(quote.proto):
        return False
    quote.l4 = quote.ip + at
    quote.l4_length = room - at
    return True

cdef inline uint32_t quoted_least(uint8_t proto) noexcept nogil:
    """How much of layer 4 there must be: where it has ports, as much as every quote has."""
    if proto == PROTO_TCP or proto == PROTO_UDP or proto == PROTO_UDPLITE or proto == PROTO_SCTP or proto_is_icmp(proto):
        return QUOTED_L4
    return 0

cdef inline bint is_extension(uint8_t proto) noexcept nogil:
    return proto == PROTO_HOPOPTS or proto == PROTO_ROUTING or proto == PROTO_FRAGMENT or (
        proto == PROTO_DSTOPTS or proto == PROTO_AH)


cdef inline uint8_t *quote_address(const Quote *quote) noexcept nogil:
    """Where the quote's end to be translated has its address."""
    if quote.is_v4:
        return quote.ip + (12 if quote.manip == NAT_SRC else 16)
    return quote.ip + (8 if quote.manip == NAT_SRC else 24)

cdef inline uint8_t *quote_port(const Quote *quote) noexcept nogil:
    """Where it has its port or identifier; NULL: nowhere."""
    if proto_is_icmp(quote.proto):
        return quote.l4 + ICMP_ID_AT if icmp_has_id(quote.proto, quote.l4[0]) else NULL
    if quote.proto == PROTO_TCP or quote.proto == PROTO_UDP or quote.proto == PROTO_UDPLITE:
        return quote.l4 if quote.manip == NAT_SRC else quote.l4 + 2
    return NULL

cdef inline uint8_t *quote_check(const Quote *quote) noexcept nogil:
    """Where its layer 4 has its checksum; NULL: it has none, or it was not quoted."""
    if quote.proto == PROTO_TCP:
        return quote.l4 + TCP_CHECKSUM_AT if quote.l4_length >= TCP_CHECKSUM_AT + 2 else NULL
    if proto_is_icmp(quote.proto):
        return quote.l4 + ICMP_CHECKSUM_AT
    if quote.proto == PROTO_UDPLITE or (quote.proto == PROTO_UDP and load16(quote.l4 + UDP_CHECKSUM_AT)):
        return quote.l4 + UDP_CHECKSUM_AT
    return NULL

cdef inline bint belongs(const Packet *packet, const Quote *quote, const Tuple *here) noexcept nogil:
    """What the router itself quotes was on its way between two hooks: translated at one end, or at neither."""
    if packet.flags & PACKET_LOCAL:
        return quote.proto == here.proto
    return quote_belongs(quote, here)

cdef inline Ip quoted_ip(const Quote *quote) noexcept nogil:
    return ip4_at(quote_address(quote)) if quote.is_v4 else ip6_at(quote_address(quote))

cdef inline bint quote_belongs(const Quote *quote, const Tuple *here) noexcept nogil:
    """Whether the quote is what the inverse of `here` looks like, at the end to be translated."""
    cdef NatEnd end = nat_inverse(here, quote.manip)
    cdef Ip now = quoted_ip(quote)
    cdef const uint8_t *port = quote_port(quote)
    return quote.proto == here.proto and ip_equal(&now, &end.ip) and (
        port == NULL or proto_is_icmp(quote.proto) or load16(port) == end.port)     # one identifier is both ends'

cdef inline uint32_t quote_translate(Quote *quote, const NatEnd *to) noexcept nogil:
    """Write the quote's new end and put its checksums right; the difference that all of it makes to the outer checksum.

    All fields lie at even offsets, so their differences simply add up.
    """
    cdef Ip now = quoted_ip(quote)
    cdef uint32_t addresses = ip_delta(&now, &to.ip, quote.is_v4)
    cdef uint32_t port = 0, total = addresses
    cdef uint8_t *at = quote_port(quote)
    if at != NULL:
        port = delta16(load16(at), to.port)
        store16(at, to.port)
    ip_store(quote_address(quote), &to.ip, quote.is_v4)
    total += port + quote_layer4(quote, port, addresses)
    if quote.is_v4:
        total += replace_check(quote.ip + IPV4_CHECKSUM, adjust(load16(quote.ip + IPV4_CHECKSUM), addresses))
    return total

cdef inline uint32_t quote_layer4(Quote *quote, uint32_t port, uint32_t addresses) noexcept nogil:
    """Put the quote's layer 4 checksum right; the difference that this makes."""
    cdef uint8_t *at = quote_check(quote)
    cdef uint16_t check
    if at == NULL:
        return 0
    if quote.proto == PROTO_ICMP:
        addresses = 0
    check = adjust(load16(at), port + addresses)
    if quote.proto == PROTO_UDP or quote.proto == PROTO_UDPLITE:
        check = nonzero(check)
    return replace_check(at, check)

cdef inline uint32_t replace_check(uint8_t *at, uint16_t check) noexcept nogil:
    cdef uint32_t delta = delta16(load16(at), check)
    store16(at, check)
    return delta
