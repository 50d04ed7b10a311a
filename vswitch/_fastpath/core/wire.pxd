"""Ethernet as it lies on the wire (IEEE 802.3, 802.1Q, 802.1ad): offsets, constants, MAC addresses as numbers.

A MAC address travels as the low 48 bits of a little-endian load, so that comparing, hashing and testing it take one
instruction each; bit 0 of its first byte (I/G: a group address) is then bit 0 of the number.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from .native cimport load16be, load64

cdef enum:
    ETH_ALEN = 6
    ETH_HLEN = 14                       # destination, source, EtherType
    ETH_MACS = 12
    VLAN_HLEN = 4                       # TPID, TCI
    ETH_P_8021Q = 0x8100
    ETH_P_8021AD = 0x88a8
    VID_MASK = 0x0fff
    VID_RESERVED = 0x0fff               # 802.1Q-2018 table 9-2: not to be carried
    TCI_PRIORITY = 0xf000               # PCP and DEI

cdef inline uint64_t mac_at(const uint8_t *p) noexcept nogil:
    """The address at p. Reads 8 bytes: p must have two more behind the six."""
    return load64(p) & 0xffffffffffffULL

cdef inline bint mac_is_group(uint64_t mac) noexcept nogil:
    return mac & 1

cdef inline bint mac_is_broadcast(uint64_t mac) noexcept nogil:
    return mac == 0xffffffffffffULL

cdef inline bint mac_is_link_local(uint64_t mac) noexcept nogil:
    """01:80:C2:00:00:00 to :0F, which a bridge must not forward (802.1Q-2018 table 8-1)."""
    return (mac & 0xf0ffffffffffULL) == 0x000000c28001ULL
