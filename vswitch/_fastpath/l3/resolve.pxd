"""Address resolution: what messages, waiting frames and the passing of time make of a neighbour (RFC 826, RFC 4861
7.2, 7.3).

ARP and neighbour discovery speak to this file alone. What they hear goes into `neighbour_learn`; it hands back the
frames that waited for it, and whoever heard the answer sends them. A frame that finds no MAC goes into
`neighbour_wait`, which says whether to ask now. Once a second one worker goes through the table (`sweep_begin`,
`sweep_next`): it repeats questions, and ends those that nobody answered.

Thread safety: all of it may run anywhere at any time; each call holds the table's lock for a few instructions, or
for the copy of one frame.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport Ip
from ..core.native cimport atomic_cas64, atomic_load64, relaxed_load64, spin_lock, spin_unlock
from .neighbour cimport *
from .waiting cimport WAITING_FRAMES, waiting_append, waiting_count, waiting_put, waiting_take

cdef enum Heard:
    # What a message about neighbours was.
    HEARD_OTHER = 0                     # no business of the device's: bridge it as any frame
    HEARD_LEARNED                       # for us: taken note of, no answer wanted
    HEARD_ANSWERED                      # a question to us: the frame has been turned into the answer
    HEARD_SPOOFED                       # it speaks for an address of ours: drop
    HEARD_MALFORMED

cdef enum:
    LEARN_CREATE = 1                    # the sender is about to hear from us: note it though unknown
    LEARN_CONFIRM = 2                   # an answer to us: REACHABLE, not STALE
    LEARN_OVERRIDE = 4                  # another MAC than the known one replaces it
    LEARN_LATE = 8                      # ... unless that is less than a second old: the first of several answers counts

cdef enum:
    # What became of a frame without MAC: bits. Neither QUEUED nor RESOLVED: there was no room (NEIGHBOUR_QUEUE).
    WAIT_QUEUED = 1                     # the pool has a copy
    WAIT_SOLICIT = 2                    # now ask
    WAIT_RESOLVED = 4                   # the answer has just come: look again

cdef struct NeighbourSweep:
    uint64_t at                         # slot
    uint32_t now_s

cdef enum NeighbourEventKind:
    NEIGHBOUR_SOLICIT = 1               # ask: `mac`, or everybody where that is 0
    NEIGHBOUR_GONE                      # nobody answered: `waiting` are the frames to refuse

cdef struct NeighbourEvent:
    NeighbourEventKind kind
    uint16_t device
    Ip ip
    uint64_t mac
    uint32_t waiting

cdef struct WaitingFrame:
    uint32_t length                     # virtio-net header and frame
    uint16_t origin
    uint16_t in_dev


cdef inline bint neighbour_learn(Neighbours *table, uint16_t device, const Ip *ip, uint64_t mac, uint32_t how,
                                 uint32_t now_s, uint32_t *waiting) noexcept nogil:
    """A neighbour spoke. `mac` 0: without naming its MAC. `how`: LEARN_*. *waiting: frames that may leave now, or 0.

    Whoever calls has seen that the address is of the device's networks and none of ours. False: not noted."""
    cdef Neighbour *n
    cdef uint64_t link
    cdef bint noted
    waiting[0] = 0
    spin_lock(&table.lock)
    n = neighbour_read(table, device, ip, &link)
    if n == NULL and how & LEARN_CREATE and mac:
        n = neighbour_add(table, device, ip, mac, NUD_STALE, now_s)
        noted = n != NULL
    else:
        noted = n != NULL and neighbour_hear(table, n, mac, how, now_s, waiting)
    spin_unlock(&table.lock)
    return noted

