"""The control side's end of the rings of LOG."""
from libc.stdint cimport uint32_t, uint64_t

from ..core.arena cimport Arena
from ..core.counters cimport MAX_WORKERS
from ..core.native cimport atomic_load64, atomic_store64, relaxed_load64


cdef class LogRings:
    """The rings of LOG, one a worker."""

    def __cinit__(self):
        self._arena = Arena("log", MAX_WORKERS * sizeof(LogRing), "log/1")

    cdef LogRing *of_worker(self, uint32_t worker) noexcept:
        return <LogRing *>self._arena.body() + worker

    def drain(self, uint32_t worker):
        """All records that the worker has written since the last call, as dicts."""
        cdef LogRing *ring = self.of_worker(worker)
        cdef uint64_t head = atomic_load64(&ring.head)
        rows = []
        while ring.tail != head:
            rows.append(record_of(&ring.records[ring.tail & (LOG_RECORDS - 1)]))
            atomic_store64(&ring.tail, ring.tail + 1)
        return rows

    def lost(self, uint32_t worker):
        return relaxed_load64(&self.of_worker(worker).lost)


cdef dict record_of(const LogRecord *record):
    return {"now_ns": record.now_ns, "rule": record.rule, "mark": record.mark, "length": record.length,
            "in_port": record.in_port, "out_port": record.out_port, "in_dev": record.in_dev, "out_dev": record.out_dev,
            "hook": record.hook, "family": record.family, "data": (<const char *>record.data)[:record.captured],
            "src_mac": (record.src_mac & 0xffffffffffffULL).to_bytes(6, "little"),
            "dst_mac": (record.dst_mac & 0xffffffffffffULL).to_bytes(6, "little")}
