"""What the stages of layer 3 and above know of a frame; `Burst.packets[i]` goes with `Burst.frames[i]`.

`dissect` (l3/dissect.pxd) fills it in from the frame's private memory and checks every length; all later stages trust it.
A frame that the IP stages have no business with has `family` 0 and nothing else is set.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from .ip cimport Ip

cdef enum:
    # Packet.flags
    PACKET_FRAGMENT = 1                 # a fragment that is not the first: there are no ports
    PACKET_MORE = 2                     # a fragment that is not the last
    PACKET_SHORT = 4                    # layer 4's header is cut short or lies: conntrack calls it INVALID
    PACKET_BAD_CHECKSUM = 8             # of layer 4, where it could be verified
    PACKET_TO_US = 16                   # the frame is addressed to a gateway's or an uplink's MAC, or to all
    PACKET_LOCAL = 32                   # made by the switch itself
    PACKET_ROUTED = 64
    PACKET_CHANGED = 128                # addresses or ports were rewritten

    # Packet.ct_info: what iptables calls ctstate, and the direction (the kernel's enum ip_conntrack_info)
    CT_NONE = 0                         # not looked at by conntrack
    CT_NEW = 1
    CT_ESTABLISHED = 2
    CT_RELATED = 4
    CT_INVALID = 8
    CT_UNTRACKED = 16
    CT_REPLY = 128                      # in the direction of the replies; else original

    NO_ENTRY = 0                        # Packet.ct: indices of conntrack entries start at 1

cdef struct Tuple:
    # A flow in one direction, all fields as they lie in the packet. ICMP: sport is the identifier, dport is type | code << 8.
    Ip src
    Ip dst
    uint16_t sport
    uint16_t dport
    uint16_t zone
    uint8_t proto
    uint8_t pad

cdef struct Packet:
    uint8_t *l3                         # the IP header
    uint8_t *l4                         # behind it and all IPv6 extension headers; NULL: there is no layer 4 to look at
    uint32_t length                     # bytes of the IP packet, by its header: l3 + length is its end
    uint32_t l4_length                  # bytes from l4 to that end
    uint8_t family                      # 4, 6; 0: no IP
    uint8_t flags                       # PACKET_*
    uint8_t ct_info                     # CT_*
    uint8_t tos                         # TOS or traffic class, 8 bits
    uint8_t ttl                         # TTL or hop limit
    uint8_t tcp_flags                   # the 14th byte of a TCP header
    uint16_t in_port                    # port id; SELF_PORT for PACKET_LOCAL
    uint16_t out_port                   # port id, once it is known; NO_PORT before and for several
    uint16_t in_dev                     # Device index in the snapshot; NO_DEVICE: none
    uint16_t out_dev
    uint16_t zone                       # of conntrack, where the packet's connection began
    uint16_t largest                    # of a packet that was put together: bytes of its largest fragment; else 0
    uint16_t zone_reply                 # ... and where it answers: another only if a rule says so (CT)
    uint32_t ct                         # index of the conntrack entry, NO_ENTRY: none
    uint32_t mark                       # the packet's (nfmark)
    uint32_t class_id                   # CLASSIFY: major << 16 | minor, 0: none
    uint64_t hash                       # of the tuple
    Tuple tuple                         # as received, before any translation of this packet
    Ip src                              # as now in the header: what rules look at
    Ip dst
    uint16_t sport
    uint16_t dport

cdef enum:
    NO_PORT = 0xffff
    NO_DEVICE = 0xffff
