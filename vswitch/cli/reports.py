"""What the switch reports, as an administrator reads it: `show`, `stats`, `fdb` and the lists.

Each function takes what the API answered (decoded JSON) and prints it. Pure but for the printing.
"""

from __future__ import annotations

import time
from typing import Any

from .output import duration, size, table

Json = dict[str, Any]


def show(report: Json) -> None:
    """The whole switch on one screen."""
    print(
        f"vswitch {report['version']}, up {duration(report['uptime_s'])}, "
        f"pid {report['pid']}, {report['loop']}, generation {report['generation']}"
    )
    applied = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report["applied_at"]))
    print(f"configuration: {report['config_file']}, applied {applied}")
    if report["apply_failed"]:
        print("               the last attempt to change it failed and changed nothing; the log says why")
    print(f"metrics: {_metrics(report['metrics_listen'])}")
    if report["connections"]:
        print(_connections(report["connections"]))
    for section, rows in SECTIONS:
        if report[rows]:
            print()
            section(report[rows])


def _metrics(listen: str | None) -> str:
    return f"http://{listen}/metrics" if listen else "off"


def _connections(table: Json) -> str:
    """How full the table is, and what that has cost already."""
    told = f"connections: {table['entries']:,} of at most {table['limit']:,}"
    lost = (("drops", "dropped for want of room"), ("refused", "over a port's budget"), ("early_drops", "made room early"))
    return told + "".join(f", {table[key]:,} {words}" for key, words in lost if table[key])


def bridges(rows: list[Json]) -> None:
    """Bridges and how full their FDB is."""
    table(
        ("BRIDGE", "AGEING", "MACS", "LIMIT", "MOVES", "LIMIT HITS", "PORTS"),
        (
            (b["name"], _ageing(b["ageing_s"]), b["macs"], b["mac_limit"], b["moves"], b["limit_hits"],
             _names(b["ports"]))
            for b in rows
        ),
    )  # fmt: skip


def _ageing(seconds: int) -> str:
    return f"{seconds} s" if seconds else "never"


def _names(ports: list[str], most: int = 8) -> str:
    """A hundred ports are listed below anyway."""
    rest = len(ports) - most
    return " ".join(ports[:most]) + (f" ... and {rest} more" if rest > 0 else "")


def ports(rows: list[Json]) -> None:
    """Ports, their VLANs, and what state their devices are in."""
    table(
        ("PORT", "BRIDGE", "KIND", "VLAN", "STATE", "MTU", "MAC", "NETNS", "FLAGS"),
        (
            (p["name"], p["bridge"], p["kind"], p["vlan"], _state(p), str(p["mtu"]), p["mac"], p["netns"], _flags(p))
            for p in rows
        ),
    )  # fmt: skip


def _state(port: Json) -> str:
    return f"{port['state']}: {port['reason']}" if port["reason"] else port["state"]


def _flags(port: Json) -> str:
    """What is out of the ordinary; JSON has the whole."""
    flags = [flag for flag in ("isolated", "hairpin") if port[flag]]
    flags += [f"{port['queues']} queues"] if port["queues"] > 1 else []
    flags += ["no offloads"] if port["queues"] and not port["offloads"] else []
    flags += [f"{way} {port[way]}" for way in ("egress", "ingress") if port[way]]
    return ", ".join(flags)


def workers(rows: list[Json]) -> None:
    """Workers and how busy they have been."""
    table(
        ("WORKER", "BUSY", "FRAMES", "BURSTS", "FRAMES/BURST", "POLLS", "SLEEPS"),
        (
            (w["index"], f"{w['busy_share']:.1%}", w["frames"], w["bursts"], _ratio(w["frames"], w["bursts"]),
             w["polls"], w["sleeps"])
            for w in rows
        ),
    )  # fmt: skip


def _ratio(part: int, whole: int) -> str | None:
    return f"{part / whole:.1f}" if whole else None


