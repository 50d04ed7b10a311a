"""Connection tracking of UDP: unreplied, replied, and a stream once it has lasted two seconds in both directions.

A stream is assured and is kept longer; a question and its answer, as DNS has them, are not.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t

from .conntrack cimport IPS_ASSURED, IPS_SEEN_REPLY, CtEntry, CtSettings

cdef enum:
    STREAM_MS = 2000

cdef inline uint32_t udp_packet(CtEntry *entry, const CtSettings *settings, uint64_t now_ns, bint new) noexcept nogil:
    """How long the connection is kept now. Holds: the entry's lock."""
    cdef uint32_t now_ms = <uint32_t>(now_ns // 1000000ULL)
    if new:
        entry.last_seq = now_ms + STREAM_MS
    if not entry.status & IPS_SEEN_REPLY or <int32_t>(now_ms - entry.last_seq) <= 0:
        return settings.udp
    entry.status |= IPS_ASSURED
    return settings.udp_stream

cdef inline uint32_t pair_packet(CtEntry *entry, uint32_t timeout, uint32_t stream) noexcept nogil:
    """UDP-Lite and GRE: a stream as soon as something follows an answer. Holds: the entry's lock."""
    if not entry.status & IPS_SEEN_REPLY:
        return timeout
    entry.status |= IPS_ASSURED
    return stream
