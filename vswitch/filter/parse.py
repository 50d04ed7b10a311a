"""The words of one iptables line into a `Command`.

`getopt` takes the words apart; here is what iptables' own options mean. Extensions become structs, and addresses are
read, only when all words have been seen: `-m tcp --dport 1 -p tcp` is as good as the usual order.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import words as known
from .command import LONGEST_CHAIN, VERDICTS, Command, check, check_chain_name, check_length, rule_number
from .getopt import Main, Words
from .help import usage
from .model import Spec
from .targets import Goto, Jump, Target
from .values import NONE
from .words.base import Extension, Fields, finish
from .words.complaint import VERSION, Complaint, Usage
from .words.link import interface
from .words.names import protocol_number
from .words.readers import net, number, octets

PROGRAM = {4: "iptables", 6: "ip6tables"}
TOP_COUNTER = 0xFFFFFFFFFFFFFFFF


class Parser(Words):
    """One line being read."""

    def __init__(self, family: int, table: str | None = None) -> None:
        """With `table` a line of a restore, which has said its table before."""
        super().__init__(family)
        self.restoring = table is not None
        self.command = Command(table=table or "filter")
        self.given: set[str] = set()
        self.target: Target | None = None
        self.extension: tuple[Extension, Fields] | None = None  # the target's
        self.texts: dict[str, str] = {}  # addresses and interfaces, by letter
        self.fragment = False

    def parse(self, words: Sequence[str]) -> Command:
        self.take_all(words)
        return self._finished()

    # Commands

    def _begin(self, letter: str) -> None:
        held = self.command.action
        if letter == "Z" and held in ("L", "S"):
            self.command.zero = True
        elif held == "Z" and letter in ("L", "S"):
            self.command.action, self.command.zero = letter, True
        elif held:
            raise Complaint(f"Cannot use -{letter} with -{held}")
        else:
            self.command.action = letter

    def on_rule(self, letter: str, chain: str) -> None:
        """-A -C, and -D -I -R with a rule's number."""
        self._begin(letter)
        check_length(chain)
        self.command.chain = chain
        text = self.optional() if letter in "DIR" else None
        if text is not None:
            self.command.number = rule_number(text)
        elif letter == "R":
            raise Complaint("-R requires a rule number")
        elif letter == "I":
            self.command.number = 1

    def on_chains(self, letter: str, _: str) -> None:
        """-L -S -Z [CHAIN [NUMBER]], -F -X [CHAIN]"""
        self._begin(letter)
        chain = self.optional()
        if chain is not None:
            self.command.chain = chain
            text = self.optional() if letter in "LSZ" else None
            self.command.number = 0 if text is None else rule_number(text)

    def on_new(self, letter: str, chain: str) -> None:
        self._begin(letter)
        check_chain_name(chain, self.family)
        self.command.chain = chain

    def on_two(self, letter: str, chain: str) -> None:
        """-E OLD NEW, -P CHAIN POLICY"""
        self._begin(letter)
        self.command.chain = chain
        second = self.optional()
        if second is None:
            raise Complaint(f"-{letter} requires {REQUIRED[letter]}")
        self.command.name = second

    # Parts of a rule

    def _once(self, letter: str) -> None:
        if letter in self.given:
            raise Complaint(f"multiple -{letter} flags not allowed")
        self.given.add(letter)

    def on_text(self, letter: str, text: str) -> None:
        """-s -d -i -o: read when all is seen."""
        self._once(letter)
        if letter in "io":
            interface(text)
        self.texts[letter] = text

    def on_protocol(self, letter: str, text: str) -> None:
        self._once(letter)
        self.protocol = protocol_number(text)
        if self.protocol == 0 and "p" in self.inverted:
            raise Complaint("rule would never match protocol")

    def on_fragment(self, letter: str, _: str) -> None:
        if self.family == 6:
            raise Complaint("`-f' is not supported in IPv6, use -m frag instead")
        self._once(letter)
        self.fragment = True

    def on_match(self, letter: str, name: str) -> None:
        extension = known.match(name, self.family)
        if extension is None:
            raise Complaint(f"Couldn't load match `{name}':No such file or directory\n")
        self.load(extension)

    def on_jump(self, letter: str, name: str) -> None:
        self._once("j")
        if len(octets(name)) > LONGEST_CHAIN:
            raise Complaint(f"Invalid target name `{name}' ({LONGEST_CHAIN} chars max)")
        extension = known.target(name, self.family)
        if name in VERDICTS:
            self.target = VERDICTS[name]
        elif extension is not None:
            self.extension = extension, Fields(self.family)
            self.loaded.append(self.extension)
        else:
            self.target = Jump(name)

    def on_goto(self, letter: str, name: str) -> None:
        self._once("j")
        self.target = Goto(name)

    # The rest

    def on_flag(self, letter: str, _: str) -> None:
        self.given.add(letter)
        command = self.command
        if letter == "v":
            command.verbose += 1
        elif letter == "n":
            command.numeric = True
        elif letter == "x":
            command.exact = True
        elif letter == "0":
            command.line_numbers = True

    def on_table(self, letter: str, name: str) -> None:
        if self.restoring:
            raise Complaint("The -t option cannot be used in iptables-restore.\n")
        self.command.table = name

    def on_wait(self, letter: str, _: str) -> None:
        """There is no lock to wait for."""
        text = self.optional()
        if text is not None and number(text) is None:
            raise Complaint("wait seconds not numeric")

    def on_counters(self, letter: str, packets: str) -> None:
        self._once(letter)
        size = self.optional()
        if size is None:
            raise Complaint("-c requires packet and byte counter")
        for text, name in ((packets, "packet"), (size, "byte")):
            value = number(text)
            if value is None or value > TOP_COUNTER:
                raise Complaint(f"-c {name} counter not numeric")
        self.command.counters = number(packets) or 0, number(size) or 0

    def on_version(self, letter: str, _: str) -> None:
        raise Usage(0, f"{PROGRAM[self.family]} {VERSION}\n")

    def on_help(self, letter: str, _: str) -> None:
        raise Usage(0, usage(PROGRAM[self.family], self.words, self.family))

    def on_family(self, letter: str, _: str) -> None:
        if int(letter) != self.family:
            raise Complaint(f"-{letter} asks for the other family, which is {PROGRAM[int(letter)]}'s")

    def ignore(self, letter: str, _: str) -> None:
        """--modprobe: there are no modules to load."""

    # The end

    def _finished(self) -> Command:
        command = self.command
        protocol = 0 if "p" in self.inverted else self.protocol
        matches = []
        for extension, fields in self.matches:
            fields.protocol = protocol
            matches.append(finish(extension, fields))
        if self.extension is not None:
            extension, fields = self.extension
            fields.protocol = protocol
            self.target = finish(extension, fields)
        self._addresses()
        command.spec = Spec(
            in_interface=self._interface("i"),
            out_interface=self._interface("o"),
            protocol=self.protocol or None,
            fragment=self.fragment,
            inverted=frozenset(FIELD_OF[letter] for letter in self.inverted) if self.inverted else NONE,
            matches=tuple(matches),
            target=self.target,
        )
        check(command, self.given)
        return command

    def _addresses(self) -> None:
        for letter, nets in (("s", self.command.sources), ("d", self.command.destinations)):
            if letter in self.texts:
                nets.extend(net(text, self.family) for text in self.texts[letter].split(","))

    def _interface(self, letter: str) -> str | None:
        name = self.texts.get(letter)
        return None if name == "+" and letter not in self.inverted else name


