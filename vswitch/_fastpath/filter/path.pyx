"""Interning paths: the rare half of path.pxd."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memset

from ..core.native cimport atomic_add64, mix64, spin_lock, spin_unlock, load64
from ..core.packet cimport CT_ESTABLISHED, CT_NEW
from .conntrack cimport IPS_CONFIRMED
from .walk cimport KEY_LINK, KEY_MARK, KEY_PACKET, KEY_PLACE, KEY_STATUS, VERDICT_REJECT

cdef enum:
    VALUE_BYTES = 184                   # of a Path: all before `hash`

cdef extern from *:
    """
    #define VSWITCH_ACQUIRE32(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define VSWITCH_RELEASE32(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    """
    uint32_t acquire32 "VSWITCH_ACQUIRE32"(const uint32_t *p) noexcept nogil
    void release32 "VSWITCH_RELEASE32"(uint32_t *p, uint32_t v) noexcept nogil


cdef void path_store(Walk *walk) noexcept nogil:
    """Remember what the walk came to, for the packets of its connection that are like its own.

    The first packet of a connection is not worth it: many have no second, and NAT has yet to settle.
    """
    cdef uint32_t state = walk.packet.ct_info & 0x7f
    cdef Path path
    cdef uint32_t index
    if walk.uncacheable or walk.hotdrop or walk.entry == NULL or not walk.entry.status & IPS_CONFIRMED:
        return
    if (state != CT_NEW and state != CT_ESTABLISHED) or walk.verdict > VERDICT_REJECT or walk.rules.paths == NULL:
        return
    fill(&path, walk)
    index = intern(<PathTable *>walk.rules.paths, &path)
    if index:
        remember(walk, index)

cdef void remember(Walk *walk, uint32_t index) noexcept nogil:
    cdef uint32_t generation = <uint32_t>walk.rules.generation
    cdef CtPaths *paths = path_words(walk.entry, walk.packet.ct_info & CT_REPLY)
    if paths.generation != generation:  # a tag has 16 bits: it tells neighbouring generations apart, not all
        release32(&paths.word[0], 0)
        release32(&paths.word[1], 0)
        release32(&paths.generation, generation)
    release32(&paths.word[walk.way != WAY_PREROUTING], path_tag(walk.rules, walk.packet) | index)

cdef void fill(Path *path, const Walk *walk) noexcept nogil:
    cdef uint32_t i
    memset(path, 0, sizeof(Path))
    path.mask_packet = walk.mask[KEY_PACKET]
    path.mask_place = walk.mask[KEY_PLACE]
    path.key_packet = walk.key[KEY_PACKET] & path.mask_packet
    path.key_place = walk.key[KEY_PLACE] & path.mask_place
    for i in range(3):
        path.mask[i] = walk.mask[KEY_STATUS + i]
        path.key[i] = walk.key[KEY_STATUS + i] & path.mask[i]
        path.more |= path.mask[i] != 0
    path.verdict = walk.verdict
    path.table = walk.table
    path.arg = walk.arg
    path.n_counted = walk.n_counted
    path.n_edits = walk.n_edits
    for i in range(walk.n_counted):
        path.counted[i] = walk.counted[i]
    for i in range(walk.n_edits):
        path.edits[i] = walk.edits[i]
    path.hash = digest(path, (<PathTable *>walk.rules.paths).seed)

cdef uint32_t digest(const Path *path, uint64_t hash) noexcept nogil:
    cdef const char *p = <const char *>path
    cdef uint32_t at = 0
    while at < VALUE_BYTES:
        hash = mix64(hash ^ load64(p + at), 0xd1b54a32d192ed03ULL)
        at += 8
    return <uint32_t>(hash >> 16)

cdef uint32_t search(const PathTable *table, const Path *path) noexcept nogil:
    """The index of an equal path, 0: there is none. Needs no lock: what a chain leads to is complete."""
    cdef uint32_t index = acquire32(&table.heads[path.hash & (PATHS - 1)])
    while index:
        if table.path[index].hash == path.hash and memcmp(&table.path[index], path, VALUE_BYTES) == 0:
            return index
        index = table.path[index].next
    return 0

cdef uint32_t intern(PathTable *table, const Path *path) noexcept nogil:
    """The index of the path in the table, where it now is if there was room; else 0."""
    cdef uint32_t index = search(table, path)
    if index:
        return index
    spin_lock(&table.lock)
    index = search(table, path)
    if not index:
        if table.used < table.limit:
            index = <uint32_t>table.used
            table.used += 1
            add(table, path, index)
        else:
            atomic_add64(&table.refused, 1)
    spin_unlock(&table.lock)
    return index

cdef void add(PathTable *table, const Path *path, uint32_t index) noexcept nogil:
    """Holds: lock."""
    cdef uint32_t *head = &table.heads[path.hash & (PATHS - 1)]
    table.path[index] = path[0]
    table.path[index].next = head[0]
    release32(head, index)
