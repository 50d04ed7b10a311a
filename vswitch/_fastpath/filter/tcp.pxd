"""Connection tracking of TCP: what state a segment leads to, whether it belongs to its connection, how long that is
kept.

The table of transitions is the kernel's (nf_conntrack_proto_tcp.c of Linux 6), and so is what surrounds it: a segment
may be IGNOREd, that is, passed without being believed, when the two ends may be in agreement and we are not. Their
next segments tell: a SYN/ACK for an ignored SYN makes us follow, a RST ends the connection, a challenge ACK (RFC 5961)
changes nothing.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from ..core.ip cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, TCP_URG
from ..core.packet cimport Packet
from .conntrack cimport (
    CT_ORIGINAL, CT_REPLY_DIR, IPS_ASSURED, IPS_SEEN_REPLY, TCP_TIMEOUT_RETRANS, TCP_TIMEOUT_UNACK, CtEntry, CtSettings,
    CtWindow,
)
from .states cimport (
    TCP_CLOSE, TCP_ESTABLISHED, TCP_FIN_WAIT, TCP_IGNORE, TCP_INVALID, TCP_LAST_ACK, TCP_NONE, TCP_SYN_RECV,
    TCP_SYN_SENT, TCP_SYN_SENT2, TCP_TIME_WAIT, tcp_closing,
)
from .window cimport (
    WINDOW_BAD, WINDOW_CLOSE_INIT, WINDOW_GOOD, WINDOW_LIBERAL, WINDOW_MAXACK, WINDOW_SACK, WINDOW_SCALE,
    WINDOW_UNACKED, Segment, before, segment_at, window_check, window_options,
)

cdef extern from *:
    """
    /* By direction, kind of segment and state:
     *   0 none, 1 SYN_SENT, 2 SYN_RECV, 3 ESTABLISHED, 4 FIN_WAIT, 5 CLOSE_WAIT, 6 LAST_ACK, 7 TIME_WAIT, 8 CLOSE,
     *   9 SYN_SENT2; 10 invalid, 11 ignore */
    static const uint8_t tcp_transitions[2][6][10] = {
        {
            { 1,  1, 11, 11, 11, 11, 11,  1,  1,  9},   /* SYN */
            {10, 10,  2, 10, 10, 10, 10, 10, 10,  2},   /* SYN/ACK */
            {10, 10,  4,  4,  6,  6,  6,  7,  8, 10},   /* FIN */
            { 3, 10,  3,  3,  5,  5,  7,  7,  8, 10},   /* ACK */
            {10,  8,  8,  8,  8,  8,  8,  8,  8,  8},   /* RST */
            {10, 10, 10, 10, 10, 10, 10, 10, 10, 10},
        }, {
            {10,  9, 10, 10, 10, 10, 10,  1, 10,  9},
            {10,  2, 11, 11, 11, 11, 11, 11, 11,  2},
            {10, 10,  4,  4,  6,  6,  6,  7,  8, 10},
            {10, 11,  2,  3,  5,  5,  7,  7,  8, 11},
            {10,  8,  8,  8,  8,  8,  8,  8,  8,  8},
            {10, 10, 10, 10, 10, 10, 10, 10, 10, 10},
        }
    };
    """
    const uint8_t tcp_transitions[2][6][10]

cdef enum:
    # The kinds of segment
    SEGMENT_SYN = 0
    SEGMENT_SYNACK = 1
    SEGMENT_FIN = 2
    SEGMENT_ACK = 3
    SEGMENT_RST = 4
    SEGMENT_NONE = 5

    # CtEntry.last_flags, beside a CtWindow's
    LAST_CHALLENGE_ACK = 64             # an ACK that comes now may be one
    LAST_SIMULTANEOUS = 128             # both ends sent a SYN

    # What becomes of the packet
    TRACK_ACCEPT = 0                    # it belongs to the connection
    TRACK_INVALID = 1
    TRACK_REOPEN = 2                    # the connection is over, and this begins a new one
    TRACK_IGNORE = 3                    # as ACCEPT, and nothing more is to be done

cdef inline int segment_kind(uint8_t flags) noexcept nogil:
    if flags & TCP_RST:
        return SEGMENT_RST
    if flags & TCP_SYN:
        return SEGMENT_SYNACK if flags & TCP_ACK else SEGMENT_SYN
    if flags & TCP_FIN:
        return SEGMENT_FIN
    return SEGMENT_ACK if flags & TCP_ACK else SEGMENT_NONE

cdef inline bint tcp_flags_valid(uint8_t flags) noexcept nogil:
    """PSH and the bits of ECN go with everything; of the rest, what the kernel holds to be sane."""
    cdef uint64_t valid = (1ULL << TCP_SYN | 1ULL << (TCP_SYN | TCP_URG) | 1ULL << (TCP_SYN | TCP_ACK)
                           | 1ULL << TCP_RST | 1ULL << (TCP_RST | TCP_ACK) | 1ULL << (TCP_FIN | TCP_ACK)
                           | 1ULL << (TCP_FIN | TCP_ACK | TCP_URG) | 1ULL << TCP_ACK | 1ULL << (TCP_ACK | TCP_URG))
    return valid >> (flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG)) & 1


cdef inline bint tcp_new(CtEntry *entry, const Segment *s, const CtSettings *settings) noexcept nogil:
    """Prepare a new entry for its first segment; False if that may not begin a connection."""
    cdef CtWindow *sender = &entry.window[CT_ORIGINAL]
    cdef int state = tcp_transitions[CT_ORIGINAL][segment_kind(s.flags)][TCP_NONE]
    entry.last_index = SEGMENT_NONE
    if state == TCP_INVALID or (state != TCP_SYN_SENT and not settings.tcp_loose):
        return False
    sender.end = s.end
    sender.maxend = s.end
    sender.maxwin = max(s.win, <uint32_t>1)
    if state == TCP_SYN_SENT:
        window_options(sender, s)
        return True
    sender.maxend += sender.maxwin
    sender.flags = WINDOW_SACK | WINDOW_LIBERAL
    entry.window[CT_REPLY_DIR].flags = WINDOW_SACK | WINDOW_LIBERAL
    return True

cdef inline void tcp_follow(CtEntry *entry, uint64_t direction) noexcept nogil:
    """A SYN/ACK answers the SYN that we ignored: the ends agree, so begin from that SYN."""
    cdef CtWindow *opener = &entry.window[1 - direction]
    cdef CtWindow *sender = &entry.window[direction]
    cdef uint8_t liberal = sender.flags & WINDOW_LIBERAL
    entry.last_flags &= ~LAST_CHALLENGE_ACK
    opener.end = entry.last_end
    opener.maxend = entry.last_end
    opener.maxwin = max(<uint32_t>entry.last_win, <uint32_t>1)
    opener.scale = entry.last_scale
    opener.flags = entry.last_flags
    sender[0] = CtWindow(0, 0, 0, 0, 0, liberal)

cdef inline void tcp_ignore(CtEntry *entry, uint64_t direction, const Segment *s, int kind) noexcept nogil:
    """Note what we pass and do not believe, so that its answer can be understood."""
    cdef CtWindow offer = CtWindow(0, 0, 0, 0, 0, 0)
    entry.last_index = <uint8_t>kind
    entry.last_dir = <uint8_t>direction
    entry.last_seq = s.seq
    entry.last_end = s.end
    entry.last_win = <uint16_t>s.win
    if kind == SEGMENT_SYN and direction == CT_ORIGINAL:
        window_options(&offer, s)
        entry.last_scale = offer.scale
        entry.last_flags = offer.flags & (WINDOW_SCALE | WINDOW_SACK)
        if entry.state == TCP_LAST_ACK:
            entry.last_flags |= LAST_CHALLENGE_ACK
    if entry.state == TCP_SYN_SENT and kind == SEGMENT_ACK and direction == CT_REPLY_DIR:
        entry.last_ack = s.ack          # a challenge, whose RST will have this number

cdef inline bint tcp_is_established(const CtEntry *entry) noexcept nogil:
    return entry.state == TCP_ESTABLISHED and entry.status & IPS_ASSURED

cdef inline bint rst_misses(const CtEntry *entry, uint64_t direction, const Segment *s,
                            uint32_t expected) noexcept nogil:
    """An established connection's RST must have the number that is expected, or follow its sender's last segment."""
    if s.seq == expected or not tcp_is_established(entry):
        return False
    return not (entry.last_index == SEGMENT_ACK and entry.last_dir == direction and s.seq == entry.last_end)

cdef inline bint rst_answers(const CtEntry *entry, uint64_t direction, const Segment *s) noexcept nogil:
    """It refuses the other end's SYN or ACK that we had let pass: no window tells of those. Of an ACK the kernel does not
    ask which end's it was, until the connection is assured."""
    if not entry.status & IPS_ASSURED and entry.last_index == SEGMENT_ACK and s.ack == entry.last_end:
        return True
    if entry.last_dir == direction:
        return False
    if s.ack == entry.last_end and entry.status & IPS_SEEN_REPLY and entry.last_index == SEGMENT_SYN:
        return True
    return (entry.state == TCP_SYN_SENT and entry.last_index == SEGMENT_ACK and entry.last_dir == CT_REPLY_DIR
            and s.seq == entry.last_ack)


