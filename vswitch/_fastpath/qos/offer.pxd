"""A frame on offer to a port's disciplines: what filters and hashes look at, while it still lies in the burst's memory."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport PROTO_TCP, PROTO_UDP
from ..core.native cimport load16be, load32, load32be, load64, mix64
from ..core.wire cimport ETH_MACS
from ..io.vnet cimport ETH_P_IP, ETH_P_IPV6, IPV4_HLEN, IPV6_HLEN
from .tree cimport KEY_FWMARK, KEY_NETWORK, KEY_PROTOCOL, KEY_TRANSPORT, Filter, Filters, Key, RUN_KEYS, RunSlot, Tree, value_hash

cdef enum:
    ETH_HEADER = 14                     # as filters see it: without a tag
    NO_CLASS = 0

cdef struct Offer:
    const uint8_t *frame                # from the destination MAC on
    uint32_t length
    uint32_t l3_off
    uint16_t ethertype                  # behind all tags
    uint16_t tci                        # the VLAN that the frame is in, its PCP and DEI; 0: none
    uint32_t mark
    uint32_t class_id                   # by CLASSIFY; 0: none
    uint32_t number                     # its Held
    uint8_t tos

cdef inline uint32_t bytes_at(const Offer *offer, int32_t offset) noexcept nogil:
    """Four bytes at an offset from layer 3 that begins before it: tags in the frame are not there for filters."""
    cdef uint32_t value = 0, i
    cdef int32_t at
    for i in range(4):
        at = offset + <int32_t>i
        if at < -2:
            at += ETH_HEADER            # a MAC
        else:
            at += <int32_t>offer.l3_off
        value = value << 8 | offer.frame[at]
    return value

cdef inline bint key_word(const Offer *offer, const Key *key, uint32_t *word) noexcept nogil:
    """What a key looks at; false: it lies outside the frame."""
    cdef int64_t at = <int64_t>offer.l3_off + key.offset
    if key.base == KEY_NETWORK:
        if at + 4 > offer.length or key.offset < -ETH_HEADER:
            return False
        word[0] = load32be(offer.frame + at) if key.offset >= 0 else bytes_at(offer, key.offset)
        return True
    if key.base == KEY_TRANSPORT:
        at += transport_off(offer)
        if at < offer.l3_off or at + 4 > offer.length:
            return False
        word[0] = load32be(offer.frame + at)
        return True
    word[0] = offer.mark if key.base == KEY_FWMARK else offer.ethertype if key.base == KEY_PROTOCOL else offer.tci
    return True

cdef inline bint key_holds(const Offer *offer, const Key *key) noexcept nogil:
    cdef uint32_t word = 0
    return key_word(offer, key, &word) and word & key.mask == key.value

cdef inline bint filter_holds(const Tree *tree, const Offer *offer, const Filter *filter) noexcept nogil:
    cdef uint32_t k
    if filter.protocol and filter.protocol != offer.ethertype:
        return False
    for k in range(filter.first_key, filter.first_key + filter.n_keys):
        if not key_holds(offer, &tree.keys[k]):
            return False
    return True

cdef inline uint32_t transport_off(const Offer *offer) noexcept nogil:
    """Bytes from layer 3 to what follows its header."""
    if offer.ethertype == ETH_P_IPV6:
        return IPV6_HLEN
    if offer.ethertype == ETH_P_IP and offer.l3_off + IPV4_HLEN <= offer.length:
        return (offer.frame[offer.l3_off] & 15) * 4
    return 0

cdef inline uint32_t filtered(const Tree *tree, const Filters *filters, const Offer *offer) noexcept nogil:
    """The class id of the first filter that matches; NO_CLASS: none does."""
    cdef const Filter *filter = first_filter(tree, filters, offer)
    return filter.class_id if filter != NULL else <uint32_t>NO_CLASS

cdef inline const Filter *first_filter(const Tree *tree, const Filters *filters, const Offer *offer) noexcept nogil:
    cdef const Filter *filter
    cdef uint32_t i = filters.first
    while i < filters.first + filters.n:
        filter = &tree.filters[i]
        if filter.run:
            filter = found_in_run(tree, filter, offer)
            i += tree.filters[i].run
        else:
            i += 1
            if not filter_holds(tree, offer, filter):
                filter = NULL
        if filter != NULL:
            return filter
    return NULL

cdef inline const Filter *found_in_run(const Tree *tree, const Filter *first, const Offer *offer) noexcept nogil:
    """Of a run of filters that ask the same of different values: the one that matches, found by hash; NULL: none."""
    cdef const RunSlot *slots = tree.runs + first.run_slots
    cdef uint64_t hash
    cdef uint32_t words[RUN_KEYS]
    cdef uint32_t k, at
    if first.protocol and first.protocol != offer.ethertype or first.n_keys == 0:
        return NULL
    if not masked_word(offer, &tree.keys[first.first_key], &words[0]):
        return NULL
    hash = value_hash(0, words[0])
    for k in range(1, first.n_keys):
        if not masked_word(offer, &tree.keys[first.first_key + k], &words[k]):
            return NULL
        hash = value_hash(hash, words[k])
    at = <uint32_t>(hash >> 32) & first.run_mask
    while slots[at].filter:
        if slots[at].value == words[0] and has_values(tree, &tree.filters[slots[at].filter - 1], words):
            return &tree.filters[slots[at].filter - 1]
        at = (at + 1) & first.run_mask
    return NULL

cdef inline bint masked_word(const Offer *offer, const Key *key, uint32_t *word) noexcept nogil:
    if not key_word(offer, key, word):
        return False
    word[0] &= key.mask
    return True

cdef inline bint has_values(const Tree *tree, const Filter *filter, const uint32_t *words) noexcept nogil:
    """The first one is known to be right."""
    cdef uint32_t k
    for k in range(1, filter.n_keys):
        if tree.keys[filter.first_key + k].value != words[k]:
            return False
    return True

cdef inline uint32_t priority_of(const Offer *offer) noexcept nogil:
    """The kernel's skb->priority: what CLASSIFY has set, or by the TOS (rt_tos2priority)."""
    cdef uint32_t tos = offer.tos >> 1 & 15
    if offer.class_id:
        return offer.class_id
    # TC_PRIO_BESTEFFORT, _BULK, _INTERACTIVE, _INTERACTIVE_BULK by the upper two of the four bits
    return 0 if tos < 4 else 2 if tos < 8 else 6 if tos < 12 else 4

