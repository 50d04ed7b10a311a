"""The Python face of the neighbour table: list, add, delete, flush, count. See neighbour.pxd for the table itself."""
import os
from ipaddress import ip_address
from typing import NamedTuple

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.arena cimport Arena
from ..core.ip cimport Ip
from ..core.native cimport monotonic_ns, relaxed_load64, spin_lock, spin_unlock
from .resolve cimport *
from .neighbour cimport *
from .waiting cimport Chunk, WaitingHeader, chunks_of

STATES = {NUD_INCOMPLETE: "incomplete", NUD_REACHABLE: "reachable", NUD_STALE: "stale", NUD_DELAY: "delay",
          NUD_PROBE: "probe", NUD_FAILED: "failed", NUD_PERMANENT: "permanent"}
MAPPED = bytes(10) + b"\xff\xff"


class NeighbourRow(NamedTuple):
    device: int
    address: str
    mac: str | None
    state: str
    age_s: int          # since it last proved to be there
    idle_s: int | None  # since a frame last wanted it


class NeighbourCounters(NamedTuple):
    entries: int
    pending: int
    created: int
    recycled: int
    refused: int
    failed: int
    solicited: int
    moved: int
    spoofed: int
    malformed: int
    queued: int
    queue_full: int
    pool_bytes: int


cdef Ip ip_number(str text) except *:
    """An address as tables hold it. Raises ValueError."""
    cdef Ip ip
    packed = ip_address(text).packed
    raw = packed if len(packed) == 16 else MAPPED + packed
    memcpy(&ip, <const char *>raw, 16)
    return ip


cdef str ip_text(const Ip *ip):
    raw = (<const char *>ip)[:16]
    return str(ip_address(raw[12:] if raw[:12] == MAPPED else raw))


cdef uint64_t mac_number(str mac) except? 0:
    """A station's address as the table holds it. Raises ValueError."""
    raw = bytes.fromhex(mac.replace(":", ""))
    if len(raw) != 6 or raw[0] & 1 or not any(raw):
        raise ValueError(f"{mac!r} is not the MAC address of one station: six bytes, as in 52:54:00:12:34:56")
    return int.from_bytes(raw, "little")


