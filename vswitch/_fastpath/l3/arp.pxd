"""ARP (RFC 826, RFC 5227) on a device: answer for its IPv4 addresses, note who speaks to us, ask for others.

A frame comes with its tag taken off, its ARP packet at data + 14. A request for an address of ours is turned into
the answer where it lies; that makes it 60 bytes long, for which every frame has room behind it (FRAME_TAIL). What
does not concern the device is left to be bridged. Nothing is answered for others (no proxy).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from ..core.frame cimport Frame
from ..core.ip cimport Ip, ip4_at, ip4_word, ip_equal, ip_is_multicast, ip_is_zero
from ..core.native cimport atomic_add64, load16be, memory_allow, store16be, store32, store64
from ..core.snapshot cimport Device
from ..core.wire cimport ETH_HLEN, mac_at, mac_is_group
from .address cimport device_on_link, device_owns, ip_is_loopback
from .neighbour cimport Neighbours
from .resolve cimport *
from .hop cimport set_macs

cdef enum:
    ETH_P_ARP = 0x0806
    ARP_LEN = 28
    ARP_FRAME = ETH_HLEN + ARP_LEN
    ETH_MIN = 60                        # without the frame check sequence
    ARP_REQUEST = 1
    ARP_REPLY = 2
    ARP_HARDWARE_ETHERNET = 1
    ARP_HARDWARE_IEEE802 = 6            # which some send for the same thing

cdef inline bint arp_valid(const uint8_t *data, uint32_t length) noexcept nogil:
    """Whether it is a whole ARP packet, for IPv4 over Ethernet, that asks or answers."""
    cdef const uint8_t *arp = data + ETH_HLEN
    if length < ARP_FRAME or load16be(data + 12) != ETH_P_ARP:
        return False
    if load16be(arp) != ARP_HARDWARE_ETHERNET and load16be(arp) != ARP_HARDWARE_IEEE802:
        return False
    if load16be(arp + 2) != 0x0800 or arp[4] != 6 or arp[5] != 4:
        return False
    return load16be(arp + 6) == ARP_REQUEST or load16be(arp + 6) == ARP_REPLY

cdef inline Heard arp_hear(const Device *device, Neighbours *table, Frame *frame, uint32_t now_s,
                           uint32_t *waiting) noexcept nogil:
    """What an ARP frame is to the device. *waiting: frames that may leave now (neighbour_release).

    HEARD_ANSWERED: `frame` is the answer, to go back by the port it came from."""
    cdef const uint8_t *arp = frame.data + ETH_HLEN
    cdef uint64_t sender_mac
    cdef Ip sender, target
    waiting[0] = 0
    if not arp_valid(frame.data, frame.len):
        atomic_add64(&table.header.malformed, 1)
        return HEARD_MALFORMED
    sender_mac, sender, target = mac_at(arp + 8), ip4_at(arp + 14), ip4_at(arp + 24)
    if mac_is_group(sender_mac) or sender_mac == 0 or ip_is_multicast(&sender) or ip_is_loopback(&target):
        atomic_add64(&table.header.malformed, 1)
        return HEARD_MALFORMED
    if device_owns(device, &sender):
        if sender_mac == device.mac:
            return HEARD_OTHER          # our own, come round
        atomic_add64(&table.header.spoofed, 1)
        return HEARD_SPOOFED
    if load16be(arp + 6) == ARP_REQUEST and device_owns(device, &target):
        arp_note(device, table, &sender, sender_mac, LEARN_CREATE | LEARN_OVERRIDE, now_s, waiting)
        arp_answer(device, frame, sender_mac, &sender, &target)
        return HEARD_ANSWERED
    return arp_overhear(device, table, frame.data, &sender, now_s, waiting)

cdef inline Heard arp_overhear(const Device *device, Neighbours *table, const uint8_t *data, const Ip *sender,
                               uint32_t now_s, uint32_t *waiting) noexcept nogil:
    """An answer, or what is said to all: brings what is known of the sender up to date, and makes nobody known."""
    cdef const uint8_t *arp = data + ETH_HLEN
    cdef Ip target = ip4_at(arp + 24)
    cdef bint gratuitous = ip_equal(sender, &target)
    cdef bint to_us = mac_at(data) == device.mac
    cdef uint32_t how = LEARN_OVERRIDE if gratuitous else LEARN_OVERRIDE | LEARN_LATE
    if load16be(arp + 6) == ARP_REPLY:
        # Only an answer to us proves that the sender hears us.
        if to_us and not gratuitous:
            how |= LEARN_CONFIRM
        # A probe of the control side's (own.py) asked from nobody's address: nothing is known of whom it looks for.
        if to_us and ip_is_zero(&target):
            how |= LEARN_CREATE
    elif not gratuitous:
        return HEARD_LEARNED if to_us else HEARD_OTHER
    arp_note(device, table, sender, mac_at(arp + 8), how, now_s, waiting)
    return HEARD_LEARNED if to_us else HEARD_OTHER

cdef inline void arp_note(const Device *device, Neighbours *table, const Ip *sender, uint64_t mac, uint32_t how,
                          uint32_t now_s, uint32_t *waiting) noexcept nogil:
    """Believe it of the device's own networks only; a probe (RFC 5227) names no sender."""
    if not ip_is_zero(sender) and device_on_link(device, sender):
        neighbour_learn(table, device.id, sender, mac, how, now_s, waiting)

cdef inline void arp_answer(const Device *device, Frame *frame, uint64_t asker_mac, const Ip *asker,
                            const Ip *own) noexcept nogil:
    memory_allow(frame.data, ETH_MIN)
    frame.len = arp_write(frame.data, device.mac, ARP_REPLY, own, asker, asker_mac, asker_mac)

cdef inline uint32_t arp_request(uint8_t *out, const Device *device, const Ip *source, const Ip *target,
                                 uint64_t mac) noexcept nogil:
    """Ask for `target`: its last known `mac`, or all where that is 0. A frame of 60 bytes.

    `source` for `target` announces an address of ours (gratuitous ARP)."""
    return arp_write(out, device.mac, ARP_REQUEST, source, target, 0, mac if mac else 0xffffffffffffULL)

cdef inline uint32_t arp_write(uint8_t *out, uint64_t own_mac, uint16_t operation, const Ip *sender, const Ip *target,
                               uint64_t target_mac, uint64_t to) noexcept nogil:
    """A whole frame; `out` has room for 60 bytes."""
    cdef uint8_t *arp = out + ETH_HLEN
    cdef uint32_t sender_word = ip4_word(sender), target_word = ip4_word(target)
    memset(out, 0, ETH_MIN)
    set_macs(out, to, own_mac)
    store16be(out + 12, ETH_P_ARP)
    store16be(arp, ARP_HARDWARE_ETHERNET)
    store16be(arp + 2, 0x0800)
    arp[4] = 6
    arp[5] = 4
    store16be(arp + 6, operation)
    store64(arp + 8, own_mac)           # 8 bytes, of which the next store replaces two
    store32(arp + 14, sender_word)
    store64(arp + 18, target_mac)
    store32(arp + 24, target_word)
    return ETH_MIN