cdef inline bint neighbour_hear(Neighbours *table, Neighbour *n, uint64_t mac, uint32_t how, uint32_t now_s,
                                uint32_t *waiting) noexcept nogil:
    """What a known neighbour's message changes. Holds: lock."""
    cdef uint64_t known = link_mac(n.link)
    cdef uint8_t old = link_state(n.link)
    cdef uint8_t state = NUD_REACHABLE if how & LEARN_CONFIRM else NUD_STALE
    if old == NUD_PERMANENT or (mac == 0 and not old & NUD_VALID):
        return False
    if mac == 0:
        mac = known
    if old & NUD_VALID and mac != known and not neighbour_override(n, how, now_s):
        # RFC 4861, 7.2.5: two claim the address. Keep the known one, but ask before long.
        if old == NUD_REACHABLE:
            neighbour_set(table, n, known, NUD_STALE, 0, now_s)
        return False
    if mac == known and state == NUD_STALE and old & NUD_VALID:
        return True                     # that it speaks proves nothing about the way back
    if old & NUD_VALID and mac != known:
        table.header.moved += 1
    if how & LEARN_CONFIRM:
        n.confirmed_s = now_s
    neighbour_set(table, n, mac, state, 0, now_s)
    waiting[0] = n.waiting
    n.waiting = 0
    return True

cdef inline bint neighbour_override(const Neighbour *n, uint32_t how, uint32_t now_s) noexcept nogil:
    return (how & LEARN_OVERRIDE) != 0 and ((how & LEARN_LATE) == 0 or now_s > n.changed_s)


cdef inline uint8_t neighbour_wait(Neighbours *table, uint16_t device, const Ip *ip, const uint8_t *frame,
                                   uint32_t length, uint16_t origin, uint16_t in_dev, uint32_t now_s) noexcept nogil:
    """Keep a frame, virtio-net header first, until its neighbour answers. `length` 0: only ask. Returns WAIT_*."""
    cdef Neighbour *n
    cdef uint64_t link
    cdef uint8_t result = 0
    spin_lock(&table.lock)
    n = neighbour_read(table, device, ip, &link)
    if n != NULL and link_state(link) & NUD_VALID:
        result = WAIT_RESOLVED
    else:
        if n == NULL or link_state(link) != NUD_INCOMPLETE:
            n = neighbour_ask(table, n, device, ip, now_s)
            result = WAIT_SOLICIT if n != NULL else 0
        if n != NULL and length:
            result |= neighbour_queue(table, n, frame, length, origin, in_dev)
    spin_unlock(&table.lock)
    return result

cdef inline Neighbour *neighbour_ask(Neighbours *table, Neighbour *n, uint16_t device, const Ip *ip,
                                     uint32_t now_s) noexcept nogil:
    """Begin to resolve a neighbour who is unknown, or failed before; NULL: no room. Holds: lock."""
    if n == NULL:
        n = neighbour_add(table, device, ip, 0, NUD_INCOMPLETE, now_s)
    elif not neighbour_may_ask(table, device):
        table.header.refused += 1
        return NULL
    else:
        neighbour_set(table, n, 0, NUD_INCOMPLETE, 1, now_s)
    table.header.solicited += n != NULL
    return n

cdef inline uint8_t neighbour_queue(Neighbours *table, Neighbour *n, const uint8_t *frame, uint32_t length,
                                    uint16_t origin, uint16_t in_dev) noexcept nogil:
    """WAIT_QUEUED, or 0 where its neighbour has enough of them or the pool is full. Holds: lock."""
    cdef uint32_t copy = 0
    if waiting_count(&table.waiting, n.waiting) < WAITING_FRAMES:
        copy = waiting_put(&table.waiting, frame, length, origin, in_dev)
    if copy == 0:
        table.header.queue_full += 1
        return 0
    waiting_append(&table.waiting, &n.waiting, copy)
    table.header.queued += 1
    return WAIT_QUEUED

