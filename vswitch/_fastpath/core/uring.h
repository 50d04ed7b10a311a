/* io_uring with nothing around it: batches of reads and writes that never wait, one system call a batch.
 *
 * A tap takes one frame a read or write. A batch submits many at once and is complete when io_uring_enter returns, since
 * every request is RWF_NOWAIT: it is done or it says EAGAIN. Files are registered, by port id, which saves taking a
 * reference a frame. See io_uring(7) and linux/io_uring.h; liburing is not needed for this little.
 *
 * Thread safety: submission belongs to the worker. uring_file may be called by the control side meanwhile.
 */
#ifndef VSWITCH_URING_H
#define VSWITCH_URING_H

#include "native.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

struct uring {
    int fd; /* below 0: not available here */
    unsigned *sq_tail, *sq_array, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask, queued;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    void *rings;
    size_t rings_size, sqes_size;
};

static inline void uring_close(struct uring *u)
{
    if (u->fd < 0)
        return;
    munmap(u->rings, u->rings_size);
    munmap(u->sqes, u->sqes_size);
    close(u->fd);
    u->fd = -1;
}

/* Returns 0, or the errno for which this machine has no such ring. */
static inline int uring_open(struct uring *u, unsigned entries, unsigned files)
{
    struct io_uring_params params = {.flags = IORING_SETUP_CLAMP};
    struct io_uring_rsrc_register sparse = {.nr = files, .flags = IORING_RSRC_REGISTER_SPARSE};
    char *base;
    memset(u, 0, sizeof *u);
    u->fd = (int)syscall(__NR_io_uring_setup, entries, &params);
    if (u->fd < 0)
        return errno;
    u->rings_size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    if (u->rings_size < params.sq_off.array + params.sq_entries * sizeof(unsigned))
        u->rings_size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    u->sqes_size = params.sq_entries * sizeof(struct io_uring_sqe);
    base = mmap(NULL, u->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->fd, IORING_OFF_SQ_RING);
    u->rings = base;
    u->sqes = mmap(NULL, u->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u->fd, IORING_OFF_SQES);
    if (!(params.features & IORING_FEAT_SINGLE_MMAP) || u->rings == MAP_FAILED || u->sqes == MAP_FAILED
        || syscall(__NR_io_uring_register, u->fd, IORING_REGISTER_FILES2, &sparse, sizeof sparse) < 0) {
        int error = errno ? errno : ENOSYS;
        if (u->rings != MAP_FAILED)
            munmap(u->rings, u->rings_size);
        if (u->sqes != MAP_FAILED)
            munmap(u->sqes, u->sqes_size);
        close(u->fd);
        u->fd = -1;
        return error;
    }
    u->sq_tail = (unsigned *)(base + params.sq_off.tail);
    u->sq_array = (unsigned *)(base + params.sq_off.array);
    u->sq_mask = *(unsigned *)(base + params.sq_off.ring_mask);
    u->cq_head = (unsigned *)(base + params.cq_off.head);
    u->cq_tail = (unsigned *)(base + params.cq_off.tail);
    u->cq_mask = *(unsigned *)(base + params.cq_off.ring_mask);
    u->cqes = (struct io_uring_cqe *)(base + params.cq_off.cqes);
    return 0;
}

/* Whether a file can be told never to wait: a tap can from Linux 6.4 on, before that it refuses whatever is asked of it so.
 * Asked by a write that is too short for a tap to take. */
static inline int uring_suits(int fd)
{
    char byte = 0;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    return pwritev2(fd, &part, 1, -1, RWF_NOWAIT) < 0 && errno == EINVAL;
}

/* Put a descriptor into a slot of the file table, or -1 to empty it. Returns 0 or an errno. */
static inline int uring_file(struct uring *u, unsigned slot, int fd)
{
    struct io_uring_rsrc_update2 update = {.offset = slot, .data = (uint64_t)(uintptr_t)&fd, .nr = 1};
    if (u->fd < 0)
        return ENOSYS;
    return syscall(__NR_io_uring_register, u->fd, IORING_REGISTER_FILES_UPDATE2, &update, sizeof update) < 0 ? errno : 0;
}

/* Queue one request on the file of a slot; at most the ring's entries between two submits. */
static inline void uring_queue(struct uring *u, int opcode, unsigned slot, const void *address, unsigned length, uint64_t tag)
{
    unsigned tail = *u->sq_tail, at = tail & u->sq_mask;
    struct io_uring_sqe *sqe = &u->sqes[at];
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = (uint8_t)opcode;
    sqe->flags = IOSQE_FIXED_FILE;
    sqe->fd = (int)slot;
    sqe->addr = (uint64_t)(uintptr_t)address;
    sqe->len = length;
    sqe->rw_flags = RWF_NOWAIT;
    sqe->user_data = tag;
    u->sq_array[at] = at;
    __atomic_store_n(u->sq_tail, tail + 1, __ATOMIC_RELEASE);
    u->queued++;
}

/* Run all queued requests; results[tag] becomes the bytes moved, or a negative errno. What the kernel would not take is
 * withdrawn, since it points at memory that is the caller's again: its result stays as the caller set it. */
static inline void uring_run(struct uring *u, int *results)
{
    unsigned wanted = u->queued, head = *u->cq_head;
    while (u->queued) {
        int n = (int)syscall(__NR_io_uring_enter, u->fd, u->queued, u->queued, IORING_ENTER_GETEVENTS, NULL, 0);
        if (n < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
            break;
        if (n > 0)
            u->queued -= (unsigned)n;
    }
    __atomic_store_n(u->sq_tail, *u->sq_tail - u->queued, __ATOMIC_RELEASE);
    wanted -= u->queued;
    u->queued = 0;
    while (wanted) {
        if (head == __atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE))
            syscall(__NR_io_uring_enter, u->fd, 0, wanted, IORING_ENTER_GETEVENTS, NULL, 0);
        for (; wanted && head != __atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE); head++, wanted--) {
            struct io_uring_cqe *cqe = &u->cqes[head & u->cq_mask];
            results[cqe->user_data] = cqe->res;
        }
    }
    __atomic_store_n(u->cq_head, head, __ATOMIC_RELEASE);
}

#endif
