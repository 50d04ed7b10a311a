"""What became of a frame that transmit tried to send, in the books of the port that it came from."""
from libc.stdint cimport uint8_t, uint64_t

from ..core.context cimport Context, charge
from ..core.counters cimport PortCounters
from ..core.native cimport EAGAIN, EBADF, EBADFD, EIO, EMSGSIZE, ENETDOWN, ENOBUFS, ENODEV, ENOMEM, ENXIO, count
from ..core.snapshot cimport Port
from ..core.tx cimport TxEntry
from ..core.verdict cimport EXCEEDS_MTU, PORT_DOWN, TX_ERROR, TX_FULL
from ..qos.queue cimport lose, put_back, release

cdef struct Tally:
    # What one call to a port's send has sent: counted once a call, not once a frame.
    uint64_t frames
    uint64_t bytes
    uint64_t held                       # frames from queueing disciplines, each of which may have come from another port

cdef inline void sent(Context *ctx, Tally *tally, const TxEntry *entry) noexcept nogil:
    tally.frames += entry.counted != 0
    tally.bytes += entry.counted
    if entry.held and entry.last:
        tally.held += entry.counted != 0
        release(ctx.scheduler, entry.held)

cdef inline void settle(Context *ctx, const Port *port, const Tally *tally) noexcept nogil:
    cdef PortCounters *counters = &ctx.counters[port.id]
    count(&counters.tx_frames, tally.frames)
    count(&counters.tx_bytes, tally.bytes)
    if tally.frames != tally.held:
        count(&ctx.origin.delivered, tally.frames - tally.held)

cdef inline void unsent(Context *ctx, const TxEntry *entry, int error) noexcept nogil:
    cdef uint8_t verdict = send_verdict(error)
    if verdict == TX_FULL and entry.held and put_back(ctx.scheduler, entry):
        return
    ended(ctx, entry, verdict)

cdef inline void ended(Context *ctx, const TxEntry *entry, uint8_t verdict) noexcept nogil:
    """It will not be sent."""
    if entry.held and entry.last:
        lose(ctx.scheduler, entry.held, verdict)
    elif entry.counted:
        charge(ctx, verdict)
    else:
        count(&ctx.origin.segments_lost, 1)

cdef inline uint8_t send_verdict(int error) noexcept nogil:
    if error == EAGAIN or error == ENOBUFS or error == ENOMEM:
        return TX_FULL
    # A tap answers EIO while its device is down, EBADFD once it is gone; a packet socket ENETDOWN, ENXIO, ENODEV.
    if error == EIO or error == ENETDOWN or error == ENXIO or error == ENODEV or error == EBADFD or error == EBADF:
        return PORT_DOWN
    return EXCEEDS_MTU if error == EMSGSIZE else TX_ERROR
