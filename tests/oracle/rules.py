"""Random rule sets, as iptables-restore reads them: all five tables, chains of one's own, policies.

The weights see to it that most packets still pass: drops are rare, come late and match narrowly, so that what lies
behind them is reached.

Ranges of ports from which NAT chooses at random are wide, or of one port alone. From a narrow one two connections in
different zones would now and then get the same port, by chance, and what follows would differ between two kernels. For
the same reason a wide range is a small part of all ports: a free choice seldom falls into it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.oracle import topology
from tests.oracle.matches import Matches

TABLES = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}
DSTNAT, SRCNAT = frozenset(("PREROUTING", "OUTPUT")), frozenset(("INPUT", "POSTROUTING"))
RULES_AT_MOST = {"raw": 3, "mangle": 4, "nat": 4, "filter": 5, "security": 1}
REJECTS = {
    4: ("icmp-port-unreachable", "icmp-host-unreachable", "icmp-net-unreachable", "icmp-admin-prohibited"),
    6: ("icmp6-port-unreachable", "icmp6-no-route", "icmp6-adm-prohibited", "icmp6-addr-unreachable"),
}


@dataclass(frozen=True)
class RuleSet:
    """One text a family."""

    ipv4: str
    ipv6: str


def rule_set(rng: random.Random) -> RuleSet:
    """A random one."""
    return RuleSet(*("".join(_Table(rng, family, table).text() for table in TABLES) for family in topology.FAMILIES))


class _Table:
    """A table on its way to text. User chains jump to later ones only, so that none loops."""

    def __init__(self, rng: random.Random, family: int, name: str) -> None:
        self.rng = rng
        self.family = family
        self.name = name
        self.matches = Matches(rng, family)
        self.user = self._user_chains()

    def text(self) -> str:
        lines = [f"*{self.name}", *(f":{chain} {self._policy()} [0:0]" for chain in TABLES[self.name])]
        lines += [f":{chain} - [0:0]" for chain in self.user]
        for chain in TABLES[self.name]:
            lines += self._rules(chain, frozenset((chain,)), list(self.user))
        for number, (chain, hooks) in enumerate(self.user.items()):
            lines += self._rules(chain, hooks, list(self.user)[number + 1 :])
        return "\n".join([*lines, "COMMIT", ""])

    def _user_chains(self) -> dict[str, frozenset[str]]:
        """Each with the hooks that may reach it."""
        count = self.rng.choice((0, 1, 2, 3)) if self.name != "security" else self.rng.choice((0, 0, 1))
        if self.name == "nat":
            return {f"{self.rng.choice('xyz')}{n}": self.rng.choice((DSTNAT, SRCNAT)) for n in range(count)}
        return {f"chain-{n}": frozenset(TABLES[self.name]) for n in range(count)}

    def _policy(self) -> str:
        return "DROP" if self.name == "filter" and self.rng.random() < 0.12 else "ACCEPT"

    def _rules(self, chain: str, hooks: frozenset[str], later: list[str]) -> list[str]:
        reachable = [name for name in later if hooks <= self.user[name]]
        lines = []
        for _ in range(self.rng.randint(0, self._most(chain))):
            words = self._words(hooks)
            draw = self.rng.random()
            if reachable and draw < 0.3:
                target = f"-{self.rng.choice('jjg')} {self.rng.choice(reachable)}"
            elif draw < 0.36:
                target = "-j RETURN"
            elif draw < 0.4:
                target = ""  # counts only
            else:
                words, target = self._target(words, hooks)
            lines.append(" ".join(("-A", chain, *words, target)).rstrip())
        return lines

    def _words(self, hooks: frozenset[str]) -> list[str]:
        """Any rule of table raw may lie behind a CT rule: "template"."""
        words = self.matches.some(hooks)
        return [word for word in words if self.name != "raw" or not ("connmark" in word or "conntrack" in word)]

    def _most(self, chain: str) -> int:
        """Few rules where few packets come: what the router says of itself begins no connection."""
        return 1 if (self.name, chain) == ("nat", "OUTPUT") else RULES_AT_MOST[self.name]

    def _target(self, words: list[str], hooks: frozenset[str]) -> tuple[list[str], str]:
        make = {"raw": self._raw, "mangle": self._mangle, "nat": self._nat, "filter": self._filter}
        return make.get(self.name, self._security)(words, hooks)

    def _security(self, words: list[str], hooks: frozenset[str]) -> tuple[list[str], str]:
        return (words, "-j ACCEPT") if self.rng.random() < 0.85 else self._drop(words)

    def _drop(self, words: list[str]) -> tuple[list[str], str]:
        """Narrowly: one more match."""
        more = self.matches.protocol(self.rng.choice(("tcp", "udp")))
        return ([more, *(word for word in words if "-p " not in word)], "-j DROP")

    def _raw(self, words: list[str], hooks: frozenset[str]) -> tuple[list[str], str]:
        zone = self.rng.choice((1, 2))
        way = self.rng.choice(("", "", "-orig", "-reply"))
        targets = ("-j ACCEPT", "-j CT --notrack", "-j NOTRACK", f"-j CT --zone{way} {zone}", "-j LOG")
        target = self.rng.choices((*targets, "drop"), (3, 1, 1, 2, 1, 1))[0]
        return self._drop(words) if target == "drop" else (words, target)

    def _mangle(self, words: list[str], hooks: frozenset[str]) -> tuple[list[str], str]:
        mark = self.rng.choice(("0x1", "0x2", "0x11", "0x2/0x3", "0x30/0xf0"))
        ttl = "TTL --ttl" if self.family == 4 else "HL --hl"
        choices = [f"MARK --set-mark {mark}", f"MARK --set-xmark {mark}", "MARK --or-mark 0x4", "MARK --and-mark 0xf",
                   "MARK --xor-mark 0x3", f"CONNMARK --set-mark {mark}", "CONNMARK --save-mark",
                   "CONNMARK --restore-mark", "CONNMARK --save-mark --nfmask 0xf --ctmask 0xf", "ACCEPT"]  # fmt: skip
        if self.family == 4 or hooks <= {"FORWARD", "OUTPUT", "POSTROUTING"}:
            choices += self._edits(ttl)
        draw = self.rng.random()
        if draw < 0.04:
            return self._drop(words)
        if draw < 0.2:
            return self._mss(words, hooks)
        return words, f"-j {self.rng.choice(choices)}"

    def _edits(self, ttl: str) -> list[str]:
        """Of the header. Where IPv6 may still be for the router itself the kernel would then find its checksum wrong."""
        return [f"TOS --set-tos {self.rng.choice(('0x10/0x3f', '0x00', '0x48'))}",
                f"DSCP --set-dscp {self.rng.choice(('0x2e', '0x12', '0x00'))}",
                f"{ttl}-{self.rng.choice(('set 100', 'inc 2', 'dec 1'))}"]  # fmt: skip

    def _mss(self, words: list[str], hooks: frozenset[str]) -> tuple[list[str], str]:
        syn = "-p tcp -m tcp --tcp-flags SYN,RST SYN"
        clamp = hooks <= {"FORWARD", "OUTPUT", "POSTROUTING"} and self.rng.random() < 0.5
        words = [syn, *(word for word in words if "-p " not in word)]
        return words, "-j TCPMSS " + ("--clamp-mss-to-pmtu" if clamp else f"--set-mss {self.rng.choice((536, 1400))}")

    def _filter(self, words: list[str], hooks: frozenset[str]) -> tuple[list[str], str]:
        target = self.rng.choices(("accept", "drop", "reject", "reset", "log"), (8, 2, 2, 1, 1))[0]
        if target == "drop":
            return self._drop(words)
        if target == "reset":
            narrow = [self.matches.protocol("tcp").removeprefix("! "), *(word for word in words if "-p " not in word)]
            return narrow, "-j REJECT --reject-with tcp-reset"
        if target == "reject":
            return self._drop(words)[0], f"-j REJECT --reject-with {self.rng.choice(REJECTS[self.family])}"
        return words, "-j ACCEPT" if target == "accept" else '-j LOG --log-prefix "seen "'

    def _nat(self, words: list[str], hooks: frozenset[str]) -> tuple[list[str], str]:
        if self.rng.random() < 0.1:
            return words, "-j ACCEPT"
        if hooks <= DSTNAT:
            return self._destination(words)
        return self._source(words, may_masquerade=hooks == {"POSTROUTING"})

    def _destination(self, words: list[str]) -> tuple[list[str], str]:
        side = self.rng.choice("aab")
        kind = self.rng.choices(("host", "REDIRECT", "NETMAP"), (6, 1, 1))[0]
        if kind == "NETMAP":
            return words, f"-j NETMAP --to {self._network(side)}"
        if kind == "REDIRECT":
            words, ports = self._with_ports(words, ("8080", "53", "2000-2007"))
            return words, "-j REDIRECT" + (f" --to-ports {ports}" if ports else "")
        words, ports = self._with_ports(words, ("8080", "80", "2000-2007"))
        how = "" if "-" in ports else self._how()
        return words, f"-j DNAT --to-destination {self._host(side, self.rng.choice((2, 3, 4, 30)), ports)}{how}"

    def _source(self, words: list[str], *, may_masquerade: bool) -> tuple[list[str], str]:
        kind = self.rng.choices(("host", "MASQUERADE", "NETMAP"), (6, 5, 1))[0]
        if kind == "NETMAP":
            return words, f"-j NETMAP --to {self._network(self.rng.choice('ab'))}"
        words, ports = self._with_ports(words, ("2000", "2000-2999", "30000-30999"))
        if kind == "MASQUERADE" and may_masquerade:
            how = " --random" if self.rng.random() < 0.15 else ""
            return words, "-j MASQUERADE" + (f" --to-ports {ports}" if ports else "") + how
        return words, f"-j SNAT --to-source {self._host('b', self.rng.choice((1, 50, 51)), ports)}{self._how()}"

    def _with_ports(self, words: list[str], choices: tuple[str, ...]) -> tuple[list[str], str]:
        """A range of ports needs a protocol that has some."""
        if self.rng.random() < 0.6:
            return words, ""
        protocol = self.matches.protocol(self.rng.choice(("tcp", "udp"))).removeprefix("! ")
        return [protocol, *(word for word in words if "-p " not in word)], self.rng.choice(choices)

    def _host(self, side: str, number: int, ports: str) -> str:
        """One address: of a range either router would choose another ("nat-address")."""
        address = topology.text(side, self.family, number)
        if ports:
            return f"[{address}]:{ports}" if self.family == 6 else f"{address}:{ports}"
        return address

    def _network(self, side: str) -> str:
        return f"{topology.text(side, self.family, 64)}/{28 if self.family == 4 else 124}"

    def _how(self) -> str:
        return self.rng.choices(("", " --random", " --persistent"), (8, 1, 1))[0]
