"""REJECT and LOG: the targets that answer or tell."""

from __future__ import annotations

from typing import Any

from ..targets import Log, LogFlag, Reject, RejectWith
from .base import Asked, Demands, Extension, Fields, Option
from .complaint import Complaint
from .misc import quoted
from .names import TCP
from .readers import number, octets

# REJECT

ALIASES = {
    4: {
        "net-unreach": RejectWith.ICMP_NET_UNREACHABLE,
        "host-unreach": RejectWith.ICMP_HOST_UNREACHABLE,
        "proto-unreach": RejectWith.ICMP_PROTO_UNREACHABLE,
        "port-unreach": RejectWith.ICMP_PORT_UNREACHABLE,
        "net-prohib": RejectWith.ICMP_NET_PROHIBITED,
        "host-prohib": RejectWith.ICMP_HOST_PROHIBITED,
        "tcp-rst": RejectWith.TCP_RESET,
        "admin-prohib": RejectWith.ICMP_ADMIN_PROHIBITED,
    },
    6: {
        "no-route": RejectWith.ICMP6_NO_ROUTE,
        "adm-prohibited": RejectWith.ICMP6_ADM_PROHIBITED,
        "addr-unreach": RejectWith.ICMP6_ADDR_UNREACHABLE,
        "port-unreach": RejectWith.ICMP6_PORT_UNREACHABLE,
        "policy-fail": RejectWith.ICMP6_POLICY_FAIL,
        "reject-route": RejectWith.ICMP6_REJECT_ROUTE,
    },
}
DEFAULT = {4: RejectWith.ICMP_PORT_UNREACHABLE, 6: RejectWith.ICMP6_PORT_UNREACHABLE}


def reject_name(reason: RejectWith) -> str:
    return reason.name.lower().replace("_", "-")


def _names(family: int) -> dict[str, RejectWith]:
    own = {reject_name(r): r for r in RejectWith if r.value[0] in (0, family)}
    return own | ALIASES[family]


NAMES = {family: _names(family) for family in (4, 6)}


def _reason(text: str, asked: Asked) -> RejectWith:
    """A name, or its beginning; the first that fits counts."""
    for name, reason in NAMES[asked.family].items():
        if text and name.startswith(text.lower()):
            return reason
    raise Complaint(f'unknown reject type "{text}"')


def _reject_further(held: Reject, spec: Any, chains: frozenset[str]) -> str | None:
    if held.reason is RejectWith.TCP_RESET and (spec.protocol != TCP or "protocol" in spec.inverted):
        return "tcp-reset is only valid with -p tcp"
    return None


REJECT = Extension(
    name="REJECT",
    struct=Reject,
    options=(Option("--reject-with", "reason", _reason, reject_name),),
    show=lambda held, numeric: f" reject-with {reject_name(held.reason)}",
    make=lambda fields: Reject(fields.values.get("reason", DEFAULT[fields.family])),
    demands=Demands(tables=("filter",), chains=("INPUT", "FORWARD", "OUTPUT"), further=_reject_further),
)


# LOG

LEVELS = {
    "emerg": 0, "alert": 1, "crit": 2, "error": 3, "warn": 4, "notice": 5, "info": 6, "debug": 7,
    "panic": 0, "err": 3, "warning": 4,
}  # fmt: skip
LEVEL_NAMES = {level: name for name, level in reversed(LEVELS.items())}
LONGEST_PREFIX = 29
FLAGS = (
    (LogFlag.TCP_SEQUENCE, "tcp-sequence"),
    (LogFlag.TCP_OPTIONS, "tcp-options"),
    (LogFlag.IP_OPTIONS, "ip-options"),
    (LogFlag.UID, "uid"),
    (LogFlag.MACDECODE, "macdecode"),
)


def _level(text: str, asked: Asked) -> int:
    level = number(text)
    if level is None:
        level = LEVELS.get(text.lower())
    if level is None or level > 7:
        raise Complaint(f'log level "{text}" unknown\n')
    return level


def _prefix(text: str, asked: Asked) -> str:
    if "\n" in text or "\r" in text:
        raise Complaint("Newlines not allowed in --log-prefix")
    return octets(text)[:LONGEST_PREFIX].decode(errors="ignore")


def _make_log(fields: Fields) -> Log:
    flags = LogFlag(0)
    for flag, name in FLAGS:
        if name in fields.values:
            flags |= flag
    return Log(level=fields.values.get("level", 4), prefix=fields.values.get("prefix", ""), flags=flags)


def _save_log(held: Log) -> str:
    prefix = f" --log-prefix {quoted(held.prefix)}" if held.prefix else ""
    level = f" --log-level {held.level}" if held.level != 4 else ""
    return prefix + level + "".join(f" --log-{name}" for flag, name in FLAGS if held.flags & flag)


def _show_log(held: Log, numeric: bool) -> str:
    if numeric:
        text = f" LOG flags {int(held.flags)} level {held.level}"
    else:
        flags = "".join(f" {name}" for flag, name in FLAGS if held.flags & flag)
        text = f" LOG level {LEVEL_NAMES[held.level]}{flags}"
    return text + (f' prefix "{held.prefix}"' if held.prefix else "")


LOG = Extension(
    name="LOG",
    struct=Log,
    options=(
        Option("--log-level", "level", _level),
        Option("--log-prefix", "prefix", _prefix),
        *(Option(f"--log-{name}", name, words=0) for _, name in FLAGS),
    ),
    show=_show_log,
    save=_save_log,
    make=_make_log,
)

TARGETS = (REJECT, LOG)
