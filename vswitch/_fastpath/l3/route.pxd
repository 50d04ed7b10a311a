"""Routes of one router: longest prefix first.

(The lead's contract: Route and the name RouteTable are fixed, how the table is searched is the router author's.)
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from ..core.ip cimport Ip

cdef struct Route:
    Ip network
    Ip mask
    Ip gateway                          # zero: the destination is a neighbour
    uint16_t device                     # index in Snapshot.devices
    uint8_t prefix                      # bits of the mask, 0 to 128; IPv4's are 96 to 128

cdef struct RouteTable:
    uint32_t n
    const Route *routes                 # longest prefix first
