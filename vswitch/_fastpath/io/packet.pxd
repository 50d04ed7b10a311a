"""Frames from and to a packet socket (packet(7)): recvmmsg and sendmmsg, with virtio-net headers of 10 bytes.

The kernel takes an outer VLAN tag off before a packet socket sees the frame and reports it beside it (PACKET_AUXDATA). An
802.1Q tag stays metadata; any other (802.1ad) is put back, since to the stages it is payload.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memmove

from ..core.context cimport Context, PortIo
from ..core.frame cimport BURST, FRAME_MAX, HEADROOM, SLOT, VNET_LEN, Burst, Frame, burst_add
from ..core.native cimport (
    MSG_DONTWAIT, MSG_TRUNC, auxdata_vlan, errno, iovec, mmsghdr, recvmmsg, sendmmsg, store16, store16be,
)
from ..core.snapshot cimport Port
from ..core.tx cimport TxEntry
from ..core.wire cimport ETH_MACS, ETH_P_8021Q, VLAN_HLEN
from .account cimport Tally, sent, settle, unsent
from .vnet cimport VnetHdr, vnet_is_plain, vnet_shift

cdef enum:
    PACKET_VNET_LEN = 10                # struct virtio_net_hdr: v1 without num_buffers
    CONTROL_WORDS = 8                   # room for one PACKET_AUXDATA message
    SUPER_BATCH = 4                     # frames at once while super-frames arrive: they should leave before they are cold
    SUPER_FRAME = 4096

cdef inline int receive_packet(Context *ctx, Burst *burst, int fd) noexcept nogil:
    """One recvmmsg. Returns 0, or its errno."""
    cdef mmsghdr messages[BURST]
    cdef iovec parts[BURST][2]
    cdef uint64_t control[BURST][CONTROL_WORDS]
    cdef PortIo *io = &ctx.io[burst.port.id]
    cdef uint32_t i, batch = io.rx_batch if io.rx_batch else BURST
    cdef uint8_t *at
    cdef int n
    for i in range(batch):
        at = ctx.scratch + i * SLOT + HEADROOM
        parts[i][0].iov_base = at - VNET_LEN
        parts[i][0].iov_len = PACKET_VNET_LEN
        parts[i][1].iov_base = at
        parts[i][1].iov_len = FRAME_MAX
        messages[i].msg_hdr.msg_name = NULL
        messages[i].msg_hdr.msg_namelen = 0
        messages[i].msg_hdr.msg_iov = parts[i]
        messages[i].msg_hdr.msg_iovlen = 2
        messages[i].msg_hdr.msg_control = control[i]
        messages[i].msg_hdr.msg_controllen = CONTROL_WORDS * 8
    n = recvmmsg(fd, messages, batch, MSG_DONTWAIT, NULL)
    if n < 0:
        return errno
    for i in range(<uint32_t>n):
        take_message(burst, ctx.scratch + i * SLOT + HEADROOM, &messages[i])
    io.rx_batch = SUPER_BATCH if burst.bytes > <uint64_t>n * SUPER_FRAME else BURST
    return 0

cdef inline void take_message(Burst *burst, uint8_t *at, mmsghdr *message) noexcept nogil:
    cdef uint32_t length = message.msg_len - PACKET_VNET_LEN if message.msg_len > PACKET_VNET_LEN else 0
    cdef uint32_t tag = auxdata_vlan(&message.msg_hdr)
    cdef Frame *frame
    store16(at - 2, 0)                  # num_buffers
    if message.msg_hdr.msg_flags & MSG_TRUNC:
        length = FRAME_MAX + 1          # parse drops it as oversized
    elif tag and tag >> 16 != ETH_P_8021Q and length >= ETH_MACS:
        memmove(at - VNET_LEN - VLAN_HLEN, at - VNET_LEN, VNET_LEN + ETH_MACS)
        at -= VLAN_HLEN
        length += VLAN_HLEN
        store16be(at + ETH_MACS, tag >> 16)
        store16be(at + ETH_MACS + 2, tag)
        if not vnet_is_plain(at - VNET_LEN):
            vnet_shift(<VnetHdr *>(at - VNET_LEN), VLAN_HLEN)
        tag = 0
    frame = burst_add(burst, at, length)
    frame.aux = tag

cdef inline void send_packet(Context *ctx, const Port *port, PortIo *io) noexcept nogil:
    cdef mmsghdr messages[BURST]
    cdef iovec parts[BURST][3]
    cdef Tally tally = Tally(0, 0, 0)
    cdef uint32_t i, done = 0
    cdef int n
    for i in range(io.tx_n):
        put_message(&messages[i], parts[i], &io.tx[i])
    while done < io.tx_n:
        n = sendmmsg(port.fds[ctx.worker], &messages[done], io.tx_n - done, MSG_DONTWAIT)
        if n <= 0:
            unsent(ctx, &io.tx[done], errno)
            n = 0
            done += 1                   # the first one failed: go on behind it
        for i in range(done, done + <uint32_t>n):
            sent(ctx, &tally, &io.tx[i])
        done += <uint32_t>n
    settle(ctx, port, &tally)

cdef inline void put_message(mmsghdr *message, iovec *parts, const TxEntry *entry) noexcept nogil:
    parts[0].iov_base = <void *>entry.head
    parts[0].iov_len = PACKET_VNET_LEN
    parts[1].iov_base = <void *>(entry.head + VNET_LEN)
    parts[1].iov_len = entry.head_len - VNET_LEN
    parts[2].iov_base = <void *>entry.body
    parts[2].iov_len = entry.body_len
    message.msg_hdr.msg_name = NULL
    message.msg_hdr.msg_namelen = 0
    message.msg_hdr.msg_iov = parts
    message.msg_hdr.msg_iovlen = 3 if entry.body_len else 2
    message.msg_hdr.msg_control = NULL
    message.msg_hdr.msg_controllen = 0
    message.msg_hdr.msg_flags = 0
