"""Choosing what a new connection is bound to (get_unique_tuple of the kernel). See nat.pxd for the whole.

The address: the only one, the one of the range that source and destination hash to, or the network's with the host
part kept. The port: the packet's own while it may stay and nobody has it; else from the range, without a range from
the class that the kernel keeps ports in (below 512, below 1,024, above), where natport.pyx finds one. ICMP's
identifiers likewise. Where an address has none left for source translation, unlike in the kernel the range's next
ones serve.
"""
from socket import AF_INET, AF_INET6, inet_pton

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from ..core.frame cimport Frame
from ..core.ip cimport PROTO_UDP, PROTO_UDPLITE, Ip, ip4_at, ip6_at
from ..core.native cimport count, monotonic_ns, prefetch, spin_unlock
from ..core.packet cimport NO_ENTRY, Packet, Tuple
from ..core.verdict cimport CONNTRACK_CLASH, NAT_EXHAUSTED
from .confirm cimport ct_confirm
from .conntrack cimport (
    CT_CONFIRMED, CT_CONTROL, CT_ORIGINAL, CT_UNCONFIRMED, IPS_DST_NAT, IPS_SRC_NAT, IPS_SRC_NAT_DONE,
    ConnectionTable, Conntrack, CtEntry, ct_find_locked, ct_hash, ct_lock, ct_same,
)
from .entries cimport KILL_ANY, ct_kill
from .natport cimport nat_port, nat_taken
from .natrange cimport (
    NAT_MAP_IPS, NAT_NETMAP, NAT_PROTO_RANDOM, NAT_PROTO_SPECIFIED, NAT_RANDOM, NatRange, in_range, map_address,
    port_in_range, range_addresses,
)
from .rewrite cimport NAT_DST, NAT_SRC, NatManip
from .rule cimport HOOK_POSTROUTING

cdef enum:
    ADDRESSES = 16                      # of a range that are looked through before a connection is refused


cdef void nat_init(Nat *nat, uint64_t seed) noexcept nogil:
    """seed: another one for every worker."""
    memset(nat, 0, sizeof(Nat))
    nat.ports.random = seed

cdef uint8_t nat_setup(Conntrack *ct, Nat *nat, const Packet *packet, const NatRange *rule,
                       uint32_t now_s) noexcept nogil:
    """Bind the packet's unconfirmed connection as a rule says; 0 or NAT_EXHAUSTED. One that is bound already stays."""
    cdef CtEntry *entry = &ct.entry[packet.ct]
    cdef NatManip manip = <NatManip>rule.manip
    cdef Tuple reply = entry.reply
    if entry.use != CT_UNCONFIRMED or nat_done(entry, manip):
        return 0
    if not choose(ct, nat, entry, &reply, rule, now_s):
        count(&nat.exhausted, 1)
        return NAT_EXHAUSTED
    if manip == NAT_SRC:
        remember_choice(nat, packet.ct, entry.serial, rule)
    bind(entry, &reply, manip)
    return 0

cdef uint8_t nat_setup_to(Conntrack *ct, Nat *nat, const Packet *packet, const NatRange *rule, const Ip *address,
                          uint16_t device, uint32_t now_s) noexcept nogil:
    """MASQUERADE and REDIRECT: nat_setup with the rule's ports and flags and this address.

    device: the one that it is borrowed from (MASQUERADE), to which the connection is bound; NAT_NO_DEVICE: none.
    """
    cdef NatRange here = rule[0]
    cdef CtEntry *entry = &ct.entry[packet.ct]
    cdef bint bound = entry.use != CT_UNCONFIRMED or nat_done(entry, <NatManip>rule.manip)
    cdef uint8_t reason
    here.min_ip = address[0]
    here.max_ip = address[0]
    here.flags = (here.flags | NAT_MAP_IPS) & <uint8_t>~NAT_NETMAP
    reason = nat_setup(ct, nat, packet, &here, now_s)
    if not reason and not bound:
        entry.masquerade_dev = device
    return reason

cdef void bind(CtEntry *entry, const Tuple *reply, NatManip manip) noexcept nogil:
    if not ct_same(reply, &entry.reply):
        entry.reply = reply[0]
        entry.status |= IPS_SRC_NAT if manip == NAT_SRC else IPS_DST_NAT
    nat_null(entry, manip)

cdef void remember_choice(Nat *nat, uint32_t index, uint32_t serial, const NatRange *rule) noexcept nogil:
    """Where a range of ports was given, a second choice must keep to it."""
    cdef NatChoice *choice = &nat.choice[index % NAT_CHOICES]
    choice.index = index
    choice.serial = serial
    choice.min_port = rule.min_port if rule.flags & NAT_PROTO_SPECIFIED else 0
    choice.max_port = rule.max_port if rule.flags & NAT_PROTO_SPECIFIED else 0


# A second choice

