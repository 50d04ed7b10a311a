"""The Python face of the ICMP rate limits: make, change, count. See limit.pxd."""
import os

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from ..core.arena cimport Arena
from ..core.native cimport relaxed_load64


cdef class IcmpLimiter:
    """The limits of all devices; the defaults are the kernel's."""

    def __cinit__(self):
        self.arena = Arena("icmp", sizeof(IcmpLimits), "icmp/1")
        self.limits = <IcmpLimits *>self.arena.body()
        seed = os.urandom(16)
        memcpy(self.limits.seed, <const char *>seed, 16)
        self.set_limits()

    def set_limits(self, uint64_t messages_per_s=1000, uint64_t burst=50, uint64_t ratelimit_ms=1000,
                   uint64_t host_burst=6):
        """A device's messages a second and their burst; the time between two to one host, and how many at once."""
        if not messages_per_s or not burst or not host_burst:
            raise ValueError("rates and bursts are at least 1")
        self.limits.interval_ns = 1000000000 // messages_per_s
        self.limits.burst = burst
        self.limits.host_interval_ns = ratelimit_ms * 1000000
        self.limits.host_burst = host_burst

    def counters(self):
        """(allowed, refused) since the start."""
        return relaxed_load64(&self.limits.allowed), relaxed_load64(&self.limits.refused)
