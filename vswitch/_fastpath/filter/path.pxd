"""The verdict cache: packets of a known connection do not walk the rules again.

A path is what a walk came to: the verdict, the rules that counted, the targets that edited. It holds for every packet
of the connection, in that direction and half of the way (0: PREROUTING, 1: what follows the forwarding decision),
that agrees in the bits which the walk looked at beyond the connection's own tuple. So each path brings its own mask:
a rule of the ruleset that the walk never came to, however curious, costs nothing. What no key can hold makes a walk
uncacheable: rules with state (limit), with a clock (ctexpire), TCP options, LOG, QUEUE, CT; and ICMP errors, whose
own addresses are not their connection's.

Connections that fare alike share a path: paths are interned, key, mask and value together, in a table of the
ruleset's. It is never emptied and goes with its ruleset; when it is full, packets walk. A connection names its paths
by two words a direction of (tag 16 | index 16). The tag mixes the generation with the packet's hash, so a word that a slower
worker wrote for another generation, or for the connection that had the entry before, is not taken for ours.

Marks are not part of the value: whoever edits (MARK, CONNMARK, TOS, TTL, TCPMSS ...) does so again for every packet.

Thread safety: looking up takes no lock. A path is complete before an index leads to it (release), and never changes.
Interning locks only to add. Words of an entry are written by whoever walked last.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.frame cimport Frame
from ..core.native cimport count
from ..core.packet cimport CT_REPLY, Packet
from .conntrack cimport CtEntry, CtPaths
from .rule cimport RuleCounter, Ruleset
from .walk cimport (
    PATH_COUNTERS, PATH_EDITS, WAY_PREROUTING, Walk, key_link, key_mark, key_packet, key_place, key_status, replay,
)

cdef enum:
    PATHS = 65536                       # an index has 16 bits; 0 is none
    PATH_INLINE = 6                     # counters that lie in the first cache line

cdef struct Path:
    uint64_t key_packet
    uint64_t mask_packet
    uint64_t key_place
    uint64_t mask_place
    uint8_t verdict                     # VERDICT_ACCEPT, VERDICT_DROP, VERDICT_REJECT
    uint8_t table
    uint8_t n_counted
    uint8_t n_edits
    uint8_t more                        # whether `mask` has bits
    uint8_t pad
    uint16_t arg
    uint32_t counted[PATH_COUNTERS]
    uint32_t edits[PATH_EDITS]
    uint64_t key[3]                     # KEY_STATUS, KEY_MARK, KEY_LINK
    uint64_t mask[3]
    # Of the table, not of the value
    uint32_t hash
    uint32_t next                       # in its chain

cdef struct PathTable:
    uint64_t lock
    uint64_t seed                       # guests choose what is in keys
    uint64_t used
    uint64_t limit                      # places, [0] included
    uint64_t refused                    # paths that found no room
    uint32_t *heads                     # PATHS chains
    Path *path


cdef void path_store(Walk *walk) noexcept nogil


cdef inline uint32_t path_tag(const Ruleset *rules, const Packet *packet) noexcept nogil:
    return <uint32_t>((packet.hash >> 48) ^ rules.generation) << 16

cdef inline CtPaths *path_words(CtEntry *entry, bint reply) noexcept nogil:
    return &entry.reply_paths if reply else &entry.original_paths

cdef inline const Path *path_named(const Ruleset *rules, const CtPaths *paths, const Packet *packet,
                                   uint32_t half) noexcept nogil:
    """NULL: the word is none, of another generation or of another connection."""
    cdef uint32_t word = paths.word[half]
    if paths.generation != <uint32_t>rules.generation or (word ^ path_tag(rules, packet)) >> 16:
        return NULL
    return &(<const PathTable *>rules.paths).path[word & 0xffff] if word & 0xffff else NULL

cdef inline bint path_agrees_more(const Path *path, const Packet *packet, const Frame *frame,
                                  const CtEntry *entry) noexcept nogil:
    return (((key_status(packet, entry) & path.mask[0]) ^ path.key[0])
            | ((key_mark(packet, entry) & path.mask[1]) ^ path.key[1])
            | ((key_link(frame) & path.mask[2]) ^ path.key[2])) == 0

cdef inline const Path *path_find(const Ruleset *rules, CtEntry *entry, const Packet *packet, const Frame *frame,
                                  uint8_t way) noexcept nogil:
    """The path that the packet would walk; NULL: nobody knows. packet.ct_info must be set."""
    cdef const CtPaths *paths = path_words(entry, packet.ct_info & CT_REPLY)
    cdef const Path *path = path_named(rules, paths, packet, way != WAY_PREROUTING)
    if path == NULL:
        return NULL
    if (((key_packet(packet) & path.mask_packet) ^ path.key_packet)
            | ((key_place(packet, way) & path.mask_place) ^ path.key_place)):
        return NULL
    return path if not path.more or path_agrees_more(path, packet, frame, entry) else NULL

cdef inline void path_charge(const Path *path, RuleCounter *counters, uint64_t length) noexcept nogil:
    cdef uint32_t i
    for i in range(path.n_counted):
        count(&counters[path.counted[i]].packets, 1)
        count(&counters[path.counted[i]].bytes, length)

cdef inline uint8_t path_follow(const Path *path, const Ruleset *rules, RuleCounter *counters, Packet *packet,
                                Frame *frame, CtEntry *entry) noexcept nogil:
    """Do to the packet what its walk would: count, edit. Returns the verdict; its details are in the path."""
    path_charge(path, counters, packet.length)
    if path.n_edits:
        replay(rules, path.edits, path.n_edits, packet, frame, entry)
    return path.verdict
