"""Lays a port's queueing disciplines out for the fast path: a TreeView (vswitch/qos/view.py) in, arrays out.

A view is trusted to be well-formed, for compile.py makes it; what could send a worker astray is checked all the same.
"""
from itertools import groupby

from libc.stdint cimport uint32_t, uint64_t

U32 = 2**32 - 1


cdef uint64_t generation = 0


cdef Shape shape_of(view) except *:
    """mult and shift, as exact as 32 bits allow (psched_ratecfg_precompute)."""
    cdef Shape shape
    if not 0 < view.rate <= 1 << 62:
        raise ValueError(f"a rate of {view.rate} bytes a second")
    shift = 0
    factor = 10**9 // view.rate
    while shift < 60 and (10**9 << (shift + 1)) // view.rate <= U32:
        shift += 1
    factor = (10**9 << shift) // view.rate
    shape.mult, shape.shift = min(max(factor, 1), U32), shift
    shape.overhead, shape.mpu = view.overhead, view.mpu
    return shape


def is_protocol(key):
    """Whether it asks for one EtherType, which a filter has a place for."""
    return key.base == KEY_PROTOCOL and key.mask & 0xffff == 0xffff and key.value & 0xffff


def protocol_of(view):
    """The EtherType that a filter is for; 0: any, or more than one."""
    found = {key.value & 0xffff for key in view.keys if is_protocol(key)}
    return found.pop() if len(found) == 1 else 0


def shape_of_filter(view):
    """What a filter looks at, whatever value it wants to see there, and which protocol it is for."""
    return protocol_of(view), tuple([(key.base, key.offset, key.mask) for key in view.keys])


