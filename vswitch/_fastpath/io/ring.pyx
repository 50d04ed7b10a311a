"""The Python end of a memory port: inject frames, collect what came out."""
import os

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ..core.frame cimport FRAME_MAX, VNET_LEN
from ..core.counters cimport MAX_WORKERS
from ..core.native cimport close

PLAIN = bytes(VNET_LEN)


cdef class MemoryRings:
    """`size` bytes (a power of two) for each direction; `workers` may send to it. With `sink` what is sent is only counted.

    Frames are bytes from the destination MAC on; a virtio-net header of 12 bytes may go with each."""

    def __cinit__(self, str name, uint32_t workers=1, uint64_t size=1 << 21, bint sink=False, bint notify=False):
        cdef uint32_t worker
        if not 0 < workers <= MAX_WORKERS or size & (size - 1) or size < 2 * FRAME_MAX:
            raise ValueError(f"memory port {name}: 1 to {MAX_WORKERS} workers, a power of two above {2 * FRAME_MAX} bytes")
        self.name = name
        self.sink = sink
        self.port.event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._allocate(&self.port.rx, size)
        self.port.notify = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) if notify else 0
        if not sink:
            for worker in range(workers):
                self._allocate(&self.port.tx[worker], size)

    cdef int _allocate(self, Ring *ring, uint64_t size) except -1:
        ring.bytes = <uint8_t *>calloc(1, size)
        ring.size = size
        if ring.bytes == NULL:
            raise MemoryError
        return 0

    @property
    def event(self):
        return self.port.event

    @property
    def notify(self):
        """Readable when something has been sent; 0: nobody is told."""
        return self.port.notify

    def inject(self, frames, vnet=None):
        """Put frames in, each with its virtio-net header from `vnet` if given; returns how many the ring took."""
        cdef int taken = 0
        for index, frame in enumerate(frames):
            if not self._put(PLAIN if vnet is None else vnet[index], frame):
                break
            taken += 1
        os.eventfd_write(self.port.event, 1)
        return taken

    cdef bint _put(self, bytes header, bytes frame) except -1:
        cdef uint64_t length = len(frame) + VNET_LEN
        cdef uint8_t *room
        if len(header) != VNET_LEN:
            raise ValueError(f"a virtio-net header has {VNET_LEN} bytes, not {len(header)}")
        if len(frame) > 2 * FRAME_MAX:
            raise ValueError(f"a frame of {len(frame)} bytes is beyond what any device makes")
        room = ring_reserve(&self.port.rx, length)
        if room == NULL:
            return False
        memcpy(room, <const char *>header, VNET_LEN)
        memcpy(room + VNET_LEN, <const char *>frame, len(frame))
        ring_commit(&self.port.rx, length)
        return True

    def collect(self, bint vnet=False):
        """What has been sent to the port since the last call, worker by worker: frames, or (header, frame) with `vnet`."""
        cdef uint64_t length, head
        cdef const uint8_t *record
        cdef Ring *ring
        cdef uint32_t worker
        frames = []
        for worker in range(MAX_WORKERS):
            ring = &self.port.tx[worker]
            if ring.bytes == NULL:
                continue
            head = ring.head
            record = ring_at(ring, &head, &length)
            while record != NULL:
                frame = (<const char *>record)[VNET_LEN:length]
                frames.append(((<const char *>record)[:VNET_LEN], frame) if vnet else frame)
                atomic_store64(&ring.head, head)
                record = ring_at(ring, &head, &length)
        return frames

    def loop(self, bint on=True):
        """From now on take what has been injected over and over. For benchmarks."""
        self.port.looping = on

    def __dealloc__(self):
        cdef uint32_t worker
        free(self.port.rx.bytes)
        for worker in range(MAX_WORKERS):
            free(self.port.tx[worker].bytes)
        for fd in (self.port.event, self.port.notify):
            if fd > 0:
                close(fd)
