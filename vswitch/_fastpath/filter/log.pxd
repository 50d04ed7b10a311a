"""What LOG saw: a small ring a worker, which the control side empties and turns into lines.

Thread safety: the worker alone writes records and `head`, the control side alone `tail`. A full ring loses the new
record and counts it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ..core.arena cimport Arena
from ..core.frame cimport Frame
from ..core.native cimport atomic_load64, atomic_store64, count
from ..core.packet cimport Packet

cdef enum:
    LOG_RECORDS = 256                   # a power of two
    LOG_BYTES = 160                     # of each packet: every header that a line tells of

cdef struct LogRecord:
    uint64_t now_ns
    uint32_t rule                       # id: the control side knows prefix, level and options
    uint32_t mark
    uint32_t length                     # of the IP packet
    uint16_t in_port
    uint16_t out_port
    uint16_t in_dev
    uint16_t out_dev
    uint8_t hook
    uint8_t family
    uint16_t captured
    uint64_t src_mac
    uint64_t dst_mac
    uint8_t data[LOG_BYTES]             # from the IP header on

cdef struct LogRing:
    uint64_t head
    uint64_t tail
    uint64_t lost
    LogRecord records[LOG_RECORDS]


cdef inline void log_packet(LogRing *ring, const Packet *packet, const Frame *frame, uint32_t rule, uint8_t hook,
                            uint64_t now_ns) noexcept nogil:
    cdef uint64_t head = ring.head
    cdef LogRecord *record
    if head - atomic_load64(&ring.tail) >= LOG_RECORDS:
        count(&ring.lost, 1)
        return
    record = &ring.records[head & (LOG_RECORDS - 1)]
    record.now_ns = now_ns
    record.rule = rule
    record.hook = hook
    log_fill(record, packet, frame)
    atomic_store64(&ring.head, head + 1)

cdef inline void log_fill(LogRecord *record, const Packet *packet, const Frame *frame) noexcept nogil:
    record.mark = packet.mark
    record.length = packet.length
    record.in_port = packet.in_port
    record.out_port = packet.out_port
    record.in_dev = packet.in_dev
    record.out_dev = packet.out_dev
    record.family = packet.family
    record.src_mac = frame.src
    record.dst_mac = frame.dst
    record.captured = <uint16_t>(packet.length if packet.length < LOG_BYTES else LOG_BYTES)
    memcpy(record.data, packet.l3, record.captured)


cdef class LogRings:
    cdef Arena _arena
    cdef LogRing *of_worker(self, uint32_t worker) noexcept