cdef class CompiledTree(BlockOwner):
    """`slots` (vswitch/qos/slots.py) says where the state of each discipline and class lies with the port's home worker.
    Raises ValueError for what a worker cannot follow, and where there is no room."""

    def __init__(self, view, slots, uint32_t home):
        global generation
        cdef uint32_t i
        generation += 1
        self.view, self._slots = view, slots
        qdiscs = view.qdiscs
        filters = [filter for qdisc in qdiscs for owner in (qdisc, *qdisc.classes) for filter in owner.filters]
        self._qdiscs = <Qdisc *>self._block(len(qdiscs) * sizeof(Qdisc))
        self._classes = <Class *>self._block(sum(len(qdisc.classes) for qdisc in qdiscs) * sizeof(Class))
        self._children = <uint32_t *>self._block(sum(len(qdisc.children) for qdisc in qdiscs) * sizeof(uint32_t))
        self._filters = <Filter *>self._block(len(filters) * sizeof(Filter))
        self._runs = <RunSlot *>self._block(4 * len(filters) * sizeof(RunSlot))
        self._keys = <Key *>self._block(sum(len(filter.keys) for filter in filters) * sizeof(Key))
        self.tree.generation, self.tree.home, self.tree.n_qdiscs = generation, home, len(qdiscs)
        parents = self._parents(qdiscs)
        for i in range(self.tree.n_qdiscs):
            self._fill_qdisc(&self._qdiscs[i], qdiscs[i], parents[i])
        for i in range(self.tree.n_qdiscs):
            self._fill_classes(i, qdiscs[i])
        self._set_levels()
        self._set_places()
        self._fill_ids()
        self.tree.qdiscs, self.tree.classes, self.tree.children = self._qdiscs, self._classes, self._children
        self.tree.filters, self.tree.keys, self.tree.runs = self._filters, self._keys, self._runs

    @property
    def generation(self):
        return self.tree.generation

    @property
    def serials(self):
        """Of all that has a slot."""
        return {view.serial for qdisc in self.view.qdiscs for view in (qdisc, *qdisc.classes)}

    def _parents(self, qdiscs):
        """The index of the qdisc above each; the view must be a tree of qdiscs, each after what it belongs to."""
        parents = {0: <uint32_t>NO_INDEX}
        for index, qdisc in enumerate(qdiscs):
            leaves = [cls.leaf for cls in qdisc.classes if cls.leaf is not None]
            for child in (*qdisc.children, *leaves):
                if not index < child < len(qdiscs) or child in parents:
                    raise ValueError(f"discipline {child} below {index} is in no tree")
                parents[child] = index
        if len(parents) != len(qdiscs):
            raise ValueError("a discipline belongs to none")
        return parents

    cdef _fill_qdisc(self, Qdisc *qdisc, view, uint32_t parent):
        qdisc.serial, qdisc.handle, qdisc.kind, qdisc.parent = view.serial, view.handle, view.kind, parent
        qdisc.cls = qdisc.default_class = NO_INDEX
        qdisc.slot = self._slots.qdisc(view.serial)
        qdisc.first_child, qdisc.n_children = self._n_children, len(view.children)
        for child in view.children:
            self._children[self._n_children] = child
            self._n_children += 1
        qdisc.filters = self._fill_filters(view.filters)
        self._fill_parameters(qdisc, view.parameters)
        if view.kind == SFQ:
            qdisc.flow = self._slots.flows(view.serial, view.parameters.divisor)
        elif view.kind == FQ_CODEL:
            qdisc.flow = self._slots.flows(view.serial, view.parameters.flows)
        if view.kind in (PRIO, TBF) and not view.children:
            raise ValueError("a discipline without the children that it needs")

    cdef _fill_parameters(self, Qdisc *qdisc, p):
        cdef uint32_t i
        if qdisc.kind in (PFIFO, BFIFO, PFIFO_FAST):
            qdisc.limit = min(p.limit, U32)
        elif qdisc.kind == PRIO:
            for i in range(PRIOMAP):
                qdisc.priomap[i] = p.priomap[i]
                if p.priomap[i] >= qdisc.n_children:
                    raise ValueError(f"no band {p.priomap[i]}")
        elif qdisc.kind == SFQ:
            if p.divisor & (p.divisor - 1) or not p.divisor:
                raise ValueError(f"a divisor of {p.divisor}")
            qdisc.limit, qdisc.depth, qdisc.flows, qdisc.divisor, qdisc.quantum = p.limit, p.depth, p.flows, p.divisor, p.quantum
            qdisc.perturb_ns, qdisc.headdrop = p.perturb_ns, p.headdrop
        elif qdisc.kind == TBF:
            qdisc.rate, qdisc.burst_ns, qdisc.max_size = shape_of(p.rate), p.burst_ns, min(p.max_size, U32)
            if p.peak is not None:
                qdisc.has_peak, qdisc.peak, qdisc.mtu_ns = True, shape_of(p.peak), p.mtu_ns
        elif qdisc.kind == HTB:
            qdisc.default_minor, qdisc.limit = p.default, p.direct_limit
        elif qdisc.kind == FQ_CODEL:
            qdisc.limit, qdisc.flows, qdisc.quantum = p.limit, p.flows, p.quantum
            qdisc.target_ns, qdisc.interval_ns, qdisc.ecn = p.target_ns, p.interval_ns, p.ecn
            qdisc.ce_threshold_ns = <uint64_t>-1 if p.ce_threshold_ns is None else p.ce_threshold_ns
            qdisc.memory_limit, qdisc.drop_batch = min(p.memory_limit, U32), p.drop_batch
            if not p.flows:
                raise ValueError("fq_codel without flows")
        else:
            raise ValueError(f"discipline {qdisc.kind}")

    cdef _fill_classes(self, uint32_t number, view):
        cdef uint32_t first = self.tree.n_classes
        for cls in view.classes:
            self._fill_class(&self._classes[self.tree.n_classes], cls, first, number)
            self.tree.n_classes += 1

    cdef _fill_class(self, Class *cls, view, uint32_t first, uint32_t qdisc):
        cls.serial, cls.class_id, cls.qdisc = view.serial, view.class_id, qdisc
        cls.slot = self._slots.cls(view.serial)
        cls.parent = NO_INDEX if view.parent is None else first + <uint32_t>view.parent
        if cls.parent != NO_INDEX and cls.parent >= self.tree.n_classes:
            raise ValueError(f"class {view.class_id:#x} before its parent")
        cls.leaf = NO_INDEX if view.leaf is None else view.leaf
        if cls.leaf != NO_INDEX:
            self._qdiscs[cls.leaf].cls = self.tree.n_classes
        cls.rate, cls.ceil = shape_of(view.rate), shape_of(view.ceil)
        cls.burst_ns, cls.cburst_ns = view.burst_ns, view.cburst_ns
        cls.rate_per_ns, cls.ceil_per_ns = view.rate.rate / 1e9, view.ceil.rate / 1e9
        cls.peel = min(view.ceil.rate * PEEL_NS // 10**9, U32)
        if not 0 <= view.prio < HTB_PRIOS:
            raise ValueError(f"a priority of {view.prio}")
        cls.prio, cls.quantum = view.prio, max(min(view.quantum, 0x7fffffff), 1)
        cls.filters = self._fill_filters(view.filters)

    cdef _set_levels(self):
        """As in the kernel: a leaf has level 0, a root class with children 7, and each inner class one less than its parent."""
        cdef uint32_t i, parent
        for i in range(self.tree.n_classes):
            parent = self._classes[i].parent
            if parent != NO_INDEX and not self._classes[parent].level:
                raise ValueError(f"class {self._classes[i].class_id:#x} below a leaf, or too deep")
            if self._classes[i].leaf == NO_INDEX:
                self._classes[i].level = self._classes[parent].level - 1 if parent != NO_INDEX else HTB_LEVELS - 1

    cdef _set_places(self):
        """Who has which place in the rows of each htb and in the feeds of each inner class."""
        cdef uint32_t i, level, index
        cdef Qdisc *qdisc
        self._members = <uint32_t *>self._block(2 * self.tree.n_classes * sizeof(uint32_t))
        self.tree.members = self._members
        classes = range(self.tree.n_classes)
        for i in range(self.tree.n_qdiscs):
            qdisc = &self._qdiscs[i]
            for level in range(HTB_LEVELS if qdisc.kind == HTB else 0):
                row = [c for c in classes if self._classes[c].qdisc == i and self._classes[c].level == level]
                row = self._line_up(row, &qdisc.row_first[level], &qdisc.row_words[level], &qdisc.row_first_word[level])
                for place, index in enumerate(row):
                    self._classes[index].row_place = place
        children = {}
        for i in range(self.tree.n_classes):
            children.setdefault(self._classes[i].parent, []).append(i)
        for i in range(self.tree.n_classes):
            feed = self._line_up(children.get(i, []), &self._classes[i].feed_first, &self._classes[i].feed_words,
                                 &self._classes[i].feed_first_word)
            for place, index in enumerate(feed):
                self._classes[index].place = place
        self.tree.words = self._slots.words(self.tree.generation, self.tree.n_words)

    cdef list _line_up(self, list indices, uint32_t *first, uint32_t *words, uint32_t *first_word):
        """Classes in order of their ids, their slots where a row or feed finds them."""
        cdef uint32_t index
        indices.sort(key=lambda index: self._classes[<uint32_t>index].class_id)
        first[0], words[0], first_word[0] = self._n_members, (len(indices) + 63) // 64, self.tree.n_words
        self.tree.n_words += HTB_PRIOS * words[0]
        for index in indices:
            self._members[self._n_members] = self._classes[index].slot
            self._n_members += 1
        return indices

    cdef Filters _fill_filters(self, views) except *:
        cdef Filters filters
        cdef Filter *filter
        cdef Key *key
        filters.first, filters.n = self._n_filters, len(views)
        for view in views:
            filter = &self._filters[self._n_filters]
            filter.run = 0
            filter.first_key, filter.class_id, filter.protocol = self._n_keys, view.class_id, protocol_of(view)
            self._n_filters += 1
            for asked in view.keys:
                if is_protocol(asked) and filter.protocol:
                    continue
                filter.n_keys += 1
                key = &self._keys[self._n_keys]
                key.base, key.offset, key.mask, key.value = asked.base, asked.offset, asked.mask, asked.value & asked.mask
                self._n_keys += 1
        at = filters.first
        for _, run in groupby(views, key=shape_of_filter):
            n = len(list(run))
            if n >= RUN_MIN and 0 < self._filters[at].n_keys <= RUN_KEYS:
                self._fill_run(at, n)
            at += n
        return filters

    cdef _fill_run(self, uint32_t first, uint32_t n):
        """A table of filters that differ in values alone. Of two with the same, the first counts, and is found first."""
        cdef Filter *filter = &self._filters[first]
        cdef uint32_t i, k, at
        cdef uint64_t hash
        filter.run, filter.run_slots = n, self._n_runs
        filter.run_mask = (1 << (2 * n - 1).bit_length()) - 1
        self._n_runs += filter.run_mask + 1
        for i in range(first, first + n):
            hash = 0
            for k in range(self._filters[i].first_key, self._filters[i].first_key + self._filters[i].n_keys):
                hash = value_hash(hash, self._keys[k].value)
            at = <uint32_t>(hash >> 32) & filter.run_mask
            while self._runs[filter.run_slots + at].filter:
                at = (at + 1) & filter.run_mask
            self._runs[filter.run_slots + at].filter = i + 1
            self._runs[filter.run_slots + at].value = self._keys[self._filters[i].first_key].value

    cdef _fill_ids(self):
        cdef uint32_t size = 4, at, i
        cdef const Class *found
        cdef uint32_t *table
        cdef Qdisc *qdisc
        while size < 2 * self.tree.n_classes:
            size *= 2
        table = <uint32_t *>self._block(size * sizeof(uint32_t))
        self.tree.id_mask, self.tree.by_id = size - 1, table
        for i in range(self.tree.n_classes):
            at = class_hash(self._classes[i].class_id) & self.tree.id_mask
            while table[at]:
                at = (at + 1) & self.tree.id_mask
            table[at] = i + 1
            qdisc = &self._qdiscs[self._classes[i].qdisc]
            if self._classes[i].class_id == qdisc.handle | qdisc.default_minor and self._classes[i].leaf != NO_INDEX:
                qdisc.default_class = i
        self.tree.classes = self._classes
        for i in range(self._n_filters):
            found = find_class(&self.tree, self._filters[i].class_id)
            self._filters[i].cls = NO_INDEX if found == NULL else <uint32_t>(found - self._classes)
