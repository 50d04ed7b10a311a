"""Whether a TCP segment lies within what its sender may send and acknowledge (van Rooij, "Real stateful TCP packet
filtering").

For each direction an entry keeps the highest sequence number sent (`end`), the highest that the other end allows
(`maxend`), the largest window it announced (`maxwin`) and the highest acknowledgement (`maxack`). A segment is good if

    seq <= maxend            its sender may send that far                     (else INVALID, or an overshot let pass)
    ack <= other.end         it acknowledges what was sent                    (else INVALID)
    end >= own.end - other.maxwin, ack >= other.end - 66000                   (else too old: let pass, nothing learned)

where `ack` is the highest right edge of its SACK blocks, if it has any. Windows scale once both ends offered it. A
connection that was picked up in its middle, or whose switch to liberal is on, is not judged.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN
from ..core.native cimport load16be, load32, load32be
from .conntrack cimport CT_REPLY_DIR, CtEntry, CtWindow
from .states cimport TCP_SYN_RECV, TCP_SYN_SENT

cdef enum:
    # CtWindow.flags: the kernel's IP_CT_TCP_FLAG_*
    WINDOW_SCALE = 1
    WINDOW_SACK = 2
    WINDOW_CLOSE_INIT = 4               # was the first to send a FIN
    WINDOW_LIBERAL = 8
    WINDOW_UNACKED = 16
    WINDOW_MAXACK = 32                  # `maxack` is set

    WINDOW_GOOD = 0
    WINDOW_OLD = 1
    WINDOW_BAD = 2

    ACK_SLACK = 66000                   # how far acknowledgements may lag
    SCALE_MAX = 14                      # RFC 7323, 2.3

    OPT_EOL = 0
    OPT_NOP = 1
    OPT_SCALE = 3
    OPT_SACK_PERMITTED = 4
    OPT_SACK = 5

    TCP_HLEN_MIN = 20

cdef struct Segment:
    uint32_t seq
    uint32_t end                        # seq and what the segment occupies
    uint32_t ack
    uint32_t win                        # as announced, not scaled
    uint32_t flags                      # a word, as the others: it is written and read in one breath
    const uint8_t *options
    uint32_t options_length

cdef inline bint before(uint32_t a, uint32_t b) noexcept nogil:
    return <int32_t>(a - b) < 0

cdef inline bint after(uint32_t a, uint32_t b) noexcept nogil:
    return <int32_t>(b - a) < 0

cdef inline Segment segment_at(const uint8_t *tcp, uint32_t length) noexcept nogil:
    """The header at tcp, which is whole, of a segment of that length."""
    cdef Segment s
    cdef uint32_t header = (tcp[12] >> 4) * 4
    s.seq = load32be(tcp + 4)
    s.ack = load32be(tcp + 8)
    s.win = load16be(tcp + 14)
    s.flags = tcp[13]
    s.end = s.seq + length - header + ((s.flags & TCP_SYN) != 0) + ((s.flags & TCP_FIN) != 0)
    s.options = tcp + TCP_HLEN_MIN
    s.options_length = header - TCP_HLEN_MIN
    return s

cdef inline const uint8_t *option_next(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """The first option from `at` on that has a length, and is whole; NULL: there are no more, or what there is lies."""
    while at < end and at[0] == OPT_NOP:
        at += 1
    if at + 2 > end or at[0] == OPT_EOL or at[1] < 2 or at + at[1] > end:
        return NULL
    return at

cdef inline void window_options(CtWindow *window, const Segment *s) noexcept nogil:
    """What a SYN offers: scaling and SACK."""
    cdef const uint8_t *end = s.options + s.options_length
    cdef const uint8_t *at = option_next(s.options, end)
    if not s.options_length:
        return
    window.scale = 0
    window.flags &= WINDOW_LIBERAL
    while at != NULL:
        if at[0] == OPT_SACK_PERMITTED and at[1] == 2:
            window.flags |= WINDOW_SACK
        elif at[0] == OPT_SCALE and at[1] == 3:
            window.scale = min(at[2], <uint8_t>SCALE_MAX)
            window.flags |= WINDOW_SCALE
        at = option_next(at + at[1], end)

cdef inline uint32_t highest_sack(const Segment *s) noexcept nogil:
    """The highest right edge of the SACK blocks, or the acknowledgement."""
    cdef const uint8_t *end = s.options + s.options_length
    cdef const uint8_t *at
    cdef uint32_t n, sack = s.ack
    # Nothing, or two NOPs and a timestamp: what nearly every segment has.
    if not s.options_length or (s.options_length == 12 and load32(s.options) == 0x0a080101):
        return sack
    at = option_next(s.options, end)
    while at != NULL:
        if at[0] == OPT_SACK and at[1] >= 10 and (at[1] - 2) % 8 == 0:
            for n in range(<uint32_t>(at[1] - 2) // 8):
                if after(load32be(at + 6 + n * 8), sack):
                    sack = load32be(at + 6 + n * 8)
            return sack
        at = option_next(at + at[1], end)
    return sack

cdef inline void window_begin(CtWindow *sender, CtWindow *receiver, const Segment *s,
                              uint64_t direction) noexcept nogil:
    """The sender's SYN: all begins with it."""
    sender.end = s.end
    sender.maxend = s.end
    sender.maxwin = max(s.win, <uint32_t>1)
    window_options(sender, s)
    # RFC 7323, 1.3: both or none.
    if direction == CT_REPLY_DIR and not sender.flags & receiver.flags & WINDOW_SCALE:
        sender.scale = 0
        receiver.scale = 0

