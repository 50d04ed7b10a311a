"""A port's section of the configuration, `limit` or `tc`, as traffic control: what is wrong with it, and what it makes.

`limit` is short for lines of tc. Egress becomes an HTB of one class with an fq_codel in it: HTB rather than TBF, since
it keeps super-frames whole where TBF cuts them at its burst; fq_codel, since whoever limits a guest does not want its
downloads to hold up its pings. Ingress becomes a policer for each VLAN that is named and one for the rest; its burst,
if none is given, is what the rate carries in a tenth of a second, and never less than a super-frame.

An empty `tc` is a section too: it says that there is nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from ..config.errors import Problem
from ..config.judge import between, readable
from . import units
from .complaint import Refusal
from .draft import Draft
from .lines import built
from .model import NOTHING, Link, TrafficControl
from .settings import Egress, Ingress, Limit, VlanLimit
from .tc import edit

RATE_RULE = 'a rate above zero as tc reads it, like "100mbit" (bits) or "10mbps" (bytes)'
SIZE_RULE = 'a size above zero as tc reads it, like "64kb"'
LEAST_BURST = 65_536
MOST_FRAMES = 1_000_000_000
RATES = ("rate", "burst", "frames", "frame_burst", "mark")


def wanted(port: Any, link: Link) -> TrafficControl | None:
    """What a port's section makes; None: it has none. The section has been found faultless."""
    if port.tc is not None:
        return built(port.tc, link)
    return None if port.limit is None else built(limit_lines(port.limit), link)


def plain(limit: Limit | None) -> Limit | None:
    """The same in its shortest spelling."""
    if limit is None:
        return None
    egress, ingress = limit.egress, limit.ingress
    if isinstance(egress, Egress) and egress == Egress(rate=egress.rate):
        egress = egress.rate
    if isinstance(ingress, Ingress) and ingress.rate is not None and ingress == Ingress(rate=ingress.rate):
        ingress = ingress.rate
    return Limit(egress=egress, ingress=ingress)


# limit as lines


def limit_lines(limit: Limit) -> list[str]:
    """The lines of tc that `limit` stands for."""
    lines = []
    if limit.egress is not None:
        egress = Egress(rate=limit.egress) if isinstance(limit.egress, str) else limit.egress
        burst = f" burst {egress.burst}" if egress.burst else ""
        lines += [
            "qdisc add root handle 1: htb default 1",
            f"class add parent 1: classid 1:1 htb rate {egress.rate}{burst}",
            "qdisc add parent 1:1 handle 10: fq_codel",
        ]
    if limit.ingress is not None:
        ingress = Ingress(rate=limit.ingress) if isinstance(limit.ingress, str) else limit.ingress
        lines += ["qdisc add ingress", *_policers(ingress)]
    return lines


def _policers(ingress: Ingress) -> Iterator[str]:
    for number, vlan in enumerate(ingress.vlans, 1):
        match = f"protocol 802.1Q pref {number} flower vlan_id {vlan.vlan}"
        yield f"filter add ingress {match} action {_police(vlan)}"
    if ingress.rate is not None or ingress.frames is not None:
        yield f"filter add ingress pref {len(ingress.vlans) + 1} matchall action {_police(ingress)}"


def _police(limit: Ingress | VlanLimit) -> str:
    said = "police"
    if limit.rate is not None:
        burst = limit.burst or f"{max(units.rate(limit.rate) // 10, LEAST_BURST)}b"
        said += f" rate {limit.rate} burst {burst}"
    if limit.frames is not None:
        said += f" pkts_rate {limit.frames} pkts_burst {limit.frame_burst or max(limit.frames // 10, 1)}"
    return f"{said} conform-exceed drop" if limit.mark is None else f"{said} mark {limit.mark} conform-exceed pass"


# What is wrong with it