cdef uint8_t nat_reallocate(Conntrack *ct, Nat *nat, const Packet *packet, uint32_t now_s) noexcept nogil:
    """Another source port for an unconfirmed connection whose reply tuple is taken; 0, or why there is none."""
    cdef CtEntry *entry = &ct.entry[packet.ct]
    cdef const NatChoice *choice = &nat.choice[packet.ct % NAT_CHOICES]
    cdef Tuple reply = entry.reply
    cdef NatRange again
    cdef bint known = choice.index == packet.ct and choice.serial == entry.serial
    if packet.ct == NO_ENTRY or not entry.status & IPS_SRC_NAT_DONE:
        return CONNTRACK_CLASH          # another has the original tuple; or NAT has no say in the connection
    if crosses(ct, entry, now_s):
        return CONNTRACK_CLASH
    memset(&again, 0, sizeof(again))
    again.manip = NAT_SRC
    again.flags = NAT_PROTO_RANDOM
    if entry.status & IPS_SRC_NAT and not known:
        return CONNTRACK_CLASH          # forgotten: too many at once
    if known:
        again.min_port = choice.min_port
        again.max_port = choice.max_port
        again.flags |= NAT_PROTO_SPECIFIED if choice.max_port else 0
    if not nat_port(ct, &nat.ports, entry, &reply, &again, now_s):
        count(&nat.exhausted, 1)
        return NAT_EXHAUSTED
    count(&nat.retried if entry.status & IPS_SRC_NAT else &nat.moved, 1)
    bind(entry, &reply, NAT_SRC)
    return 0

cdef bint crosses(Conntrack *ct, const CtEntry *entry, uint32_t now_s) noexcept nogil:
    """Whether this is another connection's talk from its other end, which only a rule's choice of zones keeps from being
    found: of UDP nobody would know it by another port (nf_nat_used_tuple_new of the kernel)."""
    cdef const Tuple *reply = &entry.reply
    cdef uint64_t direction = 0
    cdef uint32_t index
    cdef bint translated
    if entry.status & (IPS_SRC_NAT | IPS_DST_NAT) or (reply.proto != PROTO_UDP and reply.proto != PROTO_UDPLITE):
        return False
    index = ct_find_locked(ct, reply, ct_hash(ct, reply), now_s, &direction)
    if index == NO_ENTRY:
        return False
    translated = ct.entry[index].status & (IPS_SRC_NAT | IPS_DST_NAT)
    spin_unlock(ct_lock(ct, index))
    return direction == CT_ORIGINAL and not translated

cdef uint8_t nat_retry(Conntrack *ct, Nat *nat, Packet *packet, Frame *frame, uint32_t now_s) noexcept nogil:
    """See nat_confirm: the connection clashed with another. What the packet was rewritten to is rewritten again."""
    cdef uint8_t reason = nat_reallocate(ct, nat, packet, now_s)
    if not reason:
        reason = nat_rewrite(&ct.entry[packet.ct], packet, frame, HOOK_POSTROUTING)
    return reason if reason else <uint8_t>ct_confirm(ct, packet, now_s)


# The first choice

cdef bint choose(Conntrack *ct, Nat *nat, const CtEntry *entry, Tuple *reply, const NatRange *rule,
                 uint32_t now_s) noexcept nogil:
    """Change the reply tuple to one of the range that nobody has; false: there is none."""
    cdef Tuple mirror = reply[0]
    cdef uint64_t n
    if (rule.manip == NAT_SRC and not rule.flags & NAT_RANDOM and in_range(reply, rule)
            and not nat_taken(ct, reply, now_s)):
        return True
    for n in range(min(range_addresses(rule), <uint64_t>ADDRESSES)):
        reply[0] = mirror
        map_address(reply, &mirror, rule, n)
        if may_keep(ct, reply, rule, now_s) or nat_port(ct, &nat.ports, entry, reply, rule, now_s):
            return True
        if rule.manip == NAT_DST:
            return True
    return False

cdef inline bint may_keep(Conntrack *ct, Tuple *reply, const NatRange *rule, uint32_t now_s) noexcept nogil:
    """Whether the port can stay what it is."""
    if rule.flags & NAT_RANDOM or (rule.flags & NAT_PROTO_SPECIFIED and not port_in_range(reply, rule)):
        return False
    return not nat_taken(ct, reply, now_s)


# The control side

def masquerade_flush(ConnectionTable table, uint16_t device, str address=None):
    """End the connections that borrowed this address of the device, which it has no more; None: all that borrowed one.

    Returns how many. Raises OSError for what is no address."""
    cdef Conntrack *ct = table.view(CT_CONTROL)
    cdef uint32_t now = <uint32_t>(monotonic_ns() // 1000000000ULL), serial
    cdef uint64_t index, ended = 0, end = ct.header.fresh
    cdef Ip ip
    cdef Ip *gone = NULL
    if address is not None:
        raw = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
        ip = ip6_at(raw) if len(raw) == 16 else ip4_at(raw)
        gone = &ip
    with table.lock, nogil:
        for index in range(1, end):
            prefetch(&ct.entry[index + 8].masquerade_dev)
            serial = ct.entry[index].serial
            if ct.entry[index].use == CT_CONFIRMED and nat_borrowed(&ct.entry[index], device, gone):
                ended += ct_kill(ct, <uint32_t>index, serial, KILL_ANY, now)
        count(&ct.counters.deleted, ended)
    return ended
