"""Which flow, or which band, a frame on offer belongs to, by filters, CLASSIFY or its priority. For htb see htb.pxd."""
from libc.stdint cimport uint32_t

from .htb cimport MAJOR, MINOR
from .offer cimport NO_CLASS, Offer, filtered, priority_of
from .tree cimport PRIOMAP, Qdisc, Tree

cdef inline uint32_t chosen_flow(const Tree *tree, const Qdisc *qdisc, const Offer *offer) noexcept nogil:
    """The flow that CLASSIFY or a filter names, from 1 on; 0: the hash decides."""
    cdef uint32_t class_id = offer.class_id
    if qdisc.handle and class_id & MAJOR == qdisc.handle:
        return class_id & MINOR
    return filtered(tree, &qdisc.filters, offer) & MINOR if qdisc.filters.n else 0

cdef inline uint32_t band_of(const Tree *tree, const Qdisc *qdisc, const Offer *offer) noexcept nogil:
    """prio_classify."""
    cdef uint32_t band = priority_of(offer)
    if band & MAJOR != qdisc.handle or not qdisc.handle:
        if qdisc.filters.n:
            band = filtered(tree, &qdisc.filters, offer)
        if not qdisc.filters.n or band == NO_CLASS:
            band = priority_of(offer)
            return qdisc.priomap[band & (PRIOMAP - 1) if not band & MAJOR else 0]
    band = (band & MINOR) - 1
    return band if band < qdisc.n_children else qdisc.priomap[0]
