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
    # Internet protocol
    IP_HEADER                   # version, lengths or options that lie
    IP_CHECKSUM                 # of an IPv4 header
    IP_SOURCE                   # a source address that nobody may have: multicast, broadcast, loopback, one of ours
    FRAGMENT_OVERLAP            # fragments that overlap (RFC 5722), or contradict each other
    FRAGMENT_TIMEOUT            # the rest did not come in time
    FRAGMENT_MEMORY             # no room left for fragments, of the switch's or of the port's share
    FRAGMENT_MALFORMED          # an empty one, an odd length in the middle, an end beyond 65,535
    # Routing
    NOT_FORWARDED               # for the router by MAC alone: multicast, link-local or broadcast addresses
    NO_ROUTE
    TTL_EXCEEDED
    PACKET_TOO_BIG              # does not fit the next link and may not be fragmented
    NEIGHBOUR_FAILED            # nobody answered for the next hop
    NEIGHBOUR_QUEUE             # too many wait for its answer
    ISOLATED_NETWORK            # across the border of an isolated network
    PRIVATE_NETWORK             # into a NAT network from outside, without DNAT
    NO_SERVICE                  # for the switch itself, which has nothing there to serve
    PUNT_FULL                   # the control side reads no faster
    SPOOFED                     # an ARP or ND message that speaks for a gateway, or a martian
    GENERATED_FULL              # no room for a frame of the switch's own
    # Hooks
    RULE_RAW                    # DROP, or a policy, in a table of that name
    RULE_MANGLE
    RULE_NAT
    RULE_FILTER
    RULE_SECURITY
    RULE_REJECT
    SECURITY_GROUP
    QUEUE_UNATTENDED            # nobody listens on the queue
    QUEUE_FULL
    QUEUE_DROP                  # the listener's verdict
    # Connection tracking and NAT
    CONNTRACK_FULL              # no room, and no unassured connection to give way
    CONNTRACK_BUDGET            # the port has its share
    CONNTRACK_CLASH             # another packet made the same connection at the same time
    NAT_EXHAUSTED               # no port left in the range
    NAT_MALFORMED               # a packet whose addresses cannot be rewritten
    NAT_STRAYED                 # of a masqueraded connection, by another device than the one whose address it borrowed
    # Hooks again
    QUEUE_TIMEOUT               # the listener gave no verdict in time
    QUEUE_STALE                 # accepted, but its connection has ended meanwhile, or the new packet is none of it
    # Quality of service
    QDISC_LIMIT                 # the queue is full, by its discipline's rule
    QDISC_OVERSIZED             # larger than what its discipline ever lets pass
    QDISC_CODEL                 # dropped by CoDel, as it waits for too long
    QDISC_MEMORY                # what may be queued in the whole switch is
    QDISC_GONE                  # its discipline, its class or its port has been removed
    HANDOVER_FULL               # the worker that the port belongs to takes no more
    POLICED                     # beyond what the port may send

cdef enum:
    VERDICTS = 80               # room in every counter array
