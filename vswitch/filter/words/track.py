"""CT, NOTRACK, TCPMSS, CLASSIFY and NFQUEUE: targets that steer what comes later.

Helpers and timeout policies of CT have no counterpart here and are refused by name. The events of CT are kept and
printed back; nobody listens to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..matches import Tcp
from ..targets import Classify, Ct, Nfqueue, Notrack, Tcpmss, ZoneScope
from ..values import Range
from .base import Asked, Demands, Extension, Fields, Option
from .complaint import Complaint
from .names import TCP
from .readers import number, within

RAW = Demands(tables=("raw",))

# CT

EVENTS = ("new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "natseqinfo", "secmark")
SCOPES = {ZoneScope.BOTH: "zone", ZoneScope.ORIGINAL: "zone-orig", ZoneScope.REPLY: "zone-reply"}


def _events(text: str, asked: Asked) -> int:
    total = 0
    for name in text.split(","):
        if name.lower() not in EVENTS:
            raise Complaint(f'Unknown event type "{name}"')
        total |= 1 << EVENTS.index(name.lower())
    return total


def _write_events(held: int) -> str:
    return ",".join(name for bit, name in enumerate(EVENTS) if held >> bit & 1)


def _zone(scope: ZoneScope) -> Callable[[str, Asked], tuple[ZoneScope, int | None]]:
    def read(text: str, asked: Asked) -> tuple[ZoneScope, int | None]:
        if text == "mark":
            return scope, None
        value = number(text)
        if value is None:
            raise Complaint(f"Cannot parse {text} as a zone ID")
        if value > 65535:
            raise Complaint(f"Cannot parse {text} as a zone ID")
        return scope, value

    return read


def _refused(text: str, asked: Asked) -> None:
    raise Complaint(f"{asked.extension}: {asked.option} is not supported by this switch")


def _make_ct(fields: Fields) -> Ct:
    values = dict(fields.values)
    scope, zone = values.pop("zone", (ZoneScope.BOTH, 0))
    return Ct(scope=scope, zone=zone or 0, zone_from_mark=zone is None, **values)


def _write_ct(held: Ct, dashes: str) -> str:
    text = f" {dashes}notrack" if held.notrack else ""
    if held.events:
        text += f" {dashes}ctevents {_write_events(held.events)}"
    if held.expect_events:
        text += f" {dashes}expevents {_write_events(held.expect_events)}"
    if held.zone or held.zone_from_mark:
        text += f" {dashes}{SCOPES[held.scope]} {'mark' if held.zone_from_mark else held.zone}"
    return text


CT = Extension(
    name="CT",
    struct=Ct,
    options=(
        Option("--notrack", "notrack", words=0),
        *(Option(f"--{name}", "zone", _zone(scope)) for scope, name in SCOPES.items()),
        Option("--ctevents", "events", _events),
        Option("--expevents", "expect_events", _events),
        Option("--helper", "helper", _refused),
        Option("--timeout", "timeout", _refused),
    ),
    show=lambda held, numeric: f" CT{_write_ct(held, '')}",
    save=lambda held: _write_ct(held, "--"),
    make=_make_ct,
    demands=RAW,
)

NOTRACK = Extension(
    name="NOTRACK",
    struct=Notrack,
    show=lambda held, numeric: " NOTRACK",
    demands=RAW,
    listed="CT",
)


# TCPMSS

HEADERS = {4: 20, 6: 40}


def _mss(text: str, asked: Asked) -> int:
    size: int = within(65535 - HEADERS[asked.family])(text, asked)
    return size


def _tcpmss_further(held: Tcpmss, spec: Any, chains: frozenset[str]) -> str | None:
    if held.mss is None and chains - {"FORWARD", "OUTPUT", "POSTROUTING"}:
        return "path-MTU clamping only supported in FORWARD, OUTPUT and POSTROUTING"
    for match in spec.matches:
        if isinstance(match, Tcp) and match.flags and match.flags[1] & 2 and "flags" not in match.inverted:
            return None
    return "Only works on TCP SYN packets"


TCPMSS = Extension(
    name="TCPMSS",
    struct=Tcpmss,
    options=(
        Option("--set-mss", "mss", _mss),
        Option("--clamp-mss-to-pmtu", "mss", lambda words, asked: None, words=0),
    ),
    show=lambda held, numeric: " TCPMSS clamp to PMTU" if held.mss is None else f" TCPMSS set {held.mss}",
    save=lambda held: " --clamp-mss-to-pmtu" if held.mss is None else f" --set-mss {held.mss}",
    make=lambda fields: Tcpmss(fields.values["mss"]),
    missing="TCPMSS target: At least one parameter is required",
    demands=Demands(protocols=(TCP,), further=_tcpmss_further),
)


# CLASSIFY

CLASS = re.compile(r"([0-9a-fA-F]+):([0-9a-fA-F]+)")


def _class(text: str, asked: Asked) -> tuple[int, int]:
    parts = CLASS.fullmatch(text)
    if parts is None or int(parts[1], 16) > 0xFFFF or int(parts[2], 16) > 0xFFFF:
        raise Complaint(f'Bad class value "{text}"')
    return int(parts[1], 16), int(parts[2], 16)


CLASSIFY = Extension(
    name="CLASSIFY",
    struct=Classify,
    options=(Option("--set-class", "place", _class, required=True),),
    show=lambda held, numeric: f" CLASSIFY set {held.major:x}:{held.minor:x}",
    save=lambda held: f" --set-class {held.major:04x}:{held.minor:04x}",
    make=lambda fields: Classify(*fields.values["place"]),
    demands=Demands(chains=("FORWARD", "OUTPUT", "POSTROUTING")),
)


# NFQUEUE

QUEUES = 65535


def _queue(text: str, asked: Asked) -> Range:
    value = within(QUEUES)(text, asked)
    return Range(value, value)


def _queues(text: str, asked: Asked) -> Range:
    first, _, last = text.partition(":")
    low, top = number(first), number(last)
    if low is None or top is None or not low < top <= QUEUES or top - low >= QUEUES:
        bad = f'bad value for option "{asked.option}" near "{text}", or out of range (0-{QUEUES}).'
        raise Complaint(f"{asked.extension}: {bad}\n")
    return Range(low, top)


def _write_queue(held: Nfqueue, dashes: str) -> str:
    single = held.queues.first == held.queues.last
    text = f" {dashes}num {held.queues.first}" if single else f" {dashes}balance {held.queues.first}:{held.queues.last}"
    flags = f" {dashes}bypass" if held.bypass else ""
    return text + flags + (f" {dashes}cpu-fanout" if held.cpu_fanout else "")


def _save_queue(held: Nfqueue) -> str:
    return _write_queue(held, "--queue-")


def _make_queue(fields: Fields) -> Nfqueue:
    queues = fields.values.get("queues", Range(0, 0))
    if "cpu_fanout" in fields.values and queues.first == queues.last:
        raise Complaint('NFQUEUE: option "--queue-cpu-fanout" also requires "--queue-balance".\n')
    return Nfqueue(**fields.values)


NFQUEUE = Extension(
    name="NFQUEUE",
    struct=Nfqueue,
    options=(
        Option("--queue-num", "queues", _queue),
        Option("--queue-balance", "queues", _queues),
        Option("--queue-bypass", "bypass", words=0),
        Option("--queue-cpu-fanout", "cpu_fanout", words=0),
    ),
    show=lambda held, numeric: f" NFQUEUE{_write_queue(held, '')}",
    save=_save_queue,
    make=_make_queue,
)

TARGETS = (CT, NOTRACK, TCPMSS, CLASSIFY, NFQUEUE)