def stats(rows: list[Json]) -> None:
    """Counters of every port, and below, where there are any, the reasons of its drops."""
    table(
        ("PORT", "BRIDGE", "RX FRAMES", "RX BYTES", "TX FRAMES", "TX BYTES", "DROPPED", "ERRORS", "KERNEL DROPS"),
        (
            (s["name"], s["bridge"], s["rx_frames"], size(s["rx_bytes"]), s["tx_frames"], size(s["tx_bytes"]),
             sum(s["drops"].values()), sum(s["errors"].values()), s["kernel_drops"])
            for s in rows
        ),
    )  # fmt: skip
    lost = [(s["name"], reason, count) for s in rows for reason, count in (*s["drops"].items(), *s["errors"].items())]
    if lost:
        print()
        table(("PORT", "REASON", "FRAMES"), lost)


def rates(before: list[Json], after: list[Json], seconds: float) -> None:
    """What went through each port between two readings of its counters, a second."""
    old = {s["name"]: s for s in before}

    def rate(now: Json, key: str) -> int:
        return round((now[key] - old.get(now["name"], {}).get(key, 0)) / seconds)

    table(
        ("PORT", "BRIDGE", "RX FRAMES/S", "RX BIT/S", "TX FRAMES/S", "TX BIT/S", "DROPPED/S"),
        (
            (s["name"], s["bridge"], rate(s, "rx_frames"), _bits(rate(s, "rx_bytes")), rate(s, "tx_frames"),
             _bits(rate(s, "tx_bytes")), _dropped(s, old.get(s["name"]), seconds))
            for s in after
        ),
    )  # fmt: skip


def _bits(bytes_a_second: int) -> str:
    return size(8 * bytes_a_second).replace("B", "bit")


def _dropped(now: Json, before: Json | None, seconds: float) -> int:
    then = sum(before["drops"].values()) if before else 0
    return round((sum(now["drops"].values()) - then) / seconds)


def fdb(rows: list[Json]) -> None:
    """Known MACs."""
    table(
        ("MAC", "VLAN", "PORT", "AGE"),
        ((e["mac"], e["vlan"] or None, e["port"], "static" if e["static"] else f"{e['age_s']:.0f} s") for e in rows),
    )


def networks(rows: list[Json]) -> None:
    """Networks that have a gateway here."""
    table(
        ("NETWORK", "ADDRESS", "MODE", "UPLINK", "ROUTER", "SERVES"),
        ((_device(n), _several(n["address"]), n["mode"], n["uplink"], n["router"], _serves(n)) for n in rows),
    )


def _device(network: Json) -> str:
    return network["bridge"] if network["vlan"] is None else f"{network['bridge']}.{network['vlan']}"


def _several(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)


def _serves(network: Json) -> str:
    return " ".join(service for service in ("dhcp", "dns", "ra") if network[service] is not None)


def gateways(rows: list[Json]) -> None:
    """Networks as they are now, on one line each."""
    table(
        ("NETWORK", "ADDRESS", "MODE", "UPLINK", "ROUTER", "SERVES", "MAC"),
        (
            (n["name"], " ".join(n["address"]), n["mode"], n["uplink"], n["router"], " ".join(n["serves"]), n["mac"])
            for n in rows
        ),
    )


def uplinks(rows: list[Json]) -> None:
    """The ways out."""
    table(
        ("UPLINK", "ADDRESS", "GATEWAY", "ROUTER", "STATE", "MAC"),
        ((u["name"], " ".join(u["address"]), " ".join(u["gateway"]), u["router"], u["state"], u["mac"]) for u in rows),
    )


def routes(rows: list[Json]) -> None:
    """Routes by router."""
    table(("ROUTER", "TO", "VIA", "DEVICE"), ((r["router"], r["to"], r["via"] or "on link", r["device"]) for r in rows))


def neighbours(rows: list[Json]) -> None:
    """Neighbours by device."""
    table(
        ("DEVICE", "ADDRESS", "MAC", "STATE", "AGE"),
        ((n["device"], n["address"], n["mac"], n["state"], f"{n['age_s']:.0f} s") for n in rows),
    )


def leases(rows: list[Json]) -> None:
    """What DHCP has given out."""
    table(
        ("NETWORK", "ADDRESS", "MAC", "NAME", "STATE", "EXPIRES", "PORT"),
        (
            (e["network"], e["address"], e["mac"], e["name"], e["state"], duration(max(e["expires_s"], 0)), e["port"])
            for e in rows
        ),
    )


SECTIONS = ((bridges, "bridges"), (ports, "ports"), (gateways, "networks"), (uplinks, "uplinks"), (workers, "workers"))
