"""The words of one iptables line into a `Command`.

Words are taken as getopt takes them: short options in a bunch, long ones whole or cut short where that is clear, an
argument with `=` or as the next word. An option that is not iptables' own belongs to the extensions loaded so far, the
last first; one that none of them knows loads the protocol's match (`-p tcp --dport 80` without `-m tcp`). Extensions
become structs, and addresses are read, only when all words have been seen: `-m tcp --dport 1 -p tcp` is as good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import words as known
from .command import Command, check
from .model import Spec
from .targets import Goto, Jump, Target, Verdict
from .values import NONE
from .words.base import Extension, Fields, Option, finish, take
from .words.complaint import Complaint
from .words.link import interface, weird
from .words.names import PROTOCOLS, protocol_number
from .words.readers import net, number

VERDICTS = {verdict.name: verdict for verdict in Verdict}
LONGEST_CHAIN = 28
TOP_NUMBER = 0xFFFFFFFF
TOP_COUNTER = 0xFFFFFFFFFFFFFFFF


class Main(NamedTuple):
    """An option of iptables' own: its letter, the words it takes (a chain may be left out), and what takes them."""

    letter: str
    words: int
    act: Callable[[Parser, str, str], None]
    invert: bool = False


class Parser:
    """One line being read. `warnings` is for stderr, of words that are taken all the same."""

    def __init__(self, family: int, restoring: bool = False) -> None:
        self.family = family
        self.restoring = restoring
        self.command = Command()
        self.given: set[str] = set()
        self.warnings: list[str] = []
        self.inverted: set[str] = set()
        self.loaded: list[tuple[Extension, Fields]] = []
        self.matches: list[tuple[Extension, Fields]] = []
        self.target: Target | None = None
        self.extension: tuple[Extension, Fields] | None = None  # the target's
        self.texts: dict[str, str] = {}  # addresses and interfaces, by letter
        self.protocol = 0
        self.fragment = False
        self.words: list[str] = []
        self.at = 0

    def parse(self, words: Sequence[str]) -> Command:
        self.words = list(words)
        invert = False
        while self.at < len(self.words):
            word = self.words[self.at]
            self.at += 1
            if word == "!":
                if invert:
                    raise Complaint("multiple consecutive ! not allowed")
                invert = True
            elif word[:1] == "-" and len(word) > 1:
                self._option(word, invert)
                invert = False
            else:
                raise Complaint(f"Bad argument `{word}'", bare=True)
        if invert:
            raise Complaint("nothing appropriate following !")
        return self._finished()

    # Options

    def _option(self, word: str, invert: bool) -> None:
        main = MAIN.get(word)
        if main is not None:
            self._main(main, word, invert)
            return
        if self._of_extension(word, invert):
            return
        if word[1] != "-":
            self._bunch(word, invert)
            return
        name, equals, value = word.partition("=")
        if equals:
            self.words.insert(self.at, value)
        full = self._completed(name)
        if full is None and self._load_protocol():
            full = self._completed(name)
        if full is None or (equals and full == word):
            raise Complaint(f'unknown option "{word}"')
        self._option(full, invert)

    def _main(self, main: Main, word: str, invert: bool) -> None:
        if invert and not main.invert:
            raise Complaint("unexpected '!' flag" if main.letter in COMMANDS else f"cannot have ! before {word}")
        if invert:
            self.inverted.add(main.letter)
        argument = self._argument(word) if main.words else ""
        main.act(self, main.letter, argument)

    def _of_extension(self, word: str, invert: bool) -> bool:
        for extension, fields in reversed(self.loaded):
            option = extension.by_name.get(word)
            if option is not None:
                take(extension, fields, option, self._words_of(option, word), invert)
                return True
        return False

    def _words_of(self, option: Option, word: str) -> Any:
        if option.words == 0 or option.read is None:
            return ""
        first = self._argument(word)
        if option.words == 1:
            return first
        if self.at >= len(self.words) or self.words[self.at][:1] in ("-", "!"):
            raise Complaint(f"{word} requires two args.")
        self.at += 1
        return first, self.words[self.at - 1]

    def _bunch(self, word: str, invert: bool) -> None:
        """-nvL, -tnat: letters up to one that takes the rest for its argument."""
        main = MAIN.get(word[:2])
        if main is None:
            if self._load_protocol() and self._of_extension(word, invert):
                return
            raise Complaint(f'unknown option "{word if len(word) == 2 else word[:2]}"')
        takes = main.words or main.letter in OPTIONAL
        self.words.insert(self.at, word[2:] if takes else "-" + word[2:])
        self._main(main, word[:2], invert)

    def _completed(self, word: str) -> str | None:
        """The one long option that begins so, or is so."""
        found: dict[int, str] = {}
        for extension, _ in reversed(self.loaded):
            for name, option in extension.by_name.items():
                if name == word:
                    return name
                if name.startswith(word):
                    found[id(option)] = name
        for name, main in MAIN.items():
            if name == word:
                return name
            if name.startswith(word):
                found[id(main)] = name
        return next(iter(found.values())) if len(found) == 1 else None

    def _load_protocol(self) -> bool:
        """The match that goes with -p, unless it is loaded already."""
        name = PROTOCOLS.get(self.protocol, "")
        extension = known.match(name, self.family) if name else None
        if extension is None or any(extension is loaded for loaded, _ in self.loaded):
            return False
        self._load(extension)
        return True

    def _load(self, extension: Extension) -> None:
        entry = extension, Fields(self.family)
        self.loaded.append(entry)
        self.matches.append(entry)

    def _argument(self, word: str) -> str:
        if self.at >= len(self.words):
            raise Complaint(f'option "{word}" requires an argument')
        self.at += 1
        return self.words[self.at - 1]

    def _optional(self) -> str | None:
        """The next word, unless it is an option."""
        if self.at < len(self.words) and self.words[self.at][:1] not in ("-", "!"):
            self.at += 1
            return self.words[self.at - 1]
        return None

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
        _check_length(chain)
        self.command.chain = chain
        text = self._optional() if letter in "DIR" else None
        if text is not None:
            self.command.number = _rule_number(text)
        elif letter == "R":
            raise Complaint("-R requires a rule number")
        elif letter == "I":
            self.command.number = 1

    def on_chains(self, letter: str, _: str) -> None:
        """-L -S -Z [CHAIN [NUMBER]], -F -X [CHAIN]"""
        self._begin(letter)
        chain = self._optional()
        if chain is not None:
            self.command.chain = chain
            text = self._optional() if letter in "LSZ" else None
            self.command.number = 0 if text is None else _rule_number(text)

    def on_new(self, letter: str, chain: str) -> None:
        self._begin(letter)
        check_chain_name(chain, self.family)
        self.command.chain = chain

    def on_two(self, letter: str, chain: str) -> None:
        """-E OLD NEW, -P CHAIN POLICY"""
        self._begin(letter)
        self.command.chain = chain
        second = self._optional()
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
            if weird(interface(text)):
                self.warnings.append(
                    f"Warning: weird character in interface `{text}' ('/' and ' ' are not allowed by the kernel).\n"
                )
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
        self._load(extension)

    def on_jump(self, letter: str, name: str) -> None:
        self._once("j")
        if len(name.encode()) > LONGEST_CHAIN:
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
        text = self._optional()
        if text is not None and number(text) is None:
            raise Complaint("wait seconds not numeric")

    def on_counters(self, letter: str, packets: str) -> None:
        self._once(letter)
        size = self._optional()
        if size is None:
            raise Complaint("-c requires packet and byte counter")
        for text, name in ((packets, "packet"), (size, "byte")):
            value = number(text)
            if value is None or value > TOP_COUNTER:
                raise Complaint(f"-c {name} counter not numeric")
        self.command.counters = number(packets) or 0, number(size) or 0

    def ignore(self, letter: str, _: str) -> None:
        """--modprobe, and the mark of a family, which says nothing new."""

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


