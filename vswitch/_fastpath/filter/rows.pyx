"""What Python sees of a connection: named tuples, with addresses as text and numbers in the host's order."""
from socket import AF_INET, AF_INET6, inet_ntop
from typing import NamedTuple

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t

from ..core.ip cimport PROTO_TCP, Ip, ip_is_v4, ip_store
from ..core.native cimport load16be
from ..core.packet cimport Tuple
from .conntrack cimport CtAccount, CtEntry, ct_tuple

#: By number: names of TCP's states.
TCP_STATES = ("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",
              "SYN_SENT2")
EVENT_NEW, EVENT_UPDATE, EVENT_DESTROY = 1, 2, 4
(SEEN_REPLY, ASSURED, CONFIRMED, SRC_NAT, DST_NAT, DYING) = (2, 4, 8, 16, 32, 512)


class Flow(NamedTuple):
    """One direction. Of ICMP, `sport` is the identifier; `dport` the type << 8 | code, as the bytes lie."""
    src: str
    dst: str
    sport: int
    dport: int
    zone: int
    packets: int
    bytes: int


class Connection(NamedTuple):
    index: int
    serial: int
    family: int
    proto: int
    original: Flow
    reply: Flow
    state: str                          # of TCP; "" for others
    status: int
    mark: int
    timeout_s: int
    age_s: int
    owner: int

    @property
    def id(self):
        """As conntrack -o id shows it: another number for another connection in the same entry."""
        return (self.index * 0x9E3779B1 ^ self.serial) & 0xffffffff


class ConnectionEvent(NamedTuple):
    kind: int                           # EVENT_*
    connection: Connection


class ConnectionCounters(NamedTuple):
    entries: int                        # confirmed
    used: int                           # and those whose first packet is under way
    found: int
    invalid: int
    insert: int
    insert_failed: int
    drop: int
    early_drop: int
    clash: int
    expired: int
    deleted: int
    refused: int
    events_lost: int


cdef str ip_text(const Ip *ip):
    cdef uint8_t raw[16]
    cdef bint v4 = ip_is_v4(ip)
    ip_store(raw, ip, v4)
    return inet_ntop(AF_INET if v4 else AF_INET6, raw[:4 if v4 else 16])


cdef object flow(const CtEntry *entry, const CtAccount *account, int direction):
    cdef const Tuple *t = ct_tuple(entry, direction)
    return Flow(ip_text(&t.src), ip_text(&t.dst), load16be(&t.sport), load16be(&t.dport), t.zone,
                account.packets[direction], account.bytes[direction])


cdef object connection_row(uint32_t index, const CtEntry *entry, const CtAccount *account, uint32_t now_s):
    cdef int32_t left = <int32_t>(entry.expires_s - now_s)
    return Connection(index, entry.serial, 4 if ip_is_v4(&entry.original.src) else 6, entry.original.proto,
                      flow(entry, account, 0), flow(entry, account, 1),
                      TCP_STATES[entry.state] if entry.original.proto == PROTO_TCP else "",
                      entry.status, entry.mark, max(left, 0), now_s - entry.created_s, entry.owner)