cdef inline uint32_t tcp_timeout(const CtEntry *entry, int kind, const CtSettings *settings) noexcept nogil:
    """How long the connection is kept in its state, or less if an end seems to be gone."""
    cdef uint32_t timeout = settings.tcp[entry.state]
    cdef uint32_t retrans = settings.tcp[TCP_TIMEOUT_RETRANS]
    cdef uint32_t unacked = settings.tcp[TCP_TIMEOUT_UNACK]
    if entry.retrans >= settings.tcp_max_retrans and timeout > retrans:
        return retrans
    if kind == SEGMENT_RST:
        return settings.tcp[TCP_CLOSE]
    if (entry.window[0].flags | entry.window[1].flags) & WINDOW_UNACKED and timeout > unacked:
        return unacked
    if entry.last_win == 0 and timeout > retrans:
        return retrans
    if entry.state == TCP_ESTABLISHED and not entry.status & IPS_SEEN_REPLY and timeout > unacked:
        return unacked                  # picked up in its middle, and only one end heard
    return timeout

cdef inline void tcp_misfit(CtEntry *entry, uint64_t direction, int kind, const CtSettings *settings,
                            uint32_t now_s) noexcept nogil:
    """FIN or RST out of window from both ends: they part, and we are out of step. Do not keep it for days."""
    cdef uint32_t unacked = settings.tcp[TCP_TIMEOUT_UNACK]
    cdef uint32_t left = entry.expires_s - now_s
    if not entry.status & IPS_ASSURED or (kind != SEGMENT_RST and kind != SEGMENT_FIN):
        return
    if entry.last_dir == direction or (entry.last_index != SEGMENT_FIN and entry.last_index != SEGMENT_RST):
        entry.last_index = <uint8_t>kind
        entry.last_dir = <uint8_t>direction
    elif left >= 120 and left > unacked:
        entry.expires_s = now_s + unacked

