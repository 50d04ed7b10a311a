"""native.h for Cython: see there."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "native.h" nogil:
    uint16_t load16(const void *p) noexcept
    uint32_t load32(const void *p) noexcept
    uint64_t load64(const void *p) noexcept
    void store16(void *p, uint16_t v) noexcept
    void store32(void *p, uint32_t v) noexcept
    void store64(void *p, uint64_t v) noexcept
    uint16_t load16be(const void *p) noexcept
    uint32_t load32be(const void *p) noexcept
    void store16be(void *p, uint16_t v) noexcept
    void store32be(void *p, uint32_t v) noexcept

    uint64_t atomic_load64(const uint64_t *p) noexcept
    void atomic_store64(uint64_t *p, uint64_t v) noexcept
    uint64_t atomic_load64_seq(const uint64_t *p) noexcept
    void atomic_store64_seq(uint64_t *p, uint64_t v) noexcept
    uint64_t atomic_add64(uint64_t *p, uint64_t v) noexcept
    uint64_t relaxed_load64(const uint64_t *p) noexcept
    void load_fence() noexcept
    void memory_fence() noexcept
    bint atomic_cas64(uint64_t *p, uint64_t expected, uint64_t desired) noexcept
    void count(uint64_t *p, uint64_t n) noexcept
    void cpu_relax() noexcept
    void spin_lock(uint64_t *lock) noexcept
    void spin_unlock(uint64_t *lock) noexcept
    uint64_t mix64(uint64_t a, uint64_t b) noexcept
    void prefetch(const void *p) noexcept
    uint64_t monotonic_ns() noexcept
    void memory_forbid(const void *p, size_t n) noexcept
    void memory_allow(const void *p, size_t n) noexcept

    int errno
    int EAGAIN, EINTR, EIO, EBADFD, EBADF, ENETDOWN, ENXIO, ENODEV, ENOBUFS, ENOMEM, EMSGSIZE, EINVAL

    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        uint32_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int close(int fd) noexcept
    ssize_t read(int fd, void *buffer, size_t size) noexcept
    ssize_t write(int fd, const void *buffer, size_t size) noexcept
    ssize_t writev(int fd, const iovec *vectors, int n) noexcept
    int recvmmsg(int fd, mmsghdr *messages, unsigned int n, int flags, void *timeout) noexcept
    int sendmmsg(int fd, mmsghdr *messages, unsigned int n, int flags) noexcept
    int MSG_DONTWAIT, MSG_TRUNC
    uint32_t auxdata_vlan(msghdr *msg) noexcept

    union epoll_data:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data data
    int EPOLLIN, EPOLL_CTL_ADD, EPOLL_CTL_DEL
    int epoll_create1(int flags) noexcept
    int epoll_ctl(int epfd, int operation, int fd, epoll_event *event) noexcept
    void exact_timers() noexcept
    int epoll_wait_ns(int epfd, epoll_event *events, int n, int64_t timeout_ns) noexcept
    int epoll_wait(int epfd, epoll_event *events, int n, int timeout_ms) noexcept
    int sched_yield() noexcept
