"""What is counted for a port, by one worker.

The books are kept by the port that a frame came from, whatever happens to it later:

    received + copied + generated = delivered + consumed + merged + queued + dropped

`copied` are the further copies of a flooded frame. tx_* count what left through this port, a super-frame as one. What
transmit cut super-frames into (`segments`, by the port out; `segments_lost`, by origin) stands apart: the last segment's
fate is the frame's. Thread safety: each worker writes its own array with relaxed stores; anybody reads.
"""
from libc.stdint cimport uint64_t

from .verdict cimport VERDICTS

cdef enum:
    MAX_PORTS = 4096            # port ids run from 0 to SELF_PORT - 1
    SELF_PORT = MAX_PORTS - 1   # the switch itself: the account of the frames that it makes
    MAX_WORKERS = 16

cdef struct PortCounters:
    uint64_t rx_frames
    uint64_t rx_bytes
    uint64_t tx_frames
    uint64_t tx_bytes
    uint64_t copied
    uint64_t generated
    uint64_t delivered
    uint64_t consumed
    uint64_t segments
    uint64_t segments_lost
    uint64_t rx_errors
    uint64_t merged             # fragments that became part of a whole packet
    uint64_t queued             # held back just now: for a neighbour, for the other fragments, for a user's verdict
    uint64_t pad[3]
    uint64_t drops[VERDICTS]

cdef struct WorkerCounters:
    uint64_t bursts             # receive calls that brought frames
    uint64_t frames
    uint64_t polls              # looks for work, with or without success
    uint64_t sleeps
    uint64_t busy_ns            # time spent on rounds that brought frames
    uint64_t started_ns         # CLOCK_MONOTONIC when the worker began; 0: not running
    uint64_t heartbeat_ns       # CLOCK_MONOTONIC of the last round