cdef inline int tcp_weigh(CtEntry *entry, uint64_t direction, const Segment *s, int kind, const CtSettings *settings,
                          int *state) noexcept nogil:
    """TRACK_ACCEPT: where the segment leads, if it is in window, is in *state. Any other TRACK_*: no further."""
    cdef int old = entry.state
    cdef int new = tcp_transitions[direction][kind][old]
    if new == TCP_INVALID:
        return TRACK_INVALID
    if new == TCP_SYN_SENT and old >= TCP_TIME_WAIT:
        if ((entry.window[0].flags | entry.window[1].flags) & WINDOW_CLOSE_INIT
                or (entry.last_dir == direction and entry.last_index == SEGMENT_RST)):
            return TRACK_REOPEN
        new = TCP_IGNORE
    if new == TCP_IGNORE:
        if not (kind == SEGMENT_SYNACK and entry.last_index == SEGMENT_SYN and entry.last_dir != direction
                and s.ack == entry.last_end):
            tcp_ignore(entry, direction, s, kind)
            return TRACK_IGNORE
        tcp_follow(entry, direction)
        new = TCP_SYN_RECV
    elif new == TCP_TIME_WAIT:
        if (old == TCP_LAST_ACK and kind == SEGMENT_ACK and entry.last_dir != direction
                and entry.last_index == SEGMENT_SYN and entry.last_flags & LAST_CHALLENGE_ACK):
            entry.last_flags &= ~LAST_CHALLENGE_ACK
            return TRACK_IGNORE
    elif new == TCP_SYN_SENT2:
        entry.last_flags |= LAST_SIMULTANEOUS
    elif new == TCP_SYN_RECV:
        if direction == CT_REPLY_DIR and kind == SEGMENT_ACK and entry.last_flags & LAST_SIMULTANEOUS:
            new = TCP_ESTABLISHED
    state[0] = new
    return TRACK_ACCEPT

