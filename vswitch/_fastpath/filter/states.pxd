"""TCP's states as connection tracking has them (the kernel's enum tcp_conntrack)."""

cdef enum:
    TCP_NONE = 0
    TCP_SYN_SENT = 1
    TCP_SYN_RECV = 2
    TCP_ESTABLISHED = 3
    TCP_FIN_WAIT = 4
    TCP_CLOSE_WAIT = 5
    TCP_LAST_ACK = 6
    TCP_TIME_WAIT = 7
    TCP_CLOSE = 8
    TCP_SYN_SENT2 = 9                   # both ends sent a SYN
    TCP_INVALID = 10                    # no state: the packet does not belong here
    TCP_IGNORE = 11                     # no state: let it pass, and see what the other end makes of it

cdef inline bint tcp_closing(int state) noexcept nogil:
    """One end at least has finished: the connection may make room for others, and its numbers tell little."""
    return TCP_FIN_WAIT <= state <= TCP_CLOSE

cdef inline bint tcp_over(int state) noexcept nogil:
    """Nothing more is due: the ports may be used again. By the kernel's order of states a simultaneous SYN is one."""
    return state >= TCP_TIME_WAIT
