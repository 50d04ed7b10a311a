"""Builds a route table for the fast path. See route.pxd for what it is.

A route is (network, prefix, gateway, device): addresses are the 16 bytes of core/ip.pxd, IPv4 as ::ffff:a.b.c.d with
a prefix of 96 to 128; the gateway is 16 zero bytes for a connected network. Of two routes to the same prefix the
first given counts.
"""
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

MAPPED = bytes(10) + b"\xff\xff"
V4_BITS = 96


def _checked(network, prefix, gateway, device):
    """The route, its host bits zero. Raises ValueError."""
    if len(network) != 16 or len(gateway) != 16:
        raise ValueError(f"addresses have 16 bytes, not {len(network)} and {len(gateway)}")
    if not (V4_BITS if network[:12] == MAPPED else 0) <= prefix <= 128:
        raise ValueError(f"/{prefix} is no prefix of {network.hex()}")
    mask = (1 << 128) - (1 << 128 - prefix)
    return (int.from_bytes(network) & mask).to_bytes(16), prefix, gateway, device


def _distinct(routes):
    """The routes, longest prefix first; of two to the same prefix the first."""
    found = {}
    for route in routes:
        network, prefix, gateway, device = _checked(*route)
        found.setdefault((network, prefix), (network, prefix, gateway, device))
    return sorted(found.values(), key=lambda route: -route[1])


def _spans(routes, bint v4):
    """[(first address, the one behind the last, index)] of one family's routes, the widest of those that begin together
    first."""
    offset, bits = (V4_BITS, 32) if v4 else (0, 128)
    spans = []
    for index, (network, prefix, _, _) in enumerate(routes):
        if v4 == (network[:12] == MAPPED):
            start = int.from_bytes(network) & ((1 << bits) - 1)
            spans.append((start, start + (1 << bits - (prefix - offset)), index))
    return sorted(spans, key=lambda span: (span[0], -span[1]))


def _ranges(spans, end_of_all):
    """[(first address, index of the route that answers from there on, None for no route)], ascending from 0."""
    if not spans:
        return []
    answers = {0: None}
    around = []                             # (end, what answers behind it) of the spans that hold the sweep's place
    answer = None
    for start, end, index in spans:
        answer = _leave(around, start, answers, answer)
        around.append((end, answer))
        answers[start] = answer = index
    _leave(around, end_of_all, answers, answer)
    answers.pop(end_of_all, None)
    return list(answers.items())


def _leave(around, place, answers, answer):
    """Take out the spans that end at `place` or before it: behind each, the one around it answers again."""
    while around:
        end, outer = around.pop()
        if end > place:
            around.append((end, outer))
            break
        answers[end] = answer = outer
    return answer


cdef class Routes(BlockOwner):
    """The routes of one router: an iterable of (network, prefix, gateway, device)."""

    def __init__(self, routes=()):
        chosen = _distinct(routes)
        self._fill_routes(chosen)
        self._fill_ranges4(_ranges(_spans(chosen, True), 1 << 32))
        self._fill_ranges6(_ranges(_spans(chosen, False), 1 << 128))

    def __len__(self):
        return self.table.n

    cdef _fill_routes(self, list routes):
        cdef Route *rows = <Route *>self._block(len(routes) * sizeof(Route))
        cdef Route *row = rows
        for network, prefix, gateway, device in routes:
            mask = ((1 << 128) - (1 << 128 - prefix)).to_bytes(16)
            memcpy(&row.network, <const char *>network, 16)
            memcpy(&row.mask, <const char *>mask, 16)
            memcpy(&row.gateway, <const char *>gateway, 16)
            row.prefix = prefix
            row.device = device
            row += 1
        self.table.routes = rows
        self.table.n = len(routes)

    cdef _fill_ranges4(self, list ranges):
        cdef uint32_t *starts = <uint32_t *>self._block(len(ranges) * sizeof(uint32_t))
        cdef uint32_t *answers = <uint32_t *>self._block(len(ranges) * sizeof(uint32_t))
        cdef uint32_t i
        for i, (start, index) in enumerate(ranges):
            starts[i] = start
            answers[i] = self.table.n if index is None else index
        self.table.start4, self.table.answer4, self.table.n4 = starts, answers, len(ranges)

    cdef _fill_ranges6(self, list ranges):
        cdef RouteStart *starts = <RouteStart *>self._block(len(ranges) * sizeof(RouteStart))
        cdef uint32_t *answers = <uint32_t *>self._block(len(ranges) * sizeof(uint32_t))
        cdef uint32_t i
        for i, (start, index) in enumerate(ranges):
            starts[i].high, starts[i].low = start >> 64, start & 0xffffffffffffffff
            answers[i] = self.table.n if index is None else index
        self.table.start6, self.table.answer6, self.table.n6 = starts, answers, len(ranges)
