"""Why a frame ended: the one list of drop reasons, from which counters, metrics and traces take their names.

A frame starts as PENDING. A stage that ends it writes the reason and counts it, once; later stages skip it. Append only:
the numbers index counter arrays that may outlive a process.
"""

cpdef enum Verdict:
    PENDING = 0
    DONE                        # handed to transmit, every copy accounted for
    # What arrives
    RUNT                        # shorter than an Ethernet header
    OVERSIZED                   # longer than the largest super-frame
    BAD_VNET_HEADER             # offsets or lengths that lie beyond the frame, unknown types
    TRUNCATED_TAG               # an 802.1Q tag cut short
    SOURCE_ZERO
    SOURCE_MULTICAST
    LINK_LOCAL                  # 01:80:C2:00:00:0X: not for forwarding
    NO_BRIDGE                   # the port belongs to no bridge
    # VLANs
    TAG_NOT_ALLOWED             # a tag that the port may not carry
    UNTAGGED_NOT_ALLOWED        # a trunk without native VLAN
    VLAN_RESERVED               # VID 4095
    # Forwarding
    HAIRPIN                     # back out of the port that it came from
    ISOLATED                    # between two isolated ports
    EGRESS_VLAN                 # the destination's port is not in the VLAN
    NO_DESTINATION              # nobody to flood to
    STORM_BROADCAST
    STORM_MULTICAST
    STORM_UNKNOWN_UNICAST
    # Transmit
    EXCEEDS_MTU
    PORT_DOWN
    TX_FULL                     # the device or socket takes no more just now
    TX_ERROR                    # refused by the kernel for another reason
    MALFORMED_GSO               # a super-frame that cannot be segmented

cdef enum:
    VERDICTS = 32               # room in every counter array