# iptables' own options

REQUIRED = {"E": "old-chain-name and new-chain-name", "P": "a chain and a policy"}
FIELD_OF = {
    "s": "source", "d": "destination", "i": "in_interface", "o": "out_interface", "p": "protocol", "f": "fragment",
}  # fmt: skip

_TABLE = (
    (("-A", "--append"), Main("A", 1, Parser.on_rule, command=True)),
    (("-C", "--check"), Main("C", 1, Parser.on_rule, command=True)),
    (("-D", "--delete"), Main("D", 1, Parser.on_rule, command=True)),
    (("-I", "--insert"), Main("I", 1, Parser.on_rule, command=True)),
    (("-R", "--replace"), Main("R", 1, Parser.on_rule, command=True)),
    (("-L", "--list"), Main("L", 0, Parser.on_chains, command=True, optional=True)),
    (("-S", "--list-rules"), Main("S", 0, Parser.on_chains, command=True, optional=True)),
    (("-F", "--flush"), Main("F", 0, Parser.on_chains, command=True, optional=True)),
    (("-Z", "--zero"), Main("Z", 0, Parser.on_chains, command=True, optional=True)),
    (("-X", "--delete-chain"), Main("X", 0, Parser.on_chains, command=True, optional=True)),
    (("-N", "--new", "--new-chain"), Main("N", 1, Parser.on_new, command=True)),
    (("-E", "--rename-chain"), Main("E", 1, Parser.on_two, command=True)),
    (("-P", "--policy"), Main("P", 1, Parser.on_two, command=True)),
    (("-s", "--source", "--src"), Main("s", 1, Parser.on_text, invert=True)),
    (("-d", "--destination", "--dst"), Main("d", 1, Parser.on_text, invert=True)),
    (("-i", "--in-interface"), Main("i", 1, Parser.on_text, invert=True)),
    (("-o", "--out-interface"), Main("o", 1, Parser.on_text, invert=True)),
    (("-p", "--protocol", "--proto"), Main("p", 1, Parser.on_protocol, invert=True)),
    (("-f", "--fragment", "--fragments"), Main("f", 0, Parser.on_fragment, invert=True)),
    (("-m", "--match"), Main("m", 1, Parser.on_match)),
    (("-j", "--jump"), Main("j", 1, Parser.on_jump)),
    (("-g", "--goto"), Main("g", 1, Parser.on_goto)),
    (("-t", "--table"), Main("t", 1, Parser.on_table)),
    (("-w", "--wait"), Main("w", 0, Parser.on_wait, optional=True)),
    (("-c", "--set-counters"), Main("c", 1, Parser.on_counters)),
    (("-v", "--verbose"), Main("v", 0, Parser.on_flag)),
    (("-n", "--numeric"), Main("n", 0, Parser.on_flag)),
    (("-x", "--exact"), Main("x", 0, Parser.on_flag)),
    (("--line-numbers",), Main("0", 0, Parser.on_flag)),
    (("--modprobe",), Main("M", 1, Parser.ignore)),
    (("-V", "--version"), Main("V", 0, Parser.on_version)),
    (("-h", "--help"), Main("h", 0, Parser.on_help)),
    (("-4", "--ipv4"), Main("4", 0, Parser.on_family)),
    (("-6", "--ipv6"), Main("6", 0, Parser.on_family)),
)
Parser.MAIN = {name: main for names, main in _TABLE for name in names}
