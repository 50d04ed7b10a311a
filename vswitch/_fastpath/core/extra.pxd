"""Extra frames: what the switch makes itself, or has held back, and now sends through the pipeline.

While a burst is under way, stages put such frames into the worker's ring of slots; when the burst has left, each becomes a
burst of its own that enters the pipeline at its `entry` (worker.pyx). So nothing is ever sent from the middle of a stage,
the books know of one origin at a time, and an answer to an answer is only the next in the ring. The ring is bounded: what
finds it full is dropped by name, GENERATED_FULL. Belongs to one worker.

    cdef uint8_t *data = extra_room(ctx)                    # FRAME_MAX bytes, a cleared virtio-net header before them
    if data == NULL: ...
    extra_add(ctx, length, SELF_PORT, ENTRY_OUTPUT, device) # or of what had been received: its port
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from .context cimport EXTRAS, Context, Extra
from .counters cimport SELF_PORT
from .frame cimport FRAME_HAS_TAG, HEADROOM, SLOT, VNET_LEN, Burst, Entry, burst_add
from .native cimport count, memory_allow
from .packet cimport NO_ENTRY
from .snapshot cimport PORT_NONE, Port
from .verdict cimport GENERATED_FULL
from .wire cimport TCI_PRIORITY

cdef inline uint8_t *extra_room(Context *ctx) noexcept nogil:
    """Where the next extra frame's Ethernet or IP header goes; NULL: the ring is full."""
    cdef uint8_t *data = ctx.extra_memory + (ctx.extra_tail % EXTRAS) * SLOT + HEADROOM
    if ctx.extra_tail - ctx.extra_head >= EXTRAS - 1:
        return NULL
    memory_allow(data - HEADROOM, SLOT)
    memset(data - VNET_LEN, 0, VNET_LEN)
    return data

cdef inline Extra *extra_add(Context *ctx, uint32_t length, uint16_t origin, uint8_t entry, uint16_t device) noexcept nogil:
    """The frame that was written to `extra_room` joins the ring. A frame of the switch's own counts as generated."""
    if origin == SELF_PORT:
        count(&ctx.counters[SELF_PORT].generated, 1)
    return extra_again(ctx, length, origin, entry, device)

cdef inline Extra *extra_again(Context *ctx, uint32_t length, uint16_t origin, uint8_t entry, uint16_t device) noexcept nogil:
    """The same for a frame that has been counted before."""
    cdef Extra *extra = &ctx.extras[ctx.extra_tail % EXTRAS]
    ctx.extra_tail += 1
    extra.length = length
    extra.origin = origin
    extra.entry = entry
    extra.device = device
    extra.mark = 0
    extra.vid = 0
    extra.largest = 0
    extra.resume = 0
    extra.tci = 0
    extra.ct = NO_ENTRY
    extra.ct_info = 0
    return extra

cdef inline void extra_refused(Context *ctx) noexcept nogil:
    """The ring was full: a frame of the switch's own, made and lost at once."""
    count(&ctx.counters[SELF_PORT].generated, 1)
    count(&ctx.counters[SELF_PORT].drops[<uint32_t>GENERATED_FULL], 1)

cdef inline const Port *origin_port(Context *ctx, uint16_t id) noexcept nogil:
    """The port in whose books the frame is; the switch itself takes on what belonged to one that has gone."""
    if id < ctx.snapshot.n_ports and ctx.snapshot.ports[id].kind != PORT_NONE:
        return &ctx.snapshot.ports[id]
    if id != SELF_PORT:
        count(&ctx.counters[SELF_PORT].generated, 1)
    return &ctx.snapshot.self

cdef inline bint next_extra(Context *ctx, Burst *burst) noexcept nogil:
    """Make the oldest extra frame the burst; false: there is none."""
    cdef const Extra *extra
    if ctx.extra_head == ctx.extra_tail:
        return False
    extra = &ctx.extras[ctx.extra_head % EXTRAS]
    burst.port = origin_port(ctx, extra.origin)
    burst.n = 0
    burst.bytes = 0
    burst.entry = <Entry>extra.entry
    burst_add(burst, ctx.extra_memory + (ctx.extra_head % EXTRAS) * SLOT + HEADROOM, extra.length)
    burst.frames[0].vid = extra.vid
    burst.frames[0].priority = extra.tci & TCI_PRIORITY
    burst.frames[0].flags = FRAME_HAS_TAG if extra.tci & 1 else 0
    burst.packets[0].in_dev = extra.device
    burst.packets[0].mark = extra.mark
    burst.packets[0].largest = extra.largest
    ctx.came_back = extra[0]
    ctx.resume = extra.resume
    ctx.extra_head += 1                 # the slot stays the burst's: the ring is full with one slot to spare
    return True
