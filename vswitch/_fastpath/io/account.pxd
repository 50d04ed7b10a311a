"""What became of a frame that transmit tried to send, in the books of the port that it came from."""
from libc.stdint cimport uint8_t, uint64_t

from ..core.context cimport Context, TxEntry, charge
from ..core.counters cimport PortCounters
from ..core.native cimport EAGAIN, EBADF, EBADFD, EIO, EMSGSIZE, ENETDOWN, ENOBUFS, ENODEV, ENOMEM, ENXIO, count
from ..core.snapshot cimport Port
from ..core.verdict cimport EXCEEDS_MTU, PORT_DOWN, TX_ERROR, TX_FULL

cdef struct Tally:
    # What one call to a port's send has sent: counted once a call, not once a frame.
    uint64_t frames
    uint64_t bytes

cdef inline void sent(Tally *tally, const TxEntry *entry) noexcept nogil:
    tally.frames += entry.counted != 0
    tally.bytes += entry.counted

cdef inline void settle(Context *ctx, const Port *port, const Tally *tally) noexcept nogil:
    cdef PortCounters *counters = &ctx.counters[port.id]
    count(&ctx.origin.delivered, tally.frames)
    count(&counters.tx_frames, tally.frames)
    count(&counters.tx_bytes, tally.bytes)

cdef inline void unsent(Context *ctx, const TxEntry *entry, int error) noexcept nogil:
    if entry.counted:
        charge(ctx, send_verdict(error))
    else:
        count(&ctx.origin.segments_lost, 1)

cdef inline uint8_t send_verdict(int error) noexcept nogil:
    if error == EAGAIN or error == ENOBUFS or error == ENOMEM:
        return TX_FULL
    # A tap answers EIO while its device is down, EBADFD once it is gone; a packet socket ENETDOWN, ENXIO, ENODEV.
    if error == EIO or error == ENETDOWN or error == ENXIO or error == ENODEV or error == EBADFD or error == EBADF:
        return PORT_DOWN
    return EXCEEDS_MTU if error == EMSGSIZE else TX_ERROR
