"""How many ICMP errors may leave: a token bucket a device, and one for each host they go to (the kernel's
icmp_msgs_per_sec and icmp_ratelimit). Path MTU discovery is not limited, as in the kernel: what it says is said once
a path.

A bucket is one word, the time when its next message would be due at the sustained rate (GCRA): it may be that far in
the future as the burst allows. Hosts share a table of fixed size by keyed hash; two that meet there share a bucket,
which errs on the side of silence. Any worker may take from any bucket: a compare-and-swap.
"""
from libc.stdint cimport uint16_t, uint64_t

from ..core.arena cimport Arena
from ..core.ip cimport Ip
from ..core.native cimport atomic_add64, atomic_cas64, mix64, relaxed_load64

cdef enum:
    LIMIT_DEVICES = 4096
    LIMIT_HOSTS = 16384                 # powers of two

cdef struct IcmpLimits:                 # the arena's body
    uint64_t seed[2]
    uint64_t interval_ns                # between two messages of a device: 1 ms
    uint64_t burst
    uint64_t host_interval_ns           # to one host: 1 s; 0: no limit
    uint64_t host_burst
    uint64_t allowed
    uint64_t refused
    uint64_t device_due_ns[LIMIT_DEVICES]
    uint64_t host_due_ns[LIMIT_HOSTS]


cdef inline bint token_take(uint64_t *due_ns, uint64_t interval_ns, uint64_t burst, uint64_t now_ns) noexcept nogil:
    """Whether the bucket had one; it is gone then."""
    cdef uint64_t due = relaxed_load64(due_ns)
    if due > now_ns + interval_ns * (burst - 1):
        return False
    # Another worker took one at this moment: rather none than two for one.
    return atomic_cas64(due_ns, due, (due if due > now_ns else now_ns) + interval_ns)

cdef inline bint icmp_allowed(IcmpLimits *limits, uint16_t device, const Ip *host, uint64_t now_ns) noexcept nogil:
    """Whether an ICMP error may be sent out of the device to the host now."""
    cdef uint64_t bucket = mix64(host.high ^ limits.seed[0], host.low ^ limits.seed[1]) & (LIMIT_HOSTS - 1)
    cdef uint64_t *shared = &limits.device_due_ns[device & (LIMIT_DEVICES - 1)]
    if token_take(&limits.host_due_ns[bucket], limits.host_interval_ns, limits.host_burst, now_ns) \
            and token_take(shared, limits.interval_ns, limits.burst, now_ns):
        atomic_add64(&limits.allowed, 1)
        return True
    atomic_add64(&limits.refused, 1)
    return False


cdef class IcmpLimiter:
    cdef Arena arena
    cdef IcmpLimits *limits
