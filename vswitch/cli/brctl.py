"""vswitchctl brctl: the words of bridge-utils for this switch.

Same words, same columns, same complaints, same exit code, so that fingers and scripts need not learn. What a word
means here where the kernel has no counterpart is said in `l2.membership`. The daemon decides every change; this module
looks at the report first only to choose brctl's own words for the usual mistakes.

There is no spanning tree, so those words are refused by name, and `show` prints "no" for it. The bridge id that it
prints is made as the kernel makes it, of the lowest MAC among the ports.
"""

from __future__ import annotations

import math
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from .client import Refusal
from .output import Session

Json = dict[str, Any]

SHOW_HEAD = "bridge name\tbridge id\t\tSTP enabled\tinterfaces"
SHOWMACS_HEAD = "port no\tmac addr\t\tis local?\tageing timer"
NO_STP = ("setbridgeprio", "setfd", "sethello", "setmaxage", "setpathcost", "setportprio", "showstp", "stp")


class Complaint(Exception):
    """What brctl says on stderr before it ends with 1."""


def addbr(session: Session, bridge: str) -> None:
    """brctl addbr BRIDGE"""
    report = session.client.get("show")
    if bridge in _names(report, "bridges") | _names(report, "ports"):
        raise Complaint(f"device {bridge} already exists; can't create bridge with the same name")
    _do(session, "add bridge failed", session.client.post, "bridges", name=bridge)


def delbr(session: Session, bridge: str) -> None:
    """brctl delbr BRIDGE"""
    if bridge not in _names(session.client.get("show"), "bridges"):
        raise Complaint(f"bridge {bridge} doesn't exist; can't delete it")
    _do(session, f"can't delete bridge {bridge}", session.client.post, "bridges", bridge, "dissolve")


def addif(session: Session, bridge: str, *devices: str) -> None:
    """brctl addif BRIDGE DEVICE..."""
    for device in devices:
        report = session.client.get("show")
        _bridge(report, bridge)
        _refuse_member(report, bridge, device)
        failed = f"can't add {device} to bridge {bridge}"
        try:
            _do(session, failed, session.client.post, "bridges", bridge, "members", port=device)
        except Complaint:
            _existing(report, device)
            raise


def _refuse_member(report: Json, bridge: str, device: str) -> None:
    if device in _names(report, "bridges"):
        raise Complaint(f"device {device} is a bridge device itself; can't add a bridge device to a bridge device.")
    if any(port["name"] == device and port["bridge"] for port in report["ports"]):
        raise Complaint(f"device {device} is already a member of a bridge; can't add it to bridge {bridge}.")


def delif(session: Session, bridge: str, *devices: str) -> None:
    """brctl delif BRIDGE DEVICE..."""
    for device in devices:
        report = session.client.get("show")
        if device not in _bridge(report, bridge)["ports"]:
            _existing(report, device)
            raise Complaint(f"device {device} is not a port of {bridge}")
        failed = f"can't delete {device} from {bridge}"
        _do(session, failed, session.client.delete, "bridges", bridge, "members", device)


def show(session: Session, *bridges: str) -> None:
    """brctl show [BRIDGE...]"""
    report = session.client.get("show")
    rows, complaint = [], None
    for name in bridges or [bridge["name"] for bridge in report["bridges"]]:
        try:
            rows.append(_show_row(report, _bridge(report, name)))
        except Complaint as error:
            complaint = _no_bridge(report, name) or error
            break
    session.print(rows, _print_bridges)
    if complaint is not None:
        raise complaint


def _no_bridge(report: Json, name: str) -> Complaint | None:
    return Complaint(f"device {name} is not a bridge!") if name in _names(report, "ports") else None


def _show_row(report: Json, bridge: Json) -> Json:
    macs = [port["mac"] for port in report["ports"] if port["bridge"] == bridge["name"] and port["mac"]]
    return {"name": bridge["name"], "id": bridge_id(macs), "stp": False, "interfaces": bridge["ports"]}


def bridge_id(macs: Sequence[str]) -> str:
    """Priority and lowest MAC among the ports, zeros without any: "8000.525400000001"."""
    return "8000." + min((mac.replace(":", "") for mac in macs), default="0" * 12)


def _print_bridges(rows: list[Json]) -> None:
    if rows:
        print(SHOW_HEAD)
    for row in rows:
        first, *others = row["interfaces"] or [""]
        print(f"{row['name']}\t\t{row['id']}\tno\t\t{first}")
        for name in others:
            print(f"\t\t\t\t\t\t\t{name}")


def showmacs(session: Session, bridge: str) -> None:
    """brctl showmacs BRIDGE"""
    ports = next((b["ports"] for b in session.client.get("show")["bridges"] if b["name"] == bridge), None)
    if ports is None:
        raise Complaint("read of forward table failed: No such device")
    numbers = {name: number for number, name in enumerate(ports, 1)}
    entries = sorted(session.client.get("fdb", bridge=bridge), key=lambda entry: (entry["mac"], entry["vlan"]))
    rows = [{"port_no": numbers[e["port"]], "mac": e["mac"], "is_local": False, "ageing_s": e["age_s"]}
            for e in entries if e["port"] in numbers]  # fmt: skip
    session.print(rows, _print_macs)


