"""Frames from and to a tap (Documentation/networking/tuntap.rst): one read or write a frame, virtio-net header first."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..core.context cimport Context, PortIo, TxEntry
from ..core.frame cimport BURST, BURST_BYTES, FRAME_MAX, FRAME_TAIL, HEADROOM, VNET_LEN, Burst, burst_add
from ..core.native cimport errno, iovec, read, write, writev
from ..core.snapshot cimport Port
from .account cimport sent, unsent

cdef inline int receive_tap(Context *ctx, Burst *burst, int fd) noexcept nogil:
    """Reads until nothing is left or the burst is full; frames lie packed. Returns 0, or the errno that ended it."""
    cdef uint8_t *at = ctx.scratch + HEADROOM
    cdef uint8_t *end = ctx.scratch + BURST_BYTES
    cdef ssize_t n
    while burst.n < BURST and at < end:
        n = read(fd, at - VNET_LEN, VNET_LEN + FRAME_MAX + 1)
        if n < 0:
            return errno
        n = n - VNET_LEN if n > VNET_LEN else 0
        burst_add(burst, at, n)
        at += (n + HEADROOM + FRAME_TAIL) & ~63
    return 0

cdef inline void send_tap(Context *ctx, const Port *port, PortIo *io) noexcept nogil:
    cdef uint32_t i
    cdef TxEntry *entry
    cdef iovec parts[2]
    cdef ssize_t n
    cdef int fd = port.fds[ctx.worker]
    for i in range(io.tx_n):
        entry = &io.tx[i]
        if entry.body_len == 0:
            n = write(fd, entry.head, entry.head_len)
        else:
            parts[0].iov_base = <void *>entry.head
            parts[0].iov_len = entry.head_len
            parts[1].iov_base = <void *>entry.body
            parts[1].iov_len = entry.body_len
            n = writev(fd, parts, 2)
        if n >= 0:
            sent(ctx, port, entry)
        else:
            unsent(ctx, entry, errno)