def problems(port: Any, path: str) -> Iterator[Problem]:
    """Faults of a port's `limit` and `tc`; the port stands at `path`."""
    if port.limit is not None and port.tc is not None:
        yield Problem(f"{path}.limit", "limit or tc, not both: limit is short for a tc of its own")
        return
    if port.limit is not None:
        found = list(_limit_problems(port.limit, f"{path}.limit"))
        yield from found
        if not found:
            yield from _line_problems(limit_lines(port.limit), f"{path}.limit", port)
    elif port.tc is not None:
        yield from _line_problems(port.tc, f"{path}.tc", port)


def _line_problems(lines: Iterable[str], path: str, port: Any) -> Iterator[Problem]:
    """The first line that is refused; those after it build upon it."""
    lines = tuple(lines)
    index, why = _refused(lines, port.mtu or 1500)
    if why:
        yield Problem(f"{path}[{index}]", why, lines[index])


@lru_cache(maxsize=1024)
def _refused(lines: tuple[str, ...], mtu: int) -> tuple[int, str]:
    """Where, and in what words; none of them: all are taken. A thousand ports often share a few sections."""
    draft = Draft(NOTHING, Link("", mtu))
    for index, line in enumerate(lines):
        try:
            edit(draft, shlex.split(line))
        except Refusal as refusal:
            return index, refusal.text.split("\n", 1)[0]
        except ValueError as error:
            return index, f"a line of tc: {error}"
    return 0, ""


def _limit_problems(limit: Limit, path: str) -> Iterator[Problem]:
    if isinstance(limit.egress, str):
        yield from readable(f"{path}.egress", limit.egress, _rate)
    elif limit.egress is not None:
        yield from readable(f"{path}.egress.rate", limit.egress.rate, _rate)
        yield from _burst(f"{path}.egress", limit.egress, limit.egress.rate)
    if isinstance(limit.ingress, str):
        yield from readable(f"{path}.ingress", limit.ingress, _rate)
    elif limit.ingress is not None:
        yield from _ingress_problems(limit.ingress, f"{path}.ingress")


def _ingress_problems(ingress: Ingress, path: str) -> Iterator[Problem]:
    if ingress.vlans and all(getattr(ingress, key) is None for key in RATES):
        pass  # the VLANs alone
    else:
        yield from _policer_problems(ingress, path)
    seen: set[int] = set()
    for index, vlan in enumerate(ingress.vlans):
        place = f"{path}.vlans[{index}]"
        yield from between(f"{place}.vlan", vlan.vlan, 1, 4094)
        if vlan.vlan in seen:
            yield Problem(f"{place}.vlan", "one limit for a VLAN", vlan.vlan)
        seen.add(vlan.vlan)
        yield from _policer_problems(vlan, place)


def _policer_problems(limit: Ingress | VlanLimit, path: str) -> Iterator[Problem]:
    if limit.rate is None and limit.frames is None:
        yield Problem(path, "rate, frames or both")
    if limit.rate is not None:
        yield from readable(f"{path}.rate", limit.rate, _rate)
    yield from _burst(path, limit, limit.rate)
    yield from between(f"{path}.frames", limit.frames, 1, MOST_FRAMES, "frames a second")
    yield from between(f"{path}.frame_burst", limit.frame_burst, 1, MOST_FRAMES, "frames")
    if limit.frame_burst is not None and limit.frames is None:
        yield Problem(f"{path}.frame_burst", "goes with frames", limit.frame_burst)
    yield from between(f"{path}.mark", limit.mark, 0, units.TOP32)


def _burst(path: str, limit: Any, rate: str | None) -> Iterator[Problem]:
    if limit.burst is not None:
        yield from readable(f"{path}.burst", limit.burst, _size)
        if rate is None:
            yield Problem(f"{path}.burst", "goes with rate", limit.burst)


def _rate(text: str) -> int:
    return _positive(units.rate, text, RATE_RULE)


def _size(text: str) -> int:
    return _positive(units.size, text, SIZE_RULE)


def _positive(read: Any, text: str, rule: str) -> int:
    try:
        value = read(text)
    except ValueError:
        value = 0
    if value <= 0 or text != text.strip():
        raise ValueError(rule)
    return value
