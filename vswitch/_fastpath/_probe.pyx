"""Test doors: drive a worker that is not running, frame by frame and at a time of the caller's choice.

The inlines are the ones that worker.pyx compiles. Not in the wheel.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from .core.frame cimport Burst
from .core.native cimport monotonic_ns
from .core.snapshot cimport PORT_NONE, Port
from .io.receive cimport receive
from .l3.reassemble cimport expire_fragments
from .worker cimport Worker, WorkerState, adopt, queues_due, run, serve_own


cdef uint64_t _round(WorkerState *w, uint32_t id) noexcept nogil:
    cdef uint64_t received
    if id >= w.ctx.snapshot.n_ports or w.ctx.snapshot.ports[id].kind == PORT_NONE:
        return 0
    receive(&w.ctx, &w.burst, &w.ctx.snapshot.ports[id])
    received = w.burst.n                # the burst is another when the switch has had its say
    if received:
        run(&w.ctx, &w.burst)
    return received


def step(Worker worker, list ports, uint64_t now_ns):
    """Serve each of the ports until it is empty, as if the time were now_ns; returns how many frames that took."""
    cdef WorkerState *w = &worker.state
    cdef uint64_t total = 0, moved
    cdef uint32_t port
    w.ctx.now_ns = now_ns
    w.ctx.now_s = <uint32_t>(now_ns // 1000000000ULL)
    adopt(w)
    for port in ports:
        moved = _round(w, port)
        while moved:
            total += moved
            moved = _round(w, port)
    queues_due(w)
    return total


def step_own(Worker worker, int fd, uint64_t now_ns):
    """Take what the control side has sent by the switch's own port, whose eventfd is `fd`; returns how many frames."""
    cdef WorkerState *w = &worker.state
    w.ctx.now_ns = now_ns
    w.ctx.now_s = <uint32_t>(now_ns // 1000000000ULL)
    adopt(w)
    return serve_own(w, fd)


def expire(Worker worker, uint64_t now_ns):
    """Give up the fragments that are overdue at that time, as the worker does once a second."""
    expire_fragments(worker.state.ctx.fragments, worker.state.ctx.counters, <uint32_t>(now_ns // 1000000000ULL))


def in_batches(Worker worker, uint32_t port):
    """Whether the worker may move the frames of a port that it watches in batches (io_uring)."""
    return bool(worker.state.ctx.in_ring[port])


def byte_at(Worker worker, uint32_t port, int64_t at):
    """Receive what waits at the port, and read the byte at `at` of the first frame, wherever that is."""
    cdef WorkerState *w = &worker.state
    adopt(w)
    receive(&w.ctx, &w.burst, &w.ctx.snapshot.ports[port])
    return w.burst.frames[0].data[at]


def replay(Worker worker, uint32_t port, uint64_t frames):
    """Take `frames` frames, or a few more, from a looping memory port; returns (frames, nanoseconds). Holds no GIL."""
    cdef WorkerState *w = &worker.state
    cdef uint64_t started, taken = 0, moved = 1
    w.ctx.now_ns = monotonic_ns()
    adopt(w)
    with nogil:
        started = monotonic_ns()
        while taken < frames and moved:
            w.ctx.now_ns = monotonic_ns()
            w.ctx.now_s = <uint32_t>(w.ctx.now_ns // 1000000000ULL)
            moved = _round(w, port)
            taken += moved
        started = monotonic_ns() - started
    return taken, started