cdef uint32_t clock_s() noexcept:
    return <uint32_t>(monotonic_ns() // 1000000000ULL)


cdef class NeighbourTable:
    """All devices' neighbours: at most `limit`, a device's at most `device_limit` (by default a quarter).

    Frames wait in `pool_bytes`, those of one port in at most a quarter of it."""

    def __cinit__(self, uint64_t limit=8192, uint64_t device_limit=0, uint64_t pool_bytes=4 << 20):
        cdef uint64_t slots = 64
        while slots < 4 * limit:
            slots *= 2
        size = sizeof(NeighbourHeader) + slots * sizeof(Neighbour) + slots // 8
        self.arena = Arena("neighbours", size, "neighbour/1")
        self.table.header = <NeighbourHeader *>self.arena.body()
        self.table.slot = <Neighbour *>(<char *>self.arena.body() + sizeof(NeighbourHeader))
        self.table.used = <uint64_t *>(self.table.slot + slots)
        self.table.mask = slots - 1
        self.table.limit = limit
        self.table.device_limit = device_limit or max(1, limit // 4)
        self.table.header.slots = slots
        seed = os.urandom(16)
        memcpy(self.table.header.seed, <const char *>seed, 16)
        self._make_pool(chunks_of(pool_bytes))

    def _make_pool(self, uint32_t chunks):
        self.pool = Arena("waiting", sizeof(WaitingHeader) + (chunks + 1) * sizeof(Chunk), "waiting/1")
        self.table.waiting.header = <WaitingHeader *>self.pool.body()
        self.table.waiting.chunk = <Chunk *>(<char *>self.pool.body() + sizeof(WaitingHeader))
        self.table.waiting.limit = chunks
        # A quarter, but room for one super-frame if there is any.
        self.table.waiting.port_limit = min(chunks, max(chunks // 4, 33))

    def rows(self, now_s=None):
        """Every neighbour at `now_s` (CLOCK_MONOTONIC seconds, by default now), as a list of NeighbourRow."""
        cdef uint64_t at = 0, link, key
        cdef uint32_t now = clock_s() if now_s is None else now_s
        cdef Neighbour *n = neighbour_next(&self.table, &at)
        cdef Ip ip
        found = []
        while n != NULL:
            spin_lock(&self.table.lock)     # for a consistent copy; a list is nothing urgent
            key, ip, link = n.key, n.ip, n.link
            spin_unlock(&self.table.lock)
            if key and link_state(link):
                found.append(NeighbourRow(<uint16_t>(key >> 32), ip_text(&ip), _mac_text(link_mac(link)),
                                          STATES[state_now(n, link, now)], max(0, now - <int64_t>n.confirmed_s),
                                          max(0, now - <int64_t>n.used_s) if n.used_s else None))
            n = neighbour_next(&self.table, &at)
        return found

    def add(self, uint16_t device, str address, str mac, now_s=None):
        """A permanent neighbour, in place of what is known of the address. Raises ValueError where it is waited for, or
        where there is no room."""
        cdef Ip ip = ip_number(address)
        cdef uint64_t number = mac_number(mac)
        cdef uint32_t now = clock_s() if now_s is None else now_s
        cdef Neighbour *n
        cdef bint waited = False
        spin_lock(&self.table.lock)
        n = self._at(device, &ip)
        if n == NULL:
            n = neighbour_add(&self.table, device, &ip, number, NUD_PERMANENT, now)
        elif n.waiting:
            waited = True
        else:
            neighbour_set(&self.table, n, number, NUD_PERMANENT, 0, now)
        spin_unlock(&self.table.lock)
        if waited:
            raise ValueError(f"{address} is being resolved just now: try again")
        if n == NULL:
            raise ValueError(f"no room for {address}: the table, or the device's share of it, is full")

    def delete(self, uint16_t device, str address):
        """Whether there was such a neighbour. One that frames wait for fails with the next second, and they with it."""
        cdef Ip ip = ip_number(address)
        cdef Neighbour *n
        spin_lock(&self.table.lock)
        n = self._at(device, &ip)
        if n != NULL:
            self._forget(n)
        spin_unlock(&self.table.lock)
        return n != NULL

    def flush(self, device=None, bint permanent=False):
        """Forget the neighbours of a device, or of all; returns how many. `permanent`: those set by hand too."""
        cdef uint64_t at = 0
        cdef uint32_t wanted = NEIGHBOUR_DEVICES if device is None else device
        cdef Neighbour *n = neighbour_next(&self.table, &at)
        gone = 0
        while n != NULL:
            spin_lock(&self.table.lock)
            if n.key and (wanted == NEIGHBOUR_DEVICES or neighbour_device(n) == wanted) \
                    and (permanent or link_state(n.link) != NUD_PERMANENT):
                self._forget(n)
                gone += 1
            spin_unlock(&self.table.lock)
            n = neighbour_next(&self.table, &at)
        return gone

    def counters(self):
        cdef NeighbourHeader *h = self.table.header
        return NeighbourCounters(h.entries, h.pending, h.created, h.recycled, h.refused, h.failed, h.solicited, h.moved,
                                 h.spoofed, h.malformed, h.queued, h.queue_full,
                                 self.table.waiting.header.used * sizeof(Chunk))

    def states(self, now_s=None):
        """{(device, state): neighbours} at `now_s`, as `rows` has them; without locks, for it is only counted."""
        cdef uint64_t at = 0, key, link
        cdef uint32_t now = clock_s() if now_s is None else now_s
        cdef Neighbour *n = neighbour_next(&self.table, &at)
        found = {}
        while n != NULL:
            key, link = relaxed_load64(&n.key), relaxed_load64(&n.link)
            if key and link_state(link):
                place = <uint16_t>(key >> 32), STATES[state_now(n, link, now)]
                found[place] = found.get(place, 0) + 1
            n = neighbour_next(&self.table, &at)
        return found

    def device_entries(self, uint16_t device):
        return self.table.header.device_entries[device]

    cdef Neighbour *_at(self, uint16_t device, const Ip *ip) noexcept:
        cdef uint64_t link
        return neighbour_read(&self.table, device, ip, &link)

    cdef bint _forget(self, Neighbour *n) noexcept:
        """Holds: lock. Frames that wait are a worker's to end: its next sweep finds the neighbour out of tries."""
        if n.waiting:
            neighbour_set(&self.table, n, 0, NUD_INCOMPLETE, PROBES, 0)
        else:
            neighbour_clear(&self.table, n)
        return True


cdef _mac_text(uint64_t number):
    return (<object>number).to_bytes(6, "little").hex(":") if number else None