cdef inline int tcp_reset(const CtEntry *entry, uint64_t direction, const Segment *s, const CtSettings *settings,
                          int *state, bint *settled) noexcept nogil:
    """A RST: old, not quite right (then the state stays), or, *settled, one that no window is asked about."""
    cdef const CtWindow *receiver = &entry.window[1 - direction]
    if tcp_closing(entry.state):
        settled[0] = True               # the ports may be in use again already
        return TRACK_ACCEPT
    # An acknowledgement from before a SYN that we let pass says nothing.
    if receiver.flags & WINDOW_MAXACK and entry.last_index != SEGMENT_SYN:
        if s.seq == 0 and not tcp_is_established(entry):
            return TRACK_ACCEPT
        if before(s.seq, receiver.maxack) and not settings.tcp_ignore_invalid_rst:
            return TRACK_INVALID
        if not rst_misses(entry, direction, s, receiver.maxack):
            return TRACK_ACCEPT
        state[0] = entry.state
    settled[0] = rst_answers(entry, direction, s)
    return TRACK_ACCEPT

cdef inline bint tcp_assures(const CtEntry *entry, int old) noexcept nogil:
    return (entry.status & IPS_SEEN_REPLY and not entry.status & IPS_ASSURED and entry.state == TCP_ESTABLISHED
            and (old == TCP_SYN_RECV or old == TCP_ESTABLISHED))

cdef inline int tcp_packet(CtEntry *entry, uint64_t direction, const Packet *packet, const CtSettings *settings,
                           uint32_t now_s, uint32_t *timeout) noexcept nogil:
    """A segment of a connection, new or known. TRACK_*; with TRACK_ACCEPT, *timeout says how long it is kept now,
    0: it is over with this segment. Holds: the entry's lock."""
    cdef Segment s = segment_at(packet.l4, packet.l4_length)
    cdef int kind = segment_kind(s.flags)
    cdef int old = entry.state, state = old, fate
    cdef bint settled = False
    if old == TCP_NONE and not tcp_new(entry, &s, settings):
        return TRACK_INVALID
    if kind != SEGMENT_ACK or old != TCP_ESTABLISHED:
        fate = tcp_weigh(entry, direction, &s, kind, settings, &state)
        if fate == TRACK_ACCEPT and kind == SEGMENT_RST:
            fate = tcp_reset(entry, direction, &s, settings, &state, &settled)
        if fate != TRACK_ACCEPT:
            return fate
    if not settled:
        fate = window_check(entry, direction, &s, kind == SEGMENT_ACK)
        if fate != WINDOW_GOOD and not (entry.window[direction].flags & WINDOW_LIBERAL or settings.tcp_be_liberal):
            if fate == WINDOW_BAD:
                tcp_misfit(entry, direction, kind, settings, now_s)
                return TRACK_INVALID
            return TRACK_IGNORE
    entry.last_index = <uint8_t>kind
    entry.last_dir = <uint8_t>direction
    entry.state = <uint8_t>state
    if state == TCP_FIN_WAIT and old != TCP_FIN_WAIT:
        entry.window[direction].flags |= WINDOW_CLOSE_INIT
    timeout[0] = tcp_timeout(entry, kind, settings)
    if not entry.status & IPS_SEEN_REPLY:
        if kind == SEGMENT_RST:
            timeout[0] = 0              # nothing but a refusal came back
        elif kind == SEGMENT_SYN and old == TCP_SYN_SENT:
            return TRACK_IGNORE         # a SYN again: lest a client keep the entry for ever
    elif tcp_assures(entry, old):
        entry.status |= IPS_ASSURED
    return TRACK_ACCEPT
