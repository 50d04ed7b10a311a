"""DNS messages (RFC 1035), as much of them as a server needs that answers from a short list and relays the rest.

`parse` reads the header and the one question, every length checked; what follows the question (EDNS, cookies) is of
no interest here and goes on to the server as it came. Names are in lower case without the final dot. Pure functions.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from ..wire import Malformed

Address = IPv4Address | IPv6Address

QUERY_MAX = 4096  # bytes of a query; what asks one question has no need of more
_HEADER = struct.Struct("!HHHHHH")
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _AVAILABLE = 0x8000, 0x0400, 0x0200, 0x0080
_OPCODE, _KEPT = 0x7800, 0x7900  # opcode; opcode and "recursion desired"
_CODE = 0x000F
_NAME_MAX = 255
_IN, _ANY_CLASS = 1, 255


class Type(IntEnum):
    """Types of records that the network answers itself."""

    A = 1
    PTR = 12
    AAAA = 28
    ANY = 255


class Code(IntEnum):
    """What a reply says about the whole."""

    OK = 0
    FORMAT_ERROR = 1
    SERVER_FAILURE = 2
    NO_NAME = 3
    NOT_IMPLEMENTED = 4
    REFUSED = 5


class Fault(Exception):
    """A query that deserves an answer, but only this one."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, slots=True)
class Query:
    """One question; `question` is its bytes as they came, for the reply must spell it alike."""

    id: int
    flags: int
    name: str
    type: int
    internet: bool
    question: bytes


def parse(payload: bytes) -> Query:
    """The question in a datagram. Raises Malformed for what gets no answer, Fault for what gets only an error."""
    if not _HEADER.size <= len(payload) <= QUERY_MAX:
        raise Malformed("length")
    number, flags, questions, *_ = _HEADER.unpack_from(payload)
    if flags & _RESPONSE:
        raise Malformed("not a query")
    if flags & _OPCODE:
        raise Fault(Code.NOT_IMPLEMENTED)
    if questions != 1:
        raise Fault(Code.FORMAT_ERROR)
    name, at = _read_name(payload, _HEADER.size)
    if at + 4 > len(payload):
        raise Fault(Code.FORMAT_ERROR)
    kind, group = struct.unpack_from("!HH", payload, at)
    return Query(number, flags, name, kind, group in (_IN, _ANY_CLASS), payload[_HEADER.size : at + 4])


def _read_name(payload: bytes, at: int) -> tuple[str, int]:
    """A name that stands uncompressed, as the first of a message must, and where it ends."""
    start, labels = at, []
    while at < len(payload) and payload[at]:
        size = payload[at]
        if size > 63 or at + 1 + size > len(payload) or at + size - start > _NAME_MAX - 2:
            raise Fault(Code.FORMAT_ERROR)
        labels.append(payload[at + 1 : at + 1 + size])
        at += 1 + size
    if at >= len(payload):
        raise Fault(Code.FORMAT_ERROR)
    # a dot inside a label is not the dot between two
    return b".".join(label.replace(b".", b"\\.") for label in labels).decode("latin-1").lower(), at + 1


def error(payload: bytes, code: Code) -> bytes:
    """The reply to a query that could be read no further than its header."""
    number, flags, *_ = _HEADER.unpack_from(payload)
    return _HEADER.pack(number, _RESPONSE | flags & _KEPT | code, 0, 0, 0, 0)


def reply(query: Query, code: Code, answers: Sequence[bytes] = ()) -> bytes:
    """A reply of our own: records, each the rest of one behind its name, which is always the question's."""
    records = b"".join(b"\xc0\x0c" + answer for answer in answers)
    flags = _RESPONSE | _AUTHORITATIVE | _AVAILABLE | query.flags & _KEPT | code
    return _HEADER.pack(query.id, flags, 1, len(answers), 0, 0) + query.question + records


def address_record(address: Address, ttl_s: int) -> bytes:
    """An A or AAAA record."""
    kind = Type.A if isinstance(address, IPv4Address) else Type.AAAA
    return struct.pack("!HHIH", kind, _IN, ttl_s, len(address.packed)) + address.packed


def pointer_record(name: str, ttl_s: int) -> bytes:
    """A PTR record."""
    packed = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"
    return struct.pack("!HHIH", Type.PTR, _IN, ttl_s, len(packed)) + packed


def truncated(answer: bytes, question: bytes) -> bytes:
    """An answer that does not fit into a datagram, cut to its question: the client is to ask over TCP."""
    number, flags, *_ = _HEADER.unpack_from(answer)
    return _HEADER.pack(number, flags | _TRUNCATED, 1, 0, 0, 0) + question


def reverse_address(name: str) -> Address | None:
    """The address that a name below in-addr.arpa or ip6.arpa stands for, if it is a whole one."""
    labels = name.split(".")[::-1]
    try:
        if labels[:2] == ["arpa", "in-addr"] and len(labels) == 6:
            return IPv4Address(".".join(labels[2:]))
        if labels[:2] == ["arpa", "ip6"] and len(labels) == 34 and all(len(label) == 1 for label in labels[2:]):
            return IPv6Address(bytes.fromhex("".join(labels[2:])))
    except ValueError:
        pass
    return None


def with_id(payload: bytes, number: int) -> bytes:
    """A message under another id."""
    return number.to_bytes(2, "big") + payload[2:]


def answers(payload: bytes, number: int, question: bytes) -> bool:
    """Whether a datagram is the answer to that question under that id; one of an error may leave the question out."""
    if len(payload) < _HEADER.size:
        return False
    got, flags, questions, *_ = _HEADER.unpack_from(payload)
    if got != number or not flags & _RESPONSE:
        return False
    if questions == 0:
        return flags & _CODE != Code.OK
    return questions == 1 and payload[_HEADER.size : _HEADER.size + len(question)].lower() == question.lower()


def code_of(answer: bytes) -> int:
    """What an answer says about the whole."""
    return answer[3] & _CODE