cdef inline bint neighbour_release(Neighbours *table, uint32_t *waiting, uint8_t *out,
                                   WaitingFrame *frame) noexcept nogil:
    """Move the next frame that has waited into `out`, which has room for the largest; False: none is left.

    The chain is the caller's: it must be emptied, or its chunks are lost."""
    if waiting[0] == 0:
        return False
    frame.length = table.waiting.chunk[waiting[0]].length
    frame.origin = table.waiting.chunk[waiting[0]].origin
    frame.in_dev = table.waiting.chunk[waiting[0]].in_dev
    spin_lock(&table.lock)
    waiting_take(&table.waiting, waiting, out)
    spin_unlock(&table.lock)
    return True


cdef inline bint sweep_begin(Neighbours *table, NeighbourSweep *sweep, uint32_t now_s) noexcept nogil:
    """Whether the timers of this second are the caller's to serve: one worker's, whoever comes first."""
    cdef uint64_t last = relaxed_load64(&table.header.swept_s)
    sweep.at = 0
    sweep.now_s = now_s
    return last < now_s and atomic_cas64(&table.header.swept_s, last, now_s)

cdef inline bint sweep_next(Neighbours *table, NeighbourSweep *sweep, NeighbourEvent *event) noexcept nogil:
    """Serve timers up to the next that wants something done; False: all have been served."""
    cdef Neighbour *n = neighbour_next(table, &sweep.at)
    cdef bint found = False
    while n != NULL and not found:
        # The states that need nothing are seen without the lock.
        if not atomic_load64(&n.link) >> 48 & NUD_PERMANENT:
            spin_lock(&table.lock)
            found = n.key != 0 and neighbour_tick(table, n, sweep.now_s, event)
            spin_unlock(&table.lock)
        if not found:
            n = neighbour_next(table, &sweep.at)
    return found

cdef inline bint neighbour_tick(Neighbours *table, Neighbour *n, uint32_t now_s, NeighbourEvent *event) noexcept nogil:
    """A second has passed for a neighbour. Whether `event` tells of something to do. Holds: lock."""
    cdef uint8_t state = link_state(n.link)
    cdef uint64_t mac = link_mac(n.link)
    if state == NUD_REACHABLE and state_now(n, n.link, now_s) == NUD_STALE:
        neighbour_set(table, n, mac, NUD_STALE, 0, now_s)
    elif state == NUD_STALE and n.used_s and n.used_s >= n.changed_s:
        neighbour_set(table, n, mac, NUD_DELAY, 0, now_s)
    elif state == NUD_DELAY and now_s >= n.changed_s + DELAY_S:
        return neighbour_solicit(table, n, NUD_PROBE, 1, now_s, event)
    elif state & (NUD_INCOMPLETE | NUD_PROBE) and now_s > n.changed_s:
        if link_tries(n.link) < PROBES:
            return neighbour_solicit(table, n, state, link_tries(n.link) + 1, now_s, event)
        return neighbour_fail(table, n, now_s, event)
    elif (state == NUD_FAILED and now_s >= n.changed_s + FAILED_S) \
            or (state == NUD_STALE and now_s >= neighbour_idle_s(n) + STALE_S):
        neighbour_clear(table, n)
    return False

cdef inline bint neighbour_solicit(Neighbours *table, Neighbour *n, uint8_t state, uint32_t tries, uint32_t now_s,
                                   NeighbourEvent *event) noexcept nogil:
    """Holds: lock."""
    neighbour_set(table, n, link_mac(n.link), state, tries, now_s)
    table.header.solicited += 1
    event.kind = NEIGHBOUR_SOLICIT
    event.device = neighbour_device(n)
    event.ip = n.ip
    event.mac = link_mac(n.link)
    event.waiting = 0
    return True

cdef inline bint neighbour_fail(Neighbours *table, Neighbour *n, uint32_t now_s, NeighbourEvent *event) noexcept nogil:
    """Holds: lock."""
    neighbour_set(table, n, 0, NUD_FAILED, 0, now_s)
    table.header.failed += 1
    event.kind = NEIGHBOUR_GONE
    event.device = neighbour_device(n)
    event.ip = n.ip
    event.mac = 0
    event.waiting = n.waiting
    n.waiting = 0
    return True