cdef inline uint64_t flow_hash(const Offer *offer) noexcept nogil:
    """Of addresses, protocol and ports; of MACs where there is no IP. Not keyed: `flow_bucket` does that."""
    cdef const uint8_t *ip = offer.frame + offer.l3_off
    cdef uint32_t room = offer.length - offer.l3_off if offer.length > offer.l3_off else 0, ihl
    cdef uint64_t hash
    if offer.ethertype == ETH_P_IP and room >= IPV4_HLEN:
        hash = mix64(load64(ip + 12) ^ 0x9e3779b97f4a7c15ULL, ip[9] + 0xd1b54a32d192ed03ULL)
        ihl = (ip[0] & 15) * 4
        if (ip[9] == PROTO_TCP or ip[9] == PROTO_UDP) and not load16be(ip + 6) & 0x3fff and ihl >= IPV4_HLEN and ihl + 4 <= room:
            hash = mix64(hash, load32(ip + ihl) ^ 0x94d049bb133111ebULL)
        return hash
    if offer.ethertype == ETH_P_IPV6 and room >= IPV6_HLEN:
        hash = mix64(load64(ip + 8) ^ 0x9e3779b97f4a7c15ULL, load64(ip + 24) ^ 0xd1b54a32d192ed03ULL)
        hash ^= mix64(load64(ip + 16) ^ 0xbf58476d1ce4e5b9ULL, load64(ip + 32) + ip[6])
        if (ip[6] == PROTO_TCP or ip[6] == PROTO_UDP) and IPV6_HLEN + 4 <= room:
            hash = mix64(hash, load32(ip + IPV6_HLEN) ^ 0x94d049bb133111ebULL)
        return hash
    if offer.length < ETH_MACS:
        return 0
    return mix64(load64(offer.frame) ^ 0x9e3779b97f4a7c15ULL, load32(offer.frame + 8) + 0xd1b54a32d192ed03ULL)

cdef inline uint32_t flow_bucket(uint64_t hash, uint64_t seed, uint32_t n) noexcept nogil:
    """One of n, even for those who know the hash, as long as they do not know the seed."""
    cdef uint64_t keyed = mix64(hash ^ seed, 0x94d049bb133111ebULL ^ seed) >> 32
    return <uint32_t>(keyed * n >> 32)