def _print_macs(rows: list[Json]) -> None:
    print(SHOWMACS_HEAD)
    for row in rows:
        print(f"{row['port_no']:3d}\t{row['mac']}\tno\t\t{_timer(row['ageing_s'])}")


def _timer(seconds: float) -> str:
    hundredths = int(seconds * 100)
    return f"{hundredths // 100:4d}.{hundredths % 100:02d}"


def setageing(session: Session, bridge: str, time: str) -> None:
    """brctl setageing BRIDGE SECONDS"""
    try:
        seconds = math.ceil(float(time))
    except (ValueError, OverflowError):
        seconds = -1
    if seconds < 0:
        raise Complaint("bad ageing time value")
    if bridge not in _names(session.client.get("show"), "bridges"):
        raise Complaint("set ageing time failed: No such device")
    if seconds == 0:
        raise Complaint("set ageing time failed: 0 has a kernel bridge flood every frame; this switch has no such mode")
    _do(session, "set ageing time failed", session.client.patch, "bridges", bridge, ageing_s=seconds)


def hairpin(session: Session, bridge: str, port: str, mode: str) -> None:
    """brctl hairpin BRIDGE PORT {on|off}"""
    if mode not in ("on", "off", "yes", "no", "1", "0"):
        raise Complaint("expect on/off for argument")
    report = session.client.get("show")
    failed = f"can't set {port} to hairpin on bridge {bridge}"
    if port not in _bridge(report, bridge)["ports"]:
        raise Complaint(f"{failed}: No such file or directory")
    _do(session, failed, session.client.patch, "ports", port, hairpin=mode in ("on", "yes", "1"))


# What they share


def _names(report: Json, kind: str) -> set[str]:
    return {entry["name"] for entry in report[kind]}


def _bridge(report: Json, name: str) -> Json:
    for bridge in report["bridges"]:
        if bridge["name"] == name:
            return bridge
    raise Complaint(f"bridge {name} does not exist!")


def _existing(report: Json, device: str) -> None:
    """Complain of a device that is neither a port nor an interface of this host."""
    if device in _names(report, "ports"):
        return
    try:
        socket.if_nametoindex(device)
    except OSError:
        raise Complaint(f"interface {device} does not exist!") from None


def _do(session: Session, failed: str, request: Callable[..., Any], *parts: str, **body: Any) -> None:
    """A change; its refusal in brctl's form, and as quiet as brctl when it is done."""
    try:
        reply = request(*parts, **body)
    except Refusal as refusal:
        if refusal.status in (0, 403):
            raise
        raise Complaint(f"{failed}: {refusal}") from None
    session.print(reply, lambda _: None)


# The command


@dataclass(frozen=True, slots=True)
class Word:
    """One brctl command: what carries it out, how many arguments it takes, and its line of the usage."""

    do: Callable[..., None]
    least: int
    most: int | None
    usage: str


WORDS = {
    "addbr": Word(addbr, 1, 1, "<bridge>\t\tadd bridge"),
    "delbr": Word(delbr, 1, 1, "<bridge>\t\tdelete bridge"),
    "addif": Word(addif, 2, None, "<bridge> <device>\tadd interface to bridge"),
    "delif": Word(delif, 2, None, "<bridge> <device>\tdelete interface from bridge"),
    "hairpin": Word(hairpin, 3, 3, "<bridge> <port> {on|off}\tturn hairpin on/off"),
    "setageing": Word(setageing, 2, 2, "<bridge> <time>\t\tset ageing time"),
    "show": Word(show, 0, None, "[ <bridge> ]\t\tshow a list of bridges"),
    "showmacs": Word(showmacs, 1, 1, "<bridge>\t\tshow a list of mac addrs"),
}


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="\b\nExamples:\n"
    "  vswitchctl brctl addbr br0\n"
    "  vswitchctl brctl addif br0 tap0           a port of the switch, or a device of the host\n"
    "  vswitchctl brctl show\n"
    "  vswitchctl brctl showmacs br0\n"
    "  vswitchctl brctl setageing br0 60\n"
    "  vswitchctl brctl delif br0 tap0\n"
    "  vswitchctl brctl delbr br0",
)
@click.argument("word", metavar="COMMAND", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def brctl(context: click.Context, word: str | None, arguments: tuple[str, ...]) -> None:
    """Speak brctl: addbr, delbr, addif, delif, show, showmacs, setageing, hairpin.

    The words and the output are those of bridge-utils.
    """
    try:
        _carry_out(context.obj, word, arguments)
    except Complaint as complaint:
        print(complaint, file=sys.stderr)
        context.exit(1)


def _carry_out(session: Session, name: str | None, arguments: tuple[str, ...]) -> None:
    word = WORDS.get(name or "")
    if word is None:
        raise _unheard(name)
    if len(arguments) < word.least or (word.most is not None and len(arguments) > word.most):
        raise Complaint(f"Incorrect number of arguments for command\nUsage: brctl {name} {word.usage}")
    word.do(session, *arguments)


def _unheard(name: str | None) -> Complaint:
    if name in NO_STP:
        return Complaint(f"brctl {name}: this switch has no spanning tree")
    lines = (f"\t{key:10}\t{word.usage}" for key, word in WORDS.items())
    usage = "\n".join(["Usage: brctl [commands]", "commands:", *lines])
    return Complaint(f"never heard of command [{name}]\n{usage}" if name else usage)