cdef inline void window_pick_up(CtWindow *sender, CtWindow *receiver, const Segment *s, uint32_t sack) noexcept nogil:
    """The sender's first segment that we see, and it is no SYN: guess from it."""
    sender.end = s.end
    sender.maxwin = max(s.win << sender.scale, <uint32_t>1)
    sender.maxend = s.end + sender.maxwin
    if receiver.maxwin == 0:
        receiver.end = sack
        receiver.maxend = sack
    elif sack == receiver.end + 1:
        receiver.end += 1               # the answer to a keep-alive

cdef inline bint window_opens(CtEntry *entry, uint64_t direction, const Segment *s, uint32_t sack) noexcept nogil:
    """Note the first segment of a direction, or a SYN sent anew; True: there is nothing more to judge."""
    cdef CtWindow *sender = &entry.window[direction]
    cdef CtWindow *receiver = &entry.window[1 - direction]
    if sender.maxwin == 0:
        if not s.flags & TCP_SYN:
            window_pick_up(sender, receiver, s, sack)
            return False
        window_begin(sender, receiver, s, direction)
        return not s.flags & TCP_ACK
    if s.flags & TCP_SYN and after(s.end, sender.end) and entry.state in (TCP_SYN_SENT, TCP_SYN_RECV):
        window_begin(sender, receiver, s, direction)
        return direction == CT_REPLY_DIR and not s.flags & TCP_ACK
    return False

cdef inline bint ack_lags(const CtWindow *sender, const CtWindow *receiver, uint32_t sack) noexcept nogil:
    return not after(sack, receiver.end - max(sender.maxwin, <uint32_t>ACK_SLACK) - 1)

cdef inline int window_beyond(CtWindow *sender, const CtWindow *receiver, uint32_t end, uint32_t sack) noexcept nogil:
    """The segment starts after all that its receiver allows. A little may pass, lest its acknowledgement be INVALID."""
    if (receiver.maxwin and after(end, sender.end - receiver.maxwin - 1) and not ack_lags(sender, receiver, sack)
            and end - sender.maxend + 1 <= receiver.maxwin and before(sack, receiver.end + 1)):
        sender.end = end
        sender.flags |= WINDOW_UNACKED
        return WINDOW_OLD
    return WINDOW_BAD

cdef inline void window_learn(CtWindow *sender, CtWindow *receiver, const Segment *s, uint32_t end, uint32_t ack,
                              uint32_t sack) noexcept nogil:
    """A good segment: move the windows of both."""
    cdef uint32_t win = s.win if s.flags & TCP_SYN else s.win << sender.scale
    sender.maxwin = max(sender.maxwin, win + (sack - ack))
    if after(end, sender.end):
        sender.end = end
        sender.flags |= WINDOW_UNACKED
    if s.flags & TCP_ACK and (not sender.flags & WINDOW_MAXACK or after(ack, sender.maxack)):
        sender.maxack = ack
        sender.flags |= WINDOW_MAXACK
    if receiver.maxwin and after(end, sender.maxend):
        receiver.maxwin += end - sender.maxend
    if after(sack + win, receiver.maxend - 1):
        receiver.maxend = sack + max(win, <uint32_t>1)
    if ack == receiver.end:
        receiver.flags &= ~WINDOW_UNACKED

cdef inline void note_repeat(CtEntry *entry, uint64_t direction, uint32_t seq, uint32_t ack, uint32_t end,
                             uint32_t win) noexcept nogil:
    """Count acknowledgements that repeat the last one."""
    if (entry.last_dir == direction and entry.last_seq == seq and entry.last_ack == ack and entry.last_end == end
            and entry.last_win == win):
        entry.retrans += 1
        return
    entry.last_dir = <uint8_t>direction
    entry.last_seq = seq
    entry.last_ack = ack
    entry.last_end = end
    entry.last_win = <uint16_t>win
    entry.retrans = 0

cdef inline int window_check(CtEntry *entry, uint64_t direction, const Segment *s, bint plain_ack) noexcept nogil:
    """WINDOW_GOOD and noted, _OLD or _BAD. Holds: the entry's lock."""
    cdef CtWindow *sender = &entry.window[direction]
    cdef CtWindow *receiver = &entry.window[1 - direction]
    cdef uint32_t seq = s.seq, end = s.end, ack = s.ack
    cdef uint32_t sack = highest_sack(s) if receiver.flags & WINDOW_SACK else ack
    if window_opens(entry, direction, s, sack):
        return WINDOW_GOOD
    if not s.flags & TCP_ACK or (s.flags & TCP_RST and ack == 0):
        ack = receiver.end              # none, or of a stack that sets the flag alone
        sack = ack
    if s.flags & TCP_RST and seq == 0 and entry.state == TCP_SYN_SENT:
        seq = sender.end                # refuses a SYN
        end = seq
    if not before(seq, sender.maxend + 1):
        return window_beyond(sender, receiver, end, sack)
    if not before(sack, receiver.end + 1):
        return WINDOW_BAD
    if (receiver.maxwin and not after(end, sender.end - receiver.maxwin - 1)) or ack_lags(sender, receiver, sack):
        return WINDOW_OLD
    window_learn(sender, receiver, s, end, ack, sack)
    if plain_ack:
        note_repeat(entry, direction, seq, ack, end, s.win)
    return WINDOW_GOOD
