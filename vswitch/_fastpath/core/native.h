/* What only C can say: unaligned loads and stores, C11-style atomics, a clock, prefetch, and AF_PACKET's names.
 *
 * Loads and stores go through memcpy, which compilers turn into single moves and which, unlike a cast pointer,
 * is defined for every alignment. Network order is big-endian; `le` and `be` say which is meant.
 */
#ifndef VSWITCH_NATIVE_H
#define VSWITCH_NATIVE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

/* Each is a few instructions, but the functions that they go into are so large that compilers would call them. */
#define NATIVE static inline __attribute__((always_inline))

NATIVE uint16_t load16(const void *p) { uint16_t v; memcpy(&v, p, sizeof v); return v; }
NATIVE uint32_t load32(const void *p) { uint32_t v; memcpy(&v, p, sizeof v); return v; }
NATIVE uint64_t load64(const void *p) { uint64_t v; memcpy(&v, p, sizeof v); return v; }
NATIVE void store16(void *p, uint16_t v) { memcpy(p, &v, sizeof v); }
NATIVE void store32(void *p, uint32_t v) { memcpy(p, &v, sizeof v); }
NATIVE void store64(void *p, uint64_t v) { memcpy(p, &v, sizeof v); }
NATIVE uint16_t load16be(const void *p) { return __builtin_bswap16(load16(p)); }
NATIVE uint32_t load32be(const void *p) { return __builtin_bswap32(load32(p)); }
NATIVE void store16be(void *p, uint16_t v) { store16(p, __builtin_bswap16(v)); }
NATIVE void store32be(void *p, uint32_t v) { store32(p, __builtin_bswap32(v)); }

NATIVE uint64_t atomic_load64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
NATIVE void atomic_store64(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
NATIVE uint64_t atomic_load64_seq(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
NATIVE void atomic_store64_seq(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
NATIVE uint64_t atomic_add64(uint64_t *p, uint64_t v) { return __atomic_add_fetch(p, v, __ATOMIC_RELAXED); }
NATIVE uint64_t relaxed_load64(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
/* Loads before it are done before loads after it: for readers that copy first and check afterwards. */
NATIVE void load_fence(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
/* A store before it is seen by all before a load after it is made. */
NATIVE void memory_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
NATIVE int atomic_cas64(uint64_t *p, uint64_t expected, uint64_t desired)
{
    return __atomic_compare_exchange_n(p, &expected, desired, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* A counter has one writer, its worker; others only read it. A relaxed store keeps a reader from a torn value. */
NATIVE void count(uint64_t *p, uint64_t n)
{
    __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

#if defined(__x86_64__)
NATIVE void cpu_relax(void) { __builtin_ia32_pause(); }
#else
NATIVE void cpu_relax(void) { __asm__ volatile("" ::: "memory"); }
#endif

/* A lock for a few instructions. The holder may be descheduled on a busy machine, so waiting turns into yielding. */
NATIVE void spin_lock(uint64_t *lock)
{
    for (unsigned tries = 0; !atomic_cas64(lock, 0, 1); tries++) {
        if (tries < 64)
            cpu_relax();
        else
            sched_yield();
    }
}
NATIVE void spin_unlock(uint64_t *lock) { atomic_store64(lock, 0); }

/* Folds a 64 x 64 -> 128 bit product: a keyed, non-linear mix in one multiplication (the core of wyhash). */
NATIVE uint64_t mix64(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

NATIVE void prefetch(const void *p) { __builtin_prefetch(p, 0, 3); }

/* Arenas are mapped, so AddressSanitizer knows no bounds in them: whoever lays frames out there says which bytes may be
 * touched. In every other build this is nothing. */
#ifdef __SANITIZE_ADDRESS__
NATIVE void memory_forbid(const void *p, size_t n) { __asan_poison_memory_region(p, n); }
NATIVE void memory_allow(const void *p, size_t n) { __asan_unpoison_memory_region(p, n); }
#else
NATIVE void memory_forbid(const void *p, size_t n) { (void)p, (void)n; }
NATIVE void memory_allow(const void *p, size_t n) { (void)p, (void)n; }
#endif

/* A thread's sleep ends when it is due, not up to 50 us later (timer slack, prctl(2)). */
NATIVE void exact_timers(void) { prctl(PR_SET_TIMERSLACK, 1); }

/* epoll_pwait2(2) by number, which the kernel has had for longer (5.11) than some C libraries; before, milliseconds must do.
 * A negative timeout waits for ever. */
NATIVE int epoll_wait_ns(int epfd, struct epoll_event *events, int n, int64_t timeout_ns)
{
    struct timespec t = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
    int found;
    if (timeout_ns < 0)
        return epoll_wait(epfd, events, n, -1);
    found = (int)syscall(SYS_epoll_pwait2, epfd, events, n, &t, NULL, (size_t)0);
    if (found < 0 && errno == ENOSYS)
        found = epoll_wait(epfd, events, n, (int)((timeout_ns + 999999) / 1000000));
    return found;
}

NATIVE uint64_t monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* The 802.1Q tag that the kernel took off the frame (PACKET_AUXDATA), as TPID << 16 | TCI; 0: there was none. */
NATIVE uint32_t auxdata_vlan(struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        struct tpacket_auxdata aux;
        if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA || c->cmsg_len < CMSG_LEN(sizeof aux))
            continue;
        memcpy(&aux, CMSG_DATA(c), sizeof aux);
        if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
            return 0;
        return (uint32_t)(aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : 0x8100) << 16 | aux.tp_vlan_tci;
    }
    return 0;
}

#endif
