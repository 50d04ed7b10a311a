"""Frames from and to a tap (Documentation/networking/tuntap.rst): one read or write a frame, virtio-net header first.

While a tap delivers small frames by the handful, its reads and writes go through io_uring, a batch a system call. How many
to ask for is learned: twice as many after a full batch, one more than came after another. Large frames, single ones, and
machines without io_uring, or with taps that know no such batches (core/uring.h), use plain calls. In both ways a queue is known by port id, and never waits.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ..core.context cimport Context, PortIo
from ..core.frame cimport BURST, BURST_BYTES, FRAME_MAX, FRAME_TAIL, HEADROOM, SLOT, VNET_LEN, Burst, burst_add
from ..core.native cimport EAGAIN, errno, iovec, read, write, writev
from ..core.snapshot cimport Port
from ..core.tx cimport TxEntry
from ..core.uring cimport IORING_OP_READ, IORING_OP_WRITE, IORING_OP_WRITEV, uring_queue, uring_run
from .account cimport Tally, sent, settle, unsent

cdef enum:
    BATCH_MIN = 4                       # fewer are not worth a batch
    SMALL = 4096                        # bytes; frames that are longer on average are read one by one

cdef inline int receive_tap(Context *ctx, Burst *burst, const Port *port) noexcept nogil:
    """Reads until nothing is left or the burst is full. Returns 0, or the errno that ended it."""
    cdef PortIo *io = &ctx.io[port.id]
    cdef int error
    if io.rx_batch >= BATCH_MIN and ctx.in_ring[port.id]:
        error = read_batch(ctx, burst, port.id, io.rx_batch)
    else:
        error = read_each(ctx, burst, port.fds[ctx.worker])
    io.rx_batch = 0 if burst.bytes > <uint64_t>burst.n * SMALL else next_batch(io.rx_batch, burst.n)
    return error

cdef inline uint32_t next_batch(uint32_t asked, uint32_t got) noexcept nogil:
    cdef uint32_t batch = 2 * got if got >= asked else got + 1
    return batch if batch < BURST else BURST

cdef inline int read_each(Context *ctx, Burst *burst, int fd) noexcept nogil:
    """One system call a frame; they lie packed."""
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

cdef inline int read_batch(Context *ctx, Burst *burst, uint32_t id, uint32_t batch) noexcept nogil:
    """One system call for `batch` frames, each with a slot of its own."""
    cdef int results[BURST]
    cdef int error = 0
    cdef uint32_t i
    cdef uint8_t *at = ctx.scratch + HEADROOM
    for i in range(batch):
        results[i] = -EAGAIN
        uring_queue(&ctx.ring, IORING_OP_READ, id, at + i * SLOT - VNET_LEN, VNET_LEN + FRAME_MAX + 1, i)
    uring_run(&ctx.ring, results)
    for i in range(batch):
        if results[i] >= 0:
            burst_add(burst, at + i * SLOT, results[i] - VNET_LEN if results[i] > VNET_LEN else 0)
        else:
            error = -results[i]         # a frame may have come since: look at those that follow too
    return error

cdef inline void send_tap(Context *ctx, const Port *port, PortIo *io) noexcept nogil:
    cdef int results[BURST]
    cdef Tally tally = Tally(0, 0, 0)
    cdef uint32_t i
    if io.tx_n >= BATCH_MIN and ctx.in_ring[port.id]:
        write_batch(ctx, port, io, results)
    else:
        for i in range(io.tx_n):
            results[i] = write_one(port.fds[ctx.worker], &io.tx[i])
    for i in range(io.tx_n):
        if results[i] >= 0:
            sent(ctx, &tally, &io.tx[i])
        else:
            unsent(ctx, &io.tx[i], -results[i])
    settle(ctx, port, &tally)

cdef inline int write_one(int fd, const TxEntry *entry) noexcept nogil:
    """Bytes written, or a negative errno."""
    cdef iovec parts[2]
    cdef ssize_t n
    if entry.body_len == 0:
        n = write(fd, entry.head, entry.head_len)
    else:
        split(parts, entry)
        n = writev(fd, parts, 2)
    return n if n >= 0 else -errno

cdef inline void write_batch(Context *ctx, const Port *port, PortIo *io, int *results) noexcept nogil:
    cdef iovec parts[BURST][2]
    cdef uint32_t i
    for i in range(io.tx_n):
        results[i] = -EAGAIN
        if io.tx[i].body_len == 0:
            uring_queue(&ctx.ring, IORING_OP_WRITE, port.id, io.tx[i].head, io.tx[i].head_len, i)
        else:
            split(parts[i], &io.tx[i])
            uring_queue(&ctx.ring, IORING_OP_WRITEV, port.id, parts[i], 2, i)
    uring_run(&ctx.ring, results)

cdef inline void split(iovec *parts, const TxEntry *entry) noexcept nogil:
    parts[0].iov_base = <void *>entry.head
    parts[0].iov_len = entry.head_len
    parts[1].iov_base = <void *>entry.body
    parts[1].iov_len = entry.body_len