# Chains' names


def _check_length(chain: str) -> None:
    if len(chain.encode()) > LONGEST_CHAIN:
        raise Complaint(f"chain name `{chain}' too long (must be under {LONGEST_CHAIN + 1} chars)")


def check_chain_name(chain: str, family: int) -> None:
    if chain[:1] in ("-", "!"):
        raise Complaint(f"chain name not allowed to start with `{chain[0]}'")
    if not chain or chain in VERDICTS or known.target(chain, family) is not None:
        raise Complaint("chain name may not clash with target name")
    _check_length(chain)
    if any(character.isspace() for character in chain):
        raise Complaint(f"Invalid chain name `{chain}'")


def _rule_number(text: str) -> int:
    value = number(text)
    if value is None or not 1 <= value <= TOP_NUMBER:
        raise Complaint(f"Invalid rule number `{text}'")
    return value


# iptables' own options

REQUIRED = {"E": "old-chain-name and new-chain-name", "P": "a chain and a policy"}
FIELD_OF = {
    "s": "source", "d": "destination", "i": "in_interface", "o": "out_interface", "p": "protocol", "f": "fragment",
}  # fmt: skip
COMMANDS = "ACDIRLSFZNXPE"
OPTIONAL = "LSFZXw"

_TABLE = (
    (("-A", "--append"), Main("A", 1, Parser.on_rule)),
    (("-C", "--check"), Main("C", 1, Parser.on_rule)),
    (("-D", "--delete"), Main("D", 1, Parser.on_rule)),
    (("-I", "--insert"), Main("I", 1, Parser.on_rule)),
    (("-R", "--replace"), Main("R", 1, Parser.on_rule)),
    (("-L", "--list"), Main("L", 0, Parser.on_chains)),
    (("-S", "--list-rules"), Main("S", 0, Parser.on_chains)),
    (("-F", "--flush"), Main("F", 0, Parser.on_chains)),
    (("-Z", "--zero"), Main("Z", 0, Parser.on_chains)),
    (("-X", "--delete-chain"), Main("X", 0, Parser.on_chains)),
    (("-N", "--new", "--new-chain"), Main("N", 1, Parser.on_new)),
    (("-E", "--rename-chain"), Main("E", 1, Parser.on_two)),
    (("-P", "--policy"), Main("P", 1, Parser.on_two)),
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
    (("-w", "--wait"), Main("w", 0, Parser.on_wait)),
    (("-c", "--set-counters"), Main("c", 1, Parser.on_counters)),
    (("-v", "--verbose"), Main("v", 0, Parser.on_flag)),
    (("-n", "--numeric"), Main("n", 0, Parser.on_flag)),
    (("-x", "--exact"), Main("x", 0, Parser.on_flag)),
    (("--line-numbers",), Main("0", 0, Parser.on_flag)),
    (("--modprobe",), Main("M", 1, Parser.ignore)),
    (("-4", "--ipv4", "-6", "--ipv6"), Main("4", 0, Parser.ignore)),
)
MAIN = {name: main for names, main in _TABLE for name in names}
