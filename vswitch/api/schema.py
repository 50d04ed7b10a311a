"""What requests carry and what they are answered with, beyond the model and the reports themselves.

A request's body is a struct of the configuration model wherever one fits (`Bridge`, `Port`, `StaticMac`), so that the
API accepts exactly what the file does. `PortChange` is derived from `Port` field by field, `NetworkChange` from `Network`:
a field that is absent stays as it is, `null` clears it, and whatever the model learns can be changed the same day.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from ..config.model import MAIN_ROUTER, Network, Port
from ..config.text import VLAN_MAX

UNSET = msgspec.UNSET
FdbVlan = Annotated[int, msgspec.Meta(ge=0, le=VLAN_MAX)]  # 0: untagged frames on ports without VLANs


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request shares: keys by name, unknown ones refused."""


class Apply(Request):
    """A configuration file's text. `source` names the file in error lines; `dry_run` only asks for the plan.

    `rules` and `rules6` are the texts of the files that its [firewall] names: whoever sends it has read them. With
    `rejudge` live connections are judged as if they were new.
    """

    text: str
    source: str = "configuration"
    dry_run: bool = False
    rules: str | None = None
    rules6: str | None = None
    rejudge: bool = False


class Changes(msgspec.Struct, frozen=True):
    """What the switch did, or with `dry_run` would do: one line a change, none when nothing differs."""

    changes: list[str]
    dry_run: bool = False


class ConfigText(msgspec.Struct, frozen=True):
    """The configuration in force as a TOML file."""

    text: str


class Flushed(msgspec.Struct, frozen=True):
    """How many learned MACs were forgotten."""

    flushed: int


class BridgeChange(Request):
    """What can be changed on a bridge: how many seconds an unheard MAC is kept, 0 for ever."""

    ageing_s: int


class Vlan(Request):
    """One VLAN of a trunk port."""

    vid: int


class Member(Request):
    """A port that joins a bridge, by name."""

    port: str


class Flush(Request):
    """Which learned MACs to forget: all of the bridge, or only those of a port, a VLAN, or both."""

    bridge: str
    port: str | None = None
    vlan: FdbVlan | None = None


class Iptables(Request, kw_only=True):
    """A command line of iptables or one of its kin, and for -restore the text to read."""

    program: Literal[
        "iptables", "ip6tables", "iptables-save", "ip6tables-save", "iptables-restore", "ip6tables-restore"
    ] = "iptables"
    argv: list[str]
    stdin: str = ""


class Conntrack(Request):
    """A command line of conntrack."""

    argv: list[str]


class Tc(Request):
    """A command line of tc."""

    argv: list[str]


class EventsQuery(Request):
    """Which events: those after a place in the stream, which each reply names; from now on without `after`.

    `words` are those of `conntrack -E` that choose events and say how they are printed, quoted as for a shell.
    """

    after: int | None = None
    words: str = "-E"


class NoQuery(Request):
    """A request without parameters."""


class FdbQuery(Request):
    """Whose FDB; without `bridge` that of all bridges."""

    bridge: str | None = None


class FdbKey(Request):
    """One FDB entry."""

    bridge: str
    mac: str
    vlan: FdbVlan = 0


class ForceQuery(Request):
    """`force` takes a bridge away from under its ports: they stay, on no bridge."""

    force: bool = False


class RouteKey(Request):
    """One static route."""

    to: str
    router: str = MAIN_ROUTER


def _change(table: type[msgspec.Struct], *fixed: str) -> type[msgspec.Struct]:
    hints = get_type_hints(table)
    fields: list[tuple[str, Any, Any]] = [
        (field.name, hints[field.name] | msgspec.UnsetType, UNSET)
        for field in msgspec.structs.fields(table)
        if field.name not in fixed
    ]
    return msgspec.defstruct(f"{table.__name__}Change", fields, bases=(Request,), module=__name__, kw_only=True)


PortChange = _change(Port, "name")
PortChange.__doc__ = "What can be changed on a port; what is absent stays, null clears."
NetworkChange = _change(Network, "bridge", "vlan")
NetworkChange.__doc__ = "What can be changed on a network; what is absent stays, null clears."


def given(change: msgspec.Struct) -> dict[str, Any]:
    """The fields that a change sets, by name."""
    values = ((name, getattr(change, name)) for name in change.__struct_fields__)
    return {name: value for name, value in values if value is not UNSET}
