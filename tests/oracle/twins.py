"""Connections of one router that have a tuple in common, in one zone: whose a packet with it is, nobody has laid down.

A rule that gives a zone to one direction alone lets it happen. The kernel compares the zones of a new connection with
those of another in the direction in which that one has the tuple. Say A has it as its reply, in zone 0 either way, and
B as its original, in zone 0, while B's replies are in zone 2: in the reply's direction they are in different zones, so
B may be confirmed beside A. A packet that comes in zone 0 either way, as the rule does not apply to it, fits both. Such
are ICMP errors, above all: a rule that looks at ports sees those of no quoted packet.

The kernel takes the one that it meets first in the chain of its hash table: the later one, as it inserts at the head,
or the earlier one, once the table has been resized, which turns chains round. The switch takes the one in the first
slot. Then the other one's translation is done, and its state goes on.
"""

from __future__ import annotations

from collections import Counter

from tests.oracle.driver import Sent
from tests.oracle.subject import Connection, Subject
from tests.oracle.wire import is_ip, parse


def about_twins(subject: Subject, sent: Sent) -> bool:
    """Whether a frame, or the packet that it quotes, is one of a twin."""
    came = parse(sent.frame) if is_ip(sent.frame) else None
    if came is None:
        return False
    ends = (came.quoted or came).tuple if came.is_error else came.tuple
    return any(
        ends in (way, way.reversed()) for entry in twins(subject.conntrack()) for way in (entry.original, entry.reply)
    )


def twins(entries: list[Connection]) -> list[Connection]:
    """The connections with a tuple that another has too, in the same zone."""
    owners = Counter(place for entry in entries for place in _places(entry))
    return [entry for entry in entries if any(owners[place] > 1 for place in _places(entry))]


def _places(entry: Connection) -> set[tuple[object, int]]:
    return {(entry.original, entry.zones[0]), (entry.reply, entry.zones[1])}
