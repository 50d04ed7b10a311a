"""What an interface's name in a rule stands for.

A name is a port's, a bridge's (then all its devices are meant, whatever the VLAN) or that of one VLAN of a bridge,
`br0.10`; with a `+` behind it stands for all names that begin so. A name that nothing has yet stands for nothing, as
in iptables: rules may speak of a guest that starts tomorrow, and are compiled anew when it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .model import Rulesets
from .view import Interfaces

ANY = Interfaces(0, 0, True)
MAX_PORTS = 4096  # _fastpath/core/counters.pxd


class InterfaceNames:
    """`ports` are ids by name; `devices` are (name, name of its bridge or None) in order of their index."""

    def __init__(self, ports: Mapping[str, int], devices: Sequence[tuple[str, str | None]]) -> None:
        self._ports, self._devices = ports, devices
        self._known: dict[str, Interfaces] = {"+": ANY}

    def resolve(self, name: str) -> Interfaces:
        """Equal names give the same object, so that rules share what is made of it."""
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._prefixed(name[:-1]) if name.endswith("+") else self._named(name)
        return found

    def ports(self, name: str) -> Interfaces:
        """The ports alone, as physdev means them. A lone `+` is any port, which only a set of all can say."""
        if name == "+":
            return Interfaces((1 << MAX_PORTS) - 1, 0)
        return self.resolve(name)._replace(devices=0)

    def _named(self, name: str) -> Interfaces:
        ports = [self._ports[name]] if name in self._ports else []
        return Interfaces(_bits(ports), _bits(index for index, names in enumerate(self._devices) if name in names))

    def _prefixed(self, prefix: str) -> Interfaces:
        ports = (number for name, number in self._ports.items() if name.startswith(prefix))
        devices = (
            index
            for index, names in enumerate(self._devices)
            if any(name and name.startswith(prefix) for name in names)
        )
        return Interfaces(_bits(ports), _bits(devices))


def _bits(numbers: Iterable[int]) -> int:
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits


def interfaces_named(rulesets: Rulesets) -> set[str]:
    """Every interface's name in the rules: VLANs of bridges among them need devices to be told apart."""
    names = set()
    for family in (rulesets.ipv4, rulesets.ipv6):
        for rule in family.rules():
            names.add(rule.spec.in_interface)
            names.add(rule.spec.out_interface)
    return {name for name in names if name}
