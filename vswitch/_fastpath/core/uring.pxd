"""uring.h for Cython: see there."""
from libc.stdint cimport uint64_t

cdef extern from "uring.h" nogil:
    struct uring:
        int fd
    int IORING_OP_READ, IORING_OP_WRITE, IORING_OP_WRITEV
    int uring_open(uring *u, unsigned int entries, unsigned int files) noexcept
    void uring_close(uring *u) noexcept
    bint uring_suits(int fd) noexcept
    int uring_file(uring *u, unsigned int slot, int fd) noexcept
    void uring_queue(uring *u, int opcode, unsigned int slot, const void *address, unsigned int length,
                     uint64_t tag) noexcept
    void uring_run(uring *u, int *results) noexcept
