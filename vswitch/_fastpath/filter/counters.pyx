"""Packets and bytes of rules and policies, and the state of `limit`: what outlives every ruleset, by the rules' ids."""
from libc.stdint cimport uint32_t, uint64_t

from ..core.arena cimport Arena
from ..core.counters cimport MAX_WORKERS
from ..core.native cimport atomic_store64, relaxed_load64
from .rule cimport RuleCounter


cdef class RuleCounters:
    """Packets and bytes by rule id, an array a worker, and behind them the meters of `limit`, which workers share.

    Workers only ever add. Setting a counter, as -Z and iptables-restore -c do, keeps the difference on this side.
    """

    def __cinit__(self, uint32_t capacity):
        self.capacity = capacity
        self._base = {}
        cdef size_t each = MAX_WORKERS * sizeof(RuleCounter) + sizeof(uint64_t)
        self._arena = Arena("rules", capacity * each, "rules/1")

    cdef RuleCounter *of_worker(self, uint32_t worker) noexcept:
        return <RuleCounter *>self._arena.body() + <size_t>worker * self.capacity

    cdef uint64_t *meters(self) noexcept:
        return <uint64_t *>self.of_worker(MAX_WORKERS)

    def _raw(self, uint32_t number):
        cdef uint64_t packets = 0, octets = 0
        cdef uint32_t worker
        cdef RuleCounter *counter
        if number >= self.capacity:
            raise ValueError(f"no counters for id {number}")
        for worker in range(MAX_WORKERS):
            counter = self.of_worker(worker) + number
            packets += relaxed_load64(&counter.packets)
            octets += relaxed_load64(&counter.bytes)
        return packets, octets

    def get(self, uint32_t number):
        """(packets, bytes) of a rule or policy, over all workers."""
        packets, octets = self._raw(number)
        base = self._base.get(number)
        return (packets, octets) if base is None else (packets - base[0], octets - base[1])

    def read(self, ids):
        """{id: (packets, bytes)} of many."""
        return {number: self.get(number) for number in ids}

    def set(self, uint32_t number, packets=0, octets=0):
        """From now on count from there."""
        raw = self._raw(number)
        self._base[number] = raw[0] - packets, raw[1] - octets

    def take(self, uint32_t number):
        """What a counter shows, and zero it in the same breath: no packet is lost between the two."""
        raw, base = self._raw(number), self._base.get(number, (0, 0))
        self._base[number] = raw
        return raw[0] - base[0], raw[1] - base[1]

    def recycle(self, uint32_t number):
        """Before an id is given to another rule: nothing counted, every token there."""
        self.set(number)
        atomic_store64(self.meters() + number, 0)
